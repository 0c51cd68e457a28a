//! Bodies of calls, read as a whole within a limit, decoded where it hurts nobody.

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

/// Large bodies in memory at a time; others wait, and their senders with them.
pub(crate) const LARGE_CALLS_MAX: usize = 16;

static LARGE: Semaphore = Semaphore::const_new(LARGE_CALLS_MAX);

/// A body, and its turn if it is a large one.
pub(crate) struct CallBody {
    pub bytes: Bytes,
    _turn: Option<SemaphorePermit<'static>>,
}

pub(crate) async fn read(body: Body) -> Result<CallBody, Refusal> {
    let too_large = || Refusal {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        message: format!(
            "The body of a call may have {CALL_BYTES_MAX} bytes; send its operations in several calls"
        ),
    };
    if body.size_hint().lower() > CALL_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let mut body = std::pin::pin!(body);
    let mut bytes = BytesMut::new();
    let mut turn = None;
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
        let frame =
            frame.map_err(|error| Refusal::bad_request(format!("Failed to read the body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.is_empty() && body.is_end_stream() {
            bytes = BytesMut::from(data);
            break;
        }
        if bytes.len() + data.len() > CALL_BYTES_MAX {
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
