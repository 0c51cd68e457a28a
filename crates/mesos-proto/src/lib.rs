//! The words of the Mesos v1 API as they travel: protobuf and JSON.
//!
//! [`v1`] has the types, made by the build from the `.proto` files of this crate. [`ApiMessage`] reads and writes
//! each of them in both formats, with the strictness of the original: required fields are required, unknown fields
//! and unknown names of enums are passed over, JSON follows the rules of [`json`]. [`raw`] looks at encoded messages
//! without decoding them, so that what a client sent can be handed on byte for byte. [`recordio`] frames streams,
//! [`media`] settles which format is spoken, [`ids`] says which ids are allowed.
//!
//! Nothing here knows what a message means. Every function is total: any input gives a value or an error.

#![forbid(unsafe_code)]

mod convert;
mod error;
pub mod ids;
pub mod json;
pub mod media;
mod message;
pub mod raw;
pub mod recordio;
pub mod scalar;
mod secrets;
pub mod table;
mod wire;

pub use bytes::Bytes;
pub use convert::NegativeDuration;
pub use error::DecodeError;
pub use message::ApiMessage;
pub use types::google;
pub use types::mesos::v1;
pub use wire::{DECODED_BYTES_MAX, DEPTH_MAX, MISSING_MAX, Quantities};

/// All types compiled, for reflection: an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

// Machine-made; what clippy and rustdoc dislike about it is prost's habit.
#[allow(clippy::all, rustdoc::all)]
mod types {
    include!(concat!(env!("OUT_DIR"), "/types.rs"));
}

#[allow(clippy::all)]
mod tables {
    use crate::json::write::{self, WriteFields};
    use crate::message::ApiMessage;
    use crate::table::{EnumTable, FieldTable, Kind, Label, MessageTable};
    use crate::wire::Quantities;

    include!(concat!(env!("OUT_DIR"), "/tables.rs"));
}
