//! Bytes that are carried for others and never looked into.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

/// Bytes of a client: payloads of tasks and messages, and encoded v1 messages
/// whose every field, known or not, must come out as it went in. Brains copy
/// them and never decode them. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Opaque(Arc<[u8]>);

impl Opaque {
    pub fn new(bytes: &[u8]) -> Self {
        Self(Arc::from(bytes))
    }
}

impl From<Vec<u8>> for Opaque {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::from(bytes))
    }
}

impl Deref for Opaque {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<String> for Opaque {
    type Error = base64::DecodeError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        BASE64_STANDARD.decode(text).map(Self::from)
    }
}

impl From<Opaque> for String {
    fn from(opaque: Opaque) -> String {
        BASE64_STANDARD.encode(&*opaque.0)
    }
}

/// Only the length: the content is a client's, and may be secret.
impl fmt::Debug for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}
