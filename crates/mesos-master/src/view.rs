//! Snapshots for reads: immutable, cheap to clone, built by the brain and
//! published by the shell. `/state` and the like are made from these.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use model::{
    AgentId, AgentInfo, DrainInfo, ExecutorRecord, FrameworkId, FrameworkInfo, InverseOffer, MachineId,
    MaintenanceSchedule, Offer, OperationRecord, QuotaConfig, Resources, Role, TaskState, TaskStatus, Time,
    Weight,
};

use crate::config::MasterConfig;
pub use crate::counters::{Counters, FrameworkCounters};
pub use crate::shelf::{Keyed, Shelf};
use crate::state::Task;

/// One moment of the whole cluster. All parts are shared with the snapshots before
/// and after it, as far as they are equal.
#[derive(Debug, Clone, PartialEq)]
pub struct MasterView {
    pub config: Arc<MasterConfig>,
    pub elected: Time,
    pub taken: Time,
    pub agents: Shelf<Arc<AgentView>>,
    /// Known from the store, not back since the failover.
    pub recovered_agents: Shelf<Arc<AgentInfo>>,
    pub unreachable_agents: Shelf<(Arc<AgentInfo>, Time)>,
    /// Removed by the operator; they may not come back.
    pub gone_agents: Shelf<(AgentId, Time)>,
    /// Only those set.
    pub weights: Arc<BTreeMap<Role, Weight>>,
    pub quotas: Arc<BTreeMap<Role, QuotaConfig>>,
    pub schedule: Arc<MaintenanceSchedule>,
    pub down_machines: Arc<Vec<MachineId>>,
    /// With what the frameworks on them answered.
    pub draining_machines: Arc<Vec<(MachineId, Vec<InverseOfferAnswer>)>>,
    pub frameworks: Shelf<Arc<FrameworkView>>,
    pub completed_frameworks: Shelf<Arc<FrameworkView>>,
    pub counters: Counters,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AgentView {
    pub id: AgentId,
    pub info: Arc<AgentInfo>,
    /// Its stream is up.
    pub connected: bool,
    /// Connected and not deactivated: offers are made.
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

impl Keyed for Arc<AgentView> {
    type Key = AgentId;

    fn key(&self) -> &AgentId {
        &self.id
    }
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
    pub used: Sum,
    pub offered: Sum,
    pub offers: Shelf<Arc<Offer>>,
    pub inverse_offers: Vec<InverseOffer>,
    pub suppressed: BTreeSet<Role>,
    /// Live, and terminal but not acknowledged.
    pub tasks: Shelf<Arc<Task>>,
    pub unreachable_tasks: Arc<Vec<Arc<Task>>>,
    /// In the order of their ends; ids may stand there twice.
    pub completed_tasks: Arc<Vec<Arc<Task>>>,
    pub counters: Arc<FrameworkCounters>,
}

impl Keyed for Arc<FrameworkView> {
    type Key = FrameworkId;

    fn key(&self) -> &FrameworkId {
        &self.id
    }
}

/// What a framework holds on one agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    pub agent_id: AgentId,
    pub resources: Arc<Resources>,
}

impl Keyed for Share {
    type Key = AgentId;

    fn key(&self) -> &AgentId {
        &self.agent_id
    }
}

/// Resources over all agents, added up by the first reader who asks: not in the
/// brain's turn, and not for snapshots that nobody reads.
#[derive(Debug, Clone)]
pub struct Sum {
    parts: Parts,
    sum: OnceLock<Resources>,
}

#[derive(Debug, Clone)]
enum Parts {
    Shares(Shelf<Share>),
    Offers(Shelf<Arc<Offer>>),
}

impl Sum {
    pub fn of_shares(shares: Shelf<Share>) -> Self {
        Self { parts: Parts::Shares(shares), sum: OnceLock::new() }
    }

    pub fn of_offers(offers: Shelf<Arc<Offer>>) -> Self {
        Self { parts: Parts::Offers(offers), sum: OnceLock::new() }
    }
}

impl Deref for Sum {
    type Target = Resources;

    fn deref(&self) -> &Resources {
        self.sum.get_or_init(|| {
            let mut sum = Resources::new();
            match &self.parts {
                Parts::Shares(shares) => shares.iter().for_each(|share| sum.add(&share.resources)),
                Parts::Offers(offers) => offers.iter().for_each(|offer| sum.add(&offer.resources)),
            }
            sum
        })
    }
}

impl Default for Sum {
    fn default() -> Self {
        Self::of_shares(Shelf::new())
    }
}

impl From<Resources> for Sum {
    fn from(resources: Resources) -> Self {
        Self { parts: Parts::Shares(Shelf::new()), sum: OnceLock::from(resources) }
    }
}

impl PartialEq for Sum {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
