//! Settings and limits of one Marathon, with the defaults of DC/OS 1.12.

use std::collections::BTreeSet;

use model::Role;

#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub framework_name: String,
    pub role: Role,
    pub user: String,
    pub principal: String,
    pub hostname: String,
    pub webui_url: Option<String>,
    pub failover_timeout_ms: u64,
    /// Roles whose resources an app may use that names none.
    pub default_accepted_roles: BTreeSet<String>,
    pub default_network_name: Option<String>,
    pub bridge_name: String,
    /// Enabled optional features, by their Marathon names.
    pub features: BTreeSet<String>,
    /// Region of the masters; apps stay in it unless a constraint names a domain.
    pub home_region: Option<String>,
    pub decline_ms: u64,
    /// Shortest time between two REVIVE calls.
    pub revive_interval_ms: u64,
    pub max_instances_per_offer: usize,
    pub kill_retry_ms: u64,
    pub reconcile_interval_ms: u64,
    /// A launch that nobody confirmed for this long is given up and replaced.
    pub launch_confirm_timeout_ms: u64,
    /// A launch that nobody confirmed for this long is asked after.
    pub launch_inquiry_ms: u64,
    pub service_port_min: u16,
    pub service_port_max: u16,
    pub limits: Limits,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    pub apps_max: usize,
    /// Over all apps; launching pauses at it.
    pub instances_max: usize,
    pub deployments_max: usize,
    /// Stored versions of one app.
    pub versions_max: usize,
    /// Stored size of one deployment with the definitions before and after it.
    pub plan_bytes_max: usize,
    /// KILL calls of one turn; the others follow shortly after.
    pub kills_per_turn: usize,
    /// Launches of one turn; the offers left over come again at once.
    pub launches_per_turn: usize,
    /// Tasks named in one RECONCILE call.
    pub reconcile_chunk: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            framework_name: "marathon".to_owned(),
            role: Role::new("slave_public").unwrap_or_else(|_| Role::any()),
            user: "root".to_owned(),
            principal: "dcos_marathon".to_owned(),
            hostname: String::new(),
            webui_url: None,
            failover_timeout_ms: 7 * 24 * 3600 * 1000,
            default_accepted_roles: BTreeSet::from(["*".to_owned()]),
            default_network_name: Some("dcos".to_owned()),
            bridge_name: "mesos-bridge".to_owned(),
            features: ["vips", "task_killing", "external_volumes", "gpu_resources", "maintenance_mode"]
                .map(str::to_owned)
                .into(),
            home_region: None,
            decline_ms: 300_000,
            revive_interval_ms: 100,
            max_instances_per_offer: 100,
            kill_retry_ms: 30_000,
            reconcile_interval_ms: 600_000,
            launch_confirm_timeout_ms: 1_800_000,
            launch_inquiry_ms: 30_000,
            service_port_min: 10_000,
            service_port_max: 20_000,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            apps_max: 20_000,
            instances_max: 200_000,
            deployments_max: 100,
            versions_max: 50,
            plan_bytes_max: 900 * 1024,
            kills_per_turn: 1_000,
            launches_per_turn: 2_000,
            reconcile_chunk: 1_000,
        }
    }
}
