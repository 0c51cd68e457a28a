//! A start: the checkpoint against what the runtime found.
//!
//! Order: records, then containers (those nobody knows are ended), then executors
//! that are to come back, and only then the registration with the master.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{ContainerId, FrameworkId, Reason, Rng, Source, TaskState, Time};

use crate::brain::{Agent, Effect, Link, Out};
use crate::config::{AgentConfig, Recover};
use crate::executors::ExecutorEnd;
use crate::history::History;
use crate::operations;
use crate::reconfigure;
use crate::state::{
    ContainerExit, ExecutorPhase, ExitStatus, OfferedResources, Phase, Record, RecoveredContainer,
    RecoveredState, TaskKey, Verdict, Write,
};

const NOT_CHECKPOINTED: &str = "The agent restarted, and the task's framework does not checkpoint";

impl Agent {
    /// Loads the checkpoint: a first start has an empty one.
    pub fn load(config: AgentConfig, rng: Rng, records: Vec<Record>, now: Time) -> Self {
        let rebooted = reconfigure::rebooted(&config, &records);
        let mut agent = Self {
            total: config.info.resources.clone(),
            config,
            rng,
            id: None,
            link: Link::Down,
            announced: None,
            recovered: false,
            rebooted,
            halted: false,
            ending: None,
            frameworks: BTreeMap::new(),
            executors: BTreeMap::new(),
            runs: BTreeMap::new(),
            subscribed: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            reconnecting: Default::default(),
            tasks: BTreeMap::new(),
            by_container: BTreeMap::new(),
            by_run: BTreeMap::new(),
            strangers: BTreeMap::new(),
            retries: BTreeMap::new(),
            next_order: 1,
            resources: OfferedResources::default(),
            operations: BTreeMap::new(),
            operation_retries: BTreeMap::new(),
            drain: None,
            history: History::default(),
            unheard: Vec::new(),
            discarded: Vec::new(),
            watched: BTreeMap::new(),
            looks: BTreeMap::new(),
            next_look: 0,
            started: now,
        };
        let changed = records.iter().any(|record| match record {
            Record::Info(info) => {
                reconfigure::compatible(agent.config.reconfiguration, info, &agent.config.info).is_err()
            }
            Record::Resources(resources) => {
                operations::apply_converted(&agent.config.info.resources, &resources.converted).is_err()
            }
            _ => false,
        });
        let another = rebooted && changed;
        for record in records {
            if another {
                agent.discarded.extend(removal(record));
            } else {
                agent.take(record);
            }
        }
        agent
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::AgentId(id) => self.id = Some(id),
            Record::BootId(_) | Record::Info(_) => {}
            Record::Framework(info) => {
                if let Some(id) = info.id.clone() {
                    self.frameworks.insert(id, Arc::from(info));
                }
            }
            Record::Executor(executor) => {
                if executor.is_live() {
                    let key = (executor.framework_id.clone(), executor.info.id.clone());
                    self.runs.insert(key, executor.container_id.clone());
                }
                self.executors.insert(executor.container_id.clone(), executor);
            }
            Record::Task(task) => {
                self.next_order = self.next_order.max(task.order + 1);
                if task.has_container() && task.phase != Phase::Ended {
                    self.by_container.insert(task.container_id.clone(), task.key());
                }
                self.by_run.entry(task.run()).or_default().insert(task.key());
                self.tasks.insert(task.key(), task);
            }
            Record::Resources(resources) => {
                let base = &self.config.info.resources;
                // A start whose resources do not hold them was refused before.
                self.total =
                    operations::apply_converted(base, &resources.converted).unwrap_or_else(|_| base.clone());
                self.resources = *resources;
            }
            Record::Operation(operation) => {
                self.operations.insert(operation.uuid, operation);
            }
            Record::Drain(drain) => self.drain = Some(drain),
        }
    }

    pub(crate) fn recover(&mut self, now: Time, containers: Vec<RecoveredContainer>, out: &mut Out) {
        self.recovered = true;
        for write in std::mem::take(&mut self.discarded) {
            out.write(write);
        }
        if let Some(boot_id) = self.config.boot_id.clone() {
            out.write(Write::PutBootId(boot_id));
        }
        out.write(Write::PutInfo(Box::new(self.config.info.clone())));
        for work in self.resources.volumes.clone() {
            out.effect(Effect::Volume(work));
        }
        let mut found = self.sort_out(containers, out);
        self.recover_executors(now, &mut found, out);
        self.recover_tasks(now, &mut found, out);
        let runs: Vec<ContainerId> = self.executors.keys().cloned().collect();
        for run in runs {
            self.end_default_if_empty(now, &run, out);
            self.retire_if_done(&run, out);
        }
        let frameworks: Vec<FrameworkId> = self.frameworks.keys().cloned().collect();
        for id in frameworks {
            self.forget_framework_if_idle(&id, out);
        }
        if self.config.recover == Recover::Cleanup {
            self.reconnecting.clear();
            self.end_all(now, "what ran here is ended; its next start joins as a new agent", out);
        }
    }

    /// Ends what nobody knows; nothing of before a reboot can be alive.
    fn sort_out(
        &self,
        containers: Vec<RecoveredContainer>,
        out: &mut Out,
    ) -> BTreeMap<ContainerId, RecoveredState> {
        let mut found = BTreeMap::new();
        for RecoveredContainer { id, state } in containers {
            let known = self.by_container.contains_key(&id)
                || self.executors.get(&id).is_some_and(|executor| executor.is_live());
            match state {
                RecoveredState::Running { .. } if !known || self.rebooted => {
                    out.effect(Effect::Destroy { id });
                }
                RecoveredState::Exited(_) if !known => out.effect(Effect::Forget { id }),
                state => {
                    found.insert(id, state);
                }
            }
        }
        found
    }

    fn recover_executors(
        &mut self,
        now: Time,
        found: &mut BTreeMap<ContainerId, RecoveredState>,
        out: &mut Out,
    ) {
        let unseen = ContainerExit { status: ExitStatus::Unknown, memory: None };
        let runs: Vec<ContainerId> = self.runs.values().cloned().collect();
        for run in runs {
            let Some(executor) = self.executors.get(&run).filter(|executor| !executor.is_default()) else {
                continue;
            };
            let (phase, shutdown) = (executor.phase, executor.shutdown);
            let checkpoints =
                self.frameworks.get(&executor.framework_id).is_some_and(|framework| framework.checkpoint);
            match found.remove(&run) {
                Some(RecoveredState::Running { .. }) if !checkpoints => {
                    self.judge(&run, Verdict::NotCheckpointed);
                    out.effect(Effect::Destroy { id: run.clone() });
                    self.executor_ended(now, &run, ExecutorEnd::Exited(&unseen), out);
                }
                Some(RecoveredState::Running { pid }) => {
                    if let Some(executor) = self.executors.get_mut(&run) {
                        Arc::make_mut(executor).pid = Some(pid);
                        out.write(Write::PutExecutor(executor.clone()));
                    }
                    match shutdown {
                        Some(shutdown) if shutdown.forced => out.effect(Effect::Destroy { id: run }),
                        Some(_) => {}
                        None => {
                            let wait = self.config.limits.executor_reregistration_timeout_ms;
                            self.deadlines.insert(run.clone(), now + Duration::from_millis(wait));
                            self.reconnecting.insert(run);
                        }
                    }
                }
                Some(RecoveredState::Exited(exit)) => {
                    self.executor_ended(now, &run, ExecutorEnd::Exited(&exit), out);
                }
                None if phase == ExecutorPhase::Registering && executor.pid.is_none() => {
                    self.executor_ended(now, &run, ExecutorEnd::NeverStarted, out);
                }
                None => self.executor_ended(now, &run, ExecutorEnd::Exited(&unseen), out),
            }
        }
    }

    fn recover_tasks(&mut self, now: Time, found: &mut BTreeMap<ContainerId, RecoveredState>, out: &mut Out) {
        let live: Vec<(TaskKey, ContainerId, Phase)> = self
            .by_container
            .values()
            .filter_map(|key| self.tasks.get(key))
            .map(|task| (task.key(), task.container_id.clone(), task.phase))
            .collect();
        for (key, id, phase) in live {
            let checkpoints = self.frameworks.get(&key.0).is_some_and(|framework| framework.checkpoint);
            match (found.remove(&id), phase) {
                (Some(RecoveredState::Running { .. }), _) if !checkpoints => {
                    out.effect(Effect::Destroy { id });
                    let state = self.lost_as(&key.0, TaskState::Gone);
                    let reason = Some(Reason::AgentRestarted);
                    self.end(now, &key, state, Source::Agent, reason, NOT_CHECKPOINTED.to_owned(), out);
                }
                (Some(RecoveredState::Running { pid }), _) => self.started(now, &id, pid, out),
                (Some(RecoveredState::Exited(exit)), _) => self.exited(now, &id, &exit, out),
                (None, Phase::Launching) => {
                    let text = "The agent restarted before the task's container was started".to_owned();
                    let state = self.lost_as(&key.0, TaskState::Dropped);
                    self.end(now, &key, state, Source::Agent, Some(Reason::AgentRestarted), text, out);
                }
                (None, _) => {
                    let exit = ContainerExit { status: ExitStatus::Unknown, memory: None };
                    self.exited(now, &id, &exit, out);
                }
            }
        }
    }
}

/// What makes a record go.
fn removal(record: Record) -> Option<Write> {
    Some(match record {
        Record::AgentId(_) => Write::DeleteAgentId,
        Record::BootId(_) | Record::Info(_) => return None,
        Record::Framework(info) => Write::DeleteFramework(info.id?),
        Record::Executor(executor) => Write::DeleteExecutor(executor.container_id.clone()),
        Record::Task(task) => Write::DeleteTask(task.key()),
        Record::Resources(_) => Write::PutResources(Box::default()),
        Record::Operation(operation) => Write::DeleteOperation(operation.uuid),
        Record::Drain(_) => Write::PutDrain(None),
    })
}
