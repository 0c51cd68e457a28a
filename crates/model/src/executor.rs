//! Executors: the processes that run tasks for a framework on one agent.

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, ExecutorId, FrameworkId, Role};
use crate::opaque::Opaque;
use crate::resources::Resources;
use crate::task::{CommandInfo, ContainerInfo};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExecutorKind {
    /// Built into the agent: runs groups of tasks.
    Default,
    /// A program of the framework's own, which speaks the executor API.
    Custom,
}

/// `ExecutorInfo`, as far as the kernel looks at it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutorInfo {
    pub id: ExecutorId,
    /// None: not said, which means a custom one.
    #[serde(default)]
    pub kind: Option<ExecutorKind>,
    #[serde(default)]
    pub framework_id: Option<FrameworkId>,
    pub resources: Resources,
    #[serde(default)]
    pub command: Option<CommandInfo>,
    #[serde(default)]
    pub container: Option<ContainerInfo>,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub source: String,
    #[serde(default)]
    pub labels: Vec<(String, Option<String>)>,
    /// From SHUTDOWN to the kill; none: the agent's default.
    #[serde(default)]
    pub shutdown_grace_ms: Option<u64>,
    /// The v1 message as it came, resources left out of account: those above hold.
    #[serde(default)]
    pub raw: Option<Opaque>,
}

impl ExecutorInfo {
    /// The same but for how a client happened to write it down.
    pub fn is_like(&self, other: &Self) -> bool {
        let bare = |info: &Self| Self { raw: None, ..info.clone() };
        bare(self) == bare(other)
    }

    pub fn is_default(&self) -> bool {
        self.kind == Some(ExecutorKind::Default)
    }
}

/// A live executor, as an agent reports it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutorRecord {
    pub framework_id: FrameworkId,
    pub agent_id: AgentId,
    pub info: ExecutorInfo,
    /// The role its resources are allocated to.
    pub role: Role,
}
