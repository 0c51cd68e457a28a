//! What must hold after every change, stated for the simulator and the tests; and reads.

use std::collections::BTreeMap;

use model::{AgentId, FrameworkId, Quantities, Resource, Resources, Role};

use super::Allocator;
use super::amounts::{Bag, Quants};
use super::tree::ROOT;

/// What a role holds and where that puts it, for readers.
#[derive(Debug, Clone, PartialEq)]
pub struct RoleShare {
    pub role: Role,
    /// Of the cluster's dominant resource, by weight.
    pub share: f64,
    /// With the roles below.
    pub allocated: Quantities,
    /// Reservations, used or not, and what is held of the unreserved; with the roles below.
    pub consumed: Quantities,
}

impl Allocator {
    /// What of an agent is neither used nor offered, shared volumes included.
    pub fn available(&self, agent: &AgentId) -> Resources {
        let agent = self.agent_index.get(agent).and_then(|ix| self.agents.get(*ix));
        agent.map_or_else(Resources::new, |agent| agent.free.to_resources().plus(&agent.shared))
    }

    /// What is used or offered of an agent, by framework and role.
    pub fn held_of(&self, agent: &AgentId) -> BTreeMap<(FrameworkId, Role), Resources> {
        let mut held = BTreeMap::new();
        let Some(agent) = self.agent_index.get(agent).and_then(|ix| self.agents.get(*ix)) else {
            return held;
        };
        for (client, bag) in &agent.held {
            let Some(row) = self.clients.get(*client) else { continue };
            if let (Some(framework), Some(node)) =
                (self.frameworks.get(row.framework), self.tree.nodes.get(row.role))
            {
                held.insert((framework.id.clone(), node.role.clone()), bag.to_resources());
            }
        }
        held
    }

    /// Cluster-wide, by role; a shared volume counts once per agent.
    pub fn held_by(&self, framework: &FrameworkId) -> BTreeMap<Role, Quantities> {
        let mut held = BTreeMap::new();
        let framework = self.framework_index.get(framework).and_then(|ix| self.frameworks.get(*ix));
        for client in framework.map(|framework| framework.clients.as_slice()).unwrap_or_default() {
            let Some(row) = self.clients.get(*client) else { continue };
            if let Some(node) = self.tree.nodes.get(row.role) {
                held.insert(node.role.clone(), row.account.held.to_quantities());
            }
        }
        held
    }

    /// Roles that have frameworks, reservations, quota or a weight, and those above them.
    pub fn roles(&self) -> Vec<RoleShare> {
        let nodes = self.tree.nodes.iter().filter(|(ix, _)| *ix != ROOT);
        let mut roles: Vec<RoleShare> = nodes
            .map(|(_, node)| RoleShare {
                role: node.role.clone(),
                share: self.tree.share(&node.tree.held, node.weight),
                allocated: node.tree.held.to_quantities(),
                consumed: node.consumed().to_quantities(),
            })
            .collect();
        roles.sort_by(|a, b| a.role.cmp(&b.role));
        roles
    }

    /// The first broken invariant, as a sentence.
    pub fn check_invariants(&self) -> Result<(), String> {
        let mut total = Quants::default();
        let mut headroom = Quants::default();
        let mut reserved: BTreeMap<u32, Quants> = BTreeMap::new();
        let mut holdings: BTreeMap<u32, u32> = BTreeMap::new();
        for (ix, agent) in self.agents.iter() {
            let mut free = Bag::new(&agent.total.filter(|resource| !resource.is_shared()));
            let mut fits = true;
            for (client, held) in &agent.held {
                if self.clients.get(*client).is_none() {
                    return Err(format!("agent {}: held by a client that is not there", agent.id));
                }
                *holdings.entry(*client).or_default() += 1;
                fits &= free.contains(&held.unshared());
                free.subtract(&held.unshared());
            }
            if !fits && !agent.overcommitted {
                return Err(format!("agent {}: more is held than its {}", agent.id, agent.total));
            }
            if free != agent.free {
                return Err(format!("agent {}: {:?} is free, not {:?}", agent.id, free, agent.free));
            }
            agent.check_envelope()?;
            let counted = if agent.active { free.quota_quants() } else { Quants::default() };
            if counted != agent.headroom {
                return Err(format!("agent {}: its part of the headroom is {counted:?}", agent.id));
            }
            headroom.add(&counted);
            total.add(&Quants::of(&agent.total));
            for resource in agent.total.iter().filter(|resource| !resource.is_unreserved()) {
                let Some(node) = self.tree.find(&resource.role()) else {
                    return Err(format!("agent {}: role {} is not in the tree", agent.id, resource.role()));
                };
                for (above, _) in self.tree.lineage(node) {
                    let sum = Quants::of(&Resources::from_iter([resource.clone()]));
                    reserved.entry(above).or_default().add(&sum);
                }
            }
            let first = agent.filters.iter().map(|filter| filter.until).min().unwrap_or(u64::MAX);
            if first < agent.first_expiry
                || agent.first_expiry != u64::MAX && !self.expiries.contains(&(agent.first_expiry, ix))
            {
                return Err(format!("agent {}: the end of a refusal is not waited for", agent.id));
            }
        }
        if total != self.tree.total || headroom != self.headroom {
            return Err(format!("the cluster has {total:?} and {headroom:?} are free for guarantees"));
        }
        self.check_clients(&holdings)?;
        self.check_roles(&reserved)
    }

    fn held_where(&self, counts: impl Fn(u32, u32) -> bool) -> (Quants, Quants) {
        let (mut sum, mut unreserved) = (Quants::default(), Quants::default());
        for (_, agent) in self.agents.iter() {
            let mut shared = Resources::new();
            for (client, bag) in &agent.held {
                let Some(row) = self.clients.get(*client) else { continue };
                if counts(*client, row.role) {
                    sum.add(&bag.unshared().quants());
                    unreserved.add(&bag.unshared().quota_quants());
                    shared.add(&bag.rest.filter(Resource::is_shared));
                }
            }
            sum.add(&Quants::of(&shared));
        }
        (sum, unreserved)
    }

    fn check_clients(&self, holdings: &BTreeMap<u32, u32>) -> Result<(), String> {
        for (ix, row) in self.clients.iter() {
            let name = self.client_name(ix);
            let (held, _) = self.held_where(|client, _| client == ix);
            if held != row.account.held {
                return Err(format!("framework {name}: holds {held:?}, not {:?}", row.account.held));
            }
            if holdings.get(&ix).copied().unwrap_or(0) != row.holdings {
                return Err(format!("framework {name}: holds something on {} agents?", row.holdings));
            }
            let active = self.frameworks.get(row.framework).is_some_and(|framework| framework.active);
            if row.account.placed.is_some() != (active && row.subscribed && !row.suppressed) {
                return Err(format!(
                    "framework {name}: wants offers and is not in the order, or stands there"
                ));
            }
            if !row.touched && !self.stale && row.account.placed.is_some_and(|key| key != self.client_key(ix))
            {
                return Err(format!("framework {name}: stands where its share is not"));
            }
        }
        Ok(())
    }

    fn check_roles(&self, reserved: &BTreeMap<u32, Quants>) -> Result<(), String> {
        let mut required = Quants::default();
        for (ix, node) in self.tree.nodes.iter().filter(|(ix, _)| *ix != ROOT) {
            let role = &node.role;
            let (own, _) = self.held_where(|_, of| of == ix);
            let (tree, unreserved) = self.held_where(|_, of| self.tree.is_within(of, ix));
            if own != node.own.held || tree != node.tree.held || unreserved != node.unreserved {
                return Err(format!("role {role}: holds {own:?}, with those below {tree:?}"));
            }
            if reserved.get(&ix).cloned().unwrap_or_default() != node.reserved {
                return Err(format!("role {role}: {:?} are not what is reserved for it", node.reserved));
            }
            if let Some(quota) = &node.quota {
                let missing = quota.guarantees.beyond(&node.consumed());
                if missing != quota.missing {
                    return Err(format!("role {role}: misses {missing:?}, not {:?}", quota.missing));
                }
                required.add(&missing);
            }
            if node.own.placed.is_some() == node.frameworks.is_empty()
                || node.tree.placed.is_some() == node.entries.is_empty()
            {
                return Err(format!("role {role}: wants offers and is not in the order, or stands there"));
            }
            if !node.frameworks.is_sorted(&|client| self.client_name(client))
                || !self.tree.entries_are_sorted(ix)
            {
                return Err(format!("role {role}: its order is none"));
            }
            let settled = self.touched.is_empty() && !self.stale && !self.tree.by_lot;
            let moved = node.tree.placed.is_some_and(|key| key != self.tree.entry_key(node.parent, ix));
            if settled && moved {
                return Err(format!("role {role}: stands where its share is not"));
            }
        }
        if required != self.tree.required {
            return Err(format!("quotas miss {required:?}, not {:?}", self.tree.required));
        }
        Ok(())
    }
}
