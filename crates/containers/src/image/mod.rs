//! Images: from a reference to verified, unpacked layers on this node's disk.
//!
//! [`mod@reference`] reads what people write, [`store`] keeps and shares, and
//! [`layout`] and [`registry`] are the two places images come from;
//! [`manifest`] reads their documents and [`unpack`] their layers. Invariants:
//! every byte is checked against its digest before it is used; a layer is
//! visible under its name only when it is complete and on disk.

mod error;
mod layout;
mod manifest;
mod reference;
mod registry;
mod store;
mod unpack;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use error::PullError;
pub use store::Store;

/// An image that is ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub config: ImageConfig,
    pub layers_dir: PathBuf,
    /// Directory names in `layers_dir`, topmost first.
    pub layers: Vec<String>,
}

/// What an image says about running it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub env: Vec<String>,
    pub working_dir: String,
}
