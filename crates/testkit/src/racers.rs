//! Racing frameworks: foreign schedulers that accept, decline, hold, reserve,
//! kill, reconcile, die and come back, all at once and beside Marathon.
//!
//! A racer keeps its id and its tasks over its deaths, as a scheduler with a
//! store does; offers die with its stream. What it may expect of the kernel is
//! checked as it happens (no update out of order, no task of another) and at
//! the end: every task it ever launched has come to an end that it was told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mesos_master::{ConnId, Input};
use model::scheduler_api::{SchedulerCall, SchedulerEvent};
use model::{
    Capability, CommandInfo, DiskInfo, DiskVolume, FrameworkId, FrameworkInfo, Offer, Operation, Persistence,
    Quantity, Reservation, Resource, ResourceOperation, Resources, Role, TaskId, TaskInfo, TaskState,
    TaskStatus,
};

use crate::oracle::UpdateWatch;
use crate::sim::{Event, World};

/// Offers that a racer holds at most; the rest it answers at once.
const HELD_MAX: usize = 8;
#[derive(Debug)]
pub(crate) struct Racer {
    pub id: Option<FrameworkId>,
    pub conn: Option<u64>,
    role: Role,
    aware: bool,
    checkpoint: bool,
    pub tasks: BTreeMap<TaskId, Known>,
    next_task: u64,
    held: VecDeque<Offer>,
    watch: UpdateWatch,
    /// Calls and events of one stream stay in order.
    pub last_call: model::Time,
    pub last_event: model::Time,
    /// Streams of this racer that are closing or closed.
    pub subscribed: bool,
}

/// What a racer knows of a task.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    agent: model::AgentId,
    pub state: TaskState,
}

fn ended(state: TaskState) -> bool {
    // Unreachable tasks may come back, and a lost one of an unaware framework too.
    state.is_terminal() && state != TaskState::Lost
}

impl Racer {
    pub fn new(index: usize, rng: &mut model::Rng) -> Self {
        let roles = ["*", "eng", "eng/web", "ops", "race"];
        Self {
            id: None,
            conn: None,
            role: Role::new(roles[rng.index(roles.len())]).unwrap_or_else(|_| Role::any()),
            aware: !index.is_multiple_of(3),
            checkpoint: true,
            tasks: BTreeMap::new(),
            next_task: 0,
            held: VecDeque::new(),
            watch: UpdateWatch::default(),
            last_call: model::Time::ZERO,
            last_event: model::Time::ZERO,
            subscribed: false,
        }
    }

    fn info(&self, index: usize) -> FrameworkInfo {
        let mut capabilities =
            vec![Capability::MultiRole, Capability::ReservationRefinement, Capability::TaskKillingState];
        if self.aware {
            capabilities.push(Capability::PartitionAware);
        }
        FrameworkInfo {
            id: self.id.clone(),
            name: format!("racer{index}"),
            user: "root".to_owned(),
            roles: vec![self.role.clone()],
            failover_timeout_ms: 7 * 24 * 3_600_000,
            checkpoint: self.checkpoint,
            hostname: String::new(),
            principal: None,
            webui_url: None,
            capabilities,
            labels: Vec::new(),
            offer_filters: BTreeMap::new(),
        }
    }

    pub fn open_tasks(&self) -> usize {
        self.tasks.values().filter(|known| !ended(known.state)).count()
    }

    fn lose_stream(&mut self) {
        self.conn = None;
        self.subscribed = false;
        self.held.clear();
    }
}

impl World {
    pub(crate) fn racer_conn(&self, conn: u64) -> Option<usize> {
        self.racers.iter().position(|racer| racer.conn == Some(conn))
    }

    /// Opens a stream and subscribes.
    pub(crate) fn racer_starts(&mut self, index: usize) -> Result<(), String> {
        if self.racers[index].conn.is_some() {
            return Ok(());
        }
        if self.master.is_none() {
            let delay = 200 + self.rng.below(2_000);
            self.at(delay, Event::RacerStarts { racer: index });
            return Ok(());
        }
        let conn = self.number();
        self.racers[index].conn = Some(conn);
        let info = Box::new(self.racers[index].info(index));
        self.racer_call(index, SchedulerCall::Subscribe { info, suppressed_roles: Vec::new() });
        Ok(())
    }

    fn racer_call(&mut self, index: usize, call: SchedulerCall) {
        let Some(conn) = self.racers[index].conn else { return };
        let time =
            self.racers[index].last_call.max(self.now + std::time::Duration::from_millis(self.latency()));
        self.racers[index].last_call = time;
        let life = self.master_life;
        self.at_time(time, Event::RacerCall { life, conn, call });
    }

    pub(crate) fn racer_call_arrives(
        &mut self,
        life: u64,
        conn: u64,
        call: SchedulerCall,
    ) -> Result<(), String> {
        // What a dead scheduler had sent may still arrive before its stream is seen to end.
        if life != self.master_life || self.dead_racer_conns.contains(&conn) {
            return Ok(());
        }
        self.step_master(Input::Scheduler { conn: ConnId(conn), call })
    }

    /// The scheduler's process dies, or its stream breaks; it comes back under its id.
    fn racer_dies(&mut self, index: usize) {
        let Some(conn) = self.racers[index].conn else { return };
        self.racers[index].lose_stream();
        let delay = self.rng.below(2_000);
        let life = self.master_life;
        self.at(delay, Event::RacerClosed { life, conn });
        // Sometimes it is back before its death is noticed.
        let delay = 10 + self.rng.below(4_000);
        self.at(delay, Event::RacerStarts { racer: index });
    }

    pub(crate) fn racer_closed(&mut self, life: u64, conn: u64) -> Result<(), String> {
        self.dead_racer_conns.insert(conn);
        if life != self.master_life {
            return Ok(());
        }
        self.step_master(Input::SchedulerClosed { conn: ConnId(conn) })
    }

    /// The master ended the stream.
    pub(crate) fn racer_stream_ended(&mut self, conn: u64) {
        let Some(index) = self.racer_conn(conn) else { return };
        self.racers[index].lose_stream();
        self.dead_racer_conns.insert(conn);
        let delay = 10 + self.rng.below(3_000);
        self.at(delay, Event::RacerStarts { racer: index });
    }

    /// All streams end with the master.
    pub(crate) fn racers_lose_master(&mut self) {
        for index in 0..self.racers.len() {
            if self.racers[index].conn.is_some() {
                self.racers[index].lose_stream();
                let delay = 10 + self.rng.below(5_000);
                self.at(delay, Event::RacerStarts { racer: index });
            }
        }
    }

    pub(crate) fn racer_event(&mut self, conn: u64, event: SchedulerEvent) -> Result<(), String> {
        let Some(index) = self.racer_conn(conn) else { return Ok(()) };
        match event {
            SchedulerEvent::Subscribed { framework_id } => {
                let racer = &mut self.racers[index];
                if racer.id.as_ref().is_some_and(|id| *id != framework_id) {
                    return Err(format!("racer{index} came back as {framework_id}, not {:?}", racer.id));
                }
                racer.id = Some(framework_id);
                racer.subscribed = true;
                self.racer_reconciles(index, true);
            }
            SchedulerEvent::Offers(offers) => {
                for offer in offers {
                    self.racer_offered(index, offer)?;
                }
            }
            SchedulerEvent::Rescind(id) => self.racers[index].held.retain(|offer| offer.id != id),
            SchedulerEvent::Update(status) => self.racer_updated(index, *status)?,
            SchedulerEvent::Error { message } => {
                return Err(format!("racer{index} was told ERROR: {message}"));
            }
            SchedulerEvent::InverseOffers(_)
            | SchedulerEvent::RescindInverse(_)
            | SchedulerEvent::UpdateOperation(_)
            | SchedulerEvent::Message { .. }
            | SchedulerEvent::Failure { .. } => {}
        }
        Ok(())
    }

    fn racer_updated(&mut self, index: usize, status: TaskStatus) -> Result<(), String> {
        let racer = &mut self.racers[index];
        racer.watch.delivered(&status).map_err(|what| format!("racer{index}: {what}"))?;
        let Some(known) = racer.tasks.get_mut(&status.task_id) else {
            return Err(format!("racer{index} heard of {}, which is none of its tasks", status.task_id));
        };
        if !ended(known.state) {
            known.state = status.state;
        }
        if let (Some(uuid), Some(agent_id)) = (status.uuid, status.agent_id) {
            // Some acknowledgements are forgotten: the update comes again.
            if self.rng.chance(950) {
                self.racer_call(
                    index,
                    SchedulerCall::Acknowledge { agent_id, task_id: status.task_id, uuid },
                );
            }
        }
        Ok(())
    }

    fn racer_offered(&mut self, index: usize, offer: Offer) -> Result<(), String> {
        if !self.racers[index].role.may_use(&offer.role) || offer.role != self.racers[index].role {
            return Err(format!(
                "racer{index} of role {} was offered for {}",
                self.racers[index].role, offer.role
            ));
        }
        for resource in offer.resources.iter() {
            if !offer.role.may_use(&resource.role()) {
                return Err(format!("racer{index} of role {} was offered {}", offer.role, offer.resources));
            }
        }
        if self.storm_over {
            let refuse_ms = Some(5_000);
            self.racer_call(index, SchedulerCall::Decline { offer_ids: vec![offer.id], refuse_ms });
            return Ok(());
        }
        if self.racers[index].held.len() < HELD_MAX && self.rng.chance(300) {
            self.racers[index].held.push_back(offer);
            return Ok(());
        }
        self.racer_answers(index, vec![offer]);
        Ok(())
    }

    fn racer_answers(&mut self, index: usize, offers: Vec<Offer>) {
        let offer_ids: Vec<_> = offers.iter().map(|offer| offer.id.clone()).collect();
        let refuse_ms = [None, Some(0), Some(1_000), Some(20_000)][self.rng.index(4)];
        let full = self.racers[index].open_tasks() >= self.plan.racer_tasks_max;
        if full || self.rng.chance(300) {
            self.racer_call(index, SchedulerCall::Decline { offer_ids, refuse_ms });
            return;
        }
        let mut pool = Resources::new();
        for offer in &offers {
            pool.add(&offer.resources);
        }
        let mut operations = Vec::new();
        if self.rng.chance(150) {
            operations.extend(self.racer_reserves(index, &mut pool));
        } else if self.rng.chance(300) {
            operations.extend(self.racer_unreserves(index, &mut pool));
        }
        let mut tasks = Vec::new();
        for _ in 0..self.rng.below(4) {
            if let Some(task) = self.racer_task(index, &offers[0], &mut pool) {
                tasks.push(task);
            }
        }
        operations.push(Operation::launch(tasks));
        self.racer_call(index, SchedulerCall::Accept { offer_ids, operations, refuse_ms });
    }

    /// A task of what is left, now and then one that asks for too much.
    fn racer_task(&mut self, index: usize, offer: &Offer, pool: &mut Resources) -> Option<TaskInfo> {
        let greedy = self.rng.chance(20);
        let mut resources = Resources::new();
        for name in ["cpus", "mem"] {
            let part = pool
                .iter()
                .find(|resource| resource.name == *name && resource.disk.is_none() && !resource.revocable)?;
            let wanted = match name {
                "cpus" => Quantity::from_milli(10 + i64::try_from(self.rng.below(200)).unwrap_or(0)),
                _ => Quantity::from_units(32 + u32::try_from(self.rng.below(64)).unwrap_or(0)),
            };
            let wanted = if greedy { Quantity::from_units(1_000_000) } else { wanted };
            if part.quantity() < wanted && !greedy {
                return None;
            }
            resources.add_one(Resource { value: model::ResourceValue::Scalar(wanted), ..part.clone() });
        }
        pool.subtract(&resources);
        let racer = &mut self.racers[index];
        let id = TaskId::new(format!("r{index}-{}", racer.next_task));
        racer.next_task += 1;
        racer.tasks.insert(id.clone(), Known { agent: offer.agent_id.clone(), state: TaskState::Staging });
        let name = id.to_string();
        Some(TaskInfo {
            id,
            name,
            agent_id: offer.agent_id.clone(),
            resources,
            command: CommandInfo {
                shell: true,
                value: Some("sleep 1000".to_owned()),
                ..CommandInfo::default()
            },
            executor: None,
            container: None,
            kill_policy: None,
            discovery: None,
            labels: BTreeMap::new(),
            max_completion_ms: None,
            health_check: None,
            check: None,
            raw: None,
        })
    }

    fn reservation(&self, index: usize) -> Reservation {
        Reservation {
            role: self.racers[index].role.clone(),
            dynamic: true,
            principal: None,
            labels: vec![("racer".to_owned(), Some(index.to_string()))],
        }
    }

    /// Reserves some of the pool, and makes a volume of some disk.
    fn racer_reserves(&mut self, index: usize, pool: &mut Resources) -> Vec<Operation> {
        if self.racers[index].role.is_any() {
            return Vec::new();
        }
        let reservation = self.reservation(index);
        let mut free = Resources::new();
        for (name, amount) in [("cpus", 100), ("mem", 64_000), ("disk", 100_000)] {
            let amount = Quantity::from_milli(amount);
            let part = pool
                .iter()
                .find(|r| r.name == *name && r.is_unreserved() && r.disk.is_none() && !r.revocable);
            if let Some(part) = part.filter(|part| part.quantity() >= amount) {
                free.add_one(Resource { value: model::ResourceValue::Scalar(amount), ..part.clone() });
            }
        }
        if free.is_empty() {
            return Vec::new();
        }
        let reserved: Resources =
            free.iter().cloned().map(|resource| resource.reserved(reservation.clone())).collect();
        pool.subtract(&free);
        pool.add(&reserved);
        let mut operations = vec![Operation::resources(ResourceOperation::Reserve {
            source: Resources::new(),
            resources: reserved.clone(),
        })];
        let disk = reserved.iter().find(|resource| resource.name == "disk").cloned();
        if let Some(disk) = disk.filter(|_| self.rng.chance(500)) {
            let id = format!("v{index}-{}", self.number());
            let volume = Resource {
                disk: Some(Box::new(DiskInfo {
                    source: None,
                    persistence: Some(Persistence { id, principal: None }),
                    volume: Some(DiskVolume {
                        container_path: "data".to_owned(),
                        read_only: false,
                        host_path: None,
                    }),
                })),
                ..disk.clone()
            };
            pool.subtract(&Resources::from_iter([disk]));
            let volumes = Resources::from_iter([volume]);
            pool.add(&volumes);
            operations.push(Operation::resources(ResourceOperation::Create { volumes }));
        }
        operations
    }

    /// Destroys the volumes at hand and gives reservations of its own back.
    fn racer_unreserves(&mut self, index: usize, pool: &mut Resources) -> Vec<Operation> {
        let own = self.reservation(index);
        let mine = |resource: &Resource| resource.reservations.last() == Some(&own);
        let volumes = pool.filter(|resource| mine(resource) && resource.is_persistent_volume());
        let mut operations = Vec::new();
        if !volumes.is_empty() {
            pool.subtract(&volumes);
            let plain: Resources =
                volumes.iter().cloned().map(|volume| Resource { disk: None, ..volume }).collect();
            pool.add(&plain);
            operations.push(Operation::resources(ResourceOperation::Destroy { volumes }));
        }
        let reserved = pool.filter(|resource| mine(resource) && !resource.is_persistent_volume());
        if !reserved.is_empty() {
            pool.subtract(&reserved);
            let free: Resources = reserved.iter().cloned().map(Resource::unreserved_once).collect();
            pool.add(&free);
            operations.push(Operation::resources(ResourceOperation::Unreserve { resources: reserved }));
        }
        operations
    }

    fn racer_reconciles(&mut self, index: usize, implicit: bool) {
        let tasks = if implicit {
            Vec::new()
        } else {
            let open = self.racers[index].tasks.iter().filter(|(_, known)| !ended(known.state));
            open.map(|(id, known)| (id.clone(), Some(known.agent.clone()))).collect()
        };
        if implicit || !tasks.is_empty() {
            self.racer_call(index, SchedulerCall::Reconcile { tasks });
        }
    }

    /// One of the things that schedulers do by themselves.
    pub(crate) fn racer_acts(&mut self, index: usize) -> Result<(), String> {
        let wait = 500 + self.rng.below(if self.storm_over { 10_000 } else { 5_000 });
        self.at(wait, Event::RacerActs { racer: index });
        if !self.racers[index].subscribed {
            return Ok(());
        }
        if self.storm_over {
            self.racer_winds_up(index);
            return Ok(());
        }
        match self.rng.below(100) {
            0..=24 => {
                let open: Vec<(TaskId, model::AgentId)> = self.racers[index]
                    .tasks
                    .iter()
                    .filter(|(_, known)| !ended(known.state))
                    .map(|(id, known)| (id.clone(), known.agent.clone()))
                    .collect();
                if !open.is_empty() {
                    let (task_id, agent) = open[self.rng.index(open.len())].clone();
                    let agent_id = self.rng.chance(500).then_some(agent);
                    self.racer_call(index, SchedulerCall::Kill { task_id, agent_id, kill_policy: None });
                }
            }
            25..=64 => {
                // All held offers of one agent in one answer.
                if let Some(first) = self.racers[index].held.pop_front() {
                    let mut offers = vec![first];
                    let agent = offers[0].agent_id.clone();
                    let held = std::mem::take(&mut self.racers[index].held);
                    for offer in held {
                        if offer.agent_id == agent {
                            offers.push(offer);
                        } else {
                            self.racers[index].held.push_back(offer);
                        }
                    }
                    self.racer_answers(index, offers);
                }
            }
            65..=74 => self.racer_reconciles(index, false),
            75..=79 => self.racer_reconciles(index, true),
            80..=84 => self.racer_call(index, SchedulerCall::Suppress { roles: Vec::new() }),
            85..=92 => self.racer_call(index, SchedulerCall::Revive { roles: Vec::new() }),
            _ => self.racer_dies(index),
        }
        Ok(())
    }

    /// After the storm: everything is to end, and to be known to have ended.
    fn racer_winds_up(&mut self, index: usize) {
        for offer in std::mem::take(&mut self.racers[index].held) {
            self.racer_call(index, SchedulerCall::Decline { offer_ids: vec![offer.id], refuse_ms: None });
        }
        let open: Vec<TaskId> = self.racers[index]
            .tasks
            .iter()
            .filter(|(_, known)| !ended(known.state))
            .map(|(id, _)| id.clone())
            .collect();
        for task_id in open {
            self.racer_call(index, SchedulerCall::Kill { task_id, agent_id: None, kill_policy: None });
        }
        self.racer_reconciles(index, false);
    }

    /// Every task has ended and its racer knows; an unaware one may have heard only LOST.
    pub(crate) fn racers_at_rest(&self) -> Result<(), String> {
        let live: BTreeSet<String> = self
            .agents
            .iter()
            .flat_map(|node| node.running().map(|container| container.task.clone()))
            .collect();
        for (index, racer) in self.racers.iter().enumerate() {
            if !racer.subscribed {
                return Err(format!("racer{index} is not back"));
            }
            for (id, known) in &racer.tasks {
                if !known.state.is_terminal() {
                    return Err(format!("racer{index}: {id} on {} is {} still", known.agent, known.state));
                }
                if live.contains(id.as_str()) {
                    return Err(format!("racer{index}: {id} runs, and was told to be {}", known.state));
                }
            }
        }
        Ok(())
    }
}
