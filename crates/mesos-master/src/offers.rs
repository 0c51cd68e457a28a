//! Offers: made from grants of the allocator, taken back, refused.

use std::collections::BTreeMap;
use std::time::Duration;

use model::scheduler_api::SchedulerEvent;
use model::{AgentId, FrameworkId, OfferId, Resources, Role, Time};

use crate::allocator::{self, Candidate, Client, Minimum};
use crate::brain::{Deadline, Effect, Master, Out, scalars};
use crate::state::{Filter, OpenOffer};

impl Master {
    /// Takes an offer back into the pool; tells the framework when `rescind`.
    pub(crate) fn remove_offer(
        &mut self,
        offer_id: &OfferId,
        rescind: bool,
        out: &mut Out,
    ) -> Option<model::Offer> {
        let open = self.offers.remove(offer_id)?;
        let offer = open.offer;
        if let Some(agent) = self.agents.get_mut(&offer.agent_id) {
            agent.offers.remove(offer_id);
            agent.offered.subtract(&offer.resources);
            self.dirty.insert(offer.agent_id.clone());
        }
        if let Some(framework) = self.frameworks.get_mut(&offer.framework_id) {
            framework.offers.remove(offer_id);
            if let Some(allocated) = framework.allocated.get_mut(&offer.role) {
                allocated.subtract(&scalars(&offer.resources));
            }
            if let (true, Some(conn)) = (rescind, framework.conn) {
                self.counters.offers_rescinded += 1;
                out.effect(Effect::ToScheduler { conn, event: SchedulerEvent::Rescind(offer_id.clone()) });
            }
        }
        Some(offer)
    }

    pub(crate) fn rescind_all_of(&mut self, id: &AgentId, out: &mut Out) {
        let offers: Vec<OfferId> =
            self.agents.get(id).map(|agent| agent.offers.iter().cloned().collect()).unwrap_or_default();
        for offer in offers {
            self.remove_offer(&offer, true, out);
        }
    }

    pub(crate) fn allocate(&mut self, now: Time, out: &mut Out) {
        if self.dirty.is_empty() {
            return;
        }
        let clients = self.clients();
        if clients.is_empty() {
            self.dirty.clear();
            return;
        }
        self.counters.allocation_runs += 1;
        let mut candidates: Vec<Candidate> = std::mem::take(&mut self.dirty)
            .into_iter()
            .filter_map(|id| self.agents.get(&id))
            .filter(|agent| agent.active())
            .map(|agent| Candidate { agent_id: agent.id.clone(), free: agent.free() })
            .filter(|candidate| !candidate.free.is_empty())
            .collect();
        self.rng.shuffle(&mut candidates);
        for framework in self.frameworks.values_mut_unseen() {
            framework.filters.retain(|filter| filter.until > now);
        }
        let mut role_allocated: BTreeMap<Role, Resources> = BTreeMap::new();
        for framework in self.frameworks.values() {
            for (role, allocated) in &framework.allocated {
                role_allocated.entry(role.clone()).or_default().add(allocated);
            }
        }
        let limits = &self.config.limits;
        let minimum = Minimum { cpus: limits.min_cpus, mem: limits.min_mem };
        let frameworks = &self.frameworks;
        let grants = allocator::allocate(
            &self.total,
            &role_allocated,
            &clients,
            &candidates,
            minimum,
            |framework_id, role, agent_id, resources| {
                frameworks.get(framework_id).is_some_and(|framework| {
                    framework.filters.iter().any(|filter| {
                        filter.agent_id == *agent_id
                            && filter.role == *role
                            && filter.refused.contains(resources)
                    })
                })
            },
        );
        self.send_offers(now, grants, out);
        let interval = Duration::from_millis(self.config.limits.allocation_interval_ms);
        if !self.allocation_scheduled {
            self.allocation_scheduled = true;
            self.deadlines.insert((now + interval, Deadline::Allocation));
        }
    }

    pub(crate) fn clients(&self) -> Vec<Client> {
        let mut clients = Vec::new();
        for framework in self.frameworks.values().filter(|framework| framework.active()) {
            for role in framework.info.roles.iter().filter(|role| !framework.suppressed.contains(role)) {
                clients.push(Client {
                    framework_id: framework.id.clone(),
                    role: role.clone(),
                    allocated: framework.allocated.get(role).cloned().unwrap_or_default(),
                });
            }
        }
        clients
    }

    pub(crate) fn send_offers(&mut self, now: Time, grants: Vec<allocator::Grant>, out: &mut Out) {
        let expires = now + Duration::from_millis(self.config.limits.offer_timeout_ms);
        let mut by_framework: BTreeMap<FrameworkId, Vec<model::Offer>> = BTreeMap::new();
        for grant in grants {
            let Some(agent) = self.agents.get_mut(&grant.agent_id) else { continue };
            let id = OfferId::new(format!("{}-O{}", self.config.master_id, self.next_offer));
            self.next_offer += 1;
            let offer = model::Offer {
                id: id.clone(),
                framework_id: grant.framework_id.clone(),
                agent_id: grant.agent_id.clone(),
                hostname: agent.info.hostname.clone(),
                ip: agent.info.ip.clone(),
                port: agent.info.port,
                role: grant.role.clone(),
                resources: grant.resources.clone(),
                attributes: agent.info.attributes.clone(),
                domain: agent.info.domain.clone(),
                executor_ids: Vec::new(),
                unavailability: None,
            };
            agent.offers.insert(id.clone());
            agent.offered.add(&grant.resources);
            if let Some(framework) = self.frameworks.get_mut(&grant.framework_id) {
                framework.offers.insert(id.clone());
                framework.allocated.entry(grant.role).or_default().add(&scalars(&grant.resources));
            }
            self.counters.offers_sent += 1;
            self.deadlines.insert((expires, Deadline::Offer(id.clone())));
            self.offers.insert(id, OpenOffer { offer: offer.clone(), expires });
            by_framework.entry(grant.framework_id).or_default().push(offer);
        }
        for (framework_id, offers) in by_framework {
            if let Some(conn) = self.frameworks.get(&framework_id).and_then(|framework| framework.conn) {
                out.effect(Effect::ToScheduler { conn, event: SchedulerEvent::Offers(offers) });
            }
        }
    }

    pub(crate) fn add_filter(
        &mut self,
        now: Time,
        offer: &model::Offer,
        resources: Resources,
        refuse_ms: Option<u64>,
    ) {
        let millis =
            refuse_ms.unwrap_or(self.config.limits.refuse_default_ms).min(crate::config::REFUSE_MAX_MS);
        if millis == 0 || resources.is_empty() {
            return;
        }
        let millis = millis.max(self.config.limits.allocation_interval_ms);
        let until = now + Duration::from_millis(millis);
        if let Some(framework) = self.frameworks.get_mut(&offer.framework_id) {
            framework.filters.retain(|filter| {
                !(filter.agent_id == offer.agent_id
                    && filter.role == offer.role
                    && resources.contains(&filter.refused))
            });
            let (role, agent_id) = (offer.role.clone(), offer.agent_id.clone());
            framework.filters.push(Filter { role, agent_id, refused: resources, until });
        }
    }
}
