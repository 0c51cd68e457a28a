//! Orders of users, faults of machines, and the judgement at the end.

use crate::faults::Fault;
use crate::node::{SimState, exit_code};
use crate::sim::{Event, World};

impl World {
    pub(crate) fn app_name(&self, index: usize) -> String {
        format!("/app{index}")
    }

    pub(crate) fn order(&mut self) -> Result<(), String> {
        if self.storm_over {
            return Ok(());
        }
        let wait = 1 + self.rng.below(2 * self.plan.order_every_ms);
        self.at(wait, Event::Order);
        let app = self.app_name(self.rng.clone().index(self.plan.apps));
        self.rng.next_u64();
        if self.marathon.is_none() || self.orders.waits(&app) {
            return Ok(());
        }
        self.report.orders += 1;
        self.send_order(app)
    }

    pub(crate) fn fault(&mut self) -> Result<(), String> {
        if self.storm_over {
            return Ok(());
        }
        let wait = 1 + self.rng.below(2 * self.plan.fault_every_ms);
        self.at(wait, Event::Fault);
        self.report.faults += 1;
        let fault = Fault::draw(&mut self.rng);
        let agent = self.rng.index(self.agents.len());
        self.remark(format!("fault {fault:?} (agent {agent})"));
        match fault {
            Fault::TaskEnds => {
                let running: Vec<_> = self.agents[agent]
                    .containers
                    .iter()
                    .filter(|(_, container)| matches!(container.state, SimState::Running { .. }))
                    .map(|(id, _)| id.clone())
                    .collect();
                if !running.is_empty() {
                    let id = running[self.rng.index(running.len())].clone();
                    let code = i32::try_from(self.rng.below(3)).unwrap_or(0);
                    self.container_end(agent, id, exit_code(code))?;
                }
            }
            Fault::AgentCrash => self.crash_agent(agent),
            Fault::PowerOff => {
                if self.agents[agent].powered {
                    let got = self.rng.chance(500);
                    self.agents[agent].power_off(got);
                    self.agent_died(agent, true);
                    let wait = 500 + self.rng.below(90_000);
                    self.at(wait, Event::PowerOn { agent });
                }
            }
            Fault::LinkBreak => {
                if let Some(conn) = self.agents[agent].conn {
                    self.break_link(conn);
                }
            }
            Fault::Partition => {
                self.agents[agent].partitioned = true;
                if let Some(conn) = self.agents[agent].conn {
                    self.break_link(conn);
                }
                let wait = 500 + self.rng.below(90_000);
                self.at(wait, Event::Heal { agent });
            }
            Fault::MasterCrash => self.crash_master(),
            Fault::MarathonCrash => self.crash_marathon()?,
        }
        Ok(())
    }

    fn crash_agent(&mut self, agent: usize) {
        if self.agents[agent].process.is_none() {
            return;
        }
        let got = self.rng.chance(500);
        self.agents[agent].crash(got);
        self.agent_died(agent, false);
        let life = self.agents[agent].life;
        let wait = 100 + self.rng.below(5_000);
        self.at(wait, Event::StartAgent { agent, life });
    }

    fn crash_master(&mut self) {
        if self.master.is_none() {
            return;
        }
        self.drop_marathon();
        self.master = None;
        self.master_life += 1;
        let got = self.rng.chance(500);
        for output in self.master_pipeline.crash() {
            if got {
                for write in output.writes {
                    self.apply_master_write(write);
                }
            }
        }
        self.master_died();
        self.racers_lose_master();
        let wait = 100 + self.rng.below(3_000);
        self.at(wait, Event::StartMaster);
    }

    fn crash_marathon(&mut self) -> Result<(), String> {
        if self.marathon.is_none() {
            return Ok(());
        }
        self.drop_marathon();
        self.scheduler_died()?;
        let master_life = self.master_life;
        let wait = 10 + self.rng.below(1_000);
        self.at(wait, Event::StartMarathon { master_life });
        Ok(())
    }

    fn drop_marathon(&mut self) {
        self.marathon = None;
        self.marathon_life += 1;
        let got = self.rng.chance(500);
        for output in self.marathon_pipeline.crash() {
            if got {
                for write in output.writes {
                    self.marathon_disk.apply(write);
                }
            }
        }
        self.orders.lost();
    }

    /// Faults end: partitions heal, machines come back (by their own events).
    pub(crate) fn end_storm(&mut self) {
        for agent in 0..self.agents.len() {
            self.agents[agent].partitioned = false;
        }
    }

    /// Whether everything is as the acknowledged orders say, and nothing else is there.
    pub(crate) fn at_rest(&mut self) -> Result<(), String> {
        // The master may believe in a machine that has just lost its power.
        if let Some(off) = self.agents.iter().position(|node| node.process.is_none() || node.conn.is_none()) {
            return Err(format!("agent{off} is not back"));
        }
        let Some(master) = &mut self.master else { return Err("the master is down".to_owned()) };
        master.check_snapshot(self.now)?;
        let view = master.view(self.now);
        let active = view.agents.iter().filter(|agent| agent.active).count();
        if active != self.agents.len() {
            return Err(format!("{active} of {} agents are active", self.agents.len()));
        }
        let sizes = self.marathon_sizes()?;
        let mut wanted_total = 0;
        for index in 0..self.plan.apps {
            let app = self.app_name(index);
            let size = sizes.get(&app).copied();
            self.orders.check(&app, size)?;
            let wanted = size.unwrap_or(0);
            wanted_total += wanted;
            let prefix = format!("{}.", app.trim_start_matches('/'));
            let running: usize = self
                .agents
                .iter()
                .map(|node| node.running().filter(|c| c.task.starts_with(&prefix)).count())
                .sum();
            let running = u64::try_from(running).unwrap_or(u64::MAX);
            if running != wanted {
                let who = self.explain(&prefix);
                return Err(format!("{app}: {running} containers run, {wanted} are wanted{who}"));
            }
        }
        let total: usize = self.agents.iter().map(|node| node.running().count()).sum();
        if u64::try_from(total).unwrap_or(u64::MAX) > wanted_total {
            return Err(format!("{total} containers run, {wanted_total} are wanted in all"));
        }
        self.racers_at_rest()?;
        self.marathon_at_rest()
    }

    /// What each room knows of the running containers with this task prefix.
    fn explain(&self, prefix: &str) -> String {
        let mut text = String::new();
        for (index, node) in self.agents.iter().enumerate() {
            for (id, container) in node.containers.iter().filter(|(_, c)| c.task.starts_with(prefix)) {
                let task = node.process.as_ref().and_then(|agent| agent.task_of(id));
                let master = self
                    .master
                    .as_ref()
                    .and_then(|master| master.task_state(&container.task.as_str().into()));
                text.push_str(&format!(
                    "\n    {} on agent{index}: container {:?}, agent {task:?}, master {master:?}",
                    container.task, container.state
                ));
            }
        }
        text
    }
}
