//! The words between master and agent, in our own protocol.
//!
//! The stream carries them in order and may break at any point; every message
//! is safe to repeat. `agent-protocol` gives them their bytes.

use crate::agent::AgentInfo;
use crate::cluster::DrainConfig;
use crate::executor::{ExecutorInfo, ExecutorRecord};
use crate::framework::FrameworkInfo;
use crate::ids::{AgentId, ExecutorId, FrameworkId, Role, TaskId, UpdateId};
use crate::opaque::Opaque;
use crate::operation::{OperationRecord, OperationStatus};
use crate::scheduler_api::TaskRecord;
use crate::task::{KillPolicy, StatusUpdate, TaskInfo};

/// All an agent has: the first message of every stream. First registration,
/// re-registration and master failover are the same case.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    /// With its total resources, reservations and volumes applied.
    pub info: AgentInfo,
    pub frameworks: Vec<FrameworkInfo>,
    pub executors: Vec<ExecutorRecord>,
    pub tasks: Vec<TaskRecord>,
    /// Pending, or terminal and not acknowledged.
    pub operations: Vec<OperationRecord>,
    /// What it was told to drain by; it keeps this over restarts.
    pub drain: Option<DrainConfig>,
}

/// From an agent to the leading master.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentToMaster {
    Register(Box<Registration>),
    Update(Box<StatusUpdate>),
    /// The status of an operation; `uuid` names the operation, the status has its own.
    OperationUpdate {
        uuid: UpdateId,
        framework_id: Option<FrameworkId>,
        status: Box<OperationStatus>,
    },
    /// From an executor to its scheduler.
    Message {
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        data: Opaque,
    },
    /// An executor ended; `status` as of wait(2), when it is known.
    ExecutorExited {
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        status: Option<i32>,
    },
    /// The agent leaves for good by its own will.
    Unregister,
}

/// From the leading master to an agent.
#[derive(Debug, Clone, PartialEq)]
pub enum MasterToAgent {
    Registered {
        agent_id: AgentId,
    },
    /// One task; its `executor` is set when it has one of its own.
    RunTask {
        framework: Box<FrameworkInfo>,
        /// The role of the offer.
        role: Role,
        task: Box<TaskInfo>,
    },
    /// All of the tasks or none.
    RunGroup {
        framework: Box<FrameworkInfo>,
        role: Role,
        executor: Box<ExecutorInfo>,
        tasks: Vec<TaskInfo>,
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
    /// The same for operations, by their uuid: answered with `OPERATION_DROPPED`.
    ReconcileOperations {
        operations: Vec<(UpdateId, Option<FrameworkId>)>,
    },
    ShutdownExecutor {
        framework_id: FrameworkId,
        executor_id: ExecutorId,
    },
    ShutdownFramework {
        framework_id: FrameworkId,
    },
    /// The framework's description changed or its scheduler is back: what waits
    /// for acknowledgement is sent at once.
    UpdateFramework {
        framework: Box<FrameworkInfo>,
    },
    Message {
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        data: Opaque,
    },
    ApplyOperation {
        operation: Box<OperationRecord>,
    },
    AcknowledgeOperation {
        /// Of the operation.
        uuid: UpdateId,
        status_uuid: UpdateId,
    },
    Drain {
        config: DrainConfig,
    },
    /// Ends draining.
    Reactivate,
    /// The agent is refused for good; it must not try again under this id.
    Shutdown {
        message: String,
    },
}
