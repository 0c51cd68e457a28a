//! What agents and frameworks say of themselves.

use std::collections::BTreeMap;

use super::{Label, Ranges, Resource, Set};

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
    #[prost(int32, repeated, tag = "20")]
    pub capabilities: Vec<i32>,
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
    #[prost(message, repeated, tag = "21")]
    pub labels: Vec<Label>,
    /// Each role once.
    #[prost(message, repeated, tag = "22")]
    pub offer_filters: Vec<OfferFilter>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct OfferFilter {
    #[prost(string, tag = "1")]
    pub role: String,
    /// Any one of them is enough.
    #[prost(message, repeated, tag = "2")]
    pub least: Vec<Quantities>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Quantities {
    #[prost(btree_map = "string, sint64", tag = "1")]
    pub milli: BTreeMap<String, i64>,
}
