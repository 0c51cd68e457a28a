//! Tasks: what they hold, their updates, their ends.

use std::sync::Arc;

use model::agent_api::MasterToAgent;
use model::scheduler_api::SchedulerEvent;
use model::{AgentId, FrameworkId, StatusUpdate, TaskId, TaskState, TaskStatus, Time};

use crate::brain::{ConnId, Effect, Master, Out, scalars};
use crate::state::Task;

impl Master {
    /// Stores the task under its agent and framework, with its claim on resources.
    pub(crate) fn place_task(
        &mut self,
        id: &AgentId,
        key: (FrameworkId, TaskId),
        mut task: Arc<Task>,
        holds: bool,
    ) {
        if let Some(old) = self.agents.get(id).and_then(|agent| agent.tasks.get(&key)).cloned()
            && old.holds_resources
        {
            self.release(id, &old);
        }
        {
            let task = Arc::make_mut(&mut task);
            task.holds_resources = holds;
        }
        let Some(agent) = self.agents.get_mut(id) else { return };
        if holds {
            agent.take(&key.0, &task.info.resources);
            if let Some(framework) = self.frameworks.get_mut(&key.0) {
                framework.allocated.entry(task.role.clone()).or_default().add(&scalars(&task.info.resources));
            }
        }
        if let Some(framework) = self.frameworks.get_mut(&key.0) {
            framework.tasks.insert(key.1.clone(), id.clone());
        }
        if let Some(agent) = self.agents.get_mut(id) {
            agent.tasks.insert(key, task);
        }
    }

    /// Frees what a task holds (its entry is changed by the caller).
    pub(crate) fn release(&mut self, id: &AgentId, task: &Task) {
        if let Some(agent) = self.agents.get_mut(id) {
            agent.give_back(&task.framework_id, &task.info.resources);
        }
        if let Some(framework) = self.frameworks.get_mut(&task.framework_id)
            && let Some(allocated) = framework.allocated.get_mut(&task.role)
        {
            allocated.subtract(&scalars(&task.info.resources));
        }
        self.dirty.insert(id.clone());
    }

    pub(crate) fn agent_update(&mut self, _now: Time, conn: ConnId, update: StatusUpdate, out: &mut Out) {
        let Some(id) = self.agent_conns.get(&conn).cloned() else {
            self.counters.status_updates_invalid += 1;
            return;
        };
        let key = (update.framework_id.clone(), update.status.task_id.clone());
        if !self.frameworks.contains_key(&key.0) {
            self.counters.status_updates_invalid += 1;
            let message = MasterToAgent::ShutdownFramework { framework_id: key.0 };
            out.effect(Effect::ToAgent { conn, message });
            return;
        }
        let elsewhere = self.frameworks.get(&key.0).and_then(|framework| framework.tasks.get(&key.1));
        if elsewhere.is_some_and(|place| *place != id) {
            self.counters.status_updates_invalid += 1;
            return;
        }
        self.counters.status_updates_valid += 1;
        let known = self.agents.get(&id).and_then(|agent| agent.tasks.get(&key)).cloned();
        if let Some(mut task) = known {
            let before = task.state;
            {
                let task = Arc::make_mut(&mut task);
                if !task.state.is_terminal() {
                    task.state = update.latest_state;
                }
                task.push_status(update.status.clone());
                task.forwarded = Some(update.status.clone());
                task.unacknowledged = update.status.uuid.map(|_| update.status.clone());
            }
            if !before.is_terminal() && task.state.is_terminal() {
                self.count_end(task.state);
                if task.holds_resources {
                    self.release(&id, &task);
                    Arc::make_mut(&mut task).holds_resources = false;
                }
            }
            if let Some(agent) = self.agents.get_mut(&id) {
                agent.tasks.insert(key.clone(), task);
            }
        }
        self.forward(&key.0, update.status, out);
    }

    pub(crate) fn count_end(&mut self, state: TaskState) {
        let counters = &mut self.counters;
        match state {
            TaskState::Finished => counters.tasks_finished += 1,
            TaskState::Failed => counters.tasks_failed += 1,
            TaskState::Killed => counters.tasks_killed += 1,
            TaskState::Error => counters.tasks_error += 1,
            TaskState::Dropped => counters.tasks_dropped += 1,
            TaskState::Gone => counters.tasks_gone += 1,
            TaskState::GoneByOperator => counters.tasks_gone_by_operator += 1,
            _ => counters.tasks_lost += 1,
        }
    }

    /// Moves a task out of the live lists into the framework's history.
    pub(crate) fn complete_task(&mut self, id: &AgentId, key: &(FrameworkId, TaskId)) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        let Some(mut task) = agent.tasks.remove(key) else { return };
        if task.holds_resources {
            self.release(id, &task);
            Arc::make_mut(&mut task).holds_resources = false;
        }
        let limit = self.config.limits.completed_tasks_max;
        if let Some(framework) = self.frameworks.get_mut(&key.0) {
            framework.tasks.remove(&key.1);
            framework.completed.push_back(task);
            while framework.completed.len() > limit {
                framework.completed.pop_front();
            }
        }
    }

    /// Sends a status to the framework, if it listens.
    pub(crate) fn forward(&mut self, framework_id: &FrameworkId, status: TaskStatus, out: &mut Out) {
        if let Some(conn) = self.frameworks.get(framework_id).and_then(|framework| framework.conn) {
            out.effect(Effect::ToScheduler { conn, event: SchedulerEvent::Update(Box::new(status)) });
        }
    }
}
