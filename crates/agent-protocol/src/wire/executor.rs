//! Executors.

use super::{CommandInfo, ContainerInfo, Label, Resource};

#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecutorInfo {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(int32, optional, tag = "2")]
    pub kind: Option<i32>,
    #[prost(string, optional, tag = "3")]
    pub framework_id: Option<String>,
    #[prost(message, repeated, tag = "5")]
    pub resources: Vec<Resource>,
    #[prost(message, optional, tag = "10")]
    pub command: Option<CommandInfo>,
    #[prost(message, optional, tag = "11")]
    pub container: Option<ContainerInfo>,
    #[prost(string, tag = "15")]
    pub name: String,
    #[prost(string, tag = "16")]
    pub source: String,
    #[prost(message, repeated, tag = "20")]
    pub labels: Vec<Label>,
    #[prost(uint64, optional, tag = "25")]
    pub shutdown_grace_ms: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "30")]
    pub raw: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecutorRecord {
    #[prost(string, tag = "1")]
    pub framework_id: String,
    #[prost(string, tag = "2")]
    pub agent_id: String,
    #[prost(message, optional, boxed, tag = "3")]
    pub info: Option<Box<ExecutorInfo>>,
    /// Its resources are allocated to it.
    #[prost(string, tag = "4")]
    pub role: String,
}
