//! The master's turn: inputs from agents, frameworks and the clock.
//!
//! Invariants: what agents hold plus what is offered never exceeds what they
//! have; a task is in at most one of live, unreachable, completed; an agent's
//! state is durable before any framework hears of it. Every message may come
//! twice, late or never. [`Master::check_invariants`] states them for the simulator.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::agent_api::{AgentToMaster, MasterToAgent};
use model::operator_api::{OperatorCall, OperatorReply};
use model::scheduler_api::{FrameworkUpdate, FrameworkUpdateReply, SchedulerCall, SchedulerEvent};
use model::{
    AgentId, DrainState, FrameworkId, OfferId, Output, QuotaConfig, ResourceName, Rng, Role, Time, Weight,
};

use crate::allocator::{Allocator, Options};
use crate::config::MasterConfig;
use crate::loss::Gate;
use crate::maintenance::Maintenance;
use crate::records::{AdmittedState, AgentRecord, Record, Write};
use crate::snapshot::Snapshots;
use crate::state::{Agent, AgentState, CompletedFramework, Framework, OpenInverseOffer, OpenOffer};
use crate::tracked::Tracked;
use crate::view::{Counters, MasterView, OperatorEvent};

/// A stream from an agent or a scheduler; numbers are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    Agent {
        conn: ConnId,
        message: AgentToMaster,
    },
    AgentClosed {
        conn: ConnId,
    },
    Scheduler {
        conn: ConnId,
        call: SchedulerCall,
    },
    SchedulerClosed {
        conn: ConnId,
    },
    UpdateFramework {
        request: RequestId,
        conn: ConnId,
        update: FrameworkUpdate,
    },
    Operator {
        request: RequestId,
        call: OperatorCall,
    },
    /// An operator wants all events from now on.
    Watch {
        watch: WatchId,
    },
    /// Why does this framework get no offer from this agent?
    Explain {
        request: RequestId,
        framework_id: FrameworkId,
        agent_id: AgentId,
    },
    Tick,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    ToAgent {
        conn: ConnId,
        message: MasterToAgent,
    },
    ToScheduler {
        conn: ConnId,
        event: SchedulerEvent,
    },
    CloseAgent {
        conn: ConnId,
        reason: String,
    },
    CloseScheduler {
        conn: ConnId,
    },
    /// Exactly one for each input with a request.
    Reply {
        request: RequestId,
        reply: Reply,
    },
    /// The state that the events after it start from.
    Watching {
        watch: WatchId,
        view: Box<MasterView>,
    },
    /// To all who watch.
    Event(Arc<OperatorEvent>),
    /// The term must end: to go on would do harm.
    Fail(String),
}

/// A question that somebody waits at; numbers are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// An operator's stream of events; numbers are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchId(pub u64);

#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    FrameworkUpdate(FrameworkUpdateReply),
    Operator(OperatorReply),
    /// Lines for a reader, the deciding one first.
    Explanation(Vec<String>),
}

pub type Out = Output<Write, Effect>;

/// What a deadline is for; a stale one is recognised when it fires.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deadline {
    Agent(AgentId),
    Framework(FrameworkId),
    Offer(OfferId),
    InverseOffer(OfferId),
    /// Agents known from before the term have had their time.
    Recovery,
    /// The next agent may be marked unreachable.
    Gate,
    RegistryGc,
}

/// The brain of one term.
#[derive(Debug)]
pub struct Master {
    pub(crate) config: Arc<MasterConfig>,
    pub(crate) rng: Rng,
    pub(crate) agents: Tracked<AgentId, Agent>,
    pub(crate) agent_conns: BTreeMap<ConnId, AgentId>,
    pub(crate) frameworks: Tracked<FrameworkId, Framework>,
    pub(crate) framework_conns: BTreeMap<ConnId, FrameworkId>,
    pub(crate) completed: VecDeque<CompletedFramework>,
    /// The ids of these: they may not come back.
    pub(crate) completed_ids: BTreeSet<FrameworkId>,
    pub(crate) offers: BTreeMap<OfferId, OpenOffer>,
    pub(crate) inverse_offers: BTreeMap<OfferId, OpenInverseOffer>,
    pub(crate) deadlines: BTreeSet<(Time, Deadline)>,
    pub(crate) allocator: Allocator,
    /// Of the present step.
    pub(crate) now: Time,
    pub(crate) counters: Counters,
    /// Somebody watches, or did.
    pub(crate) watched: bool,
    pub(crate) elected: Time,
    pub(crate) next_agent: u64,
    pub(crate) next_framework: u64,
    pub(crate) next_offer: u64,
    pub(crate) snapshots: Snapshots,
    /// Only those set.
    pub(crate) weights: Arc<BTreeMap<Role, Weight>>,
    pub(crate) quotas: Arc<BTreeMap<Role, QuotaConfig>>,
    pub(crate) maintenance: Maintenance,
    /// Agents in the state `DRAINING`.
    pub(crate) draining: BTreeSet<AgentId>,
    pub(crate) gate: Gate,
    /// How many of `agents` are unreachable or gone.
    pub(crate) past_agents: usize,
    /// How many were admitted when the term began.
    pub(crate) recovered_at_start: usize,
}

/// Most records that one look through the registry removes; the next goes on.
pub(crate) const REGISTRY_GC_STEP_MAX: usize = 10_000;

/// Longest id that an agent may name, in bytes.
pub const AGENT_ID_LENGTH_MAX: usize = 255;

fn allocation_options(config: &MasterConfig, admitted: usize) -> Options {
    let limits = &config.limits;
    let least = |name: &str, quantity| BTreeMap::from([(ResourceName::from(name), quantity)]);
    Options {
        interval_ms: limits.allocation_interval_ms,
        min_allocatable: vec![least("cpus", limits.min_cpus), least("mem", limits.min_mem)],
        excluded: limits.fair_sharing_excluded.clone(),
        filter_gpus: limits.filter_gpus,
        master_region: config.domain.as_ref().map(|domain| domain.region.clone()),
        expected_agents: (admitted > 0).then_some(admitted),
        ..Options::default()
    }
}

impl Master {
    /// Starts a term from the admitted agents: a first start, a restart and a
    /// failover are the same.
    pub fn load(config: MasterConfig, rng: Rng, records: Vec<Record>, now: Time) -> Self {
        let mut rng = rng;
        let admitted = records.iter().filter(
            |record| matches!(record, Record::Agent(record) if record.state == AdmittedState::Admitted),
        );
        let options = allocation_options(&config, admitted.count());
        let allocator = Allocator::new(options, now, Rng::new(rng.next_u64()));
        let mut master = Self {
            config: Arc::new(config),
            rng,
            allocator,
            now,
            agents: Tracked::new(),
            agent_conns: BTreeMap::new(),
            frameworks: Tracked::new(),
            framework_conns: BTreeMap::new(),
            completed: VecDeque::new(),
            completed_ids: BTreeSet::new(),
            offers: BTreeMap::new(),
            inverse_offers: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            counters: Counters::default(),
            watched: false,
            elected: now,
            next_agent: 0,
            next_framework: 0,
            next_offer: 0,
            snapshots: Snapshots::default(),
            weights: Arc::default(),
            quotas: Arc::default(),
            maintenance: Maintenance::default(),
            draining: BTreeSet::new(),
            gate: Gate::default(),
            past_agents: 0,
            recovered_at_start: 0,
        };
        let deadline = now + Duration::from_millis(master.config.limits.agent_reregister_timeout_ms);
        let mut parts = Vec::new();
        for record in records {
            match record {
                Record::Agent(record) => master.load_agent(*record, deadline),
                Record::Quota(config) => {
                    Arc::make_mut(&mut master.quotas).insert(config.role.clone(), *config);
                }
                Record::Weight(record) => {
                    Arc::make_mut(&mut master.weights).insert(record.role, record.weight);
                }
                Record::Maintenance(part) => parts.push(*part),
            }
        }
        master.maintenance = Maintenance::load(parts);
        master.deadlines.insert((deadline, Deadline::Recovery));
        let gc = Duration::from_millis(master.config.limits.registry_gc_interval_ms);
        master.deadlines.insert((now + gc, Deadline::RegistryGc));
        let (weights, quotas) = (master.weights.clone(), master.quotas.clone());
        weights.keys().for_each(|role| master.weight_changed(role));
        quotas.keys().for_each(|role| master.quota_changed(role));
        master
    }

    fn load_agent(&mut self, record: AgentRecord, deadline: Time) {
        let Some(id) = record.info.id.clone() else { return };
        let state = match record.state {
            AdmittedState::Admitted => {
                self.recovered_at_start += 1;
                AgentState::Recovered { deadline }
            }
            AdmittedState::Unreachable { since } => AgentState::Unreachable { since },
            AdmittedState::Gone { since } => AgentState::Gone { since },
        };
        let mut agent = Agent::new(id.clone(), Arc::new(record.info), state, record.registered);
        agent.deactivated = record.deactivated;
        agent.drain = record.drain;
        if agent.is_past() {
            self.past_agents += 1;
        }
        if agent.drain.is_some_and(|drain| drain.state == DrainState::Draining) {
            self.draining.insert(id.clone());
        }
        self.agents.insert(id, agent);
    }

    pub fn step(&mut self, now: Time, input: Input) -> Out {
        let mut out = Out::new();
        self.now = now;
        self.count_input(&input);
        match input {
            Input::Agent { conn, message: AgentToMaster::Register(registration) } => {
                self.register_agent(now, conn, *registration, &mut out);
            }
            Input::Agent { conn, message: AgentToMaster::Update(update) } => {
                self.agent_update(conn, *update, &mut out);
            }
            Input::Agent {
                conn,
                message: AgentToMaster::OperationUpdate { uuid, framework_id: _, status },
            } => {
                self.operation_update(now, conn, uuid, *status, &mut out);
            }
            Input::Agent { conn, message: AgentToMaster::Message { framework_id, executor_id, data } } => {
                self.executor_message(conn, &framework_id, executor_id, data, &mut out);
            }
            Input::Agent {
                conn,
                message: AgentToMaster::ExecutorExited { framework_id, executor_id, status },
            } => {
                self.executor_exited(conn, &framework_id, executor_id, status, &mut out);
            }
            Input::Agent { conn, message: AgentToMaster::Unregister } => {
                self.unregister_agent(now, conn, &mut out);
            }
            Input::AgentClosed { conn } => self.agent_closed(now, conn, &mut out),
            Input::Scheduler { conn, call } => self.scheduler_call(now, conn, call, &mut out),
            Input::SchedulerClosed { conn } => self.scheduler_closed(now, conn, &mut out),
            Input::UpdateFramework { request, conn, update } => {
                let reply = Reply::FrameworkUpdate(self.update_framework(conn, update, &mut out));
                out.effect(Effect::Reply { request, reply });
            }
            Input::Operator { request, call } => {
                let reply = Reply::Operator(self.operator_call(now, call, &mut out));
                out.effect(Effect::Reply { request, reply });
            }
            Input::Watch { watch } => {
                self.watched = true;
                out.effect(Effect::Watching { watch, view: Box::new(self.view(now)) });
            }
            Input::Explain { request, framework_id, agent_id } => {
                let reply = Reply::Explanation(self.explain(now, &framework_id, &agent_id));
                out.effect(Effect::Reply { request, reply });
            }
            Input::Tick => {}
        }
        self.fire_deadlines(now, &mut out);
        self.settle_draining(now, &mut out);
        self.allocate(now, &mut out);
        self.count_effects(&out);
        out
    }

    /// When to call `step(Tick)` at the latest.
    pub fn next_wakeup(&self) -> Option<Time> {
        let deadline = self.deadlines.first().map(|(time, _)| *time);
        deadline.into_iter().chain(self.allocator.next_wakeup()).min()
    }

    fn fire_deadlines(&mut self, now: Time, out: &mut Out) {
        while self.deadlines.first().is_some_and(|(time, _)| *time <= now) {
            let Some((_, deadline)) = self.deadlines.pop_first() else { return };
            match deadline {
                Deadline::Agent(id) => {
                    let due = match self.agents.get(&id).map(|agent| agent.state) {
                        Some(AgentState::Disconnected { deadline }) => deadline <= now,
                        _ => false,
                    };
                    if due {
                        self.agent_due(now, &id, out);
                    }
                }
                Deadline::Framework(id) => {
                    let due = self.frameworks.get(&id).and_then(|framework| framework.failover_deadline);
                    if due.is_some_and(|due| due <= now) {
                        self.remove_framework(now, &id, out);
                    }
                }
                Deadline::Offer(id) => {
                    if self.offers.get(&id).is_some_and(|open| open.expires <= now) {
                        self.remove_offer(&id, true, out);
                    }
                }
                Deadline::Recovery => self.recovery_ends(now, out),
                Deadline::Gate => self.open_gate(now, out),
                Deadline::RegistryGc => self.collect_garbage(now, out),
                Deadline::InverseOffer(id) => {
                    if self.inverse_offers.get(&id).is_some_and(|open| open.expires <= now) {
                        self.remove_inverse_offer(&id, true, out);
                    }
                }
            }
        }
    }
}
