//! Calls a framework makes of the master and events it gets: the same in
//! process and over HTTP (where `mesos-http` converts the v1 messages).

use serde::{Deserialize, Serialize};

use crate::framework::FrameworkInfo;
use crate::ids::{AgentId, FrameworkId, OfferId, Role, TaskId, UpdateId};
use crate::offer::Offer;
use crate::task::{KillPolicy, TaskInfo, TaskStatus};

/// What a framework asks.
#[derive(Debug, Clone, PartialEq)]
pub enum SchedulerCall {
    Subscribe {
        info: Box<FrameworkInfo>,
        suppressed_roles: Vec<Role>,
    },
    Accept {
        offer_ids: Vec<OfferId>,
        tasks: Vec<TaskInfo>,
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
    Teardown,
}

/// What the master tells a framework.
#[derive(Debug, Clone, PartialEq)]
pub enum SchedulerEvent {
    Subscribed {
        framework_id: FrameworkId,
    },
    Offers(Vec<Offer>),
    Rescind(OfferId),
    Update(Box<TaskStatus>),
    /// An agent is lost (no executor is named in the narrow form).
    Failure {
        agent_id: AgentId,
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
    /// The newest state the agent knows.
    pub state: crate::task::TaskState,
    pub statuses: Vec<TaskStatus>,
}
