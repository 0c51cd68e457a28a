//! Watches a request body on its way through: how far it came, whether it is too large.
//!
//! Holds one frame at a time. Invariant: no more than `limit` bytes pass.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

/// What is known about a body while someone else sends it.
#[derive(Debug, Default)]
pub struct Progress {
    frames: AtomicU64,
    done: AtomicBool,
    too_large: AtomicBool,
}

impl Progress {
    /// Grows with every frame and once more at the end.
    pub fn mark(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    pub fn is_too_large(&self) -> bool {
        self.too_large.load(Ordering::Relaxed)
    }

    fn finish(&self) {
        self.done.store(true, Ordering::Relaxed);
        self.frames.fetch_add(1, Ordering::Relaxed);
    }
}

/// A body that reports its progress and ends with an error at its limit.
pub struct Watched {
    inner: Body,
    left: u64,
    progress: Arc<Progress>,
}

impl Watched {
    pub fn new(inner: Body, limit: u64) -> (Self, Arc<Progress>) {
        let progress = Arc::new(Progress::default());
        if inner.is_end_stream() {
            progress.finish();
        }
        (Watched { inner, left: limit, progress: Arc::clone(&progress) }, progress)
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match frame {
            None => {
                self.progress.finish();
                Poll::Ready(None)
            }
            Some(Err(error)) => Poll::Ready(Some(Err(io::Error::other(error)))),
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                let Some(left) = self.left.checked_sub(bytes) else {
                    self.progress.too_large.store(true, Ordering::Relaxed);
                    return Poll::Ready(Some(Err(io::Error::other("the request body exceeds its limit"))));
                };
                self.left = left;
                self.progress.frames.fetch_add(1, Ordering::Relaxed);
                if self.inner.is_end_stream() {
                    self.progress.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
