//! The bytes of the stream between agents and the leading master.
//!
//! [`AgentFrame`] carries what an agent says, [`MasterFrame`] what the master
//! says; both are plain protobuf and convert to and from the words of
//! [`model::agent_api`]. Framing, TLS and heartbeats belong to `link`, meaning
//! to the brains.
//!
//! Invariants: every value of the model survives the way there and back; no
//! bytes can make decoding panic; a tag or an enum number that was ever used is
//! never given another meaning (see [`wire`] for the rules of growth). What a
//! newer peer adds is either ignored (new fields), weakened (new reasons and
//! capabilities) or reported as [`DecodeError::is_unknown`], which the caller
//! logs and skips; only a stream whose first message is unknown cannot go on.
//!
//! Start reading at [`wire`].
#![forbid(unsafe_code)]

mod decode;
mod encode;
mod error;
mod numbers;
pub mod wire;

#[cfg(test)]
mod tests;

pub use error::DecodeError;
pub use wire::{AgentFrame, MasterFrame};

/// What this build speaks; sent in the first message of each side.
///
/// 2: executors, groups, operations, disks and draining. A peer of version 1
/// passes over a task's executor and runs the task's own command, and takes a
/// volume for plain disk space: it would do other things than it was told.
pub const PROTOCOL_VERSION: u32 = 2;

/// The oldest peer this build can work with. What every peer since then sends
/// may be demanded.
pub const PROTOCOL_VERSION_OLDEST: u32 = 2;
