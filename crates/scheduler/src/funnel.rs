//! What became of the offers that a waiting definition was shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{AgentId, Offer, Time};

use crate::matching::RejectReason;

/// Agents whose last unused offer is remembered, per definition.
pub const LAST_OFFERS_MAX: usize = 100;

/// One step of the funnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunnelRow {
    pub reason: RejectReason,
    pub declined: u64,
    /// How many offers came this far.
    pub processed: u64,
}

/// One row per reason, in order; what a row declines the next does not see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Funnel(pub Vec<FunnelRow>);

impl Funnel {
    fn new(total: u64, declined: impl Fn(RejectReason) -> u64) -> Self {
        let mut processed = total;
        let mut rows = Vec::with_capacity(RejectReason::ALL.len());
        for reason in RejectReason::ALL {
            let declined = declined(reason);
            rows.push(FunnelRow { reason, declined, processed });
            processed = processed.saturating_sub(declined);
        }
        Self(rows)
    }
}

/// The last offer of one agent that was not used.
#[derive(Debug, Clone, PartialEq)]
pub struct UnusedOffer {
    pub offer: Arc<Offer>,
    pub reasons: Vec<RejectReason>,
    pub time: Time,
}

/// The record of one launch attempt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OfferTally {
    pub processed: u64,
    pub unused: u64,
    pub last_used: Option<Time>,
    pub last_unused: Option<Time>,
    declined: BTreeMap<RejectReason, u64>,
    last: BTreeMap<AgentId, UnusedOffer>,
}

impl OfferTally {
    pub fn used(&mut self, offer: &Offer, now: Time) {
        self.processed += 1;
        self.last_used = Some(now);
        self.last.remove(&offer.agent_id);
    }

    pub fn rejected(&mut self, offer: &Arc<Offer>, reasons: Vec<RejectReason>, now: Time) {
        self.processed += 1;
        self.unused += 1;
        self.last_unused = Some(now);
        if let Some(first) = reasons.iter().min() {
            *self.declined.entry(*first).or_default() += 1;
        }
        if self.last.len() >= LAST_OFFERS_MAX && !self.last.contains_key(&offer.agent_id) {
            let oldest = self.last.iter().min_by_key(|(_, unused)| unused.time).map(|(id, _)| id.clone());
            if let Some(oldest) = oldest {
                self.last.remove(&oldest);
            }
        }
        self.last.insert(offer.agent_id.clone(), UnusedOffer { offer: offer.clone(), reasons, time: now });
    }

    /// Over all offers since the attempt began.
    pub fn attempt_funnel(&self) -> Funnel {
        Funnel::new(self.processed, |reason| self.declined.get(&reason).copied().unwrap_or(0))
    }

    /// Over the last offer of each agent.
    pub fn last_offers_funnel(&self) -> Funnel {
        Funnel::new(self.last.len() as u64, |reason| {
            self.last.values().filter(|unused| unused.reasons.iter().min() == Some(&reason)).count() as u64
        })
    }

    pub fn last_offers(&self) -> impl Iterator<Item = &UnusedOffer> {
        self.last.values()
    }
}

#[cfg(test)]
mod tests {
    use model::{Resources, Role};

    use super::*;

    #[test]
    fn each_row_sees_what_the_former_left() {
        let offer = |agent: &str| {
            Arc::new(Offer {
                id: "o".into(),
                framework_id: "f".into(),
                agent_id: agent.into(),
                hostname: agent.into(),
                ip: "127.0.0.1".into(),
                port: 5051,
                role: Role::any(),
                resources: Resources::new(),
                attributes: Vec::new(),
                domain: None,
                executor_ids: Vec::new(),
                unavailability: None,
            })
        };
        let mut tally = OfferTally::default();
        let both = vec![RejectReason::InsufficientMemory, RejectReason::InsufficientCpus];
        tally.rejected(&offer("a"), both.clone(), Time::ZERO);
        tally.rejected(&offer("a"), both, Time::ZERO);
        tally.rejected(&offer("b"), vec![RejectReason::UnfulfilledRole], Time::ZERO);
        let rows = tally.attempt_funnel().0;
        assert_eq!(rows.len(), RejectReason::ALL.len());
        assert_eq!((rows[0].declined, rows[0].processed), (1, 3));
        for pair in rows.windows(2) {
            assert_eq!(pair[1].processed, pair[0].processed - pair[0].declined);
        }
        let last = tally.last_offers_funnel().0;
        assert_eq!((last[0].processed, last[4].declined), (2, 1));
    }
}
