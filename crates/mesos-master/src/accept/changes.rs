//! RESERVE to DESTROY_DISK on offered resources.

use model::{AgentCapability, OperationId, OperationState, ResourceOperation};

use super::{Deal, copies};
use crate::brain::{Master, Out};
use crate::operations::{Owner, conversion, is_speculative};
use crate::validation::{self, Asker};

impl Master {
    pub(super) fn change_resources(
        &mut self,

        deal: &mut Deal,
        id: Option<OperationId>,
        operation: ResourceOperation,
        flaw: Option<String>,
        out: &mut Out,
    ) {
        let problem = flaw
            .or_else(|| self.feedback_problem(deal, id.as_ref(), &operation))
            .or_else(|| self.change_problem(deal, &operation));
        if let Some(problem) = problem {
            let message = format!("Invalid {} operation: {problem}", operation.name());
            let (framework_id, agent_id) = (deal.framework_id.clone(), deal.agent_id.clone());
            self.refuse_operation(&framework_id, Some(agent_id), id, OperationState::Error, message, out);
            return;
        }
        let owner = Owner { framework_id: deal.framework_id.clone(), role: deal.role.clone(), id };
        let at_once = is_speculative(&operation);
        let agent_id = deal.agent_id.clone();
        let Some((consumed, converted)) = self.apply_operation(&agent_id, Some(owner), operation, out) else {
            return;
        };
        deal.pool.subtract(&consumed);
        if at_once {
            deal.pool.add(&converted);
        }
        deal.shared = copies(&deal.pool);
    }

    fn change_problem(&self, deal: &Deal, operation: &ResourceOperation) -> Option<String> {
        let framework = self.frameworks.get(&deal.framework_id)?;
        let agent = self.agents.get(&deal.agent_id)?;
        let asker = Asker {
            framework: Some(&framework.info),
            role: Some(&deal.role),
            principal: framework.info.principal.as_ref(),
        };
        if let Some(problem) = validation::operation_problem(operation, &asker, &agent.info) {
            return Some(problem);
        }
        let (consumed, _) = conversion::of(operation).ok()?;
        if !deal.pool.contains(&consumed) {
            return Some(format!("{} does not contain {consumed}", deal.pool));
        }
        self.volumes_in_use(&deal.agent_id, operation)
    }

    /// Whether its framework can be told of it.
    fn feedback_problem(
        &self,
        deal: &Deal,
        id: Option<&OperationId>,
        operation: &ResourceOperation,
    ) -> Option<String> {
        let id = id?;
        if let Some(problem) = validation::id_problem(id.as_str()) {
            return Some(format!("Operation has invalid ID: {problem}"));
        }
        if self.frameworks.get(&deal.framework_id)?.operations.contains_key(id) {
            return Some(format!("Operation has duplicate ID: {id}"));
        }
        let agent = self.agents.get(&deal.agent_id)?;
        let can = |capability| agent.info.capabilities.contains(&capability);
        let provided = conversion::of(operation)
            .is_ok_and(|(consumed, _)| consumed.iter().any(|resource| resource.provider.is_some()));
        let lacking = if !can(AgentCapability::ResourceProvider) {
            "RESOURCE_PROVIDER"
        } else if !provided && !can(AgentCapability::AgentOperationFeedback) {
            "AGENT_OPERATION_FEEDBACK"
        } else {
            return None;
        };
        Some(format!(
            "Operation requested feedback, but agent {} does not have the required {lacking} capability",
            deal.agent_id
        ))
    }
}
