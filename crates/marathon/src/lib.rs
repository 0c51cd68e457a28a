//! Marathon: keeps apps running on a Mesos cluster.
//!
//! [`brain::Marathon`] decides, without I/O, clock or threads: inputs in,
//! durable writes and effects out. [`shell`] gives it a store, a master and
//! clients. Nothing here knows HTTP or JSON of clients (`marathon-http` does).
//! Rules: `mesosphere/marathon` v1.7.236.
//! Start reading at [`brain`].
#![forbid(unsafe_code)]

pub mod api;
pub mod brain;
pub mod config;
pub mod definition;
pub mod path;
pub mod records;
pub mod shell;
pub mod state;
pub mod view;

pub use api::{ApiCall, ApiError, ApiReply, DeploymentRef, MarathonEvent, TaskSelector, Violation};
pub use brain::{Effect, Input, LoadError, Marathon};
pub use config::{Config, Limits};
pub use definition::{AppDefinition, AppUpdate};
pub use path::PathId;
pub use shell::{Handle, SchedulerLink, Service, ServiceError};
pub use state::{Record, Write};
pub use view::View;
