//! From a definition and a match to the task that is sent.
//!
//! Environment: `mesosphere/marathon` `core/launcher/impl` and `mesos/EnvironmentHelper.scala`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::task::DiscoveryPort;
use model::{
    CommandInfo, ContainerInfo, DiscoveryInfo, KillPolicy, Offer, Quantity, Role, TaskId, TaskInfo,
    TaskState, Time,
};
use scheduler::{Constraint, Demand, Match, Operator, PortDemand};

use super::Marathon;
use crate::definition::AppDefinition;
use crate::definition::app::{EnvValue, Protocol};
use crate::state::Instance;

/// Longer label names are not exported to the environment, in characters.
const LABEL_NAME_LENGTH_MAX: usize = 493;
/// Longer label values are not exported to the environment, in characters.
const LABEL_VALUE_LENGTH_MAX: usize = 512;
/// 100 ns ticks from the start of the Gregorian calendar to 1970.
const UUID_EPOCH_TICKS: u64 = 0x01B2_1DD2_1381_4000;

impl Marathon {
    /// What one instance of a definition needs; `None` only for a definition
    /// that validation would not have let in.
    pub(super) fn demand(&self, definition: &AppDefinition) -> Option<Arc<Demand>> {
        let mut constraints = Vec::new();
        for constraint in &definition.constraints {
            let (field, operator, value) = match constraint.0.as_slice() {
                [field, operator] => (field, operator, None),
                [field, operator, value] => (field, operator, Some(value.as_str())),
                _ => return None,
            };
            constraints.push(Constraint::new(field, Operator::from_name(operator)?, value).ok()?);
        }
        let roles: BTreeSet<Role> = match &definition.accepted_roles {
            Some(roles) => roles.iter().filter_map(|role| Role::new(role).ok()).collect(),
            None => {
                self.config.default_accepted_roles.iter().filter_map(|role| Role::new(role).ok()).collect()
            }
        };
        let fixed = definition.require_ports;
        let ports = definition.port_definitions.iter();
        Some(Arc::new(Demand {
            cpus: Quantity::from_f64(definition.cpus)?,
            mem: Quantity::from_f64(definition.mem)?,
            disk: Quantity::from_f64(definition.disk)?,
            gpus: Quantity::from_units(definition.gpus),
            ports: ports
                .map(|p| if fixed { PortDemand::Fixed(p.port) } else { PortDemand::Random })
                .collect(),
            roles,
            constraints: Arc::from(constraints),
            home_region: self.config.home_region.clone(),
        }))
    }

    /// `<safe path>.<time-based uuid>`, not in use.
    fn new_task_id(&mut self, definition: &AppDefinition, now: Time) -> TaskId {
        loop {
            let ticks = now.as_millis().saturating_mul(10_000).saturating_add(self.rng.below(10_000));
            let stamp = ticks.wrapping_add(UUID_EPOCH_TICKS);
            let clock = self.rng.below(0x4000) | 0x8000;
            let uuid = format!(
                "{:08x}-{:04x}-{:04x}-{clock:04x}-{:012x}",
                stamp & 0xffff_ffff,
                (stamp >> 32) & 0xffff,
                ((stamp >> 48) & 0x0fff) | 0x1000,
                self.uuid_node & 0xffff_ffff_ffff,
            );
            let id = TaskId::new(format!("{}.{uuid}", definition.id.safe()));
            if !self.tasks.contains_key(&id) {
                return id;
            }
        }
    }

    pub(super) fn prepare_launch(
        &mut self,
        now: Time,
        definition: &AppDefinition,
        offer: &Offer,
        found: Match,
    ) -> (Instance, TaskInfo) {
        let task_id = self.new_task_id(definition, now);
        let domain = offer.domain.as_ref();
        let instance = Instance {
            task_id: task_id.clone(),
            app: definition.id.clone(),
            version: definition.version,
            config: definition.last_config_change,
            agent_id: offer.agent_id.clone(),
            hostname: offer.hostname.clone(),
            agent_ip: offer.ip.clone(),
            region: domain.map(|domain| domain.region.clone()),
            zone: domain.map(|domain| domain.zone.clone()),
            attributes: offer.attributes.clone(),
            ports: found.ports.clone(),
            state: TaskState::Staging,
            confirmed: false,
            staged: now,
            started: None,
            unreachable_since: None,
            sentenced: None,
            container_ip: None,
        };
        let environment = environment(definition, &task_id, &offer.hostname, &found.ports);
        let task = TaskInfo {
            id: task_id,
            name: definition.id.task_name(),
            agent_id: offer.agent_id.clone(),
            resources: found.resources,
            command: command(definition, environment),
            container: definition.image().map(|image| ContainerInfo {
                image: Some(image.to_owned()),
                force_pull: definition
                    .container
                    .as_ref()
                    .and_then(|container| container.docker.as_ref())
                    .is_some_and(|docker| docker.force_pull),
            }),
            kill_policy: definition
                .kill_grace_seconds
                .map(|seconds| KillPolicy { grace_ms: u64::from(seconds) * 1000 }),
            discovery: Some(discovery(definition, &found.ports)),
            labels: definition.labels.clone(),
            executor: None,
            max_completion_ms: None,
            health_check: None,
            check: None,
            raw: None,
        };
        (instance, task)
    }
}

fn command(definition: &AppDefinition, environment: Vec<(String, String)>) -> CommandInfo {
    // None: the framework's user.
    let user = definition.user.clone();
    match &definition.cmd {
        Some(cmd) => {
            CommandInfo { shell: true, value: Some(cmd.clone()), arguments: Vec::new(), environment, user }
        }
        None => {
            // Without an image the first argument is the program.
            let value = definition.args.first().filter(|_| definition.image().is_none()).cloned();
            CommandInfo { shell: false, value, arguments: definition.args.clone(), environment, user }
        }
    }
}

/// Later entries win: labels and resources, then ports and host, then the app's own.
pub(super) fn environment(
    definition: &AppDefinition,
    task_id: &TaskId,
    hostname: &str,
    ports: &[u16],
) -> Vec<(String, String)> {
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |name: &str, value: String| env.insert(name.to_owned(), value);
    set("MESOS_TASK_ID", task_id.as_str().to_owned());
    set("MARATHON_APP_ID", definition.id.as_str().to_owned());
    set("MARATHON_APP_VERSION", definition.version.to_iso());
    if let Some(image) = definition.image() {
        set("MARATHON_APP_DOCKER_IMAGE", image.to_owned());
    }
    set("MARATHON_APP_RESOURCE_CPUS", format!("{:?}", definition.cpus));
    set("MARATHON_APP_RESOURCE_MEM", format!("{:?}", definition.mem));
    set("MARATHON_APP_RESOURCE_DISK", format!("{:?}", definition.disk));
    set("MARATHON_APP_RESOURCE_GPUS", definition.gpus.to_string());
    let mut exported = Vec::new();
    for (name, value) in &definition.labels {
        if name.chars().count() < LABEL_NAME_LENGTH_MAX && value.chars().count() < LABEL_VALUE_LENGTH_MAX {
            let name = variable_name(name);
            set(&format!("MARATHON_APP_LABEL_{name}"), value.clone());
            exported.push(name);
        }
    }
    set("MARATHON_APP_LABELS", exported.join(" "));
    set("HOST", hostname.to_owned());
    if let Some(first) = ports.first() {
        set("PORT", first.to_string());
        let all: Vec<String> = ports.iter().map(u16::to_string).collect();
        set("PORTS", all.join(","));
    }
    for (index, (port, declared)) in ports.iter().zip(&definition.port_definitions).enumerate() {
        set(&format!("PORT{index}"), port.to_string());
        if declared.port != 0 {
            set(&format!("PORT_{}", declared.port), port.to_string());
        }
        if let Some(name) = &declared.name {
            set(&format!("PORT_{}", name.to_uppercase()), port.to_string());
        }
    }
    for (name, value) in &definition.env {
        if let EnvValue::Text(text) = value {
            env.insert(name.clone(), text.clone());
        }
    }
    env.into_iter().collect()
}

/// Runs of other characters than letters, digits and `_` become one `_`.
fn variable_name(label: &str) -> String {
    let mut name = String::with_capacity(label.len());
    let mut in_gap = false;
    for c in label.chars() {
        if c.is_ascii_alphanumeric() || c == '_' {
            name.push(c.to_ascii_uppercase());
            in_gap = false;
        } else if !in_gap {
            name.push('_');
            in_gap = true;
        }
    }
    name
}

fn discovery(definition: &AppDefinition, ports: &[u16]) -> DiscoveryInfo {
    let mut found = Vec::new();
    for (port, declared) in ports.iter().zip(&definition.port_definitions) {
        let protocols: &[&str] = match declared.protocol {
            Protocol::Tcp => &["tcp"],
            Protocol::Udp => &["udp"],
            Protocol::Both => &["udp", "tcp"],
        };
        for protocol in protocols {
            let mut labels = declared.labels.clone();
            labels.insert("network-scope".to_owned(), "host".to_owned());
            found.push(DiscoveryPort {
                number: *port,
                name: declared.name.clone(),
                protocol: (*protocol).to_owned(),
                labels,
            });
        }
    }
    DiscoveryInfo { name: definition.id.task_name(), ports: found }
}
