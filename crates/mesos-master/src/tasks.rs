//! Tasks: what they hold, their updates, their ends.

use std::sync::Arc;

use model::agent_api::MasterToAgent;
use model::scheduler_api::SchedulerEvent;
use model::{AgentId, Capability, FrameworkId, StatusUpdate, TaskId, TaskState, TaskStatus};

use crate::brain::{ConnId, Effect, Master, Out};
use crate::ledger::Claim;
use crate::state::Task;
use crate::view::OperatorEvent;

/// What a framework that does not know partitions calls a state.
pub(crate) fn without_partitions(state: TaskState) -> TaskState {
    match state {
        TaskState::Dropped
        | TaskState::Unreachable
        | TaskState::Gone
        | TaskState::GoneByOperator
        | TaskState::Unknown => TaskState::Lost,
        other => other,
    }
}

impl Master {
    /// Stores the task under its agent and framework, with its claim on resources.
    pub(crate) fn place_task(
        &mut self,
        id: &AgentId,
        key: (FrameworkId, TaskId),
        mut task: Arc<Task>,
        claim: Claim,
    ) {
        if let Some(old) = self.agents.get(id).and_then(|agent| agent.tasks.get(&key)).cloned()
            && old.holds_resources
        {
            self.release(id, &old);
        }
        let holds = claim != Claim::Nothing;
        if task.holds_resources != holds {
            Arc::make_mut(&mut task).holds_resources = holds;
        }
        self.claim(id, &key.0, &task.role, &task.info.resources, claim);
        if let Some(framework) = self.frameworks.get_mut(&key.0) {
            framework.tasks.insert(key.1.clone(), id.clone());
        }
        if let Some(agent) = self.agents.get_mut(id) {
            agent.tasks.insert(key, task);
        }
    }

    /// Frees what a task holds (its entry is changed by the caller).
    pub(crate) fn release(&mut self, id: &AgentId, task: &Task) {
        self.unhold(id, &task.framework_id, &task.role, &task.info.resources);
    }

    pub(crate) fn agent_update(&mut self, conn: ConnId, update: StatusUpdate, out: &mut Out) {
        let Some(id) = self.agent_conns.get(&conn).cloned() else {
            self.counters.status_updates_invalid += 1;
            return;
        };
        let key = (update.framework_id, update.status.task_id.clone());
        let Some(framework) = self.frameworks.get(&key.0) else {
            self.counters.status_updates_invalid += 1;
            let message = MasterToAgent::ShutdownFramework { framework_id: key.0 };
            out.effect(Effect::ToAgent { conn, message });
            return;
        };
        if framework.tasks.get(&key.1).is_some_and(|place| *place != id) {
            self.counters.status_updates_invalid += 1;
            // The framework has a task of this id elsewhere: this one was ended and ends unheard.
            if let Some(uuid) = update.status.uuid {
                let message = MasterToAgent::Acknowledge { framework_id: key.0, task_id: key.1, uuid };
                out.effect(Effect::ToAgent { conn, message });
            }
            return;
        }
        self.counters.status_updates_valid += 1;
        let known = self.agents.get(&id).and_then(|agent| agent.tasks.get(&key)).cloned();
        if let Some(mut task) = known {
            let before = task.state;
            let told = task.forwarded.as_ref().map(|status| (status.state, status.healthy, status.check));
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
                let end = TaskStatus { state: task.state, ..update.status.clone() };
                self.count_task(&key.0, &end);
                if task.holds_resources {
                    self.release(&id, &task);
                    Arc::make_mut(&mut task).holds_resources = false;
                }
            }
            let news = (update.status.state, update.status.healthy, update.status.check);
            if told != Some(news) || before != task.state {
                self.tell_update(out, &key.0, &update.status, task.state);
            }
            if let Some(agent) = self.agents.get_mut(&id) {
                agent.tasks.insert(key.clone(), task);
            }
        }
        self.forward(&key.0, update.status, out);
    }

    pub(crate) fn tell_update(
        &self,
        out: &mut Out,
        framework_id: &FrameworkId,
        status: &TaskStatus,
        state: TaskState,
    ) {
        self.tell(out, || OperatorEvent::TaskUpdated {
            framework_id: framework_id.clone(),
            status: Box::new(status.clone()),
            state,
        });
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
            if framework.tasks.get(&key.1) == Some(id) {
                framework.tasks.remove(&key.1);
            }
            framework.completed.push_back(task);
            while framework.completed.len() > limit {
                framework.completed.pop_front();
            }
        }
    }

    /// A state as this framework knows it.
    pub(crate) fn named(&self, framework_id: &FrameworkId, state: TaskState) -> TaskState {
        let aware = |id| self.frameworks.get(id).is_some_and(|f| f.info.can(Capability::PartitionAware));
        if aware(framework_id) { state } else { without_partitions(state) }
    }

    /// Sends a status to the framework, if it listens.
    pub(crate) fn forward(&mut self, framework_id: &FrameworkId, mut status: TaskStatus, out: &mut Out) {
        let Some(framework) = self.frameworks.get(framework_id) else { return };
        let Some(conn) = framework.conn else { return };
        if !framework.info.can(Capability::PartitionAware) {
            status.state = without_partitions(status.state);
        }
        out.effect(Effect::ToScheduler { conn, event: SchedulerEvent::Update(Box::new(status)) });
    }
}
