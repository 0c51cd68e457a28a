//! Tasks: what to run, the states they go through, and the updates that tell.
//!
//! State, reason and source names are those of `apache/mesos`
//! `include/mesos/v1/mesos.proto`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::executor::ExecutorInfo;
use crate::ids::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId, UpdateId};
use crate::opaque::Opaque;
use crate::resources::Resources;
use crate::time::Time;

/// An enumeration whose variants have names on the wire.
macro_rules! names {
    ($(#[$doc:meta])* $enum:ident { $($variant:ident => $name:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $enum { $($variant),+ }

        impl $enum {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name on the wire.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

pub(crate) use names;

names!(
    /// Where a task is in its life.
    TaskState {
        Staging => "TASK_STAGING",
        Starting => "TASK_STARTING",
        Running => "TASK_RUNNING",
        Killing => "TASK_KILLING",
        Finished => "TASK_FINISHED",
        Failed => "TASK_FAILED",
        Killed => "TASK_KILLED",
        Error => "TASK_ERROR",
        Lost => "TASK_LOST",
        Dropped => "TASK_DROPPED",
        Unreachable => "TASK_UNREACHABLE",
        Gone => "TASK_GONE",
        GoneByOperator => "TASK_GONE_BY_OPERATOR",
        Unknown => "TASK_UNKNOWN",
    }
);

impl TaskState {
    /// No further life is possible and the resources are free.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Finished
                | Self::Failed
                | Self::Killed
                | Self::Error
                | Self::Lost
                | Self::Dropped
                | Self::Gone
                | Self::GoneByOperator
        )
    }
}

names!(
    /// Who made a status.
    Source {
        Master => "SOURCE_MASTER",
        Agent => "SOURCE_AGENT",
        Executor => "SOURCE_EXECUTOR",
    }
);

names!(
    /// Why a status came about.
    Reason {
        AgentDisconnected => "REASON_AGENT_DISCONNECTED",
        AgentDraining => "REASON_AGENT_DRAINING",
        AgentRemoved => "REASON_AGENT_REMOVED",
        AgentRemovedByOperator => "REASON_AGENT_REMOVED_BY_OPERATOR",
        AgentReregistered => "REASON_AGENT_REREGISTERED",
        AgentRestarted => "REASON_AGENT_RESTARTED",
        AgentUnknown => "REASON_AGENT_UNKNOWN",
        CommandExecutorFailed => "REASON_COMMAND_EXECUTOR_FAILED",
        ContainerLaunchFailed => "REASON_CONTAINER_LAUNCH_FAILED",
        ContainerLimitation => "REASON_CONTAINER_LIMITATION",
        ContainerLimitationDisk => "REASON_CONTAINER_LIMITATION_DISK",
        ContainerLimitationMemory => "REASON_CONTAINER_LIMITATION_MEMORY",
        ContainerPreempted => "REASON_CONTAINER_PREEMPTED",
        ContainerUpdateFailed => "REASON_CONTAINER_UPDATE_FAILED",
        ExecutorRegistrationTimeout => "REASON_EXECUTOR_REGISTRATION_TIMEOUT",
        ExecutorReregistrationTimeout => "REASON_EXECUTOR_REREGISTRATION_TIMEOUT",
        ExecutorTerminated => "REASON_EXECUTOR_TERMINATED",
        ExecutorUnregistered => "REASON_EXECUTOR_UNREGISTERED",
        FrameworkRemoved => "REASON_FRAMEWORK_REMOVED",
        GcError => "REASON_GC_ERROR",
        InvalidFrameworkId => "REASON_INVALID_FRAMEWORKID",
        InvalidOffers => "REASON_INVALID_OFFERS",
        IoSwitchboardExited => "REASON_IO_SWITCHBOARD_EXITED",
        MasterDisconnected => "REASON_MASTER_DISCONNECTED",
        MaxCompletionTimeReached => "REASON_MAX_COMPLETION_TIME_REACHED",
        Reconciliation => "REASON_RECONCILIATION",
        ResourcesUnknown => "REASON_RESOURCES_UNKNOWN",
        TaskCheckStatusUpdated => "REASON_TASK_CHECK_STATUS_UPDATED",
        TaskGroupInvalid => "REASON_TASK_GROUP_INVALID",
        TaskGroupUnauthorized => "REASON_TASK_GROUP_UNAUTHORIZED",
        TaskHealthCheckStatusUpdated => "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED",
        TaskInvalid => "REASON_TASK_INVALID",
        TaskKilledDuringLaunch => "REASON_TASK_KILLED_DURING_LAUNCH",
        TaskUnauthorized => "REASON_TASK_UNAUTHORIZED",
        TaskUnknown => "REASON_TASK_UNKNOWN",
    }
);

/// What a framework asks an agent to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskInfo {
    pub id: TaskId,
    pub name: String,
    pub agent_id: AgentId,
    pub resources: Resources,
    /// Empty when an executor of the framework's own runs the task.
    pub command: CommandInfo,
    /// Who runs it; none: the agent itself, for this task alone.
    #[serde(default)]
    pub executor: Option<Box<ExecutorInfo>>,
    #[serde(default)]
    pub container: Option<ContainerInfo>,
    #[serde(default)]
    pub kill_policy: Option<KillPolicy>,
    #[serde(default)]
    pub discovery: Option<DiscoveryInfo>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// From its launch to its end by force, in milliseconds.
    #[serde(default)]
    pub max_completion_ms: Option<u64>,
    /// Whether it is well; ended by its built-in executor when it is not.
    #[serde(default)]
    pub health_check: Option<Box<HealthCheck>>,
    /// Something to know about it.
    #[serde(default)]
    pub check: Option<Box<Check>>,
    /// The v1 message as it came, resources left out of account: those above hold.
    /// None: made in this house, and printed from the fields above.
    #[serde(default)]
    pub raw: Option<Opaque>,
}

/// The program of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandInfo {
    /// True: `value` is a line for `/bin/sh -c`; false: a program.
    pub shell: bool,
    pub value: Option<String>,
    /// With `shell` false: the argument vector (its first element is the program's own name).
    #[serde(default)]
    pub arguments: Vec<String>,
    #[serde(default)]
    pub environment: Vec<(String, String)>,
    #[serde(default)]
    pub user: Option<String>,
}

/// The image a task runs in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerInfo {
    pub image: Option<String>,
    #[serde(default)]
    pub force_pull: bool,
}

/// A look at a task, again and again while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub probe: Probe,
    /// Before the first.
    pub delay_ms: u64,
    /// From the end of one to the next.
    pub interval_ms: u64,
    /// Zero: as long as it takes.
    pub timeout_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    pub check: Check,
    /// So many end the task.
    pub consecutive_failures: u32,
    /// Failures within this time of the start count only after a success.
    pub grace_ms: u64,
}

/// What to look at, from inside the task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    Command(CommandInfo),
    Http { tls: bool, ipv6: bool, port: u16, path: String },
    Tcp { ipv6: bool, port: u16 },
}

/// How long a task may take to end after SIGTERM, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillPolicy {
    pub grace_ms: u64,
}

/// How others find the task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiscoveryInfo {
    pub name: String,
    pub ports: Vec<DiscoveryPort>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiscoveryPort {
    pub number: u16,
    pub name: Option<String>,
    pub protocol: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// One report on a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskStatus {
    pub task_id: TaskId,
    pub state: TaskState,
    pub timestamp: Time,
    pub source: Source,
    #[serde(default)]
    pub reason: Option<Reason>,
    #[serde(default)]
    pub message: Option<String>,
    #[serde(default)]
    pub agent_id: Option<AgentId>,
    /// Set when the status must be acknowledged.
    #[serde(default)]
    pub uuid: Option<UpdateId>,
    #[serde(default)]
    pub executor_id: Option<ExecutorId>,
    #[serde(default)]
    pub data: Option<Opaque>,
    #[serde(default)]
    pub healthy: Option<bool>,
    #[serde(default)]
    pub check: Option<CheckStatus>,
    #[serde(default)]
    pub labels: Vec<(String, Option<String>)>,
    /// What was exceeded.
    #[serde(default)]
    pub limitation: Option<Resources>,
    /// Since when its agent is unreachable.
    #[serde(default)]
    pub unreachable_since: Option<Time>,
    #[serde(default)]
    pub container: Option<ContainerStatus>,
}

impl TaskStatus {
    /// A status that says only this.
    pub fn new(task_id: TaskId, state: TaskState, timestamp: Time, source: Source) -> Self {
        Self {
            task_id,
            state,
            timestamp,
            source,
            reason: None,
            message: None,
            agent_id: None,
            uuid: None,
            executor_id: None,
            data: None,
            healthy: None,
            check: None,
            labels: Vec::new(),
            limitation: None,
            unreachable_since: None,
            container: None,
        }
    }
}

/// What a generic check saw last; a check without result yet has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckStatus {
    Command { exit_code: Option<i32> },
    Http { status_code: Option<u32> },
    Tcp { succeeded: Option<bool> },
}

/// Where the task's container is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerStatus {
    pub container_id: ContainerId,
    pub ip: String,
    #[serde(default)]
    pub pid: Option<u32>,
    /// The v1 `ContainerStatus` that the executor itself gave.
    #[serde(default)]
    pub raw: Option<Opaque>,
}

/// A status on its way from an agent to a framework.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusUpdate {
    pub framework_id: FrameworkId,
    pub agent_id: AgentId,
    pub status: TaskStatus,
    /// The newest state that the agent knows, which may be ahead of `status`.
    pub latest_state: TaskState,
}
