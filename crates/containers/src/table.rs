//! What is known of every container, and the telling of exits.
//!
//! The one place where a container's phase changes; everybody else waits on it.
//! Invariants: a phase only moves forward (starting, running, ended); an end is
//! told once per run of the agent, after the launch was answered. Bounded by
//! the keeper's limit of containers.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keeper::record::{Identity, Record};
use model::ContainerId;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc, watch};

use crate::api::{ContainerEvent, Exit, ExitStatus, RecoveredContainer, RecoveredState};
use crate::cgroup::{Cgroups, MemoryReport};

/// How often, and how far apart, the kernel's kill is looked for after its event.
const OOM_LOOKS_MAX: u32 = 50;
const OOM_LOOK_PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Running(Identity),
    Ended(Exit),
    /// The launch failed or was cancelled; the entry is gone.
    Gone,
}

struct Entry {
    phase: watch::Sender<Phase>,
    cancelled: watch::Sender<bool>,
    /// Whether `launch` has not been answered.
    launching: bool,
    told: bool,
    /// Asked for by operators: the agent does not hear of it.
    origin: Option<Origin>,
    /// The later, the larger.
    order: u64,
    /// Whether a task here waits for the process, because the keeper cannot.
    watched: bool,
}

/// Who asked for a container, if it was not the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client that holds its streams: it ends with them.
    Session,
    /// Anybody; it goes on by itself.
    Operator,
}

impl Origin {
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Operator => "operator",
        }
    }

    fn of(name: &str) -> Self {
        if name == Self::Session.name() { Self::Session } else { Self::Operator }
    }
}

pub struct Table {
    runtime_dir: PathBuf,
    cgroups: Option<Arc<Cgroups>>,
    entries: Mutex<HashMap<ContainerId, Entry>>,
    changed: Notify,
}

impl Table {
    /// Starts with what is on disk; also returns what can never run again.
    pub fn load(
        runtime_dir: &Path,
        cgroups: Option<Arc<Cgroups>>,
    ) -> std::io::Result<(Arc<Self>, Vec<ContainerId>)> {
        let table = Arc::new(Self {
            runtime_dir: runtime_dir.to_path_buf(),
            cgroups,
            entries: Mutex::new(HashMap::new()),
            changed: Notify::new(),
        });
        let mut lost = Vec::new();
        for name in Record::list(runtime_dir)? {
            let id = ContainerId::new(&name);
            let record = table.record(&id);
            let phase = match (record.status(), record.identity()) {
                (Some(status), _) => Phase::Ended(table.exit(&id, Some(status))),
                (None, Some(identity)) => Phase::Running(identity),
                (None, None) => {
                    lost.push(id);
                    continue;
                }
            };
            let origin = record.origin().as_deref().map(Origin::of);
            let order = lost.len() + table.entries().len();
            table.entries().insert(id.clone(), Entry::new(phase, false, origin, order as u64));
            table.watch_memory(&id);
        }
        Ok((table, lost))
    }

    pub fn record(&self, id: &ContainerId) -> Record {
        Record::of(&self.runtime_dir, id.as_str())
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<ContainerId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims the id; `None` if it is taken. The receiver turns true on cancel.
    pub fn begin(&self, id: &ContainerId, origin: Option<Origin>) -> Option<watch::Receiver<bool>> {
        let mut entries = self.entries();
        if entries.contains_key(id) {
            return None;
        }
        let order = entries.values().map(|entry| entry.order + 1).max().unwrap_or_default();
        let entry = Entry::new(Phase::Starting, true, origin, order);
        let cancelled = entry.cancelled.subscribe();
        entries.insert(id.clone(), entry);
        Some(cancelled)
    }

    pub fn cancel(&self, id: &ContainerId) {
        if let Some(entry) = self.entries().get(id) {
            entry.cancelled.send_replace(true);
        }
    }

    pub fn started(self: &Arc<Self>, id: &ContainerId, identity: Identity) {
        self.watch_memory(id);
        if let Some(entry) = self.entries().get(id) {
            entry.phase.send_if_modified(|phase| {
                let starts = *phase == Phase::Starting;
                if starts {
                    *phase = Phase::Running(identity);
                }
                starts
            });
        }
    }

    /// The launch was answered: from now on its end may be told.
    pub fn answered(&self, id: &ContainerId) {
        if let Some(entry) = self.entries().get_mut(id) {
            entry.launching = false;
        }
        self.changed.notify_one();
    }

    pub fn remove(&self, id: &ContainerId) {
        if let Some(entry) = self.entries().remove(id) {
            // Whoever waits for an end that has come still sees it.
            entry.phase.send_if_modified(|phase| {
                let is_open = !matches!(phase, Phase::Ended(_));
                if is_open {
                    *phase = Phase::Gone;
                }
                is_open
            });
        }
    }

    pub fn origin(&self, id: &ContainerId) -> Option<Origin> {
        self.entries().get(id)?.origin
    }

    /// Operators' containers, the oldest first.
    pub fn of_operators(&self) -> Vec<(ContainerId, Origin, Phase)> {
        let entries = self.entries();
        let mut found: Vec<(u64, ContainerId, Origin, Phase)> = entries
            .iter()
            .filter_map(|(id, entry)| {
                Some((entry.order, id.clone(), entry.origin?, entry.phase.borrow().clone()))
            })
            .collect();
        found.sort_by_key(|(order, ..)| *order);
        found.into_iter().map(|(_, id, origin, phase)| (id, origin, phase)).collect()
    }

    /// Operators' containers inside another, however deep.
    pub fn inside(&self, id: &ContainerId) -> Vec<ContainerId> {
        let is_inside = |inner: &ContainerId| {
            inner.as_str().strip_prefix(id.as_str()).is_some_and(|rest| rest.starts_with('.'))
        };
        let entries = self.entries();
        let found = entries.iter().filter(|(inner, entry)| entry.origin.is_some() && is_inside(inner));
        found.map(|(inner, _)| inner.clone()).collect()
    }

    /// SIGKILL to all of it, if it runs; does not wait.
    pub fn end(self: &Arc<Self>, id: &ContainerId) {
        self.cancel(id);
        let Some(mut phase) = self.subscribe(id) else { return };
        tokio::spawn(async move { kill(&mut phase).await });
    }

    pub fn subscribe(&self, id: &ContainerId) -> Option<watch::Receiver<Phase>> {
        self.entries().get(id).map(|entry| entry.phase.subscribe())
    }

    pub fn phase(&self, id: &ContainerId) -> Option<Phase> {
        self.entries().get(id).map(|entry| entry.phase.borrow().clone())
    }

    /// Notes the end of a container; `None` when nobody saw how.
    pub fn ended(self: &Arc<Self>, id: &ContainerId, status: Option<i32>) {
        let exit = self.exit(id, status);
        if let Some(entry) = self.entries().get(id) {
            entry.phase.send_if_modified(|phase| {
                let ends = !matches!(phase, Phase::Ended(_) | Phase::Gone);
                if ends {
                    *phase = Phase::Ended(exit);
                }
                ends
            });
        }
        self.changed.notify_one();
        // Where there are no namespaces, nothing else ends them.
        for inner in self.inside(id) {
            self.end(&inner);
        }
    }

    fn exit(&self, id: &ContainerId, status: Option<i32>) -> Exit {
        let memory = self.cgroups.as_ref().and_then(|cgroups| cgroups.memory(id.as_str()));
        let killed = memory.filter(|report| report.oom_kills > 0);
        Exit {
            status: exit_status(status),
            oom: killed.is_some(),
            mem_limit_message: killed.map(memory_message),
        }
    }

    /// Containers of the agent.
    pub fn recovered(&self) -> Vec<RecoveredContainer> {
        let all = self.known();
        let entries = self.entries();
        let is_agents = |id: &ContainerId| entries.get(id).is_some_and(|entry| entry.origin.is_none());
        all.into_iter().filter(|found| is_agents(&found.id)).collect()
    }

    /// Everything that runs or has ended.
    pub fn known(&self) -> Vec<RecoveredContainer> {
        let state = |(id, entry): (&ContainerId, &Entry)| {
            let state = match &*entry.phase.borrow() {
                Phase::Running(Identity { pid, start_time }) => {
                    RecoveredState::Running { pid: *pid, start_time: *start_time }
                }
                Phase::Ended(exit) => RecoveredState::Exited(exit.clone()),
                Phase::Starting | Phase::Gone => return None,
            };
            Some(RecoveredContainer { id: id.clone(), state })
        };
        self.entries().iter().filter_map(state).collect()
    }

    /// Containers that the keeper does not know or cannot wait for are waited
    /// for here: by handle, reaped if they are this process's children.
    pub fn watch(self: &Arc<Self>, id: &ContainerId) {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(id) else { return };
        let Phase::Running(identity) = *entry.phase.borrow() else { return };
        if std::mem::replace(&mut entry.watched, true) {
            return;
        }
        let (table, id) = (self.clone(), id.clone());
        tokio::spawn(async move {
            let waited = wait_for(identity).await;
            let record = table.record(&id);
            let status = record.init_status().or(waited);
            if let Some(status) = status
                && let Err(error) = record.write_status(status)
            {
                tracing::warn!(container = %id, %error, "cannot store the exit status");
            }
            table.ended(&id, status);
        });
    }

    /// Ends the whole container when the kernel ends a part of it for memory,
    /// as Mesos does: what is left seldom notices and never works.
    fn watch_memory(self: &Arc<Self>, id: &ContainerId) {
        if matches!(self.phase(id), None | Some(Phase::Ended(_) | Phase::Gone)) {
            return;
        }
        let Some(event) = self.cgroups.as_ref().and_then(|cgroups| cgroups.out_of_memory(id.as_str())) else {
            return;
        };
        let (table, id) = (Arc::downgrade(self), id.clone());
        tokio::spawn(async move {
            let Some(event) = register(event) else { return };
            // It may have happened before the registration: one look at once.
            let mut looks = 1;
            loop {
                for _ in 0..looks {
                    let Some(table) = table.upgrade() else { return };
                    if table.end_if_out_of_memory(&id) {
                        return;
                    }
                    drop(table);
                    tokio::time::sleep(OOM_LOOK_PAUSE).await;
                }
                // Also readable once the group is removed, so the wait ends.
                let Ok(mut ready) = event.readable().await else { return };
                let _ = rustix::io::read(event.get_ref(), &mut [0u8; 8]);
                ready.clear_ready();
                // The event comes before the kill.
                looks = OOM_LOOKS_MAX;
            }
        });
    }

    /// Whether there is nothing more to wait for.
    fn end_if_out_of_memory(&self, id: &ContainerId) -> bool {
        let memory = self.cgroups.as_ref().and_then(|cgroups| cgroups.memory(id.as_str()));
        let Some(report) = memory else { return true };
        if report.oom_kills == 0 {
            return false;
        }
        if let Some(Phase::Running(identity)) = self.phase(id) {
            tracing::info!(container = %id, "out of memory, ending it");
            // Ended already is as good.
            let _ = keeper::process::signal(identity, rustix::process::Signal::KILL, true);
        }
        true
    }

    pub fn watch_all(self: &Arc<Self>) {
        let ids: Vec<ContainerId> = self.entries().keys().cloned().collect();
        for id in ids {
            self.watch(&id);
        }
    }

    /// Tells ends until nobody listens.
    pub async fn tell(self: Arc<Self>, events: mpsc::Sender<ContainerEvent>) {
        loop {
            let ready: Vec<(ContainerId, Exit)> = {
                let mut entries = self.entries();
                let ready = entries
                    .iter_mut()
                    .filter(|(_, entry)| entry.origin.is_none() && !entry.launching && !entry.told);
                ready
                    .filter_map(|(id, entry)| {
                        let Phase::Ended(exit) = entry.phase.borrow().clone() else { return None };
                        entry.told = true;
                        Some((id.clone(), exit))
                    })
                    .collect()
            };
            for (id, Exit { status, oom, mem_limit_message }) in ready {
                let event = ContainerEvent::Exited { id, status, oom, mem_limit_message };
                if events.send(event).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = self.changed.notified() => {}
                () = events.closed() => return,
            }
        }
    }
}

impl Entry {
    fn new(phase: Phase, launching: bool, origin: Option<Origin>, order: u64) -> Self {
        Self {
            phase: watch::Sender::new(phase),
            cancelled: watch::Sender::new(false),
            launching,
            told: false,
            origin,
            order,
            watched: false,
        }
    }
}

/// SIGKILL until the container has ended; forks cannot outrun it for ever.
pub async fn kill(phase: &mut watch::Receiver<Phase>) {
    loop {
        let now = phase.borrow_and_update().clone();
        match now {
            Phase::Ended(_) | Phase::Gone => return,
            Phase::Starting => {}
            Phase::Running(identity) => {
                let kill = move || keeper::process::signal(identity, rustix::process::Signal::KILL, true);
                let _ = tokio::task::spawn_blocking(kill).await;
            }
        }
        if phase.changed().await.is_err() {
            return;
        }
    }
}

pub fn exit_status(status: Option<i32>) -> ExitStatus {
    match status {
        Some(status) if libc::WIFEXITED(status) => ExitStatus::Code(libc::WEXITSTATUS(status)),
        Some(status) if libc::WIFSIGNALED(status) => ExitStatus::Signal(libc::WTERMSIG(status)),
        _ => ExitStatus::Unknown,
    }
}

fn memory_message(report: MemoryReport) -> String {
    format!(
        "Memory limit exceeded: Requested: {}MB Maximum Used: {}MB",
        report.limit_bytes >> 20,
        report.max_usage_bytes >> 20
    )
}

fn register(descriptor: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is one open descriptor for its whole life, and it is
    // dropped by the AsyncFd, after deregistration.
    #[allow(unsafe_code)]
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.ok()
}

/// Waits for the end of a process; its status if it was our child.
async fn wait_for(identity: Identity) -> Option<i32> {
    use rustix::process::{WaitId, WaitIdOptions};
    let handle = keeper::process::open(identity).ok()??;
    let handle = register(handle)?;
    // Readable means ended; an error would mean the runtime is ending.
    let _ = handle.readable().await;
    let target = WaitId::PidFd(std::os::fd::AsFd::as_fd(handle.get_ref()));
    let status = rustix::process::waitid(target, WaitIdOptions::EXITED | WaitIdOptions::NOHANG).ok()??;
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Some((code & 0xff) << 8),
        (None, Some(signal)) => Some(signal & 0x7f),
        (None, None) => None,
    }
}
