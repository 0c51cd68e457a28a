//! The key-value map itself: a pure state machine over transactions.
//!
//! Input: batches in log order. Output: one [`Outcome`] per transaction. The
//! same batches give the same state on every node, so nothing here may depend
//! on a clock, on configuration or on anything local. Beside the map it keeps a
//! bounded history of changes for watches, which is not part of the state.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::key::{Key, Value};
use crate::txn::{Check, Revision, Term, Txn, Write};

/// Most bytes of keys and values in the whole store. A constant, since every member must decide alike.
pub const STATE_MAX_BYTES: u64 = 512 * 1024 * 1024;
/// Counted for every key beside its own and its value's bytes.
const ITEM_OVERHEAD_BYTES: u64 = 64;
/// Watches can go back this many revisions, or these many bytes, whichever is less.
const HISTORY_MAX_REVISIONS: usize = 16_384;
const HISTORY_MAX_BYTES: usize = 32 * 1024 * 1024;

/// A key with its value and the revision that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Key,
    pub value: Value,
    pub revision: Revision,
}

/// What a prefix held at one revision; watch from this revision to follow on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub entries: Vec<Entry>,
    pub revision: Revision,
}

/// One key's change; `None` when it was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub key: Key,
    pub value: Option<Value>,
}

/// What became of one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Committed { revision: Revision },
    Conflict { key: Key, expected: Check, found: Option<Revision> },
    Fenced { current: Term },
    Full { size: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub value: Value,
    pub revision: Revision,
}

/// The part that is replicated and written to snapshots.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Data {
    pub revision: Revision,
    pub items: BTreeMap<Key, Item>,
    pub bytes: u64,
}

/// The changes of one revision.
#[derive(Debug)]
pub(crate) struct Past {
    pub revision: Revision,
    pub changes: Vec<Change>,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub data: Data,
    history: VecDeque<Arc<Past>>,
    history_bytes: usize,
    /// Changes up to and including this revision are no longer known.
    forgotten: Revision,
}

impl State {
    pub(crate) fn from_data(data: Data) -> Self {
        let forgotten = data.revision;
        Self { data, history: VecDeque::new(), history_bytes: 0, forgotten }
    }

    /// Carries out `commands` as part of the log of `term`.
    pub(crate) fn apply(&mut self, term: Term, commands: &[Txn]) -> Vec<Outcome> {
        commands.iter().map(|txn| self.apply_one(term, txn)).collect()
    }

    fn apply_one(&mut self, term: Term, txn: &Txn) -> Outcome {
        if txn.term.is_some_and(|expected| expected != term) {
            return Outcome::Fenced { current: term };
        }
        for (key, expected) in &txn.checks {
            let found = self.data.items.get(key).map(|item| item.revision);
            let holds = match expected {
                Check::Absent => found.is_none(),
                Check::Exists => found.is_some(),
                Check::Revision(revision) => found == Some(*revision),
            };
            if !holds {
                return Outcome::Conflict { key: key.clone(), expected: *expected, found };
            }
        }
        let added: u64 = txn.writes.iter().map(added_bytes).sum();
        // Deletions in the same transaction are not credited: simple, and never above the limit.
        if added > 0 && self.data.bytes.saturating_add(added) > STATE_MAX_BYTES {
            return Outcome::Full { size: self.data.bytes.saturating_add(added) };
        }
        if txn.writes.is_empty() {
            return Outcome::Committed { revision: self.data.revision };
        }
        let revision = Revision(self.data.revision.0 + 1);
        let changes = self.data.write(revision, &txn.writes);
        self.data.revision = revision;
        self.remember(revision, changes);
        Outcome::Committed { revision }
    }

    fn remember(&mut self, revision: Revision, changes: Vec<Change>) {
        let bytes: usize = changes
            .iter()
            .map(|change| {
                change.key.as_str().len() + change.value.as_ref().map_or(0, |value| value.len()) + 64
            })
            .sum();
        self.history_bytes += bytes;
        self.history.push_back(Arc::new(Past { revision, changes, bytes }));
        while self.history.len() > HISTORY_MAX_REVISIONS
            || (self.history_bytes > HISTORY_MAX_BYTES && self.history.len() > 1)
        {
            let Some(oldest) = self.history.pop_front() else { break };
            self.history_bytes -= oldest.bytes;
            self.forgotten = oldest.revision;
        }
    }

    /// The changes after `revision`, at most `limit` revisions; `Err` with the oldest
    /// revision to watch from when they are partly forgotten.
    pub(crate) fn changes_after(&self, revision: Revision, limit: usize) -> Result<Vec<Arc<Past>>, Revision> {
        if revision < self.forgotten {
            return Err(self.forgotten);
        }
        let start = self.history.partition_point(|past| past.revision <= revision);
        Ok(self.history.iter().skip(start).take(limit).cloned().collect())
    }

    pub(crate) fn get(&self, key: &str) -> Option<Entry> {
        let (key, item) = self.data.items.get_key_value(key)?;
        Some(Entry { key: key.clone(), value: item.value.clone(), revision: item.revision })
    }

    pub(crate) fn range(&self, prefix: &str) -> Snapshot {
        let entries = self
            .data
            .with_prefix(prefix)
            .map(|(key, item)| Entry { key: key.clone(), value: item.value.clone(), revision: item.revision })
            .collect();
        Snapshot { entries, revision: self.data.revision }
    }
}

impl Data {
    fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a Key, &'a Item)> {
        self.items
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.as_str().starts_with(prefix))
    }

    /// Inserts without counting a revision; for loading a snapshot.
    pub(crate) fn insert(&mut self, key: Key, item: Item) {
        self.bytes += item_bytes(&key, &item.value);
        if let Some((key, old)) = self.items.get_key_value(&key) {
            self.bytes -= item_bytes(key, &old.value);
        }
        self.items.insert(key, item);
    }

    fn write(&mut self, revision: Revision, writes: &[Write]) -> Vec<Change> {
        let mut changes = Vec::with_capacity(writes.len());
        for write in writes {
            match write {
                Write::Put { key, value } => {
                    self.insert(key.clone(), Item { value: value.clone(), revision });
                    changes.push(Change { key: key.clone(), value: Some(value.clone()) });
                }
                Write::Delete { key } => self.remove(key.clone(), &mut changes),
                Write::DeletePrefix { prefix } => {
                    let keys: Vec<Key> = self.with_prefix(prefix).map(|(key, _)| key.clone()).collect();
                    for key in keys {
                        self.remove(key, &mut changes);
                    }
                }
            }
        }
        changes
    }

    /// Deleting what is not there is no change.
    fn remove(&mut self, key: Key, changes: &mut Vec<Change>) {
        if let Some(item) = self.items.remove(&key) {
            self.bytes -= item_bytes(&key, &item.value);
            changes.push(Change { key, value: None });
        }
    }
}

fn item_bytes(key: &Key, value: &Value) -> u64 {
    (key.as_str().len() + value.len()) as u64 + ITEM_OVERHEAD_BYTES
}

fn added_bytes(write: &Write) -> u64 {
    match write {
        Write::Put { key, value } => item_bytes(key, value),
        Write::Delete { .. } | Write::DeletePrefix { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    fn keys(snapshot: &Snapshot) -> Vec<&str> {
        snapshot.entries.iter().map(|entry| entry.key.as_str()).collect()
    }

    #[test]
    fn checks_see_earlier_commands_of_the_same_batch() {
        let mut state = State::default();
        let claim = |value: &str| Txn::new().check(key("a"), Check::Absent).put(key("a"), value);
        let outcomes = state.apply(Term(1), &[claim("first"), claim("second")]);
        assert_eq!(outcomes[0], Outcome::Committed { revision: Revision(1) });
        assert_eq!(
            outcomes[1],
            Outcome::Conflict { key: key("a"), expected: Check::Absent, found: Some(Revision(1)) }
        );
        assert_eq!(state.get("a").unwrap().value, Value::from("first"));
    }

    #[test]
    fn nothing_happens_when_one_check_fails() {
        let mut state = State::default();
        state.apply(Term(1), &[Txn::new().put(key("a"), "1")]);
        let txn = Txn::new()
            .check(key("a"), Check::Revision(Revision(1)))
            .check(key("b"), Check::Exists)
            .put(key("a"), "2")
            .delete_prefix("");
        assert!(matches!(state.apply(Term(1), &[txn])[0], Outcome::Conflict { found: None, .. }));
        assert_eq!(keys(&state.range("")), ["a"]);
        assert_eq!(state.data.revision, Revision(1));
    }

    #[test]
    fn a_term_fences() {
        let mut state = State::default();
        let txn = Txn::new().put(key("a"), "1").in_term(Term(3));
        assert_eq!(state.apply(Term(4), std::slice::from_ref(&txn))[0], Outcome::Fenced { current: Term(4) });
        assert_eq!(state.apply(Term(3), &[txn])[0], Outcome::Committed { revision: Revision(1) });
    }

    #[test]
    fn prefixes_are_read_and_deleted_exactly() {
        let mut state = State::default();
        let mut txn = Txn::new();
        for name in ["a/1", "a/2", "a", "ab/1", "b/1"] {
            txn = txn.put(key(name), name);
        }
        state.apply(Term(1), &[txn]);
        assert_eq!(keys(&state.range("a/")), ["a/1", "a/2"]);
        assert_eq!(keys(&state.range("a")), ["a", "a/1", "a/2", "ab/1"]);
        state.apply(Term(1), &[Txn::new().delete_prefix("a/")]);
        assert_eq!(keys(&state.range("")), ["a", "ab/1", "b/1"]);
        state.apply(Term(1), &[Txn::new().delete_prefix("")]);
        assert_eq!((state.data.items.len(), state.data.bytes), (0, 0));
    }

    #[test]
    fn checks_alone_do_not_count_a_revision() {
        let mut state = State::default();
        let outcomes = state.apply(Term(1), &[Txn::new().check(key("a"), Check::Absent)]);
        assert_eq!(outcomes[0], Outcome::Committed { revision: Revision(0) });
        assert!(state.changes_after(Revision(0), 10).unwrap().is_empty());
    }

    #[test]
    fn history_is_bounded_and_says_what_is_forgotten() {
        let mut state = State::default();
        let total = HISTORY_MAX_REVISIONS as u64 + 10;
        for number in 0..total {
            state.apply(Term(1), &[Txn::new().put(key("a"), number.to_string().as_str())]);
        }
        assert_eq!(state.changes_after(Revision(9), 1).unwrap_err(), Revision(10));
        assert_eq!(state.changes_after(Revision(10), 1).unwrap()[0].revision, Revision(11));
        assert!(state.changes_after(Revision(total), 1).unwrap().is_empty());
        let large = "x".repeat(1024 * 1024);
        for _ in 0..40 {
            state.apply(Term(1), &[Txn::new().put(key("a"), large.as_str())]);
        }
        assert!(state.history_bytes <= HISTORY_MAX_BYTES);
        assert!(state.changes_after(Revision(total), 1).is_err());
    }

    #[test]
    fn a_full_store_refuses_puts_and_allows_deletes() {
        let mut state = State::default();
        let value = Value::from(vec![7; crate::VALUE_MAX_BYTES]);
        let mut stored = 0;
        loop {
            let txn = Txn::new().put(key(&format!("k{stored}")), value.clone());
            match &state.apply(Term(1), &[txn])[0] {
                Outcome::Committed { .. } => stored += 1,
                Outcome::Full { size } => {
                    assert!(*size > STATE_MAX_BYTES);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(stored, 511);
        let outcome = &state.apply(Term(1), &[Txn::new().delete(key("k0"))])[0];
        assert!(matches!(outcome, Outcome::Committed { .. }));
        let outcome = &state.apply(Term(1), &[Txn::new().put(key("k0"), value)])[0];
        assert!(matches!(outcome, Outcome::Committed { .. }));
    }
}
