//! Calls a framework makes of the master and events it gets: the same in
//! process and over HTTP (where `mesos-http` converts the v1 messages).

use serde::{Deserialize, Serialize};

use crate::framework::FrameworkInfo;
use crate::ids::{AgentId, ExecutorId, FrameworkId, OfferId, OperationId, Role, TaskId, UpdateId};
use crate::offer::{InverseOffer, Offer};
use crate::opaque::Opaque;
use crate::operation::{Operation, OperationStatus};
use crate::task::{KillPolicy, TaskInfo, TaskStatus};

/// What a framework asks.
#[derive(Debug, Clone, PartialEq)]
pub enum SchedulerCall {
    Subscribe {
        info: Box<FrameworkInfo>,
        suppressed_roles: Vec<Role>,
    },
    /// Operations run in order against what the offers hold together.
    Accept {
        offer_ids: Vec<OfferId>,
        operations: Vec<Operation>,
        refuse_ms: Option<u64>,
    },
    Decline {
        offer_ids: Vec<OfferId>,
        refuse_ms: Option<u64>,
    },
    Revive {
        roles: Vec<Role>,
    },
    Suppress {
        roles: Vec<Role>,
    },
    Kill {
        task_id: TaskId,
        agent_id: Option<AgentId>,
        kill_policy: Option<KillPolicy>,
    },
    Acknowledge {
        agent_id: AgentId,
        task_id: TaskId,
        uuid: UpdateId,
    },
    /// Empty: all of this framework's tasks (implicit reconciliation).
    Reconcile {
        tasks: Vec<(TaskId, Option<AgentId>)>,
    },
    /// By operation, its agent when known, and its resource provider when it has one.
    ReconcileOperations {
        operations: Vec<(OperationId, Option<AgentId>, Option<String>)>,
    },
    AcknowledgeOperation {
        agent_id: Option<AgentId>,
        operation_id: OperationId,
        uuid: UpdateId,
    },
    AcceptInverseOffers {
        offer_ids: Vec<OfferId>,
        refuse_ms: Option<u64>,
    },
    DeclineInverseOffers {
        offer_ids: Vec<OfferId>,
        refuse_ms: Option<u64>,
    },
    ShutdownExecutor {
        agent_id: AgentId,
        executor_id: ExecutorId,
    },
    /// To an executor, at best effort.
    Message {
        agent_id: AgentId,
        executor_id: ExecutorId,
        data: Opaque,
    },
    /// Taken and not acted upon, as in the original.
    Request,
    Teardown,
}

/// Replaces the whole description and the suppressed roles; unlike the other
/// calls it is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameworkUpdate {
    pub info: Box<FrameworkInfo>,
    pub suppressed_roles: Vec<Role>,
}

/// What came of a [`FrameworkUpdate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameworkUpdateReply {
    Done,
    /// 400, nothing was changed.
    Invalid(String),
    /// 409: the framework is gone.
    Gone,
}

/// What the master tells a framework.
#[derive(Debug, Clone, PartialEq)]
pub enum SchedulerEvent {
    Subscribed {
        framework_id: FrameworkId,
    },
    Offers(Vec<Offer>),
    InverseOffers(Vec<InverseOffer>),
    Rescind(OfferId),
    RescindInverse(OfferId),
    Update(Box<TaskStatus>),
    UpdateOperation(Box<OperationStatus>),
    /// From an executor, at best effort.
    Message {
        agent_id: AgentId,
        executor_id: ExecutorId,
        data: Opaque,
    },
    /// An agent is lost, or with `executor` one executor ended, with its wait(2) status.
    Failure {
        agent_id: AgentId,
        executor: Option<(ExecutorId, Option<i32>)>,
    },
    Error {
        message: String,
    },
}

/// How a task record travels at re-registration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    pub framework_id: FrameworkId,
    pub info: TaskInfo,
    /// The role its resources are allocated to; none in records of before roles were kept.
    #[serde(default)]
    pub role: Option<Role>,
    /// The newest state the agent knows.
    pub state: crate::task::TaskState,
    pub statuses: Vec<TaskStatus>,
}
