//! A map that remembers which of its entries may have changed.
//!
//! The next snapshot rebuilds these and keeps the rest. Whoever changes an entry
//! need not think of it: there is no other way to one than through here.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::ops::Deref;

#[derive(Debug, Clone)]
pub(crate) struct Tracked<K, V> {
    map: BTreeMap<K, V>,
    touched: BTreeSet<K>,
    /// Touched since [`Tracked::take_recent`]; kept only while somebody takes them.
    recent: Option<BTreeSet<K>>,
}

impl<K: Ord + Clone, V> Tracked<K, V> {
    pub fn new() -> Self {
        Self { map: BTreeMap::new(), touched: BTreeSet::new(), recent: None }
    }

    fn touch<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Ord + ToOwned<Owned = K> + ?Sized,
    {
        if !self.touched.contains(key) {
            self.touched.insert(key.to_owned());
        }
        if let Some(recent) = &mut self.recent {
            recent.insert(key.to_owned());
        }
    }

    fn note(&mut self, key: &K) {
        self.touched.insert(key.clone());
        if let Some(recent) = &mut self.recent {
            recent.insert(key.clone());
        }
    }

    pub fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Ord + ToOwned<Owned = K> + ?Sized,
    {
        if self.map.contains_key(key) {
            self.touch(key);
        }
        self.map.get_mut(key)
    }

    pub fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        self.note(&key);
        self.map.entry(key)
    }

    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.note(&key);
        self.map.insert(key, value)
    }

    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Ord + ToOwned<Owned = K> + ?Sized,
    {
        let removed = self.map.remove(key);
        if removed.is_some() {
            self.touch(key);
        }
        removed
    }

    pub fn touch_all(&mut self) {
        self.touched.extend(self.map.keys().cloned());
    }

    /// The keys touched since the last call; none: unknown, for the last call did not
    /// want to know `more`.
    pub fn take_recent(&mut self, more: bool) -> Option<BTreeSet<K>> {
        std::mem::replace(&mut self.recent, more.then(BTreeSet::new))
    }

    /// The first keys touched since they were taken last, those of removed entries too.
    pub fn take_touched(&mut self, most: usize) -> BTreeSet<K> {
        let rest = match self.touched.iter().nth(most).cloned() {
            Some(next) => self.touched.split_off(&next),
            None => BTreeSet::new(),
        };
        std::mem::replace(&mut self.touched, rest)
    }

    pub fn touched(&self) -> usize {
        self.touched.len()
    }
}

impl<K, V> Deref for Tracked<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &BTreeMap<K, V> {
        &self.map
    }
}
