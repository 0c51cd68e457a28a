//! Who is offered what: hierarchical dominant resource fairness with quota.
//!
//! A pure state machine that knows agents, frameworks, roles and amounts, and neither
//! connections nor tasks. It is told of every change and keeps its sums up to date;
//! [`Allocator::allocate`] divides what is free.

mod facts;
mod plain;
mod reference;

pub use facts::{
    AgentFacts, FILTER_MAX_MS, FILTERS_PER_CLIENT_MAX, FrameworkFacts, Grant, InverseGrant, Options,
    RECOVERY_AGENTS_PERCENT, RECOVERY_WAIT_MS, Sorter,
};
pub use plain::{Candidate, Client, Minimum, allocate, dominant_share};
pub use reference::Allocator;
