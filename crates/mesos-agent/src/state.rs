//! What the agent knows and what of it is checkpointed.

use std::collections::VecDeque;
use std::sync::Arc;

use model::{ContainerId, FrameworkId, FrameworkInfo, TaskId, TaskInfo, TaskState, TaskStatus, Time};
use serde::{Deserialize, Serialize};

pub type TaskKey = (FrameworkId, TaskId);

/// One task, exactly as it is checkpointed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentTask {
    pub framework_id: FrameworkId,
    pub info: TaskInfo,
    pub container_id: ContainerId,
    pub phase: Phase,
    /// Newest state, which may be ahead of what was acknowledged.
    pub state: TaskState,
    /// Not yet acknowledged, oldest first.
    pub updates: VecDeque<TaskStatus>,
    /// Last status per run of equal states.
    pub statuses: Vec<TaskStatus>,
    pub kill: Option<Kill>,
    pub pid: Option<u32>,
    pub received: Time,
    #[serde(default)]
    pub ended: Option<Time>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Checkpointed; the launch was or is about to be ordered.
    Launching,
    Running,
    Ended,
}

/// A kill under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// SIGKILL at this time.
    pub deadline: Time,
    pub forced: bool,
    /// Set when the framework is gone: nobody is told of the end.
    pub silent: bool,
}

impl AgentTask {
    pub const STATUSES_MAX: usize = 20;

    pub fn key(&self) -> TaskKey {
        (self.framework_id.clone(), self.info.id.clone())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    PutAgentId(model::AgentId),
    PutFramework(Box<FrameworkInfo>),
    DeleteFramework(FrameworkId),
    PutTask(Arc<AgentTask>),
    DeleteTask(TaskKey),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    AgentId(model::AgentId),
    Framework(Box<FrameworkInfo>),
    Task(Arc<AgentTask>),
}

/// A container to start; the shell turns it into the runtime's own form.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerLaunch {
    pub id: ContainerId,
    pub sandbox: String,
    pub command: LaunchCommand,
    pub env: Vec<(String, String)>,
    pub user: Option<String>,
    pub image: Option<String>,
    pub force_pull: bool,
    pub cpus_milli: u64,
    pub mem_mib: u64,
    pub pids: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum LaunchCommand {
    Shell(String),
    Argv(Vec<String>),
    /// The image's entry point with these arguments, or its own.
    Image {
        args: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    Code(i32),
    Signal(i32),
    /// Nobody saw it end.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerExit {
    pub status: ExitStatus,
    /// Set when the memory limit ended it: what was asked and used.
    pub memory: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredContainer {
    pub id: ContainerId,
    pub state: RecoveredState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoveredState {
    Running { pid: u32 },
    Exited(ContainerExit),
}
