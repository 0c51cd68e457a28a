//! The books: who holds what, and all sums that follow from it.
//!
//! Invariant: after each function here the sums are right; only the order of siblings
//! waits until the next run ([`Allocator::touch`]).

use model::Resources;

use super::Allocator;
use super::amounts::{Bag, Quants};
use super::tree::Way;

impl Allocator {
    /// Books that a client holds `bag` of an agent, on top of what it holds.
    pub(super) fn take(&mut self, client: u32, ix: u32, bag: Bag) {
        let shared_before = bag.has_shared().then(|| self.shared_levels(client, ix));
        let unshared;
        let used = if shared_before.is_some() {
            unshared = bag.unshared();
            &unshared
        } else {
            &bag
        };
        let (quants, unreserved) = (used.quants(), used.quota_quants());
        let Some(agent) = self.agents.get_mut(ix) else { return };
        if agent.overcommitted || !agent.free.contains(used) {
            hold(agent, client, &bag, &mut self.clients);
            agent.reckon();
        } else {
            agent.free.subtract(used);
            hold(agent, client, &bag, &mut self.clients);
        }
        self.charge(client, &quants, &unreserved, Way::Up);
        self.settle_shared(client, ix, shared_before);
        self.count_headroom(ix);
    }

    /// Books that a client gives `bag` back; what it does not hold is ignored.
    pub(super) fn give(&mut self, client: u32, ix: u32, bag: &Bag) {
        let shared_before = bag.has_shared().then(|| self.shared_levels(client, ix));
        let Some(agent) = self.agents.get_mut(ix) else { return };
        let Ok(at) = agent.held_at(client) else { return };
        let Some((_, held)) = agent.held.get_mut(at) else { return };
        let mut given;
        let given = if held.contains(bag) {
            held.subtract(bag);
            bag
        } else {
            let before = held.clone();
            held.subtract(bag);
            given = before;
            given.subtract(held);
            &given
        };
        if held.is_empty() {
            agent.held.remove(at);
            if let Some(row) = self.clients.get_mut(client) {
                row.holdings = row.holdings.saturating_sub(1);
            }
        }
        let unshared;
        let given = if shared_before.is_some() {
            unshared = given.unshared();
            &unshared
        } else {
            given
        };
        if agent.overcommitted {
            agent.reckon();
        } else {
            agent.free.add(given);
            agent.grown();
        }
        let (quants, unreserved) = (given.quants(), given.quota_quants());
        self.charge(client, &quants, &unreserved, Way::Down);
        self.settle_shared(client, ix, shared_before);
        self.count_headroom(ix);
    }

    fn charge(&mut self, client: u32, quants: &Quants, unreserved: &Quants, way: Way) {
        let Some(row) = self.clients.get_mut(client) else { return };
        way.apply(&mut row.account.held, quants);
        let role = row.role;
        self.tree.charge(role, quants, unreserved, way);
        self.touch(client);
    }

    /// The client's place among its siblings is to be looked at before the next run.
    pub(super) fn touch(&mut self, client: u32) {
        if let Some(row) = self.clients.get_mut(client)
            && !row.touched
        {
            row.touched = true;
            self.touched.push(client);
        }
    }

    /// Shared volumes that count at each level, the client's own, its role's, and upward:
    /// each volume once, however many hold it.
    fn shared_levels(&self, client: u32, ix: u32) -> Vec<Quants> {
        let (Some(agent), Some(row)) = (self.agents.get(ix), self.clients.get(client)) else {
            return Vec::new();
        };
        let sum = |counts: &dyn Fn(u32, u32) -> bool| {
            let mut shared = Resources::new();
            for (holder, bag) in &agent.held {
                let Some(role) = self.clients.get(*holder).map(|row| row.role) else { continue };
                if counts(*holder, role) {
                    shared.add(&bag.shared());
                }
            }
            Quants::of(&shared)
        };
        let mut levels = vec![sum(&|holder, _| holder == client), sum(&|_, role| role == row.role)];
        for (node, _) in self.tree.lineage(row.role) {
            levels.push(sum(&|_, role| self.tree.is_within(role, node)));
        }
        levels
    }

    fn settle_shared(&mut self, client: u32, ix: u32, before: Option<Vec<Quants>>) {
        let Some(before) = before else { return };
        let after = self.shared_levels(client, ix);
        let mut changes = before.iter().zip(&after);
        let Some(row) = self.clients.get_mut(client) else { return };
        let swap = |sum: &mut Quants, change: Option<(&Quants, &Quants)>| {
            if let Some((before, after)) = change {
                sum.subtract(before);
                sum.add(after);
            }
        };
        swap(&mut row.account.held, changes.next());
        let mut ix = row.role;
        if let Some(node) = self.tree.nodes.get_mut(ix) {
            swap(&mut node.own.held, changes.next());
        }
        for change in changes {
            let Some(node) = self.tree.nodes.get_mut(ix) else { return };
            swap(&mut node.tree.held, Some(change));
            ix = node.parent;
        }
        self.touch(client);
    }

    /// Books another total, and what follows from it.
    pub(super) fn change_total(&mut self, ix: u32, total: Resources) {
        let quants = Quants::of(&total);
        let mut reserved: Vec<(u32, Quants)> = Vec::new();
        for resource in total.iter().filter(|resource| !resource.is_unreserved()) {
            let node = self.tree.acquire(&resource.role());
            let sum = Quants::of(&Resources::from_iter([resource.clone()]));
            match reserved.iter_mut().find(|(other, _)| *other == node) {
                Some((_, known)) => {
                    known.add(&sum);
                    self.tree.release(node);
                }
                None => reserved.push((node, sum)),
            }
        }
        let Some(agent) = self.agents.get_mut(ix) else { return };
        agent.set_total(total);
        let old = std::mem::replace(&mut agent.reserved, reserved.clone());
        let old_quants = std::mem::replace(&mut agent.quants, quants.clone());
        if old_quants != quants {
            self.tree.total.subtract(&old_quants);
            self.tree.total.add(&quants);
            self.stale = true;
        }
        if old != reserved {
            for (node, sum) in &old {
                self.tree.reserve(*node, sum, Way::Down);
            }
            for (node, sum) in &reserved {
                self.tree.reserve(*node, sum, Way::Up);
            }
        }
        for (node, _) in old {
            self.tree.release(node);
        }
        self.count_headroom(ix);
    }

    /// Keeps the agent's part of what is available for guarantees.
    pub(super) fn count_headroom(&mut self, ix: u32) {
        let Some(agent) = self.agents.get_mut(ix) else { return };
        let counted = if agent.active { agent.free.quota_quants() } else { Quants::default() };
        if counted != agent.headroom {
            self.headroom.subtract(&agent.headroom);
            self.headroom.add(&counted);
            agent.headroom = counted;
            if self.tree.quotas > 0 {
                self.tree.version += 1;
            }
        }
    }

    /// Puts the client into the order of its role or takes it out, as it wants offers or not.
    pub(super) fn refresh_client(&mut self, client: u32) {
        let Some(row) = self.clients.get(client) else { return };
        let active = self.frameworks.get(row.framework).is_some_and(|framework| framework.active);
        let wanted = active && row.subscribed && !row.suppressed;
        let (role, placed) = (row.role, row.account.placed);
        if wanted == placed.is_some() {
            return;
        }
        let key = self.client_key(client);
        let mut order = match self.tree.nodes.get_mut(role) {
            Some(node) => std::mem::take(&mut node.frameworks),
            None => return,
        };
        let name = |client: u32| self.client_name(client);
        match placed {
            Some(old) => order.remove(old, client, &name),
            None => order.insert(key, client, &name),
        }
        if let Some(node) = self.tree.nodes.get_mut(role) {
            node.frameworks = order;
        }
        if let Some(row) = self.clients.get_mut(client) {
            row.account.placed = wanted.then_some(key);
        }
        self.tree.membership(role);
    }

    pub(super) fn client_name(&self, client: u32) -> &str {
        let framework = self.clients.get(client).and_then(|row| self.frameworks.get(row.framework));
        framework.map_or("", |framework| framework.id.as_str())
    }

    pub(super) fn client_key(&self, client: u32) -> super::order::Key {
        match self.clients.get(client) {
            Some(row) if self.options.framework_sorter == super::Sorter::Drf => super::order::Key {
                share: self.tree.share(&row.account.held, model::Weight::DEFAULT),
                count: row.account.count,
            },
            _ => super::order::Key::default(),
        }
    }

    /// Brings the order of all siblings up to date.
    pub(super) fn reorder(&mut self) {
        let touched = std::mem::take(&mut self.touched);
        for client in &touched {
            if let Some(row) = self.clients.get_mut(*client) {
                row.touched = false;
            }
        }
        if std::mem::take(&mut self.stale) {
            self.resort();
            return;
        }
        for client in &touched {
            self.replace_client(*client);
        }
        // Not needed twice: its memory is used again.
        self.touched = touched;
        self.touched.clear();
    }

    fn replace_client(&mut self, client: u32) {
        let Some(row) = self.clients.get(client) else { return };
        let role = row.role;
        if let Some(old) = row.account.placed {
            let key = self.client_key(client);
            if key != old {
                let mut order = match self.tree.nodes.get_mut(role) {
                    Some(node) => std::mem::take(&mut node.frameworks),
                    None => return,
                };
                order.relocate(old, key, client, &|client| self.client_name(client));
                if let Some(node) = self.tree.nodes.get_mut(role) {
                    node.frameworks = order;
                }
                if let Some(row) = self.clients.get_mut(client) {
                    row.account.placed = Some(key);
                }
            }
        }
        self.tree.replace(role);
    }

    fn resort(&mut self) {
        self.tree.resort();
        let all: Vec<u32> = self.tree.nodes.iter().map(|(ix, _)| ix).collect();
        for ix in all {
            let Some(node) = self.tree.nodes.get_mut(ix) else { continue };
            let mut order = std::mem::take(&mut node.frameworks);
            order.resort(|client| self.client_key(client), &|client| self.client_name(client));
            for slot in order.slots() {
                if let Some(row) = self.clients.get_mut(slot.ix) {
                    row.account.placed = Some(slot.key);
                }
            }
            if let Some(node) = self.tree.nodes.get_mut(ix) {
                node.frameworks = order;
            }
        }
    }
}

fn hold(agent: &mut super::Agent, client: u32, bag: &Bag, clients: &mut super::Slab<super::rows::Client>) {
    if bag.is_empty() {
        return;
    }
    match agent.held_at(client) {
        Ok(at) => {
            if let Some((_, held)) = agent.held.get_mut(at) {
                held.add(bag);
            }
        }
        Err(at) => {
            agent.held.insert(at, (client, bag.clone()));
            if let Some(row) = clients.get_mut(client) {
                row.holdings += 1;
            }
        }
    }
}
