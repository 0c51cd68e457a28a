//! The kernel's counters: CPU time of a control group, memory and CPU of processes.
//!
//! Responsible for reading `/sys/fs/cgroup` and `/proc`. Invariant: a process that ends
//! while it is read counts as nothing, it is never an error.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Where the hierarchy that counts CPU time may be: alone, with its twin, or version 2.
const HIERARCHIES: &[&str] = &["cpuacct", "cpu,cpuacct", ""];

/// A control group with everything below it.
pub struct Group {
    path: PathBuf,
}

impl Group {
    /// An existing group, by its name below the root.
    pub fn find(name: &str) -> Result<Self> {
        let places =
            HIERARCHIES.iter().map(|hierarchy| Path::new("/sys/fs/cgroup").join(hierarchy).join(name));
        let found = places.into_iter().find(|path| cpu_of(path).is_some());
        let path = found.with_context(|| format!("no control group {name} that counts CPU time"))?;
        Ok(Self { path })
    }

    /// A new group; [`Group::remove`] takes it away again.
    pub fn make(name: &str) -> Result<Self> {
        let root = HIERARCHIES.iter().map(|hierarchy| Path::new("/sys/fs/cgroup").join(hierarchy));
        let root = root.into_iter().find(|path| cpu_of(path).is_some());
        let path = root.context("no control group hierarchy counts CPU time")?.join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }

    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// CPU time used so far by everything that is or was in it.
    pub fn cpu(&self) -> Result<Duration> {
        cpu_of(&self.path).with_context(|| format!("{} counts no CPU time", self.path.display()))
    }

    /// The processes in it and below, with the path of the group that holds each.
    pub fn processes(&self) -> Vec<(i32, PathBuf)> {
        let mut found = Vec::new();
        let mut groups = vec![self.path.clone()];
        while let Some(group) = groups.pop() {
            let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| Some((line.parse().ok()?, group.clone()))));
            let entries = fs::read_dir(&group).into_iter().flatten().flatten();
            groups.extend(entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.path()));
        }
        found
    }

    /// Removes the group and all below it; they must be empty.
    pub fn remove(&self) {
        remove(&self.path);
    }
}

fn remove(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

fn cpu_of(group: &Path) -> Option<Duration> {
    if let Ok(text) = fs::read_to_string(group.join("cpuacct.usage")) {
        return text.trim().parse().ok().map(Duration::from_nanos);
    }
    let text = fs::read_to_string(group.join("cpu.stat")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    line.trim().parse().ok().map(Duration::from_micros)
}

/// Memory of a process in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident, with all of what is shared.
    pub rss: u64,
    /// Resident, with its share of what is shared.
    pub pss: u64,
    /// Resident and not backed by a file.
    pub anonymous: u64,
}

pub fn memory(pid: i32) -> Memory {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    let bytes = |name| field(name).unwrap_or(0) * 1024;
    Memory { rss: bytes("Rss:"), pss: bytes("Pss:"), anonymous: bytes("Anonymous:") }
}

/// Memory that the processes of a group use, by whose they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Added {
    /// Everything, in bytes of PSS.
    pub all: u64,
    /// Processes that manage tasks.
    pub managing: u64,
}

/// PSS of a group's processes; `manages` tells those that manage from the tasks' own.
pub fn pss(group: &Group, manages: impl Fn(i32) -> bool) -> Added {
    let mut added = Added::default();
    for (pid, _) in group.processes() {
        let bytes = memory(pid).pss;
        added.all += bytes;
        if manages(pid) {
            added.managing += bytes;
        }
    }
    added
}

/// What a process calls itself.
pub fn name(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// Whether a process runs this very file, wherever it sees it.
pub fn runs(pid: i32, program: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let running = identity(Path::new(&format!("/proc/{pid}/exe")));
    running.is_some() && running == identity(program)
}

/// CPU time of a process's living threads, by the scheduler's own clock.
pub fn cpu(pid: i32) -> Result<Duration> {
    let directory = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&directory).with_context(|| format!("process {pid} ended"))?;
    let mut total = Duration::ZERO;
    for thread in threads.flatten() {
        let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
        let nanos = text.split_ascii_whitespace().next().and_then(|first| first.parse().ok());
        total += Duration::from_nanos(nanos.context("the kernel has no schedstat")?);
    }
    if total.is_zero() {
        bail!("the kernel counts no CPU time of process {pid}");
    }
    Ok(total)
}

/// The youngest process with this task's id in its environment: the task itself.
pub fn task_process(task: &str) -> Result<i32> {
    let needle = format!("MESOS_TASK_ID={task}\0");
    let entries = fs::read_dir("/proc").context("cannot read /proc")?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let ours = pids.filter(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.windows(needle.len()).any(|window| window == needle.as_bytes())
    });
    ours.max_by_key(|pid| (start_time(*pid), *pid)).with_context(|| format!("no process of task {task}"))
}

fn start_time(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    fields.split_ascii_whitespace().nth(19).and_then(|field| field.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_runs_its_own_program() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let memory = memory(pid);
        assert!(memory.pss > 0 && memory.pss <= memory.rss, "{memory:?}");
        assert!(runs(pid, &std::env::current_exe().unwrap()));
        assert!(!runs(pid, Path::new("/bin/sh")));
        assert!(start_time(pid) > 0);
    }

    #[test]
    fn a_process_that_is_gone_counts_as_nothing() {
        assert_eq!(memory(-1), Memory::default());
        assert_eq!(name(-1), "");
        assert_eq!(start_time(-1), 0);
        assert!(cpu(-1).is_err());
        assert!(task_process("no task has this id").is_err());
    }

    #[test]
    fn both_kinds_of_control_group_are_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(cpu_of(dir.path()), None);
        fs::write(dir.path().join("cpu.stat"), "usage_usec 1500\nuser_usec 7\n").unwrap();
        assert_eq!(cpu_of(dir.path()), Some(Duration::from_micros(1500)));
        fs::write(dir.path().join("cpuacct.usage"), "42\n").unwrap();
        assert_eq!(cpu_of(dir.path()), Some(Duration::from_nanos(42)));
    }
}
