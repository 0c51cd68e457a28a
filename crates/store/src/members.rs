//! The group's members and why changing them fails.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::txn::leader_text;

pub(crate) const NODE_ID_BITS: u32 = 16;
/// The largest node id.
pub const NODE_ID_MAX: u64 = (1 << NODE_ID_BITS) - 1;

/// A member's number, at most [`NODE_ID_MAX`]; it never changes and is never used again for another member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u64> for NodeId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

/// A member and where the transport finds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    pub id: NodeId,
    pub address: String,
}

impl fmt::Display for NodeInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} at {}", self.id, self.address)
    }
}

/// Why the group's members were not changed.
#[derive(Debug, thiserror::Error)]
pub enum MembersError {
    #[error("this node is not the leader; {}", leader_text(.leader.as_ref()))]
    NotLeader { leader: Option<NodeInfo> },
    #[error("a group needs at least one member")]
    Empty,
    #[error("a node id must be at most {NODE_ID_MAX}, but is {id}")]
    NodeId { id: NodeId },
    #[error("the members were not changed: {reason}")]
    Refused { reason: String },
    #[error(
        "whether the members were changed is not known: {reason}; look at the members before trying again"
    )]
    Uncertain { reason: String },
}
