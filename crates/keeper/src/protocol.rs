//! The words between the keeper and its client, and their frames.
//!
//! A frame is a four-byte little-endian length and a postcard value. The first
//! request on a connection is [`RequestBody::Hello`]; a keeper of another
//! protocol answers it all the same, so that it can be asked to upgrade.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::spec::{Spec, WindowSize};

pub const PROTOCOL: u32 = 2;
/// Largest frame, either way: a spec with its environment fits many times.
pub const FRAME_MAX_BYTES: usize = 4 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client, repeated in the reply.
    pub id: u64,
    pub body: RequestBody,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestBody {
    Hello {
        protocol: u32,
    },
    Launch(Box<Spec>),
    Signal {
        container: String,
        signal: i32,
        scope: Scope,
    },
    List,
    /// The client has stored the exit: the keeper forgets the container and its record.
    Forget {
        container: String,
    },
    /// Become another program and stay the parent of all containers.
    Upgrade {
        program: String,
        arguments: Vec<String>,
    },
    /// End, if no container runs.
    Stop,
    /// Type into the terminal the keeper holds for a container.
    Input {
        container: String,
        data: Vec<u8>,
    },
    Resize {
        container: String,
        size: WindowSize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// The command only; SIGKILL ends its whole pid namespace.
    Leader,
    /// Every process of the container.
    All,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    Reply {
        id: u64,
        body: ReplyBody,
    },
    /// Pushed to every client; kept until [`RequestBody::Forget`].
    Exited {
        container: String,
        status: i32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplyBody {
    Welcome {
        protocol: u32,
        build: String,
        pid: u32,
    },
    Launched {
        pid: u32,
        start_time: u64,
        warnings: Vec<String>,
    },
    Containers(Vec<Known>),
    Done,
    Refused {
        kind: Refusal,
        message: String,
    },
    /// How much of the input the terminal took; the rest is to be sent again later.
    Written {
        bytes: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The spec or request is wrong and stays wrong.
    Invalid,
    /// There is no such container (any more).
    Unknown,
    /// The container could not be started.
    Failed,
    /// A limit of the keeper is reached or containers are in the way; try later.
    Busy,
}

/// One container as the keeper knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    pub container: String,
    pub pid: u32,
    pub start_time: u64,
    /// Raw wait status, once it has ended.
    pub status: Option<i32>,
    /// Whether it is this process's child, so that its end will be reported.
    pub is_child: bool,
}

/// Why bytes are no message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a message of {0} bytes is larger than the {FRAME_MAX_BYTES} bytes accepted")]
    TooLarge(usize),
    #[error("a message does not decode")]
    Decode(#[source] postcard::Error),
    #[error("a message does not encode")]
    Encode(#[source] postcard::Error),
    #[error("reading or writing a message")]
    Io(#[source] io::Error),
}

/// The frame of one value.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = postcard::to_extend(value, vec![0; 4]).map_err(FrameError::Encode)?;
    let length = frame.len() - 4;
    if length > FRAME_MAX_BYTES {
        return Err(FrameError::TooLarge(length));
    }
    // FRAME_MAX_BYTES is far below u32::MAX.
    frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(frame)
}

/// Takes one value off the front of `buffer`, if a whole frame is there.
pub fn decode<T: DeserializeOwned>(buffer: &mut Vec<u8>) -> Result<Option<T>, FrameError> {
    let Some(header) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*header) as usize;
    if length > FRAME_MAX_BYTES {
        return Err(FrameError::TooLarge(length));
    }
    let Some(body) = buffer.get(4..4 + length) else { return Ok(None) };
    let value = postcard::from_bytes(body).map_err(FrameError::Decode)?;
    buffer.drain(..4 + length);
    if buffer.is_empty() {
        // A connection at rest must not hold the largest frame it ever saw.
        buffer.shrink_to(4096);
    }
    Ok(Some(value))
}

/// Writes one value to a blocking stream.
pub fn send<T: Serialize>(stream: &mut impl Write, value: &T) -> Result<(), FrameError> {
    stream.write_all(&encode(value)?).map_err(FrameError::Io)
}

/// Reads one value from a blocking stream; `buffer` keeps what belongs to the next one.
pub fn receive<T: DeserializeOwned>(stream: &mut impl Read, buffer: &mut Vec<u8>) -> Result<T, FrameError> {
    loop {
        if let Some(value) = decode(buffer)? {
            return Ok(value);
        }
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).map_err(FrameError::Io)?;
        if count == 0 {
            return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        buffer.extend_from_slice(&chunk[..count]);
    }
}
