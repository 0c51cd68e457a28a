//! An app definition in its canonical form: what is stored, deployed and shown.
//!
//! The `serde` derives are for our own records; unknown keys of newer writers
//! are tolerated. Clients see the forms that `marathon-http` prints.

use std::collections::{BTreeMap, BTreeSet};

use model::Time;
use serde::{Deserialize, Serialize};

use crate::path::PathId;

macro_rules! words {
    ($(#[$doc:meta])* $enum:ident { $($variant:ident => $name:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $enum { $($variant),+ }

        impl $enum {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The canonical spelling.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// In any case, as clients may write it.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|word| word.name().eq_ignore_ascii_case(name))
            }
        }
    };
}

words!(ContainerType { Mesos => "MESOS", Docker => "DOCKER" });
words!(NetworkMode { Host => "host", Container => "container", Bridge => "container/bridge" });
words!(
    /// The deprecated network words of `container.docker.network`.
    DockerNetwork { Host => "HOST", Bridge => "BRIDGE", User => "USER", None => "NONE" }
);
words!(Protocol { Tcp => "tcp", Udp => "udp", Both => "udp,tcp" });
words!(KillSelection { YoungestFirst => "YOUNGEST_FIRST", OldestFirst => "OLDEST_FIRST" });
words!(VolumeMode { Ro => "RO", Rw => "RW" });
words!(DiskType { Root => "root", Path => "path", Mount => "mount" });
words!(TaskLostBehavior { RelaunchAfterTimeout => "RELAUNCH_AFTER_TIMEOUT", WaitForever => "WAIT_FOREVER" });
words!(HealthProtocol {
    Http => "HTTP",
    Https => "HTTPS",
    Tcp => "TCP",
    Command => "COMMAND",
    MesosTcp => "MESOS_TCP",
    MesosHttp => "MESOS_HTTP",
    MesosHttps => "MESOS_HTTPS",
});
words!(IpProtocol { V4 => "IPv4", V6 => "IPv6" });
words!(ReadinessProtocol { Http => "HTTP", Https => "HTTPS" });

impl HealthProtocol {
    /// A network check that the agent performs.
    pub fn is_mesos_network(self) -> bool {
        matches!(self, Self::MesosTcp | Self::MesosHttp | Self::MesosHttps)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnvValue {
    Text(String),
    Secret(String),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConstraintText(pub Vec<String>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutorResources {
    pub cpus: f64,
    pub mem: f64,
    pub disk: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub mode: NetworkMode,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl Network {
    pub fn host() -> Self {
        Self { mode: NetworkMode::Host, name: None, labels: BTreeMap::new() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortDefinition {
    /// The service port; 0 only before assignment.
    pub port: u16,
    pub protocol: Protocol,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    pub container_port: u16,
    #[serde(default)]
    pub host_port: Option<u16>,
    pub service_port: u16,
    pub protocol: Protocol,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub network_names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Docker {
    pub image: String,
    pub force_pull: bool,
    pub privileged: bool,
    #[serde(default)]
    pub parameters: Vec<(String, String)>,
    #[serde(default)]
    pub pull_secret: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppC {
    pub image: String,
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    pub force_pull: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Volume {
    Host {
        container_path: String,
        host_path: String,
        mode: VolumeMode,
    },
    Persistent {
        container_path: String,
        mode: VolumeMode,
        size: i64,
        disk: DiskType,
        max_size: Option<i64>,
        profile: Option<String>,
        constraints: Vec<ConstraintText>,
    },
    External {
        container_path: String,
        mode: VolumeMode,
        name: String,
        provider: String,
        size: Option<i64>,
        options: BTreeMap<String, String>,
    },
    Secret {
        container_path: String,
        secret: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Container {
    pub kind: ContainerType,
    #[serde(default)]
    pub docker: Option<Docker>,
    #[serde(default)]
    pub appc: Option<AppC>,
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// Present on container and bridge networks only.
    #[serde(default)]
    pub port_mappings: Option<Vec<PortMapping>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HealthCheck {
    pub protocol: HealthProtocol,
    pub path: Option<String>,
    pub port: Option<u16>,
    pub port_index: Option<u32>,
    pub command: Option<String>,
    pub grace_seconds: u32,
    pub interval_seconds: u32,
    pub timeout_seconds: u32,
    pub failures_max: u32,
    pub delay_seconds: u32,
    pub ignore_1xx: bool,
    pub ip_protocol: IpProtocol,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadinessCheck {
    pub name: String,
    pub protocol: ReadinessProtocol,
    pub path: String,
    pub port_name: String,
    pub interval_seconds: u32,
    pub timeout_seconds: u32,
    pub ready_statuses: BTreeSet<u16>,
    pub preserve_last_response: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    pub uri: String,
    pub extract: bool,
    pub executable: bool,
    pub cache: bool,
    pub dest_path: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UpgradeStrategy {
    pub health_min: f64,
    pub over_max: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnreachableStrategy {
    Disabled,
    After { inactive_seconds: u32, expunge_seconds: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residency {
    pub relaunch_seconds: u32,
    pub behavior: TaskLostBehavior,
}

/// The canonical definition of one version of an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppDefinition {
    pub id: PathId,
    pub cmd: Option<String>,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    pub instances: u32,
    pub cpus: f64,
    pub mem: f64,
    pub disk: f64,
    pub gpus: u32,
    #[serde(default)]
    pub executor: String,
    #[serde(default)]
    pub executor_resources: Option<ExecutorResources>,
    #[serde(default)]
    pub constraints: Vec<ConstraintText>,
    #[serde(default)]
    pub accepted_roles: Option<Vec<String>>,
    #[serde(default)]
    pub container: Option<Container>,
    pub networks: Vec<Network>,
    /// Of the host network; empty on others.
    #[serde(default)]
    pub port_definitions: Vec<PortDefinition>,
    pub require_ports: bool,
    #[serde(default)]
    pub health_checks: Vec<HealthCheck>,
    #[serde(default)]
    pub readiness_checks: Vec<ReadinessCheck>,
    #[serde(default)]
    pub fetch: Vec<Fetch>,
    #[serde(default)]
    pub dependencies: BTreeSet<PathId>,
    pub backoff_seconds: u32,
    pub backoff_factor: f64,
    pub launch_delay_max_seconds: u32,
    pub upgrade: UpgradeStrategy,
    pub kill_selection: KillSelection,
    pub unreachable: UnreachableStrategy,
    #[serde(default)]
    pub kill_grace_seconds: Option<u32>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    #[serde(default)]
    pub tty: Option<bool>,
    #[serde(default)]
    pub residency: Option<Residency>,
    pub version: Time,
    pub last_scaling: Time,
    pub last_config_change: Time,
}

impl AppDefinition {
    pub fn is_host_network(&self) -> bool {
        self.networks.iter().any(|network| network.mode == NetworkMode::Host)
    }

    pub fn is_single_instance(labels: &BTreeMap<String, String>) -> bool {
        labels.get("MARATHON_SINGLE_INSTANCE_APP").is_some_and(|value| value == "true")
    }

    pub fn port_mappings(&self) -> &[PortMapping] {
        self.container.as_ref().and_then(|container| container.port_mappings.as_deref()).unwrap_or_default()
    }

    /// Service ports in definition order.
    pub fn service_ports(&self) -> Vec<u16> {
        if self.is_host_network() {
            self.port_definitions.iter().map(|definition| definition.port).collect()
        } else {
            self.port_mappings().iter().map(|mapping| mapping.service_port).collect()
        }
    }

    /// The image it runs in, if any.
    pub fn image(&self) -> Option<&str> {
        self.container
            .as_ref()
            .and_then(|container| container.docker.as_ref())
            .map(|docker| docker.image.as_str())
    }

    pub fn has_persistent_volumes(&self) -> bool {
        self.volumes().iter().any(|volume| matches!(volume, Volume::Persistent { .. }))
    }

    pub fn volumes(&self) -> &[Volume] {
        self.container.as_ref().map(|container| container.volumes.as_slice()).unwrap_or_default()
    }

    /// Equal in everything that running tasks depend on: all but instances,
    /// executor resources and the version fields.
    pub fn same_config(&self, other: &Self) -> bool {
        self.with_neutral_fields() == other.with_neutral_fields()
    }

    /// Equal in everything a client can set.
    pub fn same_definition(&self, other: &Self) -> bool {
        self.instances == other.instances
            && self.executor_resources == other.executor_resources
            && self.same_config(other)
    }

    fn with_neutral_fields(&self) -> Self {
        Self {
            instances: 0,
            executor_resources: None,
            residency: None,
            version: Time::ZERO,
            last_scaling: Time::ZERO,
            last_config_change: Time::ZERO,
            ..self.clone()
        }
    }
}
