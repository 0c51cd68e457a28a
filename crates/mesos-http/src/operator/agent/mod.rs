//! The agent's calls: the eleven checks in order, then dispatch.

mod calls;
mod containers;
mod io;
mod reads;
pub mod runtime;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use mesos_agent::AgentView;
use mesos_proto::media::{self, Body as Media, Format};
use mesos_proto::v1::agent as wire;
use mesos_proto::v1::agent::call::Type;
use mesos_proto::{ApiMessage, DecodeError};

pub use calls::CALLS;
pub(crate) use containers::Inputs;

use super::common;
use crate::access::{Access, Caller, Object};
use crate::agent::Served;
use crate::body::{self, Records};
use crate::call_body;
use crate::reply::{self, Refusal};
use crate::routes::Call;

/// One call to the agent.
pub(crate) async fn serve(served: Arc<Served>, caller: Caller, call: Call) -> Result<Response, Refusal> {
    let view = (served.view)();
    if !view.recovered {
        return Err(Refusal::unavailable("Agent has not finished recovery"));
    }
    if call.method != Method::POST {
        return Ok(reply::method_not_allowed(&["POST"], &call.method));
    }
    let given = media::agent_request(call.header("content-type"), call.header("message-content-type"))?;
    let wanted = media::agent_response(call.header("accept"), call.header("message-accept"))?;
    let (request, records) = match given {
        Media::Whole(format) => {
            let body = call_body::read(call.body).await?;
            (call_body::decode(body, move |bytes| parse(format, &bytes)).await?, None)
        }
        Media::Records(format) => {
            let mut records = Records::new(call.body);
            let first = records.next().await.map_err(|error| {
                Refusal::bad_request(format!("Failed to decode a record of the request body: {error}"))
            })?;
            let first = first
                .ok_or_else(|| Refusal::bad_request("Received EOF while reading request body".to_owned()))?;
            (parse(format, &first)?, Some(records))
        }
    };
    let kind = calls::check(&request).map_err(invalid)?;
    let name = kind.as_str_name();
    if records.is_some() && kind != Type::AttachContainerInput {
        return Err(unsupported_media(format!(
            "Streaming 'Content-Type' {} is not supported for {name} call",
            media::RECORDIO
        )));
    }
    if records.is_none() && kind == Type::AttachContainerInput {
        return Err(unsupported_media(format!(
            "Expecting 'Content-Type' to be {} for {name} call",
            media::RECORDIO
        )));
    }
    let streams = matches!(kind, Type::LaunchNestedContainerSession | Type::AttachContainerOutput);
    if matches!(wanted, Media::Records(_)) && !streams {
        return Err(Refusal {
            status: StatusCode::NOT_ACCEPTABLE,
            message: format!("Streaming response is not supported for {name} call"),
        });
    }
    if let Access::Needs(action) = calls::access(kind, &request)
        && !caller.may(action, Object::Any)
    {
        return Err(Refusal::forbidden());
    }
    match kind {
        Type::Unknown => Ok(StatusCode::NOT_IMPLEMENTED.into_response()),
        Type::AttachContainerInput => match records {
            Some(records) => io::attach_input(&served, given.format(), request, records).await,
            None => Err(invalid("Expecting the call to be a stream")),
        },
        Type::LaunchNestedContainerSession => io::session(&served, request, wanted).await,
        Type::AttachContainerOutput => io::attach_output(&served, request, wanted).await,
        Type::LaunchContainer
        | Type::LaunchNestedContainer
        | Type::WaitContainer
        | Type::WaitNestedContainer
        | Type::KillContainer
        | Type::KillNestedContainer
        | Type::RemoveContainer
        | Type::RemoveNestedContainer
        | Type::PruneImages => containers::serve(&served, kind, request, wanted.format()).await,
        Type::AddResourceProviderConfig
        | Type::UpdateResourceProviderConfig
        | Type::RemoveResourceProviderConfig
        | Type::MarkResourceProviderGone => Err(Refusal {
            status: StatusCode::NOT_IMPLEMENTED,
            message: format!("{name} is not possible here: this agent has no resource providers"),
        }),
        Type::SetLoggingLevel => {
            let set = request.set_logging_level.ok_or_else(|| invalid("Expecting the level"))?;
            let duration = common::duration(Some(&set.duration))
                .map_err(|error| invalid(format_args!("duration: {error}")))?;
            served.identity.logging.set(set.level, duration.unwrap_or_default());
            Ok(StatusCode::OK.into_response())
        }
        _ => {
            let format = wanted.format();
            let response = reads::response(&served, &caller, &view, kind, &request).await?;
            Ok(body::message(format, response.to_body(format)))
        }
    }
}

fn parse(format: Format, bytes: &[u8]) -> Result<wire::Call, Refusal> {
    wire::Call::from_body(format, bytes)
        .map_err(|error: DecodeError| Refusal::bad_request(error.refusal(format, "Call")))
}

fn invalid(problem: impl std::fmt::Display) -> Refusal {
    Refusal::bad_request(format!("Failed to validate agent::Call: {problem}"))
}

fn unsupported_media(message: String) -> Refusal {
    Refusal { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, message }
}

/// What a caller may see of the node.
pub(crate) fn visible(caller: &Caller, view: &Arc<AgentView>) -> Arc<AgentView> {
    use crate::access::Action;
    if caller.sees_all() {
        return view.clone();
    }
    let sees = |id: &model::FrameworkId, action: Action| {
        let all = view.frameworks.iter().chain(&view.completed_frameworks);
        let info = all.into_iter().find(|info| info.id.as_ref() == Some(id));
        info.is_some_and(|info| {
            caller.may(Action::ViewFramework, Object::Framework(info))
                && caller.may(action, Object::Of(Some(info)))
        })
    };
    let mut shown = AgentView::clone(view);
    let sees_framework =
        |info: &Arc<model::FrameworkInfo>| caller.may(Action::ViewFramework, Object::Framework(info));
    shown.frameworks.retain(sees_framework);
    shown.completed_frameworks.retain(sees_framework);
    for tasks in [&mut shown.tasks, &mut shown.completed] {
        tasks.retain(|task| sees(&task.task.framework_id, Action::ViewTask));
    }
    for executors in [&mut shown.executors, &mut shown.completed_executors] {
        executors.retain(|executor| sees(&executor.executor.framework_id, Action::ViewExecutor));
    }
    Arc::new(shown)
}
