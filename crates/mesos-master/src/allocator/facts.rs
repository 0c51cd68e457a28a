//! What the allocator is told and what it answers.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    AgentCapability, AgentId, Capability, FrameworkId, MinAllocatable, Quantity, ResourceName, Resources,
    Role, Unavailability,
};

/// How siblings are brought into order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sorter {
    /// The smallest dominant share first.
    #[default]
    Drf,
    /// By lot, at each agent anew, the chance in proportion to the weight.
    Random,
}

/// The master's flags that concern offers.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// `--allocation_interval`.
    pub interval_ms: u64,
    /// `--min_allocatable_resources`: any one of these; none given: every offer is worth sending.
    pub min_allocatable: MinAllocatable,
    /// `--fair_sharing_excluded_resource_names`.
    pub excluded: Vec<ResourceName>,
    /// `--filter_gpu_resources`.
    pub filter_gpus: bool,
    /// Of the master's domain; none: agents are not told apart by region.
    pub master_region: Option<String>,
    /// Agents known from before a failover. While there is any quota, nothing is
    /// offered before most of them are back.
    pub expected_agents: Option<usize>,
    pub role_sorter: Sorter,
    pub framework_sorter: Sorter,
}

impl Default for Options {
    fn default() -> Self {
        let one = |name: &str, quantity| BTreeMap::from([(ResourceName::from(name), quantity)]);
        Self {
            interval_ms: 1_000,
            min_allocatable: vec![
                one("cpus", Quantity::from_milli(10)),
                one("mem", Quantity::from_units(32)),
            ],
            excluded: Vec::new(),
            filter_gpus: true,
            master_region: None,
            expected_agents: None,
            role_sorter: Sorter::Drf,
            framework_sorter: Sorter::Drf,
        }
    }
}

/// What offers depend on at an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentFacts {
    pub total: Resources,
    pub region: Option<String>,
    pub capabilities: Vec<AgentCapability>,
    /// Neither disconnected nor deactivated nor draining.
    pub active: bool,
}

/// What offers depend on at a framework.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FrameworkFacts {
    pub roles: Vec<Role>,
    pub suppressed: BTreeSet<Role>,
    pub capabilities: Vec<Capability>,
    /// `FrameworkInfo.offer_filters`; goes before `--min_allocatable_resources`.
    pub min_allocatable: BTreeMap<Role, MinAllocatable>,
    /// Connected.
    pub active: bool,
}

/// Resources of one agent for one role of one framework: one offer.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    pub framework_id: FrameworkId,
    pub role: Role,
    pub agent_id: AgentId,
    pub resources: Resources,
}

/// What a framework holds of an agent whose machine will be away: one inverse offer.
#[derive(Debug, Clone, PartialEq)]
pub struct InverseGrant {
    pub framework_id: FrameworkId,
    pub agent_id: AgentId,
    /// Over all its roles.
    pub resources: Resources,
    pub unavailability: Unavailability,
}

/// Longest refusal in milliseconds: 365 days.
pub const FILTER_MAX_MS: u64 = 365 * 24 * 3_600_000;

/// Refusals of one framework in one role that are kept for one agent; at more, the one that ends first goes.
pub const FILTERS_PER_CLIENT_MAX: usize = 8;

/// After a failover with quota: how long to wait for agents at most.
pub const RECOVERY_WAIT_MS: u64 = 600_000;

/// After a failover with quota: how many of a hundred agents have to be back.
pub const RECOVERY_AGENTS_PERCENT: usize = 80;
