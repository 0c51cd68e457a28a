//! Siblings in the order in which they are served, kept sorted under single changes.
//!
//! A sorted array, not a tree: it is read from the front far more often than it is
//! changed, and moving a few thousand bytes is quicker than following pointers.
//! Invariant: slots are sorted by the key that each was placed with, then by name.

use std::cmp::Ordering;

/// What siblings are compared by before their names.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Key {
    pub share: f64,
    /// How often something was allocated.
    pub count: u64,
}

impl Key {
    fn order(&self, other: &Self) -> Ordering {
        self.share.total_cmp(&other.share).then(self.count.cmp(&other.count))
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Slot {
    pub key: Key,
    pub ix: u32,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Order(Vec<Slot>);

impl Order {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn get(&self, at: usize) -> Option<u32> {
        self.0.get(at).map(|slot| slot.ix)
    }

    pub fn slots(&self) -> &[Slot] {
        &self.0
    }

    /// The first place that is not before `key` and `ix`.
    fn find<'n>(&self, key: Key, ix: u32, name: &impl Fn(u32) -> &'n str) -> usize {
        self.0.partition_point(|slot| {
            slot.key.order(&key).then_with(|| name(slot.ix).cmp(name(ix))) == Ordering::Less
        })
    }

    pub fn insert<'n>(&mut self, key: Key, ix: u32, name: &impl Fn(u32) -> &'n str) {
        let at = self.find(key, ix, name);
        self.0.insert(at, Slot { key, ix });
    }

    pub fn remove<'n>(&mut self, key: Key, ix: u32, name: &impl Fn(u32) -> &'n str) {
        let at = self.find(key, ix, name);
        if self.0.get(at).is_some_and(|slot| slot.ix == ix) {
            self.0.remove(at);
        } else {
            debug_assert!(false, "a slot stands where its key says");
            self.0.retain(|slot| slot.ix != ix);
        }
    }

    pub fn relocate<'n>(&mut self, old: Key, new: Key, ix: u32, name: &impl Fn(u32) -> &'n str) {
        let from = self.find(old, ix, name);
        if self.0.get(from).is_none_or(|slot| slot.ix != ix) {
            debug_assert!(false, "a slot stands where its key says");
            return;
        }
        let to = self.find(new, ix, name);
        if to > from {
            // The slot itself was counted as one that is before.
            self.0[from..to].rotate_left(1);
            self.0[to - 1].key = new;
        } else {
            self.0[to..=from].rotate_right(1);
            self.0[to].key = new;
        }
    }

    pub fn resort<'n>(&mut self, key: impl Fn(u32) -> Key, name: &impl Fn(u32) -> &'n str) {
        for slot in &mut self.0 {
            slot.key = key(slot.ix);
        }
        self.0.sort_by(|a, b| a.key.order(&b.key).then_with(|| name(a.ix).cmp(name(b.ix))));
    }

    pub fn is_sorted<'n>(&self, name: &impl Fn(u32) -> &'n str) -> bool {
        self.0.is_sorted_by(|a, b| {
            a.key.order(&b.key).then_with(|| name(a.ix).cmp(name(b.ix))) == Ordering::Less
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relocation_keeps_the_order() {
        const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
        let name = |ix: u32| NAMES[ix as usize];
        let mut order = Order::default();
        let mut keys = [Key::default(); 5];
        for ix in 0..5 {
            order.insert(keys[ix as usize], ix, &name);
        }
        let mut rng = model::Rng::new(3);
        for _ in 0..1000 {
            let ix = rng.index(5);
            let new = Key { share: rng.below(4) as f64, count: rng.below(2) };
            order.relocate(keys[ix], new, u32::try_from(ix).unwrap(), &name);
            keys[ix] = new;
            assert!(order.is_sorted(&name), "{order:?}");
            assert!(order.slots().iter().all(|slot| slot.key == keys[slot.ix as usize]));
        }
    }
}
