//! Small durable state of one node: an agent's checkpoints, in one redb file.
//!
//! [`Local`] blocks and is durable when it returns. [`LocalHandle`] is for
//! async callers: one thread merges what is queued into one durable
//! transaction and answers each caller when its part is on disk.
//! Invariant: an answered batch is wholly on disk, an unanswered one wholly or not at all.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadableDatabase, TableDefinition};
use tokio::sync::{mpsc, oneshot};

use crate::disk;
pub use crate::disk::FileError;
use crate::key::{Key, VALUE_MAX_BYTES, Value};
use crate::store::chain;

/// Batches that may wait for the thread.
pub const QUEUE_LENGTH: usize = 1024;
/// Batches merged into one transaction.
const MERGE_MAX_BATCHES: usize = 512;
/// Most writes in one batch.
pub const BATCH_MAX_WRITES: usize = 16 * 1024;

const TABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("entries");

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalWrite {
    Put { key: Key, value: Value },
    Delete { key: Key },
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum LocalError {
    #[error("{what} is {size}, the limit is {limit}")]
    TooLarge { what: &'static str, size: usize, limit: usize },
    #[error("{}: {reason}", .path.display())]
    Storage { path: PathBuf, reason: String },
    #[error("the checkpoint store is closed")]
    Closed,
}

/// The file, for callers that may block. Cheap to clone.
#[derive(Clone)]
pub struct Local {
    database: Arc<Database>,
    path: PathBuf,
}

impl Local {
    /// Opens or makes the file; a damaged one is refused with [`FileError::Damaged`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref().to_path_buf();
        let io_error = |source: io::Error| FileError::Io { path: path.clone(), source };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir).map_err(io_error)?;
        let database = disk::open(&path)?;
        disk::sync_dir(dir).map_err(io_error)?;
        let this = Self { database: Arc::new(database), path };
        // Makes the table, so that reads of a new file find it.
        this.write(&[])
            .map_err(|error| FileError::Damaged { path: this.path.clone(), reason: chain(&error) })?;
        Ok(this)
    }

    /// Carries out all writes in one durable transaction, in order.
    pub fn apply(&self, writes: Vec<LocalWrite>) -> Result<(), LocalError> {
        validate(&writes)?;
        self.write(&[&writes]).map_err(|error| self.storage(&error))
    }

    /// Keys and values below the prefix, in order.
    pub fn range(&self, prefix: &str) -> Result<Vec<(Key, Value)>, LocalError> {
        self.read(prefix).map_err(|error| self.storage(&error))
    }

    /// Starts the thread that serves async callers.
    pub fn into_handle(self) -> Result<LocalHandle, LocalError> {
        let (jobs, queue) = mpsc::channel(QUEUE_LENGTH);
        let local = self.clone();
        std::thread::Builder::new()
            .name("store-local".to_owned())
            .spawn(move || serve(&local, queue))
            .map_err(|error| LocalError::Storage { path: self.path.clone(), reason: error.to_string() })?;
        Ok(LocalHandle { jobs, local: self })
    }

    fn storage(&self, error: &redb::Error) -> LocalError {
        LocalError::Storage { path: self.path.clone(), reason: chain(error) }
    }

    fn write(&self, batches: &[&[LocalWrite]]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for write in batches.iter().copied().flatten() {
                match write {
                    LocalWrite::Put { key, value } => {
                        table.insert(key.as_str(), value.as_slice())?;
                    }
                    LocalWrite::Delete { key } => {
                        table.remove(key.as_str())?;
                    }
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn read(&self, prefix: &str) -> Result<Vec<(Key, Value)>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(TABLE)?;
        let mut found = Vec::new();
        for item in table.range(prefix..)? {
            let (key, value) = item?;
            if !key.value().starts_with(prefix) {
                break;
            }
            let key = Key::new(key.value()).map_err(|error| redb::Error::Corrupted(error.to_string()))?;
            found.push((key, Value::from(value.value())));
        }
        Ok(found)
    }
}

fn validate(writes: &[LocalWrite]) -> Result<(), LocalError> {
    if writes.len() > BATCH_MAX_WRITES {
        return Err(LocalError::TooLarge {
            what: "number of writes",
            size: writes.len(),
            limit: BATCH_MAX_WRITES,
        });
    }
    for write in writes {
        if let LocalWrite::Put { value, .. } = write
            && value.len() > VALUE_MAX_BYTES
        {
            return Err(LocalError::TooLarge { what: "value", size: value.len(), limit: VALUE_MAX_BYTES });
        }
    }
    Ok(())
}

struct Job {
    writes: Vec<LocalWrite>,
    done: oneshot::Sender<Result<(), LocalError>>,
}

fn serve(local: &Local, mut queue: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(MERGE_MAX_BATCHES);
    while queue.blocking_recv_many(&mut jobs, MERGE_MAX_BATCHES) > 0 {
        let batches: Vec<&[LocalWrite]> = jobs.iter().map(|job| job.writes.as_slice()).collect();
        let result = local.write(&batches).map_err(|error| local.storage(&error));
        if let Err(error) = &result {
            tracing::error!(error = %chain(error), "checkpoints could not be written");
        }
        for job in jobs.drain(..) {
            // A caller that stopped waiting does not change what is on disk.
            let _ = job.done.send(result.clone());
        }
    }
}

/// The file, for async callers. Cheap to clone; the thread ends with the last clone.
#[derive(Clone)]
pub struct LocalHandle {
    jobs: mpsc::Sender<Job>,
    local: Local,
}

impl LocalHandle {
    /// Opens the file away from the async threads.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, LocalOpenError> {
        let path = path.as_ref().to_path_buf();
        let opened = tokio::task::spawn_blocking(move || {
            let local = Local::open(path).map_err(|source| LocalOpenError::File { source })?;
            local.into_handle().map_err(|source| LocalOpenError::Start { source })
        });
        opened.await.unwrap_or(Err(LocalOpenError::Start { source: LocalError::Closed }))
    }

    /// Waits for room in the queue, then until the writes are durable.
    pub async fn apply(&self, writes: Vec<LocalWrite>) -> Result<(), LocalError> {
        validate(&writes)?;
        let (done, result) = oneshot::channel();
        self.jobs.send(Job { writes, done }).await.map_err(|_| LocalError::Closed)?;
        result.await.unwrap_or(Err(LocalError::Closed))
    }

    /// What is durable now below the prefix.
    pub async fn range(&self, prefix: &str) -> Result<Vec<(Key, Value)>, LocalError> {
        let local = self.local.clone();
        let prefix = prefix.to_owned();
        let read = tokio::task::spawn_blocking(move || local.range(&prefix));
        read.await.unwrap_or(Err(LocalError::Closed))
    }
}

/// Why [`LocalHandle::open`] failed.
#[derive(Debug, thiserror::Error)]
pub enum LocalOpenError {
    #[error("opening the checkpoint store")]
    File { source: FileError },
    #[error("starting the checkpoint store")]
    Start { source: LocalError },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> LocalWrite {
        LocalWrite::Put { key: Key::new(key).unwrap(), value: value.into() }
    }

    fn text(entries: &[(Key, Value)]) -> String {
        entries
            .iter()
            .map(|(key, value)| format!("{key}={}", String::from_utf8_lossy(value)))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn writes_survive_a_reopen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/agent.redb");
        let local = Local::open(&path).unwrap();
        assert_eq!(text(&local.range("").unwrap()), "");
        local.apply(vec![put("t/1", "a"), put("t/2", "b"), put("u/1", "c")]).unwrap();
        local.apply(vec![put("t/1", "z"), LocalWrite::Delete { key: Key::new("t/2").unwrap() }]).unwrap();
        assert!(matches!(Local::open(&path), Err(FileError::InUse { .. })));
        drop(local);
        let local = Local::open(&path).unwrap();
        assert_eq!(text(&local.range("t/").unwrap()), "t/1=z");
        assert_eq!(text(&local.range("").unwrap()), "t/1=z u/1=c");
    }

    #[test]
    fn too_much_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let local = Local::open(dir.path().join("agent.redb")).unwrap();
        let large =
            LocalWrite::Put { key: Key::new("b").unwrap(), value: vec![0; VALUE_MAX_BYTES + 1].into() };
        let refused = local.apply(vec![put("a", "1"), large]);
        assert!(matches!(refused, Err(LocalError::TooLarge { what: "value", .. })), "{refused:?}");
        assert_eq!(text(&local.range("").unwrap()), "");
    }

    #[tokio::test]
    async fn many_callers_share_flushes_and_each_is_answered() {
        let dir = tempfile::tempdir().unwrap();
        let handle = LocalHandle::open(dir.path().join("agent.redb")).await.unwrap();
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..200 {
            let handle = handle.clone();
            callers.spawn(async move { handle.apply(vec![put(&format!("k{caller:03}"), "v")]).await });
        }
        while let Some(result) = callers.join_next().await {
            result.unwrap().unwrap();
        }
        assert_eq!(handle.range("k").await.unwrap().len(), 200);
    }
}
