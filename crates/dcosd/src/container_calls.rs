//! The agent API's calls about containers, as this node's runtime carries them out.
//!
//! Nested containers, sessions and containers of their own are started here and
//! are none of the agent brain's; tasks' containers can be signalled, waited for,
//! watched and measured too. It decides nothing about rights.

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use containers::{
    AttachError, Command, ControlError, ImageSource, Input, InputError, LaunchError, LaunchSpec, Limits,
    NestedSpec, Runtime, Stream,
};
use mesos_http::runtime::{
    ContainerError, ContainerInput, ContainerListing, ContainerRuntime, Launched, NewContainer, Output,
    OutputStream, Termination, WindowSize,
};
use mesos_http::{Answer, ContainerStatistics};
use model::{CommandInfo, ContainerId};
use tokio::sync::mpsc;

use crate::containers_side::chain;

const NANOS: f64 = 1e9;
/// Most pieces of output between the runtime and a connection.
const PIECES_MAX: usize = 4;
/// Of a terminal whose size was not given.
const SIZE_DEFAULT: containers::WindowSize = containers::WindowSize { rows: 24, columns: 80 };
/// Mode of a sandbox, as since Mesos 1.6.
const SANDBOX_MODE: u32 = 0o750;

#[derive(Clone)]
pub struct ContainerCalls {
    runtime: Runtime,
    /// Holds the sandboxes of containers of their own.
    directory: PathBuf,
    pids_max: u64,
}

impl ContainerCalls {
    pub fn new(runtime: Runtime, directory: PathBuf, pids_max: u64) -> Self {
        Self { runtime, directory, pids_max }
    }

    async fn nest(&self, container: NewContainer) -> Result<Launched, ContainerError> {
        if container.container.as_ref().is_some_and(|info| info.image.is_some()) {
            return Err(ContainerError::Invalid(
                "The provided ContainerInfo is not supported: a nested container runs on its parent's file \
                 system; leave the image out, or launch a task group whose tasks have images"
                    .to_owned(),
            ));
        }
        let (command, info) = command(container.command, false)?;
        let spec = NestedSpec {
            id: container.id,
            command,
            env: info.environment,
            user: info.user,
            terminal: container.tty.map(|size| size.map_or(SIZE_DEFAULT, inner)),
            session: container.session,
        };
        launched(self.runtime.launch_nested(spec).await)
    }

    async fn stand_alone(&self, container: NewContainer) -> Result<Launched, ContainerError> {
        let id = container.id;
        if container.tty.is_some() {
            return Err(ContainerError::Invalid(
                "The provided ContainerInfo is not supported: only nested containers get a terminal; leave \
                 'tty_info' out"
                    .to_owned(),
            ));
        }
        if id.as_str().starts_with('.') || id.as_str().contains('/') {
            return Err(ContainerError::Invalid(format!("Container id {id} cannot name a directory")));
        }
        let image = container.container.filter(|info| info.image.is_some());
        let (command, info) = command(container.command, image.is_some())?;
        let asked = |name: &str, amount: model::Quantity| {
            let limit = container.limits.iter().find(|(known, _)| **known == *name);
            limit.map_or(amount, |(_, limit)| *limit)
        };
        let whole = |quantity: model::Quantity| u64::try_from(quantity.milli()).unwrap_or_default();
        let cpus = whole(asked("cpus", container.resources.cpus()));
        let mem = whole(asked("mem", container.resources.mem())) / 1000;
        let sandbox = self.directory.join(id.as_str());
        let known = self.runtime.operated().into_iter().any(|found| found.id == id);
        if known {
            return Ok(Launched::Before);
        }
        let made = make(&self.directory, &sandbox);
        made.map_err(|error| {
            ContainerError::Failed(format!("cannot make the sandbox {}: {error}", sandbox.display()))
        })?;
        let spec = LaunchSpec {
            id,
            sandbox: sandbox.clone(),
            command,
            env: [("MESOS_SANDBOX".to_owned(), visible(&sandbox, image.is_some()))]
                .into_iter()
                .chain(info.environment)
                .collect(),
            user: info.user,
            image: image.and_then(|info| {
                let force_pull = info.force_pull;
                info.image.map(|reference| ImageSource { reference, force_pull })
            }),
            limits: Limits { cpus_milli: cpus, mem_mib: mem, pids: self.pids_max, cfs: true },
            volumes: Vec::new(),
        };
        let outcome = launched(self.runtime.launch_operated(spec).await);
        if outcome.is_err() {
            // Made for this launch only; what it left behind is of no use.
            let _ = std::fs::remove_dir_all(&sandbox);
        }
        outcome
    }

    fn is_operators(&self, id: &ContainerId) -> bool {
        self.runtime.operated().iter().any(|found| found.id == *id)
    }
}

fn visible(sandbox: &std::path::Path, in_image: bool) -> String {
    if in_image { containers::SANDBOX_TARGET.to_owned() } else { sandbox.display().to_string() }
}

fn make(directory: &std::path::Path, sandbox: &std::path::Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    std::fs::DirBuilder::new().mode(SANDBOX_MODE).create(sandbox)
}

fn inner(size: WindowSize) -> containers::WindowSize {
    containers::WindowSize { rows: size.rows, columns: size.columns }
}

/// What to run, and the rest of what was said about it.
fn command(info: Option<CommandInfo>, in_image: bool) -> Result<(Command, CommandInfo), ContainerError> {
    let empty =
        CommandInfo { shell: false, value: None, arguments: Vec::new(), environment: Vec::new(), user: None };
    let mut info = info.unwrap_or(empty);
    let arguments = std::mem::take(&mut info.arguments);
    let command = match info.value.take() {
        Some(line) if info.shell => Command::Shell(line),
        // The first argument is the program's own name for itself.
        Some(program) => Command::Argv([program].into_iter().chain(arguments.into_iter().skip(1)).collect()),
        None if in_image => Command::ImageDefault { args: arguments },
        None if !arguments.is_empty() => Command::Argv(arguments),
        None => {
            return Err(ContainerError::Invalid(
                "The container has no command: set 'command.value' or 'command.arguments'".to_owned(),
            ));
        }
    };
    Ok((command, info))
}

fn launched(outcome: Result<containers::Launched, LaunchError>) -> Result<Launched, ContainerError> {
    match outcome {
        Ok(launched) => {
            for warning in &launched.warnings {
                tracing::warn!(warning, "a container runs with less than asked");
            }
            Ok(Launched::Now)
        }
        Err(LaunchError::Exists(_)) => Ok(Launched::Before),
        Err(LaunchError::NoParent(parent)) => Err(ContainerError::NotFound(parent)),
        Err(LaunchError::Invalid(text)) => Err(ContainerError::Invalid(text)),
        Err(error) => Err(ContainerError::Failed(chain(&error))),
    }
}

fn refused(error: &ControlError) -> ContainerError {
    match error {
        ControlError::NotRunning(id) => ContainerError::NotFound(id.clone()),
        ControlError::Refused(text) => ContainerError::Invalid(text.clone()),
        other => ContainerError::Failed(chain(other)),
    }
}

fn not_attached(error: AttachError) -> ContainerError {
    match error {
        AttachError::NotFound(id) => ContainerError::NotFound(id),
        AttachError::NoInput(_) | AttachError::NoOutput(_) | AttachError::Busy(_) => {
            ContainerError::Invalid(error.to_string())
        }
        AttachError::Keeper(_) => ContainerError::Failed(error.to_string()),
    }
}

impl ContainerRuntime for ContainerCalls {
    fn launch(&self, container: NewContainer) -> Answer<'_, Result<Launched, ContainerError>> {
        Box::pin(async move {
            match container.id.parent() {
                Some(_) => self.nest(container).await,
                None => self.stand_alone(container).await,
            }
        })
    }

    fn wait(&self, id: ContainerId) -> Answer<'_, Result<Termination, ContainerError>> {
        Box::pin(async move {
            let exit = self.runtime.wait(&id).await.ok_or(ContainerError::NotFound(id))?;
            let reason = exit.oom.then_some(model::Reason::ContainerLimitationMemory);
            Ok(Termination {
                status: exit.status.raw(),
                state: reason.map(|_| model::TaskState::Failed),
                reason,
                limitation: None,
                message: exit.mem_limit_message,
            })
        })
    }

    fn kill(&self, id: ContainerId, signal: i32) -> Answer<'_, Result<(), ContainerError>> {
        Box::pin(async move { self.runtime.kill(&id, signal).await.map_err(|error| refused(&error)) })
    }

    fn destroy(&self, id: ContainerId) -> Answer<'_, Result<(), ContainerError>> {
        Box::pin(async move {
            if !self.is_operators(&id) {
                return Ok(());
            }
            self.runtime.destroy(&id).await.map_err(|error| refused(&error))
        })
    }

    fn remove(&self, id: ContainerId) -> Answer<'_, Result<(), ContainerError>> {
        Box::pin(async move {
            let removed = self.runtime.remove(&id).await;
            removed.map_err(|error| ContainerError::Failed(chain(&error)))
        })
    }

    fn attach_output(&self, id: ContainerId) -> Answer<'_, Result<Output, ContainerError>> {
        Box::pin(async move {
            let mut output = self.runtime.attach_output(&id).await.map_err(not_attached)?;
            let (pieces, receiver) = mpsc::channel(PIECES_MAX);
            // Ends, and lets go of the output, when either side does.
            tokio::spawn(async move {
                loop {
                    let chunk = tokio::select! {
                        chunk = output.next() => chunk,
                        () = pieces.closed() => None,
                    };
                    let Some(chunk) = chunk else { return };
                    let from = match chunk.stream {
                        Stream::Stdout => OutputStream::Stdout,
                        Stream::Stderr => OutputStream::Stderr,
                    };
                    if pieces.send((from, chunk.data)).await.is_err() {
                        return;
                    }
                }
            });
            Ok(receiver)
        })
    }

    fn attach_input(&self, id: ContainerId) -> Answer<'_, Result<Box<dyn ContainerInput>, ContainerError>> {
        Box::pin(async move {
            let input = self.runtime.attach_input(&id).await.map_err(not_attached)?;
            Ok(Box::new(Attached(input)) as Box<dyn ContainerInput>)
        })
    }

    fn list(&self) -> Answer<'_, Vec<ContainerListing>> {
        let running = self.runtime.operated().into_iter().filter(|found| found.exit.is_none());
        let list = running.map(|found| ContainerListing { id: found.id, pid: found.pid }).collect();
        Box::pin(async { list })
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
        Box::pin(async {
            Err(ContainerError::Unsupported(
                "This version of the agent cannot prune images: remove its image store while it is stopped"
                    .to_owned(),
            ))
        })
    }
}

struct Attached(Input);

fn unheard(error: InputError) -> ContainerError {
    ContainerError::Failed(error.to_string())
}

impl ContainerInput for Attached {
    fn has_tty(&self) -> bool {
        self.0.has_terminal()
    }

    fn write(&mut self, data: Bytes) -> Answer<'_, Result<(), ContainerError>> {
        Box::pin(async move { self.0.write(&data).await.map_err(unheard) })
    }

    fn close(&mut self) -> Answer<'_, Result<(), ContainerError>> {
        self.0.close();
        Box::pin(async { Ok(()) })
    }

    fn resize(&mut self, size: WindowSize) -> Answer<'_, Result<(), ContainerError>> {
        Box::pin(async move { self.0.resize(inner(size)).await.map_err(unheard) })
    }
}
