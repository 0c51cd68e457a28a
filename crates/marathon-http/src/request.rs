//! A request, read whole and within limits.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use crate::reply::Refusal;

/// Largest request body, in bytes, unless the node says otherwise.
pub const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Longest query string, in bytes.
pub const QUERY_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Call {
    pub method: Method,
    /// Decoded.
    pub path: String,
    query: Vec<(String, String)>,
    pub accept: String,
    /// As the proxy in front says, or as the connection shows; may be empty.
    pub client_ip: String,
    body: Bytes,
}

impl Call {
    pub async fn read(request: Request, body_bytes_max: usize) -> Result<Self, Refusal> {
        let (head, body) = request.into_parts();
        let path = decode(head.uri.path(), false).ok_or_else(|| {
            Refusal::message(StatusCode::BAD_REQUEST, "the path is not percent-encoded UTF-8")
        })?;
        let query = query(head.uri.query().unwrap_or_default())?;
        let accept = head.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let client_ip = client_ip(&head);
        let declared = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let declared = declared.and_then(|text| text.parse::<u64>().ok());
        if declared.is_some_and(|length| length > body_bytes_max as u64) {
            return Err(too_large(body_bytes_max));
        }
        let body = match Limited::new(body, body_bytes_max).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Err(too_large(body_bytes_max)),
            Err(error) => {
                let text = format!("the request's body broke off: {error}");
                return Err(Refusal::message(StatusCode::BAD_REQUEST, &text));
            }
        };
        Ok(Self { method: head.method, path, query, accept: accept.to_owned(), client_ip, body })
    }

    /// Only the literal `true` counts.
    pub fn flag(&self, name: &str) -> bool {
        self.parameter(name) == Some("true")
    }

    /// Like [`Self::flag`], true when absent.
    pub fn flag_or_true(&self, name: &str) -> bool {
        self.parameter(name).is_none_or(|value| value == "true")
    }

    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn parameters<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn wants_plain_text(&self) -> bool {
        self.accept.split(',').next().is_some_and(|first| first.trim().starts_with("text/plain"))
    }

    pub fn json(&self) -> Result<Value, Refusal> {
        if self.body.iter().all(u8::is_ascii_whitespace) {
            return Err(Refusal::json(
                StatusCode::BAD_REQUEST,
                serde_json::json!({
                    "message": "Please specify data in JSON format",
                    "details": "the request has no body",
                }),
            ));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            Refusal::json(
                StatusCode::BAD_REQUEST,
                serde_json::json!({ "message": "Invalid JSON", "details": error.to_string() }),
            )
        })
    }
}

fn client_ip(head: &http::request::Parts) -> String {
    let forwarded = head.headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
    let first = forwarded.and_then(|list| list.split(',').next()).map(str::trim);
    let connected = || head.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_string());
    // It is told to clients only, and decides nothing.
    first
        .and_then(|text| text.parse::<IpAddr>().ok())
        .map(|ip| ip.to_string())
        .or_else(connected)
        .unwrap_or_default()
}

fn too_large(max: usize) -> Refusal {
    let text = format!("the request's body is larger than {max} bytes, the limit; send smaller definitions");
    Refusal::message(StatusCode::PAYLOAD_TOO_LARGE, &text)
}

fn query(text: &str) -> Result<Vec<(String, String)>, Refusal> {
    if text.len() > QUERY_BYTES_MAX {
        let text = format!("the query is longer than {QUERY_BYTES_MAX} bytes, the limit");
        return Err(Refusal::message(StatusCode::URI_TOO_LONG, &text));
    }
    let mut pairs = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (decode(key, true), decode(value, true)) {
            (Some(key), Some(value)) => pairs.push((key, value)),
            _ => {
                let text = format!("the query parameter {pair:?} is not percent-encoded UTF-8");
                return Err(Refusal::message(StatusCode::BAD_REQUEST, &text));
            }
        }
    }
    Ok(pairs)
}

fn decode(text: &str, plus_is_blank: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                bytes.push(u8::try_from(high * 16 + low).ok()?);
            }
            b'+' if plus_is_blank => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

/// The path of an id in a `Location` header.
pub(crate) fn encode_path(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding() {
        assert_eq!(decode("a%2Fb+c", false).as_deref(), Some("a/b+c"));
        assert_eq!(decode("a+b", true).as_deref(), Some("a b"));
        for bad in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(decode(bad, true), None, "{bad}");
        }
        assert!(query("force&embed=apps.tasks&embed=x").unwrap().len() == 3);
    }
}
