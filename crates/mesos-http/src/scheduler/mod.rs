//! `POST /api/v1/scheduler`: how frameworks speak to the leading master.
//!
//! [`serve`] is the order in which a request is looked at; the first thing that
//! is wrong is answered, in the contract's words. SUBSCRIBE opens a stream
//! ([`stream`]) and a session ([`sessions`]); every other call is checked against
//! its framework's session, turned into a word of the house ([`calls`]) and handed
//! to the master, which never sees JSON. Nothing is decided here: a 202 says that
//! the call was understood, and what comes of it comes as an event.

mod calls;
mod events;
#[cfg(test)]
mod golden;
pub(crate) mod legacy;
mod sessions;
mod stream;
#[cfg(test)]
mod tests;
mod validate;

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode};
use mesos_proto::media;
use model::Principal;
use model::scheduler_api::{FrameworkUpdate, FrameworkUpdateReply};

#[cfg(test)]
pub(crate) use calls::take;
pub(crate) use sessions::Sessions;

use crate::access::{Action, Caller, Object};
use crate::call_body;
use crate::leader::LeadingMaster;
use crate::reply::{self, Refusal};
use crate::routes::Call;
use calls::{Order, Taken};
use sessions::Session;

const STREAM_ID: &str = "mesos-stream-id";

/// One request to the leader.
pub(crate) async fn serve(
    sessions: &Arc<Sessions>,
    master: Arc<dyn LeadingMaster>,
    caller: &Caller,
    call: Call,
) -> Result<Response, Refusal> {
    if call.method != Method::POST {
        return Ok(reply::method_not_allowed(&["POST"], &call.method));
    }
    let format = media::request(call.header("content-type")).map_err(Refusal::media)?;
    let accept = call.header("accept").map(str::to_owned);
    let stream_id = call.header(STREAM_ID).map(str::to_owned);
    let body = call_body::read(call.body).await?;
    let principal = caller.principal.clone();
    let taken = call_body::decode(body, move |bytes| calls::take(format, &bytes, principal.as_ref())).await?;

    let Taken { framework_id, order } = taken;
    if let Order::Subscribe(subscribe) = order {
        let format = media::response(accept.as_deref()).map_err(Refusal::media)?;
        if stream_id.is_some() {
            let text = "Subscribe calls should not include the 'Mesos-Stream-Id' header";
            return Err(Refusal::bad_request(text.to_owned()));
        }
        return subscribe_to(sessions, &master, caller, *subscribe, format);
    }
    let session =
        session(sessions, &*master, caller.principal.as_ref(), &framework_id, stream_id.as_deref())?;
    let sent = match order {
        Order::Subscribe(_) | Order::Ignored => true,
        Order::Unknown => return Ok(StatusCode::NOT_IMPLEMENTED.into_response()),
        Order::Call(call) => session.caller.call(*call).await,
        Order::Update(update) => return update_framework(&session, caller, *update).await,
    };
    if sent { Ok(StatusCode::ACCEPTED.into_response()) } else { Err(term_over()) }
}

/// The session of a framework, if this call is its scheduler's.
fn session(
    sessions: &Sessions,
    master: &dyn LeadingMaster,
    principal: Option<&Principal>,
    framework_id: &model::FrameworkId,
    stream_id: Option<&str>,
) -> Result<Session, Refusal> {
    let bad = |text: String| Err(Refusal::bad_request(text));
    let session = sessions.get(framework_id);
    let known = match &session {
        Some(session) => Some((session.info(), true)),
        None => {
            let view = master.view();
            let found = view.frameworks.iter().find(|framework| framework.id == *framework_id);
            found.map(|framework| (framework.info.clone(), framework.connected))
        }
    };
    let Some((info, connected)) = known else { return bad("Framework cannot be found".to_owned()) };
    if let (Some(mine), Some(its)) = (principal, &info.principal)
        && mine != its
    {
        return bad(format!(
            "Authenticated principal '{mine}' does not match principal '{its}' set in `FrameworkInfo`"
        ));
    }
    let forbidden = |text: &str| Refusal { status: StatusCode::FORBIDDEN, message: text.to_owned() };
    let Some(session) = session else {
        // Connected without a session: a framework of the house, which calls in process.
        let text =
            if connected { "Framework is not connected via HTTP" } else { "Framework is not subscribed" };
        return Err(forbidden(text));
    };
    let Some(stream_id) = stream_id else {
        return bad("All non-subscribe calls should include the 'Mesos-Stream-Id' header".to_owned());
    };
    if stream_id != &*session.stream_id {
        return bad(format!(
            "The stream ID '{stream_id}' included in this request didn't match the stream ID currently associated \
             with framework ID {framework_id}"
        ));
    }
    Ok(session)
}

/// Answers at once and leaves the rest to a task: what is refused by now is told by an event.
fn subscribe_to(
    sessions: &Arc<Sessions>,
    master: &Arc<dyn LeadingMaster>,
    caller: &Caller,
    subscribe: calls::Subscribe,
    format: media::Format,
) -> Result<Response, Refusal> {
    let stream_id: Arc<str> = sessions::new_stream_id()?.into();
    let (chunks, mut response) = crate::event_stream::response(format);
    if let Ok(value) = HeaderValue::from_str(&stream_id) {
        response.headers_mut().insert(STREAM_ID, value);
    }
    let checked = subscribe.checked.map_err(|error| error.0).and_then(|checked| {
        let allowed = caller.may(Action::RegisterFramework, Object::Framework(&checked.info));
        if allowed { Ok(checked) } else { Err(not_authorized(&checked.info)) }
    });
    match checked {
        Err(message) => tokio::spawn(stream::refuse(chunks, format, message)),
        Ok(calls::Checked { info, suppressed_roles }) => {
            let Some((caller, events)) = master.scheduler() else { return Err(term_over()) };
            let opening = stream::Opening {
                sessions: sessions.clone(),
                master: master.clone(),
                caller,
                stream_id,
                format,
                info: Arc::new(info),
                suppressed_roles,
            };
            tokio::spawn(stream::run(opening, events, chunks))
        }
    };
    Ok(response)
}

fn not_authorized(info: &model::FrameworkInfo) -> String {
    let roles: Vec<&str> = info.roles.iter().map(model::Role::as_str).collect();
    format!("Not authorized to register framework '{}' with the roles {{ {} }}", info.name, roles.join(", "))
}

async fn update_framework(
    session: &Session,
    caller: &Caller,
    update: calls::Subscribe,
) -> Result<Response, Refusal> {
    let calls::Checked { info, suppressed_roles } = match update.checked {
        Ok(checked) => checked,
        Err(error) => return Err(Refusal::bad_request(error.0)),
    };
    if !caller.may(Action::RegisterFramework, Object::Framework(&info)) {
        return Err(Refusal { status: StatusCode::FORBIDDEN, message: not_authorized(&info) });
    }
    let update = FrameworkUpdate { info: Box::new(info.clone()), suppressed_roles };
    match session.caller.update_framework(update).await {
        None => Err(term_over()),
        Some(FrameworkUpdateReply::Done) => {
            session.set_info(info);
            Ok(StatusCode::OK.into_response())
        }
        Some(FrameworkUpdateReply::Invalid(text)) => Err(Refusal::bad_request(text)),
        Some(FrameworkUpdateReply::Gone) => {
            let message = "Framework was removed while it was updated; subscribe anew".to_owned();
            Err(Refusal { status: StatusCode::CONFLICT, message })
        }
    }
}

/// The leader of a moment ago; the next one is found as the first was.
fn term_over() -> Refusal {
    Refusal::unavailable("No leader elected")
}
