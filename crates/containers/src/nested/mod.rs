//! Containers that operators ask for: nested ones and those on their own.
//!
//! A nested container runs in all namespaces and control groups of another that
//! runs already, as its user and with its environment. A *session* is one whose
//! streams a client holds: nothing of it is kept, and it ends with its readers.
//! Others write `stdout` and `stderr` in a sandbox of their own and can be
//! watched. The agent hears of none of them. Invariants: none outlives its
//! parent; its end is known until it is removed or its parent forgotten, or
//! [`ENDED_MAX`] later ones have ended too.
//! Start reading here, then [`streams`].

mod follow;
mod parent;
mod sandbox;
mod streams;

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keeper::protocol::{ReplyBody, RequestBody};
use keeper::record::Identity;
use keeper::spec::{Isolation, Join, Spec, Stdio};
use model::ContainerId;

pub use keeper::spec::WindowSize;
pub(crate) use streams::Streams;
pub use streams::{AttachError, Chunk, Input, InputError, Output, Stream};

use crate::api::{Command, ControlError, Exit, ExitStatus, LaunchError, LaunchSpec, Launched};
use crate::prepare;
use crate::probe::Probed;
use crate::runtime::{Inner, Runtime, digest_of};
use crate::table::{Origin, Phase};
use sandbox::Place;
use streams::Near;

/// Most containers that run nested in one other.
pub const NESTED_MAX: usize = 256;
/// Most ended ones of one other whose ends are remembered.
pub const ENDED_MAX: usize = 128;

/// A container to start inside another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NestedSpec {
    /// `parent.child`; the parent runs.
    pub id: ContainerId,
    /// Of the parent's file system.
    pub command: Command,
    /// Added to, and overriding, the parent's own.
    pub env: Vec<(String, String)>,
    /// Name, uid or `uid:gid` on this node; `None` is the parent's.
    pub user: Option<String>,
    /// It gets a terminal of this size, and all it writes is one stream.
    pub terminal: Option<WindowSize>,
    /// Whether its streams go to whoever attaches first, and it ends with them.
    pub session: bool,
}

/// A container that an operator asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operated {
    pub id: ContainerId,
    /// Of its first process, while it runs.
    pub pid: Option<u32>,
    /// How it ended, if it has.
    pub exit: Option<Exit>,
}

impl Runtime {
    /// Starts a container inside another. Goes on by itself if the caller stops
    /// waiting.
    pub async fn launch_nested(&self, spec: NestedSpec) -> Result<Launched, LaunchError> {
        let parent = check(&spec)?;
        let inner = self.inner.clone();
        let Some(Phase::Running(identity)) = inner.table.phase(&parent) else {
            return Err(LaunchError::NoParent(parent));
        };
        let origin = if spec.session { Origin::Session } else { Origin::Operator };
        if inner.table.begin(&spec.id, Some(origin)).is_none() {
            return Err(LaunchError::Exists(spec.id));
        }
        let work = tokio::spawn(async move {
            let id = spec.id.clone();
            let result = match inner.make_room(&parent).await {
                Ok(()) => inner.nest(spec, identity, origin).await,
                Err(error) => Err(error),
            };
            match &result {
                Ok(_) => inner.table.answered(&id),
                Err(_) => {
                    inner.clear(&id, true).await.unwrap_or_else(|error| {
                        tracing::warn!(container = %id, %error, "a failed launch left something behind");
                    });
                    inner.streams.forget(&id);
                    inner.table.remove(&id);
                }
            }
            result
        });
        work.await.unwrap_or_else(|error| Err(LaunchError::Keeper(error.to_string())))
    }

    /// Runs a session to its end without anybody to read it, and forgets it.
    pub async fn run_nested(&self, spec: NestedSpec, limit: Option<Duration>) -> Probed<ExitStatus> {
        let id = spec.id.clone();
        let work = async {
            if let Err(error) = self.launch_nested(NestedSpec { session: true, ..spec }).await {
                return Probed::Failed(error.to_string());
            }
            if let Ok(mut output) = self.attach_output(&id).await {
                while output.next().await.is_some() {}
                // Kept to the end: a session ends with its reader.
                let _ = self.wait(&id).await;
            }
            match self.wait(&id).await {
                Some(exit) => Probed::Done(exit.status),
                None => Probed::Failed(format!("container {id} is gone")),
            }
        };
        let probed = Probed::within(limit, work).await;
        let ended = match self.destroy(&id).await {
            Ok(()) => self.remove(&id).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::warn!(container = %id, %error, "a session left something behind");
        }
        probed
    }

    /// Starts a container of its own that the agent does not hear of.
    pub async fn launch_operated(&self, spec: LaunchSpec) -> Result<Launched, LaunchError> {
        self.launch_for(spec, Some(Origin::Operator)).await
    }

    /// How a container ended, when it has; `None` if there is none.
    pub async fn wait(&self, id: &ContainerId) -> Option<Exit> {
        let mut phase = self.inner.table.subscribe(id)?;
        let ended = phase.wait_for(|phase| matches!(phase, Phase::Ended(_) | Phase::Gone)).await;
        match &*ended.ok()? {
            Phase::Ended(exit) => Some(exit.clone()),
            _ => None,
        }
    }

    /// Sends a signal to a container's command; SIGKILL ends all of it.
    pub async fn kill(&self, id: &ContainerId, signal: i32) -> Result<(), ControlError> {
        let Some(Phase::Running(identity)) = self.inner.table.phase(id) else {
            return Err(ControlError::NotRunning(id.clone()));
        };
        let Some(signal) = rustix::process::Signal::from_named_raw(signal) else {
            return Err(ControlError::Refused(format!("signal {signal} does not exist: give 1 to 31")));
        };
        let send = move || keeper::process::signal(identity, signal, false);
        match tokio::task::spawn_blocking(send).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(ControlError::NotRunning(id.clone())),
            Ok(Err(error)) => Err(ControlError::Refused(format!("cannot signal container {id}: {error}"))),
            Err(error) => Err(ControlError::Refused(error.to_string())),
        }
    }

    /// Forgets an operator's container that has ended, with its sandbox; nothing
    /// if there is none.
    pub async fn remove(&self, id: &ContainerId) -> Result<(), ControlError> {
        let table = &self.inner.table;
        let refused = |reason: &str| Err(ControlError::Refused(format!("container {id} {reason}")));
        match (table.phase(id), table.origin(id)) {
            (None, _) => return Ok(()),
            (_, None) => return refused("is a task's or an executor's: its agent removes it"),
            (Some(Phase::Ended(_)), Some(_)) => {}
            _ => return refused("has not ended: kill it and wait for its end first"),
        }
        let home = table.record(id).home();
        let place = Place::of(table, id);
        self.forget(id).await?;
        let id = id.clone();
        let work = tokio::task::spawn_blocking(move || match place {
            Some(place) => place.remove(),
            // A container of its own: nobody else owns the way to its sandbox.
            None => match home.map(|(on_node, _)| std::fs::remove_dir_all(on_node)) {
                Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        });
        let removed = work.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        removed.map_err(|source| ControlError::Cleanup { id, what: "the sandbox".into(), source })
    }

    /// Everything operators asked for, the oldest first.
    pub fn operated(&self) -> Vec<Operated> {
        let all = self.inner.table.of_operators().into_iter();
        all.filter_map(|(id, _, phase)| match phase {
            Phase::Starting => Some(Operated { id, pid: None, exit: None }),
            Phase::Running(Identity { pid, .. }) => Some(Operated { id, pid: Some(pid), exit: None }),
            Phase::Ended(exit) => Some(Operated { id, pid: None, exit: Some(exit) }),
            Phase::Gone => None,
        })
        .collect()
    }

    /// What a container writes from now on; a session's first reader gets all of
    /// it, and a session ends with its last reader.
    pub async fn attach_output(&self, id: &ContainerId) -> Result<Output, AttachError> {
        let Some(phase) = self.inner.table.subscribe(id) else {
            return Err(AttachError::NotFound(id.clone()));
        };
        if let Some(session) = self.inner.streams.session(id) {
            return Ok(session.attach_output());
        }
        let home = self.inner.table.record(id).home();
        let place = Place::of(&self.inner.table, id);
        follow::start(id, home, place, phase).await
    }

    /// The way to a container's standard input, for one at a time.
    pub async fn attach_input(&self, id: &ContainerId) -> Result<Input, AttachError> {
        let Some(phase) = self.inner.table.subscribe(id) else {
            return Err(AttachError::NotFound(id.clone()));
        };
        let streams = &self.inner.streams;
        if let Some(session) = streams.session(id) {
            return session.attach_input().ok_or_else(|| AttachError::Busy(id.clone()));
        }
        let kept = streams.keep_input(id).ok_or_else(|| AttachError::Busy(id.clone()))?;
        let probe = RequestBody::Input { container: id.as_str().into(), data: Vec::new() };
        match self.inner.link.ask(probe).await {
            Ok(ReplyBody::Written { .. }) => Ok(Input::kept(kept, self.inner.link.clone(), phase)),
            Ok(_) => Err(AttachError::NoInput(id.clone())),
            Err(lost) => Err(AttachError::Keeper(lost.to_string())),
        }
    }

    /// Sessions of an agent that is gone have nobody to read them.
    pub(crate) async fn end_sessions(&self) {
        for (id, origin, phase) in self.inner.table.of_operators() {
            let parent = id.parent();
            let alone = parent
                .is_some_and(|parent| !matches!(self.inner.table.phase(&parent), Some(Phase::Running(_))));
            if matches!(phase, Phase::Running(_)) && (alone || origin == Origin::Session) {
                self.inner.table.end(&id);
            }
        }
    }
}

fn check(spec: &NestedSpec) -> Result<ContainerId, LaunchError> {
    let invalid = |message: String| Err(LaunchError::Invalid(message));
    let Some(parent) = spec.id.parent() else {
        return invalid(format!("container id {} names no parent: give 'parent.child'", spec.id));
    };
    if !keeper::spec::is_container_id(spec.id.as_str()) || spec.id.leaf().is_empty() {
        return invalid(keeper::spec::Invalid::Id(spec.id.as_str().chars().take(64).collect()).to_string());
    }
    prepare::check_env(&spec.env)?;
    match &spec.command {
        Command::ImageDefault { .. } => invalid("a nested container has no image: give it a command".into()),
        Command::Argv(argv) if argv.is_empty() => {
            invalid("the command has no program: give at least its name".into())
        }
        _ => Ok(parent),
    }
}

impl Inner {
    /// Counts the containers nested in `parent`, the one that is to come with
    /// them, and forgets the oldest ended ones.
    async fn make_room(&self, parent: &ContainerId) -> Result<(), LaunchError> {
        let all = self.table.of_operators();
        let own = all.into_iter().filter(|(id, ..)| id.parent().as_ref() == Some(parent));
        let (ended, running): (Vec<_>, Vec<_>) =
            own.partition(|(.., phase)| matches!(phase, Phase::Ended(_)));
        if running.len() > NESTED_MAX {
            let (parent, count) = (parent.clone(), running.len() - 1);
            return Err(LaunchError::TooMany { parent, count, max: NESTED_MAX });
        }
        for (id, ..) in ended.iter().take(ended.len().saturating_sub(ENDED_MAX)) {
            if let Err(error) = self.forget(id).await {
                tracing::warn!(container = %id, %error, "an ended container is not forgotten");
            }
        }
        Ok(())
    }

    async fn nest(
        self: &Arc<Self>,
        spec: NestedSpec,
        parent: Identity,
        origin: Origin,
    ) -> Result<Launched, LaunchError> {
        let id = spec.id.clone();
        let inner = self.clone();
        let work = tokio::task::spawn_blocking(move || inner.prepare_nested(&spec, parent, origin));
        let prepared = work.await.unwrap_or_else(|error| Err(LaunchError::Keeper(error.to_string())))?;
        let Prepared { spec, near, far, place } = prepared;
        let started = self.start(&id, spec).await;
        if let (Err(_), Some(place)) = (&started, place) {
            let _ = tokio::task::spawn_blocking(move || place.remove()).await;
        }
        // The process has its own copies; with ours the streams would never end.
        drop(far);
        let (identity, warnings) = started?;
        self.table.started(&id, identity);
        let outer = id.parent().and_then(|outer| self.table.phase(&outer));
        if !matches!(outer, Some(Phase::Running(_))) {
            // It ended meanwhile, and did not know of this one.
            self.table.end(&id);
        }
        if let Some(near) = near
            && let Err(source) = self.streams.open(&self.table, &id, near)
        {
            self.table.end(&id);
            return Err(LaunchError::Prepare { id, what: "the streams".into(), source });
        }
        Ok(Launched { pid: identity.pid, start_time: identity.start_time, warnings })
    }

    fn prepare_nested(
        &self,
        spec: &NestedSpec,
        parent: Identity,
        origin: Origin,
    ) -> Result<Prepared, LaunchError> {
        let NestedSpec { id, terminal, .. } = spec;
        let failed = |what: &str| {
            let (id, what) = (id.clone(), what.to_owned());
            move |source| LaunchError::Prepare { id, what, source }
        };
        let gone = || LaunchError::NoParent(id.parent().unwrap_or_else(|| id.clone()));
        let facts = parent::look(parent).ok_or_else(gone)?;
        let credentials = match &spec.user {
            Some(user) => prepare::user(id, user, self.node)?,
            None => facts.credentials.filter(|_| self.node.root),
        };
        let home = id.parent().and_then(|parent| self.table.record(&parent).home());
        let home = home.map_or_else(|| "/".to_owned(), |(_, inside)| inside);
        let record = self.table.record(id);
        record.write_origin(origin.name()).map_err(failed("the record"))?;
        let mut env = facts.env;
        let own =
            |file: &OwnedFd| PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
        let (stdio, near, far, cwd, place) = if spec.session {
            let (near, far) = Near::open(parent, *terminal).map_err(failed("the streams"))?;
            let [stdin, stdout, stderr] = [0, 1, 2].map(|at: usize| own(&far[at.min(far.len() - 1)]));
            (
                Stdio::Opened { stdin, stdout, stderr, terminal: terminal.is_some() },
                Some(near),
                far,
                home,
                None,
            )
        } else {
            let place = Place::of(&self.table, id).ok_or_else(gone)?;
            let inside = format!("{}/containers/{}", home.trim_end_matches('/'), id.leaf());
            record.write_home(&place.on_node(), &inside).map_err(failed("the record"))?;
            let made = place.make(credentials.as_ref()).map_err(failed("the sandbox"))?;
            let [stdout, stderr] = [own(&made[0]), own(&made[1])];
            let stdio = match *terminal {
                Some(size) => Stdio::Terminal { output: stdout, size },
                None => Stdio::Opened { stdin: "/dev/null".into(), stdout, stderr, terminal: false },
            };
            prepare::set(&mut env, "MESOS_SANDBOX", &inside);
            (stdio, None, Vec::from(made), inside, Some(place))
        };
        for (name, value) in &spec.env {
            prepare::set(&mut env, name, value);
        }
        let argv = prepare::argv(&spec.command, None).unwrap_or_default();
        let cgroup_procs = match (&self.cgroups, id.parent()) {
            (Some(cgroups), Some(_)) => {
                cgroups.procs(&outermost(id, |outer| self.table.origin(outer).is_none()))
            }
            _ => Vec::new(),
        };
        let Identity { pid, start_time } = parent;
        let mut prepared = Spec {
            container: id.as_str().to_owned(),
            digest: [0; 32],
            argv,
            env,
            cwd,
            credentials,
            stdio,
            cgroup_procs,
            isolation: Isolation::Nested(Join { pid, start_time, capabilities: facts.capabilities }),
            rlimits: Vec::new(),
        };
        prepared.digest = digest_of(&prepared).map_err(failed("the digest"))?;
        Ok(Prepared { spec: prepared, near, far, place })
    }
}

/// The container whose control groups those inside it share: the nearest one
/// around `id` that fits, or the last there is.
fn outermost(id: &ContainerId, fits: impl Fn(&ContainerId) -> bool) -> String {
    let mut at = id.clone();
    while let Some(parent) = at.parent() {
        at = parent;
        if fits(&at) {
            break;
        }
    }
    at.as_str().to_owned()
}

struct Prepared {
    spec: Spec,
    near: Option<Near>,
    /// The command's sides, open until it has its own.
    far: Vec<OwnedFd>,
    /// The sandbox made for it.
    place: Option<Place>,
}
