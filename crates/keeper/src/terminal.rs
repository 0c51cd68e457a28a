//! Pseudo terminals: opening one inside a container, and keeping one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::pty::OpenptFlags;

use crate::process;
use crate::record::Identity;
use crate::spec::WindowSize;

/// What makes terminals, on this node.
pub const PATH: &str = "/dev/ptmx";
/// Major and minor number of what makes terminals.
const DEVICE: (u32, u32) = (5, 2);
/// Most bytes taken from one terminal at one time.
const CHUNK_BYTES: usize = 16 << 10;
/// Most bytes taken from a terminal after its container has ended.
const REST_MAX_BYTES: usize = 1 << 20;

/// A new terminal's near and far side. The far side has a name inside the
/// container, if it has terminals of its own.
pub fn open(container: Option<Identity>, size: WindowSize) -> io::Result<(OwnedFd, OwnedFd)> {
    let near = match container.and_then(open_inside) {
        Some(near) => near,
        None => rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?,
    };
    rustix::pty::unlockpt(&near)?;
    resize(near.as_fd(), size)?;
    let far = rustix::pty::ioctl_tiocgptpeer(
        &near,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )?;
    Ok((near, far))
}

pub fn resize(near: BorrowedFd<'_>, size: WindowSize) -> io::Result<()> {
    let WindowSize { rows, columns } = size;
    let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(near, size)?)
}

/// `None` if there is nothing to open that is what it should be.
fn open_inside(container: Identity) -> Option<OwnedFd> {
    let path = OFlags::PATH | OFlags::CLOEXEC;
    let root =
        rustix::fs::open(format!("/proc/{}/root", container.pid), path | OFlags::DIRECTORY, Mode::empty());
    let root = root.ok()?;
    // Links belong to the container: they must not lead out of it.
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found = rustix::fs::openat2(&root, "dev/pts/ptmx", path, Mode::empty(), inside).ok()?;
    let is_there = process::start_time(container.pid) == Some(container.start_time);
    if !is_there || !makes_terminals(found.as_fd()) {
        return None;
    }
    let again = format!("/proc/self/fd/{}", found.as_raw_fd());
    rustix::fs::open(again, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Whether this is a terminal's near side, or what makes them.
pub fn makes_terminals(descriptor: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(descriptor).is_ok_and(|stat| {
        let is_device =
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::CharacterDevice;
        is_device && (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)) == DEVICE
    })
}

/// A terminal kept for a container: what is written to it goes to a file.
pub struct Terminal {
    near: File,
    output: File,
}

/// What is left of a terminal after a look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing now.
    Waiting,
    More,
    /// Nobody has it open any more.
    Ended,
}

impl Terminal {
    pub fn new(near: OwnedFd, output: File) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&near)?;
        rustix::fs::fcntl_setfl(&near, flags | OFlags::NONBLOCK)?;
        Ok(Self { near: File::from(near), output })
    }

    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.near.as_fd(), self.output.as_fd()]
    }

    /// Moves what was written, one piece of it.
    pub fn take(&mut self) -> Left {
        let mut chunk = [0; CHUNK_BYTES];
        match self.near.read(&mut chunk) {
            Ok(0) => Left::Ended,
            Ok(count) => {
                // A full disk loses output, as it would the container's own writes.
                let _ = self.output.write_all(&chunk[..count]);
                Left::More
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Left::More,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Left::Waiting,
            // The kernel's word for an end here is an input/output error.
            Err(_) => Left::Ended,
        }
    }

    /// Moves what is left when the container has ended.
    pub fn finish(mut self) {
        for _ in 0..REST_MAX_BYTES / CHUNK_BYTES {
            if self.take() != Left::More {
                return;
            }
        }
    }

    /// How many bytes the terminal took.
    pub fn input(&mut self, data: &[u8]) -> io::Result<usize> {
        match self.near.write(data) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            other => other,
        }
    }

    pub fn resize(&self, size: WindowSize) -> io::Result<()> {
        resize(self.near.as_fd(), size)
    }
}
