//! The agent API's calls about containers, as far as this node's runtime goes.
//!
//! It signals and measures any container of the node. It starts containers for
//! tasks only: nested and standalone ones, and the ways to a container's input and
//! output, need what the keeper does not have yet, and are refused with that text.

use std::time::{SystemTime, UNIX_EPOCH};

use containers::{ControlError, Runtime};
use mesos_http::runtime::{
    ContainerError, ContainerInput, ContainerListing, ContainerRuntime, Launched, NewContainer, Output,
    Termination,
};
use mesos_http::{Answer, ContainerStatistics};
use model::ContainerId;

use crate::containers_side::chain;

const NANOS: f64 = 1e9;

#[derive(Clone)]
pub struct ContainerCalls {
    runtime: Runtime,
}

impl ContainerCalls {
    pub fn new(runtime: Runtime) -> Self {
        Self { runtime }
    }
}

fn unsupported(what: &str) -> ContainerError {
    ContainerError::Unsupported(format!(
        "This version of the agent cannot {what}: it runs containers for tasks only. Launch a task instead"
    ))
}

fn refused(error: &ControlError) -> ContainerError {
    match error {
        ControlError::NotRunning(id) => ContainerError::NotFound(id.clone()),
        ControlError::Refused(text) => ContainerError::Invalid(text.clone()),
        other => ContainerError::Failed(chain(other)),
    }
}

impl ContainerRuntime for ContainerCalls {
    fn launch(&self, container: NewContainer) -> Answer<'_, Result<Launched, ContainerError>> {
        let what = match (container.session, container.id.parent()) {
            (true, _) => "open a session in a container",
            (false, Some(_)) => "launch a container inside another",
            (false, None) => "launch a standalone container",
        };
        Box::pin(async move { Err(unsupported(what)) })
    }

    fn wait(&self, id: ContainerId) -> Answer<'_, Result<Termination, ContainerError>> {
        Box::pin(async move {
            match self.runtime.usage(&id).await {
                Some(_) => Err(unsupported("wait for a task's container")),
                None => Err(ContainerError::NotFound(id)),
            }
        })
    }

    fn kill(&self, id: ContainerId, signal: i32) -> Answer<'_, Result<(), ContainerError>> {
        Box::pin(async move { self.runtime.signal(&id, signal).await.map_err(|error| refused(&error)) })
    }

    fn destroy(&self, _: ContainerId) -> Answer<'_, Result<(), ContainerError>> {
        // Only sessions are destroyed by this call, and there are none.
        Box::pin(async { Ok(()) })
    }

    fn remove(&self, id: ContainerId) -> Answer<'_, Result<(), ContainerError>> {
        Box::pin(async move {
            match self.runtime.usage(&id).await {
                Some(_) => Err(ContainerError::Failed(format!("Container {id} is running"))),
                None => Ok(()),
            }
        })
    }

    fn attach_output(&self, id: ContainerId) -> Answer<'_, Result<Output, ContainerError>> {
        Box::pin(async move {
            match self.runtime.usage(&id).await {
                Some(_) => Err(unsupported("attach to a container's output; read its sandbox's files")),
                None => Err(ContainerError::NotFound(id)),
            }
        })
    }

    fn attach_input(&self, id: ContainerId) -> Answer<'_, Result<Box<dyn ContainerInput>, ContainerError>> {
        Box::pin(async move {
            match self.runtime.usage(&id).await {
                Some(_) => Err(unsupported("attach to a container's input")),
                None => Err(ContainerError::NotFound(id)),
            }
        })
    }

    fn list(&self) -> Answer<'_, Vec<ContainerListing>> {
        Box::pin(async { Vec::new() })
    }

    fn statistics(&self, id: ContainerId) -> Answer<'_, Option<ContainerStatistics>> {
        Box::pin(async move {
            let usage = self.runtime.usage(&id).await?;
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Some(ContainerStatistics {
                timestamp: since.as_secs_f64(),
                processes: u32::try_from(usage.pids).ok(),
                cpus_user_time_secs: Some(usage.cpu_user_ns as f64 / NANOS),
                cpus_system_time_secs: Some(usage.cpu_system_ns as f64 / NANOS),
                mem_rss_bytes: Some(usage.mem_bytes),
                mem_total_bytes: Some(usage.mem_total_bytes),
                ..ContainerStatistics::default()
            })
        })
    }

    fn prune_images(&self, _: Vec<String>) -> Answer<'_, Result<(), ContainerError>> {
        Box::pin(async { Err(unsupported("prune images")) })
    }
}
