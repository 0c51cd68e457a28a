//! RecordIO: records that follow each other in a stream, each behind its length in decimal digits and a line feed.

/// Records of calls and of sessions are far smaller; the state of a large cluster may be this big.
pub const RECORD_BYTES_MAX: usize = 64 << 20;

/// Digits of a length; with leading zeros a length could go on for ever.
const DIGITS_MAX: usize = 20;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("the length of a record has the byte 0x{0:02x}; only digits are allowed, ended by a line feed")]
    NotADigit(u8),
    #[error("a record without a length; digits, ended by a line feed, have to stand before each record")]
    NoLength,
    #[error("the length of a record has more than {DIGITS_MAX} digits")]
    LongLength,
    #[error("a record of {length} bytes; at most {limit} are allowed")]
    TooLarge { length: u128, limit: usize },
    #[error("the stream ends inside a record")]
    Truncated,
}

/// The record in its frame.
pub fn encode(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 8);
    append(&mut out, payload);
    out
}

/// As [`encode`], behind what `out` already has.
pub fn append(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(payload.len().to_string().as_bytes());
    out.push(b'\n');
    out.extend_from_slice(payload);
}

/// Takes a stream in pieces of any size and gives its records. After an error nothing more can be read: where the
/// next record begins is not known any more, so every further call gives the same error.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    state: State,
    record: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Length { digits: usize, length: u128 },
    Payload { left: usize },
    Failed(RecordError),
}

const START: State = State::Length { digits: 0, length: 0 };

impl Default for Decoder {
    fn default() -> Self {
        Self::new(RECORD_BYTES_MAX)
    }
}

impl Decoder {
    /// `limit`: bytes of one record.
    pub fn new(limit: usize) -> Self {
        Self { limit, state: START, record: Vec::new() }
    }

    /// The next record, if it is complete. What was used of `chunk` is cut off its front; with `None` it is used up.
    pub fn next(&mut self, chunk: &mut &[u8]) -> Result<Option<Vec<u8>>, RecordError> {
        loop {
            match &mut self.state {
                State::Failed(error) => return Err(error.clone()),
                State::Length { digits, length } => {
                    let Some((byte, rest)) = chunk.split_first() else { return Ok(None) };
                    *chunk = rest;
                    let outcome = match byte {
                        b'0'..=b'9' if *digits >= DIGITS_MAX => Err(RecordError::LongLength),
                        // Twenty digits fit into 128 bits.
                        b'0'..=b'9' => Ok(State::Length {
                            digits: *digits + 1,
                            length: *length * 10 + u128::from(byte - b'0'),
                        }),
                        b'\n' if *digits == 0 => Err(RecordError::NoLength),
                        b'\n' => match usize::try_from(*length) {
                            Ok(left) if left <= self.limit => Ok(State::Payload { left }),
                            _ => Err(RecordError::TooLarge { length: *length, limit: self.limit }),
                        },
                        other => Err(RecordError::NotADigit(*other)),
                    };
                    self.state = outcome.unwrap_or_else(State::Failed);
                }
                State::Payload { left } => {
                    let (taken, rest) = chunk.split_at(chunk.len().min(*left));
                    *chunk = rest;
                    *left -= taken.len();
                    self.record.extend_from_slice(taken);
                    if *left > 0 {
                        return Ok(None);
                    }
                    self.state = START;
                    return Ok(Some(std::mem::take(&mut self.record)));
                }
            }
        }
    }

    /// All records that end in this piece of the stream. Those before an error are lost with it; use
    /// [`next`](Self::next) to have them.
    pub fn feed(&mut self, mut chunk: &[u8]) -> Result<Vec<Vec<u8>>, RecordError> {
        let mut records = Vec::new();
        while let Some(record) = self.next(&mut chunk)? {
            records.push(record);
        }
        Ok(records)
    }

    /// Whether the stream may end here.
    pub fn finish(&self) -> Result<(), RecordError> {
        match &self.state {
            State::Length { digits: 0, .. } => Ok(()),
            State::Failed(error) => Err(error.clone()),
            State::Length { .. } | State::Payload { .. } => Err(RecordError::Truncated),
        }
    }
}
