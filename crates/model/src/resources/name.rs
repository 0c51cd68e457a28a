//! Names of resources: the usual ones cost nothing to copy.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

const USUAL: [&str; 5] = ["cpus", "mem", "disk", "ports", "gpus"];

/// `cpus`, `mem`, `disk`, `ports`, `gpus`, or any other name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct ResourceName(Cow<'static, str>);

impl ResourceName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ResourceName {
    fn from(name: &str) -> Self {
        match USUAL.into_iter().find(|usual| *usual == name) {
            Some(usual) => Self(Cow::Borrowed(usual)),
            None => Self(Cow::Owned(name.to_owned())),
        }
    }
}

impl From<String> for ResourceName {
    fn from(name: String) -> Self {
        match USUAL.into_iter().find(|usual| *usual == name) {
            Some(usual) => Self(Cow::Borrowed(usual)),
            None => Self(Cow::Owned(name)),
        }
    }
}

impl From<ResourceName> for String {
    fn from(name: ResourceName) -> String {
        name.0.into_owned()
    }
}

impl Deref for ResourceName {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for ResourceName {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for ResourceName {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
