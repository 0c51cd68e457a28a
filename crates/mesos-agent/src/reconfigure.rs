//! Whether an agent that starts with another description is still the same agent.

use model::{AgentInfo, ResourceValue, Resources};

use crate::config::{AgentConfig, ReconfigurationPolicy};
use crate::operations;
use crate::state::Record;

/// Refuses a start that would break what the master and the tasks rely on.
pub fn check(config: &AgentConfig, records: &[Record]) -> Result<(), String> {
    let known = records.iter().find_map(|record| match record {
        Record::Info(info) => Some(info),
        _ => None,
    });
    let Some(known) = known else { return Ok(()) };
    if rebooted(config, records) {
        // Nothing runs; a changed machine comes back as a new agent.
        return Ok(());
    }
    let checked = compatible(config.reconfiguration, known, &config.info);
    let converted = records.iter().find_map(|record| match record {
        Record::Resources(resources) => Some(&resources.converted),
        _ => None,
    });
    let held = converted.map_or(Ok(()), |converted| {
        operations::apply_converted(&config.info.resources, converted)
            .map(drop)
            .map_err(|what| format!("{what}, and is not among its resources any more"))
    });
    checked.and(held).map_err(|what| {
        format!(
            "this agent cannot go on as it was: {what}. Start it as before, or drain it, stop it and move its \
             checkpoint file away: it then joins as a new agent"
        )
    })
}

pub(crate) fn rebooted(config: &AgentConfig, records: &[Record]) -> bool {
    let known = records.iter().find_map(|record| match record {
        Record::BootId(id) => Some(id),
        _ => None,
    });
    matches!((known, &config.boot_id), (Some(known), Some(now)) if known != now)
}

/// What is wrong with the change, if anything.
pub(crate) fn compatible(
    policy: ReconfigurationPolicy,
    old: &AgentInfo,
    new: &AgentInfo,
) -> Result<(), String> {
    if old.hostname != new.hostname {
        return Err(format!("its hostname was {:?} and is {:?}", old.hostname, new.hostname));
    }
    if old.port != new.port {
        return Err(format!("its port was {} and is {}", old.port, new.port));
    }
    if old.domain != new.domain {
        return Err("its fault domain changed".to_owned());
    }
    match policy {
        ReconfigurationPolicy::Equal => {
            if old.resources != new.resources {
                return Err("its resources changed, and reconfiguration_policy is equal".to_owned());
            }
            if old.attributes != new.attributes {
                return Err("its attributes changed, and reconfiguration_policy is equal".to_owned());
            }
        }
        ReconfigurationPolicy::Additive => {
            if let Some(name) = shrunk(&old.resources, &new.resources) {
                return Err(format!("its resource {name} became less, and may only grow"));
            }
            if let Some(lost) = old.attributes.iter().find(|attribute| !new.attributes.contains(attribute)) {
                return Err(format!(
                    "its attribute {} was removed or changed, and may only be added",
                    lost.name
                ));
            }
        }
    }
    Ok(())
}

fn shrunk(old: &Resources, new: &Resources) -> Option<String> {
    let less = old.iter().find(|resource| {
        let mut one = Resources::new();
        one.add_one((*resource).clone());
        !new.contains(&one)
    })?;
    Some(match &less.value {
        ResourceValue::Scalar(quantity) => format!("{} (of {quantity})", less.name),
        _ => less.name.to_string(),
    })
}
