//! The rules of the allocator, written down as plainly as they can be: everything is
//! computed anew from what is held, at every look. Slow, and easy to believe.
//!
//! It is the measure of the incremental allocator: told the same, both must grant the
//! same. Inverse offers are not in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesos_master::allocator::{
    AgentFacts, FILTER_MAX_MS, FILTERS_PER_CLIENT_MAX, FrameworkFacts, Grant, Options,
    RECOVERY_AGENTS_PERCENT, RECOVERY_WAIT_MS,
};
use model::{
    AgentCapability, AgentId, Capability, FrameworkId, MinAllocatable, Quantities, Quantity, QuotaConfig,
    Resource, ResourceName, ResourceValue, Resources, Rng, Role, Time, Weight,
};

#[derive(Debug)]
struct Filter {
    framework: FrameworkId,
    role: Role,
    refused: Resources,
    until: u64,
}

#[derive(Debug)]
struct Agent {
    serial: u64,
    facts: AgentFacts,
    held: BTreeMap<(FrameworkId, Role), Resources>,
    filters: Vec<Filter>,
}

impl Agent {
    fn free(&self) -> Resources {
        let mut free = self.facts.total.filter(|resource| !resource.is_shared());
        for held in self.held.values() {
            free.subtract(&held.filter(|resource| !resource.is_shared()));
        }
        free
    }

    fn shared(&self) -> Resources {
        self.facts.total.filter(Resource::is_shared)
    }
}

/// The allocator as it is meant.
#[derive(Debug)]
pub struct Reference {
    options: Options,
    seed: u64,
    start: u64,
    next_full: u64,
    serial: u64,
    agents: BTreeMap<AgentId, Agent>,
    frameworks: BTreeMap<FrameworkId, FrameworkFacts>,
    weights: BTreeMap<Role, Weight>,
    quotas: BTreeMap<Role, QuotaConfig>,
    client_counts: BTreeMap<(FrameworkId, Role), u64>,
    own_counts: BTreeMap<Role, u64>,
    tree_counts: BTreeMap<Role, u64>,
    urgent: BTreeSet<AgentId>,
    wake_all: bool,
    expected: Option<usize>,
}

fn mix(seed: u64, now: u64, stage: u64, serial: u64) -> u64 {
    Rng::new(seed ^ now.rotate_left(17) ^ serial.rotate_left(40) ^ (stage << 62)).next_u64()
}

/// `role` and what lies above it, nearest first.
fn lineage(role: &Role) -> Vec<Role> {
    let mut line = vec![role.clone()];
    let mut text = role.as_str();
    while let Some((above, _)) = text.rsplit_once('/') {
        line.extend(Role::new(above));
        text = above;
    }
    line
}

fn is_within(role: &Role, above: &Role) -> bool {
    lineage(role).contains(above)
}

fn for_quota(resource: &Resource) -> bool {
    matches!(resource.value, ResourceValue::Scalar(_)) && resource.is_unreserved() && !resource.revocable
}

fn add(sum: &mut Quantities, more: &Quantities) {
    for (name, quantity) in more {
        let entry = sum.entry(name.clone()).or_default();
        *entry = entry.saturating_add(*quantity);
    }
}

fn minus(a: &Quantities, b: &Quantities) -> Quantities {
    let mut rest = a.clone();
    for (name, quantity) in &mut rest {
        let less = b.get(name).copied().unwrap_or_default();
        *quantity = quantity.saturating_sub(less).max(Quantity::ZERO);
    }
    rest.retain(|_, quantity| quantity.is_positive());
    rest
}

/// No more of each name than `target` says; `open`: of other names everything, else nothing.
fn shrink(resources: &Resources, target: &Quantities, open: bool) -> Resources {
    let mut left = target.clone();
    let mut entries: Vec<&Resource> = resources.iter().collect();
    entries.sort_by_cached_key(|resource| {
        (resource.disk.is_some() || resource.provider.is_some(), format!("{resource:?}"))
    });
    let mut kept = Resources::new();
    for resource in entries {
        let Some(room) = left.get_mut(&resource.name) else {
            if open {
                kept.add_one(resource.clone());
            }
            continue;
        };
        let wanted = resource.quantity();
        let part = wanted.min(*room);
        if part != wanted && resource.is_indivisible() {
            continue;
        }
        *room = room.saturating_sub(part);
        kept.add_one(Resource { value: ResourceValue::Scalar(part), ..resource.clone() });
    }
    kept
}

fn amount(resources: &Resources, name: &ResourceName) -> i64 {
    let count = |resource: &Resource| match &resource.value {
        ResourceValue::Scalar(quantity) => quantity.milli(),
        ResourceValue::Ranges(ranges) => {
            i64::try_from(ranges.count()).unwrap_or(i64::MAX).saturating_mul(1000)
        }
        ResourceValue::Set(items) => i64::try_from(items.len()).unwrap_or(i64::MAX).saturating_mul(1000),
    };
    resources.iter().filter(|resource| resource.name == *name).map(count).fold(0, i64::saturating_add)
}

fn meets(resources: &Resources, minimum: &MinAllocatable) -> bool {
    !resources.is_empty()
        && (minimum.is_empty()
            || minimum
                .iter()
                .any(|all| all.iter().all(|(name, quantity)| amount(resources, name) >= quantity.milli())))
}

impl Reference {
    pub fn new(options: Options, now: Time, mut rng: Rng) -> Self {
        let start = now.as_millis();
        let expected = options.expected_agents;
        Self {
            seed: rng.next_u64(),
            start,
            next_full: start,
            serial: 0,
            agents: BTreeMap::new(),
            frameworks: BTreeMap::new(),
            weights: BTreeMap::new(),
            quotas: BTreeMap::new(),
            client_counts: BTreeMap::new(),
            own_counts: BTreeMap::new(),
            tree_counts: BTreeMap::new(),
            urgent: BTreeSet::new(),
            wake_all: false,
            expected,
            options,
        }
    }

    pub fn add_agent(&mut self, id: &AgentId, facts: AgentFacts) {
        self.remove_agent(id);
        self.serial += 1;
        let agent = Agent { serial: self.serial, facts, held: BTreeMap::new(), filters: Vec::new() };
        self.agents.insert(id.clone(), agent);
        self.urgent.insert(id.clone());
    }

    pub fn update_agent(&mut self, id: &AgentId, facts: AgentFacts) {
        if let Some(agent) = self.agents.get_mut(id) {
            agent.facts = facts;
            self.urgent.insert(id.clone());
        }
    }

    /// Its attributes changed, so what was refused may be welcome now.
    pub fn clear_agent_filters(&mut self, id: &AgentId) {
        if let Some(agent) = self.agents.get_mut(id) {
            agent.filters.clear();
            self.urgent.insert(id.clone());
        }
    }

    pub fn set_agent_active(&mut self, id: &AgentId, active: bool) {
        if let Some(agent) = self.agents.get_mut(id) {
            agent.facts.active = active;
            self.urgent.insert(id.clone());
        }
    }

    pub fn set_agent_total(&mut self, id: &AgentId, total: Resources) {
        if let Some(agent) = self.agents.get_mut(id) {
            agent.facts.total = total;
            self.urgent.insert(id.clone());
        }
    }

    /// What was held of it is forgotten with it.
    pub fn remove_agent(&mut self, id: &AgentId) {
        self.agents.remove(id);
        self.urgent.remove(id);
        self.sweep();
    }

    pub fn add_framework(&mut self, id: &FrameworkId, facts: FrameworkFacts) {
        self.frameworks.insert(id.clone(), facts);
        self.wake_all = true;
    }

    pub fn update_framework(&mut self, id: &FrameworkId, facts: FrameworkFacts) {
        let Some(known) = self.frameworks.get_mut(id) else { return };
        let gone: Vec<Role> =
            known.roles.iter().filter(|role| !facts.roles.contains(role)).cloned().collect();
        *known = facts;
        for role in gone {
            self.forget_filters(id, &role);
        }
        self.sweep();
        self.wake_all = true;
    }

    pub fn set_framework_active(&mut self, id: &FrameworkId, active: bool) {
        if let Some(framework) = self.frameworks.get_mut(id) {
            framework.active = active;
            self.wake_all |= active;
        }
    }

    /// What it still holds counts until it is released.
    pub fn remove_framework(&mut self, id: &FrameworkId) {
        self.frameworks.remove(id);
        for agent in self.agents.values_mut() {
            agent.filters.retain(|filter| filter.framework != *id);
        }
        self.sweep();
    }

    /// No roles named: all of its roles.
    pub fn suppress(&mut self, id: &FrameworkId, roles: &[Role]) {
        if let Some(framework) = self.frameworks.get_mut(id) {
            let chosen = if roles.is_empty() { framework.roles.clone() } else { roles.to_vec() };
            framework.suppressed.extend(chosen);
        }
    }

    /// Ends suppression and forgets what was refused. No roles named: all of its roles.
    pub fn revive(&mut self, id: &FrameworkId, roles: &[Role]) {
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        let chosen = if roles.is_empty() { framework.roles.clone() } else { roles.to_vec() };
        for role in &chosen {
            framework.suppressed.remove(role);
        }
        for role in &chosen {
            self.forget_filters(id, role);
        }
        self.wake_all = true;
    }

    fn forget_filters(&mut self, id: &FrameworkId, role: &Role) {
        for agent in self.agents.values_mut() {
            agent.filters.retain(|filter| !(filter.framework == *id && filter.role == *role));
        }
    }

    /// Something is held that was not granted here: tasks of an agent that came back.
    pub fn allocated(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        resources: &Resources,
    ) {
        self.take(framework, role, agent, resources);
    }

    fn take(&mut self, framework: &FrameworkId, role: &Role, agent: &AgentId, resources: &Resources) {
        let Some(agent) = self.agents.get_mut(agent) else { return };
        if resources.is_empty() {
            return;
        }
        let key = (framework.clone(), role.clone());
        agent.held.entry(key.clone()).or_default().add(resources);
        *self.client_counts.entry(key).or_default() += 1;
        *self.own_counts.entry(role.clone()).or_default() += 1;
        for node in lineage(role) {
            *self.tree_counts.entry(node).or_default() += 1;
        }
    }

    /// Given back. With `filter`, what is given back is not wanted for so long.
    pub fn released(
        &mut self,
        now: Time,
        framework: &FrameworkId,
        role: &Role,
        agent_id: &AgentId,
        resources: &Resources,
        filter: Option<Duration>,
    ) {
        let Some(agent) = self.agents.get_mut(agent_id) else { return };
        let key = (framework.clone(), role.clone());
        if let Some(held) = agent.held.get_mut(&key) {
            held.subtract(resources);
            if held.is_empty() {
                agent.held.remove(&key);
            }
        }
        let subscribed = self.frameworks.get(framework).is_some_and(|facts| facts.roles.contains(role));
        let millis = filter.map_or(0, |filter| u64::try_from(filter.as_millis()).unwrap_or(u64::MAX));
        if millis > 0 && subscribed && !resources.is_empty() {
            let now = now.as_millis();
            let second = grid_after(self.start, self.options.interval_ms, now) + 1;
            let until = (now + millis.min(FILTER_MAX_MS)).max(second);
            let own = |filter: &Filter| filter.framework == *framework && filter.role == *role;
            agent.filters.retain(|filter| {
                !own(filter)
                    || filter.until > now && !(filter.until <= until && resources.contains(&filter.refused))
            });
            if agent.filters.iter().filter(|filter| own(filter)).count() >= FILTERS_PER_CLIENT_MAX {
                let first = agent.filters.iter().enumerate().filter(|(_, filter)| own(filter));
                if let Some((index, _)) = first.min_by_key(|(_, filter)| filter.until) {
                    agent.filters.remove(index);
                }
            }
            let (framework, role) = (framework.clone(), role.clone());
            agent.filters.push(Filter { framework, role, refused: resources.clone(), until });
        }
        self.sweep();
    }

    /// An operation made `to` of what a framework held as `from`.
    pub fn converted(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        from: &Resources,
        to: &Resources,
    ) {
        let Some(agent) = self.agents.get_mut(agent) else { return };
        let held = agent.held.entry((framework.clone(), role.clone())).or_default();
        held.subtract(from);
        held.add(to);
        agent.facts.total.subtract(from);
        agent.facts.total.add(to);
    }

    pub fn set_weight(&mut self, role: &Role, weight: Weight) {
        if weight == Weight::DEFAULT {
            self.weights.remove(role);
        } else {
            self.weights.insert(role.clone(), weight);
        }
        self.wake_all = true;
    }

    pub fn set_quota(&mut self, role: &Role, quota: Option<QuotaConfig>) {
        match quota {
            Some(quota) => self.quotas.insert(role.clone(), quota),
            None => self.quotas.remove(role),
        };
        self.wake_all = true;
    }

    /// Divides what is free, if a run is due; what it returns counts as held from now on.
    pub fn allocate(&mut self, now: Time) -> Vec<Grant> {
        let now = now.as_millis();
        let full = now >= self.next_full;
        if self.paused(now) || !(full || self.wake_all || !self.urgent.is_empty()) {
            return Vec::new();
        }
        let urgent = std::mem::take(&mut self.urgent);
        let everywhere = std::mem::take(&mut self.wake_all) || full;
        if full {
            self.next_full = grid_after(self.start, self.options.interval_ms, now);
        }
        let active = |id: &AgentId| self.agents.get(id).is_some_and(|agent| agent.facts.active);
        let chosen: Vec<AgentId> = self.agents.keys().filter(|id| active(id)).cloned().collect();
        let mut chosen: Vec<AgentId> =
            chosen.into_iter().filter(|id| everywhere || urgent.contains(id)).collect();
        let mut shared_offered = BTreeMap::new();
        let mut grants = Vec::new();
        for stage in [1, 2] {
            chosen.sort_by_key(|id| {
                let serial = self.agents.get(id).map_or(0, |agent| agent.serial);
                (mix(self.seed, now, stage, serial), serial)
            });
            for id in &chosen {
                self.visit(id, stage, now, &mut shared_offered, &mut grants);
            }
        }
        grants
    }

    fn paused(&mut self, now: u64) -> bool {
        let Some(expected) = self.expected else { return false };
        if self.quotas.is_empty()
            || self.agents.len() * 100 >= expected * RECOVERY_AGENTS_PERCENT
            || now >= self.start + RECOVERY_WAIT_MS
        {
            self.expected = None;
        }
        self.expected.is_some()
    }

    fn visit(
        &mut self,
        id: &AgentId,
        stage: u64,
        now: u64,
        shared_offered: &mut BTreeMap<AgentId, Resources>,
        grants: &mut Vec<Grant>,
    ) {
        for role in self.role_order() {
            for framework in self.framework_order(&role) {
                let seen = shared_offered.entry(id.clone()).or_default();
                let Some(offer) = self.offer(id, stage, now, &role, &framework, seen) else { continue };
                seen.add(&offer.filter(Resource::is_shared));
                self.take(&framework, &role, id, &offer);
                let same = |grant: &&mut Grant| {
                    grant.framework_id == framework && grant.role == role && grant.agent_id == *id
                };
                match grants.iter_mut().find(same) {
                    Some(grant) => grant.resources.add(&offer),
                    None => grants.push(Grant {
                        framework_id: framework,
                        role: role.clone(),
                        agent_id: id.clone(),
                        resources: offer,
                    }),
                }
            }
        }
    }

    fn offer(
        &self,
        id: &AgentId,
        stage: u64,
        now: u64,
        role: &Role,
        framework: &FrameworkId,
        shared_offered: &Resources,
    ) -> Option<Resources> {
        let agent = self.agents.get(id)?;
        let facts = self.frameworks.get(framework)?;
        let can = |capability| facts.capabilities.contains(&capability);
        let gpus = agent.facts.total.scalar("gpus").is_positive();
        if gpus && self.options.filter_gpus && !can(Capability::GpuResources) {
            return None;
        }
        if self.is_remote(agent) && !can(Capability::RegionAware) {
            return None;
        }
        let agent_can = |capability| agent.facts.capabilities.contains(&capability);
        if can(Capability::MultiRole) && !agent_can(AgentCapability::MultiRole) {
            return None;
        }
        if role.as_str().contains('/') && !agent_can(AgentCapability::HierarchicalRole) {
            return None;
        }
        let shared = agent.shared().filter(|resource| !shared_offered.iter().any(|seen| seen == resource));
        let available = agent.free().plus(&shared).usable_by(role).filter(|resource| {
            (can(Capability::SharedResources) || !resource.is_shared())
                && (can(Capability::RevocableResources) || !resource.revocable)
                && (can(Capability::ReservationRefinement) || !resource.is_refined())
        });
        let countable = available.filter(for_quota);
        let mut offer = available.filter(|resource| !for_quota(resource));
        let mut extra = countable.clone();
        let mut guaranteed = Resources::new();
        let line = lineage(role);
        if stage == 1 {
            let mut missing = Quantities::new();
            for quota in line.iter().filter_map(|above| self.quotas.get(above)) {
                for (name, quantity) in minus(&quota.guarantees, &self.consumed(&quota.role)) {
                    let most = missing.entry(name).or_default();
                    *most = quantity.max(*most);
                }
            }
            guaranteed = shrink(&countable, &missing, false);
            if guaranteed.is_empty() {
                return None;
            }
            extra.subtract(&guaranteed);
        }
        for quota in line.iter().filter_map(|above| self.quotas.get(above)) {
            let mut used = self.consumed(&quota.role);
            add(&mut used, &guaranteed.quantities());
            let mut room = quota.limits.clone();
            for (name, quantity) in &mut room {
                let less = used.get(name).copied().unwrap_or_default();
                *quantity = quantity.saturating_sub(less).max(Quantity::ZERO);
            }
            extra = shrink(&extra, &room, true);
        }
        let required = self.required_headroom();
        if !required.is_empty() {
            extra = shrink(&extra, &minus(&self.available_headroom(), &required), false);
        }
        offer.add(&guaranteed);
        offer.add(&extra);
        let minimum = facts.min_allocatable.get(role).unwrap_or(&self.options.min_allocatable);
        let filtered = agent.filters.iter().any(|filter| {
            filter.framework == *framework
                && filter.role == *role
                && filter.until > now
                && filter.refused.contains(&offer)
        });
        (meets(&offer, minimum) && !filtered).then_some(offer)
    }

    fn is_remote(&self, agent: &Agent) -> bool {
        match (&self.options.master_region, &agent.facts.region) {
            (Some(master), Some(region)) => master != region,
            _ => false,
        }
    }

    /// Reservations of the role and below, used or not, and what they hold of the unreserved.
    pub fn consumed(&self, role: &Role) -> Quantities {
        let mut sum = Quantities::new();
        for agent in self.agents.values() {
            let reserved =
                |resource: &Resource| !resource.is_unreserved() && is_within(&resource.role(), role);
            add(&mut sum, &agent.facts.total.filter(reserved).quantities());
            for ((_, holder), held) in &agent.held {
                if is_within(holder, role) {
                    add(&mut sum, &held.filter(for_quota).quantities());
                }
            }
        }
        sum
    }

    fn required_headroom(&self) -> Quantities {
        let mut sum = Quantities::new();
        for (role, quota) in &self.quotas {
            add(&mut sum, &minus(&quota.guarantees, &self.consumed(role)));
        }
        sum
    }

    fn available_headroom(&self) -> Quantities {
        let mut sum = Quantities::new();
        for agent in self.agents.values().filter(|agent| agent.facts.active) {
            add(&mut sum, &agent.free().filter(for_quota).quantities());
        }
        sum
    }

    /// What the chosen clients hold; a shared volume counts once per agent.
    fn holds(&self, chosen: impl Fn(&FrameworkId, &Role) -> bool) -> Quantities {
        let mut sum = Quantities::new();
        for agent in self.agents.values() {
            let mut held = Resources::new();
            for ((framework, role), resources) in &agent.held {
                if chosen(framework, role) {
                    held.add(resources);
                }
            }
            add(&mut sum, &held.quantities());
        }
        sum
    }

    fn share(&self, held: &Quantities, weight: Weight) -> f64 {
        let mut total = Quantities::new();
        for agent in self.agents.values() {
            add(&mut total, &agent.facts.total.quantities());
        }
        let mut share = 0.0_f64;
        for (name, quantity) in held {
            let whole = total.get(name).copied().unwrap_or_default();
            if whole.is_positive() && !self.options.excluded.contains(name) {
                share = share.max(quantity.milli() as f64 / whole.milli() as f64);
            }
        }
        share / (weight.0.max(1) as f64 / 1000.0)
    }

    fn offered_to(&self, framework: &FrameworkId, role: &Role) -> bool {
        self.frameworks.get(framework).is_some_and(|facts| {
            facts.active && facts.roles.contains(role) && !facts.suppressed.contains(role)
        })
    }

    fn role_order(&self) -> Vec<Role> {
        let mut clients = BTreeSet::new();
        let mut nodes = BTreeSet::new();
        for (id, facts) in &self.frameworks {
            for role in facts.roles.iter().filter(|role| self.offered_to(id, role)) {
                clients.insert(role.clone());
                nodes.extend(lineage(role));
            }
        }
        let mut order = Vec::new();
        self.walk(None, &clients, &nodes, &mut order);
        order
    }

    fn walk(
        &self,
        parent: Option<&Role>,
        clients: &BTreeSet<Role>,
        nodes: &BTreeSet<Role>,
        order: &mut Vec<Role>,
    ) {
        let mut entries: Vec<(f64, u64, String, Option<Role>)> = Vec::new();
        if let Some(parent) = parent.filter(|parent| clients.contains(parent)) {
            let held = self.holds(|_, role| role == parent);
            let count = self.own_counts.get(parent).copied().unwrap_or(0);
            entries.push((self.share(&held, Weight::DEFAULT), count, format!("{parent}/."), None));
        }
        for node in nodes.iter().filter(|node| lineage(node).get(1) == parent) {
            let held = self.holds(|_, role| is_within(role, node));
            let count = self.tree_counts.get(node).copied().unwrap_or(0);
            let weight = self.weights.get(node).copied().unwrap_or(Weight::DEFAULT);
            entries.push((self.share(&held, weight), count, node.to_string(), Some(node.clone())));
        }
        entries.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then_with(|| a.2.cmp(&b.2)));
        for (_, _, _, node) in entries {
            match node {
                Some(node) => self.walk(Some(&node), clients, nodes, order),
                None => order.extend(parent.cloned()),
            }
        }
    }

    fn framework_order(&self, role: &Role) -> Vec<FrameworkId> {
        let mut order: Vec<(f64, u64, FrameworkId)> = Vec::new();
        for id in self.frameworks.keys().filter(|id| self.offered_to(id, role)) {
            let held = self.holds(|framework, of| framework == id && of == role);
            let count = self.client_counts.get(&(id.clone(), role.clone())).copied().unwrap_or(0);
            order.push((self.share(&held, Weight::DEFAULT), count, id.clone()));
        }
        order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then_with(|| a.2.cmp(&b.2)));
        order.into_iter().map(|(_, _, id)| id).collect()
    }

    /// Counts end with the clients whose they are.
    fn sweep(&mut self) {
        let mut clients: BTreeSet<(FrameworkId, Role)> = BTreeSet::new();
        for (id, facts) in &self.frameworks {
            clients.extend(facts.roles.iter().map(|role| (id.clone(), role.clone())));
        }
        for agent in self.agents.values() {
            clients.extend(agent.held.keys().cloned());
        }
        self.client_counts.retain(|key, _| clients.contains(key));
        let roles: BTreeSet<&Role> = clients.iter().map(|(_, role)| role).collect();
        self.own_counts.retain(|role, _| roles.contains(role));
        self.tree_counts.retain(|node, _| roles.iter().any(|role| is_within(role, node)));
    }

    /// Free resources of an agent: neither used nor offered.
    pub fn available(&self, agent: &AgentId) -> Resources {
        self.agents.get(agent).map_or_else(Resources::new, |agent| agent.free().plus(&agent.shared()))
    }
}

/// The first time after `now` at which a full run is due.
fn grid_after(start: u64, interval: u64, now: u64) -> u64 {
    let interval = interval.max(1);
    start + (now.saturating_sub(start) / interval + 1) * interval
}
