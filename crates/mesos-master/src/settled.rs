//! Where a change that an operator or an agent's state brings reaches the offers.

use model::{AgentId, Role, Weight};

use crate::brain::Master;
use crate::ledger::agent_facts;

impl Master {
    /// Whether it is offered, when it will be away, or how much it has.
    pub(crate) fn agent_facts_changed(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get(id).filter(|agent| agent.is_registered()) else { return };
        let (facts, away) = (agent_facts(agent), self.unavailability_of(&agent.info));
        let known = agent.unavailability;
        self.allocator.update_agent(id, facts);
        // Being told again would void what frameworks answered.
        if away != known {
            self.allocator.set_unavailability(id, away);
            if let Some(agent) = self.agents.get_mut(id) {
                agent.unavailability = away;
            }
        }
    }

    pub(crate) fn weight_changed(&mut self, role: &Role) {
        let weight = self.weights.get(role).copied().unwrap_or(Weight::DEFAULT);
        self.allocator.set_weight(role, weight);
    }

    pub(crate) fn quota_changed(&mut self, role: &Role) {
        let quota = self.quotas.get(role).cloned();
        self.allocator.set_quota(role, quota);
    }
}
