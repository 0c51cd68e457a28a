//! What is known of an agent, a framework and a framework's role.

use std::collections::BTreeMap;

use model::{AgentCapability, AgentId, Capability, FrameworkId, Resource, Resources, Unavailability};

use super::amounts::{Bag, Minimum, Quants};
use super::facts::{AgentFacts, FILTERS_PER_CLIENT_MAX, Options};
use super::tree::Account;

/// A refusal: offers to the client that are contained in it are held back.
#[derive(Debug)]
pub(super) struct Filter {
    pub client: u32,
    /// Of the client when it refused; void if the client has moved on.
    pub epoch: u64,
    pub until: u64,
    pub refused: Box<Bag>,
    /// It contains the agent's envelope, so whatever is free there.
    pub covers: bool,
}

/// Why nothing of an agent goes to a framework, whatever is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Barrier {
    Gpus,
    Region,
    MultiRole,
    HierarchicalRole,
}

#[derive(Debug)]
pub(super) struct Agent {
    pub id: AgentId,
    /// In the order of arrival; decides the lot.
    pub serial: u64,
    pub active: bool,
    pub region: Option<String>,
    remote: bool,
    gpus: bool,
    multi_role: bool,
    hierarchical: bool,
    pub total: Resources,
    /// One copy of each shared volume.
    pub shared: Resources,
    /// Neither used nor offered, without shared volumes.
    pub free: Bag,
    /// Contains what is free: most refusals are settled by it without being looked at.
    envelope: Bag,
    /// More is held than there is.
    pub overcommitted: bool,
    /// By client, ascending.
    pub held: Vec<(u32, Bag)>,
    /// By client, ascending.
    pub filters: Vec<Filter>,
    /// When the first filter ends; `u64::MAX`: there is none.
    pub first_expiry: u64,
    /// What of the total is reserved, by node.
    pub reserved: Vec<(u32, Quants)>,
    pub quants: Quants,
    /// Counted as available for guarantees.
    pub headroom: Quants,
    /// When it was last visited, in the count of wakings.
    pub visited: u64,
    /// Changed since.
    pub waiting: bool,
    /// Changed so that a run is due at once.
    pub urgent: bool,
    /// Something was not offered there because of quota.
    pub held_back: bool,
    pub unavailability: Option<Unavailability>,
    /// Frameworks with an inverse offer that they have not answered, ascending.
    pub asked: Vec<u32>,
    pub inverse_filters: BTreeMap<u32, u64>,
}

impl Agent {
    pub fn new(id: AgentId, serial: u64) -> Self {
        Self {
            id,
            serial,
            active: false,
            region: None,
            remote: false,
            gpus: false,
            multi_role: false,
            hierarchical: false,
            total: Resources::new(),
            shared: Resources::new(),
            free: Bag::default(),
            envelope: Bag::default(),
            overcommitted: false,
            held: Vec::new(),
            filters: Vec::new(),
            first_expiry: u64::MAX,
            reserved: Vec::new(),
            quants: Quants::default(),
            headroom: Quants::default(),
            visited: 0,
            waiting: false,
            urgent: false,
            held_back: false,
            unavailability: None,
            asked: Vec::new(),
            inverse_filters: BTreeMap::new(),
        }
    }

    /// Everything but the total.
    pub fn describe(&mut self, facts: &AgentFacts, options: &Options) {
        self.remote = match (&options.master_region, &facts.region) {
            (Some(master), Some(region)) => master != region,
            _ => false,
        };
        self.region.clone_from(&facts.region);
        self.multi_role = facts.capabilities.contains(&AgentCapability::MultiRole);
        self.hierarchical = facts.capabilities.contains(&AgentCapability::HierarchicalRole);
        self.active = facts.active;
    }

    pub fn set_total(&mut self, total: Resources) {
        self.gpus = total.scalar("gpus").is_positive();
        self.shared = total.filter(Resource::is_shared);
        self.total = total;
        self.reckon();
    }

    /// Works out what is free from what is held.
    pub fn reckon(&mut self) {
        let mut free = Bag::new(&self.total.filter(|resource| !resource.is_shared()));
        self.overcommitted = false;
        for (_, held) in &self.held {
            let held = held.unshared();
            self.overcommitted |= !free.contains(&held);
            free.subtract(&held);
        }
        self.free = free;
        self.grown();
    }

    /// More may be free than before: the envelope has to contain it.
    pub fn grown(&mut self) {
        if self.envelope.contains(&self.free) {
            return;
        }
        self.envelope = self.free.clone();
        for filter in &mut self.filters {
            filter.covers = filter.refused.contains(&self.envelope);
        }
    }

    pub fn check_envelope(&self) -> Result<(), String> {
        let stale = |filter: &&Filter| filter.covers != filter.refused.contains(&self.envelope);
        if !self.envelope.contains(&self.free) || self.filters.iter().any(|filter| stale(&filter)) {
            return Err(format!("agent {}: {:?} is not around what is free", self.id, self.envelope));
        }
        Ok(())
    }

    /// Whether the envelope says that the client refused whatever is free; shared volumes
    /// are not in it.
    fn is_covered(&self, filter: &Filter) -> bool {
        filter.covers && self.shared.is_empty()
    }

    pub fn barrier(&self, caps: Caps, hierarchical: bool, filter_gpus: bool) -> Option<Barrier> {
        if self.gpus && filter_gpus && !caps.gpus {
            return Some(Barrier::Gpus);
        }
        if self.remote && !caps.regions {
            return Some(Barrier::Region);
        }
        if caps.multi_role && !self.multi_role {
            return Some(Barrier::MultiRole);
        }
        if hierarchical && !self.hierarchical {
            return Some(Barrier::HierarchicalRole);
        }
        None
    }

    pub fn held_at(&self, client: u32) -> Result<usize, usize> {
        self.held.binary_search_by_key(&client, |(holder, _)| *holder)
    }

    pub fn held_by(&self, client: u32) -> Option<&Bag> {
        self.held_at(client).ok().and_then(|at| self.held.get(at)).map(|(_, bag)| bag)
    }

    /// The client's refusals, void ones among them.
    pub fn filters_of(&self, client: u32) -> &[Filter] {
        let begin = self.filters.partition_point(|filter| filter.client < client);
        let rest = self.filters.get(begin..).unwrap_or_default();
        let len = rest.iter().take_while(|filter| filter.client == client).count();
        &rest[..len]
    }

    /// The refusal that holds `offer` back.
    pub fn filter_for(&self, client: u32, epoch: u64, offer: &Bag, now: u64) -> Option<&Filter> {
        if self.filters.is_empty() {
            return None;
        }
        self.filters_of(client).iter().find(|filter| {
            filter.epoch == epoch
                && filter.until > now
                && (self.is_covered(filter) || filter.refused.contains(offer))
        })
    }

    pub fn add_filter(&mut self, mut filter: Filter, now: u64) {
        filter.covers = filter.refused.contains(&self.envelope);
        let begin = self.filters.partition_point(|old| old.client < filter.client);
        let mut at = begin;
        let mut kept = 0;
        while let Some(old) = self.filters.get(at).filter(|old| old.client == filter.client) {
            let void = old.epoch != filter.epoch
                || old.until <= now
                || old.until <= filter.until && filter.refused.contains(&old.refused);
            if void {
                self.filters.remove(at);
            } else {
                kept += 1;
                at += 1;
            }
        }
        if kept >= FILTERS_PER_CLIENT_MAX
            && let Some(first) = (begin..at).min_by_key(|at| self.filters.get(*at).map(|old| old.until))
        {
            self.filters.remove(first);
            at -= 1;
        }
        self.filters.insert(at, filter);
    }
}

/// Capabilities of a framework that offers depend on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Caps {
    pub gpus: bool,
    pub regions: bool,
    pub multi_role: bool,
    pub shared: bool,
    pub revocable: bool,
    pub refinement: bool,
}

impl Caps {
    pub fn new(capabilities: &[Capability]) -> Self {
        let can = |capability| capabilities.contains(&capability);
        Self {
            gpus: can(Capability::GpuResources),
            regions: can(Capability::RegionAware),
            multi_role: can(Capability::MultiRole),
            shared: can(Capability::SharedResources),
            revocable: can(Capability::RevocableResources),
            refinement: can(Capability::ReservationRefinement),
        }
    }

    pub fn takes(self, resource: &Resource) -> bool {
        (self.shared || !resource.is_shared())
            && (self.revocable || !resource.revocable)
            && (self.refinement || !resource.is_refined())
    }
}

#[derive(Debug)]
pub(super) struct Framework {
    pub id: FrameworkId,
    /// Not removed.
    pub known: bool,
    pub active: bool,
    pub caps: Caps,
    /// One for each role that it is subscribed to or holds something in; in the order of arrival.
    pub clients: Vec<u32>,
}

/// A framework in one of its roles.
#[derive(Debug)]
pub(super) struct Client {
    pub framework: u32,
    pub role: u32,
    pub hierarchical: bool,
    pub subscribed: bool,
    pub suppressed: bool,
    pub account: Account,
    /// Instead of the one of all.
    pub minimum: Option<Minimum>,
    /// When it last became interested in agents that it had passed.
    pub woken: u64,
    pub epoch: u64,
    /// On how many agents it holds something.
    pub holdings: u32,
    /// Its share changed since it was placed.
    pub touched: bool,
}
