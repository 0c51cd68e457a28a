use std::borrow::Cow;

use crate::error::DecodeError;
use crate::json::{self, write::WriteFields};
use crate::media::Format;
use crate::table::MessageTable;
use crate::wire::{self, Quantities};

/// A message of the API, in both formats.
///
/// To write one, use [`to_protobuf`](Self::to_protobuf) and not what prost's own trait offers: that loses quantities
/// of zero in maps.
pub trait ApiMessage:
    prost::Message + Default + Clone + PartialEq + std::fmt::Debug + WriteFields + Quantities
{
    fn table() -> &'static MessageTable;

    /// Reads protobuf. A value of an enum that this version does not know counts as unset, as in the original.
    fn from_protobuf(body: &[u8]) -> Result<Self, DecodeError> {
        let body = wire::check(Self::table(), body)?;
        Self::decode(body.as_ref()).map_err(|error| DecodeError::Malformed(error.to_string()))
    }

    /// Reads JSON by the rules of [`json`].
    fn from_json(body: &[u8]) -> Result<Self, DecodeError> {
        Self::from_protobuf(&json::to_protobuf(Self::table(), body)?)
    }

    fn to_protobuf(&self) -> Vec<u8> {
        let encoded = self.encode_to_vec();
        if !self.has_zero_quantity() {
            return encoded;
        }
        // What prost wrote can be walked.
        wire::complete(Self::table(), &encoded).unwrap_or(encoded)
    }

    /// Writes JSON by the rules of [`json`].
    fn to_json(&self) -> String {
        let mut out = Vec::with_capacity(256);
        self.append_json(&mut out);
        // Only texts and ASCII are written, so nothing is ever replaced here.
        String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// As [`to_json`](Self::to_json), behind what `out` already has.
    fn append_json(&self, out: &mut Vec<u8>) {
        json::write::object(out, self);
    }

    fn from_body(format: Format, body: &[u8]) -> Result<Self, DecodeError> {
        match format {
            Format::Json => Self::from_json(body),
            Format::Protobuf => Self::from_protobuf(body),
        }
    }

    fn to_body(&self, format: Format) -> Vec<u8> {
        match format {
            Format::Json => {
                let mut out = Vec::with_capacity(256);
                self.append_json(&mut out);
                out
            }
            Format::Protobuf => self.to_protobuf(),
        }
    }

    /// As [`from_body`](Self::from_body), and with it the message in protobuf as it came, unknown fields included:
    /// what [`raw`](crate::raw) can take pieces from.
    fn from_body_with_raw(format: Format, body: &[u8]) -> Result<(Self, Cow<'_, [u8]>), DecodeError> {
        let raw = match format {
            Format::Json => Cow::Owned(json::to_protobuf(Self::table(), body)?),
            Format::Protobuf => Cow::Borrowed(body),
        };
        Ok((Self::from_protobuf(&raw)?, raw))
    }
}
