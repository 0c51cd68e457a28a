//! Tasks: what to run, the states they go through, and the updates that tell.
//!
//! State, reason and source names are those of `apache/mesos`
//! `include/mesos/v1/mesos.proto`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, ContainerId, FrameworkId, TaskId, UpdateId};
use crate::resources::Resources;
use crate::time::Time;

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
    /// Why a status came about, as far as the kernel makes it.
    Reason {
        AgentDisconnected => "REASON_AGENT_DISCONNECTED",
        AgentRemoved => "REASON_AGENT_REMOVED",
        AgentReregistered => "REASON_AGENT_REREGISTERED",
        AgentRestarted => "REASON_AGENT_RESTARTED",
        AgentUnknown => "REASON_AGENT_UNKNOWN",
        ContainerLaunchFailed => "REASON_CONTAINER_LAUNCH_FAILED",
        ContainerLimitation => "REASON_CONTAINER_LIMITATION",
        ContainerLimitationMemory => "REASON_CONTAINER_LIMITATION_MEMORY",
        ExecutorTerminated => "REASON_EXECUTOR_TERMINATED",
        FrameworkRemoved => "REASON_FRAMEWORK_REMOVED",
        InvalidOffers => "REASON_INVALID_OFFERS",
        Reconciliation => "REASON_RECONCILIATION",
        ResourcesUnknown => "REASON_RESOURCES_UNKNOWN",
        TaskInvalid => "REASON_TASK_INVALID",
        TaskKilledDuringLaunch => "REASON_TASK_KILLED_DURING_LAUNCH",
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
    pub command: CommandInfo,
    #[serde(default)]
    pub container: Option<ContainerInfo>,
    #[serde(default)]
    pub kill_policy: Option<KillPolicy>,
    #[serde(default)]
    pub discovery: Option<DiscoveryInfo>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// The program of a task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    pub container: Option<ContainerStatus>,
}

/// Where the task's container is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerStatus {
    pub container_id: ContainerId,
    pub ip: String,
    #[serde(default)]
    pub pid: Option<u32>,
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
