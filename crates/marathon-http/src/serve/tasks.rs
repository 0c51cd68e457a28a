//! Tasks: list, as JSON and as text, and kill.

use std::fmt::Write as _;

use axum::response::Response;
use http::StatusCode;
use marathon::view::AppView;
use marathon::{ApiCall, ApiError, ApiReply, AppDefinition, PathId, TaskSelector};
use model::{TaskId, TaskState};
use serde_json::{Value, json};

use super::apps::of_reply;
use crate::Served;
use crate::reply::{self, Refusal};
use crate::request::Call;
use crate::wire::print_task;
use crate::wire::shape::{Errors, Node};

pub(super) fn list(served: &Served, call: &Call) -> Response {
    let view = served.handle.view();
    if call.wants_plain_text() {
        let mut text = String::new();
        for (app, definition) in view.existing() {
            text.push_str(&as_text(app, definition));
        }
        return reply::typed(StatusCode::OK, "text/plain", text);
    }
    let states: Vec<TaskState> = call
        .parameters("status")
        .chain(call.parameters("status[]"))
        .filter_map(|word| match word.to_ascii_lowercase().as_str() {
            "running" => Some(TaskState::Running),
            "staging" => Some(TaskState::Staging),
            _ => None,
        })
        .collect();
    let mut tasks = Vec::new();
    for app in view.apps.values() {
        for instance in &app.instances {
            if states.is_empty() || states.contains(&instance.state) {
                tasks.push(print_task::task_with_service_ports(instance, app.definition.as_deref()));
            }
        }
    }
    reply::ok(&json!({ "tasks": tasks }))
}

pub(super) fn of_app(served: &Served, call: &Call, id: &PathId) -> Result<Response, Refusal> {
    let view = served.handle.view();
    let (app, definition) = view.app(id).ok_or_else(|| ApiError::AppNotFound(id.clone()))?;
    if call.wants_plain_text() {
        return Ok(reply::typed(StatusCode::OK, "text/plain", as_text(app, definition)));
    }
    let tasks = app.instances.iter().map(|i| print_task::task_with_service_ports(i, Some(&**definition)));
    Ok(reply::ok(&json!({ "tasks": tasks.collect::<Vec<Value>>() })))
}

/// One line per service port, with the addresses behind it.
fn as_text(app: &AppView, definition: &AppDefinition) -> String {
    let name = definition.id.safe();
    let running = || app.instances.iter().filter(|instance| instance.is_running());
    let mut text = String::new();
    let ports = definition.service_ports();
    // Writing to a String cannot fail.
    if ports.is_empty() {
        let _ = write!(text, "{name}\t \t");
        for instance in running() {
            let _ = write!(text, "{}\t", instance.hostname);
        }
        text.push('\n');
    }
    for (index, service_port) in ports.iter().enumerate() {
        let _ = write!(text, "{name}\t{service_port}\t");
        for instance in running() {
            if let Some(port) = instance.ports.get(index) {
                let _ = write!(text, "{}:{port}\t", instance.hostname);
            }
        }
        text.push('\n');
    }
    text
}

struct Kill {
    scale: bool,
    wipe: bool,
    force: bool,
}

impl Kill {
    fn of(call: &Call) -> Self {
        Self { scale: call.flag("scale"), wipe: call.flag("wipe"), force: call.flag("force") }
    }

    async fn send(self, served: &Served, selector: TaskSelector) -> Result<ApiReply, ApiError> {
        let Self { scale, wipe, force } = self;
        served.handle.call(ApiCall::KillTasks { selector, scale, wipe, force }).await
    }
}

pub(super) async fn kill_of_app(served: &Served, call: &Call, id: PathId) -> Result<Response, Refusal> {
    let host = call.parameter("host").map(str::to_owned);
    let answer = Kill::of(call).send(served, TaskSelector::App { id, host }).await?;
    Ok(of_reply(answer))
}

pub(super) async fn kill_one(
    served: &Served,
    call: &Call,
    app: PathId,
    task: &str,
) -> Result<Response, Refusal> {
    let selector = TaskSelector::Task { app, task: TaskId::new(task) };
    match Kill::of(call).send(served, selector).await? {
        ApiReply::Killed { tasks } => {
            let task = tasks.first().map(|task| Value::Object(print_task::task(task).0));
            Ok(reply::ok(&json!({ "task": task })))
        }
        other => Ok(of_reply(other)),
    }
}

pub(super) async fn kill_many(served: &Served, call: &Call) -> Result<Response, Refusal> {
    let body = call.json()?;
    let mut errors = Errors::default();
    let object = Node::root(&body).object(&mut errors);
    let ids = object.and_then(|object| object.need("ids", &mut errors)?.texts(&mut errors));
    let ids = errors.finish(ids.unwrap_or_default())?;
    if let Some(bad) = ids.iter().find(|id| !is_task_id(id)) {
        let bad: String = bad.chars().take(100).collect();
        let text = format!("Invalid task id '{bad}'. It is the app's name, a dot and a unique part.");
        return Err(Refusal::message(StatusCode::BAD_REQUEST, &text));
    }
    let selector = TaskSelector::Ids(ids.into_iter().map(TaskId::from).collect());
    Ok(of_reply(Kill::of(call).send(served, selector).await?))
}

/// Something, a separator, something.
fn is_task_id(text: &str) -> bool {
    text.rsplit_once(['.', '_']).is_some_and(|(app, unique)| !app.is_empty() && !unique.is_empty())
}
