//! Agents, frameworks and executors.

use model::{
    AgentInfo, Attribute, AttributeValue, DrainConfig, ExecutorInfo, ExecutorRecord, FaultDomain,
    FrameworkInfo, MinAllocatable, Opaque, Principal, Quantities, Quantity, Role,
};

use super::resources::{items, ranges, resources};
use super::task::{command_info, container_info};
use super::{all, id, labels, optional_id, optional_number, port, present, role};
use crate::DecodeError;
use crate::numbers::Numbered;
use crate::wire;
use crate::wire::attribute;

pub(super) fn agent_info(info: wire::AgentInfo) -> Result<AgentInfo, DecodeError> {
    Ok(AgentInfo {
        id: optional_id("id", info.id)?,
        hostname: info.hostname,
        ip: info.ip,
        port: port("port", info.port)?,
        resources: resources("resources", info.resources)?,
        attributes: all("attributes", info.attributes, attribute)?,
        domain: info.domain.map(|domain| FaultDomain { region: domain.region, zone: domain.zone }),
        version: info.version,
        capabilities: info.capabilities.into_iter().filter_map(Numbered::from_number).collect(),
    })
}

fn attribute(attribute: wire::Attribute) -> Result<Attribute, DecodeError> {
    let value = match attribute.value {
        Some(attribute::Value::ScalarMilli(milli)) => AttributeValue::Scalar(Quantity::from_milli(milli)),
        Some(attribute::Value::Ranges(value)) => AttributeValue::Ranges(ranges(value)?),
        Some(attribute::Value::Set(set)) => AttributeValue::Set(items(set)?),
        Some(attribute::Value::Text(text)) => AttributeValue::Text(text),
        None => return Err(DecodeError::unknown("value", "no case")),
    };
    Ok(Attribute { name: attribute.name, value })
}

pub(super) fn drain_config(config: wire::DrainConfig) -> DrainConfig {
    DrainConfig { max_grace_ms: config.max_grace_ms, mark_gone: config.mark_gone }
}

pub(super) fn framework_info(info: wire::FrameworkInfo) -> Result<FrameworkInfo, DecodeError> {
    Ok(FrameworkInfo {
        id: optional_id("id", info.id)?,
        name: info.name,
        user: info.user,
        roles: all("roles", info.roles, |text| role("role", text))?,
        failover_timeout_ms: info.failover_timeout_ms,
        checkpoint: info.checkpoint,
        hostname: info.hostname,
        principal: info.principal.map(Principal::from),
        webui_url: info.webui_url,
        capabilities: info.capabilities.into_iter().filter_map(Numbered::from_number).collect(),
        labels: labels(info.labels),
        offer_filters: all("offer_filters", info.offer_filters, offer_filter)?.into_iter().collect(),
    })
}

fn offer_filter(filter: wire::OfferFilter) -> Result<(Role, MinAllocatable), DecodeError> {
    Ok((role("role", filter.role)?, filter.least.into_iter().map(quantities).collect()))
}

fn quantities(quantities: wire::Quantities) -> Quantities {
    quantities.milli.into_iter().map(|(name, milli)| (name.into(), Quantity::from_milli(milli))).collect()
}

pub(super) fn executor_record(record: wire::ExecutorRecord) -> Result<ExecutorRecord, DecodeError> {
    Ok(ExecutorRecord {
        framework_id: id("framework_id", record.framework_id)?,
        agent_id: id("agent_id", record.agent_id)?,
        info: present("info", record.info, |info| executor_info(*info))?,
        role: role("role", record.role)?,
    })
}

pub(super) fn executor_info(info: wire::ExecutorInfo) -> Result<ExecutorInfo, DecodeError> {
    Ok(ExecutorInfo {
        id: id("id", info.id)?,
        kind: optional_number("kind", info.kind)?,
        framework_id: optional_id("framework_id", info.framework_id)?,
        resources: resources("resources", info.resources)?,
        command: info.command.map(command_info),
        container: info.container.map(container_info),
        name: info.name,
        source: info.source,
        labels: labels(info.labels),
        shutdown_grace_ms: info.shutdown_grace_ms,
        raw: info.raw.map(Opaque::from),
    })
}
