//! The simulator: whole clusters in one process under virtual time.
//!
//! [`World`] runs the very brains of the daemon (master, agents, Marathon) over a
//! seeded network, seeded disks and seeded crashes, checks the invariants after
//! every step, and after the faults end checks that the cluster comes to rest
//! where the acknowledged orders say. A seed and a commit replay exactly.
//! Start reading at [`sim`].
#![forbid(unsafe_code)]

mod chaos;
mod containers;
pub mod faults;
mod links;
mod marathon_side;
pub mod node;
pub mod oracle;
mod racers;
pub mod sim;

pub use faults::Plan;
pub use sim::{Failure, Report, World};
