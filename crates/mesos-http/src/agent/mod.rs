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
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use mesos_agent::AgentView;
use mesos_agent::shell::Handle;
use serde_json::json;

pub use containers::ContainerStatistics;
pub(crate) use metrics::all as all_metrics;
pub(crate) use state::{executor_name, role_of};

use crate::access::{self, Access, Action, Authorizer, Caller};
use crate::build::BuildInfo;
use crate::executor;
use crate::files::{Attached, Files, FilesConfig, Operation};
use crate::logging::{self, Logging};
use crate::master::check_timeout;
use crate::operator;
use crate::operator::agent::runtime::ContainerRuntime;
use crate::operator::agent::{Inputs, visible};
use crate::reply::{self, Refusal};
use crate::routes::{self, Call, Route};
use crate::system;

/// What does not change while this process runs.
#[derive(Clone)]
pub struct AgentIdentity {
    pub build: BuildInfo,
    /// Effective settings, as `/flags` shows them; never a secret.
    pub flags: BTreeMap<String, String>,
    pub runtime: Arc<dyn ContainerRuntime>,
    pub authorizer: Arc<dyn Authorizer>,
    pub logging: Arc<dyn Logging>,
    /// Takes the calls of executors. Absent: they are told to come later.
    pub executors: Option<Handle>,
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
    SystemStats,
    Logging,
    Files(Operation),
    Calls,
    Executor,
}

const GET: &[&str] = &["GET"];
const POST: &[&str] = &["POST"];

const fn row(
    path: &'static str,
    aliases: &'static [&'static str],
    methods: &'static [&'static str],
    access: Access,
    endpoint: Endpoint,
) -> Route<Endpoint> {
    Route { path, aliases, methods, access, endpoint }
}

/// A path with its usual alias.
macro_rules! plain {
    ($path:literal, $methods:expr, $access:expr, $endpoint:expr) => {
        row($path, &[concat!("/slave(1)", $path)], $methods, $access, $endpoint)
    };
}

/// One that was once called `.json` too.
macro_rules! suffixed {
    ($path:literal, $access:expr, $endpoint:expr) => {
        row(
            $path,
            &[concat!("/slave(1)", $path), concat!($path, ".json"), concat!("/slave(1)", $path, ".json")],
            GET,
            $access,
            $endpoint,
        )
    };
}

/// Everything this router serves, and nothing else.
pub const ROUTES: &[Route<Endpoint>] = &[
    plain!("/health", GET, Access::Open, Endpoint::Health),
    plain!("/version", GET, Access::Open, Endpoint::Version),
    plain!("/flags", GET, Access::Needs(Action::ViewFlags), Endpoint::Flags),
    plain!("/api/v1", POST, Access::Calls, Endpoint::Calls),
    suffixed!("/state", access::STATE, Endpoint::State),
    plain!("/containers", GET, Access::Filtered(&[Action::ViewContainer]), Endpoint::Containers),
    suffixed!("/monitor/statistics", Access::Endpoint, Endpoint::Statistics),
    row("/metrics/snapshot", &[], GET, Access::Endpoint, Endpoint::Metrics),
    row("/system/stats.json", &[], GET, Access::Endpoint, Endpoint::SystemStats),
    row("/logging/toggle", &[], &["GET", "POST"], Access::Needs(Action::SetLogLevel), Endpoint::Logging),
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
    plain!("/api/v1/executor", POST, Access::Calls, Endpoint::Executor),
];

/// Between the heartbeats of a container's output.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// What the endpoints of one agent share.
pub(crate) struct Served {
    pub view: Arc<dyn Fn() -> Arc<AgentView> + Send + Sync>,
    pub identity: AgentIdentity,
    config: FilesConfig,
    pub files: Files,
    pub inputs: Arc<Inputs>,
    /// Between the heartbeats of a container's output.
    pub heartbeat: Duration,
}

impl Served {
    pub fn attached(&self) -> Attached {
        Attached::agent((self.view)(), self.config.log_file.clone())
    }
}

pub fn agent_router(
    view: Arc<dyn Fn() -> Arc<AgentView> + Send + Sync>,
    identity: AgentIdentity,
    config: FilesConfig,
) -> Router {
    router_with_heartbeat(view, identity, config, HEARTBEAT)
}

pub(crate) fn router_with_heartbeat(
    view: Arc<dyn Fn() -> Arc<AgentView> + Send + Sync>,
    identity: AgentIdentity,
    config: FilesConfig,
    heartbeat: Duration,
) -> Router {
    let served = Served { view, identity, config, files: Files::new(), inputs: Arc::default(), heartbeat };
    routes::router(ROUTES, Arc::new(served), serve)
}

async fn serve(
    served: Arc<Served>,
    route: &'static Route<Endpoint>,
    call: Call,
) -> Result<Response, Refusal> {
    let caller = Caller::new(&served.identity.authorizer, &call.headers);
    if route.endpoint == Endpoint::Calls {
        return operator::agent::serve(served, caller, call).await;
    }
    if !caller.may_enter(route.access, &call.path) {
        return Err(Refusal::forbidden());
    }
    let identity = &served.identity;
    match route.endpoint {
        Endpoint::Health | Endpoint::Calls => Ok(StatusCode::OK.into_response()),
        Endpoint::Executor => executor::serve(identity.executors.as_ref(), call).await,
        Endpoint::Version => Ok(reply::json(&identity.build, call.callback)),
        Endpoint::Flags => Ok(reply::json(&json!({"flags": identity.flags}), call.callback)),
        Endpoint::State => {
            let view = visible(&caller, &(served.view)());
            let parts = state::state(&view, identity, &served.config);
            Ok(reply::stream(parts, call.callback))
        }
        Endpoint::Containers => {
            let chosen = containers::Selection::of(&call.query)?;
            let view = visible(&caller, &(served.view)());
            let list = containers::containers(&view, &*identity.runtime, &chosen).await;
            Ok(reply::json(&list, call.callback))
        }
        Endpoint::Statistics => {
            let view = (served.view)();
            Ok(reply::json(&containers::statistics(&view, &*identity.runtime).await, call.callback))
        }
        Endpoint::Metrics => {
            check_timeout(&call)?;
            Ok(reply::json(&all_metrics(&(served.view)()), call.callback))
        }
        Endpoint::SystemStats => Ok(reply::json(&system::stats(), call.callback)),
        Endpoint::Logging => logging::toggle(&*identity.logging, &call),
        Endpoint::Files(operation) => served.files.serve(operation, served.attached(), &caller, call).await,
    }
}
