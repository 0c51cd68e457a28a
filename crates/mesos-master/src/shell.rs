//! The master's thin shell: streams in, store writes out, snapshots published.
//!
//! Decides nothing. A stream whose queue is full is closed: its peer comes back
//! and registers anew, which brings both sides together again.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use model::agent_api::{AgentToMaster, MasterToAgent};
use model::operator_api::{OperatorCall, OperatorReply};
use model::scheduler_api::{FrameworkUpdate, FrameworkUpdateReply, SchedulerCall, SchedulerEvent};
use model::{AgentId, FrameworkId, Output, QuotaConfig, Rng, Time};
use serde::de::DeserializeOwned;
use shell::{Brain, Clock, Limits, World};
use store::envelope::{self, EnvelopeError};
use store::{Key, Store, Term, Txn};
use tokio::sync::{mpsc, oneshot};

use crate::brain::{ConnId, Effect, Input, Master, Reply, RequestId, WatchId};
use crate::config::MasterConfig;
use crate::records::{AgentRecord, MaintenancePart, Record, RecordKey, WeightRecord, Write};
use crate::view::{MasterView, OperatorEvent};

/// Inputs that wait for the brain; senders wait when it is full.
pub const INPUTS_MAX: usize = 4_096;
/// Events that wait for one scheduler: room for two answers on each of the most
/// tasks that one may have.
pub const SCHEDULER_EVENTS_MAX: usize = 524_288;

/// Events that wait for one operator's stream.
pub const WATCH_EVENTS_MAX: usize = 65_536;
/// Records of one transaction, at most; well below the store's own limit.
const TXN_WRITES_MAX: usize = 4_096;
/// Bytes of one transaction's records, about; the store's own limit is twice that.
const TXN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Operators' streams at a time; the oldest is closed for one more.
pub const WATCHES_MAX: usize = 1_000;

/// Where the records lie, by their kinds.
pub const AGENT_PREFIX: &str = "mesos/agents/";
pub const QUOTA_PREFIX: &str = "mesos/quotas/";
pub const WEIGHT_PREFIX: &str = "mesos/weights/";
pub const MAINTENANCE_PREFIX: &str = "mesos/maintenance/";

/// One agent's stream, as the shell uses it.
pub trait AgentStream: Send {
    /// Queues a message; false when the queue is full or the stream is gone.
    fn try_send(&self, message: MasterToAgent) -> bool;
    fn close(&self, reason: &str);
}

/// Why a term ended.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("storing the master's records")]
    Commit(#[source] store::CommitError),
    #[error("record {record} cannot be written: its name or content is not storable")]
    Encode { record: String },
    #[error("reading the master's records")]
    Load(#[source] store::ReadError),
    #[error("understanding the master's records")]
    Record(#[source] EnvelopeError),
    #[error("the master gives its term up: {0}")]
    GivenUp(String),
}

#[derive(Default)]
struct Streams {
    agents: Mutex<HashMap<ConnId, Box<dyn AgentStream>>>,
    schedulers: Mutex<HashMap<ConnId, mpsc::Sender<SchedulerEvent>>>,
    requests: Mutex<HashMap<RequestId, oneshot::Sender<Reply>>>,
    watches: Mutex<BTreeMap<WatchId, Watch>>,
}

/// Who watches: first it waits for the state, then it gets the events.
enum Watch {
    Asked(oneshot::Sender<(Arc<MasterView>, mpsc::Receiver<Arc<OperatorEvent>>)>),
    Open(mpsc::Sender<Arc<OperatorEvent>>),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The way to the running master; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
    view: Arc<ArcSwap<MasterView>>,
    streams: Arc<Streams>,
    next_number: Arc<AtomicU64>,
}

/// A scheduler's way to the master, beside its events.
#[derive(Clone)]
pub struct SchedulerCaller {
    inputs: mpsc::Sender<Input>,
    streams: Arc<Streams>,
    next_number: Arc<AtomicU64>,
    conn: ConnId,
}

/// Sends an input that is answered and waits for its answer.
async fn ask(
    inputs: &mpsc::Sender<Input>,
    streams: &Streams,
    next_number: &AtomicU64,
    input: impl FnOnce(RequestId) -> Input,
) -> Option<Reply> {
    let request = RequestId(next_number.fetch_add(1, Ordering::Relaxed));
    let (sender, receiver) = oneshot::channel();
    lock(&streams.requests).insert(request, sender);
    if inputs.send(input(request)).await.is_err() {
        lock(&streams.requests).remove(&request);
        return None;
    }
    tokio::select! {
        reply = receiver => reply.ok(),
        () = inputs.closed() => None,
    }
}

impl SchedulerCaller {
    /// Waits while the master is busy; false when it is gone.
    pub async fn call(&self, call: SchedulerCall) -> bool {
        self.inputs.send(Input::Scheduler { conn: self.conn, call }).await.is_ok()
    }

    /// `None` when the master is gone.
    pub async fn update_framework(&self, update: FrameworkUpdate) -> Option<FrameworkUpdateReply> {
        let conn = self.conn;
        let input = |request| Input::UpdateFramework { request, conn, update };
        match ask(&self.inputs, &self.streams, &self.next_number, input).await? {
            Reply::FrameworkUpdate(reply) => Some(reply),
            _ => None,
        }
    }

    /// Resolves when the term is over: nobody listens any more.
    pub async fn ended(&self) {
        self.inputs.closed().await;
    }

    /// Ends its events too.
    pub async fn close(self) {
        lock(&self.streams.schedulers).remove(&self.conn);
        // The master being gone already is the same.
        let _ = self.inputs.send(Input::SchedulerClosed { conn: self.conn }).await;
    }
}

/// An agent's way in.
pub struct AgentInput {
    inputs: mpsc::Sender<Input>,
    streams: Arc<Streams>,
    conn: ConnId,
}

impl AgentInput {
    /// Waits while the master is busy; false when it is gone.
    pub async fn message(&self, message: AgentToMaster) -> bool {
        self.inputs.send(Input::Agent { conn: self.conn, message }).await.is_ok()
    }

    /// Resolves when the term is over: nobody listens any more.
    pub async fn ended(&self) {
        self.inputs.closed().await;
    }

    pub async fn closed(self) {
        lock(&self.streams.agents).remove(&self.conn);
        // The master being gone already is the same.
        let _ = self.inputs.send(Input::AgentClosed { conn: self.conn }).await;
    }
}

impl Handle {
    /// The newest snapshot.
    pub fn view(&self) -> Arc<MasterView> {
        self.view.load_full()
    }

    /// Takes a new agent stream on.
    pub fn agent(&self, stream: Box<dyn AgentStream>) -> AgentInput {
        let conn = self.number();
        lock(&self.streams.agents).insert(conn, stream);
        AgentInput { inputs: self.inputs.clone(), streams: self.streams.clone(), conn }
    }

    /// Takes a new scheduler on; its events end when the master closes it.
    pub fn scheduler(&self) -> (SchedulerCaller, mpsc::Receiver<SchedulerEvent>) {
        let conn = self.number();
        let (sender, events) = mpsc::channel(SCHEDULER_EVENTS_MAX);
        lock(&self.streams.schedulers).insert(conn, sender);
        let caller = SchedulerCaller {
            inputs: self.inputs.clone(),
            streams: self.streams.clone(),
            next_number: self.next_number.clone(),
            conn,
        };
        (caller, events)
    }

    /// An operator's change; `None` when the term is over.
    pub async fn operator(&self, call: OperatorCall) -> Option<OperatorReply> {
        let input = |request| Input::Operator { request, call };
        match ask(&self.inputs, &self.streams, &self.next_number, input).await? {
            Reply::Operator(reply) => Some(reply),
            _ => None,
        }
    }

    /// Why this framework gets no offer from this agent; `None` when the term is over.
    pub async fn explain(&self, framework_id: FrameworkId, agent_id: AgentId) -> Option<Vec<String>> {
        let input = |request| Input::Explain { request, framework_id, agent_id };
        match ask(&self.inputs, &self.streams, &self.next_number, input).await? {
            Reply::Explanation(lines) => Some(lines),
            _ => None,
        }
    }

    /// The state of one moment and every event after it; `None` when the term is
    /// over. The events end when the reader is too slow, when more than
    /// [`WATCHES_MAX`] newer ones were opened, or with the term.
    pub async fn watch(&self) -> Option<(Arc<MasterView>, mpsc::Receiver<Arc<OperatorEvent>>)> {
        let watch = WatchId(self.next_number.fetch_add(1, Ordering::Relaxed));
        let (sender, receiver) = oneshot::channel();
        {
            let mut watches = lock(&self.streams.watches);
            while watches.len() >= WATCHES_MAX {
                watches.pop_first();
            }
            watches.insert(watch, Watch::Asked(sender));
        }
        self.inputs.send(Input::Watch { watch }).await.ok()?;
        tokio::select! {
            started = receiver => started.ok(),
            () = self.inputs.closed() => None,
        }
    }

    fn number(&self) -> ConnId {
        ConnId(self.next_number.fetch_add(1, Ordering::Relaxed))
    }
}

/// One term of the master, ready to run.
pub struct Service {
    brain: Master,
    world: MasterWorld,
    inputs: mpsc::Receiver<Input>,
    clock: Clock,
    failure: mpsc::Receiver<String>,
}

impl Service {
    /// Loads the records of the leading store.
    pub async fn load(
        store: Store,
        term: Term,
        config: MasterConfig,
        rng: Rng,
        clock: Clock,
    ) -> Result<(Self, Handle), ServiceError> {
        let mut records = Vec::new();
        read(&store, AGENT_PREFIX, &mut records, |record: AgentRecord| Record::Agent(Box::new(record)))
            .await?;
        read(&store, QUOTA_PREFIX, &mut records, |record: QuotaConfig| Record::Quota(Box::new(record)))
            .await?;
        read(&store, WEIGHT_PREFIX, &mut records, |record: WeightRecord| Record::Weight(record)).await?;
        read(&store, MAINTENANCE_PREFIX, &mut records, |record: MaintenancePart| {
            Record::Maintenance(Box::new(record))
        })
        .await?;
        let now = clock.now();
        let mut brain = Master::load(config, rng, records, now);
        let view = Arc::new(ArcSwap::from_pointee(brain.view(now)));
        let (sender, inputs) = mpsc::channel(INPUTS_MAX);
        let streams = Arc::new(Streams::default());
        let next_number = Arc::new(AtomicU64::new(1));
        let handle = Handle { inputs: sender, view: view.clone(), streams: streams.clone(), next_number };
        let (failed, failure) = mpsc::channel(1);
        let world = MasterWorld { store, term, view, streams, failed, replies: Vec::new() };
        Ok((Self { brain, world, inputs, clock, failure }, handle))
    }

    /// Runs until a commit fails (leadership lost, disk broken) or all handles are gone.
    pub async fn run(mut self) -> Result<(), ServiceError> {
        let running = shell::run(self.brain, self.world, self.inputs, self.clock, Limits::default());
        tokio::select! {
            result = running => result,
            Some(reason) = self.failure.recv() => Err(ServiceError::GivenUp(reason)),
        }
    }
}

impl Brain for Master {
    type Input = Input;
    type Write = Write;
    type Effect = Effect;
    type View = MasterView;

    fn step(&mut self, now: Time, input: Input) -> Output<Write, Effect> {
        Master::step(self, now, input)
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn next_wakeup(&self) -> Option<Time> {
        Master::next_wakeup(self)
    }

    fn prepare_view(&mut self, now: Time) -> bool {
        Master::prepare_view(self, now)
    }

    fn view(&mut self, now: Time) -> MasterView {
        Master::view(self, now)
    }
}

struct MasterWorld {
    store: Store,
    term: Term,
    view: Arc<ArcSwap<MasterView>>,
    streams: Arc<Streams>,
    failed: mpsc::Sender<String>,
    /// Held until the next snapshot is published.
    replies: Vec<(RequestId, OperatorReply)>,
}

impl MasterWorld {
    fn answer(&self, request: RequestId, reply: Reply) {
        if let Some(waiting) = lock(&self.streams.requests).remove(&request) {
            // Whoever asked may have left.
            let _ = waiting.send(reply);
        }
    }
}

/// Reads all records of one kind.
async fn read<T: DeserializeOwned>(
    store: &Store,
    prefix: &str,
    records: &mut Vec<Record>,
    wrap: impl Fn(T) -> Record,
) -> Result<(), ServiceError> {
    let snapshot = store.range(prefix).await.map_err(ServiceError::Load)?;
    for entry in snapshot.entries {
        let opened = envelope::open(entry.key.as_str(), entry.value.as_slice());
        records.push(wrap(opened.map_err(ServiceError::Record)?));
    }
    Ok(())
}

fn key_text(key: &RecordKey) -> String {
    match key {
        RecordKey::Agent(id) => format!("{AGENT_PREFIX}{id}"),
        RecordKey::Quota(role) => format!("{QUOTA_PREFIX}{role}"),
        RecordKey::Weight(role) => format!("{WEIGHT_PREFIX}{role}"),
        // In the order of the numbers.
        RecordKey::Maintenance(number) => format!("{MAINTENANCE_PREFIX}{number:010}"),
    }
}

fn encode(write: &Write) -> Result<store::Write, ServiceError> {
    let at = |key: &RecordKey| {
        let text = key_text(key);
        Key::new(&text).map_err(|_| ServiceError::Encode { record: text })
    };
    let record = match write {
        Write::Remove(key) => return Ok(store::Write::Delete { key: at(key)? }),
        Write::Put(record) => record,
    };
    let sealed = match record {
        Record::Agent(record) => envelope::seal(record),
        Record::Quota(record) => envelope::seal(record),
        Record::Weight(record) => envelope::seal(record),
        Record::Maintenance(record) => envelope::seal(record),
    };
    let key = record.key();
    let value = sealed.map_err(|_| ServiceError::Encode { record: key_text(&key) })?.into();
    Ok(store::Write::Put { key: at(&key)?, value })
}

/// Several transactions where one would be too large: each record stands for itself.
fn transactions(writes: &[Write], term: Term) -> Result<Vec<Txn>, ServiceError> {
    let mut done = Vec::new();
    let mut txn = Txn::new().in_term(term);
    let mut bytes = 0;
    for write in writes {
        let write = encode(write)?;
        let size = match &write {
            store::Write::Put { key, value } => key.as_str().len() + value.len(),
            _ => 0,
        };
        if txn.writes.len() >= TXN_WRITES_MAX || (bytes + size > TXN_BYTES_MAX && !txn.writes.is_empty()) {
            done.push(std::mem::replace(&mut txn, Txn::new().in_term(term)));
            bytes = 0;
        }
        bytes += size;
        txn.writes.push(write);
    }
    done.push(txn);
    Ok(done)
}

impl World<Master> for MasterWorld {
    type Error = ServiceError;

    fn commit(
        &mut self,
        writes: Vec<Write>,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send + 'static {
        let transactions = transactions(&writes, self.term);
        let store = self.store.clone();
        async move {
            for txn in transactions? {
                store.commit(txn).await.map_err(ServiceError::Commit)?;
            }
            Ok(())
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::ToAgent { conn, message } => {
                let mut agents = lock(&self.streams.agents);
                let sent = agents.get(&conn).is_some_and(|stream| stream.try_send(message));
                if !sent && let Some(stream) = agents.remove(&conn) {
                    tracing::warn!(
                        conn = conn.0,
                        "closing an agent's stream: its queue is full, or a message is larger than a frame"
                    );
                    stream.close("its queue at the master is full, or a message is larger than a frame");
                }
            }
            Effect::ToScheduler { conn, event } => {
                let mut schedulers = lock(&self.streams.schedulers);
                let sent = schedulers.get(&conn).is_some_and(|events| events.try_send(event).is_ok());
                if !sent && schedulers.remove(&conn).is_some() {
                    tracing::warn!(
                        conn = conn.0,
                        "closing a scheduler's stream: its queue is full or it is gone"
                    );
                }
            }
            Effect::CloseAgent { conn, reason } => {
                if let Some(stream) = lock(&self.streams.agents).remove(&conn) {
                    tracing::info!(conn = conn.0, reason, "closing an agent's stream");
                    stream.close(&reason);
                }
            }
            Effect::CloseScheduler { conn } => {
                lock(&self.streams.schedulers).remove(&conn);
            }
            // Whoever was answered reads what he changed.
            Effect::Reply { request, reply: Reply::Operator(reply) } => self.replies.push((request, reply)),
            Effect::Reply { request, reply } => self.answer(request, reply),
            Effect::Watching { watch, view } => {
                let (sender, events) = mpsc::channel(WATCH_EVENTS_MAX);
                let mut watches = lock(&self.streams.watches);
                let asked = watches.insert(watch, Watch::Open(sender));
                if let Some(Watch::Asked(waiting)) = asked
                    && waiting.send((Arc::new(*view), events)).is_ok()
                {
                    return;
                }
                watches.remove(&watch);
            }
            Effect::Event(event) => {
                lock(&self.streams.watches).retain(|_, watch| match watch {
                    Watch::Asked(_) => true,
                    Watch::Open(events) => events.try_send(event.clone()).is_ok(),
                });
            }
            Effect::Fail(reason) => {
                // One reason is enough.
                let _ = self.failed.try_send(reason);
            }
        }
    }

    fn publish(&mut self, view: MasterView) {
        self.view.store(Arc::new(view));
        for (request, reply) in std::mem::take(&mut self.replies) {
            self.answer(request, Reply::Operator(reply));
        }
    }
}
