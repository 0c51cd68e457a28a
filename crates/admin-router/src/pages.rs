//! Error answers in the forms that clients of the original switch on.
//!
//! Plain text `NNN Reason: sentence.` for what the door itself decides, a small HTML page
//! for dead upstreams. Invariant: never a JSON object, because old clients do not check the
//! status under `/mesos` and would take it for data.

use axum::body::Body;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, StatusCode};

/// `404 Not Found: <sentence>`
pub fn plain(status: StatusCode, sentence: &str) -> Response<Body> {
    let text = format!("{status}: {sentence}\n");
    with_type(status, "text/plain; charset=utf-8", text)
}

/// The page for a hop that failed.
pub fn gateway(status: StatusCode, sentence: &str) -> Response<Body> {
    let sentence = escape(sentence);
    let text = format!(
        "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n<center><h1>{status}</h1></center>\r\n\
         <hr><center>{sentence}</center>\r\n</body>\r\n</html>\r\n"
    );
    with_type(status, "text/html", text)
}

pub fn with_type(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A redirect inside this server: the location is a path, so no `Host` can colour it.
pub fn redirect(status: StatusCode, path: &str) -> Response<Body> {
    let mut response = plain(status, path);
    match HeaderValue::from_str(path) {
        Ok(location) => {
            response.headers_mut().insert(LOCATION, location);
            response
        }
        Err(_) => plain(StatusCode::BAD_REQUEST, "the path cannot be written as a location"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
