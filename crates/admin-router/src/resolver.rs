//! The questions the door asks the rest of the daemon.
//!
//! Not for: deciding who leads. Invariant: answers come from a published view, so asking
//! neither waits nor fails, and the last known view stays usable through an election.

use std::net::SocketAddr;

use axum::Router;

/// Where a request can be passed on to.
#[derive(Clone)]
pub enum Upstream {
    /// A service of this process. Any tower service fits: `Router::new().fallback_service(s)`.
    Service(Router),
    /// An HTTP server.
    Http(SocketAddr),
}

/// Answer to "where is this agent?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentAddress {
    Known(SocketAddr),
    Unknown,
    /// No view of the cluster yet; the client should retry.
    NoView,
}

/// Answer to "whose door is the leading one?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leader {
    This,
    /// The leading master's Admin Router.
    Other(SocketAddr),
    Unknown,
}

/// Implemented by the composition root.
pub trait Resolver: Send + Sync + 'static {
    /// The agent's own HTTP endpoint (port 5051).
    fn agent(&self, id: &str) -> AgentAddress;
    /// The leading Mesos master; `None` while there is none. Over HTTP its own port (5050),
    /// not a door: paths arrive there without `/mesos`.
    fn mesos(&self) -> Option<Upstream>;
    /// The leading Marathon; `None` while there is none. Over HTTP its own port (8080).
    fn marathon(&self) -> Option<Upstream>;
    fn leader(&self) -> Leader;
}
