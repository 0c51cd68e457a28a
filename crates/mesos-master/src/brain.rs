//! The master's turn: inputs from agents, frameworks and the clock.
//!
//! Invariants: what agents hold plus what is offered never exceeds what they
//! have; a task is in at most one of live, unreachable, completed; an agent's
//! state is durable before any framework hears of it. Every message may come
//! twice, late or never. [`Master::check_invariants`] states them for the simulator.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::agent_api::{AgentToMaster, MasterToAgent, Registration};
use model::scheduler_api::{SchedulerCall, SchedulerEvent, TaskRecord};
use model::{
    AgentId, AgentInfo, Capability, FrameworkId, FrameworkInfo, OfferId, Output, Reason, ResourceValue,
    Resources, Rng, Role, Source, StatusUpdate, TaskId, TaskState, TaskStatus, Time,
};

use crate::allocator::{self, Candidate, Client, Minimum};
use crate::config::MasterConfig;
use crate::state::{
    AdmittedState, Agent, AgentRecord, AgentState, CompletedFramework, Filter, Framework, OpenOffer, Record,
    Task, Write,
};
use crate::view::{AgentView, Counters, FrameworkView, MasterView};

/// A stream from an agent or a scheduler; numbers are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    Agent { conn: ConnId, message: AgentToMaster },
    AgentClosed { conn: ConnId },
    Scheduler { conn: ConnId, call: SchedulerCall },
    SchedulerClosed { conn: ConnId },
    Tick,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    ToAgent { conn: ConnId, message: MasterToAgent },
    ToScheduler { conn: ConnId, event: SchedulerEvent },
    CloseAgent { conn: ConnId, reason: String },
    CloseScheduler { conn: ConnId },
}

pub type Out = Output<Write, Effect>;

/// What a deadline is for; a stale one is recognised when it fires.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deadline {
    Agent(AgentId),
    Framework(FrameworkId),
    Offer(OfferId),
    Allocation,
}

/// The brain of one term.
#[derive(Debug)]
pub struct Master {
    pub(crate) config: Arc<MasterConfig>,
    pub(crate) rng: Rng,
    pub(crate) agents: BTreeMap<AgentId, Agent>,
    pub(crate) agent_conns: BTreeMap<ConnId, AgentId>,
    pub(crate) frameworks: BTreeMap<FrameworkId, Framework>,
    pub(crate) framework_conns: BTreeMap<ConnId, FrameworkId>,
    pub(crate) completed: VecDeque<CompletedFramework>,
    pub(crate) offers: BTreeMap<OfferId, OpenOffer>,
    pub(crate) deadlines: BTreeSet<(Time, Deadline)>,
    pub(crate) dirty: BTreeSet<AgentId>,
    /// Scalars of all connected agents.
    pub(crate) total: Resources,
    pub(crate) counters: Counters,
    allocation_scheduled: bool,
    elected: Time,
    next_agent: u64,
    pub(crate) next_framework: u64,
    next_offer: u64,
}

/// Longest id that an agent may name, in bytes.
pub const AGENT_ID_LENGTH_MAX: usize = 255;

/// Why an agent's description cannot be taken.
fn agent_problem(info: &AgentInfo) -> Option<String> {
    let id = info.id.as_ref()?.as_str();
    let unusable =
        id.is_empty() || id.len() > AGENT_ID_LENGTH_MAX || id.contains(|c: char| c.is_control() || c == '/');
    unusable.then(|| {
        format!("agent id {id:?} is not one: 1 to {AGENT_ID_LENGTH_MAX} bytes without slash or control")
    })
}

pub(crate) fn scalars(resources: &Resources) -> Resources {
    resources.filter(|resource| matches!(resource.value, ResourceValue::Scalar(_)))
}

impl Master {
    /// Starts a term from the admitted agents: a first start, a restart and a
    /// failover are the same.
    pub fn load(config: MasterConfig, rng: Rng, records: Vec<Record>, now: Time) -> Self {
        let mut master = Self {
            config: Arc::new(config),
            rng,
            agents: BTreeMap::new(),
            agent_conns: BTreeMap::new(),
            frameworks: BTreeMap::new(),
            framework_conns: BTreeMap::new(),
            completed: VecDeque::new(),
            offers: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            dirty: BTreeSet::new(),
            total: Resources::new(),
            counters: Counters::default(),
            allocation_scheduled: false,
            elected: now,
            next_agent: 0,
            next_framework: 0,
            next_offer: 0,
        };
        let deadline = now + Duration::from_millis(master.config.limits.agent_reregister_timeout_ms);
        for record in records {
            let Some(id) = record.info.id.clone() else { continue };
            let state = match record.state {
                AdmittedState::Admitted => {
                    master.deadlines.insert((deadline, Deadline::Agent(id.clone())));
                    AgentState::Recovered { deadline }
                }
                AdmittedState::Unreachable { since } => AgentState::Unreachable { since },
                AdmittedState::Gone { since } => AgentState::Gone { since },
            };
            let agent = Agent {
                id: id.clone(),
                info: Arc::new(record.info),
                state,
                registered: record.registered,
                reregistered: None,
                tasks: BTreeMap::new(),
                used: BTreeMap::new(),
                offers: BTreeSet::new(),
                offered: Resources::new(),
            };
            master.agents.insert(id, agent);
        }
        master
    }

    pub fn step(&mut self, now: Time, input: Input) -> Out {
        let mut out = Out::new();
        match input {
            Input::Agent { conn, message: AgentToMaster::Register(registration) } => {
                let Registration { info, frameworks, tasks, .. } = *registration;
                self.register_agent(now, conn, info, frameworks, tasks, &mut out);
            }
            Input::Agent { conn, message: AgentToMaster::Update(update) } => {
                self.agent_update(now, conn, *update, &mut out);
            }
            Input::Agent { .. } => {}
            Input::AgentClosed { conn } => self.agent_closed(now, conn, &mut out),
            Input::Scheduler { conn, call } => self.scheduler_call(now, conn, call, &mut out),
            Input::SchedulerClosed { conn } => self.scheduler_closed(now, conn, &mut out),
            Input::Tick => {}
        }
        self.fire_deadlines(now, &mut out);
        self.allocate(now, &mut out);
        out
    }

    /// When to call `step(Tick)` at the latest.
    pub fn next_wakeup(&self) -> Option<Time> {
        self.deadlines.first().map(|(time, _)| *time)
    }

    // ---- agents

    fn register_agent(
        &mut self,
        now: Time,
        conn: ConnId,
        mut info: AgentInfo,
        frameworks: Vec<FrameworkInfo>,
        tasks: Vec<TaskRecord>,
        out: &mut Out,
    ) {
        if let Some(problem) = agent_problem(&info) {
            out.effect(Effect::CloseAgent { conn, reason: problem });
            return;
        }
        let Some(id) = self.choose_agent_id(&info) else {
            let limit = self.config.limits.agents_max;
            let reason = format!("the master already has {limit} agents, its limit agents_max");
            out.effect(Effect::CloseAgent { conn, reason });
            return;
        };
        if self.agents.get(&id).is_some_and(|agent| matches!(agent.state, AgentState::Gone { .. })) {
            let message =
                format!("agent {id} was marked gone; wipe its work directory to join as a new agent");
            out.effect(Effect::ToAgent {
                conn,
                message: MasterToAgent::Shutdown { message: message.clone() },
            });
            out.effect(Effect::CloseAgent { conn, reason: message });
            return;
        }
        info.id = Some(id.clone());
        self.admit(now, conn, &id, info, out);
        for framework in frameworks {
            self.recover_framework(now, framework);
        }
        out.effect(Effect::ToAgent { conn, message: MasterToAgent::Registered { agent_id: id.clone() } });
        self.merge_tasks(now, conn, &id, tasks, out);
        self.dirty.insert(id);
    }

    /// The id the agent names, that of the agent at the same address, or a new one;
    /// `None` at the limit.
    fn choose_agent_id(&mut self, info: &AgentInfo) -> Option<AgentId> {
        let full = self.agents.len() >= self.config.limits.agents_max;
        if let Some(id) = &info.id {
            return (!full || self.agents.contains_key(id)).then(|| id.clone());
        }
        // Only one process has this address: an agent that lost its id, or never heard it.
        // What ran there before is not in its registration, and is settled by that.
        let same_place = |agent: &&Agent| {
            agent.info.hostname == info.hostname
                && agent.info.ip == info.ip
                && agent.info.port == info.port
                && !matches!(agent.state, AgentState::Gone { .. })
        };
        if let Some(agent) = self.agents.values().find(same_place) {
            return Some(agent.id.clone());
        }
        if full {
            return None;
        }
        let id = AgentId::new(format!("{}-S{}", self.config.master_id, self.next_agent));
        self.next_agent += 1;
        Some(id)
    }

    /// Makes the agent connected by this stream and durable as admitted.
    fn admit(&mut self, now: Time, conn: ConnId, id: &AgentId, info: AgentInfo, out: &mut Out) {
        // One stream speaks for one agent.
        if self.agent_conns.get(&conn).is_some_and(|former| former != id) {
            self.agent_closed(now, conn, out);
        }
        let known = self.agents.contains_key(id);
        if known {
            self.counters.agent_reregistrations += 1;
        } else {
            self.counters.agent_registrations += 1;
        }
        self.drop_connection(id, Some(conn), out);
        let info = Arc::new(info);
        let agent = self.agents.entry(id.clone()).or_insert_with(|| Agent {
            id: id.clone(),
            info: info.clone(),
            state: AgentState::Recovered { deadline: now },
            registered: now,
            reregistered: None,
            tasks: BTreeMap::new(),
            used: BTreeMap::new(),
            offers: BTreeSet::new(),
            offered: Resources::new(),
        });
        let durable = known
            && agent.info == info
            && matches!(
                agent.state,
                AgentState::Recovered { .. } | AgentState::Connected { .. } | AgentState::Disconnected { .. }
            );
        if known {
            agent.reregistered = Some(now);
        }
        agent.info = info.clone();
        agent.state = AgentState::Connected { conn };
        if !durable {
            let record = AgentRecord {
                info: (*info).clone(),
                state: AdmittedState::Admitted,
                registered: agent.registered,
            };
            out.write(Write::PutAgent(Box::new(record)));
        }
        self.total.add(&scalars(&info.resources));
        self.agent_conns.insert(conn, id.clone());
    }

    /// Ends the bond of an agent to its present stream, if any; its offers go.
    fn drop_connection(&mut self, id: &AgentId, newer: Option<ConnId>, out: &mut Out) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        let AgentState::Connected { conn } = agent.state else { return };
        let resources = scalars(&agent.info.resources);
        agent.state = AgentState::Disconnected { deadline: Time::MAX };
        self.total.subtract(&resources);
        self.agent_conns.remove(&conn);
        if newer.is_some_and(|newer| newer != conn) {
            let reason = "the agent opened a newer stream".to_owned();
            out.effect(Effect::CloseAgent { conn, reason });
        }
        self.rescind_all_of(id, out);
    }

    /// Brings the master's and the agent's lists of tasks together.
    fn merge_tasks(
        &mut self,
        now: Time,
        conn: ConnId,
        id: &AgentId,
        reported: Vec<TaskRecord>,
        out: &mut Out,
    ) {
        let mut named = BTreeSet::new();
        for record in reported {
            let key = (record.framework_id.clone(), record.info.id.clone());
            if !self.frameworks.contains_key(&key.0) {
                let message = MasterToAgent::ShutdownFramework { framework_id: key.0.clone() };
                out.effect(Effect::ToAgent { conn, message });
                continue;
            }
            named.insert(key);
            self.merge_task(now, id, record, out);
        }
        let Some(agent) = self.agents.get(id) else { return };
        let mut missing = Vec::new();
        let mut ended = Vec::new();
        let mut kills = Vec::new();
        for (key, task) in &agent.tasks {
            if !named.contains(key) {
                if task.state.is_terminal() { ended.push(key.clone()) } else { missing.push(key.clone()) }
            } else if let Some(policy) = task.kill_wanted {
                kills.push((key.clone(), policy));
            }
        }
        for key in ended {
            self.complete_task(id, &key);
        }
        for ((framework_id, task_id), kill_policy) in kills {
            let message = MasterToAgent::KillTask { framework_id, task_id, kill_policy };
            out.effect(Effect::ToAgent { conn, message });
        }
        if !missing.is_empty() {
            out.effect(Effect::ToAgent { conn, message: MasterToAgent::Reconcile { tasks: missing } });
        }
    }

    fn merge_task(&mut self, now: Time, id: &AgentId, record: TaskRecord, out: &mut Out) {
        let key = (record.framework_id.clone(), record.info.id.clone());
        let Some(framework) = self.frameworks.get_mut(&key.0) else { return };
        let was_unreachable = framework.unreachable.remove(&key.1);
        let role = framework.info.roles.first().cloned().unwrap_or_else(Role::any);
        let known = self.agents.get(id).and_then(|agent| agent.tasks.get(&key)).cloned();
        // Its framework may have given it up meanwhile, or asked for it in vain.
        let news = known.is_none();
        let returned = was_unreachable.is_some();
        let mut task = known.or(was_unreachable).unwrap_or_else(|| {
            Arc::new(Task {
                framework_id: key.0.clone(),
                info: record.info.clone(),
                role,
                state: record.state,
                statuses: record.statuses.clone(),
                forwarded: record.statuses.last().cloned(),
                unacknowledged: None,
                kill_wanted: None,
                holds_resources: false,
                launched: now,
            })
        });
        {
            let task = Arc::make_mut(&mut task);
            task.state = record.state;
            task.statuses = record.statuses;
            if returned {
                // What was told last, that it is unreachable, is no longer so: a framework
                // that is away now must not hear it when it asks.
                task.forwarded = None;
            }
        }
        let holds = !record.state.is_terminal();
        self.place_task(id, key.clone(), task, holds);
        if news {
            let text = if returned { "Unreachable agent re-registered" } else { "Agent re-registered" };
            let status = TaskStatus {
                task_id: key.1.clone(),
                state: record.state,
                timestamp: now,
                source: Source::Master,
                reason: Some(Reason::AgentReregistered),
                message: Some(text.to_owned()),
                agent_id: Some(id.clone()),
                uuid: None,
                container: None,
                check: None,
                data: None,
                executor_id: None,
                healthy: None,
                labels: Vec::new(),
                limitation: None,
                unreachable_since: None,
            };
            self.forward(&key.0, status, out);
        }
    }

    /// Stores the task under its agent and framework, with its claim on resources.
    pub(crate) fn place_task(
        &mut self,
        id: &AgentId,
        key: (FrameworkId, TaskId),
        mut task: Arc<Task>,
        holds: bool,
    ) {
        if let Some(old) = self.agents.get(id).and_then(|agent| agent.tasks.get(&key)).cloned()
            && old.holds_resources
        {
            self.release(id, &old);
        }
        {
            let task = Arc::make_mut(&mut task);
            task.holds_resources = holds;
        }
        let Some(agent) = self.agents.get_mut(id) else { return };
        if holds {
            agent.take(&key.0, &task.info.resources);
            if let Some(framework) = self.frameworks.get_mut(&key.0) {
                framework.allocated.entry(task.role.clone()).or_default().add(&scalars(&task.info.resources));
            }
        }
        if let Some(framework) = self.frameworks.get_mut(&key.0) {
            framework.tasks.insert(key.1.clone(), id.clone());
        }
        if let Some(agent) = self.agents.get_mut(id) {
            agent.tasks.insert(key, task);
        }
    }

    /// Frees what a task holds (its entry is changed by the caller).
    fn release(&mut self, id: &AgentId, task: &Task) {
        if let Some(agent) = self.agents.get_mut(id) {
            agent.give_back(&task.framework_id, &task.info.resources);
        }
        if let Some(framework) = self.frameworks.get_mut(&task.framework_id)
            && let Some(allocated) = framework.allocated.get_mut(&task.role)
        {
            allocated.subtract(&scalars(&task.info.resources));
        }
        self.dirty.insert(id.clone());
    }

    fn agent_update(&mut self, _now: Time, conn: ConnId, update: StatusUpdate, out: &mut Out) {
        let Some(id) = self.agent_conns.get(&conn).cloned() else {
            self.counters.status_updates_invalid += 1;
            return;
        };
        let key = (update.framework_id.clone(), update.status.task_id.clone());
        if !self.frameworks.contains_key(&key.0) {
            self.counters.status_updates_invalid += 1;
            let message = MasterToAgent::ShutdownFramework { framework_id: key.0 };
            out.effect(Effect::ToAgent { conn, message });
            return;
        }
        let elsewhere = self.frameworks.get(&key.0).and_then(|framework| framework.tasks.get(&key.1));
        if elsewhere.is_some_and(|place| *place != id) {
            self.counters.status_updates_invalid += 1;
            return;
        }
        self.counters.status_updates_valid += 1;
        let known = self.agents.get(&id).and_then(|agent| agent.tasks.get(&key)).cloned();
        if let Some(mut task) = known {
            let before = task.state;
            {
                let task = Arc::make_mut(&mut task);
                if !task.state.is_terminal() {
                    task.state = update.latest_state;
                }
                task.push_status(update.status.clone());
                task.forwarded = Some(update.status.clone());
                task.unacknowledged = update.status.uuid.map(|_| update.status.clone());
            }
            if !before.is_terminal() && task.state.is_terminal() {
                self.count_end(task.state);
                if task.holds_resources {
                    self.release(&id, &task);
                    Arc::make_mut(&mut task).holds_resources = false;
                }
            }
            if let Some(agent) = self.agents.get_mut(&id) {
                agent.tasks.insert(key.clone(), task);
            }
        }
        self.forward(&key.0, update.status, out);
    }

    pub(crate) fn count_end(&mut self, state: TaskState) {
        let counters = &mut self.counters;
        match state {
            TaskState::Finished => counters.tasks_finished += 1,
            TaskState::Failed => counters.tasks_failed += 1,
            TaskState::Killed => counters.tasks_killed += 1,
            TaskState::Error => counters.tasks_error += 1,
            TaskState::Dropped => counters.tasks_dropped += 1,
            TaskState::Gone | TaskState::GoneByOperator => counters.tasks_gone += 1,
            _ => counters.tasks_lost += 1,
        }
    }

    fn agent_closed(&mut self, now: Time, conn: ConnId, out: &mut Out) {
        let Some(id) = self.agent_conns.get(&conn).cloned() else { return };
        self.drop_connection(&id, None, out);
        let deadline = now + Duration::from_millis(self.config.limits.agent_timeout_ms);
        if let Some(agent) = self.agents.get_mut(&id) {
            agent.state = AgentState::Disconnected { deadline };
            self.deadlines.insert((deadline, Deadline::Agent(id)));
        }
    }

    /// Writes the loss down first; the frameworks hear of it after.
    fn agent_unreachable(&mut self, now: Time, id: &AgentId, out: &mut Out) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        agent.state = AgentState::Unreachable { since: now };
        agent.offered = Resources::new();
        let record = AgentRecord {
            info: (*agent.info).clone(),
            state: AdmittedState::Unreachable { since: now },
            registered: agent.registered,
        };
        let hostname = agent.info.hostname.clone();
        let tasks: Vec<_> = agent.tasks.keys().cloned().collect();
        out.write(Write::PutAgent(Box::new(record)));
        self.counters.agents_unreachable += 1;
        for key in tasks {
            self.task_unreachable(now, id, &key, &hostname, out);
        }
        let connected: Vec<ConnId> =
            self.frameworks.values().filter_map(|framework| framework.conn).collect();
        for conn in connected {
            let event = SchedulerEvent::Failure { agent_id: id.clone(), executor: None };
            out.effect(Effect::ToScheduler { conn, event });
        }
    }

    fn task_unreachable(
        &mut self,
        now: Time,
        id: &AgentId,
        key: &(FrameworkId, TaskId),
        hostname: &str,
        out: &mut Out,
    ) {
        let Some(task) = self.agents.get(id).and_then(|agent| agent.tasks.get(key)).cloned() else { return };
        if task.state.is_terminal() {
            self.complete_task(id, key);
            return;
        }
        if task.holds_resources {
            self.release(id, &task);
        }
        if let Some(agent) = self.agents.get_mut(id) {
            agent.tasks.remove(key);
        }
        let aware = self.frameworks.get(&key.0).is_some_and(|f| f.info.can(Capability::PartitionAware));
        let status = TaskStatus {
            task_id: key.1.clone(),
            state: if aware { TaskState::Unreachable } else { TaskState::Lost },
            timestamp: now,
            source: Source::Master,
            reason: Some(Reason::AgentRemoved),
            message: Some(format!("Agent {hostname} is unreachable: no contact within the agent timeout")),
            agent_id: Some(id.clone()),
            uuid: None,
            container: None,
            check: None,
            data: None,
            executor_id: None,
            healthy: None,
            labels: Vec::new(),
            limitation: None,
            unreachable_since: None,
        };
        self.counters.tasks_unreachable += 1;
        let mut task = task;
        {
            let task = Arc::make_mut(&mut task);
            task.holds_resources = false;
            task.state = status.state;
            task.unacknowledged = None;
            task.push_status(status.clone());
            task.forwarded = Some(status.clone());
        }
        let limit = self.config.limits.unreachable_tasks_max;
        if let Some(framework) = self.frameworks.get_mut(&key.0) {
            framework.tasks.remove(&key.1);
            framework.unreachable.insert(key.1.clone(), task);
            while framework.unreachable.len() > limit {
                framework.unreachable.pop_first();
            }
        }
        self.forward(&key.0, status, out);
    }

    /// Moves a task out of the live lists into the framework's history.
    pub(crate) fn complete_task(&mut self, id: &AgentId, key: &(FrameworkId, TaskId)) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        let Some(mut task) = agent.tasks.remove(key) else { return };
        if task.holds_resources {
            self.release(id, &task);
            Arc::make_mut(&mut task).holds_resources = false;
        }
        let limit = self.config.limits.completed_tasks_max;
        if let Some(framework) = self.frameworks.get_mut(&key.0) {
            framework.tasks.remove(&key.1);
            framework.completed.push_back(task);
            while framework.completed.len() > limit {
                framework.completed.pop_front();
            }
        }
    }

    /// Sends a status to the framework, if it listens.
    pub(crate) fn forward(&mut self, framework_id: &FrameworkId, status: TaskStatus, out: &mut Out) {
        if let Some(conn) = self.frameworks.get(framework_id).and_then(|framework| framework.conn) {
            out.effect(Effect::ToScheduler { conn, event: SchedulerEvent::Update(Box::new(status)) });
        }
    }

    // ---- offers

    /// Takes an offer back into the pool; tells the framework when `rescind`.
    pub(crate) fn remove_offer(
        &mut self,
        offer_id: &OfferId,
        rescind: bool,
        out: &mut Out,
    ) -> Option<model::Offer> {
        let open = self.offers.remove(offer_id)?;
        let offer = open.offer;
        if let Some(agent) = self.agents.get_mut(&offer.agent_id) {
            agent.offers.remove(offer_id);
            agent.offered.subtract(&offer.resources);
            self.dirty.insert(offer.agent_id.clone());
        }
        if let Some(framework) = self.frameworks.get_mut(&offer.framework_id) {
            framework.offers.remove(offer_id);
            if let Some(allocated) = framework.allocated.get_mut(&offer.role) {
                allocated.subtract(&scalars(&offer.resources));
            }
            if let (true, Some(conn)) = (rescind, framework.conn) {
                self.counters.offers_rescinded += 1;
                out.effect(Effect::ToScheduler { conn, event: SchedulerEvent::Rescind(offer_id.clone()) });
            }
        }
        Some(offer)
    }

    fn rescind_all_of(&mut self, id: &AgentId, out: &mut Out) {
        let offers: Vec<OfferId> =
            self.agents.get(id).map(|agent| agent.offers.iter().cloned().collect()).unwrap_or_default();
        for offer in offers {
            self.remove_offer(&offer, true, out);
        }
    }

    fn allocate(&mut self, now: Time, out: &mut Out) {
        if self.dirty.is_empty() {
            return;
        }
        let clients = self.clients();
        if clients.is_empty() {
            self.dirty.clear();
            return;
        }
        self.counters.allocation_runs += 1;
        let mut candidates: Vec<Candidate> = std::mem::take(&mut self.dirty)
            .into_iter()
            .filter_map(|id| self.agents.get(&id))
            .filter(|agent| agent.conn().is_some())
            .map(|agent| Candidate { agent_id: agent.id.clone(), free: agent.free() })
            .filter(|candidate| !candidate.free.is_empty())
            .collect();
        self.rng.shuffle(&mut candidates);
        for framework in self.frameworks.values_mut() {
            framework.filters.retain(|filter| filter.until > now);
        }
        let mut role_allocated: BTreeMap<Role, Resources> = BTreeMap::new();
        for framework in self.frameworks.values() {
            for (role, allocated) in &framework.allocated {
                role_allocated.entry(role.clone()).or_default().add(allocated);
            }
        }
        let limits = &self.config.limits;
        let minimum = Minimum { cpus: limits.min_cpus, mem: limits.min_mem };
        let frameworks = &self.frameworks;
        let grants = allocator::allocate(
            &self.total,
            &role_allocated,
            &clients,
            &candidates,
            minimum,
            |framework_id, role, agent_id, resources| {
                frameworks.get(framework_id).is_some_and(|framework| {
                    framework.filters.iter().any(|filter| {
                        filter.agent_id == *agent_id
                            && filter.role == *role
                            && filter.refused.contains(resources)
                    })
                })
            },
        );
        self.send_offers(now, grants, out);
        let interval = Duration::from_millis(self.config.limits.allocation_interval_ms);
        if !self.allocation_scheduled {
            self.allocation_scheduled = true;
            self.deadlines.insert((now + interval, Deadline::Allocation));
        }
    }

    fn clients(&self) -> Vec<Client> {
        let mut clients = Vec::new();
        for framework in self.frameworks.values().filter(|framework| framework.active()) {
            for role in framework.info.roles.iter().filter(|role| !framework.suppressed.contains(role)) {
                clients.push(Client {
                    framework_id: framework.id.clone(),
                    role: role.clone(),
                    allocated: framework.allocated.get(role).cloned().unwrap_or_default(),
                });
            }
        }
        clients
    }

    fn send_offers(&mut self, now: Time, grants: Vec<allocator::Grant>, out: &mut Out) {
        let expires = now + Duration::from_millis(self.config.limits.offer_timeout_ms);
        let mut by_framework: BTreeMap<FrameworkId, Vec<model::Offer>> = BTreeMap::new();
        for grant in grants {
            let Some(agent) = self.agents.get_mut(&grant.agent_id) else { continue };
            let id = OfferId::new(format!("{}-O{}", self.config.master_id, self.next_offer));
            self.next_offer += 1;
            let offer = model::Offer {
                id: id.clone(),
                framework_id: grant.framework_id.clone(),
                agent_id: grant.agent_id.clone(),
                hostname: agent.info.hostname.clone(),
                ip: agent.info.ip.clone(),
                port: agent.info.port,
                role: grant.role.clone(),
                resources: grant.resources.clone(),
                attributes: agent.info.attributes.clone(),
                domain: agent.info.domain.clone(),
                executor_ids: Vec::new(),
                unavailability: None,
            };
            agent.offers.insert(id.clone());
            agent.offered.add(&grant.resources);
            if let Some(framework) = self.frameworks.get_mut(&grant.framework_id) {
                framework.offers.insert(id.clone());
                framework.allocated.entry(grant.role).or_default().add(&scalars(&grant.resources));
            }
            self.counters.offers_sent += 1;
            self.deadlines.insert((expires, Deadline::Offer(id.clone())));
            self.offers.insert(id, OpenOffer { offer: offer.clone(), expires });
            by_framework.entry(grant.framework_id).or_default().push(offer);
        }
        for (framework_id, offers) in by_framework {
            if let Some(conn) = self.frameworks.get(&framework_id).and_then(|framework| framework.conn) {
                out.effect(Effect::ToScheduler { conn, event: SchedulerEvent::Offers(offers) });
            }
        }
    }

    pub(crate) fn add_filter(
        &mut self,
        now: Time,
        offer: &model::Offer,
        resources: Resources,
        refuse_ms: Option<u64>,
    ) {
        let millis =
            refuse_ms.unwrap_or(self.config.limits.refuse_default_ms).min(crate::config::REFUSE_MAX_MS);
        if millis == 0 || resources.is_empty() {
            return;
        }
        let millis = millis.max(self.config.limits.allocation_interval_ms);
        let until = now + Duration::from_millis(millis);
        if let Some(framework) = self.frameworks.get_mut(&offer.framework_id) {
            framework.filters.retain(|filter| {
                !(filter.agent_id == offer.agent_id
                    && filter.role == offer.role
                    && resources.contains(&filter.refused))
            });
            let (role, agent_id) = (offer.role.clone(), offer.agent_id.clone());
            framework.filters.push(Filter { role, agent_id, refused: resources, until });
        }
    }

    // ---- time

    fn fire_deadlines(&mut self, now: Time, out: &mut Out) {
        while self.deadlines.first().is_some_and(|(time, _)| *time <= now) {
            let Some((_, deadline)) = self.deadlines.pop_first() else { return };
            match deadline {
                Deadline::Agent(id) => {
                    let due = match self.agents.get(&id).map(|agent| agent.state) {
                        Some(AgentState::Disconnected { deadline } | AgentState::Recovered { deadline }) => {
                            deadline <= now
                        }
                        _ => false,
                    };
                    if due {
                        self.agent_unreachable(now, &id, out);
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
                Deadline::Allocation => {
                    self.allocation_scheduled = false;
                    let connected = self.agents.values().filter(|agent| agent.conn().is_some());
                    self.dirty.extend(connected.map(|agent| agent.id.clone()));
                }
            }
        }
    }

    // ---- reads

    pub fn view(&self, now: Time) -> MasterView {
        let mut agents = Vec::new();
        let mut recovered_agents = Vec::new();
        let mut unreachable_agents = Vec::new();
        for agent in self.agents.values() {
            match agent.state {
                AgentState::Recovered { .. } => recovered_agents.push(agent.info.clone()),
                AgentState::Unreachable { since } => unreachable_agents.push((agent.info.clone(), since)),
                AgentState::Gone { .. } => {}
                AgentState::Connected { .. } | AgentState::Disconnected { .. } => agents.push(AgentView {
                    id: agent.id.clone(),
                    info: agent.info.clone(),
                    active: agent.conn().is_some(),
                    registered: agent.registered,
                    reregistered: agent.reregistered,
                    used: agent.used_total(),
                    offered: agent.offered.clone(),
                    used_by_framework: agent
                        .used
                        .iter()
                        .map(|(id, used)| (id.clone(), used.clone()))
                        .collect(),
                    tasks: agent.tasks.values().cloned().collect(),
                }),
            }
        }
        MasterView {
            config: self.config.clone(),
            elected: self.elected,
            taken: now,
            agents,
            recovered_agents,
            unreachable_agents,
            frameworks: self
                .frameworks
                .values()
                .map(|framework| self.framework_view(framework, None))
                .collect(),
            completed_frameworks: self
                .completed
                .iter()
                .map(|done| self.framework_view(&done.framework, Some(done.unregistered)))
                .collect(),
            counters: self.counters.clone(),
        }
    }

    fn framework_view(&self, framework: &Framework, unregistered: Option<Time>) -> FrameworkView {
        let mut used = Resources::new();
        let mut offered = Resources::new();
        let mut tasks = Vec::with_capacity(framework.tasks.len());
        for (task_id, agent_id) in &framework.tasks {
            let key = (framework.id.clone(), task_id.clone());
            if let Some(task) = self.agents.get(agent_id).and_then(|agent| agent.tasks.get(&key)) {
                if task.holds_resources {
                    used.add(&task.info.resources);
                }
                tasks.push(task.clone());
            }
        }
        let offers: Vec<model::Offer> = framework
            .offers
            .iter()
            .filter_map(|id| self.offers.get(id))
            .map(|open| open.offer.clone())
            .collect();
        for offer in &offers {
            offered.add(&offer.resources);
        }
        FrameworkView {
            id: framework.id.clone(),
            info: framework.info.clone(),
            active: framework.active(),
            connected: framework.conn.is_some(),
            recovered: framework.recovered,
            registered: framework.registered,
            reregistered: framework.reregistered,
            unregistered,
            used,
            offered,
            offers,
            tasks,
            unreachable_tasks: framework.unreachable.values().cloned().collect(),
            completed_tasks: framework.completed.iter().cloned().collect(),
        }
    }
}
