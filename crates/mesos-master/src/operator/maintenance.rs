//! The maintenance schedule: machines are announced, taken down, brought up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use model::agent_api::MasterToAgent;
use model::operator_api::OperatorReply;
use model::{AgentId, MachineId, MaintenanceSchedule, Time, Unavailability};

use super::{Outcome, Refused, invalid};
use crate::brain::{Effect, Master, Out};
use crate::loss::Removal;

const HOSTNAME_MAX: usize = 253;

/// `{"hostname":"a","ip":"10.0.0.1"}`, as the original names a machine.
fn shown(id: &MachineId) -> String {
    let quoted = |text: &str| {
        let escaped: String = text.chars().flat_map(char::escape_default).collect();
        format!("\"{escaped}\"")
    };
    let fields = [("hostname", &id.hostname), ("ip", &id.ip)];
    let parts: Vec<String> = fields
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("\"{name}\":{}", quoted(value)))
        .collect();
    format!("{{{}}}", parts.join(","))
}

fn machine_problem(id: &MachineId) -> Option<String> {
    if id.hostname.is_empty() && id.ip.is_empty() {
        return Some("Both 'hostname' and 'ip' for a machine are empty".to_owned());
    }
    if id.hostname.len() > HOSTNAME_MAX {
        return Some(format!("'hostname' of a machine is longer than {HOSTNAME_MAX} bytes"));
    }
    if !id.ip.is_empty() && id.ip.parse::<Ipv4Addr>().is_err() {
        return Some(format!("Failed to parse the IP '{}' of a machine; write for instance 10.0.0.1", id.ip));
    }
    None
}

/// Hostnames are compared without regard to case.
fn normal(machines: Vec<MachineId>) -> Vec<MachineId> {
    let lower = |id: MachineId| MachineId { hostname: id.hostname.to_lowercase(), ip: id.ip };
    machines.into_iter().map(lower).collect()
}

fn unique(machines: &[MachineId], seen: &mut BTreeSet<MachineId>) -> Result<(), Refused> {
    for id in machines {
        if let Some(problem) = machine_problem(id) {
            return Err(invalid(problem));
        }
        if !seen.insert(id.clone()) {
            return Err(invalid(format!("Machine '{}' appears more than once in the schedule", shown(id))));
        }
    }
    Ok(())
}

impl Master {
    pub(super) fn update_schedule(&mut self, mut schedule: MaintenanceSchedule, out: &mut Out) -> Outcome {
        let mut seen = BTreeSet::new();
        for window in &mut schedule.windows {
            if window.machines.is_empty() {
                return Err(invalid("List of machines in the maintenance window is empty"));
            }
            if window.unavailability.duration_ns.is_some_and(|duration| duration < 0) {
                return Err(invalid("Unavailability 'duration' is negative"));
            }
            window.machines = normal(std::mem::take(&mut window.machines));
            unique(&window.machines, &mut seen)?;
        }
        let limit = self.config.limits.machines_max;
        if seen.len() > limit {
            let count = seen.len();
            return Err(invalid(format!(
                "the schedule names {count} machines; at most {limit} are kept, the limit machines_max"
            )));
        }
        let down = self.maintenance.down().clone();
        if let Some(id) = down.iter().find(|id| !seen.contains(*id)) {
            return Err(invalid(format!(
                "Machine '{}' is deactivated and cannot be removed from the schedule",
                shown(id)
            )));
        }
        self.reschedule(schedule, &down, out);
        Ok(OperatorReply::Done)
    }

    pub(super) fn start_maintenance(
        &mut self,
        now: Time,
        machines: Vec<MachineId>,
        out: &mut Out,
    ) -> Outcome {
        let machines = self.machines_in(machines, false)?;
        let mut down = (**self.maintenance.down()).clone();
        down.extend(machines.iter().cloned());
        let schedule = (**self.maintenance.schedule()).clone();
        out.writes.extend(self.maintenance.replace(schedule, &down));
        let on_them = self.agents.values().filter(|agent| self.is_machine_down(&agent.info));
        let ids: Vec<AgentId> =
            on_them.filter(|agent| agent.is_registered()).map(|agent| agent.id.clone()).collect();
        for id in ids {
            let cause = "Operator initiated 'Machine DOWN'".to_owned();
            if let Some(conn) = self.agents.get(&id).and_then(|agent| agent.conn()) {
                let message = MasterToAgent::Shutdown { message: cause.clone() };
                out.effect(Effect::ToAgent { conn, message });
            }
            self.remove_agent(now, &id, Removal::Maintenance, &cause, out);
        }
        Ok(OperatorReply::Done)
    }

    pub(super) fn stop_maintenance(&mut self, machines: Vec<MachineId>, out: &mut Out) -> Outcome {
        let machines = self.machines_in(machines, true)?;
        let down: Vec<MachineId> =
            self.maintenance.down().iter().filter(|id| !machines.contains(id)).cloned().collect();
        let schedule = self.maintenance.without(&machines);
        self.reschedule(schedule, &down, out);
        Ok(OperatorReply::Done)
    }

    /// All of them scheduled, and down or not as is needed.
    fn machines_in(&self, machines: Vec<MachineId>, down: bool) -> Result<Vec<MachineId>, Refused> {
        if machines.is_empty() {
            return Err(invalid("List of machines is empty"));
        }
        let machines = normal(machines);
        unique(&machines, &mut BTreeSet::new())?;
        for id in &machines {
            let Some(machine) = self.maintenance.get(id) else {
                return Err(invalid(format!(
                    "Machine '{}' is not part of a maintenance schedule",
                    shown(id)
                )));
            };
            if machine.down != down {
                let text = match down {
                    true => "is not in DOWN mode and cannot be brought up",
                    false => "is not in DRAINING mode and cannot be brought down",
                };
                return Err(invalid(format!("Machine '{}' {text}", shown(id))));
            }
        }
        Ok(machines)
    }

    /// Puts the schedule in force: offers of agents that it concerns in a new way are
    /// taken back, so that frameworks see them with the time of absence.
    fn reschedule(&mut self, schedule: MaintenanceSchedule, down: &[MachineId], out: &mut Out) {
        let before: BTreeMap<AgentId, Option<Unavailability>> = self
            .agents
            .values()
            .filter(|agent| agent.is_registered())
            .map(|agent| (agent.id.clone(), self.unavailability_of(&agent.info)))
            .collect();
        out.writes.extend(self.maintenance.replace(schedule, down));
        for (id, old) in before {
            let Some(agent) = self.agents.get(&id) else { continue };
            if self.unavailability_of(&agent.info) == old {
                continue;
            }
            if let Some(agent) = self.agents.get_mut(&id) {
                agent.inverse_answers.clear();
            }
            self.rescind_all_of(&id, out);
            self.agent_facts_changed(&id);
        }
    }
}
