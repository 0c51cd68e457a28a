//! The operators' v1 APIs: `POST /api/v1` of master and agent.
//!
//! One call in, one message or one stream out. [`master`] and [`agent`] keep the
//! order of checks of the original; the texts and statuses of refusals are its.

pub(crate) mod agent;
pub(crate) mod common;
pub(crate) mod master;

pub use agent::CALLS as AGENT_CALLS;
pub use master::CALLS as MASTER_CALLS;
