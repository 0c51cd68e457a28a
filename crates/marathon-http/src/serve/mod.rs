//! From a matched route to a call of the handle and back.

mod apps;
mod events;
mod info;
mod stats;
mod tasks;

use axum::response::Response;
use http::StatusCode;
use marathon::PathId;
use serde_json::Value;

pub use events::EVENT_STREAMS_MAX;

use crate::Served;
use crate::reply::{self, Refusal};
use crate::request::Call;
use crate::routes::{Endpoint, Found, find};
use crate::wire::print_task;

pub(crate) async fn serve(served: &Served, call: Call) -> Result<Response, Refusal> {
    let (endpoint, params) = match find(&call.method, &call.path) {
        Found::Endpoint(endpoint, params) => (endpoint, params),
        Found::OtherMethods(methods) => return Err(Refusal::method_not_allowed(&methods)),
        Found::Nothing => return Err(Refusal::not_found("URI not found")),
    };
    match endpoint {
        Endpoint::Root => Ok(reply::redirect("/ui/")),
        Endpoint::Ping => Ok(info::ping(&call)),
        Endpoint::ListApps => apps::list(served, &call),
        Endpoint::GroupApps => apps::of_group(served, &call, &params.id),
        Endpoint::CreateApp => apps::create(served, &call).await,
        Endpoint::PutApps => apps::update_many(served, &call, true).await,
        Endpoint::PatchApps => apps::update_many(served, &call, false).await,
        Endpoint::ShowApp => apps::show(served, &call, &app_id(&params.id)?),
        Endpoint::PutApp => apps::update(served, &call, url_id(&params.id)?, true).await,
        Endpoint::PatchApp => apps::update(served, &call, url_id(&params.id)?, false).await,
        Endpoint::DeleteApp => apps::delete(served, &call, app_id(&params.id)?).await,
        Endpoint::RestartApp => apps::restart(served, &call, app_id(&params.id)?).await,
        Endpoint::AppVersions => apps::versions(served, &app_id(&params.id)?),
        Endpoint::AppVersion => apps::version(served, &app_id(&params.id)?, &params.name),
        Endpoint::AppTasks => tasks::of_app(served, &call, &app_id(&params.id)?),
        Endpoint::KillAppTasks => tasks::kill_of_app(served, &call, app_id(&params.id)?).await,
        Endpoint::KillAppTask => tasks::kill_one(served, &call, app_id(&params.id)?, &params.name).await,
        Endpoint::ListTasks => Ok(tasks::list(served, &call)),
        Endpoint::KillTasks => tasks::kill_many(served, &call).await,
        Endpoint::ListDeployments => Ok(deployments(served)),
        Endpoint::DeleteDeployment => apps::delete_deployment(served, &call, params.name).await,
        Endpoint::Queue => Ok(queue(served, &call)),
        Endpoint::ResetDelay => reset_delay(served, &params.id).await,
        Endpoint::Info => Ok(info::info(served)),
        Endpoint::Leader => Ok(info::leader(served)),
        Endpoint::Abdicate => Err(missing("giving up leadership is")),
        Endpoint::Events => events::stream(served, &call),
        Endpoint::Missing(what) => Err(missing(&format!("serving {what} is"))),
    }
}

fn missing(what: &str) -> Refusal {
    let text = format!("{what} not available in this version");
    Refusal::message(StatusCode::NOT_IMPLEMENTED, &text)
}

/// An id that can only be unknown is answered like an unknown one.
fn app_id(text: &str) -> Result<PathId, Refusal> {
    PathId::parse(text).map_err(|_| Refusal::not_found(&format!("App '/{text}' does not exist")))
}

/// An id that an app shall get.
fn url_id(text: &str) -> Result<PathId, Refusal> {
    PathId::parse(text).map_err(|_| {
        let violations = vec![marathon::Violation::new("/id", "error.pattern")];
        Refusal::from(marathon::ApiError::Invalid(violations))
    })
}

fn deployments(served: &Served) -> Response {
    let view = served.handle.view();
    let mut plans: Vec<_> = view.deployments.values().collect();
    plans.sort_by_key(|plan| plan.version);
    let plans: Value = plans.into_iter().map(|plan| print_task::deployment(plan)).collect();
    reply::ok(&plans)
}

fn queue(served: &Served, call: &Call) -> Response {
    let view = served.handle.view();
    let now = served.handle.now();
    let with_offers = call.parameters("embed").any(|embed| embed == "lastUnusedOffers");
    let items = view.apps.values().filter_map(|app| app.queue.as_ref());
    let items: Vec<Value> = items.map(|item| print_task::queue_item(item, now, with_offers)).collect();
    reply::ok(&serde_json::json!({ "queue": items }))
}

async fn reset_delay(served: &Served, id: &str) -> Result<Response, Refusal> {
    let unknown = || Refusal::not_found(&format!("Application /{id} not found in tasks queue."));
    let id = PathId::parse(id).map_err(|_| unknown())?;
    served.handle.call(marathon::ApiCall::ResetDelay { id }).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
