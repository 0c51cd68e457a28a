//! One master with agents and frameworks by name, and the trace of what it does.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mesos_master::brain::Reply;
use mesos_master::config::MasterLimits;
use mesos_master::view::OperatorEvent;
use mesos_master::{ConnId, Effect, Input, Master, MasterConfig, Record, RecordKey, Write};
use model::agent_api::MasterToAgent;
use model::scheduler_api::SchedulerEvent;
use model::{AgentId, FrameworkId, InverseOffer, Offer, OfferId, OperationStatus, Rng, Time, UpdateId};

mod orders;
mod words;

use words::sorted;

pub struct Cluster {
    master: Master,
    now: Time,
    conns: BTreeMap<String, ConnId>,
    names: BTreeMap<ConnId, String>,
    agent_ids: BTreeMap<String, AgentId>,
    framework_ids: BTreeMap<String, FrameworkId>,
    offers: BTreeMap<OfferId, Offer>,
    inverse_offers: BTreeMap<OfferId, InverseOffer>,
    /// In the order they were given to agents.
    operations: Vec<model::OperationRecord>,
    last_rescinded: Option<OfferId>,
    disk: BTreeMap<RecordKey, Record>,
    next_conn: u64,
    next_uuid: u128,
    next_request: u64,
    pub trace: String,
}

fn config(id: &str) -> MasterConfig {
    MasterConfig {
        master_id: id.to_owned(),
        cluster: "test".to_owned(),
        hostname: "master1".to_owned(),
        ip: "10.0.0.1".to_owned(),
        port: 5050,
        version: "1.7.3".to_owned(),
        domain: Some(model::FaultDomain { region: "here".to_owned(), zone: "z1".to_owned() }),
        started: Time::ZERO,
        limits: MasterLimits::default(),
    }
}

fn uuid_text(uuid: Option<UpdateId>) -> String {
    uuid.map(|uuid| format!(" u{}", uuid.0)).unwrap_or_default()
}

fn message_text(message: Option<String>) -> String {
    message.map(|text| format!(" ({text})")).unwrap_or_default()
}

fn operation_text(status: OperationStatus) -> String {
    let id = status.operation_id.map(|id| id.to_string()).unwrap_or_default();
    let converted = match status.converted.is_empty() {
        true => String::new(),
        false => format!(" -> {}", sorted(&status.converted)),
    };
    format!(
        "operation {id} {}{}{}{converted}",
        status.state,
        uuid_text(status.uuid),
        message_text(status.message)
    )
}

fn event_text(event: &OperatorEvent) -> String {
    match event {
        OperatorEvent::TaskAdded(task) => format!("task added {}", task.info.id),
        OperatorEvent::TaskUpdated { status, state, .. } => {
            format!("task updated {} {} latest {state}", status.task_id, status.state)
        }
        OperatorEvent::AgentAdded(agent) => format!("agent added {}", agent.id),
        OperatorEvent::AgentRemoved(id) => format!("agent removed {id}"),
        OperatorEvent::FrameworkAdded(framework) => format!("framework added {}", framework.id),
        OperatorEvent::FrameworkUpdated(framework) => format!("framework updated {}", framework.id),
        OperatorEvent::FrameworkRemoved(info) => format!("framework removed {}", info.name),
    }
}

impl Cluster {
    pub fn new() -> Self {
        Self {
            master: Master::load(config("M1"), Rng::new(1), Vec::new(), Time::ZERO),
            now: Time::from_millis(1_000),
            conns: BTreeMap::new(),
            names: BTreeMap::new(),
            agent_ids: BTreeMap::new(),
            framework_ids: BTreeMap::new(),
            offers: BTreeMap::new(),
            inverse_offers: BTreeMap::new(),
            operations: Vec::new(),
            last_rescinded: None,
            disk: BTreeMap::new(),
            next_conn: 1,
            next_uuid: 1,
            next_request: 1,
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
            match &write {
                Write::Put(Record::Agent(record)) => {
                    writeln!(self.trace, "store {} {:?}", record.info.hostname, record.state).unwrap();
                }
                Write::Put(record) => writeln!(self.trace, "store {:?}", record.key()).unwrap(),
                Write::Remove(key) => writeln!(self.trace, "forget {key:?}").unwrap(),
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
                format!("to {name}: {}", self.order_text(&name, message))
            }
            Effect::ToScheduler { conn, event } => {
                let name = self.names[&conn].clone();
                format!("to {name}: {}", self.heard_text(&name, event))
            }
            Effect::CloseAgent { conn, reason } => format!("close {}: {reason}", self.names[&conn]),
            Effect::CloseScheduler { conn } => format!("close {}", self.names[&conn]),
            Effect::Event(event) => format!("event: {}", event_text(&event)),
            Effect::Watching { .. } => "watching".to_owned(),
            Effect::Reply { reply: Reply::Explanation(lines), .. } => lines.join("\n"),
            Effect::Reply { reply, .. } => format!("{reply:?}"),
            Effect::Fail(reason) => format!("the term ends: {reason}"),
        };
        self.trace.push_str(&line);
        self.trace.push('\n');
    }

    fn order_text(&mut self, name: &str, message: MasterToAgent) -> String {
        match message {
            MasterToAgent::Registered { agent_id } => {
                self.agent_ids.insert(name.to_owned(), agent_id.clone());
                format!("registered as {agent_id}")
            }
            MasterToAgent::RunTask { task, role, .. } => {
                let role = if role.is_any() { String::new() } else { format!(" as {role}") };
                let own = task.executor.map(|own| format!(" by {} with {}", own.id, own.resources));
                format!("run {} with {}{}{role}", task.id, task.resources, own.unwrap_or_default())
            }
            MasterToAgent::RunGroup { executor, tasks, .. } => {
                let tasks: Vec<String> = tasks
                    .iter()
                    .map(|task| {
                        assert_eq!(task.executor.as_deref(), Some(&*executor));
                        task.id.to_string()
                    })
                    .collect();
                format!("run group [{}] by {} with {}", tasks.join(", "), executor.id, executor.resources)
            }
            MasterToAgent::KillTask { task_id, kill_policy, .. } => {
                let grace = kill_policy.map(|policy| format!(" within {} ms", policy.grace_ms));
                format!("kill {task_id}{}", grace.unwrap_or_default())
            }
            MasterToAgent::Acknowledge { task_id, uuid, .. } => format!("ack {task_id} u{}", uuid.0),
            MasterToAgent::Reconcile { tasks } => {
                let tasks: Vec<&str> = tasks.iter().map(|(_, task)| task.as_str()).collect();
                format!("reconcile {tasks:?}")
            }
            MasterToAgent::ShutdownFramework { framework_id } => format!("shutdown framework {framework_id}"),
            MasterToAgent::Shutdown { message } => format!("shutdown: {message}"),
            MasterToAgent::UpdateFramework { framework } => {
                let roles: Vec<&str> = framework.roles.iter().map(|role| role.as_str()).collect();
                format!("framework {} has roles {roles:?}", framework.name)
            }
            MasterToAgent::ApplyOperation { operation } => {
                let place = self.operations.len();
                let text = format!("apply o{place} {}", operation.operation.name());
                self.operations.push(*operation);
                text
            }
            MasterToAgent::AcknowledgeOperation { uuid, status_uuid } => {
                format!("ack {} u{}", self.operation_name(uuid), status_uuid.0)
            }
            MasterToAgent::ReconcileOperations { operations } => {
                let names: Vec<String> =
                    operations.iter().map(|(uuid, _)| self.operation_name(*uuid)).collect();
                format!("reconcile operations {names:?}")
            }
            MasterToAgent::ShutdownExecutor { executor_id, .. } => format!("shutdown executor {executor_id}"),
            MasterToAgent::Message { executor_id, data, .. } => {
                format!("message for {executor_id}: {}", String::from_utf8_lossy(&data))
            }
            other => format!("{other:?}"),
        }
    }

    fn operation_name(&self, uuid: UpdateId) -> String {
        let place = self.operations.iter().position(|record| record.uuid == uuid);
        place.map_or("o?".to_owned(), |place| format!("o{place}"))
    }

    fn heard_text(&mut self, name: &str, event: SchedulerEvent) -> String {
        match event {
            SchedulerEvent::Subscribed { framework_id } => {
                self.framework_ids.insert(name.to_owned(), framework_id.clone());
                // A new session knows nothing of the offers of the last one.
                self.offers.retain(|_, offer| offer.framework_id != framework_id);
                self.inverse_offers.retain(|_, offer| offer.framework_id != framework_id);
                format!("subscribed as {framework_id}")
            }
            SchedulerEvent::Offers(offers) => {
                let mut lines: Vec<String> = offers
                    .into_iter()
                    .map(|offer| {
                        let role =
                            if offer.role.is_any() { String::new() } else { format!(" as {}", offer.role) };
                        let own: Vec<&str> = offer.executor_ids.iter().map(|id| id.as_str()).collect();
                        let own = if own.is_empty() { String::new() } else { format!(" executors {own:?}") };
                        let away = if offer.unavailability.is_some() { " away soon" } else { "" };
                        let line =
                            format!("{} {}{role}{own}{away}", offer.hostname, sorted(&offer.resources));
                        self.offers.insert(offer.id.clone(), offer);
                        line
                    })
                    .collect();
                lines.sort();
                format!("offers {}", lines.join(" | "))
            }
            SchedulerEvent::InverseOffers(offers) => {
                let lines: Vec<String> = offers
                    .into_iter()
                    .map(|offer| {
                        let line = format!("{} {}", offer.hostname, sorted(&offer.resources));
                        self.inverse_offers.insert(offer.id.clone(), offer);
                        line
                    })
                    .collect();
                format!("inverse offers {}", lines.join(" | "))
            }
            SchedulerEvent::Rescind(id) => {
                let offer = self.offers.remove(&id).unwrap();
                self.last_rescinded = Some(id);
                let role = if offer.role.is_any() { String::new() } else { format!(" as {}", offer.role) };
                format!("rescind offer of {}{role}", offer.hostname)
            }
            SchedulerEvent::RescindInverse(id) => {
                let offer = self.inverse_offers.remove(&id).unwrap();
                format!("rescind inverse offer of {}", offer.hostname)
            }
            SchedulerEvent::Update(status) => {
                let reason = status.reason.map(|reason| format!(" {reason}")).unwrap_or_default();
                let own = status.executor_id.map(|id| format!(" by {id}")).unwrap_or_default();
                let healthy = status.healthy.map(|healthy| format!(" healthy {healthy}")).unwrap_or_default();
                let since = status.unreachable_since.map(|at| format!(" since {}", at.as_millis()));
                format!(
                    "{} {}{reason}{}{own}{healthy}{}{}",
                    status.task_id,
                    status.state,
                    uuid_text(status.uuid),
                    since.unwrap_or_default(),
                    message_text(status.message)
                )
            }
            SchedulerEvent::UpdateOperation(status) => operation_text(*status),
            SchedulerEvent::Message { executor_id, data, .. } => {
                format!("message from {executor_id}: {}", String::from_utf8_lossy(&data))
            }
            SchedulerEvent::Failure { agent_id, executor: None } => format!("failure of {agent_id}"),
            SchedulerEvent::Failure { executor: Some((id, status)), .. } => {
                format!("failure of executor {id} with {status:?}")
            }
            SchedulerEvent::Error { message } => format!("error: {message}"),
        }
    }
}
