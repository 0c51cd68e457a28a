//! Agents and masters: attributes, domains, addresses.

use mesos_master::config::MasterConfig;
use mesos_proto::v1;
use mesos_proto::v1::{agent_info, domain_info, master_info, value};
use model::{AgentCapability, AgentInfo, Attribute, AttributeValue, FaultDomain};

use super::{Form, ranges_out, resources_out};

pub(crate) fn agent_out(info: &AgentInfo, form: Form) -> v1::AgentInfo {
    v1::AgentInfo {
        hostname: info.hostname.clone(),
        resources: resources_out(&info.resources, form, None),
        attributes: info.attributes.iter().map(attribute_out).collect(),
        id: info.id.as_ref().map(|id| id.as_str().into()),
        port: Some(i32::from(info.port)),
        domain: info.domain.as_ref().map(domain_out),
    }
}

pub(crate) fn agent_capabilities_out(capabilities: &[AgentCapability]) -> Vec<agent_info::Capability> {
    let capability = |capability: &AgentCapability| agent_info::Capability {
        r#type: super::by_name_out!(capability => agent_info::capability::Type),
    };
    capabilities.iter().map(capability).collect()
}

pub(crate) fn attribute_out(attribute: &Attribute) -> v1::Attribute {
    let mut wire = v1::Attribute { name: attribute.name.clone(), ..v1::Attribute::default() };
    let kind = match &attribute.value {
        AttributeValue::Scalar(quantity) => {
            wire.scalar = Some(value::Scalar { value: quantity.to_f64() });
            value::Type::Scalar
        }
        AttributeValue::Ranges(ranges) => {
            wire.ranges = Some(ranges_out(ranges));
            value::Type::Ranges
        }
        AttributeValue::Set(items) => {
            wire.set = Some(value::Set { item: items.clone() });
            value::Type::Set
        }
        AttributeValue::Text(text) => {
            wire.text = Some(value::Text { value: text.clone() });
            value::Type::Text
        }
    };
    wire.r#type = kind as i32;
    wire
}

pub(crate) fn domain_out(domain: &FaultDomain) -> v1::DomainInfo {
    v1::DomainInfo {
        fault_domain: Some(domain_info::FaultDomain {
            region: domain_info::fault_domain::RegionInfo { name: domain.region.clone() },
            zone: domain_info::fault_domain::ZoneInfo { name: domain.zone.clone() },
        }),
    }
}

pub(crate) fn address_out(hostname: &str, ip: &str, port: u16) -> v1::Address {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    v1::Address { hostname: text(hostname), ip: text(ip), port: i32::from(port) }
}

/// Where an agent answers, as offers name it.
pub(crate) fn agent_url_out(hostname: &str, ip: &str, port: u16) -> v1::Url {
    v1::Url {
        scheme: "http".to_owned(),
        address: address_out(hostname, ip, port),
        path: Some("/slave(1)".to_owned()),
        ..v1::Url::default()
    }
}

/// Without `QUOTA_V2`: JSON readers of published libraries (mesos-go 0.0.11) know no such
/// value and end the stream over it; no client asks for it before it sets a quota.
const MASTER_CAPABILITIES: [master_info::capability::Type; 2] =
    [master_info::capability::Type::AgentUpdate, master_info::capability::Type::AgentDraining];

pub(crate) fn master_out(config: &MasterConfig) -> v1::MasterInfo {
    // The octets in network order, read as the little-endian number that libprocess keeps.
    let ip = config.ip.parse::<std::net::Ipv4Addr>().map_or(0, |ip| u32::from_le_bytes(ip.octets()));
    let capability = |capability| master_info::Capability { r#type: Some(capability as i32) };
    v1::MasterInfo {
        id: config.master_id.clone(),
        ip,
        port: u32::from(config.port),
        pid: Some(format!("master@{}:{}", config.ip, config.port)),
        hostname: Some(config.hostname.clone()),
        version: Some(config.version.clone()),
        address: Some(address_out(&config.hostname, &config.ip, config.port)),
        domain: config.domain.as_ref().map(domain_out),
        capabilities: MASTER_CAPABILITIES.into_iter().map(capability).collect(),
    }
}
