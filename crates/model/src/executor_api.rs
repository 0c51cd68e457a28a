//! Calls an executor makes of its agent and events it gets.

use crate::agent::AgentInfo;
use crate::executor::ExecutorInfo;
use crate::framework::FrameworkInfo;
use crate::ids::{ContainerId, Role, TaskId, UpdateId};
use crate::opaque::Opaque;
use crate::task::{KillPolicy, TaskInfo, TaskStatus};

/// What an executor asks.
#[derive(Debug, Clone, PartialEq)]
pub enum ExecutorCall {
    /// With what the agent had not confirmed when they last spoke.
    Subscribe {
        unacknowledged_tasks: Vec<TaskId>,
        unacknowledged_updates: Vec<TaskStatus>,
    },
    Update(Box<TaskStatus>),
    Message(Opaque),
}

/// What the agent tells an executor.
#[derive(Debug, Clone, PartialEq)]
pub enum ExecutorEvent {
    Subscribed {
        executor: Box<ExecutorInfo>,
        /// What its resources and those of its tasks are allocated to.
        role: Role,
        framework: Box<FrameworkInfo>,
        agent: Box<AgentInfo>,
        container_id: ContainerId,
    },
    Launch(Box<TaskInfo>),
    LaunchGroup(Vec<TaskInfo>),
    Kill {
        task_id: TaskId,
        kill_policy: Option<KillPolicy>,
    },
    Acknowledged {
        task_id: TaskId,
        uuid: UpdateId,
    },
    Message(Opaque),
    Shutdown,
    Error {
        message: String,
    },
}
