//! Turns a task's user into numbers, from the node's own user files.
//!
//! Reads `/etc/passwd` and `/etc/group` itself: a static binary has no name
//! service. Users of directories (LDAP) must be given as `uid` or `uid:gid`.

use std::io;

use keeper::spec::Credentials;

/// Most supplementary groups.
const GROUPS_MAX: usize = 1024;

/// `None`: there is no such user.
pub fn resolve(user: &str) -> io::Result<Option<Credentials>> {
    let passwd = std::fs::read_to_string("/etc/passwd")?;
    let group = std::fs::read_to_string("/etc/group").unwrap_or_default();
    Ok(find(user, &passwd, &group))
}

fn find(user: &str, passwd: &str, group: &str) -> Option<Credentials> {
    if let Some((uid, gid)) = user.split_once(':') {
        return Some(Credentials { uid: uid.parse().ok()?, gid: gid.parse().ok()?, groups: Vec::new() });
    }
    let number: Option<u32> = user.parse().ok();
    for line in passwd.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, ..] = fields[..] else { continue };
        let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) else { continue };
        if name == user || number == Some(uid) {
            return Some(Credentials { uid, gid, groups: groups_of(name, gid, group) });
        }
    }
    number.map(|uid| Credentials { uid, gid: uid, groups: Vec::new() })
}

fn groups_of(name: &str, gid: u32, group: &str) -> Vec<u32> {
    let mut groups = vec![gid];
    for line in group.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [_, _, number, members] = fields[..]
            && let Ok(number) = number.parse()
            && members.split(',').any(|member| member == name)
            && !groups.contains(&number)
            && groups.len() < GROUPS_MAX
        {
            groups.push(number);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_groups() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/:/bin/false\nbroken\n";
        let group = "root:x:0:\nlog:x:4:web,other\nssl:x:5:other\n";
        let get = |user| find(user, passwd, group).map(|found| (found.uid, found.gid, found.groups));
        assert_eq!(get("web"), Some((33, 34, vec![34, 4])));
        assert_eq!(get("33"), Some((33, 34, vec![34, 4])));
        assert_eq!(get("77"), Some((77, 77, vec![])));
        assert_eq!(get("1:2"), Some((1, 2, vec![])));
        assert_eq!(get("nobody-here"), None);
        assert_eq!(get(""), None);
        assert_eq!(get("1:x"), None);
    }
}
