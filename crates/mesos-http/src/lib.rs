//! The Mesos HTTP APIs of masters and agents: v1 for schedulers, executors and
//! operators, and the legacy endpoints.
//!
//! Parses requests, reads a published view or asks the room that decides, and
//! writes what Mesos clients know, byte by byte where they depend on it (numbers
//! with a fraction, ranges as text, `slave` in every name). Decides nothing. Who
//! may call what is in the route tables ([`master::ROUTES`], [`agent::ROUTES`]) and
//! the tables of calls ([`MASTER_CALLS`], [`AGENT_CALLS`]), and is asked of an
//! [`Authorizer`]. The wire types live in `mesos-proto` and here only and are
//! converted by hand. Invariants: a path is served if and only if it is in a table;
//! an answer about the cluster is made once per snapshot, however many ask for it,
//! and what one caller may not see is not in the snapshot that he is answered from.
//!
//! Contract: `apache/mesos` `src/master/{http,readonly_handler}.cpp`,
//! `src/slave/http.cpp`, `src/files/files.cpp`, `src/common/http.cpp`.
//! Start reading at [`master`], `operator` and `files`.
#![forbid(unsafe_code)]

pub mod access;
pub mod agent;
mod body;
mod build;
mod call_body;
#[allow(dead_code, unused_imports, reason = "the APIs that use the rest are on their way")]
pub(crate) mod convert;
mod duration;
mod event_stream;
mod executor;
mod files;
mod leader;
mod logging;
pub mod master;
mod operator;
mod query;
mod reply;
mod routes;
mod scheduler;
mod shared;
mod stream;
mod system;
mod wire;

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod raw_http;

pub use access::{Access, Action, Authorizer, Everyone};
pub use agent::{AgentIdentity, ContainerStatistics, agent_router};
pub use build::BuildInfo;
pub use files::FilesConfig;
pub use leader::{Answer, Leadership, LeadingMaster, SchedulerEnds, Watch};
pub use logging::{LogLevel, Logging};
pub use master::{MasterIdentity, master_router};
pub use operator::agent::runtime;
pub use operator::{AGENT_CALLS, MASTER_CALLS};
pub use routes::Route;
