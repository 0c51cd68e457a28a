//! Namespaces of nodes: making, entering, keeping and forgetting them.
//!
//! Responsible for network namespaces kept alive by bind mounts and for a node's
//! view of the file system (mounts, host name, `/sys`, `/etc` files). Not for what
//! is plugged into them. Invariant: the calling process's other threads never
//! change namespace; whoever needs to work inside one uses a dedicated thread.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_bind, mount_change,
    move_mount, open_tree, unmount,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::error::{Error, Result, file, system};

const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;
const UNMOUNTS_MAX: usize = 1_000;

/// Stops sharing the given namespaces or attributes with the parent.
fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the only flag that can invalidate memory-safe code is CLONE_FILES, because descriptors
    // would then differ between threads; no caller passes it.
    unsafe { unshare_unsafe(flags.difference(UnshareFlags::FILES)) }.map_err(io::Error::from)
}

/// Runs `work` on a thread of its own and hands back its result.
fn on_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let name = "namespace".to_owned();
        let thread = std::thread::Builder::new().name(name).spawn_scoped(scope, work);
        let thread = thread.map_err(system("starting a thread"))?;
        thread.join().unwrap_or_else(|_| {
            Err(Error::System {
                action: "working in a namespace".to_owned(),
                source: io::Error::other("the thread panicked"),
            })
        })
    })
}

/// Whether this process may make the namespaces that a node needs.
pub fn available() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("not root".to_owned());
    }
    let probe = || {
        unshare(UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC)
            .map_err(system("making namespaces"))
    };
    on_thread(probe).map_err(|e| crate::error::chain(&e))
}

/// Makes a network namespace that lives until [`forget`]; one that exists already is kept.
pub fn create(path: &Path) -> Result<()> {
    if is_namespace(path) {
        return Ok(());
    }
    fs::File::create(path).map_err(file("creating", path))?;
    on_thread(|| {
        unshare(UnshareFlags::NEWNET).map_err(system("making a network namespace"))?;
        mount_bind("/proc/thread-self/ns/net", path)
            .map_err(system(format!("keeping a network namespace at {}", path.display())))
    })
}

/// Whether a network namespace is kept at `path`.
pub fn is_namespace(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|s| s.f_type == NSFS_MAGIC)
}

/// Opens the namespace kept at `path`.
pub fn open(path: &Path) -> Result<OwnedFd> {
    fs::File::open(path).map(OwnedFd::from).map_err(file("opening network namespace", path))
}

/// Moves the calling thread into a network namespace.
pub fn enter_network(namespace: &OwnedFd) -> Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(system("entering a network namespace"))
}

/// Runs `work` on a thread inside the network namespace at `path`.
pub fn inside<T: Send>(path: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let namespace = open(path)?;
    on_thread(move || {
        enter_network(&namespace)?;
        work()
    })
}

/// Moves the calling thread into all namespaces of the process `pid`.
pub fn join(pid: u32) -> Result<()> {
    // The mount namespace can only be changed by a thread that shares its working directory with nobody.
    unshare(UnshareFlags::FS).map_err(system("leaving the shared working directory"))?;
    let kinds = [
        ("net", LinkNameSpaceType::Network),
        ("uts", LinkNameSpaceType::HostNameAndNISDomainName),
        ("ipc", LinkNameSpaceType::InterProcessCommunication),
        ("mnt", LinkNameSpaceType::Mount),
    ];
    let mut opened = Vec::new();
    for (name, kind) in kinds {
        let path = PathBuf::from(format!("/proc/{pid}/ns/{name}"));
        opened.push((open(&path)?, kind));
    }
    for (namespace, kind) in &opened {
        move_into_link_name_space(namespace.as_fd(), Some(*kind)).map_err(system("entering the node"))?;
    }
    Ok(())
}

/// Removes every mount below `directory`; true when none is left.
pub fn forget(directory: &Path) -> bool {
    for _ in 0..UNMOUNTS_MAX {
        let Some(mounted) = mounts_below(directory).pop() else { return true };
        if unmount(&mounted, UnmountFlags::DETACH).is_err() {
            return false;
        }
    }
    false
}

/// Mount points at or below `directory`, in mount order.
pub fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(point.replace("\\040", " ")))
        .filter(|point| point.starts_with(directory))
        .collect()
}

/// What a node's file system shows in place of the host's.
#[derive(Debug)]
pub struct View<'a> {
    pub host_name: &'a str,
    /// Files of this directory replace those of the same name in `/etc`.
    pub etc: &'a Path,
    /// Where namespaces of all clusters are kept; a node must not keep them alive.
    pub run_base: &'a Path,
}

/// Gives the calling thread, and whatever it starts, a node's view of the machine. The thread must
/// be in the node's network namespace already, since the new `/sys` belongs to it.
pub fn become_node(view: &View<'_>) -> Result<()> {
    unshare(UnshareFlags::NEWNS | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC)
        .map_err(system("making namespaces"))?;
    rustix::system::sethostname(view.host_name.as_bytes()).map_err(system("setting the host name"))?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(system("making mounts private"))?;
    if !forget(view.run_base) {
        tracing::warn!(directory = %view.run_base.display(), "mounts of other nodes stay visible");
    }
    let entries = fs::read_dir(view.etc).map_err(file("reading", view.etc))?;
    for entry in entries.flatten() {
        let target = Path::new("/etc").join(entry.file_name());
        if target.exists() {
            mount_bind(entry.path(), &target)
                .map_err(system(format!("showing the node's own {}", target.display())))?;
        }
    }
    if let Err(error) = renew_sys() {
        tracing::warn!(error = %crate::error::chain(&error), "/sys shows the host's network");
    }
    Ok(())
}

/// Replaces `/sys` by one of the node's own network namespace and keeps the control groups below it.
/// Both are prepared detached, so that a refusal leaves the old `/sys` in place.
fn renew_sys() -> Result<()> {
    const CGROUPS: &str = "/sys/fs/cgroup";
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let groups = open_tree(CWD, CGROUPS, flags).map_err(system("holding the control groups"))?;
    let fresh = fsopen("sysfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(system("opening sysfs"))?;
    fsconfig_set_string(fresh.as_fd(), "source", "sysfs").map_err(system("naming sysfs"))?;
    fsconfig_create(fresh.as_fd()).map_err(system("making sysfs"))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let fresh = fsmount(fresh.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(system("making sysfs mountable"))?;
    // Otherwise every control group hierarchy would be listed twice, once out of reach.
    unmount("/sys", UnmountFlags::DETACH).map_err(system("detaching the old /sys"))?;
    for (mount, target) in [(fresh, "/sys"), (groups, CGROUPS)] {
        move_mount(mount.as_fd(), "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(system(format!("mounting {target}")))?;
    }
    Ok(())
}
