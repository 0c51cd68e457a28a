//! The master's tunables: name, default and unit in one place.

use std::collections::BTreeSet;

use model::{FaultDomain, Quantity, ResourceName, Role, Time};

/// What one term of a master is told at its start.
#[derive(Debug, Clone, PartialEq)]
pub struct MasterConfig {
    /// Unique for this process and term; prefix of the ids it gives.
    pub master_id: String,
    pub cluster: String,
    pub hostname: String,
    pub ip: String,
    pub port: u16,
    pub version: String,
    pub domain: Option<FaultDomain>,
    pub started: Time,
    pub limits: MasterLimits,
}

/// Times in milliseconds, counts in pieces.
#[derive(Debug, Clone, PartialEq)]
pub struct MasterLimits {
    /// From a broken agent stream to `TASK_UNREACHABLE`.
    pub agent_timeout_ms: u64,
    /// How long agents known from before a failover have to come back.
    pub agent_reregister_timeout_ms: u64,
    /// An offer nobody answers is rescinded.
    pub offer_timeout_ms: u64,
    /// Full allocation run, beside the event-driven ones.
    pub allocation_interval_ms: u64,
    /// Filter of a decline that names none.
    pub refuse_default_ms: u64,
    pub completed_frameworks_max: usize,
    pub completed_tasks_max: usize,
    pub unreachable_tasks_max: usize,
    /// Agents marked unreachable per `agent_removal_interval_ms`, evenly; 0 for no limit.
    pub agent_removals_max: u32,
    pub agent_removal_interval_ms: u64,
    /// More of the agents known from before a failover than this part may not be
    /// given up: the term ends instead.
    pub recovery_agent_removals_max_percent: u8,
    /// How often unreachable and gone agents are looked through for those too old or too many.
    pub registry_gc_interval_ms: u64,
    pub registry_age_max_ms: u64,
    /// Of the unreachable, and of the gone.
    pub registry_agents_max: usize,
    /// In the maintenance schedule.
    pub machines_max: usize,
    /// Roles that have a quota, and that have a weight.
    pub settled_roles_max: usize,
    /// `--roles`: when given, only these and `*` can be used by frameworks and have quotas and weights.
    pub roles: Option<BTreeSet<Role>>,
    pub agents_max: usize,
    pub frameworks_max: usize,
    pub min_cpus: Quantity,
    pub min_mem: Quantity,
    /// `--root_submissions`: whether frameworks may run as root.
    pub root_submissions: bool,
    /// `--filter_gpu_resources`: agents with GPUs are for frameworks that ask for GPUs.
    pub filter_gpus: bool,
    /// `--fair_sharing_excluded_resource_names`.
    pub fair_sharing_excluded: Vec<ResourceName>,
}

impl Default for MasterLimits {
    fn default() -> Self {
        Self {
            agent_timeout_ms: 15_000,
            agent_reregister_timeout_ms: 600_000,
            offer_timeout_ms: 120_000,
            allocation_interval_ms: 1_000,
            refuse_default_ms: 5_000,
            completed_frameworks_max: 50,
            completed_tasks_max: 1_000,
            unreachable_tasks_max: 1_000,
            agent_removals_max: 100,
            agent_removal_interval_ms: 60_000,
            recovery_agent_removals_max_percent: 100,
            registry_gc_interval_ms: 15 * 60_000,
            registry_age_max_ms: 14 * 24 * 3_600_000,
            registry_agents_max: 102_400,
            machines_max: 20_000,
            settled_roles_max: 10_000,
            roles: None,
            agents_max: 100_000,
            frameworks_max: 10_000,
            min_cpus: Quantity::from_milli(10),
            min_mem: Quantity::from_units(32),
            root_submissions: true,
            filter_gpus: true,
            fair_sharing_excluded: Vec::new(),
        }
    }
}
