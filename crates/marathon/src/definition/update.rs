//! An app as a client sends it: every key optional, deprecated forms included.
//!
//! Only shapes are settled here (types, patterns, enums, minima); meaning is
//! settled by [`super::normalize`] and [`super::validate`].

use std::collections::{BTreeMap, BTreeSet};

use model::Time;

use super::app::{
    AppC, ConstraintText, ContainerType, DockerNetwork, EnvValue, ExecutorResources, Fetch, HealthCheck,
    KillSelection, Network, Protocol, ReadinessCheck, Residency, UnreachableStrategy, UpgradeStrategy,
    Volume,
};

/// `port` 0 and everything else as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortDefinitionUpdate {
    pub port: u16,
    pub protocol: Protocol,
    pub name: Option<String>,
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMappingUpdate {
    pub container_port: u16,
    pub host_port: Option<u16>,
    pub service_port: u16,
    pub protocol: Protocol,
    pub name: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub network_names: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct DockerUpdate {
    pub image: Option<String>,
    pub force_pull: Option<bool>,
    pub privileged: Option<bool>,
    pub parameters: Vec<(String, String)>,
    pub pull_secret: Option<String>,
    /// The refused key `credential` was given.
    pub credential: bool,
    pub network: Option<DockerNetwork>,
    pub port_mappings: Option<Vec<PortMappingUpdate>>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerUpdate {
    pub kind: Option<ContainerType>,
    pub docker: Option<DockerUpdate>,
    pub appc: Option<AppC>,
    pub volumes: Vec<Volume>,
    pub port_mappings: Option<Vec<PortMappingUpdate>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveryPortUpdate {
    pub number: u16,
    pub name: String,
    pub protocol: Protocol,
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IpAddressUpdate {
    pub network_name: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub discovery_ports: Option<Vec<DiscoveryPortUpdate>>,
}

/// All keys of one app in a request; `None` is absent (or null).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AppUpdate {
    pub id: Option<String>,
    pub cmd: Option<String>,
    pub args: Option<Vec<String>>,
    pub user: Option<String>,
    pub env: Option<BTreeMap<String, EnvValue>>,
    pub instances: Option<u32>,
    pub cpus: Option<f64>,
    pub mem: Option<f64>,
    pub disk: Option<f64>,
    pub gpus: Option<u32>,
    pub executor: Option<String>,
    pub executor_resources: Option<ExecutorResources>,
    pub constraints: Option<Vec<ConstraintText>>,
    pub accepted_roles: Option<Vec<String>>,
    pub container: Option<ContainerUpdate>,
    pub networks: Option<Vec<Network>>,
    pub port_definitions: Option<Vec<PortDefinitionUpdate>>,
    pub require_ports: Option<bool>,
    pub health_checks: Option<Vec<HealthCheck>>,
    pub readiness_checks: Option<Vec<ReadinessCheck>>,
    pub fetch: Option<Vec<Fetch>>,
    pub dependencies: Option<BTreeSet<String>>,
    pub backoff_seconds: Option<u32>,
    pub backoff_factor: Option<f64>,
    pub launch_delay_max_seconds: Option<u32>,
    pub upgrade: Option<UpgradeStrategy>,
    pub kill_selection: Option<KillSelection>,
    pub unreachable: Option<UnreachableStrategy>,
    pub kill_grace_seconds: Option<u32>,
    pub labels: Option<BTreeMap<String, String>>,
    pub secrets: Option<BTreeMap<String, String>>,
    pub tty: Option<bool>,
    pub residency: Option<Residency>,
    /// Alone (or with `id`) in a PUT: roll back to this version.
    pub version: Option<Time>,
    // Deprecated.
    pub ports: Option<Vec<u16>>,
    pub uris: Option<Vec<String>>,
    pub ip_address: Option<IpAddressUpdate>,
}

impl AppUpdate {
    /// Nothing but `version` and `id`.
    pub fn is_rollback_only(&self) -> bool {
        let rest = Self { version: None, id: None, ..self.clone() };
        self.version.is_some() && rest == Self::default()
    }
}
