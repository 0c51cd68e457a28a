//! One hop: a prepared request to an upstream and its answer back.
//!
//! One connection per request over HTTP, closed with the answer: streams that live for hours
//! never share a connection, and a dead pooled connection cannot eat a request. Not for:
//! choosing the upstream (`dispatch`) or shaping headers (`headers`). Invariant: bodies pass
//! frame by frame; when either side leaves, the other side's connection is dropped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tower::ServiceExt;

use crate::body::{Progress, Watched};
use crate::config::Limits;
use crate::headers::{Ends, prepare_response, wants_websocket};
use crate::pages::{gateway, plain};
use crate::server::tune;

/// What one hop needs to know about its surroundings.
pub struct Hop<'a> {
    pub limits: &'a Limits,
    pub ends: Ends,
    pub body_limit: u64,
    /// The public path that was cut off, without a final `/`.
    pub prefix: &'a str,
    /// How the upstream is called in an error page.
    pub name: &'a str,
    /// Held by tunnels, which outlive the request.
    pub permit: Arc<OwnedSemaphorePermit>,
    pub closing: watch::Receiver<bool>,
}

/// Passes `request` to a service of this process.
pub async fn to_service(hop: &Hop<'_>, service: Router, mut request: Request<Body>) -> Response<Body> {
    request.extensions_mut().insert(ConnectInfo(hop.ends.peer));
    let (request, progress) = watch_body(request, hop.body_limit);
    let websocket = wants_websocket(request.headers());
    let answer = service.oneshot(request);
    tokio::pin!(answer);
    let response = tokio::select! {
        Ok(response) = &mut answer => response,
        () = stalled(&progress, hop.limits.stall_timeout, false) => return client_stalled(),
    };
    if progress.is_too_large() {
        return too_large(hop.body_limit);
    }
    finish(hop, response, None, websocket)
}

/// Passes `request` to an HTTP server.
pub async fn to_http(hop: &Hop<'_>, upstream: SocketAddr, mut request: Request<Body>) -> Response<Body> {
    let stream = match tokio::time::timeout(hop.limits.connect_timeout, TcpStream::connect(upstream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return unreachable(hop, upstream, &error.to_string()),
        Err(_) => return slow(hop, &format!("{upstream} did not accept a connection in time")),
    };
    tune(&stream, hop.limits);
    let handshake =
        http1::Builder::new().max_buf_size(hop.limits.header_bytes.max(8192)).handshake(TokioIo::new(stream));
    let (mut sender, connection) = match handshake.await {
        Ok(parts) => parts,
        Err(error) => return unreachable(hop, upstream, &error.to_string()),
    };
    // Ends by itself: its sender lives in this call, its body in the answer.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%upstream, %error, "upstream connection ended");
        }
    });

    let websocket = wants_websocket(request.headers());
    let client = websocket.then(|| hyper::upgrade::on(&mut request));
    if !websocket {
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let (request, progress) = watch_body(request, hop.body_limit);
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    let answer = tokio::select! {
        answer = &mut answer => answer,
        () = stalled(&progress, hop.limits.stall_timeout, true) => {
            let reason = format!("{upstream} sent no answer for {} s", hop.limits.stall_timeout.as_secs_f32());
            return if progress.is_done() { slow(hop, &reason) } else { client_stalled() };
        }
    };
    let mut response = match answer {
        Ok(response) => response,
        Err(_) if progress.is_too_large() => return too_large(hop.body_limit),
        Err(error) => return unreachable(hop, upstream, &error.to_string()),
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = client else {
            return unreachable(hop, upstream, "it switched protocols without being asked");
        };
        let server = hyper::upgrade::on(&mut response);
        tokio::spawn(tunnel(client, server, Arc::clone(&hop.permit), hop.closing.clone()));
    }
    finish(hop, response.map(Body::new), Some(upstream), websocket)
}

fn watch_body(request: Request<Body>, limit: u64) -> (Request<Body>, Arc<Progress>) {
    let (parts, body) = request.into_parts();
    let (body, progress) = Watched::new(body, limit);
    (Request::from_parts(parts, Body::new(body)), progress)
}

/// Resolves when nothing has moved for `limit`; a finished body counts only if `also_after`.
async fn stalled(progress: &Progress, limit: Duration, also_after: bool) {
    let mut seen = progress.mark();
    loop {
        tokio::time::sleep(limit).await;
        if progress.is_done() && !also_after {
            return std::future::pending().await;
        }
        let mark = progress.mark();
        if mark == seen {
            return;
        }
        seen = mark;
    }
}

fn finish(
    hop: &Hop<'_>,
    mut response: Response<Body>,
    upstream: Option<SocketAddr>,
    websocket: bool,
) -> Response<Body> {
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    prepare_response(response.headers_mut(), hop.prefix, upstream);
    *response.version_mut() = Version::HTTP_11;
    if switched && websocket {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        response.headers_mut().insert(http::header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    response
}

async fn tunnel(
    client: OnUpgrade,
    server: OnUpgrade,
    permit: Arc<OwnedSemaphorePermit>,
    mut closing: watch::Receiver<bool>,
) {
    let (client, server) = match tokio::try_join!(client, server) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "an upgrade was not completed");
            return;
        }
    };
    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
    tokio::select! {
        ended = tokio::io::copy_bidirectional(&mut client, &mut server) => {
            if let Err(error) = ended {
                tracing::debug!(%error, "tunnel broke");
            }
        }
        _ = closing.wait_for(|closing| *closing) => {}
    }
    drop(permit);
}

fn unreachable(hop: &Hop<'_>, upstream: SocketAddr, reason: &str) -> Response<Body> {
    tracing::warn!(upstream = hop.name, %upstream, reason, "upstream failed");
    gateway(StatusCode::BAD_GATEWAY, &format!("{} at {upstream} could not be asked: {reason}", hop.name))
}

fn slow(hop: &Hop<'_>, reason: &str) -> Response<Body> {
    tracing::warn!(upstream = hop.name, reason, "upstream timed out");
    gateway(StatusCode::GATEWAY_TIMEOUT, &format!("{}: {reason}", hop.name))
}

fn client_stalled() -> Response<Body> {
    plain(StatusCode::REQUEST_TIMEOUT, "the request body stopped arriving")
}

pub fn too_large(limit: u64) -> Response<Body> {
    plain(StatusCode::PAYLOAD_TOO_LARGE, &format!("the request body may have {limit} bytes here"))
}
