//! Feeds committed log entries to the [`State`] and makes and takes snapshots.

use std::io::Cursor;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder};
use tokio::sync::{Notify, watch};

use crate::raft::{
    LogEntry, LogId, RaftSnapshot, SnapshotMeta, StorageError, StorageIoError, StoredMembership, Types,
};
use crate::record;
use crate::snapshot::{self, SnapshotDir, SnapshotError};
use crate::state::{Data, Outcome, State};
use crate::txn::{Revision, Term};

/// What readers and watches share with the state machine.
pub(crate) struct Shared {
    state: RwLock<State>,
    /// The newest applied revision; wakes watches.
    pub revision: watch::Sender<Revision>,
    /// Asks for a snapshot when the log has grown by many bytes.
    pub snapshot_wanted: Notify,
}

impl Shared {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Machine {
    shared: Arc<Shared>,
    snapshots: SnapshotDir,
    last_applied: Option<LogId>,
    members: StoredMembership,
    bytes_since_snapshot: u64,
    snapshot_every_bytes: u64,
    snapshots_made: Arc<AtomicU64>,
}

impl Machine {
    /// Begins with the newest snapshot; the engine feeds it the rest of the log.
    pub(crate) fn open(snapshots: SnapshotDir, snapshot_every_bytes: u64) -> Result<Self, SnapshotError> {
        let (meta, data) = match snapshots.read_newest()? {
            Some(bytes) => snapshot::decode(&bytes)?,
            None => (SnapshotMeta::default(), Data::default()),
        };
        let shared = Arc::new(Shared {
            revision: watch::Sender::new(data.revision),
            state: RwLock::new(State::from_data(data)),
            snapshot_wanted: Notify::new(),
        });
        Ok(Self {
            shared,
            snapshots,
            last_applied: meta.last_log_id,
            members: meta.last_membership,
            bytes_since_snapshot: 0,
            snapshot_every_bytes,
            snapshots_made: Arc::default(),
        })
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    fn publish(&self, revision: Revision) {
        self.shared.revision.send_if_modified(|known| {
            let newer = *known != revision;
            *known = revision;
            newer
        });
    }

    fn apply_entry(&mut self, state: &mut State, entry: LogEntry) -> Vec<Outcome> {
        // Applying twice would make this member differ from the others.
        assert!(
            Some(entry.log_id) > self.last_applied,
            "log entry {} applied after {:?}",
            entry.log_id,
            self.last_applied
        );
        self.last_applied = Some(entry.log_id);
        self.bytes_since_snapshot += record::entry_size(&entry) as u64;
        match entry.payload {
            EntryPayload::Blank => Vec::new(),
            EntryPayload::Normal(batch) => {
                let leader = entry.log_id.leader_id;
                state.apply(Term::new(leader.term, leader.node_id), &batch.commands)
            }
            EntryPayload::Membership(members) => {
                self.members = StoredMembership::new(Some(entry.log_id), members);
                Vec::new()
            }
        }
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.last_applied, self.members.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Vec<Outcome>>, StorageError>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let shared = Arc::clone(&self.shared);
        let (outcomes, revision) = {
            let mut state = shared.write();
            let outcomes = entries.into_iter().map(|entry| self.apply_entry(&mut state, entry)).collect();
            (outcomes, state.data.revision)
        };
        self.publish(revision);
        if self.bytes_since_snapshot > self.snapshot_every_bytes {
            self.bytes_since_snapshot = 0;
            self.shared.snapshot_wanted.notify_one();
        }
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.bytes_since_snapshot = 0;
        let number = self.snapshots_made.fetch_add(1, Ordering::Relaxed);
        let id = self.last_applied.map_or_else(|| "empty".to_owned(), |last| last.to_string());
        Builder {
            meta: SnapshotMeta {
                last_log_id: self.last_applied,
                last_membership: self.members.clone(),
                snapshot_id: format!("{id}-{number}"),
            },
            // Keys and values are shared, so this copies pointers only.
            data: self.shared.read().data.clone(),
            snapshots: self.snapshots.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let bytes = snapshot.into_inner();
        let snapshots = self.snapshots.clone();
        let owned = meta.clone();
        let data = blocking(move || {
            let (_, data) = snapshot::decode(&bytes)?;
            snapshots.write(&owned, &bytes)?;
            Ok(data)
        })
        .await
        .map_err(write_failed)?;
        let revision = data.revision;
        *self.shared.write() = State::from_data(data);
        self.last_applied = meta.last_log_id;
        self.members = meta.last_membership.clone();
        self.bytes_since_snapshot = 0;
        self.publish(revision);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, StorageError> {
        let snapshots = self.snapshots.clone();
        blocking(move || match snapshots.read_newest()? {
            Some(bytes) => {
                let (meta, _) = snapshot::decode(&bytes)?;
                Ok(Some(RaftSnapshot { meta, snapshot: Box::new(Cursor::new(bytes)) }))
            }
            None => Ok(None),
        })
        .await
        .map_err(|reason| StorageIoError::read_snapshot(None, AnyError::error(reason)).into())
    }
}

/// Writes one snapshot beside the running state machine.
pub(crate) struct Builder {
    meta: SnapshotMeta,
    data: Data,
    snapshots: SnapshotDir,
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, StorageError> {
        let data = std::mem::take(&mut self.data);
        let meta = self.meta.clone();
        let snapshots = self.snapshots.clone();
        let bytes = blocking(move || {
            let bytes = snapshot::encode(&meta, &data)?;
            snapshots.write(&meta, &bytes)?;
            Ok(bytes)
        })
        .await
        .map_err(write_failed)?;
        Ok(RaftSnapshot { meta: self.meta.clone(), snapshot: Box::new(Cursor::new(bytes)) })
    }
}

fn write_failed(reason: String) -> StorageError {
    StorageIoError::write_snapshot(None, AnyError::error(reason)).into()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| crate::store::chain(&error)),
        Err(error) => Err(format!("the snapshot's task ended: {error}")),
    }
}
