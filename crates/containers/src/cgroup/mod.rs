//! Control groups of containers: limits, use, and what is left.
//!
//! Two drivers behind one trait: [`v1`] for each separately mounted hierarchy,
//! [`v2`] for the unified one. On a hybrid node each controller is taken where
//! it is. A container's group is `<cgroup_root>/mesos/<id>` below the mount
//! point. Invariants: a group's limits are set before a process joins it;
//! removing is idempotent. Which controllers are used is bounded by
//! [`WANTED`]: cpuset is copied down on the way but containers get no cpuset
//! group of their own, since they inherit the keeper's; pid namespaces make the
//! freezer needless for killing.

mod discover;
mod v1;
mod v2;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use discover::{Mounts, discover};

use crate::api::{CgroupVersion, Limits, MEMORY_MIN_MIB, Usage};

/// Controllers containers are put under.
pub const WANTED: [&str; 5] = ["cpu", "cpuacct", "memory", "pids", "devices"];
const CFS_PERIOD_US: u64 = 100_000;
const CFS_QUOTA_MIN_US: u64 = 1_000;
const SHARES_MIN: u64 = 2;
/// How long the kernel may take to let go of an empty group.
const REMOVE_PATIENCE: Duration = Duration::from_secs(2);

/// Memory facts of an ended or running container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryReport {
    pub oom_kills: u64,
    pub limit_bytes: u64,
    pub max_usage_bytes: u64,
}

/// One way of keeping control groups.
pub trait Driver: Send + Sync + std::fmt::Debug {
    /// Makes the group with its limits and returns its `cgroup.procs` files.
    fn create(&self, group: &str, limits: &Limits, confine_devices: bool) -> io::Result<Vec<PathBuf>>;
    /// The `cgroup.procs` files of a group that is there.
    fn procs(&self, group: &str) -> Vec<PathBuf>;
    /// Adds what this driver knows to `usage`.
    fn usage(&self, group: &str, usage: &mut Usage);
    fn memory(&self, group: &str) -> Option<MemoryReport>;
    /// Becomes readable when the group runs out of memory and when it is
    /// removed; `None` where the kernel ends the whole group by itself.
    fn out_of_memory(&self, group: &str) -> Option<OwnedFd>;
    /// Processes in the group, host pids.
    fn processes(&self, group: &str) -> Vec<u32>;
    fn remove(&self, group: &str) -> io::Result<()>;
    /// Names of all groups directly below `parent`.
    fn children(&self, parent: &str) -> Vec<String>;
    fn controllers(&self) -> Vec<String>;
}

/// All control groups of this node's containers.
#[derive(Debug)]
pub struct Cgroups {
    drivers: Vec<Box<dyn Driver>>,
    root: String,
    version: CgroupVersion,
}

impl Cgroups {
    /// `None` when no wanted controller is mounted.
    pub fn new(mounts: &Mounts, root: &str) -> Option<Self> {
        let mut drivers: Vec<Box<dyn Driver>> = Vec::new();
        let v1 = v1::V1::new(mounts);
        let has_v1 = v1.is_some();
        let taken = v1.as_ref().map(Driver::controllers).unwrap_or_default();
        drivers.extend(v1.map(|driver| Box::new(driver) as Box<dyn Driver>));
        let v2 = v2::V2::new(mounts, &taken);
        let has_v2 = v2.is_some();
        drivers.extend(v2.map(|driver| Box::new(driver) as Box<dyn Driver>));
        let version = match (has_v1, has_v2) {
            (true, true) => CgroupVersion::Hybrid,
            (true, false) => CgroupVersion::V1,
            (false, true) => CgroupVersion::V2,
            (false, false) => return None,
        };
        Some(Self { drivers, root: root.trim_matches('/').to_owned(), version })
    }

    pub fn version(&self) -> CgroupVersion {
        self.version
    }

    pub fn controllers(&self) -> Vec<String> {
        self.drivers.iter().flat_map(|driver| driver.controllers()).collect()
    }

    /// Whether device files can be confined, so that making them is harmless.
    pub fn confines_devices(&self) -> bool {
        self.controllers().iter().any(|name| name == "devices")
    }

    pub fn create(&self, id: &str, limits: &Limits, confine_devices: bool) -> io::Result<Vec<PathBuf>> {
        let group = self.group(id);
        let mut procs = Vec::new();
        for driver in &self.drivers {
            procs.extend(driver.create(&group, limits, confine_devices)?);
        }
        Ok(procs)
    }

    /// The `cgroup.procs` files of a container that runs.
    pub fn procs(&self, id: &str) -> Vec<PathBuf> {
        self.drivers.iter().flat_map(|driver| driver.procs(&self.group(id))).collect()
    }

    /// A group without limits for the keeper, apart from every container's.
    pub fn place_keeper(&self, pid: u32) -> io::Result<()> {
        let group = join(&self.root, "keeper");
        for driver in &self.drivers {
            for procs in driver.create(&group, &Limits::default(), false)? {
                std::fs::write(procs, pid.to_string())?;
            }
        }
        Ok(())
    }

    pub fn usage(&self, id: &str) -> Usage {
        let mut usage = Usage::default();
        for driver in &self.drivers {
            driver.usage(&self.group(id), &mut usage);
        }
        usage
    }

    pub fn memory(&self, id: &str) -> Option<MemoryReport> {
        self.drivers.iter().find_map(|driver| driver.memory(&self.group(id)))
    }

    pub fn out_of_memory(&self, id: &str) -> Option<OwnedFd> {
        self.drivers.iter().find_map(|driver| driver.out_of_memory(&self.group(id)))
    }

    pub fn processes(&self, id: &str) -> Vec<u32> {
        self.drivers
            .iter()
            .map(|driver| driver.processes(&self.group(id)))
            .find(|pids| !pids.is_empty())
            .unwrap_or_default()
    }

    pub fn remove(&self, id: &str) -> io::Result<()> {
        self.drivers.iter().try_for_each(|driver| driver.remove(&self.group(id)))
    }

    /// Ids of all containers with a group.
    pub fn containers(&self) -> Vec<String> {
        let mut ids: Vec<String> =
            self.drivers.iter().flat_map(|driver| driver.children(&join(&self.root, "mesos"))).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// Removes the room's own groups when no container is left in them.
    pub fn remove_parents(&self) {
        for driver in &self.drivers {
            for name in ["mesos", "keeper"] {
                // A group in use stays; that is the point.
                let _ = driver.remove(&join(&self.root, name));
            }
        }
    }

    fn group(&self, id: &str) -> String {
        join(&join(&self.root, "mesos"), id)
    }
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
}

fn shares(limits: &Limits) -> u64 {
    (limits.cpus_milli.saturating_mul(1024) / 1000).max(SHARES_MIN)
}

/// Microseconds per [`CFS_PERIOD_US`].
fn quota_us(limits: &Limits) -> Option<u64> {
    (limits.cfs && limits.cpus_milli > 0)
        .then(|| (limits.cpus_milli.saturating_mul(CFS_PERIOD_US) / 1000).max(CFS_QUOTA_MIN_US))
}

fn memory_bytes(limits: &Limits) -> Option<u64> {
    (limits.mem_mib > 0)
        .then(|| limits.mem_mib.max(MEMORY_MIN_MIB).saturating_mul(1 << 20).min(i64::MAX as u64))
}

fn read_number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A value of a file with `name value` lines.
fn read_entry(path: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn read_pids(path: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn write(path: PathBuf, value: impl ToString) -> io::Result<()> {
    std::fs::write(&path, value.to_string()).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("writing {:?} to {}: {error}", value.to_string(), path.display()),
        )
    })
}

fn make(path: &Path) -> io::Result<bool> {
    match std::fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(io::Error::new(error.kind(), format!("making {}: {error}", path.display()))),
    }
}

/// Removes an empty group; the kernel may need a moment after the last exit.
fn remove_group(path: &Path) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match std::fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy
                    && start.elapsed() < REMOVE_PATIENCE
                    && read_pids(&path.join("cgroup.procs")).is_empty() =>
            {
                // Groups a container made itself are in the way of its own.
                for name in directories(path) {
                    remove_group(&path.join(name))?;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
}

fn directories(path: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let entries = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_kernel_numbers() {
        let limits = |cpus_milli, mem_mib| Limits { cpus_milli, mem_mib, pids: 0, cfs: true };
        assert_eq!(shares(&limits(1, 0)), 2);
        assert_eq!(shares(&limits(500, 0)), 512);
        assert_eq!(quota_us(&limits(1, 0)), Some(1_000));
        assert_eq!(quota_us(&limits(500, 0)), Some(50_000));
        assert_eq!(quota_us(&limits(0, 0)), None);
        assert_eq!(memory_bytes(&limits(0, 1)), Some(32 << 20));
        assert_eq!(memory_bytes(&limits(0, u64::MAX)), Some(i64::MAX as u64));
        assert_eq!(memory_bytes(&limits(0, 0)), None);
    }
}
