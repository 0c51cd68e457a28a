//! `/state` of an agent: frameworks, their executors, their tasks.
//!
//! A command task has an executor of its own, named as the task; there is one
//! run of it, in one container.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesos_agent::AgentView;
use mesos_agent::state::Phase;
use mesos_agent::view::TaskView;
use model::{FrameworkInfo, Resources, TaskState};
use serde::Serialize;
use serde_json::{Value, json};

use super::AgentIdentity;
use crate::build::BuildInfo;
use crate::files::FilesConfig;
use crate::stream::{Part, put};
use crate::wire::resources::{self, Reserved, Summary};
use crate::wire::task::{Task, queued};
use crate::wire::{Attributes, Roles, domain, seconds};

const CAPABILITIES: [&str; 3] = ["HIERARCHICAL_ROLE", "MULTI_ROLE", "RESERVATION_REFINEMENT"];

pub(super) fn state(view: &Arc<AgentView>, identity: &AgentIdentity, files: &FilesConfig) -> Vec<Part> {
    let (live, done) = group(view);
    vec![
        Part::open_object(&Head::new(view, identity, files)),
        Part::text(",\"frameworks\":["),
        frameworks(view, live),
        Part::text("],\"completed_frameworks\":["),
        frameworks(view, done),
        Part::text("]}"),
    ]
}

/// One framework of this agent; positions are in the view's lists.
struct Group {
    id: String,
    info: Option<Arc<FrameworkInfo>>,
    tasks: Vec<usize>,
    completed: Vec<usize>,
}

/// Frameworks that are known, then those only their ended tasks remember.
fn group(view: &AgentView) -> (Vec<Group>, Vec<Group>) {
    let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
    let empty = |id: &str, info: Option<Arc<FrameworkInfo>>| Group {
        id: id.to_owned(),
        info,
        tasks: Vec::new(),
        completed: Vec::new(),
    };
    for info in &view.frameworks {
        if let Some(id) = &info.id {
            groups.insert(id.as_str(), empty(id.as_str(), Some(info.clone())));
        }
    }
    for (i, task) in view.tasks.iter().enumerate() {
        let id = task.task.framework_id.as_str();
        groups.entry(id).or_insert_with(|| empty(id, None)).tasks.push(i);
    }
    for (i, task) in view.completed.iter().enumerate() {
        let id = task.task.framework_id.as_str();
        groups.entry(id).or_insert_with(|| empty(id, None)).completed.push(i);
    }
    groups.into_values().partition(|group| group.info.is_some() || !group.tasks.is_empty())
}

fn frameworks(view: &Arc<AgentView>, groups: Vec<Group>) -> Part {
    let shared = view.clone();
    let groups: Arc<[Group]> = groups.into();
    Part::groups(groups.len(), move |g| {
        let executors = |of: fn(&Group) -> &Vec<usize>, list: fn(&AgentView) -> &Vec<TaskView>| {
            let (view, groups) = (shared.clone(), groups.clone());
            Part::items(of(&groups[g]).len(), move |i, out| {
                let role = role_of(groups[g].info.as_deref());
                put(out, &Executor::new(&list(&view)[of(&groups[g])[i]], &role));
            })
        };
        vec![
            Part::open_object(&Framework::new(&groups[g])),
            Part::text(",\"executors\":["),
            executors(|group| &group.tasks, |view| &view.tasks),
            Part::text("],\"completed_executors\":["),
            executors(|group| &group.completed, |view| &view.completed),
            Part::text("]}"),
        ]
    })
}

/// The agent is not told which of its framework's roles a task was launched for.
fn role_of(info: Option<&FrameworkInfo>) -> String {
    info.and_then(|info| info.roles.first()).map_or_else(|| "*".to_owned(), ToString::to_string)
}

#[derive(Serialize)]
struct Head<'a> {
    #[serde(flatten)]
    build: &'a BuildInfo,
    start_time: f64,
    id: &'a str,
    pid: String,
    hostname: &'a str,
    capabilities: &'static [&'static str],
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
            capabilities: &CAPABILITIES,
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
    name: String,
    source: &'a str,
    container: &'a str,
    directory: &'a str,
    resources: Value,
    tasks: Vec<Task<'a>>,
    queued_tasks: Vec<Value>,
    completed_tasks: Vec<Task<'a>>,
}

impl<'a> Executor<'a> {
    fn new(view: &'a TaskView, role: &'a str) -> Self {
        let task = &*view.task;
        let shown = || Task::new(&task.framework_id, &task.info, task.state, &task.statuses, role);
        let (mut tasks, mut queued_tasks, mut completed_tasks) = (Vec::new(), Vec::new(), Vec::new());
        match task.phase {
            Phase::Queued => queued_tasks.push(queued(&task.info, role)),
            Phase::Launching if task.state == TaskState::Staging => {
                queued_tasks.push(queued(&task.info, role))
            }
            Phase::Launching | Phase::Running => tasks.push(shown()),
            Phase::Ended => completed_tasks.push(shown()),
        }
        let held = if task.phase == Phase::Ended { Resources::new() } else { task.info.resources.clone() };
        Self {
            id: task.info.id.as_str(),
            name: executor_name(&task.info),
            source: task.info.id.as_str(),
            container: task.container_id.as_str(),
            directory: &view.directory,
            resources: json!(Summary(&held)),
            tasks,
            queued_tasks,
            completed_tasks,
        }
    }
}

/// Characters of a command that its executor's name shows.
const COMMAND_SHOWN_MAX: usize = 15;

pub(super) fn executor_name(info: &model::TaskInfo) -> String {
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
