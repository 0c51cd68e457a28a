//! Snapshot files: the whole state at one log position.
//!
//! Layout: magic, format version, SHA-256 and length of the payload, payload.
//! Written beside and renamed, so a file under its final name is whole; the
//! checksum tells a disk that lies. The same bytes travel to other members.
//! A release reads its own format version and the one before.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use crate::disk;
use crate::key::{Key, Value};
use crate::raft::SnapshotMeta;
use crate::state::{Data, Item};
use crate::txn::Revision;
use crate::wire::SnapshotMetaRecord;

const MAGIC: &[u8; 8] = b"DCOSSNAP";
const FORMAT_VERSION: u16 = 1;
const HASH_BYTES: usize = 32;
const HEADER_BYTES: usize = MAGIC.len() + 2 + HASH_BYTES + 8;
const SUFFIX: &str = ".snapshot";
const UNFINISHED: &str = ".unfinished";

#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("it does not begin like a snapshot")]
    NotASnapshot,
    #[error("it has format version {found}; this release reads version {FORMAT_VERSION}")]
    Version { found: u16 },
    #[error("it has {found} bytes of payload instead of {expected}")]
    Length { found: u64, expected: u64 },
    #[error("its checksum does not match")]
    Checksum,
    #[error("its content is damaged")]
    Content { source: postcard::Error },
    #[error("the store is shut down")]
    Closed,
    #[error("{}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Borrows what it writes; [`Payload`] has the same layout.
#[derive(Serialize)]
struct PayloadRef<'a> {
    meta: SnapshotMetaRecord,
    revision: Revision,
    items: Vec<(&'a Key, &'a Value, Revision)>,
}

#[derive(Deserialize)]
struct Payload {
    meta: SnapshotMetaRecord,
    revision: Revision,
    items: Vec<(Key, Value, Revision)>,
}

pub(crate) fn encode(meta: &SnapshotMeta, data: &Data) -> Result<Vec<u8>, SnapshotError> {
    let payload = PayloadRef {
        meta: meta.into(),
        revision: data.revision,
        items: data.items.iter().map(|(key, item)| (key, &item.value, item.revision)).collect(),
    };
    let mut bytes = postcard::to_extend(&payload, vec![0; HEADER_BYTES])
        .map_err(|source| SnapshotError::Content { source })?;
    let (header, body) = bytes.split_at_mut(HEADER_BYTES);
    let mut fields = Vec::with_capacity(HEADER_BYTES);
    fields.extend_from_slice(MAGIC);
    fields.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
    fields.extend_from_slice(digest::digest(&digest::SHA256, body).as_ref());
    fields.extend_from_slice(&(body.len() as u64).to_be_bytes());
    header.copy_from_slice(&fields);
    Ok(bytes)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<(SnapshotMeta, Data), SnapshotError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(SnapshotError::NotASnapshot)?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or(SnapshotError::NotASnapshot)?;
    let found = u16::from_be_bytes(*version);
    if found != FORMAT_VERSION {
        return Err(SnapshotError::Version { found });
    }
    let (hash, rest) = rest.split_first_chunk::<HASH_BYTES>().ok_or(SnapshotError::NotASnapshot)?;
    let (length, body) = rest.split_first_chunk::<8>().ok_or(SnapshotError::NotASnapshot)?;
    let expected = u64::from_be_bytes(*length);
    if body.len() as u64 != expected {
        return Err(SnapshotError::Length { found: body.len() as u64, expected });
    }
    if digest::digest(&digest::SHA256, body).as_ref() != hash {
        return Err(SnapshotError::Checksum);
    }
    let payload: Payload = postcard::from_bytes(body).map_err(|source| SnapshotError::Content { source })?;
    let mut data = Data { revision: payload.revision, ..Data::default() };
    for (key, value, revision) in payload.items {
        data.insert(key, Item { value, revision });
    }
    Ok((payload.meta.into(), data))
}

/// The directory of snapshot files; the one with the highest log index counts.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotDir {
    dir: PathBuf,
    /// Held while a snapshot is written; true once nothing may be written any more.
    closed: Arc<Mutex<bool>>,
}

impl SnapshotDir {
    /// The caller holds the lock of the directory around it.
    pub(crate) fn open(dir: PathBuf) -> Result<Self, SnapshotError> {
        let this = Self { dir, closed: Arc::default() };
        fs::create_dir_all(&this.dir).map_err(|source| this.io(&this.dir, source))?;
        for (path, name) in this.list()? {
            if name.ends_with(UNFINISHED) {
                fs::remove_file(&path).map_err(|source| this.io(&path, source))?;
            }
        }
        Ok(this)
    }

    fn io(&self, path: &Path, source: io::Error) -> SnapshotError {
        SnapshotError::Io { path: path.to_path_buf(), source }
    }

    fn list(&self) -> Result<Vec<(PathBuf, String)>, SnapshotError> {
        let entries = fs::read_dir(&self.dir).map_err(|source| self.io(&self.dir, source))?;
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| self.io(&self.dir, source))?;
            if let Ok(name) = entry.file_name().into_string() {
                files.push((entry.path(), name));
            }
        }
        Ok(files)
    }

    /// Log index and path, oldest first.
    fn snapshots(&self) -> Result<Vec<(u64, PathBuf)>, SnapshotError> {
        let mut found: Vec<(u64, PathBuf)> = self
            .list()?
            .into_iter()
            .filter_map(|(path, name)| Some((name.strip_suffix(SUFFIX)?.parse().ok()?, path)))
            .collect();
        found.sort();
        Ok(found)
    }

    pub(crate) fn newest(&self) -> Result<Option<PathBuf>, SnapshotError> {
        Ok(self.snapshots()?.pop().map(|(_, path)| path))
    }

    pub(crate) fn read_newest(&self) -> Result<Option<Vec<u8>>, SnapshotError> {
        match self.newest()? {
            Some(path) => fs::read(&path).map(Some).map_err(|source| self.io(&path, source)),
            None => Ok(None),
        }
    }

    /// Waits for a snapshot that is being written, and allows no other. The next owner of the
    /// directory may already be reading it when this process still has snapshots to write.
    pub(crate) async fn close(&self) {
        let closed = Arc::clone(&self.closed);
        let wait = move || *closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        if tokio::task::spawn_blocking(wait).await.is_err() {
            tracing::warn!("the snapshot directory was not closed");
        }
    }

    /// Durable when it returns; older snapshots are gone then.
    pub(crate) fn write(&self, meta: &SnapshotMeta, bytes: &[u8]) -> Result<(), SnapshotError> {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return Err(SnapshotError::Closed);
        }
        let index = meta.last_log_id.map_or(0, |id| id.index);
        let path = self.dir.join(format!("{index:020}{SUFFIX}"));
        let unfinished = self.dir.join(format!("{index:020}{UNFINISHED}"));
        let written = (|| {
            let mut file = fs::File::create(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            disk::sync_dir(&self.dir)
        })();
        if let Err(source) = written {
            // Frees what a full disk needs most; the error below is the one that matters.
            let _ = fs::remove_file(&unfinished);
            return Err(self.io(&path, source));
        }
        for (old, path) in self.snapshots()? {
            if old < index {
                fs::remove_file(&path).map_err(|source| self.io(&path, source))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::{Term, Txn};

    fn data() -> Data {
        let mut state = crate::state::State::default();
        state
            .apply(Term(1), &[Txn::new().put(Key::new("a").unwrap(), "1").put(Key::new("b").unwrap(), "22")]);
        state.data
    }

    #[test]
    fn a_snapshot_reads_back() {
        let bytes = encode(&SnapshotMeta::default(), &data()).unwrap();
        let (meta, read) = decode(&bytes).unwrap();
        assert_eq!(meta, SnapshotMeta::default());
        assert_eq!(read, data());
    }

    /// The bytes of format version 1 as released; the next version must still read them.
    #[test]
    fn version_1_stays_readable() {
        let bytes = encode(&SnapshotMeta::default(), &data()).unwrap();
        let payload = [0, 0, 0, 0, 0, 1, 2, 1, b'a', 1, b'1', 1, 1, b'b', 2, b'2', b'2', 1];
        assert_eq!(&bytes[..10], b"DCOSSNAP\0\x01");
        assert_eq!(&bytes[HEADER_BYTES..], payload);
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed() {
        let bytes = encode(&SnapshotMeta::default(), &data()).unwrap();
        for position in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[position] ^= 0x10;
            assert!(decode(&bad).is_err(), "flip at {position}");
            assert!(decode(&bytes[..position]).is_err(), "cut at {position}");
        }
        assert!(decode(b"").is_err());
    }

    #[test]
    fn the_newest_counts_and_unfinished_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(format!("7{UNFINISHED}")), "half").unwrap();
        let snapshots = SnapshotDir::open(dir.path().to_path_buf()).unwrap();
        assert_eq!(snapshots.read_newest().unwrap(), None);
        for index in [5, 40] {
            let last = openraft::testing::log_id(1, crate::NodeId(1), index);
            let meta = SnapshotMeta { last_log_id: Some(last), ..SnapshotMeta::default() };
            snapshots.write(&meta, &encode(&meta, &data()).unwrap()).unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let (meta, _) = decode(&snapshots.read_newest().unwrap().unwrap()).unwrap();
        assert_eq!(meta.last_log_id.unwrap().index, 40);
    }
}
