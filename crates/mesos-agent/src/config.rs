//! What an agent is told at its start, and its limits.

use model::AgentInfo;

#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Without id: that comes from the checkpoint or the master. Its resources are
    /// those of the machine, before operations.
    pub info: AgentInfo,
    /// Root of sandboxes: `<work_dir>/slaves/<agent>/frameworks/…`, and of volumes.
    pub work_dir: String,
    /// Whether tasks may run as other users; otherwise a framework's default user is not used.
    pub switch_user: bool,
    /// Another one than at the last start means that the machine was restarted.
    pub boot_id: Option<String>,
    pub reconfiguration: ReconfigurationPolicy,
    pub recover: Recover,
    pub limits: AgentLimits,
}

impl AgentConfig {
    pub fn new(info: AgentInfo, work_dir: impl Into<String>) -> Self {
        Self {
            info,
            work_dir: work_dir.into(),
            switch_user: false,
            boot_id: None,
            reconfiguration: ReconfigurationPolicy::Additive,
            recover: Recover::Reconnect,
            limits: AgentLimits::default(),
        }
    }
}

/// Which changes of an agent's description keep its id and its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReconfigurationPolicy {
    Equal,
    /// Resources may grow, attributes may come.
    Additive,
}

/// What a start does with what ran before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recover {
    Reconnect,
    /// End it all, forget the id, and stop.
    Cleanup,
}

/// Times in milliseconds, counts in pieces.
#[derive(Debug, Clone)]
pub struct AgentLimits {
    /// SIGTERM to SIGKILL when neither task nor kill names a grace period.
    pub kill_grace_ms: u64,
    pub update_retry_min_ms: u64,
    pub update_retry_max_ms: u64,
    /// Processes and threads of one task.
    pub task_pids_max: u64,
    pub tasks_max: usize,
    /// Kept in the history; tasks of one executor, executors of one framework.
    pub completed_tasks_max: usize,
    pub completed_executors_max: usize,
    pub completed_frameworks_max: usize,
    /// Bytes of one task's command, arguments, environment and labels.
    pub task_bytes_max: usize,
    /// Least memory limit of a task.
    pub task_mem_min_mib: u64,
    /// From the order to start an executor to its first subscription, images included.
    pub executor_registration_timeout_ms: u64,
    /// From a start of the agent to the executor's next subscription.
    pub executor_reregistration_timeout_ms: u64,
    /// From SHUTDOWN to SIGKILL when the executor names none.
    pub executor_shutdown_grace_ms: u64,
    /// How long an executor waits for its agent to come back.
    pub recovery_timeout_ms: u64,
    /// Longest pause of an executor between two attempts to subscribe.
    pub subscription_backoff_max_ms: u64,
    /// Operations pending or not acknowledged.
    pub operations_max: usize,
}

impl Default for AgentLimits {
    fn default() -> Self {
        Self {
            kill_grace_ms: 3_000,
            update_retry_min_ms: 10_000,
            update_retry_max_ms: 600_000,
            task_pids_max: 4_096,
            tasks_max: 20_000,
            completed_tasks_max: 200,
            completed_executors_max: 150,
            completed_frameworks_max: 50,
            task_bytes_max: 256 * 1024,
            task_mem_min_mib: 32,
            executor_registration_timeout_ms: 600_000,
            executor_reregistration_timeout_ms: 10_000,
            executor_shutdown_grace_ms: 5_000,
            recovery_timeout_ms: 86_400_000,
            subscription_backoff_max_ms: 2_000,
            operations_max: 10_000,
        }
    }
}
