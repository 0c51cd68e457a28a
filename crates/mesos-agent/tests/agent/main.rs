//! The agent's brain, told as it would be: what comes in, what goes out.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod checks;
mod executors;
mod groups;
mod operations;
mod recovery;
mod storm;
mod support;
mod tasks;
