//! Operations on resources: checked, applied to the agent's total at once, given to
//! the agent, and followed until their end is acknowledged.
//!
//! What changes only the books of an agent (reservations, volumes) is counted as done
//! when it is ordered, so that a launch in the same ACCEPT can build upon it. When the
//! agent says that it did not happen, its stream is closed: it registers anew with what
//! it really has. What a resource provider does is counted when it is reported.

use std::sync::Arc;

use model::agent_api::MasterToAgent;
use model::scheduler_api::SchedulerEvent;
use model::{
    AgentId, FrameworkId, OfferId, OperationId, OperationRecord, OperationState, OperationStatus, Principal,
    Resource, ResourceOperation, Resources, Role, UpdateId,
};

use crate::brain::{Effect, Master, Out};
use crate::validation::{self, Asker};

pub(crate) mod conversion;
mod updates;

/// Whose operation it is.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub framework_id: FrameworkId,
    /// Of the offers it draws upon.
    pub role: Role,
    /// Set when feedback is wanted.
    pub id: Option<OperationId>,
}

/// Changes the agent's books only: counted as done when it is ordered.
pub(crate) fn is_speculative(operation: &ResourceOperation) -> bool {
    !matches!(operation, ResourceOperation::CreateDisk { .. } | ResourceOperation::DestroyDisk { .. })
}

/// What a pending operation holds of its agent.
pub(crate) fn held_by(record: &OperationRecord) -> Option<Resources> {
    if is_speculative(&record.operation) || record.latest.state.is_terminal() {
        return None;
    }
    conversion::of(&record.operation).ok().map(|(consumed, _)| consumed)
}

impl Master {
    /// Why an operation of an operator cannot be carried out on this agent, but for its
    /// resources being free.
    pub(crate) fn operation_problem(
        &self,
        agent_id: &AgentId,
        principal: Option<&Principal>,
        operation: &ResourceOperation,
    ) -> Option<String> {
        let agent = self.agents.get(agent_id)?;
        let asker = Asker { framework: None, role: None, principal };
        validation::operation_problem(operation, &asker, &agent.info)
            .or_else(|| self.volumes_in_use(agent_id, operation))
    }

    /// Carries out a checked operation: converts the agent's total, records it as
    /// pending, and orders it. Yields what was consumed and what it becomes. With an
    /// owner, what is consumed is held by it through offers that the caller closed;
    /// without one, it must be free.
    pub(crate) fn apply_operation(
        &mut self,
        agent_id: &AgentId,
        owner: Option<Owner>,
        operation: ResourceOperation,
        out: &mut Out,
    ) -> Option<(Resources, Resources)> {
        let (consumed, converted) = conversion::of(&operation).ok()?;
        let conn = self.agents.get(agent_id)?.conn()?;
        self.rescind_holders(agent_id, &operation, out);
        let uuid = UpdateId(self.rng.next_u128());
        let provider =
            consumed.iter().find_map(|resource| resource.provider.as_ref().map(ToString::to_string));
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
            provider,
        };
        let at_once = is_speculative(&operation);
        let record =
            OperationRecord { uuid, framework_id, id, operation, role, latest, statuses: Vec::new() };
        if at_once {
            self.convert(agent_id, &record, &consumed, &converted);
            if let Some(agent) = self.agents.get_mut(agent_id) {
                agent.speculated.insert(uuid);
            }
        } else if let (Some(agent), Some(framework_id)) =
            (self.agents.get_mut(agent_id), &record.framework_id)
        {
            agent.take(framework_id, &consumed);
        }
        self.keep_operation(agent_id, record.clone());
        let message = MasterToAgent::ApplyOperation { operation: Box::new(record) };
        out.effect(Effect::ToAgent { conn, message });
        Some((consumed, converted))
    }

    /// Makes one of the other in the agent's total, and in what the owner holds.
    fn convert(&mut self, agent_id: &AgentId, record: &OperationRecord, from: &Resources, to: &Resources) {
        let Some(agent) = self.agents.get_mut(agent_id) else { return };
        let info = Arc::make_mut(&mut agent.info);
        info.resources.subtract(from);
        info.resources.add(to);
        match (&record.framework_id, &record.role) {
            (Some(framework_id), Some(role)) => {
                self.allocator.converted(framework_id, role, agent_id, from, to);
            }
            _ => {
                let total = info.resources.clone();
                self.allocator.set_agent_total(agent_id, total);
            }
        }
    }

    fn keep_operation(&mut self, agent_id: &AgentId, record: OperationRecord) {
        if let (Some(framework_id), Some(id)) = (&record.framework_id, &record.id)
            && let Some(framework) = self.frameworks.get_mut(framework_id)
        {
            framework.operations.insert(id.clone(), (agent_id.clone(), record.uuid));
        }
        if let Some(agent) = self.agents.get_mut(agent_id) {
            agent.operations.insert(record.uuid, Arc::new(record));
        }
    }

    /// Forgets an operation, with what it holds.
    fn forget_operation(&mut self, agent_id: &AgentId, uuid: UpdateId) -> Option<Arc<OperationRecord>> {
        let agent = self.agents.get_mut(agent_id)?;
        let record = agent.operations.remove(&uuid)?;
        agent.speculated.remove(&uuid);
        self.release_operation(agent_id, &record);
        if let (Some(framework_id), Some(id)) = (&record.framework_id, &record.id)
            && let Some(framework) = self.frameworks.get_mut(framework_id)
            && framework.operations.get(id).is_some_and(|(_, kept)| *kept == uuid)
        {
            framework.operations.remove(id);
        }
        Some(record)
    }

    /// Frees what a pending operation holds.
    fn release_operation(&mut self, agent_id: &AgentId, record: &OperationRecord) {
        let (Some(held), Some(framework_id), Some(role)) =
            (held_by(record), &record.framework_id, &record.role)
        else {
            return;
        };
        if let Some(agent) = self.agents.get_mut(agent_id) {
            agent.give_back(framework_id, &held);
        }
        self.allocator.released(self.now, framework_id, role, agent_id, &held, None);
    }

    /// Why volumes cannot be destroyed or resized: somebody runs on them.
    pub(crate) fn volumes_in_use(&self, agent_id: &AgentId, operation: &ResourceOperation) -> Option<String> {
        let agent = self.agents.get(agent_id)?;
        let volumes = changed_volumes(operation);
        let uses = |held: &Resources| held.iter().any(|one| volumes.iter().any(|v| is_same_volume(v, one)));
        let task = agent.tasks.values().find(|task| task.holds_resources && uses(&task.info.resources));
        if let Some(task) = task {
            return Some(format!(
                "Persistent volumes in use by task '{}' of framework {}",
                task.info.id, task.framework_id
            ));
        }
        let executor = agent.executors.values().find(|executor| uses(&executor.info.resources))?;
        Some(format!(
            "Persistent volumes in use by executor '{}' of framework {}",
            executor.info.id, executor.framework_id
        ))
    }

    /// Shared volumes may stand in offers to others: those go when they are destroyed.
    fn rescind_holders(&mut self, agent_id: &AgentId, operation: &ResourceOperation, out: &mut Out) {
        let volumes = changed_volumes(operation);
        if !volumes.iter().any(|volume| volume.is_shared()) {
            return;
        }
        let Some(agent) = self.agents.get(agent_id) else { return };
        let holders: Vec<OfferId> = agent
            .offers
            .iter()
            .filter(|id| {
                self.offers.get(id).is_some_and(|open| {
                    let mut held = open.offer.resources.iter();
                    held.any(|one| volumes.iter().any(|volume| is_same_volume(volume, one)))
                })
            })
            .cloned()
            .collect();
        for id in holders {
            self.remove_offer(&id, true, out);
        }
    }

    /// An operation that is not carried out: told to whom asked to be told.
    pub(crate) fn refuse_operation(
        &mut self,
        framework_id: &FrameworkId,
        agent_id: Option<AgentId>,
        id: Option<OperationId>,
        state: OperationState,
        message: String,
        out: &mut Out,
    ) {
        let Some(id) = id else { return };
        let status = OperationStatus {
            operation_id: Some(id),
            state,
            message: Some(message),
            converted: Resources::new(),
            uuid: None,
            agent_id,
            provider: None,
        };
        self.forward_operation(framework_id, status, out);
    }

    fn forward_operation(&mut self, framework_id: &FrameworkId, status: OperationStatus, out: &mut Out) {
        if let Some(conn) = self.frameworks.get(framework_id).and_then(|framework| framework.conn) {
            let event = SchedulerEvent::UpdateOperation(Box::new(status));
            out.effect(Effect::ToScheduler { conn, event });
        }
    }
}

fn is_same_volume(a: &Resource, b: &Resource) -> bool {
    a.persistence().is_some_and(|mine| b.persistence().is_some_and(|theirs| mine.id == theirs.id))
        && a.role() == b.role()
}

/// The volumes that an operation removes or resizes.
fn changed_volumes(operation: &ResourceOperation) -> Vec<&Resource> {
    match operation {
        ResourceOperation::Destroy { volumes } => volumes.iter().collect(),
        ResourceOperation::GrowVolume { volume, .. } | ResourceOperation::ShrinkVolume { volume, .. } => {
            vec![volume]
        }
        _ => Vec::new(),
    }
}
