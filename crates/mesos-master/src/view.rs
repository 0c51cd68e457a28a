//! Snapshots for reads: immutable, cheap to clone, built by the brain and
//! published by the shell. `/state` and the like are made from these.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{
    AgentId, AgentInfo, DrainInfo, ExecutorRecord, FrameworkId, FrameworkInfo, InverseOffer, MachineId,
    MaintenanceSchedule, Offer, OperationRecord, QuotaConfig, Resources, Role, TaskState, TaskStatus, Time,
    Weight,
};

use crate::config::MasterConfig;
use crate::state::Task;

/// One moment of the whole cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct MasterView {
    pub config: Arc<MasterConfig>,
    pub elected: Time,
    pub taken: Time,
    pub agents: Vec<AgentView>,
    /// Known from the store, not back since the failover.
    pub recovered_agents: Vec<Arc<AgentInfo>>,
    pub unreachable_agents: Vec<(Arc<AgentInfo>, Time)>,
    /// Removed by the operator; they may not come back.
    pub gone_agents: Vec<(AgentId, Time)>,
    /// Only those set.
    pub weights: BTreeMap<Role, Weight>,
    pub quotas: BTreeMap<Role, QuotaConfig>,
    pub schedule: MaintenanceSchedule,
    pub down_machines: Vec<MachineId>,
    /// With what the frameworks on them answered.
    pub draining_machines: Vec<(MachineId, Vec<InverseOfferAnswer>)>,
    pub frameworks: Vec<FrameworkView>,
    pub completed_frameworks: Vec<FrameworkView>,
    pub counters: Counters,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AgentView {
    pub id: AgentId,
    pub info: Arc<AgentInfo>,
    /// Its stream is up: offers are made.
    pub active: bool,
    pub registered: Time,
    pub reregistered: Option<Time>,
    pub used: Resources,
    pub offered: Resources,
    /// By framework, for the per-framework executors and tasks counts.
    pub used_by_framework: Vec<(FrameworkId, Resources)>,
    pub tasks: Vec<Arc<Task>>,
    pub executors: Vec<Arc<ExecutorRecord>>,
    /// Pending, or terminal and not acknowledged.
    pub operations: Vec<Arc<OperationRecord>>,
    /// By the operator's word: no offers are made.
    pub deactivated: bool,
    pub drain: Option<DrainInfo>,
}

/// What a framework said to an inverse offer; `accepted` none: nothing yet.
#[derive(Debug, Clone, PartialEq)]
pub struct InverseOfferAnswer {
    pub framework_id: FrameworkId,
    pub accepted: Option<bool>,
    pub at: Time,
}

/// What changed, for those who watch.
#[derive(Debug, Clone, PartialEq)]
pub enum OperatorEvent {
    TaskAdded(Arc<Task>),
    /// `state` is the newest known, `status` the one forwarded.
    TaskUpdated {
        framework_id: FrameworkId,
        status: Box<TaskStatus>,
        state: TaskState,
    },
    AgentAdded(Box<AgentView>),
    AgentRemoved(AgentId),
    FrameworkAdded(Box<FrameworkView>),
    FrameworkUpdated(Box<FrameworkView>),
    FrameworkRemoved(Arc<FrameworkInfo>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct FrameworkView {
    pub id: FrameworkId,
    pub info: Arc<FrameworkInfo>,
    pub active: bool,
    pub connected: bool,
    pub recovered: bool,
    pub registered: Time,
    pub reregistered: Option<Time>,
    pub unregistered: Option<Time>,
    pub used: Resources,
    pub offered: Resources,
    pub offers: Vec<Offer>,
    pub inverse_offers: Vec<InverseOffer>,
    pub suppressed: BTreeSet<Role>,
    /// Live, and terminal but not acknowledged.
    pub tasks: Vec<Arc<Task>>,
    pub unreachable_tasks: Vec<Arc<Task>>,
    pub completed_tasks: Vec<Arc<Task>>,
}

/// Counted since the start of the term; the source of `/metrics/snapshot`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    pub tasks_launched: u64,
    pub tasks_finished: u64,
    pub tasks_failed: u64,
    pub tasks_killed: u64,
    pub tasks_error: u64,
    pub tasks_lost: u64,
    pub tasks_gone: u64,
    pub tasks_dropped: u64,
    pub tasks_unreachable: u64,
    pub status_updates_valid: u64,
    pub status_updates_invalid: u64,
    pub acknowledgements_valid: u64,
    pub acknowledgements_invalid: u64,
    pub agent_registrations: u64,
    pub agent_reregistrations: u64,
    pub agents_unreachable: u64,
    pub offers_sent: u64,
    pub offers_rescinded: u64,
    pub calls_accept: u64,
    pub calls_decline: u64,
    pub calls_kill: u64,
    pub calls_reconcile: u64,
    pub calls_revive: u64,
    pub calls_suppress: u64,
    pub calls_invalid: u64,
    pub allocation_runs: u64,
}
