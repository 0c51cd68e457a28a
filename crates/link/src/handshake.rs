//! The greeting: version, identity and times, before any message.
//!
//! The side that connected speaks first. A side that refuses says why in a
//! close frame, so that the reason appears in both logs.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::conn::{CloseCode, CloseReason};
use crate::frame::{self, FrameError, Kind};
use crate::identity::{PeerIdentity, Role};
use crate::options::Options;

/// The newest version of the framing and of this greeting that we speak.
pub const PROTOCOL_VERSION: u32 = 1;
const OLDEST_VERSION: u32 = 1;
/// A greeting is small; a stranger cannot make us wait for more.
const HELLO_MAX_BYTES: u32 = 4096;

#[derive(Clone, PartialEq, prost::Message)]
struct Hello {
    #[prost(uint32, tag = "1")]
    version_min: u32,
    #[prost(uint32, tag = "2")]
    version_max: u32,
    #[prost(string, tag = "3")]
    identity: String,
    #[prost(uint32, tag = "4")]
    heartbeat_ms: u32,
    #[prost(uint32, tag = "5")]
    max_frame_bytes: u32,
}

/// Why two nodes did not come together.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("the peer refused: {reason}")]
    Refused { reason: CloseReason },
    #[error("the peer did not greet properly: {reason}")]
    Malformed { reason: String },
    #[error(
        "the peer speaks versions {theirs_min} to {theirs_max}, we speak {OLDEST_VERSION} to {PROTOCOL_VERSION}; upgrade the older one"
    )]
    Version { theirs_min: u32, theirs_max: u32 },
    #[error("the peer calls itself {claimed:?}, but its certificate says {certified}")]
    NotItself { claimed: String, certified: PeerIdentity },
    #[error("the peer is {peer}, but only {} may be here", roles(.allowed))]
    Role { peer: PeerIdentity, allowed: Vec<Role> },
    #[error(
        "the peer sends a sign of life every {heartbeat_ms} ms; our limit of {timeout_ms} ms must be at least twice that"
    )]
    Heartbeat { heartbeat_ms: u32, timeout_ms: u128 },
    #[error("the connection ended during the greeting")]
    Ended,
    #[error("the connection failed during the greeting")]
    Io { source: io::Error },
}

fn roles(allowed: &[Role]) -> String {
    allowed.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(" or ")
}

pub(crate) struct Terms {
    pub me: PeerIdentity,
    /// From the verified certificate; `None` in memory, where the greeting is believed.
    pub certified: Option<PeerIdentity>,
    pub allowed: Vec<Role>,
    pub initiator: bool,
}

pub(crate) struct Greeted {
    pub peer: PeerIdentity,
    pub version: u32,
    /// The smaller of what we may send and what the peer takes.
    pub max_send_bytes: u32,
    /// What the peer sent right behind its greeting.
    pub rest: BytesMut,
}

pub(crate) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    terms: Terms,
    options: &Options,
) -> Result<Greeted, HandshakeError> {
    let result = exchange(stream, &terms, options).await;
    if let Err(error) = &result
        && let Some(code) = blame(error)
    {
        let reason = CloseReason::new(code, error.to_string());
        // The refusal is our answer either way; telling the peer is courtesy.
        let _ = send(stream, Kind::Close, &reason.to_wire()).await;
        let _ = stream.shutdown().await;
    }
    result
}

/// What the peer is told when it is at fault.
fn blame(error: &HandshakeError) -> Option<CloseCode> {
    match error {
        HandshakeError::Version { .. } | HandshakeError::Malformed { .. } => Some(CloseCode::Protocol),
        HandshakeError::NotItself { .. } | HandshakeError::Role { .. } | HandshakeError::Heartbeat { .. } => {
            Some(CloseCode::Refused)
        }
        HandshakeError::Refused { .. } | HandshakeError::Ended | HandshakeError::Io { .. } => None,
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    terms: &Terms,
    options: &Options,
) -> Result<Greeted, HandshakeError> {
    let hello = Hello {
        version_min: OLDEST_VERSION,
        version_max: PROTOCOL_VERSION,
        identity: terms.me.to_string(),
        heartbeat_ms: u32::try_from(options.heartbeat.as_millis()).unwrap_or(u32::MAX),
        max_frame_bytes: options.max_frame_bytes,
    };
    if terms.initiator {
        send(stream, Kind::Hello, &hello).await?;
    }
    let mut buffer = BytesMut::new();
    let theirs = receive(stream, &mut buffer).await?;
    let (peer, version) = judge(&theirs, terms, options.timeout)?;
    if !terms.initiator {
        send(stream, Kind::Hello, &hello).await?;
    }
    let max_send_bytes = options.max_frame_bytes.min(theirs.max_frame_bytes);
    Ok(Greeted { peer, version, max_send_bytes, rest: buffer })
}

fn judge(theirs: &Hello, terms: &Terms, timeout: Duration) -> Result<(PeerIdentity, u32), HandshakeError> {
    let version = theirs.version_max.min(PROTOCOL_VERSION);
    if version < theirs.version_min.max(OLDEST_VERSION) {
        return Err(HandshakeError::Version {
            theirs_min: theirs.version_min,
            theirs_max: theirs.version_max,
        });
    }
    let peer = match &terms.certified {
        Some(certified) if theirs.identity == certified.to_string() => certified.clone(),
        Some(certified) => {
            return Err(HandshakeError::NotItself {
                claimed: theirs.identity.clone(),
                certified: certified.clone(),
            });
        }
        None => theirs
            .identity
            .parse()
            .map_err(|error| HandshakeError::Malformed { reason: format!("{error}") })?,
    };
    if !terms.allowed.contains(&peer.role()) {
        return Err(HandshakeError::Role { peer, allowed: terms.allowed.clone() });
    }
    if u128::from(theirs.heartbeat_ms) * 2 > timeout.as_millis() {
        let heartbeat_ms = theirs.heartbeat_ms;
        return Err(HandshakeError::Heartbeat { heartbeat_ms, timeout_ms: timeout.as_millis() });
    }
    Ok((peer, version))
}

async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    kind: Kind,
    message: &impl Message,
) -> Result<(), HandshakeError> {
    let io_error = |source| HandshakeError::Io { source };
    let bytes = frame::encode(kind, message, HELLO_MAX_BYTES)
        .map_err(|error| HandshakeError::Malformed { reason: error.to_string() })?;
    stream.write_all(&bytes).await.map_err(io_error)?;
    stream.flush().await.map_err(io_error)
}

async fn receive<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
) -> Result<Hello, HandshakeError> {
    let malformed = |reason: String| HandshakeError::Malformed { reason };
    loop {
        let taken =
            frame::take(buffer, HELLO_MAX_BYTES).map_err(|error: FrameError| malformed(error.to_string()))?;
        match taken {
            Ok((Kind::Hello, payload)) => {
                return Hello::decode(payload).map_err(|error| malformed(error.to_string()));
            }
            Ok((Kind::Close, payload)) => {
                return Err(HandshakeError::Refused { reason: CloseReason::from_wire(&payload) });
            }
            Ok((kind, _)) => return Err(malformed(format!("{kind:?} before the greeting"))),
            Err(_missing) => {
                let read = stream.read_buf(buffer).await.map_err(|source| HandshakeError::Io { source })?;
                if read == 0 {
                    return Err(HandshakeError::Ended);
                }
            }
        }
    }
}
