//! What must hold after every step, stated for the simulator and the tests.

use crate::brain::Agent;
use crate::state::Phase;

impl Agent {
    /// The first broken invariant, as a sentence.
    pub fn check_invariants(&self) -> Result<(), String> {
        for (key, task) in &self.tasks {
            if task.key() != *key {
                return Err(format!("task {} is filed under {}", task.info.id, key.1));
            }
            if (task.phase == Phase::Ended) != task.state.is_terminal() {
                return Err(format!("task {}: phase {:?} with state {}", key.1, task.phase, task.state));
            }
            if task.phase == Phase::Ended && task.updates.is_empty() {
                return Err(format!("task {}: ended and acknowledged but not forgotten", key.1));
            }
            if task.updates.iter().rev().skip(1).any(|status| status.state.is_terminal()) {
                return Err(format!("task {}: an update follows the terminal one", key.1));
            }
            if self.strangers.contains_key(key) {
                return Err(format!("task {} is both known and unknown", key.1));
            }
            if !self.frameworks.contains_key(&key.0) {
                return Err(format!("task {}: its framework {} is not known", key.1, key.0));
            }
        }
        Ok(())
    }

    /// State and kill of the task in this container, for reports.
    pub fn task_of(
        &self,
        id: &model::ContainerId,
    ) -> Option<(model::TaskState, Option<crate::state::Kill>, usize)> {
        let task = self.tasks.values().find(|task| task.container_id == *id)?;
        Some((task.state, task.kill.clone(), task.updates.len()))
    }

    /// Containers that may be alive by this agent's word.
    pub fn live_containers(&self) -> impl Iterator<Item = &model::ContainerId> {
        self.tasks.values().filter(|task| task.phase != Phase::Ended).map(|task| &task.container_id)
    }
}
