//! Apps: list, show, create, update, restart, delete.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use marathon::view::{AppView, Counts};
use marathon::{ApiCall, ApiError, ApiReply, AppDefinition, MarathonEvent, PathId};
use model::Time;
use serde_json::{Map, Value, json};

use super::stats;
use crate::Served;
use crate::reply::{self, Refusal};
use crate::request::Call;
use crate::selector::Selector;
use crate::wire::print_app;
use crate::wire::print_task;
use crate::wire::read_app::{self, Mode};

/// What goes with an app in an answer.
#[derive(Debug, Clone, Copy, Default)]
struct Embed {
    tasks: bool,
    counts: bool,
    deployments: bool,
    readiness: bool,
    last_failure: bool,
    stats: bool,
}

impl Embed {
    fn of(call: &Call) -> Self {
        let mut embed = Self::default();
        for word in call.parameters("embed") {
            let word = ["group.apps.", "apps.", "app."]
                .iter()
                .find_map(|prefix| word.strip_prefix(prefix))
                .unwrap_or(word);
            match word {
                "tasks" => (embed.tasks, embed.deployments) = (true, true),
                "counts" => embed.counts = true,
                "deployments" => embed.deployments = true,
                "readiness" => embed.readiness = true,
                "lastTaskFailure" => embed.last_failure = true,
                "failures" => {
                    embed.tasks = true;
                    embed.last_failure = true;
                    embed.deployments = true;
                }
                "taskStats" => embed.stats = true,
                _ => {}
            }
        }
        embed
    }

    fn listed(call: &Call) -> Self {
        Self { counts: true, deployments: true, ..Self::of(call) }
    }

    fn shown(call: &Call) -> Self {
        Self { tasks: true, last_failure: true, ..Self::listed(call) }
    }
}

fn counts(counts: Counts, out: &mut Map<String, Value>) {
    out.insert("tasksStaged".to_owned(), counts.staged.into());
    out.insert("tasksRunning".to_owned(), counts.running.into());
    out.insert("tasksHealthy".to_owned(), counts.healthy.into());
    out.insert("tasksUnhealthy".to_owned(), counts.unhealthy.into());
}

fn print(view: &AppView, definition: &AppDefinition, embed: Embed, now: Time) -> Value {
    let mut out = print_app::app(definition);
    if embed.counts {
        counts(view.counts, &mut out);
    }
    if embed.deployments {
        let deployments = view.deployment.iter().map(|id| json!({ "id": id }));
        out.insert("deployments".to_owned(), deployments.collect());
    }
    if embed.readiness {
        out.insert("readinessCheckResults".to_owned(), json!([]));
    }
    if embed.tasks {
        let tasks = view.instances.iter().map(|instance| Value::Object(print_task::task(instance).0));
        out.insert("tasks".to_owned(), tasks.collect());
    }
    if let Some(failure) = view.last_failure.as_ref().filter(|_| embed.last_failure) {
        out.insert("lastTaskFailure".to_owned(), print_app::failure(failure));
    }
    if embed.stats {
        out.insert("taskStats".to_owned(), stats::stats(definition, &view.instances, now));
    }
    Value::Object(out)
}

pub(super) fn list(served: &Served, call: &Call) -> Result<Response, Refusal> {
    let selector = match call.parameter("label") {
        None => None,
        Some(text) => Some(Selector::parse(text).map_err(|why| {
            let text = format!("Can not parse label selector {text}: {why}");
            Refusal::message(StatusCode::UNPROCESSABLE_ENTITY, &text)
        })?),
    };
    let (id, cmd) = (lower(call.parameter("id")), lower(call.parameter("cmd")));
    let contains = |part: &Option<String>, text: &str| {
        part.as_ref().is_none_or(|part| text.to_lowercase().contains(part))
    };
    let embed = Embed::listed(call);
    let view = served.handle.view();
    let now = served.handle.now();
    let apps: Vec<Value> = view
        .existing()
        .filter(|(_, app)| contains(&id, app.id.as_str()))
        .filter(|(_, app)| contains(&cmd, app.cmd.as_deref().unwrap_or_default()))
        .filter(|(_, app)| selector.as_ref().is_none_or(|selector| selector.selects(&app.labels)))
        .map(|(view, app)| print(view, app, embed, now))
        .collect();
    Ok(reply::ok(&json!({ "apps": apps })))
}

fn lower(text: Option<&str>) -> Option<String> {
    text.map(str::to_lowercase)
}

/// All apps below a group.
pub(super) fn of_group(served: &Served, call: &Call, id: &str) -> Result<Response, Refusal> {
    let unknown = || Refusal::not_found(&format!("Group '/{id}' does not exist"));
    let group = if id.is_empty() { PathId::root() } else { PathId::parse(id).map_err(|_| unknown())? };
    let embed = Embed::listed(call);
    let view = served.handle.view();
    let now = served.handle.now();
    let apps: Vec<Value> = view
        .existing()
        .filter(|(_, app)| app.id != group && app.id.is_within(&group))
        .map(|(view, app)| print(view, app, embed, now))
        .collect();
    // A group exists by what is in it.
    if apps.is_empty() && !group.is_root() {
        return Err(Refusal::group_not_found(&group));
    }
    Ok(reply::ok(&json!({ "*": apps })))
}

pub(super) fn show(served: &Served, call: &Call, id: &PathId) -> Result<Response, Refusal> {
    let view = served.handle.view();
    let (app, definition) = view.app(id).ok_or_else(|| ApiError::AppNotFound(id.clone()))?;
    let app = print(app, definition, Embed::shown(call), served.handle.now());
    Ok(reply::ok(&json!({ "app": app })))
}

pub(super) async fn create(served: &Served, call: &Call) -> Result<Response, Refusal> {
    let update = read_app::app(&call.json()?, Mode::Create)?;
    let request = ApiCall::CreateApp { app: Box::new(update), force: call.flag("force") };
    match served.handle.call(request).await? {
        ApiReply::Created { app, deployment } => {
            tell(served, call, app.clone());
            let mut out = print_app::app(&app);
            counts(Counts::default(), &mut out);
            out.insert("tasks".to_owned(), json!([]));
            out.insert("deployments".to_owned(), json!([{ "id": deployment.id }]));
            let response = reply::answer(StatusCode::CREATED, &Value::Object(out));
            Ok(reply::with_deployment(response, &deployment, Some(&app.id)))
        }
        other => Ok(of_reply(other)),
    }
}

fn tell(served: &Served, call: &Call, app: Arc<AppDefinition>) {
    let (client_ip, uri) = (call.client_ip.clone(), call.path.clone());
    served.handle.tell(MarathonEvent::ApiPost { client_ip, uri, app });
}

/// Every other kind of answer of the brain.
pub(super) fn of_reply(answer: ApiReply) -> Response {
    match answer {
        ApiReply::Deployment { deployment, created } => reply::deployment(&deployment, created.as_ref()),
        ApiReply::Created { app, deployment } => reply::deployment(&deployment, Some(&app.id)),
        ApiReply::Killed { tasks } => {
            let tasks: Vec<Value> =
                tasks.iter().map(|task| Value::Object(print_task::task(task).0)).collect();
            reply::ok(&json!({ "tasks": tasks }))
        }
        ApiReply::Done => reply::empty(StatusCode::ACCEPTED),
    }
}

/// Whether absent keys stay as they are.
fn is_partial(call: &Call) -> bool {
    call.flag_or_true("partialUpdate")
}

pub(super) async fn update(
    served: &Served,
    call: &Call,
    id: PathId,
    create: bool,
) -> Result<Response, Refusal> {
    let partial = !create || is_partial(call);
    let mode = if partial { Mode::Update } else { Mode::Replace };
    let update = Box::new(read_app::app(&call.json()?, mode)?);
    let force = call.flag("force");
    let request = ApiCall::UpdateApp { id: id.clone(), update, partial, create, force };
    let answer = served.handle.call(request).await?;
    if let Some((_, definition)) = served.handle.view().app(&id) {
        tell(served, call, definition.clone());
    }
    Ok(of_reply(answer))
}

pub(super) async fn update_many(served: &Served, call: &Call, create: bool) -> Result<Response, Refusal> {
    let partial = !create || is_partial(call);
    let mode = if partial { Mode::UpdateInList } else { Mode::Create };
    let updates = read_app::apps(&call.json()?, mode)?;
    let force = call.flag("force");
    let request = ApiCall::UpdateApps { updates, partial, create, force };
    match served.handle.call(request).await? {
        // Of several, the answer is 200 whatever came into being.
        ApiReply::Deployment { deployment, .. } => Ok(reply::deployment(&deployment, None)),
        other => Ok(of_reply(other)),
    }
}

pub(super) async fn delete(served: &Served, call: &Call, id: PathId) -> Result<Response, Refusal> {
    let request = ApiCall::DeleteApp { id, force: call.flag_or_true("force") };
    Ok(of_reply(served.handle.call(request).await?))
}

pub(super) async fn restart(served: &Served, call: &Call, id: PathId) -> Result<Response, Refusal> {
    let request = ApiCall::RestartApp { id, force: call.flag("force") };
    Ok(of_reply(served.handle.call(request).await?))
}

pub(super) fn versions(served: &Served, id: &PathId) -> Result<Response, Refusal> {
    let view = served.handle.view();
    let (app, _) = view.app(id).ok_or_else(|| ApiError::AppNotFound(id.clone()))?;
    let versions: BTreeSet<Time> = app.versions.keys().copied().collect();
    let versions: Vec<String> = versions.into_iter().rev().map(Time::to_iso).collect();
    Ok(reply::ok(&json!({ "versions": versions })))
}

pub(super) fn version(served: &Served, id: &PathId, version: &str) -> Result<Response, Refusal> {
    let view = served.handle.view();
    let (app, _) = view.app(id).ok_or_else(|| ApiError::AppNotFound(id.clone()))?;
    let unknown = || Refusal::not_found(&format!("App '{id}' does not exist in version {version}"));
    let found =
        Time::parse_iso(version).and_then(|version| app.versions.get(&version)).ok_or_else(unknown)?;
    Ok(reply::ok(&Value::Object(print_app::app(found))))
}

pub(super) async fn delete_deployment(served: &Served, call: &Call, id: String) -> Result<Response, Refusal> {
    let request = ApiCall::DeleteDeployment { id, force: call.flag("force") };
    Ok(of_reply(served.handle.call(request).await?))
}
