//! One request: checked, found in the table, made fit, passed on.
//!
//! Invariant: an upstream is reached only with a row of the table in hand.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use http::header::{CONTENT_LENGTH, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::config::Config;
use crate::headers::{DCOS_FORWARDED, Ends, prepare_request};
use crate::pages::{plain, redirect};
use crate::proxy::{self, Hop};
use crate::resolver::{AgentAddress, Leader, Resolver, Upstream};
use crate::routes::{self, Found, Target};
use crate::{documents, path};

/// What all requests share.
pub struct Shared {
    pub config: Config,
    pub resolver: Arc<dyn Resolver>,
    pub closing: watch::Receiver<bool>,
}

/// The connection a request came on.
pub struct Arrival {
    pub ends: Ends,
    pub permit: Arc<OwnedSemaphorePermit>,
}

/// Where a row sends its request.
enum Next {
    Upstream { upstream: Upstream, name: &'static str, plain_body: bool, service: bool },
    Answer(Response<Body>),
}

pub async fn handle(shared: &Shared, arrival: Arrival, mut request: Request<Body>) -> Response<Body> {
    if let Err(refusal) = settle_host(&mut request) {
        return *refusal;
    }
    let method = request.method().clone();
    let public = request.uri().path().to_owned();
    if let Err(error) = path::check(&public) {
        return plain(StatusCode::BAD_REQUEST, &error.to_string());
    }
    let Some(found) = routes::find(&public) else {
        return plain(StatusCode::NOT_FOUND, &format!("no route for `{public}`."));
    };
    if !found.route.methods.allow(&method) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, &format!("`{public}` does not take {method}."));
    }
    let response = match next(shared, &found, &request) {
        Next::Answer(response) => response,
        Next::Upstream { upstream, name, plain_body, service } => {
            let limits = &shared.config.limits;
            let hop = Hop {
                limits,
                ends: arrival.ends,
                body_limit: if service { limits.service_body_bytes } else { limits.body_bytes },
                prefix: found.prefix.trim_end_matches('/'),
                name,
                permit: arrival.permit,
                closing: shared.closing.clone(),
            };
            forward(&hop, &found, upstream, plain_body, request).await
        }
    };
    tracing::debug!(%method, path = public, status = response.status().as_u16(), peer = %arrival.ends.peer, "request");
    response
}

fn next(shared: &Shared, found: &Found<'_>, request: &Request<Body>) -> Next {
    let facts = &shared.config.facts;
    let resolver = &shared.resolver;
    let unavailable = |text: &str| Next::Answer(plain(StatusCode::SERVICE_UNAVAILABLE, text));
    match found.route.target {
        Target::Landing => Next::Answer(documents::landing(facts)),
        Target::DcosVersion => Next::Answer(documents::dcos_version(facts)),
        Target::Metadata => Next::Answer(documents::metadata(facts)),
        Target::AddSlash(status) => Next::Answer(add_slash(status, request.uri())),
        Target::NoService => Next::Answer(plain(StatusCode::NOT_FOUND, "service not found.")),
        Target::Hidden => Next::Answer(plain(StatusCode::NOT_FOUND, "no route from outside.")),
        Target::Marathon => match resolver.marathon() {
            Some(upstream) => Next::Upstream { upstream, name: "Marathon", plain_body: true, service: true },
            None => unavailable("marathon leader is unknown."),
        },
        Target::Mesos => match resolver.mesos() {
            Some(upstream) => {
                Next::Upstream { upstream, name: "the Mesos master", plain_body: false, service: false }
            }
            None => unavailable("mesos leader is unknown."),
        },
        Target::Agent => {
            let id = found.captured.unwrap_or_default();
            match resolver.agent(id) {
                AgentAddress::Known(addr) => Next::Upstream {
                    upstream: Upstream::Http(addr),
                    name: "the agent",
                    plain_body: true,
                    service: false,
                },
                AgentAddress::Unknown => {
                    Next::Answer(plain(StatusCode::NOT_FOUND, &format!("agent `{id}` unknown.")))
                }
                AgentAddress::NoView => unavailable("cache state is invalid"),
            }
        }
        Target::LeaderSystem => leader_system(resolver.leader(), found, request.headers()),
    }
}

/// A door passes a request to the leading door once; a second hop would mean that two
/// masters disagree about who leads.
fn leader_system(leader: Leader, found: &Found<'_>, headers: &HeaderMap) -> Next {
    match leader {
        Leader::Other(addr) if !headers.contains_key(DCOS_FORWARDED) => Next::Upstream {
            upstream: Upstream::Http(addr),
            name: "the leading master",
            plain_body: true,
            service: false,
        },
        Leader::This => {
            let inner = format!("/system/v1{}", found.rest);
            Next::Answer(plain(StatusCode::NOT_FOUND, &format!("no route for `{inner}`.")))
        }
        Leader::Other(_) | Leader::Unknown => {
            Next::Answer(plain(StatusCode::SERVICE_UNAVAILABLE, "mesos leader is unknown."))
        }
    }
}

async fn forward(
    hop: &Hop<'_>,
    found: &Found<'_>,
    upstream: Upstream,
    plain_body: bool,
    mut request: Request<Body>,
) -> Response<Body> {
    if declared_length(request.headers()).is_some_and(|length| length > hop.body_limit) {
        return proxy::too_large(hop.body_limit);
    }
    let leader = found.route.target == Target::LeaderSystem;
    let inner = if leader { format!("/system/v1{}", found.rest) } else { found.rest.to_owned() };
    let Some(uri) = with_path(request.uri(), &inner) else {
        return plain(StatusCode::BAD_REQUEST, "the path cannot be passed on");
    };
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_11;
    prepare_request(request.headers_mut(), hop.ends, plain_body);
    if leader {
        request.headers_mut().insert(DCOS_FORWARDED, HeaderValue::from_static("true"));
    }
    match upstream {
        Upstream::Service(router) => proxy::to_service(hop, router, request).await,
        Upstream::Http(addr) => proxy::to_http(hop, addr, request).await,
    }
}

/// Exactly one `Host`, and the one of an absolute URI if there is one, so that no two
/// readers of this request can disagree about it.
fn settle_host(request: &mut Request<Body>) -> Result<(), Box<Response<Body>>> {
    let refuse = |text: &str| Err(Box::new(plain(StatusCode::BAD_REQUEST, text)));
    let hosts = request.headers().get_all(HOST).iter().count();
    if hosts > 1 {
        return refuse("more than one Host header");
    }
    if let Some(authority) = request.uri().authority() {
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        match HeaderValue::from_str(host) {
            Ok(host) => _ = request.headers_mut().insert(HOST, host),
            Err(_) => return refuse("the host of the URI cannot be a Host header"),
        }
    } else if hosts == 0 && request.version() == Version::HTTP_11 {
        return refuse("the Host header is missing");
    }
    Ok(())
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn add_slash(status: StatusCode, uri: &Uri) -> Response<Body> {
    let path = format!("/{}/", uri.path().trim_matches('/'));
    match uri.query() {
        Some(query) => redirect(status, &format!("{path}?{query}")),
        None => redirect(status, &path),
    }
}

fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    PathAndQuery::try_from(text).ok().map(Uri::from)
}

/// For the listener: the two ends of an accepted connection.
pub fn ends(peer: SocketAddr, local: SocketAddr) -> Ends {
    Ends { peer, local }
}
