//! Opens a store, hands out its handle, and shuts it down.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use openraft::error::{CheckIsLeaderError, ClientWriteError, InitializeError, RaftError};
use openraft::{ServerState, SnapshotPolicy};
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::Config;
use crate::key::{KeyError, check_prefix};
use crate::leadership::{self, Leadership};
use crate::log::{LogError, LogFile, LogStore};
use crate::machine::{Machine, Shared};
use crate::members::{MembersError, NODE_ID_MAX, NodeId, NodeInfo};
use crate::network::{self, Network};
use crate::proposer::{Proposal, Proposer, QUEUE_LENGTH, stopped};
use crate::raft::{Address, Raft, leader_info, node_info};
use crate::snapshot::{SnapshotDir, SnapshotError};
use crate::state::{Entry, Snapshot};
use crate::txn::{CommitError, Revision, Txn, leader_text};
use crate::watch::Watch;
use crate::wire::{RpcError, SNAPSHOT_CHUNK_BYTES};

const LOG_FILE: &str = "log.redb";
const SNAPSHOT_DIR: &str = "snapshots";
/// Entries kept behind a snapshot, so that a short absence does not cost a snapshot transfer.
const LOG_KEEP_ENTRIES: u64 = 500;
/// Log entries are removed in pieces: each removal costs a flush.
const PURGE_BATCH_ENTRIES: u64 = 256;
/// Entries in one message to a peer; their bytes are limited by the log.
const MESSAGE_MAX_ENTRIES: u64 = 256;
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);
/// A linearizable read asks the other members first; this long.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} could not be used as the store's directory", .dir.display())]
    Directory { dir: PathBuf, source: std::io::Error },
    #[error("opening the store in {}: {reason}", .dir.display())]
    Log { dir: PathBuf, reason: String },
    #[error("a snapshot in {} cannot be used: {reason}; restore the directory from a backup, or, in a group \
             with other members, move it away and let this node join anew", .dir.display())]
    Snapshot { dir: PathBuf, reason: String },
    #[error("{} has snapshots but no {LOG_FILE}: a part of the directory was lost; restore it from a backup, or, \
             in a group with other members, move it away and let this node join anew", .dir.display())]
    LogMissing { dir: PathBuf },
    #[error("the members of the new group do not include this node {node}")]
    NotAMember { node: NodeId },
    #[error("{what} must be {allowed}, but is {found}")]
    Config { what: &'static str, found: String, allowed: &'static str },
    #[error("starting the store: {reason}")]
    Start { reason: String },
}

/// Why a linearizable read failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("this node is not the leader; {}", leader_text(.leader.as_ref()))]
    NotLeader { leader: Option<NodeInfo> },
    #[error("the prefix is not valid")]
    InvalidPrefix { source: KeyError },
    #[error("the store cannot be read now: {reason}")]
    Unavailable { reason: String },
}

/// A handle to the store on this node; cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

pub(crate) struct WeakStore(Weak<Inner>);

impl WeakStore {
    pub(crate) fn upgrade(&self) -> Option<Store> {
        self.0.upgrade().map(|inner| Store { inner })
    }
}

/// What must be let go before somebody else opens the directory.
struct Files {
    log: LogStore,
    snapshots: SnapshotDir,
}

impl Files {
    /// The log last: its lock guards the directory.
    async fn close(&self) {
        self.snapshots.close().await;
        self.log.close().await;
    }
}

struct Inner {
    raft: Raft,
    files: Files,
    shared: Arc<Shared>,
    proposals: mpsc::Sender<Proposal>,
    leadership: watch::Receiver<Leadership>,
    stopped: watch::Sender<bool>,
    commit_timeout: Duration,
}

impl Store {
    /// Opens the directory and joins the group; a new group of one leads when this returns.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        let engine_config = engine_config(&config)?;
        let (files, machine) = open_files(&config).await?;
        let shared = machine.shared();
        let raft = match start_engine(&config, engine_config, files.log.clone(), machine).await {
            Ok(raft) => raft,
            Err(error) => {
                files.close().await;
                return Err(error);
            }
        };

        let (proposals, queue) = mpsc::channel(QUEUE_LENGTH);
        let proposer = Proposer {
            raft: raft.clone(),
            queue,
            dir: config.dir.clone(),
            disk_reserve_bytes: config.disk_reserve_bytes,
            commit_timeout: config.commit_timeout,
        };
        let lease = lease(&config);
        let first = leadership::judge(&raft.metrics().borrow(), lease);
        let (leadership_tx, leadership) = watch::channel(first);
        let (stopped, _) = watch::channel(false);
        tokio::spawn(proposer.run());
        tokio::spawn(leadership::follow(raft.clone(), leadership_tx, lease));
        tokio::spawn(snapshot_on_demand(raft.clone(), Arc::clone(&shared), stopped.subscribe()));
        let inner = Inner {
            raft,
            files,
            shared,
            proposals,
            leadership,
            stopped,
            commit_timeout: config.commit_timeout,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Carries out a transaction; when this returns `Ok` it is durable on a majority and visible here.
    pub async fn commit(&self, txn: Txn) -> Result<Revision, CommitError> {
        let size_bytes = txn.validate()?;
        let (answer, result) = oneshot::channel();
        let waiting = async {
            let closed = || CommitError::Unavailable { reason: "the store is shut down".to_owned() };
            self.inner.proposals.send(Proposal { txn, size_bytes, answer }).await.map_err(|_| closed())?;
            result.await.unwrap_or_else(|_| {
                Err(CommitError::Uncertain { reason: "the store was shut down meanwhile".to_owned() })
            })
        };
        // One batch may be stuck for the timeout before this one gets its turn.
        let timeout = self.inner.commit_timeout * 2;
        tokio::time::timeout(timeout, waiting).await.unwrap_or_else(|_| {
            Err(CommitError::Uncertain { reason: format!("no answer within {} ms", timeout.as_millis()) })
        })
    }

    /// What the prefix holds now, on the leader; sees every commit that was answered before.
    pub async fn range(&self, prefix: &str) -> Result<Snapshot, ReadError> {
        check_prefix(prefix).map_err(|source| ReadError::InvalidPrefix { source })?;
        self.confirm_leader().await?;
        Ok(self.range_local(prefix))
    }

    /// One key's entry, on the leader, like [`Store::range`].
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, ReadError> {
        check_prefix(key).map_err(|source| ReadError::InvalidPrefix { source })?;
        self.confirm_leader().await?;
        Ok(self.get_local(key))
    }

    async fn confirm_leader(&self) -> Result<(), ReadError> {
        let unavailable = |reason: String| ReadError::Unavailable { reason };
        match tokio::time::timeout(READ_TIMEOUT, self.inner.raft.ensure_linearizable()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(forward)))) => {
                Err(ReadError::NotLeader { leader: leader_info(&forward) })
            }
            Ok(Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(error)))) => {
                Err(unavailable(error.to_string()))
            }
            Ok(Err(RaftError::Fatal(fatal))) => Err(unavailable(stopped(&fatal))),
            Err(_) => Err(unavailable(format!(
                "no majority of the members answered within {} s",
                READ_TIMEOUT.as_secs()
            ))),
        }
    }

    /// What this node knows of the prefix; may be behind the leader. Works without a majority.
    pub fn range_local(&self, prefix: &str) -> Snapshot {
        self.inner.shared.read().range(prefix)
    }

    /// What this node knows of the key; may be behind the leader.
    pub fn get_local(&self, key: &str) -> Option<Entry> {
        self.inner.shared.read().get(key)
    }

    /// The newest revision that this node has applied.
    pub fn revision_local(&self) -> Revision {
        *self.inner.shared.revision.borrow()
    }

    /// Every change of the prefix after `from`: give the revision of the read that the
    /// changes shall continue. Works on every member.
    pub fn watch(&self, prefix: &str, from: Revision) -> Watch {
        Watch::new(Arc::clone(&self.inner.shared), self.inner.stopped.subscribe(), prefix, from)
    }

    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// The members that vote, as this node knows them.
    pub fn members(&self) -> Vec<NodeInfo> {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow();
        let voters: BTreeSet<NodeId> = metrics.membership_config.voter_ids().collect();
        let nodes = metrics.membership_config.nodes();
        nodes.filter(|(id, _)| voters.contains(id)).map(|(id, address)| node_info(*id, address)).collect()
    }

    /// Makes exactly these the members. New ones must run with an empty
    /// [`Config::members`]; they are brought up to date before they vote.
    pub async fn change_members(&self, members: Vec<NodeInfo>) -> Result<(), MembersError> {
        if members.is_empty() {
            return Err(MembersError::Empty);
        }
        let known: BTreeMap<NodeId, Address> = {
            let metrics = self.inner.raft.metrics();
            let metrics = metrics.borrow();
            metrics.membership_config.nodes().map(|(id, node)| (*id, node.clone())).collect()
        };
        let ids: BTreeSet<NodeId> = members.iter().map(|member| member.id).collect();
        if let Some(id) = ids.iter().find(|id| id.0 > NODE_ID_MAX) {
            return Err(MembersError::NodeId { id: *id });
        }
        for member in members {
            let address = Address(member.address);
            if known.get(&member.id) != Some(&address) {
                self.inner.raft.add_learner(member.id, address, true).await.map_err(members_error)?;
            }
        }
        self.inner.raft.change_membership(ids, false).await.map_err(members_error)?;
        Ok(())
    }

    /// Answers a message that another member's transport brought here.
    pub async fn serve(&self, request: &[u8]) -> Result<Vec<u8>, RpcError> {
        if *self.inner.stopped.borrow() {
            return Err(RpcError::Stopped);
        }
        network::serve(&self.inner.raft, request).await
    }

    /// Writes a snapshot soon and shortens the log behind it.
    pub async fn trigger_snapshot(&self) {
        // Only a stopped engine refuses; then there is nothing left to shorten.
        let _ = self.inner.raft.trigger().snapshot().await;
    }

    /// Stops the store on this node and releases its files; other handles get errors from then on.
    pub async fn shutdown(self) {
        self.inner.stopped.send_replace(true);
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::warn!(%error, "the store's engine ended badly");
        }
        self.inner.files.close().await;
    }

    pub(crate) fn downgrade(&self) -> WeakStore {
        WeakStore(Arc::downgrade(&self.inner))
    }
}

fn members_error(error: RaftError<NodeId, ClientWriteError<NodeId, Address>>) -> MembersError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            MembersError::NotLeader { leader: leader_info(&forward) }
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
            MembersError::Refused { reason: error.to_string() }
        }
        RaftError::Fatal(fatal) => MembersError::Uncertain { reason: stopped(&fatal) },
    }
}

fn heartbeat_ms(config: &Config) -> u64 {
    u64::try_from(config.heartbeat.as_millis()).unwrap_or(u64::MAX)
}

/// A leader that no majority answered for this long is not treated as one any more.
fn lease(config: &Config) -> Duration {
    config.heartbeat * 6
}

fn engine_config(config: &Config) -> Result<openraft::Config, OpenError> {
    let heartbeat_interval = heartbeat_ms(config);
    if !(10..=60_000).contains(&heartbeat_interval) {
        return Err(OpenError::Config {
            what: "the heartbeat",
            found: format!("{heartbeat_interval} ms"),
            allowed: "10 ms to 60 s",
        });
    }
    let ids = std::iter::once(config.node_id).chain(config.members.iter().map(|member| member.id));
    if let Some(id) = ids.into_iter().find(|id| id.0 > NODE_ID_MAX) {
        return Err(OpenError::Config { what: "a node id", found: id.to_string(), allowed: "at most 65535" });
    }
    let settings = openraft::Config {
        cluster_name: "store".to_owned(),
        heartbeat_interval,
        election_timeout_min: heartbeat_interval * 3,
        election_timeout_max: heartbeat_interval * 6,
        install_snapshot_timeout: u64::try_from(SNAPSHOT_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(config.snapshot_every.max(1)),
        snapshot_max_chunk_size: SNAPSHOT_CHUNK_BYTES,
        max_in_snapshot_log_to_keep: LOG_KEEP_ENTRIES.min(config.snapshot_every),
        purge_batch_size: PURGE_BATCH_ENTRIES.min(config.snapshot_every.max(1)),
        replication_lag_threshold: config.snapshot_every.max(1).saturating_mul(2),
        max_payload_entries: MESSAGE_MAX_ENTRIES,
        ..openraft::Config::default()
    };
    settings.validate().map_err(|error| OpenError::Start { reason: error.to_string() })
}

async fn open_files(config: &Config) -> Result<(Files, Machine), OpenError> {
    let dir = config.dir.clone();
    let node = config.node_id;
    let every_bytes = config.snapshot_every_bytes;
    let work = move || {
        let bad_dir = |source| OpenError::Directory { dir: dir.clone(), source };
        std::fs::create_dir_all(&dir).map_err(bad_dir)?;
        let bad_snapshot =
            |error: SnapshotError| OpenError::Snapshot { dir: dir.clone(), reason: chain(&error) };
        let bad_log = |error: LogError| OpenError::Log { dir: dir.clone(), reason: chain(&error) };
        let (log_path, snapshot_dir) = (dir.join(LOG_FILE), dir.join(SNAPSHOT_DIR));
        // A fresh log beside old snapshots would forget votes and promises.
        let has_snapshots =
            || std::fs::read_dir(&snapshot_dir).is_ok_and(|mut entries| entries.next().is_some());
        if !log_path.exists() && has_snapshots() {
            return Err(OpenError::LogMissing { dir: dir.clone() });
        }
        // Nothing else is looked at before the log's lock says that the directory is ours.
        let log = LogFile::open(&log_path, node).map_err(bad_log)?;
        crate::disk::sync_dir(&dir).map_err(bad_dir)?;
        let snapshots = SnapshotDir::open(snapshot_dir).map_err(bad_snapshot)?;
        let machine = Machine::open(snapshots.clone(), every_bytes).map_err(bad_snapshot)?;
        let log = log.start().map_err(bad_log)?;
        Ok((Files { log, snapshots }, machine))
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(opened) => opened,
        Err(error) => Err(OpenError::Start { reason: format!("opening the files: {error}") }),
    }
}

async fn start_engine(
    config: &Config,
    engine_config: openraft::Config,
    log: LogStore,
    machine: Machine,
) -> Result<Raft, OpenError> {
    let network = Network { transport: Arc::clone(&config.transport) };
    let raft = Raft::new(config.node_id, Arc::new(engine_config), network, log, machine)
        .await
        .map_err(|error| OpenError::Start { reason: stopped(&error) })?;
    if let Err(error) = initialize(&raft, config).await {
        // The first error is the one to tell.
        let _ = raft.shutdown().await;
        return Err(error);
    }
    Ok(raft)
}

/// First start: write the members into the log. Later starts: the log knows.
async fn initialize(raft: &Raft, config: &Config) -> Result<(), OpenError> {
    let start = |reason: String| OpenError::Start { reason };
    let initialized = raft.is_initialized().await.map_err(|error| start(stopped(&error)))?;
    if !initialized {
        if config.members.is_empty() {
            return Ok(());
        }
        let members: BTreeMap<NodeId, Address> =
            config.members.iter().map(|member| (member.id, Address(member.address.clone()))).collect();
        if !members.contains_key(&config.node_id) {
            return Err(OpenError::NotAMember { node: config.node_id });
        }
        match raft.initialize(members).await {
            // Another member was quicker and has already sent us the log.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(error) => return Err(start(error.to_string())),
        }
    }
    lead_alone(raft, config.node_id).await.map_err(start)
}

/// A group of one needs no timeout to know that nobody else leads.
async fn lead_alone(raft: &Raft, me: NodeId) -> Result<(), String> {
    const PATIENCE: Duration = Duration::from_secs(10);
    // Not from the metrics: they lag behind.
    let (alone, elected) = raft
        .with_raft_state(move |state| {
            let alone = state.membership_state.effective().voter_ids().eq([me]);
            (
                alone,
                state.vote_ref().leader_id().voted_for() == Some(me)
                    && state.server_state == ServerState::Leader,
            )
        })
        .await
        .map_err(|error| stopped(&error))?;
    if !alone {
        return Ok(());
    }
    if !elected {
        raft.trigger().elect().await.map_err(|error| stopped(&error))?;
    }
    let leading = async {
        raft.wait(None)
            .state(ServerState::Leader, "a group of one")
            .await
            .map_err(|error| error.to_string())?;
        raft.ensure_linearizable().await.map_err(|error| error.to_string())
    };
    match tokio::time::timeout(PATIENCE, leading).await {
        Ok(result) => result.map(|_| ()),
        Err(_) => Err(format!("this node alone did not become leader within {} s", PATIENCE.as_secs())),
    }
}

async fn snapshot_on_demand(raft: Raft, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = shared.snapshot_wanted.notified() => {
                if raft.trigger().snapshot().await.is_err() {
                    return;
                }
            }
            _ = stopped.changed() => return,
        }
    }
}

/// An error with its causes on one line.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
