//! Prints app definitions and what goes with them in app answers.

use marathon::definition::AppDefinition;
use marathon::definition::app::{
    AppC, Container, Docker, EnvValue, Fetch, HealthCheck, HealthProtocol, Network, PortDefinition,
    PortMapping, ReadinessCheck, UnreachableStrategy, Volume,
};
use marathon::state::TaskFailure;
use serde_json::{Map, Value, json};

use super::number;

/// A JSON object under construction; absent values are left out.
#[derive(Default)]
pub(crate) struct Object(pub Map<String, Value>);

impl Object {
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    pub fn set_some(&mut self, key: &str, value: Option<impl Into<Value>>) -> &mut Self {
        if let Some(value) = value {
            self.set(key, value);
        }
        self
    }

    /// Lists that are empty by default are left out.
    fn set_list<T>(&mut self, key: &str, items: &[T], print: impl Fn(&T) -> Value) -> &mut Self {
        if !items.is_empty() {
            self.set(key, items.iter().map(print).collect::<Vec<Value>>());
        }
        self
    }
}

/// The definition in its output normal form.
pub(crate) fn app(app: &AppDefinition) -> Map<String, Value> {
    let mut out = Object::default();
    out.set("id", app.id.as_str());
    out.set_some("cmd", app.cmd.clone());
    out.set_list("args", &app.args, |arg| Value::from(arg.as_str()));
    out.set_some("user", app.user.clone());
    if !app.env.is_empty() {
        let env: Map<String, Value> =
            app.env.iter().map(|(name, value)| (name.clone(), env_value(value))).collect();
        out.set("env", env);
    }
    resources(app, &mut out);
    placement(app, &mut out);
    strategies(app, &mut out);
    out.set("version", app.version.to_iso());
    out.set(
        "versionInfo",
        json!({
            "lastScalingAt": app.last_scaling.to_iso(),
            "lastConfigChangeAt": app.last_config_change.to_iso(),
        }),
    );
    out.0
}

fn env_value(value: &EnvValue) -> Value {
    match value {
        EnvValue::Text(text) => Value::from(text.as_str()),
        EnvValue::Secret(secret) => json!({ "secret": secret }),
    }
}

fn resources(app: &AppDefinition, out: &mut Object) {
    out.set("instances", app.instances);
    out.set("cpus", number(app.cpus));
    out.set("mem", number(app.mem));
    out.set("disk", number(app.disk));
    out.set("gpus", app.gpus);
    out.set("executor", app.executor.as_str());
    if let Some(executor) = &app.executor_resources {
        let resources = json!({ "cpus": number(executor.cpus), "mem": number(executor.mem), "disk": number(executor.disk) });
        out.set("executorResources", resources);
    }
}

fn placement(app: &AppDefinition, out: &mut Object) {
    out.set_list("constraints", &app.constraints, |constraint| Value::from(constraint.0.clone()));
    out.set_some("acceptedResourceRoles", app.accepted_roles.clone());
    out.set_some("container", app.container.as_ref().map(container));
    out.set("networks", app.networks.iter().map(network).collect::<Vec<Value>>());
    if app.is_host_network() {
        let definitions: Vec<Value> = app.port_definitions.iter().map(port_definition).collect();
        out.set("portDefinitions", definitions);
    }
    out.set("requirePorts", app.require_ports);
    out.set_list("healthChecks", &app.health_checks, health_check);
    out.set_list("readinessChecks", &app.readiness_checks, readiness_check);
    out.set_list("fetch", &app.fetch, fetch);
    if !app.dependencies.is_empty() {
        let ids: Vec<&str> = app.dependencies.iter().map(marathon::PathId::as_str).collect();
        out.set("dependencies", ids);
    }
    if !app.labels.is_empty() {
        out.set("labels", texts(&app.labels));
    }
    if !app.secrets.is_empty() {
        let secrets = app.secrets.iter();
        let secrets: Map<String, Value> =
            secrets.map(|(name, source)| (name.clone(), json!({ "source": source }))).collect();
        out.set("secrets", secrets);
    }
    out.set_some("tty", app.tty);
    if let Some(residency) = &app.residency {
        let residency = json!({
            "relaunchEscalationTimeoutSeconds": residency.relaunch_seconds,
            "taskLostBehavior": residency.behavior.name(),
        });
        out.set("residency", residency);
    }
}

fn texts(map: &std::collections::BTreeMap<String, String>) -> Map<String, Value> {
    map.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect()
}

fn strategies(app: &AppDefinition, out: &mut Object) {
    out.set("backoffSeconds", app.backoff_seconds);
    out.set("backoffFactor", number(app.backoff_factor));
    out.set("maxLaunchDelaySeconds", app.launch_delay_max_seconds);
    let upgrade = json!({
        "minimumHealthCapacity": number(app.upgrade.health_min),
        "maximumOverCapacity": number(app.upgrade.over_max),
    });
    out.set("upgradeStrategy", upgrade);
    out.set("killSelection", app.kill_selection.name());
    out.set(
        "unreachableStrategy",
        match app.unreachable {
            UnreachableStrategy::Disabled => Value::from("disabled"),
            UnreachableStrategy::After { inactive_seconds, expunge_seconds } => {
                json!({ "inactiveAfterSeconds": inactive_seconds, "expungeAfterSeconds": expunge_seconds })
            }
        },
    );
    out.set_some("taskKillGracePeriodSeconds", app.kill_grace_seconds);
}

fn network(network: &Network) -> Value {
    let mut out = Object::default();
    out.set("mode", network.mode.name()).set_some("name", network.name.clone());
    if !network.labels.is_empty() {
        out.set("labels", texts(&network.labels));
    }
    Value::Object(out.0)
}

fn port_definition(definition: &PortDefinition) -> Value {
    let mut out = Object::default();
    out.set("port", definition.port).set("protocol", definition.protocol.name());
    out.set_some("name", definition.name.clone());
    if !definition.labels.is_empty() {
        out.set("labels", texts(&definition.labels));
    }
    Value::Object(out.0)
}

fn port_mapping(mapping: &PortMapping) -> Value {
    let mut out = Object::default();
    out.set("containerPort", mapping.container_port).set_some("hostPort", mapping.host_port);
    out.set("servicePort", mapping.service_port).set("protocol", mapping.protocol.name());
    out.set("labels", texts(&mapping.labels)).set_some("name", mapping.name.clone());
    if !mapping.network_names.is_empty() {
        out.set("networkNames", mapping.network_names.clone());
    }
    Value::Object(out.0)
}

fn container(container: &Container) -> Value {
    let mut out = Object::default();
    out.set("type", container.kind.name());
    out.set_some("docker", container.docker.as_ref().map(|image| docker(image, container)));
    out.set_some("appc", container.appc.as_ref().map(appc));
    out.set("volumes", container.volumes.iter().map(volume).collect::<Vec<Value>>());
    let mappings = container.port_mappings.as_ref();
    out.set_some("portMappings", mappings.map(|m| m.iter().map(port_mapping).collect::<Vec<Value>>()));
    Value::Object(out.0)
}

fn docker(docker: &Docker, container: &Container) -> Value {
    let mut out = Object::default();
    out.set("image", docker.image.as_str()).set("forcePullImage", docker.force_pull);
    let parameter = |(key, value): &(String, String)| json!({ "key": key, "value": value });
    out.set("parameters", docker.parameters.iter().map(parameter).collect::<Vec<Value>>());
    if container.kind == marathon::definition::app::ContainerType::Docker {
        out.set("privileged", docker.privileged);
    }
    out.set_some("pullConfig", docker.pull_secret.as_ref().map(|secret| json!({ "secret": secret })));
    Value::Object(out.0)
}

fn appc(appc: &AppC) -> Value {
    let mut out = Object::default();
    out.set("image", appc.image.as_str()).set_some("id", appc.id.clone());
    out.set("labels", texts(&appc.labels)).set("forcePullImage", appc.force_pull);
    Value::Object(out.0)
}

fn volume(volume: &Volume) -> Value {
    let mut out = Object::default();
    match volume {
        Volume::Host { container_path, host_path, mode } => {
            out.set("containerPath", container_path.as_str()).set("hostPath", host_path.as_str());
            out.set("mode", mode.name());
        }
        Volume::Persistent { container_path, mode, size, disk, max_size, profile, constraints } => {
            let mut inner = Object::default();
            inner.set("type", disk.name()).set("size", *size).set_some("maxSize", *max_size);
            inner.set_some("profileName", profile.clone());
            let constraints: Vec<Value> = constraints.iter().map(|c| Value::from(c.0.clone())).collect();
            inner.set("constraints", constraints);
            out.set("containerPath", container_path.as_str()).set("mode", mode.name());
            out.set("persistent", inner.0);
        }
        Volume::External { container_path, mode, name, provider, size, options } => {
            let mut inner = Object::default();
            inner.set("name", name.as_str()).set("provider", provider.as_str()).set_some("size", *size);
            inner.set("options", texts(options));
            out.set("containerPath", container_path.as_str()).set("mode", mode.name());
            out.set("external", inner.0);
        }
        Volume::Secret { container_path, secret } => {
            out.set("containerPath", container_path.as_str()).set("secret", secret.as_str());
        }
    }
    Value::Object(out.0)
}

pub(crate) fn health_check(check: &HealthCheck) -> Value {
    let mut out = Object::default();
    out.set("protocol", check.protocol.name());
    out.set("gracePeriodSeconds", check.grace_seconds).set("intervalSeconds", check.interval_seconds);
    out.set("timeoutSeconds", check.timeout_seconds).set("maxConsecutiveFailures", check.failures_max);
    out.set("delaySeconds", check.delay_seconds);
    if check.protocol == HealthProtocol::Command {
        out.set_some("command", check.command.as_ref().map(|command| json!({ "value": command })));
    } else {
        out.set_some("path", check.path.clone()).set_some("port", check.port);
        out.set_some("portIndex", check.port_index).set("ipProtocol", check.ip_protocol.name());
        out.set("ignoreHttp1xx", check.ignore_1xx);
    }
    Value::Object(out.0)
}

fn readiness_check(check: &ReadinessCheck) -> Value {
    json!({
        "name": check.name,
        "protocol": check.protocol.name(),
        "path": check.path,
        "portName": check.port_name,
        "intervalSeconds": check.interval_seconds,
        "timeoutSeconds": check.timeout_seconds,
        "httpStatusCodesForReady": check.ready_statuses.iter().copied().collect::<Vec<u16>>(),
        "preserveLastResponse": check.preserve_last_response,
    })
}

fn fetch(fetch: &Fetch) -> Value {
    let mut out = Object::default();
    out.set("uri", fetch.uri.as_str()).set("extract", fetch.extract);
    out.set("executable", fetch.executable).set("cache", fetch.cache);
    out.set_some("destPath", fetch.dest_path.clone());
    Value::Object(out.0)
}

/// The only place where a null is printed.
pub(crate) fn failure(failure: &TaskFailure) -> Value {
    json!({
        "appId": failure.app.as_str(),
        "host": failure.host,
        "message": failure.message,
        "state": failure.state.name(),
        "taskId": failure.task_id.as_str(),
        "timestamp": failure.timestamp.to_iso(),
        "version": failure.version.to_iso(),
        "slaveId": failure.agent_id.as_ref().map(model::AgentId::as_str),
    })
}
