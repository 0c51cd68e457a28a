//! Separately mounted hierarchies.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::EventfdFlags;

use super::{
    CFS_PERIOD_US, Driver, MemoryReport, Mounts, WANTED, directories, make, memory_bytes, quota_us,
    read_entry, read_number, read_pids, remove_group, shares, write,
};
use crate::api::{Limits, Usage};

/// null, zero, full, random, urandom, tty, console, ptmx, pts, tun: as in Mesos.
const DEVICES_ALLOWED: [&str; 10] = [
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
    "c 10:200 rwm",
];
/// "No limit" reads as this or more.
const UNLIMITED_BYTES: u64 = 1 << 60;

#[derive(Debug)]
pub struct V1 {
    /// Mount point to the wanted controllers there.
    hierarchies: BTreeMap<PathBuf, Vec<String>>,
}

impl V1 {
    pub fn new(mounts: &Mounts) -> Option<Self> {
        let mut hierarchies: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        for name in WANTED {
            if let Some(point) = mounts.v1.get(name) {
                hierarchies.entry(point.clone()).or_default().push(name.to_owned());
            }
        }
        // A joint mount may bring cpuset, which must be filled before use.
        if let Some(point) = mounts.v1.get("cpuset")
            && let Some(names) = hierarchies.get_mut(point)
        {
            names.push("cpuset".into());
        }
        (!hierarchies.is_empty()).then_some(Self { hierarchies })
    }

    fn of(&self, controller: &str, group: &str) -> Option<PathBuf> {
        let found = self.hierarchies.iter().find(|(_, names)| names.iter().any(|name| name == controller));
        found.map(|(point, _)| point.join(group))
    }
}

impl Driver for V1 {
    fn create(&self, group: &str, limits: &Limits, confine_devices: bool) -> io::Result<Vec<PathBuf>> {
        let mut procs = Vec::with_capacity(self.hierarchies.len());
        for (point, names) in &self.hierarchies {
            let has = |name: &str| names.iter().any(|other| other == name);
            if has("devices") && names.len() == 1 && !confine_devices {
                continue;
            }
            let mut path = point.clone();
            for part in group.split('/') {
                path.push(part);
                if make(&path)? && has("cpuset") {
                    copy_down(&path)?;
                }
            }
            if has("cpu") {
                limit_cpu(&path, limits)?;
            }
            if has("memory") {
                limit_memory(&path, limits)?;
            }
            if has("pids") && limits.pids > 0 {
                write(path.join("pids.max"), limits.pids)?;
            }
            if has("devices") && confine_devices {
                write(path.join("devices.deny"), "a")?;
                for device in DEVICES_ALLOWED {
                    write(path.join("devices.allow"), device)?;
                }
            }
            procs.push(path.join("cgroup.procs"));
        }
        Ok(procs)
    }

    fn procs(&self, group: &str) -> Vec<PathBuf> {
        let paths = self.hierarchies.keys().map(|point| point.join(group).join("cgroup.procs"));
        paths.filter(|path| path.exists()).collect()
    }

    fn usage(&self, group: &str, usage: &mut Usage) {
        if let Some(path) = self.of("cpuacct", group) {
            usage.cpu_user_ns = read_number(&path.join("cpuacct.usage_user")).unwrap_or(0);
            usage.cpu_system_ns = read_number(&path.join("cpuacct.usage_sys")).unwrap_or(0);
        }
        if let Some(path) = self.of("memory", group) {
            usage.mem_bytes = read_entry(&path.join("memory.stat"), "total_rss").unwrap_or(0);
            usage.mem_total_bytes = read_number(&path.join("memory.usage_in_bytes")).unwrap_or(0);
        }
        if let Some(path) = self.of("pids", group) {
            usage.pids = read_number(&path.join("pids.current")).unwrap_or(0);
        }
    }

    fn memory(&self, group: &str) -> Option<MemoryReport> {
        let path = self.of("memory", group)?;
        let limit = read_number(&path.join("memory.limit_in_bytes"))?;
        Some(MemoryReport {
            oom_kills: read_entry(&path.join("memory.oom_control"), "oom_kill").unwrap_or(0),
            limit_bytes: if limit >= UNLIMITED_BYTES { 0 } else { limit },
            max_usage_bytes: read_number(&path.join("memory.max_usage_in_bytes")).unwrap_or(0),
        })
    }

    fn out_of_memory(&self, group: &str) -> Option<OwnedFd> {
        let path = self.of("memory", group)?;
        let control = File::open(path.join("memory.oom_control")).ok()?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let event = rustix::event::eventfd(0, flags).ok()?;
        // The registration holds the event, not the file it was made with.
        let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
        std::fs::write(path.join("cgroup.event_control"), line).ok()?;
        Some(event)
    }

    fn processes(&self, group: &str) -> Vec<u32> {
        let lists = self.hierarchies.keys().map(|point| read_pids(&point.join(group).join("cgroup.procs")));
        lists.into_iter().find(|pids| !pids.is_empty()).unwrap_or_default()
    }

    fn remove(&self, group: &str) -> io::Result<()> {
        self.hierarchies.keys().try_for_each(|point| remove_group(&point.join(group)))
    }

    fn children(&self, parent: &str) -> Vec<String> {
        self.hierarchies.keys().flat_map(|point| directories(&point.join(parent))).collect()
    }

    fn controllers(&self) -> Vec<String> {
        self.hierarchies.values().flatten().cloned().collect()
    }
}

/// A cpuset group accepts no process before its sets are filled.
fn copy_down(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    for name in ["cpuset.cpus", "cpuset.mems"] {
        write(path.join(name), std::fs::read_to_string(parent.join(name))?.trim())?;
    }
    Ok(())
}

fn limit_cpu(path: &Path, limits: &Limits) -> io::Result<()> {
    if limits.cpus_milli > 0 {
        write(path.join("cpu.shares"), shares(limits))?;
    }
    match quota_us(limits) {
        Some(quota) => {
            write(path.join("cpu.cfs_period_us"), CFS_PERIOD_US)?;
            write(path.join("cpu.cfs_quota_us"), quota)
        }
        None => Ok(()),
    }
}

fn limit_memory(path: &Path, limits: &Limits) -> io::Result<()> {
    let Some(bytes) = memory_bytes(limits) else { return Ok(()) };
    write(path.join("memory.soft_limit_in_bytes"), bytes)?;
    write(path.join("memory.limit_in_bytes"), bytes)?;
    // Only there with swap accounting; memory and swap together get no more.
    let with_swap = path.join("memory.memsw.limit_in_bytes");
    if with_swap.exists() { write(with_swap, bytes) } else { Ok(()) }
}
