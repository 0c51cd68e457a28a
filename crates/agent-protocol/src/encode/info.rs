//! Agents, frameworks and executors.

use model::{
    AgentInfo, Attribute, AttributeValue, DrainConfig, ExecutorInfo, ExecutorRecord, FrameworkInfo,
    MinAllocatable, Quantities, Role,
};

use super::resources::{ranges, resources};
use super::task::{command_info, container_info};
use super::{bytes, labels};
use crate::numbers::Numbered;
use crate::wire;
use crate::wire::attribute;

pub(super) fn agent_info(info: AgentInfo) -> wire::AgentInfo {
    wire::AgentInfo {
        id: info.id.map(|id| id.to_string()),
        hostname: info.hostname,
        ip: info.ip,
        port: u32::from(info.port),
        version: info.version,
        resources: resources(&info.resources),
        attributes: info.attributes.into_iter().map(attribute).collect(),
        domain: info.domain.map(|domain| wire::FaultDomain { region: domain.region, zone: domain.zone }),
        capabilities: info.capabilities.into_iter().map(Numbered::number).collect(),
    }
}

fn attribute(attribute: Attribute) -> wire::Attribute {
    let value = match attribute.value {
        AttributeValue::Scalar(quantity) => attribute::Value::ScalarMilli(quantity.milli()),
        AttributeValue::Ranges(value) => attribute::Value::Ranges(ranges(&value)),
        AttributeValue::Set(items) => attribute::Value::Set(wire::Set { items }),
        AttributeValue::Text(text) => attribute::Value::Text(text),
    };
    wire::Attribute { name: attribute.name, value: Some(value) }
}

pub(super) fn drain_config(config: DrainConfig) -> wire::DrainConfig {
    wire::DrainConfig { max_grace_ms: config.max_grace_ms, mark_gone: config.mark_gone }
}

pub(super) fn framework_info(info: FrameworkInfo) -> wire::FrameworkInfo {
    wire::FrameworkInfo {
        id: info.id.map(|id| id.to_string()),
        name: info.name,
        user: info.user,
        roles: info.roles.into_iter().map(String::from).collect(),
        failover_timeout_ms: info.failover_timeout_ms,
        checkpoint: info.checkpoint,
        hostname: info.hostname,
        principal: info.principal.map(|principal| principal.to_string()),
        webui_url: info.webui_url,
        capabilities: info.capabilities.into_iter().map(Numbered::number).collect(),
        labels: labels(info.labels),
        offer_filters: info.offer_filters.into_iter().map(offer_filter).collect(),
    }
}

fn offer_filter((role, least): (Role, MinAllocatable)) -> wire::OfferFilter {
    wire::OfferFilter { role: role.into(), least: least.into_iter().map(quantities).collect() }
}

fn quantities(quantities: Quantities) -> wire::Quantities {
    let milli = quantities.into_iter().map(|(name, quantity)| (name.into(), quantity.milli())).collect();
    wire::Quantities { milli }
}

pub(super) fn executor_record(record: ExecutorRecord) -> wire::ExecutorRecord {
    wire::ExecutorRecord {
        framework_id: record.framework_id.to_string(),
        agent_id: record.agent_id.to_string(),
        info: Some(Box::new(executor_info(record.info))),
        role: record.role.into(),
    }
}

pub(super) fn executor_info(info: ExecutorInfo) -> wire::ExecutorInfo {
    wire::ExecutorInfo {
        id: info.id.to_string(),
        kind: info.kind.map(Numbered::number),
        framework_id: info.framework_id.map(|id| id.to_string()),
        resources: resources(&info.resources),
        command: info.command.map(command_info),
        container: info.container.map(container_info),
        name: info.name,
        source: info.source,
        labels: labels(info.labels),
        shutdown_grace_ms: info.shutdown_grace_ms,
        raw: info.raw.map(bytes),
    }
}
