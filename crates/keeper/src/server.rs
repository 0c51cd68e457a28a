//! The keeper's one loop: sockets, children, replies.
//!
//! Input: requests of clients with the keeper's own uid, and `SIGCHLD`. It
//! blocks on nothing but `poll` (a launch waits for its child only until that
//! executes the init program). Invariants: `Launched` is answered before
//! `Exited` is pushed; an exit is pushed to every client, and again to every
//! new one, until it is forgotten.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitOptions};

use crate::launch::{self, Launcher, Progress, Starting};
use crate::protocol::{self, Known, Message, PROTOCOL, Refusal, ReplyBody, Request, RequestBody, Scope};
use crate::record::{Identity, Record};
use crate::spec::{Spec, Stdio, WindowSize};
use crate::terminal::{Left, Terminal};
use crate::{CONTAINERS_DIR, LOCK_FILE, SOCKET_FILE, handover, process};

/// Most connections at a time; an agent needs one.
pub const CLIENTS_MAX: usize = 8;
/// Most containers between `clone` and their command's `execve`.
pub const STARTING_MAX: usize = 256;
/// Most containers with a record.
pub const CONTAINERS_MAX: usize = 20_000;
/// Most terminals held for containers.
pub const TERMINALS_MAX: usize = 96;
/// Most bytes waiting for a client that does not read; then it is cut off and
/// finds everything again by connecting anew.
pub const OUTPUT_MAX_BYTES: usize = 8 << 20;
/// A burst of launches leaves the heap larger than what stays in it.
const LAUNCHES_PER_TRIM: usize = 32;
/// Without clients and containers the keeper ends after this time.
const IDLE_SECONDS: i64 = 60;

/// How to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Holds the socket, the lock and the containers' records.
    pub dir: PathBuf,
}

/// Why the keeper cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot use {path}: {source}; give the keeper a directory it may write, with a path below 90 bytes"
    )]
    Directory { path: PathBuf, source: io::Error },
    #[error("another keeper runs in {0}; stop it first or choose another directory")]
    Running(PathBuf),
    #[error("cannot prepare the keeper: {0}")]
    Prepare(#[source] io::Error),
    #[error("cannot wait for events: {0}")]
    Poll(#[source] io::Error),
}

/// Runs until there is nothing left to keep.
///
/// Call it first thing in `main`, before any thread is started.
pub fn run(config: Config) -> Result<(), Error> {
    Server::new(config)?.serve()
}

struct Client {
    stream: UnixStream,
    token: u64,
    input: Vec<u8>,
    output: Vec<u8>,
    welcomed: bool,
    gone: bool,
}

struct Container {
    identity: Identity,
    status: Option<i32>,
    is_child: bool,
    terminal: Option<Terminal>,
}

/// A launch whose answer is still open.
struct Pending {
    client: u64,
    request: u64,
    starting: Starting,
}

struct Server {
    dir: PathBuf,
    _lock: File,
    listener: UnixListener,
    signals: File,
    launcher: Launcher,
    clients: Vec<Client>,
    token_next: u64,
    pending: Vec<Pending>,
    containers: BTreeMap<String, Container>,
    launches_untrimmed: usize,
    ending: bool,
}

impl Server {
    fn new(config: Config) -> Result<Self, Error> {
        let dir = config.dir;
        let unusable = |source| Error::Directory { path: dir.clone(), source };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir.join(CONTAINERS_DIR))
            .map_err(unusable)?;
        let lock = lock(&dir)?;
        // Fails only for a process group leader, which needs none.
        let _ = rustix::process::setsid();
        let signals = signals().map_err(Error::Prepare)?;
        let socket = dir.join(SOCKET_FILE);
        // The lock is ours, so a socket in the way is a dead keeper's.
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unusable(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&socket).map_err(unusable)?;
        listener.set_nonblocking(true).map_err(Error::Prepare)?;
        let mut containers = recover(&dir).map_err(unusable)?;
        for (id, terminal) in handover::take(&dir) {
            if let Some(known) = containers.get_mut(&id) {
                known.terminal = Some(terminal);
            }
        }
        let launcher = Launcher::new().map_err(Error::Prepare)?;
        Ok(Self {
            dir,
            _lock: lock,
            listener,
            signals,
            launcher,
            clients: Vec::new(),
            token_next: 0,
            pending: Vec::new(),
            containers,
            launches_untrimmed: 0,
            ending: false,
        })
    }

    fn serve(mut self) -> Result<(), Error> {
        // Children may have ended before the signals were watched.
        self.reap();
        loop {
            self.flush();
            if self.ending || (self.wait()? == Waited::Idle && self.is_idle()) {
                let _ = fs::remove_file(self.dir.join(SOCKET_FILE));
                return Ok(());
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.clients.is_empty() && !self.has_running()
    }

    fn has_running(&self) -> bool {
        let runs = |container: &Container| container.is_child && container.status.is_none();
        !self.pending.is_empty() || self.containers.values().any(runs)
    }

    /// Sleeps until something happens and handles it.
    fn wait(&mut self) -> Result<Waited, Error> {
        let mut watched = Vec::with_capacity(2 + self.clients.len() + self.pending.len());
        watched.push(PollFd::new(&self.signals, PollFlags::IN));
        watched.push(PollFd::new(&self.listener, PollFlags::IN));
        for client in &self.clients {
            let writing = if client.output.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            watched.push(PollFd::new(&client.stream, PollFlags::IN | writing));
        }
        for pending in &self.pending {
            watched.push(PollFd::new(&pending.starting.sync, PollFlags::IN));
        }
        let first_terminal = watched.len();
        let mut held = Vec::new();
        for (id, known) in &self.containers {
            if let Some(terminal) = &known.terminal {
                watched.push(PollFd::from_borrowed_fd(terminal.descriptors()[0], PollFlags::IN));
                held.push(id.clone());
            }
        }
        let timeout = Timespec { tv_sec: IDLE_SECONDS, tv_nsec: 0 };
        match poll(&mut watched, self.is_idle().then_some(&timeout)) {
            Ok(0) => return Ok(Waited::Idle),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Waited::Event),
            Err(errno) => return Err(Error::Poll(errno.into())),
        }
        let ready: Vec<bool> = watched.iter().map(|entry| !entry.revents().is_empty()).collect();
        drop(watched);
        let (signalled, connecting) = (ready[0], ready[1]);
        // Launches first: their answer comes before their exit.
        if ready[2 + self.clients.len()..first_terminal].contains(&true) {
            self.advance_launches();
        }
        for (id, _) in held.iter().zip(&ready[first_terminal..]).filter(|(_, ready)| **ready) {
            self.take_output(id);
        }
        if signalled {
            self.take_signals();
        }
        for index in 0..self.clients.len() {
            if ready[2 + index] {
                self.read_client(index);
            }
        }
        if connecting {
            self.accept();
        }
        Ok(Waited::Event)
    }

    fn take_output(&mut self, id: &str) {
        let Some(known) = self.containers.get_mut(id) else { return };
        if known.terminal.as_mut().is_some_and(|terminal| terminal.take() == Left::Ended) {
            known.terminal = None;
        }
    }

    fn terminals(&self) -> usize {
        let started = self.containers.values().filter(|known| known.terminal.is_some()).count();
        started + self.pending.iter().filter(|pending| pending.starting.terminal.is_some()).count()
    }

    fn take_signals(&mut self) {
        let mut buffer = [0u8; size_of::<libc::signalfd_siginfo>()];
        let mut terminate = false;
        while let Ok(count) = self.signals.read(&mut buffer) {
            if count == 0 {
                break;
            }
            // The number is the structure's first field.
            let number = u32::from_ne_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
            terminate |= number == libc::SIGTERM as u32;
        }
        self.reap();
        if terminate {
            if self.has_running() {
                eprintln!("keeper: not ending on SIGTERM: containers run");
            } else {
                self.ending = true;
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let own = rustix::process::geteuid();
            let peer = rustix::net::sockopt::socket_peercred(&stream);
            let is_own = peer.is_ok_and(|peer| peer.uid == own);
            // A refused stream closes here: its owner finds out at once.
            if is_own && self.clients.len() < CLIENTS_MAX && stream.set_nonblocking(true).is_ok() {
                self.token_next += 1;
                self.clients.push(Client {
                    stream,
                    token: self.token_next,
                    input: Vec::new(),
                    output: Vec::new(),
                    welcomed: false,
                    gone: false,
                });
            }
        }
    }

    fn read_client(&mut self, index: usize) {
        let mut chunk = [0; 16 << 10];
        loop {
            let client = &mut self.clients[index];
            match client.stream.read(&mut chunk) {
                Ok(0) => client.gone = true,
                Ok(count) => client.input.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => client.gone = true,
            }
            if client.gone {
                break;
            }
            self.take_requests(index);
        }
    }

    fn take_requests(&mut self, index: usize) {
        loop {
            let client = &mut self.clients[index];
            if client.gone {
                return;
            }
            match protocol::decode::<Request>(&mut client.input) {
                Ok(Some(request)) => self.handle(index, request),
                Ok(None) => return,
                Err(error) => {
                    eprintln!("keeper: closing a connection: {error}");
                    client.gone = true;
                }
            }
        }
    }

    fn handle(&mut self, index: usize, request: Request) {
        let token = self.clients[index].token;
        let id = request.id;
        let body = match request.body {
            RequestBody::Hello { protocol: _ } => {
                self.welcome(index, id);
                return;
            }
            _ if !self.clients[index].welcomed => {
                refuse(Refusal::Invalid, "the first request of a connection must be Hello".into())
            }
            RequestBody::Launch(spec) => match self.launch(token, id, spec) {
                Some(body) => body,
                None => return,
            },
            RequestBody::Signal { container, signal, scope } => self.signal(&container, signal, scope),
            RequestBody::List => ReplyBody::Containers(self.list()),
            RequestBody::Forget { container } => self.forget(&container),
            RequestBody::Input { container, data } => self.input(&container, &data),
            RequestBody::Resize { container, size } => self.resize(&container, size),
            RequestBody::Upgrade { program, arguments } => self.upgrade(index, id, &program, &arguments),
            RequestBody::Stop if self.has_running() => {
                refuse(Refusal::Busy, "containers run: end them first".into())
            }
            RequestBody::Stop => {
                self.ending = true;
                ReplyBody::Done
            }
        };
        self.send(token, &Message::Reply { id, body });
    }

    fn welcome(&mut self, index: usize, id: u64) {
        let token = self.clients[index].token;
        self.clients[index].welcomed = true;
        let body = ReplyBody::Welcome {
            protocol: PROTOCOL,
            build: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
        };
        self.send(token, &Message::Reply { id, body });
        let ended: Vec<Message> = self
            .containers
            .iter()
            .filter_map(|(id, known)| {
                known.status.map(|status| Message::Exited { container: id.clone(), status })
            })
            .collect();
        for message in &ended {
            self.send(token, message);
        }
    }

    /// `None`: the answer follows when the command runs or fails.
    fn launch(&mut self, client: u64, request: u64, spec: Box<Spec>) -> Option<ReplyBody> {
        if let Some(known) = self.containers.get(&spec.container) {
            if Record::of(&self.dir, &spec.container).digest() != Some(spec.digest) {
                let message =
                    format!("container {} exists with another spec: choose another id", spec.container);
                return Some(refuse(Refusal::Invalid, message));
            }
            let Identity { pid, start_time } = known.identity;
            return Some(ReplyBody::Launched { pid, start_time, warnings: Vec::new() });
        }
        if self.pending.iter().any(|pending| pending.starting.container == spec.container) {
            return Some(refuse(Refusal::Busy, format!("container {} is being started", spec.container)));
        }
        if self.pending.len() >= STARTING_MAX || self.containers.len() >= CONTAINERS_MAX {
            let message = format!(
                "{} containers are starting and {} known; at most {STARTING_MAX} and {CONTAINERS_MAX} are accepted: try again later",
                self.pending.len(),
                self.containers.len()
            );
            return Some(refuse(Refusal::Busy, message));
        }
        if matches!(spec.stdio, Stdio::Terminal { .. }) && self.terminals() >= TERMINALS_MAX {
            let message = format!(
                "{TERMINALS_MAX} containers with a terminal run, more are not accepted: end one first"
            );
            return Some(refuse(Refusal::Busy, message));
        }
        match self.launcher.start(&self.dir, spec) {
            Ok(starting) => {
                self.launches_untrimmed += 1;
                self.pending.push(Pending { client, request, starting });
                None
            }
            Err(error) => Some(refused_launch(&error)),
        }
    }

    fn advance_launches(&mut self) {
        let mut index = 0;
        while index < self.pending.len() {
            if !self.advance(index) {
                index += 1;
            }
        }
        if self.pending.is_empty() && self.launches_untrimmed >= LAUNCHES_PER_TRIM {
            self.launches_untrimmed = 0;
            give_back_memory();
        }
    }

    /// Whether the launch at `index` is answered and gone.
    fn advance(&mut self, index: usize) -> bool {
        let starting = &mut self.pending[index].starting;
        let failed = match starting.progress() {
            Ok(None) => return false,
            Ok(Some(Progress::Running)) => None,
            Ok(Some(Progress::Failed(error))) => Some(error),
            Err(_) => Some(launch::Error::Died(starting.container.clone())),
        };
        let Pending { client, request, starting } = self.pending.swap_remove(index);
        let container = starting.container.clone();
        let body = match failed {
            Some(error) => {
                let _ = Record::of(&self.dir, &container).remove();
                refused_launch(&error)
            }
            None => {
                let Starting { identity, terminal, .. } = starting;
                self.containers
                    .insert(container, Container { identity, status: None, is_child: true, terminal });
                let Identity { pid, start_time } = identity;
                ReplyBody::Launched { pid, start_time, warnings: starting.warnings }
            }
        };
        self.send(client, &Message::Reply { id: request, body });
        true
    }

    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get().unsigned_abs();
            // Its socket is closed by now: the answer is there.
            if let Some(index) = self.pending.iter().position(|pending| pending.starting.identity.pid == pid)
            {
                self.advance(index);
            }
            let found = self
                .containers
                .iter_mut()
                .find(|(_, known)| known.identity.pid == pid && known.is_child && known.status.is_none());
            if let Some((id, known)) = found {
                let record = Record::of(&self.dir, id);
                let status = record.init_status().unwrap_or(status.as_raw());
                known.status = Some(status);
                if let Some(terminal) = known.terminal.take() {
                    terminal.finish();
                }
                let container = id.clone();
                if let Err(error) = record.write_status(status) {
                    eprintln!("keeper: cannot write the status of container {container}: {error}");
                }
                self.push(&Message::Exited { container, status });
            }
        }
    }

    fn signal(&self, container: &str, signal: i32, scope: Scope) -> ReplyBody {
        let Some(known) = self.containers.get(container).filter(|known| known.status.is_none()) else {
            return refuse(Refusal::Unknown, format!("container {container} does not run"));
        };
        let Some(signal) = Signal::from_named_raw(signal) else {
            return refuse(Refusal::Invalid, format!("signal {signal} does not exist: give 1 to 31"));
        };
        match process::signal(known.identity, signal, scope == Scope::All) {
            Ok(true) => ReplyBody::Done,
            Ok(false) => refuse(Refusal::Unknown, format!("container {container} has ended")),
            Err(error) => refuse(Refusal::Failed, format!("cannot signal container {container}: {error}")),
        }
    }

    fn input(&mut self, container: &str, data: &[u8]) -> ReplyBody {
        match self.terminal(container).map(|terminal| terminal.input(data)) {
            Ok(Ok(count)) => ReplyBody::Written { bytes: u32::try_from(count).unwrap_or(u32::MAX) },
            Ok(Err(error)) => refuse(
                Refusal::Failed,
                format!("cannot write to the terminal of container {container}: {error}"),
            ),
            Err(refused) => refused,
        }
    }

    fn resize(&mut self, container: &str, size: WindowSize) -> ReplyBody {
        match self.terminal(container).map(|terminal| terminal.resize(size)) {
            Ok(Ok(())) => ReplyBody::Done,
            Ok(Err(error)) => refuse(
                Refusal::Failed,
                format!("cannot resize the terminal of container {container}: {error}"),
            ),
            Err(refused) => refused,
        }
    }

    fn terminal(&mut self, container: &str) -> Result<&mut Terminal, ReplyBody> {
        let known = self.containers.get_mut(container);
        known.and_then(|known| known.terminal.as_mut()).ok_or_else(|| {
            refuse(Refusal::Unknown, format!("container {container} has no terminal that is kept for it"))
        })
    }

    fn list(&self) -> Vec<Known> {
        let known = |(id, container): (&String, &Container)| Known {
            container: id.clone(),
            pid: container.identity.pid,
            start_time: container.identity.start_time,
            status: container.status,
            is_child: container.is_child,
        };
        self.containers.iter().map(known).collect()
    }

    fn forget(&mut self, container: &str) -> ReplyBody {
        if self.containers.get(container).is_some_and(|known| known.is_child && known.status.is_none()) {
            return refuse(
                Refusal::Busy,
                format!("container {container} runs: end it before it is forgotten"),
            );
        }
        if !crate::spec::is_container_id(container) {
            return refuse(Refusal::Invalid, "this is no container id".into());
        }
        if self.pending.iter().any(|pending| pending.starting.container == container) {
            return refuse(Refusal::Busy, format!("container {container} is being started"));
        }
        if let Err(error) = Record::of(&self.dir, container).remove() {
            return refuse(
                Refusal::Failed,
                format!("cannot remove the record of container {container}: {error}"),
            );
        }
        self.containers.remove(container);
        ReplyBody::Done
    }

    /// Returns only if the other program cannot be executed.
    fn upgrade(&mut self, index: usize, id: u64, program: &str, arguments: &[String]) -> ReplyBody {
        if !self.pending.is_empty() {
            return refuse(Refusal::Busy, "containers are being started: try again".into());
        }
        if !Path::new(program).is_file() {
            return refuse(
                Refusal::Invalid,
                format!("{program:?} is no program: give the path of the new one"),
            );
        }
        let token = self.clients[index].token;
        self.send(token, &Message::Reply { id, body: ReplyBody::Done });
        self.flush();
        // Descriptors close on exec, but for terminals; children and records stay.
        let terminals: HashMap<&str, &Terminal> = self
            .containers
            .iter()
            .filter_map(|(id, known)| Some((id.as_str(), known.terminal.as_ref()?)))
            .collect();
        if let Err(error) = handover::leave(&self.dir, &terminals) {
            eprintln!("keeper: terminals end with this program: {error}");
        }
        let error = Command::new(program).args(arguments).exec();
        handover::take_back(&self.dir, &terminals);
        eprintln!("keeper: cannot become {program}: {error}");
        if let Ok(signals) = signals() {
            self.signals = signals;
        }
        refuse(Refusal::Failed, format!("cannot execute {program}: {error}"))
    }

    fn push(&mut self, message: &Message) {
        let tokens: Vec<u64> =
            self.clients.iter().filter(|client| client.welcomed).map(|client| client.token).collect();
        for token in tokens {
            self.send(token, message);
        }
    }

    fn send(&mut self, token: u64, message: &Message) {
        let Some(client) = self.clients.iter_mut().find(|client| client.token == token) else { return };
        match protocol::encode(message) {
            Ok(frame) if client.output.len() + frame.len() <= OUTPUT_MAX_BYTES => client.output.extend(frame),
            Ok(_) => client.gone = true,
            Err(error) => {
                eprintln!("keeper: closing a connection: {error}");
                client.gone = true;
            }
        }
    }

    fn flush(&mut self) {
        for client in &mut self.clients {
            while !client.gone && !client.output.is_empty() {
                match client.stream.write(&client.output) {
                    Ok(0) => client.gone = true,
                    Ok(count) => drop(client.output.drain(..count)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => client.gone = true,
                }
            }
            if client.output.is_empty() {
                client.output.shrink_to(4096);
            }
        }
        self.clients.retain(|client| !client.gone);
    }
}

#[derive(PartialEq, Eq)]
enum Waited {
    Event,
    Idle,
}

fn refuse(kind: Refusal, message: String) -> ReplyBody {
    ReplyBody::Refused { kind, message }
}

fn refused_launch(error: &launch::Error) -> ReplyBody {
    let kind = if matches!(error, launch::Error::Invalid(_)) { Refusal::Invalid } else { Refusal::Failed };
    refuse(kind, error.to_string())
}

fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(|source| Error::Directory { path, source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(Error::Running(dir.to_path_buf())),
    }
}

/// Everything that was started before this program took over.
fn recover(dir: &Path) -> io::Result<BTreeMap<String, Container>> {
    let mut containers = BTreeMap::new();
    for id in Record::list(dir)? {
        let record = Record::of(dir, &id);
        let Some(identity) = record.identity() else { continue };
        let alive = process::start_time(identity.pid) == Some(identity.start_time);
        let is_child = alive && is_child(identity.pid);
        containers.insert(id, Container { identity, status: record.status(), is_child, terminal: None });
    }
    Ok(containers)
}

fn is_child(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return false };
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    rustix::process::waitid(WaitId::Pid(pid), look).is_ok()
}

fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: gives free pages of this single-threaded process to the kernel.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Makes `SIGCHLD` and `SIGTERM` readable, and deaf to what an agent's end sends.
fn signals() -> io::Result<File> {
    // SAFETY: a local signal set; libc calls with valid arguments; the new
    // descriptor is owned by nobody else.
    unsafe {
        for signal in [libc::SIGPIPE, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
            libc::signal(signal, libc::SIG_IGN);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let descriptor = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(File::from(OwnedFd::from_raw_fd(descriptor)))
    }
}
