//! Offers: one agent's free resources for one role of one framework.

use serde::{Deserialize, Serialize};

use crate::agent::{Attribute, FaultDomain};
use crate::ids::{AgentId, FrameworkId, OfferId, Role};
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
}
