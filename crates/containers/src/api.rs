//! What the agent says to this room and hears from it: plain data.
//!
//! Nothing here does I/O. Invariant: every container that was launched ends in
//! exactly one exit, which is told again after a restart until it is forgotten.

use std::path::PathBuf;
use std::time::Duration;

use model::ContainerId;

use crate::image::PullError;

/// Events waiting for the agent; beyond that they wait in the containers' states.
pub const EVENTS_MAX: usize = 1024;
/// Smallest memory limit, as in Mesos.
pub const MEMORY_MIN_MIB: u64 = 32;

/// How to run containers on this node.
#[derive(Debug, Clone)]
pub struct Config {
    /// Records and writable layers of containers, the keeper's socket. Its path
    /// is short (a socket lies in it) and its file system can carry an overlay.
    pub runtime_dir: PathBuf,
    /// Pulled images; shared by all runs of the node.
    pub image_store_dir: PathBuf,
    /// Below each controller's mount point; containers go to
    /// `<cgroup_root>/mesos/<id>`. `None` does without control groups.
    pub cgroup_root: Option<String>,
    /// `host` or `host:port` to speak plain HTTP with, besides loopback.
    pub insecure_registries: Vec<String>,
    /// For references without a host: a host, a URL, or `file:///dir` with one
    /// OCI layout directory per name.
    pub default_registry: String,
    /// The program that becomes the keeper with `keeper_arguments` and
    /// `--dir <runtime_dir>`.
    pub keeper_program: PathBuf,
    pub keeper_arguments: Vec<String>,
    pub pull: PullLimits,
}

/// What a pull may take.
#[derive(Debug, Clone)]
pub struct PullLimits {
    pub connect_timeout: Duration,
    /// Longest time without a byte.
    pub stall_timeout: Duration,
    /// Sum of an image's unpacked layers.
    pub unpacked_bytes_max: u64,
    /// Files, directories and links of one layer.
    pub entries_max: u64,
}

impl Default for PullLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(30),
            unpacked_bytes_max: 32 << 30,
            entries_max: 2_000_000,
        }
    }
}

impl Config {
    pub fn new(runtime_dir: PathBuf, image_store_dir: PathBuf, keeper_program: PathBuf) -> Self {
        Self {
            runtime_dir,
            image_store_dir,
            cgroup_root: None,
            insecure_registries: Vec::new(),
            default_registry: "https://registry-1.docker.io".into(),
            keeper_program,
            keeper_arguments: vec!["keeper".into()],
            pull: PullLimits::default(),
        }
    }
}

/// One container to start.
#[derive(Debug, Clone)]
pub struct LaunchSpec {
    pub id: ContainerId,
    /// An existing directory; gets `stdout` and `stderr`, is the working
    /// directory of plain commands and `/mnt/mesos/sandbox` inside images.
    pub sandbox: PathBuf,
    pub command: Command,
    /// Added to, and overriding, the image's own.
    pub env: Vec<(String, String)>,
    /// Name, uid or `uid:gid` on this node; `None` keeps the agent's user.
    pub user: Option<String>,
    pub image: Option<ImageSource>,
    pub limits: Limits,
    pub volumes: Vec<Volume>,
}

/// A directory of the node that a container sees: a link in the sandbox of a plain
/// command, mounted into an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Exists.
    pub source: PathBuf,
    /// Relative to the sandbox, or absolute in an image.
    pub container_path: String,
    /// Holds in images only: a link cannot enforce it.
    pub read_only: bool,
    /// It is given to the container's user.
    pub owned: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// For `/bin/sh -c`.
    Shell(String),
    Argv(Vec<String>),
    /// The image's entry point with these arguments, or with its own if empty.
    ImageDefault {
        args: Vec<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSource {
    /// `[host[:port]/]name[:tag|@digest]` or `oci:/absolute/layout[:tag]`.
    pub reference: String,
    /// Ask the registry even if the image is here.
    pub force_pull: bool,
}

/// What a container may use; zero means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    pub cpus_milli: u64,
    pub mem_mib: u64,
    pub pids: u64,
    /// Whether `cpus_milli` is a ceiling too, or a share only.
    pub cfs: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launched {
    /// Of the container's first process, on this node.
    pub pid: u32,
    /// Clock ticks after boot: with `pid` it names the process for ever.
    pub start_time: u64,
    /// What was left out, in words.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    Code(i32),
    Signal(i32),
    /// It ended while nobody could see it.
    Unknown,
}

impl ExitStatus {
    /// As of wait(2).
    pub fn raw(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some((code & 0xff) << 8),
            Self::Signal(signal) => Some(signal & 0x7f),
            Self::Unknown => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    pub status: ExitStatus,
    /// Whether the kernel killed a process of it for memory.
    pub oom: bool,
    /// In the words of Mesos' memory limitation, if `oom`.
    pub mem_limit_message: Option<String>,
}

/// What happens to containers by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerEvent {
    /// Told until [`crate::Runtime::forget`], also after restarts.
    Exited { id: ContainerId, status: ExitStatus, oom: bool, mem_limit_message: Option<String> },
    /// The image is being fetched; best effort, only while events flow.
    Pulling { id: ContainerId, reference: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredContainer {
    pub id: ContainerId,
    pub state: RecoveredState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoveredState {
    Running {
        pid: u32,
        start_time: u64,
    },
    /// Also told as an event.
    Exited(Exit),
    /// Begun but never started, or ended with a reboot: nothing of it runs.
    Lost,
}

/// A look at a running container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu_user_ns: u64,
    pub cpu_system_ns: u64,
    /// Memory that cannot be dropped: anonymous and the like.
    pub mem_bytes: u64,
    /// With the page cache; what the limit counts.
    pub mem_total_bytes: u64,
    pub pids: u64,
}

/// What this node can do, for a warning at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    pub root: bool,
    /// `None`: no limits are enforced.
    pub cgroup_version: Option<CgroupVersion>,
    pub controllers: Vec<String>,
    /// Whether images can run.
    pub overlay: bool,
    /// One sentence per missing ability, with what to do.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupVersion {
    V1,
    V2,
    /// Some controllers in each.
    Hybrid,
}

/// Why a container did not start. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("{0}")]
    Invalid(String),
    #[error("container {0} exists already: choose a new id for every launch")]
    Exists(ContainerId),
    #[error("no container {0} runs that another could be nested in")]
    NoParent(ContainerId),
    #[error("{count} containers run in container {parent}, at most {max} are accepted: end one first")]
    TooMany { parent: ContainerId, count: usize, max: usize },
    #[error("container {0} was destroyed before it started")]
    Cancelled(ContainerId),
    #[error(transparent)]
    Image(#[from] std::sync::Arc<PullError>),
    #[error(
        "{reference} gives no command to run: it has neither ENTRYPOINT nor CMD; give the task a command"
    )]
    NoCommand { reference: String },
    #[error("user {user:?} does not exist on this node: create it or give the task another user")]
    UnknownUser { user: String },
    #[error("{what} needs root, and this agent runs without: {advice}")]
    NeedsRoot { what: &'static str, advice: &'static str },
    #[error("cannot prepare {what} of container {id}: {source}")]
    Prepare { id: ContainerId, what: String, source: std::io::Error },
    /// In the keeper's words: step, reason, what to do.
    #[error("{0}")]
    Start(String),
    #[error("the keeper of this node's containers does not answer ({0}); it is started anew, try again")]
    Keeper(String),
}

/// Why a signal was not sent or a container not destroyed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("container {0} does not run")]
    NotRunning(ContainerId),
    #[error("{0}")]
    Refused(String),
    #[error(
        "the processes of container {id} did not end within {seconds} s of SIGKILL: one waits for a device or file system that does not answer"
    )]
    Stuck { id: ContainerId, seconds: u64 },
    #[error("cannot remove {what} of container {id}: {source}")]
    Cleanup { id: ContainerId, what: String, source: std::io::Error },
}

/// Why the runtime cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot use {path}: {source}")]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("cannot start the keeper {program}: {source}")]
    Spawn { program: PathBuf, source: std::io::Error },
    #[error("the keeper in {dir} does not answer within {seconds} s; see {log}")]
    NoAnswer { dir: PathBuf, seconds: u64, log: PathBuf },
    #[error("cannot adopt orphaned processes: {0}")]
    Subreaper(#[source] std::io::Error),
}
