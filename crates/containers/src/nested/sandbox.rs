//! Sandboxes of nested containers: `containers/<child>` in their parent's.
//!
//! The way to them leads through directories of the task's user, who may change
//! it at any moment: it is walked from the outermost sandbox, whose place only
//! root can change, never through a link, and files are made only where nothing
//! was before.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use keeper::spec::Credentials;
use model::ContainerId;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};

use crate::table::Table;

/// As other sandboxes.
const MODE: Mode = Mode::from_raw_mode(0o750);
/// Tasks with other users pass through.
const PASSAGE_MODE: Mode = Mode::from_raw_mode(0o755);
const DIRECTORY: &str = "containers";

/// Where one container's sandbox is, or will be.
pub struct Place {
    outermost: PathBuf,
    /// Own names of the containers on the way, this one the last.
    names: Vec<String>,
}

impl Place {
    /// `None` for a container that is not nested, or whose parents have none.
    pub fn of(table: &Table, id: &ContainerId) -> Option<Self> {
        let mut names = vec![id.leaf().to_owned()];
        let mut at = id.parent()?;
        // The agent's own containers have their sandboxes where it says.
        while table.origin(&at).is_some()
            && let Some(parent) = at.parent()
        {
            names.push(at.leaf().to_owned());
            at = parent;
        }
        let (outermost, _) = table.record(&at).home()?;
        names.reverse();
        Some(Self { outermost, names })
    }

    pub fn on_node(&self) -> PathBuf {
        self.names.iter().fold(self.outermost.clone(), |path, name| path.join(DIRECTORY).join(name))
    }

    /// Makes it with its `stdout` and `stderr`, all for this user.
    pub fn make(&self, owner: Option<&Credentials>) -> io::Result<[OwnedFd; 2]> {
        let (parent, name) = self.parent()?;
        make_directory(&parent, Path::new(DIRECTORY), PASSAGE_MODE)?;
        let passage = enter(&parent, Path::new(DIRECTORY))?;
        rustix::fs::mkdirat(&passage, name, MODE)?;
        let made = fill(&passage, name, owner);
        if made.is_err() {
            let _ = self.remove();
        }
        made
    }

    /// `stdout` or `stderr`, to read.
    pub fn open(&self, name: &str) -> io::Result<OwnedFd> {
        let (parent, own) = self.parent()?;
        file(&enter(&parent, &Path::new(DIRECTORY).join(own))?, name, false)
    }

    pub fn remove(&self) -> io::Result<()> {
        let (parent, name) = match self.parent() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let passage = match enter(&parent, Path::new(DIRECTORY)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        // It follows no link below what is open.
        match std::fs::remove_dir_all(format!("/proc/self/fd/{}/{name}", passage.as_raw_fd())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The parent's sandbox, and the own name in it.
    fn parent(&self) -> io::Result<(OwnedFd, &str)> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let outermost = rustix::fs::open(&self.outermost, flags, Mode::empty())?;
        let Some((own, way)) = self.names.split_last() else { return Err(io::ErrorKind::NotFound.into()) };
        let way: PathBuf = way.iter().flat_map(|name| [DIRECTORY, name]).collect();
        if way.as_os_str().is_empty() {
            return Ok((outermost, own));
        }
        Ok((enter(&outermost, &way)?, own))
    }
}

/// The files of a new sandbox, all for this user.
fn fill(passage: &OwnedFd, name: &str, owner: Option<&Credentials>) -> io::Result<[OwnedFd; 2]> {
    let own = enter(passage, Path::new(name))?;
    let made = [file(&own, "stdout", true)?, file(&own, "stderr", true)?];
    if let Some(Credentials { uid, gid, .. }) = owner {
        let (uid, gid) = (rustix::fs::Uid::from_raw(*uid), rustix::fs::Gid::from_raw(*gid));
        for opened in made.iter().chain([&own]) {
            rustix::fs::fchown(opened, Some(uid), Some(gid))?;
        }
    }
    Ok(made)
}

fn enter(from: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(rustix::fs::openat2(from, path, flags, Mode::empty(), inside)?)
}

fn make_directory(from: &OwnedFd, path: &Path, mode: Mode) -> io::Result<()> {
    match rustix::fs::mkdirat(from, path, mode) {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        other => Ok(other?),
    }
}

fn file(directory: &OwnedFd, name: &str, new: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = match new {
        true => flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL,
        false => flags | OFlags::RDONLY,
    };
    let opened = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o644))?;
    regular(&opened)?;
    Ok(opened)
}

pub fn regular(opened: &OwnedFd) -> io::Result<()> {
    let stat = rustix::fs::statat(opened, "", AtFlags::EMPTY_PATH)?;
    match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::RegularFile => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")),
    }
}
