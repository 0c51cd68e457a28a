//! Snapshots for reads: the agent's `/state`, its sandboxes for the files API.
//!
//! Lists are flat: a task names its executor by `executor_id`, and its run by the
//! container ([`AgentTask::run`]). Command tasks have no entry in `executors`.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{AgentId, AgentInfo, ContainerId, DrainInfo, FrameworkInfo, OperationRecord, Resources, Time};

use crate::state::{AgentExecutor, AgentTask, Phase};

#[derive(Debug, Clone)]
pub struct AgentView {
    pub id: Option<AgentId>,
    /// Its resources are the total, with reservations and volumes applied.
    pub info: AgentInfo,
    pub started: Time,
    pub taken: Time,
    pub registered: bool,
    /// Whether what ran before this start is known, and executors had their time to come back.
    pub recovered: bool,
    pub work_dir: String,
    pub frameworks: Vec<Arc<FrameworkInfo>>,
    pub completed_frameworks: Vec<Arc<FrameworkInfo>>,
    /// Live ones, and ended ones with tasks whose end is not acknowledged.
    pub executors: Vec<ExecutorView>,
    pub completed_executors: Vec<ExecutorView>,
    /// Live ones, and ended ones whose end is not acknowledged.
    pub tasks: Vec<TaskView>,
    pub completed: Vec<TaskView>,
    /// Pending, or terminal and not acknowledged.
    pub operations: Vec<Arc<OperationRecord>>,
    pub drain: Option<DrainInfo>,
}

impl AgentView {
    /// Runs that hold resources which may be taken back.
    pub fn revocable_runs(&self) -> BTreeSet<ContainerId> {
        let revocable = |resources: &Resources| resources.iter().any(|resource| resource.revocable);
        let tasks = self.tasks.iter().map(|task| &task.task).filter(|task| task.phase != Phase::Ended);
        let tasks = tasks.filter(|task| revocable(&task.info.resources)).map(|task| task.run());
        let executors = self.executors.iter().map(|executor| &executor.executor);
        let executors =
            executors.filter(|executor| executor.is_live() && revocable(&executor.info.resources));
        tasks.chain(executors.map(|executor| executor.container_id.clone())).collect()
    }

    /// What live executors and tasks hold.
    pub fn allocated(&self) -> Resources {
        let mut sum = Resources::new();
        for task in self.tasks.iter().filter(|task| task.task.phase != Phase::Ended) {
            sum.add(&task.task.info.resources);
        }
        for executor in self.executors.iter().filter(|executor| executor.executor.is_live()) {
            sum.add(&executor.executor.info.resources);
        }
        sum
    }
}

#[derive(Debug, Clone)]
pub struct TaskView {
    /// Its sandbox: of its run, or with the default executor the nested one.
    pub directory: String,
    pub task: Arc<AgentTask>,
}

/// One run of a custom or default executor.
#[derive(Debug, Clone)]
pub struct ExecutorView {
    /// The sandbox of the run.
    pub directory: String,
    pub executor: Arc<AgentExecutor>,
    /// Whether it is subscribed at present.
    pub connected: bool,
}
