//! Tasks and what is reported of them.

use std::collections::BTreeMap;

use super::{ExecutorInfo, Label, Resource, ResourceList};

#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskRecord {
    #[prost(string, tag = "1")]
    pub framework_id: String,
    #[prost(message, optional, boxed, tag = "2")]
    pub info: Option<Box<TaskInfo>>,
    #[prost(int32, tag = "3")]
    pub state: i32,
    #[prost(message, repeated, tag = "4")]
    pub statuses: Vec<TaskStatus>,
    /// Its resources are allocated to it.
    #[prost(string, optional, tag = "5")]
    pub role: Option<String>,
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
    #[prost(message, optional, boxed, tag = "25")]
    pub executor: Option<Box<ExecutorInfo>>,
    #[prost(uint64, optional, tag = "26")]
    pub max_completion_ms: Option<u64>,
    #[prost(message, optional, boxed, tag = "27")]
    pub health_check: Option<Box<HealthCheck>>,
    #[prost(message, optional, boxed, tag = "28")]
    pub check: Option<Box<Check>>,
    #[prost(bytes = "vec", optional, tag = "30")]
    pub raw: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct HealthCheck {
    #[prost(message, optional, tag = "1")]
    pub check: Option<Check>,
    #[prost(uint32, tag = "2")]
    pub consecutive_failures: u32,
    #[prost(uint64, tag = "3")]
    pub grace_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Check {
    #[prost(oneof = "probe::Kind", tags = "1, 2, 3")]
    pub probe: Option<probe::Kind>,
    #[prost(uint64, tag = "10")]
    pub delay_ms: u64,
    #[prost(uint64, tag = "11")]
    pub interval_ms: u64,
    /// Zero: none.
    #[prost(uint64, tag = "12")]
    pub timeout_ms: u64,
}

pub mod probe {
    use super::CommandInfo;

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Kind {
        #[prost(message, tag = "1")]
        Command(CommandInfo),
        #[prost(message, tag = "2")]
        Http(Http),
        #[prost(message, tag = "3")]
        Tcp(Tcp),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Http {
        #[prost(bool, tag = "1")]
        pub tls: bool,
        #[prost(bool, tag = "2")]
        pub ipv6: bool,
        #[prost(uint32, tag = "3")]
        pub port: u32,
        #[prost(string, tag = "4")]
        pub path: String,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Tcp {
        #[prost(bool, tag = "1")]
        pub ipv6: bool,
        #[prost(uint32, tag = "2")]
        pub port: u32,
    }
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
    #[prost(string, optional, tag = "12")]
    pub executor_id: Option<String>,
    #[prost(message, optional, boxed, tag = "15")]
    pub container: Option<Box<ContainerStatus>>,
    #[prost(bytes = "vec", optional, tag = "20")]
    pub data: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "21")]
    pub healthy: Option<bool>,
    #[prost(message, optional, tag = "22")]
    pub check: Option<CheckStatus>,
    #[prost(message, repeated, tag = "23")]
    pub labels: Vec<Label>,
    /// What was exceeded.
    #[prost(message, optional, tag = "24")]
    pub limitation: Option<ResourceList>,
    #[prost(uint64, optional, tag = "25")]
    pub unreachable_since_ms: Option<u64>,
}

/// What a generic check saw last; none: no result yet.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckStatus {
    #[prost(oneof = "check_status::Kind", tags = "1, 2, 3")]
    pub kind: Option<check_status::Kind>,
}

pub mod check_status {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Kind {
        #[prost(message, tag = "1")]
        Command(Command),
        #[prost(message, tag = "2")]
        Http(Http),
        #[prost(message, tag = "3")]
        Tcp(Tcp),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Command {
        #[prost(sint32, optional, tag = "1")]
        pub exit_code: Option<i32>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Http {
        #[prost(uint32, optional, tag = "1")]
        pub status_code: Option<u32>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Tcp {
        #[prost(bool, optional, tag = "1")]
        pub succeeded: Option<bool>,
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerStatus {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(string, tag = "2")]
    pub ip: String,
    #[prost(uint32, optional, tag = "3")]
    pub pid: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "5")]
    pub raw: Option<Vec<u8>>,
}
