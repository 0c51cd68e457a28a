//! Keys and values with their limits.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest key or prefix.
pub const KEY_MAX_BYTES: usize = 1024;
/// Largest value; larger things belong in files or are split into several keys.
pub const VALUE_MAX_BYTES: usize = 1024 * 1024;

/// Why a text is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("a key must not be empty")]
    Empty,
    #[error("a key of {length} bytes is too long; at most {KEY_MAX_BYTES} are allowed")]
    TooLong { length: usize },
    #[error("key {key:?} has a control character at byte {position}; use printable characters and `/`")]
    ControlCharacter { key: String, position: usize },
}

/// A path-like name such as `marathon/apps/web`: 1 to [`KEY_MAX_BYTES`] bytes, no control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

impl Key {
    pub fn new(text: impl AsRef<str>) -> Result<Self, KeyError> {
        let text = text.as_ref();
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        check_prefix(text)?;
        Ok(Self(Arc::from(text)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A prefix obeys a key's rules, but may be empty: then it means everything.
pub(crate) fn check_prefix(text: &str) -> Result<(), KeyError> {
    if text.len() > KEY_MAX_BYTES {
        return Err(KeyError::TooLong { length: text.len() });
    }
    match text.char_indices().find(|(_, c)| c.is_control()) {
        Some((position, _)) => Err(KeyError::ControlCharacter { key: text.to_owned(), position }),
        None => Ok(()),
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Key {
    type Error = KeyError;
    fn try_from(text: &str) -> Result<Self, KeyError> {
        Self::new(text)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        Key::new(text).map_err(serde::de::Error::custom)
    }
}

/// A value's bytes; cloning shares them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Value(Arc<[u8]>);

impl Value {
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Value {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::from(bytes))
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self(Arc::from(bytes))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self(Arc::from(text.as_bytes()))
    }
}

/// Only the length: a value may be a secret and must not reach a log.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        Ok(Self(Arc::from(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_validated() {
        assert_eq!(Key::new("a/b").unwrap().as_str(), "a/b");
        assert_eq!(Key::new(""), Err(KeyError::Empty));
        assert_eq!(Key::new("x".repeat(1024)).unwrap().as_str().len(), 1024);
        assert_eq!(Key::new("x".repeat(1025)), Err(KeyError::TooLong { length: 1025 }));
        assert!(matches!(Key::new("a\nb"), Err(KeyError::ControlCharacter { position: 1, .. })));
        assert!(Key::new("ünïcode/ключ").is_ok());
    }

    #[test]
    fn a_value_never_prints_its_bytes() {
        assert_eq!(format!("{:?}", Value::from("hunter2")), "<7 bytes>");
    }
}
