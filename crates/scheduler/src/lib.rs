//! The framework's side of two-level scheduling: does this offer fit, and if not, why?
//!
//! Pure functions and records shared by every framework of the house. It sends
//! no calls, keeps no instances and reads no clock; the caller passes `now` and
//! its generator. Rules: `mesosphere/marathon` `src/main/scala/mesosphere/mesos`
//! and `core/launchqueue`. Start reading at [`matching::Bid`].
#![forbid(unsafe_code)]

pub mod backoff;
pub mod constraint;
pub mod funnel;
pub mod matching;

pub use backoff::{Backoff, BackoffPolicy};
pub use constraint::{Constraint, ConstraintError, Operator, Place};
pub use funnel::{Funnel, FunnelRow, OfferTally, UnusedOffer};
pub use matching::{Bid, Demand, Match, PortDemand, RejectReason};
