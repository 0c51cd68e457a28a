//! The event stream.
//!
//! Invariant: a slow reader costs at most the shared ring of events; it loses
//! the oldest, silently, as Marathon does.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::channel::Channel;
use marathon::shell::Told;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use crate::Served;
use crate::reply::{self, Refusal};
use crate::request::Call;
use crate::wire::events::event;

/// Streams at one time; more are refused.
pub const EVENT_STREAMS_MAX: usize = 256;
/// Events that wait in one stream's socket before it counts as slow.
const FRAMES_MAX: usize = 16;

pub(super) fn stream(served: &Served, call: &Call) -> Result<Response, Refusal> {
    if !call.accept.split(',').any(|media| media.trim().starts_with("text/event-stream")) {
        let text = "events are served as text/event-stream only; send that in Accept";
        return Err(Refusal::message(StatusCode::METHOD_NOT_ALLOWED, text));
    }
    let Ok(permit) = served.streams.clone().try_acquire_owned() else {
        let text = format!("{EVENT_STREAMS_MAX} event streams are open, the limit; close one first");
        return Err(Refusal::message(StatusCode::SERVICE_UNAVAILABLE, &text));
    };
    let wanted: Vec<String> = call.parameters("event_type").map(str::to_owned).collect();
    let mut events = served.handle.events();
    let remote = call.client_ip.clone();
    let attached = served.handle.now();
    let (mut sender, body) = Channel::<Bytes, std::convert::Infallible>::new(FRAMES_MAX);
    tokio::spawn(async move {
        let _permit = permit;
        let hello = json!({
            "eventType": "event_stream_attached",
            "timestamp": attached.to_iso(),
            "remoteAddress": remote,
        });
        let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
        if is_wanted("event_stream_attached")
            && sender.send_data(frame("event_stream_attached", &hello)).await.is_err()
        {
            return;
        }
        loop {
            let told: Told = match events.recv().await {
                Ok(told) => told,
                Err(RecvError::Lagged(lost)) => {
                    tracing::debug!(lost, "a reader of events is too slow");
                    continue;
                }
                Err(RecvError::Closed) => return,
            };
            let (name, body) = event(&told);
            if is_wanted(name) && sender.send_data(frame(name, &body)).await.is_err() {
                return;
            }
        }
    });
    Ok(reply::typed(StatusCode::OK, "text/event-stream", Body::new(body)))
}

fn frame(name: &str, body: &Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {body}\n\n"))
}
