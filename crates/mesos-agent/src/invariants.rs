//! What must hold after every step, stated for the simulator and the tests.

use crate::brain::Agent;
use crate::state::{ExecutorPhase, Phase};

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
            let live = task.phase != Phase::Ended;
            if task.has_container() && live != (self.by_container.get(&task.container_id) == Some(key)) {
                return Err(format!(
                    "task {}: phase {:?} and its container's entry differ",
                    key.1, task.phase
                ));
            }
            if !self.by_run.get(&task.run()).is_some_and(|keys| keys.contains(key)) {
                return Err(format!("task {} is not among those of its run", key.1));
            }
            let run = self.executors.get(&task.run());
            if live && !task.is_command() && run.is_none_or(|run| !run.is_live()) {
                return Err(format!("task {} lives on an executor that does not", key.1));
            }
            if task.phase == Phase::Queued && task.has_container() {
                return Err(format!("task {} waits for an executor that it does not have", key.1));
            }
        }
        self.check_runs()
    }

    fn check_runs(&self) -> Result<(), String> {
        for (id, executor) in &self.executors {
            let key = (executor.framework_id.clone(), executor.info.id.clone());
            if executor.is_live() != (self.runs.get(&key) == Some(id)) {
                return Err(format!("executor {}: phase {:?} and its entry differ", key.1, executor.phase));
            }
            if !executor.is_live() && !self.by_run.contains_key(id) {
                return Err(format!("executor {} has ended, has no task and is not forgotten", key.1));
            }
            if !self.frameworks.contains_key(&key.0) {
                return Err(format!("executor {}: its framework {} is not known", key.1, key.0));
            }
            let waits = self.deadlines.contains_key(id) || self.reconnecting.contains(id);
            if executor.phase == ExecutorPhase::Ended && (waits || self.subscribed.contains_key(id)) {
                return Err(format!("executor {} has ended and is still waited for or subscribed", key.1));
            }
            if executor.phase == ExecutorPhase::Terminating && executor.shutdown.is_none() {
                return Err(format!("executor {} is terminating without an end", key.1));
            }
        }
        let strays = self.subscribed.keys().chain(self.deadlines.keys()).chain(&self.reconnecting);
        if let Some(stray) = strays.into_iter().find(|run| !self.executors.contains_key(*run)) {
            return Err(format!("run {stray} is waited for and not known"));
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
