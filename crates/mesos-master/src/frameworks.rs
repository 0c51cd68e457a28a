//! Frameworks: subscription, failover, changes of their description, and their ends.
//!
//! Nothing of a framework is durable here: it comes back with its scheduler, or is
//! known from the agents that run its tasks, for as long as it takes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::agent_api::MasterToAgent;
use model::scheduler_api::{FrameworkUpdate, FrameworkUpdateReply, SchedulerEvent};
use model::{AgentId, FrameworkId, FrameworkInfo, Reason, Role, Source, TaskId, TaskState, TaskStatus, Time};

use crate::brain::{ConnId, Deadline, Effect, Master, Out};
use crate::ledger::framework_facts;
use crate::state::{CompletedFramework, Framework};
use crate::validation;
use crate::view::OperatorEvent;

impl Master {
    pub(crate) fn subscribe(
        &mut self,
        now: Time,
        conn: ConnId,
        mut info: FrameworkInfo,
        suppressed_roles: Vec<Role>,
        out: &mut Out,
    ) {
        if info.roles.is_empty() {
            info.roles.push(Role::any());
        }
        if let Some(message) = self.subscription_problem(&info, &suppressed_roles) {
            out.effect(Effect::ToScheduler { conn, event: SchedulerEvent::Error { message } });
            out.effect(Effect::CloseScheduler { conn });
            return;
        }
        // One stream speaks for one framework.
        if self.framework_conns.get(&conn).is_some_and(|former| info.id.as_ref() != Some(former)) {
            self.scheduler_closed(now, conn, out);
        }
        let id = info.id.clone().unwrap_or_else(|| {
            let id = FrameworkId::new(format!("{}-{:04}", self.config.master_id, self.next_framework));
            self.next_framework += 1;
            id
        });
        info.id = Some(id.clone());
        self.disconnect_old_scheduler(&id, conn, out);
        let known = self.frameworks.contains_key(&id);
        let framework =
            self.frameworks.entry(id.clone()).or_insert_with(|| new_framework(id.clone(), &info, now));
        if known {
            info.user.clone_from(&framework.info.user);
            info.checkpoint = framework.info.checkpoint;
            framework.reregistered = Some(now);
        }
        if framework.recovered {
            framework.registered = now;
        }
        framework.info = Arc::new(info);
        framework.conn = Some(conn);
        framework.failover_deadline = None;
        framework.recovered = false;
        framework.suppressed = suppressed_roles.into_iter().collect();
        let facts = framework_facts(framework);
        if known {
            // A new session starts without refusals.
            self.allocator.revive(&id, &[]);
            self.allocator.update_framework(&id, facts);
        } else {
            self.allocator.add_framework(&id, facts);
        }
        self.framework_conns.insert(conn, id.clone());
        out.effect(Effect::ToScheduler {
            conn,
            event: SchedulerEvent::Subscribed { framework_id: id.clone() },
        });
        self.tell_framework(out, &id, known);
        if known {
            self.tell_agents_of(&id, out);
        }
    }

    fn subscription_problem(&self, info: &FrameworkInfo, suppressed: &[Role]) -> Option<String> {
        if let Some(problem) = validation::framework_problem(info, &self.config.limits) {
            return Some(problem);
        }
        if let Some(problem) = validation::suppressed_problem(info, suppressed) {
            return Some(problem);
        }
        if info.id.as_ref().is_some_and(|id| self.completed_ids.contains(id)) {
            return Some("Framework has been removed".to_owned());
        }
        let Some(known) = info.id.as_ref().and_then(|id| self.frameworks.get(id)) else {
            let limit = self.config.limits.frameworks_max;
            return (self.frameworks.len() >= limit)
                .then(|| format!("the master already has {limit} frameworks, its limit frameworks_max"));
        };
        (known.info.principal != info.principal)
            .then(|| "Changing framework's principal is not allowed.".to_owned())
    }

    fn disconnect_old_scheduler(&mut self, id: &FrameworkId, newer: ConnId, out: &mut Out) {
        let Some(old) = self.frameworks.get(id).and_then(|framework| framework.conn) else { return };
        self.drop_offers_of(id, false, out);
        self.framework_conns.remove(&old);
        if old != newer {
            let message = "Framework failed over".to_owned();
            out.effect(Effect::ToScheduler { conn: old, event: SchedulerEvent::Error { message } });
            out.effect(Effect::CloseScheduler { conn: old });
        }
    }

    /// Where a framework has anything: tasks, executors or operations.
    fn agents_of(&self, id: &FrameworkId) -> BTreeSet<AgentId> {
        let Some(framework) = self.frameworks.get(id) else { return BTreeSet::new() };
        let executors = framework.executors.iter().map(|(agent_id, _)| agent_id);
        let operations = framework.operations.values().map(|(agent_id, _)| agent_id);
        framework.tasks.values().chain(executors).chain(operations).cloned().collect()
    }

    /// Its agents learn how it is described now, and send what waits for its confirmation.
    fn tell_agents_of(&mut self, id: &FrameworkId, out: &mut Out) {
        let Some(info) = self.frameworks.get(id).map(|framework| framework.info.clone()) else { return };
        for agent_id in self.agents_of(id) {
            let framework = Box::new((*info).clone());
            self.order_agent(&agent_id, MasterToAgent::UpdateFramework { framework }, out);
        }
    }

    fn tell_framework(&self, out: &mut Out, id: &FrameworkId, known: bool) {
        let Some(framework) = self.frameworks.get(id) else { return };
        self.tell(out, || {
            let view = Box::new(self.framework_view(framework, None));
            if known { OperatorEvent::FrameworkUpdated(view) } else { OperatorEvent::FrameworkAdded(view) }
        });
    }

    /// UPDATE_FRAMEWORK: all or nothing.
    pub(crate) fn update_framework(
        &mut self,
        conn: ConnId,
        update: FrameworkUpdate,
        out: &mut Out,
    ) -> FrameworkUpdateReply {
        let FrameworkUpdate { info, suppressed_roles } = update;
        let mut info = *info;
        if info.roles.is_empty() {
            info.roles.push(Role::any());
        }
        let Some(id) = self.framework_conns.get(&conn).cloned() else { return FrameworkUpdateReply::Gone };
        let Some(known) = self.frameworks.get(&id).map(|framework| framework.info.clone()) else {
            return FrameworkUpdateReply::Gone;
        };
        if let Some(problem) = validation::framework_problem(&info, &self.config.limits) {
            return FrameworkUpdateReply::Invalid(format!("Supplied FrameworkInfo is not valid: {problem}"));
        }
        let fixed = if info.id.as_ref() != Some(&id) {
            Some("Updating 'FrameworkInfo.id' is unsupported")
        } else if info.principal != known.principal {
            Some("Changing framework's principal is not allowed.")
        } else if info.user != known.user {
            Some("Updating 'FrameworkInfo.user' is unsupported")
        } else if info.checkpoint != known.checkpoint {
            Some("Updating 'FrameworkInfo.checkpoint' is unsupported")
        } else {
            None
        };
        if let Some(problem) = fixed {
            return FrameworkUpdateReply::Invalid(format!("FrameworkInfo update is not valid: {problem}"));
        }
        if let Some(problem) = validation::suppressed_problem(&info, &suppressed_roles) {
            return FrameworkUpdateReply::Invalid(format!("'UpdateFramework' call is not valid: {problem}"));
        }
        let lost: Vec<Role> = known.roles.iter().filter(|role| !info.roles.contains(role)).cloned().collect();
        self.rescind_offers_to(&id, &lost, out);
        if let Some(framework) = self.frameworks.get_mut(&id) {
            framework.info = Arc::new(info);
            framework.suppressed = suppressed_roles.into_iter().collect();
            let facts = framework_facts(framework);
            self.allocator.update_framework(&id, facts);
        }
        self.tell_framework(out, &id, true);
        self.tell_agents_of(&id, out);
        FrameworkUpdateReply::Done
    }

    pub(crate) fn scheduler_closed(&mut self, now: Time, conn: ConnId, out: &mut Out) {
        let Some(id) = self.framework_conns.remove(&conn) else { return };
        self.drop_offers_of(&id, false, out);
        self.allocator.set_framework_active(&id, false);
        let Some(framework) = self.frameworks.get_mut(&id) else { return };
        framework.conn = None;
        let deadline = now + Duration::from_millis(framework.info.failover_timeout_ms);
        framework.failover_deadline = Some(deadline);
        self.deadlines.insert((deadline, Deadline::Framework(id)));
    }

    /// A framework named by a returning agent before its scheduler is back. It has no
    /// deadline: its tasks run on until it comes, or an operator ends it.
    pub(crate) fn recover_framework(&mut self, now: Time, info: FrameworkInfo, out: &mut Out) {
        let Some(id) = info.id.clone() else { return };
        if self.completed_ids.contains(&id) || self.frameworks.contains_key(&id) {
            return;
        }
        let mut framework = new_framework(id.clone(), &info, now);
        framework.recovered = true;
        self.allocator.add_framework(&id, framework_facts(&framework));
        self.frameworks.insert(id.clone(), framework);
        self.tell_framework(out, &id, false);
    }

    /// Teardown, and the end of the failover timeout: its tasks end without a word to it.
    pub(crate) fn remove_framework(&mut self, now: Time, id: &FrameworkId, out: &mut Out) {
        self.drop_offers_of(id, false, out);
        let Some(framework) = self.frameworks.get(id) else { return };
        let placed: Vec<(TaskId, AgentId)> =
            framework.tasks.iter().map(|(task, agent)| (task.clone(), agent.clone())).collect();
        let executors: Vec<_> = framework.executors.iter().cloned().collect();
        let conn = framework.conn;
        for agent_id in self.agents_of(id) {
            let message = MasterToAgent::ShutdownFramework { framework_id: id.clone() };
            self.order_agent(&agent_id, message, out);
        }
        for (task_id, agent_id) in placed {
            self.end_removed_task(now, id, task_id, &agent_id, out);
        }
        for (agent_id, executor_id) in executors {
            self.remove_executor(&agent_id, id, &executor_id);
        }
        if let Some(conn) = conn {
            self.framework_conns.remove(&conn);
            out.effect(Effect::CloseScheduler { conn });
        }
        self.allocator.remove_framework(id);
        let Some(mut framework) = self.frameworks.remove(id) else { return };
        framework.conn = None;
        framework.failover_deadline = None;
        framework.operations.clear();
        let info = framework.info.clone();
        self.tell(out, || OperatorEvent::FrameworkRemoved(info));
        self.completed_ids.insert(id.clone());
        self.completed.push_back(CompletedFramework { framework, unregistered: now });
        while self.completed.len() > self.config.limits.completed_frameworks_max {
            let Some(oldest) = self.completed.pop_front() else { break };
            self.completed_ids.remove(&oldest.framework.id);
        }
    }

    fn end_removed_task(
        &mut self,
        now: Time,
        id: &FrameworkId,
        task_id: TaskId,
        agent_id: &AgentId,
        out: &mut Out,
    ) {
        let key = (id.clone(), task_id);
        let running = self.agents.get(agent_id).and_then(|agent| agent.tasks.get(&key));
        if running.is_some_and(|task| !task.state.is_terminal())
            && let Some(task) = self.agents.get_mut(agent_id).and_then(|agent| agent.tasks.get_mut(&key))
        {
            let task = Arc::make_mut(task);
            let status = TaskStatus {
                reason: Some(Reason::FrameworkRemoved),
                message: Some("Framework removed".to_owned()),
                agent_id: Some(agent_id.clone()),
                executor_id: task.info.executor.as_ref().map(|executor| executor.id.clone()),
                ..TaskStatus::new(key.1.clone(), TaskState::Killed, now, Source::Master)
            };
            task.state = TaskState::Killed;
            task.push_status(status.clone());
            self.count_task(id, &status);
            self.tell_update(out, id, &status, TaskState::Killed);
        }
        self.complete_task(agent_id, &key);
    }

    pub(crate) fn revive(&mut self, id: &FrameworkId, roles: &[Role]) {
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        if roles.iter().any(|role| !framework.info.roles.contains(role)) {
            self.counters.calls_invalid += 1;
            return;
        }
        if roles.is_empty() {
            framework.suppressed.clear();
        } else {
            framework.suppressed.retain(|role| !roles.contains(role));
        }
        self.allocator.revive(id, roles);
    }

    pub(crate) fn suppress(&mut self, id: &FrameworkId, roles: Vec<Role>) {
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        if roles.iter().any(|role| !framework.info.roles.contains(role)) {
            self.counters.calls_invalid += 1;
            return;
        }
        self.allocator.suppress(id, &roles);
        let roles = if roles.is_empty() { framework.info.roles.clone() } else { roles };
        framework.suppressed.extend(roles);
    }
}

fn new_framework(id: FrameworkId, info: &FrameworkInfo, now: Time) -> Framework {
    Framework {
        id,
        info: Arc::new(info.clone()),
        conn: None,
        failover_deadline: None,
        registered: now,
        reregistered: None,
        recovered: false,
        suppressed: BTreeSet::new(),
        tasks: BTreeMap::new(),
        unreachable: BTreeMap::new(),
        completed: VecDeque::new(),
        offers: BTreeSet::new(),
        inverse_offers: BTreeSet::new(),
        executors: BTreeSet::new(),
        operations: BTreeMap::new(),
        counters: Arc::default(),
    }
}
