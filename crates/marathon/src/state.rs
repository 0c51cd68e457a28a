//! What Marathon remembers: instances, deployments, last failures, and the
//! records they are stored as.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{AgentId, Attribute, FrameworkId, TaskId, TaskState, Time};
use scheduler::Place;
use serde::{Deserialize, Serialize};

use crate::definition::AppDefinition;
use crate::path::PathId;

/// Why an instance is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KillReason {
    ScaleDown,
    Upgrade,
    AppDeleted,
    Requested,
    LaunchOverdue,
}

/// One instance of an app: one task, from the decision to launch it until it
/// is terminal or given up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    pub task_id: TaskId,
    pub app: PathId,
    /// Version of the definition it was launched from.
    pub version: Time,
    /// `last_config_change` of that definition.
    pub config: Time,
    pub agent_id: AgentId,
    pub hostname: String,
    pub agent_ip: String,
    #[serde(default)]
    pub region: Option<String>,
    #[serde(default)]
    pub zone: Option<String>,
    #[serde(default)]
    pub attributes: Vec<Attribute>,
    /// Host ports in definition order.
    #[serde(default)]
    pub ports: Vec<u16>,
    pub state: TaskState,
    /// Some status was heard of it.
    pub confirmed: bool,
    pub staged: Time,
    #[serde(default)]
    pub started: Option<Time>,
    #[serde(default)]
    pub unreachable_since: Option<Time>,
    /// Set once: it is to end, and does not count any more.
    #[serde(default)]
    pub sentenced: Option<KillReason>,
    #[serde(default)]
    pub container_ip: Option<String>,
}

impl Instance {
    /// `<safe path>.marathon-<uuid>`
    pub fn instance_id(&self) -> String {
        match self.task_id.as_str().rsplit_once('.') {
            Some((path, uuid)) => format!("{path}.marathon-{uuid}"),
            None => self.task_id.as_str().to_owned(),
        }
    }

    pub fn is_running(&self) -> bool {
        self.state == TaskState::Running
    }

    pub fn is_unreachable(&self) -> bool {
        self.unreachable_since.is_some()
    }

    pub fn active_since(&self) -> Time {
        self.started.unwrap_or(self.staged)
    }

    pub fn place(&self) -> Place<'_> {
        Place {
            hostname: &self.hostname,
            region: self.region.as_deref(),
            zone: self.zone.as_deref(),
            attributes: &self.attributes,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFailure {
    pub app: PathId,
    pub task_id: TaskId,
    pub host: String,
    pub message: String,
    pub state: TaskState,
    pub timestamp: Time,
    /// Version of the definition the task ran.
    pub version: Time,
    pub agent_id: Option<AgentId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActionKind {
    Start,
    Stop,
    Scale,
    /// `forced`: also instances of the present configuration are replaced.
    Restart {
        forced: bool,
    },
}

impl ActionKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "StartApplication",
            Self::Stop => "StopApplication",
            Self::Scale => "ScaleApplication",
            Self::Restart { .. } => "RestartApplication",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    pub app: PathId,
    pub kind: ActionKind,
}

/// Actions of one step run side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub actions: Vec<Action>,
}

/// A stored plan on its way; a finished one is deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    pub id: String,
    pub version: Time,
    pub steps: Vec<Step>,
    /// Index of the step under way.
    pub current: usize,
    /// Definitions of the affected apps before; `None`: there was none.
    pub original: BTreeMap<PathId, Option<Arc<AppDefinition>>>,
    /// Definitions after; `None`: deleted.
    pub target: BTreeMap<PathId, Option<Arc<AppDefinition>>>,
}

impl Deployment {
    pub fn affects(&self, app: &PathId) -> bool {
        self.target.contains_key(app)
    }

    /// The newest action on `app` that has begun.
    pub fn action_begun(&self, app: &PathId) -> Option<ActionKind> {
        let begun = self.steps.iter().take(self.current + 1);
        begun.flat_map(|step| &step.actions).rfind(|action| action.app == *app).map(|action| action.kind)
    }
}

/// A change of the durable state.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    PutFrameworkId(FrameworkId),
    PutApp(Arc<AppDefinition>),
    DeleteApp(PathId),
    PutVersion(Arc<AppDefinition>),
    DeleteVersion { app: PathId, version: Time },
    PutInstance(Arc<Instance>),
    DeleteInstance(TaskId),
    PutDeployment(Arc<Deployment>),
    DeleteDeployment(String),
    PutTaskFailure(Arc<TaskFailure>),
    DeleteTaskFailure(PathId),
}

/// A piece of the durable state, as loaded.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    FrameworkId(FrameworkId),
    App(AppDefinition),
    Version(AppDefinition),
    Instance(Instance),
    Deployment(Deployment),
    TaskFailure(TaskFailure),
}
