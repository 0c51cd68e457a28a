//! Who is offered what: hierarchical dominant resource fairness, as a function.
//!
//! Input: totals, what every role and framework holds, the candidate agents with
//! their free resources, and the filters. Output: a list of grants; nothing is
//! changed here. An agent's whole offerable share goes to one framework. Rules:
//! `apache/mesos` `src/master/allocator/mesos/hierarchical.cpp`.

use std::collections::BTreeMap;

use model::{AgentId, FrameworkId, Quantity, Resources, Role};

use super::Grant;

/// A framework that wants offers for a role.
#[derive(Debug, Clone)]
pub struct Client {
    pub framework_id: FrameworkId,
    pub role: Role,
    /// Allocated to this framework in this role (tasks and open offers), cluster-wide.
    pub allocated: Resources,
}

#[derive(Debug, Clone)]
pub struct Candidate {
    pub agent_id: AgentId,
    pub free: Resources,
}

/// The least an offer must hold to be worth sending.
#[derive(Debug, Clone, Copy)]
pub struct Minimum {
    pub cpus: Quantity,
    pub mem: Quantity,
}

impl Minimum {
    pub fn met_by(&self, resources: &Resources) -> bool {
        resources.cpus() >= self.cpus || resources.mem() >= self.mem
    }
}

/// The largest part that a bag takes of any one total, in parts per billion.
pub fn dominant_share(allocated: &Resources, total: &Resources) -> u64 {
    let mut share = 0;
    for resource in allocated.iter() {
        let whole = total.scalar(&resource.name).milli();
        let part = allocated.scalar(&resource.name).milli();
        if whole > 0 && part > 0 {
            let parts = i128::from(part) * 1_000_000_000 / i128::from(whole);
            share = share.max(u64::try_from(parts).unwrap_or(u64::MAX));
        }
    }
    share
}

/// Divides the candidates' free resources among the clients. `filtered` says
/// whether this framework refused such an offer lately.
pub fn allocate(
    total: &Resources,
    role_allocated: &BTreeMap<Role, Resources>,
    clients: &[Client],
    candidates: &[Candidate],
    minimum: Minimum,
    filtered: impl Fn(&FrameworkId, &Role, &AgentId, &Resources) -> bool,
) -> Vec<Grant> {
    let mut roles: BTreeMap<Role, Resources> = BTreeMap::new();
    for client in clients {
        let held = role_allocated.get(&client.role).cloned().unwrap_or_default();
        roles.entry(client.role.clone()).or_insert(held);
    }
    let mut clients: Vec<Client> = clients.to_vec();
    let mut grants = Vec::new();
    for candidate in candidates {
        let mut free = candidate.free.clone();
        let mut role_order: Vec<(u64, Role)> =
            roles.iter().map(|(role, held)| (dominant_share(held, total), role.clone())).collect();
        role_order.sort();
        for (_, role) in role_order {
            let mut order: Vec<(u64, usize)> = clients
                .iter()
                .enumerate()
                .filter(|(_, client)| client.role == role)
                .map(|(index, client)| (dominant_share(&client.allocated, total), index))
                .collect();
            order.sort();
            for (_, index) in order {
                let offerable = free.usable_by(&role);
                let client = &clients[index];
                if offerable.is_empty()
                    || !minimum.met_by(&offerable)
                    || filtered(&client.framework_id, &role, &candidate.agent_id, &offerable)
                {
                    continue;
                }
                free.subtract(&offerable);
                clients[index].allocated.add(&offerable);
                if let Some(held) = roles.get_mut(&role) {
                    held.add(&offerable);
                }
                grants.push(Grant {
                    framework_id: clients[index].framework_id.clone(),
                    role: role.clone(),
                    agent_id: candidate.agent_id.clone(),
                    resources: offerable,
                });
            }
        }
    }
    grants
}

#[cfg(test)]
mod tests {
    use super::*;

    fn res(text: &str) -> Resources {
        Resources::parse(text, &Role::any()).unwrap()
    }

    fn client(id: &str, role: &str, held: &str) -> Client {
        Client { framework_id: id.into(), role: Role::new(role).unwrap(), allocated: res(held) }
    }

    fn run(clients: &[Client], agents: &[(&str, &str)], refused: &[(&str, &str)]) -> Vec<String> {
        let candidates: Vec<Candidate> =
            agents.iter().map(|(id, free)| Candidate { agent_id: (*id).into(), free: res(free) }).collect();
        let mut total = Resources::new();
        let mut held: BTreeMap<Role, Resources> = BTreeMap::new();
        for candidate in &candidates {
            total.add(&candidate.free);
        }
        for client in clients {
            total.add(&client.allocated);
            held.entry(client.role.clone()).or_default().add(&client.allocated);
        }
        let minimum = Minimum { cpus: Quantity::from_milli(10), mem: Quantity::from_units(32) };
        allocate(&total, &held, clients, &candidates, minimum, |framework, _, agent, _| {
            refused.contains(&(framework.as_str(), agent.as_str()))
        })
        .into_iter()
        .map(|grant| format!("{}@{}: {}", grant.framework_id, grant.agent_id, grant.resources))
        .collect()
    }

    #[test]
    fn the_poorer_framework_is_served_first_and_shares_even_out() {
        let clients = [client("rich", "*", "cpus:4;mem:400"), client("poor", "*", "cpus:1;mem:100")];
        let agents = [("a1", "cpus:2;mem:100"), ("a2", "cpus:2;mem:100"), ("a3", "cpus:2;mem:100")];
        let grants = run(&clients, &agents, &[]);
        assert!(grants[0].starts_with("poor@a1") && grants[1].starts_with("poor@a2"), "{grants:?}");
        assert_eq!(grants.len(), 3);
    }

    #[test]
    fn roles_are_compared_before_frameworks() {
        let clients = [client("a1", "a", "cpus:1"), client("a2", "a", ""), client("b1", "b", "cpus:1")];
        let grants = run(&clients, &[("x", "cpus:1"), ("y", "cpus:1")], &[]);
        // Both roles hold one cpu: role a by name first, its poorest framework; then role b.
        assert!(grants[0].starts_with("a2@x") && grants[1].starts_with("b1@y"), "{grants:?}");
    }

    #[test]
    fn reservations_go_to_their_role_only() {
        let clients = [client("plain", "*", ""), client("public", "slave_public", "cpus:1")];
        let grants = run(&clients, &[("a", "cpus:1;cpus(slave_public):2;mem(slave_public):64")], &[]);
        assert_eq!(grants, ["plain@a: cpus(*):1", "public@a: cpus(slave_public):2; mem(slave_public):64"]);
    }

    #[test]
    fn refused_and_tiny_shares_are_not_offered() {
        let clients = [client("f", "*", "")];
        assert!(run(&clients, &[("a", "cpus:1")], &[("f", "a")]).is_empty());
        assert!(run(&clients, &[("a", "cpus:0.005;mem:31;disk:100")], &[]).is_empty());
        assert_eq!(run(&clients, &[("a", "mem:32")], &[]).len(), 1);
    }
}
