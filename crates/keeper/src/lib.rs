//! The parent of every task process on a node: one tiny single-threaded process.
//!
//! It starts containers that were fully prepared by its client (the
//! `containers` room), is told of their end by the kernel, writes both to disk
//! and answers on a Unix socket in its directory. It decides nothing, pulls
//! nothing, creates no control group and removes no file system.
//! Invariants: a command never runs before its pid is on disk; an exit status
//! is on disk before anybody is told; the keeper outlives its clients, and
//! containers outlive the keeper.
//! Start reading at [`server`], then [`launch`] and [`child`].

mod capability;
mod child;
mod handover;
mod launch;
mod ops;
pub mod process;
pub mod protocol;
pub mod record;
mod server;
pub mod spec;
pub mod terminal;

pub use capability::CONTAINER_CAPABILITIES;
pub use server::{Config, Error, run};

/// The socket's name in the runtime directory.
pub const SOCKET_FILE: &str = "keeper.sock";
/// Locked by the running keeper for its whole life.
pub const LOCK_FILE: &str = "keeper.lock";
/// Holds one directory per container.
pub const CONTAINERS_DIR: &str = "containers";
