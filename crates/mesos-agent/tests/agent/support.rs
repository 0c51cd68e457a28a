//! An agent's brain on a bench: inputs in, effects out as lines, a disk that keeps
//! what was written, restarts.
//!
//! Containers are named `c1`, `c2`, … in the order in which they appear, updates
//! `u1`, `u2`, … likewise; a nested container is `c1.c2`.

use std::collections::BTreeMap;
use std::time::Duration;

use mesos_agent::brain::ConnId;
use mesos_agent::{
    Agent, AgentConfig, ContainerExit, ContainerLaunch, Effect, ExecutorConn, ExitStatus, Input, Record,
    RecoveredContainer, RecoveredState, Write,
};
use model::agent_api::{AgentToMaster, MasterToAgent, Registration};
use model::executor_api::{ExecutorCall, ExecutorEvent};
use model::{
    AgentId, AgentInfo, Capability, CommandInfo, ContainerId, ExecutorId, ExecutorInfo, ExecutorKind,
    FrameworkId, FrameworkInfo, KillPolicy, Resources, Rng, Role, Source, TaskId, TaskInfo, TaskState,
    TaskStatus, Time, UpdateId,
};

pub const MASTER: ConnId = ConnId(1);

pub struct Bench {
    pub agent: Agent,
    pub now: Time,
    pub config: AgentConfig,
    records: BTreeMap<String, Record>,
    containers: Vec<ContainerId>,
    updates: Vec<UpdateId>,
    pub launches: Vec<ContainerLaunch>,
    /// Status uuids by the name of their update, for acknowledgements.
    pub sent: Vec<TaskStatus>,
    pub registration: Option<Registration>,
    pub operations: Vec<(UpdateId, model::OperationStatus)>,
    pub volumes: Vec<mesos_agent::VolumeWork>,
    pub events: Vec<ExecutorEvent>,
    pub looks: Vec<mesos_agent::Look>,
    life: u64,
}

pub fn role(text: &str) -> Role {
    Role::new(text).unwrap()
}

pub fn resources(text: &str) -> Resources {
    Resources::parse(text, &Role::any()).unwrap()
}

pub fn config() -> AgentConfig {
    let info = AgentInfo {
        id: None,
        hostname: "host".into(),
        ip: "10.0.0.7".into(),
        port: 5051,
        resources: resources("cpus:8;mem:8192;disk:10000;ports:[31000-32000]"),
        attributes: Vec::new(),
        domain: None,
        version: "1.7.3".into(),
        capabilities: Vec::new(),
    };
    AgentConfig { boot_id: Some("boot-1".into()), ..AgentConfig::new(info, "/w") }
}

pub fn framework(capabilities: &[Capability]) -> FrameworkInfo {
    FrameworkInfo {
        id: Some(FrameworkId::new("F")),
        name: "f".into(),
        user: String::new(),
        roles: vec![role("eng")],
        failover_timeout_ms: 0,
        checkpoint: true,
        hostname: String::new(),
        principal: None,
        webui_url: None,
        capabilities: capabilities.to_vec(),
        labels: Vec::new(),
        offer_filters: BTreeMap::new(),
    }
}

pub fn shell(line: &str) -> CommandInfo {
    CommandInfo { shell: true, value: Some(line.into()), ..CommandInfo::default() }
}

pub fn task(id: &str) -> TaskInfo {
    TaskInfo {
        id: TaskId::new(id),
        name: id.into(),
        agent_id: AgentId::new("S1"),
        resources: resources("cpus:1;mem:64"),
        command: shell("run"),
        executor: None,
        container: None,
        kill_policy: None,
        discovery: None,
        labels: BTreeMap::new(),
        max_completion_ms: None,
        health_check: None,
        check: None,
        raw: None,
    }
}

pub fn executor(kind: ExecutorKind) -> ExecutorInfo {
    ExecutorInfo {
        id: ExecutorId::new("E"),
        kind: Some(kind),
        framework_id: None,
        resources: resources("cpus:0.5;mem:32"),
        command: (kind == ExecutorKind::Custom).then(|| shell("executor")),
        container: None,
        name: String::new(),
        source: String::new(),
        labels: Vec::new(),
        shutdown_grace_ms: None,
        raw: None,
    }
}

pub fn on_executor(id: &str) -> TaskInfo {
    TaskInfo {
        command: CommandInfo::default(),
        executor: Some(Box::new(executor(ExecutorKind::Custom))),
        ..task(id)
    }
}

pub fn status(id: &str, state: TaskState, uuid: u128) -> TaskStatus {
    let mut status = TaskStatus::new(TaskId::new(id), state, Time::from_millis(5), Source::Executor);
    status.uuid = Some(UpdateId(uuid));
    status
}

pub fn code(code: i32) -> ContainerExit {
    ContainerExit { status: ExitStatus::Code(code), memory: None }
}

pub fn signal(signal: i32) -> ContainerExit {
    ContainerExit { status: ExitStatus::Signal(signal), memory: None }
}

impl Bench {
    /// Recovered, connected and registered as S1.
    pub fn registered() -> Self {
        let mut bench = Self::new(config());
        bench.recovered(&[]);
        bench.connect();
        bench
    }

    pub fn new(config: AgentConfig) -> Self {
        let now = Time::from_millis(1_000_000);
        Self {
            agent: Agent::load(config.clone(), Rng::new(1), Vec::new(), now),
            now,
            config,
            records: BTreeMap::new(),
            containers: Vec::new(),
            updates: Vec::new(),
            launches: Vec::new(),
            sent: Vec::new(),
            registration: None,
            operations: Vec::new(),
            volumes: Vec::new(),
            events: Vec::new(),
            looks: Vec::new(),
            life: 1,
        }
    }

    /// The process ends and starts anew; nothing is recovered yet.
    pub fn restart(&mut self) {
        self.life += 1;
        let records = self.records.values().cloned().collect();
        self.agent = Agent::load(self.config.clone(), Rng::new(self.life), records, self.now);
    }

    pub fn recovered(&mut self, containers: &[(&str, RecoveredState)]) -> Vec<String> {
        let containers = containers
            .iter()
            .map(|(name, state)| RecoveredContainer { id: self.container(name), state: state.clone() })
            .collect();
        self.step(Input::Recovered { containers })
    }

    pub fn connect(&mut self) -> Vec<String> {
        let mut lines = self.step(Input::MasterConnected { conn: MASTER });
        lines.extend(self.master(MasterToAgent::Registered { agent_id: AgentId::new("S1") }));
        lines
    }

    pub fn step(&mut self, input: Input) -> Vec<String> {
        let output = self.agent.step(self.now, input);
        self.agent.check_invariants().unwrap();
        for write in output.writes {
            self.write(write);
        }
        output.effects.into_iter().map(|effect| self.line(effect)).collect()
    }

    pub fn master(&mut self, message: MasterToAgent) -> Vec<String> {
        self.step(Input::Master { conn: MASTER, message })
    }

    pub fn run(&mut self, framework: &FrameworkInfo, task: TaskInfo) -> Vec<String> {
        let (framework, task) = (Box::new(framework.clone()), Box::new(task));
        self.master(MasterToAgent::RunTask { framework, role: role("eng"), task })
    }

    pub fn group(&mut self, framework: &FrameworkInfo, executor: ExecutorInfo, ids: &[&str]) -> Vec<String> {
        let tasks = ids.iter().map(|id| task(id)).collect();
        let (framework, executor) = (Box::new(framework.clone()), Box::new(executor));
        self.master(MasterToAgent::RunGroup { framework, role: role("eng"), executor, tasks })
    }

    pub fn kill(&mut self, id: &str, grace_ms: Option<u64>) -> Vec<String> {
        self.master(MasterToAgent::KillTask {
            framework_id: FrameworkId::new("F"),
            task_id: TaskId::new(id),
            kill_policy: grace_ms.map(|grace_ms| KillPolicy { grace_ms }),
        })
    }

    /// Acknowledges the newest sending for this task.
    pub fn acknowledge(&mut self, id: &str) -> Vec<String> {
        let status = self.sent.iter().rev().find(|status| status.task_id.as_str() == id).unwrap();
        let uuid = status.uuid.unwrap();
        self.master(MasterToAgent::Acknowledge {
            framework_id: FrameworkId::new("F"),
            task_id: TaskId::new(id),
            uuid,
        })
    }

    pub fn started(&mut self, name: &str, pid: u32) -> Vec<String> {
        let id = self.container(name);
        self.step(Input::Started { id, pid })
    }

    pub fn exited(&mut self, name: &str, exit: ContainerExit) -> Vec<String> {
        let id = self.container(name);
        self.step(Input::Exited { id, exit })
    }

    pub fn failed(&mut self, name: &str, message: &str) -> Vec<String> {
        let id = self.container(name);
        self.step(Input::LaunchFailed { id, message: message.into() })
    }

    pub fn call(&mut self, conn: u64, call: ExecutorCall) -> Vec<String> {
        self.step(Input::Executor {
            conn: ExecutorConn(conn),
            framework_id: FrameworkId::new("F"),
            executor_id: ExecutorId::new("E"),
            call,
        })
    }

    pub fn subscribe(&mut self, conn: u64, tasks: &[&str], updates: Vec<TaskStatus>) -> Vec<String> {
        let unacknowledged_tasks = tasks.iter().map(TaskId::new).collect();
        self.call(conn, ExecutorCall::Subscribe { unacknowledged_tasks, unacknowledged_updates: updates })
    }

    pub fn update(&mut self, conn: u64, status: TaskStatus) -> Vec<String> {
        self.call(conn, ExecutorCall::Update(Box::new(status)))
    }

    pub fn pass(&mut self, ms: u64) -> Vec<String> {
        self.now = self.now + Duration::from_millis(ms);
        self.step(Input::Tick)
    }

    pub fn env(&self, index: usize, name: &str) -> Option<&str> {
        let env = &self.launches[index].env;
        env.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// `c1` or `c1.c2` back to its id.
    fn container(&self, name: &str) -> ContainerId {
        let part = |name: &str| {
            let number: usize = name.strip_prefix('c').unwrap().parse().unwrap();
            self.containers[number - 1].clone()
        };
        match name.split_once('.') {
            None if name.starts_with('c') => part(name),
            Some((parent, leaf)) => part(parent).child(part(leaf).as_str()),
            None => ContainerId::new(name),
        }
    }

    fn name(&mut self, id: &ContainerId) -> String {
        let mut parts = Vec::new();
        for part in id.as_str().split('.') {
            let part = ContainerId::new(part);
            let position = self.containers.iter().position(|known| *known == part).unwrap_or_else(|| {
                self.containers.push(part);
                self.containers.len() - 1
            });
            parts.push(format!("c{}", position + 1));
        }
        parts.join(".")
    }

    fn uuid(&mut self, uuid: UpdateId) -> String {
        let position = self.updates.iter().position(|known| *known == uuid).unwrap_or_else(|| {
            self.updates.push(uuid);
            self.updates.len() - 1
        });
        format!("u{}", position + 1)
    }

    fn write(&mut self, write: Write) {
        keep(&mut self.records, write);
    }

    fn line(&mut self, effect: Effect) -> String {
        match effect {
            Effect::ToMaster { message, .. } => self.message_line(message),
            Effect::ExecutorReply { conn, result: Ok(()) } => format!("reply {} ok", conn.0),
            Effect::ExecutorReply { conn, result: Err(refusal) } => format!("reply {} {refusal}", conn.0),
            Effect::ToExecutor { conn, event } => {
                let line = self.event(&event);
                self.events.push(event);
                format!("executor {} {line}", conn.0)
            }
            Effect::CloseExecutor { conn } => format!("close {}", conn.0),
            Effect::Launch(launch) => {
                let name = self.name(&launch.id);
                self.launches.push(*launch);
                format!("launch {name}")
            }
            Effect::Terminate { id } => format!("terminate {}", self.name(&id)),
            Effect::Destroy { id } => format!("destroy {}", self.name(&id)),
            Effect::Forget { id } => format!("forget {}", self.name(&id)),
            Effect::Resize(resize) => {
                format!("resize {} {} {}", self.name(&resize.id), resize.cpus_milli, resize.mem_mib)
            }
            Effect::Volume(work) => {
                let line = format!("volume {:?} {}", work.what, work.path);
                self.volumes.push(work);
                line
            }
            Effect::Look(look) => {
                let line = format!("look {} {} {}", look.number, self.name(&look.container), look.timeout_ms);
                self.looks.push(*look);
                line
            }
            Effect::VolumeSettled { .. } => "volume settled".to_owned(),
            Effect::Halt { message } => format!("halt: {message}"),
            Effect::Stop { message } => format!("stop: {message}"),
        }
    }

    fn message_line(&mut self, message: AgentToMaster) -> String {
        match message {
            AgentToMaster::Register(registration) => {
                self.registration = Some(*registration);
                "register".to_owned()
            }
            AgentToMaster::Update(update) => {
                let status = update.status;
                let uuid = self.uuid(status.uuid.unwrap());
                let reason = status.reason.map_or(String::new(), |reason| {
                    format!(" {}", reason.name().strip_prefix("REASON_").unwrap())
                });
                let state = status.state.name().strip_prefix("TASK_").unwrap();
                let latest = match update.latest_state == status.state {
                    true => String::new(),
                    false => format!(" (latest {})", update.latest_state.name()),
                };
                let line = format!("update {} {state}{reason} {uuid}{latest}", status.task_id);
                self.sent.push(status);
                line
            }
            AgentToMaster::OperationUpdate { uuid, status, .. } => {
                let line = format!("operation {}", status.state.name());
                self.operations.push((uuid, *status));
                line
            }
            AgentToMaster::Message { executor_id, data, .. } => {
                format!("message from {executor_id} {}", String::from_utf8_lossy(&data))
            }
            AgentToMaster::ExecutorExited { executor_id, status, .. } => {
                format!("executor {executor_id} exited {status:?}")
            }
            AgentToMaster::Unregister => "unregister".to_owned(),
        }
    }

    fn event(&mut self, event: &ExecutorEvent) -> String {
        match event {
            ExecutorEvent::Subscribed { executor, container_id, .. } => {
                format!("subscribed {} {}", executor.id, self.name(container_id))
            }
            ExecutorEvent::Launch(task) => format!("launch {}", task.id),
            ExecutorEvent::LaunchGroup(tasks) => {
                let ids: Vec<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
                format!("group {}", ids.join(","))
            }
            ExecutorEvent::Kill { task_id, kill_policy } => match kill_policy {
                Some(policy) => format!("kill {task_id} {}", policy.grace_ms),
                None => format!("kill {task_id}"),
            },
            ExecutorEvent::Acknowledged { task_id, uuid } => format!("acknowledged {task_id} {}", uuid.0),
            ExecutorEvent::Message(data) => format!("message {}", String::from_utf8_lossy(data)),
            ExecutorEvent::Shutdown => "shutdown".to_owned(),
            ExecutorEvent::Error { message } => format!("error {message}"),
        }
    }
}

/// Compares lines, written as one text with ` | ` between them.
#[track_caller]
pub fn is(found: Vec<String>, expected: &str) {
    let expected: Vec<&str> = expected.split(" | ").filter(|line| !line.is_empty()).collect();
    assert_eq!(found, expected);
}

/// What a disk has of it.
pub fn keep(records: &mut BTreeMap<String, Record>, write: Write) {
    let (key, record) = match write {
        Write::PutAgentId(id) => ("id".to_owned(), Some(Record::AgentId(id))),
        Write::DeleteAgentId => ("id".to_owned(), None),
        Write::PutBootId(id) => ("boot".to_owned(), Some(Record::BootId(id))),
        Write::PutInfo(info) => ("info".to_owned(), Some(Record::Info(info))),
        Write::PutFramework(info) => {
            (format!("f/{}", info.id.clone().unwrap()), Some(Record::Framework(Box::new((*info).clone()))))
        }
        Write::DeleteFramework(id) => (format!("f/{id}"), None),
        Write::PutExecutor(executor) => {
            (format!("e/{}", executor.container_id), Some(Record::Executor(executor)))
        }
        Write::DeleteExecutor(id) => (format!("e/{id}"), None),
        Write::PutTask(task) => (format!("t/{}", task.info.id), Some(Record::Task(task))),
        Write::DeleteTask((_, id)) => (format!("t/{id}"), None),
        Write::PutResources(resources) => ("resources".to_owned(), Some(Record::Resources(resources))),
        Write::PutOperation(operation) => {
            (format!("o/{}", operation.uuid), Some(Record::Operation(operation)))
        }
        Write::DeleteOperation(uuid) => (format!("o/{uuid}"), None),
        Write::PutDrain(drain) => ("drain".to_owned(), drain.map(Record::Drain)),
    };
    match record {
        Some(record) => drop(records.insert(key, record)),
        None => drop(records.remove(&key)),
    }
}
