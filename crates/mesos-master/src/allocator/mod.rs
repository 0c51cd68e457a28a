//! Who is offered what: hierarchical dominant resource fairness with quota.
//!
//! A pure state machine that knows agents, frameworks, roles and amounts, and neither
//! connections nor tasks. It is told of every change and keeps its sums up to date;
//! [`Allocator::allocate`] divides what is free. An agent's whole offerable share goes to
//! one framework in one role. Rules: `apache/mesos`
//! `src/master/allocator/mesos/hierarchical.cpp`, as of 1.9.
//!
//! What makes it quick: names are small numbers inside ([`slab`]); amounts are arrays
//! ([`amounts`]); the order of siblings is kept, not made ([`order`], [`tree`]); and a
//! run looks only at agents that somebody could want more of than at the last look
//! ([`cycle`]). An agent is *settled* when all who might want it have passed, which
//! stays true until something of it is given back, a refusal ends, or a framework wakes.
//!
//! Invariant: what is free of an agent is its total without what is held; shares, quota
//! and headroom are sums over what is held ([`Allocator::check_invariants`]).

mod amounts;
mod book;
mod check;
mod cycle;
mod explain;
mod facts;
mod inverse;
mod order;
mod rows;
mod slab;
mod tree;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use model::{AgentId, FrameworkId, QuotaConfig, Resources, Rng, Role, Time, Weight};

pub use check::RoleShare;
pub use facts::{
    AgentFacts, FILTER_MAX_MS, FILTERS_PER_CLIENT_MAX, FrameworkFacts, Grant, InverseGrant, Options,
    RECOVERY_AGENTS_PERCENT, RECOVERY_WAIT_MS, Sorter,
};

use amounts::{Excluded, Quants};
use rows::{Agent, Caps, Filter, Framework};
use slab::Slab;
use tree::{Account, Tree};

/// The allocator.
#[derive(Debug)]
pub struct Allocator {
    options: Options,
    minimum: amounts::Minimum,
    /// Clients with a minimum of their own.
    own_minimums: u32,
    seed: u64,
    start: u64,
    next_full: u64,
    serial: u64,
    /// Counts wakings and everything else that makes earlier answers void.
    sequence: u64,
    agents: Slab<Agent>,
    agent_index: HashMap<AgentId, u32>,
    frameworks: Slab<Framework>,
    framework_index: HashMap<FrameworkId, u32>,
    clients: Slab<rows::Client>,
    tree: Tree,
    /// Free, unreserved, not revocable, on active agents.
    headroom: Quants,
    /// The cluster's total changed: no share is what it was.
    stale: bool,
    /// Clients whose shares changed.
    touched: Vec<u32>,
    urgent: Vec<u32>,
    waiting: Vec<u32>,
    held_back: Vec<u32>,
    /// Of quota, at the last run that looked everywhere.
    version_seen: u64,
    wake_all: bool,
    woken: Vec<u32>,
    /// When the first filter of each agent ends.
    expiries: BTreeSet<(u64, u32)>,
    /// Agents whose machines will be away.
    scheduled: BTreeSet<u32>,
    expected: Option<usize>,
    runs: u64,
    scratch: cycle::Scratch,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Allocator {
    pub fn new(options: Options, now: Time, mut rng: Rng) -> Self {
        let start = now.as_millis();
        Self {
            minimum: amounts::Minimum::new(&options.min_allocatable),
            own_minimums: 0,
            seed: rng.next_u64(),
            start,
            next_full: start,
            serial: 0,
            sequence: 1,
            agents: Slab::new(),
            agent_index: HashMap::new(),
            frameworks: Slab::new(),
            framework_index: HashMap::new(),
            clients: Slab::new(),
            tree: Tree::new(Excluded::new(&options.excluded), options.role_sorter == Sorter::Random),
            headroom: Quants::default(),
            stale: false,
            touched: Vec::new(),
            urgent: Vec::new(),
            waiting: Vec::new(),
            held_back: Vec::new(),
            version_seen: 0,
            wake_all: false,
            woken: Vec::new(),
            expiries: BTreeSet::new(),
            scheduled: BTreeSet::new(),
            expected: options.expected_agents,
            runs: 0,
            scratch: cycle::Scratch::default(),
            options,
        }
    }

    /// The first time after `now` at which a full run may be due.
    fn grid_after(&self, now: u64) -> u64 {
        let interval = self.options.interval_ms.max(1);
        self.start + (now.saturating_sub(self.start) / interval + 1) * interval
    }

    pub fn add_agent(&mut self, id: &AgentId, facts: AgentFacts) {
        self.remove_agent(id);
        self.serial += 1;
        let ix = self.agents.insert(Agent::new(id.clone(), self.serial));
        self.agent_index.insert(id.clone(), ix);
        self.describe_agent(ix, facts);
    }

    pub fn update_agent(&mut self, id: &AgentId, facts: AgentFacts) {
        if let Some(ix) = self.agent_index.get(id).copied() {
            self.describe_agent(ix, facts);
        }
    }

    fn describe_agent(&mut self, ix: u32, facts: AgentFacts) {
        if let Some(agent) = self.agents.get_mut(ix) {
            agent.describe(&facts, &self.options);
        }
        self.change_total(ix, facts.total);
        self.make_urgent(ix);
    }

    /// Its attributes changed, so what was refused may be welcome now.
    pub fn clear_agent_filters(&mut self, id: &AgentId) {
        let Some(ix) = self.agent_index.get(id).copied() else { return };
        if let Some(agent) = self.agents.get_mut(ix) {
            agent.filters.clear();
        }
        self.expect_expiry(ix);
        self.make_urgent(ix);
    }

    pub fn set_agent_active(&mut self, id: &AgentId, active: bool) {
        let Some(ix) = self.agent_index.get(id).copied() else { return };
        if let Some(agent) = self.agents.get_mut(ix) {
            agent.active = active;
        }
        self.count_headroom(ix);
        self.make_urgent(ix);
    }

    pub fn set_agent_total(&mut self, id: &AgentId, total: Resources) {
        if let Some(ix) = self.agent_index.get(id).copied() {
            self.change_total(ix, total);
            self.make_urgent(ix);
        }
    }

    /// What was held of it is forgotten with it.
    pub fn remove_agent(&mut self, id: &AgentId) {
        let Some(ix) = self.agent_index.remove(id) else { return };
        let held: Vec<u32> = self
            .agents
            .get(ix)
            .map(|agent| agent.held.iter().map(|(client, _)| *client).collect())
            .unwrap_or_default();
        for client in held {
            let bag = self.agents.get(ix).and_then(|agent| agent.held_by(client)).cloned();
            self.give(client, ix, &bag.unwrap_or_default());
            self.drop_client_if_idle(client);
        }
        self.change_total(ix, Resources::new());
        if let Some(agent) = self.agents.remove(ix) {
            self.expiries.remove(&(agent.first_expiry, ix));
        }
        self.scheduled.remove(&ix);
        // The number may be given to another agent before the next run.
        self.urgent.retain(|other| *other != ix);
        self.waiting.retain(|other| *other != ix);
        self.held_back.retain(|other| *other != ix);
    }

    pub fn add_framework(&mut self, id: &FrameworkId, facts: FrameworkFacts) {
        let ix = match self.framework_index.get(id).copied() {
            Some(ix) => ix,
            None => self.new_framework(id),
        };
        self.describe_framework(ix, facts);
    }

    fn new_framework(&mut self, id: &FrameworkId) -> u32 {
        let ix = self.frameworks.insert(Framework {
            id: id.clone(),
            known: false,
            active: false,
            caps: Caps::default(),
            clients: Vec::new(),
        });
        self.framework_index.insert(id.clone(), ix);
        ix
    }

    /// Roles that are no longer named cease to be offered to; what is held in them counts on.
    pub fn update_framework(&mut self, id: &FrameworkId, facts: FrameworkFacts) {
        if let Some(ix) = self.known_framework(id) {
            self.describe_framework(ix, facts);
        }
    }

    fn known_framework(&self, id: &FrameworkId) -> Option<u32> {
        let ix = self.framework_index.get(id).copied()?;
        self.frameworks.get(ix).filter(|framework| framework.known).map(|_| ix)
    }

    fn describe_framework(&mut self, ix: u32, facts: FrameworkFacts) {
        let Some(framework) = self.frameworks.get_mut(ix) else { return };
        framework.known = true;
        framework.active = facts.active;
        framework.caps = Caps::new(&facts.capabilities);
        for role in &facts.roles {
            self.client(ix, role);
        }
        for client in self.clients_of(ix) {
            let Some(row) = self.clients.get_mut(client) else { continue };
            let Some(role) = self.tree.nodes.get(row.role).map(|node| node.role.clone()) else { continue };
            let was = row.subscribed;
            row.subscribed = facts.roles.contains(&role);
            row.suppressed = facts.suppressed.contains(&role);
            self.own_minimums -= u32::from(row.minimum.is_some());
            row.minimum = facts.min_allocatable.get(&role).map(amounts::Minimum::new);
            self.own_minimums += u32::from(row.minimum.is_some());
            if was && !row.subscribed {
                self.sequence += 1;
                row.epoch = self.sequence;
            }
            self.refresh_client(client);
            self.wake(client);
            self.drop_client_if_idle(client);
        }
        self.wake_all = true;
    }

    fn clients_of(&self, framework: u32) -> Vec<u32> {
        self.frameworks.get(framework).map(|framework| framework.clients.clone()).unwrap_or_default()
    }

    pub fn set_framework_active(&mut self, id: &FrameworkId, active: bool) {
        let Some(ix) = self.known_framework(id) else { return };
        if let Some(framework) = self.frameworks.get_mut(ix) {
            framework.active = active;
        }
        for client in self.clients_of(ix) {
            self.refresh_client(client);
            if active {
                self.wake(client);
            }
        }
    }

    /// What it still holds counts until it is released.
    pub fn remove_framework(&mut self, id: &FrameworkId) {
        let Some(ix) = self.known_framework(id) else { return };
        if let Some(framework) = self.frameworks.get_mut(ix) {
            framework.known = false;
            framework.active = false;
        }
        self.forget_inverse(ix);
        let clients = self.clients_of(ix);
        for client in &clients {
            if let Some(row) = self.clients.get_mut(*client) {
                row.subscribed = false;
                self.sequence += 1;
                row.epoch = self.sequence;
            }
            self.refresh_client(*client);
            self.drop_client_if_idle(*client);
        }
        self.drop_framework_if_idle(ix);
    }

    /// No roles named: all of its roles.
    pub fn suppress(&mut self, id: &FrameworkId, roles: &[Role]) {
        for client in self.chosen_clients(id, roles) {
            if let Some(row) = self.clients.get_mut(client) {
                row.suppressed = true;
            }
            self.refresh_client(client);
        }
    }

    /// Ends suppression and forgets what was refused. No roles named: all of its roles.
    pub fn revive(&mut self, id: &FrameworkId, roles: &[Role]) {
        for client in self.chosen_clients(id, roles) {
            self.sequence += 1;
            if let Some(row) = self.clients.get_mut(client) {
                row.suppressed = false;
                row.epoch = self.sequence;
            }
            self.refresh_client(client);
            self.wake(client);
        }
    }

    fn chosen_clients(&self, id: &FrameworkId, roles: &[Role]) -> Vec<u32> {
        let Some(ix) = self.known_framework(id) else { return Vec::new() };
        let chosen = |client: &u32| {
            let Some(row) = self.clients.get(*client).filter(|row| row.subscribed) else { return false };
            let role = self.tree.nodes.get(row.role).map(|node| &node.role);
            roles.is_empty() || role.is_some_and(|role| roles.contains(role))
        };
        self.clients_of(ix).into_iter().filter(chosen).collect()
    }

    /// The client is to see all agents again, even those that it passed.
    fn wake(&mut self, client: u32) {
        self.sequence += 1;
        if let Some(row) = self.clients.get_mut(client) {
            row.woken = self.sequence;
            self.woken.push(client);
            self.wake_all = true;
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
        let Some(agent) = self.agent_index.get(agent).copied() else { return };
        if resources.is_empty() {
            return;
        }
        let framework = match self.framework_index.get(framework).copied() {
            Some(ix) => ix,
            None => self.new_framework(framework),
        };
        let client = self.client(framework, role);
        let bag = amounts::Bag::new(resources);
        self.take(client, agent, bag);
        if let Some(row) = self.clients.get_mut(client) {
            row.account.count += 1;
            let role = row.role;
            self.tree.count_up(role);
        }
        self.touch(client);
    }

    /// Given back. With `filter`, what is given back is not wanted for so long.
    pub fn released(
        &mut self,
        now: Time,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        resources: &Resources,
        filter: Option<Duration>,
    ) {
        let now = now.as_millis();
        if !self.is_full_run_wanted() {
            self.next_full = self.next_full.max(self.grid_after(now));
        }
        let Some(agent) = self.agent_index.get(agent).copied() else { return };
        let Some(client) = self.find_client(framework, role) else { return };
        let bag = amounts::Bag::new(resources);
        self.give(client, agent, &bag);
        let wait = filter.map_or(0, millis).min(FILTER_MAX_MS);
        let second = self.grid_after(now) + 1;
        let row = self.clients.get(client).filter(|row| row.subscribed && wait > 0 && !bag.is_empty());
        if let (Some(row), Some(agent)) = (row, self.agents.get_mut(agent)) {
            let until = (now + wait).max(second);
            agent.add_filter(
                Filter { client, epoch: row.epoch, until, refused: Box::new(bag), covers: false },
                now,
            );
        }
        self.expect_expiry(agent);
        self.make_waiting(agent);
        self.drop_client_if_idle(client);
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
        let Some(agent) = self.agent_index.get(agent).copied() else { return };
        let Some(client) = self.find_client(framework, role) else { return };
        self.give(client, agent, &amounts::Bag::new(from));
        let total = self.agents.get(agent).map(|row| row.total.minus(from).plus(to)).unwrap_or_default();
        self.change_total(agent, total);
        self.take(client, agent, amounts::Bag::new(to));
        self.drop_client_if_idle(client);
        // A shared volume is there for others at once.
        self.make_waiting(agent);
    }

    pub fn set_weight(&mut self, role: &Role, weight: Weight) {
        self.tree.set_weight(role, weight);
        self.wake_all = true;
    }

    pub fn set_quota(&mut self, role: &Role, quota: Option<QuotaConfig>) {
        self.tree.set_quota(role, quota);
        // Guarantees and limits may have let agents pass that are wanted now.
        let all: Vec<u32> = self.agents.iter().map(|(ix, _)| ix).collect();
        for ix in all {
            self.make_waiting(ix);
        }
        self.wake_all = true;
    }

    /// How many runs there were.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// When to call [`Self::allocate`] at the latest; none: nothing changes by waiting.
    pub fn next_wakeup(&self) -> Option<Time> {
        let recovery = self.misses_agents().then_some(self.start + RECOVERY_WAIT_MS);
        // What happened already does not wait: any time that has passed will do.
        let run = match self.is_run_pending() {
            true => Some(self.start),
            false => self.is_full_run_wanted().then_some(self.next_full),
        };
        // A run looks at refusals that ended, so the first after that is the one.
        let expiry = self.expiries.first().map(|(until, _)| self.grid_after(until.saturating_sub(1)));
        let times = [recovery.or(run), recovery.or(expiry), self.next_inverse()];
        times.into_iter().flatten().min().map(Time::from_millis)
    }

    /// At the next full run there will be agents to look at.
    fn is_full_run_wanted(&self) -> bool {
        !self.waiting.is_empty() || (!self.held_back.is_empty() && self.version_seen != self.tree.version)
    }

    fn is_run_pending(&self) -> bool {
        self.wake_all || !self.urgent.is_empty()
    }

    fn make_urgent(&mut self, ix: u32) {
        if let Some(agent) = self.agents.get_mut(ix)
            && !agent.urgent
        {
            agent.urgent = true;
            self.urgent.push(ix);
        }
    }

    fn make_waiting(&mut self, ix: u32) {
        if let Some(agent) = self.agents.get_mut(ix)
            && !agent.waiting
        {
            agent.waiting = true;
            self.waiting.push(ix);
        }
    }

    /// Keeps the agent's entry among the expiries.
    fn expect_expiry(&mut self, ix: u32) {
        let Some(agent) = self.agents.get_mut(ix) else { return };
        let first = agent.filters.iter().map(|filter| filter.until).min().unwrap_or(u64::MAX);
        if first == agent.first_expiry {
            return;
        }
        self.expiries.remove(&(agent.first_expiry, ix));
        agent.first_expiry = first;
        if first != u64::MAX {
            self.expiries.insert((first, ix));
        }
    }

    fn find_client(&self, framework: &FrameworkId, role: &Role) -> Option<u32> {
        let framework = self.frameworks.get(self.framework_index.get(framework).copied()?)?;
        let role = self.tree.find(role)?;
        let is = |client: &&u32| self.clients.get(**client).is_some_and(|row| row.role == role);
        framework.clients.iter().find(is).copied()
    }

    /// The client of a framework in a role, made if need be.
    fn client(&mut self, framework: u32, role: &Role) -> u32 {
        if let Some(known) = self.frameworks.get(framework).and_then(|row| self.find_client(&row.id, role)) {
            return known;
        }
        let node = self.tree.acquire(role);
        self.tree.client_came(node);
        self.sequence += 1;
        let client = self.clients.insert(rows::Client {
            framework,
            role: node,
            hierarchical: role.as_str().contains('/'),
            subscribed: false,
            suppressed: false,
            account: Account::default(),
            minimum: None,
            woken: 0,
            epoch: self.sequence,
            holdings: 0,
            touched: false,
        });
        if let Some(row) = self.frameworks.get_mut(framework) {
            row.clients.push(client);
        }
        client
    }

    /// A client that is neither subscribed nor holds anything is forgotten.
    fn drop_client_if_idle(&mut self, client: u32) {
        let idle = |row: &&rows::Client| !row.subscribed && row.holdings == 0;
        let Some(row) = self.clients.get(client).filter(idle) else { return };
        let (framework, role) = (row.framework, row.role);
        if let Some(row) = self.clients.remove(client) {
            self.own_minimums -= u32::from(row.minimum.is_some());
        }
        self.touched.retain(|other| *other != client);
        self.woken.retain(|other| *other != client);
        self.tree.client_went(role);
        self.tree.replace(role);
        self.tree.release(role);
        if let Some(row) = self.frameworks.get_mut(framework) {
            row.clients.retain(|other| *other != client);
        }
        self.drop_framework_if_idle(framework);
    }

    fn drop_framework_if_idle(&mut self, ix: u32) {
        let idle = |row: &&Framework| !row.known && row.clients.is_empty();
        if self.frameworks.get(ix).filter(idle).is_some()
            && let Some(row) = self.frameworks.remove(ix)
        {
            self.framework_index.remove(&row.id);
        }
    }
}
