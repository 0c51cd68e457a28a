//! `/files/read`: a piece of a file as text.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::FileType;
use serde::Serialize;

use super::attach::Attached;
use super::open::{OpenError, open_inside};
use crate::query::Query;
use crate::reply::Refusal;

/// Longest piece: 16 pages.
const LENGTH_MAX: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    /// `None` asks for the size.
    offset: Option<u64>,
    length: Option<u64>,
}

impl Range {
    pub fn of(query: &Query) -> Result<Self, Refusal> {
        Ok(Self { offset: natural(query, "offset")?, length: natural(query, "length")? })
    }
}

/// −1 means the same as nothing: the GUI's pailer sends it.
fn natural(query: &Query, name: &str) -> Result<Option<u64>, Refusal> {
    match query.integer(name)? {
        None | Some(-1) => Ok(None),
        Some(value) => u64::try_from(value)
            .map(Some)
            .map_err(|_| Refusal::bad_request(format!("Negative {name} provided: {value}.\n"))),
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Content {
    offset: u64,
    data: String,
}

pub(super) fn read(attached: &Attached, path: &[u8], range: Range) -> Result<Content, Refusal> {
    let (size, mut bytes) = piece(attached, path, range.offset, range.length)?;
    let Some(offset) = range.offset else {
        return Ok(Content { offset: size, data: String::new() });
    };
    if offset.saturating_add(bytes.len() as u64) < size {
        drop_cut_character(&mut bytes);
    }
    Ok(Content { offset, data: String::from_utf8_lossy(&bytes).into_owned() })
}

/// The file's size and what it has from `offset` on; without offset the size alone.
pub(super) fn piece(
    attached: &Attached,
    path: &[u8],
    offset: Option<u64>,
    length: Option<u64>,
) -> Result<(u64, Vec<u8>), Refusal> {
    let resolved = attached.resolve(path).ok_or_else(Refusal::not_found)?;
    let opened = open_inside(&resolved)?;
    match opened.kind() {
        FileType::RegularFile => {}
        FileType::Directory => return Err(Refusal::bad_request("Cannot read a directory.\n".to_owned())),
        _ => return Err(Refusal::bad_request("Cannot read what is not a regular file.\n".to_owned())),
    }
    let size = opened.size();
    let Some(offset) = offset else { return Ok((size, Vec::new())) };
    let wanted = length.unwrap_or(u64::MAX).min(size.saturating_sub(offset)).min(LENGTH_MAX as u64);
    let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(LENGTH_MAX)];
    let shown = opened.path.to_string_lossy().into_owned();
    let file = File::from(opened.fd);
    let filled = fill(&file, &mut bytes, offset).map_err(|source| OpenError::Io { path: shown, source })?;
    bytes.truncate(filled);
    Ok((size, bytes))
}

fn fill(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A piece must not end inside a character: readers go on where the text that
/// they got ends. What is never a character is replaced, not held back.
fn drop_cut_character(bytes: &mut Vec<u8>) {
    if let Err(error) = std::str::from_utf8(bytes)
        && error.error_len().is_none()
        && error.valid_up_to() > 0
    {
        bytes.truncate(error.valid_up_to());
        return;
    }
    // Not valid earlier either: look at the last, at most three, bytes alone.
    for back in 1..=3.min(bytes.len()) {
        let at = bytes.len() - back;
        let byte = bytes[at];
        if byte < 0x80 {
            return;
        }
        if byte >= 0xc0 {
            let needed = if byte >= 0xf0 {
                4
            } else if byte >= 0xe0 {
                3
            } else {
                2
            };
            if needed > back && at > 0 {
                bytes.truncate(at);
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_not_cut() {
        for (given, kept) in [
            ("abc".as_bytes(), 3),
            ("ab\u{e9}".as_bytes(), 4),
            (&"ab\u{e9}".as_bytes()[..3], 2),
            (&"ab\u{20ac}".as_bytes()[..4], 2),
            (b"\xff\xfeab\xe2\x82", 4),
            (b"\x80\x80\x80\x80", 4),
            (b"\xe2\x82", 2),
            (b"", 0),
        ] {
            let mut bytes = given.to_vec();
            drop_cut_character(&mut bytes);
            assert_eq!(bytes.len(), kept, "{given:?}");
        }
    }
}
