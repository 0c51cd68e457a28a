//! Why an image is not there, each with what to look at.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error(
        "image reference {reference:?} is not valid: {why}; write [host[:port]/]name[:tag|@sha256:digest] or oci:/absolute/directory[:tag]"
    )]
    Reference { reference: String, why: &'static str },
    #[error("image {reference} does not exist in {place}: check its name and tag")]
    NotFound { reference: String, place: String },
    #[error("image {reference} is not for this machine: it needs {wanted}, found {found}")]
    Platform { reference: String, wanted: String, found: String },
    #[error(
        "cannot reach registry {registry} for image {reference}: {reason}; check that it runs, its name and port, and the network between (plain HTTP is spoken only with loopback and insecure registries)"
    )]
    Unreachable { registry: String, reference: String, reason: String },
    #[error(
        "registry {registry} sent nothing for {seconds} s while image {reference} was pulled: check that it is healthy and not overloaded, then try again"
    )]
    Stalled { registry: String, reference: String, seconds: u64 },
    #[error(
        "registry {registry} refuses image {reference} ({reason}): check that the image exists and may be read without credentials"
    )]
    Denied { registry: String, reference: String, reason: String },
    #[error(
        "registry {registry} answered {status} for {what} of image {reference}: check the registry's log, or try again later"
    )]
    Status { registry: String, reference: String, what: String, status: u16 },
    #[error(
        "{what} is corrupt: expected {expected}, found {found}; it was removed, push or copy the image again"
    )]
    Digest { what: String, expected: String, found: String },
    #[error("{what} is larger than the {limit} accepted")]
    TooLarge { what: String, limit: String },
    #[error("{what} of image {reference} is not understood: {why}")]
    Malformed { reference: String, what: String, why: String },
    #[error("{what} is not supported: {advice}")]
    Unsupported { what: String, advice: &'static str },
    #[error("layer {digest} cannot be unpacked: {why}; nothing of it was kept")]
    Layer { digest: String, why: String },
    #[error("cannot use {path}: {source}; check the image store's file system")]
    Io { path: PathBuf, source: io::Error },
    #[error("the pull of image {0} was given up")]
    Abandoned(String),
}

impl PullError {
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
