//! The unified hierarchy.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::{
    CFS_PERIOD_US, Driver, MemoryReport, Mounts, directories, make, memory_bytes, quota_us, read_entry,
    read_number, read_pids, remove_group, shares, write,
};
use crate::api::{Limits, Usage};

/// What containers use here; the cpu controller accounts as well.
const WANTED_V2: [&str; 3] = ["cpu", "memory", "pids"];

#[derive(Debug)]
pub struct V2 {
    point: PathBuf,
    controllers: Vec<String>,
}

impl V2 {
    /// `taken` are controllers that a v1 hierarchy has.
    pub fn new(mounts: &Mounts, taken: &[String]) -> Option<Self> {
        let point = mounts.v2.clone()?;
        let text = std::fs::read_to_string(point.join("cgroup.controllers")).ok()?;
        let available: Vec<&str> = text.split_whitespace().collect();
        let controllers: Vec<String> = WANTED_V2
            .iter()
            .filter(|name| available.contains(name) && !taken.iter().any(|other| other == *name))
            .map(|&name| name.to_owned())
            .collect();
        (!controllers.is_empty()).then_some(Self { point, controllers })
    }

    fn has(&self, name: &str) -> bool {
        self.controllers.iter().any(|other| other == name)
    }

    /// Children of `path` may use our controllers.
    fn delegate(&self, path: &Path) -> io::Result<()> {
        let file = path.join("cgroup.subtree_control");
        let enabled = std::fs::read_to_string(&file).unwrap_or_default();
        let missing: Vec<String> = self
            .controllers
            .iter()
            .filter(|name| !enabled.split_whitespace().any(|other| other == name.as_str()))
            .map(|name| format!("+{name}"))
            .collect();
        if missing.is_empty() { Ok(()) } else { write(file, missing.join(" ")) }
    }
}

/// Shares of 2–262144 onto weights of 1–10000, as runc and systemd do.
fn weight(shares: u64) -> u64 {
    1 + ((shares.clamp(2, 262_144) - 2) * 9_999) / 262_142
}

impl Driver for V2 {
    fn create(&self, group: &str, limits: &Limits, _confine_devices: bool) -> io::Result<Vec<PathBuf>> {
        let mut path = self.point.clone();
        for part in group.split('/') {
            self.delegate(&path)?;
            path.push(part);
            make(&path)?;
        }
        if self.has("cpu") && limits.cpus_milli > 0 {
            write(path.join("cpu.weight"), weight(shares(limits)))?;
            if let Some(quota) = quota_us(limits) {
                write(path.join("cpu.max"), format!("{quota} {CFS_PERIOD_US}"))?;
            }
        }
        if self.has("memory")
            && let Some(bytes) = memory_bytes(limits)
        {
            write(path.join("memory.max"), bytes)?;
            // Half a container is of no use: all of it ends.
            let whole = path.join("memory.oom.group");
            if whole.exists() {
                write(whole, 1)?;
            }
            let swap = path.join("memory.swap.max");
            if swap.exists() {
                write(swap, 0)?;
            }
        }
        if self.has("pids") && limits.pids > 0 {
            write(path.join("pids.max"), limits.pids)?;
        }
        Ok(vec![path.join("cgroup.procs")])
    }

    fn procs(&self, group: &str) -> Vec<PathBuf> {
        let path = self.point.join(group).join("cgroup.procs");
        if path.exists() { vec![path] } else { Vec::new() }
    }

    fn usage(&self, group: &str, usage: &mut Usage) {
        let path = self.point.join(group);
        let stat = path.join("cpu.stat");
        usage.cpu_user_ns += read_entry(&stat, "user_usec").unwrap_or(0) * 1_000;
        usage.cpu_system_ns += read_entry(&stat, "system_usec").unwrap_or(0) * 1_000;
        if self.has("memory") {
            usage.mem_bytes = read_entry(&path.join("memory.stat"), "anon").unwrap_or(0);
            usage.mem_total_bytes = read_number(&path.join("memory.current")).unwrap_or(0);
        }
        if self.has("pids") {
            usage.pids = read_number(&path.join("pids.current")).unwrap_or(0);
        }
    }

    fn memory(&self, group: &str) -> Option<MemoryReport> {
        let path = self.point.join(group);
        if !self.has("memory") || !path.is_dir() {
            return None;
        }
        Some(MemoryReport {
            oom_kills: read_entry(&path.join("memory.events"), "oom_kill").unwrap_or(0),
            limit_bytes: read_number(&path.join("memory.max")).unwrap_or(0),
            max_usage_bytes: read_number(&path.join("memory.peak")).unwrap_or(0),
        })
    }

    fn out_of_memory(&self, _group: &str) -> Option<OwnedFd> {
        None
    }

    fn processes(&self, group: &str) -> Vec<u32> {
        read_pids(&self.point.join(group).join("cgroup.procs"))
    }

    fn remove(&self, group: &str) -> io::Result<()> {
        let path = self.point.join(group);
        let kill = path.join("cgroup.kill");
        // Kernels before 5.14 have no such file; the pid namespace did it then.
        if kill.exists() {
            write(kill, 1)?;
        }
        remove_group(&path)
    }

    fn children(&self, parent: &str) -> Vec<String> {
        directories(&self.point.join(parent))
    }

    fn controllers(&self) -> Vec<String> {
        self.controllers.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tree() -> (tempfile::TempDir, Mounts) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
        let mounts = Mounts { v2: Some(dir.path().to_path_buf()), ..Mounts::default() };
        (dir, mounts)
    }

    #[test]
    fn limits_land_in_their_files_and_controllers_are_delegated() {
        let (dir, mounts) = tree();
        let driver = V2::new(&mounts, &[]).unwrap();
        let limits = Limits { cpus_milli: 1500, mem_mib: 64, pids: 9, cfs: true };
        let procs = driver.create("node/mesos/c1", &limits, false).unwrap();
        let group = dir.path().join("node/mesos/c1");
        assert_eq!(procs, [group.join("cgroup.procs")]);
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(read(&group.join("cpu.max")), "150000 100000");
        assert_eq!(read(&group.join("cpu.weight")), weight(1536).to_string());
        assert_eq!(read(&group.join("memory.max")), (64u64 << 20).to_string());
        assert_eq!(read(&group.join("pids.max")), "9");
        for parent in ["", "node", "node/mesos"] {
            assert_eq!(read(&dir.path().join(parent).join("cgroup.subtree_control")), "+cpu +memory +pids");
        }
        assert!(!group.join("cgroup.subtree_control").exists(), "a group with processes delegates nothing");
    }

    #[test]
    fn use_and_oom_are_read() {
        let (dir, mounts) = tree();
        let driver = V2::new(&mounts, &[]).unwrap();
        driver.create("c", &Limits::default(), false).unwrap();
        let group = dir.path().join("c");
        fs::write(group.join("cpu.stat"), "usage_usec 5\nuser_usec 3\nsystem_usec 2\n").unwrap();
        fs::write(group.join("memory.stat"), "anon 4096\nfile 1\n").unwrap();
        fs::write(group.join("memory.current"), "8192\n").unwrap();
        fs::write(group.join("memory.max"), "max\n").unwrap();
        fs::write(group.join("memory.events"), "oom 1\noom_kill 2\n").unwrap();
        fs::write(group.join("pids.current"), "7\n").unwrap();
        let mut usage = Usage::default();
        driver.usage("c", &mut usage);
        let expected =
            Usage { cpu_user_ns: 3000, cpu_system_ns: 2000, mem_bytes: 4096, mem_total_bytes: 8192, pids: 7 };
        assert_eq!(usage, expected);
        assert_eq!(
            driver.memory("c").unwrap(),
            MemoryReport { oom_kills: 2, limit_bytes: 0, max_usage_bytes: 0 }
        );
        assert_eq!(driver.memory("absent"), None);
    }

    #[test]
    fn controllers_of_v1_are_left_alone() {
        let (_dir, mounts) = tree();
        assert_eq!(V2::new(&mounts, &["memory".into(), "cpu".into()]).unwrap().controllers(), ["pids"]);
        let all = ["memory".to_owned(), "cpu".into(), "pids".into()];
        assert!(V2::new(&mounts, &all).is_none());
    }

    #[test]
    fn weights_cover_the_range() {
        assert_eq!((weight(2), weight(1024), weight(262_144)), (1, 39, 10_000));
        assert_eq!(weight(u64::MAX), 10_000);
    }
}
