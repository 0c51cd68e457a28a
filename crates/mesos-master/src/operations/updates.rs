//! What agents report on operations, and what frameworks ask and confirm.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::agent_api::MasterToAgent;
use model::{
    AgentId, FrameworkId, OperationId, OperationRecord, OperationState, OperationStatus, Resources, Time,
    UpdateId,
};

use super::{conversion, held_by, is_speculative};
use crate::brain::{ConnId, Effect, Master, Out};
use crate::state::AgentState;

/// Reports kept of one operation.
const OPERATION_STATUSES_MAX: usize = 10;

impl Master {
    pub(crate) fn operation_update(
        &mut self,
        now: Time,
        conn: ConnId,
        uuid: UpdateId,
        status: OperationStatus,
        out: &mut Out,
    ) {
        let Some(agent_id) = self.agent_conns.get(&conn).cloned() else { return };
        let known = self.agents.get(&agent_id).and_then(|agent| agent.operations.get(&uuid)).cloned();
        let Some(record) = known else {
            // Forgotten here, so nobody will confirm it.
            self.confirm_operation(conn, uuid, status.uuid, out);
            return;
        };
        let ends = status.state.is_terminal() && !record.latest.state.is_terminal();
        let resync = ends && self.settle_operation(&agent_id, &record, &status);
        let agent = self.agents.get_mut(&agent_id);
        if let Some(kept) = agent.and_then(|agent| agent.operations.get_mut(&uuid)) {
            let kept = Arc::make_mut(kept);
            if !kept.latest.state.is_terminal() {
                kept.latest = OperationStatus { uuid: None, ..status.clone() };
            }
            if kept.statuses.last() != Some(&status) {
                kept.statuses.push(status.clone());
            }
            if kept.statuses.len() > OPERATION_STATUSES_MAX {
                kept.statuses.remove(0);
            }
        }
        let listener =
            record.framework_id.clone().filter(|id| record.id.is_some() && self.frameworks.contains_key(id));
        match listener {
            Some(framework_id) => {
                if status.uuid.is_none() && status.state.is_terminal() {
                    self.forget_operation(&agent_id, uuid);
                }
                let operation_id = record.id.clone();
                let agent_id = Some(agent_id.clone());
                self.forward_operation(
                    &framework_id,
                    OperationStatus { operation_id, agent_id, ..status },
                    out,
                );
            }
            None => {
                if status.state.is_terminal() {
                    self.forget_operation(&agent_id, uuid);
                }
                self.confirm_operation(conn, uuid, status.uuid, out);
            }
        }
        if resync {
            let reason = format!(
                "operation {uuid} did not happen: the agent registers anew with the resources it has"
            );
            self.agent_closed(now, conn, out);
            out.effect(Effect::CloseAgent { conn, reason });
        }
    }

    fn confirm_operation(&mut self, conn: ConnId, uuid: UpdateId, status: Option<UpdateId>, out: &mut Out) {
        if let Some(status_uuid) = status {
            let message = MasterToAgent::AcknowledgeOperation { uuid, status_uuid };
            out.effect(Effect::ToAgent { conn, message });
        }
    }

    /// Takes the end of an operation into the books; true when they were wrong.
    fn settle_operation(
        &mut self,
        agent_id: &AgentId,
        record: &OperationRecord,
        status: &OperationStatus,
    ) -> bool {
        let done = status.state == OperationState::Finished;
        if is_speculative(&record.operation) {
            let agent = self.agents.get_mut(agent_id);
            let trusted = agent.is_some_and(|agent| agent.speculated.remove(&record.uuid));
            return trusted && !done;
        }
        if done && let Some(held) = held_by(record) {
            let expected = conversion::of(&record.operation).map(|(_, converted)| converted);
            let converted = match status.converted.is_empty() {
                true => expected.unwrap_or_default(),
                false => status.converted.clone(),
            };
            self.convert(agent_id, record, &held, &converted);
            if let (Some(framework_id), Some(role)) = (&record.framework_id, &record.role) {
                if let Some(agent) = self.agents.get_mut(agent_id) {
                    agent.give_back(framework_id, &held);
                }
                self.allocator.released(self.now, framework_id, role, agent_id, &converted, None);
            }
        } else {
            self.release_operation(agent_id, record);
        }
        false
    }

    /// Brings the master's and a returning agent's lists of operations together. The
    /// agent's total is as it registered, whatever was counted upon before.
    pub(crate) fn merge_operations(
        &mut self,
        conn: ConnId,
        id: &AgentId,
        reported: Vec<OperationRecord>,
        out: &mut Out,
    ) {
        let named: BTreeSet<UpdateId> = reported.iter().map(|record| record.uuid).collect();
        let Some(agent) = self.agents.get_mut(id) else { return };
        agent.speculated.clear();
        let mut missing = Vec::new();
        let mut ended = Vec::new();
        for (uuid, record) in &agent.operations {
            if named.contains(uuid) {
                continue;
            }
            if record.latest.state.is_terminal() {
                ended.push(*uuid);
            } else {
                missing.push((*uuid, record.framework_id.clone()));
            }
        }
        for uuid in ended {
            self.forget_operation(id, uuid);
        }
        for mut record in reported {
            let known = self.forget_operation(id, record.uuid);
            // What is not confirmed yet may be confirmed still.
            if let Some(known) = known.filter(|_| record.statuses.is_empty()) {
                record.statuses.clone_from(&known.statuses);
            }
            if let (Some(held), Some(framework_id), Some(role)) =
                (held_by(&record), record.framework_id.clone(), record.role.clone())
            {
                self.hold(id, &framework_id, &role, &held);
            }
            self.keep_operation(id, record);
        }
        if !missing.is_empty() {
            let message = MasterToAgent::ReconcileOperations { operations: missing };
            out.effect(Effect::ToAgent { conn, message });
        }
    }

    /// The agent is lost: tells the frameworks of its operations so, and forgets them.
    /// `state` is `Unreachable` or `GoneByOperator`.
    pub(crate) fn operations_lost(&mut self, id: &AgentId, state: OperationState, out: &mut Out) {
        let Some(agent) = self.agents.get(id) else { return };
        let uuids: Vec<UpdateId> = agent.operations.keys().copied().collect();
        for uuid in uuids {
            let Some(record) = self.forget_operation(id, uuid) else { continue };
            let Some(framework_id) = &record.framework_id else { continue };
            let text = match state {
                OperationState::GoneByOperator => "Agent has been marked gone",
                _ => "Agent has been marked unreachable",
            };
            let (agent_id, text) = (Some(id.clone()), text.to_owned());
            self.refuse_operation(framework_id, agent_id, record.id.clone(), state, text, out);
        }
    }

    pub(crate) fn acknowledge_operation(
        &mut self,
        framework_id: &FrameworkId,
        operation_id: &OperationId,
        status_uuid: UpdateId,
        out: &mut Out,
    ) {
        let place = self.frameworks.get(framework_id).and_then(|f| f.operations.get(operation_id)).cloned();
        let at = place.and_then(|(agent_id, uuid)| {
            let agent = self.agents.get(&agent_id)?;
            let record = agent.operations.get(&uuid)?.clone();
            Some((agent_id, uuid, agent.conn()?, record))
        });
        let Some((agent_id, uuid, conn, record)) = at else {
            self.counters.acknowledgements_invalid += 1;
            return;
        };
        let status = record.statuses.iter().find(|status| status.uuid == Some(status_uuid));
        let Some(status) = status else {
            self.counters.acknowledgements_invalid += 1;
            return;
        };
        self.counters.acknowledgements_valid += 1;
        if status.state.is_terminal() {
            self.forget_operation(&agent_id, uuid);
        }
        self.confirm_operation(conn, uuid, Some(status_uuid), out);
    }

    pub(crate) fn reconcile_operations(
        &mut self,
        id: &FrameworkId,
        operations: Vec<(OperationId, Option<AgentId>, Option<String>)>,
        out: &mut Out,
    ) {
        let Some(framework) = self.frameworks.get(id) else { return };
        let asked = match operations.is_empty() {
            true => framework.operations.keys().map(|id| (id.clone(), None, None)).collect(),
            false => operations,
        };
        for (operation_id, agent_id, provider) in asked {
            let status = self.operation_answer(id, operation_id, agent_id, provider);
            self.forward_operation(id, status, out);
        }
    }

    fn operation_answer(
        &self,
        id: &FrameworkId,
        operation_id: OperationId,
        agent_id: Option<AgentId>,
        provider: Option<String>,
    ) -> OperationStatus {
        let known = self.frameworks.get(id).and_then(|framework| framework.operations.get(&operation_id));
        let record = known.and_then(|(agent_id, uuid)| self.agents.get(agent_id)?.operations.get(uuid));
        if let Some(record) = record {
            return OperationStatus {
                operation_id: Some(operation_id),
                uuid: None,
                message: Some("Reconciliation: Latest operation status".to_owned()),
                ..record.latest.clone()
            };
        }
        let state = agent_id.as_ref().and_then(|agent_id| self.agents.get(agent_id)).map(|agent| agent.state);
        let (state, text) = match state {
            Some(AgentState::Recovered { .. }) => {
                (OperationState::Recovering, "Reconciliation: Agent is recovered but has not re-registered")
            }
            Some(AgentState::Unreachable { .. }) => {
                (OperationState::Unreachable, "Reconciliation: Agent is unreachable")
            }
            Some(AgentState::Gone { .. }) => {
                (OperationState::GoneByOperator, "Reconciliation: Agent marked gone by operator")
            }
            Some(AgentState::Connected { .. } | AgentState::Disconnected { .. }) | None => {
                (OperationState::Unknown, "Reconciliation: Operation is unknown")
            }
        };
        OperationStatus {
            operation_id: Some(operation_id),
            state,
            message: Some(text.to_owned()),
            converted: Resources::new(),
            uuid: None,
            agent_id,
            provider,
        }
    }
}
