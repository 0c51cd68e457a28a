//! What must hold after every step, stated for the simulator and the tests.

use std::collections::BTreeMap;

use crate::brain::Master;
use crate::operations::held_by;
use crate::state::Agent;
use model::{FrameworkId, Resources};

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
            let used = holdings(agent);
            if !same_holdings(&used, &agent.used) {
                return Err(format!("agent {}: used {:?} but {used:?} is held there", agent.id, agent.used));
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
            if agent.conn().is_some() {
                self.check_totals(agent)?;
            }
        }
        for agent in self.agents.values() {
            for (framework_id, task_id) in agent.tasks.keys() {
                let Some(framework) = self.frameworks.get(framework_id) else { continue };
                if framework.tasks.get(task_id) != Some(&agent.id) {
                    return Err(format!("task {task_id} on {} is not its framework's there", agent.id));
                }
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
        for agent in self.agents.values() {
            for (framework_id, executor_id) in agent.executors.keys() {
                let place = (agent.id.clone(), executor_id.clone());
                if !self.frameworks.get(framework_id).is_some_and(|f| f.executors.contains(&place)) {
                    return Err(format!("executor {executor_id} on {} is not its framework's", agent.id));
                }
            }
        }
        for framework in self.frameworks.values() {
            for (agent_id, executor_id) in &framework.executors {
                let key = (framework.id.clone(), executor_id.clone());
                if !self.agents.get(agent_id).is_some_and(|agent| agent.executors.contains_key(&key)) {
                    return Err(format!("executor {executor_id} is not on {agent_id}"));
                }
            }
            for (id, (agent_id, uuid)) in &framework.operations {
                if !self.agents.get(agent_id).is_some_and(|agent| agent.operations.contains_key(uuid)) {
                    return Err(format!("operation {id} is not on {agent_id}"));
                }
            }
        }
        self.allocator.check_invariants()?;
        for (id, open) in &self.inverse_offers {
            let holder = self.frameworks.get(&open.offer.framework_id);
            if !holder.is_some_and(|framework| framework.active() && framework.inverse_offers.contains(id)) {
                return Err(format!("inverse offer {id} is not with an active framework"));
            }
        }
        Ok(())
    }

    /// What is held, offered and free makes up the whole, with each shared volume once.
    fn check_totals(&self, agent: &Agent) -> Result<(), String> {
        let exclusive = |resources: &Resources| resources.filter(|resource| !resource.is_shared());
        let total = &agent.info.resources;
        let claimed = exclusive(&agent.used_total().plus(&agent.offered));
        if !total.contains(&claimed) {
            return Err(format!("agent {}: {claimed} allocated of {total}", agent.id));
        }
        let free = exclusive(&self.allocator.available(&agent.id));
        let sum = claimed.plus(&free);
        let whole = exclusive(total);
        if !(sum.contains(&whole) && whole.contains(&sum)) {
            return Err(format!("agent {}: {claimed} held and {free} free of {total}", agent.id));
        }
        for resource in agent.used_total().plus(&agent.offered).iter().filter(|one| one.is_shared()) {
            let one = Resources::from_iter([model::Resource { shared: 1, ..resource.clone() }]);
            if !total.contains(&one) {
                return Err(format!("agent {}: {one} is held but not there", agent.id));
            }
        }
        Ok(())
    }
}

/// What tasks, executors and operations hold of an agent, by framework.
fn holdings(agent: &Agent) -> BTreeMap<FrameworkId, Resources> {
    let mut sums: BTreeMap<FrameworkId, Resources> = BTreeMap::new();
    for task in agent.tasks.values().filter(|task| task.holds_resources) {
        sums.entry(task.framework_id.clone()).or_default().add(&task.info.resources);
    }
    for executor in agent.executors.values().filter(|executor| !executor.info.resources.is_empty()) {
        sums.entry(executor.framework_id.clone()).or_default().add(&executor.info.resources);
    }
    for record in agent.operations.values() {
        if let (Some(framework_id), Some(held)) = (&record.framework_id, held_by(record)) {
            sums.entry(framework_id.clone()).or_default().add(&held);
        }
    }
    sums
}

/// Equal but for where shared volumes are mounted.
fn same_holdings(a: &BTreeMap<FrameworkId, Resources>, b: &BTreeMap<FrameworkId, Resources>) -> bool {
    a.len() == b.len()
        && a.iter()
            .all(|(id, mine)| b.get(id).is_some_and(|theirs| mine.contains(theirs) && theirs.contains(mine)))
}
