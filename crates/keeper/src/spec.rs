//! What a client prepares for one container.
//!
//! Plain data without policy: every path, number and name in it is used as it
//! stands. Strings must not hold a NUL byte; [`Spec::check`] says so before
//! anything is started.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Longest container id, in bytes.
pub const ID_LENGTH_MAX: usize = 200;
/// Most layers of an image: what fits into one page of mount options.
pub const LAYERS_MAX: usize = 128;
/// Most bind mounts of a container.
pub const BINDS_MAX: usize = 64;
/// Most arguments and environment entries together.
pub const STRINGS_MAX: usize = 16_384;

/// One container, ready to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Also the name of its directory.
    pub container: String,
    /// Names the contents of this spec: the same id with the same digest is the same launch.
    pub digest: [u8; 32],
    pub argv: Vec<String>,
    /// `NAME=value` entries.
    pub env: Vec<String>,
    /// As the command sees it.
    pub cwd: String,
    /// `None` keeps the keeper's own.
    pub credentials: Option<Credentials>,
    pub stdio: Stdio,
    /// `cgroup.procs` files to join.
    pub cgroup_procs: Vec<PathBuf>,
    pub isolation: Isolation,
    pub rlimits: Vec<Rlimit>,
}

/// Where the command's three streams lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    /// Nothing to read; files that are made if missing and appended to.
    Files { stdout: PathBuf, stderr: PathBuf },
    /// What the client has open, as paths in its `/proc/<pid>/fd`: files, or pipes
    /// and terminals that end with it because it has their other sides.
    Opened { stdin: PathBuf, stdout: PathBuf, stderr: PathBuf, terminal: bool },
    /// A terminal whose near side the keeper holds, so that it outlives the
    /// client; what is written to it is appended to a file, which a nested
    /// container's client has open itself, as above.
    Terminal { output: PathBuf, size: WindowSize },
}

/// Of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    pub rows: u16,
    pub columns: u16,
}

impl Stdio {
    pub fn has_terminal(&self) -> bool {
        match self {
            Self::Files { .. } => false,
            Self::Opened { terminal, .. } => *terminal,
            Self::Terminal { .. } => true,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// A resource limit; one that may not be raised here is a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_*` number.
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

/// How far a container is set apart from its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    /// A process in its own session: all that is possible without root.
    Session,
    /// Own pid, mount, uts and ipc namespaces on the node's file system.
    Host,
    /// The same on an image's file system, with fewer capabilities.
    Image(Root),
    /// Inside another container, in all of its namespaces.
    Nested(Join),
}

/// The container to enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// Its first process.
    pub pid: u32,
    pub start_time: u64,
    /// If it may not gain privileges: what it may have at most, as a bit mask.
    pub capabilities: Option<u64>,
}

/// An image's file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Where `layers` are found.
    pub layers_dir: PathBuf,
    /// Directory names, topmost layer first.
    pub layers: Vec<String>,
    /// Empty directories of this container on one file system.
    pub upper: PathBuf,
    pub work: PathBuf,
    pub mountpoint: PathBuf,
    pub binds: Vec<Bind>,
    /// Capabilities to leave, as a bit mask.
    pub capabilities: u64,
}

/// A file or directory of the node, shown inside the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    pub source: PathBuf,
    /// Absolute, inside the image.
    pub target: String,
    pub read_only: bool,
    pub is_directory: bool,
    /// Whether the container starts without it when it cannot be mounted.
    pub optional: bool,
}

/// Why a spec cannot be started as it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error(
        "container id {0:?} is not usable as a directory name: give 1 to {ID_LENGTH_MAX} letters, digits, '-', '_' or '.', not starting with '.'"
    )]
    Id(String),
    #[error("{what} holds a NUL byte, which no program argument, variable or path can carry: remove it")]
    Nul { what: &'static str },
    #[error("the command is empty: give at least the program to run")]
    NoCommand,
    #[error("{what}: {count} given, at most {max} are accepted")]
    TooMany { what: &'static str, count: usize, max: usize },
    #[error("path {0:?} must be absolute and without '..'")]
    Path(PathBuf),
}

/// Whether `id` can name a directory of its own.
pub fn is_container_id(id: &str) -> bool {
    (1..=ID_LENGTH_MAX).contains(&id.len())
        && !id.starts_with('.')
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

impl Spec {
    pub fn check(&self) -> Result<(), Invalid> {
        if !is_container_id(&self.container) {
            return Err(Invalid::Id(self.container.chars().take(ID_LENGTH_MAX).collect()));
        }
        if self.argv.first().is_none_or(String::is_empty) {
            return Err(Invalid::NoCommand);
        }
        limit("arguments and environment entries", self.argv.len() + self.env.len(), STRINGS_MAX)?;
        without_nul("an argument", &self.argv)?;
        without_nul("an environment entry", &self.env)?;
        without_nul("the working directory", std::slice::from_ref(&self.cwd))?;
        match &self.stdio {
            Stdio::Files { stdout, stderr } => {
                [stdout, stderr].into_iter().try_for_each(|path| absolute(path))
            }
            Stdio::Opened { stdin, stdout, stderr, .. } => {
                [stdin, stdout, stderr].into_iter().try_for_each(|path| absolute(path))
            }
            Stdio::Terminal { output, .. } => absolute(output),
        }?;
        for path in &self.cgroup_procs {
            absolute(path)?;
        }
        match &self.isolation {
            Isolation::Image(root) => root.check(),
            Isolation::Session | Isolation::Host | Isolation::Nested(_) => Ok(()),
        }
    }
}

impl Root {
    fn check(&self) -> Result<(), Invalid> {
        limit("image layers", self.layers.len(), LAYERS_MAX)?;
        limit("bind mounts", self.binds.len(), BINDS_MAX)?;
        for path in [&self.layers_dir, &self.upper, &self.work, &self.mountpoint] {
            absolute(path)?;
        }
        for layer in &self.layers {
            if !is_container_id(layer) {
                return Err(Invalid::Path(PathBuf::from(layer)));
            }
        }
        for bind in &self.binds {
            absolute(&bind.source)?;
            absolute(std::path::Path::new(&bind.target))?;
        }
        Ok(())
    }
}

fn limit(what: &'static str, count: usize, max: usize) -> Result<(), Invalid> {
    if count > max { Err(Invalid::TooMany { what, count, max }) } else { Ok(()) }
}

fn without_nul(what: &'static str, texts: &[String]) -> Result<(), Invalid> {
    if texts.iter().any(|text| text.as_bytes().contains(&0)) { Err(Invalid::Nul { what }) } else { Ok(()) }
}

fn absolute(path: &std::path::Path) -> Result<(), Invalid> {
    use std::os::unix::ffi::OsStrExt;
    let climbs = path.components().any(|part| part == std::path::Component::ParentDir);
    if path.as_os_str().as_bytes().contains(&0) {
        Err(Invalid::Nul { what: "a path" })
    } else if !path.is_absolute() || climbs {
        Err(Invalid::Path(path.to_path_buf()))
    } else {
        Ok(())
    }
}
