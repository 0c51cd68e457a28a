//! The only durable state of masters, and the small durable state of agents.
//!
//! [`Store`] is a replicated key-value store: keys with revisions, transactions
//! of checks and writes, prefix reads, watches that resume from a revision, and
//! leadership with a fencing term. Consensus is openraft's; this crate gives it
//! a log (redb), a state machine (a map in memory with snapshots in files), a
//! byte transport, and group commit. A group of one runs the same code as a
//! group of five. No openraft type appears in the interface.
//! [`local`] is the other half: one redb file, durable transactions, no group.
//!
//! Not for: deciding anything, values above [`VALUE_MAX_BYTES`], secrets in clear.
//! Invariant: an answered commit is on the disks of a majority and applied here;
//! what was never answered may or may not have happened, and says so.
//! Start reading at [`Store::open`], then `proposer`, `log`, `machine`.
#![forbid(unsafe_code)]

mod config;
mod disk;
pub mod envelope;
mod key;
mod leadership;
pub mod local;
mod log;
mod machine;
mod members;
pub mod memory;
mod network;
mod proposer;
mod raft;
mod record;
mod snapshot;
mod state;
mod store;
#[cfg(test)]
mod suite;
mod txn;
mod watch;
mod wire;

pub use config::Config;
pub use key::{KEY_MAX_BYTES, Key, KeyError, VALUE_MAX_BYTES, Value};
pub use leadership::Leadership;
pub use members::{MembersError, NODE_ID_MAX, NodeId, NodeInfo};
pub use network::{Transport, TransportError, TransportFuture};
pub use state::{Change, Entry, STATE_MAX_BYTES, Snapshot};
pub use store::{OpenError, ReadError, Store};
pub use txn::{Check, CommitError, Revision, TXN_MAX_BYTES, TXN_MAX_OPERATIONS, Term, Txn, Write};
pub use watch::{Changes, Watch, WatchError};
pub use wire::RpcError;
