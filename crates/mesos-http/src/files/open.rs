//! Opens what is inside an attached directory and nothing else.
//!
//! Two steps: the path is made canonical, as the original does, so that symlinks
//! inside the sandbox work and everything that ends outside is refused; then the
//! canonical path is opened component by component without following any
//! symlink. A task that swaps a directory for a symlink in between gains nothing.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, open, openat};
use rustix::io::Errno;

use super::attach::Resolved;

/// Deepest path opened, in components.
const DEPTH_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("no such file or directory")]
    NotFound,
    #[error("'{path}' is inaccessible")]
    Inaccessible { path: String },
    #[error("Failed to open file at '{path}': {source}")]
    Io { path: String, source: io::Error },
}

/// Something opened, and where it is below its root.
#[derive(Debug)]
pub(crate) struct Opened {
    pub fd: OwnedFd,
    pub stat: Stat,
    /// Canonical.
    pub path: PathBuf,
    /// Canonical; the directory (or file) that was attached.
    pub root: PathBuf,
}

impl Opened {
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    pub fn size(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or(0)
    }
}

pub(crate) fn open_inside(resolved: &Resolved) -> Result<Opened, OpenError> {
    // Joining nothing would add a slash, which no file bears.
    let whole = resolved.rest.as_os_str().is_empty();
    let wanted = if whole { resolved.root.clone() } else { resolved.root.join(&resolved.rest) };
    let shown = || wanted.to_string_lossy().into_owned();
    let canonical = |path: &Path| path.canonicalize().map_err(|error| classify(error, shown()));
    let root = canonical(&resolved.root)?;
    if !whole && !root.is_dir() {
        return Err(OpenError::NotFound);
    }
    let path = canonical(&wanted)?;
    let Ok(below) = path.strip_prefix(&root) else {
        return Err(OpenError::Inaccessible { path: shown() });
    };
    let fd = open_below(&root, below).map_err(|error| match error {
        // A component became a symlink after the path was made canonical.
        Errno::LOOP => OpenError::Inaccessible { path: shown() },
        other => classify(other.into(), shown()),
    })?;
    let stat = fstat(&fd).map_err(|error| classify(error.into(), shown()))?;
    Ok(Opened { fd, stat, path, root })
}

/// Opens without following a symlink anywhere below `root`.
fn open_below(root: &Path, below: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut fd = open(root, flags, Mode::empty())?;
    for (depth, component) in below.components().enumerate() {
        let Component::Normal(name) = component else { return Err(Errno::LOOP) };
        if depth == DEPTH_MAX {
            return Err(Errno::LOOP);
        }
        fd = openat(&fd, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(fd)
}

fn classify(error: io::Error, path: String) -> OpenError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => OpenError::NotFound,
        // A NUL byte, or a name that no file can have.
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => OpenError::Inaccessible { path },
        _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => OpenError::Inaccessible { path },
        _ => OpenError::Io { path, source: error },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// What a task gains by swapping a directory for a symlink at the worst moment.
    #[test]
    fn a_symlink_that_appears_later_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("sandbox");
        fs::create_dir_all(root.join("dir")).unwrap();
        fs::write(root.join("dir/passwd"), "own").unwrap();
        assert!(open_below(&root, Path::new("dir/passwd")).is_ok());
        fs::rename(root.join("dir"), root.join("moved")).unwrap();
        symlink("/etc", root.join("dir")).unwrap();
        symlink("/etc/passwd", root.join("file")).unwrap();
        for below in ["dir/passwd", "dir", "file", "../x", "/etc/passwd"] {
            assert_eq!(open_below(&root, Path::new(below)).unwrap_err(), Errno::LOOP, "{below}");
        }
    }

    proptest::proptest! {
        /// Whatever is opened is inside, and what is inside by a plain name is opened.
        #[test]
        fn no_path_leads_out(
            parts in proptest::collection::vec(
                proptest::sample::select(
                    &["a", "file", "..", ".", "", "out", "up", "self", "loop", "gone", "deep", "/", "etc"][..]
                ),
                0..8,
            ),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let root = directory.path().canonicalize().unwrap().join("sandbox");
            fs::create_dir_all(root.join("a/deep")).unwrap();
            fs::write(root.join("a/file"), "x").unwrap();
            fs::write(directory.path().join("file"), "outside").unwrap();
            for (target, name) in
                [("/etc", "out"), ("..", "up"), (".", "self"), ("loop", "loop"), ("nowhere", "gone"), ("../..", "a/up")]
            {
                symlink(target, root.join(name)).unwrap();
            }
            let rest: PathBuf = parts.join("/").trim_start_matches('/').into();
            match open_inside(&Resolved { root: root.clone(), rest: rest.clone() }) {
                Ok(opened) => {
                    proptest::prop_assert!(opened.path.starts_with(&root), "{rest:?} opened {:?}", opened.path);
                    let inside = rustix::fs::stat(&opened.path).unwrap();
                    proptest::prop_assert_eq!((inside.st_dev, inside.st_ino), (opened.stat.st_dev, opened.stat.st_ino));
                }
                Err(error) => {
                    let plain = rest.components().all(|c| matches!(c.as_os_str().to_str(), Some("a" | "file" | "deep")));
                    proptest::prop_assert!(!plain || !root.join(&rest).exists(), "{rest:?} refused: {error}");
                }
            }
        }
    }
}
