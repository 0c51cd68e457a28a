//! `/state` of an agent: frameworks, their executors, their tasks.
//!
//! A command task has an executor of its own, named as the task; there is one
//! run of it, in one container.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use mesos_agent::AgentView;
use mesos_agent::state::Phase;
use mesos_agent::view::{ExecutorView, TaskView};
use model::{ContainerId, ExecutorKind, FrameworkInfo, Resources, Role, TaskState};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::AgentIdentity;
use crate::build::BuildInfo;
use crate::convert;
use crate::files::FilesConfig;
use crate::stream::{Part, put};
use crate::wire::resources::{self, Reserved, Summary};
use crate::wire::task::{Task, queued, raw_json};
use crate::wire::{Attributes, OptionalLabel, Roles, domain, optional_labels, seconds};

const CAPABILITIES: [&str; 3] = ["HIERARCHICAL_ROLE", "MULTI_ROLE", "RESERVATION_REFINEMENT"];

pub(super) fn state(view: &Arc<AgentView>, identity: &AgentIdentity, files: &FilesConfig) -> Vec<Part> {
    let (live, done) = group(view);
    vec![
        Part::open_object(&Head::new(view, identity, files)),
        Part::text(",\"frameworks\":["),
        frameworks(live),
        Part::text("],\"completed_frameworks\":["),
        frameworks(done),
        Part::text("]}"),
    ]
}

/// One framework of this agent.
struct Group {
    id: String,
    info: Option<Arc<FrameworkInfo>>,
    executors: Vec<Run>,
    completed: Vec<Run>,
}

/// An executor's run with its tasks; a command task is a run of its own.
struct Run {
    /// None: of a command task, its first and only one.
    executor: Option<ExecutorView>,
    tasks: Vec<TaskView>,
}

impl Run {
    fn is_live(&self) -> bool {
        match &self.executor {
            Some(executor) => executor.executor.is_live(),
            None => self.tasks.iter().any(|task| task.task.phase != Phase::Ended),
        }
    }
}

/// Frameworks with something that lives, then those that are over.
fn group(view: &AgentView) -> (Vec<Group>, Vec<Group>) {
    let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
    let empty = |id: &str, info: Option<Arc<FrameworkInfo>>| Group {
        id: id.to_owned(),
        info,
        executors: Vec::new(),
        completed: Vec::new(),
    };
    for info in view.completed_frameworks.iter().chain(&view.frameworks) {
        if let Some(id) = &info.id {
            groups.insert(id.as_str(), empty(id.as_str(), Some(info.clone())));
        }
    }
    // By framework and the container of the run.
    let mut tasks: BTreeMap<(&str, ContainerId), Vec<TaskView>> = BTreeMap::new();
    for task in view.completed.iter().chain(&view.tasks).filter(|task| !task.task.is_command()) {
        tasks.entry((task.task.framework_id.as_str(), task.task.run())).or_default().push(task.clone());
    }
    for (list, live) in [(&view.executors, true), (&view.completed_executors, false)] {
        for executor in list {
            let run = &executor.executor;
            let id = run.framework_id.as_str();
            let tasks = tasks.remove(&(id, run.container_id.clone())).unwrap_or_default();
            let run = Run { executor: Some(executor.clone()), tasks };
            let group = groups.entry(id).or_insert_with(|| empty(id, None));
            if live { group.executors.push(run) } else { group.completed.push(run) }
        }
    }
    for (list, live) in [(&view.tasks, true), (&view.completed, false)] {
        for task in list.iter().filter(|task| task.task.is_command()) {
            let id = task.task.framework_id.as_str();
            let run = Run { executor: None, tasks: vec![task.clone()] };
            let group = groups.entry(id).or_insert_with(|| empty(id, None));
            if live { group.executors.push(run) } else { group.completed.push(run) }
        }
    }
    let known: std::collections::BTreeSet<&str> =
        view.frameworks.iter().filter_map(|info| info.id.as_ref()).map(|id| id.as_str()).collect();
    groups.into_values().partition(|group| known.contains(group.id.as_str()) || !group.executors.is_empty())
}

fn frameworks(groups: Vec<Group>) -> Part {
    let groups: Arc<[Group]> = groups.into();
    Part::groups(groups.len(), move |g| {
        let executors = |of: fn(&Group) -> &Vec<Run>| {
            let groups = groups.clone();
            Part::items(of(&groups[g]).len(), move |i, out| {
                let role = role_of(groups[g].info.as_deref());
                put(out, &Executor::new(&of(&groups[g])[i], &role));
            })
        };
        vec![
            Part::open_object(&Framework::new(&groups[g])),
            Part::text(",\"executors\":["),
            executors(|group| &group.executors),
            Part::text("],\"completed_executors\":["),
            executors(|group| &group.completed),
            Part::text("]}"),
        ]
    })
}

/// For records of before the role of a task was kept.
pub(crate) fn role_of(info: Option<&FrameworkInfo>) -> Role {
    info.and_then(|info| info.roles.first()).cloned().unwrap_or_else(Role::any)
}

#[derive(Serialize)]
struct Head<'a> {
    #[serde(flatten)]
    build: &'a BuildInfo,
    start_time: f64,
    id: &'a str,
    pid: String,
    hostname: &'a str,
    capabilities: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<Value>,
    resources: Summary<'a>,
    reserved_resources: Reserved<'a>,
    unreserved_resources: Value,
    reserved_resources_full: BTreeMap<String, Vec<Value>>,
    unreserved_resources_full: Vec<Value>,
    reserved_resources_allocated: Value,
    unreserved_resources_allocated: Value,
    resource_providers: [Value; 0],
    attributes: Attributes<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_log_file: Option<String>,
    flags: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_config: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_drain_start_time_seconds: Option<f64>,
}

impl<'a> Head<'a> {
    fn new(view: &'a AgentView, identity: &'a AgentIdentity, files: &FilesConfig) -> Self {
        let (info, total) = (&view.info, &view.info.resources);
        let allocated = view.allocated();
        Self {
            build: &identity.build,
            start_time: view.started.as_secs_f64(),
            id: view.id.as_ref().map_or("", |id| id.as_str()),
            pid: format!("slave(1)@{}:{}", info.ip, info.port),
            hostname: &info.hostname,
            capabilities: match info.capabilities.as_slice() {
                [] => CAPABILITIES.to_vec(),
                own => own.iter().map(|capability| capability.name()).collect(),
            },
            domain: info.domain.as_ref().map(domain),
            resources: Summary(total),
            reserved_resources: Reserved(total),
            unreserved_resources: json!(Summary(&total.unreserved())),
            reserved_resources_full: resources::reserved_full(total),
            unreserved_resources_full: resources::full(&total.unreserved(), None),
            reserved_resources_allocated: json!(Reserved(&allocated)),
            unreserved_resources_allocated: json!(Summary(&allocated.unreserved())),
            resource_providers: [],
            attributes: Attributes(&info.attributes),
            external_log_file: files.log_file.as_ref().map(|path| path.to_string_lossy().into_owned()),
            flags: &identity.flags,
            drain_config: view
                .drain
                .as_ref()
                .and_then(|drain| raw_json(&convert::drain_config_out(&drain.config))),
            estimated_drain_start_time_seconds: view.drain.map(|drain| drain.started.as_secs_f64()),
        }
    }
}

#[derive(Serialize)]
struct Framework<'a> {
    id: &'a str,
    name: &'a str,
    user: &'a str,
    failover_timeout: f64,
    checkpoint: bool,
    hostname: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<&'a str>,
    #[serde(flatten)]
    roles: Option<Roles<'a>>,
}

impl<'a> Framework<'a> {
    fn new(group: &'a Group) -> Self {
        let info = group.info.as_deref();
        Self {
            id: &group.id,
            name: info.map_or("", |info| &info.name),
            user: info.map_or("", |info| &info.user),
            failover_timeout: info.map_or(0.0, |info| seconds(info.failover_timeout_ms)),
            checkpoint: info.is_some_and(|info| info.checkpoint),
            hostname: info.map_or("", |info| &info.hostname),
            principal: info.and_then(|info| info.principal.as_ref()).map(|principal| principal.as_str()),
            roles: info.map(Roles::of),
        }
    }
}

#[derive(Serialize)]
struct Executor<'a> {
    id: &'a str,
    name: Cow<'a, str>,
    source: &'a str,
    container: &'a str,
    directory: &'a str,
    resources: Value,
    role: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<OptionalLabel<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    tasks: Vec<Task<'a>>,
    queued_tasks: Vec<Value>,
    completed_tasks: Vec<Task<'a>>,
}

impl<'a> Executor<'a> {
    fn new(run: &'a Run, role: &'a Role) -> Self {
        let mut held = Resources::new();
        let (mut tasks, mut queued_tasks, mut completed_tasks) = (Vec::new(), Vec::new(), Vec::new());
        for view in &run.tasks {
            let task = &*view.task;
            let role = task.role.as_ref().unwrap_or(role).as_str();
            let shown = || Task::new(&task.framework_id, &task.info, task.state, &task.statuses, role);
            match task.phase {
                Phase::Queued => queued_tasks.push(queued(&task.info, role)),
                Phase::Launching if task.state == TaskState::Staging => {
                    queued_tasks.push(queued(&task.info, role));
                }
                Phase::Launching | Phase::Running => tasks.push(shown()),
                Phase::Ended => completed_tasks.push(shown()),
            }
            if task.phase != Phase::Ended {
                held.add(&task.info.resources);
            }
        }
        let command = run.tasks.first().map(|view| &*view.task);
        let own = run.executor.as_ref().map(|view| &*view.executor);
        if let Some(executor) = own.filter(|_| run.is_live()) {
            held.add(&executor.info.resources);
        }
        let directory = match &run.executor {
            Some(executor) => executor.directory.as_str(),
            None => run.tasks.first().map_or("", |task| &task.directory),
        };
        let (id, name, source, container, role) = match (own, command) {
            (Some(executor), _) => (
                executor.info.id.as_str(),
                Cow::Borrowed(executor.info.name.as_str()),
                executor.info.source.as_str(),
                executor.container_id.as_str(),
                &executor.role,
            ),
            (None, Some(task)) => (
                task.info.id.as_str(),
                Cow::Owned(executor_name(&task.info)),
                task.info.id.as_str(),
                task.container_id.as_str(),
                task.role.as_ref().unwrap_or(role),
            ),
            (None, None) => ("", Cow::Borrowed(""), "", "", role),
        };
        Self {
            id,
            name,
            source,
            container,
            directory,
            resources: json!(Summary(&held)),
            role: role.as_str(),
            labels: own.map(|executor| optional_labels(&executor.info.labels)).unwrap_or_default(),
            r#type: own.and_then(|executor| executor.info.kind).map(|kind| match kind {
                ExecutorKind::Default => "DEFAULT",
                ExecutorKind::Custom => "CUSTOM",
            }),
            tasks,
            queued_tasks,
            completed_tasks,
        }
    }
}

/// Characters of a command that its executor's name shows.
const COMMAND_SHOWN_MAX: usize = 15;

pub(crate) fn executor_name(info: &model::TaskInfo) -> String {
    let command = &info.command;
    let shown = |text: &str| match text.char_indices().nth(COMMAND_SHOWN_MAX) {
        Some(_) => format!("{}...", text.chars().take(COMMAND_SHOWN_MAX - 3).collect::<String>()),
        None => text.to_owned(),
    };
    let what = match (&command.value, command.shell) {
        (Some(line), true) => format!("(Command: sh -c '{}')", shown(line)),
        (None, true) => "(Command: NO COMMAND)".to_owned(),
        (Some(program), false) => {
            format!("(Command: [{}])", shown(&format!("{program}, {}", command.arguments.join(", "))))
        }
        (None, false) => "(Command: NO EXECUTABLE)".to_owned(),
    };
    format!("Command Executor (Task: {}) {what}", info.id)
}
