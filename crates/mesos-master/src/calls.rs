//! The calls of a subscribed scheduler, each to its place; killing and acknowledging.

use std::sync::Arc;

use model::agent_api::MasterToAgent;
use model::scheduler_api::SchedulerCall;
use model::{AgentId, FrameworkId, KillPolicy, TaskId, Time, UpdateId};

use crate::brain::{ConnId, Effect, Master, Out};
use crate::validation::id_problem;

/// Largest message between a scheduler and its executors, in bytes; larger ones are dropped.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

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
            SchedulerCall::Subscribe { .. } | SchedulerCall::Request => {}
            SchedulerCall::Accept { offer_ids, operations, refuse_ms } => {
                self.counters.calls_accept += 1;
                self.accept(now, &id, &offer_ids, operations, refuse_ms, out);
            }
            SchedulerCall::Decline { offer_ids, refuse_ms } => {
                self.counters.calls_decline += 1;
                self.decline(&id, &offer_ids, refuse_ms);
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
            SchedulerCall::ReconcileOperations { operations } => {
                self.counters.calls_reconcile += 1;
                self.reconcile_operations(&id, operations, out);
            }
            SchedulerCall::AcknowledgeOperation { agent_id: _, operation_id, uuid } => {
                self.acknowledge_operation(&id, &operation_id, uuid, out);
            }
            SchedulerCall::AcceptInverseOffers { offer_ids, refuse_ms } => {
                self.answer_inverse_offers(now, &id, &offer_ids, true, refuse_ms);
            }
            SchedulerCall::DeclineInverseOffers { offer_ids, refuse_ms } => {
                self.answer_inverse_offers(now, &id, &offer_ids, false, refuse_ms);
            }
            // Ids that no executor or task can have must not reach an agent, which would
            // take the message for a broken one.
            SchedulerCall::ShutdownExecutor { executor_id, .. }
                if id_problem(executor_id.as_str()).is_some() =>
            {
                self.counters.calls_invalid += 1;
            }
            SchedulerCall::Message { executor_id, data, .. }
                if id_problem(executor_id.as_str()).is_some() || data.len() > MESSAGE_BYTES_MAX =>
            {
                self.counters.calls_invalid += 1;
            }
            SchedulerCall::ShutdownExecutor { agent_id, executor_id } => {
                let message = MasterToAgent::ShutdownExecutor { framework_id: id, executor_id };
                self.order_agent(&agent_id, message, out);
            }
            SchedulerCall::Message { agent_id, executor_id, data } => {
                let message = MasterToAgent::Message { framework_id: id, executor_id, data };
                self.order_agent(&agent_id, message, out);
            }
            SchedulerCall::Teardown => self.remove_framework(now, &id, out),
        }
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
        let conn = self.agents.get(agent_id).and_then(|agent| agent.conn());
        let Some(conn) = conn.filter(|_| id_problem(task_id.as_str()).is_none()) else {
            self.counters.acknowledgements_invalid += 1;
            return;
        };
        self.counters.acknowledgements_valid += 1;
        let key = (id.clone(), task_id.clone());
        let mut done = false;
        let waiting = self.agents.get(agent_id).and_then(|agent| agent.tasks.get(&key));
        let matches = waiting
            .and_then(|task| task.unacknowledged.as_ref())
            .is_some_and(|status| status.uuid == Some(uuid));
        if matches
            && let Some(task) = self.agents.get_mut(agent_id).and_then(|agent| agent.tasks.get_mut(&key))
        {
            let acknowledged = Arc::make_mut(task).unacknowledged.take();
            done = acknowledged.is_some_and(|status| status.state.is_terminal());
        }
        if done {
            self.complete_task(agent_id, &key);
        }
        let message = MasterToAgent::Acknowledge { framework_id: id.clone(), task_id, uuid };
        out.effect(Effect::ToAgent { conn, message });
    }
}
