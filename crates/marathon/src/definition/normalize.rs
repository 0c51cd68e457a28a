//! From what a client sent (and, in a partial update, what was stored) to a
//! canonical definition.
//!
//! Order: deprecated forms are checked and rewritten, the update is laid over
//! the base, defaults are put in, the whole is validated, and last what this
//! version cannot carry out is refused. Rules: `mesosphere/marathon`
//! `api/v2/AppNormalization.scala`.

use std::collections::{BTreeMap, BTreeSet};

use model::Time;

use super::app::{
    AppDefinition, ConstraintText, Container, ContainerType, Docker, DockerNetwork, Fetch, HealthCheck,
    HealthProtocol, KillSelection, Network, NetworkMode, PortDefinition, PortMapping, Protocol, Residency,
    TaskLostBehavior, UnreachableStrategy, UpgradeStrategy, Volume,
};
use super::update::{AppUpdate, ContainerUpdate, PortDefinitionUpdate, PortMappingUpdate};
use super::{unavailable, validate};
use crate::api::Violation;
use crate::path::PathId;

/// What normalisation needs to know of the installation.
#[derive(Debug, Clone)]
pub struct Rules {
    pub default_network_name: Option<String>,
    pub bridge_name: String,
    pub features: BTreeSet<String>,
}

/// The version fields of the result are zero: the caller stamps them.
pub fn resolve(
    update: &AppUpdate,
    id: &PathId,
    base: Option<&AppDefinition>,
    rules: &Rules,
) -> Result<AppDefinition, Vec<Violation>> {
    let mut violations = validate::deprecated(update);
    if !violations.is_empty() {
        return Err(violations);
    }
    let mut update = update.clone();
    rewrite_deprecated(&mut update, rules);
    violations.extend(validate::update(&update, base));
    if !violations.is_empty() {
        return Err(violations);
    }
    let mut definition = lay_over(&update, id, base);
    complete(&mut definition, rules);
    violations.extend(resolve_dependencies(&update, &mut definition));
    violations.extend(validate::definition(&definition, rules));
    if violations.is_empty() {
        violations.extend(unavailable::of(&definition));
    }
    if violations.is_empty() { Ok(definition) } else { Err(violations) }
}

fn resolve_dependencies(update: &AppUpdate, definition: &mut AppDefinition) -> Vec<Violation> {
    let Some(dependencies) = &update.dependencies else { return Vec::new() };
    let parent = definition.id.parent();
    let mut violations = Vec::new();
    definition.dependencies = BTreeSet::new();
    for (index, text) in dependencies.iter().enumerate() {
        match PathId::resolve(text, &parent) {
            Ok(id) => {
                definition.dependencies.insert(id);
            }
            Err(_) => violations.push(Violation::new(format!("/dependencies({index})"), "error.pattern")),
        }
    }
    violations
}

// ---- deprecated forms

fn rewrite_deprecated(update: &mut AppUpdate, rules: &Rules) {
    rewrite_networks(update, rules);
    if let Some(ports) = update.ports.take()
        && update.port_definitions.is_none()
    {
        update.port_definitions = Some(ports.into_iter().map(definition_of_port).collect());
    }
    if let Some(uris) = update.uris.take()
        && update.fetch.is_none()
    {
        update.fetch = Some(uris.into_iter().map(fetch_of_uri).collect());
    }
}

fn definition_of_port(port: u16) -> PortDefinitionUpdate {
    PortDefinitionUpdate { port, protocol: Protocol::Tcp, name: None, labels: BTreeMap::new() }
}

fn fetch_of_uri(uri: String) -> Fetch {
    const ARCHIVES: [&str; 9] =
        [".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".tar", ".gz", ".zip"];
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    let extract = ARCHIVES.iter().any(|ending| path.ends_with(ending));
    Fetch { uri, extract, executable: false, cache: false, dest_path: None }
}

fn rewrite_networks(update: &mut AppUpdate, rules: &Rules) {
    let old = update.container.as_mut().and_then(|container| container.docker.as_mut());
    let (old_network, old_mappings) = match old {
        Some(docker) => (docker.network.take(), docker.port_mappings.take()),
        None => (None, None),
    };
    if let (Some(mappings), Some(container)) = (old_mappings, update.container.as_mut()) {
        // HOST never had mappings: they are dropped with the old form.
        let ignored =
            old_network.is_none_or(|network| network == DockerNetwork::Host) && update.ip_address.is_none();
        if container.port_mappings.is_none() && !ignored {
            container.port_mappings = Some(mappings);
        }
    }
    let ip_address = update.ip_address.take();
    if update.networks.is_some() {
        return;
    }
    let labels = ip_address.as_ref().map(|ip| ip.labels.clone()).unwrap_or_default();
    let name = ip_address.as_ref().and_then(|ip| ip.network_name.clone());
    match (old_network, &ip_address) {
        (Some(DockerNetwork::Host), _) => update.networks = Some(vec![Network::host()]),
        (Some(DockerNetwork::Bridge), _) => {
            update.networks =
                Some(vec![Network { mode: NetworkMode::Bridge, name: None, labels: BTreeMap::new() }]);
        }
        (Some(DockerNetwork::User), _) | (None, Some(_)) => {
            let bridge = old_network.is_none() && name.as_deref() == Some(rules.bridge_name.as_str());
            let network = if bridge {
                Network { mode: NetworkMode::Bridge, name: None, labels }
            } else {
                let name = name.or_else(|| rules.default_network_name.clone());
                Network { mode: NetworkMode::Container, name, labels }
            };
            update.networks = Some(vec![network]);
        }
        (Some(DockerNetwork::None), _) | (None, None) => {}
    }
    let discovery = ip_address.and_then(|ip| ip.discovery_ports).unwrap_or_default();
    if !discovery.is_empty() {
        let mappings = discovery.into_iter().map(|port| PortMappingUpdate {
            container_port: port.number,
            host_port: None,
            service_port: 0,
            protocol: port.protocol,
            name: Some(port.name),
            labels: port.labels,
            network_names: Vec::new(),
        });
        let mesos = ContainerUpdate { kind: Some(ContainerType::Mesos), ..ContainerUpdate::default() };
        let container = update.container.get_or_insert(mesos);
        if container.port_mappings.is_none() {
            container.port_mappings = Some(mappings.collect());
        }
    }
}

// ---- laying the update over the base

fn lay_over(update: &AppUpdate, id: &PathId, base: Option<&AppDefinition>) -> AppDefinition {
    let mut app = base.cloned().unwrap_or_else(|| blank(id));
    let persistent_before = app.has_persistent_volumes();
    app.version = Time::ZERO;
    app.last_scaling = Time::ZERO;
    app.last_config_change = Time::ZERO;
    // Upstream loses it in partial updates that do not name it.
    app.executor_resources = update.executor_resources.clone();
    lay_over_command(&mut app, update);
    lay_over_plain(&mut app, update);
    if let Some(container) = &update.container {
        app.container = Some(container_of(container));
    }
    if let Some(networks) = &update.networks {
        let was_host = base.is_some_and(AppDefinition::is_host_network);
        app.networks = networks.clone();
        if update.container.is_none()
            && app.is_host_network()
            && !was_host
            && let Some(container) = app.container.as_mut()
        {
            container.port_mappings = None;
        }
        if update.port_definitions.is_none() && base.is_some() && !app.is_host_network() {
            app.port_definitions.clear();
        }
    }
    lay_over_strategies(&mut app, update, base.is_none(), persistent_before);
    if let Some(definitions) = &update.port_definitions {
        app.port_definitions = definitions.iter().map(port_definition).collect();
    } else if base.is_none_or(|base| !base.is_host_network()) && app.is_host_network() {
        let default = PortDefinition {
            port: 0,
            protocol: Protocol::Tcp,
            name: Some("default".to_owned()),
            labels: BTreeMap::new(),
        };
        app.port_definitions = vec![default];
    }
    app
}

fn blank(id: &PathId) -> AppDefinition {
    AppDefinition {
        id: id.clone(),
        cmd: None,
        args: Vec::new(),
        user: None,
        env: BTreeMap::new(),
        instances: 1,
        cpus: 1.0,
        mem: 128.0,
        disk: 0.0,
        gpus: 0,
        executor: String::new(),
        executor_resources: None,
        constraints: Vec::new(),
        accepted_roles: None,
        container: None,
        networks: vec![Network::host()],
        port_definitions: Vec::new(),
        require_ports: false,
        health_checks: Vec::new(),
        readiness_checks: Vec::new(),
        fetch: Vec::new(),
        dependencies: BTreeSet::new(),
        backoff_seconds: 1,
        backoff_factor: 1.15,
        launch_delay_max_seconds: 3600,
        upgrade: UpgradeStrategy { health_min: 1.0, over_max: 1.0 },
        kill_selection: KillSelection::YoungestFirst,
        unreachable: UnreachableStrategy::After { inactive_seconds: 0, expunge_seconds: 0 },
        kill_grace_seconds: None,
        labels: BTreeMap::new(),
        secrets: BTreeMap::new(),
        tty: None,
        residency: None,
        version: Time::ZERO,
        last_scaling: Time::ZERO,
        last_config_change: Time::ZERO,
    }
}

/// Replaces a value where the update has one.
fn put<T: Clone>(place: &mut T, update: &Option<T>) {
    if let Some(value) = update {
        place.clone_from(value);
    }
}

fn put_some<T: Clone>(place: &mut Option<T>, update: &Option<T>) {
    if update.is_some() {
        place.clone_from(update);
    }
}

fn lay_over_command(app: &mut AppDefinition, update: &AppUpdate) {
    put_some(&mut app.cmd, &update.cmd);
    put(&mut app.args, &update.args);
    put_some(&mut app.user, &update.user);
    put(&mut app.env, &update.env);
    put(&mut app.secrets, &update.secrets);
    put(&mut app.fetch, &update.fetch);
    put(&mut app.executor, &update.executor);
    put_some(&mut app.tty, &update.tty);
}

fn lay_over_plain(app: &mut AppDefinition, update: &AppUpdate) {
    put(&mut app.instances, &update.instances);
    put(&mut app.cpus, &update.cpus);
    put(&mut app.mem, &update.mem);
    put(&mut app.disk, &update.disk);
    put(&mut app.gpus, &update.gpus);
    put(&mut app.require_ports, &update.require_ports);
    put(&mut app.labels, &update.labels);
    put_some(&mut app.residency, &update.residency);
    put_some(&mut app.accepted_roles, &update.accepted_roles);
    put(&mut app.readiness_checks, &update.readiness_checks);
    if let Some(constraints) = &update.constraints {
        app.constraints = distinct(constraints.iter().map(canonical_constraint));
    }
    if let Some(checks) = &update.health_checks {
        app.health_checks = distinct(checks.iter().cloned());
    }
}

fn lay_over_strategies(app: &mut AppDefinition, update: &AppUpdate, is_new: bool, persistent_before: bool) {
    put(&mut app.backoff_seconds, &update.backoff_seconds);
    put(&mut app.backoff_factor, &update.backoff_factor);
    put(&mut app.launch_delay_max_seconds, &update.launch_delay_max_seconds);
    put(&mut app.kill_selection, &update.kill_selection);
    put_some(&mut app.kill_grace_seconds, &update.kill_grace_seconds);
    let persistent = app.has_persistent_volumes();
    let external = app.volumes().iter().any(|volume| matches!(volume, Volume::External { .. }));
    if is_new && (persistent || external) {
        app.upgrade = UpgradeStrategy { health_min: 0.5, over_max: 0.0 };
    }
    if (is_new || !persistent_before) && persistent {
        app.unreachable = UnreachableStrategy::Disabled;
    }
    put(&mut app.upgrade, &update.upgrade);
    put(&mut app.unreachable, &update.unreachable);
    if persistent && app.residency.is_none() {
        app.residency = Some(Residency { relaunch_seconds: 3600, behavior: TaskLostBehavior::WaitForever });
    }
}

/// Order kept, later copies dropped.
fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut kept: Vec<T> = Vec::new();
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

fn canonical_constraint(constraint: &ConstraintText) -> ConstraintText {
    let mut parts = constraint.0.clone();
    if let Some(operator) = parts.get_mut(1)
        && let Some(known) = scheduler::Operator::from_name(operator)
    {
        *operator = known.name().to_owned();
    }
    ConstraintText(parts)
}

fn port_definition(update: &PortDefinitionUpdate) -> PortDefinition {
    PortDefinition {
        port: update.port,
        protocol: update.protocol,
        name: update.name.clone(),
        labels: update.labels.clone(),
    }
}

fn port_mapping(update: &PortMappingUpdate) -> PortMapping {
    PortMapping {
        container_port: update.container_port,
        host_port: update.host_port,
        service_port: update.service_port,
        protocol: update.protocol,
        name: update.name.clone(),
        labels: update.labels.clone(),
        network_names: update.network_names.clone(),
    }
}

fn container_of(update: &ContainerUpdate) -> Container {
    Container {
        kind: update.kind.unwrap_or(ContainerType::Docker),
        docker: update.docker.as_ref().map(|docker| Docker {
            image: docker.image.clone().unwrap_or_default(),
            force_pull: docker.force_pull.unwrap_or(false),
            privileged: docker.privileged.unwrap_or(false),
            parameters: docker.parameters.clone(),
            pull_secret: docker.pull_secret.clone(),
        }),
        appc: update.appc.clone(),
        volumes: update.volumes.clone(),
        port_mappings: update
            .port_mappings
            .as_ref()
            .map(|mappings| mappings.iter().map(port_mapping).collect()),
    }
}

// ---- defaults that depend on the whole

fn complete(app: &mut AppDefinition, rules: &Rules) {
    for network in &mut app.networks {
        if network.mode == NetworkMode::Container && network.name.is_none() {
            network.name.clone_from(&rules.default_network_name);
        }
    }
    if app.is_host_network() {
        if let Some(container) = app.container.as_mut() {
            container.port_mappings = None;
        }
    } else {
        app.require_ports = false;
        let bridge = app.networks.iter().any(|network| network.mode == NetworkMode::Bridge);
        let container = app.container.get_or_insert_with(|| Container {
            kind: ContainerType::Mesos,
            docker: None,
            appc: None,
            volumes: Vec::new(),
            port_mappings: None,
        });
        let mappings = container.port_mappings.get_or_insert_with(|| vec![default_mapping()]);
        if bridge {
            for mapping in mappings {
                mapping.host_port = mapping.host_port.or(Some(0));
            }
        }
    }
    let ports = if app.is_host_network() { app.port_definitions.len() } else { app.port_mappings().len() };
    for check in &mut app.health_checks {
        complete_check(check, ports);
    }
    for check in &mut app.readiness_checks {
        if check.ready_statuses.is_empty() {
            check.ready_statuses = BTreeSet::from([200]);
        }
    }
}

fn default_mapping() -> PortMapping {
    PortMapping {
        container_port: 0,
        host_port: None,
        service_port: 0,
        protocol: Protocol::Tcp,
        name: Some("default".to_owned()),
        labels: BTreeMap::new(),
        network_names: Vec::new(),
    }
}

fn complete_check(check: &mut HealthCheck, ports: usize) {
    let needs_port = check.protocol != HealthProtocol::Command;
    if needs_port && check.port.is_none() && check.port_index.is_none() && ports > 0 {
        check.port_index = Some(0);
    }
}
