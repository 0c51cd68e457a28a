//! What the agent's API asks of whoever runs containers.
//!
//! The protocol of sessions and attachments is kept here; processes, terminals
//! and pipes belong to the implementation. Every call may be made at any time and
//! for any id.

use bytes::Bytes;
use model::{CommandInfo, ContainerId, ContainerInfo, Opaque, Quantities, Resources, TaskState};
use tokio::sync::mpsc;

use crate::agent::ContainerStatistics;
use crate::leader::Answer;

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    pub rows: u16,
    pub columns: u16,
}

/// A container to start beside those of tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct NewContainer {
    /// With a parent: nested in it.
    pub id: ContainerId,
    pub command: Option<CommandInfo>,
    pub container: Option<ContainerInfo>,
    /// The v1 `CommandInfo` and `ContainerInfo` as they came.
    pub raw_command: Option<Opaque>,
    pub raw_container: Option<Opaque>,
    /// It gets a terminal; its whole output is one stream.
    pub tty: Option<Option<WindowSize>>,
    /// Of a container of its own; a nested one shares its parent's.
    pub resources: Resources,
    pub limits: Quantities,
    /// For a session: it shares its parent's namespaces, control groups, file
    /// system, environment and user, and its output is kept until somebody
    /// attaches.
    pub session: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Launched {
    Now,
    /// One with this id runs already.
    Before,
}

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Termination {
    /// As of wait(2): exit code 3 is 768.
    pub status: Option<i32>,
    pub state: Option<TaskState>,
    pub reason: Option<model::Reason>,
    pub limitation: Option<Resources>,
    pub message: Option<String>,
}

/// Why a container is not run, found or reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContainerError {
    #[error("no container {0}")]
    NotFound(ContainerId),
    /// 400: it cannot be as it was asked for.
    #[error("{0}")]
    Invalid(String),
    /// 500.
    #[error("{0}")]
    Failed(String),
    /// 501: this node cannot do that at all.
    #[error("{0}")]
    Unsupported(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    Stdout,
    Stderr,
}

/// Output as it comes; ends with the container.
pub type Output = mpsc::Receiver<(OutputStream, Bytes)>;

/// A container that runs beside those of tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerListing {
    pub id: ContainerId,
    pub pid: Option<u32>,
}

/// Runs containers for the API.
pub trait ContainerRuntime: Send + Sync {
    fn launch(&self, container: NewContainer) -> Answer<'_, Result<Launched, ContainerError>>;
    /// Answers when it has ended.
    fn wait(&self, id: ContainerId) -> Answer<'_, Result<Termination, ContainerError>>;
    fn kill(&self, id: ContainerId, signal: i32) -> Answer<'_, Result<(), ContainerError>>;
    /// Ends all of it; nothing when it has ended before.
    fn destroy(&self, id: ContainerId) -> Answer<'_, Result<(), ContainerError>>;
    /// Forgets an ended one and its sandbox; fails while it runs.
    fn remove(&self, id: ContainerId) -> Answer<'_, Result<(), ContainerError>>;
    fn attach_output(&self, id: ContainerId) -> Answer<'_, Result<Output, ContainerError>>;
    /// Only one is open per container at a time.
    fn attach_input(&self, id: ContainerId) -> Answer<'_, Result<Box<dyn ContainerInput>, ContainerError>>;
    /// Nested and standalone ones; not those of tasks and executors.
    fn list(&self) -> Answer<'_, Vec<ContainerListing>>;
    /// `None`: not known.
    fn statistics(&self, id: ContainerId) -> Answer<'_, Option<ContainerStatistics>>;
    /// Removes images that nothing runs from, other than the excluded ones.
    fn prune_images(&self, excluded: Vec<String>) -> Answer<'_, Result<(), ContainerError>>;
}

/// The way to a container's standard input.
pub trait ContainerInput: Send {
    /// Whether it has a terminal.
    fn has_tty(&self) -> bool;
    fn write(&mut self, data: Bytes) -> Answer<'_, Result<(), ContainerError>>;
    /// No more will come.
    fn close(&mut self) -> Answer<'_, Result<(), ContainerError>>;
    fn resize(&mut self, size: WindowSize) -> Answer<'_, Result<(), ContainerError>>;
}

/// For a node that runs tasks only.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoContainers;

const TASKS_ONLY: &str =
    "This agent runs containers for tasks only: launch a task, or use an agent that can run others";

fn unsupported<T>() -> Answer<'static, Result<T, ContainerError>>
where
    T: Send + 'static,
{
    Box::pin(async { Err(ContainerError::Unsupported(TASKS_ONLY.to_owned())) })
}

impl ContainerRuntime for NoContainers {
    fn launch(&self, _: NewContainer) -> Answer<'_, Result<Launched, ContainerError>> {
        unsupported()
    }

    fn wait(&self, id: ContainerId) -> Answer<'_, Result<Termination, ContainerError>> {
        Box::pin(async { Err(ContainerError::NotFound(id)) })
    }

    fn kill(&self, id: ContainerId, _: i32) -> Answer<'_, Result<(), ContainerError>> {
        Box::pin(async { Err(ContainerError::NotFound(id)) })
    }

    fn destroy(&self, _: ContainerId) -> Answer<'_, Result<(), ContainerError>> {
        Box::pin(async { Ok(()) })
    }

    fn remove(&self, _: ContainerId) -> Answer<'_, Result<(), ContainerError>> {
        Box::pin(async { Ok(()) })
    }

    fn attach_output(&self, _: ContainerId) -> Answer<'_, Result<Output, ContainerError>> {
        unsupported()
    }

    fn attach_input(&self, _: ContainerId) -> Answer<'_, Result<Box<dyn ContainerInput>, ContainerError>> {
        Box::pin(async { Err(ContainerError::Unsupported(TASKS_ONLY.to_owned())) })
    }

    fn list(&self) -> Answer<'_, Vec<ContainerListing>> {
        Box::pin(async { Vec::new() })
    }

    fn statistics(&self, _: ContainerId) -> Answer<'_, Option<ContainerStatistics>> {
        Box::pin(async { None })
    }

    fn prune_images(&self, _: Vec<String>) -> Answer<'_, Result<(), ContainerError>> {
        unsupported()
    }
}
