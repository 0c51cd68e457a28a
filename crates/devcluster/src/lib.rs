//! A whole DC/OS on one machine.
//!
//! Responsible for local clusters: each node its own network namespace on a
//! private bridge, its own view of the file system, host name, control groups,
//! data directory and log. Not for what a node does: it starts `dcosd master` and
//! `dcosd agent` and knows nothing else about them.
//!
//! Three kinds of process exist: the command a person runs ([`cli`]), one
//! supervisor per node ([`node`]) and one [`gateway`] per cluster. They share
//! state only through small files in the run directory ([`layout`]).
//! Invariant: the host's own network never sees a link, address or route of a
//! cluster, and after `down` nothing but the data directory is left.
//!
//! Start reading at [`up`], then [`power`].

pub mod backoff;
pub mod cgroup;
pub mod cli;
pub mod down;
pub mod error;
pub mod forward;
pub mod gateway;
pub mod layout;
pub mod links;
pub mod log_file;
pub mod logs;
pub mod machine;
pub mod namespaces;
pub mod node;
pub mod pki;
pub mod power;
pub mod probe;
pub mod process;
pub mod shell;
pub mod signals;
pub mod spec;
pub mod status;
pub mod up;

pub use error::{Error, Result};

/// The cluster's name unless `--name` says otherwise.
pub const DEFAULT_NAME: &str = "dcos";
/// Admin Router's port on the host's loopback unless `--port` says otherwise.
pub const DEFAULT_PORT: u16 = 8000;
/// An image registry on this port of the host's loopback is reachable by the nodes.
pub const DEFAULT_HOST_PORT: u16 = 5000;
