//! Containers on one node: images, limits, processes, and their ends.
//!
//! The agent asks through [`Runtime`]; processes are started by the `keeper`
//! room's own process, which this room starts, finds again and outlives. This
//! room prepares everything a start needs (image layers, control groups, user,
//! command, environment) and removes all of it afterwards. It knows nothing of
//! tasks, frameworks or masters, and never removes a sandbox.
//! Invariants: a failed launch leaves nothing; every container's end is told at
//! least once, whatever was killed in between; nothing half-unpacked is run.
//! Start reading at [`runtime`], then [`table`] and [`link`].
#![deny(unsafe_code)]

mod api;
mod cgroup;
mod image;
mod link;
mod nested;
mod node;
mod prepare;
mod probe;
mod runtime;
mod table;
mod user;

pub use api::*;
pub use image::PullError;
pub use nested::*;
pub use prepare::SANDBOX_TARGET;
pub use probe::{Probed, probe_http, probe_tcp};
pub use runtime::Runtime;
