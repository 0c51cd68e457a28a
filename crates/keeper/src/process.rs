//! Facts about processes, out of `/proc`, and signals that cannot hit the wrong one.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use crate::record::Identity;

/// Most processes looked at in one container.
const DESCENDANTS_MAX: usize = 100_000;
/// Rounds of killing processes that fork meanwhile.
const KILL_ROUNDS_MAX: usize = 50;

/// When a process started, in clock ticks after boot; `None` if there is none.
pub fn start_time(pid: u32) -> Option<u64> {
    stat_field(pid, 22)?.parse().ok()
}

/// The parent of a process.
pub fn parent(pid: u32) -> Option<u32> {
    stat_field(pid, 4)?.parse().ok()
}

/// The name a process shows.
pub fn name(pid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())
}

/// Whether a process has ended and waits to be reaped.
pub fn is_zombie(pid: u32) -> bool {
    stat_field(pid, 3).as_deref() == Some("Z")
}

/// One field of `/proc/<pid>/stat`, counted from 1 as its manual does.
fn stat_field(pid: u32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is in parentheses and may hold anything, even spaces.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(field.checked_sub(3)?).map(str::to_owned)
}

/// A handle on exactly this process; `None` if it is gone.
pub fn open(identity: Identity) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(identity.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // The pid is pinned by the handle now: a look at the start time is final.
    Ok((start_time(identity.pid) == Some(identity.start_time)).then_some(handle))
}

/// Sends a signal to the first process of a container, which passes it to the
/// command, or to all its other processes. `false` if the container has ended.
pub fn signal(identity: Identity, signal: Signal, all: bool) -> io::Result<bool> {
    let Some(handle) = open(identity)? else { return Ok(false) };
    if signal == Signal::KILL && !is_first_of_namespace(identity.pid) {
        kill_below(&handle, identity.pid);
    } else if signal != Signal::KILL && all {
        let below = descendants(identity.pid);
        // Parents first: a shell must not go on because its child has ended.
        below.iter().for_each(|&pid| send(pid, signal));
        if !below.is_empty() {
            return Ok(true);
        }
    }
    match rustix::process::pidfd_send_signal(&handle, signal) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether the end of `pid` ends everything below it. A nested container's
/// first process is in a namespace that is not its own.
fn is_first_of_namespace(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let pids: Vec<&str> = pids.split_whitespace().collect();
    pids.len() > 1 && pids.last() == Some(&"1")
}

/// Ends all processes below a first process that holds still meanwhile, so that
/// it neither ends early nor hands them over.
fn kill_below(handle: &OwnedFd, pid: u32) {
    let _ = rustix::process::pidfd_send_signal(handle, Signal::STOP);
    for _ in 0..KILL_ROUNDS_MAX {
        let below: Vec<u32> = descendants(pid).into_iter().filter(|&pid| !is_zombie(pid)).collect();
        if below.is_empty() {
            return;
        }
        below.into_iter().for_each(|pid| send(pid, Signal::KILL));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A pid that went away meanwhile needs no signal; it cannot be another's yet
/// unless pids wrapped around since the look at its parent.
fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// All processes below `root`, parents before children: the processes of a
/// container, because their first process inherits every orphan.
pub fn descendants(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() && found.len() < DESCENDANTS_MAX {
        found.extend(children(found[next]));
        next += 1;
    }
    found.remove(0);
    found
}

/// Children of all threads of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let mut found = Vec::new();
    for thread in threads.flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(text) => found.extend(text.split_whitespace().filter_map(|word| word.parse::<u32>().ok())),
            // A kernel without that file: look at everybody's parent.
            Err(_) => return children_by_parent(pid),
        }
    }
    found
}

fn children_by_parent(parent_pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids =
        entries.flatten().filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()));
    pids.filter(|&pid| parent(pid) == Some(parent_pid)).collect()
}

/// User and system time in clock ticks (with reaped children's), resident bytes.
pub fn times_and_memory(pid: u32) -> Option<(u64, u64, u64)> {
    let number = |field| stat_field(pid, field)?.parse::<u64>().ok();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    Some((number(14)? + number(16)?, number(15)? + number(17)?, kibibytes.unwrap_or(0u64) << 10))
}
