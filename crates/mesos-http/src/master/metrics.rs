//! `/metrics/snapshot`: gauges from the view, counters of the term.

use axum::response::Response;
use mesos_master::MasterView;
use mesos_master::view::Counters;
use model::{Resources, TaskState};

use super::MasterIdentity;
use crate::duration;
use crate::reply::{self, Refusal};
use crate::routes::Call;
use crate::system::{self, Metrics};

pub(super) fn snapshot(
    view: Option<&MasterView>,
    identity: &MasterIdentity,
    call: Call,
) -> Result<Response, Refusal> {
    check_timeout(&call)?;
    let mut metrics = Metrics::new();
    system::machine(&mut metrics);
    let uptime = system::now().since(identity.started).as_secs_f64();
    metrics.insert("master/uptime_secs".to_owned(), uptime);
    metrics.insert("master/elected".to_owned(), f64::from(u8::from(view.is_some())));
    if let Some(view) = view {
        gauges(&mut metrics, view);
        counters(&mut metrics, &view.counters);
    }
    Ok(reply::json(&metrics, call.callback))
}

/// All figures are ready at once; the parameter is only checked.
pub(crate) fn check_timeout(call: &Call) -> Result<(), Refusal> {
    match call.query.text("timeout") {
        Some(text) if duration::parse(&text).is_none() => {
            let shown: String = text.chars().take(40).collect();
            Err(Refusal::bad_request(format!(
                "Invalid timeout '{shown}': expecting a number and a unit, such as 5secs.\n"
            )))
        }
        _ => Ok(()),
    }
}

fn gauges(metrics: &mut Metrics, view: &MasterView) {
    let mut set = |name: &str, value: usize| {
        metrics.insert(format!("master/{name}"), value as f64);
    };
    let active = view.agents.iter().filter(|agent| agent.active).count();
    let inactive = view.agents.len() - active;
    set("slaves_active", active);
    set("slaves_connected", active);
    set("slaves_inactive", inactive);
    set("slaves_disconnected", inactive);
    set("slaves_unreachable", view.unreachable_agents.len());
    let active = view.frameworks.iter().filter(|framework| framework.active).count();
    let connected = view.frameworks.iter().filter(|framework| framework.connected).count();
    set("frameworks_active", active);
    set("frameworks_inactive", view.frameworks.len() - active);
    set("frameworks_connected", connected);
    set("frameworks_disconnected", view.frameworks.len() - connected);
    set("outstanding_offers", view.frameworks.iter().map(|framework| framework.offers.len()).sum());
    let states = [
        ("tasks_staging", TaskState::Staging),
        ("tasks_starting", TaskState::Starting),
        ("tasks_running", TaskState::Running),
        ("tasks_killing", TaskState::Killing),
    ];
    let live = || view.frameworks.iter().flat_map(|framework| &framework.tasks);
    for (name, state) in states {
        set(name, live().filter(|task| task.state == state).count());
    }
    set("tasks_unreachable", view.frameworks.iter().map(|framework| framework.unreachable_tasks.len()).sum());
    let (mut total, mut used) = (Resources::new(), Resources::new());
    for agent in &view.agents {
        total.add(&agent.info.resources);
        used.add(&agent.used);
    }
    system::usage(metrics, "master", &total, &used);
}

fn counters(metrics: &mut Metrics, counters: &Counters) {
    // Lossless below 2^53.
    let mut set = |name: &str, value: u64| {
        metrics.insert(name.to_owned(), value as f64);
    };
    set("master/tasks_finished", counters.tasks_finished);
    set("master/tasks_failed", counters.tasks_failed);
    set("master/tasks_killed", counters.tasks_killed);
    set("master/tasks_lost", counters.tasks_lost);
    set("master/tasks_error", counters.tasks_error);
    set("master/tasks_dropped", counters.tasks_dropped);
    set("master/tasks_gone", counters.tasks_gone);
    set("master/valid_status_updates", counters.status_updates_valid);
    set("master/invalid_status_updates", counters.status_updates_invalid);
    set("master/valid_status_update_acknowledgements", counters.acknowledgements_valid);
    set("master/invalid_status_update_acknowledgements", counters.acknowledgements_invalid);
    set("master/messages_status_update", counters.status_updates_valid + counters.status_updates_invalid);
    set(
        "master/messages_status_update_acknowledgement",
        counters.acknowledgements_valid + counters.acknowledgements_invalid,
    );
    set("master/slave_registrations", counters.agent_registrations);
    set("master/slave_reregistrations", counters.agent_reregistrations);
    set("master/messages_register_slave", counters.agent_registrations);
    set("master/messages_reregister_slave", counters.agent_reregistrations);
    // An agent is only ever removed by becoming unreachable.
    set("master/slave_removals", counters.agents_unreachable);
    set("master/slave_removals/reason_unhealthy", counters.agents_unreachable);
    set("master/slave_unreachable_completed", counters.agents_unreachable);
    set("master/messages_launch_tasks", counters.calls_accept);
    set("master/messages_decline_offers", counters.calls_decline);
    set("master/messages_kill_task", counters.calls_kill);
    set("master/messages_reconcile_tasks", counters.calls_reconcile);
    set("master/messages_revive_offers", counters.calls_revive);
    set("master/messages_suppress_offers", counters.calls_suppress);
    set("allocator/mesos/allocation_runs", counters.allocation_runs);
}
