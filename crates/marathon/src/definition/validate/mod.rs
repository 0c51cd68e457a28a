//! The rules a definition must keep, with the texts that clients compare.
//!
//! Shapes (types, patterns, enums, minima) were settled when the request was
//! read. Rules: `mesosphere/marathon` `api/v2/validation/**`; texts: the same.

mod checks;
mod networks;
mod volumes;

use model::{Quantity, Role};
use scheduler::{Constraint, Operator};

use super::app::{
    AppDefinition, ConstraintText, ContainerType, DockerNetwork, EnvValue, UnreachableStrategy,
};
use super::normalize::Rules;
use super::update::{AppUpdate, ContainerUpdate, DockerUpdate};
use crate::api::Violation;

/// Collects violations below one path.
pub(super) struct Found(Vec<Violation>);

impl Found {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn add(&mut self, path: impl Into<String>, error: impl Into<String>) {
        self.0.push(Violation::new(path, error));
    }

    fn add_if(&mut self, broken: bool, path: impl Into<String>, error: impl Into<String>) {
        if broken {
            self.add(path, error);
        }
    }
}

/// Rules of the deprecated forms, before they are rewritten.
pub(super) fn deprecated(update: &AppUpdate) -> Vec<Violation> {
    let mut found = Found::new();
    deprecated_ports(update, &mut found);
    let fetch = update.fetch.as_ref().is_some_and(|fetch| !fetch.is_empty());
    let uris = update.uris.as_ref().is_some_and(|uris| !uris.is_empty());
    found.add_if(fetch && uris, "/uris", "may not be set in conjunction with fetch");
    if let Some(container) = &update.container {
        deprecated_container(container, &mut found);
    }
    let docker = update.container.as_ref().and_then(|container| container.docker.as_ref());
    let old_network = docker.and_then(|docker| docker.network);
    let both = "must not specify both container.docker.network and networks";
    found.add_if(old_network.is_some() && update.networks.is_some(), "/", both);
    if let Some(ip) = &update.ip_address {
        found.add_if(update.networks.is_some(), "/", "must not specify both networks and ipAddress");
        let has_ports = update.ports.as_ref().is_some_and(|ports| !ports.is_empty())
            || update.port_definitions.as_ref().is_some_and(|ports| !ports.is_empty());
        found.add_if(has_ports, "/", "cannot specify both an IP address and port");
        let docker_engine = update.container.as_ref().is_some_and(|c| c.kind != Some(ContainerType::Mesos));
        let discovery = ip.discovery_ports.as_ref().is_some_and(|ports| !ports.is_empty());
        let refused = "ipAddress/discovery is not allowed for Docker containers";
        found.add_if(docker_engine && discovery, "/ipAddress/discovery", refused);
    }
    found.0
}

fn deprecated_ports(update: &AppUpdate, found: &mut Found) {
    let Some(ports) = &update.ports else { return };
    let mut named: Vec<u16> = ports.iter().copied().filter(|port| *port != 0).collect();
    let all = named.len();
    named.sort_unstable();
    named.dedup();
    found.add_if(named.len() < all, "/ports", "ports must be unique");
    if let Some(definitions) = &update.port_definitions {
        let same = definitions.iter().map(|definition| &definition.port).eq(ports.iter());
        found.add_if(!same, "/", "cannot specify both ports and port definitions");
    }
}

fn deprecated_container(container: &ContainerUpdate, found: &mut Found) {
    let Some(docker) = &container.docker else { return };
    found.add_if(docker.credential, "/container/docker/credential", "must be empty");
    if container.kind == Some(ContainerType::Mesos) {
        let mappings = docker.port_mappings.as_ref().is_some_and(|mappings| !mappings.is_empty());
        found.add_if(mappings, "/container/docker/portMappings", "must be empty");
        found.add_if(docker.network.is_some(), "/container/docker/network", "must be empty");
        found.add_if(!docker.parameters.is_empty(), "/container/docker/parameters", "must be empty");
    }
    let none = docker.network == Some(DockerNetwork::None);
    found.add_if(none, "/container/docker/network", "unsupported docker network type NONE");
}

/// Rules of what the canonical form cannot express, after rewriting.
pub(super) fn update(update: &AppUpdate, base: Option<&AppDefinition>) -> Vec<Violation> {
    let mut found = Found::new();
    if let Some(container) = &update.container {
        container_shape(container, &mut found);
    }
    let host = match &update.networks {
        Some(networks) => networks.iter().any(|network| network.mode == super::app::NetworkMode::Host),
        None => base.is_none_or(AppDefinition::is_host_network),
    };
    let mappings = update.container.as_ref().and_then(|container| container.port_mappings.as_ref());
    let has_mappings = mappings.is_some_and(|mappings| !mappings.is_empty());
    let text = "portMappings are not allowed with host-networking";
    found.add_if(host && has_mappings, "/container/portMappings", text);
    let has_definitions = update.port_definitions.as_ref().is_some_and(|definitions| !definitions.is_empty());
    let text = "portDefinitions are only allowed with host-networking";
    found.add_if(!host && has_definitions, "/portDefinitions", text);
    found.0
}

fn container_shape(container: &ContainerUpdate, found: &mut Found) {
    let docker_engine = container.kind != Some(ContainerType::Mesos);
    match &container.docker {
        None => found.add_if(docker_engine, "/container/docker", "not defined"),
        Some(docker) => docker_shape(docker, docker_engine, found),
    }
    let appc = container.appc.is_some();
    found.add_if(docker_engine && appc, "/container/appc", "must be empty");
    let two = !docker_engine && appc && container.docker.is_some();
    found.add_if(two, "/container", "mesos containers should specify, at most, a single image type");
}

fn docker_shape(docker: &DockerUpdate, docker_engine: bool, found: &mut Found) {
    match docker.image.as_deref() {
        None => found.add("/container/docker/image", "not defined"),
        Some("") => found.add("/container/docker/image", "must not be empty"),
        Some(_) => {}
    }
    let pull = docker_engine && docker.pull_secret.is_some();
    let text = "pullConfig is not supported with Docker containerizer";
    found.add_if(pull, "/container/docker/pullConfig", text);
}

/// Rules of the canonical form.
pub(super) fn definition(app: &AppDefinition, rules: &Rules) -> Vec<Violation> {
    let mut found = Found::new();
    command(app, &mut found);
    resources(app, rules, &mut found);
    constraints(app, &mut found);
    roles(app, &mut found);
    strategies(app, &mut found);
    labels(app, &mut found);
    secrets(app, rules, &mut found);
    networks::check(app, &mut found);
    volumes::check(app, rules, &mut found);
    checks::check(app, &mut found);
    for (index, fetch) in app.fetch.iter().enumerate() {
        let invalid = !is_uri(&fetch.uri);
        found.add_if(invalid, format!("/fetch({index})/uri"), "URI has invalid syntax.");
    }
    found.0
}

fn command(app: &AppDefinition, found: &mut Found) {
    let (cmd, args) = (app.cmd.is_some(), !app.args.is_empty());
    let image = app.container.as_ref().is_some_and(|c| c.docker.is_some() || c.appc.is_some());
    let text = "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.";
    found.add_if((cmd && args) || !(cmd || args || image), "/", text);
    let short = app.cmd.as_ref().is_some_and(|cmd| cmd.chars().count() < 2);
    found.add_if(short, "/cmd", "must not be an empty string");
    found.add_if(app.env.contains_key(""), "/env", "must not be an empty string");
    let nul = |text: &str| text.contains('\0');
    let holds_nul = app.cmd.as_deref().is_some_and(nul)
        || app.args.iter().any(|arg| nul(arg))
        || app.user.as_deref().is_some_and(nul)
        || app.env.iter().any(|(name, value)| {
            nul(name) || name.contains('=') || matches!(value, EnvValue::Text(text) if nul(text))
        });
    // No process can be given such a text.
    found.add_if(
        holds_nul,
        "/",
        "cmd, args, user and env must not contain a NUL character, nor names in env a '='",
    );
}

fn resources(app: &AppDefinition, rules: &Rules, found: &mut Found) {
    for (path, value) in [("/cpus", app.cpus), ("/mem", app.mem), ("/disk", app.disk)] {
        let limit = Quantity::MAX.to_f64();
        let text = || format!("got {value:?}, expected at most {limit:?}");
        if Quantity::from_f64(value).is_none() {
            found.add(path, text());
        }
    }
    if app.gpus > 0 {
        feature(rules, "gpu_resources", "/gpus", found);
        let docker = app.container.as_ref().is_some_and(|c| c.kind == ContainerType::Docker);
        found.add_if(docker, "/gpus", "GPU resources only work with the Mesos containerizer");
    }
}

pub(super) fn feature(rules: &Rules, name: &str, path: &str, found: &mut Found) {
    let missing = !rules.features.contains(name);
    // The stray bracket is Marathon's.
    let text = format!("Feature {name} is not enabled. Enable with --enable_features {name})");
    found.add_if(missing, path, text);
}

fn constraints(app: &AppDefinition, found: &mut Found) {
    for (index, constraint) in app.constraints.iter().enumerate() {
        let path = format!("/constraints({index})");
        match constraint_error(constraint) {
            None => {}
            Some(error) => found.add(path, error),
        }
    }
}

fn constraint_error(constraint: &ConstraintText) -> Option<String> {
    let (field, operator, value) = match constraint.0.as_slice() {
        [field, operator] => (field, operator, None),
        [field, operator, value] => (field, operator, Some(value.as_str())),
        _ => return Some("Each constraint must have either 2 or 3 fields".to_owned()),
    };
    let Some(operator) = Operator::from_name(operator) else {
        return Some(scheduler::ConstraintError::Operator.to_string());
    };
    Constraint::new(field, operator, value).err().map(|error| error.to_string())
}

fn roles(app: &AppDefinition, found: &mut Found) {
    let Some(roles) = &app.accepted_roles else { return };
    found.add_if(roles.is_empty(), "/acceptedResourceRoles", "must not be empty");
    for (index, role) in roles.iter().enumerate() {
        let path = format!("/acceptedResourceRoles({index})");
        if matches!(role.as_str(), "" | "." | "..") {
            found.add(path, format!("A role name must not be \"{role}\"."));
        } else if let Err(error) = Role::new(role) {
            found.add(path, error.to_string());
        }
    }
    let only_any = roles.as_slice() == ["*"];
    let text = "A resident app must have `acceptedResourceRoles = [\"*\"]`.";
    found.add_if(app.has_persistent_volumes() && !only_any, "/acceptedResourceRoles", text);
}

fn strategies(app: &AppDefinition, found: &mut Found) {
    const HEALTH: &str = "/upgradeStrategy/minimumHealthCapacity";
    const OVER: &str = "/upgradeStrategy/maximumOverCapacity";
    let (health, over) = (app.upgrade.health_min, app.upgrade.over_max);
    for (path, value) in [(HEALTH, health), (OVER, over)] {
        let outside = !(0.0..=1.0).contains(&value);
        found.add_if(outside, path, format!("got {value:?}, expected between 0.0 and 1.0"));
    }
    let zero = |path: &str, value: f64, found: &mut Found| {
        found.add_if(value != 0.0, path, format!("got {value:?}, expected 0.0"));
    };
    if AppDefinition::is_single_instance(&app.labels) {
        found.add_if(app.instances > 1, "/instances", "Single instance app may only have one instance");
        zero(HEALTH, health, found);
        zero(OVER, over, found);
    }
    if app.has_persistent_volumes() {
        zero(OVER, over, found);
        let enabled = app.unreachable != UnreachableStrategy::Disabled;
        let text = "unreachableStrategy must be disabled for resident tasks";
        found.add_if(enabled, "/unreachableStrategy", text);
    }
    if let UnreachableStrategy::After { inactive_seconds, expunge_seconds } = app.unreachable {
        let text = format!(
            "inactiveAfterSeconds ({inactive_seconds}) must be less or equal to expungeAfterSeconds ({expunge_seconds})"
        );
        found.add_if(inactive_seconds > expunge_seconds, "/unreachableStrategy", text);
    }
}

fn labels(app: &AppDefinition, found: &mut Found) {
    let has = |name: &str| app.labels.contains_key(name);
    let broken = has("DCOS_MIGRATION_API_VERSION")
        && !(has("DCOS_PACKAGE_FRAMEWORK_NAME") && has("DCOS_MIGRATION_API_PATH"));
    let text = "DCOS_PACKAGE_FRAMEWORK_NAME and DCOS_MIGRATION_API_PATH must be defined when using DCOS_MIGRATION_API_VERSION";
    found.add_if(broken, "/labels", text);
}

fn secrets(app: &AppDefinition, rules: &Rules, found: &mut Found) {
    let enabled = rules.features.contains("secrets");
    if !app.secrets.is_empty() {
        feature(rules, "secrets", "/secrets", found);
    }
    for (name, value) in &app.env {
        let EnvValue::Secret(secret) = value else { continue };
        let path = format!("/env/{name}");
        let text = "use of secret-references in the environment requires the secrets feature to be enabled";
        found.add_if(!enabled, path.clone(), text);
        found.add_if(!app.secrets.contains_key(secret), path, "references an undefined secret");
    }
    let docker = app.container.as_ref().and_then(|container| container.docker.as_ref());
    if let Some(secret) = docker.and_then(|docker| docker.pull_secret.as_ref()) {
        let path = "/container/docker/pullConfig";
        feature(rules, "secrets", path, found);
        let missing = !app.secrets.contains_key(secret);
        found.add_if(missing, path, "pullConfig.secret must refer to an existing secret");
    }
}

/// RFC 3986 closely enough: the characters it allows, and a known place for each.
fn is_uri(text: &str) -> bool {
    let bytes = text.as_bytes();
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(b);
    let escapes = text.split('%').skip(1).all(|rest| {
        rest.len() >= 2 && rest.is_char_boundary(2) && rest[..2].bytes().all(|b| b.is_ascii_hexdigit())
    });
    let scheme = match text.split_once(':') {
        Some((scheme, rest)) if !scheme.contains(['/', '?', '#']) => {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
                && !rest.is_empty()
        }
        _ => true,
    };
    !bytes.is_empty() && bytes.iter().all(allowed) && escapes && scheme && text.matches('#').count() <= 1
}
