//! Why a frame is not a message this build can act on.

/// A frame that parsed as protobuf but does not make a message of the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("field {field} is missing or empty; the peer must set it")]
    Missing { field: String },
    #[error("field {field} is {value}, which is out of range; allowed is {allowed}")]
    OutOfRange { field: String, value: String, allowed: &'static str },
    /// A case or number of a newer protocol: nothing is wrong with the stream.
    #[error(
        "field {field} has {value}, which this version does not know; skip the message or upgrade this node"
    )]
    Unknown { field: String, value: String },
    #[error(
        "the peer speaks protocol {spoken} and accepts {oldest} or newer, this node speaks {ours}; \
         upgrade this node"
    )]
    TooOld { spoken: u32, oldest: u32, ours: u32 },
    #[error("the peer speaks protocol {spoken}, this node accepts {oldest} or newer; upgrade the peer")]
    PeerTooOld { spoken: u32, oldest: u32 },
}

impl DecodeError {
    /// The message is of a newer protocol: log it, skip it, keep the stream.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    pub(crate) fn missing(field: &str) -> Self {
        Self::Missing { field: field.to_owned() }
    }

    pub(crate) fn out_of_range(field: &str, value: impl std::fmt::Debug, allowed: &'static str) -> Self {
        Self::OutOfRange { field: field.to_owned(), value: shorten(format!("{value:?}")), allowed }
    }

    pub(crate) fn unknown(field: &str, value: impl std::fmt::Display) -> Self {
        Self::Unknown { field: field.to_owned(), value: value.to_string() }
    }

    /// The same error seen from the enclosing message.
    pub(crate) fn inside(mut self, outer: &str) -> Self {
        match &mut self {
            Self::Missing { field } | Self::OutOfRange { field, .. } | Self::Unknown { field, .. } => {
                field.insert(0, '.');
                field.insert_str(0, outer);
            }
            Self::TooOld { .. } | Self::PeerTooOld { .. } => {}
        }
        self
    }
}

/// Keeps a hostile value from filling the log.
const VALUE_SHOWN_MAX: usize = 80;

fn shorten(text: String) -> String {
    if text.chars().count() <= VALUE_SHOWN_MAX {
        text
    } else {
        text.chars().take(VALUE_SHOWN_MAX).chain(['…']).collect()
    }
}
