//! Reads containers, networks and the deprecated `ipAddress`: shapes only.

use std::collections::BTreeMap;

use marathon::definition::app::{
    AppC, ConstraintText, ContainerType, DiskType, DockerNetwork, Network, NetworkMode, Volume, VolumeMode,
};
use marathon::definition::update::{
    ContainerUpdate, DiscoveryPortUpdate, DockerUpdate, IpAddressUpdate, PortMappingUpdate,
};

use super::read_app::{port_name, protocol};
use super::shape::{Errors, Object, is_name};

/// Longest network name, in characters.
const NETWORK_NAME_LENGTH_MAX: usize = 63;

pub(super) fn container(object: &Object<'_>, e: &mut Errors) -> Option<ContainerUpdate> {
    Some(ContainerUpdate {
        kind: object.get("type").and_then(|node| node.word(ContainerType::from_name, e)),
        docker: object.get("docker").and_then(|node| docker(&node.object(e)?, e)),
        appc: object.get("appc").and_then(|node| appc(&node.object(e)?, e)),
        volumes: object.objects("volumes", e, volume).unwrap_or_default(),
        port_mappings: object.objects("portMappings", e, port_mapping),
    })
}

fn docker(object: &Object<'_>, e: &mut Errors) -> Option<DockerUpdate> {
    let parameters = object.objects("parameters", e, |object, e| {
        Some((object.need("key", e)?.text(e)?, object.need("value", e)?.text(e)?))
    });
    let pull = object.get("pullConfig").and_then(|node| node.object(e));
    Some(DockerUpdate {
        image: object.text("image", e),
        force_pull: object.boolean("forcePullImage", e),
        privileged: object.boolean("privileged", e),
        parameters: parameters.unwrap_or_default(),
        pull_secret: pull.and_then(|pull| pull.need("secret", e)?.text(e)),
        credential: object.get("credential").is_some(),
        network: object.get("network").and_then(|node| node.word(DockerNetwork::from_name, e)),
        port_mappings: object.objects("portMappings", e, port_mapping),
    })
}

fn appc(object: &Object<'_>, e: &mut Errors) -> Option<AppC> {
    let id = object.get("id").and_then(|node| {
        let text = node.text(e)?;
        if text.strip_prefix("sha512-").is_none_or(str::is_empty) {
            e.add(&node.path, "error.pattern");
        }
        Some(text)
    });
    Some(AppC {
        image: object.need("image", e)?.text(e)?,
        id,
        labels: object.text_map("labels", e).unwrap_or_default(),
        force_pull: object.boolean("forcePullImage", e).unwrap_or(false),
    })
}

fn port_mapping(object: &Object<'_>, e: &mut Errors) -> Option<PortMappingUpdate> {
    let network_names = object.texts("networkNames", e);
    Some(PortMappingUpdate {
        container_port: object.port("containerPort", e).unwrap_or(0),
        host_port: object.port("hostPort", e),
        service_port: object.port("servicePort", e).unwrap_or(0),
        protocol: protocol(object, e),
        name: port_name(object, "name", e),
        labels: object.text_map("labels", e).unwrap_or_default(),
        network_names: network_names.unwrap_or_default(),
    })
}

/// The kind is chosen by key.
fn volume(object: &Object<'_>, e: &mut Errors) -> Option<Volume> {
    let container_path = object.need("containerPath", e).and_then(|node| node.text(e));
    let mode = |e: &mut Errors| object.get("mode").and_then(|node| node.word(VolumeMode::from_name, e));
    if let Some(node) = object.get("persistent") {
        let persistent = node.object(e)?;
        let size = persistent.need("size", e).and_then(|node| node.integer(i64::MIN, i64::MAX, e));
        let disk = persistent.get("type").and_then(|node| node.word(DiskType::from_name, e));
        let max_size = persistent.get("maxSize").and_then(|node| node.integer(i64::MIN, i64::MAX, e));
        let constraints = persistent.get("constraints").and_then(|node| node.list(e)).unwrap_or_default();
        return Some(Volume::Persistent {
            container_path: container_path?,
            mode: mode(e).unwrap_or(VolumeMode::Rw),
            size: size?,
            disk: disk.unwrap_or(DiskType::Root),
            max_size,
            profile: persistent.text("profileName", e),
            constraints: constraints.iter().filter_map(|item| item.texts(e)).map(ConstraintText).collect(),
        });
    }
    if let Some(node) = object.get("external") {
        let external = node.object(e)?;
        let options: BTreeMap<String, String> = external.text_map("options", e).unwrap_or_default();
        return Some(Volume::External {
            container_path: container_path?,
            mode: mode(e).unwrap_or(VolumeMode::Rw),
            name: external.text("name", e).unwrap_or_default(),
            provider: external.text("provider", e).unwrap_or_default(),
            size: external.get("size").and_then(|node| node.integer(i64::MIN, i64::MAX, e)),
            options,
        });
    }
    if let Some(node) = object.get("secret") {
        return Some(Volume::Secret { container_path: container_path?, secret: node.text(e)? });
    }
    let host_path = object.need("hostPath", e)?.text(e)?;
    let mode = object.need("mode", e)?.word(VolumeMode::from_name, e)?;
    Some(Volume::Host { container_path: container_path?, host_path, mode })
}

pub(super) fn networks(object: &Object<'_>, e: &mut Errors) -> Option<Vec<Network>> {
    object.objects("networks", e, |object, e| {
        let mode = object.get("mode").and_then(|node| node.word(NetworkMode::from_name, e));
        Some(Network {
            // A network without a mode is a container network, as Marathon has it.
            mode: mode.unwrap_or(NetworkMode::Container),
            name: network_name(object, "name", e),
            labels: object.text_map("labels", e).unwrap_or_default(),
        })
    })
}

fn network_name(object: &Object<'_>, key: &str, e: &mut Errors) -> Option<String> {
    let node = object.get(key)?;
    let text = node.text(e)?;
    if !is_name(&text, true) || text.len() > NETWORK_NAME_LENGTH_MAX {
        e.add(&node.path, "error.pattern");
    }
    Some(text)
}

pub(super) fn ip_address(object: &Object<'_>, e: &mut Errors) -> Option<IpAddressUpdate> {
    let discovery = object.get("discovery").and_then(|node| node.object(e));
    let ports = discovery.and_then(|discovery| {
        discovery.objects("ports", e, |port, e| {
            Some(DiscoveryPortUpdate {
                number: port.need("number", e)?.port(e)?,
                name: port_name(port, "name", e)?,
                protocol: protocol(port, e),
                labels: port.text_map("labels", e).unwrap_or_default(),
            })
        })
    });
    Some(IpAddressUpdate {
        network_name: network_name(object, "networkName", e),
        labels: object.text_map("labels", e).unwrap_or_default(),
        discovery_ports: ports,
    })
}
