//! Reconciliation: what the master knows of a task, answered at once.

use std::cell::OnceCell;

use model::{AgentId, Capability, FrameworkId, Reason, Source, TaskId, TaskState, TaskStatus, Time};

use crate::brain::{Master, Out};
use crate::state::AgentState;

impl Master {
    pub(crate) fn reconcile(
        &mut self,
        now: Time,
        id: &FrameworkId,
        tasks: &[(TaskId, Option<AgentId>)],
        out: &mut Out,
    ) {
        let answers: Vec<TaskStatus> = if tasks.is_empty() {
            let Some(framework) = self.frameworks.get(id) else { return };
            framework.tasks.keys().filter_map(|task_id| self.known_status(now, id, task_id)).collect()
        } else {
            // All agents are looked at once, and only when it matters.
            let recovering = OnceCell::new();
            tasks
                .iter()
                .filter_map(|(task_id, agent_id)| {
                    self.answer(now, id, task_id, agent_id.as_ref(), &recovering)
                })
                .collect()
        };
        for status in answers {
            self.forward(id, status, out);
        }
    }

    fn known_status(&self, now: Time, id: &FrameworkId, task_id: &TaskId) -> Option<TaskStatus> {
        let framework = self.frameworks.get(id)?;
        let agent_id = framework.tasks.get(task_id)?;
        let task = self.agents.get(agent_id)?.tasks.get(&(id.clone(), task_id.clone()))?;
        let status = reply(now, task_id, task.state, "Latest task state", Some(agent_id.clone()));
        let executor_id = task.info.executor.as_ref().map(|executor| executor.id.clone());
        let Some(forwarded) = &task.forwarded else {
            return Some(TaskStatus { executor_id, ..status });
        };
        Some(TaskStatus {
            state: forwarded.state,
            executor_id: forwarded.executor_id.clone().or(executor_id),
            healthy: forwarded.healthy,
            check: forwarded.check,
            container: forwarded.container.clone(),
            ..status
        })
    }

    /// First matching line of the contract's table; `None` is no answer.
    fn answer(
        &self,
        now: Time,
        id: &FrameworkId,
        task_id: &TaskId,
        agent_id: Option<&AgentId>,
        recovering: &OnceCell<bool>,
    ) -> Option<TaskStatus> {
        let framework = self.frameworks.get(id)?;
        if framework.tasks.contains_key(task_id) {
            return self.known_status(now, id, task_id);
        }
        let agent_id = agent_id.cloned();
        let state = agent_id.as_ref().and_then(|agent_id| self.agents.get(agent_id)).map(|agent| agent.state);
        let is_recovering = |state: &AgentState| matches!(state, AgentState::Recovered { .. });
        let silent = match (&agent_id, &state) {
            (Some(_), Some(state)) => is_recovering(state),
            (Some(_), None) => false,
            (None, _) => {
                *recovering.get_or_init(|| self.agents.values().any(|agent| is_recovering(&agent.state)))
            }
        };
        if silent {
            return None;
        }
        let unreachable = framework.unreachable.get(task_id).map(|task| {
            let told = task.statuses.iter().rev().find_map(|status| status.unreachable_since);
            told.unwrap_or(task.launched)
        });
        let (state, text, since) = match state {
            Some(AgentState::Connected { .. } | AgentState::Disconnected { .. }) => {
                (TaskState::Gone, "Task is unknown to the agent", None)
            }
            Some(AgentState::Unreachable { since }) => {
                (TaskState::Unreachable, "Task is unreachable", Some(since))
            }
            Some(AgentState::Gone { .. }) => (TaskState::GoneByOperator, "Task is gone", None),
            Some(AgentState::Recovered { .. }) | None => match unreachable {
                Some(since) => (TaskState::Unreachable, "Task is unreachable", Some(since)),
                None => (TaskState::Unknown, "Task is unknown", None),
            },
        };
        let aware = framework.info.can(Capability::PartitionAware);
        let state = if aware { state } else { TaskState::Lost };
        Some(TaskStatus { unreachable_since: since, ..reply(now, task_id, state, text, agent_id) })
    }
}

fn reply(now: Time, task_id: &TaskId, state: TaskState, text: &str, agent_id: Option<AgentId>) -> TaskStatus {
    TaskStatus {
        reason: Some(Reason::Reconciliation),
        message: Some(format!("Reconciliation: {text}")),
        agent_id,
        ..TaskStatus::new(task_id.clone(), state, now, Source::Master)
    }
}
