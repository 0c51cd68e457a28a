//! Reading the log of a node.
//!
//! Responsible for the last lines and for following across rotations. Invariant:
//! memory is bounded however long the log is.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::error::{Result, file, system};

const TAIL_BYTES_MAX: u64 = 4 * 1024 * 1024;
const FOLLOW_PAUSE: Duration = Duration::from_millis(200);

/// The last `count` lines of a file.
pub fn last_lines(path: &Path, count: usize) -> Result<String> {
    let mut log = File::open(path).map_err(file("opening", path))?;
    tail(&mut log, count).map_err(file("reading", path))
}

fn tail(log: &mut File, count: usize) -> io::Result<String> {
    let size = log.metadata()?.len();
    log.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    log.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    Ok(lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().concat())
}

/// Prints the last lines, and what comes, until the reader goes away.
pub fn print(path: &Path, count: usize, follow: bool, out: &mut dyn Write) -> Result<()> {
    let mut log = File::open(path).map_err(file("opening", path))?;
    let text = tail(&mut log, count).map_err(file("reading", path))?;
    let mut show = |bytes: &[u8]| out.write_all(bytes).and_then(|()| out.flush());
    if ended(show(text.as_bytes()))? || !follow {
        return Ok(());
    }
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = log.read(&mut buffer).map_err(file("reading", path))?;
        if length > 0 {
            if ended(show(buffer.get(..length).unwrap_or_default()))? {
                return Ok(());
            }
            continue;
        }
        // A new file under the same name: the log was rotated.
        let current = log.metadata().map_err(file("reading", path))?.ino();
        if fs::metadata(path).is_ok_and(|m| m.ino() != current)
            && let Ok(next) = File::open(path)
        {
            log = next;
            continue;
        }
        std::thread::sleep(FOLLOW_PAUSE);
    }
}

/// True when the reader closed its end, which is how `| head` says thanks.
fn ended(written: io::Result<()>) -> Result<bool> {
    match written {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        Err(error) => Err(system("printing the log")(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, "a\nb\nc\n").unwrap();
        assert_eq!(last_lines(&path, 2).unwrap(), "b\nc\n");
        assert_eq!(last_lines(&path, 9).unwrap(), "a\nb\nc\n");
        fs::write(&path, "").unwrap();
        assert_eq!(last_lines(&path, 2).unwrap(), "");
    }
}
