//! What the machine under a local cluster has and allows.
//!
//! Responsible for reading processors, memory and disk, and for finding out which
//! isolation is possible. Not for sharing it out: that is `spec`.

use std::path::Path;

use crate::cgroup;
use crate::namespaces;
use crate::spec::{Isolation, Machine};

/// Reads the machine's size; unknown parts are assumed to be small.
pub fn measure(data: &Path) -> Machine {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total_kib = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    let total_kib = total_kib.and_then(|l| l.split_ascii_whitespace().next()?.parse::<u64>().ok());
    let existing = data.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    let disk = rustix::fs::statvfs(existing).map_or(0, |s| s.f_bavail.saturating_mul(s.f_frsize));
    Machine { cpus, mem_mib: total_kib.unwrap_or(1024 * 1024) / 1024, disk_mib: disk / (1024 * 1024) }
}

/// The best isolation that is possible here, and why it is not better.
pub fn isolation() -> (Isolation, Option<String>) {
    if let Err(reason) = namespaces::available() {
        return (Isolation::Plain, Some(reason));
    }
    let writable =
        |h: &cgroup::Hierarchy| rustix::fs::access(h.mount(), rustix::fs::Access::WRITE_OK).is_ok();
    if cgroup::hierarchies().iter().any(writable) {
        return (Isolation::Namespaces, None);
    }
    (Isolation::Plain, Some("no control group hierarchy is writable".to_owned()))
}
