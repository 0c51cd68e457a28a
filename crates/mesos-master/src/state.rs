//! What the master knows: agents, frameworks, tasks, offers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use model::{
    AgentId, AgentInfo, DrainInfo, ExecutorId, ExecutorRecord, FrameworkId, FrameworkInfo, InverseOffer,
    KillPolicy, Offer, OfferId, OperationId, OperationRecord, Resources, Role, TaskId, TaskInfo, TaskState,
    TaskStatus, Time, Unavailability, UpdateId,
};

use crate::brain::ConnId;
use crate::counters::FrameworkCounters;
use crate::records::{AdmittedState, AgentRecord, Record};
use crate::view::InverseOfferAnswer;

/// How reachable an admitted agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentState {
    /// Known from the store only; must register until the deadline.
    Recovered {
        deadline: Time,
    },
    Connected {
        conn: ConnId,
    },
    /// The stream broke; unreachable at the deadline.
    Disconnected {
        deadline: Time,
    },
    Unreachable {
        since: Time,
    },
    Gone {
        since: Time,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    pub id: AgentId,
    pub info: Arc<AgentInfo>,
    pub state: AgentState,
    pub registered: Time,
    pub reregistered: Option<Time>,
    /// Live and terminal-but-unacknowledged tasks.
    pub tasks: BTreeMap<(FrameworkId, TaskId), Arc<Task>>,
    /// Live executors, other than those the agent itself makes for a task; each holds its resources.
    pub executors: BTreeMap<(FrameworkId, ExecutorId), Arc<ExecutorRecord>>,
    /// Pending, or terminal and not acknowledged.
    pub operations: BTreeMap<UpdateId, Arc<OperationRecord>>,
    /// Those counted as done whose end the agent has not told on this stream.
    pub speculated: BTreeSet<UpdateId>,
    /// Resources of tasks that hold them, of executors and of pending operations, by framework.
    pub used: BTreeMap<FrameworkId, Resources>,
    pub offers: BTreeSet<OfferId>,
    /// Sum of the open offers.
    pub offered: Resources,
    /// By the operator's word, or because it drains: no offers are made.
    pub deactivated: bool,
    pub drain: Option<DrainInfo>,
    /// It waits for a permit to be marked unreachable.
    pub loss_queued: bool,
    /// When its machine will be away, as the allocator was told.
    pub unavailability: Option<Unavailability>,
    /// What frameworks said to inverse offers of it.
    pub inverse_answers: BTreeMap<FrameworkId, InverseOfferAnswer>,
}

impl Agent {
    /// One that holds nothing yet.
    pub fn new(id: AgentId, info: Arc<AgentInfo>, state: AgentState, registered: Time) -> Self {
        Self {
            id,
            info,
            state,
            registered,
            reregistered: None,
            tasks: BTreeMap::new(),
            executors: BTreeMap::new(),
            operations: BTreeMap::new(),
            speculated: BTreeSet::new(),
            used: BTreeMap::new(),
            offers: BTreeSet::new(),
            offered: Resources::new(),
            deactivated: false,
            drain: None,
            loss_queued: false,
            unavailability: None,
            inverse_answers: BTreeMap::new(),
        }
    }

    /// The agent as it is made durable.
    pub fn record(&self, state: AdmittedState) -> Record {
        Record::Agent(Box::new(AgentRecord {
            info: (*self.info).clone(),
            state,
            registered: self.registered,
            deactivated: self.deactivated,
            drain: self.drain,
        }))
    }

    /// Connected, or expected to be again soon.
    pub fn is_registered(&self) -> bool {
        matches!(self.state, AgentState::Connected { .. } | AgentState::Disconnected { .. })
    }

    /// Remembered only.
    pub fn is_past(&self) -> bool {
        matches!(self.state, AgentState::Unreachable { .. } | AgentState::Gone { .. })
    }

    /// Its stream is up and offers may be made of it.
    pub fn active(&self) -> bool {
        self.conn().is_some() && !self.deactivated
    }

    pub fn conn(&self) -> Option<ConnId> {
        match self.state {
            AgentState::Connected { conn } => Some(conn),
            _ => None,
        }
    }

    pub fn used_total(&self) -> Resources {
        let mut holders = self.used.values();
        let mut total = holders.next().cloned().unwrap_or_default();
        for used in holders {
            total.add(used);
        }
        total
    }

    pub fn take(&mut self, framework: &FrameworkId, resources: &Resources) {
        self.used.entry(framework.clone()).or_default().add(resources);
    }

    pub fn give_back(&mut self, framework: &FrameworkId, resources: &Resources) {
        if let Some(used) = self.used.get_mut(framework) {
            used.subtract(resources);
            if used.is_empty() {
                self.used.remove(framework);
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    pub framework_id: FrameworkId,
    pub info: TaskInfo,
    pub role: Role,
    /// Newest state known of the agent.
    pub state: TaskState,
    /// Last status per run of equal states, oldest first.
    pub statuses: Vec<TaskStatus>,
    /// What was last forwarded to the framework; answers reconciliation.
    pub forwarded: Option<TaskStatus>,
    /// Forwarded (or to be) and not acknowledged; its agent sends it again.
    pub unacknowledged: Option<TaskStatus>,
    /// A kill to repeat when the agent comes back.
    pub kill_wanted: Option<Option<KillPolicy>>,
    /// Whether its resources count as used.
    pub holds_resources: bool,
    pub launched: Time,
}

impl Task {
    /// Statuses kept per task.
    pub const STATUSES_MAX: usize = 20;

    /// Payloads are not kept: they are the framework's, and may be large.
    pub fn push_status(&mut self, mut status: TaskStatus) {
        status.data = None;
        match self.statuses.last_mut() {
            Some(last) if last.state == status.state => *last = status,
            _ => self.statuses.push(status),
        }
        if self.statuses.len() > Self::STATUSES_MAX {
            self.statuses.remove(0);
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Framework {
    pub id: FrameworkId,
    pub info: Arc<FrameworkInfo>,
    pub conn: Option<ConnId>,
    /// Set while disconnected: torn down then.
    pub failover_deadline: Option<Time>,
    pub registered: Time,
    pub reregistered: Option<Time>,
    /// True for one known only from agents after a failover.
    pub recovered: bool,
    pub suppressed: BTreeSet<Role>,
    /// Where its live tasks are.
    pub tasks: BTreeMap<TaskId, AgentId>,
    pub unreachable: BTreeMap<TaskId, Arc<Task>>,
    pub completed: VecDeque<Arc<Task>>,
    pub offers: BTreeSet<OfferId>,
    pub inverse_offers: BTreeSet<OfferId>,
    /// Where its live executors are.
    pub executors: BTreeSet<(AgentId, ExecutorId)>,
    /// Those it wants to hear of that are still kept, with their agents.
    pub operations: BTreeMap<OperationId, (AgentId, UpdateId)>,
    pub counters: Arc<FrameworkCounters>,
}

impl Framework {
    pub fn active(&self) -> bool {
        self.conn.is_some()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct OpenOffer {
    pub offer: Offer,
    pub expires: Time,
}

#[derive(Debug, Clone, PartialEq)]
pub struct OpenInverseOffer {
    pub offer: InverseOffer,
    pub expires: Time,
}

/// A framework that was torn down, kept for the history.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletedFramework {
    pub framework: Framework,
    pub unregistered: Time,
}
