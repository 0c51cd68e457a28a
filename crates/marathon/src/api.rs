//! What clients may ask of the brain, and what it answers. Reads are served
//! from [`crate::view::View`] instead.

use std::sync::Arc;

use model::{TaskId, TaskState, Time};

use crate::definition::{AppDefinition, AppUpdate};
use crate::path::PathId;
use crate::state::{Deployment, Instance};

#[derive(Debug, Clone, PartialEq)]
pub enum ApiCall {
    CreateApp {
        app: Box<AppUpdate>,
        force: bool,
    },
    /// One app; `create`: an unknown id is created (PUT), else refused (PATCH).
    UpdateApp {
        id: PathId,
        update: Box<AppUpdate>,
        partial: bool,
        create: bool,
        force: bool,
    },
    /// Several apps in one deployment; each must carry its id.
    UpdateApps {
        updates: Vec<AppUpdate>,
        partial: bool,
        create: bool,
        force: bool,
    },
    DeleteApp {
        id: PathId,
        force: bool,
    },
    RestartApp {
        id: PathId,
        force: bool,
    },
    KillTasks {
        selector: TaskSelector,
        scale: bool,
        wipe: bool,
        force: bool,
    },
    DeleteDeployment {
        id: String,
        force: bool,
    },
    ResetDelay {
        id: PathId,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskSelector {
    /// All of an app, or those on one host.
    App { id: PathId, host: Option<String> },
    /// One of an app; unknown is an error.
    Task { app: PathId, task: TaskId },
    /// Any; unknown ones are skipped.
    Ids(Vec<TaskId>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum ApiReply {
    Created {
        app: Arc<AppDefinition>,
        deployment: DeploymentRef,
    },
    /// `created`: the app came into being.
    Deployment {
        deployment: DeploymentRef,
        created: Option<PathId>,
    },
    Killed {
        tasks: Vec<Arc<Instance>>,
    },
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentRef {
    pub id: String,
    pub version: Time,
}

/// One broken rule: where, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Like `/healthChecks(0)/portIndex`; `/` is the object itself.
    pub path: String,
    pub error: String,
}

impl Violation {
    pub fn new(path: impl Into<String>, error: impl Into<String>) -> Self {
        Self { path: path.into(), error: error.into() }
    }
}

/// Why a call was refused; nothing was changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ApiError {
    #[error("App '{0}' does not exist")]
    AppNotFound(PathId),
    #[error("App '{app}' does not exist in version {version}")]
    VersionNotFound { app: PathId, version: Time },
    #[error("Task '{0}' does not exist")]
    TaskNotFound(TaskId),
    #[error("DeploymentPlan {0} does not exist")]
    DeploymentNotFound(String),
    #[error("Application {0} not found in tasks queue.")]
    NotQueued(PathId),
    #[error("An app with id [{0}] already exists.")]
    AppExists(PathId),
    #[error(
        "App is locked by one or more deployments. Override with the option '?force=true'. View details at '/v2/deployments/<DEPLOYMENT_ID>'."
    )]
    Locked { deployments: Vec<String> },
    #[error(
        "Max number ({max}) of running deployments is achieved. Wait for existing deployments to complete or cancel one using force=true parameter. You can increase max deployment number by using --max_running_deployments parameter"
    )]
    TooManyDeployments { max: usize },
    #[error(
        "this deployment takes {bytes} bytes with the definitions before and after it, the limit is {max}; change fewer apps at a time or make their definitions smaller"
    )]
    PlanTooLarge { bytes: usize, max: usize },
    #[error("this cluster already has {max} apps, its limit; delete one first")]
    TooManyApps { max: usize },
    #[error("Object is not valid")]
    Invalid(Vec<Violation>),
    #[error("{0}")]
    Unprocessable(String),
    #[error("{0}")]
    BadRequest(String),
    #[error("more than {max} calls are waiting; try again in a moment")]
    Overloaded { max: usize },
    #[error("this node does not lead at the moment; try again in a moment")]
    NotLeading,
}

/// What `/v2/events` tells.
#[derive(Debug, Clone, PartialEq)]
pub enum MarathonEvent {
    /// A client created or changed an app (told by the room that serves clients).
    ApiPost {
        client_ip: String,
        uri: String,
        app: Arc<AppDefinition>,
    },
    SchedulerRegistered {
        framework_id: String,
    },
    SchedulerReregistered,
    SchedulerDisconnected,
    DeploymentInfo(Arc<Deployment>),
    DeploymentStepSuccess(Arc<Deployment>),
    DeploymentSuccess(Arc<Deployment>),
    DeploymentFailed {
        plan: Arc<Deployment>,
        reason: String,
    },
    GroupChangeSuccess {
        group: PathId,
        version: Time,
    },
    AppTerminated {
        app: PathId,
    },
    StatusUpdate {
        instance: Arc<Instance>,
        state: TaskState,
        message: String,
    },
    InstanceChanged {
        instance: Arc<Instance>,
        condition: &'static str,
    },
    UnknownInstanceTerminated {
        task_id: TaskId,
        condition: &'static str,
    },
}
