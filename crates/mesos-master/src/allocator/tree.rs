//! The hierarchy of roles: what each holds, its part of quota, and who is next.
//!
//! A role with frameworks of its own takes part among its children as one more of them,
//! by the name `role/.`. Invariants: a node's sums are those of its subtree; it is
//! among its parent's entries exactly if somebody below it wants offers; `required` is
//! the sum of what quotas still miss.

use std::collections::HashMap;

use model::{QuotaConfig, Role, Weight};

use super::amounts::{Excluded, Quants, Room, dominant_share};
use super::order::{Key, Order};
use super::slab::Slab;

/// The node above the top-level roles.
pub(super) const ROOT: u32 = 0;

/// What somebody holds, and where that puts it.
#[derive(Debug, Clone, Default)]
pub(super) struct Account {
    pub held: Quants,
    pub count: u64,
    /// The key that it was placed with, while it is in an order.
    pub placed: Option<Key>,
}

#[derive(Debug)]
pub(super) struct Quota {
    pub guarantees: Quants,
    pub limits: Room,
    /// Of the guarantees, what is not consumed.
    pub missing: Quants,
    pub config: QuotaConfig,
}

#[derive(Debug)]
pub(super) struct Node {
    pub role: Role,
    /// Its name among its own children.
    leaf: String,
    pub parent: u32,
    refs: u32,
    pub weight: Weight,
    pub quota: Option<Box<Quota>>,
    /// Reserved on all agents for it and for roles below.
    pub reserved: Quants,
    /// Held by it and roles below of what is not reserved.
    pub unreserved: Quants,
    /// Of its own frameworks.
    pub own: Account,
    /// With all below.
    pub tree: Account,
    /// Clients of it and of roles below, whether they want offers or not.
    pub clients: u32,
    pub own_clients: u32,
    /// Its own clients that want offers.
    pub frameworks: Order,
    /// Children with such clients, and itself if it has any of its own.
    pub entries: Order,
}

impl Node {
    fn new(role: Role, parent: u32) -> Self {
        Self {
            leaf: format!("{role}/."),
            role,
            parent,
            refs: 0,
            weight: Weight::DEFAULT,
            quota: None,
            reserved: Quants::default(),
            unreserved: Quants::default(),
            own: Account::default(),
            tree: Account::default(),
            clients: 0,
            own_clients: 0,
            frameworks: Order::default(),
            entries: Order::default(),
        }
    }

    pub fn consumed(&self) -> Quants {
        let mut sum = self.reserved.clone();
        sum.add(&self.unreserved);
        sum
    }
}

#[derive(Debug)]
pub(super) struct Tree {
    pub nodes: Slab<Node>,
    index: HashMap<Role, u32>,
    /// All agents' resources.
    pub total: Quants,
    pub excluded: Excluded,
    /// By lot: keys have no meaning.
    pub by_lot: bool,
    pub quotas: u32,
    pub required: Quants,
    /// Grows when anything changes that quotas depend on.
    pub version: u64,
}

/// Which way a sum changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
}

impl Way {
    pub fn apply(self, sum: &mut Quants, change: &Quants) {
        match self {
            Self::Up => sum.add(change),
            Self::Down => sum.subtract(change),
        }
    }
}

impl Tree {
    pub fn new(excluded: Excluded, by_lot: bool) -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::new(Role::any(), ROOT));
        Self {
            nodes,
            index: HashMap::new(),
            total: Quants::default(),
            excluded,
            by_lot,
            quotas: 0,
            required: Quants::default(),
            version: 0,
        }
    }

    pub fn find(&self, role: &Role) -> Option<u32> {
        self.index.get(role).copied()
    }

    /// The node of a role, made if need be; to be given back by [`Self::release`].
    pub fn acquire(&mut self, role: &Role) -> u32 {
        let ix = match self.find(role) {
            Some(ix) => ix,
            None => {
                let above = role.as_str().rsplit_once('/').and_then(|(above, _)| Role::new(above).ok());
                let parent = above.map_or(ROOT, |above| self.acquire(&above));
                let ix = self.nodes.insert(Node::new(role.clone(), parent));
                self.index.insert(role.clone(), ix);
                ix
            }
        };
        if let Some(node) = self.nodes.get_mut(ix) {
            node.refs += 1;
        }
        ix
    }

    pub fn release(&mut self, mut ix: u32) {
        while ix != ROOT {
            let Some(node) = self.nodes.get_mut(ix) else { return };
            node.refs = node.refs.saturating_sub(1);
            if node.refs > 0 {
                return;
            }
            let parent = node.parent;
            if let Some(node) = self.nodes.remove(ix) {
                self.index.remove(&node.role);
            }
            ix = parent;
        }
    }

    /// The node and what lies above it, nearest first, without the root.
    pub fn lineage(&self, ix: u32) -> impl Iterator<Item = (u32, &Node)> {
        let step = |ix: u32| (ix != ROOT).then(|| self.nodes.get(ix).map(|node| (ix, node))).flatten();
        std::iter::successors(step(ix), move |(_, node)| step(node.parent))
    }

    pub fn is_within(&self, ix: u32, above: u32) -> bool {
        self.lineage(ix).any(|(node, _)| node == above)
    }

    fn key(&self, account: &Account, weight: Weight) -> Key {
        if self.by_lot {
            return Key::default();
        }
        Key { share: self.share(&account.held, weight), count: account.count }
    }

    pub fn share(&self, held: &Quants, weight: Weight) -> f64 {
        dominant_share(held, &self.total, &self.excluded) / (weight.0.max(1) as f64 / 1000.0)
    }

    /// Calls `change` for the node and each above it.
    fn upward(&mut self, mut ix: u32, mut change: impl FnMut(&mut Node)) {
        while ix != ROOT {
            let Some(node) = self.nodes.get_mut(ix) else { return };
            change(node);
            ix = node.parent;
        }
    }

    pub fn client_came(&mut self, ix: u32) {
        if let Some(node) = self.nodes.get_mut(ix) {
            node.own_clients += 1;
        }
        self.upward(ix, |node| node.clients += 1);
    }

    /// Counts end with the clients whose they are.
    pub fn client_went(&mut self, ix: u32) {
        if let Some(node) = self.nodes.get_mut(ix) {
            node.own_clients = node.own_clients.saturating_sub(1);
            if node.own_clients == 0 {
                node.own.count = 0;
            }
        }
        self.upward(ix, |node| {
            node.clients = node.clients.saturating_sub(1);
            if node.clients == 0 {
                node.tree.count = 0;
            }
        });
    }

    pub fn count_up(&mut self, ix: u32) {
        if let Some(node) = self.nodes.get_mut(ix) {
            node.own.count += 1;
        }
        self.upward(ix, |node| node.tree.count += 1);
    }

    /// What the role's own frameworks hold changes, for all nodes above as well.
    pub fn charge(&mut self, ix: u32, held: &Quants, unreserved: &Quants, way: Way) {
        if let Some(node) = self.nodes.get_mut(ix) {
            way.apply(&mut node.own.held, held);
        }
        self.upward(ix, |node| {
            way.apply(&mut node.tree.held, held);
            way.apply(&mut node.unreserved, unreserved);
        });
        self.recount(ix);
    }

    pub fn reserve(&mut self, ix: u32, reserved: &Quants, way: Way) {
        self.upward(ix, |node| way.apply(&mut node.reserved, reserved));
        self.recount(ix);
    }

    /// Brings up to date what quotas miss, from here upward.
    fn recount(&mut self, mut ix: u32) {
        if self.quotas == 0 {
            return;
        }
        self.version += 1;
        while ix != ROOT {
            let Some(node) = self.nodes.get_mut(ix) else { return };
            if node.quota.is_some() {
                let consumed = node.consumed();
                if let Some(quota) = &mut node.quota {
                    let missing = quota.guarantees.beyond(&consumed);
                    if missing != quota.missing {
                        self.required.subtract(&quota.missing);
                        self.required.add(&missing);
                        quota.missing = missing;
                    }
                }
            }
            ix = node.parent;
        }
    }

    pub fn set_quota(&mut self, role: &Role, config: Option<QuotaConfig>) {
        let ix = self.acquire(role);
        let old = self.nodes.get_mut(ix).and_then(|node| node.quota.take());
        if let Some(old) = old {
            self.required.subtract(&old.missing);
            self.quotas = self.quotas.saturating_sub(1);
            self.release(ix);
        }
        self.version += 1;
        if let Some(config) = config {
            self.acquire(role);
            self.quotas += 1;
            let quota = Quota {
                guarantees: Quants::from_quantities(&config.guarantees),
                limits: Room::limits(&config.limits),
                missing: Quants::default(),
                config,
            };
            if let Some(node) = self.nodes.get_mut(ix) {
                node.quota = Some(Box::new(quota));
            }
            self.recount(ix);
        }
        self.release(ix);
    }

    pub fn set_weight(&mut self, role: &Role, weight: Weight) {
        let ix = self.acquire(role);
        let Some(node) = self.nodes.get_mut(ix) else { return };
        let (was, is) = (node.weight != Weight::DEFAULT, weight != Weight::DEFAULT);
        node.weight = weight;
        if is && !was {
            self.acquire(role);
        } else if was && !is {
            self.release(ix);
        }
        self.replace(ix);
        self.release(ix);
    }

    /// A client of the role began or ceased to want offers: `frameworks` was changed.
    pub fn membership(&mut self, mut ix: u32) {
        // Itself among its entries first, then each node among those of its parent.
        let Some(node) = self.nodes.get(ix) else { return };
        let (wanted, placed) = (!node.frameworks.is_empty(), node.own.placed);
        let key = self.key(&node.own, Weight::DEFAULT);
        if wanted != placed.is_some() {
            self.entry(ix, ix, placed, wanted.then_some(key));
            if let Some(node) = self.nodes.get_mut(ix) {
                node.own.placed = wanted.then_some(key);
            }
        }
        while ix != ROOT {
            let Some(node) = self.nodes.get(ix) else { return };
            let (wanted, placed, parent) = (!node.entries.is_empty(), node.tree.placed, node.parent);
            if wanted == placed.is_some() {
                return;
            }
            let key = self.key(&node.tree, node.weight);
            self.entry(parent, ix, placed, wanted.then_some(key));
            if let Some(node) = self.nodes.get_mut(ix) {
                node.tree.placed = wanted.then_some(key);
            }
            ix = parent;
        }
    }

    /// Puts the role, and all above it, where what they hold now puts them.
    pub fn replace(&mut self, mut ix: u32) {
        if self.by_lot {
            return;
        }
        if let Some(node) = self.nodes.get(ix)
            && let Some(old) = node.own.placed
        {
            let key = self.key(&node.own, Weight::DEFAULT);
            if key != old {
                self.entry(ix, ix, Some(old), Some(key));
                if let Some(node) = self.nodes.get_mut(ix) {
                    node.own.placed = Some(key);
                }
            }
        }
        while ix != ROOT {
            let Some(node) = self.nodes.get(ix) else { return };
            let parent = node.parent;
            if let Some(old) = node.tree.placed {
                let key = self.key(&node.tree, node.weight);
                if key != old {
                    self.entry(parent, ix, Some(old), Some(key));
                    if let Some(node) = self.nodes.get_mut(ix) {
                        node.tree.placed = Some(key);
                    }
                }
            }
            ix = parent;
        }
    }

    /// Changes one slot of a node's entries.
    fn entry(&mut self, of: u32, ix: u32, old: Option<Key>, new: Option<Key>) {
        let Some(node) = self.nodes.get_mut(of) else { return };
        let mut entries = std::mem::take(&mut node.entries);
        let name = |child: u32| self.entry_name(of, child);
        match (old, new) {
            (Some(old), Some(new)) => entries.relocate(old, new, ix, &name),
            (Some(old), None) => entries.remove(old, ix, &name),
            (None, Some(new)) => entries.insert(new, ix, &name),
            (None, None) => {}
        }
        if let Some(node) = self.nodes.get_mut(of) {
            node.entries = entries;
        }
    }

    pub fn entry_name(&self, of: u32, child: u32) -> &str {
        match self.nodes.get(child) {
            Some(node) if child == of => &node.leaf,
            Some(node) => node.role.as_str(),
            None => "",
        }
    }

    pub fn entry_key(&self, of: u32, child: u32) -> Key {
        match self.nodes.get(child) {
            Some(node) if child == of => self.key(&node.own, Weight::DEFAULT),
            Some(node) => self.key(&node.tree, node.weight),
            None => Key::default(),
        }
    }

    /// All shares changed.
    pub fn resort(&mut self) {
        let all: Vec<u32> = self.nodes.iter().map(|(ix, _)| ix).collect();
        for of in all {
            let Some(node) = self.nodes.get_mut(of) else { continue };
            let mut entries = std::mem::take(&mut node.entries);
            entries.resort(|child| self.entry_key(of, child), &|child| self.entry_name(of, child));
            for slot in entries.slots() {
                if let Some(child) = self.nodes.get_mut(slot.ix) {
                    let account = if slot.ix == of { &mut child.own } else { &mut child.tree };
                    account.placed = Some(slot.key);
                }
            }
            if let Some(node) = self.nodes.get_mut(of) {
                node.entries = entries;
            }
        }
    }

    pub fn entries_are_sorted(&self, of: u32) -> bool {
        self.nodes.get(of).is_none_or(|node| node.entries.is_sorted(&|child| self.entry_name(of, child)))
    }
}
