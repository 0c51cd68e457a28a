//! The connection to the keeper: one task that owns it, starts the keeper when
//! there is none, and tells the table what the keeper tells.
//!
//! Invariant: after every (re)connect the table agrees with the keeper's list,
//! and what the keeper cannot wait for is waited for here. Requests that were
//! under way when a connection broke are answered with [`Lost`].

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use keeper::protocol::{self, Known, Message, PROTOCOL, ReplyBody, Request, RequestBody};
use model::ContainerId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use crate::api::StartError;
use crate::cgroup::Cgroups;
use crate::table::Table;

/// Requests waiting for the connection.
const COMMANDS_MAX: usize = 256;
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
const CONNECT_PAUSE: Duration = Duration::from_millis(3);
/// Between attempts once the patience is over.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const LOG_FILE: &str = "keeper.log";

/// The keeper was lost before it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection broke")]
pub struct Lost;

#[derive(Clone)]
pub struct Link {
    commands: mpsc::Sender<Command>,
}

struct Command {
    body: RequestBody,
    answer: oneshot::Sender<ReplyBody>,
}

/// How to start a keeper.
pub struct Start {
    pub dir: PathBuf,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub cgroups: Option<Arc<Cgroups>>,
}

impl Link {
    /// Connects, to a running keeper or a new one.
    pub async fn open(start: Start, table: Arc<Table>) -> Result<Self, StartError> {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let mut worker = Worker { start, table, child: None, keeper_pid: None, request: 0, stopping: None };
        let connection = worker.connect().await?;
        tokio::spawn(worker.run(connection, receiver));
        Ok(Self { commands })
    }

    pub async fn ask(&self, body: RequestBody) -> Result<ReplyBody, Lost> {
        let (answer, reply) = oneshot::channel();
        self.commands.send(Command { body, answer }).await.map_err(|_| Lost)?;
        reply.await.map_err(|_| Lost)
    }

    /// Ends the keeper for good, if no container runs; nothing can be asked
    /// afterwards.
    pub async fn stop(&self) -> Result<(), String> {
        // Lost is as good: it ended before its answer arrived.
        if let Ok(ReplyBody::Refused { message, .. }) = self.ask(RequestBody::Stop).await {
            return Err(message);
        }
        self.commands.closed().await;
        Ok(())
    }
}

struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
}

struct Worker {
    start: Start,
    table: Arc<Table>,
    /// The keeper, if this process started it.
    child: Option<Child>,
    keeper_pid: Option<u32>,
    request: u64,
    /// The request that ends the keeper.
    stopping: Option<u64>,
}

impl Worker {
    async fn run(mut self, first: Connection, mut commands: mpsc::Receiver<Command>) {
        let mut connection = first;
        loop {
            if self.serve(&mut connection, &mut commands).await == Served::Done {
                return;
            }
            if self.stopping.is_some() {
                self.wait_for_end().await;
                return;
            }
            tracing::warn!(dir = %self.start.dir.display(), "the keeper is gone, connecting anew");
            connection = loop {
                match self.connect().await {
                    Ok(connection) => break connection,
                    Err(error) => {
                        tracing::error!(%error, "no keeper; running containers are watched by the agent itself");
                        self.table.watch_all();
                        sleep(RETRY_PAUSE).await;
                    }
                }
            };
        }
    }

    async fn serve(&mut self, connection: &mut Connection, commands: &mut mpsc::Receiver<Command>) -> Served {
        let mut open: HashMap<u64, oneshot::Sender<ReplyBody>> = HashMap::new();
        let mut chunk = vec![0; 16 << 10];
        loop {
            match protocol::decode::<Message>(&mut connection.input) {
                Ok(Some(Message::Reply { id, body })) => {
                    if self.stopping == Some(id) && matches!(body, ReplyBody::Refused { .. }) {
                        self.stopping = None;
                    }
                    if let Some(answer) = open.remove(&id) {
                        // The asker may have gone away.
                        let _ = answer.send(body);
                    }
                    continue;
                }
                Ok(Some(Message::Exited { container, status })) => {
                    self.table.ended(&ContainerId::new(container), Some(status));
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "the keeper's words are not understood");
                    return Served::Broken;
                }
            }
            let (reader, mut writer) = connection.stream.split();
            let mut reader = reader;
            tokio::select! {
                read = reader.read(&mut chunk) => match read {
                    Ok(count) if count > 0 => connection.input.extend_from_slice(&chunk[..count]),
                    _ => return Served::Broken,
                },
                command = commands.recv() => {
                    let Some(Command { body, answer }) = command else { return Served::Done };
                    self.request += 1;
                    if body == RequestBody::Stop {
                        self.stopping = Some(self.request);
                    }
                    let frame = match protocol::encode(&Request { id: self.request, body }) {
                        Ok(frame) => frame,
                        Err(error) => {
                            let kind = keeper::protocol::Refusal::Invalid;
                            let _ = answer.send(ReplyBody::Refused { kind, message: error.to_string() });
                            continue;
                        }
                    };
                    open.insert(self.request, answer);
                    if writer.write_all(&frame).await.is_err() {
                        return Served::Broken;
                    }
                }
            }
        }
    }

    /// Finds or starts a keeper and brings the table up to its list.
    async fn connect(&mut self) -> Result<Connection, StartError> {
        let deadline = Instant::now() + CONNECT_PATIENCE;
        let mut spawned = false;
        loop {
            if let Ok(Some(connection)) = timeout_at(deadline, self.greet()).await {
                return Ok(connection);
            }
            if Instant::now() >= deadline {
                return Err(StartError::NoAnswer {
                    dir: self.start.dir.clone(),
                    seconds: CONNECT_PATIENCE.as_secs(),
                    log: self.start.dir.join(LOG_FILE),
                });
            }
            if !self.has_child() {
                if spawned {
                    // It may be another process's that is just upgrading.
                    sleep(CONNECT_PAUSE * 20).await;
                }
                self.spawn()?;
                spawned = true;
            }
            sleep(CONNECT_PAUSE).await;
        }
    }

    /// Reaps the keeper, or waits for the end of one that is not our child.
    async fn wait_for_end(&mut self) {
        let deadline = Instant::now() + CONNECT_PATIENCE;
        let is_gone = |pid| keeper::process::start_time(pid).is_none() || keeper::process::is_zombie(pid);
        while Instant::now() < deadline && (self.has_child() || !self.keeper_pid.is_none_or(is_gone)) {
            sleep(CONNECT_PAUSE).await;
        }
    }

    fn has_child(&mut self) -> bool {
        match self.child.as_mut().map(Child::try_wait) {
            Some(Ok(None)) => true,
            _ => {
                if self.child.take().is_some() {
                    reap_never_started();
                }
                false
            }
        }
    }

    fn spawn(&mut self) -> Result<(), StartError> {
        let Start { dir, program, arguments, cgroups } = &self.start;
        let log = dir.join(LOG_FILE);
        let spawning = |source| StartError::Spawn { program: program.clone(), source };
        let output = OpenOptions::new().create(true).append(true).open(&log).map_err(spawning)?;
        let error = output.try_clone().map_err(spawning)?;
        let child = std::process::Command::new(program)
            .args(arguments)
            .arg("--dir")
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(error)
            .current_dir("/")
            .env_clear()
            .spawn()
            .map_err(spawning)?;
        if let Some(cgroups) = cgroups
            && let Err(error) = cgroups.place_keeper(child.id())
        {
            tracing::warn!(%error, "the keeper stays in the agent's control groups");
        }
        self.child = Some(child);
        Ok(())
    }

    async fn greet(&mut self) -> Option<Connection> {
        let stream = UnixStream::connect(self.start.dir.join(keeper::SOCKET_FILE)).await.ok()?;
        let mut connection = Connection { stream, input: Vec::new() };
        let hello = self.converse(&mut connection, RequestBody::Hello { protocol: PROTOCOL }).await?;
        let ReplyBody::Welcome { protocol, build, pid } = hello else { return None };
        self.keeper_pid = Some(pid);
        if protocol != PROTOCOL || build != env!("CARGO_PKG_VERSION") {
            tracing::info!(pid, %build, "the keeper is of another version: upgrading it in place");
            let mut arguments = self.start.arguments.clone();
            arguments.push("--dir".into());
            arguments.push(self.start.dir.to_string_lossy().into_owned());
            let program = self.start.program.to_string_lossy().into_owned();
            self.converse(&mut connection, RequestBody::Upgrade { program, arguments }).await;
            return None;
        }
        let ReplyBody::Containers(known) = self.converse(&mut connection, RequestBody::List).await? else {
            return None;
        };
        self.settle(&known);
        Some(connection)
    }

    /// One question on a connection that has no other.
    async fn converse(&mut self, connection: &mut Connection, body: RequestBody) -> Option<ReplyBody> {
        self.request += 1;
        let request = self.request;
        let frame = protocol::encode(&Request { id: request, body }).ok()?;
        connection.stream.write_all(&frame).await.ok()?;
        let mut chunk = [0; 4096];
        loop {
            match protocol::decode::<Message>(&mut connection.input).ok()? {
                Some(Message::Reply { id, body }) if id == request => return Some(body),
                Some(Message::Reply { .. }) => {}
                Some(Message::Exited { container, status }) => {
                    self.table.ended(&ContainerId::new(container), Some(status));
                }
                None => {
                    let count = connection.stream.read(&mut chunk).await.ok().filter(|&count| count > 0)?;
                    connection.input.extend_from_slice(&chunk[..count]);
                }
            }
        }
    }

    fn settle(&self, known: &[Known]) {
        let waits: HashMap<&str, &Known> = known
            .iter()
            .filter(|known| known.is_child || known.status.is_some())
            .map(|known| (known.container.as_str(), known))
            .collect();
        for recovered in self.table.known() {
            match waits.get(recovered.id.as_str()) {
                Some(Known { status: Some(status), .. }) => self.table.ended(&recovered.id, Some(*status)),
                Some(_) => {}
                None => self.table.watch(&recovered.id),
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Served {
    Broken,
    /// Nobody will ask any more.
    Done,
}

/// A keeper that died in the middle of a launch leaves a first process that
/// ended by itself and that no record names: it is recognised by its name.
fn reap_never_started() {
    use rustix::process::{Pid, WaitId, WaitIdOptions};
    for pid in keeper::process::children(std::process::id()) {
        let is_init = keeper::process::name(pid).is_some_and(|name| name == "dcos-init");
        let (true, Some(pid)) = (is_init, i32::try_from(pid).ok().and_then(Pid::from_raw)) else { continue };
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // Exit code 125 is what it ends with when it never was told to go.
        if let Ok(Some(status)) = rustix::process::waitid(WaitId::Pid(pid), look)
            && status.exit_status() == Some(125)
        {
            let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
}
