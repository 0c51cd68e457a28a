//! Snapshots for reads: the agent's `/state`, its sandboxes for the files API.

use std::sync::Arc;

use model::{AgentId, AgentInfo, FrameworkInfo, Time};

use crate::state::AgentTask;

#[derive(Debug, Clone)]
pub struct AgentView {
    pub id: Option<AgentId>,
    pub info: AgentInfo,
    pub started: Time,
    pub taken: Time,
    pub registered: bool,
    pub work_dir: String,
    pub frameworks: Vec<Arc<FrameworkInfo>>,
    pub tasks: Vec<TaskView>,
    pub completed: Vec<TaskView>,
}

#[derive(Debug, Clone)]
pub struct TaskView {
    /// The sandbox of its run.
    pub directory: String,
    pub task: Arc<AgentTask>,
}
