//! The streams of sessions: read here, handed to whoever is attached.
//!
//! A process whose output nobody takes waits, as it would at a full pipe: at most
//! [`CHUNKS_MAX`] pieces per reader are held. A session without a reader ends.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use keeper::protocol::{ReplyBody, RequestBody};
use keeper::record::Identity;
use keeper::spec::WindowSize;
use model::ContainerId;
use rustix::fs::OFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::link::Link;
use crate::table::{Phase, Table};

/// Most pieces of output held for one reader.
pub const CHUNKS_MAX: usize = 16;
/// Most bytes of one piece of output.
pub const CHUNK_BYTES: usize = 16 << 10;
/// Most bytes of input sent to the keeper at one time.
const INPUT_BYTES_MAX: usize = 64 << 10;
/// How long more output is waited for when the container has ended: its last
/// words are in the pipe by then, unless another process has it open.
const REST_PATIENCE: Duration = Duration::from_millis(500);
/// How long the end of a container is waited for when its streams have ended:
/// readers that end it then do not take its exit code from it.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// Before a terminal that took nothing is tried again.
const INPUT_PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub stream: Stream,
    pub data: Bytes,
}

/// Why nobody is attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error("there is no container {0}")]
    NotFound(ContainerId),
    #[error("another has the input of container {0}: wait until it lets go")]
    Busy(ContainerId),
    #[error(
        "container {0} reads nothing: it was launched without a terminal; launch it with one, or as a session"
    )]
    NoInput(ContainerId),
    #[error("what container {0} writes is not kept")]
    NoOutput(ContainerId),
    #[error("the keeper of this node's containers does not answer ({0}); try again")]
    Keeper(String),
}

/// Why input did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("the standard input of container {0} is closed")]
    Closed(ContainerId),
    #[error("cannot write to container {id}: {source}")]
    Write { id: ContainerId, source: io::Error },
    #[error("container {0} has no terminal")]
    NoTerminal(ContainerId),
    #[error("{0}")]
    Keeper(String),
}

/// This process's side of a session's streams.
pub enum Near {
    Pipes { stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd },
    Terminal(OwnedFd),
}

impl Near {
    /// With the command's side: three pipes' ends or one of a terminal.
    pub fn open(parent: Identity, terminal: Option<WindowSize>) -> io::Result<(Self, Vec<OwnedFd>)> {
        if let Some(size) = terminal {
            let (near, far) = keeper::terminal::open(Some(parent), size)?;
            return Ok((Self::Terminal(near), vec![far]));
        }
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let ((stdin_far, stdin), (stdout, stdout_far), (stderr, stderr_far)) = (pipe()?, pipe()?, pipe()?);
        Ok((Self::Pipes { stdin, stdout, stderr }, vec![stdin_far, stdout_far, stderr_far]))
    }
}

type Descriptor = Arc<AsyncFd<OwnedFd>>;

fn register(descriptor: OwnedFd, interest: Interest) -> io::Result<Descriptor> {
    let flags = rustix::fs::fcntl_getfl(&descriptor)?;
    rustix::fs::fcntl_setfl(&descriptor, flags | OFlags::NONBLOCK)?;
    // SAFETY: an OwnedFd is one open descriptor for its whole life, and it is
    // dropped by the AsyncFd, after deregistration.
    #[allow(unsafe_code)]
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, interest) };
    Ok(Arc::new(registered?))
}

/// All sessions, and who has the input of other containers.
#[derive(Default)]
pub struct Streams {
    sessions: Mutex<HashMap<ContainerId, Arc<Session>>>,
    kept: Arc<Mutex<HashSet<ContainerId>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Session {
    id: ContainerId,
    table: Arc<Table>,
    has_terminal: bool,
    outputs: Mutex<Outputs>,
    input: Mutex<Slot>,
}

struct Outputs {
    /// For the first to attach.
    first: Option<mpsc::Receiver<Chunk>>,
    readers: Vec<mpsc::Sender<Chunk>>,
    /// Streams that have not ended.
    open: usize,
}

enum Slot {
    Free(Descriptor),
    Taken,
    Closed,
}

impl Streams {
    /// Begins to read.
    pub fn open(&self, table: &Arc<Table>, id: &ContainerId, near: Near) -> io::Result<()> {
        let has_terminal = matches!(near, Near::Terminal(_));
        let (input, streams) = match near {
            Near::Terminal(near) => {
                let near = register(near, Interest::READABLE | Interest::WRITABLE)?;
                (near.clone(), vec![(Stream::Stdout, near)])
            }
            Near::Pipes { stdin, stdout, stderr } => (
                register(stdin, Interest::WRITABLE)?,
                vec![
                    (Stream::Stdout, register(stdout, Interest::READABLE)?),
                    (Stream::Stderr, register(stderr, Interest::READABLE)?),
                ],
            ),
        };
        let (sender, first) = mpsc::channel(CHUNKS_MAX);
        let session = Arc::new(Session {
            id: id.clone(),
            table: table.clone(),
            has_terminal,
            outputs: Mutex::new(Outputs { first: Some(first), readers: vec![sender], open: streams.len() }),
            input: Mutex::new(Slot::Free(input)),
        });
        locked(&self.sessions).insert(id.clone(), session.clone());
        for (stream, near) in streams {
            tokio::spawn(session.clone().pass_on(stream, near));
        }
        Ok(())
    }

    pub fn session(&self, id: &ContainerId) -> Option<Arc<Session>> {
        locked(&self.sessions).get(id).cloned()
    }

    pub fn forget(&self, id: &ContainerId) {
        locked(&self.sessions).remove(id);
    }

    /// The right to the input of a container whose terminal the keeper has.
    pub fn keep_input(&self, id: &ContainerId) -> Option<Kept> {
        let is_new = locked(&self.kept).insert(id.clone());
        is_new.then(|| Kept { id: id.clone(), all: self.kept.clone() })
    }
}

pub struct Kept {
    id: ContainerId,
    all: Arc<Mutex<HashSet<ContainerId>>>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        locked(&self.all).remove(&self.id);
    }
}

impl Session {
    pub fn attach_output(self: &Arc<Self>) -> Output {
        let mut outputs = locked(&self.outputs);
        let receiver = outputs.first.take().unwrap_or_else(|| {
            let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
            // An ended session's sender is dropped here: nothing comes.
            if outputs.open > 0 {
                outputs.readers.push(sender);
            }
            receiver
        });
        Output { receiver, session: Some(self.clone()) }
    }

    /// `None` while another has it.
    pub fn attach_input(self: &Arc<Self>) -> Option<Input> {
        let mut slot = locked(&self.input);
        let near = match std::mem::replace(&mut *slot, Slot::Taken) {
            Slot::Taken => return None,
            Slot::Free(near) => Some(near),
            Slot::Closed => None,
        };
        Some(Input(Way::Session { session: self.clone(), near }))
    }

    /// Reads one stream to its end.
    async fn pass_on(self: Arc<Self>, stream: Stream, near: Descriptor) {
        if let Some(mut phase) = self.table.subscribe(&self.id) {
            while let Some(data) = read(&near, &mut phase).await {
                let readers = locked(&self.outputs).readers.clone();
                for reader in readers {
                    // One that has gone is taken out below.
                    let _ = reader.send(Chunk { stream, data: data.clone() }).await;
                }
                if self.is_abandoned() {
                    break;
                }
            }
        }
        let is_last = {
            let mut outputs = locked(&self.outputs);
            outputs.open -= 1;
            outputs.open == 0
        };
        if !is_last {
            return;
        }
        if let Some(mut phase) = self.table.subscribe(&self.id) {
            let ended = phase.wait_for(|phase| matches!(phase, Phase::Ended(_) | Phase::Gone));
            // One that goes on without streams is left to whoever reads.
            let _ = timeout(END_PATIENCE, ended).await;
        }
        locked(&self.outputs).readers.clear();
        let mut slot = locked(&self.input);
        if let Slot::Free(_) = *slot {
            *slot = Slot::Closed;
        }
    }

    /// Ends the container if nobody reads any more.
    fn is_abandoned(&self) -> bool {
        let mut outputs = locked(&self.outputs);
        outputs.readers.retain(|reader| !reader.is_closed());
        let is_abandoned = outputs.readers.is_empty() && outputs.open > 0;
        drop(outputs);
        // Without a runtime this process is ending, and the streams with it.
        if is_abandoned && tokio::runtime::Handle::try_current().is_ok() {
            self.table.end(&self.id);
        }
        is_abandoned
    }
}

/// `None` when there is no more.
async fn read(near: &AsyncFd<OwnedFd>, phase: &mut watch::Receiver<Phase>) -> Option<Bytes> {
    let mut data = vec![0; CHUNK_BYTES];
    loop {
        let has_ended = matches!(*phase.borrow(), Phase::Ended(_) | Phase::Gone);
        let ready = tokio::select! {
            biased;
            ready = near.readable() => ready.ok()?,
            () = sleep(REST_PATIENCE), if has_ended => return None,
            // The sender goes with the container.
            _ = phase.wait_for(|phase| matches!(phase, Phase::Ended(_) | Phase::Gone)), if !has_ended => continue,
        };
        let mut ready = ready;
        match ready.try_io(|near| Ok(rustix::io::read(near.as_fd(), &mut data[..])?)) {
            Ok(Ok(0)) => return None,
            Ok(Ok(count)) => {
                data.truncate(count);
                data.shrink_to_fit();
                return Some(Bytes::from(data));
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            // A terminal that nobody has open any more.
            Ok(Err(_)) => return None,
            Err(_not_yet) => {}
        }
    }
}

/// What a container writes, until it ends.
pub struct Output {
    receiver: mpsc::Receiver<Chunk>,
    session: Option<Arc<Session>>,
}

impl Output {
    pub(super) fn of_files(receiver: mpsc::Receiver<Chunk>) -> Self {
        Self { receiver, session: None }
    }

    /// `None` when there is no more. May be dropped while it waits.
    pub async fn next(&mut self) -> Option<Chunk> {
        self.receiver.recv().await
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.receiver.close();
        if let Some(session) = &self.session {
            session.is_abandoned();
        }
    }
}

/// The way to a container's standard input.
pub struct Input(Way);

enum Way {
    Session { session: Arc<Session>, near: Option<Descriptor> },
    Kept { kept: Kept, link: Link, phase: watch::Receiver<Phase> },
}

impl Input {
    pub(super) fn kept(kept: Kept, link: Link, phase: watch::Receiver<Phase>) -> Self {
        Self(Way::Kept { kept, link, phase })
    }

    pub fn has_terminal(&self) -> bool {
        match &self.0 {
            Way::Session { session, .. } => session.has_terminal,
            Way::Kept { .. } => true,
        }
    }

    /// Waits until the container takes all of it.
    pub async fn write(&mut self, data: &[u8]) -> Result<(), InputError> {
        match &self.0 {
            Way::Session { session, near: None } => Err(InputError::Closed(session.id.clone())),
            Way::Session { session, near: Some(near) } => {
                let failed = |source| InputError::Write { id: session.id.clone(), source };
                write(near, data).await.map_err(failed)
            }
            Way::Kept { kept, link, phase } => write_kept(kept, link, phase, data).await,
        }
    }

    /// No more will come; means nothing to one with a terminal.
    pub fn close(&mut self) {
        if let Way::Session { session, near } = &mut self.0
            && !session.has_terminal
        {
            *near = None;
        }
    }

    pub async fn resize(&mut self, size: WindowSize) -> Result<(), InputError> {
        match &self.0 {
            Way::Session { session, near } => {
                let no = || InputError::NoTerminal(session.id.clone());
                let near = near.as_ref().filter(|_| session.has_terminal).ok_or_else(no)?;
                let failed = |source| InputError::Write { id: session.id.clone(), source };
                keeper::terminal::resize(near.get_ref().as_fd(), size).map_err(failed)
            }
            Way::Kept { kept, link, .. } => {
                let resize = RequestBody::Resize { container: kept.id.as_str().into(), size };
                match link.ask(resize).await {
                    Ok(ReplyBody::Done) => Ok(()),
                    other => Err(not_done(other)),
                }
            }
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Way::Session { session, near } = &mut self.0 {
            let has_ended = locked(&session.outputs).open == 0;
            let near = near.take().filter(|_| !has_ended);
            *locked(&session.input) = near.map_or(Slot::Closed, Slot::Free);
        }
    }
}

async fn write(near: &AsyncFd<OwnedFd>, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        let mut ready = near.writable().await?;
        match ready.try_io(|near| Ok(rustix::io::write(near.as_fd(), data)?)) {
            Ok(Ok(count)) => data = data.get(count..).unwrap_or_default(),
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Err(error)) => return Err(error),
            Err(_not_yet) => {}
        }
    }
    Ok(())
}

async fn write_kept(
    kept: &Kept,
    link: &Link,
    phase: &watch::Receiver<Phase>,
    mut data: &[u8],
) -> Result<(), InputError> {
    while !data.is_empty() {
        if matches!(*phase.borrow(), Phase::Ended(_) | Phase::Gone) {
            return Err(InputError::Closed(kept.id.clone()));
        }
        let piece = data.get(..INPUT_BYTES_MAX).unwrap_or(data).to_vec();
        match link.ask(RequestBody::Input { container: kept.id.as_str().into(), data: piece }).await {
            Ok(ReplyBody::Written { bytes: 0 }) => sleep(INPUT_PAUSE).await,
            Ok(ReplyBody::Written { bytes }) => data = data.get(bytes as usize..).unwrap_or_default(),
            other => return Err(not_done(other)),
        }
    }
    Ok(())
}

fn not_done(reply: Result<ReplyBody, crate::link::Lost>) -> InputError {
    InputError::Keeper(match reply {
        Ok(ReplyBody::Refused { message, .. }) => message,
        Ok(other) => format!("the keeper answered {other:?}"),
        Err(lost) => format!("the keeper of this node's containers does not answer ({lost}); try again"),
    })
}
