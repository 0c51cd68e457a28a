//! Where a change that an operator or an agent's state brings reaches the offers.

use model::{AgentId, Role};

use crate::brain::Master;

impl Master {
    /// Whether it is offered, when it will be away, or how much it has.
    pub(crate) fn agent_facts_changed(&mut self, id: &AgentId) {
        if self.agents.get(id).is_some_and(|agent| agent.active()) {
            self.dirty.insert(id.clone());
        }
    }

    pub(crate) fn weight_changed(&mut self, _role: &Role) {
        self.dirty_all();
    }

    pub(crate) fn quota_changed(&mut self, _role: &Role) {
        self.dirty_all();
    }
}
