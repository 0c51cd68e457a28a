//! `Debug` of messages that hold a secret: logs and panics shall not.

use std::fmt;

use crate::v1;

impl fmt::Debug for v1::Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = self.secret.as_ref().map(|_| format_args!("hidden"));
        f.debug_struct("Credential").field("principal", &self.principal).field("secret", &secret).finish()
    }
}

impl fmt::Debug for v1::secret::Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").field("data", &format_args!("hidden")).finish()
    }
}
