//! The legacy Mesos HTTP endpoints of masters and agents.
//!
//! Parses queries, reads a published view, writes the JSON that Mesos clients
//! know, byte by byte where they depend on it (numbers with a fraction, ranges
//! as text, `slave` in every name). Decides nothing and authorises nobody: who
//! may call what is in the route tables ([`master::ROUTES`], [`agent::ROUTES`]),
//! for the door that checks it. The wire types live here only and are converted
//! by hand. Invariants: a path is served if and only if it is in a table; no
//! answer is larger in memory than one chunk, however large the cluster.
//!
//! Contract: `apache/mesos` `src/master/readonly_handler.cpp`,
//! `src/slave/http.cpp`, `src/files/files.cpp`, `src/common/http.cpp`.
//! Start reading at [`master`] and [`files`].
#![forbid(unsafe_code)]

pub mod access;
pub mod agent;
mod build;
mod call_body;
#[allow(dead_code, unused_imports, reason = "the APIs that use the rest are on their way")]
pub(crate) mod convert;
mod duration;
mod event_stream;
mod files;
mod leader;
pub mod master;
mod query;
mod reply;
mod routes;
mod scheduler;
mod stream;
mod system;
mod wire;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod raw_http;

pub use access::{Access, Action, Authorizer, Everyone};
pub use agent::{AgentIdentity, ContainerStatistics, agent_router};
pub use build::BuildInfo;
pub use files::FilesConfig;
pub use leader::{Answer, Leadership, LeadingMaster, SchedulerEnds, Watch};
pub use master::{MasterIdentity, master_router};
pub use routes::Route;
