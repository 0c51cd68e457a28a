//! A small Mesos master with agents, in memory and virtual time, and the brain
//! under test beside it.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part; a test may panic")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use marathon::brain::Out;
use marathon::definition::AppUpdate;
use marathon::state::Instance;
use marathon::{ApiCall, ApiError, ApiReply, Config, Effect, Input, Marathon, MarathonEvent, PathId, Record};
use model::scheduler_api::{SchedulerCall, SchedulerEvent};
use model::{
    AgentId, Offer, OfferId, Reason, Resources, Rng, Role, Source, TaskId, TaskInfo, TaskState, TaskStatus,
    Time, UpdateId,
};

pub struct Agent {
    pub id: AgentId,
    pub total: Resources,
    pub up: bool,
    pub filtered: bool,
    pub tasks: BTreeMap<TaskId, (TaskInfo, TaskState)>,
}

impl Agent {
    fn free(&self) -> Resources {
        let mut free = self.total.clone();
        for (task, _) in self.tasks.values() {
            free.subtract(&task.resources);
        }
        free
    }
}

/// How tasks of an app behave.
#[derive(Clone, Copy, PartialEq)]
pub enum Behaviour {
    Run,
    Fail,
    /// Stays in STAGING.
    Hang,
    /// Runs, and does not die of a kill until released.
    Stubborn,
}

pub struct World {
    pub brain: Marathon,
    pub now: Time,
    pub store: BTreeMap<String, Vec<u8>>,
    pub agents: Vec<Agent>,
    pub offers: BTreeMap<OfferId, AgentId>,
    pub events: VecDeque<SchedulerEvent>,
    pub told: Vec<MarathonEvent>,
    pub replies: BTreeMap<u64, Result<ApiReply, ApiError>>,
    pub behaviour: BTreeMap<String, Behaviour>,
    pub launches: Vec<(Time, TaskInfo)>,
    pub kills: Vec<(Time, TaskId)>,
    pub acknowledged: BTreeSet<UpdateId>,
    pub updates_sent: BTreeSet<UpdateId>,
    pub fatal: Option<String>,
    pub config: Config,
    pub suppressed: bool,
    pub subscribed: bool,
    pub lose_kills: bool,
    pub checked: bool,
    next: u64,
}

pub fn path(id: &str) -> PathId {
    PathId::parse(id).unwrap()
}

pub fn app(id: &str, instances: u32) -> AppUpdate {
    AppUpdate {
        id: Some(id.to_owned()),
        cmd: Some("sleep 1000".to_owned()),
        cpus: Some(0.1),
        mem: Some(32.0),
        instances: Some(instances),
        ..AppUpdate::default()
    }
}

impl World {
    pub fn new(agents: usize) -> Self {
        Self::with(agents, Config::default())
    }

    pub fn with(agents: usize, config: Config) -> Self {
        let now = Time::from_millis(1_551_435_330_123);
        let brain = Marathon::load(config.clone(), Rng::new(1), Vec::new(), now).unwrap();
        let mut world = Self {
            brain,
            now,
            store: BTreeMap::new(),
            agents: Vec::new(),
            offers: BTreeMap::new(),
            events: VecDeque::new(),
            told: Vec::new(),
            replies: BTreeMap::new(),
            behaviour: BTreeMap::new(),
            launches: Vec::new(),
            kills: Vec::new(),
            acknowledged: BTreeSet::new(),
            updates_sent: BTreeSet::new(),
            fatal: None,
            config,
            suppressed: false,
            subscribed: false,
            lose_kills: false,
            checked: true,
            next: 0,
        };
        for index in 0..agents {
            world.add_agent(&format!("a{index}"), "cpus:4;mem:4096;disk:1000;ports:[31000-31999]");
        }
        world.step(Input::Connected);
        world.run();
        world
    }

    pub fn add_agent(&mut self, id: &str, resources: &str) {
        self.agents.push(Agent {
            id: id.into(),
            total: Resources::parse(resources, &Role::any()).unwrap(),
            up: true,
            filtered: false,
            tasks: BTreeMap::new(),
        });
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    // ---- the brain's side

    pub fn step(&mut self, input: Input) {
        let out = self.brain.step(self.now, input);
        self.carry_out(out);
        if self.checked {
            self.brain.check_invariants().unwrap();
        }
    }

    fn carry_out(&mut self, out: Out) {
        for write in &out.writes {
            match write.value().unwrap() {
                Some(value) => self.store.insert(write.key(), value),
                None => self.store.remove(&write.key()),
            };
        }
        for effect in out.effects {
            match effect {
                Effect::Call(call) => self.call(call),
                Effect::Reply { request, result } => {
                    self.replies.insert(request, result);
                }
                Effect::Event(event) => self.told.push(event),
                Effect::Fatal { message } => self.fatal = Some(message),
            }
        }
    }

    pub fn records(&self) -> Vec<Record> {
        self.store.iter().map(|(key, value)| Record::decode(key, value).unwrap()).collect()
    }

    /// The brain is lost; another starts from what is durable.
    pub fn crash(&mut self) {
        let seed = self.number();
        self.brain = Marathon::load(self.config.clone(), Rng::new(seed), self.records(), self.now).unwrap();
        self.events.clear();
        self.offers.clear();
        self.subscribed = false;
        self.step(Input::Connected);
        self.run();
    }

    /// The writes of the next step become durable, its effects never happen.
    pub fn crash_before_effects(&mut self, input: Input) {
        let out = self.brain.step(self.now, input);
        self.carry_out(Out { writes: out.writes, effects: Vec::new() });
        self.crash();
    }

    pub fn reconnect(&mut self) {
        self.events.clear();
        self.offers.clear();
        self.subscribed = false;
        self.step(Input::Disconnected);
        self.step(Input::Connected);
    }

    pub fn api(&mut self, call: ApiCall) -> Result<ApiReply, ApiError> {
        let request = self.number();
        self.step(Input::Api { request, call });
        self.replies.remove(&request).expect("every call is answered in its turn")
    }

    pub fn create(&mut self, update: AppUpdate) -> Result<ApiReply, ApiError> {
        self.api(ApiCall::CreateApp { app: Box::new(update), force: false })
    }

    pub fn put(&mut self, id: &str, update: AppUpdate) -> Result<ApiReply, ApiError> {
        self.api(ApiCall::UpdateApp {
            id: path(id),
            update: Box::new(update),
            partial: true,
            create: true,
            force: false,
        })
    }

    /// Delivers everything that is on its way, and lets the moments pass that
    /// the brain paces itself with.
    pub fn run(&mut self) {
        let end = self.now + Duration::from_millis(250);
        self.deliver();
        while let Some(time) = self.brain.next_wakeup().filter(|time| *time <= end) {
            self.now = self.now.max(time);
            self.step(Input::Tick);
            self.deliver();
        }
    }

    /// Delivers everything without the clock moving.
    pub fn deliver(&mut self) {
        for _ in 0..100_000 {
            if let Some(event) = self.events.pop_front() {
                self.step(Input::Event(event));
            } else if self.brain.next_wakeup().is_some_and(|time| time <= self.now) {
                self.step(Input::Tick);
            } else if !self.offer() {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    pub fn advance(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        self.deliver();
        while let Some(time) = self.brain.next_wakeup().filter(|time| *time <= end) {
            self.now = self.now.max(time);
            self.step(Input::Tick);
            self.deliver();
        }
        self.now = end;
        self.deliver();
    }

    pub fn instances(&mut self, id: &str) -> Vec<std::sync::Arc<Instance>> {
        self.brain.view().apps.get(&path(id)).map(|view| view.instances.clone()).unwrap_or_default()
    }

    pub fn running(&mut self, id: &str) -> usize {
        let instances = self.instances(id);
        instances.iter().filter(|instance| instance.is_running() && instance.sentenced.is_none()).count()
    }

    /// Tasks that agents run for an app, whatever the brain thinks.
    pub fn tasks_of(&self, id: &str) -> Vec<TaskId> {
        let prefix = format!("{}.", path(id).safe());
        let tasks = self.agents.iter().flat_map(|agent| agent.tasks.keys());
        tasks.filter(|task| task.as_str().starts_with(&prefix)).cloned().collect()
    }

    pub fn deployments(&mut self) -> usize {
        self.brain.view().deployments.len()
    }

    // ---- the master's side

    pub fn status(&mut self, agent: usize, task: &TaskId, state: TaskState, reason: Option<Reason>) {
        let uuid = UpdateId(u128::from(self.number()));
        self.updates_sent.insert(uuid);
        self.events.push_back(SchedulerEvent::Update(Box::new(TaskStatus {
            task_id: task.clone(),
            state,
            timestamp: self.now,
            source: Source::Executor,
            reason,
            message: Some(format!("{state} in the test")),
            agent_id: Some(self.agents[agent].id.clone()),
            uuid: Some(uuid),
            container: None,
            check: None,
            data: None,
            executor_id: None,
            healthy: None,
            labels: Vec::new(),
            limitation: None,
            unreachable_since: None,
        })));
    }

    /// A task ends by itself.
    pub fn end(&mut self, task: &TaskId, state: TaskState) {
        let index = self.agents.iter().position(|agent| agent.tasks.contains_key(task)).unwrap();
        self.agents[index].tasks.remove(task);
        self.status(index, task, state, None);
        self.agents[index].filtered = false;
    }

    /// An agent vanishes; the master says so.
    pub fn lose_agent(&mut self, index: usize) {
        self.agents[index].up = false;
        let tasks: Vec<TaskId> = self.agents[index].tasks.keys().cloned().collect();
        for task in tasks {
            self.status(index, &task, TaskState::Unreachable, Some(Reason::AgentRemoved));
        }
        self.run();
    }

    pub fn return_agent(&mut self, index: usize) {
        self.agents[index].up = true;
        self.agents[index].filtered = false;
        let tasks: Vec<(TaskId, TaskState)> =
            self.agents[index].tasks.iter().map(|(id, (_, state))| (id.clone(), *state)).collect();
        for (task, state) in tasks {
            self.status(index, &task, state, Some(Reason::AgentReregistered));
        }
        self.run();
    }

    fn offer(&mut self) -> bool {
        if self.suppressed || !self.subscribed {
            return false;
        }
        let mut offers = Vec::new();
        for index in 0..self.agents.len() {
            let agent = &self.agents[index];
            let busy = self.offers.values().any(|id| *id == agent.id);
            let free = agent.free();
            if !agent.up || agent.filtered || busy || free.is_empty() {
                continue;
            }
            let agent_id = agent.id.clone();
            let id = OfferId::new(format!("o{}", self.number()));
            self.offers.insert(id.clone(), agent_id.clone());
            offers.push(Offer {
                id,
                framework_id: "f".into(),
                hostname: agent_id.as_str().to_owned(),
                agent_id,
                ip: "127.0.0.1".into(),
                port: 5051,
                role: self.config.role.clone(),
                resources: free,
                attributes: Vec::new(),
                domain: None,
                executor_ids: Vec::new(),
                unavailability: None,
            });
        }
        let some = !offers.is_empty();
        if some {
            self.events.push_back(SchedulerEvent::Offers(offers));
        }
        some
    }

    fn call(&mut self, call: SchedulerCall) {
        match call {
            SchedulerCall::Subscribe { suppressed_roles, .. } => {
                self.suppressed = !suppressed_roles.is_empty();
                self.subscribed = true;
                for agent in &mut self.agents {
                    agent.filtered = false;
                }
                self.events.push_back(SchedulerEvent::Subscribed { framework_id: "f".into() });
            }
            SchedulerCall::Accept { offer_ids, operations, refuse_ms } => {
                let tasks = launched(operations);
                for id in offer_ids {
                    self.accept(&id, &tasks, refuse_ms != Some(0));
                }
            }
            SchedulerCall::Decline { offer_ids, refuse_ms } => {
                for id in offer_ids {
                    let agent_id = self.offers.remove(&id).expect("an offer is answered once");
                    if refuse_ms != Some(0) {
                        self.filter(&agent_id);
                    }
                }
            }
            SchedulerCall::Revive { .. } => {
                self.suppressed = false;
                for agent in &mut self.agents {
                    agent.filtered = false;
                }
            }
            SchedulerCall::Suppress { .. } => self.suppressed = true,
            SchedulerCall::Kill { task_id, .. } => self.kill(&task_id),
            SchedulerCall::Acknowledge { uuid, .. } => {
                self.acknowledged.insert(uuid);
            }
            SchedulerCall::Reconcile { tasks } => self.reconcile(tasks),
            other => panic!("never asked for: {other:?}"),
        }
    }

    fn filter(&mut self, agent_id: &AgentId) {
        for agent in &mut self.agents {
            agent.filtered |= agent.id == *agent_id;
        }
    }

    fn accept(&mut self, id: &OfferId, tasks: &[TaskInfo], filter: bool) {
        let agent_id = self.offers.remove(id).expect("an offer is answered once");
        let index = self.agents.iter().position(|agent| agent.id == agent_id).unwrap();
        for task in tasks {
            let key = format!("marathon/instances/{}", task.id);
            assert!(self.store.contains_key(&key), "the instance is durable before its launch");
            assert!(self.agents[index].free().contains(&task.resources), "no more than offered");
            assert_eq!(task.agent_id, agent_id);
            self.launches.push((self.now, task.clone()));
            self.agents[index].tasks.insert(task.id.clone(), (task.clone(), TaskState::Staging));
            self.come_up(index, &task.id);
        }
        if filter {
            self.filter(&agent_id);
        }
    }

    fn behaviour_of(&self, task: &TaskId) -> Behaviour {
        let app = task.as_str().split('.').next().unwrap();
        self.behaviour.get(app).copied().unwrap_or(Behaviour::Run)
    }

    fn come_up(&mut self, index: usize, task: &TaskId) {
        self.status(index, task, TaskState::Staging, None);
        match self.behaviour_of(task) {
            Behaviour::Hang => {}
            Behaviour::Fail => {
                self.agents[index].tasks.remove(task);
                self.agents[index].filtered = false;
                self.status(index, task, TaskState::Failed, None);
            }
            Behaviour::Run | Behaviour::Stubborn => {
                self.agents[index].tasks.get_mut(task).unwrap().1 = TaskState::Running;
                self.status(index, task, TaskState::Running, None);
            }
        }
    }

    fn kill(&mut self, task: &TaskId) {
        self.kills.push((self.now, task.clone()));
        if self.lose_kills {
            return;
        }
        let found = self.agents.iter().position(|agent| agent.tasks.contains_key(task));
        match found {
            Some(index) if self.agents[index].up => {
                if self.behaviour_of(task) == Behaviour::Stubborn {
                    self.status(index, task, TaskState::Killing, None);
                } else {
                    self.end(task, TaskState::Killed);
                }
            }
            _ => {}
        }
    }

    fn reconcile(&mut self, tasks: Vec<(TaskId, Option<AgentId>)>) {
        let named: Vec<TaskId> = if tasks.is_empty() {
            self.agents.iter().flat_map(|agent| agent.tasks.keys()).cloned().collect()
        } else {
            tasks.into_iter().map(|(task, _)| task).collect()
        };
        for task in named {
            let found = self.agents.iter().find(|agent| agent.tasks.contains_key(&task));
            let state = match found {
                Some(agent) if agent.up => agent.tasks[&task].1,
                Some(_) => TaskState::Unreachable,
                None => TaskState::Unknown,
            };
            let agent_id = found.map(|agent| agent.id.clone());
            self.events.push_back(SchedulerEvent::Update(Box::new(TaskStatus {
                task_id: task,
                state,
                timestamp: self.now,
                source: Source::Master,
                reason: Some(Reason::Reconciliation),
                message: None,
                agent_id,
                uuid: None,
                container: None,
                check: None,
                data: None,
                executor_id: None,
                healthy: None,
                labels: Vec::new(),
                limitation: None,
                unreachable_since: None,
            })));
        }
    }
}

/// The tasks that an ACCEPT launches.
fn launched(operations: Vec<model::Operation>) -> Vec<TaskInfo> {
    let tasks = operations.into_iter().filter_map(|operation| match operation.kind {
        model::OperationKind::Launch { tasks } => Some(tasks),
        _ => None,
    });
    tasks.flatten().map(|task| task.info).collect()
}
