//! An ordered list that is cheap to copy and cheap to change a little.
//!
//! The brain publishes snapshots many times a second; a list of 100,000 tasks must
//! not be copied for one that changed. A [`Shelf`] keeps its items sorted by key in
//! leaves of a few dozen, each behind an `Arc`: a copy copies the leaves' addresses,
//! and a change afterwards copies one leaf.

use std::sync::Arc;

use model::{AgentId, AgentInfo, Offer, OfferId, TaskId, Time};

use crate::state::Task;

/// Most items of one leaf.
const LEAF_MAX: usize = 64;

/// Something that is sorted by a part of itself.
pub trait Keyed: Clone {
    type Key: Ord + ?Sized;

    fn key(&self) -> &Self::Key;
}

impl Keyed for Arc<Task> {
    type Key = TaskId;

    fn key(&self) -> &TaskId {
        &self.info.id
    }
}

impl Keyed for Arc<Offer> {
    type Key = OfferId;

    fn key(&self) -> &OfferId {
        &self.id
    }
}

impl Keyed for Arc<AgentInfo> {
    type Key = Option<AgentId>;

    fn key(&self) -> &Option<AgentId> {
        &self.id
    }
}

impl Keyed for (Arc<AgentInfo>, Time) {
    type Key = Option<AgentId>;

    fn key(&self) -> &Option<AgentId> {
        &self.0.id
    }
}

impl Keyed for (AgentId, Time) {
    type Key = AgentId;

    fn key(&self) -> &AgentId {
        &self.0
    }
}

/// A sorted list without equal keys.
#[derive(Clone)]
pub struct Shelf<V> {
    /// None of them empty.
    leaves: Vec<Arc<Vec<V>>>,
    /// How many items lie before each leaf; as long as `leaves`.
    starts: Vec<usize>,
    len: usize,
}

impl<V> Default for Shelf<V> {
    fn default() -> Self {
        Self { leaves: Vec::new(), starts: Vec::new(), len: 0 }
    }
}

impl<V> Shelf<V> {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// In the order of the keys.
    pub fn iter(&self) -> Iter<'_, V> {
        Iter { leaves: self.leaves.iter(), leaf: [].iter() }
    }

    /// The item at a position.
    pub fn at(&self, index: usize) -> Option<&V> {
        let leaf = self.starts.partition_point(|start| *start <= index).checked_sub(1)?;
        self.leaves.get(leaf)?.get(index - self.starts.get(leaf)?)
    }

    /// Starts are counted anew from this leaf on.
    fn recount(&mut self, from: usize) {
        self.starts.truncate(from);
        let mut start = match from.checked_sub(1) {
            Some(last) => self.starts[last] + self.leaves[last].len(),
            None => 0,
        };
        for leaf in &self.leaves[from..] {
            self.starts.push(start);
            start += leaf.len();
        }
        self.len = start;
    }
}

impl<V: Keyed> Shelf<V> {
    /// The leaf that has the key or would get it.
    fn leaf_of(&self, key: &V::Key) -> usize {
        let after = self.leaves.partition_point(|leaf| leaf.first().is_some_and(|first| first.key() <= key));
        after.saturating_sub(1)
    }

    pub fn get(&self, key: &V::Key) -> Option<&V> {
        let leaf = self.leaves.get(self.leaf_of(key))?;
        leaf.binary_search_by(|item| item.key().cmp(key)).ok().and_then(|place| leaf.get(place))
    }

    /// Puts the item in the place of an equal key's, or in its own.
    pub fn insert(&mut self, item: V) {
        let index = self.leaf_of(item.key());
        let Some(leaf) = self.leaves.get_mut(index) else {
            self.leaves.push(Arc::new(vec![item]));
            self.recount(0);
            return;
        };
        let place = leaf.binary_search_by(|other| other.key().cmp(item.key()));
        let items = Arc::make_mut(leaf);
        match place {
            Ok(place) => {
                items[place] = item;
                return;
            }
            Err(place) => items.insert(place, item),
        }
        if items.len() > LEAF_MAX {
            // Keys often grow: then the lower leaf stays full.
            let at = if place == Err(LEAF_MAX) { LEAF_MAX } else { LEAF_MAX / 2 };
            let upper = items.split_off(at);
            self.leaves.insert(index + 1, Arc::new(upper));
        }
        self.recount(index);
    }

    pub fn remove(&mut self, key: &V::Key) -> Option<V> {
        let index = self.leaf_of(key);
        let leaf = self.leaves.get_mut(index)?;
        let place = leaf.binary_search_by(|item| item.key().cmp(key)).ok()?;
        let items = Arc::make_mut(leaf);
        let removed = items.remove(place);
        if items.is_empty() {
            self.leaves.remove(index);
        } else if let Some(next) = self.leaves.get(index + 1)
            && self.leaves[index].len() + next.len() <= LEAF_MAX / 2
        {
            let next = self.leaves.remove(index + 1);
            Arc::make_mut(&mut self.leaves[index]).extend(next.iter().cloned());
        }
        self.recount(index);
        Some(removed)
    }
}

impl<V> std::ops::Index<usize> for Shelf<V> {
    type Output = V;

    fn index(&self, index: usize) -> &V {
        match self.at(index) {
            Some(item) => item,
            None => panic!("position {index} of a list of {}", self.len),
        }
    }
}

impl<V: Keyed> FromIterator<V> for Shelf<V> {
    fn from_iter<I: IntoIterator<Item = V>>(items: I) -> Self {
        let mut items: Vec<V> = items.into_iter().collect();
        items.sort_by(|a, b| a.key().cmp(b.key()));
        items.dedup_by(|later, earlier| later.key() == earlier.key());
        let mut shelf = Self::new();
        let mut rest = items.into_iter();
        loop {
            let leaf: Vec<V> = rest.by_ref().take(LEAF_MAX).collect();
            if leaf.is_empty() {
                break;
            }
            shelf.leaves.push(Arc::new(leaf));
        }
        shelf.recount(0);
        shelf
    }
}

impl<V: Keyed> From<Vec<V>> for Shelf<V> {
    fn from(items: Vec<V>) -> Self {
        items.into_iter().collect()
    }
}

impl<V: PartialEq> PartialEq for Shelf<V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<V: std::fmt::Debug> std::fmt::Debug for Shelf<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Over the items of a [`Shelf`].
#[derive(Debug)]
pub struct Iter<'a, V> {
    leaves: std::slice::Iter<'a, Arc<Vec<V>>>,
    leaf: std::slice::Iter<'a, V>,
}

impl<V> Clone for Iter<'_, V> {
    fn clone(&self) -> Self {
        Self { leaves: self.leaves.clone(), leaf: self.leaf.clone() }
    }
}

impl<'a, V> Iterator for Iter<'a, V> {
    type Item = &'a V;

    fn next(&mut self) -> Option<&'a V> {
        loop {
            if let Some(item) = self.leaf.next() {
                return Some(item);
            }
            self.leaf = self.leaves.next()?.iter();
        }
    }
}

impl<'a, V> IntoIterator for &'a Shelf<V> {
    type Item = &'a V;
    type IntoIter = Iter<'a, V>;

    fn into_iter(self) -> Iter<'a, V> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::Rng;

    use super::*;

    impl Keyed for (u64, u64) {
        type Key = u64;

        fn key(&self) -> &u64 {
            &self.0
        }
    }

    #[test]
    fn it_is_a_sorted_map_whatever_is_done_to_it() {
        let mut rng = Rng::new(7);
        let mut shelf: Shelf<(u64, u64)> = Shelf::new();
        let mut map: BTreeMap<u64, u64> = BTreeMap::new();
        for round in 0..20_000_u64 {
            let key = rng.below(700);
            // It grows first and shrinks later.
            if rng.below(20_000) > round {
                shelf.insert((key, round));
                map.insert(key, round);
            } else {
                assert_eq!(shelf.remove(&key).map(|item| item.1), map.remove(&key));
            }
            assert_eq!(shelf.len(), map.len());
            assert_eq!(shelf.get(&key).map(|item| item.1), map.get(&key).copied());
            if round % 500 == 0 {
                let items: Vec<(u64, u64)> = map.iter().map(|(key, value)| (*key, *value)).collect();
                assert!(shelf.iter().eq(items.iter()));
                assert!(shelf.iter().enumerate().all(|(place, item)| shelf[place] == *item));
                assert_eq!(shelf, Shelf::from(items));
                assert_eq!(shelf.at(shelf.len()), None);
            }
        }
    }

    #[test]
    fn a_copy_keeps_what_it_was_and_shares_the_rest() {
        let mut shelf: Shelf<(u64, u64)> = (0..10_000).map(|key| (key, 0)).collect();
        let copy = shelf.clone();
        shelf.insert((5_000, 1));
        assert_eq!((copy.get(&5_000), shelf.get(&5_000)), (Some(&(5_000, 0)), Some(&(5_000, 1))));
        let shared = shelf.leaves.iter().zip(&copy.leaves).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared + 1, shelf.leaves.len());
    }
}
