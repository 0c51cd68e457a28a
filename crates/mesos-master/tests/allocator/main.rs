//! The allocator against its contract: scenarios in text, and random clusters against a
//! plain implementation of the rules.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod random;
mod reference;
mod scenarios;
