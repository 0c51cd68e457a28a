//! Resources with their reservations and disks.

#[derive(Clone, PartialEq, prost::Message)]
pub struct Resource {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(oneof = "resource::Value", tags = "5, 6, 7")]
    pub value: Option<resource::Value>,
    /// Outermost first.
    #[prost(message, repeated, tag = "10")]
    pub reservations: Vec<Reservation>,
    #[prost(message, optional, boxed, tag = "15")]
    pub disk: Option<Box<DiskInfo>>,
    #[prost(bool, tag = "16")]
    pub revocable: bool,
    /// How many copies; 0: not shared.
    #[prost(uint32, tag = "17")]
    pub shared: u32,
    #[prost(string, optional, tag = "18")]
    pub provider: Option<String>,
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
pub struct Label {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DiskInfo {
    #[prost(message, optional, tag = "1")]
    pub source: Option<DiskSource>,
    #[prost(message, optional, tag = "2")]
    pub persistence: Option<Persistence>,
    #[prost(message, optional, tag = "3")]
    pub volume: Option<DiskVolume>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DiskSource {
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(string, optional, tag = "2")]
    pub root: Option<String>,
    #[prost(string, optional, tag = "5")]
    pub id: Option<String>,
    #[prost(string, optional, tag = "6")]
    pub profile: Option<String>,
    #[prost(string, optional, tag = "7")]
    pub vendor: Option<String>,
    #[prost(message, repeated, tag = "8")]
    pub metadata: Vec<Label>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Persistence {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, optional, tag = "2")]
    pub principal: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DiskVolume {
    #[prost(string, tag = "1")]
    pub container_path: String,
    #[prost(bool, tag = "2")]
    pub read_only: bool,
    #[prost(string, optional, tag = "3")]
    pub host_path: Option<String>,
}

/// Where a list of resources may be absent or empty, and both mean something.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResourceList {
    #[prost(message, repeated, tag = "1")]
    pub resources: Vec<Resource>,
}
