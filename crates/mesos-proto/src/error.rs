/// Why a body is not the message it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not a message in protobuf's encoding.
    #[error("not a protobuf message: {0}")]
    Malformed(String),
    /// Not a JSON text.
    #[error("{0}")]
    NotJson(String),
    /// A JSON text that does not fit the message.
    #[error("{0}")]
    Mismatch(String),
    /// What is not optional is not there; paths as the original writes them, `accept.operations[0].id`.
    #[error("Missing required fields: {}", .0.join(", "))]
    MissingFields(Vec<String>),
    #[error("more than {limit} levels of messages inside each other")]
    TooDeep { limit: usize },
    #[error("would take more than {limit} bytes of memory")]
    TooLarge { limit: usize },
}

impl DecodeError {
    /// The text of the answer to a body that should have been a `message` (`Call`), in the original's words.
    pub fn refusal(&self, format: crate::media::Format, message: &str) -> String {
        use crate::media::Format;
        match (format, self) {
            (Format::Protobuf, _) => format!("Failed to parse body into {message} protobuf"),
            (Format::Json, Self::NotJson(_)) => format!("Failed to parse body into JSON: {self}"),
            (Format::Json, _) => format!("Failed to convert JSON into {message} protobuf: {self}"),
        }
    }
}
