//! Identifiers as newtypes over shared strings: cheap to clone, impossible to mix up.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(value: impl AsRef<str>) -> Self {
                Self(Arc::from(value.as_ref()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(value: &str) -> Self {
                Self::new(value)
            }
        }

        impl From<String> for $name {
            fn from(value: String) -> Self {
                Self::new(value)
            }
        }
    };
}

id!(
    /// One agent, given by the master at its first registration and kept for life.
    AgentId
);
id!(
    /// One framework, given by the master at its first subscription.
    FrameworkId
);
id!(
    /// One task of one framework; chosen by the framework, unique within it.
    TaskId
);
id!(
    /// One executor of one framework on one agent; a command task's is its task id.
    ExecutorId
);
id!(
    /// One container on one agent, unique for ever; nested ones are written
    /// `parent.child`, and no part holds a period itself.
    ContainerId
);

impl ContainerId {
    /// The container around it, for a nested one.
    pub fn parent(&self) -> Option<Self> {
        self.as_str().rsplit_once('.').map(|(parent, _)| Self::new(parent))
    }

    /// Its own part of the name.
    pub fn leaf(&self) -> &str {
        self.as_str().rsplit_once('.').map_or(self.as_str(), |(_, leaf)| leaf)
    }

    /// A container nested in this one.
    pub fn child(&self, leaf: &str) -> Self {
        Self::new(format!("{self}.{leaf}"))
    }
}
id!(
    /// One operation of one framework; chosen by the framework when it wants feedback.
    OperationId
);
id!(
    /// One offer; forgotten when it is answered, rescinded or the master changes.
    OfferId
);
id!(
    /// Who acts: a user or a service account.
    Principal
);

/// The uuid of one status update: what is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UpdateId(pub u128);

impl UpdateId {
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for UpdateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", uuid::Uuid::from_u128(self.0))
    }
}

impl fmt::Debug for UpdateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A role: `*` or `/`-separated components, validated at construction.
///
/// Grammar: `apache/mesos` `src/common/roles.cpp`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Role(Arc<str>);

/// Why a text is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("role {role:?} is not valid: {why}; a role is '*' or components separated by single slashes")]
pub struct InvalidRole {
    pub role: String,
    pub why: &'static str,
}

impl Role {
    /// Longest accepted role, in bytes.
    pub const LENGTH_MAX: usize = 512;

    pub fn new(value: impl AsRef<str>) -> Result<Self, InvalidRole> {
        let value = value.as_ref();
        match invalid_role(value) {
            None => Ok(Self(Arc::from(value))),
            Some(why) => Err(InvalidRole { role: value.chars().take(Self::LENGTH_MAX).collect(), why }),
        }
    }

    /// The role of unreserved resources.
    pub fn any() -> Self {
        Self(Arc::from("*"))
    }

    pub fn is_any(&self) -> bool {
        &*self.0 == "*"
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether resources reserved for `reserved` may be offered to this role:
    /// the role itself and its sub-roles, never its parents.
    pub fn may_use(&self, reserved: &Role) -> bool {
        reserved.is_any()
            || self == reserved
            || (self.0.len() > reserved.0.len()
                && self.0.starts_with(&*reserved.0)
                && self.0.as_bytes()[reserved.0.len()] == b'/')
    }
}

fn invalid_role(value: &str) -> Option<&'static str> {
    if value == "*" {
        return None;
    }
    if value.is_empty() {
        return Some("it is empty");
    }
    if value.len() > Role::LENGTH_MAX {
        return Some("it is longer than 512 bytes");
    }
    for component in value.split('/') {
        if component.is_empty() {
            return Some("it has an empty component");
        }
        if matches!(component, "." | ".." | "*") {
            return Some("a component is '.', '..' or '*'");
        }
        if component.starts_with('-') {
            return Some("a component starts with '-'");
        }
        if component
            .chars()
            .any(|c| matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r' | '\x08' | '\x7f'))
        {
            return Some("it has a blank or control character");
        }
    }
    None
}

impl TryFrom<String> for Role {
    type Error = InvalidRole;
    fn try_from(value: String) -> Result<Self, InvalidRole> {
        Self::new(value)
    }
}

impl From<Role> for String {
    fn from(role: Role) -> String {
        role.0.to_string()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_grammar() {
        for bad in ["", "a//b", "/a", "a/", "a/../b", "-a", "a b", "a/*", "a\tb"] {
            assert!(Role::new(bad).is_err(), "{bad:?} must be refused");
        }
        for good in ["*", "a-b/c.d", "slave_public", "eng"] {
            assert!(Role::new(good).is_ok(), "{good:?} must be accepted");
        }
    }

    #[test]
    fn reserved_resources_go_to_the_role_and_below() {
        let role = |text: &str| Role::new(text).unwrap();
        assert!(role("eng/web").may_use(&role("eng")));
        assert!(role("eng").may_use(&role("eng")));
        assert!(role("eng").may_use(&Role::any()));
        assert!(!role("eng").may_use(&role("eng/web")));
        assert!(!role("engine").may_use(&role("eng")));
        assert!(!Role::any().may_use(&role("eng")));
    }
}
