//! What is to be known of a running container to start another inside it.
//!
//! Everything is read from its first process, which its own processes cannot
//! change: so it is right after any restart, and no secret is written down.

use keeper::process;
use keeper::record::Identity;
use keeper::spec::Credentials;

/// Most of an environment that is taken over.
const ENVIRONMENT_MAX_BYTES: usize = 2 << 20;

pub struct Facts {
    /// `NAME=value` entries.
    pub env: Vec<String>,
    pub credentials: Option<Credentials>,
    /// What it may have at most, if it may not gain privileges.
    pub capabilities: Option<u64>,
}

/// `None` if it has ended.
pub fn look(parent: Identity) -> Option<Facts> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", parent.pid)).ok()?;
    let read = |pid: u32| std::fs::read(format!("/proc/{pid}/environ"));
    // Without root only the command's is open to this process.
    let env = read(parent.pid).or_else(|error| {
        let command = process::children(parent.pid).into_iter().next();
        command.map_or(Err(error), read)
    });
    let is_there = process::start_time(parent.pid) == Some(parent.start_time);
    let facts = Facts {
        env: environment(&env.unwrap_or_default()),
        credentials: credentials(&status),
        capabilities: capabilities(&status),
    };
    (is_there && !process::is_zombie(parent.pid)).then_some(facts)
}

fn environment(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.get(..ENVIRONMENT_MAX_BYTES).unwrap_or(bytes);
    let entries = bytes.split(|&byte| byte == 0).filter_map(|entry| std::str::from_utf8(entry).ok());
    entries.filter(|entry| entry.contains('=')).map(str::to_owned).collect()
}

fn numbers<'a>(status: &'a str, name: &str) -> Option<impl Iterator<Item = &'a str>> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.split_whitespace())
}

fn credentials(status: &str) -> Option<Credentials> {
    // Real, effective, saved, of the file system.
    let effective = |name| numbers(status, name)?.nth(1)?.parse().ok();
    let groups = numbers(status, "Groups")?.filter_map(|word| word.parse().ok()).collect();
    Some(Credentials { uid: effective("Uid")?, gid: effective("Gid")?, groups })
}

fn capabilities(status: &str) -> Option<u64> {
    let is_bound = numbers(status, "NoNewPrivs")?.next()? == "1";
    let bounding = u64::from_str_radix(numbers(status, "CapBnd")?.next()?, 16).ok()?;
    is_bound.then_some(bounding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_of_a_status_file() {
        let status = "Name:\tdcos-init\nUid:\t33\t34\t35\t36\nGid:\t4\t5\t6\t7\nGroups:\t5 8 9 \n\
                      CapBnd:\t00000000a80425fb\nNoNewPrivs:\t1\n";
        let found = credentials(status).map(|found| (found.uid, found.gid, found.groups));
        assert_eq!(found, Some((34, 5, vec![5, 8, 9])));
        assert_eq!(capabilities(status), Some(0xa804_25fb));
        assert_eq!(capabilities(&status.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0")), None);
        assert_eq!(credentials("Name:\tx\n"), None);
        assert_eq!(environment(b"A=1\0B=x=y\0odd\0\xff=1\0C=\0"), ["A=1", "B=x=y", "C="]);
    }
}
