//! Limits and times of a connection.

use std::time::Duration;

/// Largest frame unless configured otherwise.
pub const MAX_FRAME_BYTES: u32 = 16 * 1024 * 1024;

/// Each side has its own; what concerns both is told in the handshake.
#[derive(Debug, Clone)]
pub struct Options {
    /// A sign of life is sent after this much silence of ours.
    pub heartbeat: Duration,
    /// A peer that is silent for longer is dead. At least twice the peer's heartbeat.
    pub timeout: Duration,
    /// TCP, TLS and greeting together.
    pub handshake_timeout: Duration,
    /// Larger frames are refused, ours and theirs.
    pub max_frame_bytes: u32,
    /// Frames that may wait to be written, then senders wait.
    pub queue_frames: usize,
    /// Bytes that may wait to be written, then senders wait. A larger frame waits for an empty queue.
    pub queue_bytes: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
            max_frame_bytes: MAX_FRAME_BYTES,
            queue_frames: 256,
            queue_bytes: 32 * 1024 * 1024,
        }
    }
}
