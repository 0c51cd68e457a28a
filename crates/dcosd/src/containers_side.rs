//! The container runtime as the agent's shell uses it: orders in, inputs out.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use containers::{Command, ContainerEvent, ImageSource, LaunchSpec, Limits, Runtime};
use mesos_agent::shell::Containers;
use mesos_agent::{
    ContainerExit, ContainerLaunch, ExitStatus, Input, LaunchCommand, RecoveredContainer, RecoveredState,
};
use model::ContainerId;
use tokio::sync::{Semaphore, mpsc};

/// Launches prepared at one time, pulls of images included; more wait their turn.
const LAUNCHES_MAX: usize = 64;
/// Mode of a sandbox, as since Mesos 1.6.
const SANDBOX_MODE: u32 = 0o750;

#[derive(Clone)]
pub struct ContainersSide {
    runtime: Runtime,
    permits: Arc<Semaphore>,
    /// Launches that wait for their turn; true: cancelled meanwhile.
    waiting: Arc<Mutex<BTreeMap<ContainerId, bool>>>,
}

impl ContainersSide {
    pub fn new(runtime: Runtime) -> Self {
        Self { runtime, permits: Arc::new(Semaphore::new(LAUNCHES_MAX)), waiting: Arc::default() }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<ContainerId, bool>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Containers for ContainersSide {
    fn launch(&self, launch: ContainerLaunch, inputs: mpsc::Sender<Input>) {
        let side = self.clone();
        self.waiting().insert(launch.id.clone(), false);
        tokio::spawn(async move {
            let id = launch.id.clone();
            // The semaphore is never closed.
            let _permit = side.permits.acquire().await;
            let cancelled = side.waiting().remove(&id).unwrap_or(false);
            let started = match cancelled {
                true => Err("the launch was cancelled before its turn".to_owned()),
                false => side.start(launch).await,
            };
            let input = match started {
                Ok(pid) => Input::Started { id, pid },
                Err(message) => Input::LaunchFailed { id, message },
            };
            // Fails only when the agent's loop has ended; its next start asks the runtime.
            let _ = inputs.send(input).await;
        });
    }

    fn terminate(&self, id: &ContainerId) {
        let (runtime, id) = (self.runtime.clone(), id.clone());
        tokio::spawn(async move {
            if let Err(error) = runtime.signal(&id, TERM).await {
                tracing::warn!(container = %id, error = chain(&error), "SIGTERM was not delivered");
            }
        });
    }

    fn destroy(&self, id: &ContainerId) {
        if let Some(cancelled) = self.waiting().get_mut(id) {
            *cancelled = true;
            return;
        }
        let (runtime, id) = (self.runtime.clone(), id.clone());
        tokio::spawn(async move {
            if let Err(error) = runtime.destroy(&id).await {
                tracing::warn!(container = %id, error = chain(&error), "the container was not destroyed");
            }
        });
    }

    fn forget(&self, id: &ContainerId) {
        let (runtime, id) = (self.runtime.clone(), id.clone());
        tokio::spawn(async move {
            if let Err(error) = runtime.forget(&id).await {
                tracing::warn!(container = %id, error = chain(&error), "the container's remains are not gone");
            }
        });
    }
}

const TERM: i32 = 15;

impl ContainersSide {
    async fn start(&self, launch: ContainerLaunch) -> Result<u32, String> {
        let sandbox = PathBuf::from(&launch.sandbox);
        make_sandbox(&sandbox)
            .map_err(|error| format!("cannot make the sandbox {}: {error}", sandbox.display()))?;
        let command = match launch.command {
            LaunchCommand::Shell(line) => Command::Shell(line),
            LaunchCommand::Argv(argv) => Command::Argv(argv),
            LaunchCommand::Image { args } => Command::ImageDefault { args },
        };
        let force_pull = launch.force_pull;
        let spec = LaunchSpec {
            id: launch.id,
            sandbox,
            command,
            env: launch.env,
            user: launch.user,
            image: launch.image.map(|reference| ImageSource { reference, force_pull }),
            limits: Limits {
                cpus_milli: launch.cpus_milli,
                mem_mib: launch.mem_mib,
                pids: launch.pids,
                cfs: true,
            },
        };
        match self.runtime.launch(spec).await {
            Ok(launched) => {
                for warning in &launched.warnings {
                    tracing::warn!(warning, "a container runs with less than asked");
                }
                Ok(launched.pid)
            }
            Err(error) => Err(chain(&error)),
        }
    }
}

fn make_sandbox(sandbox: &Path) -> std::io::Result<()> {
    let (Some(runs), Some(name)) = (sandbox.parent(), sandbox.file_name()) else { return Ok(()) };
    // Everyone may pass through, only the task's user may look inside.
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(runs)?;
    std::fs::DirBuilder::new().mode(SANDBOX_MODE).create(sandbox)?;
    let latest = runs.join("latest");
    // A task id is launched once, so the link is only ever made once; a leftover is replaced.
    if symlink(name, &latest).is_err() {
        std::fs::remove_file(&latest)?;
        symlink(name, &latest)?;
    }
    Ok(())
}

/// The error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

fn exit(status: containers::ExitStatus, memory: Option<String>) -> ContainerExit {
    let status = match status {
        containers::ExitStatus::Code(code) => ExitStatus::Code(code),
        containers::ExitStatus::Signal(signal) => ExitStatus::Signal(signal),
        containers::ExitStatus::Unknown => ExitStatus::Unknown,
    };
    ContainerExit { status, memory }
}

/// What is still there after a restart.
pub async fn recovered(runtime: &Runtime) -> Vec<RecoveredContainer> {
    let mut found = Vec::new();
    for container in runtime.recover().await {
        let state = match container.state {
            containers::RecoveredState::Running { pid, .. } => RecoveredState::Running { pid },
            containers::RecoveredState::Exited(ended) => {
                RecoveredState::Exited(exit(ended.status, ended.mem_limit_message))
            }
            containers::RecoveredState::Lost => {
                // The agent treats it as never started; its remains go.
                if let Err(error) = runtime.forget(&container.id).await {
                    tracing::warn!(container = %container.id, error = chain(&error), "remains are not gone");
                }
                continue;
            }
        };
        found.push(RecoveredContainer { id: container.id, state });
    }
    found
}

/// Passes the runtime's events on until either side ends.
pub async fn follow(mut events: mpsc::Receiver<ContainerEvent>, inputs: mpsc::Sender<Input>) {
    while let Some(event) = events.recv().await {
        match event {
            ContainerEvent::Exited { id, status, mem_limit_message, .. } => {
                let exit = exit(status, mem_limit_message);
                if inputs.send(Input::Exited { id, exit }).await.is_err() {
                    return;
                }
            }
            ContainerEvent::Pulling { id, reference } => {
                tracing::info!(container = %id, reference, "pulling an image");
            }
        }
    }
}
