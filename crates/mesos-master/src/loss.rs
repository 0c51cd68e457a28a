//! Agents that go: the stream breaks, contact is lost, they leave, are taken down,
//! or are gone for good; and the long memory of those that went.
//!
//! A loss is written down first; the frameworks hear of it after. Losses of contact
//! pass through a gate that lets so many through per minute: a network that fails for
//! a third of the cluster must not make every framework start a third of its tasks
//! anew, least of all when it is back a minute later.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use model::agent_api::MasterToAgent;
use model::scheduler_api::SchedulerEvent;
use model::{
    AgentId, Capability, FrameworkId, OperationState, Reason, Resources, Source, TaskId, TaskState,
    TaskStatus, Time,
};

use crate::brain::{ConnId, Deadline, Effect, Master, Out};
use crate::records::{AdmittedState, RecordKey, Write};
use crate::state::{AgentState, Task};
use crate::view::OperatorEvent;

/// Who waits to be marked unreachable, and when the next may be.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    waiting: VecDeque<AgentId>,
    next: Time,
}

/// Why an agent is removed from the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    Unregistered,
    Maintenance,
}

/// What the tasks of a lost agent become.
#[derive(Debug, Clone)]
struct Verdict {
    /// For frameworks that know partitions, and for all others.
    aware: (TaskState, Reason),
    other: (TaskState, Reason),
    message: String,
    unreachable_since: Option<Time>,
}

impl Master {
    /// The agent as it is now, for the store.
    pub(crate) fn store_agent(&self, id: &AgentId, out: &mut Out) {
        let Some(agent) = self.agents.get(id) else { return };
        let state = match agent.state {
            AgentState::Unreachable { since } => AdmittedState::Unreachable { since },
            AgentState::Gone { since } => AdmittedState::Gone { since },
            _ => AdmittedState::Admitted,
        };
        out.write(Write::Put(agent.record(state)));
    }

    // ---- the stream breaks

    pub(crate) fn agent_closed(&mut self, now: Time, conn: ConnId, out: &mut Out) {
        let Some(id) = self.agent_conns.get(&conn).cloned() else { return };
        self.drop_connection(&id, None, out);
        let deadline = now + Duration::from_millis(self.config.limits.agent_timeout_ms);
        let Some(agent) = self.agents.get_mut(&id) else { return };
        agent.state = AgentState::Disconnected { deadline };
        self.deadlines.insert((deadline, Deadline::Agent(id.clone())));
        self.lose_uncheckpointed(now, &id, out);
    }

    /// Tasks of frameworks without checkpoints do not outlive the agent's process, and
    /// nobody can know whether it ended: they count as lost at once.
    fn lose_uncheckpointed(&mut self, now: Time, id: &AgentId, out: &mut Out) {
        let Some(agent) = self.agents.get(id) else { return };
        let volatile = |framework_id: &FrameworkId| {
            self.frameworks.get(framework_id).is_some_and(|framework| !framework.info.checkpoint)
        };
        let tasks: Vec<(FrameworkId, TaskId)> =
            agent.tasks.keys().filter(|(framework_id, _)| volatile(framework_id)).cloned().collect();
        let executors: Vec<_> =
            agent.executors.keys().filter(|(framework_id, _)| volatile(framework_id)).cloned().collect();
        let lost = (TaskState::Lost, Reason::AgentDisconnected);
        let verdict = Verdict {
            aware: lost,
            other: lost,
            message: format!("Agent {} disconnected", agent.info.hostname),
            unreachable_since: None,
        };
        for key in tasks {
            self.lose_task(now, id, &key, &verdict, out);
        }
        for (framework_id, executor_id) in executors {
            self.remove_executor(id, &framework_id, &executor_id);
        }
    }

    // ---- contact is lost

    /// The agent's time is up: it is marked unreachable when the gate lets it through.
    pub(crate) fn agent_due(&mut self, now: Time, id: &AgentId, out: &mut Out) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        if agent.loss_queued {
            return;
        }
        agent.loss_queued = true;
        self.counters.unreachable_scheduled += 1;
        self.gate.waiting.push_back(id.clone());
        self.open_gate(now, out);
    }

    /// Lets through who may pass by now.
    pub(crate) fn open_gate(&mut self, now: Time, out: &mut Out) {
        let limits = &self.config.limits;
        let apart = match limits.agent_removals_max {
            0 => Duration::ZERO,
            count => Duration::from_millis(limits.agent_removal_interval_ms) / count,
        };
        while let Some(id) = self.gate.waiting.front().cloned() {
            let waits = self.agents.get(&id).is_some_and(|agent| agent.loss_queued);
            if !waits {
                self.gate.waiting.pop_front();
                continue;
            }
            if now < self.gate.next {
                self.deadlines.insert((self.gate.next, Deadline::Gate));
                return;
            }
            self.gate.waiting.pop_front();
            self.gate.next = now + apart;
            self.counters.unreachable_completed += 1;
            self.agent_unreachable(now, &id, out);
        }
    }

    /// A returning agent needs no permit any more.
    pub(crate) fn cancel_loss(&mut self, id: &AgentId) {
        if let Some(agent) = self.agents.get_mut(id)
            && std::mem::take(&mut agent.loss_queued)
        {
            self.counters.unreachable_canceled += 1;
        }
    }

    fn agent_unreachable(&mut self, now: Time, id: &AgentId, out: &mut Out) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        let recovered = matches!(agent.state, AgentState::Recovered { .. });
        agent.loss_queued = false;
        if !agent.is_past() {
            self.past_agents += 1;
        }
        agent.state = AgentState::Unreachable { since: now };
        agent.offered = Resources::new();
        let hostname = agent.info.hostname.clone();
        self.store_agent(id, out);
        let counters = &mut self.counters;
        counters.agents_unreachable += 1;
        counters.agent_removals += 1;
        counters.agent_removals_unhealthy += 1;
        if recovered {
            counters.recovery_agent_removals += 1;
        }
        let verdict = Verdict {
            aware: (TaskState::Unreachable, Reason::AgentRemoved),
            other: (TaskState::Lost, Reason::AgentRemoved),
            message: format!("Agent {hostname} is unreachable: no contact within the agent timeout"),
            unreachable_since: Some(now),
        };
        self.lose_all(now, id, &verdict, OperationState::Unreachable, out);
        if !recovered {
            self.tell(out, || OperatorEvent::AgentRemoved(id.clone()));
        }
        self.tell_failure(id, out);
    }

    /// After a failover: all agents whose time is up at once, none when they are too many.
    pub(crate) fn recovery_ends(&mut self, now: Time, out: &mut Out) {
        let missing: Vec<AgentId> = self
            .agents
            .values()
            .filter(|agent| matches!(agent.state, AgentState::Recovered { .. }))
            .map(|agent| agent.id.clone())
            .collect();
        let percent = usize::from(self.config.limits.recovery_agent_removals_max_percent);
        if missing.len() * 100 > self.recovered_at_start * percent {
            let (count, all) = (missing.len(), self.recovered_at_start);
            out.effect(Effect::Fail(format!(
                "{count} of {all} agents known from before this term have not come back, more than the {percent} % \
                 that may be given up at once (recovery_agent_removals_max_percent); look at the network between \
                 masters and agents, or raise the limit"
            )));
            return;
        }
        for id in missing {
            self.agent_due(now, &id, out);
        }
    }

    // ---- gone, or removed

    /// By the operator's word: it may never come back.
    pub(crate) fn agent_gone(&mut self, now: Time, id: &AgentId, out: &mut Out) {
        let Some(agent) = self.agents.get(id) else { return };
        let (listed, conn) = (agent.is_registered(), agent.conn());
        if let Some(conn) = conn {
            let message = "Agent has been marked gone".to_owned();
            out.effect(Effect::ToAgent { conn, message: MasterToAgent::Shutdown { message } });
        }
        self.drop_connection(id, None, out);
        self.cancel_loss(id);
        self.draining.remove(id);
        if let Some(agent) = self.agents.get_mut(id) {
            if !agent.is_past() {
                self.past_agents += 1;
            }
            agent.state = AgentState::Gone { since: now };
            agent.offered = Resources::new();
            agent.deactivated = false;
            agent.drain = None;
        }
        self.store_agent(id, out);
        self.counters.agent_removals += 1;
        let verdict = Verdict {
            aware: (TaskState::GoneByOperator, Reason::AgentRemovedByOperator),
            other: (TaskState::Lost, Reason::AgentRemoved),
            message: "Agent has been marked gone".to_owned(),
            unreachable_since: None,
        };
        self.lose_all(now, id, &verdict, OperationState::GoneByOperator, out);
        self.settle_unreachable_tasks(now, id, &verdict, out);
        if listed {
            self.tell(out, || OperatorEvent::AgentRemoved(id.clone()));
        }
        self.tell_failure(id, out);
    }

    /// It leaves by its own will, or its machine is taken down: nothing is kept of it.
    pub(crate) fn remove_agent(&mut self, now: Time, id: &AgentId, why: Removal, cause: &str, out: &mut Out) {
        let Some(agent) = self.agents.get(id) else { return };
        let hostname = agent.info.hostname.clone();
        self.drop_connection(id, None, out);
        self.cancel_loss(id);
        self.draining.remove(id);
        out.write(Write::Remove(RecordKey::Agent(id.clone())));
        self.counters.agent_removals += 1;
        if why == Removal::Unregistered {
            self.counters.agent_removals_unregistered += 1;
        }
        let lost = (TaskState::Lost, Reason::AgentRemoved);
        let verdict = Verdict {
            aware: lost,
            other: lost,
            message: format!("Agent {hostname} removed: {cause}"),
            unreachable_since: None,
        };
        self.lose_all(now, id, &verdict, OperationState::Unreachable, out);
        if self.agents.remove(id).is_some_and(|agent| agent.is_past()) {
            self.past_agents = self.past_agents.saturating_sub(1);
        }
        self.tell(out, || OperatorEvent::AgentRemoved(id.clone()));
        self.tell_failure(id, out);
    }

    /// The agent leaves by its own will.
    pub(crate) fn unregister_agent(&mut self, now: Time, conn: ConnId, out: &mut Out) {
        let Some(id) = self.agent_conns.get(&conn).cloned() else { return };
        self.remove_agent(now, &id, Removal::Unregistered, "the agent unregistered", out);
    }

    // ---- what hangs on an agent

    fn lose_all(
        &mut self,
        now: Time,
        id: &AgentId,
        verdict: &Verdict,
        operations: OperationState,
        out: &mut Out,
    ) {
        self.allocator.remove_agent(id);
        let tasks: Vec<(FrameworkId, TaskId)> =
            self.agents.get(id).map(|agent| agent.tasks.keys().cloned().collect()).unwrap_or_default();
        for key in tasks {
            self.lose_task(now, id, &key, verdict, out);
        }
        self.drop_executors(id);
        self.operations_lost(id, operations, out);
        if let Some(agent) = self.agents.get_mut(id) {
            agent.inverse_answers.clear();
        }
    }

    fn lose_task(
        &mut self,
        now: Time,
        id: &AgentId,
        key: &(FrameworkId, TaskId),
        verdict: &Verdict,
        out: &mut Out,
    ) {
        let Some(mut task) = self.agents.get(id).and_then(|agent| agent.tasks.get(key)).cloned() else {
            return;
        };
        if task.state.is_terminal() {
            self.complete_task(id, key);
            return;
        }
        if task.holds_resources {
            self.release(id, &task);
        }
        if let Some(agent) = self.agents.get_mut(id) {
            agent.tasks.remove(key);
        }
        let status = self.loss_status(now, id, &task, verdict);
        self.count_task(&key.0, &status);
        close(&mut task, &status);
        let event = OperatorEvent::TaskUpdated {
            framework_id: key.0.clone(),
            status: Box::new(status.clone()),
            state: status.state,
        };
        let limits = &self.config.limits;
        let (unreachable_max, completed_max) = (limits.unreachable_tasks_max, limits.completed_tasks_max);
        if let Some(framework) = self.frameworks.get_mut(&key.0) {
            framework.tasks.remove(&key.1);
            // A task of an unreachable agent may come back, whatever its framework was told.
            if verdict.unreachable_since.is_some() {
                framework.unreachable.insert(key.1.clone(), task);
                while framework.unreachable.len() > unreachable_max {
                    framework.unreachable.pop_first();
                }
            } else {
                framework.completed.push_back(task);
                while framework.completed.len() > completed_max {
                    framework.completed.pop_front();
                }
            }
        }
        self.forward(&key.0, status, out);
        self.tell(out, || event);
    }

    fn loss_status(&self, now: Time, id: &AgentId, task: &Task, verdict: &Verdict) -> TaskStatus {
        let framework = self.frameworks.get(&task.framework_id);
        let aware = framework.is_some_and(|framework| framework.info.can(Capability::PartitionAware));
        let (state, reason) = if aware { verdict.aware } else { verdict.other };
        let executor_id = task.info.executor.as_ref().map(|executor| executor.id.clone());
        TaskStatus {
            reason: Some(reason),
            message: Some(verdict.message.clone()),
            agent_id: Some(id.clone()),
            executor_id,
            unreachable_since: verdict.unreachable_since,
            ..TaskStatus::new(task.info.id.clone(), state, now, Source::Master)
        }
    }

    /// Tasks that were unreachable are not coming back: their agent is gone.
    fn settle_unreachable_tasks(&mut self, now: Time, id: &AgentId, verdict: &Verdict, out: &mut Out) {
        let mut found = Vec::new();
        for framework in self.frameworks.values() {
            let here = framework.unreachable.values().filter(|task| task.info.agent_id == *id);
            found.extend(here.map(|task| (framework.id.clone(), task.info.id.clone())));
        }
        let completed_max = self.config.limits.completed_tasks_max;
        for (framework_id, task_id) in found {
            let Some(framework) = self.frameworks.get_mut(&framework_id) else { continue };
            let Some(mut task) = framework.unreachable.remove(&task_id) else { continue };
            let status = self.loss_status(now, id, &task, verdict);
            self.count_task(&framework_id, &status);
            close(&mut task, &status);
            if let Some(framework) = self.frameworks.get_mut(&framework_id) {
                framework.completed.push_back(task);
                while framework.completed.len() > completed_max {
                    framework.completed.pop_front();
                }
            }
            let event = OperatorEvent::TaskUpdated {
                framework_id: framework_id.clone(),
                status: Box::new(status.clone()),
                state: status.state,
            };
            self.forward(&framework_id, status, out);
            self.tell(out, || event);
        }
    }

    /// All connected frameworks hear of a lost agent, whether they have tasks there or not.
    fn tell_failure(&self, id: &AgentId, out: &mut Out) {
        for conn in self.frameworks.values().filter_map(|framework| framework.conn) {
            let event = SchedulerEvent::Failure { agent_id: id.clone(), executor: None };
            out.effect(Effect::ToScheduler { conn, event });
        }
    }

    // ---- the long memory

    /// Forgets unreachable and gone agents that are too old, and the oldest of too many.
    pub(crate) fn collect_garbage(&mut self, now: Time, out: &mut Out) {
        let (age, most, every) = {
            let limits = &self.config.limits;
            let millis = Duration::from_millis;
            (
                millis(limits.registry_age_max_ms),
                limits.registry_agents_max,
                millis(limits.registry_gc_interval_ms),
            )
        };
        self.deadlines.insert((now + every, Deadline::RegistryGc));
        let mut unreachable = Vec::new();
        let mut gone = Vec::new();
        for agent in self.agents.values() {
            match agent.state {
                AgentState::Unreachable { since } => unreachable.push((since, agent.id.clone())),
                AgentState::Gone { since } => gone.push((since, agent.id.clone())),
                _ => {}
            }
        }
        let mut left = crate::brain::REGISTRY_GC_STEP_MAX;
        for mut list in [unreachable, gone] {
            list.sort();
            let beyond = list.len().saturating_sub(most);
            for (place, (since, id)) in list.into_iter().enumerate() {
                let old = now.since(since) > age;
                if left == 0 || !(old || place < beyond) {
                    break;
                }
                left -= 1;
                self.draining.remove(&id);
                self.agents.remove(&id);
                self.past_agents = self.past_agents.saturating_sub(1);
                out.write(Write::Remove(RecordKey::Agent(id)));
            }
        }
    }
}

/// Writes the last word down in the task.
fn close(task: &mut Arc<Task>, status: &TaskStatus) {
    let task: &mut Task = Arc::make_mut(task);
    task.holds_resources = false;
    task.state = status.state;
    task.unacknowledged = None;
    task.push_status(status.clone());
    task.forwarded = Some(status.clone());
}
