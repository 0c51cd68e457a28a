//! The agent's turn: inputs from the master, executors, the container runtime and
//! the clock.
//!
//! Invariants: a task is checkpointed before its launch is ordered, an update
//! before it is sent or acknowledged to its executor; at most one container per
//! task, ever; the stream of one task is in order. [`Agent::check_invariants`]
//! states them for the simulator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::agent_api::{AgentToMaster, MasterToAgent, Registration};
use model::executor_api::{ExecutorCall, ExecutorEvent};
use model::scheduler_api::TaskRecord;
use model::{
    AgentId, AgentInfo, Capability, ContainerId, DrainInfo, DrainState, ExecutorId, ExecutorRecord,
    FrameworkId, FrameworkInfo, OperationRecord, Output, Reason, Resources, Rng, TaskId, TaskState,
    TaskStatus, Time, UpdateId,
};

use crate::checks::{Kind, Look, Seen, Watched};
use crate::config::AgentConfig;
use crate::history::History;
use crate::state::{
    AgentExecutor, AgentTask, ContainerExit, ContainerLaunch, ContainerResize, Drain, ExecutorPhase,
    OfferedResources, Phase, RecoveredContainer, TaskKey, VolumeWork, Write,
};
use crate::view::{AgentView, ExecutorView, TaskView};

/// One stream to a master; numbers are never used twice in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// One request of an executor, with SUBSCRIBE also its stream of events; numbers
/// are never used twice in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecutorConn(pub u64);

/// Why an executor's call is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecutorRefusal {
    /// 503
    #[error("Agent has not finished recovery")]
    Recovering,
    /// 400
    #[error("Framework cannot be found")]
    UnknownFramework,
    /// 400
    #[error("Executor cannot be found")]
    UnknownExecutor,
    /// 403
    #[error("Executor is not subscribed")]
    NotSubscribed,
    /// 400
    #[error("{0}")]
    Invalid(String),
    /// 503
    #[error("the agent is stopping")]
    Stopping,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The runtime was asked what is still there: the first input of every start.
    Recovered {
        containers: Vec<RecoveredContainer>,
    },
    MasterConnected {
        conn: ConnId,
    },
    MasterClosed {
        conn: ConnId,
    },
    Master {
        conn: ConnId,
        message: MasterToAgent,
    },
    /// Answered with `ExecutorReply`.
    Executor {
        conn: ExecutorConn,
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        call: ExecutorCall,
    },
    /// The stream of events of this subscription is gone.
    ExecutorClosed {
        conn: ExecutorConn,
    },
    Started {
        id: ContainerId,
        pid: u32,
    },
    LaunchFailed {
        id: ContainerId,
        message: String,
    },
    Exited {
        id: ContainerId,
        exit: ContainerExit,
    },
    /// The work on a volume with this number is done.
    VolumeDone {
        uuid: UpdateId,
    },
    /// The machine is too busy for what this run has only until further notice.
    Preempt {
        run: ContainerId,
    },
    /// The answer to the look with this number.
    Seen {
        number: u64,
        seen: Seen,
    },
    /// Leave the cluster for good.
    Unregister,
    Tick,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    ToMaster {
        conn: ConnId,
        message: AgentToMaster,
    },
    ExecutorReply {
        conn: ExecutorConn,
        result: Result<(), ExecutorRefusal>,
    },
    ToExecutor {
        conn: ExecutorConn,
        event: ExecutorEvent,
    },
    /// After what was sent on it.
    CloseExecutor {
        conn: ExecutorConn,
    },
    Launch(Box<ContainerLaunch>),
    /// SIGTERM to the task.
    Terminate {
        id: ContainerId,
    },
    /// SIGKILL to all of it; cancels a launch under way. Followed by `Exited` or `LaunchFailed`.
    Destroy {
        id: ContainerId,
    },
    /// Its end is known to all who ask: free everything but the sandbox.
    Forget {
        id: ContainerId,
    },
    Resize(Box<ContainerResize>),
    /// Followed by `VolumeDone` when it could be done.
    Volume(VolumeWork),
    /// The work of this number never comes again.
    VolumeSettled {
        uuid: UpdateId,
    },
    /// Followed by `Seen`.
    Look(Box<Look>),
    /// The master refuses this agent for good: stop the process.
    Halt {
        message: String,
    },
    /// The agent is done by its own will: stop the process.
    Stop {
        message: String,
    },
}

pub type Out = Output<Write, Effect>;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    pub due: Time,
    pub interval_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Down,
    Connected(ConnId),
    Registered(ConnId),
}

/// Ends of executors kept for the next registration; their tasks' updates come in any case.
const UNHEARD_MAX: usize = 1_000;

pub(crate) type ExecutorKey = (FrameworkId, ExecutorId);

/// The brain of one agent process.
#[derive(Debug)]
pub struct Agent {
    pub(crate) config: AgentConfig,
    pub(crate) rng: Rng,
    pub(crate) id: Option<AgentId>,
    pub(crate) link: Link,
    /// The stream on which the registration went out.
    pub(crate) announced: Option<ConnId>,
    pub(crate) recovered: bool,
    pub(crate) rebooted: bool,
    pub(crate) halted: bool,
    /// Set when everything is to end and the process with it, to its last word.
    pub(crate) ending: Option<&'static str>,
    pub(crate) frameworks: BTreeMap<FrameworkId, Arc<FrameworkInfo>>,
    /// By the container of the run.
    pub(crate) executors: BTreeMap<ContainerId, Arc<AgentExecutor>>,
    /// The live run of each executor.
    pub(crate) runs: BTreeMap<ExecutorKey, ContainerId>,
    /// Who is subscribed.
    pub(crate) subscribed: BTreeMap<ContainerId, ExecutorConn>,
    /// Until when executors must have subscribed.
    pub(crate) deadlines: BTreeMap<ContainerId, Time>,
    /// Running since before this start, and not back yet.
    pub(crate) reconnecting: BTreeSet<ContainerId>,
    pub(crate) tasks: BTreeMap<TaskKey, Arc<AgentTask>>,
    /// Tasks with a container of their own that has not ended.
    pub(crate) by_container: BTreeMap<ContainerId, TaskKey>,
    /// Tasks in memory, by run.
    pub(crate) by_run: BTreeMap<ContainerId, BTreeSet<TaskKey>>,
    /// Answers for tasks we never had, until acknowledged.
    pub(crate) strangers: BTreeMap<TaskKey, TaskStatus>,
    pub(crate) retries: BTreeMap<TaskKey, Retry>,
    pub(crate) next_order: u64,
    pub(crate) watched: BTreeMap<TaskKey, Watched>,
    /// Looks under way.
    pub(crate) looks: BTreeMap<u64, (TaskKey, Kind)>,
    pub(crate) next_look: u64,
    pub(crate) resources: OfferedResources,
    /// The configured resources with all conversions applied.
    pub(crate) total: Resources,
    pub(crate) operations: BTreeMap<UpdateId, Arc<OperationRecord>>,
    pub(crate) operation_retries: BTreeMap<UpdateId, Retry>,
    pub(crate) drain: Option<Drain>,
    pub(crate) history: History,
    /// Ends of executors while no master listened.
    pub(crate) unheard: Vec<AgentToMaster>,
    /// Records of an earlier agent on this machine, to be deleted.
    pub(crate) discarded: Vec<Write>,
    pub(crate) started: Time,
}

impl Agent {
    pub fn step(&mut self, now: Time, input: Input) -> Out {
        let mut out = Out::new();
        match input {
            Input::Recovered { containers } => self.recover(now, containers, &mut out),
            Input::MasterConnected { conn } => self.link = Link::Connected(conn),
            Input::MasterClosed { conn } => {
                if matches!(self.link, Link::Connected(c) | Link::Registered(c) if c == conn) {
                    self.link = Link::Down;
                }
            }
            Input::Master { conn, message } => {
                if matches!(self.link, Link::Connected(c) | Link::Registered(c) if c == conn) {
                    self.master_message(now, conn, message, &mut out);
                }
            }
            Input::Executor { conn, framework_id, executor_id, call } => {
                self.executor_call(now, conn, (framework_id, executor_id), call, &mut out);
            }
            Input::ExecutorClosed { conn } => self.executor_closed(conn),
            Input::Started { id, pid } => self.started(now, &id, pid, &mut out),
            Input::LaunchFailed { id, message } => self.launch_failed(now, &id, message, &mut out),
            Input::Exited { id, exit } => self.exited(now, &id, &exit, &mut out),
            Input::VolumeDone { uuid } => self.volume_done(uuid, &mut out),
            Input::Preempt { run } => self.preempt(now, &run, &mut out),
            Input::Seen { number, seen } => self.seen(now, number, &seen, &mut out),
            Input::Unregister => self.unregister(now, &mut out),
            Input::Tick => {}
        }
        self.completions_due(now, &mut out);
        self.looks_due(now, &mut out);
        self.force_kills(now, &mut out);
        self.executors_due(now, &mut out);
        self.retry_due(now, &mut out);
        self.operations_due(now, &mut out);
        self.register(&mut out);
        self.end_if_done(&mut out);
        out
    }

    pub fn next_wakeup(&self) -> Option<Time> {
        let tasks = self.by_container.values().filter_map(|key| self.tasks.get(key)).filter_map(|task| {
            match &task.kill {
                Some(kill) => (!kill.forced && task.phase == Phase::Running).then_some(kill.deadline),
                None => task.complete_by.filter(|_| task.phase == Phase::Running),
            }
        });
        let shutdowns = self.executors.values().filter_map(|executor| {
            executor.shutdown.filter(|shutdown| executor.is_live() && !shutdown.forced).map(|it| it.deadline)
        });
        let listens = self.registered_conn().is_some();
        let retries = self.retries.values().chain(self.operation_retries.values());
        let retries = retries.filter(|_| listens).map(|retry| retry.due);
        tasks
            .chain(shutdowns)
            .chain(retries)
            .chain(self.deadlines.values().copied())
            .chain(self.next_look())
            .min()
    }

    pub(crate) fn registered_conn(&self) -> Option<ConnId> {
        match self.link {
            Link::Registered(conn) => Some(conn),
            _ => None,
        }
    }

    /// Best effort: what must arrive is sent again by its own retries or by registering.
    pub(crate) fn to_master(&self, message: AgentToMaster, out: &mut Out) {
        if let Some(conn) = self.registered_conn() {
            out.effect(Effect::ToMaster { conn, message });
        }
    }

    /// Told once, at the next registration when nobody listens now.
    pub(crate) fn tell_executor_exited(&mut self, key: ExecutorKey, status: Option<i32>, out: &mut Out) {
        let (framework_id, executor_id) = key;
        let message = AgentToMaster::ExecutorExited { framework_id, executor_id, status };
        if self.registered_conn().is_some() {
            self.to_master(message, out);
        } else if self.unheard.len() < UNHEARD_MAX {
            self.unheard.push(message);
        }
    }

    // ---- registration

    pub(crate) fn framework_can(&self, id: &FrameworkId, capability: Capability) -> bool {
        self.frameworks.get(id).is_some_and(|info| info.can(capability))
    }

    /// TASK_DROPPED or TASK_GONE for who tells them apart, else TASK_LOST.
    pub(crate) fn lost_as(&self, id: &FrameworkId, state: TaskState) -> TaskState {
        let aware = self.frameworks.get(id).is_none_or(|info| info.can(Capability::PartitionAware));
        if aware { state } else { TaskState::Lost }
    }

    /// Once per stream, and not before executors had their time to come back.
    fn register(&mut self, out: &mut Out) {
        let Link::Connected(conn) = self.link else { return };
        if self.announced == Some(conn)
            || !self.recovered
            || self.halted
            || self.ending.is_some()
            || !self.reconnecting.is_empty()
        {
            return;
        }
        self.announced = Some(conn);
        let info =
            AgentInfo { id: self.id.clone(), resources: self.total.clone(), ..self.config.info.clone() };
        let tasks = self
            .tasks
            .values()
            .map(|task| TaskRecord {
                framework_id: task.framework_id.clone(),
                info: task.info.clone(),
                state: task.state,
                statuses: task.statuses.clone(),
                role: task.role.clone(),
            })
            .collect();
        let live = self.executors.values().filter(|executor| executor.is_live());
        let executors = live.filter_map(|executor| {
            Some(ExecutorRecord {
                framework_id: executor.framework_id.clone(),
                agent_id: self.id.clone()?,
                info: executor.info.clone(),
                role: executor.role.clone(),
            })
        });
        let registration = Registration {
            info,
            frameworks: self.frameworks.values().map(|info| (**info).clone()).collect(),
            executors: executors.collect(),
            tasks,
            operations: self.operations.values().map(|operation| (**operation).clone()).collect(),
            drain: self.drain.map(|drain| drain.config),
        };
        let message = AgentToMaster::Register(Box::new(registration));
        out.effect(Effect::ToMaster { conn, message });
    }

    fn master_message(&mut self, now: Time, conn: ConnId, message: MasterToAgent, out: &mut Out) {
        match message {
            MasterToAgent::Registered { agent_id } => {
                if self.id.as_ref() != Some(&agent_id) {
                    self.id = Some(agent_id.clone());
                    out.write(Write::PutAgentId(agent_id));
                }
                self.link = Link::Registered(conn);
                self.resend_all(now, out);
                self.resend_operations(now, out);
                for exited in std::mem::take(&mut self.unheard) {
                    self.to_master(exited, out);
                }
            }
            MasterToAgent::RunTask { framework, role, task } => match task.executor.clone() {
                None => self.run_command(now, *framework, role, *task, out),
                Some(executor) => self.run_on(now, *framework, role, *executor, vec![*task], false, out),
            },
            MasterToAgent::RunGroup { framework, role, executor, tasks } => {
                self.run_on(now, *framework, role, *executor, tasks, true, out);
            }
            MasterToAgent::KillTask { framework_id, task_id, kill_policy } => {
                self.kill_task(now, (framework_id, task_id), kill_policy, out);
            }
            MasterToAgent::Acknowledge { framework_id, task_id, uuid } => {
                self.acknowledged(now, &(framework_id, task_id), uuid, out);
            }
            MasterToAgent::Reconcile { tasks } => {
                for key in tasks {
                    let text = "Reconciliation: task unknown to the agent";
                    self.report_stranger(now, key, Reason::Reconciliation, text, out);
                }
            }
            MasterToAgent::ReconcileOperations { operations } => {
                for (uuid, framework_id) in operations {
                    self.reconcile_operation(now, uuid, framework_id, out);
                }
            }
            MasterToAgent::ShutdownExecutor { framework_id, executor_id } => {
                if let Some(run) = self.runs.get(&(framework_id, executor_id)).cloned() {
                    self.shutdown_executor(now, &run, false, out);
                }
            }
            MasterToAgent::ShutdownFramework { framework_id } => {
                self.shutdown_framework(now, &framework_id, out);
            }
            MasterToAgent::UpdateFramework { framework } => {
                let Some(id) = framework.id.clone() else { return };
                if self.frameworks.contains_key(&id) {
                    self.know_framework(*framework, out);
                    self.resend_of(now, &id, out);
                }
            }
            MasterToAgent::Message { framework_id, executor_id, data } => {
                let run = self.runs.get(&(framework_id, executor_id));
                if let Some(conn) = run.and_then(|run| self.subscribed.get(run)) {
                    out.effect(Effect::ToExecutor { conn: *conn, event: ExecutorEvent::Message(data) });
                }
            }
            MasterToAgent::ApplyOperation { operation } => self.apply_operation(now, *operation, out),
            MasterToAgent::AcknowledgeOperation { uuid, status_uuid } => {
                self.operation_acknowledged(uuid, status_uuid, out);
            }
            MasterToAgent::Drain { config } => self.start_drain(now, config, out),
            MasterToAgent::Reactivate => self.end_drain(out),
            MasterToAgent::Shutdown { message } => {
                self.halted = true;
                self.shutdown_all(now, out);
                out.effect(Effect::Halt { message });
            }
        }
    }

    /// Remembers the framework as it is described now.
    pub(crate) fn know_framework(&mut self, info: FrameworkInfo, out: &mut Out) {
        let Some(id) = info.id.clone() else { return };
        if self.frameworks.get(&id).is_none_or(|known| **known != info) {
            let info = Arc::new(info);
            out.write(Write::PutFramework(info.clone()));
            self.frameworks.insert(id, info);
        }
    }

    pub(crate) fn forget_framework_if_idle(&mut self, id: &FrameworkId, out: &mut Out) {
        let has_task =
            self.tasks.range((id.clone(), TaskId::new(""))..).next().is_some_and(|(key, _)| key.0 == *id);
        let has_executor = || self.executors.values().any(|executor| executor.framework_id == *id);
        if has_task || has_executor() {
            return;
        }
        if let Some(info) = self.frameworks.remove(id) {
            out.write(Write::DeleteFramework(id.clone()));
            self.history.push_framework(info, &self.config.limits);
        }
    }

    // ---- leaving

    fn unregister(&mut self, now: Time, out: &mut Out) {
        self.to_master(AgentToMaster::Unregister, out);
        self.end_all(now, "it left the cluster; its next start joins as a new agent", out);
    }

    /// Ends everything, forgets the id, and stops when nothing is left.
    pub(crate) fn end_all(&mut self, now: Time, word: &'static str, out: &mut Out) {
        self.ending = Some(word);
        self.shutdown_all(now, out);
    }

    fn shutdown_all(&mut self, now: Time, out: &mut Out) {
        let ids: Vec<FrameworkId> = self.frameworks.keys().cloned().collect();
        for id in ids {
            self.shutdown_framework(now, &id, out);
        }
    }

    fn end_if_done(&mut self, out: &mut Out) {
        let Some(word) = self.ending else { return };
        if !self.recovered || !self.tasks.is_empty() || !self.executors.is_empty() {
            return;
        }
        if self.id.take().is_some() {
            out.write(Write::DeleteAgentId);
        }
        if !self.halted {
            self.halted = true;
            out.effect(Effect::Stop { message: word.to_owned() });
        }
    }

    // ---- reads

    pub fn view(&self, now: Time) -> AgentView {
        let task_view =
            |task: &Arc<AgentTask>| TaskView { directory: self.directory_of(task), task: task.clone() };
        let executor_view = |executor: &Arc<AgentExecutor>| ExecutorView {
            directory: self.run_directory(
                &executor.framework_id,
                executor.info.id.as_str(),
                &executor.container_id,
            ),
            executor: executor.clone(),
            connected: executor.is_default() && executor.phase == ExecutorPhase::Running
                || self.subscribed.contains_key(&executor.container_id),
        };
        let empty = self.tasks.is_empty() && self.operations.is_empty();
        let state = if empty { DrainState::Drained } else { DrainState::Draining };
        AgentView {
            id: self.id.clone(),
            info: AgentInfo { resources: self.total.clone(), ..self.config.info.clone() },
            started: self.started,
            taken: now,
            registered: self.registered_conn().is_some(),
            recovered: self.recovered && self.reconnecting.is_empty(),
            work_dir: self.config.work_dir.clone(),
            frameworks: self.frameworks.values().cloned().collect(),
            completed_frameworks: {
                let gone = self.history.frameworks.iter();
                gone.filter(|info| info.id.as_ref().is_none_or(|id| !self.frameworks.contains_key(id)))
                    .cloned()
                    .collect()
            },
            executors: self.executors.values().map(executor_view).collect(),
            completed_executors: self.history.executors.iter().map(executor_view).collect(),
            tasks: self.tasks.values().map(task_view).collect(),
            completed: self.history.tasks.iter().map(task_view).collect(),
            operations: self.operations.values().cloned().collect(),
            drain: self.drain.map(|drain| DrainInfo { state, config: drain.config, started: drain.started }),
        }
    }
}
