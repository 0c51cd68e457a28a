//! Changes that an operator asks of the master, and their answers.

use std::time::Duration;

use crate::cluster::{DrainConfig, MachineId, MaintenanceSchedule, QuotaConfig, Weight};
use crate::ids::{AgentId, FrameworkId, Principal, Role};
use crate::operation::ResourceOperation;

/// What an operator asks. Authorization was settled before.
#[derive(Debug, Clone, PartialEq)]
pub enum OperatorCall {
    /// On the unallocated resources of one agent; offers in the way are rescinded.
    Apply {
        agent_id: AgentId,
        operation: ResourceOperation,
        principal: Option<Principal>,
    },
    UpdateWeights(Vec<(Role, Weight)>),
    /// All or nothing; a config without guarantees and limits removes.
    UpdateQuota {
        force: bool,
        configs: Vec<QuotaConfig>,
    },
    /// The older call: guarantee and limit are one; the role must have none.
    SetQuota {
        force: bool,
        config: QuotaConfig,
    },
    RemoveQuota {
        role: Role,
    },
    UpdateMaintenanceSchedule(MaintenanceSchedule),
    StartMaintenance(Vec<MachineId>),
    StopMaintenance(Vec<MachineId>),
    DrainAgent {
        agent_id: AgentId,
        config: DrainConfig,
    },
    DeactivateAgent {
        agent_id: AgentId,
    },
    ReactivateAgent {
        agent_id: AgentId,
    },
    MarkAgentGone {
        agent_id: AgentId,
    },
    Teardown {
        framework_id: FrameworkId,
    },
}

/// What came of it; sent once the change is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum OperatorReply {
    /// Done.
    Done,
    /// Checked and given to the agent.
    Accepted,
    /// 400: the request is wrong in itself.
    Invalid(String),
    /// 404.
    NotFound(String),
    /// 409: right in itself, but not now.
    Conflict(String),
    /// 503: ask again later.
    Busy { message: String, after: Duration },
}
