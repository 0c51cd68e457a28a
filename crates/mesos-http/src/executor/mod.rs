//! `POST /api/v1/executor`: how executors of frameworks speak to their agent.
//!
//! As the scheduler API, without stream ids: an executor is known by its
//! framework's id and its own. An UPDATE is answered once it is durable; whether
//! an executor may say what it says is the agent's to know.

mod events;
#[cfg(test)]
mod tests;

use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use mesos_agent::brain::ExecutorRefusal;
use mesos_agent::shell::{ExecutorEvents, Handle};
use mesos_proto::media::{self, Format};
use mesos_proto::v1::executor::{Call as Message, call};
use mesos_proto::v1::task_status;
use mesos_proto::{ApiMessage, v1};
use model::executor_api::ExecutorCall;
use model::{ExecutorId, FrameworkId, TaskId, TaskStatus, Time};
use shell::Clock;
use tokio::time::{Instant, MissedTickBehavior};

use crate::call_body;
use crate::convert::{self, Invalid};
use crate::event_stream::{self, Chunks, Gone};
use crate::reply::{self, Refusal};
use crate::routes::Call;
use events::{HEARTBEAT_INTERVAL, Writer};

impl From<ExecutorRefusal> for Refusal {
    fn from(refusal: ExecutorRefusal) -> Self {
        let status = match &refusal {
            ExecutorRefusal::Recovering | ExecutorRefusal::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            ExecutorRefusal::NotSubscribed => StatusCode::FORBIDDEN,
            ExecutorRefusal::UnknownFramework
            | ExecutorRefusal::UnknownExecutor
            | ExecutorRefusal::Invalid(_) => StatusCode::BAD_REQUEST,
        };
        Refusal { status, message: refusal.to_string() }
    }
}

/// A call that is sound in itself.
pub(crate) struct Taken {
    framework_id: FrameworkId,
    executor_id: ExecutorId,
    order: Order,
}

pub(crate) enum Order {
    Call(Box<ExecutorCall>),
    Heartbeat,
    Unknown,
}

pub(crate) async fn serve(handle: Option<&Handle>, call: Call) -> Result<Response, Refusal> {
    if call.method != Method::POST {
        return Ok(reply::method_not_allowed(&["POST"], &call.method));
    }
    let handle = handle.ok_or(ExecutorRefusal::Recovering)?;
    let format = media::request(call.header("content-type")).map_err(Refusal::media)?;
    let accept = call.header("accept").map(str::to_owned);
    let body = call_body::read(call.body).await?;
    let now = Clock::system().now();
    let Taken { framework_id, executor_id, order } =
        call_body::decode(body, move |bytes| take(format, &bytes, now)).await?;
    let call = match order {
        Order::Heartbeat => return Ok(StatusCode::ACCEPTED.into_response()),
        Order::Unknown => return Ok(StatusCode::NOT_IMPLEMENTED.into_response()),
        Order::Call(call) => *call,
    };
    if !matches!(call, ExecutorCall::Subscribe { .. }) {
        handle.executor_call(framework_id, executor_id, call).await?;
        return Ok(StatusCode::ACCEPTED.into_response());
    }
    let format = media::response(accept.as_deref()).map_err(Refusal::media)?;
    let events = handle.subscribe_executor(framework_id.clone(), executor_id.clone(), call).await?;
    let writer = Writer::new(format);
    let (chunks, response) = event_stream::response(format);
    tokio::spawn(async move {
        if pump(events, writer, &chunks).await == Some(Gone::Stalled) {
            tracing::warn!(%framework_id, %executor_id, "closing an executor's stream: it is not read");
        }
    });
    Ok(response)
}

/// Until the agent ends the events (`None`) or the executor is gone.
async fn pump(mut events: ExecutorEvents, mut writer: Writer, chunks: &Chunks) -> Option<Gone> {
    let mut heartbeats = tokio::time::interval_at(Instant::now() + HEARTBEAT_INTERVAL, HEARTBEAT_INTERVAL);
    heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let record = tokio::select! {
            () = chunks.closed() => return Some(Gone::Closed),
            _ = heartbeats.tick() => writer.heartbeat(),
            event = events.recv() => writer.event(&event?),
        };
        if let Err(gone) = chunks.send(record).await {
            return Some(gone);
        }
    }
}

pub(crate) fn take(format: Format, body: &[u8], now: Time) -> Result<Taken, Refusal> {
    let message = Message::from_body(format, body)
        .map_err(|error| Refusal::bad_request(error.refusal(format, "Call")))?;
    let order = order(&message, now)
        .map_err(|error| Refusal::bad_request(format!("Failed to validate Executor::Call: {error}")))?;
    Ok(Taken {
        framework_id: FrameworkId::new(&message.framework_id.value),
        executor_id: ExecutorId::new(&message.executor_id.value),
        order,
    })
}

fn order(message: &Message, now: Time) -> Result<Order, Invalid> {
    let missing = |name: &str| Invalid(format!("Expecting '{name}' to be present"));
    let kind = message.r#type.and_then(|kind| call::Type::try_from(kind).ok());
    let call = match kind.ok_or_else(|| missing("type"))? {
        call::Type::Unknown => return Ok(Order::Unknown),
        call::Type::Heartbeat => return Ok(Order::Heartbeat),
        call::Type::Subscribe => {
            let subscribe = message.subscribe.as_ref().ok_or_else(|| missing("subscribe"))?;
            let updates = subscribe.unacknowledged_updates.iter();
            ExecutorCall::Subscribe {
                unacknowledged_tasks: subscribe
                    .unacknowledged_tasks
                    .iter()
                    .map(|task| TaskId::new(&task.task_id.value))
                    .collect(),
                unacknowledged_updates: updates
                    .map(|update| status(&update.status, &message.executor_id, now))
                    .collect::<Result<_, _>>()?,
            }
        }
        call::Type::Update => {
            let update = message.update.as_deref().ok_or_else(|| missing("update"))?;
            ExecutorCall::Update(Box::new(status(&update.status, &message.executor_id, now)?))
        }
        call::Type::Message => {
            let message = message.message.as_ref().ok_or_else(|| missing("message"))?;
            ExecutorCall::Message(convert::opaque(&message.data))
        }
    };
    Ok(Order::Call(Box::new(call)))
}

/// What an executor may report at all.
fn status(wire: &v1::TaskStatus, executor_id: &v1::ExecutorId, now: Time) -> Result<TaskStatus, Invalid> {
    if wire.uuid.is_none() {
        return Err(Invalid::new("Expecting 'uuid' to be present"));
    }
    let status = convert::status(wire, now)?;
    if let Some(id) = wire.executor_id.as_ref().filter(|id| *id != executor_id) {
        return Err(Invalid(format!(
            "ExecutorID in Call: {} does not match ExecutorID in TaskStatus: {}",
            executor_id.value, id.value
        )));
    }
    if wire.source != Some(task_status::Source::Executor as i32) {
        return Err(Invalid(format!(
            "Received Call from executor {} with invalid source, expecting 'SOURCE_EXECUTOR'",
            executor_id.value
        )));
    }
    if wire.state == v1::TaskState::TaskStaging as i32 {
        return Err(Invalid(format!(
            "Received TASK_STAGING from executor {} which is not allowed",
            executor_id.value
        )));
    }
    Ok(status)
}
