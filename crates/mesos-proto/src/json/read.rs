//! Turns a JSON text into the encoded message. Going through protobuf gives both formats one place where missing
//! fields are found, and gives what is handed on byte for byte a form that does not depend on how it was sent.

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Number, Value};

use crate::error::DecodeError;
use crate::raw::{append, put_varint};
use crate::table::{FieldTable, Kind, Label, MessageTable};
use crate::wire::DEPTH_MAX;

/// The original does not insist on padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A value that was sent is told back, but not all of it.
const QUOTED_CHARACTERS_MAX: usize = 100;

/// Encodes a JSON text as a message of this kind. Missing fields are not looked for.
pub fn to_protobuf(table: &'static MessageTable, body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| DecodeError::NotJson(error.to_string()))?;
    let Value::Object(object) = value else { return mismatch("Expecting a JSON object") };
    let mut out = Vec::with_capacity(body.len());
    message(&mut out, table, &object, 0)?;
    Ok(out)
}

fn mismatch<T>(text: impl Into<String>) -> Result<T, DecodeError> {
    Err(DecodeError::Mismatch(text.into()))
}

/// The names come in the order of the alphabet, as in the original; of two mistakes the same one is told.
fn message(
    out: &mut Vec<u8>,
    table: &'static MessageTable,
    object: &Map<String, Value>,
    depth: usize,
) -> Result<(), DecodeError> {
    if depth > DEPTH_MAX {
        return Err(DecodeError::TooDeep { limit: DEPTH_MAX });
    }
    for (name, value) in object {
        if let Some(known) = table.by_name(name) {
            field(out, known, value, depth)?;
        }
    }
    Ok(())
}

fn field(out: &mut Vec<u8>, field: &FieldTable, value: &Value, depth: usize) -> Result<(), DecodeError> {
    match value {
        Value::Null => Ok(()),
        Value::Bool(value) => match field.kind {
            Kind::Bool => {
                put_number(out, field, u64::from(*value));
                Ok(())
            }
            _ => unexpected("boolean", field),
        },
        Value::Number(value) => number(out, field, value),
        Value::String(text) => string(out, field, text),
        Value::Array(values) => {
            if !matches!(field.label, Label::Repeated | Label::Map) {
                return unexpected("array", field);
            }
            // A list inside a list counts as its elements; the reader of JSON bounds how deep.
            values.iter().try_for_each(|value| self::field(out, field, value, depth))
        }
        Value::Object(object) => match field.kind {
            Kind::Message(entry) if field.label == Label::Map => {
                object.iter().try_for_each(|(key, value)| map_entry(out, field, entry, key, value, depth))
            }
            Kind::Message(table) => {
                let mut inner = Vec::new();
                message(&mut inner, table, object, depth + 1)?;
                append(out, field.number, &inner);
                Ok(())
            }
            _ => unexpected("object", field),
        },
    }
}

fn map_entry(
    out: &mut Vec<u8>,
    field: &FieldTable,
    entry: &'static MessageTable,
    key: &str,
    value: &Value,
    depth: usize,
) -> Result<(), DecodeError> {
    let mut inner = Vec::new();
    append(&mut inner, 1, key.as_bytes());
    if let Some((_, value_field)) = entry.by_number(2) {
        match (value_field.kind, value) {
            // The short form of quantities: `{"cpus": 1.5}`.
            (Kind::Message(scalar), Value::Number(_) | Value::String(_))
                if scalar.name == "mesos.v1.Value.Scalar" =>
            {
                let mut short = Vec::new();
                if let Some((_, number)) = scalar.by_number(1) {
                    self::field(&mut short, number, value, depth + 2)?;
                }
                append(&mut inner, 2, &short);
            }
            _ => self::field(&mut inner, value_field, value, depth + 1)?,
        }
    }
    append(out, field.number, &inner);
    Ok(())
}

fn string(out: &mut Vec<u8>, field: &FieldTable, text: &str) -> Result<(), DecodeError> {
    match field.kind {
        Kind::String => append(out, field.number, text.as_bytes()),
        Kind::Bytes => {
            let packed: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
            match LENIENT.decode(packed) {
                Ok(bytes) => append(out, field.number, &bytes),
                Err(error) => {
                    let name = field.name;
                    return mismatch(format!("Failed to base64 decode bytes field '{name}': {error}"));
                }
            }
        }
        Kind::Enum(values) => match values.number(text) {
            Some(number) => put_number(out, field, i64::from(number) as u64),
            None if field.label == Label::Required => {
                return mismatch(format!("Failed to find enum for '{}'", beginning(text)));
            }
            None => {}
        },
        Kind::Bool => match text {
            "true" => put_number(out, field, 1),
            "false" => put_number(out, field, 0),
            _ => return quoted(text, "boolean", field, "expected 'true' or 'false'"),
        },
        Kind::Double if text == "Infinity" => put_double(out, field, f64::INFINITY),
        Kind::Double if text == "-Infinity" => put_double(out, field, f64::NEG_INFINITY),
        Kind::Double | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 => {
            match serde_json::from_str::<Number>(text) {
                Ok(value) => return number(out, field, &value),
                Err(error) => return quoted(text, "number", field, &error.to_string()),
            }
        }
        Kind::Message(_) => return unexpected("string", field),
    }
    Ok(())
}

fn number(out: &mut Vec<u8>, field: &FieldTable, value: &Number) -> Result<(), DecodeError> {
    let whole = |low: i128, high: i128| integer(field, value, low, high);
    let number = match field.kind {
        Kind::Double => {
            // Without arbitrary precision every number has a double.
            put_double(out, field, value.as_f64().unwrap_or_default());
            return Ok(());
        }
        Kind::Int32 => whole(i32::MIN.into(), i32::MAX.into())?,
        Kind::Int64 => whole(i64::MIN.into(), i64::MAX.into())?,
        Kind::Uint32 => whole(0, u32::MAX.into())?,
        Kind::Uint64 => whole(0, u64::MAX.into())?,
        Kind::Bool | Kind::String | Kind::Bytes | Kind::Enum(_) | Kind::Message(_) => {
            return unexpected("number", field);
        }
    };
    // The bounds keep it within 64 bits; negative ones are encoded by their two's complement.
    put_number(out, field, number as u64);
    Ok(())
}

/// Fractions are cut off. The original lets a number that is too large wrap around; nobody can want that.
fn integer(field: &FieldTable, value: &Number, low: i128, high: i128) -> Result<i128, DecodeError> {
    let number = match (value.as_i64(), value.as_u64()) {
        (Some(number), _) => i128::from(number),
        (None, Some(number)) => i128::from(number),
        // Saturates, which is out of every range here.
        (None, None) => value.as_f64().unwrap_or_default().trunc() as i128,
    };
    if (low..=high).contains(&number) {
        return Ok(number);
    }
    let name = field.name;
    mismatch(format!("Number {value} for field '{name}' is out of range: {low} to {high} is allowed"))
}

fn put_number(out: &mut Vec<u8>, field: &FieldTable, value: u64) {
    put_varint(out, u64::from(field.number) << 3);
    put_varint(out, value);
}

fn put_double(out: &mut Vec<u8>, field: &FieldTable, value: f64) {
    put_varint(out, u64::from(field.number) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn unexpected<T>(what: &str, field: &FieldTable) -> Result<T, DecodeError> {
    mismatch(format!("Not expecting a JSON {what} for field '{}'", field.name))
}

fn quoted<T>(text: &str, what: &str, field: &FieldTable, why: &str) -> Result<T, DecodeError> {
    let text = beginning(text);
    mismatch(format!("Failed to parse '{text}' as a JSON {what} for field '{}': {why}", field.name))
}

/// As much of a text as an answer repeats.
fn beginning(text: &str) -> &str {
    let end = text.char_indices().nth(QUOTED_CHARACTERS_MAX).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or_default()
}
