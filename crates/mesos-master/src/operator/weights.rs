//! Weights of roles.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::operator_api::OperatorReply;
use model::{AgentId, Role, Weight};

use super::{Outcome, invalid, storable};
use crate::brain::{Master, Out};
use crate::records::{Record, WeightRecord, Write};

impl Master {
    pub(super) fn update_weights(&mut self, weights: Vec<(Role, Weight)>, out: &mut Out) -> Outcome {
        for (role, weight) in &weights {
            storable(role).map_err(|problem| {
                invalid(format!("Failed to validate update weights request JSON: {problem}"))
            })?;
            if !self.is_known_role(role) {
                let text = format!("Failed to validate update weights request JSON: Unknown role '{role}'");
                return Err(invalid(text));
            }
            if weight.0 == 0 {
                return Err(invalid(format!(
                    "Failed to validate update weights request JSON for role '{role}': Invalid weight '0': \
                     Weights must be positive"
                )));
            }
        }
        let mut roles: Vec<&Role> = weights.iter().map(|(role, _)| role).collect();
        roles.sort();
        roles.dedup();
        let limit = self.config.limits.settled_roles_max;
        let new = roles.iter().filter(|role| !self.weights.contains_key(**role)).count();
        if self.weights.len() + new > limit {
            return Err(invalid(format!(
                "more than {limit} roles would have a weight, the limit settled_roles_max"
            )));
        }
        let subscribed =
            |role: &Role| self.frameworks.values().any(|framework| framework.info.roles.contains(role));
        let in_use = weights.iter().any(|(role, weight)| {
            self.weights.get(role).copied().unwrap_or(Weight::DEFAULT) != *weight && subscribed(role)
        });
        // Of several weights of one role the last counts.
        let weights: BTreeMap<Role, Weight> = weights.into_iter().collect();
        for (role, weight) in weights {
            Arc::make_mut(&mut self.weights).insert(role.clone(), weight);
            out.write(Write::Put(Record::Weight(WeightRecord { role: role.clone(), weight })));
            self.weight_changed(&role);
        }
        if in_use {
            // What is on offer was divided by the old weights.
            let offered = self.agents.values().filter(|agent| !agent.offers.is_empty());
            let ids: Vec<AgentId> = offered.map(|agent| agent.id.clone()).collect();
            for id in ids {
                self.rescind_all_of(&id, out);
            }
        }
        Ok(OperatorReply::Done)
    }
}
