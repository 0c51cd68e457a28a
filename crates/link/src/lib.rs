//! The stream between nodes: mutually authenticated, framed, alive or known to be dead.
//!
//! One long-lived connection carries prost messages both ways. Both ends show a
//! certificate of the cluster's CA; who the peer is, its certificate says and
//! nothing else. Frames are length-prefixed and limited, heartbeats run both
//! ways, writes are batched, queues are bounded in frames and in bytes.
//!
//! Not for: what the messages mean, reconnecting, or ordering across connections.
//! Invariant: messages arrive in order, each once, or the connection ends with a reason.
//! Start reading at [`connect`] and [`Listener`]; [`pki`] makes the certificates;
//! [`memory_pair`] is the same without sockets and TLS.
#![forbid(unsafe_code)]

mod conn;
mod endpoint;
mod frame;
mod handshake;
mod identity;
mod options;
pub mod pki;
#[cfg(test)]
mod raw_peer;

pub use conn::{CloseCode, CloseReason, Conn, Receiver, RecvError, SendError, Sender};
pub use endpoint::{BindError, ConnectError, Listener, connect, memory_pair};
pub use handshake::{HandshakeError, PROTOCOL_VERSION};
pub use identity::{Identity, IdentityError, NODE_NAME_MAX_BYTES, NameError, PeerIdentity, Role};
pub use options::{MAX_FRAME_BYTES, Options};
