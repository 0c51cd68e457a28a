//! Operations: what a framework does with offered resources, what an operator
//! does with free ones, and how an agent reports on it.

use serde::{Deserialize, Serialize};

use crate::executor::ExecutorInfo;
use crate::ids::{AgentId, FrameworkId, OperationId, Role, UpdateId};
use crate::resources::{DiskKind, Quantity, Resource, Resources};
use crate::task::{TaskInfo, names};

/// One entry of ACCEPT.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// Asks for feedback.
    pub id: Option<OperationId>,
    pub kind: OperationKind,
    /// The role that its resources name as their allocation, if any does.
    pub allocation: Option<Role>,
    /// What is wrong with its form alone, found where it came in: it is refused with this.
    pub flaw: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum OperationKind {
    Launch {
        tasks: Vec<TaskLaunch>,
    },
    LaunchGroup {
        executor: Box<ExecutorInfo>,
        tasks: Vec<TaskLaunch>,
    },
    Resources(ResourceOperation),
    /// A type that this version does not know.
    Unknown,
}

/// A task to launch.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskLaunch {
    pub info: TaskInfo,
    /// The role that its resources name as their allocation, if any does.
    pub allocation: Option<Role>,
    /// What is wrong with its form alone, found where it came in.
    pub flaw: Option<String>,
}

impl From<TaskInfo> for TaskLaunch {
    fn from(info: TaskInfo) -> Self {
        Self { info, allocation: None, flaw: None }
    }
}

impl Operation {
    /// A plain launch of well-formed tasks.
    pub fn launch(tasks: impl IntoIterator<Item = TaskInfo>) -> Self {
        let tasks = tasks.into_iter().map(TaskLaunch::from).collect();
        Self { id: None, kind: OperationKind::Launch { tasks }, allocation: None, flaw: None }
    }

    pub fn resources(operation: ResourceOperation) -> Self {
        Self { id: None, kind: OperationKind::Resources(operation), allocation: None, flaw: None }
    }
}

/// What changes resources and starts nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ResourceOperation {
    /// `source` (newer clients): what the resources are at present; empty: unreserved by one level.
    Reserve {
        source: Resources,
        resources: Resources,
    },
    Unreserve {
        resources: Resources,
    },
    Create {
        volumes: Resources,
    },
    Destroy {
        volumes: Resources,
    },
    GrowVolume {
        volume: Resource,
        addition: Resource,
    },
    ShrinkVolume {
        volume: Resource,
        subtract: Quantity,
    },
    CreateDisk {
        source: Resource,
        target: DiskKind,
        profile: Option<String>,
    },
    DestroyDisk {
        source: Resource,
    },
}

impl ResourceOperation {
    /// The `Offer.Operation.Type`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Reserve { .. } => "RESERVE",
            Self::Unreserve { .. } => "UNRESERVE",
            Self::Create { .. } => "CREATE",
            Self::Destroy { .. } => "DESTROY",
            Self::GrowVolume { .. } => "GROW_VOLUME",
            Self::ShrinkVolume { .. } => "SHRINK_VOLUME",
            Self::CreateDisk { .. } => "CREATE_DISK",
            Self::DestroyDisk { .. } => "DESTROY_DISK",
        }
    }
}

names!(
    /// Where an operation is in its life.
    OperationState {
        Unsupported => "OPERATION_UNSUPPORTED",
        Pending => "OPERATION_PENDING",
        Finished => "OPERATION_FINISHED",
        Failed => "OPERATION_FAILED",
        Error => "OPERATION_ERROR",
        Dropped => "OPERATION_DROPPED",
        Unreachable => "OPERATION_UNREACHABLE",
        GoneByOperator => "OPERATION_GONE_BY_OPERATOR",
        Recovering => "OPERATION_RECOVERING",
        Unknown => "OPERATION_UNKNOWN",
    }
);

impl OperationState {
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Error | Self::Dropped | Self::GoneByOperator)
    }
}

/// One report on an operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationStatus {
    #[serde(default)]
    pub operation_id: Option<OperationId>,
    pub state: OperationState,
    #[serde(default)]
    pub message: Option<String>,
    /// What the consumed resources became.
    #[serde(default)]
    pub converted: Resources,
    /// Set when the status must be acknowledged.
    #[serde(default)]
    pub uuid: Option<UpdateId>,
    #[serde(default)]
    pub agent_id: Option<AgentId>,
    #[serde(default)]
    pub provider: Option<String>,
}

/// An operation that was given to an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationRecord {
    /// The kernel's own name for it; given by the master.
    pub uuid: UpdateId,
    /// None: an operator's.
    #[serde(default)]
    pub framework_id: Option<FrameworkId>,
    /// Set when its framework asked for feedback.
    #[serde(default)]
    pub id: Option<OperationId>,
    pub operation: ResourceOperation,
    /// The role of the offer it came from.
    #[serde(default)]
    pub role: Option<Role>,
    pub latest: OperationStatus,
    #[serde(default)]
    pub statuses: Vec<OperationStatus>,
}
