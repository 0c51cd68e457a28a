//! The protobuf messages, written by hand.
//!
//! Rules of growth: a tag is never reused; gaps of tags are left between groups
//! of fields so that kin can stay together; a new field must be optional for
//! both sides; a new message is a new case of a frame's `oneof`. Quantities are
//! `sint64` thousandths, times `uint64` milliseconds since 1970, durations
//! `uint64` milliseconds, uuids 16 bytes, enums the numbers of `numbers.rs`.

use std::collections::BTreeMap;

/// From an agent to the master.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentFrame {
    #[prost(oneof = "agent_frame::Message", tags = "1, 2")]
    pub message: Option<agent_frame::Message>,
}

pub mod agent_frame {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Message {
        #[prost(message, tag = "1")]
        Register(Box<super::Register>),
        #[prost(message, tag = "2")]
        Update(Box<super::StatusUpdate>),
    }
}

/// From the master to an agent.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MasterFrame {
    #[prost(oneof = "master_frame::Message", tags = "1, 2, 3, 4, 5, 6, 7")]
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
}

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
pub struct ShutdownFramework {
    #[prost(string, tag = "1")]
    pub framework_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Shutdown {
    #[prost(string, tag = "1")]
    pub message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentInfo {
    #[prost(string, optional, tag = "1")]
    pub id: Option<String>,
    #[prost(string, tag = "2")]
    pub hostname: String,
    #[prost(string, tag = "3")]
    pub ip: String,
    #[prost(uint32, tag = "4")]
    pub port: u32,
    #[prost(string, tag = "5")]
    pub version: String,
    #[prost(message, repeated, tag = "10")]
    pub resources: Vec<Resource>,
    #[prost(message, repeated, tag = "11")]
    pub attributes: Vec<Attribute>,
    #[prost(message, optional, tag = "12")]
    pub domain: Option<FaultDomain>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Attribute {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(oneof = "attribute::Value", tags = "5, 6, 7, 8")]
    pub value: Option<attribute::Value>,
}

pub mod attribute {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Value {
        #[prost(sint64, tag = "5")]
        ScalarMilli(i64),
        #[prost(message, tag = "6")]
        Ranges(super::Ranges),
        #[prost(message, tag = "7")]
        Set(super::Set),
        #[prost(string, tag = "8")]
        Text(String),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct FaultDomain {
    #[prost(string, tag = "1")]
    pub region: String,
    #[prost(string, tag = "2")]
    pub zone: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Resource {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(oneof = "resource::Value", tags = "5, 6, 7")]
    pub value: Option<resource::Value>,
    /// Outermost first.
    #[prost(message, repeated, tag = "10")]
    pub reservations: Vec<Reservation>,
}

pub mod resource {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Value {
        #[prost(sint64, tag = "5")]
        ScalarMilli(i64),
        #[prost(message, tag = "6")]
        Ranges(super::Ranges),
        #[prost(message, tag = "7")]
        Set(super::Set),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Ranges {
    #[prost(message, repeated, tag = "1")]
    pub ranges: Vec<Range>,
}

/// Both ends are inside.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Range {
    #[prost(uint64, tag = "1")]
    pub begin: u64,
    #[prost(uint64, tag = "2")]
    pub end: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Set {
    #[prost(string, repeated, tag = "1")]
    pub items: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Reservation {
    #[prost(string, tag = "1")]
    pub role: String,
    #[prost(bool, tag = "2")]
    pub dynamic: bool,
    #[prost(string, optional, tag = "3")]
    pub principal: Option<String>,
    #[prost(message, repeated, tag = "4")]
    pub labels: Vec<Label>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct FrameworkInfo {
    #[prost(string, optional, tag = "1")]
    pub id: Option<String>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub user: String,
    #[prost(string, repeated, tag = "4")]
    pub roles: Vec<String>,
    #[prost(uint64, tag = "10")]
    pub failover_timeout_ms: u64,
    #[prost(bool, tag = "11")]
    pub checkpoint: bool,
    #[prost(string, tag = "15")]
    pub hostname: String,
    #[prost(string, optional, tag = "16")]
    pub principal: Option<String>,
    #[prost(string, optional, tag = "17")]
    pub webui_url: Option<String>,
    #[prost(int32, repeated, tag = "20")]
    pub capabilities: Vec<i32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskRecord {
    #[prost(string, tag = "1")]
    pub framework_id: String,
    #[prost(message, optional, tag = "2")]
    pub info: Option<TaskInfo>,
    #[prost(int32, tag = "3")]
    pub state: i32,
    #[prost(message, repeated, tag = "4")]
    pub statuses: Vec<TaskStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskInfo {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub agent_id: String,
    #[prost(message, repeated, tag = "5")]
    pub resources: Vec<Resource>,
    #[prost(message, optional, tag = "10")]
    pub command: Option<CommandInfo>,
    #[prost(message, optional, tag = "11")]
    pub container: Option<ContainerInfo>,
    #[prost(message, optional, tag = "15")]
    pub kill_policy: Option<KillPolicy>,
    #[prost(message, optional, tag = "20")]
    pub discovery: Option<DiscoveryInfo>,
    #[prost(btree_map = "string, string", tag = "21")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CommandInfo {
    #[prost(bool, tag = "1")]
    pub shell: bool,
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
    #[prost(string, repeated, tag = "3")]
    pub arguments: Vec<String>,
    /// In order; a later value of one name wins.
    #[prost(message, repeated, tag = "10")]
    pub environment: Vec<Variable>,
    #[prost(string, optional, tag = "11")]
    pub user: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Variable {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerInfo {
    #[prost(string, optional, tag = "1")]
    pub image: Option<String>,
    #[prost(bool, tag = "2")]
    pub force_pull: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct KillPolicy {
    #[prost(uint64, tag = "1")]
    pub grace_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DiscoveryInfo {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, repeated, tag = "5")]
    pub ports: Vec<DiscoveryPort>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DiscoveryPort {
    #[prost(uint32, tag = "1")]
    pub number: u32,
    #[prost(string, optional, tag = "2")]
    pub name: Option<String>,
    #[prost(string, tag = "3")]
    pub protocol: String,
    #[prost(btree_map = "string, string", tag = "10")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StatusUpdate {
    #[prost(string, tag = "1")]
    pub framework_id: String,
    #[prost(string, tag = "2")]
    pub agent_id: String,
    #[prost(message, optional, tag = "5")]
    pub status: Option<TaskStatus>,
    #[prost(int32, tag = "6")]
    pub latest_state: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskStatus {
    #[prost(string, tag = "1")]
    pub task_id: String,
    #[prost(int32, tag = "2")]
    pub state: i32,
    #[prost(uint64, tag = "3")]
    pub timestamp_ms: u64,
    #[prost(int32, tag = "4")]
    pub source: i32,
    #[prost(int32, optional, tag = "5")]
    pub reason: Option<i32>,
    #[prost(string, optional, tag = "6")]
    pub message: Option<String>,
    #[prost(string, optional, tag = "10")]
    pub agent_id: Option<String>,
    #[prost(bytes = "vec", optional, tag = "11")]
    pub uuid: Option<Vec<u8>>,
    #[prost(message, optional, tag = "15")]
    pub container: Option<ContainerStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerStatus {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(string, tag = "2")]
    pub ip: String,
    #[prost(uint32, optional, tag = "3")]
    pub pid: Option<u32>,
}
