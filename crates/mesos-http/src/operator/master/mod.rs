//! The master's calls: pipeline, dispatch, answers.

mod calls;
mod events;
#[cfg(test)]
mod live;
mod reads;
#[cfg(test)]
mod tests;
mod writes;

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{Method, StatusCode};
use mesos_master::MasterView;
use mesos_proto::media::{self, Format};
use mesos_proto::v1::master as wire;
use mesos_proto::v1::master::call::Type;
use mesos_proto::{ApiMessage, DecodeError};

pub use calls::CALLS;
pub(crate) use events::heartbeat_default;
pub(crate) use reads::{maintenance_status, quota};
pub(crate) use writes::{Written, apply, remove_quota, resources, set_quota, teardown, weights};

use super::common;
use crate::access::{Access, Caller};
use crate::body;
use crate::call_body;
use crate::leader::LeadingMaster;
use crate::master::Served;
use crate::reply::{self, Refusal};
use crate::routes::Call;
use crate::shared;

/// One call to the leading master.
pub(crate) async fn serve(
    served: &Served,
    caller: Caller,
    master: Arc<dyn LeadingMaster>,
    call: Call,
) -> Result<Response, Refusal> {
    if call.method != Method::POST {
        return Ok(reply::method_not_allowed(&["POST"], &call.method));
    }
    let format = media::request(call.header("content-type"))?;
    let accept = call.header("accept").map(ToOwned::to_owned);
    let body = call_body::read(call.body).await?;
    let request = call_body::decode(body, move |bytes| {
        wire::Call::from_body(format, &bytes).map_err(|error| not_a_call(&error, format))
    })
    .await?;
    let kind = check(&request)?;
    let answer = media::response(accept.as_deref())?;
    if let Access::Needs(action) = calls::access(kind)
        && !caller.may(action, crate::access::Object::Any)
    {
        return Err(Refusal::forbidden());
    }
    let view = master.view();
    match kind {
        Type::Unknown => Ok(StatusCode::NOT_IMPLEMENTED.into_response()),
        Type::Subscribe => events::subscribe(served, caller, &*master, answer).await,
        Type::GetHealth
        | Type::GetFlags
        | Type::GetVersion
        | Type::GetMetrics
        | Type::GetLoggingLevel
        | Type::ListFiles
        | Type::ReadFile => {
            let response = about_the_process(served, &caller, &view, kind, &request).await?;
            Ok(body::message(answer, response.to_body(answer)))
        }
        Type::GetState
        | Type::GetAgents
        | Type::GetFrameworks
        | Type::GetExecutors
        | Type::GetOperations
        | Type::GetTasks
        | Type::GetRoles
        | Type::GetWeights
        | Type::GetMaster
        | Type::GetMaintenanceStatus
        | Type::GetMaintenanceSchedule
        | Type::GetQuota => read(served, caller, view, kind, answer).await,
        _ => writes::write(served, &caller, &*master, &view, kind, request).await,
    }
}

fn not_a_call(error: &DecodeError, format: Format) -> Refusal {
    Refusal::bad_request(error.refusal(format, "Call"))
}

fn invalid(problem: impl std::fmt::Display) -> Refusal {
    Refusal::bad_request(format!("Failed to validate master::Call: {problem}"))
}

fn check(call: &wire::Call) -> Result<Type, Refusal> {
    if call.r#type.is_none() {
        return Err(invalid("Expecting 'type' to be present"));
    }
    let kind = call.r#type();
    if let Some(field) = calls::missing(kind, call) {
        return Err(invalid(format_args!("Expecting '{field}' to be present")));
    }
    writes::check(kind, call).map_err(invalid)?;
    Ok(kind)
}

/// Reads of the cluster: made once per snapshot for all who see the same.
async fn read(
    served: &Served,
    caller: Caller,
    view: Arc<MasterView>,
    kind: Type,
    format: Format,
) -> Result<Response, Refusal> {
    let started = served.identity.started;
    if !caller.sees_all() {
        let view = crate::master::visible(&caller, &view);
        let response = reads::response(kind, &view, started, &caller);
        return Ok(body::message(format, response.to_body(format)));
    }
    let key = format!("{} {}", kind.as_str_name(), format.media_type());
    let shown = view.clone();
    let make = move || pieces(reads::response(kind, &shown, started, &caller).to_body(format));
    let (content, length) = shared::body(served.shared.answer(&view, key, make).await?);
    let mut response = body::message(format, content);
    response.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
    Ok(response)
}

fn pieces(bytes: Vec<u8>) -> shared::Pieces {
    let mut rest = Bytes::from(bytes);
    let mut pieces = Vec::with_capacity(rest.len() / crate::stream::CHUNK_SIZE + 1);
    while rest.len() > crate::stream::CHUNK_SIZE {
        pieces.push(rest.split_to(crate::stream::CHUNK_SIZE));
    }
    pieces.push(rest);
    pieces
}

async fn about_the_process(
    served: &Served,
    caller: &Caller,
    view: &MasterView,
    kind: Type,
    request: &wire::Call,
) -> Result<wire::Response, Refusal> {
    use wire::response::{
        GetFlags, GetHealth, GetLoggingLevel, GetMetrics, GetVersion, ListFiles, ReadFile, Type as Answer,
    };
    let identity = &served.identity;
    let mut response = wire::Response::default();
    let answer = match kind {
        Type::GetHealth => {
            response.get_health = Some(GetHealth { healthy: true });
            Answer::GetHealth
        }
        Type::GetFlags => {
            response.get_flags = Some(GetFlags { flags: common::flags(&identity.flags) });
            Answer::GetFlags
        }
        Type::GetVersion => {
            response.get_version = Some(GetVersion { version_info: common::version(&identity.build) });
            Answer::GetVersion
        }
        Type::GetMetrics => {
            // Every figure is at hand, so none is ever left out by the timeout.
            common::duration(request.get_metrics.as_ref().and_then(|get| get.timeout.as_ref()))
                .map_err(|error| invalid(format_args!("timeout: {error}")))?;
            let metrics = served.metrics(Some(view));
            response.get_metrics = Some(GetMetrics { metrics: common::metrics(metrics) });
            Answer::GetMetrics
        }
        Type::GetLoggingLevel => {
            response.get_logging_level = Some(GetLoggingLevel { level: identity.logging.level() });
            Answer::GetLoggingLevel
        }
        Type::ListFiles => {
            let path = request.list_files.as_ref().map(|list| list.path.as_str()).unwrap_or_default();
            let file_infos = served.files.list(served.attached(), caller, path).await?;
            response.list_files = Some(ListFiles { file_infos });
            Answer::ListFiles
        }
        _ => {
            let (path, offset, length) = request
                .read_file
                .as_ref()
                .map(|read| (read.path.as_str(), read.offset, read.length))
                .unwrap_or_default();
            let (size, data) = served.files.piece(served.attached(), caller, path, offset, length).await?;
            response.read_file = Some(ReadFile { size, data });
            Answer::ReadFile
        }
    };
    response.set_type(answer);
    Ok(response)
}
