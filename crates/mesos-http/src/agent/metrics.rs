//! `/metrics/snapshot` of an agent.

use axum::response::Response;
use mesos_agent::AgentView;
use mesos_agent::state::Phase;
use model::TaskState;

use crate::master::check_timeout;
use crate::reply::{self, Refusal};
use crate::routes::Call;
use crate::system::{self, Metrics};

pub(super) fn snapshot(view: &AgentView, call: Call) -> Result<Response, Refusal> {
    check_timeout(&call)?;
    let mut metrics = Metrics::new();
    system::machine(&mut metrics);
    system::usage(&mut metrics, "slave", &view.info.resources, &view.allocated());
    let mut set = |name: &str, value: f64| {
        metrics.insert(format!("slave/{name}"), value);
    };
    set("uptime_secs", system::now().since(view.started).as_secs_f64());
    set("registered", f64::from(u8::from(view.registered)));
    set("frameworks_active", view.frameworks.len() as f64);
    let phase = |phase: Phase| view.tasks.iter().filter(|task| task.task.phase == phase).count() as f64;
    set("executors_registering", phase(Phase::Launching));
    set("executors_running", phase(Phase::Running));
    for (name, state) in [
        ("tasks_staging", TaskState::Staging),
        ("tasks_starting", TaskState::Starting),
        ("tasks_running", TaskState::Running),
        ("tasks_killing", TaskState::Killing),
    ] {
        set(name, view.tasks.iter().filter(|task| task.task.state == state).count() as f64);
    }
    Ok(reply::json(&metrics, call.callback))
}
