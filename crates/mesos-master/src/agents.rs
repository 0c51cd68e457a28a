//! Agents that come: who is let in, and how both sides' lists are brought together.
//! How they go is in [`crate::loss`].

use std::collections::BTreeSet;
use std::sync::Arc;

use model::agent_api::{MasterToAgent, Registration};
use model::scheduler_api::TaskRecord;
use model::{AgentId, AgentInfo, DrainConfig, DrainState, Reason, Role, Source, TaskStatus, Time};

use crate::brain::{AGENT_ID_LENGTH_MAX, ConnId, Effect, Master, Out};
use crate::ledger::{Claim, agent_facts};
use crate::records::{AdmittedState, Write};
use crate::snapshot::agent_view;
use crate::state::{Agent, AgentState, Task};
use crate::view::OperatorEvent;

/// The oldest version of an agent that is let in.
const VERSION_MIN: (u64, u64) = (1, 0);

/// Major and minor number of a version such as `1.7.3`.
fn version_of(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split(['.', '-', '+']);
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

/// Why an agent's description cannot be taken.
fn agent_problem(info: &AgentInfo, master_has_domain: bool) -> Option<String> {
    if let Some(id) = info.id.as_ref().map(AgentId::as_str) {
        let unusable = id.is_empty()
            || id.len() > AGENT_ID_LENGTH_MAX
            || id.contains(|c: char| c.is_control() || c == '/');
        if unusable {
            return Some(format!(
                "agent id {id:?} is not one: 1 to {AGENT_ID_LENGTH_MAX} bytes without slash or control"
            ));
        }
    }
    let (major, minor) = VERSION_MIN;
    match version_of(&info.version) {
        Some(version) if version >= VERSION_MIN => {}
        Some(_) => {
            return Some(format!(
                "the agent's version is {}, the minimum supported one is {major}.{minor}.0; upgrade the agent",
                info.version
            ));
        }
        None => {
            return Some(format!(
                "the agent's version {:?} is none; at least {major}.{minor}.0 is needed",
                info.version
            ));
        }
    }
    if let (Some(domain), false) = (&info.domain, master_has_domain) {
        return Some(format!(
            "the agent is in fault domain {}/{}, but the master has none configured and cannot tell whether that \
             is remote; give the masters a domain, or none to the agent",
            domain.region, domain.zone
        ));
    }
    None
}

impl Master {
    pub(crate) fn register_agent(
        &mut self,
        now: Time,
        conn: ConnId,
        registration: Registration,
        out: &mut Out,
    ) {
        let Registration { mut info, frameworks, executors, tasks, operations, drain } = registration;
        if let Some(problem) = agent_problem(&info, self.config.domain.is_some()) {
            out.effect(Effect::CloseAgent { conn, reason: problem });
            return;
        }
        if self.is_machine_down(&info) {
            self.refuse_for_maintenance(conn, &info, out);
            return;
        }
        let Some(id) = self.choose_agent_id(&info) else {
            let limit = self.config.limits.agents_max;
            let reason = format!("the master already has {limit} agents, its limit agents_max");
            out.effect(Effect::CloseAgent { conn, reason });
            return;
        };
        if self.agents.get(&id).is_some_and(|agent| matches!(agent.state, AgentState::Gone { .. })) {
            let message =
                format!("agent {id} was marked gone; wipe its work directory to join as a new agent");
            out.effect(Effect::ToAgent {
                conn,
                message: MasterToAgent::Shutdown { message: message.clone() },
            });
            out.effect(Effect::CloseAgent { conn, reason: message });
            return;
        }
        info.id = Some(id.clone());
        self.admit(now, conn, &id, info, out);
        for framework in frameworks {
            self.recover_framework(now, framework, out);
        }
        out.effect(Effect::ToAgent { conn, message: MasterToAgent::Registered { agent_id: id.clone() } });
        let event_place = out.effects.len();
        self.merge_executors(conn, &id, executors, out);
        self.merge_tasks(now, conn, &id, tasks, out);
        self.merge_operations(conn, &id, operations, out);
        self.merge_drain(conn, &id, drain, out);
        if let Some(agent) = self.agents.get(&id).filter(|_| self.watched) {
            // It shows what the agent holds, and stands before the events of its tasks.
            let event = OperatorEvent::AgentAdded(Box::new(agent_view(agent)));
            out.effects.insert(event_place, Effect::Event(Arc::new(event)));
        }
        self.agent_facts_changed(&id);
    }

    /// The machine is down until an operator brings it up.
    fn refuse_for_maintenance(&mut self, conn: ConnId, info: &AgentInfo, out: &mut Out) {
        let reason = "Machine is `DOWN`".to_owned();
        // One that has an id may still run tasks, which were declared lost.
        if info.id.is_some() {
            let message = MasterToAgent::Shutdown { message: reason.clone() };
            out.effect(Effect::ToAgent { conn, message });
        }
        out.effect(Effect::CloseAgent { conn, reason });
    }

    /// The order to drain may have been missed, or its end.
    fn merge_drain(&mut self, conn: ConnId, id: &AgentId, told: Option<DrainConfig>, out: &mut Out) {
        match self.agents.get(id).and_then(|agent| agent.drain) {
            Some(drain) if drain.state == DrainState::Draining => {
                self.draining.insert(id.clone());
                let message = MasterToAgent::Drain { config: drain.config };
                out.effect(Effect::ToAgent { conn, message });
            }
            Some(_) => {}
            None if told.is_some() => {
                out.effect(Effect::ToAgent { conn, message: MasterToAgent::Reactivate });
            }
            None => {}
        }
    }

    /// The id the agent names, that of the agent at the same address, or a new one;
    /// `None` at the limit.
    pub(crate) fn choose_agent_id(&mut self, info: &AgentInfo) -> Option<AgentId> {
        let full = self.agents.len().saturating_sub(self.past_agents) >= self.config.limits.agents_max;
        if let Some(id) = &info.id {
            return (!full || self.agents.contains_key(id)).then(|| id.clone());
        }
        // Only one process has this address: an agent that lost its id, or never heard it.
        // What ran there before is not in its registration, and is settled by that.
        let same_place = |agent: &&Agent| {
            agent.info.hostname == info.hostname
                && agent.info.ip == info.ip
                && agent.info.port == info.port
                && !matches!(agent.state, AgentState::Gone { .. })
        };
        if let Some(agent) = self.agents.values().find(same_place) {
            return Some(agent.id.clone());
        }
        if full {
            return None;
        }
        let id = AgentId::new(format!("{}-S{}", self.config.master_id, self.next_agent));
        self.next_agent += 1;
        Some(id)
    }

    /// Makes the agent connected by this stream and durable as admitted.
    pub(crate) fn admit(&mut self, now: Time, conn: ConnId, id: &AgentId, info: AgentInfo, out: &mut Out) {
        // One stream speaks for one agent.
        if self.agent_conns.get(&conn).is_some_and(|former| former != id) {
            self.agent_closed(now, conn, out);
        }
        let known = self.agents.contains_key(id);
        if known {
            self.counters.agent_reregistrations += 1;
        } else {
            self.counters.agent_registrations += 1;
        }
        self.drop_connection(id, Some(conn), out);
        self.cancel_loss(id);
        let info = Arc::new(info);
        let agent = self.agents.entry(id.clone()).or_insert_with(|| {
            Agent::new(id.clone(), info.clone(), AgentState::Recovered { deadline: now }, now)
        });
        let durable = known
            && agent.info == info
            && matches!(
                agent.state,
                AgentState::Recovered { .. } | AgentState::Connected { .. } | AgentState::Disconnected { .. }
            );
        if known {
            agent.reregistered = Some(now);
        }
        if agent.is_past() {
            self.past_agents = self.past_agents.saturating_sub(1);
        }
        let present = known && matches!(agent.state, AgentState::Disconnected { .. });
        let moved = agent.info.attributes != info.attributes;
        agent.info = info;
        agent.state = AgentState::Connected { conn };
        agent.unavailability = None;
        let facts = agent_facts(agent);
        if !durable {
            let record = agent.record(AdmittedState::Admitted);
            out.write(Write::Put(record));
        }
        if present {
            self.allocator.update_agent(id, facts);
        } else {
            self.allocator.add_agent(id, facts);
        }
        if moved {
            self.allocator.clear_agent_filters(id);
        }
        self.agent_conns.insert(conn, id.clone());
    }

    /// Ends the bond of an agent to its present stream, if any; its offers go.
    pub(crate) fn drop_connection(&mut self, id: &AgentId, newer: Option<ConnId>, out: &mut Out) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        let AgentState::Connected { conn } = agent.state else { return };
        agent.state = AgentState::Disconnected { deadline: Time::MAX };
        self.allocator.set_agent_active(id, false);
        self.agent_conns.remove(&conn);
        if newer.is_some_and(|newer| newer != conn) {
            let reason = "the agent opened a newer stream".to_owned();
            out.effect(Effect::CloseAgent { conn, reason });
        }
        self.rescind_all_of(id, out);
    }

    /// Brings the master's and the agent's lists of tasks together.
    pub(crate) fn merge_tasks(
        &mut self,
        now: Time,
        conn: ConnId,
        id: &AgentId,
        reported: Vec<TaskRecord>,
        out: &mut Out,
    ) {
        let mut named = BTreeSet::new();
        for record in reported {
            let key = (record.framework_id.clone(), record.info.id.clone());
            if !self.frameworks.contains_key(&key.0) {
                let message = MasterToAgent::ShutdownFramework { framework_id: key.0.clone() };
                out.effect(Effect::ToAgent { conn, message });
                continue;
            }
            if self.is_superseded(id, &record) {
                let (framework_id, task_id) = key;
                let message = MasterToAgent::KillTask { framework_id, task_id, kill_policy: None };
                out.effect(Effect::ToAgent { conn, message });
                continue;
            }
            named.insert(key);
            self.merge_task(now, id, record, out);
        }
        let Some(agent) = self.agents.get(id) else { return };
        let mut missing = Vec::new();
        let mut ended = Vec::new();
        let mut kills = Vec::new();
        for (key, task) in &agent.tasks {
            if !named.contains(key) {
                if task.state.is_terminal() { ended.push(key.clone()) } else { missing.push(key.clone()) }
            } else if let Some(policy) = task.kill_wanted {
                kills.push((key.clone(), policy));
            }
        }
        for key in ended {
            self.complete_task(id, &key);
        }
        // What the agent does not know runs nowhere: the order to run it never arrived.
        for key in &missing {
            let known = self.agents.get(id).and_then(|agent| agent.tasks.get(key)).cloned();
            if let Some(task) = known {
                self.place_task(id, key.clone(), task, Claim::Nothing);
            }
        }
        for ((framework_id, task_id), kill_policy) in kills {
            let message = MasterToAgent::KillTask { framework_id, task_id, kill_policy };
            out.effect(Effect::ToAgent { conn, message });
        }
        if !missing.is_empty() {
            out.effect(Effect::ToAgent { conn, message: MasterToAgent::Reconcile { tasks: missing } });
        }
    }

    /// Whether a returning task has no place any more: its framework runs another under
    /// this id, or was told that it is lost because it does not checkpoint.
    fn is_superseded(&self, id: &AgentId, record: &TaskRecord) -> bool {
        let Some(framework) = self.frameworks.get(&record.framework_id) else { return false };
        match framework.tasks.get(&record.info.id) {
            Some(place) => place != id,
            None => {
                !framework.info.checkpoint
                    && !record.state.is_terminal()
                    && !framework.unreachable.contains_key(&record.info.id)
                    && framework.completed.iter().any(|task| task.info.id == record.info.id)
            }
        }
    }

    pub(crate) fn merge_task(&mut self, now: Time, id: &AgentId, record: TaskRecord, out: &mut Out) {
        let key = (record.framework_id.clone(), record.info.id.clone());
        let Some(framework) = self.frameworks.get_mut(&key.0) else { return };
        let was_unreachable = framework.unreachable.remove(&key.1);
        let executor_id = record.info.executor.as_ref().map(|executor| executor.id.clone());
        let first = || framework.info.roles.first().cloned().unwrap_or_else(Role::any);
        let role = record.role.clone().unwrap_or_else(first);
        let known = self.agents.get(id).and_then(|agent| agent.tasks.get(&key)).cloned();
        // Its framework may have given it up meanwhile, or asked for it in vain.
        let news = known.is_none();
        let returned = was_unreachable.is_some();
        let mut task = known.or(was_unreachable).unwrap_or_else(|| {
            Arc::new(Task {
                framework_id: key.0.clone(),
                info: record.info.clone(),
                role,
                state: record.state,
                statuses: record.statuses.clone(),
                forwarded: record.statuses.last().cloned(),
                unacknowledged: None,
                kill_wanted: None,
                holds_resources: false,
                launched: now,
            })
        });
        {
            let task = Arc::make_mut(&mut task);
            task.state = record.state;
            task.statuses = record.statuses;
            if returned {
                // What was told last, that it is unreachable, is no longer so: a framework
                // that is away now must not hear it when it asks.
                task.forwarded = None;
            }
        }
        let claim = if record.state.is_terminal() { Claim::Nothing } else { Claim::New };
        self.place_task(id, key.clone(), task, claim);
        if news {
            if let Some(task) = self.agents.get(id).and_then(|agent| agent.tasks.get(&key)) {
                self.tell(out, || OperatorEvent::TaskAdded(task.clone()));
            }
            let text = if returned { "Unreachable agent re-registered" } else { "Agent re-registered" };
            let status = TaskStatus {
                reason: Some(Reason::AgentReregistered),
                message: Some(text.to_owned()),
                agent_id: Some(id.clone()),
                executor_id,
                ..TaskStatus::new(key.1.clone(), record.state, now, Source::Master)
            };
            self.forward(&key.0, status, out);
        }
    }
}
