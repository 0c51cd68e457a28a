//! What this node can do, and use of processes where no control group counts.

use crate::api::{Capabilities, Usage};
use crate::cgroup::{Cgroups, WANTED};

/// `/proc` counts in hundredths of a second on every Linux.
const TICK_NS: u64 = 10_000_000;

pub fn capabilities(root: bool, cgroups: Option<&Cgroups>) -> Capabilities {
    let controllers = cgroups.map(Cgroups::controllers).unwrap_or_default();
    let has_overlay = std::fs::read_to_string("/proc/filesystems")
        .is_ok_and(|text| text.lines().any(|line| line.split_whitespace().last() == Some("overlay")));
    let mut warnings = Vec::new();
    if !root {
        warnings.push(
            "the agent runs without root: tasks are plain processes of its own user, without limits, namespaces or images; start it as root for all of them".to_owned(),
        );
    } else {
        if cgroups.is_none() {
            warnings.push("no control groups are in use: cpu, memory and pids limits are not enforced; mount cgroup v1 controllers or cgroup2 below /sys/fs/cgroup".to_owned());
        }
        for name in WANTED {
            let is_there = cgroups.is_none() || controllers.iter().any(|known| known == name);
            if is_there || !matches!(name, "cpu" | "memory" | "pids") {
                continue;
            }
            warnings.push(format!("the {name} controller is not mounted: its limits are not enforced"));
        }
        if !has_overlay {
            warnings
                .push("the kernel has no overlayfs: images cannot run; load the module 'overlay'".to_owned());
        }
    }
    Capabilities {
        root,
        cgroup_version: cgroups.map(Cgroups::version),
        controllers,
        overlay: root && has_overlay,
        warnings,
    }
}

/// Sums over a first process and everything below it.
pub fn usage_of_processes(pid: u32) -> Usage {
    let mut usage = Usage::default();
    for pid in std::iter::once(pid).chain(keeper::process::descendants(pid)) {
        let Some((user, system, bytes)) = keeper::process::times_and_memory(pid) else { continue };
        usage.cpu_user_ns += user.saturating_mul(TICK_NS);
        usage.cpu_system_ns += system.saturating_mul(TICK_NS);
        usage.mem_bytes += bytes;
        usage.pids += 1;
    }
    usage.mem_total_bytes = usage.mem_bytes;
    usage
}
