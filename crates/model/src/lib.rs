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
pub mod cluster;
pub mod executor;
pub mod executor_api;
pub mod framework;
pub mod ids;
pub mod offer;
pub mod opaque;
pub mod operation;
pub mod operator_api;
pub mod output;
pub mod resources;
pub mod rng;
pub mod scheduler_api;
pub mod task;
pub mod time;

pub use agent::{AgentCapability, AgentInfo, Attribute, AttributeValue, FaultDomain};
pub use cluster::{
    DrainConfig, DrainInfo, DrainState, MachineId, MaintenanceSchedule, MaintenanceWindow, Quantities,
    QuotaConfig, Unavailability, Weight,
};
pub use executor::{ExecutorInfo, ExecutorKind, ExecutorRecord};
pub use framework::{Capability, FrameworkInfo, MinAllocatable};
pub use ids::{
    AgentId, ContainerId, ExecutorId, FrameworkId, OfferId, OperationId, Principal, Role, TaskId, UpdateId,
};
pub use offer::{InverseOffer, Offer};
pub use opaque::Opaque;
pub use operation::{
    Operation, OperationKind, OperationRecord, OperationState, OperationStatus, ResourceOperation, TaskLaunch,
};
pub use output::Output;
pub use resources::{
    DiskInfo, DiskKind, DiskSource, DiskVolume, Persistence, Quantity, Ranges, Reservation, Resource,
    ResourceName, ResourceValue, Resources,
};
pub use rng::Rng;
pub use task::{
    Check, CheckStatus, CommandInfo, ContainerInfo, ContainerStatus, DiscoveryInfo, HealthCheck, KillPolicy,
    Probe, Reason, Source, StatusUpdate, TaskInfo, TaskState, TaskStatus,
};
pub use time::Time;
