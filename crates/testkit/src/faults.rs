//! What goes wrong and what users ask, drawn from the seed.

use model::Rng;

/// The size and the roughness of one run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub agents: usize,
    pub apps: usize,
    /// Most instances of one app.
    pub instances_max: u64,
    /// Virtual time with faults and orders, in ms.
    pub storm_ms: u64,
    /// Virtual time after it in which all must come to rest, in ms.
    pub settle_ms: u64,
    /// Mean time between orders, and between faults.
    pub order_every_ms: u64,
    pub fault_every_ms: u64,
    /// Messages delivered twice, of a thousand.
    pub doubled_per_mille: u64,
    /// Launches that fail, of a thousand.
    pub launch_failures_per_mille: u64,
    /// Foreign frameworks beside Marathon.
    pub racers: usize,
    /// Tasks of one of them that have not ended, at most.
    pub racer_tasks_max: usize,
    /// Invariants of the master are checked every so many of its steps.
    pub check_every: u64,
}

impl Plan {
    /// Sizes vary with the seed: mostly small clusters, where odd orders of
    /// events are dense; some with hundreds of agents.
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let large = rng.chance(20);
        Self {
            agents: if large { 100 + rng.index(200) } else { 1 + rng.index(7) },
            apps: 1 + rng.index(if large { 20 } else { 4 }),
            instances_max: if large { 40 } else { 6 },
            storm_ms: 60_000 + rng.below(120_000),
            settle_ms: 240_000,
            order_every_ms: 2_000 + rng.below(8_000),
            fault_every_ms: if rng.chance(100) { 3_600_000 } else { 500 + rng.below(8_000) },
            doubled_per_mille: rng.below(20),
            launch_failures_per_mille: rng.below(50),
            racers: 0,
            racer_tasks_max: 40,
            check_every: 1,
        }
    }

    /// Racing frameworks on few agents, so that they meet on each of them.
    pub fn racing(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x7ace);
        let plan = Self::from_seed(seed);
        Self { racers: 1 + rng.index(8), agents: 1 + rng.index(8), settle_ms: 1_200_000, ..plan }
    }

    /// 20 racing frameworks on 2,000 agents.
    pub fn kernel(seed: u64) -> Self {
        let plan = Self::from_seed(seed);
        Self {
            racers: 20,
            racer_tasks_max: 400,
            agents: 2_000,
            apps: 10,
            instances_max: 40,
            storm_ms: 120_000,
            settle_ms: 1_200_000,
            fault_every_ms: 100,
            check_every: 200,
            ..plan
        }
    }
}

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A task's program ends by itself.
    TaskEnds,
    /// `kill -9` of the agent's process; it is started again soon.
    AgentCrash,
    /// The machine loses power; it comes back after a while.
    PowerOff,
    /// The agent's stream breaks.
    LinkBreak,
    /// The agent hears nobody for a while.
    Partition,
    /// `kill -9` of the master's process, Marathon in it.
    MasterCrash,
    /// Marathon alone is loaded anew.
    MarathonCrash,
}

impl Fault {
    pub fn draw(rng: &mut Rng) -> Self {
        match rng.below(100) {
            0..=34 => Self::TaskEnds,
            35..=49 => Self::AgentCrash,
            50..=59 => Self::PowerOff,
            60..=74 => Self::LinkBreak,
            75..=84 => Self::Partition,
            85..=94 => Self::MasterCrash,
            _ => Self::MarathonCrash,
        }
    }
}
