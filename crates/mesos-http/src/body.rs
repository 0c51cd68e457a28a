//! Bodies of requests in records, and streams of records as answers.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{HeaderValue, StatusCode};
use mesos_proto::media::{self, MediaError};
use mesos_proto::recordio::Decoder;

use crate::reply::Refusal;

/// Largest record of a client's stream; input comes in pieces of a terminal or a pipe.
pub(crate) const INPUT_RECORD_BYTES_MAX: usize = 4 << 20;

/// Records as they arrive.
pub(crate) struct Records {
    body: axum::body::BodyDataStream,
    decoder: Decoder,
    chunk: Bytes,
    ended: bool,
}

impl Records {
    pub fn new(body: Body) -> Self {
        Self {
            body: body.into_data_stream(),
            decoder: Decoder::new(INPUT_RECORD_BYTES_MAX),
            chunk: Bytes::new(),
            ended: false,
        }
    }

    /// The next record; `None` at the end of the stream.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            let mut rest: &[u8] = &self.chunk;
            let found = self.decoder.next(&mut rest).map_err(|error| error.to_string())?;
            let used = self.chunk.len() - rest.len();
            self.chunk = self.chunk.slice(used..);
            if found.is_some() {
                return Ok(found);
            }
            if self.ended {
                return self.decoder.finish().map(|()| None).map_err(|error| error.to_string());
            }
            match self.body.next().await {
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => return Err(format!("the connection broke: {error}")),
                None => self.ended = true,
            }
        }
    }
}

/// A stream of already framed records.
pub(crate) fn stream(
    records: impl Stream<Item = Bytes> + Send + 'static,
    content_type: &'static str,
    message_content_type: Option<&'static str>,
) -> Response {
    let frames = records.map(Ok::<Bytes, std::convert::Infallible>);
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(inner) = message_content_type {
        headers.insert("Message-Content-Type", HeaderValue::from_static(inner));
    }
    response
}

/// A whole answer in one format.
pub(crate) fn message(format: media::Format, bytes: impl Into<Body>) -> Response {
    let mut response = Response::new(bytes.into());
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    response
}

impl From<MediaError> for Refusal {
    fn from(error: MediaError) -> Self {
        let status = match error.refusal() {
            media::Refusal::BadRequest => StatusCode::BAD_REQUEST,
            media::Refusal::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            media::Refusal::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
        };
        Refusal { status, message: error.to_string() }
    }
}
