//! What a master makes durable: who was admitted, and what operators settled.
//!
//! Frameworks, tasks, offers and reservations are not: they come back with their
//! schedulers and agents. Each record has a key of its own; the store's envelope
//! gives it a version.

use std::collections::BTreeMap;

use model::{
    AgentId, AgentInfo, DrainInfo, MachineId, MaintenanceSchedule, MaintenanceWindow, QuotaConfig, Role,
    Time, Unavailability, Weight,
};
use serde::{Deserialize, Serialize};

/// That an agent was admitted, and in which state it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentRecord {
    pub info: AgentInfo,
    pub state: AdmittedState,
    pub registered: Time,
    /// By the operator's word, or because it drains.
    #[serde(default)]
    pub deactivated: bool,
    #[serde(default)]
    pub drain: Option<DrainInfo>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdmittedState {
    Admitted,
    Unreachable { since: Time },
    Gone { since: Time },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightRecord {
    pub role: Role,
    pub weight: Weight,
}

/// A piece of the maintenance schedule: some machines of one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MaintenancePart {
    /// Its place among the parts, which is its key.
    pub number: u32,
    /// The window that the machines belong to, counted from 0.
    pub window: u32,
    pub unavailability: Unavailability,
    pub machines: Vec<MachineId>,
    /// Those of them that are down.
    #[serde(default)]
    pub down: Vec<MachineId>,
}

/// Most machines in one part: its record stays far below the store's limit.
pub const PART_MACHINES_MAX: usize = 1_000;

/// Cuts a schedule into parts.
pub fn parts_of(
    schedule: &MaintenanceSchedule,
    is_down: impl Fn(&MachineId) -> bool,
) -> Vec<MaintenancePart> {
    let mut parts = Vec::new();
    for (window, entry) in (0..).zip(&schedule.windows) {
        for machines in entry.machines.chunks(PART_MACHINES_MAX) {
            parts.push(MaintenancePart {
                number: u32::try_from(parts.len()).unwrap_or(u32::MAX),
                window,
                unavailability: entry.unavailability,
                machines: machines.to_vec(),
                down: machines.iter().filter(|machine| is_down(machine)).cloned().collect(),
            });
        }
    }
    parts
}

/// Puts the parts, sorted by number, together again.
pub fn schedule_of<'a>(parts: impl IntoIterator<Item = &'a MaintenancePart>) -> MaintenanceSchedule {
    let mut windows: BTreeMap<u32, MaintenanceWindow> = BTreeMap::new();
    for part in parts {
        windows
            .entry(part.window)
            .or_insert_with(|| MaintenanceWindow {
                machines: Vec::new(),
                unavailability: part.unavailability,
            })
            .machines
            .extend(part.machines.iter().cloned());
    }
    MaintenanceSchedule { windows: windows.into_values().collect() }
}

/// A record as it is stored and loaded.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    Agent(Box<AgentRecord>),
    Quota(Box<QuotaConfig>),
    Weight(WeightRecord),
    Maintenance(Box<MaintenancePart>),
}

/// Where a record lies; records of one kind lie beside each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    Agent(AgentId),
    Quota(Role),
    Weight(Role),
    Maintenance(u32),
}

impl Record {
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Agent(record) => {
                RecordKey::Agent(record.info.id.clone().unwrap_or_else(|| AgentId::new("")))
            }
            Self::Quota(config) => RecordKey::Quota(config.role.clone()),
            Self::Weight(record) => RecordKey::Weight(record.role.clone()),
            Self::Maintenance(part) => RecordKey::Maintenance(part.number),
        }
    }
}

/// One change of what is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    Put(Record),
    Remove(RecordKey),
}

impl Write {
    /// What the change does to a disk that is a map; for simulators and tests.
    pub fn apply(self, disk: &mut BTreeMap<RecordKey, Record>) {
        match self {
            Self::Put(record) => {
                disk.insert(record.key(), record);
            }
            Self::Remove(key) => {
                disk.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_survives_being_cut_into_parts() {
        let machine = |n: usize| MachineId { hostname: format!("m{n}"), ip: String::new() };
        let window = |from: usize, count: usize, start_ns: i64| MaintenanceWindow {
            machines: (from..from + count).map(machine).collect(),
            unavailability: Unavailability { start_ns, duration_ns: Some(5) },
        };
        let schedule = MaintenanceSchedule { windows: vec![window(0, 2_500, 1), window(9_000, 3, 2)] };
        let parts = parts_of(&schedule, |machine| machine.hostname == "m2400");
        assert_eq!(parts.iter().map(|part| part.machines.len()).collect::<Vec<_>>(), [1_000, 1_000, 500, 3]);
        assert_eq!(parts.iter().map(|part| part.down.len()).collect::<Vec<_>>(), [0, 0, 1, 0]);
        assert_eq!(schedule_of(&parts), schedule);
    }
}
