//! One master with agents and frameworks by name, as tests of operators' calls use it.

use std::collections::BTreeMap;
use std::time::Duration;

use mesos_master::brain::{Reply, RequestId, WatchId};
use mesos_master::config::MasterLimits;
use mesos_master::view::OperatorEvent;
use mesos_master::{ConnId, Effect, Input, Master, MasterConfig, MasterView, Record, RecordKey};
use model::agent_api::{AgentToMaster, MasterToAgent, Registration};
use model::operator_api::{OperatorCall, OperatorReply};
use model::scheduler_api::{SchedulerCall, SchedulerEvent, TaskRecord};
use model::{
    AgentCapability, AgentId, AgentInfo, Capability, CommandInfo, DrainConfig, FaultDomain, FrameworkId,
    FrameworkInfo, Offer, OfferId, Resources, Rng, Role, Source, StatusUpdate, TaskInfo, TaskState,
    TaskStatus, Time, UpdateId,
};

pub fn role(text: &str) -> Role {
    Role::new(text).unwrap()
}

pub struct Cluster {
    pub master: Master,
    pub now: Time,
    pub limits: MasterLimits,
    pub version: String,
    pub domain: Option<FaultDomain>,
    pub capabilities: Vec<AgentCapability>,
    pub disk: BTreeMap<RecordKey, Record>,
    /// What frameworks heard, by name.
    pub heard: Vec<(String, String)>,
    pub events: Vec<String>,
    /// Why agents' streams were closed.
    pub closed: Vec<String>,
    pub failed: Option<String>,
    conns: BTreeMap<String, ConnId>,
    names: BTreeMap<ConnId, String>,
    agents: BTreeMap<String, AgentId>,
    frameworks: BTreeMap<String, FrameworkId>,
    offers: BTreeMap<OfferId, Offer>,
    told: Vec<(String, MasterToAgent)>,
    replies: BTreeMap<RequestId, OperatorReply>,
    next: u64,
    terms: u64,
}

impl Cluster {
    pub fn new() -> Self {
        let limits = MasterLimits::default();
        let mut master = Master::load(config(1, &limits), Rng::new(1), Vec::new(), Time::ZERO);
        // Events are made once somebody watches.
        master.step(Time::ZERO, Input::Watch { watch: WatchId(1) });
        Self {
            master,
            now: Time::from_millis(1_000),
            limits,
            version: "1.9.0".to_owned(),
            domain: None,
            capabilities: AgentCapability::ALL.to_vec(),
            disk: BTreeMap::new(),
            heard: Vec::new(),
            events: Vec::new(),
            closed: Vec::new(),
            failed: None,
            conns: BTreeMap::new(),
            names: BTreeMap::new(),
            agents: BTreeMap::new(),
            frameworks: BTreeMap::new(),
            offers: BTreeMap::new(),
            told: Vec::new(),
            replies: BTreeMap::new(),
            next: 1,
            terms: 1,
        }
    }

    /// Takes changed limits on; only before anything happened.
    pub fn reload(&mut self) {
        self.master = Master::load(config(1, &self.limits), Rng::new(1), Vec::new(), Time::ZERO);
    }

    /// Another master takes over what is stored.
    pub fn restart(&mut self) {
        self.terms += 1;
        let records = self.disk.values().cloned().collect();
        self.master = Master::load(config(self.terms, &self.limits), Rng::new(2), records, self.now);
        self.offers.clear();
        self.step(Input::Tick);
    }

    pub fn view(&mut self) -> MasterView {
        self.master.view(self.now)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn open(&mut self, name: &str) -> ConnId {
        let conn = ConnId(self.number());
        self.conns.insert(name.to_owned(), conn);
        self.names.insert(conn, name.to_owned());
        conn
    }

    fn step(&mut self, input: Input) {
        let output = self.master.step(self.now, input);
        self.master.check_invariants().unwrap();
        for write in output.writes {
            write.apply(&mut self.disk);
        }
        for effect in output.effects {
            match effect {
                Effect::ToAgent { conn, message } => {
                    let name = self.names[&conn].clone();
                    if let MasterToAgent::Registered { agent_id } = &message {
                        self.agents.insert(name.clone(), agent_id.clone());
                    }
                    self.told.push((name, message));
                }
                Effect::ToScheduler { conn, event } => self.event(conn, event),
                Effect::CloseAgent { reason, .. } => self.closed.push(reason),
                Effect::Reply { request, reply: Reply::Operator(reply) } => {
                    self.replies.insert(request, reply);
                }
                Effect::Event(event) => match &*event {
                    OperatorEvent::AgentAdded(agent) => self.events.push(format!("agent added {}", agent.id)),
                    OperatorEvent::AgentRemoved(id) => self.events.push(format!("agent removed {id}")),
                    _ => {}
                },
                Effect::Fail(reason) => self.failed = Some(reason),
                _ => {}
            }
        }
    }

    fn event(&mut self, conn: ConnId, event: SchedulerEvent) {
        let name = self.names[&conn].clone();
        let lines = match event {
            SchedulerEvent::Subscribed { framework_id } => {
                self.frameworks.insert(name.clone(), framework_id);
                Vec::new()
            }
            SchedulerEvent::Offers(offers) => {
                self.offers.extend(offers.into_iter().map(|offer| (offer.id.clone(), offer)));
                Vec::new()
            }
            SchedulerEvent::Rescind(id) => {
                self.offers.remove(&id);
                vec![format!("rescind {id}")]
            }
            SchedulerEvent::Update(status) => {
                let reason = status.reason.map(|reason| format!(" {reason}")).unwrap_or_default();
                let message = status.message.map(|text| format!(" ({text})")).unwrap_or_default();
                let since = status.unreachable_since.map(|_| " since").unwrap_or_default();
                vec![format!("{} {}{reason}{message}{since}", status.task_id, status.state)]
            }
            SchedulerEvent::Failure { agent_id, .. } => vec![format!("failure of {agent_id}")],
            other => vec![format!("{other:?}")],
        };
        self.heard.extend(lines.into_iter().map(|line| (name.clone(), line)));
    }

    pub fn heard_by(&self, name: &str) -> Vec<String> {
        self.heard.iter().filter(|(who, _)| who == name).map(|(_, line)| line.clone()).collect()
    }

    pub fn told(&self, name: &str) -> Vec<MasterToAgent> {
        self.told.iter().filter(|(who, _)| who == name).map(|(_, message)| message.clone()).collect()
    }

    pub fn ask(&mut self, call: OperatorCall) -> OperatorReply {
        let request = RequestId(self.number());
        self.step(Input::Operator { request, call });
        self.replies.remove(&request).expect("every request is answered in its step")
    }

    pub fn advance(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(due) = self.master.next_wakeup().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.step(Input::Tick);
        }
        self.now = end;
        self.master.check_snapshot(self.now).unwrap();
    }

    pub fn agent(&mut self, name: &str, resources: &str) -> AgentId {
        self.try_agent(name, resources);
        self.agents[name].clone()
    }

    pub fn try_agent(&mut self, name: &str, resources: &str) {
        self.return_with(name, resources, &[], None);
    }

    /// Registers with these running tasks, each named `framework/task`.
    pub fn return_with(&mut self, name: &str, resources: &str, tasks: &[&str], drain: Option<DrainConfig>) {
        let conn = self.open(name);
        let info = AgentInfo {
            id: self.agents.get(name).cloned(),
            hostname: name.to_owned(),
            ip: "10.0.0.2".to_owned(),
            port: 5051,
            resources: Resources::parse(resources, &Role::any()).unwrap(),
            attributes: Vec::new(),
            domain: self.domain.clone(),
            version: self.version.clone(),
            capabilities: self.capabilities.clone(),
        };
        let mut frameworks = Vec::new();
        let mut records = Vec::new();
        for text in tasks {
            let (framework, task) = text.split_once('/').unwrap();
            let id = self.frameworks[framework].clone();
            frameworks.push(framework_info(framework, Some(id.clone()), "*"));
            records.push(TaskRecord {
                framework_id: id,
                info: task_info(task, &self.agents[name], "cpus:1;mem:100"),
                state: TaskState::Running,
                statuses: Vec::new(),
                role: None,
            });
        }
        let registration = Registration {
            info,
            frameworks,
            executors: Vec::new(),
            tasks: records,
            operations: Vec::new(),
            drain,
        };
        let message = AgentToMaster::Register(Box::new(registration));
        self.step(Input::Agent { conn, message });
    }

    pub fn close_agent(&mut self, name: &str) {
        let conn = self.conns[name];
        self.step(Input::AgentClosed { conn });
    }

    pub fn agent_says(&mut self, name: &str, message: AgentToMaster) {
        let conn = self.conns[name];
        self.step(Input::Agent { conn, message });
    }

    /// `plain` does not know partitions, `volatile` has no checkpoints.
    pub fn subscribe(&mut self, name: &str, role_name: &str) -> FrameworkId {
        let conn = self.open(name);
        let info = framework_info(name, self.frameworks.get(name).cloned(), role_name);
        let call = SchedulerCall::Subscribe { info: Box::new(info), suppressed_roles: Vec::new() };
        self.step(Input::Scheduler { conn, call });
        self.frameworks[name].clone()
    }

    pub fn call(&mut self, name: &str, call: SchedulerCall) {
        let conn = self.conns[name];
        self.step(Input::Scheduler { conn, call });
    }

    pub fn open_offers(&self, framework: &str) -> usize {
        let id = &self.frameworks[framework];
        self.offers.values().filter(|offer| offer.framework_id == *id).count()
    }

    pub fn offers_of(&self, framework: &str) -> Vec<Offer> {
        let id = &self.frameworks[framework];
        self.offers.values().filter(|offer| offer.framework_id == *id).cloned().collect()
    }

    /// Launches out of the open offer of the agent, and has it run.
    pub fn launch(&mut self, framework: &str, agent: &str, task: &str, resources: &str) {
        self.launch_on(framework, agent, task, Resources::parse(resources, &Role::any()).unwrap());
    }

    pub fn launch_on(&mut self, framework: &str, agent: &str, task: &str, resources: Resources) {
        let (id, agent_id) = (self.frameworks[framework].clone(), self.agents[agent].clone());
        let offer = self.offers.values().find(|offer| offer.framework_id == id && offer.agent_id == agent_id);
        let offer_id = offer.expect("an offer to launch from").id.clone();
        self.offers.remove(&offer_id);
        let info = TaskInfo { resources, ..task_info(task, &agent_id, "cpus:1") };
        let operations = vec![model::Operation::launch([info])];
        let call = SchedulerCall::Accept { offer_ids: vec![offer_id], operations, refuse_ms: Some(0) };
        self.call(framework, call);
        self.update(framework, agent, task, TaskState::Running);
    }

    pub fn end_task(&mut self, framework: &str, agent: &str, task: &str) {
        self.update(framework, agent, task, TaskState::Killed);
    }

    fn update(&mut self, framework: &str, agent: &str, task: &str, state: TaskState) {
        let uuid = UpdateId(u128::from(self.number()));
        let agent_id = self.agents[agent].clone();
        let mut status = TaskStatus::new(task.into(), state, self.now, Source::Executor);
        status.agent_id = Some(agent_id.clone());
        status.uuid = Some(uuid);
        let framework_id = self.frameworks[framework].clone();
        let update = StatusUpdate { framework_id, agent_id: agent_id.clone(), status, latest_state: state };
        self.agent_says(agent, AgentToMaster::Update(Box::new(update)));
        self.call(framework, SchedulerCall::Acknowledge { agent_id, task_id: task.into(), uuid });
    }

    pub fn reconcile(&mut self, framework: &str, task: &str, agent: Option<&str>) {
        let agent_id = agent.map(|name| self.agents[name].clone());
        self.call(framework, SchedulerCall::Reconcile { tasks: vec![(task.into(), agent_id)] });
    }
}

fn config(term: u64, limits: &MasterLimits) -> MasterConfig {
    MasterConfig {
        master_id: format!("M{term}"),
        cluster: "test".to_owned(),
        hostname: "master1".to_owned(),
        ip: "10.0.0.1".to_owned(),
        port: 5050,
        version: "1.9.0".to_owned(),
        domain: None,
        started: Time::ZERO,
        limits: limits.clone(),
    }
}

fn framework_info(name: &str, id: Option<FrameworkId>, role_name: &str) -> FrameworkInfo {
    FrameworkInfo {
        id,
        name: name.to_owned(),
        user: "root".to_owned(),
        roles: vec![role(role_name)],
        failover_timeout_ms: 3_600_000,
        checkpoint: name != "volatile",
        hostname: String::new(),
        principal: None,
        webui_url: None,
        capabilities: if name == "plain" { Vec::new() } else { vec![Capability::PartitionAware] },
        labels: Vec::new(),
        offer_filters: Default::default(),
    }
}

fn task_info(task: &str, agent_id: &AgentId, resources: &str) -> TaskInfo {
    TaskInfo {
        id: task.into(),
        name: task.to_owned(),
        agent_id: agent_id.clone(),
        resources: Resources::parse(resources, &Role::any()).unwrap(),
        command: CommandInfo { shell: true, value: Some("sleep 1".to_owned()), ..CommandInfo::default() },
        container: None,
        kill_policy: None,
        discovery: None,
        labels: BTreeMap::new(),
        executor: None,
        max_completion_ms: None,
        health_check: None,
        check: None,
        raw: None,
    }
}
