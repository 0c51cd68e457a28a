//! Encoded messages, looked at without decoding them.
//!
//! What a client sent is handed on as it came, with the fields that this version does not know: these functions find
//! the pieces. They look at one level at a time and copy nothing but what they return as owned.

use std::ops::Range;

use crate::error::DecodeError;
use crate::wire::DEPTH_MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireType {
    Varint,
    Fixed64,
    /// Texts, bytes, messages, packed numbers.
    Length,
    /// The old groups; no message of ours has one.
    Group,
    Fixed32,
}

/// One field of an encoded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field<'a> {
    pub number: u32,
    pub wire_type: WireType,
    /// Where it stands in the message, its key included.
    pub span: Range<usize>,
    /// What it holds: for [`WireType::Length`] without the length, for groups without the end.
    pub payload: &'a [u8],
}

impl Field<'_> {
    /// The number of a [`WireType::Varint`].
    pub fn varint(&self) -> Option<u64> {
        if self.wire_type != WireType::Varint {
            return None;
        }
        let mut reader = Reader { bytes: self.payload, at: 0 };
        reader.varint().ok()
    }
}

/// The fields of a message in the order in which they stand. Ends after the first error.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { reader: Reader { bytes: message, at: 0 }, failed: false }
}

/// The message without any field of this number.
pub fn without(message: &[u8], number: u32) -> Result<Vec<u8>, DecodeError> {
    let mut kept = Vec::with_capacity(message.len());
    for field in fields(message) {
        let field = field?;
        if field.number != number {
            kept.extend_from_slice(message.get(field.span).unwrap_or_default());
        }
    }
    Ok(kept)
}

/// The encoded messages that lie at a path of field numbers: `[4, 2, 2, 1]` of a scheduler call are the tasks of all
/// launches, `[4, 2]` its operations and `[2, 1]` of each of these its tasks, in the order of the decoded lists. A
/// single message that was sent in several pieces yields several slices, which add up when put behind each other.
pub fn submessages<'a>(message: &'a [u8], path: &[u32]) -> Result<Vec<&'a [u8]>, DecodeError> {
    let mut level = vec![message];
    for number in path {
        let mut below = Vec::new();
        for message in level {
            for field in fields(message) {
                let field = field?;
                if field.number == *number && field.wire_type == WireType::Length {
                    below.push(field.payload);
                }
            }
        }
        level = below;
    }
    Ok(level)
}

/// Appends a field that holds a text, bytes or a message.
pub fn append(message: &mut Vec<u8>, number: u32, payload: &[u8]) {
    put_varint(message, u64::from(number) << 3 | 2);
    put_varint(message, payload.len() as u64);
    message.extend_from_slice(payload);
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub struct Fields<'a> {
    reader: Reader<'a>,
    failed: bool,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.reader.at >= self.reader.bytes.len() {
            return None;
        }
        let field = self.reader.field();
        self.failed = field.is_err();
        Some(field)
    }
}

pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        let start = self.at;
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let Some(byte) = self.bytes.get(self.at) else {
                return Err(malformed(format_args!("ends inside the number at byte {start}")));
            };
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                // The tenth byte has room for one bit.
                if shift == 63 && *byte > 1 {
                    break;
                }
                return Ok(value);
            }
        }
        Err(malformed(format_args!("the number at byte {start} has more than 64 bits")))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], DecodeError> {
        let start = self.at;
        let taken = usize::try_from(length)
            .ok()
            .and_then(|length| start.checked_add(length))
            .and_then(|end| self.bytes.get(start..end));
        let Some(taken) = taken else {
            let left = self.bytes.len().saturating_sub(start);
            return Err(malformed(format_args!(
                "{length} bytes announced at byte {start}, {left} are there"
            )));
        };
        self.at = start + taken.len();
        Ok(taken)
    }

    /// A field number and its wire type.
    fn key(&mut self) -> Result<(u32, u64), DecodeError> {
        let start = self.at;
        let key = self.varint()?;
        match u32::try_from(key) {
            Ok(key) if key >> 3 != 0 => Ok((key >> 3, u64::from(key & 7))),
            _ => Err(malformed(format_args!("no field can have the key {key} at byte {start}"))),
        }
    }

    fn field(&mut self) -> Result<Field<'a>, DecodeError> {
        let start = self.at;
        let (number, wire_type) = self.key()?;
        let (wire_type, payload) = match wire_type {
            0 => {
                let from = self.at;
                self.varint()?;
                (WireType::Varint, self.bytes.get(from..self.at).unwrap_or_default())
            }
            1 => (WireType::Fixed64, self.take(8)?),
            2 => {
                let length = self.varint()?;
                (WireType::Length, self.take(length)?)
            }
            3 => (WireType::Group, self.group(number)?),
            5 => (WireType::Fixed32, self.take(4)?),
            4 => {
                return Err(malformed(format_args!(
                    "a group {number} ends at byte {start} that has not begun"
                )));
            }
            other => return Err(malformed(format_args!("wire type {other} at byte {start} does not exist"))),
        };
        Ok(Field { number, wire_type, span: start..self.at, payload })
    }

    /// Skips a group whose beginning was read; yields what is in it.
    fn group(&mut self, number: u32) -> Result<&'a [u8], DecodeError> {
        let from = self.at;
        let mut open = vec![number];
        loop {
            let before_key = self.at;
            let (number, wire_type) = self.key()?;
            match wire_type {
                0 => drop(self.varint()?),
                1 => drop(self.take(8)?),
                2 => {
                    let length = self.varint()?;
                    self.take(length)?;
                }
                3 if open.len() >= DEPTH_MAX => return Err(DecodeError::TooDeep { limit: DEPTH_MAX }),
                3 => open.push(number),
                4 => {
                    if open.pop() != Some(number) {
                        let text =
                            format_args!("a group {number} ends at byte {before_key} that has not begun");
                        return Err(malformed(text));
                    }
                    if open.is_empty() {
                        return Ok(self.bytes.get(from..before_key).unwrap_or_default());
                    }
                }
                5 => drop(self.take(4)?),
                other => {
                    let text = format_args!("wire type {other} at byte {before_key} does not exist");
                    return Err(malformed(text));
                }
            }
        }
    }
}

fn malformed(text: std::fmt::Arguments<'_>) -> DecodeError {
    DecodeError::Malformed(text.to_string())
}
