//! `/metrics/snapshot` of an agent.
//!
//! Every name of the original that depends on nothing is always there. What has
//! no meaning in this house is 0; `docs/metrics.md` says why.

use mesos_agent::AgentView;
use mesos_agent::state::{ExecutorPhase, Phase};
use model::TaskState;

use crate::master::TIMER_SUFFIXES;
use crate::system::{self, Metrics};

const NAMES: &[&str] = &[
    "slave/recovery_errors",
    "slave/recovery_time_secs",
    "slave/executors_registering",
    "slave/executors_running",
    "slave/executors_terminating",
    "slave/executors_terminated",
    "slave/executors_preempted",
    "slave/executor_directory_max_allowed_age_secs",
    "slave/container_launch_errors",
    "slave/valid_framework_messages",
    "slave/invalid_framework_messages",
    "slave/valid_status_updates",
    "slave/invalid_status_updates",
    "gc/path_removals_succeeded",
    "gc/path_removals_failed",
    "gc/path_removals_pending",
    "containerizer/fetcher/cache_size_total_bytes",
    "containerizer/fetcher/cache_size_used_bytes",
    "containerizer/fetcher/task_fetches_succeeded",
    "containerizer/fetcher/task_fetches_failed",
    "containerizer/mesos/container_destroy_errors",
    "containerizer/mesos/provisioner/remove_container_errors",
    "containerizer/mesos/provisioner/bind/remove_rootfs_errors",
    "containerizer/mesos/filesystem/containers_new_rootfs",
    "containerizer/mesos/disk/project_ids_total",
    "containerizer/mesos/disk/project_ids_free",
    "resource_provider_manager/subscribed",
    "resource_provider_manager/events/subscribe",
    "resource_provider_manager/events/disconnect",
    "volume_gid_manager/volume_gids_total",
    "volume_gid_manager/volume_gids_free",
];

const TIMERS: &[&str] =
    &["containerizer/mesos/provisioner/docker_store/image_pull_ms", "containerizer/docker/image_pull_ms"];

/// Of tasks that are there, and of ended ones as far as they are remembered.
const TASKS: &[(&str, TaskState)] = &[
    ("tasks_staging", TaskState::Staging),
    ("tasks_starting", TaskState::Starting),
    ("tasks_running", TaskState::Running),
    ("tasks_killing", TaskState::Killing),
    ("tasks_finished", TaskState::Finished),
    ("tasks_failed", TaskState::Failed),
    ("tasks_killed", TaskState::Killed),
    ("tasks_lost", TaskState::Lost),
    ("tasks_gone", TaskState::Gone),
];

pub(crate) fn all(view: &AgentView) -> Metrics {
    let mut metrics = Metrics::new();
    for name in NAMES {
        metrics.insert((*name).to_owned(), 0.0);
    }
    for (timer, suffix) in TIMERS.iter().flat_map(|timer| TIMER_SUFFIXES.iter().map(move |s| (timer, s))) {
        metrics.insert(format!("{timer}{suffix}"), 0.0);
    }
    system::machine(&mut metrics);
    system::usage(&mut metrics, "slave", &view.info.resources, &view.allocated());
    let mut set = |name: &str, value: f64| {
        metrics.insert(format!("slave/{name}"), value);
    };
    set("uptime_secs", system::now().since(view.started).as_secs_f64());
    set("registered", f64::from(u8::from(view.registered)));
    set("frameworks_active", view.frameworks.len() as f64);
    // A command task is an executor of its own.
    let commands = |phases: &[Phase]| {
        let of =
            |task: &&mesos_agent::view::TaskView| task.task.is_command() && phases.contains(&task.task.phase);
        view.tasks.iter().filter(of).count()
    };
    let executors = |phase: ExecutorPhase| {
        view.executors.iter().filter(|executor| executor.executor.phase == phase).count()
    };
    let sum = |a: usize, b: usize| (a + b) as f64;
    set(
        "executors_registering",
        sum(executors(ExecutorPhase::Registering), commands(&[Phase::Queued, Phase::Launching])),
    );
    set("executors_running", sum(executors(ExecutorPhase::Running), commands(&[Phase::Running])));
    set("executors_terminating", sum(executors(ExecutorPhase::Terminating), 0));
    let ended =
        view.completed_executors.len() + view.completed.iter().filter(|task| task.task.is_command()).count();
    set("executors_terminated", sum(executors(ExecutorPhase::Ended) + ended, commands(&[Phase::Ended])));
    for (name, state) in TASKS {
        let all = view.tasks.iter().chain(&view.completed);
        set(name, all.filter(|task| task.task.state == *state).count() as f64);
    }
    metrics
}
