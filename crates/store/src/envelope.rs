//! Records as bytes: JSON inside `{"v":1,"is":…}`, in every room alike.
//!
//! Readers ignore keys inside `is` that they do not know, and default those that
//! are missing where the type says so, so that a version reads what its
//! predecessor wrote. What a newer format wrote is refused, not misread.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Envelope<'a, T> {
    v: u32,
    is: &'a T,
}

#[derive(Deserialize)]
struct Opened<T> {
    is: T,
}

#[derive(Deserialize)]
struct Format {
    v: u32,
}

/// Why stored bytes are no record of ours.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    #[error("record {key} has format {found}, this version reads up to {FORMAT}; start a newer version")]
    Newer { key: String, found: u32 },
    #[error("record {key} cannot be read; restore its store from a backup")]
    Content {
        key: String,
        #[source]
        source: serde_json::Error,
    },
}

pub fn seal<T: Serialize>(record: &T) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Envelope { v: FORMAT, is: record })
}

/// `key` is for the error only.
pub fn open<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, EnvelopeError> {
    let content = |source| EnvelopeError::Content { key: key.to_owned(), source };
    let format: Format = serde_json::from_slice(bytes).map_err(content)?;
    if format.v > FORMAT {
        return Err(EnvelopeError::Newer { key: key.to_owned(), found: format.v });
    }
    let opened: Opened<T> = serde_json::from_slice(bytes).map_err(content)?;
    Ok(opened.is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_format_wrote_is_refused_and_unknown_keys_are_not() {
        assert_eq!(open::<u64>("k", &seal(&7_u64).unwrap()).unwrap(), 7);
        assert_eq!(open::<u64>("k", br#"{"v":1,"is":7,"later":true}"#).unwrap(), 7);
        let newer = open::<u64>("some/key", br#"{"v":2,"is":{"other":1}}"#).unwrap_err();
        assert!(newer.to_string().contains("some/key has format 2"), "{newer}");
        assert!(open::<u64>("k", b"7").is_err());
    }
}
