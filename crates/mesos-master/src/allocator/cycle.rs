//! One run: which agents are looked at, in which order, and who gets what of them.
//!
//! Agents whose answers could be others than at the last look are visited by all
//! clients; the settled ones only by clients that woke since. Within one visit the order
//! of clients stands still; it is brought up to date after each.

use std::collections::HashMap;

use model::{Resource, Resources, Rng, Time, Weight};

use super::amounts::{Bag, Quants, Room};
use super::facts::{Grant, RECOVERY_AGENTS_PERCENT, RECOVERY_WAIT_MS};
use super::order::Order;
use super::tree::ROOT;
use super::{Allocator, Sorter};

/// More clients that woke than this are looked up in the order of all.
const WOKEN_SINGLY_MAX: usize = 8;

/// Memory that runs use again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    stack: Vec<Frame>,
    given: Vec<Given>,
    visits: Vec<(u64, u32, Look)>,
}

#[derive(Debug)]
struct Frame {
    node: u32,
    at: usize,
    /// The node's entries as the lot put them; else they stand in their order.
    lot: Option<Vec<u32>>,
}

#[derive(Debug)]
struct Given {
    client: u32,
    agent: u32,
    bag: Bag,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    /// By all clients.
    All,
    /// By those that woke after the agent was visited.
    Woken,
}

/// Which part of a run it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Guarantees,
    FairShare,
}

struct Run {
    now: u64,
    stage: Stage,
    /// What was given in the first stage: the second may add to it.
    first: HashMap<(u32, u32), usize>,
    given: Vec<Given>,
    /// Shared volumes go out once per run.
    shared: HashMap<u32, Resources>,
    /// Those that woke, if they are few.
    woken: Option<Vec<u32>>,
}

/// What a client is offered of an agent, or why nothing.
pub(super) enum Answer {
    /// Everything that is free.
    Whole,
    Part(Bag),
    Barred,
    Nothing,
    TooSmall(Bag),
    Refused(Bag),
    /// It would not help the role to its guarantee.
    NoGuarantee,
}

impl Allocator {
    /// Divides what is free, if a run is due; what it returns counts as held from now on.
    pub fn allocate(&mut self, now: Time) -> Vec<Grant> {
        let now = now.as_millis();
        if self.is_paused(now) {
            return Vec::new();
        }
        let on_grid = now >= self.next_full;
        let expired = on_grid && self.expiries.first().is_some_and(|(until, _)| *until <= now);
        let full = on_grid && (expired || self.is_full_run_wanted());
        if on_grid {
            self.next_full = self.grid_after(now);
        }
        if !full && !self.is_run_pending() {
            return Vec::new();
        }
        self.runs += 1;
        self.sequence += 1;
        self.reorder();
        let everywhere = full || self.wake_all;
        let mut run = Run {
            now,
            stage: Stage::Guarantees,
            first: HashMap::new(),
            given: std::mem::take(&mut self.scratch.given),
            shared: HashMap::new(),
            woken: None,
        };
        let mut visits = std::mem::take(&mut self.scratch.visits);
        self.choose(&mut run, everywhere, &mut visits);
        if !self.tree.required.is_zero() {
            self.visit_all(&mut run, &mut visits);
        }
        run.stage = Stage::FairShare;
        self.visit_all(&mut run, &mut visits);
        for (_, ix, _) in &visits {
            let sequence = self.sequence;
            if let Some(agent) = self.agents.get_mut(*ix) {
                agent.visited = sequence;
            }
        }
        for ix in run.shared.keys().copied().collect::<std::collections::BTreeSet<u32>>() {
            self.make_waiting(ix);
        }
        if everywhere {
            // Grants leave no more room for others than there was.
            self.version_seen = self.tree.version;
        }
        visits.clear();
        self.scratch.visits = visits;
        self.grants(run.given)
    }

    fn grants(&mut self, mut given: Vec<Given>) -> Vec<Grant> {
        let mut grants = Vec::with_capacity(given.len());
        for Given { client, agent, bag } in given.drain(..) {
            let Some(row) = self.clients.get(client) else { continue };
            let (Some(framework), Some(node), Some(agent)) =
                (self.frameworks.get(row.framework), self.tree.nodes.get(row.role), self.agents.get(agent))
            else {
                continue;
            };
            grants.push(Grant {
                framework_id: framework.id.clone(),
                role: node.role.clone(),
                agent_id: agent.id.clone(),
                resources: bag.to_resources(),
            });
        }
        self.scratch.given = given;
        grants
    }

    /// After a failover with quota, until enough agents are back.
    pub(super) fn misses_agents(&self) -> bool {
        self.expected.is_some_and(|expected| {
            let enough = expected.saturating_mul(RECOVERY_AGENTS_PERCENT);
            self.tree.quotas > 0 && self.agents.len().saturating_mul(100) < enough
        })
    }

    fn is_paused(&mut self, now: u64) -> bool {
        if !self.misses_agents() || now >= self.start + RECOVERY_WAIT_MS {
            self.expected = None;
        }
        self.expected.is_some()
    }

    /// The agents to visit.
    fn choose(&mut self, run: &mut Run, everywhere: bool, visits: &mut Vec<(u64, u32, Look)>) {
        let stamp = self.sequence;
        let mut lists = vec![std::mem::take(&mut self.urgent)];
        if everywhere {
            self.end_refusals(run.now);
            if self.version_seen != self.tree.version {
                for ix in std::mem::take(&mut self.held_back) {
                    if let Some(agent) = self.agents.get_mut(ix) {
                        agent.held_back = false;
                    }
                    self.make_waiting(ix);
                }
            }
            lists.push(std::mem::take(&mut self.waiting));
        }
        for ix in lists.into_iter().flatten() {
            let Some(agent) = self.agents.get_mut(ix) else { continue };
            agent.urgent = false;
            agent.waiting &= !everywhere;
            if agent.active && agent.visited != stamp {
                agent.visited = stamp;
                visits.push((0, ix, Look::All));
            }
        }
        if !std::mem::take(&mut self.wake_all) {
            return;
        }
        let mut woken = std::mem::take(&mut self.woken);
        woken.sort_unstable();
        woken.dedup();
        woken.retain(|client| self.clients.get(*client).is_some_and(|row| row.account.placed.is_some()));
        if woken.is_empty() {
            return;
        }
        let few = woken.len() <= WOKEN_SINGLY_MAX;
        for (ix, _) in self.agents.iter().filter(|(_, agent)| agent.active && agent.visited != stamp) {
            let wanted = if few {
                woken.iter().any(|client| self.may_want(*client, ix, run.now))
            } else {
                self.is_worth_offering(ix)
            };
            if wanted {
                visits.push((0, ix, Look::Woken));
            }
        }
        run.woken = few.then_some(woken);
    }

    /// Drops refusals that ended, and those whose clients have moved on.
    fn end_refusals(&mut self, now: u64) {
        while let Some((_, ix)) = self.expiries.first().copied().filter(|(until, _)| *until <= now) {
            self.expiries.pop_first();
            let Some(agent) = self.agents.get_mut(ix) else { continue };
            agent.first_expiry = u64::MAX;
            let clients = &self.clients;
            agent.filters.retain(|filter| {
                filter.until > now && clients.get(filter.client).is_some_and(|row| row.epoch == filter.epoch)
            });
            self.expect_expiry(ix);
            self.make_waiting(ix);
        }
    }

    /// Whether anything that is left could be an offer to somebody.
    fn is_worth_offering(&self, ix: u32) -> bool {
        let Some(agent) = self.agents.get(ix) else { return false };
        if !agent.shared.is_empty() {
            return true;
        }
        if self.own_minimums > 0 { !agent.free.is_empty() } else { self.minimum.met_by(&agent.free) }
    }

    /// False if the client certainly takes nothing of the agent.
    fn may_want(&self, client: u32, ix: u32, now: u64) -> bool {
        let (Some(agent), Some(row)) = (self.agents.get(ix), self.clients.get(client)) else { return false };
        let Some(framework) = self.frameworks.get(row.framework) else { return false };
        if agent.barrier(framework.caps, row.hierarchical, self.options.filter_gpus).is_some() {
            return false;
        }
        if !agent.shared.is_empty() {
            return true;
        }
        row.minimum.as_ref().unwrap_or(&self.minimum).met_by(&agent.free)
            && agent.filter_for(client, row.epoch, &agent.free, now).is_none()
    }

    fn visit_all(&mut self, run: &mut Run, visits: &mut [(u64, u32, Look)]) {
        let stage: u64 = if run.stage == Stage::Guarantees { 1 } else { 2 };
        for (key, ix, _) in &mut *visits {
            let serial = self.agents.get(*ix).map_or(0, |agent| agent.serial);
            *key = lot(self.seed, run.now, stage, serial);
        }
        visits.sort_unstable_by_key(|(key, ix, _)| (*key, *ix));
        for (_, ix, look) in &*visits {
            self.visit(run, *ix, *look);
        }
    }

    fn visit(&mut self, run: &mut Run, ix: u32, look: Look) {
        if !self.is_worth_offering(ix) {
            return;
        }
        if look == Look::Woken
            && let Some(woken) = &run.woken
        {
            let mut wanting = woken.iter().copied().filter(|client| self.may_want(*client, ix, run.now));
            let (first, second) = (wanting.next(), wanting.next());
            if second.is_none() {
                if let Some(client) = first {
                    self.attempt(run, ix, client);
                    self.reorder();
                }
                return;
            }
        }
        let since = match (look, self.agents.get(ix)) {
            (Look::Woken, Some(agent)) => agent.visited,
            _ => 0,
        };
        let mut stack = std::mem::take(&mut self.scratch.stack);
        stack.clear();
        stack.push(self.frame(run, ix, ROOT));
        'visit: while let Some(frame) = stack.last_mut() {
            let of = frame.node;
            let Some(node) = self.tree.nodes.get(of) else { break };
            let next = match &frame.lot {
                Some(lot) => lot.get(frame.at).copied(),
                None => node.entries.get(frame.at),
            };
            let Some(next) = next else {
                stack.pop();
                continue;
            };
            frame.at += 1;
            if next != of {
                let frame = self.frame(run, ix, next);
                stack.push(frame);
                continue;
            }
            if run.stage == Stage::Guarantees && self.missing(of).is_zero() {
                continue;
            }
            let lot = (self.options.framework_sorter == Sorter::Random).then(|| {
                let weight = |_| Weight::DEFAULT;
                self.draw(run, ix, &node.frameworks, weight)
            });
            for at in 0..node.frameworks.len() {
                let Some(node) = self.tree.nodes.get(of) else { break };
                let client = match &lot {
                    Some(lot) => lot.get(at).copied(),
                    None => node.frameworks.get(at),
                };
                let Some(client) = client else { break };
                if self.clients.get(client).is_none_or(|row| row.woken <= since && look == Look::Woken) {
                    continue;
                }
                if self.attempt(run, ix, client) && !self.is_worth_offering(ix) {
                    break 'visit;
                }
            }
        }
        self.scratch.stack = stack;
        self.reorder();
    }

    fn frame(&self, run: &Run, ix: u32, node: u32) -> Frame {
        let lot = (self.options.role_sorter == Sorter::Random).then(|| {
            let weight = |child: u32| match self.tree.nodes.get(child) {
                Some(row) if child != node => row.weight,
                _ => Weight::DEFAULT,
            };
            self.tree.nodes.get(node).map(|row| self.draw(run, ix, &row.entries, weight)).unwrap_or_default()
        });
        Frame { node, at: 0, lot }
    }

    /// A random order in which the heavier come earlier: by times until a first event each.
    fn draw(&self, run: &Run, ix: u32, order: &Order, weight: impl Fn(u32) -> Weight) -> Vec<u32> {
        let serial = self.agents.get(ix).map_or(0, |agent| agent.serial);
        let stage: u64 = if run.stage == Stage::Guarantees { 1 } else { 2 };
        let seed = lot(self.seed, run.now, stage, serial);
        let mut drawn: Vec<(f64, u32)> = order
            .slots()
            .iter()
            .map(|slot| {
                // 53 bits: uniform in (0, 1].
                let chance = ((Rng::new(seed ^ u64::from(slot.ix)).next_u64() >> 11) + 1) as f64
                    / (1_u64 << 53) as f64;
                (-chance.ln() / weight(slot.ix).0.max(1) as f64, slot.ix)
            })
            .collect();
        drawn.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        drawn.into_iter().map(|(_, ix)| ix).collect()
    }

    /// Offers to one client what it may have, books it, and tells whether there was anything.
    fn attempt(&mut self, run: &mut Run, ix: u32, client: u32) -> bool {
        let (answer, cut) = self.answer(run.stage, run.now, ix, client, run.shared.get(&ix));
        if cut
            && run.stage == Stage::FairShare
            && let Some(agent) = self.agents.get_mut(ix)
            && !agent.held_back
        {
            agent.held_back = true;
            self.held_back.push(ix);
        }
        let bag = match answer {
            Answer::Whole => match self.agents.get(ix) {
                Some(agent) => agent.free.clone(),
                None => return false,
            },
            Answer::Part(bag) => bag,
            _ => return false,
        };
        if bag.has_shared() {
            run.shared.entry(ix).or_default().add(&bag.shared());
        }
        self.take(client, ix, bag.clone());
        if let Some(row) = self.clients.get_mut(client) {
            row.account.count += 1;
            let role = row.role;
            self.tree.count_up(role);
        }
        let known = if run.first.is_empty() { None } else { run.first.get(&(client, ix)).copied() };
        if let Some(given) = known.and_then(|at| run.given.get_mut(at)) {
            given.bag.add(&bag);
            return true;
        }
        if run.stage == Stage::Guarantees {
            run.first.insert((client, ix), run.given.len());
        }
        run.given.push(Given { client, agent: ix, bag });
        true
    }

    /// What the role lacks of its guarantees or of those above it.
    pub(super) fn missing(&self, role: u32) -> Quants {
        let mut missing = Quants::default();
        for (_, node) in self.tree.lineage(role) {
            if let Some(quota) = &node.quota {
                missing.raise_to(&quota.missing);
            }
        }
        missing
    }

    /// What a client would be offered of an agent now; and whether quota took something of it.
    pub(super) fn answer(
        &self,
        stage: Stage,
        now: u64,
        ix: u32,
        client: u32,
        shared_offered: Option<&Resources>,
    ) -> (Answer, bool) {
        let (Some(agent), Some(row)) = (self.agents.get(ix), self.clients.get(client)) else {
            return (Answer::Nothing, false);
        };
        let Some(framework) = self.frameworks.get(row.framework) else { return (Answer::Nothing, false) };
        if agent.barrier(framework.caps, row.hierarchical, self.options.filter_gpus).is_some() {
            return (Answer::Barred, false);
        }
        let minimum = row.minimum.as_ref().unwrap_or(&self.minimum);
        if agent.free.rest.is_empty() && agent.shared.is_empty() && self.tree.quotas == 0 {
            let answer = if agent.free.is_empty() {
                Answer::Nothing
            } else if !minimum.met_by(&agent.free) {
                Answer::TooSmall(agent.free.clone())
            } else if agent.filter_for(client, row.epoch, &agent.free, now).is_some() {
                Answer::Refused(agent.free.clone())
            } else {
                Answer::Whole
            };
            return (answer, false);
        }
        let mut offer = agent.free.clone();
        if !(offer.rest.is_empty() && agent.shared.is_empty()) {
            let Some(role) = self.tree.nodes.get(row.role).map(|node| &node.role) else {
                return (Answer::Nothing, false);
            };
            let offered = |resource: &Resource| {
                shared_offered.is_some_and(|offered| offered.iter().any(|seen| seen == resource))
            };
            offer.rest = offer.rest.plus(&agent.shared.filter(|resource| !offered(resource)));
            offer.rest = offer
                .rest
                .filter(|resource| role.may_use(&resource.role()) && framework.caps.takes(resource));
        }
        if offer.is_empty() {
            return (Answer::Nothing, false);
        }
        let mut cut = false;
        if self.tree.quotas > 0 {
            match self.within_quota(stage, row.role, &offer) {
                Some((bag, less)) => (offer, cut) = (bag, less),
                None => return (Answer::NoGuarantee, false),
            }
        }
        let answer = if !minimum.met_by(&offer) {
            Answer::TooSmall(offer)
        } else if agent.filter_for(client, row.epoch, &offer, now).is_some() {
            Answer::Refused(offer)
        } else {
            Answer::Part(offer)
        };
        (answer, cut)
    }

    /// What of an offer guarantees, limits and headroom leave to a role; none: it does not
    /// help to a guarantee.
    fn within_quota(&self, stage: Stage, role: u32, offer: &Bag) -> Option<(Bag, bool)> {
        let (counted, mut rest) = offer.split_quota();
        let mut extra = counted;
        let mut guaranteed = Quants::default();
        if stage == Stage::Guarantees {
            let mut part = extra.clone();
            part.shrink(Room::only(&self.missing(role)));
            if part.is_empty() {
                return None;
            }
            guaranteed = part.quants();
            extra.subtract(&part);
            rest.add(&part);
        }
        let mut cut = false;
        for (_, node) in self.tree.lineage(role) {
            let Some(quota) = node.quota.as_ref().filter(|quota| quota.limits.has_limits()) else { continue };
            let mut used = node.consumed();
            used.add(&guaranteed);
            cut |= extra.shrink(quota.limits.less(&used));
        }
        if !self.tree.required.is_zero() {
            cut |= extra.shrink(Room::only(&self.headroom.beyond(&self.tree.required)));
        }
        rest.add(&extra);
        Some((rest, cut))
    }
}

/// Where chance puts an agent in a run.
fn lot(seed: u64, now: u64, stage: u64, serial: u64) -> u64 {
    Rng::new(seed ^ now.rotate_left(17) ^ serial.rotate_left(40) ^ (stage << 62)).next_u64()
}
