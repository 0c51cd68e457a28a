//! Which machines are to be away, and which are down.
//!
//! A machine that the schedule does not name is up; a named one is draining until
//! an operator takes it down, and up again when it leaves the schedule.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{
    AgentId, AgentInfo, FrameworkId, MachineId, MaintenanceSchedule, MaintenanceWindow, Time, Unavailability,
};

use crate::brain::Master;
use crate::records::{self, MaintenancePart, Record, RecordKey, Write};
use crate::view::InverseOfferAnswer;

#[derive(Debug, Default)]
pub(crate) struct Maintenance {
    schedule: Arc<MaintenanceSchedule>,
    machines: BTreeMap<MachineId, Machine>,
    /// As they are stored.
    parts: Vec<MaintenancePart>,
    down: Arc<Vec<MachineId>>,
    draining: Arc<Vec<(MachineId, Vec<InverseOfferAnswer>)>>,
    /// `draining` is of an earlier moment.
    stale: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    pub unavailability: Unavailability,
    pub down: bool,
}

/// The machine an agent is on.
pub(crate) fn machine_of(info: &AgentInfo) -> MachineId {
    MachineId { hostname: info.hostname.to_lowercase(), ip: info.ip.clone() }
}

impl Maintenance {
    pub fn load(mut parts: Vec<MaintenancePart>) -> Self {
        parts.sort_by_key(|part| part.number);
        let schedule = records::schedule_of(&parts);
        let down: Vec<MachineId> = parts.iter().flat_map(|part| part.down.iter().cloned()).collect();
        let mut maintenance = Self { parts, ..Self::default() };
        maintenance.put(schedule, &down);
        maintenance
    }

    pub fn schedule(&self) -> &Arc<MaintenanceSchedule> {
        &self.schedule
    }

    pub fn down(&self) -> &Arc<Vec<MachineId>> {
        &self.down
    }

    pub fn get(&self, id: &MachineId) -> Option<Machine> {
        self.machines.get(id).copied()
    }

    /// A machine may be named by its hostname, its ip, or both.
    pub fn of_agent(&self, info: &AgentInfo) -> Option<(&MachineId, Machine)> {
        if self.machines.is_empty() {
            return None;
        }
        let both = machine_of(info);
        let by_name = MachineId { hostname: both.hostname.clone(), ip: String::new() };
        let by_ip = MachineId { hostname: String::new(), ip: both.ip.clone() };
        let found = [both, by_name, by_ip].into_iter().find_map(|id| self.machines.get_key_value(&id));
        found.map(|(id, machine)| (id, *machine))
    }

    fn put(&mut self, schedule: MaintenanceSchedule, down: &[MachineId]) {
        self.machines.clear();
        for window in &schedule.windows {
            for id in &window.machines {
                let machine = Machine { unavailability: window.unavailability, down: down.contains(id) };
                self.machines.insert(id.clone(), machine);
            }
        }
        let down = self.machines.iter().filter(|(_, machine)| machine.down).map(|(id, _)| id.clone());
        self.down = Arc::new(down.collect());
        self.schedule = Arc::new(schedule);
        self.stale = true;
    }

    /// Replaces the schedule and who is down; what is to be stored for it.
    pub fn replace(&mut self, schedule: MaintenanceSchedule, down: &[MachineId]) -> Vec<Write> {
        self.put(schedule, down);
        let parts =
            records::parts_of(&self.schedule, |id| self.machines.get(id).is_some_and(|machine| machine.down));
        let mut writes = Vec::new();
        for part in &parts {
            let old = usize::try_from(part.number).ok().and_then(|number| self.parts.get(number));
            if old != Some(part) {
                writes.push(Write::Put(Record::Maintenance(Box::new(part.clone()))));
            }
        }
        for part in self.parts.iter().skip(parts.len()) {
            writes.push(Write::Remove(RecordKey::Maintenance(part.number)));
        }
        self.parts = parts;
        writes
    }

    /// The schedule without these machines; windows that get empty go.
    pub fn without(&self, leaving: &[MachineId]) -> MaintenanceSchedule {
        let windows = self.schedule.windows.iter().map(|window| MaintenanceWindow {
            machines: window.machines.iter().filter(|id| !leaving.contains(id)).cloned().collect(),
            unavailability: window.unavailability,
        });
        MaintenanceSchedule { windows: windows.filter(|window| !window.machines.is_empty()).collect() }
    }
}

impl Master {
    /// When the agent's machine is to be away.
    pub(crate) fn unavailability_of(&self, info: &AgentInfo) -> Option<Unavailability> {
        self.maintenance.of_agent(info).map(|(_, machine)| machine.unavailability)
    }

    pub(crate) fn is_machine_down(&self, info: &AgentInfo) -> bool {
        self.maintenance.of_agent(info).is_some_and(|(_, machine)| machine.down)
    }

    /// What a framework said to an inverse offer, for the status of the machine.
    pub(crate) fn note_inverse_answer(
        &mut self,
        now: Time,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        accepted: Option<bool>,
    ) {
        if let Some(agent) = self.agents.get_mut(agent_id) {
            let answer = InverseOfferAnswer { framework_id: framework_id.clone(), accepted, at: now };
            agent.inverse_answers.insert(framework_id.clone(), answer);
            self.maintenance.stale = true;
        }
    }

    /// Draining machines with the answers of the frameworks on them.
    pub(crate) fn draining_machines(&mut self) -> Arc<Vec<(MachineId, Vec<InverseOfferAnswer>)>> {
        if self.maintenance.stale {
            let machines = self.maintenance.machines.iter().filter(|(_, machine)| !machine.down);
            let mut draining: BTreeMap<MachineId, Vec<InverseOfferAnswer>> =
                machines.map(|(id, _)| (id.clone(), Vec::new())).collect();
            for agent in self.agents.values().filter(|agent| !agent.inverse_answers.is_empty()) {
                let machine = self.maintenance.of_agent(&agent.info).map(|(id, _)| id);
                if let Some(answers) = machine.and_then(|id| draining.get_mut(id)) {
                    answers.extend(agent.inverse_answers.values().cloned());
                }
            }
            self.maintenance.draining = Arc::new(draining.into_iter().collect());
            self.maintenance.stale = false;
        }
        self.maintenance.draining.clone()
    }
}
