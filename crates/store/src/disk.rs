//! Opening redb files and naming what goes wrong with them.

use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, StorageError};

/// Pages kept in memory per file; the log is read from its own cache, so little is enough.
pub(crate) const REDB_CACHE_BYTES: usize = 4 * 1024 * 1024;

/// Why a durable file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{} is in use by another process; stop it first, or use another directory", .path.display())]
    InUse { path: PathBuf },
    #[error(
        "{} is damaged and was left as it is: {reason}; restore the directory from a backup, or, in a group \
         with other members, move it away and let this node join anew", .path.display()
    )]
    Damaged { path: PathBuf, reason: String },
    #[error("{} has the old file format {version}, which this release does not read", .path.display())]
    OldFormat { path: PathBuf, version: u8 },
    #[error("{}", .path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

/// Opens or makes the file; a file that redb did not leave like this is refused, never trusted.
pub(crate) fn open(path: &Path) -> Result<Database, FileError> {
    let path_buf = || path.to_path_buf();
    let mut builder = Database::builder();
    builder.set_cache_size(REDB_CACHE_BYTES).set_check_integrity_on_open(true);
    builder.create(path).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            FileError::InUse { path: path_buf() }
        }
        DatabaseError::UpgradeRequired(version) => FileError::OldFormat { path: path_buf(), version },
        DatabaseError::Storage(StorageError::Io(source))
            if source.kind() != std::io::ErrorKind::InvalidData =>
        {
            FileError::Io { path: path_buf(), source }
        }
        other => FileError::Damaged { path: path_buf(), reason: other.to_string() },
    })
}

/// Makes a rename or a new file in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    std::fs::File::open(dir)?.sync_all()
}

/// Bytes that this process may still write to the file system of `dir`.
pub(crate) fn free_bytes(dir: &Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
