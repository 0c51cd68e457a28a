//! What is on disk about one container, so that any restart of anything finds it.
//!
//! In `<runtime>/containers/<id>/`: `digest` (names the spec), `pid` (pid, start
//! time, boot id; written before the command runs), `exit` (raw wait status,
//! written by the container's own first process) and `status` (the final word,
//! written durably by whoever reaped or outlived it). The client's own are `home`
//! (the sandbox, on the node and inside) and `origin` (who asked for it, if not
//! the agent). Files are replaced by rename and are read whole; a torn or foreign
//! file reads as absent.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::CONTAINERS_DIR;
use crate::spec::is_container_id;

/// Longest content of any record file: two paths fit.
const CONTENT_MAX: u64 = 9 << 10;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The directory of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    dir: PathBuf,
}

/// A process that cannot be mistaken for a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub pid: u32,
    /// Clock ticks after boot, field 22 of `/proc/<pid>/stat`.
    pub start_time: u64,
}

impl Record {
    /// The record of `container`, whether it exists or not.
    pub fn of(runtime: &Path, container: &str) -> Self {
        Self { dir: runtime.join(CONTAINERS_DIR).join(container) }
    }

    /// Ids of all containers with a directory.
    pub fn list(runtime: &Path) -> io::Result<Vec<String>> {
        let mut ids = Vec::new();
        let entries = match fs::read_dir(runtime.join(CONTAINERS_DIR)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ids),
            Err(error) => return Err(error),
        };
        for entry in entries {
            if let Ok(name) = entry?.file_name().into_string()
                && is_container_id(&name)
            {
                ids.push(name);
            }
        }
        ids.sort();
        Ok(ids)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn create(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)
    }

    pub fn digest(&self) -> Option<[u8; 32]> {
        let text = self.read("digest")?;
        let text = text.trim();
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut digest = [0; 32];
        for (index, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
        }
        Some(digest)
    }

    pub fn write_digest(&self, digest: &[u8; 32]) -> io::Result<()> {
        let text: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.write("digest", &text, Durability::Rename)
    }

    /// The container's first process, if it was started since the node booted.
    pub fn identity(&self) -> Option<Identity> {
        let text = self.read("pid")?;
        let mut words = text.split_whitespace();
        let identity = Identity { pid: words.next()?.parse().ok()?, start_time: words.next()?.parse().ok()? };
        (words.next()? == boot_id().ok()?).then_some(identity)
    }

    /// Whether a process was ever started, in this boot or an earlier one.
    pub fn was_started(&self) -> bool {
        self.read("pid").is_some()
    }

    pub fn write_identity(&self, identity: Identity) -> io::Result<()> {
        self.write(
            "pid",
            &format!("{} {} {}", identity.pid, identity.start_time, boot_id()?),
            Durability::Rename,
        )
    }

    /// What the container's first process wrote about its command's end.
    pub fn init_status(&self) -> Option<i32> {
        self.read("exit")?.split_whitespace().next()?.parse::<u32>().ok().map(u32::cast_signed)
    }

    /// Opens the file for the first process; its blocks exist, so that a full
    /// disk does not lose the status.
    pub fn open_init_status(&self) -> io::Result<File> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.dir.join("exit"))?;
        file.write_all(b"                \n")?;
        io::Seek::rewind(&mut file)?;
        Ok(file)
    }

    /// The final raw wait status.
    pub fn status(&self) -> Option<i32> {
        self.read("status")?.split_whitespace().next()?.parse().ok()
    }

    pub fn write_status(&self, status: i32) -> io::Result<()> {
        self.write("status", &status.to_string(), Durability::Synced)
    }

    /// The sandbox on the node, and as the container's processes see it.
    pub fn home(&self) -> Option<(PathBuf, String)> {
        let text = self.read("home")?;
        let mut lines = text.lines();
        Some((lines.next()?.into(), lines.next()?.to_owned()))
    }

    /// Makes the directory too; paths with a line break are not kept.
    pub fn write_home(&self, on_node: &Path, inside: &str) -> io::Result<()> {
        self.create()?;
        match on_node.to_str() {
            Some(on_node) if !on_node.contains('\n') && !inside.contains('\n') => {
                self.write("home", &format!("{on_node}\n{inside}"), Durability::Rename)
            }
            _ => Ok(()),
        }
    }

    pub fn origin(&self) -> Option<String> {
        Some(self.read("origin")?.trim().to_owned())
    }

    /// Makes the directory too.
    pub fn write_origin(&self, origin: &str) -> io::Result<()> {
        self.create()?;
        self.write("origin", origin, Durability::Rename)
    }

    /// Removes everything known about the container.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn read(&self, name: &str) -> Option<String> {
        let mut text = String::new();
        File::open(self.dir.join(name)).ok()?.take(CONTENT_MAX).read_to_string(&mut text).ok()?;
        (!text.trim().is_empty()).then_some(text)
    }

    fn write(&self, name: &str, text: &str, durability: Durability) -> io::Result<()> {
        let temporary = self.dir.join(format!(".{name}.new"));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        if durability == Durability::Synced {
            file.sync_data()?;
        }
        fs::rename(&temporary, self.dir.join(name))?;
        if durability == Durability::Synced {
            File::open(&self.dir)?.sync_all()?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// Survives every process; means nothing after a reboot anyway.
    Rename,
    /// Survives the machine.
    Synced,
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string(BOOT_ID)?.trim().to_owned())
}
