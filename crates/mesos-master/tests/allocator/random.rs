//! Random clusters: the incremental allocator and the plain one are told the same, and
//! have to grant the same, at every step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesos_master::allocator::{AgentFacts, Allocator, FrameworkFacts, Grant, Options};
use model::{
    AgentCapability, AgentId, Capability, DiskInfo, DiskKind, DiskSource, FrameworkId, Persistence,
    Quantities, Quantity, QuotaConfig, Reservation, Resource, ResourceName, ResourceValue, Resources, Rng,
    Role, Time, Weight,
};

use crate::reference::Reference;

const ROLES: [&str; 8] = ["*", "a", "a/x", "a/y", "b", "b/x/y", "c", "!"];

struct World {
    seed: u64,
    rng: Rng,
    now: Time,
    fast: Allocator,
    plain: Reference,
    agents: Vec<AgentId>,
    frameworks: BTreeMap<FrameworkId, FrameworkFacts>,
    /// What is held, as given out.
    held: Vec<Grant>,
    next: u32,
    trace: Vec<String>,
    granted: usize,
}

fn role(text: &str) -> Role {
    Role::new(text).unwrap()
}

fn quantities(pairs: &[(&str, u64)]) -> Quantities {
    pairs
        .iter()
        .map(|(name, units)| {
            (ResourceName::from(*name), Quantity::from_units(u32::try_from(*units).unwrap()))
        })
        .collect()
}

fn reservation(role: &str, dynamic: bool) -> Reservation {
    Reservation { role: Role::new(role).unwrap(), dynamic, principal: None, labels: Vec::new() }
}

fn disk_source(kind: DiskKind, root: &str) -> Option<Box<DiskInfo>> {
    let source = DiskSource {
        kind,
        root: Some(root.to_owned()),
        id: None,
        profile: None,
        vendor: None,
        metadata: Vec::new(),
    };
    Some(Box::new(DiskInfo { source: Some(source), persistence: None, volume: None }))
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let options = Options {
            interval_ms: 1_000,
            min_allocatable: match rng.below(3) {
                0 => Vec::new(),
                1 => vec![quantities(&[("cpus", 1), ("mem", 10), ("ports", 1)])],
                _ => Options::default().min_allocatable,
            },
            excluded: if rng.chance(300) { vec!["mem".into(), "x".into()] } else { Vec::new() },
            filter_gpus: rng.chance(700),
            master_region: rng.chance(500).then(|| "here".to_owned()),
            expected_agents: rng.chance(200).then_some(4),
            ..Options::default()
        };
        let now = Time::from_millis(10_000);
        let fast = Allocator::new(options.clone(), now, Rng::new(seed));
        let plain = Reference::new(options, now, Rng::new(seed));
        Self {
            seed,
            rng,
            now,
            fast,
            plain,
            agents: Vec::new(),
            frameworks: BTreeMap::new(),
            held: Vec::new(),
            next: 0,
            trace: Vec::new(),
            granted: 0,
        }
    }

    fn name(&mut self, kind: &str) -> String {
        self.next += 1;
        format!("{kind}{}", self.next)
    }

    fn any_role(&mut self) -> Role {
        role(ROLES[self.rng.index(ROLES.len())])
    }

    fn any_agent(&mut self) -> Option<AgentId> {
        (!self.agents.is_empty()).then(|| self.agents[self.rng.index(self.agents.len())].clone())
    }

    fn any_framework(&mut self) -> Option<FrameworkId> {
        let ids: Vec<&FrameworkId> = self.frameworks.keys().collect();
        (!ids.is_empty()).then(|| ids[self.rng.index(ids.len())].clone())
    }

    fn resources(&mut self) -> Resources {
        let rng = &mut self.rng;
        let mut bag = Resources::new();
        let scalar = |name: &str, units: u64| {
            Resource::scalar(name, Quantity::from_milli(i64::try_from(units * 500).unwrap()))
        };
        bag.add_one(scalar("cpus", rng.below(16)));
        bag.add_one(scalar("mem", rng.below(400)));
        if rng.chance(500) {
            bag.add_one(scalar("disk", rng.below(400)));
        }
        if rng.chance(150) {
            bag.add_one(scalar("gpus", 2));
        }
        if rng.chance(200) {
            bag.add_one(scalar("x", rng.below(9)));
        }
        if rng.chance(700) {
            bag.add_one(Resource::ranges("ports", model::Ranges::new([(100, 100 + rng.below(50))])));
        }
        if rng.chance(100) {
            bag.add_one(Resource::new("names", ResourceValue::Set(vec!["p".into(), "q".into()])));
        }
        if rng.chance(150) {
            bag.add_one(Resource { revocable: true, ..scalar("cpus", rng.below(8)) });
        }
        if rng.chance(200) {
            let disk = disk_source(if rng.chance(500) { DiskKind::Mount } else { DiskKind::Path }, "/d");
            bag.add_one(Resource { disk, ..scalar("disk", 50) });
        }
        for _ in 0..rng.below(3) {
            let reserved = reservation(ROLES[1 + rng.index(7)], rng.chance(500));
            bag.add_one(scalar("cpus", 1 + rng.below(6)).reserved(reserved.clone()));
            bag.add_one(scalar("mem", 1 + rng.below(60)).reserved(reserved));
        }
        if rng.chance(150) {
            bag.add_one(
                scalar("cpus", 2).reserved(reservation("a", false)).reserved(reservation("a/x", true)),
            );
        }
        if rng.chance(250) {
            let persistence = Some(Persistence { id: "v".to_owned(), principal: None });
            let disk = Some(Box::new(DiskInfo { source: None, persistence, volume: None }));
            let shared = u32::from(rng.chance(700));
            let volume = Resource { disk, shared, ..scalar("disk", 40) };
            bag.add_one(volume.reserved(reservation(ROLES[1 + rng.index(5)], true)));
        }
        bag
    }

    fn facts(&mut self) -> AgentFacts {
        let total = self.resources();
        let rng = &mut self.rng;
        let mut capabilities = AgentCapability::ALL.to_vec();
        if rng.chance(100) {
            capabilities.retain(|capability| *capability != AgentCapability::MultiRole);
        }
        if rng.chance(100) {
            capabilities.retain(|capability| *capability != AgentCapability::HierarchicalRole);
        }
        let region = rng.chance(500).then(|| if rng.chance(700) { "here" } else { "there" }.to_owned());
        AgentFacts { total, region, capabilities, active: rng.chance(900) }
    }

    fn framework_facts(&mut self) -> FrameworkFacts {
        let mut roles: BTreeSet<Role> = BTreeSet::new();
        for _ in 0..=self.rng.below(2) {
            roles.insert(self.any_role());
        }
        let capabilities = Capability::ALL.into_iter().filter(|_| self.rng.chance(700)).collect();
        let mut min_allocatable = BTreeMap::new();
        if self.rng.chance(200) {
            let minimum = match self.rng.below(2) {
                0 => Vec::new(),
                _ => vec![quantities(&[("cpus", 3)]), quantities(&[("gpus", 1)])],
            };
            min_allocatable.insert(roles.first().cloned().unwrap(), minimum);
        }
        let suppressed =
            if self.rng.chance(150) { roles.iter().take(1).cloned().collect() } else { BTreeSet::new() };
        FrameworkFacts {
            roles: roles.into_iter().collect(),
            suppressed,
            capabilities,
            min_allocatable,
            active: self.rng.chance(900),
        }
    }

    /// A part of what is held, as an end of a task or a decline gives it back.
    fn part(&mut self, whole: &Resources) -> Resources {
        let mut part = Resources::new();
        for resource in whole.iter() {
            match &resource.value {
                _ if self.rng.chance(600) => part.add_one(resource.clone()),
                ResourceValue::Scalar(quantity) if !resource.is_indivisible() && !resource.is_shared() => {
                    let value = ResourceValue::Scalar(Quantity::from_milli(quantity.milli() / 2));
                    part.add_one(Resource { value, ..resource.clone() });
                }
                _ => {}
            }
        }
        part
    }

    fn release(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let index = self.rng.index(self.held.len());
        let mut grant = self.held.swap_remove(index);
        let back =
            if self.rng.chance(600) { grant.resources.clone() } else { self.part(&grant.resources.clone()) };
        let filter = self.rng.chance(700).then(|| Duration::from_millis(self.rng.below(8_000)));
        let (framework, role, agent) = (&grant.framework_id, &grant.role, &grant.agent_id);
        self.trace.push(format!("release {framework} {role} {agent} {back} for {filter:?}"));
        self.fast.released(self.now, framework, role, agent, &back, filter);
        self.plain.released(self.now, framework, role, agent, &back, filter);
        grant.resources.subtract(&back);
        if !grant.resources.is_empty() {
            self.held.push(grant);
        }
    }

    fn convert(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let index = self.rng.index(self.held.len());
        let mut grant = self.held[index].clone();
        if grant.role.is_any() {
            return;
        }
        let plain = |resource: &&Resource| {
            resource.is_unreserved()
                && !resource.revocable
                && matches!(resource.value, ResourceValue::Scalar(_))
                && !resource.is_indivisible()
        };
        let from: Resources = grant.resources.iter().filter(plain).take(1).cloned().collect();
        if from.is_empty() {
            return;
        }
        let mut to = Resources::new();
        for resource in from.iter().cloned() {
            let shared = u32::from(resource.name == "disk" && self.rng.chance(500));
            let mut made = resource.reserved(reservation(grant.role.as_str(), true));
            if shared > 0 {
                let mut disk = made.disk.take().unwrap_or_default();
                self.next += 1;
                disk.persistence = Some(Persistence { id: format!("v{}", self.next), principal: None });
                made.disk = Some(disk);
                made.shared = 1;
            }
            to.add_one(made);
        }
        self.trace.push(format!("convert {} {}: {from} to {to}", grant.framework_id, grant.agent_id));
        self.fast.converted(&grant.framework_id, &grant.role, &grant.agent_id, &from, &to);
        self.plain.converted(&grant.framework_id, &grant.role, &grant.agent_id, &from, &to);
        grant.resources.subtract(&from);
        grant.resources.add(&to);
        self.held[index] = grant;
    }

    fn quota(&mut self) {
        let role = role(["a", "b", "c"][self.rng.index(3)]);
        let rng = &mut self.rng;
        let config = rng.chance(700).then(|| {
            let guarantees = match rng.below(3) {
                0 => Quantities::new(),
                1 => quantities(&[("cpus", rng.below(8))]),
                _ => quantities(&[("cpus", rng.below(8)), ("mem", rng.below(200))]),
            };
            let limits = match rng.below(3) {
                0 => Quantities::new(),
                1 => quantities(&[("cpus", 8 + rng.below(8))]),
                _ => quantities(&[("cpus", 8), ("mem", 200 + rng.below(100)), ("disk", 60)]),
            };
            QuotaConfig { role: role.clone(), guarantees, limits, principal: None }
        });
        self.trace.push(format!("quota {config:?}"));
        self.fast.set_quota(&role, config.clone());
        self.plain.set_quota(&role, config);
    }

    fn change_agents(&mut self) {
        match self.rng.below(7) {
            0..=1 => {
                let id = AgentId::new(self.name("A"));
                let facts = self.facts();
                self.trace.push(format!("add {id} {facts:?}"));
                self.fast.add_agent(&id, facts.clone());
                self.plain.add_agent(&id, facts);
                self.agents.push(id);
            }
            2 => {
                let Some(id) = self.any_agent() else { return };
                let facts = self.facts();
                self.trace.push(format!("update {id} {facts:?}"));
                self.fast.update_agent(&id, facts.clone());
                self.plain.update_agent(&id, facts);
            }
            3 => {
                let Some(id) = self.any_agent() else { return };
                let active = self.rng.chance(700);
                self.trace.push(format!("agent {id} active {active}"));
                self.fast.set_agent_active(&id, active);
                self.plain.set_agent_active(&id, active);
            }
            4 => {
                let Some(id) = self.any_agent() else { return };
                let total = self.resources();
                self.trace.push(format!("agent {id} total {total}"));
                self.fast.set_agent_total(&id, total.clone());
                self.plain.set_agent_total(&id, total);
            }
            5 => {
                let Some(id) = self.any_agent() else { return };
                self.trace.push(format!("clear filters {id}"));
                self.fast.clear_agent_filters(&id);
                self.plain.clear_agent_filters(&id);
            }
            _ => {
                let Some(id) = self.any_agent() else { return };
                self.trace.push(format!("remove {id}"));
                self.fast.remove_agent(&id);
                self.plain.remove_agent(&id);
                self.agents.retain(|other| *other != id);
                self.held.retain(|grant| grant.agent_id != id);
            }
        }
    }

    fn change_frameworks(&mut self) {
        match self.rng.below(7) {
            0..=1 => {
                let id = FrameworkId::new(self.name("F"));
                let facts = self.framework_facts();
                self.trace.push(format!("add {id} {facts:?}"));
                self.fast.add_framework(&id, facts.clone());
                self.plain.add_framework(&id, facts.clone());
                self.frameworks.insert(id, facts);
            }
            2 => {
                let Some(id) = self.any_framework() else { return };
                let facts = self.framework_facts();
                self.trace.push(format!("update {id} {facts:?}"));
                self.fast.update_framework(&id, facts.clone());
                self.plain.update_framework(&id, facts.clone());
                self.frameworks.insert(id, facts);
            }
            3 => {
                let Some(id) = self.any_framework() else { return };
                let active = self.rng.chance(600);
                self.trace.push(format!("framework {id} active {active}"));
                self.fast.set_framework_active(&id, active);
                self.plain.set_framework_active(&id, active);
            }
            4..=5 => {
                let Some(id) = self.any_framework() else { return };
                let roles =
                    if self.rng.chance(500) { self.frameworks[&id].roles.clone() } else { Vec::new() };
                let roles: Vec<Role> = roles.into_iter().take(1).collect();
                if self.rng.chance(700) {
                    self.trace.push(format!("revive {id} {roles:?}"));
                    self.fast.revive(&id, &roles);
                    self.plain.revive(&id, &roles);
                } else {
                    self.trace.push(format!("suppress {id} {roles:?}"));
                    self.fast.suppress(&id, &roles);
                    self.plain.suppress(&id, &roles);
                }
            }
            _ => {
                let Some(id) = self.any_framework() else { return };
                self.trace.push(format!("remove {id}"));
                self.fast.remove_framework(&id);
                self.plain.remove_framework(&id);
                self.frameworks.remove(&id);
            }
        }
    }

    fn readmit(&mut self) {
        let (Some(agent_id), Some(framework_id)) = (self.any_agent(), self.any_framework()) else { return };
        let role = self.any_role();
        let free = self.plain.available(&agent_id).usable_by(&role);
        let resources = self.part(&free);
        if resources.is_empty() {
            return;
        }
        self.trace.push(format!("allocated {framework_id} {role} {agent_id} {resources}"));
        self.fast.allocated(&framework_id, &role, &agent_id, &resources);
        self.plain.allocated(&framework_id, &role, &agent_id, &resources);
        self.held.push(Grant { framework_id, role, agent_id, resources });
    }

    fn step(&mut self) {
        match self.rng.below(20) {
            0..=2 => self.change_agents(),
            3..=5 => self.change_frameworks(),
            6..=10 => self.release(),
            11 => self.convert(),
            12 => self.readmit(),
            13 if self.rng.chance(500) => self.quota(),
            14 if self.rng.chance(300) => {
                let role = self.any_role();
                let weight = Weight(500 * (1 + self.rng.below(6)));
                self.fast.set_weight(&role, weight);
                self.plain.set_weight(&role, weight);
            }
            _ => {
                // As a timer does it: no full run is late.
                let later = self.now.as_millis() + self.rng.below(1_500);
                for full in (self.now.as_millis() / 1_000 + 1)..=(later / 1_000) {
                    self.now = Time::from_millis(full * 1_000);
                    self.compare();
                }
                self.now = Time::from_millis(later);
                self.trace.push(format!("at {later}"));
            }
        }
        self.compare();
    }

    fn compare(&mut self) {
        let wakeup = self.fast.next_wakeup();
        let (fast, plain) = (self.fast.allocate(self.now), self.plain.allocate(self.now));
        let show = |grants: &[Grant]| {
            let line = |g: &Grant| format!("  {} {} {} {}", g.framework_id, g.role, g.agent_id, g.resources);
            grants.iter().map(line).collect::<Vec<_>>().join("\n")
        };
        assert!(
            fast == plain,
            "seed {}:\n{}\ngranted\n{}\ninstead of\n{}",
            self.seed,
            self.trace.join("\n"),
            show(&fast),
            show(&plain)
        );
        if !fast.is_empty() {
            assert!(
                wakeup.is_some_and(|due| due <= self.now),
                "seed {}:\n{}\nnobody was told to wake for\n{}",
                self.seed,
                self.trace.join("\n"),
                show(&fast)
            );
            self.trace.push(show(&fast));
        }
        self.granted += fast.len();
        self.held.extend(fast);
        if let Err(broken) = self.fast.check_invariants() {
            panic!("seed {}:\n{}\n{broken}", self.seed, self.trace.join("\n"));
        }
        for id in &self.agents {
            let (fast, plain) = (self.fast.available(id), self.plain.available(id));
            assert!(fast == plain, "seed {}: {id} has {fast}, not {plain}", self.seed);
        }
    }
}

/// Covers the cycle of the contract as a whole (KS 2.1–2.7) and `Σ allocated ≤ total`.
#[test]
fn the_incremental_allocator_grants_what_the_plain_one_grants() {
    let seeds = std::env::var("ALLOCATOR_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(60);
    let start = std::env::var("ALLOCATOR_START").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut granted = 0;
    for seed in start..start + seeds {
        let mut world = World::new(seed);
        for _ in 0..150 {
            world.step();
        }
        granted += world.granted;
    }
    assert!(granted > 10 * usize::try_from(seeds).unwrap_or(0), "only {granted} grants");
}
