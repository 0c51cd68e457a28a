//! The agent's turn: inputs from the master, the container runtime and the clock.
//!
//! Invariants: a task is checkpointed before its launch is ordered, an update
//! before it is sent; at most one container per task, ever; the stream of one
//! task is in order. [`Agent::check_invariants`] states them for the simulator.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::agent_api::{AgentToMaster, MasterToAgent, Registration};
use model::scheduler_api::TaskRecord;
use model::{
    AgentId, AgentInfo, Capability, ContainerId, FrameworkId, FrameworkInfo, KillPolicy, Output, Reason, Rng,
    Source, TaskInfo, TaskState, TaskStatus, Time,
};

use crate::config::AgentConfig;
use crate::exits;
use crate::state::{
    AgentTask, ContainerExit, ContainerLaunch, Kill, LaunchCommand, Phase, Record, RecoveredContainer,
    RecoveredState, TaskKey, Write,
};
use crate::view::{AgentView, TaskView};

/// One stream to a master; numbers are never used twice in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

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
    Tick,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    ToMaster {
        conn: ConnId,
        message: AgentToMaster,
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
    /// The master refuses this agent for good: stop the process.
    Halt {
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
enum Link {
    Down,
    Connected(ConnId),
    Registered(ConnId),
}

/// The brain of one agent process.
#[derive(Debug)]
pub struct Agent {
    pub(crate) config: AgentConfig,
    pub(crate) rng: Rng,
    pub(crate) id: Option<AgentId>,
    link: Link,
    recovered: bool,
    halted: bool,
    pub(crate) frameworks: BTreeMap<FrameworkId, FrameworkInfo>,
    pub(crate) tasks: BTreeMap<TaskKey, Arc<AgentTask>>,
    by_container: BTreeMap<ContainerId, TaskKey>,
    /// Answers for tasks we never had, until acknowledged.
    pub(crate) strangers: BTreeMap<TaskKey, TaskStatus>,
    pub(crate) retries: BTreeMap<TaskKey, Retry>,
    pub(crate) completed: VecDeque<Arc<AgentTask>>,
    started: Time,
}

impl Agent {
    /// Loads the checkpoint: a first start has an empty one.
    pub fn load(config: AgentConfig, rng: Rng, records: Vec<Record>, now: Time) -> Self {
        let mut agent = Self {
            config,
            rng,
            id: None,
            link: Link::Down,
            recovered: false,
            halted: false,
            frameworks: BTreeMap::new(),
            tasks: BTreeMap::new(),
            by_container: BTreeMap::new(),
            strangers: BTreeMap::new(),
            retries: BTreeMap::new(),
            completed: VecDeque::new(),
            started: now,
        };
        for record in records {
            match record {
                Record::AgentId(id) => agent.id = Some(id),
                Record::Framework(info) => {
                    if let Some(id) = info.id.clone() {
                        agent.frameworks.insert(id, *info);
                    }
                }
                Record::Task(task) => {
                    agent.by_container.insert(task.container_id.clone(), task.key());
                    agent.tasks.insert(task.key(), task);
                }
            }
        }
        agent
    }

    pub fn step(&mut self, now: Time, input: Input) -> Out {
        let mut out = Out::new();
        match input {
            Input::Recovered { containers } => self.recover(now, containers, &mut out),
            Input::MasterConnected { conn } => {
                self.link = Link::Connected(conn);
                self.register(&mut out);
            }
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
            Input::Started { id, pid } => self.started(now, &id, pid, &mut out),
            Input::LaunchFailed { id, message } => self.launch_failed(now, &id, message, &mut out),
            Input::Exited { id, exit } => self.exited(now, &id, &exit, &mut out),
            Input::Tick => {}
        }
        self.force_kills(now, &mut out);
        self.retry_due(now, &mut out);
        out
    }

    pub fn next_wakeup(&self) -> Option<Time> {
        let kills = self.tasks.values().filter_map(|task| {
            let kill = task.kill.as_ref()?;
            (!kill.forced && task.phase != Phase::Ended).then_some(kill.deadline)
        });
        let retries = self.registered_conn().is_some().then(|| self.retries.values().map(|retry| retry.due));
        kills.chain(retries.into_iter().flatten()).min()
    }

    pub(crate) fn registered_conn(&self) -> Option<ConnId> {
        match self.link {
            Link::Registered(conn) => Some(conn),
            _ => None,
        }
    }

    // ---- start and registration

    fn recover(&mut self, now: Time, containers: Vec<RecoveredContainer>, out: &mut Out) {
        self.recovered = true;
        let mut found: BTreeMap<ContainerId, RecoveredState> = BTreeMap::new();
        for container in containers {
            if self.by_container.contains_key(&container.id) {
                found.insert(container.id, container.state);
            } else {
                match container.state {
                    RecoveredState::Running { .. } => out.effect(Effect::Destroy { id: container.id }),
                    RecoveredState::Exited(_) => out.effect(Effect::Forget { id: container.id }),
                }
            }
        }
        let live: Vec<(TaskKey, ContainerId, Phase)> = self
            .tasks
            .values()
            .filter(|task| task.phase != Phase::Ended)
            .map(|task| (task.key(), task.container_id.clone(), task.phase))
            .collect();
        for (key, id, phase) in live {
            match (found.remove(&id), phase) {
                (Some(RecoveredState::Running { pid }), _) => self.started(now, &id, pid, out),
                (Some(RecoveredState::Exited(exit)), _) => self.exited(now, &id, &exit, out),
                (None, Phase::Launching) => {
                    let text = "The agent restarted before the task's container was started".to_owned();
                    let aware = self.framework_can(&key.0, Capability::PartitionAware);
                    let state = if aware { TaskState::Dropped } else { TaskState::Lost };
                    self.end(now, &key, state, Source::Agent, Some(Reason::AgentRestarted), text, out);
                }
                (None, _) => {
                    let exit = ContainerExit { status: crate::state::ExitStatus::Unknown, memory: None };
                    self.exited(now, &id, &exit, out);
                }
            }
        }
        self.register(out);
    }

    fn framework_can(&self, id: &FrameworkId, capability: Capability) -> bool {
        self.frameworks.get(id).is_some_and(|info| info.can(capability))
    }

    fn register(&mut self, out: &mut Out) {
        let Link::Connected(conn) = self.link else { return };
        if !self.recovered || self.halted {
            return;
        }
        let info = AgentInfo { id: self.id.clone(), ..self.config.info.clone() };
        let tasks = self
            .tasks
            .values()
            .map(|task| TaskRecord {
                framework_id: task.framework_id.clone(),
                info: task.info.clone(),
                state: task.state,
                statuses: task.statuses.clone(),
                role: None,
            })
            .collect();
        let frameworks = self.frameworks.values().cloned().collect();
        let registration = Registration {
            info,
            frameworks,
            executors: Vec::new(),
            tasks,
            operations: Vec::new(),
            drain: None,
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
            }
            MasterToAgent::RunTask { framework, role: _, task } => self.run_task(now, *framework, *task, out),
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
            MasterToAgent::ShutdownFramework { framework_id } => {
                self.shutdown_framework(now, &framework_id, out)
            }
            MasterToAgent::Shutdown { message } => {
                self.halted = true;
                let ids: Vec<FrameworkId> = self.frameworks.keys().cloned().collect();
                for id in ids {
                    self.shutdown_framework(now, &id, out);
                }
                out.effect(Effect::Halt { message });
            }
            MasterToAgent::RunGroup { .. }
            | MasterToAgent::ReconcileOperations { .. }
            | MasterToAgent::ShutdownExecutor { .. }
            | MasterToAgent::UpdateFramework { .. }
            | MasterToAgent::Message { .. }
            | MasterToAgent::ApplyOperation { .. }
            | MasterToAgent::AcknowledgeOperation { .. }
            | MasterToAgent::Drain { .. }
            | MasterToAgent::Reactivate => {}
        }
    }

    // ---- running

    fn run_task(&mut self, now: Time, framework: FrameworkInfo, info: TaskInfo, out: &mut Out) {
        let Some(framework_id) = framework.id.clone() else { return };
        let key = (framework_id.clone(), info.id.clone());
        if self.tasks.contains_key(&key) || self.strangers.contains_key(&key) {
            return;
        }
        if self.frameworks.get(&framework_id) != Some(&framework) {
            out.write(Write::PutFramework(Box::new(framework.clone())));
            self.frameworks.insert(framework_id.clone(), framework);
        }
        if self.tasks.len() >= self.config.limits.tasks_max {
            let text =
                format!("the agent already has {} tasks, its limit tasks_max", self.config.limits.tasks_max);
            self.report_stranger(now, key, Reason::ContainerLaunchFailed, &text, out);
            return;
        }
        let container_id = ContainerId::new(self.rng.uuid().to_string());
        let task = AgentTask {
            framework_id,
            info,
            container_id: container_id.clone(),
            phase: Phase::Launching,
            state: TaskState::Staging,
            updates: VecDeque::new(),
            statuses: Vec::new(),
            kill: None,
            pid: None,
            received: now,
            ended: None,
        };
        let bytes = bytes_of(&task.info);
        let limit = self.config.limits.task_bytes_max;
        let launch = if bytes > limit {
            Err(format!(
                "The task's command, arguments, environment and labels have {bytes} bytes; at most {limit} are taken"
            ))
        } else {
            self.launch_of(&task)
        };
        self.by_container.insert(container_id, key.clone());
        let mut task = task;
        if bytes > limit {
            // Its record must fit the checkpoint.
            task.info.command = model::CommandInfo::default();
            task.info.labels.clear();
        }
        self.tasks.insert(key.clone(), Arc::new(task));
        match launch {
            Ok(launch) => {
                self.report(now, &key, TaskState::Starting, Source::Executor, None, None, out);
                out.effect(Effect::Launch(Box::new(launch)));
            }
            Err(message) => {
                let reason = Some(Reason::ContainerLaunchFailed);
                self.end(now, &key, TaskState::Failed, Source::Agent, reason, message, out);
            }
        }
    }

    /// Directory of one run, below the work directory.
    fn sandbox_of(&self, task: &AgentTask) -> String {
        sandbox_path(&self.config.work_dir, self.id.as_ref(), task)
    }

    fn launch_of(&self, task: &AgentTask) -> Result<ContainerLaunch, String> {
        let info = &task.info;
        let image = info.container.as_ref().and_then(|container| container.image.clone());
        let command = match (&info.command.value, info.command.shell, image.is_some()) {
            (Some(line), true, _) => LaunchCommand::Shell(line.clone()),
            (Some(program), false, _) => {
                let mut argv = vec![program.clone()];
                argv.extend(info.command.arguments.iter().skip(1).cloned());
                LaunchCommand::Argv(argv)
            }
            (None, _, true) => LaunchCommand::Image { args: info.command.arguments.clone() },
            (None, _, false) if !info.command.arguments.is_empty() => {
                LaunchCommand::Argv(info.command.arguments.clone())
            }
            (None, _, false) => {
                return Err(
                    "The task names neither a command nor an image: set cmd, args or an image".to_owned()
                );
            }
        };
        let sandbox = self.sandbox_of(task);
        let mut env = info.command.environment.clone();
        let agent_id = self.id.as_ref().map(ToString::to_string).unwrap_or_default();
        let visible = if image.is_some() { SANDBOX_IN_CONTAINER.to_owned() } else { sandbox.clone() };
        for (name, value) in [
            ("MESOS_SANDBOX", visible.clone()),
            ("MESOS_DIRECTORY", visible),
            ("MESOS_FRAMEWORK_ID", task.framework_id.to_string()),
            ("MESOS_EXECUTOR_ID", info.id.to_string()),
            ("MESOS_SLAVE_ID", agent_id.clone()),
            ("MESOS_AGENT_ID", agent_id),
            ("MESOS_CONTAINER_ID", task.container_id.to_string()),
            ("MESOS_CONTAINER_IP", self.config.info.ip.clone()),
            ("LIBPROCESS_IP", self.config.info.ip.clone()),
        ] {
            env.retain(|(existing, _)| existing != name);
            env.push((name.to_owned(), value));
        }
        let default_user = || {
            let framework = self.frameworks.get(&task.framework_id).filter(|_| self.config.switch_user);
            framework.map(|framework| framework.user.clone()).filter(|user| !user.is_empty())
        };
        let user = info.command.user.clone().or_else(default_user);
        let limits = &self.config.limits;
        let whole = |milli: i64| u64::try_from(milli).unwrap_or(0);
        Ok(ContainerLaunch {
            id: task.container_id.clone(),
            sandbox,
            command,
            env,
            user,
            image,
            force_pull: info.container.as_ref().is_some_and(|container| container.force_pull),
            cpus_milli: whole(info.resources.cpus().milli()),
            mem_mib: (whole(info.resources.mem().milli()) / 1000).max(limits.task_mem_min_mib),
            pids: limits.task_pids_max,
        })
    }

    fn started(&mut self, now: Time, id: &ContainerId, pid: u32, out: &mut Out) {
        let Some(key) = self.by_container.get(id).cloned() else {
            out.effect(Effect::Destroy { id: id.clone() });
            return;
        };
        let Some(slot) = self.tasks.get_mut(&key) else { return };
        let task = Arc::make_mut(slot);
        if task.phase == Phase::Ended {
            return;
        }
        let first = task.phase == Phase::Launching;
        task.phase = Phase::Running;
        task.pid = Some(pid);
        if first && task.kill.is_none() {
            self.report(now, &key, TaskState::Running, Source::Executor, None, None, out);
        } else if first {
            out.write(Write::PutTask(slot.clone()));
        }
        // A kill from before the start, or from before a restart of this process, is carried on.
        let kill = self.tasks.get(&key).and_then(|task| task.kill.clone());
        if let Some(kill) = kill {
            let order = if kill.forced || kill.deadline <= now {
                Effect::Destroy { id: id.clone() }
            } else {
                Effect::Terminate { id: id.clone() }
            };
            out.effect(order);
        }
    }

    fn launch_failed(&mut self, now: Time, id: &ContainerId, message: String, out: &mut Out) {
        let Some(key) = self.by_container.get(id).cloned() else { return };
        let killed = self.tasks.get(&key).is_some_and(|task| task.kill.is_some());
        if killed {
            let reason = Some(Reason::TaskKilledDuringLaunch);
            let text = "Task killed before it was started".to_owned();
            self.end(now, &key, TaskState::Killed, Source::Agent, reason, text, out);
        } else {
            let reason = Some(Reason::ContainerLaunchFailed);
            self.end(now, &key, TaskState::Failed, Source::Agent, reason, message, out);
        }
    }

    fn exited(&mut self, now: Time, id: &ContainerId, exit: &ContainerExit, out: &mut Out) {
        let Some(key) = self.by_container.get(id).cloned() else {
            out.effect(Effect::Forget { id: id.clone() });
            return;
        };
        let Some(task) = self.tasks.get(&key) else { return };
        if task.phase == Phase::Ended {
            return;
        }
        let (state, reason, message) = exits::describe(exit, task.kill.is_some());
        self.end(now, &key, state, Source::Executor, reason, message, out);
    }

    /// The task is over: told to its framework, or forgotten at once when that is gone.
    #[expect(clippy::too_many_arguments, reason = "each is a different part of one status")]
    fn end(
        &mut self,
        now: Time,
        key: &TaskKey,
        state: TaskState,
        source: Source,
        reason: Option<Reason>,
        message: String,
        out: &mut Out,
    ) {
        let Some(slot) = self.tasks.get_mut(key) else { return };
        let task = Arc::make_mut(slot);
        self.by_container.remove(&task.container_id);
        if task.kill.as_ref().is_some_and(|kill| kill.silent) {
            task.phase = Phase::Ended;
            task.state = state;
            self.forget_task(key, out);
            return;
        }
        self.report(now, key, state, source, reason, Some(message), out);
    }

    // ---- killing

    fn kill_task(&mut self, now: Time, key: TaskKey, policy: Option<KillPolicy>, out: &mut Out) {
        let grace_default = self.config.limits.kill_grace_ms;
        let Some(slot) = self.tasks.get_mut(&key) else {
            self.report_stranger(now, key, Reason::ExecutorTerminated, "Cannot find executor", out);
            return;
        };
        let task = Arc::make_mut(slot);
        if task.phase == Phase::Ended {
            return;
        }
        let grace = policy.or(task.info.kill_policy).map_or(grace_default, |policy| policy.grace_ms);
        let deadline = now + Duration::from_millis(grace);
        if let Some(kill) = &mut task.kill {
            if deadline < kill.deadline {
                kill.deadline = deadline;
            }
            return;
        }
        let launching = task.phase == Phase::Launching;
        task.kill = Some(Kill { deadline, forced: launching, silent: false });
        let id = task.container_id.clone();
        if launching {
            out.write(Write::PutTask(slot.clone()));
            out.effect(Effect::Destroy { id });
            return;
        }
        if self.framework_can(&key.0, Capability::TaskKillingState) {
            self.report(now, &key, TaskState::Killing, Source::Executor, None, None, out);
        } else if let Some(task) = self.tasks.get(&key) {
            out.write(Write::PutTask(task.clone()));
        }
        out.effect(Effect::Terminate { id });
    }

    fn force_kills(&mut self, now: Time, out: &mut Out) {
        for task in self.tasks.values_mut() {
            let due = task.kill.as_ref().is_some_and(|kill| !kill.forced && kill.deadline <= now);
            if task.phase == Phase::Running && due {
                if let Some(kill) = &mut Arc::make_mut(task).kill {
                    kill.forced = true;
                }
                out.effect(Effect::Destroy { id: task.container_id.clone() });
            }
        }
    }

    fn shutdown_framework(&mut self, now: Time, id: &FrameworkId, out: &mut Out) {
        let keys: Vec<TaskKey> = self.tasks.keys().filter(|key| key.0 == *id).cloned().collect();
        for key in keys {
            let Some(slot) = self.tasks.get_mut(&key) else { continue };
            let task = Arc::make_mut(slot);
            if task.phase == Phase::Ended {
                self.forget_task(&key, out);
                continue;
            }
            task.kill = Some(Kill { deadline: now, forced: true, silent: true });
            task.updates.clear();
            out.effect(Effect::Destroy { id: task.container_id.clone() });
            out.write(Write::PutTask(slot.clone()));
        }
        self.strangers.retain(|key, _| key.0 != *id);
        self.retries.retain(|key, _| key.0 != *id);
        self.forget_framework_if_idle(id, out);
    }

    pub(crate) fn forget_framework_if_idle(&mut self, id: &FrameworkId, out: &mut Out) {
        let busy = self.tasks.keys().any(|key| key.0 == *id);
        if !busy && self.frameworks.remove(id).is_some() {
            out.write(Write::DeleteFramework(id.clone()));
        }
    }

    // ---- reads

    pub fn view(&self, now: Time) -> AgentView {
        let task_view =
            |task: &Arc<AgentTask>| TaskView { directory: self.sandbox_of(task), task: task.clone() };
        AgentView {
            id: self.id.clone(),
            info: self.config.info.clone(),
            started: self.started,
            taken: now,
            registered: self.registered_conn().is_some(),
            work_dir: self.config.work_dir.clone(),
            frameworks: self.frameworks.values().cloned().map(Arc::new).collect(),
            tasks: self.tasks.values().map(task_view).collect(),
            completed: self.completed.iter().map(task_view).collect(),
        }
    }
}

/// What of a task may grow without bound.
fn bytes_of(info: &TaskInfo) -> usize {
    let command = &info.command;
    let words = command.value.iter().chain(&command.arguments).map(String::len);
    let pairs = command.environment.iter().map(|(name, value)| name.len() + value.len());
    let labels = info.labels.iter().map(|(name, value)| name.len() + value.len());
    words.chain(pairs).chain(labels).sum()
}

/// Where an image task sees its sandbox.
pub const SANDBOX_IN_CONTAINER: &str = "/mnt/mesos/sandbox";

fn sandbox_path(work_dir: &str, agent_id: Option<&AgentId>, task: &AgentTask) -> String {
    let agent_id = agent_id.map(AgentId::as_str).unwrap_or("unregistered");
    let (framework_id, executor_id) = (&task.framework_id, &task.info.id);
    format!(
        "{work_dir}/slaves/{agent_id}/frameworks/{framework_id}/executors/{executor_id}/runs/{}",
        task.container_id
    )
}
