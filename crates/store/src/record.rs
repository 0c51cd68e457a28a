//! What log entries, votes and members look like on disk and on the wire.
//!
//! Own types, apart from the engine's, so that a newer engine reads older
//! disks. Every record starts with its version; a release reads its own
//! version and the one before. The derives of [`Txn`] and its parts are version
//! 1's layout: adding, removing or moving a field there is a new version here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openraft::EntryPayload;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::members::NodeId;
use crate::raft::{Address, Batch, LogEntry, LogId, Membership, StoredMembership, Vote};
use crate::txn::Txn;

/// The version that this release writes.
pub(crate) const RECORD_VERSION: u8 = 1;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("the record is empty")]
    Empty,
    #[error("the record has version {found}; this release reads version {RECORD_VERSION}")]
    Version { found: u8 },
    #[error("the record is damaged")]
    Damaged { source: postcard::Error },
    #[error("the record could not be encoded")]
    Encode { source: postcard::Error },
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, RecordError> {
    postcard::to_extend(value, vec![RECORD_VERSION]).map_err(|source| RecordError::Encode { source })
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordError> {
    match bytes.split_first() {
        None => Err(RecordError::Empty),
        Some((&RECORD_VERSION, body)) => {
            postcard::from_bytes(body).map_err(|source| RecordError::Damaged { source })
        }
        Some((&found, _)) => Err(RecordError::Version { found }),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogIdRecord {
    term: u64,
    leader: u64,
    index: u64,
}

impl From<LogId> for LogIdRecord {
    fn from(id: LogId) -> Self {
        Self { term: id.leader_id.term, leader: id.leader_id.node_id.0, index: id.index }
    }
}

impl From<LogIdRecord> for LogId {
    fn from(record: LogIdRecord) -> Self {
        LogId::new(openraft::CommittedLeaderId::new(record.term, NodeId(record.leader)), record.index)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VoteRecord {
    term: u64,
    node: u64,
    committed: bool,
}

impl From<Vote> for VoteRecord {
    fn from(vote: Vote) -> Self {
        Self { term: vote.leader_id.term, node: vote.leader_id.node_id.0, committed: vote.committed }
    }
}

impl From<VoteRecord> for Vote {
    fn from(record: VoteRecord) -> Self {
        let mut vote = Vote::new(record.term, NodeId(record.node));
        vote.committed = record.committed;
        vote
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MembersRecord {
    /// One set of voters, two while they change.
    voters: Vec<Vec<u64>>,
    nodes: Vec<(u64, String)>,
}

impl From<&Membership> for MembersRecord {
    fn from(membership: &Membership) -> Self {
        Self {
            voters: membership
                .get_joint_config()
                .iter()
                .map(|set| set.iter().map(|id| id.0).collect())
                .collect(),
            nodes: membership.nodes().map(|(id, node)| (id.0, node.0.clone())).collect(),
        }
    }
}

impl From<MembersRecord> for Membership {
    fn from(record: MembersRecord) -> Self {
        let voters: Vec<BTreeSet<NodeId>> =
            record.voters.into_iter().map(|set| set.into_iter().map(NodeId).collect()).collect();
        let nodes: BTreeMap<NodeId, Address> =
            record.nodes.into_iter().map(|(id, address)| (NodeId(id), Address(address))).collect();
        Membership::new(voters, nodes)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredMembersRecord {
    log_id: Option<LogIdRecord>,
    members: MembersRecord,
}

impl From<&StoredMembership> for StoredMembersRecord {
    fn from(stored: &StoredMembership) -> Self {
        Self { log_id: stored.log_id().map(Into::into), members: stored.membership().into() }
    }
}

impl From<StoredMembersRecord> for StoredMembership {
    fn from(record: StoredMembersRecord) -> Self {
        StoredMembership::new(record.log_id.map(Into::into), record.members.into())
    }
}

/// Same layout as [`EntryRecord`], borrowing the transactions.
#[derive(Serialize)]
struct EntryRecordRef<'a> {
    id: LogIdRecord,
    payload: PayloadRef<'a>,
}

#[derive(Serialize)]
enum PayloadRef<'a> {
    Blank,
    Commands(&'a [Txn]),
    Members(MembersRecord),
}

#[derive(Deserialize)]
struct EntryRecord {
    id: LogIdRecord,
    payload: Payload,
}

#[derive(Deserialize)]
enum Payload {
    Blank,
    Commands(Vec<Txn>),
    Members(MembersRecord),
}

pub(crate) fn encode_entry(entry: &LogEntry) -> Result<Vec<u8>, RecordError> {
    let payload = match &entry.payload {
        EntryPayload::Blank => PayloadRef::Blank,
        EntryPayload::Normal(batch) => PayloadRef::Commands(&batch.commands),
        EntryPayload::Membership(membership) => PayloadRef::Members(membership.into()),
    };
    encode(&EntryRecordRef { id: entry.log_id.into(), payload })
}

pub(crate) fn decode_entry(bytes: &[u8]) -> Result<LogEntry, RecordError> {
    let record: EntryRecord = decode(bytes)?;
    let payload = match record.payload {
        Payload::Blank => EntryPayload::Blank,
        Payload::Commands(commands) => EntryPayload::Normal(Batch { commands: Arc::new(commands) }),
        Payload::Members(members) => EntryPayload::Membership(members.into()),
    };
    Ok(LogEntry { log_id: record.id.into(), payload })
}

/// About how many bytes an entry takes in memory and on the wire.
pub(crate) fn entry_size(entry: &LogEntry) -> usize {
    const ENTRY_OVERHEAD_BYTES: usize = 128;
    ENTRY_OVERHEAD_BYTES
        + match &entry.payload {
            EntryPayload::Normal(batch) => batch.commands.iter().map(Txn::size_bytes).sum(),
            EntryPayload::Blank | EntryPayload::Membership(_) => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;
    use crate::txn::{Check, Revision, Term};

    fn entry() -> LogEntry {
        let txn = Txn::new()
            .check(Key::new("a").unwrap(), Check::Revision(Revision(7)))
            .put(Key::new("b").unwrap(), "value")
            .delete(Key::new("c").unwrap())
            .delete_prefix("d/")
            .in_term(Term(3));
        LogEntry {
            log_id: LogIdRecord { term: 3, leader: 1, index: 9 }.into(),
            payload: EntryPayload::Normal(Batch { commands: Arc::new(vec![txn]) }),
        }
    }

    /// The bytes of version 1 as released; they must be readable for as long as version 1 is.
    #[test]
    fn version_1_entries_stay_readable() {
        let released: Vec<u8> = vec![
            1, 3, 1, 9, 1, 1, 1, 1, b'a', 1, 7, 3, 0, 1, b'b', 5, b'v', b'a', b'l', b'u', b'e', 1, 1, b'c',
            2, 2, b'd', b'/', 1, 3,
        ];
        assert_eq!(encode_entry(&entry()).unwrap(), released);
        let read = decode_entry(&released).unwrap();
        assert_eq!(read.log_id, entry().log_id);
        assert_eq!(read.payload, entry().payload);
    }

    #[test]
    fn damaged_records_are_refused() {
        let bytes = encode_entry(&entry()).unwrap();
        assert!(matches!(decode_entry(&[]), Err(RecordError::Empty)));
        assert!(matches!(decode_entry(&[9, 9]), Err(RecordError::Version { found: 9 })));
        for length in 1..bytes.len() {
            assert!(
                matches!(decode_entry(&bytes[..length]), Err(RecordError::Damaged { .. })),
                "cut at {length}"
            );
        }
    }

    #[test]
    fn members_survive_both_ways() {
        let nodes: BTreeMap<NodeId, Address> =
            (1..=3).map(|id| (NodeId(id), Address(format!("10.0.0.{id}:1")))).collect();
        let membership = Membership::new(vec![[NodeId(1), NodeId(2)].into()], nodes);
        let record: MembersRecord = (&membership).into();
        let back: Membership = decode::<MembersRecord>(&encode(&record).unwrap()).unwrap().into();
        assert_eq!(back, membership);
    }
}
