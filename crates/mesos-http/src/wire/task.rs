//! Tasks and their statuses.

use std::collections::BTreeMap;

use model::{CommandInfo, ContainerInfo, DiscoveryInfo, FrameworkId, TaskInfo, TaskState, TaskStatus};
use serde::Serialize;
use serde_json::{Value, json};

use super::resources::Summary;
use super::{Label, labels};

#[derive(Serialize)]
pub(crate) struct Task<'a> {
    id: &'a str,
    name: &'a str,
    framework_id: &'a str,
    /// Empty for a command task.
    executor_id: &'static str,
    slave_id: &'a str,
    state: &'static str,
    resources: Summary<'a>,
    role: &'a str,
    statuses: Vec<Status<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<Label<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discovery: Option<Discovery<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Container<'a>>,
}

impl<'a> Task<'a> {
    pub fn new(
        framework_id: &'a FrameworkId,
        info: &'a TaskInfo,
        state: TaskState,
        statuses: &'a [TaskStatus],
        role: &'a str,
    ) -> Self {
        Self {
            id: info.id.as_str(),
            name: &info.name,
            framework_id: framework_id.as_str(),
            executor_id: "",
            slave_id: info.agent_id.as_str(),
            state: state.name(),
            resources: Summary(&info.resources),
            role,
            statuses: statuses.iter().map(Status::new).collect(),
            user: info.command.user.as_deref(),
            labels: labels(&info.labels),
            discovery: info.discovery.as_ref().map(Discovery::new),
            container: info.container.as_ref().map(Container::new),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Status<'a> {
    state: &'static str,
    timestamp: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_status: Option<ContainerStatus<'a>>,
}

impl<'a> Status<'a> {
    fn new(status: &'a TaskStatus) -> Self {
        Self {
            state: status.state.name(),
            timestamp: status.timestamp.as_secs_f64(),
            container_status: status.container.as_ref().map(ContainerStatus::new),
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

fn command(command: &CommandInfo) -> Value {
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
