//! Operations that an agent applies to its resources, and how they stand.

use super::{Resource, ResourceList};

#[derive(Clone, PartialEq, prost::Message)]
pub struct OperationRecord {
    #[prost(bytes = "vec", tag = "1")]
    pub uuid: Vec<u8>,
    /// None: an operator's.
    #[prost(string, optional, tag = "2")]
    pub framework_id: Option<String>,
    /// Set when its framework asked for feedback.
    #[prost(string, optional, tag = "3")]
    pub id: Option<String>,
    /// Of the offer it came from.
    #[prost(string, optional, tag = "4")]
    pub role: Option<String>,
    #[prost(message, optional, boxed, tag = "5")]
    pub latest: Option<Box<OperationStatus>>,
    #[prost(message, repeated, tag = "6")]
    pub statuses: Vec<OperationStatus>,
    #[prost(oneof = "operation_record::Kind", tags = "20, 21, 22, 23, 24, 25, 26, 27")]
    pub operation: Option<operation_record::Kind>,
}

pub mod operation_record {
    use super::{Resource, ResourceList};

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Kind {
        #[prost(message, tag = "20")]
        Reserve(Box<Reserve>),
        #[prost(message, tag = "21")]
        Unreserve(ResourceList),
        #[prost(message, tag = "22")]
        Create(ResourceList),
        #[prost(message, tag = "23")]
        Destroy(ResourceList),
        #[prost(message, tag = "24")]
        GrowVolume(Box<GrowVolume>),
        #[prost(message, tag = "25")]
        ShrinkVolume(Box<ShrinkVolume>),
        #[prost(message, tag = "26")]
        CreateDisk(Box<CreateDisk>),
        #[prost(message, tag = "27")]
        DestroyDisk(Box<DestroyDisk>),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Reserve {
        /// What they are at present; empty: unreserved by one level.
        #[prost(message, repeated, tag = "1")]
        pub source: Vec<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub resources: Vec<Resource>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct GrowVolume {
        #[prost(message, optional, tag = "1")]
        pub volume: Option<Resource>,
        #[prost(message, optional, tag = "2")]
        pub addition: Option<Resource>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ShrinkVolume {
        #[prost(message, optional, tag = "1")]
        pub volume: Option<Resource>,
        #[prost(sint64, tag = "2")]
        pub subtract_milli: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct CreateDisk {
        #[prost(message, optional, tag = "1")]
        pub source: Option<Resource>,
        #[prost(int32, tag = "2")]
        pub target: i32,
        #[prost(string, optional, tag = "3")]
        pub profile: Option<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct DestroyDisk {
        #[prost(message, optional, tag = "1")]
        pub source: Option<Resource>,
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct OperationStatus {
    #[prost(string, optional, tag = "1")]
    pub operation_id: Option<String>,
    #[prost(int32, tag = "2")]
    pub state: i32,
    #[prost(string, optional, tag = "3")]
    pub message: Option<String>,
    /// What the consumed resources became.
    #[prost(message, repeated, tag = "5")]
    pub converted: Vec<Resource>,
    #[prost(bytes = "vec", optional, tag = "10")]
    pub uuid: Option<Vec<u8>>,
    #[prost(string, optional, tag = "11")]
    pub agent_id: Option<String>,
    #[prost(string, optional, tag = "12")]
    pub provider: Option<String>,
}
