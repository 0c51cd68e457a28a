//! The container runtime as the agent's shell uses it: orders in, inputs out.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use containers::{
    Command, ContainerEvent, ImageSource, LaunchSpec, Limits, NestedSpec, Probed, Runtime, Volume,
};
use mesos_agent::shell::Containers;
use mesos_agent::state::Nested;
use mesos_agent::{
    ContainerExit, ContainerLaunch, ContainerResize, ExitStatus, Input, LaunchCommand, Look,
    RecoveredContainer, RecoveredState, Seen, VolumeMount, VolumeWork,
};
use model::{ContainerId, Probe, UpdateId};
use tokio::sync::{Semaphore, mpsc};

use crate::volumes::Volumes;

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
    volumes: Volumes,
}

impl ContainersSide {
    /// `marks_dir` remembers which work on volumes is done.
    pub fn new(runtime: Runtime, marks_dir: PathBuf) -> Self {
        Self {
            runtime,
            permits: Arc::new(Semaphore::new(LAUNCHES_MAX)),
            waiting: Arc::default(),
            volumes: Volumes::new(marks_dir),
        }
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

    fn resize(&self, resize: ContainerResize) {
        let side = self.clone();
        tokio::spawn(async move {
            side.volumes.carry_out().await;
            let limits = limits(resize.cpus_milli, resize.mem_mib, resize.pids);
            let volumes: Vec<Volume> = resize.volumes.into_iter().map(volume).collect();
            let sandbox = PathBuf::from(resize.sandbox);
            if let Err(error) = side.runtime.resize(&resize.id, limits, sandbox, volumes).await {
                tracing::warn!(container = %resize.id, error = chain(&error), "the container keeps its limits");
            }
        });
    }

    fn volume(&self, work: VolumeWork, inputs: mpsc::Sender<Input>) {
        self.volumes.order(work, inputs);
        let volumes = self.volumes.clone();
        tokio::spawn(async move { volumes.carry_out().await });
    }

    fn look(&self, look: Look, inputs: mpsc::Sender<Input>) {
        let runtime = self.runtime.clone();
        tokio::spawn(async move {
            let number = look.number;
            let seen = see(&runtime, look).await;
            // Fails only when the agent's loop has ended.
            let _ = inputs.send(Input::Seen { number, seen }).await;
        });
    }

    fn volume_settled(&self, uuid: UpdateId) {
        self.volumes.settled(uuid);
    }
}

/// Looks at a task from inside, or from the node's loopback, which is its own too.
async fn see(runtime: &Runtime, look: Look) -> Seen {
    let limit = (look.timeout_ms > 0).then(|| Duration::from_millis(look.timeout_ms));
    match look.probe {
        Probe::Tcp { ipv6, port } => seen(containers::probe_tcp(ipv6, port, limit).await, Seen::Connected),
        Probe::Http { tls, ipv6, port, path } => {
            let probed = containers::probe_http(tls, ipv6, port, &path, limit).await;
            seen(probed, |status| Seen::Status(u32::from(status)))
        }
        Probe::Command(info) => {
            let command = match info.value {
                Some(line) if info.shell => Command::Shell(line),
                Some(program) => {
                    Command::Argv([program].into_iter().chain(info.arguments.into_iter().skip(1)).collect())
                }
                None => Command::Argv(info.arguments),
            };
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
            let spec = NestedSpec {
                id: look.container.child(&format!("check-{now:x}-{}", look.number)),
                command,
                env: info.environment,
                // The check's own user is not looked at, as in the original.
                user: None,
                terminal: None,
                session: true,
            };
            seen(runtime.run_nested(spec, limit).await, |status| match status {
                containers::ExitStatus::Code(code) => Seen::Exit(code),
                containers::ExitStatus::Signal(signal) => {
                    Seen::Failed(format!("the command ended with signal {signal}"))
                }
                containers::ExitStatus::Unknown => Seen::Failed("the command's end was not seen".to_owned()),
            })
        }
    }
}

fn seen<T>(probed: Probed<T>, done: impl FnOnce(T) -> Seen) -> Seen {
    match probed {
        Probed::Done(value) => done(value),
        Probed::TimedOut => Seen::TimedOut,
        Probed::Failed(text) => Seen::Failed(text),
    }
}

fn limits(cpus_milli: u64, mem_mib: u64, pids: u64) -> Limits {
    Limits { cpus_milli, mem_mib, pids, cfs: true }
}

fn volume(mount: VolumeMount) -> Volume {
    Volume {
        source: PathBuf::from(mount.source),
        container_path: mount.container_path,
        read_only: mount.read_only,
        owned: mount.owned,
    }
}

const TERM: i32 = 15;

impl ContainersSide {
    async fn start(&self, launch: ContainerLaunch) -> Result<u32, String> {
        let sandbox = PathBuf::from(&launch.sandbox);
        make_sandboxes(&sandbox, launch.nested.as_ref())
            .map_err(|error| format!("cannot make the sandbox {}: {error}", sandbox.display()))?;
        self.volumes.carry_out().await;
        let volumes: Vec<Volume> = launch.volumes.into_iter().map(volume).collect();
        for volume in &volumes {
            std::fs::create_dir_all(&volume.source)
                .map_err(|error| format!("cannot make the volume {}: {error}", volume.source.display()))?;
        }
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
            limits: limits(launch.cpus_milli, launch.mem_mib, launch.pids),
            volumes,
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

fn make_sandboxes(sandbox: &Path, nested: Option<&Nested>) -> std::io::Result<()> {
    let Some(nested) = nested else { return make_run(sandbox, SANDBOX_MODE) };
    let run = Path::new(&nested.run_sandbox);
    // Tasks of one group may have users of their own: they pass through.
    make_run(run, 0o755)?;
    let tasks = run.join("tasks");
    for dir in [run.join("containers"), tasks.clone()] {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
    }
    std::fs::DirBuilder::new().mode(SANDBOX_MODE).create(sandbox)?;
    let Some(name) = sandbox.file_name() else { return Ok(()) };
    link(&Path::new("../containers").join(name), &tasks.join(&nested.task))
}

/// The sandbox of a run, which may be there already.
fn make_run(sandbox: &Path, mode: u32) -> std::io::Result<()> {
    let (Some(runs), Some(name)) = (sandbox.parent(), sandbox.file_name()) else { return Ok(()) };
    // Everyone may pass through, only the task's user may look inside.
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(runs)?;
    match std::fs::DirBuilder::new().mode(mode).create(sandbox) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        other => other?,
    }
    link(Path::new(name), &runs.join("latest"))
}

/// A leftover of an earlier run is replaced.
fn link(target: &Path, place: &Path) -> std::io::Result<()> {
    if symlink(target, place).is_err() {
        std::fs::remove_file(place)?;
        symlink(target, place)?;
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
