//! The simulated world: one event queue, virtual time, seeded everything.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use marathon::Marathon;
use mesos_agent::{Agent, AgentConfig, ContainerExit};
use mesos_master::{ConnId, Master, MasterConfig};
use model::agent_api::{AgentToMaster, MasterToAgent};
use model::scheduler_api::{SchedulerCall, SchedulerEvent};
use model::{AgentInfo, ContainerId, Resources, Rng, Role, Time};

use crate::faults::Plan;
use crate::node::{AgentNode, Pipeline};
use crate::oracle::{Orders, UpdateWatch};
use crate::racers::Racer;

/// A broken promise, with what is needed to see it again.
#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub at: Time,
    pub what: String,
    /// The last events before it.
    pub trace: Vec<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        write!(
            f,
            "seed {} at {}: {}\nreplay: cargo xtask sim --seeds 1 --start {}",
            self.seed, self.at, self.what, self.seed
        )
    }
}

/// What one run did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub events: u64,
    pub launches: u64,
    pub faults: u64,
    pub orders: u64,
    /// Virtual time from the end of the storm until all was at rest, in ms.
    pub settled_ms: u64,
    /// Of every event in order: equal for equal seeds.
    pub digest: u64,
}

#[derive(Debug, Clone)]
pub(crate) enum Event {
    ToMaster { conn: u64, message: AgentToMaster },
    ToAgent { conn: u64, message: MasterToAgent },
    Connect { agent: usize, life: u64 },
    ClosedAtMaster { conn: u64 },
    ClosedAtAgent { conn: u64 },
    SchedulerCall { life: u64, conn: u64, call: SchedulerCall },
    ToScheduler { life: u64, conn: u64, event: SchedulerEvent },
    RacerStarts { racer: usize },
    RacerActs { racer: usize },
    RacerCall { life: u64, conn: u64, call: SchedulerCall },
    RacerClosed { life: u64, conn: u64 },
    RacerStreamEnds { conn: u64 },
    ToRacer { conn: u64, event: SchedulerEvent },
    MasterCommit { life: u64 },
    MarathonCommit { life: u64 },
    AgentCommit { agent: usize, life: u64 },
    MasterTick { life: u64, due: Time },
    MarathonTick { life: u64, due: Time },
    AgentTick { agent: usize, life: u64, due: Time },
    ContainerStart { agent: usize, life: u64, id: ContainerId },
    ContainerEnd { agent: usize, id: ContainerId, exit: ContainerExit },
    VolumeDone { agent: usize, life: u64, uuid: model::UpdateId },
    StartMaster,
    StartMarathon { master_life: u64 },
    StartAgent { agent: usize, life: u64 },
    PowerOn { agent: usize },
    Heal { agent: usize },
    Order,
    Fault,
}

/// One stream between an agent and the master.
#[derive(Debug)]
pub(crate) struct Conn {
    pub agent: usize,
    pub agent_life: u64,
    pub master_life: u64,
    /// Messages arriving after this are lost.
    pub cut: Option<Time>,
    pub master_closed: bool,
    pub agent_closed: bool,
    pub last_to_master: Time,
    pub last_to_agent: Time,
}

pub struct World {
    pub seed: u64,
    pub plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) now: Time,
    sequence: u64,
    queue: BTreeMap<(Time, u64), Event>,
    pub(crate) master: Option<Master>,
    pub(crate) master_life: u64,
    pub(crate) master_pipeline: Pipeline<mesos_master::Write, mesos_master::Effect>,
    pub(crate) master_disk: BTreeMap<mesos_master::RecordKey, mesos_master::Record>,
    master_wakeup: Option<Time>,
    pub(crate) marathon: Option<Marathon>,
    pub(crate) marathon_life: u64,
    pub(crate) marathon_pipeline: Pipeline<marathon::Write, marathon::Effect>,
    pub(crate) marathon_disk: crate::marathon_side::MarathonDisk,
    marathon_wakeup: Option<Time>,
    pub(crate) scheduler_conn: u64,
    last_call: Time,
    last_event: Time,
    pub(crate) racers: Vec<Racer>,
    /// Streams of racers that are over.
    pub(crate) dead_racer_conns: BTreeSet<u64>,
    pub(crate) agents: Vec<AgentNode>,
    pub(crate) conns: BTreeMap<u64, Conn>,
    next_number: u64,
    steps: u64,
    pub(crate) orders: Orders,
    pub(crate) updates: UpdateWatch,
    pub(crate) storm_over: bool,
    pub(crate) report: Report,
    digest: DefaultHasher,
    trace: Vec<String>,
    /// Events that name this are printed as they happen.
    shown: Option<String>,
}

/// Events kept for the report of a failure.
const TRACE_MAX: usize = 200;
/// Silence after which both ends of a stream give it up, in ms.
const HEARTBEAT_TIMEOUT_MS: u64 = 5_000;
/// Events of one run; more means that something spins.
const EVENTS_MAX: u64 = 20_000_000;

impl World {
    pub fn new(seed: u64) -> Self {
        Self::with_plan(seed, Plan::from_seed(seed))
    }

    pub fn with_plan(seed: u64, plan: Plan) -> Self {
        let mut rng = Rng::new(seed);
        let agents = (0..plan.agents)
            .map(|_| AgentNode::new(1_000 * (1 + rng.below(8)), 1_024 * (1 + rng.below(8))))
            .collect();
        let mut world = Self {
            seed,
            plan,
            rng,
            now: Time::from_millis(1_700_000_000_000),
            sequence: 0,
            queue: BTreeMap::new(),
            master: None,
            master_life: 0,
            master_pipeline: Pipeline::default(),
            master_disk: BTreeMap::new(),
            master_wakeup: None,
            marathon: None,
            marathon_life: 0,
            marathon_pipeline: Pipeline::default(),
            marathon_disk: crate::marathon_side::MarathonDisk::default(),
            marathon_wakeup: None,
            scheduler_conn: 0,
            last_call: Time::ZERO,
            last_event: Time::ZERO,
            racers: Vec::new(),
            dead_racer_conns: BTreeSet::new(),
            agents,
            conns: BTreeMap::new(),
            next_number: 1,
            steps: 0,
            orders: Orders::default(),
            updates: UpdateWatch::default(),
            storm_over: false,
            report: Report::default(),
            digest: DefaultHasher::new(),
            trace: Vec::new(),
            shown: std::env::var("SIM_TRACE").ok(),
        };
        world.at(0, Event::StartMaster);
        for agent in 0..world.agents.len() {
            let delay = world.rng.below(3_000);
            world.at(delay, Event::StartAgent { agent, life: 0 });
        }
        for racer in 0..world.plan.racers {
            let new = Racer::new(racer, &mut world.rng);
            world.racers.push(new);
            let delay = 100 + world.rng.below(2_000);
            world.at(delay, Event::RacerStarts { racer });
            world.at(delay + 1_000, Event::RacerActs { racer });
        }
        world.at(500, Event::Order);
        let first_fault = world.plan.fault_every_ms;
        world.at(first_fault, Event::Fault);
        world
    }

    /// Runs the storm, then the calm, and judges.
    pub fn run(mut self) -> Result<Report, Box<Failure>> {
        let storm_end = self.now + Duration::from_millis(self.plan.storm_ms);
        self.run_until(storm_end)?;
        self.storm_over = true;
        self.end_storm();
        let calm_begin = self.now;
        let bound = self.now + Duration::from_millis(self.plan.settle_ms);
        let mut problem = String::new();
        while self.now < bound {
            let next = self.now + Duration::from_secs(1);
            self.run_until(next)?;
            match self.at_rest() {
                Ok(()) => {
                    // It must stay so: nothing may start or stop any more.
                    let launches = self.report.launches;
                    self.report.settled_ms =
                        u64::try_from(self.now.since(calm_begin).as_millis()).unwrap_or(0);
                    self.run_until(self.now + Duration::from_secs(120))?;
                    if let Err(what) = self.at_rest() {
                        return Err(self.failure(format!("came to rest, then left it: {what}")));
                    }
                    if self.report.launches != launches {
                        return Err(self.failure("launched something after it had come to rest".to_owned()));
                    }
                    self.report.digest = self.digest.finish();
                    return Ok(self.report);
                }
                Err(what) => problem = what,
            }
        }
        Err(self.failure(format!("not at rest {} ms after the storm: {problem}", self.plan.settle_ms)))
    }

    fn failure(&mut self, what: String) -> Box<Failure> {
        Box::new(Failure { seed: self.seed, at: self.now, what, trace: std::mem::take(&mut self.trace) })
    }

    fn run_until(&mut self, end: Time) -> Result<(), Box<Failure>> {
        while let Some(((time, _), _)) = self.queue.first_key_value() {
            if *time > end {
                break;
            }
            let Some(((time, _), event)) = self.queue.pop_first() else { break };
            self.now = self.now.max(time);
            self.report.events += 1;
            if self.report.events > EVENTS_MAX {
                return Err(self.failure(format!("more than {EVENTS_MAX} events: something spins")));
            }
            self.note(&event);
            if let Err(what) = self.handle(event) {
                return Err(self.failure(what));
            }
        }
        self.now = self.now.max(end);
        Ok(())
    }

    fn note(&mut self, event: &Event) {
        let text = format!("{event:?}");
        (self.now, &text).hash(&mut self.digest);
        if self.shown.as_ref().is_some_and(|part| text.contains(part.as_str())) {
            println!("{} {text}", self.now);
        }
        if self.trace.len() >= TRACE_MAX {
            self.trace.remove(0);
        }
        let shown: String = text.chars().take(400).collect();
        self.trace.push(format!("{} {shown}", self.now));
    }

    pub(crate) fn remark(&mut self, text: String) {
        if self.shown.is_some() {
            println!("{} -- {text}", self.now);
        }
        self.trace.push(format!("{} -- {text}", self.now));
    }

    pub(crate) fn at(&mut self, delay_ms: u64, event: Event) {
        self.at_time(self.now + Duration::from_millis(delay_ms), event);
    }

    pub(crate) fn at_time(&mut self, time: Time, event: Event) {
        self.sequence += 1;
        self.queue.insert((time, self.sequence), event);
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn handle(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::ToMaster { conn, message } => self.arrive_at_master(conn, message)?,
            Event::ToAgent { conn, message } => self.arrive_at_agent(conn, message)?,
            Event::Connect { agent, life } => self.connect(agent, life)?,
            Event::ClosedAtMaster { conn } => self.close_at_master(conn)?,
            Event::ClosedAtAgent { conn } => self.close_at_agent(conn)?,
            Event::SchedulerCall { life, conn, call } => {
                if life == self.master_life && conn == self.scheduler_conn {
                    self.step_master(mesos_master::Input::Scheduler { conn: ConnId(conn), call })?;
                }
            }
            Event::ToScheduler { life, conn, event } => self.scheduler_event(life, conn, event)?,
            Event::RacerStarts { racer } => self.racer_starts(racer)?,
            Event::RacerActs { racer } => self.racer_acts(racer)?,
            Event::RacerCall { life, conn, call } => self.racer_call_arrives(life, conn, call)?,
            Event::RacerClosed { life, conn } => self.racer_closed(life, conn)?,
            Event::RacerStreamEnds { conn } => self.racer_stream_ended(conn),
            Event::ToRacer { conn, event } => self.racer_event(conn, event)?,
            Event::MasterCommit { life } => self.master_commit(life)?,
            Event::MarathonCommit { life } => self.marathon_commit(life)?,
            Event::AgentCommit { agent, life } => self.agent_commit(agent, life)?,
            Event::MasterTick { life, due } => {
                if life == self.master_life && self.master_wakeup == Some(due) {
                    self.master_wakeup = None;
                    self.step_master(mesos_master::Input::Tick)?;
                }
            }
            Event::MarathonTick { life, due } => {
                if life == self.marathon_life && self.marathon_wakeup == Some(due) {
                    self.marathon_wakeup = None;
                    self.step_marathon(marathon::Input::Tick)?;
                }
            }
            Event::AgentTick { agent, life, due } => {
                if life == self.agents[agent].life && self.agents[agent].wakeup == Some(due) {
                    self.agents[agent].wakeup = None;
                    self.step_agent(agent, mesos_agent::Input::Tick)?;
                }
            }
            Event::ContainerStart { agent, life, id } => self.container_start(agent, life, id)?,
            Event::ContainerEnd { agent, id, exit } => self.container_end(agent, id, exit)?,
            Event::VolumeDone { agent, life, uuid } => {
                if life == self.agents[agent].life {
                    self.step_agent(agent, mesos_agent::Input::VolumeDone { uuid })?;
                }
            }
            Event::StartMaster => self.start_master()?,
            Event::StartMarathon { master_life } => {
                if master_life == self.master_life && self.master.is_some() {
                    self.start_marathon()?;
                }
            }
            Event::StartAgent { agent, life } => self.start_agent(agent, life)?,
            Event::PowerOn { agent } => {
                self.agents[agent].powered = true;
                let life = self.agents[agent].life;
                self.start_agent(agent, life)?;
            }
            Event::Heal { agent } => self.agents[agent].partitioned = false,
            Event::Order => self.order()?,
            Event::Fault => self.fault()?,
        }
        Ok(())
    }

    // ---- brains

    pub(crate) fn step_master(&mut self, input: mesos_master::Input) -> Result<(), String> {
        let Some(master) = &mut self.master else { return Ok(()) };
        let output = master.step(self.now, input);
        // Of a large world every so many steps: they take as long as the world is large.
        self.steps += 1;
        if self.steps.is_multiple_of(self.plan.check_every) {
            master.check_invariants().map_err(|what| format!("master: {what}"))?;
        }
        let wakeup = master.next_wakeup();
        if !output.is_empty() {
            self.master_pipeline.push(output);
            self.start_master_commit();
        }
        if let Some(due) = wakeup.filter(|due| self.master_wakeup.is_none_or(|set| *due < set)) {
            self.master_wakeup = Some(due);
            self.at_time(due.max(self.now), Event::MasterTick { life: self.master_life, due });
        }
        Ok(())
    }

    pub(crate) fn step_marathon(&mut self, input: marathon::Input) -> Result<(), String> {
        let Some(marathon) = &mut self.marathon else { return Ok(()) };
        let output = marathon.step(self.now, input);
        marathon.check_invariants().map_err(|what| format!("marathon: {what}"))?;
        let wakeup = marathon.next_wakeup();
        if !output.is_empty() {
            self.marathon_pipeline.push(output);
            self.start_marathon_commit();
        }
        if let Some(due) = wakeup.filter(|due| self.marathon_wakeup.is_none_or(|set| *due < set)) {
            self.marathon_wakeup = Some(due);
            self.at_time(due.max(self.now), Event::MarathonTick { life: self.marathon_life, due });
        }
        Ok(())
    }

    pub(crate) fn step_agent(&mut self, index: usize, input: mesos_agent::Input) -> Result<(), String> {
        let node = &mut self.agents[index];
        let Some(agent) = &mut node.process else { return Ok(()) };
        let output = agent.step(self.now, input);
        agent.check_invariants().map_err(|what| format!("agent {index}: {what}"))?;
        let (wakeup, life) = (agent.next_wakeup(), node.life);
        let set = node.wakeup;
        if !output.is_empty() {
            node.pipeline.push(output);
            self.start_agent_commit(index);
        }
        if let Some(due) = wakeup.filter(|due| set.is_none_or(|set| *due < set)) {
            self.agents[index].wakeup = Some(due);
            self.at_time(due.max(self.now), Event::AgentTick { agent: index, life, due });
        }
        Ok(())
    }

    /// Mostly a fraction of a millisecond, sometimes a slow disk.
    fn commit_delay(&mut self) -> u64 {
        if self.rng.chance(20) { self.rng.below(400) } else { self.rng.below(3) }
    }

    pub(crate) fn start_master_commit(&mut self) {
        if self.master_pipeline.start() {
            let delay = self.commit_delay();
            self.at(delay, Event::MasterCommit { life: self.master_life });
        }
    }

    pub(crate) fn start_marathon_commit(&mut self) {
        if self.marathon_pipeline.start() {
            let delay = self.commit_delay();
            self.at(delay, Event::MarathonCommit { life: self.marathon_life });
        }
    }

    fn start_agent_commit(&mut self, agent: usize) {
        if self.agents[agent].pipeline.start() {
            let delay = self.commit_delay();
            let life = self.agents[agent].life;
            self.at(delay, Event::AgentCommit { agent, life });
        }
    }

    fn master_commit(&mut self, life: u64) -> Result<(), String> {
        if life != self.master_life {
            return Ok(());
        }
        for output in self.master_pipeline.finish() {
            for write in output.writes {
                self.apply_master_write(write);
            }
            for effect in output.effects {
                self.master_effect(effect);
            }
        }
        self.start_master_commit();
        Ok(())
    }

    pub(crate) fn apply_master_write(&mut self, write: mesos_master::Write) {
        write.apply(&mut self.master_disk);
    }

    fn master_effect(&mut self, effect: mesos_master::Effect) {
        match effect {
            mesos_master::Effect::ToAgent { conn, message } => self.send_to_agent(conn.0, message),
            mesos_master::Effect::ToScheduler { conn, event } => {
                if conn.0 != self.scheduler_conn {
                    if let Some(racer) = self.racer_conn(conn.0) {
                        let due = self.now + Duration::from_millis(self.latency());
                        let time = self.racers[racer].last_event.max(due);
                        self.racers[racer].last_event = time;
                        self.at_time(time, Event::ToRacer { conn: conn.0, event });
                    }
                    return;
                }
                self.last_event = self.last_event.max(self.now);
                let (life, time) = (self.marathon_life, self.last_event);
                self.at_time(time, Event::ToScheduler { life, conn: conn.0, event });
            }
            mesos_master::Effect::CloseAgent { conn, .. } => {
                if let Some(link) = self.conns.get_mut(&conn.0) {
                    link.master_closed = true;
                    self.at(5, Event::ClosedAtAgent { conn: conn.0 });
                }
            }
            mesos_master::Effect::CloseScheduler { conn } => {
                let time = self.racer_conn(conn.0).map(|racer| self.racers[racer].last_event.max(self.now));
                self.at_time(time.unwrap_or(self.now), Event::RacerStreamEnds { conn: conn.0 });
            }
            // Nobody asks or watches in this world.
            mesos_master::Effect::Reply { .. }
            | mesos_master::Effect::Watching { .. }
            | mesos_master::Effect::Event(_)
            | mesos_master::Effect::Fail(_) => {}
        }
    }

    fn agent_commit(&mut self, index: usize, life: u64) -> Result<(), String> {
        if life != self.agents[index].life {
            return Ok(());
        }
        for output in self.agents[index].pipeline.finish() {
            for write in output.writes {
                self.agents[index].disk.apply(write);
            }
            for effect in output.effects {
                self.agent_effect(index, effect)?;
            }
        }
        self.start_agent_commit(index);
        Ok(())
    }

    pub(crate) fn call_master(&mut self, call: SchedulerCall) {
        self.last_call = self.last_call.max(self.now);
        let (life, conn, time) = (self.master_life, self.scheduler_conn, self.last_call);
        self.at_time(time, Event::SchedulerCall { life, conn, call });
    }

    // ---- starts

    fn start_master(&mut self) -> Result<(), String> {
        self.master_life += 1;
        self.master_wakeup = None;
        let config = MasterConfig {
            master_id: format!("m{}", self.master_life),
            cluster: "sim".to_owned(),
            hostname: "master1".to_owned(),
            ip: "10.0.0.1".to_owned(),
            port: 5050,
            version: "1.7.3".to_owned(),
            domain: None,
            started: self.now,
            limits: mesos_master::config::MasterLimits::default(),
        };
        let records = self.master_disk.values().cloned().collect();
        let rng = Rng::new(self.rng.next_u64());
        self.master = Some(Master::load(config, rng, records, self.now));
        self.step_master(mesos_master::Input::Tick)?;
        self.start_marathon()
    }

    pub(crate) fn start_agent(&mut self, index: usize, life: u64) -> Result<(), String> {
        let node = &self.agents[index];
        if node.life != life || node.process.is_some() || !node.powered {
            return Ok(());
        }
        let text = format!(
            "cpus:{};mem:{};disk:10000;ports:[31000-31999]",
            node.cpus_milli as f64 / 1000.0,
            node.mem_mib
        );
        let resources = Resources::parse(&text, &Role::any()).map_err(|error| error.to_string())?;
        let info = AgentInfo {
            id: None,
            hostname: format!("agent{index}"),
            ip: format!("10.0.1.{index}"),
            port: 5051,
            resources,
            attributes: Vec::new(),
            domain: None,
            version: "1.7.3".to_owned(),
            capabilities: Vec::new(),
        };
        let config = AgentConfig { switch_user: true, ..AgentConfig::new(info, "/var/lib/mesos/slave") };
        let rng = Rng::new(self.rng.next_u64());
        let records = node.disk.records();
        let containers = node.recovered();
        self.agents[index].process = Some(Agent::load(config, rng, records, self.now));
        self.step_agent(index, mesos_agent::Input::Recovered { containers })?;
        let life = self.agents[index].life;
        let delay = 10 + self.rng.below(500);
        self.at(delay, Event::Connect { agent: index, life });
        Ok(())
    }

    pub(crate) fn reset_marathon_wakeup(&mut self) {
        self.marathon_wakeup = None;
    }

    /// How long the stream may stay silent before its ends notice.
    pub(crate) fn silence(&mut self) -> u64 {
        HEARTBEAT_TIMEOUT_MS - 1_000 + self.rng.below(2_000)
    }

    pub(crate) fn latency(&mut self) -> u64 {
        if self.rng.chance(10) { self.rng.below(2_000) } else { self.rng.below(4) }
    }
}
