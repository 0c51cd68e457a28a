//! Offers: made from grants of the allocator, answered, taken back; and inverse offers.

use std::collections::BTreeMap;
use std::time::Duration;

use model::scheduler_api::SchedulerEvent;
use model::{AgentId, ExecutorId, FrameworkId, InverseOffer, Offer, OfferId, Role, Time};

use crate::allocator::{Grant, InverseGrant};
use crate::brain::{Deadline, Effect, Master, Out};
use crate::state::{OpenInverseOffer, OpenOffer};

impl Master {
    /// Takes an offer out of the books. What it held stays held: the caller gives it
    /// back or hands it on.
    pub(crate) fn close_offer(&mut self, offer_id: &OfferId) -> Option<Offer> {
        let offer = self.offers.remove(offer_id)?.offer;
        if let Some(agent) = self.agents.get_mut(&offer.agent_id) {
            agent.offers.remove(offer_id);
            agent.offered.subtract(&offer.resources);
        }
        if let Some(framework) = self.frameworks.get_mut(&offer.framework_id) {
            framework.offers.remove(offer_id);
        }
        Some(offer)
    }

    /// Takes an offer back into the pool; tells the framework when `rescind`.
    pub(crate) fn remove_offer(&mut self, offer_id: &OfferId, rescind: bool, out: &mut Out) {
        self.end_offer(offer_id, rescind, None, out);
    }

    /// The same; with `filter`, the framework is not offered it again for so long.
    pub(crate) fn end_offer(
        &mut self,
        offer_id: &OfferId,
        rescind: bool,
        filter: Option<Duration>,
        out: &mut Out,
    ) {
        let Some(offer) = self.close_offer(offer_id) else { return };
        self.give_back(&offer, &offer.resources, filter);
        let conn = self.frameworks.get(&offer.framework_id).and_then(|framework| framework.conn);
        if let (true, Some(conn)) = (rescind, conn) {
            self.counters.offers_rescinded += 1;
            out.effect(Effect::ToScheduler { conn, event: SchedulerEvent::Rescind(offer_id.clone()) });
        }
    }

    /// All offers and inverse offers of an agent.
    pub(crate) fn rescind_all_of(&mut self, id: &AgentId, out: &mut Out) {
        let offers: Vec<OfferId> =
            self.agents.get(id).map(|agent| agent.offers.iter().cloned().collect()).unwrap_or_default();
        for offer in offers {
            self.remove_offer(&offer, true, out);
        }
        self.rescind_inverse_offers_of(id, out);
    }

    /// Ends all offers of a framework, or those to roles that it has no longer.
    pub(crate) fn drop_offers_of(&mut self, id: &FrameworkId, rescind: bool, out: &mut Out) {
        let Some(framework) = self.frameworks.get(id) else { return };
        let offers: Vec<OfferId> = framework.offers.iter().cloned().collect();
        let inverse: Vec<OfferId> = framework.inverse_offers.iter().cloned().collect();
        for offer in offers {
            self.remove_offer(&offer, rescind, out);
        }
        for offer in inverse {
            self.remove_inverse_offer(&offer, rescind, out);
        }
    }

    pub(crate) fn rescind_offers_to(&mut self, id: &FrameworkId, roles: &[Role], out: &mut Out) {
        let Some(framework) = self.frameworks.get(id) else { return };
        let to_roles =
            |offer: &&OfferId| self.offers.get(*offer).is_some_and(|open| roles.contains(&open.offer.role));
        let offers: Vec<OfferId> = framework.offers.iter().filter(to_roles).cloned().collect();
        for offer in offers {
            self.remove_offer(&offer, true, out);
        }
    }

    /// Lets the allocator run if it is due.
    pub(crate) fn allocate(&mut self, now: Time, out: &mut Out) {
        let grants = self.allocator.allocate(now);
        self.send_offers(now, grants, out);
        let inverse = self.allocator.inverse_offers(now);
        self.send_inverse_offers(now, inverse, out);
        self.counters.allocation_runs = self.allocator.runs();
    }

    fn next_offer_id(&mut self) -> OfferId {
        let id = OfferId::new(format!("{}-O{}", self.config.master_id, self.next_offer));
        self.next_offer += 1;
        id
    }

    fn offer_expiry(&self, now: Time) -> Time {
        now + Duration::from_millis(self.config.limits.offer_timeout_ms)
    }

    fn send_offers(&mut self, now: Time, grants: Vec<Grant>, out: &mut Out) {
        let expires = self.offer_expiry(now);
        let mut by_framework: BTreeMap<FrameworkId, Vec<Offer>> = BTreeMap::new();
        for grant in grants {
            let id = self.next_offer_id();
            let Some(agent) = self.agents.get_mut(&grant.agent_id) else { continue };
            let from = (grant.framework_id.clone(), ExecutorId::from(""));
            let own = agent
                .executors
                .range(from..)
                .take_while(|((framework, _), _)| *framework == grant.framework_id);
            let offer = Offer {
                id: id.clone(),
                framework_id: grant.framework_id.clone(),
                agent_id: grant.agent_id.clone(),
                hostname: agent.info.hostname.clone(),
                ip: agent.info.ip.clone(),
                port: agent.info.port,
                role: grant.role,
                resources: grant.resources,
                attributes: agent.info.attributes.clone(),
                domain: agent.info.domain.clone(),
                executor_ids: own.map(|((_, executor), _)| executor.clone()).collect(),
                unavailability: agent.unavailability,
            };
            agent.offers.insert(id.clone());
            agent.offered.add(&offer.resources);
            if let Some(framework) = self.frameworks.get_mut(&grant.framework_id) {
                framework.offers.insert(id.clone());
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

    pub(crate) fn decline(&mut self, id: &FrameworkId, offer_ids: &[OfferId], refuse_ms: Option<u64>) {
        let filter = self.refusal_time(refuse_ms);
        for offer_id in offer_ids {
            let mine = self.offers.get(offer_id).is_some_and(|open| open.offer.framework_id == *id);
            if mine && let Some(offer) = self.close_offer(offer_id) {
                self.give_back(&offer, &offer.resources, filter);
            }
        }
    }

    fn send_inverse_offers(&mut self, now: Time, grants: Vec<InverseGrant>, out: &mut Out) {
        let expires = self.offer_expiry(now);
        let mut by_framework: BTreeMap<FrameworkId, Vec<InverseOffer>> = BTreeMap::new();
        for grant in grants {
            let InverseGrant { framework_id, agent_id, resources, unavailability } = grant;
            let id = self.next_offer_id();
            if !self
                .agents
                .get(&agent_id)
                .is_some_and(|agent| agent.inverse_answers.contains_key(&framework_id))
            {
                self.note_inverse_answer(now, &agent_id, &framework_id, None);
            }
            let Some(agent) = self.agents.get(&agent_id) else { continue };
            let offer = InverseOffer {
                id: id.clone(),
                framework_id: framework_id.clone(),
                hostname: agent.info.hostname.clone(),
                ip: agent.info.ip.clone(),
                port: agent.info.port,
                agent_id,
                unavailability,
                resources,
            };
            if let Some(framework) = self.frameworks.get_mut(&framework_id) {
                framework.inverse_offers.insert(id.clone());
            }
            self.deadlines.insert((expires, Deadline::InverseOffer(id.clone())));
            self.inverse_offers.insert(id, OpenInverseOffer { offer: offer.clone(), expires });
            by_framework.entry(framework_id).or_default().push(offer);
        }
        for (framework_id, offers) in by_framework {
            if let Some(conn) = self.frameworks.get(&framework_id).and_then(|framework| framework.conn) {
                out.effect(Effect::ToScheduler { conn, event: SchedulerEvent::InverseOffers(offers) });
            }
        }
    }

    fn close_inverse_offer(&mut self, offer_id: &OfferId) -> Option<InverseOffer> {
        let offer = self.inverse_offers.remove(offer_id)?.offer;
        if let Some(framework) = self.frameworks.get_mut(&offer.framework_id) {
            framework.inverse_offers.remove(offer_id);
        }
        Some(offer)
    }

    /// Takes an inverse offer back; tells the framework when `rescind`.
    pub(crate) fn remove_inverse_offer(&mut self, offer_id: &OfferId, rescind: bool, out: &mut Out) {
        let Some(offer) = self.close_inverse_offer(offer_id) else { return };
        self.allocator.answered_inverse(self.now, &offer.framework_id, &offer.agent_id, None);
        let conn = self.frameworks.get(&offer.framework_id).and_then(|framework| framework.conn);
        if let (true, Some(conn)) = (rescind, conn) {
            let event = SchedulerEvent::RescindInverse(offer_id.clone());
            out.effect(Effect::ToScheduler { conn, event });
        }
    }

    /// The agent is gone, or its schedule changed: what was answered is void.
    pub(crate) fn rescind_inverse_offers_of(&mut self, id: &AgentId, out: &mut Out) {
        let of_agent = |(_, open): &(&OfferId, &OpenInverseOffer)| open.offer.agent_id == *id;
        let offers: Vec<OfferId> =
            self.inverse_offers.iter().filter(of_agent).map(|(offer, _)| offer.clone()).collect();
        for offer in offers {
            self.remove_inverse_offer(&offer, true, out);
        }
        if self.agents.get(id).is_some_and(|agent| !agent.inverse_answers.is_empty())
            && let Some(agent) = self.agents.get_mut(id)
        {
            agent.inverse_answers.clear();
        }
    }

    /// Records what a framework says to inverse offers; nothing else follows of it.
    pub(crate) fn answer_inverse_offers(
        &mut self,
        now: Time,
        id: &FrameworkId,
        offer_ids: &[OfferId],
        accepted: bool,
        refuse_ms: Option<u64>,
    ) {
        let filter = self.refusal_time(refuse_ms);
        for offer_id in offer_ids {
            let mine = self.inverse_offers.get(offer_id).is_some_and(|open| open.offer.framework_id == *id);
            if !mine {
                continue;
            }
            let Some(offer) = self.close_inverse_offer(offer_id) else { continue };
            self.allocator.answered_inverse(now, id, &offer.agent_id, filter);
            self.note_inverse_answer(now, &offer.agent_id, id, Some(accepted));
        }
    }
}
