//! The scheduler's side: subscription, failover, teardown, and its calls.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::agent_api::MasterToAgent;
use model::scheduler_api::{SchedulerCall, SchedulerEvent};
use model::{
    AgentId, FrameworkId, FrameworkInfo, KillPolicy, OfferId, OperationKind, Reason, Role, TaskId, TaskState,
    Time, UpdateId,
};

use crate::brain::{ConnId, Deadline, Effect, Master, Out};
use crate::state::{CompletedFramework, Framework, Task};

impl Master {
    pub(crate) fn scheduler_call(&mut self, now: Time, conn: ConnId, call: SchedulerCall, out: &mut Out) {
        if let SchedulerCall::Subscribe { info, suppressed_roles } = call {
            self.subscribe(now, conn, *info, suppressed_roles, out);
            return;
        }
        let Some(id) = self.framework_conns.get(&conn).cloned() else {
            self.counters.calls_invalid += 1;
            return;
        };
        match call {
            SchedulerCall::Subscribe { .. } => {}
            SchedulerCall::Accept { offer_ids, operations, refuse_ms } => {
                self.counters.calls_accept += 1;
                let tasks = operations
                    .into_iter()
                    .filter_map(|operation| match operation.kind {
                        OperationKind::Launch { tasks } => Some(tasks),
                        _ => None,
                    })
                    .flatten()
                    .map(|task| task.info)
                    .collect();
                self.accept(now, &id, offer_ids, tasks, refuse_ms, out);
            }
            SchedulerCall::Decline { offer_ids, refuse_ms } => {
                self.counters.calls_decline += 1;
                self.decline(now, &id, &offer_ids, refuse_ms, out);
            }
            SchedulerCall::Revive { roles } => {
                self.counters.calls_revive += 1;
                self.revive(&id, &roles);
            }
            SchedulerCall::Suppress { roles } => {
                self.counters.calls_suppress += 1;
                self.suppress(&id, roles);
            }
            SchedulerCall::Kill { task_id, agent_id, kill_policy } => {
                self.counters.calls_kill += 1;
                self.kill(now, &id, task_id, agent_id, kill_policy, out);
            }
            SchedulerCall::Acknowledge { agent_id, task_id, uuid } => {
                self.acknowledge(&id, &agent_id, task_id, uuid, out);
            }
            SchedulerCall::Reconcile { tasks } => {
                self.counters.calls_reconcile += 1;
                self.reconcile(now, &id, &tasks, out);
            }
            SchedulerCall::ReconcileOperations { .. }
            | SchedulerCall::AcknowledgeOperation { .. }
            | SchedulerCall::AcceptInverseOffers { .. }
            | SchedulerCall::DeclineInverseOffers { .. }
            | SchedulerCall::ShutdownExecutor { .. }
            | SchedulerCall::Message { .. }
            | SchedulerCall::Request => {}
            SchedulerCall::Teardown => self.remove_framework(now, &id, out),
        }
    }

    fn subscribe(
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
        let refused = match &info.id {
            Some(id) if self.completed.iter().any(|done| done.framework.id == *id) => {
                Some("Framework has been removed".to_owned())
            }
            None if self.frameworks.len() >= self.config.limits.frameworks_max => {
                let limit = self.config.limits.frameworks_max;
                Some(format!("the master already has {limit} frameworks, its limit frameworks_max"))
            }
            _ => None,
        };
        if let Some(message) = refused {
            out.effect(Effect::ToScheduler { conn, event: SchedulerEvent::Error { message } });
            out.effect(Effect::CloseScheduler { conn });
            return;
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
            framework.reregistered = Some(now);
        }
        framework.info = Arc::new(info);
        framework.conn = Some(conn);
        framework.failover_deadline = None;
        framework.recovered = false;
        framework.suppressed = suppressed_roles.into_iter().collect();
        framework.filters.clear();
        self.framework_conns.insert(conn, id.clone());
        out.effect(Effect::ToScheduler {
            conn,
            event: SchedulerEvent::Subscribed { framework_id: id.clone() },
        });
        self.resend_unacknowledged(&id, out);
        self.dirty_all();
    }

    fn disconnect_old_scheduler(&mut self, id: &FrameworkId, newer: ConnId, out: &mut Out) {
        let Some(old) = self.frameworks.get(id).and_then(|framework| framework.conn) else { return };
        self.drop_offers_of(id, out);
        self.framework_conns.remove(&old);
        if old != newer {
            let message = "Framework failed over".to_owned();
            out.effect(Effect::ToScheduler { conn: old, event: SchedulerEvent::Error { message } });
            out.effect(Effect::CloseScheduler { conn: old });
        }
    }

    fn resend_unacknowledged(&mut self, id: &FrameworkId, out: &mut Out) {
        let Some(framework) = self.frameworks.get(id) else { return };
        let waiting: Vec<_> = framework
            .tasks
            .iter()
            .filter_map(|(task_id, agent_id)| {
                self.agents.get(agent_id)?.tasks.get(&(id.clone(), task_id.clone()))?.unacknowledged.clone()
            })
            .collect();
        for status in waiting {
            self.forward(id, status, out);
        }
    }

    pub(crate) fn dirty_all(&mut self) {
        let connected = self.agents.values().filter(|agent| agent.conn().is_some());
        let ids: Vec<AgentId> = connected.map(|agent| agent.id.clone()).collect();
        self.dirty.extend(ids);
    }

    fn drop_offers_of(&mut self, id: &FrameworkId, out: &mut Out) {
        let offers: Vec<OfferId> = self
            .frameworks
            .get(id)
            .map(|framework| framework.offers.iter().cloned().collect())
            .unwrap_or_default();
        for offer in offers {
            self.remove_offer(&offer, false, out);
        }
    }

    pub(crate) fn scheduler_closed(&mut self, now: Time, conn: ConnId, out: &mut Out) {
        let Some(id) = self.framework_conns.remove(&conn) else { return };
        self.drop_offers_of(&id, out);
        let Some(framework) = self.frameworks.get_mut(&id) else { return };
        framework.conn = None;
        let deadline = now + Duration::from_millis(framework.info.failover_timeout_ms);
        framework.failover_deadline = Some(deadline);
        self.deadlines.insert((deadline, Deadline::Framework(id)));
    }

    /// A framework named by a returning agent before its scheduler is back.
    pub(crate) fn recover_framework(&mut self, now: Time, info: FrameworkInfo) {
        let Some(id) = info.id.clone() else { return };
        let ended = self.completed.iter().any(|done| done.framework.id == id);
        if ended || self.frameworks.contains_key(&id) {
            return;
        }
        let mut framework = new_framework(id.clone(), &info, now);
        framework.recovered = true;
        let deadline = now + Duration::from_millis(info.failover_timeout_ms);
        framework.failover_deadline = Some(deadline);
        self.deadlines.insert((deadline, Deadline::Framework(id.clone())));
        self.frameworks.insert(id, framework);
    }

    pub(crate) fn remove_framework(&mut self, now: Time, id: &FrameworkId, out: &mut Out) {
        self.drop_offers_of(id, out);
        let Some(framework) = self.frameworks.get(id) else { return };
        let placed: Vec<(TaskId, AgentId)> =
            framework.tasks.iter().map(|(task, agent)| (task.clone(), agent.clone())).collect();
        let conn = framework.conn;
        for (task_id, agent_id) in placed {
            let key = (id.clone(), task_id);
            if let Some(task) = self.agents.get_mut(&agent_id).and_then(|agent| agent.tasks.get_mut(&key)) {
                let task: &mut Task = Arc::make_mut(task);
                if !task.state.is_terminal() {
                    task.state = TaskState::Killed;
                    if let Some(last) = task.statuses.last().cloned() {
                        let mut status = last;
                        status.state = TaskState::Killed;
                        status.reason = Some(Reason::FrameworkRemoved);
                        status.message = Some("Framework removed".to_owned());
                        status.timestamp = now;
                        task.push_status(status);
                    }
                }
            }
            self.complete_task(&agent_id, &key);
        }
        let agents: Vec<ConnId> = self.agents.values().filter_map(|agent| agent.conn()).collect();
        for conn in agents {
            let message = MasterToAgent::ShutdownFramework { framework_id: id.clone() };
            out.effect(Effect::ToAgent { conn, message });
        }
        if let Some(conn) = conn {
            self.framework_conns.remove(&conn);
            out.effect(Effect::CloseScheduler { conn });
        }
        if let Some(mut framework) = self.frameworks.remove(id) {
            framework.conn = None;
            self.completed.push_back(CompletedFramework { framework, unregistered: now });
            while self.completed.len() > self.config.limits.completed_frameworks_max {
                self.completed.pop_front();
            }
        }
    }

    fn decline(
        &mut self,
        now: Time,
        id: &FrameworkId,
        offer_ids: &[OfferId],
        refuse_ms: Option<u64>,
        out: &mut Out,
    ) {
        for offer_id in offer_ids {
            let mine = self.offers.get(offer_id).is_some_and(|open| open.offer.framework_id == *id);
            if !mine {
                continue;
            }
            if let Some(offer) = self.remove_offer(offer_id, false, out) {
                let refused = offer.resources.clone();
                self.add_filter(now, &offer, refused, refuse_ms);
            }
        }
    }

    fn revive(&mut self, id: &FrameworkId, roles: &[Role]) {
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        if roles.iter().any(|role| !framework.info.roles.contains(role)) {
            self.counters.calls_invalid += 1;
            return;
        }
        if roles.is_empty() {
            framework.suppressed.clear();
            framework.filters.clear();
        } else {
            framework.suppressed.retain(|role| !roles.contains(role));
            framework.filters.retain(|filter| !roles.contains(&filter.role));
        }
        self.dirty_all();
    }

    fn suppress(&mut self, id: &FrameworkId, roles: Vec<Role>) {
        let Some(framework) = self.frameworks.get_mut(id) else { return };
        if roles.iter().any(|role| !framework.info.roles.contains(role)) {
            self.counters.calls_invalid += 1;
            return;
        }
        let roles = if roles.is_empty() { framework.info.roles.clone() } else { roles };
        framework.suppressed.extend(roles);
    }

    fn kill(
        &mut self,
        now: Time,
        id: &FrameworkId,
        task_id: TaskId,
        agent_id: Option<AgentId>,
        kill_policy: Option<KillPolicy>,
        out: &mut Out,
    ) {
        let Some(place) =
            self.frameworks.get(id).and_then(|framework| framework.tasks.get(&task_id)).cloned()
        else {
            let unreachable =
                self.frameworks.get_mut(id).and_then(|framework| framework.unreachable.get_mut(&task_id));
            if let Some(task) = unreachable {
                Arc::make_mut(task).kill_wanted = Some(kill_policy);
            }
            self.reconcile(now, id, &[(task_id, agent_id)], out);
            return;
        };
        if agent_id.is_some_and(|named| named != place) {
            return;
        }
        let Some(agent) = self.agents.get_mut(&place) else { return };
        let conn = agent.conn();
        if let Some(task) = agent.tasks.get_mut(&(id.clone(), task_id.clone())) {
            Arc::make_mut(task).kill_wanted = Some(kill_policy);
        }
        if let Some(conn) = conn {
            let message = MasterToAgent::KillTask { framework_id: id.clone(), task_id, kill_policy };
            out.effect(Effect::ToAgent { conn, message });
        }
    }

    fn acknowledge(
        &mut self,
        id: &FrameworkId,
        agent_id: &AgentId,
        task_id: TaskId,
        uuid: UpdateId,
        out: &mut Out,
    ) {
        let Some(conn) = self.agents.get(agent_id).and_then(|agent| agent.conn()) else {
            self.counters.acknowledgements_invalid += 1;
            return;
        };
        self.counters.acknowledgements_valid += 1;
        let key = (id.clone(), task_id.clone());
        let mut done = false;
        if let Some(task) = self.agents.get_mut(agent_id).and_then(|agent| agent.tasks.get_mut(&key)) {
            let task: &mut Task = Arc::make_mut(task);
            if task.unacknowledged.as_ref().is_some_and(|status| status.uuid == Some(uuid)) {
                done = task.unacknowledged.take().is_some_and(|status| status.state.is_terminal());
            }
        }
        if done {
            self.complete_task(agent_id, &key);
        }
        let message = MasterToAgent::Acknowledge { framework_id: id.clone(), task_id, uuid };
        out.effect(Effect::ToAgent { conn, message });
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
        allocated: BTreeMap::new(),
        tasks: BTreeMap::new(),
        unreachable: BTreeMap::new(),
        completed: VecDeque::new(),
        offers: BTreeSet::new(),
        inverse_offers: BTreeSet::new(),
        operations: BTreeMap::new(),
        filters: Vec::new(),
        counters: Arc::default(),
    }
}
