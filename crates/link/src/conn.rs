//! A connection after the greeting: a sender, a receiver, and a task that writes.
//!
//! The receiver reads only when asked, so a slow reader slows its peer through
//! TCP; there is no queue of received messages. The writing task batches what
//! waits, sends signs of life when there is silence, and ends with a reason.
//! An idle connection holds no buffers.

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::ready;
use std::time::Duration;

use bytes::BytesMut;
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::frame::{self, FrameError, HEADER_BYTES, Kind, LENGTH_BYTES};
use crate::handshake::Greeted;
use crate::identity::PeerIdentity;
use crate::options::Options;

/// Frames taken from the queue at once.
const BATCH_MAX_FRAMES: usize = 64;
/// Frames are copied together up to this size before they are written.
const BATCH_MAX_BYTES: usize = 64 * 1024;
/// A frame of this size is written by itself, uncopied.
const LARGE_FRAME_BYTES: usize = 16 * 1024;
/// Read from the stack when nothing is known to come.
const READ_BYTES: usize = 8 * 1024;
/// Reserved at most for the rest of a large frame: a claimed length is no reason to trust.
const RESERVE_MAX_BYTES: usize = 256 * 1024;
/// The last words of a connection may take this long.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
const CLOSE_TEXT_MAX_BYTES: usize = 1024;

/// Why a connection is closed, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// Nothing more to say.
    Done,
    /// The process ends; try again or elsewhere.
    ShuttingDown,
    /// A newer connection of the same node took its place.
    Replaced,
    /// The peer may not be here.
    Refused,
    /// The peer broke the protocol.
    Protocol,
    /// This node does not lead; the text may say who does.
    NotLeader,
    /// Said by a newer version.
    Other(u32),
}

const CODES: [(CloseCode, u32); 6] = [
    (CloseCode::Done, 0),
    (CloseCode::ShuttingDown, 1),
    (CloseCode::Replaced, 2),
    (CloseCode::Refused, 3),
    (CloseCode::Protocol, 4),
    (CloseCode::NotLeader, 5),
];

/// Why a connection is closed, with a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseReason {
    pub code: CloseCode,
    pub text: String,
}

impl CloseReason {
    pub fn new(code: CloseCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    pub(crate) fn to_wire(&self) -> Goodbye {
        let known = CODES.iter().find(|(code, _)| *code == self.code).map(|(_, number)| *number);
        let code = match self.code {
            CloseCode::Other(number) => number,
            _ => known.unwrap_or_default(),
        };
        let end = self.text.floor_char_boundary(CLOSE_TEXT_MAX_BYTES);
        Goodbye { code, text: self.text[..end].to_owned() }
    }

    pub(crate) fn from_wire(payload: &[u8]) -> Self {
        let goodbye = Goodbye::decode(payload).unwrap_or_default();
        let known = CODES.iter().find(|(_, number)| *number == goodbye.code).map(|(code, _)| *code);
        Self { code: known.unwrap_or(CloseCode::Other(goodbye.code)), text: goodbye.text }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.as_str() {
            "" => write!(f, "{:?}", self.code),
            text => write!(f, "{:?}, {text}", self.code),
        }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Goodbye {
    #[prost(uint32, tag = "1")]
    code: u32,
    #[prost(string, tag = "2")]
    text: String,
}

/// Why nothing more will be received.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecvError {
    #[error("the peer closed the connection: {reason}")]
    Closed { reason: CloseReason },
    #[error("this side closed the connection: {reason}")]
    ClosedHere { reason: CloseReason },
    #[error("the connection ended without a word")]
    Lost,
    #[error("the peer was silent for {silent_ms} ms and is taken for dead")]
    Dead { silent_ms: u64 },
    #[error("the connection failed: {reason}")]
    Io { reason: String },
    #[error("the peer sent a frame of {size} bytes, the limit is {limit}")]
    TooLarge { size: u64, limit: u32 },
    #[error("the peer sent something that is no message: {reason}")]
    Malformed { reason: String },
}

/// Why a message was not accepted for sending.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("the connection is closed: {reason}")]
    Closed { reason: String },
    #[error("a message of {size} bytes exceeds the limit of {limit} that both sides agreed on; split it")]
    TooLarge { size: u64, limit: u32 },
    #[error("the queue to the peer is full; wait or drop")]
    Full,
}

/// What both halves and the writing task know together.
struct Shared {
    ended: OnceLock<Ended>,
    /// Wakes the writing task, once.
    stop_writing: Notify,
    /// Wakes a waiting receiver, once.
    stop_reading: Notify,
    room: Semaphore,
}

struct Ended {
    why: RecvError,
    /// Told to the peer, when it can still be told.
    say: Option<CloseReason>,
}

impl Shared {
    /// The first reason counts.
    fn end(&self, why: RecvError, say: Option<CloseReason>) {
        if self.ended.set(Ended { why, say }).is_ok() {
            self.stop_writing.notify_one();
            self.stop_reading.notify_one();
            self.room.close();
        }
    }

    fn closed(&self) -> SendError {
        let reason = self.ended.get().map_or_else(|| "it ended".to_owned(), |ended| ended.why.to_string());
        SendError::Closed { reason }
    }
}

/// Both directions to one peer.
pub struct Conn<Tx, Rx> {
    pub peer: PeerIdentity,
    /// The protocol version that both sides speak.
    pub version: u32,
    pub sender: Sender<Tx>,
    pub receiver: Receiver<Rx>,
}

/// Queues messages for the peer; cheap to clone. The connection closes with the last clone.
pub struct Sender<Tx> {
    queue: mpsc::Sender<Box<[u8]>>,
    shared: Arc<Shared>,
    max_send_bytes: u32,
    queue_bytes: u32,
    message: PhantomData<fn(Tx)>,
}

impl<Tx> Clone for Sender<Tx> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            shared: Arc::clone(&self.shared),
            max_send_bytes: self.max_send_bytes,
            queue_bytes: self.queue_bytes,
            message: PhantomData,
        }
    }
}

impl<Tx: Message> Sender<Tx> {
    fn encode(&self, message: &Tx) -> Result<(Box<[u8]>, u32), SendError> {
        let bytes = frame::encode(Kind::Data, message, self.max_send_bytes).map_err(|error| match error {
            FrameError::TooLarge { size, limit } => SendError::TooLarge { size, limit },
            other => SendError::Closed { reason: other.to_string() },
        })?;
        let cost = cost(bytes.len(), self.queue_bytes);
        Ok((bytes, cost))
    }

    /// Waits for room. `Ok` means queued, not received. Cancel-safe: a dropped call queues nothing.
    pub async fn send(&self, message: &Tx) -> Result<(), SendError> {
        let (bytes, cost) = self.encode(message)?;
        let room = self.shared.room.acquire_many(cost).await.map_err(|_| self.shared.closed())?;
        let place = self.queue.reserve().await.map_err(|_| self.shared.closed())?;
        room.forget();
        place.send(bytes);
        Ok(())
    }

    pub fn try_send(&self, message: &Tx) -> Result<(), SendError> {
        let (bytes, cost) = self.encode(message)?;
        let room = self.shared.room.try_acquire_many(cost).map_err(|error| match error {
            tokio::sync::TryAcquireError::NoPermits => SendError::Full,
            tokio::sync::TryAcquireError::Closed => self.shared.closed(),
        })?;
        let place = self.queue.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => SendError::Full,
            mpsc::error::TrySendError::Closed(()) => self.shared.closed(),
        })?;
        room.forget();
        place.send(bytes);
        Ok(())
    }

    /// Sends what is queued, then the reason, then ends the connection. Does not wait for it.
    pub async fn close(&self, reason: CloseReason) {
        // Fails only on a connection that has ended already.
        if let Ok(bytes) = frame::encode(Kind::Close, &reason.to_wire(), u32::MAX)
            && let Ok(place) = self.queue.reserve().await
        {
            place.send(bytes);
        }
    }
}

impl<Tx> Sender<Tx> {
    /// Completes when the connection has ended, for whatever reason.
    pub async fn closed(&self) {
        self.queue.closed().await;
    }

    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}

/// What a frame takes of the queue's bytes; one larger than the queue takes all of them.
fn cost(length: usize, queue_bytes: u32) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX).min(queue_bytes)
}

/// Reads messages of the peer. Dropping it ends the connection.
pub struct Receiver<Rx> {
    stream: Box<dyn AsyncRead + Send + Unpin>,
    buffer: BytesMut,
    shared: Arc<Shared>,
    limit: u32,
    timeout: Duration,
    heard: Instant,
    alarm: Pin<Box<Sleep>>,
    ended: bool,
    message: PhantomData<fn() -> Rx>,
}

impl<Rx> Drop for Receiver<Rx> {
    fn drop(&mut self) {
        let reason = CloseReason::new(CloseCode::Done, "");
        self.shared.end(RecvError::ClosedHere { reason: reason.clone() }, Some(reason));
    }
}

enum Step {
    Read(std::io::Result<usize>),
    Alarm,
    Stopped,
}

impl<Rx: Message + Default> Receiver<Rx> {
    /// The next message. Must be called again soon for as long as the connection shall live:
    /// only a reader notices that its peer is dead. Cancel-safe.
    pub async fn recv(&mut self) -> Result<Rx, RecvError> {
        if self.ended {
            return Err(self.why());
        }
        loop {
            match frame::take(&mut self.buffer, self.limit) {
                Ok(Ok((Kind::Data, payload))) => {
                    self.release();
                    return Rx::decode(payload)
                        .map_err(|error| self.fail(RecvError::Malformed { reason: error.to_string() }));
                }
                Ok(Ok((Kind::Heartbeat, _))) => self.release(),
                Ok(Ok((Kind::Close, payload))) => {
                    let reason = CloseReason::from_wire(&payload);
                    return Err(self.fail(RecvError::Closed { reason }));
                }
                Ok(Ok((Kind::Hello, _))) => {
                    let reason = "a second greeting".to_owned();
                    return Err(self.fail(RecvError::Malformed { reason }));
                }
                Ok(Err(missing)) => self.read(missing).await?,
                Err(FrameError::TooLarge { size, limit }) => {
                    return Err(self.fail(RecvError::TooLarge { size, limit }));
                }
                Err(other) => return Err(self.fail(RecvError::Malformed { reason: other.to_string() })),
            }
        }
    }

    /// An idle connection keeps no buffer.
    fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    async fn read(&mut self, missing: usize) -> Result<(), RecvError> {
        let step = tokio::select! {
            biased;
            // First, so that what has arrived is seen before the peer is called dead.
            read = read_some(&mut *self.stream, &mut self.buffer, missing) => Step::Read(read),
            () = self.shared.stop_reading.notified() => Step::Stopped,
            () = self.alarm.as_mut() => Step::Alarm,
        };
        match step {
            Step::Read(Ok(0)) => Err(self.fail(RecvError::Lost)),
            Step::Read(Ok(_)) => {
                self.heard = Instant::now();
                Ok(())
            }
            Step::Read(Err(error)) => Err(self.fail(RecvError::Io { reason: error.to_string() })),
            Step::Stopped => {
                self.ended = true;
                Err(self.why())
            }
            Step::Alarm => {
                // Set anew only here: resetting a timer for each message would cost more than it tells.
                let silent = self.heard.elapsed();
                if silent >= self.timeout {
                    let silent_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
                    return Err(self.fail(RecvError::Dead { silent_ms }));
                }
                self.alarm.as_mut().reset(self.heard + self.timeout);
                Ok(())
            }
        }
    }

    fn fail(&mut self, why: RecvError) -> RecvError {
        self.ended = true;
        let say = match &why {
            RecvError::TooLarge { .. } | RecvError::Malformed { .. } => {
                Some(CloseReason::new(CloseCode::Protocol, why.to_string()))
            }
            RecvError::Dead { .. } => Some(CloseReason::new(CloseCode::Refused, why.to_string())),
            _ => None,
        };
        self.shared.end(why, say);
        self.why()
    }

    fn why(&self) -> RecvError {
        self.shared.ended.get().map_or(RecvError::Lost, |ended| ended.why.clone())
    }
}

async fn read_some(
    stream: &mut (dyn AsyncRead + Send + Unpin),
    buffer: &mut BytesMut,
    missing: usize,
) -> std::io::Result<usize> {
    if missing > READ_BYTES {
        buffer.reserve(missing.min(RESERVE_MAX_BYTES));
        return stream.read_buf(buffer).await;
    }
    poll_fn(|context| {
        // On the stack for the moment of the call: a waiting connection owns no memory for it.
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut read))?;
        buffer.extend_from_slice(read.filled());
        std::task::Poll::Ready(Ok(read.filled().len()))
    })
    .await
}

/// Makes the halves and starts the writing task.
pub(crate) fn start<S, Tx, Rx>(stream: S, greeted: Greeted, options: &Options) -> Conn<Tx, Rx>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    Tx: Message,
    Rx: Message + Default,
{
    let (reader, writer): (ReadHalf<S>, WriteHalf<S>) = tokio::io::split(stream);
    let (queue, frames) = mpsc::channel(options.queue_frames.max(1));
    let queue_bytes = options.queue_bytes.max(1);
    let shared = Arc::new(Shared {
        ended: OnceLock::new(),
        stop_writing: Notify::new(),
        stop_reading: Notify::new(),
        room: Semaphore::new(queue_bytes as usize),
    });
    let task = Writer {
        stream: writer,
        frames,
        shared: Arc::clone(&shared),
        heartbeat: options.heartbeat,
        queue_bytes,
    };
    tokio::spawn(task.run());
    let heard = Instant::now();
    Conn {
        peer: greeted.peer,
        version: greeted.version,
        sender: Sender {
            queue,
            shared: Arc::clone(&shared),
            max_send_bytes: greeted.max_send_bytes,
            queue_bytes,
            message: PhantomData,
        },
        receiver: Receiver {
            stream: Box::new(reader),
            buffer: greeted.rest,
            shared,
            limit: options.max_frame_bytes,
            timeout: options.timeout,
            heard,
            alarm: Box::pin(sleep_until(heard + options.timeout)),
            ended: false,
            message: PhantomData,
        },
    }
}

struct Writer<S> {
    stream: WriteHalf<S>,
    frames: mpsc::Receiver<Box<[u8]>>,
    shared: Arc<Shared>,
    heartbeat: Duration,
    queue_bytes: u32,
}

enum Turn {
    Stop,
    Write,
    Heartbeat,
    AllSendersGone,
}

impl<S: AsyncWrite + Send + 'static> Writer<S> {
    async fn run(mut self) {
        let farewell = self.write_until_end().await;
        self.frames.close();
        // A peer that reads nothing does not hold us up.
        let _ = timeout(FAREWELL_TIMEOUT, self.say_goodbye(farewell)).await;
    }

    /// What was queued before the end still goes out, unless the stream is broken.
    async fn say_goodbye(&mut self, farewell: Option<CloseReason>) {
        if let Some(mut reason) = farewell {
            let mut batch: Vec<Box<[u8]>> = Vec::new();
            while self.frames.recv_many(&mut batch, BATCH_MAX_FRAMES).await > 0 {
                let goodbye = take_goodbye(&mut batch);
                if write_batch(&mut self.stream, &batch).await.is_err() {
                    return;
                }
                batch.clear();
                if let Some(goodbye) = goodbye {
                    reason = goodbye;
                    break;
                }
            }
            if let Ok(bytes) = frame::encode(Kind::Close, &reason.to_wire(), u32::MAX) {
                let _ = self.stream.write_all(&bytes).await;
            }
        }
        let _ = self.stream.shutdown().await;
    }

    /// Returns what is still to be said.
    async fn write_until_end(&mut self) -> Option<CloseReason> {
        let mut batch: Vec<Box<[u8]>> = Vec::new();
        let mut next_heartbeat = Instant::now() + self.heartbeat;
        loop {
            let turn = tokio::select! {
                biased;
                () = self.shared.stop_writing.notified() => Turn::Stop,
                taken = self.frames.recv_many(&mut batch, BATCH_MAX_FRAMES) => {
                    if taken == 0 { Turn::AllSendersGone } else { Turn::Write }
                }
                () = sleep_until(next_heartbeat) => Turn::Heartbeat,
            };
            match turn {
                Turn::Stop => return self.shared.ended.get().and_then(|ended| ended.say.clone()),
                Turn::AllSendersGone => {
                    let reason = CloseReason::new(CloseCode::Done, "");
                    self.shared.end(RecvError::ClosedHere { reason: reason.clone() }, None);
                    return Some(reason);
                }
                Turn::Heartbeat => batch.push(Box::new(frame::heartbeat())),
                Turn::Write => {}
            }
            let goodbye = take_goodbye(&mut batch);
            let freed = match turn {
                Turn::Write => batch.iter().map(|frame| cost(frame.len(), self.queue_bytes) as usize).sum(),
                _ => 0,
            };
            let mut stopped = false;
            let written = {
                let mut writing = pin!(write_batch(&mut self.stream, &batch));
                tokio::select! {
                    biased;
                    written = &mut writing => Some(written),
                    () = self.shared.stop_writing.notified() => {
                        stopped = true;
                        // Half a frame must not be followed by anything.
                        timeout(FAREWELL_TIMEOUT, writing).await.ok()
                    }
                }
            };
            match written {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    self.shared.end(RecvError::Io { reason: error.to_string() }, None);
                    return None;
                }
                None => return None,
            }
            if stopped {
                return goodbye.or_else(|| self.shared.ended.get().and_then(|ended| ended.say.clone()));
            }
            batch = Vec::new();
            self.shared.room.add_permits(freed);
            if let Some(reason) = goodbye {
                self.shared.end(RecvError::ClosedHere { reason: reason.clone() }, None);
                return Some(reason);
            }
            next_heartbeat = Instant::now() + self.heartbeat;
        }
    }
}

/// Cuts off a close frame and what was queued behind it.
fn take_goodbye(batch: &mut Vec<Box<[u8]>>) -> Option<CloseReason> {
    let position = batch.iter().position(|frame| frame.get(LENGTH_BYTES) == Some(&(Kind::Close as u8)))?;
    let reason = batch.get(position).map(|frame| CloseReason::from_wire(&frame[HEADER_BYTES..]));
    batch.truncate(position);
    reason
}

async fn write_batch<S: AsyncWrite>(stream: &mut WriteHalf<S>, batch: &[Box<[u8]>]) -> std::io::Result<()> {
    let mut together: Vec<u8> = Vec::new();
    for frame in batch {
        let large = frame.len() >= LARGE_FRAME_BYTES;
        if !together.is_empty() && (large || together.len() + frame.len() > BATCH_MAX_BYTES) {
            stream.write_all(&together).await?;
            together.clear();
        }
        if large || batch.len() == 1 {
            stream.write_all(frame).await?;
        } else {
            together.extend_from_slice(frame);
        }
    }
    if !together.is_empty() {
        stream.write_all(&together).await?;
    }
    stream.flush().await
}
