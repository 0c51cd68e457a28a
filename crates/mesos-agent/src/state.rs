//! What the agent knows and what of it is checkpointed.
//!
//! A *run* is one life of an executor: one container, one sandbox. A command task
//! is a run of its own; the tasks of an executor share the run's container, or,
//! with the built-in default executor, have containers nested in it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use model::{
    AgentInfo, ContainerId, DrainConfig, ExecutorId, ExecutorInfo, FrameworkId, FrameworkInfo, KillPolicy,
    OperationRecord, Resources, Role, TaskId, TaskInfo, TaskState, TaskStatus, Time, UpdateId,
};
use serde::{Deserialize, Serialize};

pub type TaskKey = (FrameworkId, TaskId);

/// One task, exactly as it is checkpointed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentTask {
    pub framework_id: FrameworkId,
    pub info: TaskInfo,
    /// Its own container; of a custom executor's task: the executor's.
    pub container_id: ContainerId,
    pub phase: Phase,
    /// Newest state, which may be ahead of what was acknowledged.
    pub state: TaskState,
    /// Not yet acknowledged, oldest first.
    pub updates: VecDeque<TaskStatus>,
    /// Last status per run of equal states.
    pub statuses: Vec<TaskStatus>,
    pub kill: Option<Kill>,
    pub pid: Option<u32>,
    pub received: Time,
    #[serde(default)]
    pub ended: Option<Time>,
    /// Who runs it; none: the agent itself, for this task alone.
    #[serde(default)]
    pub executor_id: Option<ExecutorId>,
    /// The role its resources are allocated to.
    #[serde(default)]
    pub role: Option<Role>,
    /// Tasks of one launched group bear the same number.
    #[serde(default)]
    pub group: Option<UpdateId>,
    /// Updates of an executor that were acknowledged to their end, newest last.
    #[serde(default)]
    pub settled: VecDeque<UpdateId>,
    /// Killed when it still runs at this time.
    #[serde(default)]
    pub complete_by: Option<Time>,
    /// Counts up with every task of this agent: the order to deliver them in.
    #[serde(default)]
    pub order: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Waits for its executor to subscribe.
    Queued,
    /// Checkpointed; the launch was or is about to be ordered.
    Launching,
    /// Its container runs, or it was handed to its executor.
    Running,
    Ended,
}

/// A kill under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// SIGKILL at this time.
    pub deadline: Time,
    pub forced: bool,
    /// Set when the framework is gone: nobody is told of the end.
    pub silent: bool,
    #[serde(default)]
    pub cause: KillCause,
    /// As it was asked; handed to an executor again when that reconnects.
    #[serde(default)]
    pub policy: Option<KillPolicy>,
}

/// What the end of a killed task is put down to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum KillCause {
    #[default]
    Asked,
    MaxCompletionTime,
    Draining,
    /// Its revocable resources were taken back.
    Preempted,
    /// Its health check failed too often.
    Unhealthy,
}

impl AgentTask {
    pub const STATUSES_MAX: usize = 20;
    /// Update uuids remembered after their acknowledgement.
    pub const SETTLED_MAX: usize = 64;

    /// As it arrives.
    pub fn new(framework_id: FrameworkId, info: TaskInfo, container_id: ContainerId, received: Time) -> Self {
        Self {
            framework_id,
            info,
            container_id,
            phase: Phase::Launching,
            state: TaskState::Staging,
            updates: VecDeque::new(),
            statuses: Vec::new(),
            kill: None,
            pid: None,
            received,
            ended: None,
            executor_id: None,
            role: None,
            group: None,
            settled: VecDeque::new(),
            complete_by: None,
            order: 0,
        }
    }

    pub fn key(&self) -> TaskKey {
        (self.framework_id.clone(), self.info.id.clone())
    }

    /// Whether the agent itself runs it, for this task alone.
    pub fn is_command(&self) -> bool {
        self.executor_id.is_none()
    }

    /// Whether it has a container of its own that the agent starts and ends.
    pub fn has_container(&self) -> bool {
        self.is_command() || self.container_id.parent().is_some()
    }

    /// The container of the run it belongs to.
    pub fn run(&self) -> ContainerId {
        self.container_id.parent().unwrap_or_else(|| self.container_id.clone())
    }

    /// A command task's executor is named as the task.
    pub fn executor_name(&self) -> &str {
        self.executor_id.as_ref().map_or(self.info.id.as_str(), ExecutorId::as_str)
    }
}

/// One run of an executor that has a description, exactly as it is checkpointed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentExecutor {
    pub framework_id: FrameworkId,
    pub info: ExecutorInfo,
    /// The role its resources are allocated to.
    pub role: Role,
    pub container_id: ContainerId,
    pub phase: ExecutorPhase,
    /// Never set for the default executor, which has no process.
    pub pid: Option<u32>,
    pub received: Time,
    pub ended: Option<Time>,
    pub shutdown: Option<Shutdown>,
    /// What its tasks that are left end with, when that is not how it ended.
    pub verdict: Option<Verdict>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecutorPhase {
    /// Its container starts, or runs and has not subscribed yet.
    Registering,
    Running,
    Terminating,
    Ended,
}

/// An executor is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shutdown {
    /// SIGKILL at this time.
    pub deadline: Time,
    pub forced: bool,
    /// Set when the framework is gone: nobody is told of the end.
    pub silent: bool,
}

/// Why the agent ended an executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    NeverSubscribed,
    NotBack,
    /// The agent restarted and its framework does not checkpoint.
    NotCheckpointed,
    Preempted,
}

impl AgentExecutor {
    pub fn is_default(&self) -> bool {
        self.info.is_default()
    }

    pub fn is_live(&self) -> bool {
        self.phase != ExecutorPhase::Ended
    }
}

/// What operations made of the agent's resources, and volumes on their way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OfferedResources {
    /// Dynamic reservations and persistent volumes: all that differs from the configured ones.
    pub converted: Resources,
    /// In the order they are to be carried out.
    pub volumes: VecDeque<VolumeWork>,
}

/// A directory to make or to empty; done at most once by its number, however often it is ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeWork {
    pub uuid: UpdateId,
    pub path: String,
    pub what: VolumeChange,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeChange {
    Make,
    /// With all that is in it.
    Remove,
    /// All that is in it: a mount point stays.
    Empty,
}

/// Told to drain, until told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Drain {
    pub config: DrainConfig,
    pub started: Time,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    PutAgentId(model::AgentId),
    DeleteAgentId,
    PutBootId(String),
    /// As configured at the last start.
    PutInfo(Box<AgentInfo>),
    PutFramework(Arc<FrameworkInfo>),
    DeleteFramework(FrameworkId),
    PutExecutor(Arc<AgentExecutor>),
    DeleteExecutor(ContainerId),
    PutTask(Arc<AgentTask>),
    DeleteTask(TaskKey),
    PutResources(Box<OfferedResources>),
    PutOperation(Arc<OperationRecord>),
    DeleteOperation(UpdateId),
    /// None: not draining.
    PutDrain(Option<Drain>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    AgentId(model::AgentId),
    BootId(String),
    Info(Box<AgentInfo>),
    Framework(Box<FrameworkInfo>),
    Executor(Arc<AgentExecutor>),
    Task(Arc<AgentTask>),
    Resources(Box<OfferedResources>),
    Operation(Arc<OperationRecord>),
    Drain(Drain),
}

/// A container to start; the shell turns it into the runtime's own form.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerLaunch {
    pub id: ContainerId,
    pub sandbox: String,
    /// For a nested container: the run's sandbox, and the task's name in it.
    pub nested: Option<Nested>,
    pub command: LaunchCommand,
    pub env: Vec<(String, String)>,
    pub user: Option<String>,
    pub image: Option<String>,
    pub force_pull: bool,
    pub cpus_milli: u64,
    pub mem_mib: u64,
    pub pids: u64,
    pub volumes: Vec<VolumeMount>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nested {
    pub run_sandbox: String,
    /// `tasks/<name>` in the run's sandbox leads to the nested one.
    pub task: String,
}

/// A persistent volume that a container sees.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VolumeMount {
    pub source: String,
    /// Relative to the sandbox, or absolute in an image.
    pub container_path: String,
    pub read_only: bool,
    /// Nobody else uses it: it is given to the container's user.
    pub owned: bool,
}

/// What a running container may use from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerResize {
    pub id: ContainerId,
    pub sandbox: String,
    pub cpus_milli: u64,
    pub mem_mib: u64,
    pub pids: u64,
    /// All of them, also those it has.
    pub volumes: BTreeSet<VolumeMount>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum LaunchCommand {
    Shell(String),
    Argv(Vec<String>),
    /// The image's entry point with these arguments, or its own.
    Image {
        args: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    Code(i32),
    Signal(i32),
    /// Nobody saw it end.
    Unknown,
}

impl ExitStatus {
    /// As of wait(2).
    pub fn wait_status(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some((code & 0xff) << 8),
            Self::Signal(signal) => Some(signal & 0x7f),
            Self::Unknown => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerExit {
    pub status: ExitStatus,
    /// Set when the memory limit ended it: what was asked and used.
    pub memory: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredContainer {
    pub id: ContainerId,
    pub state: RecoveredState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoveredState {
    Running { pid: u32 },
    Exited(ContainerExit),
}
