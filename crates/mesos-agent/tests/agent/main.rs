//! The agent's brain, told as it would be: what comes in, what goes out.

mod executors;
mod groups;
mod operations;
mod recovery;
mod support;
mod tasks;
