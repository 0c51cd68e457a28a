//! Inverse offers: frameworks are asked to leave machines that will be away.

use std::time::Duration;

use model::{AgentId, FrameworkId, Time, Unavailability};

use super::amounts::Bag;
use super::facts::{FILTER_MAX_MS, InverseGrant};
use super::{Allocator, millis};

impl Allocator {
    /// The schedule changed: earlier answers are void.
    pub fn set_unavailability(&mut self, agent: &AgentId, unavailability: Option<Unavailability>) {
        let Some(ix) = self.agent_index.get(agent).copied() else { return };
        if let Some(agent) = self.agents.get_mut(ix) {
            agent.unavailability = unavailability;
            agent.asked.clear();
            agent.inverse_filters.clear();
        }
        match unavailability {
            Some(_) => self.scheduled.insert(ix),
            None => self.scheduled.remove(&ix),
        };
    }

    /// Frameworks to be asked to leave agents; each is asked once until it answers.
    pub fn inverse_offers(&mut self, now: Time) -> Vec<InverseGrant> {
        let mut grants = Vec::new();
        for ix in &self.scheduled {
            let Some(agent) = self.agents.get_mut(*ix).filter(|agent| agent.active) else { continue };
            let Some(unavailability) = agent.unavailability else { continue };
            agent.inverse_filters.retain(|_, until| *until > now.as_millis());
            let mut holders: Vec<(&FrameworkId, u32, Bag)> = Vec::new();
            for (client, held) in &agent.held {
                let Some(row) = self.clients.get(*client) else { continue };
                let Some(framework) = self.frameworks.get(row.framework).filter(|row| row.active) else {
                    continue;
                };
                if agent.inverse_filters.contains_key(&row.framework) || agent.asked.contains(&row.framework)
                {
                    continue;
                }
                match holders.iter_mut().find(|(_, holder, _)| *holder == row.framework) {
                    Some((_, _, sum)) => sum.add(held),
                    None => holders.push((&framework.id, row.framework, held.clone())),
                }
            }
            holders.sort_by(|a, b| a.0.cmp(b.0));
            for (id, framework, held) in holders {
                agent.asked.push(framework);
                grants.push(InverseGrant {
                    framework_id: id.clone(),
                    agent_id: agent.id.clone(),
                    resources: held.to_resources(),
                    unavailability,
                });
            }
        }
        grants.sort_by(|a, b| (&a.agent_id, &a.framework_id).cmp(&(&b.agent_id, &b.framework_id)));
        grants
    }

    /// Answered, rescinded or timed out. With `filter`: not to be asked again for so long;
    /// else not before the next full run.
    pub fn answered_inverse(
        &mut self,
        now: Time,
        framework: &FrameworkId,
        agent: &AgentId,
        filter: Option<Duration>,
    ) {
        let Some(framework) = self.framework_index.get(framework).copied() else { return };
        let Some(ix) = self.agent_index.get(agent).copied() else { return };
        let now = now.as_millis();
        let next = self.grid_after(now);
        let Some(agent) = self.agents.get_mut(ix).filter(|agent| agent.unavailability.is_some()) else {
            return;
        };
        agent.asked.retain(|asked| *asked != framework);
        let wait = filter.map_or(0, millis).min(FILTER_MAX_MS);
        let until = if wait > 0 { (now + wait).max(next + 1) } else { next };
        agent.inverse_filters.insert(framework, until);
    }

    pub(super) fn forget_inverse(&mut self, framework: u32) {
        for ix in &self.scheduled {
            if let Some(agent) = self.agents.get_mut(*ix) {
                agent.asked.retain(|asked| *asked != framework);
                agent.inverse_filters.remove(&framework);
            }
        }
    }

    /// When a framework may be asked again.
    pub(super) fn next_inverse(&self) -> Option<u64> {
        let agents = self.scheduled.iter().filter_map(|ix| self.agents.get(*ix)).filter(|agent| agent.active);
        agents.filter_map(|agent| agent.inverse_filters.values().min()).min().copied()
    }
}
