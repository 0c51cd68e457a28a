//! An ordered list that is cheap to copy and cheap to change a little.
//!
//! The brain publishes snapshots many times a second; a list of 100,000 tasks must
//! not be copied for one that changed. A [`Shelf`] keeps its items sorted by key in
//! leaves of a few dozen, each behind an `Arc`: a copy copies the leaves' addresses,
//! and a change afterwards copies one leaf.

use std::sync::{Arc, OnceLock};

use model::{AgentId, AgentInfo, Offer, OfferId, TaskId, Time};

use crate::state::Task;

/// Most items of one leaf.
const LEAF_MAX: usize = 32;

/// Something that is sorted by a part of itself.
pub trait Keyed: Clone {
    type Key: Ord + Clone;

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

/// Some neighbouring items; never none.
struct Leaf<V: Keyed> {
    /// Not above any of its keys, and above all of the leaf before it. It stands here
    /// so that a search need not look into the items, which are far away in memory.
    first: V::Key,
    items: Arc<Vec<V>>,
}

impl<V: Keyed> Clone for Leaf<V> {
    fn clone(&self) -> Self {
        Self { first: self.first.clone(), items: self.items.clone() }
    }
}

/// A sorted list without equal keys.
pub struct Shelf<V: Keyed> {
    leaves: Vec<Leaf<V>>,
    len: usize,
    /// How many items lie before each leaf; made by the first who asks.
    starts: OnceLock<Vec<usize>>,
}

impl<V: Keyed> Clone for Shelf<V> {
    fn clone(&self) -> Self {
        Self { leaves: self.leaves.clone(), len: self.len, starts: OnceLock::new() }
    }
}

impl<V: Keyed> Default for Shelf<V> {
    fn default() -> Self {
        Self { leaves: Vec::new(), len: 0, starts: OnceLock::new() }
    }
}

impl<V: Keyed> Shelf<V> {
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
        let starts = self.starts.get_or_init(|| {
            let mut start = 0;
            let next = |leaf: &Leaf<V>| {
                start += leaf.items.len();
                start - leaf.items.len()
            };
            self.leaves.iter().map(next).collect()
        });
        let leaf = starts.partition_point(|start| *start <= index).checked_sub(1)?;
        self.leaves.get(leaf)?.items.get(index - starts.get(leaf)?)
    }

    /// The leaf that has the key or would get it.
    fn leaf_of(&self, key: &V::Key) -> usize {
        self.leaves.partition_point(|leaf| leaf.first <= *key).saturating_sub(1)
    }

    pub fn get(&self, key: &V::Key) -> Option<&V> {
        let leaf = self.leaves.get(self.leaf_of(key))?;
        leaf.items.binary_search_by(|item| item.key().cmp(key)).ok().and_then(|place| leaf.items.get(place))
    }

    /// Puts the item in the place of an equal key's, or in its own.
    pub fn insert(&mut self, item: V) {
        let index = self.leaf_of(item.key());
        let Some(leaf) = self.leaves.get_mut(index) else {
            self.leaves.push(Leaf { first: item.key().clone(), items: Arc::new(vec![item]) });
            self.len += 1;
            self.starts = OnceLock::new();
            return;
        };
        let place = leaf.items.binary_search_by(|other| other.key().cmp(item.key()));
        let items = Arc::make_mut(&mut leaf.items);
        let place = match place {
            Ok(place) => {
                items[place] = item;
                return;
            }
            Err(place) => place,
        };
        if leaf.first > *item.key() {
            leaf.first = item.key().clone();
        }
        items.insert(place, item);
        if items.len() > LEAF_MAX {
            // Keys often grow: then the lower leaf stays full.
            let at = if place == LEAF_MAX { LEAF_MAX } else { LEAF_MAX / 2 };
            let upper = items.split_off(at);
            if let Some(first) = upper.first().map(|item| item.key().clone()) {
                self.leaves.insert(index + 1, Leaf { first, items: Arc::new(upper) });
            }
        }
        self.len += 1;
        self.starts = OnceLock::new();
    }

    pub fn remove(&mut self, key: &V::Key) -> Option<V> {
        let index = self.leaf_of(key);
        let leaf = self.leaves.get_mut(index)?;
        let place = leaf.items.binary_search_by(|item| item.key().cmp(key)).ok()?;
        let items = Arc::make_mut(&mut leaf.items);
        let removed = items.remove(place);
        let left = items.len();
        if left == 0 {
            self.leaves.remove(index);
        } else if self.leaves.get(index + 1).is_some_and(|next| left + next.items.len() <= LEAF_MAX / 2) {
            let next = self.leaves.remove(index + 1);
            Arc::make_mut(&mut self.leaves[index].items).extend(next.items.iter().cloned());
        }
        self.len -= 1;
        self.starts = OnceLock::new();
        Some(removed)
    }
}

impl<V: Keyed> std::ops::Index<usize> for Shelf<V> {
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
            let Some(first) = leaf.first().map(|item| item.key().clone()) else { break };
            shelf.len += leaf.len();
            shelf.leaves.push(Leaf { first, items: Arc::new(leaf) });
        }
        shelf
    }
}

impl<V: Keyed> From<Vec<V>> for Shelf<V> {
    fn from(items: Vec<V>) -> Self {
        items.into_iter().collect()
    }
}

impl<V: Keyed + PartialEq> PartialEq for Shelf<V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<V: Keyed + std::fmt::Debug> std::fmt::Debug for Shelf<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Over the items of a [`Shelf`].
pub struct Iter<'a, V: Keyed> {
    leaves: std::slice::Iter<'a, Leaf<V>>,
    leaf: std::slice::Iter<'a, V>,
}

impl<V: Keyed> Clone for Iter<'_, V> {
    fn clone(&self) -> Self {
        Self { leaves: self.leaves.clone(), leaf: self.leaf.clone() }
    }
}

impl<'a, V: Keyed> Iterator for Iter<'a, V> {
    type Item = &'a V;

    fn next(&mut self) -> Option<&'a V> {
        loop {
            if let Some(item) = self.leaf.next() {
                return Some(item);
            }
            self.leaf = self.leaves.next()?.items.iter();
        }
    }
}

impl<'a, V: Keyed> IntoIterator for &'a Shelf<V> {
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
        let shared =
            shelf.leaves.iter().zip(&copy.leaves).filter(|(a, b)| Arc::ptr_eq(&a.items, &b.items)).count();
        assert_eq!(shared + 1, shelf.leaves.len());
    }
}
