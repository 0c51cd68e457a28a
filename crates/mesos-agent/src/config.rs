//! What an agent is told at its start, and its limits.

use model::AgentInfo;

#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Without id: that comes from the checkpoint or the master.
    pub info: AgentInfo,
    /// Root of sandboxes: `<work_dir>/slaves/<agent>/frameworks/…`.
    pub work_dir: String,
    /// Whether tasks may run as other users; otherwise a framework's default user is not used.
    pub switch_user: bool,
    pub limits: AgentLimits,
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
    pub completed_tasks_max: usize,
    /// Bytes of one task's command, arguments, environment and labels.
    pub task_bytes_max: usize,
    /// Least memory limit of a task.
    pub task_mem_min_mib: u64,
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
            task_bytes_max: 256 * 1024,
            task_mem_min_mib: 32,
        }
    }
}
