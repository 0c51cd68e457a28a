//! What prost does not check: required fields, and what the original takes as unset.
//!
//! prost fills a required field that is missing with its default, keeps numbers that are no value of their enum, and
//! refuses a field that comes in another wire type. The original refuses the first and passes over the other two.
//! [`check`] walks the encoded message once; only if there is something to pass over does it make a clean copy.
//!
//! When writing, prost leaves out a value of a map that equals its default. For a quantity of zero, `limits` of 0 GPUs,
//! what is left is an entry whose value lacks its required number, which others refuse; [`complete`] puts it back.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::error::DecodeError;
use crate::raw::{self, Field, Reader, WireType};
use crate::table::{FieldTable, Kind, Label, MessageTable};

/// Messages inside each other.
pub const DEPTH_MAX: usize = 100;

/// Paths of missing fields that an error names; the others are cut off.
pub const MISSING_MAX: usize = 100;

/// Memory that the decoded message may take by itself: two bytes of an empty message can become two thousand.
pub const DECODED_BYTES_MAX: usize = 256 << 20;

/// What a field takes that is no message: the head of a string or of a vector's share.
const FIELD_BYTES: usize = 32;

/// The message in a form that prost decodes as the original would.
pub(crate) fn check<'a>(table: &'static MessageTable, body: &'a [u8]) -> Result<Cow<'a, [u8]>, DecodeError> {
    let mut scan = Scan { missing: Vec::new(), strays: false, bytes: 0 };
    scan.message(table, body, &Place { above: None, name: "", index: None }, 0)?;
    if !scan.missing.is_empty() {
        return Err(DecodeError::MissingFields(scan.missing));
    }
    if scan.strays { Ok(Cow::Owned(clean(table, body)?)) } else { Ok(Cow::Borrowed(body)) }
}

/// The way down to a message. Written out only when something is missing there.
struct Place<'a> {
    above: Option<&'a Place<'a>>,
    name: &'static str,
    index: Option<usize>,
}

impl Place<'_> {
    fn path(&self, field: &str) -> String {
        let mut steps = Vec::new();
        let mut place = Some(self);
        while let Some(here) = place {
            steps.push((here.name, here.index));
            place = here.above;
        }
        let mut path = String::new();
        for (name, index) in steps.into_iter().rev().filter(|(name, _)| !name.is_empty()) {
            path.push_str(name);
            if let Some(index) = index {
                // Writing into memory does not fail.
                let _ = write!(path, "[{index}]");
            }
            path.push('.');
        }
        path.push_str(field);
        path
    }
}

struct Scan {
    missing: Vec<String>,
    /// There is something that has to be taken out before prost sees it.
    strays: bool,
    bytes: usize,
}

impl Scan {
    fn message(
        &mut self,
        table: &'static MessageTable,
        body: &[u8],
        place: &Place<'_>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::TooDeep { limit: DEPTH_MAX });
        }
        let mut seen = 0_u128;
        let mut below: Vec<(usize, &FieldTable, &'static MessageTable, &[u8])> = Vec::new();
        for field in raw::fields(body) {
            let field = field?;
            let Some((index, known)) = table.by_number(field.number) else { continue };
            match judge(known, &field)? {
                Verdict::Good => seen |= 1 << index,
                Verdict::Stray => {
                    self.strays = true;
                    continue;
                }
                Verdict::PartlyStray => self.strays = true,
            }
            let size = match known.kind {
                Kind::Message(table) => {
                    below.push((index, known, table, field.payload));
                    table.size
                }
                _ if field.wire_type == WireType::Length => FIELD_BYTES.max(field.payload.len()),
                _ => FIELD_BYTES,
            };
            self.bytes = self.bytes.saturating_add(size);
            if self.bytes > DECODED_BYTES_MAX {
                return Err(DecodeError::TooLarge { limit: DECODED_BYTES_MAX });
            }
        }
        for (index, field) in table.fields.iter().enumerate() {
            if field.label == Label::Required && seen & (1 << index) == 0 {
                self.miss(place, field.name);
            }
        }
        // By field, and within one field as they came.
        below.sort_by_key(|(index, ..)| *index);
        for group in below.chunk_by(|(a, ..), (b, ..)| a == b) {
            let Some((_, field, table, first)) = group.first() else { continue };
            match field.label {
                Label::Required | Label::Optional => {
                    let place = Place { above: Some(place), name: field.name, index: None };
                    // Pieces of one message add up, and encoded messages add up by standing behind each other.
                    let whole = match group.len() {
                        1 => Cow::Borrowed(*first),
                        _ => Cow::Owned(group.iter().flat_map(|(.., piece)| piece.iter().copied()).collect()),
                    };
                    self.message(table, &whole, &place, depth + 1)?;
                }
                Label::Repeated => {
                    for (index, (.., piece)) in group.iter().enumerate() {
                        let place = Place { above: Some(place), name: field.name, index: Some(index) };
                        self.message(table, piece, &place, depth + 1)?;
                    }
                }
                Label::Map => {
                    for (index, (.., piece)) in group.iter().enumerate() {
                        let place = Place { above: Some(place), name: field.name, index: Some(index) };
                        self.entry(table, piece, &place, depth + 1)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// An entry of a map always has its value, be it an empty one.
    fn entry(
        &mut self,
        table: &'static MessageTable,
        body: &[u8],
        place: &Place<'_>,
        depth: usize,
    ) -> Result<(), DecodeError> {
        self.message(table, body, place, depth)?;
        if let Some((_, FieldTable { name, kind: Kind::Message(value), .. })) = table.by_number(2) {
            let has_value = raw::fields(body).flatten().any(|field| field.number == 2);
            if !has_value {
                let place = Place { above: Some(place), name, index: None };
                self.message(value, &[], &place, depth + 1)?;
            }
        }
        Ok(())
    }

    fn miss(&mut self, place: &Place<'_>, field: &str) {
        match self.missing.len() {
            MISSING_MAX.. => {}
            // Too many to name.
            count if count + 1 == MISSING_MAX => self.missing.push("…".to_owned()),
            _ => self.missing.push(place.path(field)),
        }
    }
}

enum Verdict {
    Good,
    /// As if it were not there.
    Stray,
    /// Some of several packed values are as if they were not there.
    PartlyStray,
}

fn judge(known: &FieldTable, field: &Field<'_>) -> Result<Verdict, DecodeError> {
    let wanted = match known.kind {
        Kind::Double => WireType::Fixed64,
        Kind::String | Kind::Bytes | Kind::Message(_) => WireType::Length,
        Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Bool | Kind::Enum(_) => {
            WireType::Varint
        }
    };
    let packed =
        known.label == Label::Repeated && wanted != WireType::Length && field.wire_type == WireType::Length;
    if field.wire_type != wanted && !packed {
        return Ok(Verdict::Stray);
    }
    let Kind::Enum(values) = known.kind else { return Ok(Verdict::Good) };
    if !packed {
        let known = field.varint().is_some_and(|number| values.has(number as i32));
        return Ok(if known { Verdict::Good } else { Verdict::Stray });
    }
    let mut reader = Reader::new(field.payload);
    while !reader.is_empty() {
        if !values.has(reader.varint()? as i32) {
            return Ok(Verdict::PartlyStray);
        }
    }
    Ok(Verdict::Good)
}

/// The message without strays. It was scanned, so that it is sound and not too deep.
fn clean(table: &'static MessageTable, body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::with_capacity(body.len());
    for field in raw::fields(body) {
        let field = field?;
        let Some((_, known)) = table.by_number(field.number) else { continue };
        match (judge(known, &field)?, known.kind) {
            (Verdict::Stray, _) => {}
            (Verdict::PartlyStray, Kind::Enum(values)) => {
                let mut reader = Reader::new(field.payload);
                let mut kept = Vec::new();
                while !reader.is_empty() {
                    let number = reader.varint()?;
                    if values.has(number as i32) {
                        raw::put_varint(&mut kept, number);
                    }
                }
                raw::append(&mut out, field.number, &kept);
            }
            (_, Kind::Message(table)) => raw::append(&mut out, field.number, &clean(table, field.payload)?),
            _ => out.extend_from_slice(body.get(field.span).unwrap_or_default()),
        }
    }
    Ok(out)
}

/// Made by the build for every message.
pub trait Quantities {
    /// Whether some map in the message has a quantity of zero.
    fn has_zero_quantity(&self) -> bool;
}

impl<T: Quantities> Quantities for Box<T> {
    fn has_zero_quantity(&self) -> bool {
        self.as_ref().has_zero_quantity()
    }
}

/// The message that prost wrote, with the quantities of zero that it left out of maps.
pub(crate) fn complete(table: &'static MessageTable, body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::with_capacity(body.len() + 16);
    for field in raw::fields(body) {
        let field = field?;
        let known = table.by_number(field.number).map(|(_, known)| known);
        let Some(FieldTable { label, kind: Kind::Message(inner), .. }) = known else {
            out.extend_from_slice(body.get(field.span).unwrap_or_default());
            continue;
        };
        let mut payload = complete(inner, field.payload)?;
        let is_quantity =
            |known: &FieldTable| matches!(known.kind, Kind::Message(value) if value.name == QUANTITY);
        if *label == Label::Map && inner.by_number(2).is_some_and(|(_, known)| is_quantity(known)) {
            let mut has_value = false;
            for part in raw::fields(&payload) {
                has_value |= part?.number == 2;
            }
            if !has_value {
                raw::append(&mut payload, 2, ZERO);
            }
        }
        raw::append(&mut out, field.number, &payload);
    }
    Ok(out)
}

const QUANTITY: &str = "mesos.v1.Value.Scalar";

/// An encoded quantity of zero: field 1, eight bytes.
const ZERO: &[u8] = &[0x09, 0, 0, 0, 0, 0, 0, 0, 0];
