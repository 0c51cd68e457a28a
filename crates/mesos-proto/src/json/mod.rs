//! JSON as the original speaks it.
//!
//! Written: names of the `.proto` files, in the order of declaration; 64-bit integers as numbers; doubles with a
//! fraction; bytes in base64; names of enum values. Unset fields are left out, save those with a default of their own
//! that are not deprecated: these are written with it.
//!
//! Read: unknown names and `null` are passed over; a single value stands for a list of one; numbers and booleans may
//! be quoted; an unknown name of an enum counts as unset, unless the field is required. A text with a name twice
//! counts the last one.

mod read;
pub mod write;

pub use read::to_protobuf;
