//! Reconciliation: what the master knows of a task, answered at once.

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
            tasks
                .iter()
                .filter_map(|(task_id, agent_id)| self.answer(now, id, task_id, agent_id.as_ref()))
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
        let mut status = reply(now, task_id, task.state, "Latest task state", Some(agent_id.clone()));
        if let Some(forwarded) = &task.forwarded {
            status.state = forwarded.state;
            status.container = forwarded.container.clone();
        }
        Some(status)
    }

    /// First matching line of the contract's table; `None` is no answer.
    fn answer(
        &self,
        now: Time,
        id: &FrameworkId,
        task_id: &TaskId,
        agent_id: Option<&AgentId>,
    ) -> Option<TaskStatus> {
        let framework = self.frameworks.get(id)?;
        if framework.tasks.contains_key(task_id) {
            return self.known_status(now, id, task_id);
        }
        let agent_id = agent_id.cloned();
        let state = agent_id.as_ref().and_then(|agent_id| self.agents.get(agent_id)).map(|agent| agent.state);
        let recovering = |state: &AgentState| matches!(state, AgentState::Recovered { .. });
        let silent = match (&agent_id, &state) {
            (Some(_), Some(state)) => recovering(state),
            (Some(_), None) => false,
            (None, _) => self.agents.values().any(|agent| recovering(&agent.state)),
        };
        if silent {
            return None;
        }
        let (aware_state, text) = match state {
            Some(AgentState::Connected { .. } | AgentState::Disconnected { .. }) => {
                (TaskState::Gone, "Task is unknown to the agent")
            }
            Some(AgentState::Unreachable { .. }) => (TaskState::Unreachable, "Task is unreachable"),
            Some(AgentState::Gone { .. }) => (TaskState::GoneByOperator, "Task is gone"),
            Some(AgentState::Recovered { .. }) | None => match framework.unreachable.contains_key(task_id) {
                true => (TaskState::Unreachable, "Task is unreachable"),
                false => (TaskState::Unknown, "Task is unknown"),
            },
        };
        let state =
            if framework.info.can(Capability::PartitionAware) { aware_state } else { TaskState::Lost };
        Some(reply(now, task_id, state, text, agent_id))
    }
}

fn reply(now: Time, task_id: &TaskId, state: TaskState, text: &str, agent_id: Option<AgentId>) -> TaskStatus {
    TaskStatus {
        task_id: task_id.clone(),
        state,
        timestamp: now,
        source: Source::Master,
        reason: Some(Reason::Reconciliation),
        message: Some(format!("Reconciliation: {text}")),
        agent_id,
        uuid: None,
        container: None,
        check: None,
        data: None,
        executor_id: None,
        healthy: None,
        labels: Vec::new(),
        limitation: None,
        unreachable_since: None,
    }
}
