//! Large JSON answers, written piece by piece while they are sent.
//!
//! A body is a list of [`Part`]s over a shared view, written in chunks: one at a
//! time for a reader of his own, all at once for an answer that many share.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use serde::Serialize;

/// A chunk is sent when it has this many bytes.
pub(crate) const CHUNK_SIZE: usize = 64 * 1024;

type Write = Box<dyn Fn(usize, &mut Vec<u8>) + Send>;
type Expand = Box<dyn Fn(usize) -> Vec<Part> + Send>;

pub(crate) enum Part {
    Bytes(Vec<u8>),
    /// Small values, joined by commas.
    Items {
        count: usize,
        write: Write,
    },
    /// Values that are themselves lists of parts, joined by commas.
    Groups {
        count: usize,
        parts: Expand,
    },
}

impl Part {
    pub fn text(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }

    pub fn items(count: usize, write: impl Fn(usize, &mut Vec<u8>) + Send + 'static) -> Self {
        Self::Items { count, write: Box::new(write) }
    }

    pub fn groups(count: usize, parts: impl Fn(usize) -> Vec<Part> + Send + 'static) -> Self {
        Self::Groups { count, parts: Box::new(parts) }
    }

    pub fn value(value: &impl Serialize) -> Self {
        let mut bytes = Vec::new();
        put(&mut bytes, value);
        Self::Bytes(bytes)
    }

    /// A serialised object without its closing brace, so that fields can follow.
    pub fn open_object(value: &impl Serialize) -> Self {
        let mut bytes = Vec::new();
        put(&mut bytes, value);
        bytes.pop();
        Self::Bytes(bytes)
    }
}

/// Appends a value as JSON.
pub(crate) fn put(out: &mut Vec<u8>, value: &impl Serialize) {
    let start = out.len();
    if let Err(error) = serde_json::to_writer(&mut *out, value) {
        // Our wire types have only text keys, so this is a defect, not an input.
        tracing::error!(%error, "a wire type could not be written as JSON");
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

struct Cursor {
    part: Part,
    next: usize,
}

/// A body that writes itself.
pub(crate) struct JsonBody {
    /// Innermost last.
    stack: Vec<Cursor>,
    ready: Option<Bytes>,
}

impl JsonBody {
    pub fn new(parts: Vec<Part>) -> Self {
        let mut body = Self { stack: Vec::new(), ready: None };
        body.push(parts);
        body
    }

    fn push(&mut self, parts: Vec<Part>) {
        self.stack.extend(parts.into_iter().rev().map(|part| Cursor { part, next: 0 }));
    }

    /// The next chunk; `None` at the end.
    pub fn chunk(&mut self) -> Option<Bytes> {
        if let Some(ready) = self.ready.take() {
            return Some(ready);
        }
        let mut out = Vec::with_capacity(CHUNK_SIZE + CHUNK_SIZE / 8);
        while out.len() < CHUNK_SIZE {
            let Some(mut cursor) = self.stack.pop() else { break };
            let index = cursor.next;
            cursor.next += 1;
            match &cursor.part {
                Part::Bytes(bytes) => out.extend_from_slice(bytes),
                Part::Items { count, .. } | Part::Groups { count, .. } if index >= *count => {}
                Part::Items { write, .. } => {
                    comma(index, &mut out);
                    write(index, &mut out);
                    self.stack.push(cursor);
                }
                Part::Groups { parts, .. } => {
                    comma(index, &mut out);
                    let parts = parts(index);
                    self.stack.push(cursor);
                    self.push(parts);
                }
            }
        }
        if out.is_empty() { None } else { Some(Bytes::from(out)) }
    }

    /// All of it.
    pub fn into_pieces(mut self) -> Vec<Bytes> {
        std::iter::from_fn(|| self.chunk()).collect()
    }

    /// Puts a chunk back in front.
    pub fn unread(&mut self, chunk: Bytes) {
        debug_assert!(self.ready.is_none(), "one chunk at a time");
        self.ready = Some(chunk);
    }

    pub fn is_finished(&self) -> bool {
        self.stack.is_empty() && self.ready.is_none()
    }
}

fn comma(index: usize, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
}

impl Body for JsonBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.get_mut().chunk().map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_finished()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(parts: Vec<Part>) -> (String, usize) {
        let mut body = JsonBody::new(parts);
        let (mut text, mut chunks) = (Vec::new(), 0);
        while let Some(chunk) = body.chunk() {
            text.extend_from_slice(&chunk);
            chunks += 1;
        }
        assert!(body.is_finished());
        (String::from_utf8(text).unwrap(), chunks)
    }

    #[test]
    fn nested_lists() {
        let numbers = |n: usize| Part::items(n, |i, out| put(out, &i));
        let parts = vec![
            Part::text("["),
            Part::groups(3, move |i| vec![Part::text("["), numbers(i), Part::text("]")]),
            Part::text("]"),
        ];
        assert_eq!(all(parts), ("[[],[0],[0,1]]".to_owned(), 1));
    }

    #[test]
    fn long_lists_come_in_chunks() {
        let (text, chunks) =
            all(vec![Part::text("["), Part::items(50_000, |i, out| put(out, &i)), Part::text("]")]);
        let numbers: Vec<usize> = serde_json::from_str(&text).unwrap();
        assert_eq!(numbers.len(), 50_000);
        assert!(chunks >= text.len() / (CHUNK_SIZE + 16), "{chunks} chunks for {} bytes", text.len());
    }
}
