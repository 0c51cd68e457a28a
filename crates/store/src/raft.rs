//! The types given to the consensus engine; nothing outside the crate sees them.

use std::io::Cursor;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::members::{NodeId, NodeInfo};
use crate::state::Outcome;
use crate::txn::Txn;

/// One log entry's work: many clients' transactions, so that one flush serves all.
/// Shared, because the engine, the log cache and the log thread each hold it for a while.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Batch {
    pub commands: Arc<Vec<Txn>>,
}

/// Where the transport finds a member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Address(pub String);

pub(crate) fn node_info(id: NodeId, address: &Address) -> NodeInfo {
    NodeInfo { id, address: address.0.clone() }
}

/// The leader that the engine points to, if it knows one.
pub(crate) fn leader_info(forward: &openraft::error::ForwardToLeader<NodeId, Address>) -> Option<NodeInfo> {
    Some(node_info(forward.leader_id?, forward.leader_node.as_ref()?))
}

openraft::declare_raft_types!(
    pub(crate) Types:
        D = Batch,
        R = Vec<Outcome>,
        NodeId = NodeId,
        Node = Address,
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = openraft::TokioRuntime,
);

pub(crate) type Raft = openraft::Raft<Types>;
pub(crate) type LogEntry = openraft::Entry<Types>;
pub(crate) type LogId = openraft::LogId<NodeId>;
pub(crate) type Vote = openraft::Vote<NodeId>;
pub(crate) type Membership = openraft::Membership<NodeId, Address>;
pub(crate) type StoredMembership = openraft::StoredMembership<NodeId, Address>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<NodeId, Address>;
pub(crate) type RaftSnapshot = openraft::Snapshot<Types>;
pub(crate) type StorageError = openraft::StorageError<NodeId>;
pub(crate) type StorageIoError = openraft::StorageIOError<NodeId>;
