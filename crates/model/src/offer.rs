//! Offers: one agent's free resources for one role of one framework.

use serde::{Deserialize, Serialize};

use crate::agent::{Attribute, FaultDomain};
use crate::cluster::Unavailability;
use crate::ids::{AgentId, ExecutorId, FrameworkId, OfferId, Role};
use crate::resources::Resources;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    pub id: OfferId,
    pub framework_id: FrameworkId,
    pub agent_id: AgentId,
    pub hostname: String,
    pub ip: String,
    pub port: u16,
    /// The role these resources are allocated to.
    pub role: Role,
    pub resources: Resources,
    pub attributes: Vec<Attribute>,
    pub domain: Option<FaultDomain>,
    /// The framework's executors that run on this agent.
    #[serde(default)]
    pub executor_ids: Vec<ExecutorId>,
    /// When the agent's machine is to be away.
    #[serde(default)]
    pub unavailability: Option<Unavailability>,
}

/// Asks a framework to give the resources of an agent back before a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InverseOffer {
    pub id: OfferId,
    pub framework_id: FrameworkId,
    pub agent_id: AgentId,
    pub hostname: String,
    pub ip: String,
    pub port: u16,
    pub unavailability: Unavailability,
    pub resources: Resources,
}
