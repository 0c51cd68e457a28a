//! `/metrics/snapshot`: gauges from the view, counters of the term.
//!
//! Every name of the original that depends on nothing is always there. What has
//! no meaning in this house is 0; `docs/metrics.md` says why.

use std::collections::BTreeMap;

use mesos_master::MasterView;
use mesos_master::view::{Counters, FrameworkView};
use model::{Resources, Source, TaskState};

use super::MasterIdentity;
use super::roles::{Figures, figures, weight};
use crate::duration;
use crate::reply::Refusal;
use crate::routes::Call;
use crate::system::{self, Metrics};

/// Counters and gauges of the master that are always shown.
const NAMES: &[&str] = &[
    "slaves_active",
    "slaves_inactive",
    "slaves_connected",
    "slaves_disconnected",
    "slaves_unreachable",
    "frameworks_active",
    "frameworks_inactive",
    "frameworks_connected",
    "frameworks_disconnected",
    "outstanding_offers",
    "event_queue_dispatches",
    "event_queue_http_requests",
    "event_queue_messages",
    "operator_event_stream_subscribers",
    "slave_registrations",
    "slave_reregistrations",
    "slave_removals",
    "slave_removals/reason_registered",
    "slave_removals/reason_unhealthy",
    "slave_removals/reason_unregistered",
    "slave_unreachable_scheduled",
    "slave_unreachable_completed",
    "slave_unreachable_canceled",
    "slave_shutdowns_scheduled",
    "slave_shutdowns_completed",
    "slave_shutdowns_canceled",
    "recovery_slave_removals",
    "dropped_messages",
    "http_cache_hits",
    "tasks_staging",
    "tasks_starting",
    "tasks_running",
    "tasks_killing",
    "tasks_unreachable",
    "tasks_finished",
    "tasks_failed",
    "tasks_killed",
    "tasks_lost",
    "tasks_error",
    "tasks_dropped",
    "tasks_gone",
    "tasks_gone_by_operator",
    "messages_authenticate",
    "messages_deactivate_framework",
    "messages_decline_offers",
    "messages_executor_to_framework",
    "messages_exited_executor",
    "messages_framework_to_executor",
    "messages_kill_task",
    "messages_launch_tasks",
    "messages_operation_status_update",
    "messages_operation_status_update_acknowledgement",
    "messages_reconcile_operations",
    "messages_reconcile_tasks",
    "messages_register_framework",
    "messages_register_slave",
    "messages_reregister_framework",
    "messages_reregister_slave",
    "messages_resource_request",
    "messages_revive_offers",
    "messages_status_update",
    "messages_status_update_acknowledgement",
    "messages_suppress_offers",
    "messages_unregister_framework",
    "messages_unregister_slave",
    "messages_update_slave",
    "valid_executor_to_framework_messages",
    "invalid_executor_to_framework_messages",
    "valid_framework_to_executor_messages",
    "invalid_framework_to_executor_messages",
    "valid_status_updates",
    "invalid_status_updates",
    "valid_status_update_acknowledgements",
    "invalid_status_update_acknowledgements",
    "valid_operation_status_updates",
    "invalid_operation_status_updates",
    "valid_operation_status_update_acknowledgements",
    "invalid_operation_status_update_acknowledgements",
];

/// Other rooms of the original's process.
const OTHERS: &[&str] = &[
    "allocator/event_queue_dispatches",
    "allocator/mesos/event_queue_dispatches",
    "allocator/mesos/allocation_runs",
    "registrar/queued_operations",
    "registrar/registry_size_bytes",
    "registrar/state_fetch_ms",
    "registrar/log/recovered",
    "registrar/log/ensemble_size",
];

/// Timers, which expand to their statistics.
const TIMERS: &[&str] = &[
    "allocator/mesos/allocation_run_ms",
    "allocator/mesos/allocation_run_latency_ms",
    "registrar/state_store_ms",
];

/// What a timer expands to.
pub(crate) const TIMER_SUFFIXES: &[&str] =
    &["", "/count", "/max", "/min", "/p50", "/p90", "/p95", "/p99", "/p999", "/p9999"];

pub(super) fn all(
    view: Option<&MasterView>,
    identity: &MasterIdentity,
    subscribers: usize,
    cache_hits: u64,
) -> Metrics {
    let mut metrics = Metrics::new();
    for name in NAMES {
        metrics.insert(format!("master/{name}"), 0.0);
    }
    for name in OTHERS {
        metrics.insert((*name).to_owned(), 0.0);
    }
    for (timer, suffix) in TIMERS.iter().flat_map(|timer| TIMER_SUFFIXES.iter().map(move |s| (timer, s))) {
        metrics.insert(format!("{timer}{suffix}"), 0.0);
    }
    system::machine(&mut metrics);
    system::usage(&mut metrics, "master", &Resources::new(), &Resources::new());
    let uptime = system::now().since(identity.started).as_secs_f64();
    metrics.insert("master/uptime_secs".to_owned(), uptime);
    metrics.insert("master/elected".to_owned(), f64::from(u8::from(view.is_some())));
    metrics.insert("master/operator_event_stream_subscribers".to_owned(), subscribers as f64);
    metrics.insert("master/http_cache_hits".to_owned(), cache_hits as f64);
    if let Some(view) = view {
        metrics.insert("registrar/log/recovered".to_owned(), 1.0);
        metrics.insert("registrar/log/ensemble_size".to_owned(), 1.0);
        gauges(&mut metrics, view);
        counters(&mut metrics, &view.counters);
        for framework in &view.frameworks {
            of_framework(&mut metrics, framework);
        }
        allocator(&mut metrics, view);
    }
    metrics
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
    let connected = view.agents.iter().filter(|agent| agent.connected).count();
    set("slaves_active", active);
    set("slaves_connected", connected);
    set("slaves_inactive", view.agents.len() - active);
    set("slaves_disconnected", view.agents.len() - connected);
    set("slaves_unreachable", view.unreachable_agents.len());
    let active = view.frameworks.iter().filter(|framework| framework.active).count();
    let connected = view.frameworks.iter().filter(|framework| framework.connected).count();
    set("frameworks_active", active);
    set("frameworks_inactive", view.frameworks.len() - active);
    set("frameworks_connected", connected);
    set("frameworks_disconnected", view.frameworks.len() - connected);
    set("outstanding_offers", view.frameworks.iter().map(|framework| framework.offers.len()).sum());
    let mut states: BTreeMap<TaskState, usize> = BTreeMap::new();
    for task in view.frameworks.iter().flat_map(|framework| &framework.tasks) {
        *states.entry(task.state).or_default() += 1;
    }
    for (name, state) in [
        ("tasks_staging", TaskState::Staging),
        ("tasks_starting", TaskState::Starting),
        ("tasks_running", TaskState::Running),
        ("tasks_killing", TaskState::Killing),
    ] {
        set(name, states.get(&state).copied().unwrap_or_default());
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
    for (name, count) in [
        ("tasks_finished", counters.tasks_finished),
        ("tasks_failed", counters.tasks_failed),
        ("tasks_killed", counters.tasks_killed),
        ("tasks_lost", counters.tasks_lost),
        ("tasks_error", counters.tasks_error),
        ("tasks_dropped", counters.tasks_dropped),
        ("tasks_gone", counters.tasks_gone),
        ("tasks_gone_by_operator", counters.tasks_gone_by_operator),
        ("valid_status_updates", counters.status_updates_valid),
        ("invalid_status_updates", counters.status_updates_invalid),
        ("valid_status_update_acknowledgements", counters.acknowledgements_valid),
        ("invalid_status_update_acknowledgements", counters.acknowledgements_invalid),
        ("valid_executor_to_framework_messages", counters.executor_messages_valid),
        ("invalid_executor_to_framework_messages", counters.executor_messages_invalid),
        ("valid_framework_to_executor_messages", counters.framework_messages_valid),
        ("invalid_framework_to_executor_messages", counters.framework_messages_invalid),
        ("valid_operation_status_updates", counters.operation_updates_valid),
        ("invalid_operation_status_updates", counters.operation_updates_invalid),
        ("valid_operation_status_update_acknowledgements", counters.operation_acknowledgements_valid),
        ("invalid_operation_status_update_acknowledgements", counters.operation_acknowledgements_invalid),
        ("slave_registrations", counters.agent_registrations),
        ("slave_reregistrations", counters.agent_reregistrations),
        ("slave_removals", counters.agent_removals),
        ("slave_removals/reason_unhealthy", counters.agent_removals_unhealthy),
        ("slave_removals/reason_unregistered", counters.agent_removals_unregistered),
        ("slave_removals/reason_registered", counters.agent_removals_registered),
        ("recovery_slave_removals", counters.recovery_agent_removals),
        ("slave_unreachable_scheduled", counters.unreachable_scheduled),
        ("slave_unreachable_completed", counters.unreachable_completed),
        ("slave_unreachable_canceled", counters.unreachable_canceled),
        ("dropped_messages", counters.dropped_messages),
    ] {
        set(&format!("master/{name}"), count);
    }
    for (name, count) in &counters.messages {
        set(&format!("master/messages_{name}"), *count);
    }
    for ((state, source, reason), count) in &counters.task_states {
        let bare = |name: &str, prefix: &str| name.strip_prefix(prefix).unwrap_or(name).to_lowercase();
        // Agents keep their old name in metrics.
        let source = match source {
            Source::Agent => "slave".to_owned(),
            other => bare(other.name(), "SOURCE_"),
        };
        let state = bare(state.name(), "TASK_");
        let name = format!("master/task_{state}/source_{source}");
        match reason {
            Some(reason) => set(&format!("{name}/reason_{}", bare(reason.name(), "REASON_")), *count),
            None => set(&name, *count),
        }
    }
    for ((operation, state), count) in &counters.operations {
        let state = state.name().trim_start_matches("OPERATION_").to_lowercase();
        set(&format!("master/operations/{}/{state}", operation.to_lowercase()), *count);
    }
    for (principal, count) in &counters.principals {
        set(&format!("frameworks/{principal}/messages_received"), *count);
        // What comes in is processed in its turn, or the term is over.
        set(&format!("frameworks/{principal}/messages_processed"), *count);
    }
    set("allocator/mesos/allocation_runs", counters.allocation_runs);
}

/// The states that have gauges of their own per framework.
fn state_name(state: TaskState) -> String {
    state.name().to_lowercase()
}

fn of_framework(metrics: &mut Metrics, framework: &FrameworkView) {
    let prefix = format!("master/frameworks/{}/{}", url_encoded(&framework.info.name), framework.id);
    let counters = &framework.counters;
    let mut set = |name: String, value: u64| {
        metrics.insert(format!("{prefix}/{name}"), value as f64);
    };
    set("subscribed".to_owned(), u64::from(framework.connected));
    for state in TaskState::ALL.iter().copied().filter(|state| *state != TaskState::Unknown) {
        let name = state_name(state);
        if state.is_terminal() {
            let count = counters.tasks_terminal.get(&state).copied().unwrap_or_default();
            set(format!("tasks/terminal/{name}"), count);
        } else {
            let live = framework.tasks.iter().filter(|task| task.state == state).count();
            let lost = framework.unreachable_tasks.iter().filter(|task| task.state == state).count();
            set(format!("tasks/active/{name}"), (live + lost) as u64);
        }
    }
    for (kind, counts) in
        [("calls", &counters.calls), ("events", &counters.events), ("operations", &counters.operations)]
    {
        set(kind.to_owned(), counts.values().sum());
        for (name, count) in counts {
            set(format!("{kind}/{name}"), *count);
        }
    }
    set("offers/sent".to_owned(), counters.offers_sent);
    set("offers/accepted".to_owned(), counters.offers_accepted);
    set("offers/declined".to_owned(), counters.offers_declined);
    set("offers/rescinded".to_owned(), counters.offers_rescinded);
    for role in &framework.info.roles {
        let suppressed = framework.suppressed.contains(role);
        set(format!("roles/{role}/suppressed"), u64::from(suppressed));
    }
}

/// As in a URL's path: letters, digits and `-_.~` stay.
fn url_encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn allocator(metrics: &mut Metrics, view: &MasterView) {
    let (mut total, mut given) = (Resources::new(), Resources::new());
    for agent in &view.agents {
        total.add(&agent.info.resources);
        given.add(&agent.used.plus(&agent.offered));
    }
    for name in ["cpus", "gpus", "mem", "disk"] {
        let prefix = format!("allocator/mesos/resources/{name}");
        metrics.insert(format!("{prefix}/total"), total.scalar(name).to_f64());
        metrics.insert(format!("{prefix}/offered_or_allocated"), given.scalar(name).to_f64());
    }
    let figures = figures(view);
    for (role, held) in &figures {
        let share = dominant_share(held, &total) / weight(view, role);
        metrics.insert(format!("allocator/mesos/roles/{role}/shares/dominant"), share);
    }
    for (role, quota) in view.quotas.iter() {
        let held =
            figures.get(role.as_str()).map(|held| held.allocated.plus(&held.offered)).unwrap_or_default();
        let prefix = format!("allocator/mesos/quota/roles/{role}/resources");
        for (name, quantity) in &quota.guarantees {
            metrics.insert(format!("{prefix}/{name}/guarantee"), quantity.to_f64());
        }
        for (name, quantity) in &quota.limits {
            metrics.insert(format!("{prefix}/{name}/limit"), quantity.to_f64());
        }
        for name in quota.guarantees.keys().chain(quota.limits.keys()) {
            metrics.insert(format!("{prefix}/{name}/offered_or_allocated"), held.scalar(name).to_f64());
        }
    }
}

fn dominant_share(held: &Figures, total: &Resources) -> f64 {
    let held = held.allocated.plus(&held.offered);
    let share = |name: &str| {
        let total = total.scalar(name).to_f64();
        if total > 0.0 { held.scalar(name).to_f64() / total } else { 0.0 }
    };
    ["cpus", "gpus", "mem", "disk"].into_iter().map(share).fold(0.0, f64::max)
}
