//! The words of the house: ids, time, resources, agents, frameworks, tasks, offers.
//!
//! Everything here is plain data with its algebra and its validation; it knows
//! no wire format of any foreign API, does no I/O and reads no clock. The
//! `serde` derives serve our own stored records and our own agent stream only;
//! what a client sees is built by hand in the `*-http` rooms.
//! Start reading at [`resources`] and [`task`].
#![forbid(unsafe_code)]

pub mod agent;
pub mod agent_api;
pub mod framework;
pub mod ids;
pub mod offer;
pub mod output;
pub mod resources;
pub mod rng;
pub mod scheduler_api;
pub mod task;
pub mod time;

pub use agent::{AgentInfo, Attribute, AttributeValue, FaultDomain};
pub use framework::{Capability, FrameworkInfo};
pub use ids::{AgentId, ContainerId, ExecutorId, FrameworkId, OfferId, Principal, Role, TaskId, UpdateId};
pub use offer::Offer;
pub use output::Output;
pub use resources::{Quantity, Ranges, Reservation, Resource, ResourceValue, Resources};
pub use rng::Rng;
pub use task::{
    CommandInfo, ContainerInfo, DiscoveryInfo, KillPolicy, Reason, Source, StatusUpdate, TaskInfo, TaskState,
    TaskStatus,
};
pub use time::Time;
