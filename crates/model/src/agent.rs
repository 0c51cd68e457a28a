//! What an agent says of itself.

use serde::{Deserialize, Serialize};

use crate::ids::AgentId;
use crate::resources::{Quantity, Ranges, Resources};

/// An agent's description; the id is absent before the first registration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentInfo {
    pub id: Option<AgentId>,
    pub hostname: String,
    pub ip: String,
    pub port: u16,
    pub resources: Resources,
    #[serde(default)]
    pub attributes: Vec<Attribute>,
    #[serde(default)]
    pub domain: Option<FaultDomain>,
    #[serde(default)]
    pub version: String,
    #[serde(default)]
    pub capabilities: Vec<AgentCapability>,
}

/// Agent capabilities, by their Mesos names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AgentCapability {
    MultiRole,
    HierarchicalRole,
    ReservationRefinement,
    ResourceProvider,
    ResizeVolume,
    AgentOperationFeedback,
    AgentDraining,
    TaskResourceLimits,
}

impl AgentCapability {
    pub const ALL: [Self; 8] = [
        Self::MultiRole,
        Self::HierarchicalRole,
        Self::ReservationRefinement,
        Self::ResourceProvider,
        Self::ResizeVolume,
        Self::AgentOperationFeedback,
        Self::AgentDraining,
        Self::TaskResourceLimits,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::MultiRole => "MULTI_ROLE",
            Self::HierarchicalRole => "HIERARCHICAL_ROLE",
            Self::ReservationRefinement => "RESERVATION_REFINEMENT",
            Self::ResourceProvider => "RESOURCE_PROVIDER",
            Self::ResizeVolume => "RESIZE_VOLUME",
            Self::AgentOperationFeedback => "AGENT_OPERATION_FEEDBACK",
            Self::AgentDraining => "AGENT_DRAINING",
            Self::TaskResourceLimits => "TASK_RESOURCE_LIMITS",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attribute {
    pub name: String,
    pub value: AttributeValue,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AttributeValue {
    Scalar(Quantity),
    Ranges(Ranges),
    Set(Vec<String>),
    Text(String),
}

/// Region and zone of an agent or master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultDomain {
    pub region: String,
    pub zone: String,
}
