//! Names of users and groups, from the two files of the machine.
//!
//! Not through the C library's name services: a static program has none, and a
//! directory server must not be asked for every listing.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;

/// Most bytes read of each file.
const FILE_SIZE_MAX: u64 = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    pub fn read() -> Self {
        Self { users: parse(&load("/etc/passwd")), groups: parse(&load("/etc/group")) }
    }

    /// The number itself when it has no name.
    pub fn user(&self, id: u32) -> String {
        self.users.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    pub fn group(&self, id: u32) -> String {
        self.groups.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }
}

fn load(path: &str) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path)
        && let Err(error) = file.take(FILE_SIZE_MAX).read_to_end(&mut bytes)
    {
        tracing::warn!(%error, path, "names of users cannot be read");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `name:password:number:…`; the first name of a number wins.
fn parse(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(_), Some(Ok(id))) =
            (fields.next(), fields.next(), fields.next().map(str::parse))
        {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let names = Names {
            users: parse("root:x:0:0::/:/bin/sh\ntoor:x:0:0\n#bad\nx:y:z\n"),
            groups: parse("adm:x:4:"),
        };
        assert_eq!((names.user(0), names.user(7), names.group(4)), ("root".into(), "7".into(), "adm".into()));
    }
}
