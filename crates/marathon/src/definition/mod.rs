//! App definitions: the canonical form, the form clients send, and the way
//! from one to the other.

pub mod app;
pub mod update;

mod normalize;
mod unavailable;
mod validate;

pub use app::AppDefinition;
pub use normalize::{Rules, resolve};
pub use unavailable::SUFFIX as UNAVAILABLE;
pub use update::AppUpdate;
