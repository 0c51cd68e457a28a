//! Quotas of roles: the least they shall be able to get, the most they may hold.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use model::operator_api::OperatorReply;
use model::{AgentId, OfferId, Quantities, Quantity, QuotaConfig, Resource, ResourceValue, Resources, Role};

use super::{Outcome, Refused, invalid, storable};
use crate::brain::{Master, Out};
use crate::records::{Record, RecordKey, Write};

/// The most of a resource that a quota can name: 1 exabyte of memory or disk, in
/// megabytes, and 1 trillion of anything else.
fn most(name: &str) -> (Quantity, &'static str) {
    match name {
        "mem" | "disk" => (Quantity::from_milli((1 << 40) * 1_000), "1 exabyte (1099511627776)"),
        _ => (Quantity::from_milli(1_000_000_000_000 * 1_000), "1 trillion (1000000000000)"),
    }
}

/// `cpus:2; mem:1024`.
fn shown(quantities: &Quantities) -> String {
    let mut text = String::new();
    for (name, quantity) in quantities {
        let gap = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{gap}{name}:{quantity}");
    }
    text
}

fn add(sum: &mut Quantities, other: &Quantities) {
    for (name, quantity) in other {
        let entry = sum.entry(name.clone()).or_insert(Quantity::ZERO);
        *entry = entry.saturating_add(*quantity);
    }
}

/// Scalars by name, whatever they are reserved for.
fn quantities<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Quantities {
    let mut sum = Quantities::new();
    for resource in resources {
        if let ResourceValue::Scalar(quantity) = resource.value {
            add(&mut sum, &Quantities::from([(resource.name.clone(), quantity)]));
        }
    }
    sum
}

fn contains(whole: &Quantities, part: &Quantities) -> bool {
    let of = |name| whole.get(name).copied().unwrap_or(Quantity::ZERO);
    part.iter().all(|(name, quantity)| of(name) >= *quantity)
}

/// A name that has no limit is within it.
fn within(part: &Quantities, limits: &Quantities) -> bool {
    part.iter().all(|(name, quantity)| limits.get(name).is_none_or(|limit| quantity <= limit))
}

fn is_default(config: &QuotaConfig) -> bool {
    config.guarantees.is_empty() && config.limits.is_empty()
}

/// Whether the role is this one or below it.
fn is_in(role: &Role, top: &Role) -> bool {
    role == top || (!top.is_any() && role.may_use(top))
}

/// What is wrong with the amounts.
fn amounts_problem(config: &QuotaConfig) -> Option<String> {
    for (kind, amounts) in [("guarantees", &config.guarantees), ("limits", &config.limits)] {
        for (name, quantity) in amounts {
            let (most, text) = most(name);
            if *quantity > most {
                return Some(format!(
                    "Invalid 'QuotaConfig.{kind}': {{'{name}': {quantity}}} is invalid: values greater than \
                     {text} are not supported"
                ));
            }
            if *quantity < Quantity::ZERO {
                let kind = kind.trim_end_matches('s');
                return Some(format!(
                    "Invalid {kind} configuration {{'{name}': {quantity}}}: Negative values not supported"
                ));
            }
        }
    }
    if !within(&config.guarantees, &config.limits) {
        return Some(format!(
            "'QuotaConfig.guarantees' {} is not contained within the 'QuotaConfig.limits' {}",
            shown(&config.guarantees),
            shown(&config.limits)
        ));
    }
    None
}

impl Master {
    pub(super) fn update_quota(&mut self, force: bool, configs: Vec<QuotaConfig>, out: &mut Out) -> Outcome {
        let mut named = BTreeSet::new();
        for config in &configs {
            let role = &config.role;
            if !named.insert(role) {
                return Err(invalid(format!(
                    "Invalid QuotaConfig: '{role}' is named twice; name each role once"
                )));
            }
            if !self.is_known_role(role) {
                return Err(invalid(format!("Invalid QuotaConfig: '{role}' is not on the roles whitelist")));
            }
            if role.as_str().contains('/') {
                return Err(invalid(format!("Updating quota on nested role '{role}' is not supported yet")));
            }
            let problem = self.role_problem(role).or_else(|| amounts_problem(config));
            if let Some(problem) = problem {
                return Err(invalid(format!("Invalid QuotaConfig: {problem}")));
            }
        }
        for config in configs.iter().filter(|config| !force && !config.limits.is_empty()) {
            let consumed = self.consumed(&config.role);
            if !within(&consumed, &config.limits) {
                return Err(invalid(format!(
                    "Invalid QuotaConfig: Role '{}' is already consuming '{}'; this is more than the requested \
                     limits '{}' (use 'force' flag to bypass this check)",
                    config.role,
                    shown(&consumed),
                    shown(&config.limits)
                )));
            }
        }
        if !force && configs.iter().any(|config| !config.guarantees.is_empty()) {
            let guaranteed = self.guaranteed(&configs);
            let capacity = self.capacity();
            if !contains(&capacity, &guaranteed) {
                return Err(invalid(format!(
                    "Invalid QuotaConfig: total quota guarantees '{}' exceed cluster capacity '{}' (use 'force' \
                     flag to bypass this check)",
                    shown(&guaranteed),
                    shown(&capacity)
                )));
            }
        }
        self.room_for_quotas(&configs)?;
        for config in configs {
            self.put_quota(config, out);
        }
        Ok(OperatorReply::Done)
    }

    pub(super) fn set_quota(&mut self, force: bool, config: QuotaConfig, out: &mut Out) -> Outcome {
        let role = &config.role;
        let refused = |problem: String| invalid(format!("Failed to validate set quota request: {problem}"));
        if let Some(problem) = self.role_problem(role).or_else(|| amounts_problem(&config)) {
            return Err(refused(problem));
        }
        if config.guarantees.is_empty() {
            return Err(refused("QuotaInfo with empty 'guarantee'".to_owned()));
        }
        if !self.is_known_role(role) {
            return Err(refused(format!("Unknown role '{role}'")));
        }
        if self.quotas.contains_key(role) {
            return Err(refused(format!("Cannot set quota for role '{role}' which already has quota")));
        }
        if role.as_str().contains('/') {
            return Err(invalid(format!("Setting quota on nested role '{role}' is not supported yet")));
        }
        if !force {
            let guaranteed = self.guaranteed(std::slice::from_ref(&config));
            let capacity = self.capacity();
            if !contains(&capacity, &guaranteed) {
                return Err(OperatorReply::Conflict(format!(
                    "Quota guarantees overcommit the cluster (use 'force' to bypass this check): Total quota \
                     guarantees '{}' exceed cluster capacity '{}'",
                    shown(&guaranteed),
                    shown(&capacity)
                )));
            }
        }
        self.room_for_quotas(std::slice::from_ref(&config))?;
        self.put_quota(config, out);
        Ok(OperatorReply::Done)
    }

    pub(super) fn remove_quota(&mut self, role: &Role, out: &mut Out) -> Outcome {
        let path = format!("/master/quota/{role}");
        if !self.is_known_role(role) {
            return Err(invalid(format!(
                "Failed to validate remove quota request for path '{path}': Unknown role '{role}'"
            )));
        }
        if !self.quotas.contains_key(role) {
            return Err(invalid(format!(
                "Failed to remove quota for path '{path}': Role '{role}' has no quota set"
            )));
        }
        Arc::make_mut(&mut self.quotas).remove(role);
        out.write(Write::Remove(RecordKey::Quota(role.clone())));
        self.quota_changed(role);
        Ok(OperatorReply::Done)
    }

    fn role_problem(&self, role: &Role) -> Option<String> {
        if role.is_any() {
            return Some(
                "Invalid role '*': it is the role of unreserved resources and has no quota".to_owned(),
            );
        }
        storable(role).err()
    }

    fn room_for_quotas(&self, configs: &[QuotaConfig]) -> Result<(), Refused> {
        let limit = self.config.limits.settled_roles_max;
        let new = configs.iter().filter(|config| !self.quotas.contains_key(&config.role)).count();
        if new > 0 && self.quotas.len() + new > limit {
            return Err(invalid(format!(
                "more than {limit} roles would have a quota, the limit settled_roles_max"
            )));
        }
        Ok(())
    }

    /// Of all roles, with these in the place of their present ones.
    fn guaranteed(&self, configs: &[QuotaConfig]) -> Quantities {
        let mut sum = Quantities::new();
        let kept = self.quotas.values().filter(|old| configs.iter().all(|new| new.role != old.role));
        for config in kept.chain(configs) {
            add(&mut sum, &config.guarantees);
        }
        sum
    }

    /// What agents have that is not reserved by their own configuration; those that
    /// are disconnected count, as that passes soon.
    fn capacity(&self) -> Quantities {
        let mut sum = Quantities::new();
        for agent in self.agents.values().filter(|agent| agent.is_registered()) {
            let countable = agent.info.resources.iter().filter(|resource| {
                !resource.revocable
                    && resource.reservations.first().is_none_or(|reservation| reservation.dynamic)
            });
            add(&mut sum, &quantities(countable));
        }
        sum
    }

    /// What a role and those below it hold: all their reservations, and what is
    /// allocated to them beyond.
    fn consumed(&self, top: &Role) -> Quantities {
        let mut sum = Quantities::new();
        for agent in self.agents.values().filter(|agent| agent.is_registered()) {
            let reserved = agent
                .info
                .resources
                .iter()
                .filter(|resource| !resource.is_unreserved() && is_in(&resource.role(), top));
            add(&mut sum, &quantities(reserved));
            let mut held = |role: &Role, resources: &Resources| {
                if is_in(role, top) {
                    let plain =
                        resources.iter().filter(|resource| resource.is_unreserved() && !resource.revocable);
                    add(&mut sum, &quantities(plain));
                }
            };
            for task in agent.tasks.values().filter(|task| task.holds_resources) {
                held(&task.role, &task.info.resources);
            }
            for executor in agent.executors.values() {
                held(&executor.role, &executor.info.resources);
            }
        }
        sum
    }

    fn put_quota(&mut self, config: QuotaConfig, out: &mut Out) {
        let role = config.role.clone();
        if is_default(&config) {
            if Arc::make_mut(&mut self.quotas).remove(&role).is_some() {
                out.write(Write::Remove(RecordKey::Quota(role.clone())));
                self.quota_changed(&role);
            }
            return;
        }
        Arc::make_mut(&mut self.quotas).insert(role.clone(), config.clone());
        out.write(Write::Put(Record::Quota(Box::new(config.clone()))));
        self.quota_changed(&role);
        self.rescind_for(&config, out);
    }

    /// Takes offers back: of the role itself until it is within its limits, and of
    /// other roles until its guarantee could be met from them.
    fn rescind_for(&mut self, config: &QuotaConfig, out: &mut Out) {
        let mut held = self.consumed(&config.role);
        let mine: Vec<(OfferId, Quantities)> = self.offered(|role| is_in(role, &config.role));
        for (_, offered) in &mine {
            add(&mut held, offered);
        }
        for (id, offered) in mine {
            if within(&held, &config.limits) {
                break;
            }
            for (name, quantity) in offered {
                if let Some(entry) = held.get_mut(&name) {
                    *entry = entry.saturating_sub(quantity);
                }
            }
            self.remove_offer(&id, true, out);
        }
        for (id, offered) in self.offered(|role| !is_in(role, &config.role)) {
            if contains(&held, &config.guarantees) {
                break;
            }
            add(&mut held, &offered);
            self.remove_offer(&id, true, out);
        }
    }

    /// Open offers agent by agent.
    fn offered(&self, wanted: impl Fn(&Role) -> bool) -> Vec<(OfferId, Quantities)> {
        let agents: Vec<&AgentId> =
            self.agents.values().filter(|agent| !agent.offers.is_empty()).map(|agent| &agent.id).collect();
        let offers = agents.into_iter().filter_map(|id| self.agents.get(id)).flat_map(|agent| &agent.offers);
        offers
            .filter_map(|id| self.offers.get(id))
            .filter(|open| wanted(&open.offer.role))
            .map(|open| (open.offer.id.clone(), quantities(open.offer.resources.iter())))
            .collect()
    }
}
