//! Hands terminals to the program that takes this one's place.
//!
//! The file `terminals` names the descriptors that stay open over `execve`. Its
//! first line names the process, so that a leftover is never believed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::io::FdFlags;

use crate::process;
use crate::terminal::{Terminal, makes_terminals};

const FILE: &str = "terminals";
/// Nothing of the keeper's has a higher number.
const DESCRIPTOR_MAX: RawFd = crate::ops::SLOT_FIRST;

fn own_name() -> String {
    let pid = std::process::id();
    format!("{pid} {}\n", process::start_time(pid).unwrap_or_default())
}

pub fn leave(dir: &Path, terminals: &HashMap<&str, &Terminal>) -> io::Result<()> {
    let mut text = own_name();
    for (id, terminal) in terminals {
        let [near, output] = terminal.descriptors();
        text.push_str(&format!("{id} {} {}\n", near.as_raw_fd(), output.as_raw_fd()));
    }
    fs::write(dir.join(FILE), text)?;
    set_flags(terminals, FdFlags::empty())
}

/// The other program did not start.
pub fn take_back(dir: &Path, terminals: &HashMap<&str, &Terminal>) {
    let _ = fs::remove_file(dir.join(FILE));
    // They were set a moment ago; at worst a terminal lasts longer than needed.
    let _ = set_flags(terminals, FdFlags::CLOEXEC);
}

fn set_flags(terminals: &HashMap<&str, &Terminal>, flags: FdFlags) -> io::Result<()> {
    for terminal in terminals.values() {
        for descriptor in terminal.descriptors() {
            rustix::io::fcntl_setfd(descriptor, flags)?;
        }
    }
    Ok(())
}

/// What the program before this one left.
pub fn take(dir: &Path) -> Vec<(String, Terminal)> {
    let Ok(text) = fs::read_to_string(dir.join(FILE)) else { return Vec::new() };
    let _ = fs::remove_file(dir.join(FILE));
    let Some(text) = text.strip_prefix(&own_name()) else { return Vec::new() };
    text.lines().filter_map(terminal).collect()
}

fn terminal(line: &str) -> Option<(String, Terminal)> {
    let mut words = line.split(' ');
    let id = words.next()?.to_owned();
    let near = adopt(words.next()?.parse().ok()?)?;
    let output = adopt(words.next()?.parse().ok()?)?;
    if !makes_terminals(std::os::fd::AsFd::as_fd(&near)) {
        return None;
    }
    Some((id, Terminal::new(near, File::from(output)).ok()?))
}

fn adopt(number: RawFd) -> Option<OwnedFd> {
    if !(3..DESCRIPTOR_MAX).contains(&number) {
        return None;
    }
    // SAFETY: only looked at, which fails for a number that is not open.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC).ok()?;
    // SAFETY: open, as was seen just now; the program before this one, which is
    // this process, left it to whoever reads the file, and reading removes it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
