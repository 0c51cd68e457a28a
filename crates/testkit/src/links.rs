//! The simulated network: ordered streams that delay, repeat, break and fall silent.

use std::time::Duration;

use mesos_master::ConnId;
use model::Time;
use model::agent_api::{AgentToMaster, MasterToAgent};
use model::scheduler_api::SchedulerEvent;

use crate::sim::{Conn, Event, World};

impl World {
    pub(crate) fn connect(&mut self, agent: usize, life: u64) -> Result<(), String> {
        let node = &self.agents[agent];
        if node.life != life || node.process.is_none() || node.conn.is_some() {
            return Ok(());
        }
        if self.master.is_none() || node.partitioned {
            let delay = 200 + self.rng.below(1_000);
            self.at(delay, Event::Connect { agent, life });
            return Ok(());
        }
        let number = self.number();
        let conn = Conn {
            agent,
            agent_life: life,
            master_life: self.master_life,
            cut: None,
            master_closed: false,
            agent_closed: false,
            last_to_master: Time::ZERO,
            last_to_agent: Time::ZERO,
        };
        self.conns.insert(number, conn);
        self.agents[agent].conn = Some(number);
        let conn = mesos_agent::brain::ConnId(number);
        self.step_agent(agent, mesos_agent::Input::MasterConnected { conn })
    }

    /// The stream dies silently; both ends notice later, each at its own time.
    pub(crate) fn break_link(&mut self, number: u64) {
        let cut = self.now + Duration::from_millis(self.rng.below(20));
        let Some(conn) = self.conns.get_mut(&number) else { return };
        if conn.cut.is_some() {
            return;
        }
        conn.cut = Some(cut);
        let (at_master, at_agent) = (self.silence(), self.silence());
        self.at(at_master, Event::ClosedAtMaster { conn: number });
        self.at(at_agent, Event::ClosedAtAgent { conn: number });
    }

    fn deliver_twice(&mut self) -> bool {
        let chance = self.plan.doubled_per_mille;
        !self.storm_over && self.rng.chance(chance)
    }

    pub(crate) fn send_to_master(&mut self, number: u64, message: AgentToMaster) {
        let delay = Duration::from_millis(self.latency());
        let Some(conn) = self.conns.get_mut(&number) else { return };
        let time = conn.last_to_master.max(self.now + delay);
        conn.last_to_master = time;
        let twice = self.deliver_twice();
        for _ in 0..=usize::from(twice) {
            let wait = u64::try_from(time.since(self.now).as_millis()).unwrap_or(0);
            self.at(wait, Event::ToMaster { conn: number, message: message.clone() });
        }
    }

    pub(crate) fn send_to_agent(&mut self, number: u64, message: MasterToAgent) {
        let delay = Duration::from_millis(self.latency());
        let Some(conn) = self.conns.get_mut(&number) else { return };
        let time = conn.last_to_agent.max(self.now + delay);
        conn.last_to_agent = time;
        let twice = self.deliver_twice();
        for _ in 0..=usize::from(twice) {
            let wait = u64::try_from(time.since(self.now).as_millis()).unwrap_or(0);
            self.at(wait, Event::ToAgent { conn: number, message: message.clone() });
        }
    }

    fn lost(&self, number: u64) -> bool {
        let Some(conn) = self.conns.get(&number) else { return true };
        conn.cut.is_some_and(|cut| self.now > cut) || self.agents[conn.agent].partitioned
    }

    pub(crate) fn arrive_at_master(&mut self, number: u64, message: AgentToMaster) -> Result<(), String> {
        let Some(conn) = self.conns.get(&number) else { return Ok(()) };
        if conn.master_life != self.master_life || conn.master_closed || self.lost(number) {
            return Ok(());
        }
        self.step_master(mesos_master::Input::Agent { conn: ConnId(number), message })
    }

    pub(crate) fn arrive_at_agent(&mut self, number: u64, message: MasterToAgent) -> Result<(), String> {
        let Some(conn) = self.conns.get(&number) else { return Ok(()) };
        let agent = conn.agent;
        if conn.agent_life != self.agents[agent].life || conn.agent_closed || self.lost(number) {
            return Ok(());
        }
        let conn = mesos_agent::brain::ConnId(number);
        self.step_agent(agent, mesos_agent::Input::Master { conn, message })
    }

    pub(crate) fn close_at_master(&mut self, number: u64) -> Result<(), String> {
        let Some(conn) = self.conns.get_mut(&number) else { return Ok(()) };
        if conn.master_closed {
            return Ok(());
        }
        conn.master_closed = true;
        if conn.master_life != self.master_life {
            return Ok(());
        }
        self.step_master(mesos_master::Input::AgentClosed { conn: ConnId(number) })
    }

    pub(crate) fn close_at_agent(&mut self, number: u64) -> Result<(), String> {
        let Some(conn) = self.conns.get_mut(&number) else { return Ok(()) };
        if conn.agent_closed {
            return Ok(());
        }
        conn.agent_closed = true;
        let (agent, life) = (conn.agent, conn.agent_life);
        if life != self.agents[agent].life {
            return Ok(());
        }
        self.agents[agent].conn = None;
        let conn = mesos_agent::brain::ConnId(number);
        self.step_agent(agent, mesos_agent::Input::MasterClosed { conn })?;
        let delay = 50 + self.rng.below(1_000);
        self.at(delay, Event::Connect { agent, life });
        Ok(())
    }

    pub(crate) fn scheduler_event(
        &mut self,
        life: u64,
        conn: u64,
        event: SchedulerEvent,
    ) -> Result<(), String> {
        if life != self.marathon_life || conn != self.scheduler_conn {
            return Ok(());
        }
        if let SchedulerEvent::Update(status) = &event {
            self.updates.delivered(status)?;
        }
        self.step_marathon(marathon::Input::Event(event))
    }

    /// Ends what a dead process held: the other side sees its stream close.
    pub(crate) fn agent_died(&mut self, agent: usize, silently: bool) {
        let Some(number) = self.agents[agent].conn.take() else { return };
        let silence = if silently { self.silence() } else { self.rng.below(5) };
        let cut = self.now;
        if let Some(conn) = self.conns.get_mut(&number) {
            conn.agent_closed = true;
            conn.cut.get_or_insert(cut);
        }
        self.at(silence, Event::ClosedAtMaster { conn: number });
    }

    pub(crate) fn master_died(&mut self) {
        let open: Vec<u64> =
            self.conns.iter().filter(|(_, conn)| !conn.agent_closed).map(|(number, _)| *number).collect();
        let now = self.now;
        for number in open {
            if let Some(conn) = self.conns.get_mut(&number) {
                conn.master_closed = true;
                conn.cut.get_or_insert(now);
            }
            let delay = self.rng.below(5);
            self.at(delay, Event::ClosedAtAgent { conn: number });
        }
    }
}
