//! Tasks and their statuses.

use std::collections::BTreeMap;

use mesos_proto::{ApiMessage, v1};
use model::{CommandInfo, ContainerInfo, DiscoveryInfo, FrameworkId, TaskInfo, TaskState, TaskStatus};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::resources::Summary;
use super::{Label, OptionalLabel, labels, optional_labels};
use crate::convert;

#[derive(Serialize)]
pub(crate) struct Task<'a> {
    id: &'a str,
    name: &'a str,
    framework_id: &'a str,
    /// Empty for a command task.
    executor_id: &'a str,
    slave_id: &'a str,
    state: &'static str,
    resources: Summary<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<BTreeMap<String, Limit>>,
    role: &'a str,
    statuses: Vec<Status<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<Label<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discovery: Option<Shown<Discovery<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Shown<Container<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_check: Option<Box<RawValue>>,
}

/// What the house made itself, or a client's message as it came.
#[derive(Serialize)]
#[serde(untagged)]
enum Shown<T> {
    Own(T),
    Client(Box<RawValue>),
}

/// A number, or `Infinity`, which JSON knows as a text only.
#[derive(Serialize)]
#[serde(untagged)]
enum Limit {
    Number(f64),
    Infinity(&'static str),
}

/// A message as JSON that is put in as it is.
pub(crate) fn raw_json(message: &impl ApiMessage) -> Option<Box<RawValue>> {
    RawValue::from_string(message.to_json()).ok()
}

impl<'a> Task<'a> {
    pub fn new(
        framework_id: &'a FrameworkId,
        info: &'a TaskInfo,
        state: TaskState,
        statuses: &'a [TaskStatus],
        role: &'a str,
    ) -> Self {
        // Only a client's own message has what the model does not look at.
        let client = info.raw.as_ref().and_then(|raw| v1::TaskInfo::from_protobuf(raw).ok());
        let client = client.as_ref();
        let own_user = info.command.user.as_deref();
        let executor = info.executor.as_deref();
        Self {
            id: info.id.as_str(),
            name: &info.name,
            framework_id: framework_id.as_str(),
            executor_id: executor.map_or("", |executor| executor.id.as_str()),
            slave_id: info.agent_id.as_str(),
            state: state.name(),
            resources: Summary(&info.resources),
            limits: client.filter(|client| !client.limits.is_empty()).map(|client| limits(&client.limits)),
            role,
            statuses: statuses.iter().map(Status::new).collect(),
            user: own_user.or_else(|| executor?.command.as_ref()?.user.as_deref()),
            labels: labels(&info.labels),
            discovery: match client {
                Some(client) => client.discovery.as_ref().and_then(raw_json).map(Shown::Client),
                None => info.discovery.as_ref().map(Discovery::new).map(Shown::Own),
            },
            container: match client {
                Some(client) => client.container.as_deref().and_then(raw_json).map(Shown::Client),
                None => info.container.as_ref().map(Container::new).map(Shown::Own),
            },
            health_check: client.and_then(|client| client.health_check.as_deref()).and_then(raw_json),
        }
    }
}

fn limits(limits: &BTreeMap<String, v1::value::Scalar>) -> BTreeMap<String, Limit> {
    let limit =
        |value: f64| if value.is_finite() { Limit::Number(value) } else { Limit::Infinity("Infinity") };
    limits.iter().map(|(name, scalar)| (name.clone(), limit(scalar.value))).collect()
}

#[derive(Serialize)]
pub(crate) struct Status<'a> {
    state: &'static str,
    timestamp: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<OptionalLabel<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_status: Option<Shown<ContainerStatus<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthy: Option<bool>,
}

impl<'a> Status<'a> {
    fn new(status: &'a TaskStatus) -> Self {
        let container = |container: &'a model::task::ContainerStatus| match &container.raw {
            Some(_) => raw_json(&convert::container_status_out(container)).map(Shown::Client),
            None => Some(Shown::Own(ContainerStatus::new(container))),
        };
        Self {
            state: status.state.name(),
            timestamp: status.timestamp.as_secs_f64(),
            labels: optional_labels(&status.labels),
            container_status: status.container.as_ref().and_then(container),
            healthy: status.healthy,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct ContainerStatus<'a> {
    container_id: Id<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    network_infos: Vec<NetworkInfo<'a>>,
}

impl<'a> ContainerStatus<'a> {
    fn new(status: &'a model::task::ContainerStatus) -> Self {
        Self {
            container_id: Id { value: status.container_id.as_str() },
            network_infos: network_infos(&status.ip),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Id<'a> {
    pub value: &'a str,
}

#[derive(Serialize)]
pub(crate) struct NetworkInfo<'a> {
    ip_addresses: [IpAddress<'a>; 1],
}

#[derive(Serialize)]
struct IpAddress<'a> {
    protocol: &'static str,
    ip_address: &'a str,
}

/// None when the address is not known.
pub(crate) fn network_infos(ip: &str) -> Vec<NetworkInfo<'_>> {
    if ip.is_empty() {
        return Vec::new();
    }
    let protocol = if ip.contains(':') { "IPv6" } else { "IPv4" };
    vec![NetworkInfo { ip_addresses: [IpAddress { protocol, ip_address: ip }] }]
}

#[derive(Serialize)]
struct Discovery<'a> {
    visibility: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ports: Option<Ports<'a>>,
}

#[derive(Serialize)]
struct Ports<'a> {
    ports: Vec<Port<'a>>,
}

#[derive(Serialize)]
struct Port<'a> {
    number: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    protocol: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Labels<'a>>,
}

/// The protobuf `Labels` message, which wraps its list.
#[derive(Serialize)]
struct Labels<'a> {
    labels: Vec<Label<'a>>,
}

impl<'a> Labels<'a> {
    fn of(map: &'a BTreeMap<String, String>) -> Option<Self> {
        if map.is_empty() { None } else { Some(Self { labels: labels(map) }) }
    }
}

impl<'a> Discovery<'a> {
    fn new(discovery: &'a DiscoveryInfo) -> Self {
        let ports: Vec<Port<'a>> = discovery
            .ports
            .iter()
            .map(|port| Port {
                number: port.number,
                name: port.name.as_deref(),
                protocol: &port.protocol,
                labels: Labels::of(&port.labels),
            })
            .collect();
        let ports = if ports.is_empty() { None } else { Some(Ports { ports }) };
        // The model knows one visibility, the default of Marathon.
        Self { visibility: "FRAMEWORK", name: &discovery.name, ports }
    }
}

#[derive(Serialize)]
struct Container<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mesos: Option<MesosInfo<'a>>,
}

#[derive(Serialize)]
struct MesosInfo<'a> {
    image: Image<'a>,
}

#[derive(Serialize)]
struct Image<'a> {
    r#type: &'static str,
    docker: DockerImage<'a>,
    cached: bool,
}

#[derive(Serialize)]
struct DockerImage<'a> {
    name: &'a str,
}

impl<'a> Container<'a> {
    fn new(container: &'a ContainerInfo) -> Self {
        let mesos = container.image.as_deref().map(|name| MesosInfo {
            image: Image { r#type: "DOCKER", docker: DockerImage { name }, cached: !container.force_pull },
        });
        Self { r#type: "MESOS", mesos }
    }
}

/// A task that an agent has not started yet.
pub(crate) fn queued(info: &TaskInfo, role: &str) -> Value {
    let mut object = json!({
        "id": info.id.as_str(),
        "name": info.name,
        "slave_id": info.agent_id.as_str(),
        "resources": Summary(&info.resources),
        "role": role,
        "command": command(&info.command),
    });
    if let Some(discovery) = &info.discovery {
        object["discovery"] = json!(Discovery::new(discovery));
    }
    object
}

pub(crate) fn command(command: &CommandInfo) -> Value {
    let variable = |(name, value): &(String, String)| json!({"name": name, "type": "VALUE", "value": value});
    let mut object = json!({"shell": command.shell, "argv": command.arguments, "uris": []});
    if let Some(value) = &command.value {
        object["value"] = json!(value);
    }
    if !command.environment.is_empty() {
        let variables: Vec<Value> = command.environment.iter().map(variable).collect();
        object["environment"] = json!({"variables": variables});
    }
    object
}
