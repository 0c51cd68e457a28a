//! The agent's endpoints, each as `/x` and `/slave(1)/x`.
//!
//! Everything is about this node and is answered from its last published view,
//! with or without a master.

mod containers;
mod metrics;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use mesos_agent::AgentView;
use model::ContainerId;
use serde_json::json;

pub use containers::ContainerStatistics;

use crate::access::{self, Access, Action, Authorizer, Caller};
use crate::build::BuildInfo;
use crate::files::{Attached, Files, FilesConfig, Operation};
use crate::reply::{self, Refusal};
use crate::routes::{self, Call, Route};

/// Asks the container runtime; `None` for a container it does not have.
pub type StatisticsSource = Arc<dyn Fn(&ContainerId) -> Option<ContainerStatistics> + Send + Sync>;

/// What does not change while this process runs.
#[derive(Clone)]
pub struct AgentIdentity {
    pub build: BuildInfo,
    /// Effective settings, as `/flags` shows them; never a secret.
    pub flags: BTreeMap<String, String>,
    /// Absent: `/monitor/statistics` is empty, `/containers` has no figures.
    pub statistics: Option<StatisticsSource>,
    pub authorizer: Arc<dyn Authorizer>,
}

impl fmt::Debug for AgentIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentIdentity")
            .field("build", &self.build)
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

/// What a route serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    Health,
    Version,
    Flags,
    State,
    Containers,
    Statistics,
    Metrics,
    Files(Operation),
}

const GET: &[&str] = &["GET"];

const fn route(
    path: &'static str,
    aliases: &'static [&'static str],
    access: Access,
    endpoint: Endpoint,
) -> Route<Endpoint> {
    Route { path, aliases, methods: GET, access, endpoint }
}

/// Everything this router serves, and nothing else.
pub const ROUTES: &[Route<Endpoint>] = &[
    route("/health", &["/slave(1)/health"], Access::Open, Endpoint::Health),
    route("/version", &[], Access::Open, Endpoint::Version),
    route("/flags", &["/slave(1)/flags"], Access::Needs(Action::ViewFlags), Endpoint::Flags),
    route(
        "/state",
        &["/slave(1)/state", "/state.json", "/slave(1)/state.json"],
        access::STATE,
        Endpoint::State,
    ),
    route(
        "/containers",
        &["/slave(1)/containers"],
        Access::Filtered(&[Action::ViewContainer]),
        Endpoint::Containers,
    ),
    route(
        "/monitor/statistics",
        &["/slave(1)/monitor/statistics", "/monitor/statistics.json", "/slave(1)/monitor/statistics.json"],
        Access::Endpoint,
        Endpoint::Statistics,
    ),
    route("/metrics/snapshot", &[], Access::Endpoint, Endpoint::Metrics),
    route("/files/browse", &["/files/browse.json"], Access::Files, Endpoint::Files(Operation::Browse)),
    route("/files/read", &["/files/read.json"], Access::Files, Endpoint::Files(Operation::Read)),
    route("/files/download", &["/files/download.json"], Access::Files, Endpoint::Files(Operation::Download)),
    route("/files/debug", &["/files/debug.json"], Access::Endpoint, Endpoint::Files(Operation::Debug)),
];

struct Served {
    view: Arc<dyn Fn() -> Arc<AgentView> + Send + Sync>,
    identity: AgentIdentity,
    config: FilesConfig,
    files: Files,
}

pub fn agent_router(
    view: Arc<dyn Fn() -> Arc<AgentView> + Send + Sync>,
    identity: AgentIdentity,
    config: FilesConfig,
) -> Router {
    let served = Served { view, identity, config, files: Files::new() };
    routes::router(ROUTES, Arc::new(served), serve)
}

async fn serve(
    served: Arc<Served>,
    route: &'static Route<Endpoint>,
    call: Call,
) -> Result<Response, Refusal> {
    let identity = &served.identity;
    let caller = Caller::new(&identity.authorizer, &call.headers);
    if !caller.may_enter(route.access, &call.path) {
        return Err(Refusal::forbidden());
    }
    match route.endpoint {
        Endpoint::Health => Ok(StatusCode::OK.into_response()),
        Endpoint::Version => Ok(reply::json(&identity.build, call.callback)),
        Endpoint::Flags => Ok(reply::json(&json!({"flags": identity.flags}), call.callback)),
        Endpoint::State => {
            let parts = state::state(&(served.view)(), identity, &served.config);
            Ok(reply::stream(parts, call.callback))
        }
        Endpoint::Containers => {
            let chosen = containers::Selection::of(&call.query)?;
            let view = (served.view)();
            let list = containers::containers(&view, identity.statistics.as_ref(), &chosen);
            Ok(reply::json(&list, call.callback))
        }
        Endpoint::Statistics => {
            let view = (served.view)();
            Ok(reply::json(&containers::statistics(&view, identity.statistics.as_ref()), call.callback))
        }
        Endpoint::Metrics => metrics::snapshot(&(served.view)(), call),
        Endpoint::Files(operation) => {
            let attached = Attached::agent((served.view)(), served.config.log_file.clone());
            served.files.serve(operation, attached, call).await
        }
    }
}
