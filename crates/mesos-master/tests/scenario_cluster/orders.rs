//! What may stand in a scenario, one order a line.

use std::time::Duration;

use mesos_master::brain::{RequestId, WatchId};
use mesos_master::{Input, Master};
use model::agent_api::{AgentToMaster, Registration};
use model::operator_api::OperatorCall;
use model::scheduler_api::{FrameworkUpdate, SchedulerCall, TaskRecord};
use model::{
    AgentCapability, AgentInfo, Capability, ExecutorRecord, FaultDomain, FrameworkId, FrameworkInfo,
    KillPolicy, MachineId, MaintenanceSchedule, MaintenanceWindow, OfferId, Opaque, OperationRecord,
    OperationState, OperationStatus, Rng, Role, Source, StatusUpdate, TaskState, TaskStatus, Unavailability,
    UpdateId,
};

use super::words::{capabilities, executor, list, operation, resources, role, task_info, word};
use super::{Cluster, config};

impl Cluster {
    pub fn order(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "agent" => self.register(&words),
            // return AGENT [less]: it registers with what the master knows of it, or half of that
            "return" => self.return_agent(words[1], words.contains(&"less")),
            "close" => {
                let conn = self.conns[words[1]];
                let input = if self.agent_ids.contains_key(words[1]) {
                    Input::AgentClosed { conn }
                } else {
                    Input::SchedulerClosed { conn }
                };
                self.step(input);
            }
            // subscribe NAME [role=R,…] [caps=C,…] [timeout=SECONDS] [principal=P] [user=U] [suppressed=R,…]
            "subscribe" => {
                let conn = self.open(words[1]);
                let id = word(&words, "id").map(FrameworkId::from);
                let id = id.or_else(|| self.framework_ids.get(words[1]).cloned());
                let info = Box::new(framework(id, &words));
                let call = SchedulerCall::Subscribe { info, suppressed_roles: roles(&words, "suppressed") };
                self.step(Input::Scheduler { conn, call });
            }
            // change NAME … as with subscribe
            "change" => {
                let info = Box::new(framework(self.framework_ids.get(words[1]).cloned(), &words));
                let update = FrameworkUpdate { info, suppressed_roles: roles(&words, "suppressed") };
                let (request, conn) = (self.request(), self.conns[words[1]]);
                self.step(Input::UpdateFramework { request, conn, update });
            }
            // accept FRAMEWORK AGENT [TASK=RESOURCES …]
            "accept" => {
                let offer_ids = self.take_offers(words[1], words[2]);
                let agent_id = self.agent_ids[words[2]].clone();
                let tasks = words[3..].iter().map(|text| {
                    let (task, resources) = text.split_once('=').unwrap();
                    task_info(task, &agent_id, resources)
                });
                let operations = vec![model::Operation::launch(tasks)];
                self.call(words[1], SchedulerCall::Accept { offer_ids, operations, refuse_ms: None });
            }
            // do FRAMEWORK AGENT[:ROLE],…|rescinded [refuse=SECONDS] OPERATION …
            "do" => {
                let agents = list(words[2]);
                let offer_ids: Vec<OfferId> =
                    agents.iter().flat_map(|agent| self.take_offers(words[1], agent)).collect();
                let first = agents[0].split(':').next().unwrap();
                let agent_id = self.agent_ids.get(first).cloned().unwrap_or_else(|| first.into());
                let refuse_ms = seconds(&words, "refuse");
                let operations = words[3..].iter().filter(|text| !text.starts_with("refuse="));
                let operations = operations.map(|text| operation(text, &agent_id)).collect();
                self.call(words[1], SchedulerCall::Accept { offer_ids, operations, refuse_ms });
            }
            // decline FRAMEWORK AGENT [seconds=N]
            "decline" => {
                let offer_ids = self.take_offers(words[1], words[2]);
                self.call(
                    words[1],
                    SchedulerCall::Decline { offer_ids, refuse_ms: seconds(&words, "seconds") },
                );
            }
            "revive" => self.call(words[1], SchedulerCall::Revive { roles: roles(&words, "role") }),
            "suppress" => self.call(words[1], SchedulerCall::Suppress { roles: roles(&words, "role") }),
            "teardown" => self.call(words[1], SchedulerCall::Teardown),
            "request" => self.call(words[1], SchedulerCall::Request),
            // kill FRAMEWORK TASK [agent=AGENT] [grace=MS]
            "kill" => {
                let agent_id = word(&words, "agent").map(|name| self.agent_ids[name].clone());
                let kill_policy =
                    word(&words, "grace").map(|text| KillPolicy { grace_ms: text.parse().unwrap() });
                self.call(words[1], SchedulerCall::Kill { task_id: words[2].into(), agent_id, kill_policy });
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
            // reconcile-operations FRAMEWORK [ID@AGENT …]
            "reconcile-operations" => {
                let operations = words[2..].iter().map(|text| match text.split_once('@') {
                    Some((id, agent)) => (id.into(), self.agent_ids.get(agent).cloned(), None),
                    None => ((*text).into(), None, None),
                });
                let operations = operations.collect();
                self.call(words[1], SchedulerCall::ReconcileOperations { operations });
            }
            // update AGENT FRAMEWORK TASK STATE [latest=STATE] [healthy=BOOL]
            "update" => {
                let mut status = self.status(words[1], words[3], words[4]);
                status.healthy = word(&words, "healthy").map(|text| text == "true");
                let latest = word(&words, "latest").unwrap_or(words[4]);
                let update = StatusUpdate {
                    framework_id: self.framework_ids[words[2]].clone(),
                    agent_id: self.agent_ids[words[1]].clone(),
                    latest_state: TaskState::from_name(&format!("TASK_{latest}")).unwrap(),
                    status,
                };
                self.from(words[1], AgentToMaster::Update(Box::new(update)));
            }
            // ack FRAMEWORK AGENT TASK uN
            "ack" => {
                let agent_id = self.agent_ids[words[2]].clone();
                let uuid = number(words[4]);
                self.call(words[1], SchedulerCall::Acknowledge { agent_id, task_id: words[3].into(), uuid });
            }
            // did AGENT oN STATE [quiet]
            "did" => {
                let state = OperationState::from_name(&format!("OPERATION_{}", words[3])).unwrap();
                let place: usize = words[2].trim_start_matches('o').parse().unwrap();
                let record = &mut self.operations[place];
                record.latest.state = state;
                let record = record.clone();
                let quiet = words.contains(&"quiet");
                let uuid = (!quiet).then(|| self.uuid());
                let status = OperationStatus { state, uuid, ..record.latest };
                let (uuid, framework_id) = (record.uuid, record.framework_id);
                self.from(
                    words[1],
                    AgentToMaster::OperationUpdate { uuid, framework_id, status: Box::new(status) },
                );
            }
            // ack-operation FRAMEWORK ID uN
            "ack-operation" => {
                let (operation_id, uuid) = (words[2].into(), number(words[3]));
                self.call(
                    words[1],
                    SchedulerCall::AcknowledgeOperation { agent_id: None, operation_id, uuid },
                );
            }
            // message FRAMEWORK AGENT EXECUTOR TEXT
            "message" => {
                let agent_id = self.agent_ids[words[2]].clone();
                let (executor_id, data) = (words[3].into(), Opaque::new(words[4].as_bytes()));
                self.call(words[1], SchedulerCall::Message { agent_id, executor_id, data });
            }
            // says AGENT FRAMEWORK EXECUTOR TEXT
            "says" => {
                let framework_id = self.framework_ids[words[2]].clone();
                let (executor_id, data) = (words[3].into(), Opaque::new(words[4].as_bytes()));
                self.from(words[1], AgentToMaster::Message { framework_id, executor_id, data });
            }
            // exited AGENT FRAMEWORK EXECUTOR STATUS
            "exited" => {
                let framework_id = self.framework_ids[words[2]].clone();
                let (executor_id, status) = (words[3].into(), words[4].parse().ok());
                self.from(words[1], AgentToMaster::ExecutorExited { framework_id, executor_id, status });
            }
            // shutdown FRAMEWORK AGENT EXECUTOR
            "shutdown" => {
                let agent_id = self.agent_ids[words[2]].clone();
                let executor_id = words[3].into();
                self.call(words[1], SchedulerCall::ShutdownExecutor { agent_id, executor_id });
            }
            // maintain AGENT,… (none: nothing is announced)
            "maintain" => {
                let names = words.get(1).map(|text| list(text)).unwrap_or_default();
                let machines =
                    names.iter().map(|name| MachineId { hostname: (*name).to_owned(), ip: String::new() });
                let unavailability = Unavailability { start_ns: 1_000_000_000_000, duration_ns: None };
                let window = MaintenanceWindow { machines: machines.collect(), unavailability };
                let windows = if names.is_empty() { Vec::new() } else { vec![window] };
                let call = OperatorCall::UpdateMaintenanceSchedule(MaintenanceSchedule { windows });
                let request = self.request();
                self.step(Input::Operator { request, call });
            }
            "agree" | "refuse" => {
                let id = &self.framework_ids[words[1]];
                let mine = self.inverse_offers.values().filter(|offer| offer.framework_id == *id);
                let offer_ids: Vec<OfferId> = mine.map(|offer| offer.id.clone()).collect();
                self.inverse_offers.retain(|id, _| !offer_ids.contains(id));
                let refuse_ms = seconds(&words, "seconds");
                let call = match words[0] {
                    "agree" => SchedulerCall::AcceptInverseOffers { offer_ids, refuse_ms },
                    _ => SchedulerCall::DeclineInverseOffers { offer_ids, refuse_ms },
                };
                self.call(words[1], call);
            }
            "answers" => {
                let view = self.master.view(self.now);
                for (machine, answers) in view.draining_machines.iter() {
                    for answer in answers {
                        let line = format!(
                            "{} on {}: {:?}\n",
                            answer.framework_id, machine.hostname, answer.accepted
                        );
                        self.trace.push_str(&line);
                    }
                }
            }
            "watch" => self.step(Input::Watch { watch: WatchId(1) }),
            "why" => {
                let (framework_id, agent_id) =
                    (self.framework_ids[words[1]].clone(), self.agent_ids[words[2]].clone());
                let request = self.request();
                self.step(Input::Explain { request, framework_id, agent_id });
            }
            "holds" => self.holds(words[1]),
            "frameworks" => self.frameworks(),
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

    /// agent NAME RESOURCES [tasks=FRAMEWORK/TASK:STATE,…] [executors=FRAMEWORK/ID~RESOURCES,…]
    /// [operations=oN,…] [caps=none] [region=R]
    fn register(&mut self, words: &[&str]) {
        let conn = self.open(words[1]);
        let tasks = word(words, "tasks").map(|text| self.records(text)).unwrap_or_default();
        let executors = word(words, "executors").map(|text| self.executors(text)).unwrap_or_default();
        let named = word(words, "operations").map(list).unwrap_or_default();
        let operations = named.into_iter().map(|name| self.known_operation(name).clone()).collect();
        let capabilities = match word(words, "caps") {
            Some(_) => Vec::new(),
            None => AgentCapability::ALL.to_vec(),
        };
        let domain = word(words, "region")
            .map(|region| FaultDomain { region: region.to_owned(), zone: "z1".to_owned() });
        let info = AgentInfo {
            id: self.agent_ids.get(words[1]).cloned(),
            hostname: words[1].to_owned(),
            ip: "10.0.0.2".to_owned(),
            port: 5051,
            resources: resources(words[2]),
            attributes: Vec::new(),
            domain,
            version: "1.7.3".to_owned(),
            capabilities,
        };
        let of_tasks = tasks.iter().map(|record| record.framework_id.clone());
        let of_executors = executors.iter().map(|record: &ExecutorRecord| record.framework_id.clone());
        let ids: std::collections::BTreeSet<FrameworkId> = of_tasks.chain(of_executors).collect();
        let frameworks = ids.into_iter().map(|id| framework(Some(id), &[])).collect();
        let registration = Registration { info, frameworks, executors, tasks, operations, drain: None };
        self.step(Input::Agent { conn, message: AgentToMaster::Register(Box::new(registration)) });
    }

    fn return_agent(&mut self, name: &str, less: bool) {
        let view = self.master.view(self.now);
        let Some(agent) = view.agents.iter().find(|agent| agent.info.hostname == name).cloned() else {
            return;
        };
        let conn = self.open(name);
        let kept = |place: usize| !less || place.is_multiple_of(2);
        // What it did not name once is not there later.
        let there = |task: &model::TaskState, holds: bool| holds || task.is_terminal();
        let tasks: Vec<TaskRecord> = (agent.tasks.iter().enumerate().filter(|(place, _)| kept(*place)))
            .filter(|(_, task)| there(&task.state, task.holds_resources))
            .map(|(_, task)| TaskRecord {
                framework_id: task.framework_id.clone(),
                info: task.info.clone(),
                role: Some(task.role.clone()),
                state: task.state,
                statuses: task.statuses.clone(),
            })
            .collect();
        let executors = agent.executors.iter().enumerate().filter(|(place, _)| kept(*place));
        let operations = agent.operations.iter().enumerate().filter(|(place, _)| kept(*place));
        let infos = view.frameworks.iter().map(|framework| (*framework.info).clone()).collect();
        let registration = Registration {
            info: (*agent.info).clone(),
            frameworks: infos,
            executors: executors.map(|(_, record)| (**record).clone()).collect(),
            tasks,
            operations: operations.map(|(_, record)| (**record).clone()).collect(),
            drain: None,
        };
        self.step(Input::Agent { conn, message: AgentToMaster::Register(Box::new(registration)) });
    }

    #[allow(dead_code, reason = "not every test draws orders by lot")]
    pub fn operations_count(&self) -> usize {
        self.operations.len()
    }

    fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    fn uuid(&mut self) -> UpdateId {
        self.next_uuid += 1;
        UpdateId(self.next_uuid - 1)
    }

    fn known_operation(&self, name: &str) -> &OperationRecord {
        let place: usize = name.trim_start_matches('o').parse().unwrap();
        &self.operations[place]
    }

    fn from(&mut self, agent: &str, message: AgentToMaster) {
        let conn = self.conns[agent];
        self.step(Input::Agent { conn, message });
    }

    fn records(&mut self, text: &str) -> Vec<TaskRecord> {
        list(text)
            .into_iter()
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

    fn executors(&self, text: &str) -> Vec<ExecutorRecord> {
        list(text)
            .into_iter()
            .map(|part| {
                let (framework, own) = part.split_once('/').unwrap();
                let framework_id = self.framework_ids[framework].clone();
                let mut info = executor(own);
                info.framework_id = Some(framework_id.clone());
                ExecutorRecord { framework_id, agent_id: "S".into(), info, role: Role::any() }
            })
            .collect()
    }

    fn status(&mut self, agent: &str, task: &str, state: &str) -> TaskStatus {
        let uuid = Some(self.uuid());
        let state = TaskState::from_name(&format!("TASK_{state}")).unwrap();
        let agent_id = Some(self.agent_ids[agent].clone());
        TaskStatus { uuid, agent_id, ..TaskStatus::new(task.into(), state, self.now, Source::Executor) }
    }

    fn take_offers(&mut self, framework: &str, agent: &str) -> Vec<OfferId> {
        if agent == "rescinded" {
            return self.last_rescinded.iter().cloned().collect();
        }
        let framework_id = &self.framework_ids[framework];
        let (agent, role) = agent.split_once(':').map_or((agent, None), |(agent, role)| (agent, Some(role)));
        let chosen: Vec<OfferId> = self
            .offers
            .values()
            .filter(|offer| offer.framework_id == *framework_id && offer.hostname == agent)
            .filter(|offer| role.is_none_or(|role| offer.role.as_str() == role))
            .map(|offer| offer.id.clone())
            .collect();
        for id in &chosen {
            self.offers.remove(id);
        }
        if chosen.is_empty() { vec!["stale".into()] } else { chosen }
    }

    fn call(&mut self, framework: &str, call: SchedulerCall) {
        let conn = self.conns[framework];
        self.step(Input::Scheduler { conn, call });
    }

    /// What an agent has, and who holds it.
    fn holds(&mut self, name: &str) {
        let view = self.master.view(self.now);
        let Some(agent) = view.agents.iter().find(|agent| agent.info.hostname == name) else {
            self.trace.push_str("not there\n");
            return;
        };
        let mut lines = vec![format!("{name} has {}", super::sorted(&agent.info.resources))];
        for (framework, used) in &agent.used_by_framework {
            lines.push(format!("{framework} holds {}", super::sorted(used)));
        }
        for own in &agent.executors {
            lines.push(format!("executor {} runs", own.info.id));
        }
        let states = agent.operations.iter().map(|record| {
            let place = self.operations.iter().position(|known| known.uuid == record.uuid);
            (place, record.latest.state)
        });
        let mut states: Vec<_> = states.collect();
        states.sort_unstable();
        for (place, state) in states {
            lines.push(format!("o{} is {state}", place.map_or("?".to_owned(), |place| place.to_string())));
        }
        self.trace.push_str(&lines.join("\n"));
        self.trace.push('\n');
    }

    fn frameworks(&mut self) {
        let view = self.master.view(self.now);
        let live = view.frameworks.iter().map(|one| (one, "live"));
        for (one, place) in live.chain(view.completed_frameworks.iter().map(|one| (one, "completed"))) {
            let ends: Vec<String> = one
                .completed_tasks
                .iter()
                .map(|task| {
                    let reason = task.statuses.last().and_then(|status| status.reason);
                    format!("{} {} {}", task.info.id, task.state, reason.map_or("", |reason| reason.name()))
                })
                .collect();
            let line = format!(
                "{} {place}, user {}, roles {:?}, {} tasks, {} unreachable, completed {ends:?}\n",
                one.id,
                one.info.user,
                one.info.roles,
                one.tasks.iter().count(),
                one.unreachable_tasks.len()
            );
            self.trace.push_str(&line);
        }
    }
}

fn number(text: &str) -> UpdateId {
    UpdateId(text.trim_start_matches('u').parse().unwrap())
}

fn seconds(words: &[&str], key: &str) -> Option<u64> {
    word(words, key).map(|text| text.parse::<u64>().unwrap() * 1_000)
}

fn roles(words: &[&str], key: &str) -> Vec<Role> {
    word(words, key).map(|text| list(text).into_iter().map(role).collect()).unwrap_or_default()
}

fn framework(id: Option<FrameworkId>, words: &[&str]) -> FrameworkInfo {
    let named = roles(words, "role");
    FrameworkInfo {
        id,
        name: word(words, "name").unwrap_or("test").to_owned(),
        user: word(words, "user").unwrap_or("root").to_owned(),
        roles: if named.is_empty() { vec![Role::any()] } else { named },
        failover_timeout_ms: seconds(words, "timeout").unwrap_or(3_600_000),
        checkpoint: true,
        hostname: String::new(),
        principal: word(words, "principal").map(Into::into),
        webui_url: None,
        capabilities: word(words, "caps").map_or(vec![Capability::PartitionAware], capabilities),
        labels: Vec::new(),
        offer_filters: Default::default(),
    }
}
