//! Tests on real nodes: whole clusters of real processes, containers and packets.
//!
//! Each test has a cluster of its own and leaves nothing behind. They share the
//! machine's two cores badly, so only one runs at a time.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod break_it;
mod checks;
mod command_line;
mod compat;
mod exec;
mod foreign;
mod framework;
mod life_of_a_task;
mod support;
mod without_root;
