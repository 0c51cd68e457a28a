//! Where a local cluster keeps its files, and how they are written.
//!
//! Responsible for paths, the lock of one cluster, and small JSON state files.
//! Not for their meaning. Two places exist: the *data* directory survives `down`
//! (plan, node data, certificates, logs); the *run* directory exists only while
//! the cluster does (namespaces, process identities, marks). Invariant: a state
//! file is replaced by rename, so a reader never sees half of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result, file};

/// How long a command waits for another one on the same cluster.
const LOCK_WAIT: Duration = Duration::from_secs(120);

/// The two directories of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    run: PathBuf,
    data: PathBuf,
}

impl Layout {
    pub fn at(run: PathBuf, data: PathBuf) -> Layout {
        Layout { run, data }
    }

    pub fn run(&self) -> &Path {
        &self.run
    }
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The plan; lives with the data.
    pub fn plan(&self) -> PathBuf {
        self.data.join("cluster.json")
    }
    pub fn url(&self) -> PathBuf {
        self.data.join("url")
    }
    pub fn ca(&self) -> PathBuf {
        self.data.join("ca")
    }
    pub fn gateway_log(&self) -> PathBuf {
        self.data.join("gateway.log")
    }
    pub fn nodes(&self) -> PathBuf {
        self.data.join("nodes")
    }
    pub fn node(&self, node: &str) -> PathBuf {
        self.nodes().join(node)
    }
    pub fn node_data(&self, node: &str) -> PathBuf {
        self.node(node).join("data")
    }
    pub fn node_pki(&self, node: &str) -> PathBuf {
        self.node(node).join("pki")
    }
    pub fn node_etc(&self, node: &str) -> PathBuf {
        self.node(node).join("etc")
    }
    pub fn node_log(&self, node: &str) -> PathBuf {
        self.node(node).join("dcosd.log")
    }

    /// Says where the data of the running cluster is.
    pub fn pointer(&self) -> PathBuf {
        self.run.join("data-dir")
    }
    pub fn namespace(&self, node: &str) -> PathBuf {
        self.run.join("netns").join(node)
    }
    /// The namespace that holds the bridges; no node can have this name.
    pub fn switch(&self) -> PathBuf {
        self.run.join("netns").join("-switch")
    }
    pub fn node_state(&self, node: &str) -> PathBuf {
        self.run.join("nodes").join(format!("{node}.json"))
    }
    pub fn killed_mark(&self, node: &str) -> PathBuf {
        self.run.join("nodes").join(format!("{node}.killed"))
    }
    pub fn gateway_state(&self) -> PathBuf {
        self.run.join("gateway.json")
    }
    pub fn partition(&self) -> PathBuf {
        self.run.join("partition.json")
    }
    fn lock_file(&self) -> PathBuf {
        self.run.with_extension("lock")
    }

    /// Creates the run directory's tree.
    pub fn create_run(&self) -> Result<()> {
        for directory in [self.run.clone(), self.run.join("netns"), self.run.join("nodes")] {
            create_private(&directory)?;
        }
        replace(&self.pointer(), self.data.display().to_string().as_bytes())
    }
}

/// The run directory of all clusters of this user.
pub fn run_base() -> Result<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    if uid == 0 {
        return Ok(PathBuf::from("/run/dcosd"));
    }
    if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
        && fs::metadata(&runtime).is_ok_and(|m| m.is_dir() && m.uid() == uid)
    {
        return Ok(runtime.join("dcosd"));
    }
    Ok(std::env::temp_dir().join(format!("dcosd-{uid}")))
}

/// Where data goes unless `--data-dir` says otherwise.
pub fn data_default(name: &str) -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/dcosd/dev").join(name));
    }
    if let Some(home) = std::env::var_os("XDG_DATA_HOME").filter(|v| !v.is_empty()) {
        return Ok(PathBuf::from(home).join("dcosd").join(name));
    }
    let home =
        home().ok_or_else(|| Error::Refused("HOME is not set: say where with --data-dir".to_owned()))?;
    Ok(home.join(".local/share/dcosd").join(name))
}

/// The file in which `dcos` finds the URL of the last started cluster.
pub fn url_pointer() -> Option<PathBuf> {
    home().map(|home| home.join(".dcos/dev-cluster"))
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// Creates a directory that only its owner can read; refuses one that belongs to another user.
pub fn create_private(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(file("creating directory", path))?;
    let owner = fs::symlink_metadata(path).map_err(file("looking at", path))?;
    if owner.uid() != rustix::process::geteuid().as_raw() || !owner.is_dir() {
        return Err(Error::Refused(format!("{} is not a directory of the current user", path.display())));
    }
    Ok(())
}

/// Creates a directory that everybody may enter: tasks may run as other users.
pub fn create_public(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(file("creating directory", path))
}

/// Replaces a file's content in one step.
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let write = || -> io::Result<()> {
        let mut out =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o644).open(&temporary)?;
        out.write_all(content)?;
        out.sync_data()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        file("writing", path)(error)
    })
}

pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|source| Error::Parse { path: path.to_path_buf(), source })?;
    replace(path, &text)
}

/// The value in a JSON file, or `None` if there is no file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file("reading", path)(error)),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|source| Error::Parse { path: path.to_path_buf(), source })
}

/// Removes a file that may be missing.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file("removing", path)(error)),
        _ => Ok(()),
    }
}

/// Holds off other commands on the same cluster until dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    pub fn take(layout: &Layout) -> Result<Lock> {
        if let Some(parent) = layout.run.parent() {
            create_private(parent)?;
        }
        let path = layout.lock_file();
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            let handle = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(&path)
                .map_err(file("opening", &path))?;
            let locked = flock(&handle, FlockOperation::NonBlockingLockExclusive).is_ok();
            // The holder may have removed the file between our open and our lock.
            let same = || {
                let named = fs::metadata(&path).ok()?;
                let held = handle.metadata().ok()?;
                Some((named.ino(), named.dev()) == (held.ino(), held.dev()))
            };
            if locked && same() == Some(true) {
                return Ok(Lock { path, _file: handle });
            }
            if Instant::now() >= deadline {
                return Err(Error::Refused(format!(
                    "another `dcosd dev` command holds {}; try again when it has ended",
                    path.display()
                )));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Removes the lock file itself: the last thing `down` does.
    pub fn remove(self) {
        let _ = fs::remove_file(&self.path);
        if let Some(parent) = self.path.parent() {
            // Only succeeds when no other cluster is left.
            let _ = fs::remove_dir(parent);
        }
    }
}
