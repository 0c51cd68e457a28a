//! What a framework says of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::Quantities;
use crate::ids::{FrameworkId, Principal, Role};

/// A framework's description; the id is absent at the first subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrameworkInfo {
    pub id: Option<FrameworkId>,
    pub name: String,
    pub user: String,
    pub roles: Vec<Role>,
    /// How long its tasks outlive its connection, in milliseconds.
    pub failover_timeout_ms: u64,
    pub checkpoint: bool,
    #[serde(default)]
    pub hostname: String,
    #[serde(default)]
    pub principal: Option<Principal>,
    #[serde(default)]
    pub webui_url: Option<String>,
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    #[serde(default)]
    pub labels: Vec<(String, Option<String>)>,
    /// What an offer must hold to be worth sending, by role.
    #[serde(default)]
    pub offer_filters: BTreeMap<Role, MinAllocatable>,
}

/// Any one of these amounts is enough; none given: every offer is.
pub type MinAllocatable = Vec<Quantities>;

impl FrameworkInfo {
    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }
}

/// Framework capabilities, by their Mesos names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Capability {
    RevocableResources,
    TaskKillingState,
    GpuResources,
    SharedResources,
    PartitionAware,
    MultiRole,
    ReservationRefinement,
    RegionAware,
}

impl Capability {
    pub const ALL: [Self; 8] = [
        Self::RevocableResources,
        Self::TaskKillingState,
        Self::GpuResources,
        Self::SharedResources,
        Self::PartitionAware,
        Self::MultiRole,
        Self::ReservationRefinement,
        Self::RegionAware,
    ];

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|capability| capability.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::RevocableResources => "REVOCABLE_RESOURCES",
            Self::TaskKillingState => "TASK_KILLING_STATE",
            Self::GpuResources => "GPU_RESOURCES",
            Self::SharedResources => "SHARED_RESOURCES",
            Self::PartitionAware => "PARTITION_AWARE",
            Self::MultiRole => "MULTI_ROLE",
            Self::ReservationRefinement => "RESERVATION_REFINEMENT",
            Self::RegionAware => "REGION_AWARE",
        }
    }
}
