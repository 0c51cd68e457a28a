//! Writes messages as JSON, straight into the buffer that is sent. The calls are made by the build, one for each field.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

/// The fields of a message, without the braces around them.
pub trait WriteFields {
    fn write_fields(&self, out: &mut Vec<u8>);
}

/// Anything that is a JSON value.
pub trait WriteJson {
    fn write_json(&self, out: &mut Vec<u8>);
}

pub(crate) fn object<M: WriteFields + ?Sized>(out: &mut Vec<u8>, message: &M) {
    out.push(b'{');
    message.write_fields(out);
    out.push(b'}');
}

impl<M: WriteFields> WriteJson for M {
    fn write_json(&self, out: &mut Vec<u8>) {
        object(out, self);
    }
}

/// `key` comes with quotes and colon. No value ends in an opening brace, so one in front of us is ours.
fn put_key(out: &mut Vec<u8>, key: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.extend_from_slice(key.as_bytes());
}

pub(crate) fn required<T: WriteJson + ?Sized>(out: &mut Vec<u8>, key: &str, value: &T) {
    put_key(out, key);
    value.write_json(out);
}

pub(crate) fn optional<T: WriteJson + ?Sized>(out: &mut Vec<u8>, key: &str, value: Option<&T>) {
    if let Some(value) = value {
        required(out, key, value);
    }
}

pub(crate) fn or_default<T: WriteJson + ?Sized>(
    out: &mut Vec<u8>,
    key: &str,
    value: Option<&T>,
    default: &T,
) {
    required(out, key, value.unwrap_or(default));
}

/// A field of proto3, which does not know whether it was set.
pub(crate) fn implicit<T: WriteJson + Default + PartialEq>(out: &mut Vec<u8>, key: &str, value: &T) {
    if *value != T::default() {
        required(out, key, value);
    }
}

pub(crate) fn repeated<T: WriteJson>(out: &mut Vec<u8>, key: &str, values: &[T]) {
    if values.is_empty() {
        return;
    }
    put_key(out, key);
    let mut before = b'[';
    for value in values {
        out.push(before);
        value.write_json(out);
        before = b',';
    }
    out.push(b']');
}

pub(crate) fn map<T: WriteJson>(out: &mut Vec<u8>, key: &str, entries: &BTreeMap<String, T>) {
    if entries.is_empty() {
        return;
    }
    put_key(out, key);
    let mut before = b'{';
    for (name, value) in entries {
        out.push(before);
        text(out, name);
        out.push(b':');
        value.write_json(out);
        before = b',';
    }
    out.push(b'}');
}

type Names = fn(i32) -> Option<&'static str>;

/// A number without a name is not written: every name would be a wrong one.
pub(crate) fn required_enum(out: &mut Vec<u8>, key: &str, number: i32, names: Names) {
    optional_enum(out, key, Some(number), None, names);
}

pub(crate) fn optional_enum(
    out: &mut Vec<u8>,
    key: &str,
    number: Option<i32>,
    default: Option<&'static str>,
    names: Names,
) {
    optional(out, key, number.and_then(names).or(default));
}

pub(crate) fn repeated_enum(out: &mut Vec<u8>, key: &str, numbers: &[i32], names: Names) {
    let known: Vec<&'static str> = numbers.iter().copied().filter_map(names).collect();
    repeated(out, key, &known);
}

impl<T: WriteFields> WriteFields for Box<T> {
    fn write_fields(&self, out: &mut Vec<u8>) {
        self.as_ref().write_fields(out);
    }
}

impl WriteJson for str {
    fn write_json(&self, out: &mut Vec<u8>) {
        text(out, self);
    }
}

impl WriteJson for &'static str {
    fn write_json(&self, out: &mut Vec<u8>) {
        text(out, self);
    }
}

impl WriteJson for String {
    fn write_json(&self, out: &mut Vec<u8>) {
        text(out, self);
    }
}

impl WriteJson for Bytes {
    fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(STANDARD.encode(self).as_bytes());
        out.push(b'"');
    }
}

impl WriteJson for bool {
    fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }
}

impl WriteJson for i32 {
    fn write_json(&self, out: &mut Vec<u8>) {
        i64::from(*self).write_json(out);
    }
}

impl WriteJson for u32 {
    fn write_json(&self, out: &mut Vec<u8>) {
        u64::from(*self).write_json(out);
    }
}

impl WriteJson for i64 {
    fn write_json(&self, out: &mut Vec<u8>) {
        if *self < 0 {
            out.push(b'-');
        }
        self.unsigned_abs().write_json(out);
    }
}

impl WriteJson for u64 {
    fn write_json(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let mut rest = *self;
        loop {
            // A digit fits.
            out.push(b'0' + (rest % 10) as u8);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if let Some(digits) = out.get_mut(start..) {
            digits.reverse();
        }
    }
}

impl WriteJson for f64 {
    fn write_json(&self, out: &mut Vec<u8>) {
        double(out, *self);
    }
}

/// The shortest decimal that reads back as the same number, always with a fraction. Between 10⁻⁶ and 10²¹ it is
/// written out, else with an exponent, as the original's writer does.
fn double(out: &mut Vec<u8>, value: f64) {
    use std::io::Write as _;

    if value.is_nan() {
        // There is no such number in JSON, and unset is the nearest to it.
        out.extend_from_slice(b"null");
        return;
    }
    if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"\"Infinity\"".as_slice() } else { b"\"-Infinity\"" });
        return;
    }
    let size = value.abs();
    let start = out.len();
    let written_out = size == 0.0 || (1e-6..1e21).contains(&size);
    // Writing into memory does not fail.
    let _ = if written_out { write!(out, "{value}") } else { write!(out, "{value:e}") };
    if written_out && !out.get(start..).is_some_and(|digits| digits.contains(&b'.')) {
        out.extend_from_slice(b".0");
    }
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte < b' ' || *byte == b'"' || *byte == b'\\') {
        let (plain, after) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, after)) = after.split_first() else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            other => {
                out.extend_from_slice(b"\\u00");
                out.extend(
                    [other >> 4, other & 15].into_iter().filter_map(|digit| HEX.get(usize::from(digit))),
                );
            }
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}
