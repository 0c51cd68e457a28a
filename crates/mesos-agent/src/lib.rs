//! The Mesos agent: runs what the master says, remembers it before it acts,
//! and reports every change in order until it is acknowledged.
//!
//! [`Agent`] is the pure brain; [`shell`] owns the stream to the master, the
//! container runtime and the checkpoint file. Tasks outlive this process: a
//! start is always a recovery. Behaviour: `apache/mesos` `src/slave/slave.cpp`,
//! `src/launcher/executor.cpp`. Start reading at [`brain`].
#![forbid(unsafe_code)]

pub mod brain;
mod checks;
pub mod config;
mod drain;
mod executors;
mod exits;
mod history;
mod invariants;
mod launch;
mod operations;
mod reconfigure;
mod recovery;
pub mod shell;
pub mod state;
mod tasks;
mod updates;
pub mod view;

pub use brain::{Agent, Effect, ExecutorConn, ExecutorRefusal, Input, Out};
pub use checks::{Look, Seen};
pub use config::AgentConfig;
pub use launch::SANDBOX_IN_CONTAINER;
pub use reconfigure::check as check_start;
pub use state::{
    ContainerExit, ContainerLaunch, ContainerResize, ExitStatus, LaunchCommand, Record, RecoveredContainer,
    RecoveredState, VolumeChange, VolumeMount, VolumeWork, Write,
};
pub use view::AgentView;
