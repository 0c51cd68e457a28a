//! A response that is a stream of records, fed by a task of its own.
//!
//! Invariant: between the task and the socket lie at most [`CHUNKS_MAX`] chunks;
//! who does not read for [`STALL_TIMEOUT`] is given up.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http_body::Frame;
use mesos_proto::media::Format;
use tokio::sync::mpsc;

/// Chunks that wait for the socket.
const CHUNKS_MAX: usize = 16;

/// Events that are taken at once at most.
pub(crate) const BATCH_MAX: usize = 256;

/// How long a reader may take nothing while there is something for it.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(75);

/// Why a stream ends before its events do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// The reader has left.
    Closed,
    /// It has not read for [`STALL_TIMEOUT`].
    Stalled,
}

/// The writing end.
pub(crate) struct Chunks(mpsc::Sender<Bytes>);

impl Chunks {
    /// Waits while the reader is slow.
    pub async fn send(&self, chunk: Vec<u8>) -> Result<(), Gone> {
        match tokio::time::timeout(STALL_TIMEOUT, self.0.send(chunk.into())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Gone::Closed),
            Err(_) => Err(Gone::Stalled),
        }
    }

    /// Resolves when the reader has left.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

struct Records(mpsc::Receiver<Bytes>);

impl http_body::Body for Records {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// A response whose body is what is written to the chunks.
pub(crate) fn response(format: Format) -> (Chunks, Response) {
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    let mut response = Response::new(Body::new(Records(receiver)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    // For whatever lies between: nothing of this may be kept or held back.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    (Chunks(sender), response)
}
