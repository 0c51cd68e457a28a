//! The handle the agent holds: launch, signal, destroy, forget.
//!
//! Invariants: `launch` leaves either a running container or nothing; `destroy`
//! is idempotent and touches no sandbox; a container's record stays until
//! `forget`, so its end is told again after any restart.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use keeper::protocol::{Refusal, ReplyBody, RequestBody};
use keeper::record::{Identity, Record};
use keeper::spec::{Isolation, Spec};
use model::ContainerId;
use rustix::process::Signal;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::api::{
    Capabilities, Config, ContainerEvent, ControlError, EVENTS_MAX, LaunchError, LaunchSpec, Launched,
    Limits, RecoveredContainer, RecoveredState, StartError, Usage, Volume,
};
use crate::cgroup::{self, Cgroups};
use crate::image::{Image, Store};
use crate::link::{Link, Start};
use crate::nested::Streams;
use crate::node;
use crate::prepare::{self, Node};
use crate::table::{Origin, Phase, Table, kill};

/// How long processes may take to go after SIGKILL.
const KILL_PATIENCE: Duration = Duration::from_secs(30);
/// Rounds of killing what joined a container's control group from elsewhere.
const STRAGGLER_ROUNDS_MAX: usize = 100;

/// Cheap to clone; the last one closes the connection, not the containers.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) node: Node,
    capabilities: Capabilities,
    pub(crate) cgroups: Option<Arc<Cgroups>>,
    images: Store,
    pub(crate) table: Arc<Table>,
    pub(crate) link: Link,
    pub(crate) streams: Arc<Streams>,
    events: mpsc::Sender<ContainerEvent>,
    lost: Vec<ContainerId>,
}

impl Runtime {
    /// Starts the keeper or finds the one that runs, and everything it keeps.
    pub async fn start(config: Config) -> Result<(Self, mpsc::Receiver<ContainerEvent>), StartError> {
        let runtime_dir = make_dir(&config.runtime_dir)?;
        make_dir(&config.image_store_dir)?;
        let at_dir = |source| StartError::Directory { path: runtime_dir.clone(), source };
        // Orphans of a dead keeper become this process's children.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|errno| StartError::Subreaper(errno.into()))?;
        let root = rustix::process::geteuid().is_root();
        let mounts = cgroup::discover().unwrap_or_default();
        let cgroups = config.cgroup_root.as_deref().filter(|_| root);
        let cgroups = cgroups.and_then(|path| Cgroups::new(&mounts, path)).map(Arc::new);
        let node =
            Node { root, confines_devices: cgroups.as_ref().is_some_and(|groups| groups.confines_devices()) };
        let capabilities = node::capabilities(root, cgroups.as_deref());
        let (table, lost) = Table::load(&runtime_dir, cgroups.clone()).map_err(at_dir)?;
        if let Some(cgroups) = &cgroups {
            remove_orphans(cgroups, &runtime_dir);
        }
        let images = Store::open(&config)
            .map_err(|source| StartError::Directory { path: config.image_store_dir.clone(), source })?;
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        tokio::spawn(table.clone().tell(events.clone()));
        let start = Start {
            dir: runtime_dir.clone(),
            program: config.keeper_program,
            arguments: config.keeper_arguments,
            cgroups: cgroups.clone(),
        };
        let link = Link::open(start, table.clone()).await?;
        let streams = Arc::default();
        let inner = Inner { node, capabilities, cgroups, images, table, link, streams, events, lost };
        let runtime = Self { inner: Arc::new(inner) };
        runtime.end_sessions().await;
        Ok((runtime, receiver))
    }

    pub fn capabilities(&self) -> &Capabilities {
        &self.inner.capabilities
    }

    /// Every container with a record: ask once after [`Runtime::start`].
    pub async fn recover(&self) -> Vec<RecoveredContainer> {
        let mut found = self.inner.table.recovered();
        let lost = |id: &ContainerId| RecoveredContainer { id: id.clone(), state: RecoveredState::Lost };
        let known = |id: &ContainerId| self.inner.table.phase(id).is_some();
        found.extend(self.inner.lost.iter().filter(|id| !known(id) && self.record_exists(id)).map(lost));
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found
    }

    fn record_exists(&self, id: &ContainerId) -> bool {
        self.inner.table.record(id).dir().is_dir()
    }

    /// Starts a container. Goes on by itself if the caller stops waiting.
    pub async fn launch(&self, spec: LaunchSpec) -> Result<Launched, LaunchError> {
        self.launch_for(spec, None).await
    }

    pub(crate) async fn launch_for(
        &self,
        spec: LaunchSpec,
        origin: Option<Origin>,
    ) -> Result<Launched, LaunchError> {
        prepare::check(&spec, self.inner.node)?;
        let id = spec.id.clone();
        let Some(cancelled) = self.inner.table.begin(&id, origin) else {
            return Err(LaunchError::Exists(id));
        };
        let inner = self.inner.clone();
        let work = tokio::spawn(async move {
            let id = spec.id.clone();
            let result = inner.launch(spec, cancelled).await;
            match &result {
                Ok(_) => inner.table.answered(&id),
                Err(_) => {
                    inner.clear(&id, true).await.unwrap_or_else(|error| {
                        tracing::warn!(container = %id, %error, "a failed launch left something behind");
                    });
                    inner.table.remove(&id);
                }
            }
            result
        });
        work.await.unwrap_or_else(|error| Err(LaunchError::Keeper(error.to_string())))
    }

    /// Sends a signal to all processes of a container.
    pub async fn signal(&self, id: &ContainerId, signal: i32) -> Result<(), ControlError> {
        let Some(Phase::Running(identity)) = self.inner.table.phase(id) else {
            return Err(ControlError::NotRunning(id.clone()));
        };
        let Some(signal) = Signal::from_named_raw(signal) else {
            return Err(ControlError::Refused(format!("signal {signal} does not exist: give 1 to 31")));
        };
        match keeper::process::signal(identity, signal, true) {
            Ok(true) => Ok(()),
            Ok(false) => Err(ControlError::NotRunning(id.clone())),
            Err(error) => Err(ControlError::Refused(format!("cannot signal container {id}: {error}"))),
        }
    }

    /// Ends everything of a container and removes its groups and writable
    /// layer; cancels it if it has not started. The exit is still told.
    pub async fn destroy(&self, id: &ContainerId) -> Result<(), ControlError> {
        self.inner.table.cancel(id);
        if let Some(mut phase) = self.inner.table.subscribe(id) {
            let stuck = || ControlError::Stuck { id: id.clone(), seconds: KILL_PATIENCE.as_secs() };
            timeout(KILL_PATIENCE, kill(&mut phase)).await.map_err(|_| stuck())?;
        }
        for inner in self.inner.table.inside(id) {
            let stuck = || ControlError::Stuck { id: inner.clone(), seconds: KILL_PATIENCE.as_secs() };
            let Some(mut phase) = self.inner.table.subscribe(&inner) else { continue };
            timeout(KILL_PATIENCE, kill(&mut phase)).await.map_err(|_| stuck())?;
        }
        self.inner.clear(id, false).await
    }

    /// The exit is stored elsewhere: the container's record goes.
    pub async fn forget(&self, id: &ContainerId) -> Result<(), ControlError> {
        if let Some(Phase::Starting | Phase::Running(_)) = self.inner.table.phase(id) {
            return Err(ControlError::Refused(format!(
                "container {id} has not ended: destroy it before it is forgotten"
            )));
        }
        for inner in self.inner.table.inside(id) {
            self.inner.forget(&inner).await?;
        }
        self.inner.forget(id).await
    }

    /// Other limits and volumes for a running container. Memory in use is not taken
    /// away; volumes that come later are seen by plain commands only.
    pub async fn resize(
        &self,
        id: &ContainerId,
        limits: Limits,
        sandbox: PathBuf,
        volumes: Vec<Volume>,
    ) -> Result<(), ControlError> {
        let Some(Phase::Running(_)) = self.inner.table.phase(id) else {
            return Err(ControlError::NotRunning(id.clone()));
        };
        let (cgroups, id) = (self.inner.cgroups.clone(), id.clone());
        let work = tokio::task::spawn_blocking(move || {
            let failed = |what: &str| {
                let (id, what) = (id.clone(), what.to_owned());
                move |source: io::Error| ControlError::Refused(format!("container {id}: {what}: {source}"))
            };
            for volume in &volumes {
                show(volume, &sandbox, false).map_err(failed("a volume"))?;
            }
            let Some(cgroups) = cgroups else { return Ok(()) };
            let used = cgroups.usage(id.as_str()).mem_total_bytes;
            let keeps = limits.mem_mib.saturating_mul(1 << 20) <= used;
            let limits = Limits { mem_mib: if keeps { 0 } else { limits.mem_mib }, ..limits };
            cgroups.create(id.as_str(), &limits, false).map(drop).map_err(failed("its limits"))
        });
        work.await.unwrap_or_else(|error| Err(ControlError::Refused(error.to_string())))
    }

    pub async fn usage(&self, id: &ContainerId) -> Option<Usage> {
        let Some(Phase::Running(Identity { pid, .. })) = self.inner.table.phase(id) else { return None };
        Some(match &self.inner.cgroups {
            Some(cgroups) => cgroups.usage(id.as_str()),
            None => node::usage_of_processes(pid),
        })
    }

    /// Ends the keeper if no container runs, and removes the empty groups:
    /// for a node that is taken down for good.
    pub async fn shut_down(&self) -> Result<(), ControlError> {
        self.inner.link.stop().await.map_err(ControlError::Refused)?;
        if let Some(cgroups) = &self.inner.cgroups {
            cgroups.remove_parents();
        }
        Ok(())
    }
}

impl Inner {
    /// The record of one that has ended goes, here and at the keeper.
    pub(crate) async fn forget(&self, id: &ContainerId) -> Result<(), ControlError> {
        self.clear(id, true).await?;
        self.streams.forget(id);
        self.table.remove(id);
        // If the keeper is gone it does not know the container either.
        match self.link.ask(RequestBody::Forget { container: id.as_str().into() }).await {
            Ok(ReplyBody::Refused { message, .. }) => Err(ControlError::Refused(message)),
            _ => Ok(()),
        }
    }

    async fn launch(
        &self,
        spec: LaunchSpec,
        mut cancelled: watch::Receiver<bool>,
    ) -> Result<Launched, LaunchError> {
        let id = spec.id.clone();
        let image = match &spec.image {
            None => None,
            Some(source) => {
                let event = ContainerEvent::Pulling { id: id.clone(), reference: source.reference.clone() };
                // Only information: dropped when the agent is behind.
                let _ = self.events.try_send(event);
                tokio::select! {
                    image = self.images.resolve(source) => Some(image?),
                    _ = cancelled.wait_for(|cancelled| *cancelled) => return Err(LaunchError::Cancelled(id)),
                }
            }
        };
        let prepared = self.prepare(&spec, image.as_deref()).await?;
        if *cancelled.borrow() {
            return Err(LaunchError::Cancelled(id));
        }
        let (identity, warnings) = self.start(&id, prepared).await?;
        self.table.started(&id, identity);
        Ok(Launched { pid: identity.pid, start_time: identity.start_time, warnings })
    }

    async fn prepare(&self, spec: &LaunchSpec, image: Option<&Image>) -> Result<Spec, LaunchError> {
        let dir = self.table.record(&spec.id).dir().to_path_buf();
        let mut prepared = prepare::build(spec, self.node, &dir, image)?;
        let cgroups = self.cgroups.clone();
        let (id, limits, sandbox) = (spec.id.clone(), spec.limits, spec.sandbox.clone());
        let volumes = spec.volumes.clone();
        let (record, origin) = (self.table.record(&id), self.table.origin(&id));
        // File system work, some of it slow: not on the event loop's threads.
        let work = tokio::task::spawn_blocking(move || {
            let failed = |what: &str| {
                let (id, what) = (id.clone(), what.to_owned());
                move |source| LaunchError::Prepare { id, what, source }
            };
            if let Isolation::Image(root) = &prepared.isolation {
                for path in [&root.upper, &root.work, &root.mountpoint] {
                    make_private(path).map_err(failed(&format!("directory {}", path.display())))?;
                }
            }
            if let Some(credentials) = &prepared.credentials {
                std::os::unix::fs::chown(&sandbox, Some(credentials.uid), Some(credentials.gid))
                    .map_err(failed("the sandbox"))?;
                for volume in volumes.iter().filter(|volume| volume.owned) {
                    std::os::unix::fs::chown(&volume.source, Some(credentials.uid), Some(credentials.gid))
                        .map_err(failed(&format!("volume {}", volume.source.display())))?;
                }
            }
            let in_image = matches!(prepared.isolation, Isolation::Image(_));
            let inside = if in_image { prepare::SANDBOX_TARGET.into() } else { sandbox.to_string_lossy() };
            record.write_home(&sandbox, &inside).map_err(failed("the record"))?;
            if let Some(origin) = origin {
                record.write_origin(origin.name()).map_err(failed("the record"))?;
            }
            for volume in &volumes {
                show(volume, &sandbox, in_image)
                    .map_err(failed(&format!("volume {}", volume.container_path)))?;
            }
            if let Some(cgroups) = cgroups {
                let confine = matches!(prepared.isolation, Isolation::Image(_));
                prepared.cgroup_procs =
                    cgroups.create(id.as_str(), &limits, confine).map_err(failed("the control groups"))?;
            }
            prepared.digest = digest_of(&prepared).map_err(failed("the digest"))?;
            Ok(prepared)
        });
        work.await.unwrap_or_else(|error| Err(LaunchError::Keeper(error.to_string())))
    }

    pub(crate) async fn start(
        &self,
        id: &ContainerId,
        spec: Spec,
    ) -> Result<(Identity, Vec<String>), LaunchError> {
        match self.link.ask(RequestBody::Launch(Box::new(spec))).await {
            Ok(ReplyBody::Launched { pid, start_time, warnings }) => {
                Ok((Identity { pid, start_time }, warnings))
            }
            Ok(ReplyBody::Refused { kind: Refusal::Invalid, message }) => Err(LaunchError::Invalid(message)),
            Ok(ReplyBody::Refused { message, .. }) => Err(LaunchError::Start(message)),
            Ok(other) => Err(LaunchError::Keeper(format!("it answered {other:?}"))),
            Err(lost) => {
                // It may have started the container before it went away.
                match self.table.record(id).identity() {
                    Some(identity) => {
                        self.table.started(id, identity);
                        self.table.watch(id);
                        Ok((identity, Vec::new()))
                    }
                    None => Err(LaunchError::Keeper(lost.to_string())),
                }
            }
        }
    }

    /// Removes what a container that has no process any more left on the node.
    pub(crate) async fn clear(&self, id: &ContainerId, with_record: bool) -> Result<(), ControlError> {
        if !keeper::spec::is_container_id(id.as_str()) {
            return Ok(());
        }
        let record = self.table.record(id);
        let (cgroups, id) = (self.cgroups.clone(), id.clone());
        let work = tokio::task::spawn_blocking(move || {
            let failed = |what: &str| {
                let (id, what) = (id.clone(), what.to_owned());
                move |source| ControlError::Cleanup { id, what, source }
            };
            if let Some(cgroups) = cgroups {
                kill_stragglers(&cgroups, id.as_str());
                cgroups.remove(id.as_str()).map_err(failed("the control groups"))?;
            }
            for name in ["upper", "work", "root"] {
                remove_tree(&record.dir().join(name)).map_err(failed("the writable layer"))?;
            }
            if with_record { record.remove().map_err(failed("the record")) } else { Ok(()) }
        });
        work.await.unwrap_or_else(|error| Err(ControlError::Refused(error.to_string())))
    }
}

/// Groups of launches that a crash cut off before they had a record or a
/// process. One with processes is not ours to end: it may be another agent's.
fn remove_orphans(cgroups: &Cgroups, runtime_dir: &Path) {
    for id in cgroups.containers() {
        let is_known = Record::of(runtime_dir, &id).dir().is_dir();
        if !is_known && cgroups.processes(&id).is_empty() {
            // Busy means that somebody uses it after all.
            let _ = cgroups.remove(&id);
        }
    }
}

/// Ends processes that are in the group without being below its first process.
fn kill_stragglers(cgroups: &Cgroups, id: &str) {
    for _ in 0..STRAGGLER_ROUNDS_MAX {
        let pids = cgroups.processes(id);
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
                // Gone already is as good.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a volume's place in the sandbox: a link to it, or where it is mounted.
fn show(volume: &Volume, sandbox: &Path, in_image: bool) -> io::Result<()> {
    if volume.container_path.starts_with('/') {
        return Ok(());
    }
    let place = sandbox.join(&volume.container_path);
    if in_image {
        return std::fs::create_dir_all(place);
    }
    if std::fs::symlink_metadata(&place).is_ok() {
        return Ok(());
    }
    if let Some(parent) = place.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::os::unix::fs::symlink(&volume.source, place)
}

fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    std::fs::create_dir(path)?;
    // The upper directory's mode becomes that of the container's root.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

fn make_dir(path: &Path) -> Result<PathBuf, StartError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    let whole = made.and_then(|()| std::fs::canonicalize(path));
    whole.map_err(|source| StartError::Directory { path: path.to_path_buf(), source })
}

pub(crate) fn digest_of(spec: &Spec) -> io::Result<[u8; 32]> {
    let bytes = serde_json::to_vec(spec)?;
    let found = digest::digest(&digest::SHA256, &bytes);
    let mut result = [0; 32];
    result.copy_from_slice(found.as_ref());
    Ok(result)
}
