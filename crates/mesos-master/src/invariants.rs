//! What must hold after every step, stated for the simulator and the tests.

use crate::accept::sum_by_framework;
use crate::brain::Master;
use model::Resources;

impl Master {
    /// Where a task is and in which state, for reports.
    pub fn task_state(&self, id: &model::TaskId) -> Option<(model::AgentId, model::TaskState, bool)> {
        self.agents.values().find_map(|agent| {
            let task = agent.tasks.values().find(|task| task.info.id == *id)?;
            Some((agent.id.clone(), task.state, task.kill_wanted.is_some()))
        })
    }

    /// The first broken invariant, as a sentence.
    pub fn check_invariants(&self) -> Result<(), String> {
        for agent in self.agents.values() {
            let mut used = sum_by_framework(agent.tasks.values());
            for ((framework_id, _), executor) in &agent.executors {
                used.entry(framework_id.clone()).or_default().add(&executor.info.resources);
            }
            if used != agent.used {
                return Err(format!("agent {}: used {:?} but its tasks hold {used:?}", agent.id, agent.used));
            }
            let mut offered = Resources::new();
            for id in &agent.offers {
                let Some(open) = self.offers.get(id) else {
                    return Err(format!("agent {}: offer {id} is not open", agent.id));
                };
                offered.add(&open.offer.resources);
            }
            if !agent.offers.is_empty() && offered != agent.offered {
                return Err(format!(
                    "agent {}: offered {} but offers hold {offered}",
                    agent.id, agent.offered
                ));
            }
            let claimed = agent.used_total().plus(&agent.offered);
            if agent.conn().is_some() && !agent.info.resources.contains(&claimed) {
                let total = &agent.info.resources;
                return Err(format!("agent {}: {claimed} allocated of {total}", agent.id));
            }
        }
        for framework in self.frameworks.values() {
            for (task_id, agent_id) in &framework.tasks {
                let key = (framework.id.clone(), task_id.clone());
                if !self.agents.get(agent_id).is_some_and(|agent| agent.tasks.contains_key(&key)) {
                    return Err(format!(
                        "framework {}: task {task_id} is not on agent {agent_id}",
                        framework.id
                    ));
                }
                if framework.unreachable.contains_key(task_id) {
                    return Err(format!(
                        "framework {}: task {task_id} is live and unreachable",
                        framework.id
                    ));
                }
            }
        }
        for offer in self.offers.values() {
            if !self.frameworks.get(&offer.offer.framework_id).is_some_and(|f| f.active()) {
                return Err(format!("offer {} is open to an inactive framework", offer.offer.id));
            }
        }
        for (id, open) in &self.inverse_offers {
            let holder = self.frameworks.get(&open.offer.framework_id);
            if !holder.is_some_and(|framework| framework.active() && framework.inverse_offers.contains(id)) {
                return Err(format!("inverse offer {id} is not with an active framework"));
            }
        }
        Ok(())
    }
}
