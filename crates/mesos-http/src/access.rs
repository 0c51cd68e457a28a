//! Who may do what, by the names of Mesos' authorization actions.
//!
//! Each route names what it asks for ([`Access`]); each call of an operator API
//! stands in that API's own table. An [`Authorizer`] answers; the one used until
//! identities exist lets everybody do everything.

use std::fmt;

use http::HeaderMap;
use model::{FrameworkInfo, Principal, Role};

macro_rules! actions {
    ($($variant:ident => $name:literal),+ $(,)?) => {
        /// The actions that are asked for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Action { $($variant),+ }

        impl Action {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

actions!(
    RegisterFramework => "REGISTER_FRAMEWORK",
    TeardownFramework => "TEARDOWN_FRAMEWORK",
    ReserveResources => "RESERVE_RESOURCES",
    UnreserveResources => "UNRESERVE_RESOURCES",
    CreateVolume => "CREATE_VOLUME",
    DestroyVolume => "DESTROY_VOLUME",
    ResizeVolume => "RESIZE_VOLUME",
    GetEndpointWithPath => "GET_ENDPOINT_WITH_PATH",
    ViewRole => "VIEW_ROLE",
    UpdateWeight => "UPDATE_WEIGHT",
    GetQuota => "GET_QUOTA",
    UpdateQuota => "UPDATE_QUOTA",
    ViewFramework => "VIEW_FRAMEWORK",
    ViewTask => "VIEW_TASK",
    ViewExecutor => "VIEW_EXECUTOR",
    AccessSandbox => "ACCESS_SANDBOX",
    AccessMesosLog => "ACCESS_MESOS_LOG",
    ViewFlags => "VIEW_FLAGS",
    LaunchNestedContainer => "LAUNCH_NESTED_CONTAINER",
    KillNestedContainer => "KILL_NESTED_CONTAINER",
    WaitNestedContainer => "WAIT_NESTED_CONTAINER",
    RemoveNestedContainer => "REMOVE_NESTED_CONTAINER",
    LaunchNestedContainerSession => "LAUNCH_NESTED_CONTAINER_SESSION",
    AttachContainerInput => "ATTACH_CONTAINER_INPUT",
    AttachContainerOutput => "ATTACH_CONTAINER_OUTPUT",
    ViewContainer => "VIEW_CONTAINER",
    SetLogLevel => "SET_LOG_LEVEL",
    UpdateMaintenanceSchedule => "UPDATE_MAINTENANCE_SCHEDULE",
    GetMaintenanceSchedule => "GET_MAINTENANCE_SCHEDULE",
    StartMaintenance => "START_MAINTENANCE",
    StopMaintenance => "STOP_MAINTENANCE",
    GetMaintenanceStatus => "GET_MAINTENANCE_STATUS",
    DrainAgent => "DRAIN_AGENT",
    DeactivateAgent => "DEACTIVATE_AGENT",
    ReactivateAgent => "REACTIVATE_AGENT",
    MarkAgentGone => "MARK_AGENT_GONE",
    LaunchStandaloneContainer => "LAUNCH_STANDALONE_CONTAINER",
    KillStandaloneContainer => "KILL_STANDALONE_CONTAINER",
    WaitStandaloneContainer => "WAIT_STANDALONE_CONTAINER",
    RemoveStandaloneContainer => "REMOVE_STANDALONE_CONTAINER",
    ViewStandaloneContainer => "VIEW_STANDALONE_CONTAINER",
    ModifyResourceProviderConfig => "MODIFY_RESOURCE_PROVIDER_CONFIG",
    MarkResourceProviderGone => "MARK_RESOURCE_PROVIDER_GONE",
    ViewResourceProvider => "VIEW_RESOURCE_PROVIDER",
    PruneImages => "PRUNE_IMAGES",
);

/// What a caller must be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// No authentication.
    Open,
    /// Somebody known; nothing more.
    Authenticated,
    /// `GET_ENDPOINT_WITH_PATH` of the route's path.
    Endpoint,
    /// The action, before anything is read or done.
    Needs(Action),
    /// Everybody is answered; the answer holds what these actions let him see.
    Filtered(&'static [Action]),
    /// `ACCESS_SANDBOX` or `ACCESS_MESOS_LOG`, by the path asked for.
    Files,
    /// By the type of the call in the body.
    Calls,
}

/// What `/state` and its like are filtered by.
pub const STATE: Access =
    Access::Filtered(&[Action::ViewFramework, Action::ViewTask, Action::ViewExecutor, Action::ViewRole]);

/// What an action is about.
#[derive(Debug, Clone, Copy)]
pub enum Object<'a> {
    /// The cluster or the node as a whole.
    Any,
    Path(&'a str),
    Role(&'a Role),
    Framework(&'a FrameworkInfo),
    /// Of a task, an executor or a container: its framework.
    Of(Option<&'a FrameworkInfo>),
    Principal(Option<&'a Principal>),
}

/// Answers who may do what.
pub trait Authorizer: fmt::Debug + Send + Sync {
    /// Who sent these headers.
    fn principal(&self, headers: &HeaderMap) -> Option<Principal>;

    fn allows(&self, who: Option<&Principal>, action: Action, object: Object<'_>) -> bool;

    /// Nothing would be filtered from what he reads, so that all who see all share one answer.
    fn sees_all(&self, who: Option<&Principal>) -> bool;
}

/// Until identities exist.
#[derive(Debug, Clone, Copy, Default)]
pub struct Everyone;

impl Authorizer for Everyone {
    fn principal(&self, _: &HeaderMap) -> Option<Principal> {
        None
    }

    fn allows(&self, _: Option<&Principal>, _: Action, _: Object<'_>) -> bool {
        true
    }

    fn sees_all(&self, _: Option<&Principal>) -> bool {
        true
    }
}

#[allow(dead_code)]
/// One caller with what he may do.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub principal: Option<Principal>,
    authorizer: std::sync::Arc<dyn Authorizer>,
}

#[allow(dead_code)]
impl Caller {
    pub fn new(authorizer: &std::sync::Arc<dyn Authorizer>, headers: &HeaderMap) -> Self {
        Self { principal: authorizer.principal(headers), authorizer: authorizer.clone() }
    }

    pub fn may(&self, action: Action, object: Object<'_>) -> bool {
        self.authorizer.allows(self.principal.as_ref(), action, object)
    }

    pub fn sees_all(&self) -> bool {
        self.authorizer.sees_all(self.principal.as_ref())
    }

    /// What a route asks for before it is served; what is filtered is settled later.
    pub fn may_enter(&self, access: Access, path: &str) -> bool {
        match access {
            Access::Open | Access::Authenticated | Access::Filtered(_) | Access::Calls => true,
            Access::Endpoint => self.may(Action::GetEndpointWithPath, Object::Path(path)),
            Access::Needs(action) => self.may(action, Object::Any),
            Access::Files => true,
        }
    }
}
