//! Bodies of calls, read as a whole within a limit, decoded where it hurts nobody.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::reply::Refusal;

/// Largest body of a call.
pub(crate) const CALL_BYTES_MAX: usize = 64 << 20;

/// A body above this is large: it waits for its turn and is decoded on a thread of its own.
pub(crate) const CALL_BYTES_LARGE: usize = 256 << 10;

/// Largest body of the older endpoints: it is decoded where it came in.
pub(crate) const OLDER_CALL_BYTES_MAX: usize = 4 << 20;

/// A sender that is silent for so long within a body is given up, so that no turn is held for ever.
pub(crate) const BODY_SILENCE_MAX: Duration = Duration::from_secs(30);

/// Longest time for a whole body.
pub(crate) const BODY_TIME_MAX: Duration = Duration::from_secs(300);

/// Large bodies in memory at a time; others wait, and their senders with them.
pub(crate) const LARGE_CALLS_MAX: usize = 16;

static LARGE: Semaphore = Semaphore::const_new(LARGE_CALLS_MAX);

/// A body, and its turn if it is a large one.
pub(crate) struct CallBody {
    pub bytes: Bytes,
    _turn: Option<SemaphorePermit<'static>>,
}

pub(crate) async fn read(body: Body) -> Result<CallBody, Refusal> {
    read_within(body, CALL_BYTES_MAX).await
}

/// The same for a body of at most `limit` bytes.
pub(crate) async fn read_within(body: Body, limit: usize) -> Result<CallBody, Refusal> {
    let too_slow = || Refusal {
        status: StatusCode::REQUEST_TIMEOUT,
        message: format!(
            "The body of a call must not pause for {} s or take {} s in all",
            BODY_SILENCE_MAX.as_secs(),
            BODY_TIME_MAX.as_secs()
        ),
    };
    tokio::time::timeout(BODY_TIME_MAX, collect(body, limit, too_slow)).await.map_err(|_| too_slow())?
}

async fn collect(body: Body, limit: usize, too_slow: impl Fn() -> Refusal) -> Result<CallBody, Refusal> {
    let too_large = || Refusal {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        message: format!("The body of a call may have {limit} bytes; send its operations in several calls"),
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let mut body = std::pin::pin!(body);
    let mut bytes = BytesMut::new();
    let mut turn = None;
    loop {
        let next = std::future::poll_fn(|context| body.as_mut().poll_frame(context));
        let frame = tokio::time::timeout(BODY_SILENCE_MAX, next).await.map_err(|_| too_slow())?;
        let Some(frame) = frame else { break };
        let frame =
            frame.map_err(|error| Refusal::bad_request(format!("Failed to read the body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.is_empty() && body.is_end_stream() {
            bytes = BytesMut::from(data);
            break;
        }
        if bytes.len() + data.len() > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
        if turn.is_none() && bytes.len() > CALL_BYTES_LARGE {
            // Fails only when closed, which it never is.
            turn = LARGE.acquire().await.ok();
        }
    }
    Ok(CallBody { bytes: bytes.freeze(), _turn: turn })
}

/// Runs `decode` over the body: here if it is small, else where it keeps no connection waiting.
pub(crate) async fn decode<T: Send + 'static>(
    body: CallBody,
    decode: impl FnOnce(Bytes) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    if body.bytes.len() <= CALL_BYTES_LARGE {
        return decode(body.bytes);
    }
    let CallBody { bytes, _turn } = body;
    let decoded = tokio::task::spawn_blocking(move || decode(bytes)).await;
    decoded.unwrap_or_else(|error| Err(Refusal::internal(format!("Failed to decode the body: {error}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body of one piece and then nothing, for ever.
    fn stalled(first: Vec<u8>) -> Body {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
        sender.try_send(first.into()).unwrap();
        let stream = futures_util::stream::unfold((receiver, sender), |(mut receiver, sender)| async move {
            receiver.recv().await.map(|data| (Ok::<_, std::io::Error>(data), (receiver, sender)))
        });
        Body::from_stream(stream)
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_falls_silent_holds_no_turn() {
        let senders: Vec<_> = (0..LARGE_CALLS_MAX)
            .map(|_| tokio::spawn(read(stalled(vec![b' '; CALL_BYTES_LARGE + 1]))))
            .collect();
        for sender in senders {
            let refused = sender.await.unwrap().err().unwrap();
            assert_eq!(refused.status, StatusCode::REQUEST_TIMEOUT);
        }
        assert!(read(Body::from(vec![b' '; CALL_BYTES_LARGE + 1])).await.is_ok());
    }

    #[tokio::test]
    async fn a_limit_holds_whether_announced_or_not() {
        for body in [Body::from(vec![b' '; 11]), stalled(vec![b' '; 11])] {
            let refused = read_within(body, 10).await.err().unwrap();
            assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
        }
    }
}
