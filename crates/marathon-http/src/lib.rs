//! Marathon's REST API: routing, wire types, error bodies.
//!
//! Everything foreign stays here: requests are read by hand into
//! [`marathon::ApiCall`]s, answers are printed by hand from the published view.
//! Nothing here decides. Shapes: `mesosphere/marathon` v1.7.236
//! `docs/docs/rest-api/public/api/**`.
//! Start reading at [`ROUTES`] and [`router`].
#![forbid(unsafe_code)]

mod reply;
mod request;
mod routes;
mod selector;
mod serve;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use marathon::Handle;

pub use request::{BODY_BYTES_MAX, QUERY_BYTES_MAX};
pub use routes::{Access, Endpoint, ROUTES, Route};
pub use serve::EVENT_STREAMS_MAX;

/// What this node says of itself.
#[derive(Debug, Clone)]
pub struct Identity {
    /// `host:port` under which clients and other nodes reach this API.
    pub address: String,
    /// `http` or `https`.
    pub scheme: &'static str,
    pub http_port: u16,
    pub https_port: u16,
    /// The Marathon version that is spoken here.
    pub version: String,
    /// Of our own build.
    pub buildref: String,
    /// How the Mesos master is found; printed in `/v2/info`.
    pub master: String,
    pub mesos_leader_ui_url: String,
    /// Largest accepted request body, in bytes.
    pub body_bytes_max: usize,
}

impl Identity {
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            scheme: "http",
            http_port: 8080,
            https_port: 8443,
            version: "1.7.236".to_owned(),
            buildref: env!("CARGO_PKG_VERSION").to_owned(),
            master: "leader.mesos:5050".to_owned(),
            mesos_leader_ui_url: "/mesos".to_owned(),
            body_bytes_max: BODY_BYTES_MAX,
        }
    }
}

pub(crate) struct Served {
    pub handle: Handle,
    pub identity: Identity,
    pub streams: Arc<tokio::sync::Semaphore>,
}

/// The API of a leading Marathon.
pub fn router(handle: Handle, identity: Identity) -> Router {
    let streams = Arc::new(tokio::sync::Semaphore::new(EVENT_STREAMS_MAX));
    let served = Arc::new(Served { handle, identity, streams });
    Router::new().fallback(move |request: Request| {
        let served = served.clone();
        async move { respond(&served, request).await }
    })
}

async fn respond(served: &Served, request: Request) -> Response {
    let answer = match request::Call::read(request, served.identity.body_bytes_max).await {
        Ok(call) => serve::serve(served, call).await.unwrap_or_else(reply::Refusal::into_response),
        Err(refusal) => refusal.into_response(),
    };
    reply::with_standing_headers(answer, &served.identity)
}
