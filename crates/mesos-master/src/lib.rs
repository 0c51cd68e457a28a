//! The Mesos master: admits agents, subscribes frameworks, offers resources,
//! launches and kills tasks, carries status updates.
//!
//! [`Master`] is the pure brain: `step(now, input) -> Output{writes, effects}`.
//! It owns every decision, including the [`allocator`]; [`shell`] owns sockets,
//! the store and timers. Reads are served from [`view::MasterView`], published
//! by the shell. Behaviour: `apache/mesos` `src/master/master.cpp`,
//! `docs/scheduler-http-api.md`, as collected in the project's contracts.
//! Start reading at [`brain`].
#![forbid(unsafe_code)]

mod accept;
mod agents;
pub mod allocator;
pub mod brain;
pub mod calls;
pub mod config;
pub mod counters;
mod events;
mod executors;
mod frameworks;
mod invariants;
mod ledger;
mod loss;
mod maintenance;
mod offers;
mod operations;
mod operator;
mod reconcile;
pub mod records;
mod settled;
pub mod shelf;
pub mod shell;
mod snapshot;
pub mod state;
mod tasks;
mod tracked;
mod validation;
pub mod view;

pub use brain::{ConnId, Effect, Input, Master, Out};
pub use config::MasterConfig;
pub use records::{AdmittedState, AgentRecord, Record, RecordKey, Write};
pub use view::MasterView;
