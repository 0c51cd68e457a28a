//! The raft log, the vote and the commit hint in one redb file.
//!
//! One thread owns all writing. It takes whatever is queued, makes one durable
//! redb transaction of it, then answers each; so a flush serves all that waited
//! for the one before. What was appended is readable at once from a cache in
//! memory, which also spares the engine the file when it applies entries.
//! Invariant: the cache holds every entry that is not yet on disk.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogState, OptionalSend, RaftLogReader};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::{mpsc, oneshot};

use crate::disk::{self, FileError};
use crate::members::NodeId;
use crate::raft::{LogEntry, LogId, StorageError, StorageIoError, Types, Vote};
use crate::record::{self, LogIdRecord, RecordError, VoteRecord};

/// Entries that may be kept in memory after they are on disk.
const CACHE_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of entries read in one go for a peer; one entry is always read.
const READ_MAX_BYTES: usize = 8 * 1024 * 1024;
/// The engine waits for each append, so the queue is short by nature.
const QUEUE_LENGTH: usize = 64;

const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const VOTE: &str = "vote";
const PURGED: &str = "purged";
const COMMITTED: &str = "committed";
const NODE: &str = "node";

#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("the log's file")]
    File { source: FileError },
    #[error(
        "the directory belongs to node {found}, not to node {expected}; every node needs its own directory"
    )]
    OtherNode { found: u64, expected: NodeId },
    #[error("the log is damaged")]
    Damaged { source: RecordError },
    #[error("reading or writing the log")]
    Redb { source: redb::Error },
    #[error("starting the log's thread")]
    Thread { source: std::io::Error },
    #[error("the log is closed")]
    Closed,
}

fn redb_error(error: impl Into<redb::Error>) -> LogError {
    LogError::Redb { source: error.into() }
}

fn damaged(source: RecordError) -> LogError {
    LogError::Damaged { source }
}

enum Job {
    Append { entries: Vec<LogEntry>, flushed: LogFlushed<Types> },
    Vote { vote: Vote, done: Done },
    Truncate { since: u64, done: Done },
    Purge { upto: LogId, done: Done },
}

type Done = oneshot::Sender<Result<(), String>>;

#[derive(Default)]
struct Cache {
    entries: BTreeMap<u64, (LogEntry, usize)>,
    bytes: usize,
    /// Entries above this index are only here.
    flushed: Option<u64>,
}

impl Cache {
    fn push(&mut self, entry: LogEntry) {
        let size = record::entry_size(&entry);
        self.bytes += size;
        if let Some((_, old)) = self.entries.insert(entry.log_id.index, (entry, size)) {
            self.bytes -= old;
        }
    }

    fn flushed_to(&mut self, index: Option<u64>) {
        self.flushed = index;
        while self.bytes > CACHE_MAX_BYTES {
            match self.entries.first_key_value() {
                Some((first, (_, size))) if Some(*first) <= self.flushed => self.bytes -= *size,
                _ => break,
            }
            self.entries.pop_first();
        }
    }

    fn truncate(&mut self, since: u64) {
        for (_, (_, size)) in self.entries.split_off(&since) {
            self.bytes -= size;
        }
    }

    fn purge(&mut self, upto: u64) {
        while let Some((first, (_, size))) = self.entries.first_key_value() {
            if *first > upto {
                break;
            }
            self.bytes -= *size;
            self.entries.pop_first();
        }
    }
}

#[derive(Default, Clone, Copy)]
struct Ends {
    purged: Option<LogId>,
    last: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
}

struct Shared {
    /// Taken away on close, so that the file's lock is released at a known moment.
    database: RwLock<Option<Arc<Database>>>,
    cache: Mutex<Cache>,
    ends: Mutex<Ends>,
}

impl Shared {
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn database(&self) -> Result<Arc<Database>, LogError> {
        self.database.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(LogError::Closed)
    }

    fn read(&self, range: impl RangeBounds<u64>, max_bytes: usize) -> Result<Vec<LogEntry>, LogError> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        if start >= end {
            return Ok(Vec::new());
        }
        let (cached_from, cached): (u64, Vec<LogEntry>) = {
            let cache = self.cache();
            let from = cache.entries.first_key_value().map_or(end, |(first, _)| (*first).clamp(start, end));
            (from, cache.entries.range(from..end).map(|(_, (entry, _))| entry.clone()).collect())
        };
        let mut entries = Vec::new();
        let mut bytes = 0;
        if start < cached_from {
            let transaction = self.database()?.begin_read().map_err(redb_error)?;
            let table = transaction.open_table(ENTRIES).map_err(redb_error)?;
            for item in table.range(start..cached_from).map_err(redb_error)? {
                let (_, value) = item.map_err(redb_error)?;
                bytes += value.value().len();
                if bytes > max_bytes && !entries.is_empty() {
                    return Ok(entries);
                }
                entries.push(record::decode_entry(value.value()).map_err(damaged)?);
            }
        }
        for entry in cached {
            bytes += record::entry_size(&entry);
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// The opened and locked file, before its thread runs. Its lock guards the whole directory.
pub(crate) struct LogFile {
    database: Database,
    ends: Ends,
}

impl LogFile {
    pub(crate) fn open(path: &Path, node: NodeId) -> Result<Self, LogError> {
        let database = disk::open(path).map_err(|source| LogError::File { source })?;
        let ends = load(&database, node)?;
        Ok(Self { database, ends })
    }

    pub(crate) fn start(self) -> Result<LogStore, LogError> {
        let ends = self.ends;
        let shared = Arc::new(Shared {
            database: RwLock::new(Some(Arc::new(self.database))),
            cache: Mutex::new(Cache { flushed: ends.last.map(|id| id.index), ..Cache::default() }),
            ends: Mutex::new(ends),
        });
        let (jobs, queue) = mpsc::channel(QUEUE_LENGTH);
        let writer = Writer { shared: Arc::clone(&shared), committed: ends.committed };
        std::thread::Builder::new()
            .name("store-log".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|source| LogError::Thread { source })?;
        Ok(LogStore { shared, jobs })
    }
}

/// Cheap to clone; all clones are the same log.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
}

impl LogStore {
    #[cfg(test)]
    pub(crate) fn open(path: &Path, node: NodeId) -> Result<Self, LogError> {
        LogFile::open(path, node)?.start()
    }

    /// Releases the file; whatever is read or written later is an error.
    pub(crate) async fn close(&self) {
        const PATIENCE_MS: u32 = 1_000;
        let taken = self.shared.database.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut database) = taken else { return };
        // A read or write may be under way; the file is free once it has ended.
        for _ in 0..PATIENCE_MS {
            match Arc::try_unwrap(database) {
                Ok(database) => return drop(database),
                Err(shared) => database = shared,
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        tracing::warn!("the store's log is still being read after its end");
    }

    async fn submit(&self, job: impl FnOnce(Done) -> Job) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        self.jobs.send(job(done)).await.map_err(|_| LogError::Closed.to_string())?;
        answer.await.unwrap_or_else(|_| Err(LogError::Closed.to_string()))
    }
}

fn load(database: &Database, node: NodeId) -> Result<Ends, LogError> {
    let transaction = database.begin_write().map_err(redb_error)?;
    let ends = {
        let mut meta = transaction.open_table(META).map_err(redb_error)?;
        let entries = transaction.open_table(ENTRIES).map_err(redb_error)?;
        let found: Option<u64> = read_meta(&meta, NODE)?;
        match found {
            Some(found) if found != node.0 => return Err(LogError::OtherNode { found, expected: node }),
            Some(_) => {}
            None => {
                let bytes = record::encode(&node.0).map_err(damaged)?;
                meta.insert(NODE, bytes.as_slice()).map_err(redb_error)?;
            }
        }
        let id = |record: LogIdRecord| LogId::from(record);
        let purged = read_meta::<LogIdRecord>(&meta, PURGED)?.map(id);
        let last = match entries.last().map_err(redb_error)? {
            Some((_, value)) => Some(record::decode_entry(value.value()).map_err(damaged)?.log_id),
            None => purged,
        };
        let mut vote: Option<Vote> = read_meta::<VoteRecord>(&meta, VOTE)?.map(Into::into);
        if let Some(vote) = vote.as_mut().filter(|vote| vote.leader_id.node_id == node) {
            // This node led, or tried to, before it stopped. Led with this vote it would go on in the
            // old term, where what an earlier process sent could still count; so it is elected anew.
            vote.committed = false;
        }
        Ends { purged, last, vote, committed: read_meta::<LogIdRecord>(&meta, COMMITTED)?.map(id) }
    };
    transaction.commit().map_err(redb_error)?;
    Ok(ends)
}

fn read_meta<T: serde::de::DeserializeOwned>(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &'static str,
) -> Result<Option<T>, LogError> {
    match meta.get(name).map_err(redb_error)? {
        Some(value) => record::decode(value.value()).map(Some).map_err(damaged),
        None => Ok(None),
    }
}

struct Writer {
    shared: Arc<Shared>,
    committed: Option<LogId>,
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(QUEUE_LENGTH);
        while queue.blocking_recv_many(&mut jobs, QUEUE_LENGTH) > 0 {
            match self.write(&jobs) {
                Ok(flushed) => {
                    self.shared.cache().flushed_to(flushed);
                    for job in jobs.drain(..) {
                        answer(job, Ok(()));
                    }
                }
                Err(error) => {
                    let text = crate::store::chain(&error);
                    tracing::error!(error = %text, "the store's log could not be written");
                    for job in jobs.drain(..) {
                        answer(job, Err(text.clone()));
                    }
                }
            }
        }
    }

    /// One durable transaction for all jobs, in order; returns the last index on disk.
    fn write(&mut self, jobs: &[Job]) -> Result<Option<u64>, LogError> {
        let database = self.shared.database()?;
        // The hint saves a restart from waiting for the next leader; it rides along for nothing.
        let committed = self.shared.ends().committed;
        let transaction = database.begin_write().map_err(redb_error)?;
        let mut flushed = self.shared.cache().flushed;
        {
            let mut entries = transaction.open_table(ENTRIES).map_err(redb_error)?;
            let mut meta = transaction.open_table(META).map_err(redb_error)?;
            let mut put = |name: &'static str, bytes: Result<Vec<u8>, RecordError>| -> Result<(), LogError> {
                meta.insert(name, bytes.map_err(damaged)?.as_slice()).map_err(redb_error)?;
                Ok(())
            };
            for job in jobs {
                match job {
                    Job::Append { entries: new, .. } => {
                        for entry in new {
                            let bytes = record::encode_entry(entry).map_err(damaged)?;
                            entries.insert(entry.log_id.index, bytes.as_slice()).map_err(redb_error)?;
                            flushed = Some(entry.log_id.index);
                        }
                    }
                    Job::Vote { vote, .. } => put(VOTE, record::encode(&VoteRecord::from(*vote)))?,
                    Job::Truncate { since, .. } => {
                        entries.retain_in(*since.., |_, _| false).map_err(redb_error)?;
                        flushed = since.checked_sub(1);
                    }
                    Job::Purge { upto, .. } => {
                        entries.retain_in(..=upto.index, |_, _| false).map_err(redb_error)?;
                        put(PURGED, record::encode(&LogIdRecord::from(*upto)))?;
                        flushed = flushed.max(Some(upto.index));
                    }
                }
            }
            if let Some(committed) = committed.filter(|_| committed != self.committed) {
                put(COMMITTED, record::encode(&LogIdRecord::from(committed)))?;
            }
        }
        transaction.commit().map_err(redb_error)?;
        self.committed = committed;
        Ok(flushed)
    }
}

fn answer(job: Job, result: Result<(), String>) {
    match job {
        Job::Append { flushed, .. } => flushed.log_io_completed(result.map_err(std::io::Error::other)),
        Job::Vote { done, .. } | Job::Truncate { done, .. } | Job::Purge { done, .. } => {
            // The engine may be gone; then nobody needs the answer.
            let _ = done.send(result);
        }
    }
}

fn read_failed(error: &LogError) -> StorageError {
    StorageIoError::read_logs(AnyError::error(crate::store::chain(error))).into()
}

fn write_failed(reason: String) -> StorageError {
    StorageIoError::write_logs(AnyError::error(reason)).into()
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<LogEntry>, StorageError> {
        self.shared.read(range, usize::MAX).map_err(|error| read_failed(&error))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<LogEntry>, StorageError> {
        self.shared.read(start..end, READ_MAX_BYTES).map_err(|error| read_failed(&error))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let ends = *self.shared.ends();
        Ok(LogState { last_purged_log_id: ends.purged, last_log_id: ends.last })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        self.submit(|done| Job::Vote { vote, done })
            .await
            .map_err(|reason| StorageError::from(StorageIoError::write_vote(AnyError::error(reason))))?;
        self.shared.ends().vote = Some(vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.shared.ends().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.shared.ends().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        // Written beside the entries, so it can only be behind them; never ahead.
        let ends = *self.shared.ends();
        Ok(ends.committed.filter(|committed| Some(*committed) <= ends.last))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<LogEntry> = entries.into_iter().collect();
        if let Some(last) = entries.last() {
            let mut cache = self.shared.cache();
            for entry in &entries {
                cache.push(entry.clone());
            }
            drop(cache);
            self.shared.ends().last = Some(last.log_id);
        }
        let job = Job::Append { entries, flushed: callback };
        self.jobs.send(job).await.map_err(|_| write_failed(LogError::Closed.to_string()))
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.shared.cache().truncate(log_id.index);
        self.submit(|done| Job::Truncate { since: log_id.index, done }).await.map_err(write_failed)?;
        let before = match log_id.index.checked_sub(1) {
            Some(index) => {
                self.shared.read(index..=index, usize::MAX).map_err(|error| read_failed(&error))?
            }
            None => Vec::new(),
        };
        let mut ends = self.shared.ends();
        ends.last = before.first().map(|entry| entry.log_id).or(ends.purged);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        {
            let mut ends = self.shared.ends();
            ends.purged = ends.purged.max(Some(log_id));
            ends.last = ends.last.max(Some(log_id));
        }
        self.submit(|done| Job::Purge { upto: log_id, done }).await.map_err(write_failed)?;
        self.shared.cache().purge(log_id.index);
        Ok(())
    }
}
