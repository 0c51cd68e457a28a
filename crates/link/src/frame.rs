//! Frames: length (u32, big endian, of what follows), kind, payload.

use bytes::{Buf, Bytes, BytesMut};

pub(crate) const LENGTH_BYTES: usize = 4;
/// Length and kind.
pub(crate) const HEADER_BYTES: usize = LENGTH_BYTES + 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Data = 0,
    Heartbeat = 1,
    Close = 2,
    Hello = 3,
}

impl Kind {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Kind::Data, Kind::Heartbeat, Kind::Close, Kind::Hello].into_iter().find(|kind| *kind as u8 == byte)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of {size} bytes exceeds the limit of {limit}")]
    TooLarge { size: u64, limit: u32 },
    #[error("a frame without a kind")]
    Empty,
    #[error("a frame of the unknown kind {kind}")]
    Kind { kind: u8 },
}

/// A message as a frame; `None` when it exceeds `limit`.
pub(crate) fn encode(kind: Kind, message: &impl prost::Message, limit: u32) -> Result<Box<[u8]>, FrameError> {
    let size = message.encoded_len() as u64 + 1;
    let length = u32::try_from(size).ok().filter(|length| *length <= limit);
    let Some(length) = length else {
        return Err(FrameError::TooLarge { size, limit });
    };
    let mut bytes = Vec::with_capacity(LENGTH_BYTES + length as usize);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.push(kind as u8);
    message.encode_raw(&mut bytes);
    Ok(bytes.into_boxed_slice())
}

pub(crate) fn heartbeat() -> [u8; HEADER_BYTES] {
    [0, 0, 0, 1, Kind::Heartbeat as u8]
}

/// Takes one whole frame off the front of `buffer`; `Ok(Err(missing))` says how many bytes it still lacks.
pub(crate) fn take(buffer: &mut BytesMut, limit: u32) -> Result<Result<(Kind, Bytes), usize>, FrameError> {
    let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else {
        return Ok(Err(HEADER_BYTES - buffer.len()));
    };
    let length = u32::from_be_bytes(*length);
    if length == 0 {
        return Err(FrameError::Empty);
    }
    // Judged before the payload is awaited, so that a lie about the length costs no memory.
    if length > limit {
        return Err(FrameError::TooLarge { size: u64::from(length), limit });
    }
    if let Some(byte) = buffer.get(LENGTH_BYTES)
        && Kind::from_byte(*byte).is_none()
    {
        return Err(FrameError::Kind { kind: *byte });
    }
    let total = LENGTH_BYTES + length as usize;
    if buffer.len() < total {
        return Ok(Err(total - buffer.len()));
    }
    let mut frame = buffer.split_to(total).freeze();
    frame.advance(LENGTH_BYTES);
    let kind = frame.get_u8();
    match Kind::from_byte(kind) {
        Some(kind) => Ok(Ok((kind, frame))),
        None => Err(FrameError::Kind { kind }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_out_whole() {
        let first = encode(Kind::Data, &"hello".to_owned(), 100).unwrap();
        let mut bytes = BytesMut::new();
        for part in first.iter().chain(heartbeat().iter()) {
            bytes.extend_from_slice(&[*part]);
        }
        let mut partial = BytesMut::new();
        for (position, byte) in bytes.iter().enumerate().take(first.len() - 1) {
            partial.extend_from_slice(&[*byte]);
            let missing = take(&mut partial, 100).unwrap().unwrap_err();
            assert!(missing > 0 && missing <= first.len() - position, "at {position}");
        }
        assert_eq!(
            take(&mut bytes, 100).unwrap().unwrap(),
            (Kind::Data, Bytes::from_static(b"\x0a\x05hello"))
        );
        assert_eq!(take(&mut bytes, 100).unwrap().unwrap(), (Kind::Heartbeat, Bytes::new()));
        assert!(bytes.is_empty());
    }

    #[test]
    fn bad_frames_are_refused_before_they_are_whole() {
        let check = |bytes: &[u8], expected: FrameError| {
            assert_eq!(take(&mut BytesMut::from(bytes), 100), Err(expected), "{bytes:?}");
        };
        check(&[0, 0, 0, 0], FrameError::Empty);
        check(&[0, 0, 0, 101], FrameError::TooLarge { size: 101, limit: 100 });
        check(b"GET / HTTP", FrameError::TooLarge { size: 0x4745_5420, limit: 100 });
        check(&[0, 0, 0, 9, 77], FrameError::Kind { kind: 77 });
        assert_eq!(
            encode(Kind::Data, &"x".repeat(98), 100),
            Err(FrameError::TooLarge { size: 101, limit: 100 })
        );
    }
}
