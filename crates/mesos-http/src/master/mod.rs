//! The master's endpoints: route table, leadership, dispatch.
//!
//! Only the leader answers for the cluster; others redirect with 307, or say 503
//! when there is no leader. `/health`, `/version`, `/flags`, `/metrics/snapshot`
//! and `/files/*` are about this process and always answer.

mod metrics;
mod roles;
mod state;
mod summary;
mod tasks;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use mesos_master::MasterView;
use model::Time;
use serde_json::json;

pub(crate) use metrics::check_timeout;

use crate::access::{self, Access, Action, Authorizer, Caller};
use crate::build::BuildInfo;
use crate::files::{self, Files, Operation};
use crate::leader::Leadership;
use crate::reply::{self, Refusal};
use crate::routes::{self, Call, Route};
use crate::scheduler::{self, legacy};
use crate::stream::Part;

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
    Files(Operation),
    Scheduler,
    /// The older protocol, which is not spoken.
    Libprocess,
}

const GET: &[&str] = &["GET"];
const POST: &[&str] = &["POST"];

macro_rules! route {
    ($path:literal, $access:expr, $endpoint:expr) => {
        Route {
            path: $path,
            aliases: &[
                concat!("/master", $path),
                concat!($path, ".json"),
                concat!("/master", $path, ".json"),
            ],
            methods: GET,
            access: $access,
            endpoint: $endpoint,
        }
    };
    ($path:literal, $aliases:expr, $access:expr, $endpoint:expr) => {
        Route { path: $path, aliases: $aliases, methods: GET, access: $access, endpoint: $endpoint }
    };
}

/// Everything this router serves, and nothing else.
pub const ROUTES: &[Route<Endpoint>] = &[
    route!("/health", &["/master/health"], Access::Open, Endpoint::Health),
    route!("/version", &[], Access::Open, Endpoint::Version),
    route!("/redirect", &["/master/redirect"], Access::Open, Endpoint::Redirect),
    route!("/redirect/{*rest}", &["/master/redirect/{*rest}"], Access::Open, Endpoint::RedirectLoop),
    route!("/flags", &["/master/flags"], Access::Needs(Action::ViewFlags), Endpoint::Flags),
    route!("/state", access::STATE, Endpoint::State),
    route!("/state-summary", &["/master/state-summary"], access::STATE, Endpoint::StateSummary),
    route!("/slaves", access::STATE, Endpoint::Slaves),
    route!("/frameworks", &["/master/frameworks"], access::STATE, Endpoint::Frameworks),
    route!("/tasks", access::STATE, Endpoint::Tasks),
    route!("/roles", Access::Filtered(&[Action::ViewRole]), Endpoint::Roles),
    route!("/metrics/snapshot", &[], Access::Endpoint, Endpoint::Metrics),
    route!("/files/browse", &["/files/browse.json"], Access::Files, Endpoint::Files(Operation::Browse)),
    route!("/files/read", &["/files/read.json"], Access::Files, Endpoint::Files(Operation::Read)),
    route!("/files/download", &["/files/download.json"], Access::Files, Endpoint::Files(Operation::Download)),
    route!("/files/debug", &["/files/debug.json"], Access::Endpoint, Endpoint::Files(Operation::Debug)),
    Route {
        path: "/api/v1/scheduler",
        aliases: &["/master/api/v1/scheduler"],
        methods: POST,
        access: Access::Calls,
        endpoint: Endpoint::Scheduler,
    },
    Route {
        path: "/mesos.scheduler.Call",
        aliases: legacy::PATHS,
        methods: POST,
        access: Access::Open,
        endpoint: Endpoint::Libprocess,
    },
];

struct Served {
    leadership: Box<dyn Fn() -> Leadership + Send + Sync>,
    identity: MasterIdentity,
    files: Files,
    sessions: Arc<scheduler::Sessions>,
}

/// The endpoints of one master of several.
pub fn master_router(
    leadership: impl Fn() -> Leadership + Send + Sync + 'static,
    identity: MasterIdentity,
) -> Router {
    let served = Served {
        leadership: Box::new(leadership),
        identity,
        files: Files::new(),
        sessions: Default::default(),
    };
    routes::router(ROUTES, Arc::new(served), serve)
}

async fn serve(
    served: Arc<Served>,
    route: &'static Route<Endpoint>,
    call: Call,
) -> Result<Response, Refusal> {
    let caller = Caller::new(&served.identity.authorizer, &call.headers);
    match route.endpoint {
        Endpoint::Health => return Ok(StatusCode::OK.into_response()),
        Endpoint::Version => return Ok(reply::json(&served.identity.build, call.callback)),
        Endpoint::Redirect => return redirect_to_leader(&served),
        Endpoint::RedirectLoop => return Err(Refusal::not_found()),
        Endpoint::Libprocess => return Ok(legacy::refuse(&call)),
        Endpoint::Flags | Endpoint::Metrics | Endpoint::Files(_)
            if !caller.may_enter(route.access, &call.path) =>
        {
            return Err(Refusal::forbidden());
        }
        _ => {}
    }
    match route.endpoint {
        Endpoint::Flags => return Ok(reply::json(&json!({"flags": served.identity.flags}), call.callback)),
        Endpoint::Files(operation) => {
            let attached = files::Attached::log("/master/log", served.identity.log_file.clone());
            return served.files.serve(operation, attached, call).await;
        }
        Endpoint::Metrics => {
            let view = match (served.leadership)() {
                Leadership::Leading(master) => Some(master.view()),
                Leadership::Following { .. } | Leadership::Leaderless => None,
            };
            return metrics::snapshot(view.as_deref(), &served.identity, call);
        }
        _ => {}
    }
    let master = match (served.leadership)() {
        Leadership::Leading(master) => master,
        Leadership::Following { hostname, port } => {
            return Ok(reply::redirect(&hostname, port, &call.path_and_query));
        }
        Leadership::Leaderless => return Err(no_leader()),
    };
    if !caller.may_enter(route.access, &call.path) {
        return Err(Refusal::forbidden());
    }
    if route.endpoint == Endpoint::Scheduler {
        return scheduler::serve(&served.sessions, master, &caller, call).await;
    }
    let parts = cluster(route.endpoint, &master.view(), &served.identity, &call)?;
    Ok(reply::stream(parts, call.callback))
}

/// Endpoints that only the leader answers.
fn cluster(
    endpoint: Endpoint,
    view: &Arc<MasterView>,
    identity: &MasterIdentity,
    call: &Call,
) -> Result<Vec<Part>, Refusal> {
    let query = &call.query;
    Ok(match endpoint {
        Endpoint::State => state::state(view, identity),
        Endpoint::StateSummary => summary::summary(view),
        Endpoint::Slaves => state::slaves(view, query.text("slave_id").as_deref()),
        Endpoint::Frameworks => state::frameworks(view, query.text("framework_id").as_deref()),
        Endpoint::Tasks => tasks::tasks(view, query)?,
        Endpoint::Roles => vec![Part::value(&roles::roles(view))],
        Endpoint::Health
        | Endpoint::Version
        | Endpoint::Flags
        | Endpoint::Redirect
        | Endpoint::RedirectLoop
        | Endpoint::Metrics
        | Endpoint::Scheduler
        | Endpoint::Libprocess
        | Endpoint::Files(_) => return Err(Refusal::not_found()),
    })
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

fn no_leader() -> Refusal {
    Refusal::unavailable("No leader elected")
}
