//! Sockets: accepts, bounds, serves and closes client connections.
//!
//! One task per connection, at most `limits.connections` of them. Invariant: `serve` returns
//! with the listener closed and no connection task left.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::config::{Config, Limits};
use crate::dispatch::{Arrival, Shared, ends, handle};
use crate::resolver::Resolver;

/// Pause after a failed accept (descriptors used up), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Clients beyond `limits.connections` that are told so at the same time, and for how long
/// each may listen.
const REFUSALS: usize = 64;
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// Between the kernel's questions to a silent peer; nine without an answer end it.
const KEEPALIVE_PROBE: Duration = Duration::from_secs(10);

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 61\r\nConnection: close\r\n\r\n503 Service Unavailable: all connections of Admin Router busy";

/// The door could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}; choose another ip or http_port, or stop what holds it")]
pub struct BindError {
    pub addr: SocketAddr,
    pub source: std::io::Error,
}

/// A configured door.
pub struct AdminRouter {
    config: Config,
    resolver: Arc<dyn Resolver>,
}

/// A door with its socket open; connections queue up until [`Listening::serve`].
pub struct Listening {
    listener: TcpListener,
    addr: SocketAddr,
    config: Config,
    resolver: Arc<dyn Resolver>,
}

impl AdminRouter {
    pub fn new(config: Config, resolver: Arc<dyn Resolver>) -> Self {
        AdminRouter { config, resolver }
    }

    pub async fn listen(self) -> Result<Listening, BindError> {
        let addr = SocketAddr::new(self.config.ip, self.config.http_port);
        let fail = |source| BindError { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(fail)?;
        let addr = listener.local_addr().map_err(fail)?;
        Ok(Listening { listener, addr, config: self.config, resolver: self.resolver })
    }
}

impl Listening {
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `shutdown` resolves, then lets open requests finish for
    /// `limits.drain_timeout`.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let limits = self.config.limits.clone();
        let (close, closing) = watch::channel(false);
        let shared = Arc::new(Shared { config: self.config, resolver: self.resolver, closing });
        let permits = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
        let refusals = Arc::new(Semaphore::new(REFUSALS));
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => match Arc::clone(&permits).try_acquire_owned() {
                        Ok(permit) => {
                            let permit = Arc::new(permit);
                            connections.spawn(connection(Arc::clone(&shared), stream, peer, permit));
                        }
                        Err(_) => {
                            tracing::warn!(%peer, "connection refused: limits.connections reached");
                            // Beyond this many at once, refusal is a closed connection.
                            if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
                                connections.spawn(refuse(stream, place));
                            }
                        }
                    },
                    Err(error) => {
                        tracing::warn!(%error, "accept failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(self.listener);
        close.send_replace(true);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(limits.drain_timeout, drained).await.is_err() {
            tracing::info!(open = connections.len(), "closing connections that did not finish in time");
            connections.shutdown().await;
        }
    }
}

/// Latency and the discovery of dead peers; a connection works without either.
pub(crate) fn tune(stream: &TcpStream, limits: &Limits) {
    let tuned = stream.set_nodelay(true).and_then(|()| {
        sockopt::set_socket_keepalive(stream, true)?;
        sockopt::set_tcp_keepidle(stream, limits.keepalive.max(Duration::from_secs(1)))?;
        Ok(sockopt::set_tcp_keepintvl(stream, KEEPALIVE_PROBE)?)
    });
    if let Err(error) = tuned {
        tracing::debug!(%error, "socket options not set");
    }
}

/// Tells the client why, and reads what it still sends: closing a socket with unread bytes
/// would reset the connection before the answer is seen.
async fn refuse(mut stream: TcpStream, place: OwnedSemaphorePermit) {
    let exchange = async {
        stream.write_all(FULL).await?;
        stream.shutdown().await?;
        let mut discarded = [0; 4096];
        while stream.read(&mut discarded).await? > 0 {}
        std::io::Result::Ok(())
    };
    // How it ends does not matter any more.
    let _ = tokio::time::timeout(REFUSAL_TIME, exchange).await;
    drop(place);
}

fn protocol(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(limits.headers)
        .max_header_size(limits.header_bytes)
        // hyper's smallest buffer is 8 KiB.
        .max_buf_size(limits.header_bytes.max(64 << 10));
    builder
}

async fn connection(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    permit: Arc<OwnedSemaphorePermit>,
) {
    let local = match stream.local_addr() {
        Ok(local) => local,
        Err(error) => {
            tracing::debug!(%peer, %error, "connection gone before its first byte");
            return;
        }
    };
    tune(&stream, &shared.config.limits);
    let builder = protocol(&shared.config.limits);
    let mut closing = shared.closing.clone();
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        let arrival = Arrival { ends: ends(peer, local), permit: Arc::clone(&permit) };
        async move { Ok::<_, Infallible>(handle(&shared, arrival, hyper::Request::map(request, Body::new)).await) }
    });
    let serving = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(serving);
    let mut draining = false;
    let ended = loop {
        tokio::select! {
            ended = serving.as_mut() => break ended,
            _ = closing.wait_for(|closing| *closing), if !draining => {
                draining = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "client connection ended");
    }
}
