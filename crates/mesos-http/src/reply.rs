//! Answers: JSON (plain or as a `jsonp` program), refusals, redirects.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use mesos_proto::media::{self, MediaError};
use serde::Serialize;

use crate::shared::{self, Pieces};
use crate::stream::{JsonBody, Part};

/// Why a request is not served; the body is the text itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {message}")]
pub(crate) struct Refusal {
    pub status: StatusCode,
    pub message: String,
}

impl Refusal {
    pub fn bad_request(message: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message }
    }

    /// 403 says nothing more, as in the original.
    pub fn forbidden() -> Self {
        Self { status: StatusCode::FORBIDDEN, message: String::new() }
    }

    /// A format that is not spoken, or none at all.
    pub fn media(error: MediaError) -> Self {
        let status = match error.refusal() {
            media::Refusal::BadRequest => StatusCode::BAD_REQUEST,
            media::Refusal::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            media::Refusal::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
        };
        Self { status, message: error.to_string() }
    }

    pub fn not_found() -> Self {
        Self { status: StatusCode::NOT_FOUND, message: String::new() }
    }

    pub fn internal(message: String) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, message }
    }

    pub fn unavailable(message: &str) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, message: message.to_owned() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, self.message).into_response()
    }
}

/// A streamed answer; one that fits in a chunk gets its length.
pub(crate) fn stream(parts: Vec<Part>, callback: Option<String>) -> Response {
    let (parts, media) = match callback {
        None => (parts, "application/json"),
        Some(name) => {
            let mut wrapped = vec![Part::Bytes(format!("{name}(").into_bytes())];
            wrapped.extend(parts);
            wrapped.push(Part::text(")"));
            (wrapped, "text/javascript")
        }
    };
    let mut body = JsonBody::new(parts);
    let first = body.chunk().unwrap_or_default();
    let body = if body.is_finished() {
        Body::from(first)
    } else {
        body.unread(first);
        Body::new(body)
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// An answer that others may share.
pub(crate) fn pieces(mut pieces: Pieces, callback: Option<String>) -> Response {
    let media = match callback {
        None => "application/json",
        Some(name) => {
            pieces.insert(0, Bytes::from(format!("{name}(")));
            pieces.push(Bytes::from_static(b")"));
            "text/javascript"
        }
    };
    let (body, length) = shared::body(pieces);
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

pub(crate) fn json(value: &impl Serialize, callback: Option<String>) -> Response {
    stream(vec![Part::value(value)], callback)
}

pub(crate) fn method_not_allowed(allowed: &[&str], received: &Method) -> Response {
    let message = format!(
        "405 Method Not Allowed. Expecting one of {{ '{}' }}, but received '{received}'.",
        allowed.join("', '")
    );
    let mut response = (StatusCode::METHOD_NOT_ALLOWED, message).into_response();
    if let Ok(value) = HeaderValue::from_str(&allowed.join(", ")) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}

/// 307 to a place that keeps the client's scheme.
pub(crate) fn redirect(hostname: &str, port: u16, path_and_query: &str) -> Response {
    match HeaderValue::from_str(&format!("//{hostname}:{port}{path_and_query}")) {
        Ok(location) => {
            let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
            response.headers_mut().insert(LOCATION, location);
            response
        }
        Err(_) => {
            Refusal::internal(format!("The leading master's name {hostname:?} cannot be redirected to.\n"))
                .into_response()
        }
    }
}
