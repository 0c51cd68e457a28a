//! What an operator settles for the whole cluster: quotas, weights, maintenance, draining.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{Principal, Role};
use crate::resources::{Quantity, ResourceName};
use crate::time::Time;

/// Quantities of resources by name.
pub type Quantities = BTreeMap<ResourceName, Quantity>;

/// The least that a role shall be able to get and the most that it may hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuotaConfig {
    pub role: Role,
    pub guarantees: Quantities,
    /// A name that is absent has no limit.
    pub limits: Quantities,
    /// Who set it by the older call, which shows it.
    #[serde(default)]
    pub principal: Option<Principal>,
}

/// Thousandths: 1000 is the weight of a role that has none set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight(pub u64);

impl Weight {
    pub const DEFAULT: Weight = Weight(1000);
}

/// A machine: several agents may run on one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MachineId {
    /// Lower case; may be empty when the ip is not.
    pub hostname: String,
    pub ip: String,
}

/// When a machine is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unavailability {
    /// Nanoseconds since 1970, as the schedule names it.
    pub start_ns: i64,
    #[serde(default)]
    pub duration_ns: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceWindow {
    pub machines: Vec<MachineId>,
    pub unavailability: Unavailability,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceSchedule {
    pub windows: Vec<MaintenanceWindow>,
}

/// How an agent is emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainConfig {
    /// Caps the grace period of every task.
    #[serde(default)]
    pub max_grace_ms: Option<u64>,
    /// The agent is marked gone once it is empty.
    #[serde(default)]
    pub mark_gone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DrainState {
    Draining,
    Drained,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainInfo {
    pub state: DrainState,
    pub config: DrainConfig,
    pub started: Time,
}
