//! The group's messages as versioned bytes; the transport moves them unseen.

use openraft::raft as engine;
use serde::{Deserialize, Serialize};

use crate::members::NodeId;
use crate::raft::{SnapshotMeta, Types};
use crate::record::{
    LogIdRecord, RecordError, StoredMembersRecord, VoteRecord, decode, decode_entry, encode, encode_entry,
};

/// Largest message that is accepted from a peer.
pub(crate) const MESSAGE_MAX_BYTES: usize = 32 * 1024 * 1024;
/// A snapshot travels in pieces of this size.
pub(crate) const SNAPSHOT_CHUNK_BYTES: u64 = 1024 * 1024;
/// A snapshot that is still arriving may grow to this size.
pub(crate) const SNAPSHOT_MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// Why a peer's message was not answered.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    #[error("a message of {size} bytes exceeds {MESSAGE_MAX_BYTES}")]
    TooLarge { size: usize },
    #[error("the message is not one of this protocol: {reason}")]
    Malformed { reason: String },
    #[error("the store is stopped")]
    Stopped,
}

impl RpcError {
    pub(crate) fn malformed(error: &RecordError) -> Self {
        let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
        Self::Malformed { reason: format!("{error}{source}") }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotMetaRecord {
    pub last: Option<LogIdRecord>,
    pub members: StoredMembersRecord,
    pub id: String,
}

impl From<&SnapshotMeta> for SnapshotMetaRecord {
    fn from(meta: &SnapshotMeta) -> Self {
        Self {
            last: meta.last_log_id.map(Into::into),
            members: (&meta.last_membership).into(),
            id: meta.snapshot_id.clone(),
        }
    }
}

impl From<SnapshotMetaRecord> for SnapshotMeta {
    fn from(record: SnapshotMetaRecord) -> Self {
        SnapshotMeta {
            last_log_id: record.last.map(Into::into),
            last_membership: record.members.into(),
            snapshot_id: record.id,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Request {
    Append {
        vote: VoteRecord,
        previous: Option<LogIdRecord>,
        entries: Vec<Vec<u8>>,
        commit: Option<LogIdRecord>,
    },
    Vote {
        vote: VoteRecord,
        last: Option<LogIdRecord>,
    },
    Snapshot {
        vote: VoteRecord,
        meta: SnapshotMetaRecord,
        offset: u64,
        data: Vec<u8>,
        done: bool,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Appended,
    AppendedUpTo {
        last: Option<LogIdRecord>,
    },
    Conflict,
    HigherVote {
        vote: VoteRecord,
    },
    Voted {
        vote: VoteRecord,
        granted: bool,
        last: Option<LogIdRecord>,
    },
    SnapshotTaken {
        vote: VoteRecord,
    },
    /// The pieces of a snapshot do not fit together; the sender starts again.
    SnapshotMismatch {
        expected_id: String,
        expected_offset: u64,
        got_id: String,
        got_offset: u64,
    },
    /// The receiver's store has failed or is stopping.
    Failed {
        reason: String,
    },
}

impl Request {
    pub(crate) fn append(rpc: &engine::AppendEntriesRequest<Types>) -> Result<Self, RecordError> {
        Ok(Self::Append {
            vote: rpc.vote.into(),
            previous: rpc.prev_log_id.map(Into::into),
            entries: rpc.entries.iter().map(encode_entry).collect::<Result<_, _>>()?,
            commit: rpc.leader_commit.map(Into::into),
        })
    }

    pub(crate) fn vote(rpc: &engine::VoteRequest<NodeId>) -> Self {
        Self::Vote { vote: rpc.vote.into(), last: rpc.last_log_id.map(Into::into) }
    }

    pub(crate) fn snapshot(rpc: engine::InstallSnapshotRequest<Types>) -> Self {
        Self::Snapshot {
            vote: rpc.vote.into(),
            meta: (&rpc.meta).into(),
            offset: rpc.offset,
            data: rpc.data,
            done: rpc.done,
        }
    }
}

pub(crate) fn append_request(
    vote: VoteRecord,
    previous: Option<LogIdRecord>,
    entries: &[Vec<u8>],
    commit: Option<LogIdRecord>,
) -> Result<engine::AppendEntriesRequest<Types>, RecordError> {
    Ok(engine::AppendEntriesRequest {
        vote: vote.into(),
        prev_log_id: previous.map(Into::into),
        entries: entries.iter().map(|bytes| decode_entry(bytes)).collect::<Result<_, _>>()?,
        leader_commit: commit.map(Into::into),
    })
}

pub(crate) fn encode_message<T: Serialize>(message: &T) -> Result<Vec<u8>, RecordError> {
    encode(message)
}

pub(crate) fn decode_request(bytes: &[u8]) -> Result<Request, RpcError> {
    if bytes.len() > MESSAGE_MAX_BYTES {
        return Err(RpcError::TooLarge { size: bytes.len() });
    }
    decode(bytes).map_err(|error| RpcError::malformed(&error))
}

pub(crate) fn decode_reply(bytes: &[u8]) -> Result<Reply, RpcError> {
    if bytes.len() > MESSAGE_MAX_BYTES {
        return Err(RpcError::TooLarge { size: bytes.len() });
    }
    decode(bytes).map_err(|error| RpcError::malformed(&error))
}
