//! Operations on resources: checked, applied to the agent's total at once, given to
//! the agent, and followed until their end is acknowledged.

use std::sync::Arc;

use model::agent_api::MasterToAgent;
use model::scheduler_api::SchedulerEvent;
use model::{
    AgentId, FrameworkId, OperationId, OperationRecord, OperationState, OperationStatus, Principal,
    ResourceOperation, Resources, Role, Time, UpdateId,
};

use crate::brain::{ConnId, Effect, Master, Out};

pub(crate) mod conversion;

/// Whose operation it is.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub framework_id: FrameworkId,
    /// Of the offers it draws upon.
    pub role: Role,
    /// Set when feedback is wanted.
    pub id: Option<OperationId>,
}

impl Master {
    /// Why an operation cannot be carried out on this agent, whoever asks; whether its
    /// resources are there is not looked at. `owner` none: an operator's.
    pub(crate) fn operation_problem(
        &self,
        _agent_id: &AgentId,
        _owner: Option<&FrameworkId>,
        _principal: Option<&Principal>,
        operation: &ResourceOperation,
    ) -> Option<String> {
        conversion::of(operation).err()
    }

    /// Carries out a checked operation: converts the agent's total, records it as
    /// pending, and orders it. Yields what was consumed and what it became. What is
    /// consumed must not be part of any offer or task: the caller has taken it out.
    pub(crate) fn apply_operation(
        &mut self,
        _now: Time,
        agent_id: &AgentId,
        owner: Option<Owner>,
        operation: ResourceOperation,
        out: &mut Out,
    ) -> Option<(Resources, Resources)> {
        let (consumed, converted) = conversion::of(&operation).ok()?;
        let uuid = UpdateId(self.rng.next_u128());
        let agent = self.agents.get_mut(agent_id)?;
        let conn = agent.conn()?;
        let (framework_id, role, id) = match owner {
            Some(owner) => (Some(owner.framework_id), Some(owner.role), owner.id),
            None => (None, None, None),
        };
        let latest = OperationStatus {
            operation_id: id.clone(),
            state: OperationState::Pending,
            message: None,
            converted: Resources::new(),
            uuid: None,
            agent_id: Some(agent_id.clone()),
            provider: None,
        };
        let record = OperationRecord {
            uuid,
            framework_id: framework_id.clone(),
            id: id.clone(),
            operation,
            role,
            latest,
            statuses: Vec::new(),
        };
        let info = Arc::make_mut(&mut agent.info);
        info.resources.subtract(&consumed);
        info.resources.add(&converted);
        agent.operations.insert(uuid, Arc::new(record.clone()));
        if let (Some(framework_id), Some(id)) = (framework_id, id)
            && let Some(framework) = self.frameworks.get_mut(&framework_id)
        {
            framework.operations.insert(id, (agent_id.clone(), uuid));
        }
        self.dirty.insert(agent_id.clone());
        let message = MasterToAgent::ApplyOperation { operation: Box::new(record) };
        out.effect(Effect::ToAgent { conn, message });
        Some((consumed, converted))
    }

    pub(crate) fn operation_update(
        &mut self,
        _now: Time,
        conn: ConnId,
        uuid: UpdateId,
        status: OperationStatus,
        out: &mut Out,
    ) {
        let Some(agent_id) = self.agent_conns.get(&conn).cloned() else { return };
        let Some(agent) = self.agents.get_mut(&agent_id) else { return };
        let Some(record) = agent.operations.get_mut(&uuid) else { return };
        let record = Arc::make_mut(record);
        record.latest = status.clone();
        record.statuses.push(status.clone());
        let framework_id = record.framework_id.clone();
        if let Some(framework_id) = framework_id
            && let Some(conn) = self.frameworks.get(&framework_id).and_then(|framework| framework.conn)
        {
            let event = SchedulerEvent::UpdateOperation(Box::new(status));
            out.effect(Effect::ToScheduler { conn, event });
        }
    }

    /// Brings the master's and a returning agent's lists of operations together.
    pub(crate) fn merge_operations(
        &mut self,
        _now: Time,
        _conn: ConnId,
        id: &AgentId,
        reported: Vec<OperationRecord>,
        _out: &mut Out,
    ) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        agent.operations = reported.into_iter().map(|record| (record.uuid, Arc::new(record))).collect();
    }

    /// The agent is lost: tells the frameworks of its operations so, and forgets them.
    /// `state` is `Unreachable` or `GoneByOperator`.
    pub(crate) fn operations_lost(
        &mut self,
        _now: Time,
        id: &AgentId,
        _state: OperationState,
        _out: &mut Out,
    ) {
        if let Some(agent) = self.agents.get_mut(id) {
            agent.operations.clear();
        }
    }
}
