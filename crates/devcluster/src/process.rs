//! Processes named in a way that survives pid reuse.
//!
//! Responsible for process identities, their descendants, leftovers of a cluster
//! found by mark, and signals. Not for cgroups. Invariant: a signal reaches only
//! the process that was meant, because a pidfd is compared with the start time
//! before it is used.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// Names the cluster (its run directory) in the environment of every process of it.
pub const CLUSTER_MARK: &str = "DCOSD_DEV_CLUSTER";
/// Names the node in the environment of every process of it.
pub const NODE_MARK: &str = "DCOSD_DEV_NODE";

/// The unit of start times in `/proc`, fixed by the kernel's interface.
const TICKS_PER_SECOND: u64 = 100;
const ENVIRONMENT_MAX: usize = 256 * 1024;

/// One process, never its successor with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: u32,
    /// Clock ticks since boot.
    pub started: u64,
}

struct Stat {
    state: char,
    parent: u32,
    started: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may contain anything, so fields are counted from its last parenthesis.
    let fields: Vec<&str> = text.get(text.rfind(')')? + 2..)?.split_ascii_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

impl Identity {
    /// The identity of a process that exists now and is not a zombie.
    pub fn of(pid: u32) -> Option<Identity> {
        let stat = stat(pid)?;
        (!matches!(stat.state, 'Z' | 'X')).then_some(Identity { pid, started: stat.started })
    }

    pub fn alive(self) -> bool {
        Identity::of(self.pid) == Some(self)
    }

    /// How long the process has existed.
    pub fn age(self) -> Duration {
        let uptime = fs::read_to_string("/proc/uptime").ok();
        let uptime = uptime.and_then(|t| t.split(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0);
        let started = Duration::from_millis(self.started.saturating_mul(1_000 / TICKS_PER_SECOND));
        Duration::try_from_secs_f64(uptime).unwrap_or_default().saturating_sub(started)
    }

    /// Sends a signal; a process that is gone is not an error.
    pub fn signal(self, signal: Signal) {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return };
        let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        if self.alive() {
            let _ = pidfd_send_signal(&descriptor, signal);
        }
    }

    /// Waits until the process is gone; false when it still lives at the deadline.
    pub fn wait_gone(self, deadline: Instant) -> bool {
        wait_until(deadline, || !self.alive())
    }
}

/// Polls `done` until it holds or the deadline has passed.
pub fn wait_until(deadline: Instant, mut done: impl FnMut() -> bool) -> bool {
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// Every living descendant of `root`, without `root`.
pub fn descendants(root: u32) -> Vec<Identity> {
    let mut children: BTreeMap<u32, Vec<Identity>> = BTreeMap::new();
    for pid in pids() {
        if let Some(stat) = stat(pid)
            && !matches!(stat.state, 'Z' | 'X')
        {
            children.entry(stat.parent).or_default().push(Identity { pid, started: stat.started });
        }
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        // Removal keeps the walk finite even if the snapshot contains a loop.
        for child in children.remove(&parent).unwrap_or_default() {
            open.push(child.pid);
            found.push(child);
        }
    }
    found
}

/// This process and its ancestors: what a command must never kill.
pub fn lineage() -> BTreeSet<u32> {
    let mut line = BTreeSet::new();
    let mut pid = std::process::id();
    while pid > 0 && line.insert(pid) {
        pid = stat(pid).map_or(0, |s| s.parent);
    }
    line
}

/// Processes that carry a cluster's mark or are tasks of its agents (their environment is their own,
/// but names a sandbox below `nodes`), except this command's own line.
pub fn marked(run: &Path, node: Option<&str>, nodes: &Path) -> Vec<Identity> {
    let spared = lineage();
    let cluster = format!("{CLUSTER_MARK}={}", run.display());
    let mark = node.map(|n| format!("{NODE_MARK}={n}"));
    let sandboxes = node.map_or_else(|| nodes.to_path_buf(), |n| nodes.join(n));
    let matches = |pid: u32| {
        let mut environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.truncate(ENVIRONMENT_MAX);
        let mut variables = environment.split(|b| *b == 0).filter_map(|v| std::str::from_utf8(v).ok());
        let has = |mark: &str| environment.split(|b| *b == 0).any(|v| v == mark.as_bytes());
        let task = variables.any(|v| {
            let value = v.strip_prefix("MESOS_SANDBOX=").or_else(|| v.strip_prefix("MESOS_DIRECTORY="));
            value.is_some_and(|sandbox| Path::new(sandbox).starts_with(&sandboxes))
        });
        task || (has(&cluster) && mark.as_deref().is_none_or(has))
    };
    pids().into_iter().filter(|pid| !spared.contains(pid) && matches(*pid)).filter_map(Identity::of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_its_successor() {
        let me = Identity::of(std::process::id()).unwrap();
        assert!(me.alive());
        assert!(!Identity { started: me.started + 1, ..me }.alive());
        assert_eq!(Identity::of(u32::MAX), None);
    }

    #[test]
    fn descendants_and_lineage_meet() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let below = descendants(std::process::id());
        assert!(below.iter().any(|i| i.pid == child.id()));
        assert!(!below.iter().any(|i| i.pid == std::process::id()));
        assert!(lineage().contains(&std::process::id()));
        let identity = Identity::of(child.id()).unwrap();
        identity.signal(Signal::KILL);
        assert!(identity.wait_gone(Instant::now() + Duration::from_secs(5)), "a zombie counts as gone");
        child.wait().unwrap();
    }
}
