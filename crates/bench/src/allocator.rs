//! The allocator alone: one run over many agents, placements per second, an idle run.
//!
//! Responsible for the grid of clusters that is measured, and for what counts as one
//! placement: an offer is granted, one task is started from it, the rest is given back
//! and not wanted for 5 s. Only CPU time of this thread counts. Nothing here needs a
//! cluster or root.

use std::time::Duration;

use mesos_master::allocator::{AgentFacts, Allocator, FrameworkFacts, Grant, Options};
use model::{
    AgentCapability, AgentId, Capability, FrameworkId, Quantities, Quantity, QuotaConfig, Ranges, Resource,
    Resources, Rng, Role, Time,
};

use crate::report::{Promise, Report};

/// What Mesos needed for one run with 1,000 frameworks and 10,000 agents, in ms (its own
/// figure of September 2018), and for adding those agents.
const MESOS_CYCLE_MS: f64 = 1060.0;
const MESOS_ADD_MS: f64 = 1610.0;

const ROLES: u32 = 10;
/// Tasks end after so many rounds.
const TASK_ROUNDS: usize = 20;
const ROUNDS: u64 = 60;
/// Rounds before counting begins: by then tasks end as often as they start.
const WARM_ROUNDS: u64 = 25;

fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), nanos)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn amount(cpus: f64, mem: u32, disk: u32, ports: Option<(u64, u64)>) -> Resources {
    let mut bag = Resources::from_iter([
        Resource::scalar("cpus", Quantity::from_f64(cpus).unwrap_or_default()),
        Resource::scalar("mem", Quantity::from_units(mem)),
        Resource::scalar("disk", Quantity::from_units(disk)),
    ]);
    if let Some(range) = ports {
        bag.add_one(Resource::ranges("ports", Ranges::new([range])));
    }
    bag
}

fn role(number: u32) -> Role {
    Role::new(format!("role-{number}")).unwrap_or_else(|_| Role::any())
}

fn agent(number: u32) -> AgentId {
    AgentId::new(format!("0a1b2c3d-4e5f-6789-abcd-ef0123456789-S{number}"))
}

fn framework(number: u32) -> FrameworkId {
    FrameworkId::new(format!("0a1b2c3d-4e5f-6789-abcd-ef0123456789-{number:04}"))
}

struct Setup {
    agents: u32,
    frameworks: u32,
    roles: u32,
    /// Part of the frameworks that refused every agent for an hour, in percent.
    refused: u32,
    quota: bool,
}

struct Cluster {
    allocator: Allocator,
    now: Time,
    adding: Duration,
}

impl Setup {
    /// All agents are there with one task each; nothing is offered yet.
    fn build(&self) -> Cluster {
        let now = Time::from_millis(1_000_000);
        let mut allocator = Allocator::new(Options::default(), now, Rng::new(7));
        for number in 0..self.frameworks {
            let facts = FrameworkFacts {
                roles: vec![self.role_of(number)],
                capabilities: vec![Capability::MultiRole],
                active: true,
                ..FrameworkFacts::default()
            };
            allocator.add_framework(&framework(number), facts);
        }
        let total = amount(32.0, 131_072, 1_000_000, Some((31_000, 32_000)));
        let used = amount(2.0, 1_024, 1_024, Some((31_100, 31_110)));
        let ids: Vec<AgentId> = (0..self.agents).map(agent).collect();
        let begin = cpu_time();
        for (number, id) in (0..).zip(&ids) {
            let facts = AgentFacts {
                total: total.clone(),
                region: None,
                capabilities: AgentCapability::ALL.to_vec(),
                active: true,
            };
            allocator.add_agent(id, facts);
            let holder: u32 = number % self.frameworks;
            allocator.allocated(&framework(holder), &self.role_of(holder), id, &used);
        }
        let adding = cpu_time() - begin;
        Cluster { allocator, now, adding }
    }

    fn role_of(&self, framework: u32) -> Role {
        if self.roles == 1 { Role::any() } else { role(framework % self.roles) }
    }

    /// Some frameworks refuse everything, quota is set: the state that a run meets.
    fn prepare(&self, cluster: &mut Cluster) {
        if self.refused > 0 {
            // Evenly within each role.
            let is_picky = |number: u32| (number + number / self.roles) * 50 % 100 < self.refused;
            for number in (0..self.frameworks).filter(|number| !is_picky(*number)) {
                cluster.allocator.suppress(&framework(number), &[]);
            }
            loop {
                let grants = cluster.round();
                if grants.is_empty() {
                    break;
                }
                for grant in grants {
                    cluster.give_back(&grant, &grant.resources, Some(Duration::from_secs(3600)));
                }
            }
            for number in (0..self.frameworks).filter(|number| !is_picky(*number)) {
                cluster.allocator.revive(&framework(number), &[]);
            }
        }
        if self.quota {
            let names = |cpus: u32| Quantities::from([("cpus".into(), Quantity::from_units(cpus))]);
            for number in 0..self.roles {
                let config = QuotaConfig {
                    role: role(number),
                    guarantees: names(10),
                    limits: names(30 * self.agents),
                    principal: None,
                };
                cluster.allocator.set_quota(&role(number), Some(config));
            }
            // Nobody is there to use it: it is held back from everybody at every offer.
            let absent = Role::new("absent").unwrap_or_else(|_| Role::any());
            let config = QuotaConfig {
                role: absent.clone(),
                guarantees: names(100),
                limits: names(100),
                principal: None,
            };
            cluster.allocator.set_quota(&absent, Some(config));
        }
    }
}

impl Cluster {
    fn round(&mut self) -> Vec<Grant> {
        self.now = self.now + Duration::from_secs(1);
        self.allocator.allocate(self.now)
    }

    fn give_back(&mut self, grant: &Grant, back: &Resources, filter: Option<Duration>) {
        let Grant { framework_id, role, agent_id, .. } = grant;
        self.allocator.released(self.now, framework_id, role, agent_id, back, filter);
    }
}

/// CPU of one run over all agents, none of which was offered before.
fn cycle(setup: &Setup) -> (f64, f64, usize) {
    let mut cluster = setup.build();
    let begin = cpu_time();
    let grants = cluster.round();
    (millis(cpu_time() - begin), millis(cluster.adding), grants.len())
}

/// CPU of a full run at which nothing changed since the last, though much is free.
fn idle(setup: &Setup) -> f64 {
    let mut cluster = setup.build();
    setup.prepare(&mut cluster);
    cluster.round();
    let begin = cpu_time();
    for _ in 0..100 {
        cluster.round();
    }
    millis(cpu_time() - begin) * 10.0
}

/// Microseconds of CPU per placement.
fn placements(setup: &Setup) -> f64 {
    let mut cluster = setup.build();
    setup.prepare(&mut cluster);
    let task = amount(0.5, 512, 128, None);
    let mut running: std::collections::VecDeque<Vec<Grant>> = std::collections::VecDeque::new();
    let mut placed = 0_usize;
    let mut begin = cpu_time();
    for round in 0..ROUNDS {
        if round == WARM_ROUNDS {
            begin = cpu_time();
            placed = 0;
        }
        let mut started = Vec::new();
        for mut grant in cluster.round() {
            if !grant.resources.contains(&task) {
                cluster.give_back(&grant, &grant.resources, Some(Duration::from_secs(5)));
                continue;
            }
            let rest = grant.resources.minus(&task);
            cluster.give_back(&grant, &rest, Some(Duration::from_secs(5)));
            grant.resources = task.clone();
            started.push(grant);
            placed += 1;
        }
        running.push_back(started);
        if running.len() > TASK_ROUNDS {
            for grant in running.pop_front().unwrap_or_default() {
                cluster.give_back(&grant, &grant.resources, None);
            }
        }
    }
    (cpu_time() - begin).as_secs_f64() * 1e6 / placed.max(1) as f64
}

pub fn measure(repeat: u32, report: &mut Report) {
    let rounds = repeat.clamp(1, 7);
    let setup = |agents, frameworks, roles| Setup { agents, frameworks, roles, refused: 0, quota: false };
    let cycles = |setup: Setup| (0..rounds).map(|_| cycle(&setup)).collect::<Vec<_>>();
    let hundred = cycles(setup(10_000, 100, 1));
    report.add(Promise::Allocation, hundred.iter().map(|(run, _, _)| *run).collect());
    let thousand = cycles(setup(10_000, 1_000, 1));
    report.note("  the same with 1,000 frameworks", "ms", thousand.iter().map(|(run, _, _)| *run).collect());
    report.note("  adding the 10,000 agents", "ms", thousand.iter().map(|(_, adding, _)| *adding).collect());
    let roles = cycles(setup(10_000, 1_000, 100));
    report.note("  1,000 frameworks in 100 roles", "ms", roles.iter().map(|(run, _, _)| *run).collect());
    if let Some((run, adding, offers)) = thousand.first() {
        report.remark(format!(
            "allocation: {offers} offers; Mesos took {MESOS_CYCLE_MS} ms for 1,000 frameworks ({:.0}x) and {MESOS_ADD_MS} ms for adding the agents ({:.0}x) on its authors' machine",
            MESOS_CYCLE_MS / run,
            MESOS_ADD_MS / adding
        ));
    }
    let quiet = Setup { agents: 10_000, frameworks: 20, roles: ROLES, refused: 100, quota: false };
    report.note("full run with nothing changed, 10,000 agents refused by all", "us", vec![idle(&quiet)]);
    let mut promised = Vec::new();
    for (agents, frameworks) in [(1_000, 10), (1_000, 100), (5_000, 10), (5_000, 100)] {
        for refused in [0, 50] {
            for quota in [false, true] {
                let setup = Setup { agents, frameworks, roles: ROLES, refused, quota };
                let samples: Vec<f64> = (0..rounds.min(3)).map(|_| placements(&setup)).collect();
                if agents == 5_000 {
                    promised.extend(&samples);
                }
                let what = format!(
                    "  {agents} agents, {frameworks} frameworks, {refused} % refused{}",
                    if quota { ", quota" } else { "" }
                );
                report.note(&what, "us", samples);
            }
        }
    }
    report.add(Promise::Placement, promised);
}
