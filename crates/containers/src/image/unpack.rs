//! Unpacks one layer into a directory, for use below an overlay.
//!
//! The archive is hostile until its digest is known, and even then its author
//! may be: every path is resolved by the kernel inside the directory
//! (`openat2` with `RESOLVE_IN_ROOT`), `..` is refused, the last part of a path
//! is never followed, sizes and counts have limits. Whiteouts of the archive
//! become those of overlayfs: a 0/0 device, and the `opaque` attribute.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{Context, SHA256};
use flate2::bufread::MultiGzDecoder;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use tar::EntryType;

use super::store::hex;

const HEADER_MAX_BYTES: u64 = 4 << 20;
/// Zeros a tool may pad an archive with.
const TRAILER_MAX_BYTES: u64 = 64 << 20;
const PATH_MAX_BYTES: usize = 4096;
const COPY_BYTES: usize = 128 << 10;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const WHITEOUT_PREFIX: &[u8] = b".wh.";
const OPAQUE_NAME: &[u8] = b".wh..wh..opq";
const OPAQUE_ATTRIBUTE: &str = "trusted.overlay.opaque";
const CAPABILITY_ATTRIBUTE: &str = "security.capability";

pub struct Limits<'a> {
    pub entries_max: u64,
    /// Bytes the image may still take; shared by its layers.
    pub budget: &'a AtomicU64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("it is compressed with zstd")]
    Zstd,
    #[error("it is damaged or no archive: {0}")]
    Read(#[source] io::Error),
    #[error("entry {0:?} leads out of the layer")]
    Escape(String),
    #[error("entry {path:?}: {source}")]
    Entry { path: String, source: io::Error },
    #[error("entry {0:?} has a type that is not supported")]
    Kind(String),
    #[error("it has more than {0} entries")]
    TooMany(u64),
    #[error("the image unpacks to more than the limit of this node")]
    TooLarge,
}

/// Unpacks and returns the digest of the uncompressed archive.
pub fn unpack(archive: File, target: &Path, limits: &Limits<'_>) -> Result<String, Error> {
    let mut reader = BufReader::with_capacity(COPY_BYTES, archive);
    let start = reader.fill_buf().map_err(Error::Read)?;
    if start.starts_with(&ZSTD_MAGIC) {
        return Err(Error::Zstd);
    }
    if start.starts_with(&GZIP_MAGIC) {
        unpack_tar(MultiGzDecoder::new(reader), target, limits)
    } else {
        unpack_tar(reader, target, limits)
    }
}

/// Counts what may be read next and digests what was.
struct Metered<R> {
    inner: R,
    context: Context,
    allowance: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let allowed = usize::try_from(self.allowance.get()).unwrap_or(usize::MAX).min(buffer.len());
        if allowed == 0 && !buffer.is_empty() {
            return Err(io::Error::other("a header is larger than accepted"));
        }
        let count = self.inner.read(&mut buffer[..allowed])?;
        self.allowance.set(self.allowance.get() - count as u64);
        self.context.update(&buffer[..count]);
        Ok(count)
    }
}

fn unpack_tar(reader: impl Read, target: &Path, limits: &Limits<'_>) -> Result<String, Error> {
    let allowance = Rc::new(Cell::new(HEADER_MAX_BYTES));
    let metered = Metered { inner: reader, context: Context::new(&SHA256), allowance: allowance.clone() };
    let mut archive = tar::Archive::new(metered);
    let mut layer = Layer::open(target)?;
    let mut count = 0;
    for entry in archive.entries().map_err(Error::Read)? {
        let mut entry = entry.map_err(Error::Read)?;
        count += 1;
        if count > limits.entries_max {
            return Err(Error::TooMany(limits.entries_max));
        }
        let size = entry.size();
        let taken =
            limits.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(size));
        taken.map_err(|_| Error::TooLarge)?;
        // The data, its padding, and the next header with its extensions.
        allowance.set(size.saturating_add(HEADER_MAX_BYTES));
        layer.add(&mut entry)?;
        io::copy(&mut entry, &mut io::sink()).map_err(Error::Read)?;
        allowance.set(HEADER_MAX_BYTES);
    }
    let mut metered = archive.into_inner();
    allowance.set(TRAILER_MAX_BYTES);
    io::copy(&mut metered, &mut io::sink()).map_err(Error::Read)?;
    Ok(format!("sha256:{}", hex(metered.context.finish().as_ref())))
}

struct Layer {
    root: OwnedFd,
    /// The directory of the last entry: most entries share it with the next.
    last: Option<(Vec<u8>, Rc<OwnedFd>)>,
}

/// Owner, mode and time of an entry.
struct Attributes {
    uid: Uid,
    gid: Gid,
    mode: Mode,
    modified: i64,
}

impl Layer {
    fn open(target: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            rustix::fs::open(target, flags, Mode::empty()).map_err(|errno| Error::Read(errno.into()))?;
        rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755)).map_err(|errno| Error::Read(errno.into()))?;
        Ok(Self { root, last: None })
    }

    fn add<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<(), Error> {
        let path = entry.path_bytes().into_owned();
        let shown = String::from_utf8_lossy(&path[..path.len().min(PATH_MAX_BYTES)]).into_owned();
        let Some((parent, name)) = split(&path).ok_or_else(|| Error::Escape(shown.clone()))? else {
            // The root itself: the container's own layer decides about it.
            return Ok(());
        };
        let at = |errno: Errno| Error::Entry { path: shown.clone(), source: errno.into() };
        let parent = self.directory(&parent).map_err(at)?;
        if let Some(hidden) = name.strip_prefix(WHITEOUT_PREFIX) {
            return self.whiteout(&parent, &name, hidden).map_err(at);
        }
        let header = entry.header();
        let attributes = Attributes {
            uid: Uid::from_raw(header.uid().ok().and_then(|uid| u32::try_from(uid).ok()).unwrap_or(0)),
            gid: Gid::from_raw(header.gid().ok().and_then(|gid| u32::try_from(gid).ok()).unwrap_or(0)),
            mode: Mode::from_raw_mode(header.mode().unwrap_or(0o644) & 0o7777),
            modified: header.mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or(0),
        };
        match header.entry_type() {
            EntryType::Directory => self.make_directory(&parent, &name, &attributes).map_err(at),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.replace(&parent, &name).map_err(at)?;
                write_file(&parent, &name, &attributes, entry)
                    .map_err(|source| Error::Entry { path: shown.clone(), source })
            }
            EntryType::Link => {
                let link = entry.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default();
                let target = split(&link).ok_or_else(|| Error::Escape(shown.clone()))?;
                let (target_parent, target_name) = target.ok_or_else(|| Error::Escape(shown.clone()))?;
                let from = self.existing(&target_parent).map_err(at)?;
                self.replace(&parent, &name).map_err(at)?;
                rustix::fs::linkat(&from, &target_name[..], &*parent, &name[..], AtFlags::empty()).map_err(at)
            }
            EntryType::Symlink => {
                let link = entry.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default();
                self.replace(&parent, &name).map_err(at)?;
                rustix::fs::symlinkat(&link[..], &*parent, &name[..]).map_err(at)?;
                set_owner(&parent, &name, &attributes).map_err(at)
            }
            kind @ (EntryType::Char | EntryType::Block | EntryType::Fifo) => {
                let device = match (header.device_major(), header.device_minor()) {
                    (Ok(Some(major)), Ok(Some(minor))) => rustix::fs::makedev(major, minor),
                    _ => 0,
                };
                let kind = match kind {
                    EntryType::Char => FileType::CharacterDevice,
                    EntryType::Block => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                self.replace(&parent, &name).map_err(at)?;
                rustix::fs::mknodat(&*parent, &name[..], kind, attributes.mode, device).map_err(at)?;
                set_owner(&parent, &name, &attributes).map_err(at)?;
                rustix::fs::chmodat(&*parent, &name[..], attributes.mode, AtFlags::empty()).map_err(at)
            }
            EntryType::XGlobalHeader => Ok(()),
            _ => Err(Error::Kind(shown)),
        }
    }

    /// Opens a directory of the layer, making what is missing.
    fn directory(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, Errno> {
        if let Some((last, directory)) = &self.last
            && last == path
        {
            return Ok(directory.clone());
        }
        let directory = match self.existing(path) {
            Err(Errno::NOENT) => {
                let mut prefix: Vec<u8> = Vec::with_capacity(path.len());
                for part in path.split(|&byte| byte == b'/') {
                    let parent = self.existing(&prefix)?;
                    match rustix::fs::mkdirat(&parent, part, Mode::from_raw_mode(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(errno) => return Err(errno),
                    }
                    if !prefix.is_empty() {
                        prefix.push(b'/');
                    }
                    prefix.extend_from_slice(part);
                }
                self.existing(path)?
            }
            found => found?,
        };
        let directory = Rc::new(directory);
        self.last = Some((path.to_vec(), directory.clone()));
        Ok(directory)
    }

    /// The kernel resolves links as if the layer were the whole file system.
    fn existing(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
                // A rename elsewhere on the machine raced with the walk.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }

    fn whiteout(&mut self, parent: &OwnedFd, name: &[u8], hidden: &[u8]) -> Result<(), Errno> {
        if name == OPAQUE_NAME {
            return rustix::fs::fsetxattr(parent, OPAQUE_ATTRIBUTE, b"y", XattrFlags::empty());
        }
        // Other names with a double prefix are notes of an old storage driver.
        if hidden.starts_with(WHITEOUT_PREFIX) || matches!(hidden, b"" | b"." | b"..") {
            return Ok(());
        }
        self.replace(parent, hidden)?;
        rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0)
    }

    fn make_directory(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        attributes: &Attributes,
    ) -> Result<(), Errno> {
        let is_directory = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        if !is_directory {
            self.replace(parent, name)?;
            rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
        }
        set_owner(parent, name, attributes)?;
        rustix::fs::chmodat(parent, name, attributes.mode, AtFlags::empty())
    }

    /// Makes room for an entry that comes a second time.
    fn replace(&mut self, parent: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) => {
                // It may have been a link that the remembered path went through.
                self.last = None;
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => {
                self.last = None;
                remove_directory(parent, name, 0)
            }
            Err(errno) => Err(errno),
        }
    }
}

const DEPTH_MAX: usize = 256;

fn remove_directory(parent: &OwnedFd, name: &[u8], depth: usize) -> Result<(), Errno> {
    if depth > DEPTH_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let entries: Vec<Vec<u8>> = rustix::fs::Dir::read_from(&directory)?
        .filter_map(|entry| entry.ok().map(|entry| entry.file_name().to_bytes().to_vec()))
        .filter(|name| name != b"." && name != b"..")
        .collect();
    for entry in entries {
        match rustix::fs::unlinkat(&directory, &entry[..], AtFlags::empty()) {
            Err(Errno::ISDIR) => remove_directory(&directory, &entry, depth + 1)?,
            result => result?,
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn set_owner(parent: &OwnedFd, name: &[u8], attributes: &Attributes) -> Result<(), Errno> {
    rustix::fs::chownat(parent, name, Some(attributes.uid), Some(attributes.gid), AtFlags::SYMLINK_NOFOLLOW)
}

fn write_file<R: Read>(
    parent: &OwnedFd,
    name: &[u8],
    attributes: &Attributes,
    entry: &mut tar::Entry<'_, R>,
) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let capability = capability(entry);
    let mut file = File::from(rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
    let mut buffer = [0; 32 << 10];
    loop {
        match entry.read(&mut buffer)? {
            0 => break,
            count => file.write_all(&buffer[..count])?,
        }
    }
    // The owner first: changing it takes away set-user bits and capabilities.
    rustix::fs::fchown(&file, Some(attributes.uid), Some(attributes.gid))?;
    rustix::fs::fchmod(&file, attributes.mode)?;
    if let Some(value) = capability {
        rustix::fs::fsetxattr(file.as_fd(), CAPABILITY_ATTRIBUTE, &value, XattrFlags::empty())?;
    }
    let time = Timespec { tv_sec: attributes.modified, tv_nsec: 0 };
    rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })?;
    Ok(())
}

/// The one extended attribute that images carry and programs need.
fn capability<R: Read>(entry: &mut tar::Entry<'_, R>) -> Option<Vec<u8>> {
    let extensions = entry.pax_extensions().ok()??;
    let wanted = format!("SCHILY.xattr.{CAPABILITY_ATTRIBUTE}");
    let mut found =
        extensions.filter_map(Result::ok).filter(|extension| extension.key_bytes() == wanted.as_bytes());
    found.next().map(|extension| extension.value_bytes().to_vec())
}

/// Directory and name of an entry. Outer `None`: it climbs or cannot be a path;
/// inner `None`: it is the root.
#[allow(clippy::type_complexity)]
fn split(path: &[u8]) -> Option<Option<(Vec<u8>, Vec<u8>)>> {
    let parts: Vec<&[u8]> =
        path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    let is_bad = path.len() > PATH_MAX_BYTES || path.contains(&0) || parts.contains(&b"..".as_slice());
    if is_bad {
        return None;
    }
    let Some((name, parents)) = parts.split_last() else { return Some(None) };
    Some(Some((parents.join(&b'/'), name.to_vec())))
}

#[cfg(test)]
mod tests;
