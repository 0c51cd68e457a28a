//! Transactions: checks, writes, and the reasons why a commit is refused.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::key::{Key, KeyError, VALUE_MAX_BYTES, Value, check_prefix};
use crate::members::{NODE_ID_BITS, NODE_ID_MAX, NodeId, NodeInfo};

/// Most checks plus writes in one transaction.
pub const TXN_MAX_OPERATIONS: usize = 16 * 1024;
/// Most bytes of keys and values in one transaction.
pub const TXN_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Counted for each operation beside its key and value.
const OPERATION_OVERHEAD_BYTES: usize = 32;

/// Counts committed transactions that wrote something; 0 is the empty store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A period of one leader. It only grows; a change of leader, and a leader's restart, always
/// changes it. Printed as the election's number and the leader's id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Term(pub u64);

impl Term {
    /// The engine lets two nodes lead in one election number, one after the other, so the
    /// number alone would not fence; number and node together are unique and grow.
    pub(crate) fn new(number: u64, node: NodeId) -> Self {
        Self((number << NODE_ID_BITS) | (node.0 & NODE_ID_MAX))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> NODE_ID_BITS, self.0 & NODE_ID_MAX)
    }
}

/// What a key must be like for a transaction to be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Check {
    Absent,
    Revision(Revision),
    Exists,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Check::Absent => f.write_str("absent"),
            Check::Revision(revision) => write!(f, "at revision {revision}"),
            Check::Exists => f.write_str("present"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Write {
    Put {
        key: Key,
        value: Value,
    },
    Delete {
        key: Key,
    },
    /// Deletes every key that starts with `prefix`; end it with `/` to mean a subtree.
    DeletePrefix {
        prefix: String,
    },
}

/// All checks hold and all writes happen, in order, or nothing happens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    pub checks: Vec<(Key, Check)>,
    pub writes: Vec<Write>,
    /// Fencing: refuse the commit unless it is carried out in this term.
    pub term: Option<Term>,
}

impl Txn {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn check(mut self, key: Key, check: Check) -> Self {
        self.checks.push((key, check));
        self
    }

    #[must_use]
    pub fn put(mut self, key: Key, value: impl Into<Value>) -> Self {
        self.writes.push(Write::Put { key, value: value.into() });
        self
    }

    #[must_use]
    pub fn delete(mut self, key: Key) -> Self {
        self.writes.push(Write::Delete { key });
        self
    }

    #[must_use]
    pub fn delete_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.writes.push(Write::DeletePrefix { prefix: prefix.into() });
        self
    }

    #[must_use]
    pub fn in_term(mut self, term: Term) -> Self {
        self.term = Some(term);
        self
    }

    /// Bytes that count against [`TXN_MAX_BYTES`] and the batch limit.
    pub(crate) fn size_bytes(&self) -> usize {
        let checks: usize =
            self.checks.iter().map(|(key, _)| key.as_str().len() + OPERATION_OVERHEAD_BYTES).sum();
        let writes: usize = self
            .writes
            .iter()
            .map(|write| {
                OPERATION_OVERHEAD_BYTES
                    + match write {
                        Write::Put { key, value } => key.as_str().len() + value.len(),
                        Write::Delete { key } => key.as_str().len(),
                        Write::DeletePrefix { prefix } => prefix.len(),
                    }
            })
            .sum();
        checks + writes
    }

    /// Limits are checked before anything is queued; returns the size.
    pub(crate) fn validate(&self) -> Result<usize, CommitError> {
        let operations = self.checks.len() + self.writes.len();
        if operations > TXN_MAX_OPERATIONS {
            return Err(CommitError::TooLarge {
                what: "number of checks and writes in a transaction",
                size: operations as u64,
                limit: TXN_MAX_OPERATIONS as u64,
            });
        }
        for write in &self.writes {
            match write {
                Write::Put { value, .. } if value.len() > VALUE_MAX_BYTES => {
                    return Err(CommitError::TooLarge {
                        what: "value",
                        size: value.len() as u64,
                        limit: VALUE_MAX_BYTES as u64,
                    });
                }
                Write::DeletePrefix { prefix } => {
                    check_prefix(prefix).map_err(|source| CommitError::InvalidPrefix { source })?;
                }
                Write::Put { .. } | Write::Delete { .. } => {}
            }
        }
        let size = self.size_bytes();
        if size > TXN_MAX_BYTES {
            return Err(CommitError::TooLarge {
                what: "transaction",
                size: size as u64,
                limit: TXN_MAX_BYTES as u64,
            });
        }
        Ok(size)
    }
}

/// Why a transaction was not, or perhaps not, carried out. Only
/// [`CommitError::Uncertain`] leaves the outcome open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    #[error("key {key} is not {expected}: {}; read it again and decide anew", found_text(*.found))]
    Conflict { key: Key, expected: Check, found: Option<Revision> },
    #[error(
        "the transaction belongs to term {expected}, but the term is now {current}; only the present leader may write"
    )]
    Fenced { expected: Term, current: Term },
    #[error("this node is not the leader; {}", leader_text(.leader.as_ref()))]
    NotLeader { leader: Option<NodeInfo> },
    #[error("{what} is {size}, the limit is {limit}; split it or delete what is not needed")]
    TooLarge { what: &'static str, size: u64, limit: u64 },
    #[error("a prefix to delete is not valid")]
    InvalidPrefix { source: KeyError },
    #[error("nothing was written: {reason}")]
    Unavailable { reason: String },
    #[error("whether the transaction was written is not known: {reason}; read before trying again")]
    Uncertain { reason: String },
}

fn found_text(found: Option<Revision>) -> String {
    match found {
        Some(revision) => format!("it is at revision {revision}"),
        None => "it is absent".to_owned(),
    }
}

pub(crate) fn leader_text(leader: Option<&NodeInfo>) -> String {
    match leader {
        Some(leader) => format!("ask {leader}"),
        None => "no leader is known now, try again shortly".to_owned(),
    }
}
