//! Looks at a service from its node, as health checks do.
//!
//! Containers share the node's network, so loopback is theirs too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::redirect::Policy;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// As `curl -L` follows.
const REDIRECTS_MAX: usize = 50;

/// What a look came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed<T> {
    Done(T),
    TimedOut,
    /// In words.
    Failed(String),
}

impl<T> Probed<T> {
    pub(crate) async fn within(limit: Option<Duration>, work: impl Future<Output = Self>) -> Self {
        match limit {
            None => work.await,
            Some(limit) => timeout(limit, work).await.unwrap_or(Self::TimedOut),
        }
    }
}

fn loopback(ipv6: bool) -> IpAddr {
    if ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
}

/// Whether a port takes connections.
pub async fn probe_tcp(ipv6: bool, port: u16, limit: Option<Duration>) -> Probed<bool> {
    let connect = async { Probed::Done(TcpStream::connect((loopback(ipv6), port)).await.is_ok()) };
    Probed::within(limit, connect).await
}

/// The final status of a request as `curl -L -k` makes it: redirects followed,
/// certificates not checked.
pub async fn probe_http(
    tls: bool,
    ipv6: bool,
    port: u16,
    path: &str,
    limit: Option<Duration>,
) -> Probed<u16> {
    let scheme = if tls { "https" } else { "http" };
    let host = if ipv6 { "[::1]" } else { "127.0.0.1" };
    let url = format!("{scheme}://{host}:{port}{path}");
    let request = async {
        let failed = |error: reqwest::Error| Probed::Failed(in_words(&error));
        let client = match client() {
            Ok(client) => client,
            Err(text) => return Probed::Failed(text),
        };
        let mut response = match client.get(&url).send().await {
            Ok(response) => response,
            Err(error) => return failed(error),
        };
        // An answer that never ends is none.
        while let Some(piece) = response.chunk().await.transpose() {
            if let Err(error) = piece {
                return failed(error);
            }
        }
        Probed::Done(response.status().as_u16())
    };
    Probed::within(limit, request).await
}

fn client() -> Result<reqwest::Client, String> {
    static CLIENT: OnceLock<Result<reqwest::Client, String>> = OnceLock::new();
    let build = || {
        // Another part of the program may have installed it: the same one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .redirect(Policy::limited(REDIRECTS_MAX))
            .tls_danger_accept_invalid_certs(true)
            .no_proxy()
            // Every look connects anew.
            .pool_max_idle_per_host(0);
        builder.build().map_err(|error| in_words(&error))
    };
    CLIENT.get_or_init(build).clone()
}

fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
