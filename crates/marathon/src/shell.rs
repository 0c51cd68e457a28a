//! The thin shell: a store, a link to the master and clients around the brain.
//!
//! Decides nothing. A reply leaves after the snapshot that shows its effect is
//! published, so that whoever was answered reads what it wrote. A call that finds
//! the master's queue full breaks the link: the new link reconciles everything.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::shell::{Brain, Clock, World};
use arc_swap::ArcSwap;
use model::scheduler_api::{SchedulerCall, SchedulerEvent};
use model::{Output, Rng, Time};
use store::{Key, Store, Term, Txn};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};

use crate::api::{ApiCall, ApiError, ApiReply, MarathonEvent};
use crate::brain::{Effect, Input, LoadError, Marathon};
use crate::config::Config;
use crate::records::{PREFIX, RecordError};
use crate::state::{Record, Write};
use crate::view::View;

/// Inputs that wait for the brain.
pub const INPUTS_MAX: usize = 4_096;
/// Clients' calls that wait for their answers; more are refused.
pub const CALLS_MAX: usize = 1_024;
/// Events that a slow reader may be behind before it loses some.
pub const EVENTS_MAX: usize = 1_024;
/// Writes of one store transaction; larger turns take several.
const TXN_WRITES_MAX: usize = 4_096;
/// Bytes of one store transaction, as the sum of its keys and values.
const TXN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Replies wait for a snapshot at most about so long.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(2);

/// Why a leadership ended.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("reading Marathon's records")]
    Read(#[source] store::ReadError),
    #[error("understanding Marathon's records")]
    Record(#[source] RecordError),
    #[error("starting from Marathon's records")]
    Load(#[source] LoadError),
    #[error("writing Marathon's records")]
    Commit(#[source] store::CommitError),
    #[error("a record that cannot be written: {why}")]
    Encode { why: String },
    #[error("the Mesos master refuses this framework: {message}")]
    Fatal { message: String },
}

/// One connection to the leading master: both ends close when it is over.
#[derive(Debug)]
pub struct SchedulerLink {
    pub calls: mpsc::Sender<SchedulerCall>,
    pub events: mpsc::Receiver<SchedulerEvent>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Result<ApiReply, ApiError>>>>,
    calls: Mutex<Option<mpsc::Sender<SchedulerCall>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A caller that waits; one that gives up takes its entry along.
struct Entry<'s> {
    shared: &'s Shared,
    request: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        lock(&self.shared.waiting).remove(&self.request);
    }
}

/// However the service ends: whoever still waits is told that nobody will answer.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        lock(&self.0.waiting).clear();
        *lock(&self.0.calls) = None;
    }
}

/// An event with the time it happened.
#[derive(Debug, Clone)]
pub struct Told {
    pub time: Time,
    pub event: MarathonEvent,
}

/// The way to the running Marathon; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
    view: Arc<ArcSwap<View>>,
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
    events: broadcast::Sender<Told>,
    next_request: Arc<AtomicU64>,
    config: Arc<Config>,
    clock: Clock,
}

impl Handle {
    pub async fn call(&self, call: ApiCall) -> Result<ApiReply, ApiError> {
        let Ok(_permit) = self.permits.try_acquire() else {
            return Err(ApiError::Overloaded { max: CALLS_MAX });
        };
        let request = self.next_request.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        lock(&self.shared.waiting).insert(request, sender);
        let _entry = Entry { shared: &self.shared, request };
        let sent = self.inputs.send(Input::Api { request, call }).await;
        match sent {
            Ok(()) => receiver.await.unwrap_or(Err(ApiError::NotLeading)),
            Err(_) => Err(ApiError::NotLeading),
        }
    }

    /// The newest published snapshot.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Everything told from now on; who falls [`EVENTS_MAX`] behind loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Told> {
        self.events.subscribe()
    }

    /// Tells an event of the outside to all readers.
    pub fn tell(&self, event: MarathonEvent) {
        // Nobody listening is the usual case.
        let _ = self.events.send(Told { time: self.clock.now(), event });
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn now(&self) -> Time {
        self.clock.now()
    }
}

/// One leadership of Marathon, ready to run.
pub struct Service {
    brain: Marathon,
    world: MarathonWorld,
    inputs: mpsc::Receiver<Input>,
    sender: mpsc::Sender<Input>,
    links: mpsc::Receiver<SchedulerLink>,
    shared: Arc<Shared>,
    clock: Clock,
    fatal: oneshot::Receiver<String>,
}

impl Service {
    /// Loads the records of the leading store. Each item of `links` is a new
    /// connection to the master, to be used when the former one is over.
    pub async fn load(
        store: Store,
        term: Term,
        config: Config,
        rng: Rng,
        clock: Clock,
        links: mpsc::Receiver<SchedulerLink>,
    ) -> Result<(Self, Handle), ServiceError> {
        let snapshot = store.range(PREFIX).await.map_err(ServiceError::Read)?;
        let decode = |entry: &store::Entry| Record::decode(entry.key.as_str(), &entry.value);
        let records: Result<Vec<Record>, RecordError> = snapshot.entries.iter().map(decode).collect();
        let records = records.map_err(ServiceError::Record)?;
        let mut brain =
            Marathon::load(config.clone(), rng, records, clock.now()).map_err(ServiceError::Load)?;
        let view = Arc::new(ArcSwap::new(brain.view()));
        let (sender, inputs) = mpsc::channel(INPUTS_MAX);
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let shared = Arc::new(Shared::default());
        let (fatal_sender, fatal) = oneshot::channel();
        let handle = Handle {
            inputs: sender.clone(),
            view: view.clone(),
            shared: shared.clone(),
            permits: Arc::new(Semaphore::new(CALLS_MAX)),
            events: events.clone(),
            next_request: Arc::new(AtomicU64::new(1)),
            config: Arc::new(config),
            clock: clock.clone(),
        };
        let world = MarathonWorld {
            store,
            term,
            view,
            shared: shared.clone(),
            events,
            clock: clock.clone(),
            replies: Vec::new(),
            fatal: Some(fatal_sender),
        };
        Ok((Self { brain, world, inputs, sender, links, shared, clock, fatal }, handle))
    }

    /// Runs until a commit fails (leadership lost, disk broken) or the master
    /// refuses the framework.
    pub async fn run(self) -> Result<(), ServiceError> {
        let limits = ::shell::Limits { publish_interval: PUBLISH_INTERVAL, ..::shell::Limits::default() };
        let shared = self.shared.clone();
        let _end = End(shared.clone());
        tokio::select! {
            result = ::shell::run(self.brain, self.world, self.inputs, self.clock, limits) => result,
            () = follow_links(self.links, self.sender, self.shared) => Ok(()),
            Ok(message) = self.fatal => Err(ServiceError::Fatal { message }),
        }
    }
}

/// Ends when no link can come any more.
async fn follow_links(
    mut links: mpsc::Receiver<SchedulerLink>,
    inputs: mpsc::Sender<Input>,
    shared: Arc<Shared>,
) {
    while let Some(mut link) = links.recv().await {
        *lock(&shared.calls) = Some(link.calls);
        if inputs.send(Input::Connected).await.is_err() {
            return;
        }
        while let Some(event) = link.events.recv().await {
            if inputs.send(Input::Event(event)).await.is_err() {
                return;
            }
        }
        *lock(&shared.calls) = None;
        if inputs.send(Input::Disconnected).await.is_err() {
            return;
        }
    }
}

impl Brain for Marathon {
    type Input = Input;
    type Write = Write;
    type Effect = Effect;
    type View = Arc<View>;

    fn step(&mut self, now: Time, input: Input) -> Output<Write, Effect> {
        Marathon::step(self, now, input)
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn next_wakeup(&self) -> Option<Time> {
        Marathon::next_wakeup(self)
    }

    fn view(&mut self, _now: Time) -> Arc<View> {
        Marathon::view(self)
    }
}

struct MarathonWorld {
    store: Store,
    term: Term,
    view: Arc<ArcSwap<View>>,
    shared: Arc<Shared>,
    events: broadcast::Sender<Told>,
    clock: Clock,
    /// Held until the next snapshot is published.
    replies: Vec<(u64, Result<ApiReply, ApiError>)>,
    fatal: Option<oneshot::Sender<String>>,
}

/// Several transactions where one would be too large: the records of one
/// turn stand each for itself, and definitions and plans come first.
fn transactions(writes: &[Write], term: Term) -> Result<Vec<Txn>, ServiceError> {
    let encode = |why: String| ServiceError::Encode { why };
    let mut done = Vec::new();
    let mut txn = Txn::new().in_term(term);
    let mut bytes = 0;
    for write in writes {
        let key = Key::new(write.key()).map_err(|error| encode(error.to_string()))?;
        let value = write.value().map_err(|error| encode(error.to_string()))?;
        let size = key.as_str().len() + value.as_ref().map_or(0, Vec::len);
        if txn.writes.len() >= TXN_WRITES_MAX || (bytes + size > TXN_BYTES_MAX && !txn.writes.is_empty()) {
            done.push(std::mem::replace(&mut txn, Txn::new().in_term(term)));
            bytes = 0;
        }
        bytes += size;
        txn = match value {
            Some(value) => txn.put(key, value),
            None => txn.delete(key),
        };
    }
    done.push(txn);
    Ok(done)
}

impl World<Marathon> for MarathonWorld {
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
            Effect::Call(call) => {
                let mut calls = lock(&self.shared.calls);
                let sent = calls.as_ref().is_some_and(|calls| calls.try_send(call).is_ok());
                if !sent && calls.take().is_some() {
                    tracing::warn!("breaking the link to the master: its queue is full or it is gone");
                }
            }
            Effect::Reply { request, result } => self.replies.push((request, result)),
            Effect::Event(event) => {
                // Nobody listening is the usual case.
                let _ = self.events.send(Told { time: self.clock.now(), event });
            }
            Effect::Fatal { message } => {
                tracing::error!(message, "the master refuses this framework");
                if let Some(fatal) = self.fatal.take() {
                    let _ = fatal.send(message);
                }
            }
        }
    }

    fn publish(&mut self, view: Arc<View>) {
        self.view.store(view);
        let mut waiting = lock(&self.shared.waiting);
        for (request, result) in self.replies.drain(..) {
            if let Some(sender) = waiting.remove(&request) {
                // A client that went away does not wait for its answer.
                let _ = sender.send(result);
            }
        }
    }
}
