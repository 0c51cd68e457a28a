//! `/roles`: every role with frameworks, allocations or reservations, and their
//! ancestors. A role's figures include its sub-roles'.

use std::collections::{BTreeMap, BTreeSet};

use mesos_master::MasterView;
use model::{Resources, Role};
use serde_json::{Value, json};

use crate::wire::resources::{Summary, quantities};

/// The weight of a role that nobody weighted.
const WEIGHT_DEFAULT: f64 = 1.0;

#[derive(Debug, Default)]
struct Figures {
    frameworks: BTreeSet<String>,
    allocated: Resources,
    offered: Resources,
    reserved: Resources,
}

pub(super) fn roles(view: &MasterView) -> Value {
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
        for role in agent.info.resources.reserved_roles() {
            let reserved = agent.info.resources.of_role(&role);
            add(&mut figures, &role, |entry| entry.reserved.add(&reserved));
        }
    }
    // A framework's role without figures of its own still names its ancestors.
    for role in figures.keys().cloned().collect::<Vec<_>>() {
        for ancestor in with_ancestors(&role) {
            figures.entry(ancestor.to_owned()).or_default();
        }
    }
    json!({"roles": figures.iter().map(|(name, figures)| one(name, figures)).collect::<Vec<Value>>()})
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

fn one(name: &str, figures: &Figures) -> Value {
    let mut consumed = strip_reservations(&figures.reserved);
    consumed.add(&figures.allocated.unreserved());
    json!({
        "name": name,
        "weight": WEIGHT_DEFAULT,
        "quota": {"role": name, "guarantee": {}, "limit": {}, "consumed": quantities(&consumed)},
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
