//! Text scenarios: orders to the brain, and the full trace of what it did.
//!
//! Each file holds blocks `orders / ---- / trace`, apart by blank lines; one
//! master lives through the whole file. `UPDATE_SCENARIOS=1` rewrites the traces,
//! to be read as a diff of behaviour.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use mesos_master::config::MasterLimits;
use mesos_master::{ConnId, Effect, Input, Master, MasterConfig, Record, RecordKey, Write};
use model::agent_api::{AgentToMaster, MasterToAgent};
use model::scheduler_api::{SchedulerCall, SchedulerEvent, TaskRecord};
use model::{
    AgentId, AgentInfo, Capability, CommandInfo, FrameworkId, FrameworkInfo, Offer, OfferId, Resources, Rng,
    Role, Source, StatusUpdate, TaskInfo, TaskState, TaskStatus, Time, UpdateId,
};

struct Cluster {
    master: Master,
    now: Time,
    conns: BTreeMap<String, ConnId>,
    names: BTreeMap<ConnId, String>,
    agent_ids: BTreeMap<String, AgentId>,
    framework_ids: BTreeMap<String, FrameworkId>,
    offers: BTreeMap<OfferId, Offer>,
    disk: BTreeMap<RecordKey, Record>,
    next_conn: u64,
    next_uuid: u128,
    trace: String,
}

fn config(id: &str) -> MasterConfig {
    MasterConfig {
        master_id: id.to_owned(),
        cluster: "test".to_owned(),
        hostname: "master1".to_owned(),
        ip: "10.0.0.1".to_owned(),
        port: 5050,
        version: "1.7.3".to_owned(),
        domain: None,
        started: Time::ZERO,
        limits: MasterLimits::default(),
    }
}

fn role(text: &str) -> Role {
    Role::new(text).unwrap()
}

/// Whatever order a bag came in.
fn sorted(resources: &Resources) -> String {
    let text = resources.to_string();
    let mut parts: Vec<&str> = text.split("; ").collect();
    parts.sort_unstable();
    parts.join("; ")
}

fn word<'a>(words: &'a [&str], key: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

impl Cluster {
    fn new() -> Self {
        Self {
            master: Master::load(config("M1"), Rng::new(1), Vec::new(), Time::ZERO),
            now: Time::from_millis(1_000),
            conns: BTreeMap::new(),
            names: BTreeMap::new(),
            agent_ids: BTreeMap::new(),
            framework_ids: BTreeMap::new(),
            offers: BTreeMap::new(),
            disk: BTreeMap::new(),
            next_conn: 1,
            next_uuid: 1,
            trace: String::new(),
        }
    }

    fn open(&mut self, name: &str) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        self.conns.insert(name.to_owned(), conn);
        self.names.insert(conn, name.to_owned());
        conn
    }

    fn step(&mut self, input: Input) {
        let output = self.master.step(self.now, input);
        self.master.check_invariants().unwrap();
        self.master.check_snapshot(self.now).unwrap();
        for write in output.writes {
            if let Write::Put(Record::Agent(record)) = &write {
                writeln!(self.trace, "store {} {:?}", record.info.hostname, record.state).unwrap();
            } else {
                writeln!(self.trace, "store {write:?}").unwrap();
            }
            write.apply(&mut self.disk);
        }
        for effect in output.effects {
            self.effect(effect);
        }
    }

    fn effect(&mut self, effect: Effect) {
        let line = match effect {
            Effect::ToAgent { conn, message } => {
                let name = self.names[&conn].clone();
                let text = match message {
                    MasterToAgent::Registered { agent_id } => {
                        self.agent_ids.insert(name.clone(), agent_id.clone());
                        format!("registered as {agent_id}")
                    }
                    MasterToAgent::RunTask { task, .. } => format!("run {} with {}", task.id, task.resources),
                    MasterToAgent::KillTask { task_id, .. } => format!("kill {task_id}"),
                    MasterToAgent::Acknowledge { task_id, uuid, .. } => format!("ack {task_id} u{}", uuid.0),
                    MasterToAgent::Reconcile { tasks } => {
                        format!(
                            "reconcile {:?}",
                            tasks.iter().map(|(_, task)| task.as_str()).collect::<Vec<_>>()
                        )
                    }
                    MasterToAgent::ShutdownFramework { framework_id } => {
                        format!("shutdown framework {framework_id}")
                    }
                    MasterToAgent::Shutdown { message } => format!("shutdown: {message}"),
                    other => format!("{other:?}"),
                };
                format!("to {name}: {text}")
            }
            Effect::ToScheduler { conn, event } => {
                let name = self.names[&conn].clone();
                let text = match event {
                    SchedulerEvent::Subscribed { framework_id } => {
                        self.framework_ids.insert(name.clone(), framework_id.clone());
                        format!("subscribed as {framework_id}")
                    }
                    SchedulerEvent::Offers(offers) => {
                        let mut lines: Vec<String> = offers
                            .into_iter()
                            .map(|offer| {
                                let line = format!("{} {}", offer.hostname, sorted(&offer.resources));
                                self.offers.insert(offer.id.clone(), offer);
                                line
                            })
                            .collect();
                        lines.sort();
                        format!("offers {}", lines.join(" | "))
                    }
                    SchedulerEvent::Rescind(id) => {
                        let offer = self.offers.remove(&id).unwrap();
                        format!("rescind offer of {}", offer.hostname)
                    }
                    SchedulerEvent::Update(status) => {
                        let reason = status.reason.map(|reason| format!(" {reason}")).unwrap_or_default();
                        let uuid = status.uuid.map(|uuid| format!(" u{}", uuid.0)).unwrap_or_default();
                        let message = status.message.map(|text| format!(" ({text})")).unwrap_or_default();
                        format!("{} {}{reason}{uuid}{message}", status.task_id, status.state)
                    }
                    SchedulerEvent::Failure { agent_id, .. } => format!("failure of {agent_id}"),
                    SchedulerEvent::Error { message } => format!("error: {message}"),
                    other => format!("{other:?}"),
                };
                format!("to {name}: {text}")
            }
            Effect::CloseAgent { conn, reason } => format!("close {}: {reason}", self.names[&conn]),
            Effect::CloseScheduler { conn } => format!("close {}", self.names[&conn]),
            // What watchers see has tests of its own.
            Effect::Event(_) => return,
            other => format!("{other:?}"),
        };
        self.trace.push_str(&line);
        self.trace.push('\n');
    }

    fn order(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            // agent NAME RESOURCES [tasks=FRAMEWORK/TASK:STATE,…]
            "agent" => {
                let conn = self.open(words[1]);
                let tasks = word(&words, "tasks").map(|text| self.records(text)).unwrap_or_default();
                let info = AgentInfo {
                    id: self.agent_ids.get(words[1]).cloned(),
                    hostname: words[1].to_owned(),
                    ip: "10.0.0.2".to_owned(),
                    port: 5051,
                    resources: Resources::parse(words[2], &Role::any()).unwrap(),
                    attributes: Vec::new(),
                    domain: None,
                    version: "1.7.3".to_owned(),
                    capabilities: Vec::new(),
                };
                let ids: Vec<FrameworkId> = tasks.iter().map(|record| record.framework_id.clone()).collect();
                let frameworks = ids.into_iter().map(|id| self.framework(Some(id), "*")).collect();
                let message = AgentToMaster::Register(Box::new(model::agent_api::Registration {
                    info,
                    frameworks,
                    executors: Vec::new(),
                    tasks,
                    operations: Vec::new(),
                    drain: None,
                }));
                self.step(Input::Agent { conn, message });
            }
            "close" => {
                let conn = self.conns[words[1]];
                let input = if self.agent_ids.contains_key(words[1]) {
                    Input::AgentClosed { conn }
                } else {
                    Input::SchedulerClosed { conn }
                };
                self.step(input);
            }
            // subscribe NAME [role=R] [new]
            "subscribe" => {
                let conn = self.open(words[1]);
                let id = self.framework_ids.get(words[1]).cloned();
                let info = self.framework(id, word(&words, "role").unwrap_or("*"));
                let call = SchedulerCall::Subscribe { info: Box::new(info), suppressed_roles: Vec::new() };
                self.step(Input::Scheduler { conn, call });
            }
            // accept FRAMEWORK AGENT [TASK=RESOURCES …]
            "accept" => self.accept(&words),
            // decline FRAMEWORK AGENT [seconds=N]
            "decline" => {
                let offer_ids = self.take_offers(words[1], words[2]);
                let refuse_ms = word(&words, "seconds").map(|text| text.parse::<u64>().unwrap() * 1_000);
                self.call(words[1], SchedulerCall::Decline { offer_ids, refuse_ms });
            }
            "revive" => self.call(words[1], SchedulerCall::Revive { roles: Vec::new() }),
            "suppress" => self.call(words[1], SchedulerCall::Suppress { roles: Vec::new() }),
            "teardown" => self.call(words[1], SchedulerCall::Teardown),
            "kill" => {
                let call =
                    SchedulerCall::Kill { task_id: words[2].into(), agent_id: None, kill_policy: None };
                self.call(words[1], call);
            }
            // reconcile FRAMEWORK [TASK@AGENT …]
            "reconcile" => {
                let tasks = words[2..].iter().map(|text| match text.split_once('@') {
                    Some((task, agent)) => {
                        let id = self.agent_ids.get(agent).cloned().unwrap_or_else(|| agent.into());
                        (task.into(), Some(id))
                    }
                    None => ((*text).into(), None),
                });
                let tasks = tasks.collect();
                self.call(words[1], SchedulerCall::Reconcile { tasks });
            }
            // update AGENT FRAMEWORK TASK STATE
            "update" => {
                let status = self.status(words[1], words[3], words[4]);
                let update = StatusUpdate {
                    framework_id: self.framework_ids[words[2]].clone(),
                    agent_id: self.agent_ids[words[1]].clone(),
                    latest_state: status.state,
                    status,
                };
                let conn = self.conns[words[1]];
                self.step(Input::Agent { conn, message: AgentToMaster::Update(Box::new(update)) });
            }
            // ack FRAMEWORK AGENT TASK uN
            "ack" => {
                let uuid = UpdateId(words[4].trim_start_matches('u').parse().unwrap());
                let agent_id = self.agent_ids[words[2]].clone();
                self.call(words[1], SchedulerCall::Acknowledge { agent_id, task_id: words[3].into(), uuid });
            }
            "advance" => {
                let end = self.now + Duration::from_secs(words[1].trim_end_matches('s').parse().unwrap());
                while let Some(due) = self.master.next_wakeup().filter(|due| *due <= end) {
                    self.now = self.now.max(due);
                    self.step(Input::Tick);
                }
                self.now = end;
            }
            "restart" => {
                let records = self.disk.values().cloned().collect();
                self.master = Master::load(config("M2"), Rng::new(2), records, self.now);
                self.conns.clear();
                self.offers.clear();
                self.step(Input::Tick);
            }
            other => panic!("unknown order {other:?}"),
        }
    }

    fn framework(&self, id: Option<FrameworkId>, role_name: &str) -> FrameworkInfo {
        FrameworkInfo {
            id,
            name: "test".to_owned(),
            user: "root".to_owned(),
            roles: vec![role(role_name)],
            failover_timeout_ms: 3_600_000,
            checkpoint: true,
            hostname: String::new(),
            principal: None,
            webui_url: None,
            capabilities: vec![Capability::PartitionAware],
            labels: Vec::new(),
            offer_filters: Default::default(),
        }
    }

    fn records(&mut self, text: &str) -> Vec<TaskRecord> {
        text.split(',')
            .map(|part| {
                let (place, state) = part.split_once(':').unwrap();
                let (framework, task) = place.split_once('/').unwrap();
                TaskRecord {
                    framework_id: self.framework_ids[framework].clone(),
                    info: task_info(task, &"S".into(), "cpus:1;mem:100"),
                    state: TaskState::from_name(&format!("TASK_{state}")).unwrap(),
                    statuses: Vec::new(),
                    role: None,
                }
            })
            .collect()
    }

    fn status(&mut self, agent: &str, task: &str, state: &str) -> TaskStatus {
        let uuid = Some(UpdateId(self.next_uuid));
        self.next_uuid += 1;
        TaskStatus {
            task_id: task.into(),
            state: TaskState::from_name(&format!("TASK_{state}")).unwrap(),
            timestamp: self.now,
            source: Source::Executor,
            reason: None,
            message: None,
            agent_id: Some(self.agent_ids[agent].clone()),
            uuid,
            container: None,
            check: None,
            data: None,
            executor_id: None,
            healthy: None,
            labels: Vec::new(),
            limitation: None,
            unreachable_since: None,
        }
    }

    fn take_offers(&mut self, framework: &str, agent: &str) -> Vec<OfferId> {
        let framework_id = &self.framework_ids[framework];
        let chosen: Vec<OfferId> = self
            .offers
            .values()
            .filter(|offer| offer.framework_id == *framework_id && offer.hostname == agent)
            .map(|offer| offer.id.clone())
            .collect();
        for id in &chosen {
            self.offers.remove(id);
        }
        if chosen.is_empty() { vec!["stale".into()] } else { chosen }
    }

    fn accept(&mut self, words: &[&str]) {
        let offer_ids = self.take_offers(words[1], words[2]);
        let agent_id = self.agent_ids[words[2]].clone();
        let tasks = words[3..].iter().map(|text| {
            let (task, resources) = text.split_once('=').unwrap();
            task_info(task, &agent_id, resources)
        });
        let operations = vec![model::Operation::launch(tasks)];
        self.call(words[1], SchedulerCall::Accept { offer_ids, operations, refuse_ms: None });
    }

    fn call(&mut self, framework: &str, call: SchedulerCall) {
        let conn = self.conns[framework];
        self.step(Input::Scheduler { conn, call });
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
        raw: None,
    }
}

fn play(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut cluster = Cluster::new();
    let mut played = String::new();
    for block in text.trim().split("\n\n") {
        let (orders, _) = block.split_once("\n----").unwrap_or((block, ""));
        cluster.trace.clear();
        for line in orders.lines().filter(|line| !line.starts_with('#')) {
            cluster.order(line);
        }
        let _ = write!(played, "{orders}\n----\n{}\n", cluster.trace);
    }
    let played = format!("{}\n", played.trim_end());
    if std::env::var_os("UPDATE_SCENARIOS").is_some() {
        std::fs::write(path, &played).unwrap();
    } else {
        assert_eq!(played, text, "{}: the trace differs; UPDATE_SCENARIOS=1 rewrites it", path.display());
    }
}

#[test]
fn scenarios() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        play(&path);
    }
}
