//! Marathon's turn: inputs from clients, the master and the clock; durable
//! writes and effects out.
//!
//! Everything is level-triggered: an input changes what is known, then
//! [`Marathon::settle`] compares what should be with what is, app by app, and
//! deployments move on when their step has come true. Starting, resuming after a
//! crash and taking over are the same [`Marathon::load`].
//! Invariants, stated in [`Marathon::check_invariants`]: an app is in at most one
//! deployment; every task is known under exactly one app; the durable records
//! are exactly what the memory holds.

mod calls;
mod check;
mod converge;
mod deployments;
mod launch;
mod numbers;
mod offers;
mod publish;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::scheduler_api::{SchedulerCall, SchedulerEvent};
use model::{Capability, FrameworkId, FrameworkInfo, Output, Principal, Rng, TaskId, Time};
use scheduler::{Backoff, Demand, OfferTally};

use self::numbers::Numbers;
use crate::api::{ApiCall, ApiError, ApiReply, MarathonEvent};
use crate::config::Config;
use crate::definition::AppDefinition;
use crate::path::PathId;
use crate::state::{Deployment, Instance, Record, TaskFailure, Write};
use crate::view::View;

/// Above this many tasks debug builds leave the full check to the simulator.
#[cfg(debug_assertions)]
const CHECKED_TASKS_MAX: usize = 200;

#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The link to the leading master is up: the brain subscribes.
    Connected,
    Disconnected,
    Event(SchedulerEvent),
    Api {
        request: u64,
        call: ApiCall,
    },
    Tick,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    Call(SchedulerCall),
    Reply {
        request: u64,
        result: Result<ApiReply, ApiError>,
    },
    Event(MarathonEvent),
    /// The master refuses this framework for good: stop, an operator must act.
    Fatal {
        message: String,
    },
}

pub type Out = Output<Write, Effect>;

/// Why the stored records are no state to start from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error(
        "{instances} instances are stored but no framework id: starting would launch everything twice; restore the record marathon/framework-id, or delete the instance records once their tasks are gone"
    )]
    FrameworkIdMissing { instances: usize },
    #[error("{count} framework ids are stored; keep the one that the master knows")]
    FrameworkIdTwice { count: usize },
}

/// What a deadline is for; a stale one is recognised when it fires.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Deadline {
    /// Send the kill again.
    Kill(TaskId),
    /// Ask after, or give up, an unconfirmed launch.
    Launch(TaskId),
    /// An unreachable instance may have become inactive or forgotten.
    Unreachable(PathId),
    /// A launch delay is over.
    Delay(PathId),
    Revive,
    Reconcile,
}

/// What is still to be launched of an app.
#[derive(Debug, Clone)]
struct Wanted {
    definition: Arc<AppDefinition>,
    demand: Arc<Demand>,
    count: u64,
    since: Time,
}

#[derive(Debug, Default)]
struct App {
    /// `None`: deleted (or never known), its instances end.
    definition: Option<Arc<AppDefinition>>,
    versions: Arc<BTreeMap<Time, Arc<AppDefinition>>>,
    instances: BTreeMap<TaskId, Arc<Instance>>,
    numbers: Numbers,
    last_failure: Option<Arc<TaskFailure>>,
    deployment: Option<String>,
    wanted: Option<Wanted>,
    /// With the configuration it belongs to.
    backoff: Option<(Time, Backoff)>,
    tally: Arc<OfferTally>,
}

impl App {
    fn insert(&mut self, instance: Arc<Instance>) {
        self.numbers.add(&instance);
        if let Some(before) = self.instances.insert(instance.task_id.clone(), instance) {
            self.numbers.remove(&before);
        }
    }
}

/// The brain of one leadership.
#[derive(Debug)]
pub struct Marathon {
    config: Arc<Config>,
    rng: Rng,
    framework_id: Option<FrameworkId>,
    apps: BTreeMap<PathId, App>,
    /// Where each known task belongs.
    tasks: BTreeMap<TaskId, PathId>,
    deployments: BTreeMap<String, Arc<Deployment>>,
    connected: bool,
    subscribed: bool,
    suppressed: bool,
    revive_wanted: bool,
    last_revive: Option<Time>,
    deadlines: BTreeSet<(Time, Deadline)>,
    /// Apps to be compared with what they should be.
    dirty: BTreeSet<PathId>,
    /// Apps with something to launch.
    wanting: BTreeSet<PathId>,
    /// Where the next offer starts its round over the apps.
    cursor: Option<PathId>,
    last_version: Time,
    kills_this_turn: usize,
    /// Identifies this machine's brain inside time-based uuids.
    uuid_node: u64,
    published: View,
    unpublished: BTreeSet<PathId>,
    unpublished_rest: bool,
}

impl Marathon {
    pub fn load(config: Config, mut rng: Rng, records: Vec<Record>, now: Time) -> Result<Self, LoadError> {
        let uuid_node = (rng.next_u64() >> 16) | 0x0100_0000_0000;
        let mut brain = Self {
            config: Arc::new(config),
            rng,
            framework_id: None,
            apps: BTreeMap::new(),
            tasks: BTreeMap::new(),
            deployments: BTreeMap::new(),
            connected: false,
            subscribed: false,
            suppressed: false,
            revive_wanted: false,
            last_revive: None,
            deadlines: BTreeSet::new(),
            dirty: BTreeSet::new(),
            wanting: BTreeSet::new(),
            cursor: None,
            last_version: Time::ZERO,
            kills_this_turn: 0,
            uuid_node,
            published: View::default(),
            unpublished: BTreeSet::new(),
            unpublished_rest: true,
        };
        let mut framework_ids = 0;
        for record in records {
            framework_ids += usize::from(matches!(record, Record::FrameworkId(_)));
            brain.take_record(record);
        }
        if framework_ids > 1 {
            return Err(LoadError::FrameworkIdTwice { count: framework_ids });
        }
        if brain.framework_id.is_none() && !brain.tasks.is_empty() {
            return Err(LoadError::FrameworkIdMissing { instances: brain.tasks.len() });
        }
        for deployment in brain.deployments.values() {
            for app in deployment.target.keys() {
                brain.apps.entry(app.clone()).or_default().deployment = Some(deployment.id.clone());
            }
        }
        let tasks: Vec<TaskId> = brain.tasks.keys().cloned().collect();
        for task in tasks {
            brain.watch_instance(&task, now);
        }
        brain.dirty = brain.apps.keys().cloned().collect();
        brain.unpublished = brain.dirty.clone();
        Ok(brain)
    }

    fn take_record(&mut self, record: Record) {
        match record {
            Record::FrameworkId(id) => self.framework_id = Some(id),
            Record::App(definition) => {
                self.last_version = self.last_version.max(definition.version);
                let app = self.apps.entry(definition.id.clone()).or_default();
                app.definition = Some(Arc::new(definition));
            }
            Record::Version(definition) => {
                self.last_version = self.last_version.max(definition.version);
                let app = self.apps.entry(definition.id.clone()).or_default();
                Arc::make_mut(&mut app.versions).insert(definition.version, Arc::new(definition));
            }
            Record::Instance(instance) => {
                self.last_version = self.last_version.max(instance.version);
                self.tasks.insert(instance.task_id.clone(), instance.app.clone());
                let app = self.apps.entry(instance.app.clone()).or_default();
                app.insert(Arc::new(instance));
            }
            Record::Deployment(deployment) => {
                self.last_version = self.last_version.max(deployment.version);
                self.deployments.insert(deployment.id.clone(), Arc::new(deployment));
            }
            Record::TaskFailure(failure) => {
                let app = self.apps.entry(failure.app.clone()).or_default();
                app.last_failure = Some(Arc::new(failure));
            }
        }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn step(&mut self, now: Time, input: Input) -> Out {
        let mut out = Out::new();
        self.kills_this_turn = 0;
        match input {
            Input::Connected => self.connect(&mut out),
            Input::Disconnected => self.disconnect(&mut out),
            Input::Event(event) => self.event(now, event, &mut out),
            Input::Api { request, call } => {
                let result = self.api(now, call, &mut out);
                self.settle(now, &mut out);
                out.effect(Effect::Reply { request, result });
            }
            Input::Tick => {}
        }
        self.fire_deadlines(now, &mut out);
        self.settle(now, &mut out);
        self.tell_interest(now, &mut out);
        #[cfg(debug_assertions)]
        if self.tasks.len() <= CHECKED_TASKS_MAX
            && let Err(broken) = self.check_invariants()
        {
            debug_assert!(false, "{broken}");
        }
        out
    }

    /// When to call `step(Tick)` at the latest.
    pub fn next_wakeup(&self) -> Option<Time> {
        if !self.dirty.is_empty() {
            return Some(Time::ZERO);
        }
        self.deadlines.first().map(|(time, _)| *time)
    }

    fn event(&mut self, now: Time, event: SchedulerEvent, out: &mut Out) {
        match event {
            SchedulerEvent::Subscribed { framework_id } => self.subscribed(now, framework_id, out),
            SchedulerEvent::Offers(offers) => self.offers(now, offers, out),
            // Offers are answered in the turn they come in: none is held.
            SchedulerEvent::Rescind(_) => {}
            SchedulerEvent::Update(status) => self.update(now, *status, out),
            // The tasks' own updates follow and tell.
            SchedulerEvent::Failure { .. } => {}
            // Marathon asks for no operation's feedback, has no executor of its own
            // and leaves agents at the operator's word only.
            SchedulerEvent::UpdateOperation(_)
            | SchedulerEvent::Message { .. }
            | SchedulerEvent::InverseOffers(_)
            | SchedulerEvent::RescindInverse(_) => {}
            SchedulerEvent::Error { message } => {
                self.subscribed = false;
                out.effect(Effect::Fatal { message });
            }
        }
    }

    // ---- the bond to the master

    fn connect(&mut self, out: &mut Out) {
        self.connected = true;
        self.subscribed = false;
        let idle = self.wanting.is_empty();
        self.suppressed = idle;
        let roles = vec![self.config.role.clone()];
        let call = SchedulerCall::Subscribe {
            info: Box::new(self.framework_info()),
            suppressed_roles: if idle { roles } else { Vec::new() },
        };
        out.effect(Effect::Call(call));
    }

    fn framework_info(&self) -> FrameworkInfo {
        FrameworkInfo {
            id: self.framework_id.clone(),
            name: self.config.framework_name.clone(),
            user: self.config.user.clone(),
            roles: vec![self.config.role.clone()],
            failover_timeout_ms: self.config.failover_timeout_ms,
            checkpoint: true,
            hostname: self.config.hostname.clone(),
            principal: Some(Principal::new(&self.config.principal)),
            webui_url: self.config.webui_url.clone(),
            capabilities: vec![
                Capability::PartitionAware,
                Capability::TaskKillingState,
                Capability::RegionAware,
            ],
            labels: Vec::new(),
            offer_filters: Default::default(),
        }
    }

    fn disconnect(&mut self, out: &mut Out) {
        if self.connected {
            out.effect(Effect::Event(MarathonEvent::SchedulerDisconnected));
        }
        self.connected = false;
        self.subscribed = false;
        self.unpublished_rest = true;
    }

    fn subscribed(&mut self, now: Time, framework_id: FrameworkId, out: &mut Out) {
        match &self.framework_id {
            Some(known) if *known != framework_id => {
                let message = format!(
                    "the master subscribed us as {framework_id}, but our tasks belong to {known}; \
                     a framework id is never replaced silently"
                );
                out.effect(Effect::Fatal { message });
                return;
            }
            Some(_) => out.effect(Effect::Event(MarathonEvent::SchedulerReregistered)),
            None => {
                self.framework_id = Some(framework_id.clone());
                out.write(Write::PutFrameworkId(framework_id.clone()));
                let framework_id = framework_id.as_str().to_owned();
                out.effect(Effect::Event(MarathonEvent::SchedulerRegistered { framework_id }));
            }
        }
        self.subscribed = true;
        self.revive_wanted = !self.wanting.is_empty();
        self.unpublished_rest = true;
        self.reconcile(now, out);
        self.kill_sentenced_again(now, out);
    }

    /// Asks after every task we know, then for all the master knows of us.
    fn reconcile(&mut self, now: Time, out: &mut Out) {
        let known: Vec<_> = self
            .apps
            .values()
            .flat_map(|app| app.instances.values())
            .map(|instance| (instance.task_id.clone(), Some(instance.agent_id.clone())))
            .collect();
        for chunk in known.chunks(self.config.limits.reconcile_chunk.max(1)) {
            self.call(SchedulerCall::Reconcile { tasks: chunk.to_vec() }, out);
        }
        self.call(SchedulerCall::Reconcile { tasks: Vec::new() }, out);
        self.deadlines.retain(|(_, deadline)| *deadline != Deadline::Reconcile);
        let next = now + Duration::from_millis(self.config.reconcile_interval_ms);
        self.deadlines.insert((next, Deadline::Reconcile));
    }

    /// Calls are lost while there is no subscription; reconciliation makes up for it.
    fn call(&self, call: SchedulerCall, out: &mut Out) {
        if self.subscribed {
            out.effect(Effect::Call(call));
        }
    }

    // ---- time

    fn fire_deadlines(&mut self, now: Time, out: &mut Out) {
        while let Some((time, _)) = self.deadlines.first() {
            if *time > now {
                return;
            }
            let Some((_, deadline)) = self.deadlines.pop_first() else { return };
            match deadline {
                Deadline::Kill(task) => self.kill_again(now, &task, out),
                Deadline::Launch(task) => self.launch_overdue(now, &task, out),
                Deadline::Unreachable(app) => {
                    self.dirty.insert(app);
                }
                Deadline::Delay(id) => self.delay_over(now, id),
                Deadline::Revive => {}
                Deadline::Reconcile if self.subscribed => self.reconcile(now, out),
                Deadline::Reconcile => {}
            }
        }
    }

    fn delay_over(&mut self, now: Time, id: PathId) {
        let Some(app) = self.apps.get(&id) else { return };
        match app.delayed_until(now) {
            // It was pushed forward meanwhile.
            Some(until) => {
                self.deadlines.insert((until, Deadline::Delay(id)));
            }
            None => {
                self.revive_wanted |= app.wanted.is_some();
                self.unpublished.insert(id);
            }
        }
    }

    /// Strictly increasing, and at least `now`.
    fn next_version(&mut self, now: Time) -> Time {
        self.last_version = now.max(self.last_version + Duration::from_millis(1));
        self.last_version
    }

    fn instance(&self, task: &TaskId) -> Option<&Arc<Instance>> {
        self.apps.get(self.tasks.get(task)?)?.instances.get(task)
    }

    /// Changes an instance in memory; the caller decides whether it is stored.
    fn change_instance(
        &mut self,
        task: &TaskId,
        change: impl FnOnce(&mut Instance),
    ) -> Option<Arc<Instance>> {
        let id = self.tasks.get(task)?;
        let app = self.apps.get_mut(id)?;
        let instance = app.instances.get_mut(task)?;
        app.numbers.remove(instance);
        change(Arc::make_mut(instance));
        app.numbers.add(instance);
        self.dirty.insert(id.clone());
        Some(instance.clone())
    }

    /// Forgets an instance, durably.
    fn remove_instance(&mut self, task: &TaskId, out: &mut Out) -> Option<Arc<Instance>> {
        let id = self.tasks.remove(task)?;
        let app = self.apps.get_mut(&id)?;
        let removed = app.instances.remove(task)?;
        app.numbers.remove(&removed);
        out.write(Write::DeleteInstance(task.clone()));
        self.dirty.insert(id);
        Some(removed)
    }
}
