//! Networks, port definitions, port mappings.

use std::collections::BTreeSet;

use super::super::app::{AppDefinition, ContainerType, NetworkMode, PortMapping};
use super::Found;

pub(super) fn check(app: &AppDefinition, found: &mut Found) {
    networks(app, found);
    let names = app.port_definitions.iter().filter_map(|definition| definition.name.as_deref());
    found.add_if(!all_distinct(names), "/portDefinitions", "Port names must be unique.");
    let ports = app.port_definitions.iter().map(|definition| definition.port).filter(|port| *port != 0);
    found.add_if(!all_distinct(ports), "/portDefinitions", "Ports must be unique.");
    mappings(app, found);
}

fn all_distinct<T: Ord>(mut items: impl Iterator<Item = T>) -> bool {
    let mut seen = BTreeSet::new();
    items.all(|item| seen.insert(item))
}

fn networks(app: &AppDefinition, found: &mut Found) {
    const PATH: &str = "/networks";
    let of = |mode| app.networks.iter().filter(move |network| network.mode == mode);
    let (hosts, bridges) = (of(NetworkMode::Host).count(), of(NetworkMode::Bridge).count());
    let containers = of(NetworkMode::Container).count();
    let alone = matches!((hosts, bridges, containers), (1, 0, 0) | (0, 1, 0) | (0, 0, 1..));
    let text = "May specify a single host network, single bridge network, or else 1-to-n container networks";
    found.add_if(!alone, PATH, text);
    for (index, network) in app.networks.iter().enumerate() {
        let path = format!("{PATH}({index})");
        match network.mode {
            NetworkMode::Host => {
                let named = network.name.is_some() || !network.labels.is_empty();
                found.add_if(named, path, "Host networks may not have names or labels");
            }
            NetworkMode::Bridge => {
                found.add_if(network.name.is_some(), path, "Bridge networks may not have names");
            }
            NetworkMode::Container => {
                let text = "Network name must be specified when container network is selected.";
                found.add_if(network.name.is_none(), path, text);
            }
        }
    }
    let names = of(NetworkMode::Container).filter_map(|network| network.name.as_deref());
    found.add_if(!all_distinct(names), PATH, "Duplicate networks are not allowed");
    let docker = app.container.as_ref().is_some_and(|container| container.kind == ContainerType::Docker);
    let text = "may only specify a single container network when using the Docker container engine";
    found.add_if(docker && containers > 1, PATH, text);
}

fn mappings(app: &AppDefinition, found: &mut Found) {
    const PATH: &str = "/container/portMappings";
    if app.is_host_network() {
        return;
    }
    let mappings = app.port_mappings();
    let names = mappings.iter().filter_map(|mapping| mapping.name.as_deref());
    found.add_if(!all_distinct(names), PATH, "Port names must be unique.");
    let known: BTreeSet<&str> = app.networks.iter().filter_map(|network| network.name.as_deref()).collect();
    let containers = app.networks.iter().filter(|network| network.mode == NetworkMode::Container).count();
    for (index, mapping) in mappings.iter().enumerate() {
        let path = format!("{PATH}({index})/networkNames");
        network_names(mapping, &known, containers, &path, found);
    }
}

fn network_names(
    mapping: &PortMapping,
    known: &BTreeSet<&str>,
    containers: usize,
    path: &str,
    found: &mut Found,
) {
    for name in &mapping.network_names {
        let unknown = !known.contains(name.as_str());
        let options: Vec<&str> = known.iter().copied().collect();
        found.add_if(unknown, path, format!("is not one of ({})", options.join(",")));
    }
    let ambiguous = containers > 1 && mapping.host_port.is_some() && mapping.network_names.len() != 1;
    let text = "networkNames must be a single item list when hostPort is specified and more than 1 container network is defined";
    found.add_if(ambiguous, path, text);
}
