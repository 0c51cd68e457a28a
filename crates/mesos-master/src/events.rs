//! What those who watch are told.

use std::sync::Arc;

use model::{AgentId, FrameworkId, Time};

use crate::brain::{Effect, Master, Out};
use crate::view::OperatorEvent;

impl Master {
    /// Tells all who watch; costs nothing before the first of them.
    pub(crate) fn tell(&self, out: &mut Out, event: impl FnOnce() -> OperatorEvent) {
        if self.watched {
            out.effect(Effect::Event(Arc::new(event())));
        }
    }

    /// Why a framework gets no offer from an agent, the deciding reason first.
    pub(crate) fn explain(&self, now: Time, framework_id: &FrameworkId, agent_id: &AgentId) -> Vec<String> {
        let Some(framework) = self.frameworks.get(framework_id) else {
            return vec![match self.completed_ids.contains(framework_id) {
                true => format!("framework {framework_id} has been removed"),
                false => format!("framework {framework_id} is not known; it has not subscribed"),
            }];
        };
        let Some(agent) = self.agents.get(agent_id) else {
            return vec![format!("agent {agent_id} is not known; it has not registered")];
        };
        let mut lines = Vec::new();
        if framework.conn.is_none() {
            lines.push(format!("framework {framework_id} is not connected"));
        }
        if agent.conn().is_none() {
            lines.push(format!("agent {agent_id} is not connected"));
        } else if agent.deactivated {
            lines.push(format!("agent {agent_id} is deactivated"));
        }
        let open = framework.offers.iter().filter_map(|id| self.offers.get(id));
        for open in open.filter(|open| open.offer.agent_id == *agent_id) {
            lines.push(format!(
                "offer {} with {} is open and not answered yet",
                open.offer.id, open.offer.resources
            ));
        }
        lines.extend(self.allocator.explain(framework_id, agent_id, now));
        lines
    }
}
