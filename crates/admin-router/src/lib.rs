//! Admin Router: the one door of a master.
//!
//! Takes every outside request, finds its row in [`routes::ROUTES`] and passes it on: into
//! this process (the leader's own Marathon and Mesos master) or over HTTP (agents, another
//! master). Not for: knowing who leads or where an agent lives (the composition root tells
//! through [`Resolver`]), parsing any API, identity (the table already names the action each
//! route will ask for).
//!
//! Invariants: nothing is answered that is not a row of the table; bodies are never held as
//! a whole, in either direction; what a client claims about its own origin never reaches an
//! upstream; every resource has a limit in [`Limits`].
//!
//! Start reading at [`server`] (sockets), then `dispatch` (one request), `proxy` (one hop).
#![forbid(unsafe_code)]

mod body;
mod config;
mod dispatch;
mod documents;
mod headers;
mod pages;
mod path;
mod proxy;
mod resolver;
pub mod routes;
pub mod server;

pub use config::{ClusterFacts, Config, Limits};
pub use resolver::{AgentAddress, Leader, Resolver, Upstream};
pub use server::{AdminRouter, BindError, Listening};
