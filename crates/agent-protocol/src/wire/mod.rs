//! The protobuf messages, written by hand.
//!
//! Rules of growth: a tag is never reused; gaps of tags are left between groups
//! of fields so that kin can stay together; a new field must be optional for
//! both sides; a new message is a new case of a frame's `oneof`. Quantities are
//! `sint64` thousandths, times `uint64` milliseconds since 1970, durations
//! `uint64` milliseconds, uuids 16 bytes, enums the numbers of `numbers.rs`.
//! Opaque bytes of clients are carried as they are.
//!
//! What may be absent and is large is boxed, so that a list of nearly empty
//! messages, which costs its sender two bytes each, costs us little more.

mod executor;
mod info;
mod operation;
mod resources;
mod task;

pub use executor::*;
pub use info::*;
pub use operation::*;
pub use resources::*;
pub use task::*;

/// From an agent to the master.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentFrame {
    #[prost(oneof = "agent_frame::Message", tags = "1, 2, 3, 4, 5, 6")]
    pub message: Option<agent_frame::Message>,
}

pub mod agent_frame {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Message {
        #[prost(message, tag = "1")]
        Register(Box<super::Register>),
        #[prost(message, tag = "2")]
        Update(Box<super::StatusUpdate>),
        #[prost(message, tag = "3")]
        OperationUpdate(Box<super::OperationUpdate>),
        #[prost(message, tag = "4")]
        Message(super::ExecutorMessage),
        #[prost(message, tag = "5")]
        ExecutorExited(super::ExecutorExited),
        #[prost(message, tag = "6")]
        Unregister(super::Unregister),
    }
}

/// From the master to an agent.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MasterFrame {
    #[prost(oneof = "master_frame::Message", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16")]
    pub message: Option<master_frame::Message>,
}

pub mod master_frame {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Message {
        #[prost(message, tag = "1")]
        Registered(super::Registered),
        #[prost(message, tag = "2")]
        RunTask(Box<super::RunTask>),
        #[prost(message, tag = "3")]
        KillTask(super::KillTask),
        #[prost(message, tag = "4")]
        Acknowledge(super::Acknowledge),
        #[prost(message, tag = "5")]
        Reconcile(super::Reconcile),
        #[prost(message, tag = "6")]
        ShutdownFramework(super::ShutdownFramework),
        #[prost(message, tag = "7")]
        Shutdown(super::Shutdown),
        #[prost(message, tag = "8")]
        RunGroup(Box<super::RunGroup>),
        #[prost(message, tag = "9")]
        ReconcileOperations(super::ReconcileOperations),
        #[prost(message, tag = "10")]
        ShutdownExecutor(super::ShutdownExecutor),
        #[prost(message, tag = "11")]
        UpdateFramework(Box<super::UpdateFramework>),
        #[prost(message, tag = "12")]
        Message(super::ExecutorMessage),
        #[prost(message, tag = "13")]
        ApplyOperation(Box<super::ApplyOperation>),
        #[prost(message, tag = "14")]
        AcknowledgeOperation(super::AcknowledgeOperation),
        #[prost(message, tag = "15")]
        Drain(super::DrainConfig),
        #[prost(message, tag = "16")]
        Reactivate(super::Reactivate),
    }
}

/// First message of an agent's stream.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Register {
    /// What the agent speaks.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// The oldest master it accepts.
    #[prost(uint32, tag = "2")]
    pub version_oldest: u32,
    #[prost(message, optional, tag = "5")]
    pub info: Option<AgentInfo>,
    #[prost(message, repeated, tag = "10")]
    pub frameworks: Vec<FrameworkInfo>,
    #[prost(message, repeated, tag = "11")]
    pub tasks: Vec<TaskRecord>,
    #[prost(message, repeated, tag = "12")]
    pub executors: Vec<ExecutorRecord>,
    #[prost(message, repeated, tag = "13")]
    pub operations: Vec<OperationRecord>,
    #[prost(message, optional, tag = "20")]
    pub drain: Option<DrainConfig>,
}

/// How an operation stands.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OperationUpdate {
    /// Of the operation; its status has its own.
    #[prost(bytes = "vec", tag = "1")]
    pub uuid: Vec<u8>,
    #[prost(string, optional, tag = "2")]
    pub framework_id: Option<String>,
    #[prost(message, optional, tag = "5")]
    pub status: Option<OperationStatus>,
}

/// Between a scheduler and its executor; the direction is that of the frame.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecutorMessage {
    #[prost(string, tag = "1")]
    pub framework_id: String,
    #[prost(string, tag = "2")]
    pub executor_id: String,
    #[prost(bytes = "vec", tag = "3")]
    pub data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecutorExited {
    #[prost(string, tag = "1")]
    pub framework_id: String,
    #[prost(string, tag = "2")]
    pub executor_id: String,
    /// As of wait(2).
    #[prost(sint32, optional, tag = "3")]
    pub status: Option<i32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Unregister {}

/// First message of the master's side.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Registered {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(uint32, tag = "2")]
    pub version_oldest: u32,
    #[prost(string, tag = "5")]
    pub agent_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RunTask {
    #[prost(message, optional, tag = "1")]
    pub framework: Option<FrameworkInfo>,
    #[prost(message, optional, tag = "2")]
    pub task: Option<TaskInfo>,
    /// Of the offer.
    #[prost(string, tag = "3")]
    pub role: String,
}

/// All of the tasks or none.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RunGroup {
    #[prost(message, optional, tag = "1")]
    pub framework: Option<FrameworkInfo>,
    #[prost(message, optional, tag = "2")]
    pub executor: Option<ExecutorInfo>,
    /// Of the offer.
    #[prost(string, tag = "3")]
    pub role: String,
    #[prost(message, repeated, tag = "5")]
    pub tasks: Vec<TaskInfo>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct KillTask {
    #[prost(string, tag = "1")]
    pub framework_id: String,
    #[prost(string, tag = "2")]
    pub task_id: String,
    #[prost(message, optional, tag = "5")]
    pub kill_policy: Option<KillPolicy>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Acknowledge {
    #[prost(string, tag = "1")]
    pub framework_id: String,
    #[prost(string, tag = "2")]
    pub task_id: String,
    #[prost(bytes = "vec", tag = "3")]
    pub uuid: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Reconcile {
    #[prost(message, repeated, tag = "1")]
    pub tasks: Vec<TaskName>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskName {
    #[prost(string, tag = "1")]
    pub framework_id: String,
    #[prost(string, tag = "2")]
    pub task_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ReconcileOperations {
    #[prost(message, repeated, tag = "1")]
    pub operations: Vec<OperationName>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct OperationName {
    #[prost(bytes = "vec", tag = "1")]
    pub uuid: Vec<u8>,
    #[prost(string, optional, tag = "2")]
    pub framework_id: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ShutdownExecutor {
    #[prost(string, tag = "1")]
    pub framework_id: String,
    #[prost(string, tag = "2")]
    pub executor_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateFramework {
    #[prost(message, optional, tag = "1")]
    pub framework: Option<FrameworkInfo>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ApplyOperation {
    #[prost(message, optional, tag = "1")]
    pub operation: Option<OperationRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AcknowledgeOperation {
    /// Of the operation.
    #[prost(bytes = "vec", tag = "1")]
    pub uuid: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub status_uuid: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DrainConfig {
    #[prost(uint64, optional, tag = "1")]
    pub max_grace_ms: Option<u64>,
    #[prost(bool, tag = "2")]
    pub mark_gone: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Reactivate {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ShutdownFramework {
    #[prost(string, tag = "1")]
    pub framework_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Shutdown {
    #[prost(string, tag = "1")]
    pub message: String,
}
