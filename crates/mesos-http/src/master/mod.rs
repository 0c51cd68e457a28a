//! The master's endpoints: route table, leadership, dispatch.
//!
//! Only the leader answers for the cluster; others redirect with 307, or say 503
//! when there is no leader. `/health`, `/version`, `/flags`, `/metrics/snapshot`,
//! `/logging/toggle`, `/system/stats.json` and `/files/*` are about this process
//! and always answer.

mod changes;
mod metrics;
mod roles;
mod state;
mod summary;
mod tasks;
#[cfg(test)]
mod tests;
mod visible;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use mesos_master::MasterView;
use model::{AgentId, FrameworkId, Time};
use serde_json::json;

pub(crate) use metrics::{TIMER_SUFFIXES, check_timeout};
pub(crate) use roles::{Figures, figures as role_figures, weight as role_weight};
pub(crate) use visible::visible;

use crate::access::{self, Access, Action, Authorizer, Caller};
use crate::build::BuildInfo;
use crate::files::{self, Files, Operation};
use crate::leader::{Leadership, LeadingMaster};
use crate::logging::{self, Logging};
use crate::operator;
use crate::query::Query;
use crate::reply::{self, Refusal};
use crate::routes::{self, Call, Route};
use crate::scheduler::{self, legacy};
use crate::shared::Shared;
use crate::stream::{JsonBody, Part};
use crate::system::{self, Metrics};

/// What does not change while this process runs.
#[derive(Debug, Clone)]
pub struct MasterIdentity {
    pub build: BuildInfo,
    pub started: Time,
    /// Effective settings, as `/flags` shows them; never a secret.
    pub flags: BTreeMap<String, String>,
    /// Served as `/master/log`.
    pub log_file: Option<PathBuf>,
    pub authorizer: Arc<dyn Authorizer>,
    pub logging: Arc<dyn Logging>,
}

/// What a route serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    Health,
    Version,
    Flags,
    Redirect,
    RedirectLoop,
    State,
    StateSummary,
    Slaves,
    Frameworks,
    Tasks,
    Roles,
    Metrics,
    SystemStats,
    Logging,
    Files(Operation),
    Scheduler,
    /// The older protocol, which is not spoken.
    Libprocess,
    Calls,
    Explain,
    Weights,
    UpdateWeights,
    Quota,
    SetQuota,
    RemoveQuota,
    Schedule,
    UpdateSchedule,
    MaintenanceStatus,
    MachineDown,
    MachineUp,
    Reserve,
    Unreserve,
    CreateVolumes,
    DestroyVolumes,
    Teardown,
}

const fn row(
    path: &'static str,
    aliases: &'static [&'static str],
    methods: &'static [&'static str],
    access: Access,
    endpoint: Endpoint,
) -> Route<Endpoint> {
    Route { path, aliases, methods, access, endpoint }
}

/// A path with its usual aliases.
macro_rules! plain {
    ($path:literal, $methods:expr, $access:expr, $endpoint:expr) => {
        row($path, &[concat!("/master", $path)], $methods, $access, $endpoint)
    };
}

/// One that was once called `.json` too.
macro_rules! suffixed {
    ($path:literal, $access:expr, $endpoint:expr) => {
        row(
            $path,
            &[concat!("/master", $path), concat!($path, ".json"), concat!("/master", $path, ".json")],
            GET,
            $access,
            $endpoint,
        )
    };
}

const GET: &[&str] = &["GET"];
const POST: &[&str] = &["POST"];
const PUT: &[&str] = &["PUT"];
const DELETE: &[&str] = &["DELETE"];

const fn needs(action: Action) -> Access {
    Access::Needs(action)
}

/// Everything this router serves, and nothing else.
pub const ROUTES: &[Route<Endpoint>] = &[
    plain!("/health", GET, Access::Open, Endpoint::Health),
    row("/version", &["/master/version"], GET, Access::Open, Endpoint::Version),
    plain!("/redirect", GET, Access::Open, Endpoint::Redirect),
    plain!("/redirect/{*rest}", GET, Access::Open, Endpoint::RedirectLoop),
    plain!("/flags", GET, needs(Action::ViewFlags), Endpoint::Flags),
    plain!("/api/v1", POST, Access::Calls, Endpoint::Calls),
    plain!("/api/v1/scheduler", POST, Access::Calls, Endpoint::Scheduler),
    row("/mesos.scheduler.Call", legacy::PATHS, POST, Access::Open, Endpoint::Libprocess),
    suffixed!("/state", access::STATE, Endpoint::State),
    plain!("/state-summary", GET, access::STATE, Endpoint::StateSummary),
    suffixed!("/slaves", access::STATE, Endpoint::Slaves),
    plain!("/frameworks", GET, access::STATE, Endpoint::Frameworks),
    suffixed!("/tasks", access::STATE, Endpoint::Tasks),
    suffixed!("/roles", Access::Filtered(&[Action::ViewRole]), Endpoint::Roles),
    plain!("/weights", GET, Access::Filtered(&[Action::ViewRole]), Endpoint::Weights),
    plain!("/weights", PUT, needs(Action::UpdateWeight), Endpoint::UpdateWeights),
    plain!("/quota", GET, Access::Filtered(&[Action::GetQuota]), Endpoint::Quota),
    plain!("/quota", POST, needs(Action::UpdateQuota), Endpoint::SetQuota),
    plain!("/quota", DELETE, needs(Action::UpdateQuota), Endpoint::RemoveQuota),
    plain!("/quota/{*role}", DELETE, needs(Action::UpdateQuota), Endpoint::RemoveQuota),
    plain!("/reserve", POST, needs(Action::ReserveResources), Endpoint::Reserve),
    plain!("/unreserve", POST, needs(Action::UnreserveResources), Endpoint::Unreserve),
    plain!("/create-volumes", POST, needs(Action::CreateVolume), Endpoint::CreateVolumes),
    plain!("/destroy-volumes", POST, needs(Action::DestroyVolume), Endpoint::DestroyVolumes),
    plain!("/teardown", POST, needs(Action::TeardownFramework), Endpoint::Teardown),
    plain!(
        "/maintenance/schedule",
        GET,
        Access::Filtered(&[Action::GetMaintenanceSchedule]),
        Endpoint::Schedule
    ),
    plain!("/maintenance/schedule", POST, needs(Action::UpdateMaintenanceSchedule), Endpoint::UpdateSchedule),
    plain!(
        "/maintenance/status",
        GET,
        Access::Filtered(&[Action::GetMaintenanceStatus]),
        Endpoint::MaintenanceStatus
    ),
    plain!("/machine/down", POST, needs(Action::StartMaintenance), Endpoint::MachineDown),
    plain!("/machine/up", POST, needs(Action::StopMaintenance), Endpoint::MachineUp),
    // Ours, beside Mesos' own.
    row("/dcosd/explain", &["/master/dcosd/explain"], GET, needs(Action::ViewFramework), Endpoint::Explain),
    row("/metrics/snapshot", &[], GET, Access::Endpoint, Endpoint::Metrics),
    row("/stats.json", &["/master/stats.json"], GET, Access::Endpoint, Endpoint::Metrics),
    row("/system/stats.json", &[], GET, Access::Endpoint, Endpoint::SystemStats),
    row("/logging/toggle", &[], &["GET", "POST"], needs(Action::SetLogLevel), Endpoint::Logging),
    row("/files/browse", &["/files/browse.json"], GET, Access::Files, Endpoint::Files(Operation::Browse)),
    row("/files/read", &["/files/read.json"], GET, Access::Files, Endpoint::Files(Operation::Read)),
    row(
        "/files/download",
        &["/files/download.json"],
        GET,
        Access::Files,
        Endpoint::Files(Operation::Download),
    ),
    row("/files/debug", &["/files/debug.json"], GET, Access::Endpoint, Endpoint::Files(Operation::Debug)),
];

/// What the endpoints of one master share.
pub(crate) struct Served {
    leadership: Box<dyn Fn() -> Leadership + Send + Sync>,
    pub identity: MasterIdentity,
    pub files: Files,
    pub shared: Shared,
    /// Between the heartbeats of event streams.
    pub heartbeat: Duration,
    pub subscribers: Arc<Subscribers>,
    sessions: Arc<scheduler::Sessions>,
}

/// Event streams that are open.
#[derive(Debug, Default)]
pub(crate) struct Subscribers(std::sync::atomic::AtomicUsize);

/// One of them, until it is dropped.
pub(crate) struct Subscriber(Arc<Subscribers>);

impl Subscribers {
    pub fn enter(self: Arc<Self>) -> Subscriber {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Subscriber(self)
    }

    fn count(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Served {
    fn new(
        leadership: impl Fn() -> Leadership + Send + Sync + 'static,
        identity: MasterIdentity,
        heartbeat: Duration,
    ) -> Self {
        Self {
            leadership: Box::new(leadership),
            identity,
            files: Files::new(),
            shared: Shared::default(),
            heartbeat,
            subscribers: Arc::default(),
            sessions: Arc::default(),
        }
    }

    pub fn attached(&self) -> files::Attached {
        files::Attached::log("/master/log", self.identity.log_file.clone())
    }

    pub fn metrics(&self, view: Option<&MasterView>) -> Metrics {
        metrics::all(view, &self.identity, self.subscribers.count(), self.shared.hits())
    }
}

/// The endpoints of one master of several.
pub fn master_router(
    leadership: impl Fn() -> Leadership + Send + Sync + 'static,
    identity: MasterIdentity,
) -> Router {
    let heartbeat = operator::master::heartbeat_default();
    routes::router(ROUTES, Arc::new(Served::new(leadership, identity, heartbeat)), serve)
}

#[cfg(test)]
pub(crate) fn router_with_heartbeat(
    leadership: impl Fn() -> Leadership + Send + Sync + 'static,
    identity: MasterIdentity,
    heartbeat: Duration,
) -> Router {
    routes::router(ROUTES, Arc::new(Served::new(leadership, identity, heartbeat)), serve)
}

async fn serve(
    served: Arc<Served>,
    route: &'static Route<Endpoint>,
    call: Call,
) -> Result<Response, Refusal> {
    let caller = Caller::new(&served.identity.authorizer, &call.headers);
    if let Some(kind) = about_the_process(route.endpoint) {
        if !caller.may_enter(route.access, &call.path) {
            return Err(Refusal::forbidden());
        }
        return process(&served, kind, &caller, call).await;
    }
    let master = match (served.leadership)() {
        Leadership::Leading(master) => master,
        Leadership::Following { hostname, port } => {
            return Ok(reply::redirect(&hostname, port, &call.path_and_query));
        }
        Leadership::Leaderless => return Err(no_leader()),
    };
    if route.endpoint == Endpoint::Calls {
        return operator::master::serve(&served, caller, master, call).await;
    }
    if !caller.may_enter(route.access, &call.path) {
        return Err(Refusal::forbidden());
    }
    match route.endpoint {
        Endpoint::Scheduler => scheduler::serve(&served.sessions, master, &caller, call).await,
        Endpoint::State
        | Endpoint::StateSummary
        | Endpoint::Slaves
        | Endpoint::Frameworks
        | Endpoint::Tasks
        | Endpoint::Roles => read(&served, route.endpoint, &caller, master.view(), call).await,
        Endpoint::Explain => explain(&*master, &call.query, call.callback).await,
        other => changes::serve(other, &caller, &*master, call).await,
    }
}

/// What every master answers for itself.
fn about_the_process(endpoint: Endpoint) -> Option<Endpoint> {
    matches!(
        endpoint,
        Endpoint::Health
            | Endpoint::Version
            | Endpoint::Flags
            | Endpoint::Redirect
            | Endpoint::RedirectLoop
            | Endpoint::Metrics
            | Endpoint::SystemStats
            | Endpoint::Logging
            | Endpoint::Libprocess
            | Endpoint::Files(_)
    )
    .then_some(endpoint)
}

async fn process(
    served: &Served,
    endpoint: Endpoint,
    caller: &Caller,
    call: Call,
) -> Result<Response, Refusal> {
    match endpoint {
        Endpoint::Version => Ok(reply::json(&served.identity.build, call.callback)),
        Endpoint::Libprocess => Ok(legacy::refuse(&call)),
        Endpoint::Redirect => redirect_to_leader(served),
        Endpoint::RedirectLoop => Err(Refusal::not_found()),
        Endpoint::Flags => Ok(reply::json(&json!({"flags": served.identity.flags}), call.callback)),
        Endpoint::SystemStats => Ok(reply::json(&system::stats(), call.callback)),
        Endpoint::Logging => logging::toggle(&*served.identity.logging, &call),
        Endpoint::Files(operation) => served.files.serve(operation, served.attached(), caller, call).await,
        Endpoint::Metrics => {
            check_timeout(&call)?;
            let view = match (served.leadership)() {
                Leadership::Leading(master) => Some(master.view()),
                Leadership::Following { .. } | Leadership::Leaderless => None,
            };
            Ok(reply::json(&served.metrics(view.as_deref()), call.callback))
        }
        _ => Ok(StatusCode::OK.into_response()),
    }
}

/// A question about the cluster, checked; equal ones have equal answers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Read {
    State,
    Summary,
    Slaves(Option<String>),
    Frameworks(Option<String>),
    Tasks(tasks::Page),
    Roles,
}

impl Read {
    fn of(endpoint: Endpoint, query: &Query) -> Result<Self, Refusal> {
        let text = |name: &str| query.text(name).map(|value| value.into_owned());
        Ok(match endpoint {
            Endpoint::StateSummary => Self::Summary,
            Endpoint::Slaves => Self::Slaves(text("slave_id")),
            Endpoint::Frameworks => Self::Frameworks(text("framework_id")),
            Endpoint::Tasks => Self::Tasks(tasks::Page::of(query)?),
            Endpoint::Roles => Self::Roles,
            _ => Self::State,
        })
    }

    fn parts(&self, view: &Arc<MasterView>, identity: &MasterIdentity) -> Vec<Part> {
        match self {
            Self::State => state::state(view, identity),
            Self::Summary => summary::summary(view),
            Self::Slaves(id) => state::slaves(view, id.as_deref()),
            Self::Frameworks(id) => state::frameworks(view, id.as_deref()),
            Self::Tasks(page) => tasks::tasks(view, page),
            Self::Roles => vec![Part::value(&roles::roles(view))],
        }
    }
}

/// Made once per snapshot for all who see the same.
async fn read(
    served: &Arc<Served>,
    endpoint: Endpoint,
    caller: &Caller,
    view: Arc<MasterView>,
    call: Call,
) -> Result<Response, Refusal> {
    let read = Read::of(endpoint, &call.query)?;
    if !caller.sees_all() {
        return Ok(reply::stream(read.parts(&visible(caller, &view), &served.identity), call.callback));
    }
    let (key, shown, shared) = (format!("{read:?}"), view.clone(), served.clone());
    let make = move || JsonBody::new(read.parts(&shown, &shared.identity)).into_pieces();
    Ok(reply::pieces(served.shared.answer(&view, key, make).await?, call.callback))
}

/// Why a framework gets no offer from an agent: the master's own reasons.
async fn explain(
    master: &dyn LeadingMaster,
    query: &Query,
    callback: Option<String>,
) -> Result<Response, Refusal> {
    let needed = |name: &str| {
        let given = query.text(name).filter(|value| !value.is_empty());
        given.map(|value| value.into_owned()).ok_or_else(|| {
            Refusal::bad_request(format!(
                "Expecting '{name}=value' in query: both 'framework_id' and 'slave_id' are needed.\n"
            ))
        })
    };
    let (framework_id, slave_id) = (needed("framework_id")?, needed("slave_id")?);
    let view = master.view();
    if !view.frameworks.iter().any(|framework| framework.id.as_str() == framework_id) {
        let message = format!("No framework found with ID '{framework_id}'.\n");
        return Err(Refusal { status: StatusCode::NOT_FOUND, message });
    }
    if !view.agents.iter().any(|agent| agent.id.as_str() == slave_id) {
        let message = format!("No agent found with ID '{slave_id}'.\n");
        return Err(Refusal { status: StatusCode::NOT_FOUND, message });
    }
    let asked = master.explain(FrameworkId::new(&framework_id), AgentId::new(&slave_id));
    let Some(reasons) = asked.await else { return Err(no_leader()) };
    let answer = json!({"framework_id": framework_id, "slave_id": slave_id, "reasons": reasons});
    Ok(reply::json(&answer, callback))
}

fn redirect_to_leader(served: &Served) -> Result<Response, Refusal> {
    match (served.leadership)() {
        Leadership::Leading(master) => {
            let config = &master.view().config;
            Ok(reply::redirect(&config.hostname, config.port, ""))
        }
        Leadership::Following { hostname, port } => Ok(reply::redirect(&hostname, port, "")),
        Leadership::Leaderless => Err(no_leader()),
    }
}

pub(crate) fn no_leader() -> Refusal {
    Refusal::unavailable("No leader elected")
}
