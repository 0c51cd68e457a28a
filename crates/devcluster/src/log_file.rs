//! A node's log: everything its daemon writes, in files of bounded size.
//!
//! Responsible for appending and rotating (`dcosd.log`, `.1`, `.2`, `.3`). Not for
//! what is logged. Invariant: the daemon is never blocked for longer than a write
//! takes; what cannot be written is counted and dropped.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Result, file};

/// A file is put aside when it has grown beyond this.
pub const ROTATE_BYTES: u64 = 50 * 1024 * 1024;
/// How many files are kept beside the current one.
pub const KEEP: u32 = 3;
/// How far beyond the limit a file may grow to end with a whole line.
const LINE_SLACK_BYTES: u64 = 64 * 1024;

/// An open log.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    out: File,
    size: u64,
    rotate_bytes: u64,
    lost_bytes: u64,
}

fn append(path: &Path) -> io::Result<(File, u64)> {
    let out = OpenOptions::new().create(true).append(true).open(path)?;
    let size = out.metadata()?.len();
    Ok((out, size))
}

/// The path of the `number`th older file.
pub fn older(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

impl LogFile {
    pub fn open(path: &Path, rotate_bytes: u64) -> Result<LogFile> {
        let (out, size) = append(path).map_err(file("opening log", path))?;
        Ok(LogFile { path: path.to_path_buf(), out, size, rotate_bytes, lost_bytes: 0 })
    }

    pub fn write(&mut self, bytes: &[u8]) {
        if self.lost_bytes > 0 {
            let note = format!("[dev] {} bytes of log were lost\n", self.lost_bytes);
            if self.out.write_all(note.as_bytes()).is_ok() {
                self.lost_bytes = 0;
            }
        }
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        match self.out.write_all(bytes) {
            Ok(()) => self.size += length,
            Err(_) => self.lost_bytes += length,
        }
        let full = self.size > self.rotate_bytes;
        if full && (bytes.ends_with(b"\n") || self.size > self.rotate_bytes + LINE_SLACK_BYTES) {
            self.rotate();
        }
    }

    fn rotate(&mut self) {
        for number in (1..KEEP).rev() {
            let _ = fs::rename(older(&self.path, number), older(&self.path, number + 1));
        }
        let _ = fs::rename(&self.path, older(&self.path, 1));
        match append(&self.path) {
            Ok((out, size)) => {
                self.out = out;
                self.size = size;
            }
            // The old file stays in use; the next attempt comes after as many bytes again.
            Err(_) => self.size = 0,
        }
    }

    /// Copies from `source` until its end.
    pub fn copy_from(mut self, mut source: impl Read) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => self.write(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_rotate_at_a_line_and_three_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = LogFile::open(&path, 10).unwrap();
        for number in 0..6 {
            log.write(format!("line {number} ").as_bytes());
            log.write(b"is long\n");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        assert_eq!(fs::read_to_string(older(&path, 1)).unwrap(), "line 5 is long\n");
        assert_eq!(fs::read_to_string(older(&path, 3)).unwrap(), "line 3 is long\n");
        assert!(!older(&path, 4).exists());
    }
}
