//! The steps between `clone` and `execve`, as a list the child walks through.
//!
//! The keeper turns a [`Spec`] into this list with every string and descriptor
//! ready; the child only interprets it ([`crate::child`]) and reports the index
//! of the step that failed, which [`Op::describe`] turns into words here.
//! Inside an image every path is used after `pivot_root`, so that no link in
//! the image leads to the node's files.

use std::ffi::{CStr, CString, NulError};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::spec::{Bind, Credentials, Isolation, Rlimit, Root, Spec};

/// First descriptor number for files the child opens itself; what the keeper
/// has open stays far below.
pub const SLOT_FIRST: RawFd = 900;
/// Holds the node's root directory until it is detached.
const OLD_ROOT_SLOT: RawFd = SLOT_FIRST;
const BIND_SLOT_FIRST: RawFd = SLOT_FIRST + 1;

const MASKED_FILES: [&CStr; 5] =
    [c"/proc/kcore", c"/proc/keys", c"/proc/latency_stats", c"/proc/timer_list", c"/proc/sched_debug"];
const MASKED_DIRECTORIES: [&CStr; 3] = [c"/proc/acpi", c"/proc/scsi", c"/sys/firmware"];
const READ_ONLY: [&CStr; 5] = [c"/proc/bus", c"/proc/fs", c"/proc/irq", c"/proc/sys", c"/proc/sysrq-trigger"];
/// Name, major, minor.
const DEVICES: [(&CStr, u32, u32); 6] = [
    (c"/dev/null", 1, 3),
    (c"/dev/zero", 1, 5),
    (c"/dev/full", 1, 7),
    (c"/dev/random", 1, 8),
    (c"/dev/urandom", 1, 9),
    (c"/dev/tty", 5, 0),
];
const DEVICE_LINKS: [(&CStr, &CStr); 5] = [
    (c"/proc/self/fd", c"/dev/fd"),
    (c"/proc/self/fd/0", c"/dev/stdin"),
    (c"/proc/self/fd/1", c"/dev/stdout"),
    (c"/proc/self/fd/2", c"/dev/stderr"),
    (c"pts/ptmx", c"/dev/ptmx"),
];

/// What the child does next.
#[derive(Debug)]
pub enum Action {
    JoinCgroup {
        descriptor: RawFd,
    },
    /// Enters the namespace a descriptor stands for.
    EnterNamespace {
        descriptor: RawFd,
        name: &'static str,
    },
    /// Goes on in a new child of the keeper with memory of its own.
    Fork,
    /// Nobody may trace this process or read its memory.
    Protect,
    ResetSignals,
    NewSession,
    Umask(u32),
    Mount {
        source: CString,
        target: CString,
        kind: Option<CString>,
        flags: u64,
        data: Option<CString>,
    },
    /// Like `Mount`, with other data if the kernel does not know the first.
    MountEither {
        source: CString,
        target: CString,
        kind: CString,
        flags: u64,
        data: CString,
        fallback: CString,
    },
    OpenPath {
        path: CString,
        slot: RawFd,
    },
    Chdir(CString),
    PivotRoot,
    DetachOldRoot,
    Mkdir {
        path: CString,
        mode: u32,
    },
    /// A file to mount on: created when missing, in place of a dangling link too.
    Touch(CString),
    Device {
        path: CString,
        major: u32,
        minor: u32,
    },
    Symlink {
        to: CString,
        path: CString,
    },
    SetRlimit(Rlimit),
    LimitCapabilities {
        keep: u64,
    },
    SetGroups(Vec<u32>),
    SetGid(u32),
    SetUid(u32),
    SetCapabilities {
        mask: u64,
    },
    NoNewPrivileges,
    Dup {
        from: RawFd,
        to: RawFd,
    },
    ExecInit {
        descriptor: RawFd,
    },
}

/// What a failing step means for the launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    Fail,
    /// The container starts all the same; the client is told.
    Warn,
    Ignore,
}

#[derive(Debug)]
pub struct Op {
    pub action: Action,
    pub on_error: OnError,
}

/// Descriptors the keeper opened for the child.
#[derive(Debug)]
pub struct Descriptors {
    pub stdin: RawFd,
    pub stdout: RawFd,
    pub stderr: RawFd,
    pub sync: RawFd,
    pub status: RawFd,
    pub init: RawFd,
    pub cgroup_procs: Vec<RawFd>,
    /// Namespaces to enter, in this order.
    pub namespaces: Vec<(&'static str, RawFd)>,
}

/// The steps for one container.
pub fn plan(spec: &Spec, descriptors: &Descriptors, available: u64) -> Result<Vec<Op>, NulError> {
    let mut ops = Vec::with_capacity(96);
    push(&mut ops, Action::ResetSignals);
    if let Isolation::Nested(_) = spec.isolation {
        enter(&mut ops, &descriptors.namespaces);
    }
    push(&mut ops, Action::NewSession);
    push(&mut ops, Action::Umask(0));
    match &spec.isolation {
        Isolation::Session | Isolation::Nested(_) => {}
        Isolation::Host => host(&mut ops),
        Isolation::Image(root) => image(&mut ops, root, &spec.cwd)?,
    }
    for &rlimit in &spec.rlimits {
        ops.push(Op { action: Action::SetRlimit(rlimit), on_error: OnError::Warn });
    }
    // Late: a group with a small quota would stop the child in the middle of its
    // mounts, and with it the keeper, which waits for the exec. Still before the
    // privileges go that joining needs.
    for &descriptor in &descriptors.cgroup_procs {
        push(&mut ops, Action::JoinCgroup { descriptor });
    }
    let capabilities = match &spec.isolation {
        Isolation::Image(root) => Some(root.capabilities & available),
        Isolation::Nested(join) => join.capabilities.map(|capabilities| capabilities & available),
        Isolation::Session | Isolation::Host => None,
    };
    privileges(&mut ops, spec.credentials.as_ref(), capabilities);
    push(&mut ops, Action::Umask(0o022));
    push(&mut ops, Action::Chdir(CString::new(spec.cwd.as_str())?));
    let moves = [
        (descriptors.stdin, 0),
        (descriptors.stdout, 1),
        (descriptors.stderr, 2),
        (descriptors.sync, 3),
        (descriptors.status, 4),
    ];
    for (from, to) in moves {
        push(&mut ops, Action::Dup { from, to });
    }
    push(&mut ops, Action::ExecInit { descriptor: descriptors.init });
    Ok(ops)
}

fn push(ops: &mut Vec<Op>, action: Action) {
    ops.push(Op { action, on_error: OnError::Fail });
}

/// The other container's processes see this one from here on. A fork with
/// memory of its own keeps the keeper out of their reach: they may stop the new
/// process, and their control groups may make it wait.
fn enter(ops: &mut Vec<Op>, namespaces: &[(&'static str, RawFd)]) {
    push(ops, Action::Protect);
    for &(name, descriptor) in namespaces {
        push(ops, Action::EnterNamespace { descriptor, name });
    }
    push(ops, Action::Fork);
}

fn host(ops: &mut Vec<Op>) {
    // Slave: later mounts of the node are seen, ours stay here.
    mount(ops, c"none", c"/", None, libc::MS_REC | libc::MS_SLAVE, None);
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount(ops, c"proc", c"/proc", Some(c"proc"), flags, None);
}

fn image(ops: &mut Vec<Op>, root: &Root, cwd: &str) -> Result<(), NulError> {
    mount(ops, c"none", c"/", None, libc::MS_REC | libc::MS_PRIVATE, None);
    push(ops, Action::Chdir(path(&root.layers_dir)?));
    let mut data = b"lowerdir=".to_vec();
    data.extend_from_slice(root.layers.join(":").as_bytes());
    for (name, directory) in [(",upperdir=", &root.upper), (",workdir=", &root.work)] {
        data.extend_from_slice(name.as_bytes());
        escape_into(&mut data, directory);
    }
    let fallback = CString::new(data.clone())?;
    // The layer of a container is thrown away: no need to flush it at the end.
    data.extend_from_slice(b",volatile");
    push(
        ops,
        Action::MountEither {
            source: c"overlay".to_owned(),
            target: path(&root.mountpoint)?,
            kind: c"overlay".to_owned(),
            flags: libc::MS_NODEV,
            data: CString::new(data)?,
            fallback,
        },
    );
    push(ops, Action::OpenPath { path: c"/".to_owned(), slot: OLD_ROOT_SLOT });
    for (slot, bind) in (BIND_SLOT_FIRST..).zip(&root.binds) {
        ops.push(Op {
            action: Action::OpenPath { path: path(&bind.source)?, slot },
            on_error: on_error(bind),
        });
    }
    push(ops, Action::Chdir(path(&root.mountpoint)?));
    push(ops, Action::PivotRoot);
    push(ops, Action::Chdir(c"/".to_owned()));
    system_mounts(ops);
    for (slot, bind) in (BIND_SLOT_FIRST..).zip(&root.binds) {
        show(ops, slot, bind)?;
    }
    hide(ops);
    push(ops, Action::DetachOldRoot);
    make_directories(ops, cwd, OnError::Fail)
}

fn on_error(bind: &Bind) -> OnError {
    if bind.optional { OnError::Ignore } else { OnError::Fail }
}

fn system_mounts(ops: &mut Vec<Op>) {
    let strict = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    for target in [c"/proc", c"/sys", c"/dev"] {
        push(ops, Action::Mkdir { path: target.to_owned(), mode: 0o755 });
    }
    mount(ops, c"proc", c"/proc", Some(c"proc"), strict, None);
    mount(ops, c"sysfs", c"/sys", Some(c"sysfs"), strict | libc::MS_RDONLY, None);
    let flags = libc::MS_NOSUID | libc::MS_STRICTATIME;
    mount(ops, c"tmpfs", c"/dev", Some(c"tmpfs"), flags, Some(c"mode=755,size=65536k"));
    for (name, major, minor) in DEVICES {
        push(ops, Action::Device { path: name.to_owned(), major, minor });
    }
    for (to, name) in DEVICE_LINKS {
        push(ops, Action::Symlink { to: to.to_owned(), path: name.to_owned() });
    }
    for target in [c"/dev/pts", c"/dev/shm", c"/dev/mqueue"] {
        push(ops, Action::Mkdir { path: target.to_owned(), mode: 0o755 });
    }
    let quiet = libc::MS_NOSUID | libc::MS_NOEXEC;
    let options = c"newinstance,ptmxmode=0666,mode=0620,gid=5";
    mount(ops, c"devpts", c"/dev/pts", Some(c"devpts"), quiet, Some(options));
    mount(ops, c"shm", c"/dev/shm", Some(c"tmpfs"), strict, Some(c"mode=1777,size=65536k"));
    mount(ops, c"mqueue", c"/dev/mqueue", Some(c"mqueue"), strict, None);
    for op in ops.iter_mut().rev().take(1) {
        // A kernel may be built without message queues.
        op.on_error = OnError::Ignore;
    }
}

/// Makes the target and mounts what the slot holds on it.
fn show(ops: &mut Vec<Op>, slot: RawFd, bind: &Bind) -> Result<(), NulError> {
    let on_error = on_error(bind);
    let target = CString::new(bind.target.as_str())?;
    let parent = bind.target.rsplit_once('/').map_or("/", |(parent, _)| parent);
    make_directories(ops, parent, on_error)?;
    let action = if bind.is_directory {
        Action::Mkdir { path: target.clone(), mode: 0o755 }
    } else {
        Action::Touch(target.clone())
    };
    ops.push(Op { action, on_error });
    let source = CString::new(format!("/proc/self/fd/{slot}"))?;
    let first = ops.len();
    mount(ops, &source, &target, None, libc::MS_BIND | libc::MS_REC, None);
    if bind.read_only {
        let flags = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV;
        mount(ops, c"none", &target, None, flags, None);
    }
    for op in &mut ops[first..] {
        op.on_error = on_error;
    }
    Ok(())
}

/// Hides what would tell about, or reach, the node's kernel.
fn hide(ops: &mut Vec<Op>) {
    let first = ops.len();
    for target in MASKED_FILES {
        mount(ops, c"/dev/null", target, None, libc::MS_BIND, None);
    }
    for target in MASKED_DIRECTORIES {
        mount(ops, c"tmpfs", target, Some(c"tmpfs"), libc::MS_RDONLY, Some(c"size=0k"));
    }
    for target in READ_ONLY {
        mount(ops, target, target, None, libc::MS_BIND | libc::MS_REC, None);
        let flags = libc::MS_BIND
            | libc::MS_REMOUNT
            | libc::MS_RDONLY
            | libc::MS_NOSUID
            | libc::MS_NODEV
            | libc::MS_NOEXEC;
        mount(ops, c"none", target, None, flags, None);
    }
    for op in &mut ops[first..] {
        // Which of them exist depends on the kernel.
        op.on_error = OnError::Ignore;
    }
}

fn privileges(ops: &mut Vec<Op>, credentials: Option<&Credentials>, capabilities: Option<u64>) {
    if let Some(keep) = capabilities {
        push(ops, Action::LimitCapabilities { keep });
    }
    if let Some(credentials) = credentials {
        push(ops, Action::SetGroups(credentials.groups.clone()));
        push(ops, Action::SetGid(credentials.gid));
        push(ops, Action::SetUid(credentials.uid));
    }
    if let Some(mask) = capabilities {
        if credentials.is_none_or(|credentials| credentials.uid == 0) {
            push(ops, Action::SetCapabilities { mask });
        }
        push(ops, Action::NoNewPrivileges);
    }
}

fn make_directories(ops: &mut Vec<Op>, directory: &str, on_error: OnError) -> Result<(), NulError> {
    let mut prefix = String::new();
    for part in directory.split('/').filter(|part| !part.is_empty()) {
        prefix.push('/');
        prefix.push_str(part);
        ops.push(Op {
            action: Action::Mkdir { path: CString::new(prefix.as_str())?, mode: 0o755 },
            on_error,
        });
    }
    Ok(())
}

fn mount(
    ops: &mut Vec<Op>,
    source: &CStr,
    target: &CStr,
    kind: Option<&CStr>,
    flags: u64,
    data: Option<&CStr>,
) {
    push(
        ops,
        Action::Mount {
            source: source.to_owned(),
            target: target.to_owned(),
            kind: kind.map(CStr::to_owned),
            flags,
            data: data.map(CStr::to_owned),
        },
    );
}

fn path(path: &Path) -> Result<CString, NulError> {
    CString::new(path.as_os_str().as_bytes())
}

/// Overlay options separate with ',' and ':'.
fn escape_into(data: &mut Vec<u8>, path: &Path) {
    for &byte in path.as_os_str().as_bytes() {
        if matches!(byte, b',' | b':' | b'\\') {
            data.push(b'\\');
        }
        data.push(byte);
    }
}

impl Op {
    /// The step in words, for `... failed: <reason>`.
    pub fn describe(&self, container: &str) -> String {
        let text = |value: &CString| value.to_string_lossy().into_owned();
        match &self.action {
            Action::JoinCgroup { .. } => "joining the container's control groups".into(),
            Action::EnterNamespace { name, .. } => format!("entering the other container's {name} namespace"),
            Action::Fork => "starting a process in the other container".into(),
            Action::Protect => "protecting the process from others".into(),
            Action::ResetSignals => "resetting signals".into(),
            Action::NewSession => "starting a session".into(),
            Action::Umask(_) => "setting the file mode mask".into(),
            Action::Mount { source, target, kind, .. } => match kind {
                Some(kind) => format!("mounting {} on {}", text(kind), text(target)),
                None if source.as_bytes() == b"none" => format!("changing the mount on {}", text(target)),
                None => format!("mounting on {} inside the container", text(target)),
            },
            Action::MountEither { target, .. } => {
                format!("mounting the image's layers as the container's root on {}", text(target))
            }
            Action::OpenPath { path, .. } => format!("opening {}", text(path)),
            Action::Chdir(path) => format!("entering the directory {}", text(path)),
            Action::PivotRoot => "changing to the container's root".into(),
            Action::DetachOldRoot => "detaching the node's root".into(),
            Action::Mkdir { path, .. } => format!("making the directory {} inside the container", text(path)),
            Action::Touch(path) => format!("making the file {} inside the container", text(path)),
            Action::Device { path, .. } => format!("making the device {}", text(path)),
            Action::Symlink { path, .. } => format!("making the link {}", text(path)),
            Action::SetRlimit(limit) => {
                format!("setting resource limit {} to {}/{}", limit.resource, limit.soft, limit.hard)
            }
            Action::LimitCapabilities { .. } | Action::SetCapabilities { .. } => {
                "dropping capabilities".into()
            }
            Action::SetGroups(groups) => format!("setting the groups {groups:?}"),
            Action::SetGid(gid) => format!("changing to group {gid}"),
            Action::SetUid(uid) => format!("changing to user {uid}"),
            Action::NoNewPrivileges => "giving up new privileges".into(),
            Action::Dup { .. } => "arranging the standard streams".into(),
            Action::ExecInit { .. } => format!("starting the first process of container {container}"),
        }
    }

    /// What to do about it.
    pub fn advice(&self, errno: i32) -> &'static str {
        match (&self.action, errno) {
            (Action::MountEither { .. }, libc::ENODEV) => {
                "; the kernel has no overlayfs: load the module 'overlay'"
            }
            (Action::MountEither { .. }, libc::EINVAL) => {
                "; the runtime directory must be on a file system that can carry an overlay (ext4, xfs), not on an overlay"
            }
            (Action::Chdir(_), libc::ENOENT) => "; check the working directory",
            (_, libc::ENOSPC) => "; free space on the runtime directory's file system",
            (Action::SetUid(_) | Action::SetGid(_) | Action::SetGroups(_), libc::EPERM) => {
                "; only root can start tasks as another user"
            }
            (Action::Fork, libc::ENOMEM) => "; the other container has ended",
            (Action::Fork, libc::EAGAIN) => "; a limit of processes is reached",
            (Action::JoinCgroup { .. }, _) => "; check that the control groups were not removed",
            _ => "",
        }
    }
}
