//! Quotas, weights, maintenance, draining: what operators settle.

use mesos_proto::v1::{self, maintenance, quota};
use model::{
    DrainConfig, DrainInfo, DrainState, MachineId, MaintenanceSchedule, MaintenanceWindow, QuotaConfig, Role,
    Unavailability, Weight,
};

use super::{Invalid, duration_out, millis, quantities, quantities_out};

pub(crate) fn machine(wire: &v1::MachineId) -> MachineId {
    MachineId {
        hostname: wire.hostname.as_deref().unwrap_or_default().to_lowercase(),
        ip: wire.ip.clone().unwrap_or_default(),
    }
}

pub(crate) fn machine_out(machine: &MachineId) -> v1::MachineId {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    v1::MachineId { hostname: text(&machine.hostname), ip: text(&machine.ip) }
}

pub(crate) fn unavailability(wire: &v1::Unavailability) -> Unavailability {
    let duration_ns = wire.duration.as_ref().map(|duration| duration.nanoseconds);
    Unavailability { start_ns: wire.start.nanoseconds, duration_ns }
}

pub(crate) fn unavailability_out(unavailability: &Unavailability) -> v1::Unavailability {
    let duration = |nanoseconds| v1::DurationInfo { nanoseconds };
    v1::Unavailability {
        start: v1::TimeInfo { nanoseconds: unavailability.start_ns },
        duration: unavailability.duration_ns.map(duration),
    }
}

pub(crate) fn schedule(wire: &maintenance::Schedule) -> MaintenanceSchedule {
    let window = |window: &maintenance::Window| MaintenanceWindow {
        machines: window.machine_ids.iter().map(machine).collect(),
        unavailability: unavailability(&window.unavailability),
    };
    MaintenanceSchedule { windows: wire.windows.iter().map(window).collect() }
}

pub(crate) fn schedule_out(schedule: &MaintenanceSchedule) -> maintenance::Schedule {
    let window = |window: &MaintenanceWindow| maintenance::Window {
        machine_ids: window.machines.iter().map(machine_out).collect(),
        unavailability: unavailability_out(&window.unavailability),
    };
    maintenance::Schedule { windows: schedule.windows.iter().map(window).collect() }
}

pub(crate) fn quota_config(wire: &quota::QuotaConfig) -> Result<QuotaConfig, Invalid> {
    let role =
        Role::new(&wire.role).map_err(|error| Invalid(format!("Invalid role '{}': {error}", wire.role)))?;
    Ok(QuotaConfig {
        role,
        guarantees: quantities(&wire.guarantees)?,
        limits: quantities(&wire.limits)?,
        principal: None,
    })
}

pub(crate) fn quota_config_out(config: &QuotaConfig) -> quota::QuotaConfig {
    quota::QuotaConfig {
        role: config.role.as_str().to_owned(),
        guarantees: quantities_out(&config.guarantees),
        limits: quantities_out(&config.limits),
    }
}

/// Above zero; more than a billion is no weight anybody means.
pub(crate) fn weight(wire: &v1::WeightInfo) -> Result<(Role, Weight), Invalid> {
    let name = wire.role.as_deref().unwrap_or("*");
    let role = Role::new(name).map_err(|error| Invalid(format!("Invalid role '{name}': {error}")))?;
    let thousandths = (wire.weight * 1000.0).round();
    if !(1.0..=1e12).contains(&thousandths) {
        return Err(Invalid(format!(
            "Invalid weight '{}' for role '{role}': Weights must be positive, from 0.001 to 1000000000",
            wire.weight
        )));
    }
    // In range by the check above.
    Ok((role, Weight(thousandths as u64)))
}

pub(crate) fn weight_out(role: &Role, weight: Weight) -> v1::WeightInfo {
    v1::WeightInfo { weight: weight.0 as f64 / 1000.0, role: Some(role.as_str().to_owned()) }
}

pub(crate) fn drain_info_out(drain: &DrainInfo) -> v1::DrainInfo {
    let state = match drain.state {
        DrainState::Draining => v1::DrainState::Draining,
        DrainState::Drained => v1::DrainState::Drained,
    };
    v1::DrainInfo { state: state as i32, config: drain_config_out(&drain.config) }
}

pub(crate) fn drain_config_out(config: &DrainConfig) -> v1::DrainConfig {
    v1::DrainConfig {
        max_grace_period: config.max_grace_ms.map(duration_out),
        mark_gone: Some(config.mark_gone),
    }
}

/// None below zero.
pub(crate) fn kill_policy(wire: &v1::KillPolicy) -> Option<model::KillPolicy> {
    let grace = wire.grace_period.as_ref()?;
    millis(grace).map(|grace_ms| model::KillPolicy { grace_ms })
}

pub(crate) fn kill_policy_out(policy: &model::KillPolicy) -> v1::KillPolicy {
    v1::KillPolicy { grace_period: Some(duration_out(policy.grace_ms)) }
}
