//! `/roles`: every role with frameworks, allocations or reservations, and their
//! ancestors. A role's figures include its sub-roles'.

use std::collections::{BTreeMap, BTreeSet};

use mesos_master::MasterView;
use model::{Quantities, QuotaConfig, Resources, Role, Weight};
use serde_json::{Value, json};

use crate::wire::resources::{Summary, quantities};

#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub frameworks: BTreeSet<String>,
    pub allocated: Resources,
    pub offered: Resources,
    pub reserved: Resources,
}

/// The weight of a role, 1 when nobody weighted it.
pub(crate) fn weight(view: &MasterView, role: &str) -> f64 {
    let set = Role::new(role).ok().and_then(|role| view.weights.get(&role).copied());
    set.unwrap_or(Weight::DEFAULT).0 as f64 / 1000.0
}

pub(super) fn roles(view: &MasterView) -> Value {
    let figures = figures(view);
    json!({"roles": figures.iter().map(|(name, figures)| one(view, name, figures)).collect::<Vec<Value>>()})
}

/// What is known of every role that is used, weighted, reserved for or limited.
pub(crate) fn figures(view: &MasterView) -> BTreeMap<String, Figures> {
    let mut figures: BTreeMap<String, Figures> = BTreeMap::new();
    for framework in &view.frameworks {
        let held = framework.tasks.iter().filter(|task| task.holds_resources);
        let used_roles = held.clone().map(|task| &task.role);
        for role in framework.info.roles.iter().chain(used_roles) {
            let entry = figures.entry(role.to_string()).or_default();
            if !entry.frameworks.contains(framework.id.as_str()) {
                entry.frameworks.insert(framework.id.to_string());
            }
        }
        for task in held {
            add(&mut figures, &task.role, |entry| entry.allocated.add(&task.info.resources));
        }
        for offer in &framework.offers {
            add(&mut figures, &offer.role, |entry| entry.offered.add(&offer.resources));
        }
    }
    for agent in &view.agents {
        for executor in &agent.executors {
            add(&mut figures, &executor.role, |entry| entry.allocated.add(&executor.info.resources));
        }
        for role in agent.info.resources.reserved_roles() {
            let reserved = agent.info.resources.of_role(&role);
            add(&mut figures, &role, |entry| entry.reserved.add(&reserved));
        }
    }
    for role in view.weights.keys().chain(view.quotas.keys()) {
        figures.entry(role.to_string()).or_default();
    }
    // A framework's role without figures of its own still names its ancestors.
    for role in figures.keys().cloned().collect::<Vec<_>>() {
        for ancestor in with_ancestors(&role) {
            figures.entry(ancestor.to_owned()).or_default();
        }
    }
    figures
}

fn add(figures: &mut BTreeMap<String, Figures>, role: &Role, change: impl Fn(&mut Figures)) {
    for name in with_ancestors(role.as_str()) {
        change(figures.entry(name.to_owned()).or_default());
    }
}

/// `a/b/c`, `a/b`, `a`.
fn with_ancestors(role: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(role), |role| role.rsplit_once('/').map(|(parent, _)| parent))
}

fn one(view: &MasterView, name: &str, figures: &Figures) -> Value {
    let quota = Role::new(name).ok().and_then(|role| view.quotas.get(&role));
    let shown = |pick: fn(&QuotaConfig) -> &Quantities| -> BTreeMap<&str, f64> {
        let amounts = quota.map(pick).into_iter().flatten();
        amounts.map(|(name, quantity)| (name.as_str(), quantity.to_f64())).collect()
    };
    let mut consumed = strip_reservations(&figures.reserved);
    consumed.add(&figures.allocated.unreserved());
    json!({
        "name": name,
        "weight": weight(view, name),
        "quota": {
            "role": name,
            "guarantee": shown(|config| &config.guarantees),
            "limit": shown(|config| &config.limits),
            "consumed": quantities(&consumed),
        },
        "resources": Summary(&figures.allocated.plus(&figures.offered)),
        "allocated": quantities(&figures.allocated),
        "offered": quantities(&figures.offered),
        "reserved": quantities(&figures.reserved),
        "frameworks": figures.frameworks,
    })
}

fn strip_reservations(resources: &Resources) -> Resources {
    let strip = |resource: &model::Resource| model::Resource { reservations: Vec::new(), ..resource.clone() };
    resources.iter().map(strip).collect()
}
