//! The words between master and agent, in our own protocol.
//!
//! The stream carries them in order and may break at any point; every message
//! is safe to repeat. `agent-protocol` gives them their bytes.

use crate::agent::AgentInfo;
use crate::framework::FrameworkInfo;
use crate::ids::{AgentId, FrameworkId, TaskId, UpdateId};
use crate::scheduler_api::TaskRecord;
use crate::task::{KillPolicy, StatusUpdate, TaskInfo};

/// From an agent to the leading master.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentToMaster {
    /// First message of every stream, with all the agent has: first
    /// registration, re-registration and master failover are the same case.
    Register {
        info: Box<AgentInfo>,
        frameworks: Vec<FrameworkInfo>,
        tasks: Vec<TaskRecord>,
    },
    Update(Box<StatusUpdate>),
}

/// From the leading master to an agent.
#[derive(Debug, Clone, PartialEq)]
pub enum MasterToAgent {
    Registered {
        agent_id: AgentId,
    },
    RunTask {
        framework: Box<FrameworkInfo>,
        task: Box<TaskInfo>,
    },
    KillTask {
        framework_id: FrameworkId,
        task_id: TaskId,
        kill_policy: Option<KillPolicy>,
    },
    Acknowledge {
        framework_id: FrameworkId,
        task_id: TaskId,
        uuid: UpdateId,
    },
    /// Tasks the master has on this agent that its registration did not name:
    /// the agent answers each with a terminal update.
    Reconcile {
        tasks: Vec<(FrameworkId, TaskId)>,
    },
    ShutdownFramework {
        framework_id: FrameworkId,
    },
    /// The agent is refused for good; it must not try again under this id.
    Shutdown {
        message: String,
    },
}
