//! What operators ask: each call is checked as a whole, then done as a whole, and
//! answered once it is durable. Texts are the contract's.

use model::operator_api::{OperatorCall, OperatorReply};
use model::{FrameworkId, Role, Time};

use crate::brain::{Master, Out};

mod agents;
mod maintenance;
mod quota;
mod resources;
mod weights;

/// Why a call is not done.
type Refused = OperatorReply;
type Outcome = Result<OperatorReply, Refused>;

fn invalid(text: impl Into<String>) -> Refused {
    OperatorReply::Invalid(text.into())
}

impl Master {
    pub(crate) fn operator_call(&mut self, now: Time, call: OperatorCall, out: &mut Out) -> OperatorReply {
        let outcome = match call {
            OperatorCall::Apply { agent_id, operation, principal } => {
                self.operate(&agent_id, operation, principal.as_ref(), out)
            }
            OperatorCall::UpdateWeights(weights) => self.update_weights(weights, out),
            OperatorCall::UpdateQuota { force, configs } => self.update_quota(force, configs, out),
            OperatorCall::SetQuota { force, config } => self.set_quota(force, config, out),
            OperatorCall::RemoveQuota { role } => self.remove_quota(&role, out),
            OperatorCall::UpdateMaintenanceSchedule(schedule) => self.update_schedule(schedule, out),
            OperatorCall::StartMaintenance(machines) => self.start_maintenance(now, machines, out),
            OperatorCall::StopMaintenance(machines) => self.stop_maintenance(machines, out),
            OperatorCall::DrainAgent { agent_id, config } => self.drain_agent(now, &agent_id, config, out),
            OperatorCall::DeactivateAgent { agent_id } => self.deactivate_agent(&agent_id, out),
            OperatorCall::ReactivateAgent { agent_id } => self.reactivate_agent(&agent_id, out),
            OperatorCall::MarkAgentGone { agent_id } => self.mark_agent_gone(now, &agent_id, out),
            OperatorCall::Teardown { framework_id } => self.teardown(now, &framework_id, out),
        };
        outcome.unwrap_or_else(|refused| refused)
    }

    fn teardown(&mut self, now: Time, id: &FrameworkId, out: &mut Out) -> Outcome {
        if !self.frameworks.contains_key(id) {
            return Err(invalid("No framework found with specified ID"));
        }
        self.remove_framework(now, id, out);
        Ok(OperatorReply::Done)
    }

    fn is_known_role(&self, role: &Role) -> bool {
        self.config.limits.roles.as_ref().is_none_or(|roles| role.is_any() || roles.contains(role))
    }
}

/// The key of a role's record must be one.
fn storable(role: &Role) -> Result<(), String> {
    match role.as_str().contains(|c: char| c.is_control()) {
        true => Err(format!("Invalid role '{role}': it has a control character")),
        false => Ok(()),
    }
}
