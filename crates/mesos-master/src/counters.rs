//! What is counted since the start of the term; the source of `/metrics/snapshot`.
//!
//! Messages, calls and events are counted in one place, as they come in and go out
//! of a step. Names are those of the contract's metrics, where they are names.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::agent_api::AgentToMaster;
use model::scheduler_api::{SchedulerCall, SchedulerEvent};
use model::{FrameworkId, OperationState, Principal, Reason, Source, TaskState, TaskStatus};

use crate::brain::{ConnId, Effect, Input, Master, Out};

/// Of the whole cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    pub tasks_launched: u64,
    pub tasks_finished: u64,
    pub tasks_failed: u64,
    pub tasks_killed: u64,
    pub tasks_error: u64,
    pub tasks_lost: u64,
    pub tasks_gone: u64,
    pub tasks_gone_by_operator: u64,
    pub tasks_dropped: u64,
    pub tasks_unreachable: u64,
    /// Ends of tasks, and losses of contact.
    pub task_states: BTreeMap<(TaskState, Source, Option<Reason>), u64>,
    /// `messages_<name>`.
    pub messages: BTreeMap<&'static str, u64>,
    /// Of agents and frameworks that are not registered.
    pub dropped_messages: u64,
    /// Calls of frameworks by who makes them.
    pub principals: BTreeMap<Principal, u64>,
    pub status_updates_valid: u64,
    pub status_updates_invalid: u64,
    pub acknowledgements_valid: u64,
    pub acknowledgements_invalid: u64,
    pub executor_messages_valid: u64,
    pub executor_messages_invalid: u64,
    pub framework_messages_valid: u64,
    pub framework_messages_invalid: u64,
    pub operation_updates_valid: u64,
    pub operation_updates_invalid: u64,
    pub operation_acknowledgements_valid: u64,
    pub operation_acknowledgements_invalid: u64,
    /// Ends of operations by their type's name.
    pub operations: BTreeMap<(&'static str, OperationState), u64>,
    pub agent_registrations: u64,
    pub agent_reregistrations: u64,
    pub agents_unreachable: u64,
    pub agent_removals: u64,
    /// Parts of `agent_removals`.
    pub agent_removals_unhealthy: u64,
    pub agent_removals_unregistered: u64,
    pub agent_removals_registered: u64,
    pub recovery_agent_removals: u64,
    pub unreachable_scheduled: u64,
    pub unreachable_completed: u64,
    pub unreachable_canceled: u64,
    pub offers_sent: u64,
    pub offers_rescinded: u64,
    pub calls_accept: u64,
    pub calls_decline: u64,
    pub calls_kill: u64,
    pub calls_reconcile: u64,
    pub calls_revive: u64,
    pub calls_suppress: u64,
    pub calls_invalid: u64,
    pub allocation_runs: u64,
}

/// Of one framework.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FrameworkCounters {
    /// By the call's type in lower case.
    pub calls: BTreeMap<&'static str, u64>,
    /// By the event's type in lower case.
    pub events: BTreeMap<&'static str, u64>,
    pub offers_sent: u64,
    pub offers_accepted: u64,
    pub offers_declined: u64,
    pub offers_rescinded: u64,
    /// Those of ACCEPT, by their type's name in lower case.
    pub operations: BTreeMap<&'static str, u64>,
    pub tasks_terminal: BTreeMap<TaskState, u64>,
}

fn more<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K) {
    *counts.entry(key).or_default() += 1;
}

/// The call's type, and its name among the `messages_…`.
fn call_names(call: &SchedulerCall) -> (&'static str, Option<&'static str>) {
    match call {
        SchedulerCall::Subscribe { info, .. } if info.id.is_none() => {
            ("subscribe", Some("register_framework"))
        }
        SchedulerCall::Subscribe { .. } => ("subscribe", Some("reregister_framework")),
        SchedulerCall::Accept { .. } => ("accept", Some("launch_tasks")),
        SchedulerCall::Decline { .. } => ("decline", Some("decline_offers")),
        SchedulerCall::Revive { .. } => ("revive", Some("revive_offers")),
        SchedulerCall::Suppress { .. } => ("suppress", Some("suppress_offers")),
        SchedulerCall::Kill { .. } => ("kill", Some("kill_task")),
        SchedulerCall::Acknowledge { .. } => ("acknowledge", Some("status_update_acknowledgement")),
        SchedulerCall::Reconcile { .. } => ("reconcile", Some("reconcile_tasks")),
        SchedulerCall::ReconcileOperations { .. } => ("reconcile_operations", Some("reconcile_operations")),
        SchedulerCall::AcknowledgeOperation { .. } => {
            ("acknowledge_operation_status", Some("operation_status_update_acknowledgement"))
        }
        SchedulerCall::AcceptInverseOffers { .. } => ("accept_inverse_offers", None),
        SchedulerCall::DeclineInverseOffers { .. } => ("decline_inverse_offers", None),
        SchedulerCall::ShutdownExecutor { .. } => ("shutdown", None),
        SchedulerCall::Message { .. } => ("message", Some("framework_to_executor")),
        SchedulerCall::Request => ("request", Some("resource_request")),
        SchedulerCall::Teardown => ("teardown", Some("unregister_framework")),
    }
}

fn event_name(event: &SchedulerEvent) -> &'static str {
    match event {
        SchedulerEvent::Subscribed { .. } => "subscribed",
        SchedulerEvent::Offers(_) => "offers",
        SchedulerEvent::InverseOffers(_) => "inverse_offers",
        SchedulerEvent::Rescind(_) => "rescind",
        SchedulerEvent::RescindInverse(_) => "rescind_inverse_offer",
        SchedulerEvent::Update(_) => "update",
        SchedulerEvent::UpdateOperation(_) => "update_operation_status",
        SchedulerEvent::Message { .. } => "message",
        SchedulerEvent::Failure { .. } => "failure",
        SchedulerEvent::Error { .. } => "error",
    }
}

fn operation_name(kind: &model::OperationKind) -> &'static str {
    use model::ResourceOperation as Change;
    match kind {
        model::OperationKind::Launch { .. } => "launch",
        model::OperationKind::LaunchGroup { .. } => "launch_group",
        model::OperationKind::Unknown => "unknown",
        model::OperationKind::Resources(change) => match change {
            Change::Reserve { .. } => "reserve",
            Change::Unreserve { .. } => "unreserve",
            Change::Create { .. } => "create",
            Change::Destroy { .. } => "destroy",
            Change::GrowVolume { .. } => "grow_volume",
            Change::ShrinkVolume { .. } => "shrink_volume",
            Change::CreateDisk { .. } => "create_disk",
            Change::DestroyDisk { .. } => "destroy_disk",
        },
    }
}

impl Master {
    /// Before the step looks at it.
    pub(crate) fn count_input(&mut self, input: &Input) {
        match input {
            Input::Agent { conn, message } => self.count_agent_message(*conn, message),
            Input::Scheduler { conn, call } => self.count_call(*conn, call),
            Input::UpdateFramework { conn, .. } => {
                if let Some(id) = self.framework_conns.get(conn).cloned() {
                    self.count_for(&id, |counters| more(&mut counters.calls, "update_framework"));
                }
            }
            _ => {}
        }
    }

    fn count_agent_message(&mut self, conn: ConnId, message: &AgentToMaster) {
        let agent = self.agent_conns.get(&conn).and_then(|id| self.agents.get(id));
        let counters = &mut self.counters;
        let name = match message {
            AgentToMaster::Register(registration) if registration.info.id.is_none() => "register_slave",
            AgentToMaster::Register(_) => "reregister_slave",
            AgentToMaster::Update(_) => "status_update",
            AgentToMaster::OperationUpdate { uuid, .. } => {
                match agent.is_some_and(|agent| agent.operations.contains_key(uuid)) {
                    true => counters.operation_updates_valid += 1,
                    false => counters.operation_updates_invalid += 1,
                }
                "operation_status_update"
            }
            AgentToMaster::Message { framework_id, .. } => {
                let framework = self.frameworks.get(framework_id);
                match agent.is_some() && framework.is_some_and(|framework| framework.conn.is_some()) {
                    true => counters.executor_messages_valid += 1,
                    false => counters.executor_messages_invalid += 1,
                }
                "executor_to_framework"
            }
            AgentToMaster::ExecutorExited { .. } => "exited_executor",
            AgentToMaster::Unregister => "unregister_slave",
        };
        if agent.is_none() && !matches!(message, AgentToMaster::Register(_)) {
            counters.dropped_messages += 1;
        }
        more(&mut counters.messages, name);
    }

    fn count_call(&mut self, conn: ConnId, call: &SchedulerCall) {
        let (call_name, message_name) = call_names(call);
        if let Some(name) = message_name {
            more(&mut self.counters.messages, name);
        }
        let subscribes = matches!(call, SchedulerCall::Subscribe { .. });
        let Some(id) = self.framework_conns.get(&conn).cloned() else {
            if !subscribes {
                self.counters.dropped_messages += 1;
            }
            return;
        };
        let principal = self.frameworks.get(&id).and_then(|framework| framework.info.principal.clone());
        if let Some(principal) = principal {
            more(&mut self.counters.principals, principal);
        }
        match call {
            SchedulerCall::Message { agent_id, .. } => {
                match self.agents.get(agent_id).is_some_and(|agent| agent.conn().is_some()) {
                    true => self.counters.framework_messages_valid += 1,
                    false => self.counters.framework_messages_invalid += 1,
                }
            }
            SchedulerCall::AcknowledgeOperation { operation_id, .. } => {
                let framework = self.frameworks.get(&id);
                match framework.is_some_and(|framework| framework.operations.contains_key(operation_id)) {
                    true => self.counters.operation_acknowledgements_valid += 1,
                    false => self.counters.operation_acknowledgements_invalid += 1,
                }
            }
            _ => {}
        }
        let mine = |ids: &[model::OfferId]| {
            let open = ids.iter().filter_map(|offer| self.offers.get(offer));
            open.filter(|open| open.offer.framework_id == id).count() as u64
        };
        let (accepted, declined) = match call {
            SchedulerCall::Accept { offer_ids, .. } => (mine(offer_ids), 0),
            SchedulerCall::Decline { offer_ids, .. } => (0, mine(offer_ids)),
            _ => (0, 0),
        };
        self.count_for(&id, |counters| {
            more(&mut counters.calls, call_name);
            counters.offers_accepted += accepted;
            counters.offers_declined += declined;
            if let SchedulerCall::Accept { operations, .. } = call {
                for operation in operations {
                    more(&mut counters.operations, operation_name(&operation.kind));
                }
            }
        });
    }

    /// After the step has decided.
    pub(crate) fn count_effects(&mut self, out: &Out) {
        for effect in &out.effects {
            let Effect::ToScheduler { conn, event } = effect else { continue };
            let Some(id) = self.framework_conns.get(conn).cloned() else { continue };
            self.count_for(&id, |counters| {
                more(&mut counters.events, event_name(event));
                match event {
                    SchedulerEvent::Offers(offers) => counters.offers_sent += offers.len() as u64,
                    SchedulerEvent::Rescind(_) => counters.offers_rescinded += 1,
                    _ => {}
                }
            });
        }
    }

    /// A task has ended, or contact with it was lost.
    pub(crate) fn count_task(&mut self, framework_id: &FrameworkId, status: &TaskStatus) {
        let counters = &mut self.counters;
        match status.state {
            TaskState::Finished => counters.tasks_finished += 1,
            TaskState::Failed => counters.tasks_failed += 1,
            TaskState::Killed => counters.tasks_killed += 1,
            TaskState::Error => counters.tasks_error += 1,
            TaskState::Dropped => counters.tasks_dropped += 1,
            TaskState::Gone => counters.tasks_gone += 1,
            TaskState::GoneByOperator => counters.tasks_gone_by_operator += 1,
            TaskState::Lost => counters.tasks_lost += 1,
            TaskState::Unreachable => counters.tasks_unreachable += 1,
            _ => return,
        }
        more(&mut counters.task_states, (status.state, status.source, status.reason));
        let state = status.state;
        self.count_for(framework_id, |counters| more(&mut counters.tasks_terminal, state));
    }

    fn count_for(&mut self, id: &FrameworkId, count: impl FnOnce(&mut FrameworkCounters)) {
        if let Some(framework) = self.frameworks.get_mut(id) {
            count(Arc::make_mut(&mut framework.counters));
        }
    }
}
