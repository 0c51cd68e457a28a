//! Reservations and volumes by an operator's hand, on what is not allocated.

use std::collections::BTreeSet;
use std::time::Duration;

use model::operator_api::OperatorReply;
use model::{AgentId, OfferId, Principal, ResourceOperation, Resources};

use super::{Outcome, invalid};
use crate::brain::{Master, Out};
use crate::operations::conversion;

/// Offers taken back for an operation are not made again to the same framework for
/// so long: the operation comes first.
const REFUSE: Duration = Duration::from_secs(5);

impl Master {
    pub(super) fn operate(
        &mut self,

        id: &AgentId,
        operation: ResourceOperation,
        principal: Option<&Principal>,
        out: &mut Out,
    ) -> Outcome {
        let Some(agent) = self.agents.get(id).filter(|agent| agent.is_registered()) else {
            return Err(invalid("No agent found with specified ID"));
        };
        let name = operation.name();
        if let Some(problem) = self.operation_problem(id, principal, &operation) {
            let place = format!("{id} at {}:{}", agent.info.ip, agent.info.port);
            return Err(invalid(format!("Invalid {name} operation on agent {place}: {problem}")));
        }
        let consumed = match conversion::of(&operation) {
            Ok((consumed, _)) => consumed,
            Err(problem) => return Err(invalid(format!("Invalid {name} operation: {problem}"))),
        };
        if agent.conn().is_none() {
            return Err(OperatorReply::Conflict(format!(
                "Agent {id} is disconnected; try again when it is back"
            )));
        }
        // Nothing is taken back for what cannot be done anyhow.
        let mut reachable = self.allocator.available(id);
        reachable.add(&agent.offered);
        if !reachable.contains(&consumed) {
            return Err(OperatorReply::Conflict(format!(
                "{name} needs {consumed}, of which the unallocated resources of agent {id}, {reachable}, do not \
                 have enough"
            )));
        }
        self.take_back(id, &consumed, out);
        match self.apply_operation(id, None, operation, out) {
            Some(_) => Ok(OperatorReply::Accepted),
            None => Err(OperatorReply::Conflict(format!("{name} cannot be applied to agent {id} now"))),
        }
    }

    /// Rescinds offers, one by one, until what is needed is free.
    fn take_back(&mut self, id: &AgentId, needed: &Resources, out: &mut Out) {
        let offers: BTreeSet<OfferId> =
            self.agents.get(id).map(|agent| agent.offers.clone()).unwrap_or_default();
        for offer_id in offers {
            let mut missing = needed.clone();
            missing.subtract(&self.allocator.available(id));
            if missing.is_empty() {
                return;
            }
            let helps = self.offers.get(&offer_id).is_some_and(|open| {
                let mut rest = missing.clone();
                rest.subtract(&open.offer.resources);
                rest != missing
            });
            if helps {
                self.end_offer(&offer_id, true, Some(REFUSE), out);
            }
        }
    }
}
