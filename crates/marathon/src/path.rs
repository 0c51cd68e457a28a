//! Ids of apps and groups: absolute paths such as `/shop/web`.
//!
//! Invariant: a [`PathId`] is absolute, resolved and matches the path grammar.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest accepted id, in bytes: its tasks' ids, 37 bytes longer, name
/// directories on agents.
pub const PATH_LENGTH_MAX: usize = 200;

/// Last segments that would shadow a route.
pub const RESERVED_LAST: [&str; 3] = ["restart", "tasks", "versions"];

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathId(Arc<str>);

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no id: segments are lower-case letters, digits, inner hyphens and dots, joined by slashes"
)]
pub struct InvalidPath {
    pub text: String,
}

impl PathId {
    pub fn root() -> Self {
        Self(Arc::from("/"))
    }

    /// Reads an absolute or relative id; relative ones belong to `parent`.
    pub fn resolve(text: &str, parent: &PathId) -> Result<Self, InvalidPath> {
        let invalid = || InvalidPath { text: text.chars().take(100).collect() };
        if text.len() > PATH_LENGTH_MAX || text.is_empty() {
            return Err(invalid());
        }
        let mut segments: Vec<&str> = Vec::new();
        if !text.starts_with('/') {
            segments.extend(parent.segments());
        }
        let inner = text.strip_prefix('/').unwrap_or(text);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if !inner.is_empty() {
            for segment in inner.split('/') {
                match segment {
                    "." => {}
                    ".." => {
                        segments.pop().ok_or_else(invalid)?;
                    }
                    _ if is_segment(segment) => segments.push(segment),
                    _ => return Err(invalid()),
                }
            }
        }
        Ok(Self(Arc::from(format!("/{}", segments.join("/")))))
    }

    /// Reads an id relative to the root.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        Self::resolve(text, &Self::root())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_root(&self) -> bool {
        &*self.0 == "/"
    }

    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    pub fn last(&self) -> Option<&str> {
        self.segments().next_back()
    }

    /// The group that holds it; the root's is the root.
    pub fn parent(&self) -> Self {
        match self.0.rsplit_once('/') {
            Some(("", _)) | None => Self::root(),
            Some((parent, _)) => Self(Arc::from(parent)),
        }
    }

    /// Whether this is `other` or below it.
    pub fn is_within(&self, other: &PathId) -> bool {
        other.is_root()
            || self == other
            || (self.0.len() > other.0.len()
                && self.0.starts_with(&*other.0)
                && self.0.as_bytes()[other.0.len()] == b'/')
    }

    /// The form inside task ids: no leading slash, `_` for `/`.
    pub fn safe(&self) -> String {
        self.0[1..].replace('/', "_")
    }

    /// The name of its tasks: segments in reverse, joined by dots.
    pub fn task_name(&self) -> String {
        let segments: Vec<&str> = self.segments().rev().collect();
        segments.join(".")
    }
}

/// `^(([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])\.)*([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])$`
fn is_segment(segment: &str) -> bool {
    segment.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    })
}

impl TryFrom<String> for PathId {
    type Error = InvalidPath;
    fn try_from(text: String) -> Result<Self, InvalidPath> {
        Self::parse(&text)
    }
}

impl From<PathId> for String {
    fn from(id: PathId) -> Self {
        id.0.to_string()
    }
}

impl fmt::Display for PathId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PathId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(PathId::parse(text).ok().as_ref().map(PathId::as_str), expected, "{text}");
    }

    #[test]
    fn grammar() {
        check("x", Some("/x"));
        check("/a/b/", Some("/a/b"));
        check("/a/../b/./c", Some("/b/c"));
        check("/a.b-1/0", Some("/a.b-1/0"));
        check("/", Some("/"));
        for bad in [
            "", "/A", "/a_b", "/...", "/a b", "/a+", "/a!", "/[", "/-a", "/a-", "//a", "/a//b", "/..",
            "/a..b", "/${x}",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn parts() {
        let id = PathId::parse("/a/b/c").unwrap();
        assert_eq!(id.parent().as_str(), "/a/b");
        assert_eq!(PathId::parse("/a").unwrap().parent(), PathId::root());
        assert_eq!(id.safe(), "a_b_c");
        assert_eq!(id.task_name(), "c.b.a");
        assert!(id.is_within(&PathId::parse("/a").unwrap()));
        assert!(!PathId::parse("/ab").unwrap().is_within(&PathId::parse("/a").unwrap()));
    }
}
