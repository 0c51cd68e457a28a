//! What can go wrong with a local cluster.
//!
//! Responsible for the one error type of this room and for printing its chain on
//! one line. Not for exit codes: `cli` decides those. Invariant: a `Refused` says
//! what was wrong and what is allowed; every other variant names the thing it
//! was working on.

use std::io;
use std::path::{Path, PathBuf};

/// A failed operation on a local cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The person asked for something that cannot be done; the text says what can.
    #[error("{0}")]
    Refused(String),
    #[error("{action} {}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{action}")]
    System {
        action: String,
        #[source]
        source: io::Error,
    },
    #[error("{action}")]
    Netlink {
        action: String,
        #[source]
        source: Box<rtnetlink::Error>,
    },
    #[error("{} is not understood ({source}); remove it or start anew with --fresh", path.display())]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{what} did not happen within {seconds} s{hint}")]
    Timeout { what: String, seconds: u64, hint: String },
    #[error("certificates of node {node}: {message}")]
    Pki { node: String, message: String },
}

/// Shorthand of this room.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A closure for `map_err` around a file operation.
pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::File { action, path, source }
}

/// A closure for `map_err` around a system call.
pub(crate) fn system<E: Into<io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> Error {
    let action = action.into();
    move |source| Error::System { action, source: source.into() }
}

/// The error with its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
