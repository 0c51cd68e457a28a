//! The control groups of a cluster and of its nodes.
//!
//! Responsible for one subtree `/dcosd-<cluster>/<node>` in every mounted
//! hierarchy (v1, named v1 and v2), for who is in it, and for killing and removing
//! it. Not for limits of containers: the agent makes its own groups below.
//! Processes of the node itself live in the leaf `system`, because v2 allows
//! processes only in leaves. Invariant: nothing outside `/dcosd-<cluster>` is
//! written to, except v2's list of delegated controllers above it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::error::{Error, Result, file};
use crate::process::{Identity, lineage, wait_until};

/// The leaf for supervisor, daemon and shells.
const LEAF: &str = "system";
/// Directory levels that are looked at below a node.
const DEPTH_MAX: usize = 32;
const V2_CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"];

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    mount: PathBuf,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    V1 { cpuset: bool, freezer: bool },
    V2,
}

/// The hierarchies of this machine.
pub fn hierarchies() -> Vec<Hierarchy> {
    parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let ([_, _, _, root, mount, ..], [kind, _, options, ..]) = (left.as_slice(), right.as_slice()) else {
            continue;
        };
        let has = |name: &str| options.split(',').any(|o| o == name);
        let kind = match *kind {
            "cgroup" => Kind::V1 { cpuset: has("cpuset"), freezer: has("freezer") },
            "cgroup2" => Kind::V2,
            _ => continue,
        };
        // The same hierarchy may be mounted at several places; one is enough.
        let identity = if kind == Kind::V2 { "cgroup2" } else { options };
        if *root == "/" && seen.insert(identity.to_owned()) {
            found.push(Hierarchy { mount: PathBuf::from(mount.replace("\\040", " ")), kind });
        }
    }
    found
}

/// A subtree with the same name in every hierarchy.
#[derive(Clone, Debug)]
pub struct Group {
    path: PathBuf,
    hierarchies: Vec<Hierarchy>,
}

impl Group {
    /// The whole cluster's group.
    pub fn cluster(name: &str) -> Group {
        Group { path: PathBuf::from(format!("dcosd-{name}")), hierarchies: hierarchies() }
    }

    /// The group of a node, or of the gateway.
    pub fn member(&self, name: &str) -> Group {
        Group { path: self.path.join(name), hierarchies: self.hierarchies.clone() }
    }

    fn directories(&self) -> impl Iterator<Item = (&Hierarchy, PathBuf)> {
        self.hierarchies.iter().map(|h| (h, h.mount.join(&self.path)))
    }

    /// Creates the group and its leaf everywhere; an error only if no hierarchy allows it.
    pub fn create(&self) -> Result<()> {
        let mut first_error = None;
        let mut created = 0;
        for hierarchy in &self.hierarchies {
            match hierarchy.create(&self.path.join(LEAF)) {
                Ok(()) => created += 1,
                Err(error) => {
                    tracing::warn!(hierarchy = %hierarchy.mount.display(), %error, "no group in this hierarchy");
                    first_error.get_or_insert((hierarchy.mount.join(&self.path), error));
                }
            }
        }
        match first_error {
            Some((path, error)) if created == 0 => Err(file("creating control group", &path)(error)),
            _ => Ok(()),
        }
    }

    /// The files into which a process writes `0` to join the leaf.
    pub fn entrances(&self) -> Result<Vec<fs::File>> {
        let mut files = Vec::new();
        for (_, directory) in self.directories() {
            let path = directory.join(LEAF).join("cgroup.procs");
            match fs::OpenOptions::new().write(true).open(&path) {
                Ok(entrance) => files.push(entrance),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(file("opening", &path)(error)),
            }
        }
        Ok(files)
    }

    /// Moves this process into the leaf.
    pub fn enter(&self) -> Result<()> {
        use std::io::Write;
        for mut entrance in self.entrances()? {
            entrance.write_all(b"0").map_err(|source| Error::System {
                action: format!("entering control group {}", self.path.display()),
                source,
            })?;
        }
        Ok(())
    }

    /// Every process of the subtree.
    pub fn processes(&self) -> BTreeSet<u32> {
        let mut pids = BTreeSet::new();
        for (_, directory) in self.directories() {
            walk(&directory, 0, &mut |group| {
                let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
                pids.extend(text.lines().filter_map(|l| l.parse::<u32>().ok()).filter(|pid| *pid != 0));
            });
        }
        pids
    }

    /// Sends a signal to every process of the subtree, except this command's own line.
    pub fn signal(&self, signal: Signal) {
        let spared = lineage();
        for pid in self.processes() {
            if !spared.contains(&pid)
                && let Some(identity) = Identity::of(pid)
            {
                identity.signal(signal);
            }
        }
    }

    /// Ends every process of the subtree at once, and whatever they start meanwhile. Frozen first, so
    /// that nobody sees its neighbour die; false when processes are left at the deadline.
    pub fn kill(&self, deadline: Instant) -> bool {
        let spared = lineage();
        let survivors = || self.processes().difference(&spared).filter_map(|p| Identity::of(*p)).count();
        if survivors() == 0 {
            return true;
        }
        self.freeze(true);
        let killed = wait_until(deadline, || {
            self.signal(Signal::KILL);
            self.freeze(false);
            survivors() == 0
        });
        self.freeze(false);
        killed
    }

    fn freeze(&self, freeze: bool) {
        if freeze && self.processes().contains(&std::process::id()) {
            return;
        }
        for (hierarchy, directory) in self.directories() {
            match hierarchy.kind {
                // v2 kills a whole subtree by itself, frozen or not.
                Kind::V2 if freeze => {
                    let _ = fs::write(directory.join("cgroup.kill"), "1");
                }
                Kind::V1 { freezer: true, .. } if freeze => {
                    let state = directory.join("freezer.state");
                    let _ = fs::write(&state, "FROZEN");
                    let reached = || fs::read_to_string(&state).is_ok_and(|s| s.trim() == "FROZEN");
                    wait_until(Instant::now() + Duration::from_millis(200), reached);
                }
                // A container's own freezer would hold its processes back from dying.
                Kind::V1 { freezer: true, .. } => walk(&directory, 0, &mut |group| {
                    let _ = fs::write(group.join("freezer.state"), "THAWED");
                }),
                _ => {}
            }
        }
    }

    /// Removes the subtree everywhere; false when something is left at the deadline.
    pub fn remove(&self, deadline: Instant) -> bool {
        wait_until(deadline, || {
            for (_, directory) in self.directories() {
                let mut groups = Vec::new();
                walk(&directory, 0, &mut |group| groups.push(group.to_path_buf()));
                for group in groups.iter().rev() {
                    let _ = fs::remove_dir(group);
                }
            }
            self.left().is_empty()
        })
    }

    /// The directories that exist.
    pub fn left(&self) -> Vec<PathBuf> {
        self.directories().map(|(_, d)| d).filter(|d| d.exists()).collect()
    }
}

impl Hierarchy {
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    fn create(&self, path: &Path) -> io::Result<()> {
        let mut directory = self.mount.clone();
        for part in path.components() {
            if self.kind == Kind::V2 {
                delegate(&directory);
            }
            let parent = directory.clone();
            directory.push(part);
            match fs::create_dir(&directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            if self.is_cpuset() {
                inherit_cpuset(&parent, &directory)?;
            }
        }
        Ok(())
    }

    fn is_cpuset(&self) -> bool {
        matches!(self.kind, Kind::V1 { cpuset: true, .. })
    }
}

/// Lets the children of a v2 group use its controllers, where the kernel allows it.
fn delegate(directory: &Path) {
    let available = fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
    for controller in available.split_ascii_whitespace().filter(|c| V2_CONTROLLERS.contains(c)) {
        let _ = fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// A new v1 cpuset has no processors and no memory, and nobody may enter it until it has.
fn inherit_cpuset(parent: &Path, child: &Path) -> io::Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        if fs::read_to_string(child.join(name))?.trim().is_empty() {
            fs::write(child.join(name), fs::read_to_string(parent.join(name))?)?;
        }
    }
    Ok(())
}

/// Calls `visit` for a group and then for everything below it.
fn walk(directory: &Path, depth: usize, visit: &mut dyn FnMut(&Path)) {
    if depth > DEPTH_MAX || !directory.is_dir() {
        return;
    }
    visit(directory);
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            walk(&entry.path(), depth + 1, visit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hierarchy_is_found_once() {
        let found = parse(
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             34 31 0:31 / /sys/fs/cgroup/cpuset rw shared:9 - cgroup cgroup rw,cpuset\n\
             35 31 0:31 / /mnt/again rw - cgroup cgroup rw,cpuset\n\
             36 31 0:33 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
             42 31 0:37 /docker/x /elsewhere rw - cgroup cgroup rw,memory\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
             nonsense\n",
        );
        let mounts: Vec<_> = found.iter().map(|h| h.mount.display().to_string()).collect();
        assert_eq!(
            mounts,
            [
                "/sys/fs/cgroup/cpu,cpuacct",
                "/sys/fs/cgroup/cpuset",
                "/sys/fs/cgroup/freezer",
                "/sys/fs/cgroup/systemd",
                "/sys/fs/cgroup/unified",
            ]
        );
        assert!(found[1].is_cpuset());
        assert_eq!(found[2].kind, Kind::V1 { cpuset: false, freezer: true });
        assert_eq!(found[4].kind, Kind::V2);
    }
}
