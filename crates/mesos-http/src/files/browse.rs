//! `/files/browse`: the entries of a directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use mesos_proto::v1;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, statat};
use serde::Serialize;

use super::attach::Attached;
use super::names::Names;
use super::open::{OpenError, open_inside};
use crate::reply::Refusal;

/// Most entries listed; a larger directory is refused rather than shown in part.
const ENTRIES_MAX: usize = 100_000;

#[derive(Debug, Serialize)]
pub(super) struct Entry {
    path: String,
    nlink: u64,
    size: u64,
    mtime: f64,
    mode: String,
    uid: String,
    gid: String,
}

pub(super) fn browse(attached: &Attached, path: &[u8]) -> Result<Vec<Entry>, Refusal> {
    let names = Names::read();
    let entry = |(path, stat): (String, Stat)| Entry {
        path,
        nlink: stat.st_nlink,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime: stat.st_mtime as f64,
        mode: mode(&stat),
        uid: names.user(stat.st_uid),
        gid: names.group(stat.st_gid),
    };
    Ok(entries(attached, path)?.into_iter().map(entry).collect())
}

/// The same in the v1 message.
pub(super) fn infos(attached: &Attached, path: &[u8]) -> Result<Vec<v1::FileInfo>, Refusal> {
    let names = Names::read();
    let info = |(path, stat): (String, Stat)| v1::FileInfo {
        path,
        nlink: Some(i32::try_from(stat.st_nlink).unwrap_or(i32::MAX)),
        size: Some(u64::try_from(stat.st_size).unwrap_or(0)),
        mtime: Some(v1::TimeInfo { nanoseconds: stat.st_mtime.saturating_mul(1_000_000_000) }),
        mode: Some(stat.st_mode),
        uid: Some(names.user(stat.st_uid)),
        gid: Some(names.group(stat.st_gid)),
    };
    Ok(entries(attached, path)?.into_iter().map(info).collect())
}

/// By path.
fn entries(attached: &Attached, path: &[u8]) -> Result<Vec<(String, Stat)>, Refusal> {
    let resolved = attached.resolve(path).ok_or_else(Refusal::not_found)?;
    let opened = open_inside(&resolved)?;
    // A file has no entries; that is no error.
    if opened.kind() != FileType::Directory {
        return Ok(Vec::new());
    }
    let failed = |source: rustix::io::Errno| {
        let path = opened.path.to_string_lossy().into_owned();
        Refusal::from(OpenError::Io { path, source: source.into() })
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let listing = openat(&opened.fd, c".", flags, Mode::empty()).map_err(failed)?;
    let mut entries = Vec::new();
    for entry in Dir::new(listing).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if name.to_bytes() == b"." || name.to_bytes() == b".." {
            continue;
        }
        if entries.len() == ENTRIES_MAX {
            let message =
                format!("The directory has more than {ENTRIES_MAX} entries, the limit of a listing.\n");
            return Err(Refusal::internal(message));
        }
        // Gone between listing and looking: as if it had never been there.
        let Ok(stat) = statat(&opened.fd, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let name = OsStr::from_bytes(name.to_bytes());
        let stat = target_inside(&opened.root, &opened.path.join(name), stat);
        let shown = Path::new(OsStr::from_bytes(path)).join(name);
        entries.push((shown.to_string_lossy().into_owned(), stat));
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

/// A symlink shows its target as long as that is inside, itself otherwise.
fn target_inside(root: &Path, path: &Path, own: Stat) -> Stat {
    if FileType::from_raw_mode(own.st_mode) != FileType::Symlink {
        return own;
    }
    match path.canonicalize() {
        Ok(target) if target.starts_with(root) => rustix::fs::lstat(&target).unwrap_or(own),
        _ => own,
    }
}

fn mode(stat: &Stat) -> String {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => 'd',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::Fifo => 'p',
        FileType::Symlink => 'l',
        FileType::Socket => 's',
        FileType::RegularFile | FileType::Unknown => '-',
    };
    let bits = "rwxrwxrwx".chars().enumerate();
    let shown = bits.map(|(i, letter)| if stat.st_mode & (0o400 >> i) != 0 { letter } else { '-' });
    std::iter::once(kind).chain(shown).collect()
}
