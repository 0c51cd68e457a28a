//! Finds the control group hierarchies this process can use, from `/proc/self/mountinfo`.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// Where each controller is mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mounts {
    /// Controller name to mount point; several names may share one.
    pub v1: BTreeMap<String, PathBuf>,
    /// The unified hierarchy, wherever it is.
    pub v2: Option<PathBuf>,
}

pub fn discover() -> io::Result<Mounts> {
    Ok(parse(&std::fs::read_to_string("/proc/self/mountinfo")?))
}

fn parse(mountinfo: &str) -> Mounts {
    let mut mounts = Mounts::default();
    for line in mountinfo.lines() {
        // `id parent major:minor root mountpoint options [fields] - type source super`.
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let mut right = right.split_whitespace();
        let (kind, options) = (right.next(), right.nth(1).unwrap_or_default());
        let Some(point) = left.split_whitespace().nth(4) else { continue };
        let point = PathBuf::from(unescape(point));
        match kind {
            // Later mounts lie over earlier ones.
            Some("cgroup2") => mounts.v2 = Some(point),
            Some("cgroup") => {
                for option in options.split(',') {
                    mounts.v1.insert(option.to_owned(), point.clone());
                }
            }
            _ => {}
        }
    }
    mounts
}

/// Mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        result.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                result.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                result.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_with_joint_controllers() {
        let mounts = parse(
            "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/mem\\040ory rw,relatime - cgroup cgroup rw,memory\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
             broken line\n",
        );
        assert_eq!(mounts.v1["cpu"], mounts.v1["cpuacct"]);
        assert_eq!(mounts.v1["memory"], PathBuf::from("/sys/fs/cgroup/mem ory"));
        assert_eq!(mounts.v2, Some(PathBuf::from("/sys/fs/cgroup/unified")));
    }
}
