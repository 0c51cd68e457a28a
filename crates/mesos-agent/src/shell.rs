//! The agent's thin shell: the stream to the leading master, the container
//! runtime, the checkpoint file.
//!
//! Decides nothing. The checkpoint is one local file; its keys are `id`, `boot`,
//! `info`, `resources`, `drain`, `frameworks/<id>`, `executors/<container>`,
//! `tasks/<framework>/<task>` and `operations/<uuid>`, values JSON.

mod executors;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use model::agent_api::{AgentToMaster, MasterToAgent};
use model::{AgentId, AgentInfo, FrameworkInfo, OperationRecord, Output, Rng, Time};
use shell::{Brain, Clock, Limits, World};
use store::Key;
use store::envelope::{self, EnvelopeError};
use store::local::{LocalError, LocalHandle, LocalWrite};
use tokio::sync::{mpsc, watch};

use crate::brain::{Agent, ConnId, Effect, Input};
use crate::checks::Look;
use crate::config::AgentConfig;
use crate::reconfigure;
use crate::state::{
    AgentExecutor, AgentTask, ContainerLaunch, ContainerResize, Drain, OfferedResources, Record,
    RecoveredContainer, VolumeWork, Write,
};
use crate::view::AgentView;

pub use executors::{EVENTS_MAX, ExecutorEvents};

/// Inputs that wait for the brain; senders wait when it is full.
pub const INPUTS_MAX: usize = 4_096;

/// The container runtime as the shell uses it. Every call returns at once; what
/// came of it arrives as `Started`, `LaunchFailed` or `Exited` inputs.
pub trait Containers: Send + 'static {
    fn launch(&self, launch: ContainerLaunch, inputs: mpsc::Sender<Input>);
    fn terminate(&self, id: &model::ContainerId);
    fn destroy(&self, id: &model::ContainerId);
    fn forget(&self, id: &model::ContainerId);
    fn resize(&self, resize: ContainerResize);
    /// Carried out in the order of the calls and before any later launch; at most
    /// once by its number, also over restarts. Answered with `VolumeDone`.
    fn volume(&self, work: VolumeWork, inputs: mpsc::Sender<Input>);
    /// Looks at a task from inside. Answered with `Seen`.
    fn look(&self, look: Look, inputs: mpsc::Sender<Input>);
    /// `work` is settled and its number never comes again.
    fn volume_settled(&self, uuid: model::UpdateId);
}

/// The stream to the master as the shell uses it.
pub trait MasterStream: Send {
    /// Queues a message; false when the queue is full or the stream is gone.
    fn try_send(&self, message: AgentToMaster) -> bool;
    fn close(&self, reason: &str);
}

/// Why the agent's loop ended.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("reading the checkpoint")]
    Read(#[source] LocalError),
    #[error("writing the checkpoint")]
    Commit(#[source] LocalError),
    #[error("a checkpoint record cannot be written: its key is not storable")]
    Encode,
    #[error("understanding the checkpoint; move the file away to join as a new agent")]
    Record(#[source] EnvelopeError),
    #[error("{0}")]
    Incompatible(String),
    #[error(
        "checkpoint key {key} is of no kind that this version knows; move the file away to join as a new agent"
    )]
    Kind { key: String },
}

#[derive(Default)]
struct Streams(Mutex<HashMap<ConnId, Box<dyn MasterStream>>>);

impl Streams {
    fn lock(&self) -> MutexGuard<'_, HashMap<ConnId, Box<dyn MasterStream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to the running agent; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
    view: Arc<ArcSwap<AgentView>>,
    streams: Arc<Streams>,
    executors: executors::Shared,
    refused: watch::Receiver<Option<String>>,
    stopped: watch::Receiver<Option<String>>,
}

impl Handle {
    /// Resolves when the master refuses this agent for good, with its reason.
    pub async fn refused(&self) -> String {
        let mut refused = self.refused.clone();
        match refused.wait_for(Option::is_some).await {
            Ok(message) => message.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Resolves when the agent is done for good by its own will, with what it did.
    pub async fn stopped(&self) -> String {
        let mut stopped = self.stopped.clone();
        match stopped.wait_for(Option::is_some).await {
            Ok(message) => message.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Leave the cluster: end all tasks, forget the id, stop.
    pub async fn unregister(&self) {
        self.send(Input::Unregister).await;
    }

    /// Takes back what this run has only until further notice.
    pub async fn preempt(&self, run: model::ContainerId) {
        self.send(Input::Preempt { run }).await;
    }

    pub fn view(&self) -> Arc<AgentView> {
        self.view.load_full()
    }

    pub fn inputs(&self) -> mpsc::Sender<Input> {
        self.inputs.clone()
    }

    /// A stream to a master is up.
    pub async fn connected(&self, conn: ConnId, stream: Box<dyn MasterStream>) {
        self.streams.lock().insert(conn, stream);
        self.send(Input::MasterConnected { conn }).await;
    }

    pub async fn message(&self, conn: ConnId, message: MasterToAgent) {
        self.send(Input::Master { conn, message }).await;
    }

    pub async fn closed(&self, conn: ConnId) {
        self.streams.lock().remove(&conn);
        self.send(Input::MasterClosed { conn }).await;
    }

    async fn send(&self, input: Input) {
        // Only fails when the loop has ended, and the process with it.
        let _ = self.inputs.send(input).await;
    }
}

/// One agent process, ready to run.
pub struct Service {
    brain: Agent,
    world: AgentWorld,
    inputs: mpsc::Receiver<Input>,
    clock: Clock,
}

impl Service {
    pub async fn load(
        checkpoint: LocalHandle,
        config: AgentConfig,
        containers: Box<dyn Containers>,
        rng: Rng,
        clock: Clock,
    ) -> Result<(Self, Handle), ServiceError> {
        let entries = checkpoint.range("").await.map_err(ServiceError::Read)?;
        let mut records = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            records.push(decode(key.as_str(), value.as_slice())?);
        }
        reconfigure::check(&config, &records).map_err(ServiceError::Incompatible)?;
        let now = clock.now();
        let brain = Agent::load(config, rng, records, now);
        let view = Arc::new(ArcSwap::from_pointee(brain.view(now)));
        let (sender, inputs) = mpsc::channel(INPUTS_MAX);
        let streams = Arc::new(Streams::default());
        let executors = executors::Shared::default();
        let (refuse, refused) = watch::channel(None);
        let (stop, stopped) = watch::channel(None);
        let handle = Handle {
            inputs: sender.clone(),
            view: view.clone(),
            streams: streams.clone(),
            executors: executors.clone(),
            refused,
            stopped,
        };
        let world =
            AgentWorld { checkpoint, view, streams, executors, containers, inputs: sender, refuse, stop };
        Ok((Self { brain, world, inputs, clock }, handle))
    }

    /// What the runtime still has: the first input, before anything else can send one.
    /// False when it is not the first.
    pub fn recovered(&self, containers: Vec<RecoveredContainer>) -> bool {
        self.inputs.is_empty() && self.world.inputs.try_send(Input::Recovered { containers }).is_ok()
    }

    /// Runs until a checkpoint fails.
    pub async fn run(self) -> Result<(), ServiceError> {
        shell::run(self.brain, self.world, self.inputs, self.clock, Limits::default()).await
    }
}

impl Brain for Agent {
    type Input = Input;
    type Write = Write;
    type Effect = Effect;
    type View = AgentView;

    fn step(&mut self, now: Time, input: Input) -> Output<Write, Effect> {
        Agent::step(self, now, input)
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn next_wakeup(&self) -> Option<Time> {
        Agent::next_wakeup(self)
    }

    fn view(&mut self, now: Time) -> AgentView {
        Agent::view(self, now)
    }
}

struct AgentWorld {
    checkpoint: LocalHandle,
    view: Arc<ArcSwap<AgentView>>,
    streams: Arc<Streams>,
    executors: executors::Shared,
    containers: Box<dyn Containers>,
    inputs: mpsc::Sender<Input>,
    refuse: watch::Sender<Option<String>>,
    stop: watch::Sender<Option<String>>,
}

const ID_KEY: &str = "id";
const FRAMEWORKS: &str = "frameworks/";
const TASKS: &str = "tasks/";
const EXECUTORS: &str = "executors/";
const OPERATIONS: &str = "operations/";
const BOOT_KEY: &str = "boot";
const INFO_KEY: &str = "info";
const RESOURCES_KEY: &str = "resources";
const DRAIN_KEY: &str = "drain";

/// `None` only for what cannot be: the ids in keys were checked by the master,
/// and plain data always encodes.
fn put<T: serde::Serialize>(key: String, value: &T) -> Option<LocalWrite> {
    Some(LocalWrite::Put { key: Key::new(key).ok()?, value: envelope::seal(value).ok()?.into() })
}

fn delete(key: String) -> Option<LocalWrite> {
    Some(LocalWrite::Delete { key: Key::new(key).ok()? })
}

fn encode(write: &Write) -> Option<LocalWrite> {
    match write {
        Write::PutAgentId(id) => put(ID_KEY.to_owned(), id),
        Write::DeleteAgentId => delete(ID_KEY.to_owned()),
        Write::PutBootId(id) => put(BOOT_KEY.to_owned(), id),
        Write::PutInfo(info) => put(INFO_KEY.to_owned(), info),
        Write::PutFramework(info) => put(format!("{FRAMEWORKS}{}", info.id.as_ref()?), &**info),
        Write::DeleteFramework(id) => delete(format!("{FRAMEWORKS}{id}")),
        Write::PutExecutor(executor) => put(format!("{EXECUTORS}{}", executor.container_id), &**executor),
        Write::DeleteExecutor(id) => delete(format!("{EXECUTORS}{id}")),
        Write::PutTask(task) => put(format!("{TASKS}{}/{}", task.framework_id, task.info.id), &**task),
        Write::DeleteTask((framework, task)) => delete(format!("{TASKS}{framework}/{task}")),
        Write::PutResources(resources) => put(RESOURCES_KEY.to_owned(), resources),
        Write::PutOperation(operation) => put(format!("{OPERATIONS}{}", operation.uuid), &**operation),
        Write::DeleteOperation(uuid) => delete(format!("{OPERATIONS}{uuid}")),
        Write::PutDrain(Some(drain)) => put(DRAIN_KEY.to_owned(), drain),
        Write::PutDrain(None) => delete(DRAIN_KEY.to_owned()),
    }
}

fn decode(key: &str, value: &[u8]) -> Result<Record, ServiceError> {
    let opened = match key {
        ID_KEY => envelope::open::<AgentId>(key, value).map(Record::AgentId),
        BOOT_KEY => envelope::open::<String>(key, value).map(Record::BootId),
        INFO_KEY => envelope::open::<AgentInfo>(key, value).map(|info| Record::Info(Box::new(info))),
        RESOURCES_KEY => envelope::open::<OfferedResources>(key, value)
            .map(|resources| Record::Resources(Box::new(resources))),
        DRAIN_KEY => envelope::open::<Drain>(key, value).map(Record::Drain),
        _ if key.starts_with(FRAMEWORKS) => {
            envelope::open::<FrameworkInfo>(key, value).map(|info| Record::Framework(Box::new(info)))
        }
        _ if key.starts_with(EXECUTORS) => {
            envelope::open::<AgentExecutor>(key, value).map(|executor| Record::Executor(Arc::new(executor)))
        }
        _ if key.starts_with(TASKS) => {
            envelope::open::<AgentTask>(key, value).map(|task| Record::Task(Arc::new(task)))
        }
        _ if key.starts_with(OPERATIONS) => envelope::open::<OperationRecord>(key, value)
            .map(|operation| Record::Operation(Arc::new(operation))),
        _ => return Err(ServiceError::Kind { key: key.to_owned() }),
    };
    opened.map_err(ServiceError::Record)
}

impl World<Agent> for AgentWorld {
    type Error = ServiceError;

    fn commit(
        &mut self,
        writes: Vec<Write>,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send + 'static {
        let writes: Option<Vec<LocalWrite>> = writes.iter().map(encode).collect();
        let checkpoint = self.checkpoint.clone();
        async move { checkpoint.apply(writes.ok_or(ServiceError::Encode)?).await.map_err(ServiceError::Commit) }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::ToMaster { conn, message } => {
                let mut streams = self.streams.lock();
                let sent = streams.get(&conn).is_some_and(|stream| stream.try_send(message));
                if !sent && let Some(stream) = streams.remove(&conn) {
                    tracing::warn!(
                        "closing the stream to the master: its queue is full, or a message is larger than a frame"
                    );
                    stream.close("its queue at the agent is full, or a message is larger than a frame");
                }
            }
            Effect::Launch(launch) => self.containers.launch(*launch, self.inputs.clone()),
            Effect::Terminate { id } => self.containers.terminate(&id),
            Effect::Destroy { id } => self.containers.destroy(&id),
            Effect::Forget { id } => self.containers.forget(&id),
            Effect::Resize(resize) => self.containers.resize(*resize),
            Effect::Volume(work) => self.containers.volume(work, self.inputs.clone()),
            Effect::Look(look) => self.containers.look(*look, self.inputs.clone()),
            Effect::VolumeSettled { uuid } => self.containers.volume_settled(uuid),
            Effect::ExecutorReply { conn, result } => self.executors.reply(conn, result),
            Effect::ToExecutor { conn, event } => {
                if !self.executors.send(conn, event) {
                    // Its stream ends, and with it comes `ExecutorClosed`.
                    tracing::warn!("closing the stream to an executor: its queue is full or it is gone");
                }
            }
            Effect::CloseExecutor { conn } => self.executors.close(conn),
            Effect::Stop { message } => {
                tracing::info!(message, "the agent is done");
                self.stop.send_replace(Some(message));
            }
            Effect::Halt { message } => {
                tracing::error!(message, "the master refuses this agent; all its tasks are ended");
                self.refuse.send_replace(Some(message));
            }
        }
    }

    fn publish(&mut self, view: AgentView) {
        self.view.store(Arc::new(view));
    }
}
