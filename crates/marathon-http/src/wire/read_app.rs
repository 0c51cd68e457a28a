//! Reads an app, or an update of one, from JSON: shapes only.

use std::collections::BTreeSet;

use marathon::AppUpdate;
use marathon::definition::app::{
    ConstraintText, EnvValue, ExecutorResources, Fetch, HealthCheck, HealthProtocol, IpProtocol,
    KillSelection, Protocol, ReadinessCheck, ReadinessProtocol, Residency, TaskLostBehavior,
    UnreachableStrategy, UpgradeStrategy,
};
use marathon::definition::update::PortDefinitionUpdate;
use model::Time;
use serde_json::Value;

use super::read_container::{container, ip_address, networks};
use super::shape::{Errors, Node, Object, ShapeError, is_name};

/// Longest health check path, in characters.
const CHECK_PATH_LENGTH_MAX: usize = 1024;
/// Longest URI to fetch, in characters.
const URI_LENGTH_MAX: usize = 1024;

/// What a request means by `version` and `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `id` is needed, `version` ignored.
    Create,
    /// `version` rolls back.
    Update,
    /// As `Update`, `id` is needed.
    UpdateInList,
    /// As `Create`, the id comes from the path.
    Replace,
}

pub(crate) fn app(value: &Value, mode: Mode) -> Result<AppUpdate, Vec<ShapeError>> {
    let mut errors = Errors::default();
    let update = app_at(&Node::root(value), mode, &mut errors);
    errors.finish(update.unwrap_or_default())
}

/// An array of apps.
pub(crate) fn apps(value: &Value, mode: Mode) -> Result<Vec<AppUpdate>, Vec<ShapeError>> {
    let mut errors = Errors::default();
    let items = Node::root(value).list(&mut errors).unwrap_or_default();
    let updates = items.iter().filter_map(|item| app_at(item, mode, &mut errors)).collect();
    errors.finish(updates)
}

fn app_at(node: &Node<'_>, mode: Mode, errors: &mut Errors) -> Option<AppUpdate> {
    let object = node.object(errors)?;
    let e = errors;
    let mut update = AppUpdate { id: object.text("id", e), ..AppUpdate::default() };
    if matches!(mode, Mode::Create | Mode::UpdateInList) && object.get("id").is_none() {
        object.need("id", e);
    }
    if matches!(mode, Mode::Update | Mode::UpdateInList) {
        update.version = object.get("version").and_then(|node| timestamp(&node, e));
        // Sent back by clients that edit an answer; it is no rollback beside other keys there.
    }
    command(&object, &mut update, e);
    resources(&object, &mut update, e);
    placement(&object, &mut update, e);
    ports(&object, &mut update, e);
    checks(&object, &mut update, e);
    strategies(&object, &mut update, e);
    Some(update)
}

fn timestamp(node: &Node<'_>, errors: &mut Errors) -> Option<Time> {
    let time = node.value.as_str().and_then(Time::parse_iso);
    if time.is_none() {
        errors.add(&node.path, "error.expected.date.isoformat");
    }
    time
}

fn command(object: &Object<'_>, update: &mut AppUpdate, e: &mut Errors) {
    update.cmd = object.text("cmd", e);
    update.args = object.texts("args", e);
    update.user = object.text("user", e);
    update.env = object.get("env").and_then(|node| node.object(e)).map(|env| {
        env.entries().into_iter().filter_map(|(name, node)| Some((name, env_value(&node, e)?))).collect()
    });
    update.secrets = object.get("secrets").and_then(|node| node.object(e)).map(|secrets| {
        let entries = secrets.entries().into_iter();
        entries
            .filter_map(|(name, node)| {
                let source = node.object(e)?.need("source", e)?.text(e)?;
                Some((name, source))
            })
            .collect()
    });
    update.fetch = object.objects("fetch", e, fetch);
    update.uris = object.texts("uris", e);
    update.executor = object.get("executor").and_then(|node| {
        let text = node.text(e)?;
        let segments = text.strip_prefix('/').unwrap_or(&text);
        let fits = text.starts_with("//cmd") || text.is_empty() || segments.split('/').all(|s| !s.is_empty());
        if !fits {
            e.add(&node.path, "error.pattern");
        }
        fits.then_some(text)
    });
    update.tty = object.boolean("tty", e);
}

fn env_value(node: &Node<'_>, e: &mut Errors) -> Option<EnvValue> {
    match node.value {
        Value::String(text) => Some(EnvValue::Text(text.clone())),
        Value::Object(_) => {
            let secret = node.object(e)?.need("secret", e)?.text(e)?;
            Some(EnvValue::Secret(secret))
        }
        _ => {
            e.add(&node.path, "error.expected.jsstring");
            None
        }
    }
}

fn fetch(object: &Object<'_>, e: &mut Errors) -> Option<Fetch> {
    let uri = object.need("uri", e)?;
    let text = uri.text(e)?;
    length(&text, 1, URI_LENGTH_MAX, &uri.path, e);
    Some(Fetch {
        uri: text,
        extract: object.boolean("extract", e).unwrap_or(true),
        executable: object.boolean("executable", e).unwrap_or(false),
        cache: object.boolean("cache", e).unwrap_or(false),
        dest_path: object.text("destPath", e),
    })
}

fn length(text: &str, min: usize, max: usize, path: &str, e: &mut Errors) {
    let count = text.chars().count();
    if count < min {
        e.add(path, "error.minLength");
    } else if count > max {
        e.add(path, "error.maxLength");
    }
}

fn resources(object: &Object<'_>, update: &mut AppUpdate, e: &mut Errors) {
    update.instances = object.count("instances", e);
    update.cpus = object.decimal("cpus", 0.0, e);
    update.mem = object.decimal("mem", 0.0, e);
    update.disk = object.decimal("disk", 0.0, e);
    update.gpus = object.count("gpus", e);
    let executor = object.get("executorResources").and_then(|node| node.object(e));
    update.executor_resources = executor.map(|resources| ExecutorResources {
        cpus: resources.decimal("cpus", 0.0, e).unwrap_or(0.1),
        mem: resources.decimal("mem", 32.0, e).unwrap_or(32.0),
        disk: resources.decimal("disk", 10.0, e).unwrap_or(10.0),
    });
}

fn placement(object: &Object<'_>, update: &mut AppUpdate, e: &mut Errors) {
    update.constraints = object
        .get("constraints")
        .and_then(|node| node.list(e))
        .map(|items| items.iter().filter_map(|item| item.texts(e)).map(ConstraintText).collect());
    update.accepted_roles = object.texts("acceptedResourceRoles", e).map(|roles| {
        let mut distinct: Vec<String> = Vec::with_capacity(roles.len());
        for role in roles {
            if !distinct.contains(&role) {
                distinct.push(role);
            }
        }
        distinct
    });
    update.dependencies = object.texts("dependencies", e).map(|ids| ids.into_iter().collect());
    update.labels = object.text_map("labels", e);
    update.container = object.get("container").and_then(|node| container(&node.object(e)?, e));
    update.networks = networks(object, e);
    update.ip_address = object.get("ipAddress").and_then(|node| ip_address(&node.object(e)?, e));
    let residency = object.get("residency").and_then(|node| node.object(e));
    update.residency = residency.map(|residency| Residency {
        relaunch_seconds: residency.count("relaunchEscalationTimeoutSeconds", e).unwrap_or(3600),
        behavior: residency
            .get("taskLostBehavior")
            .and_then(|node| node.word(TaskLostBehavior::from_name, e))
            .unwrap_or(TaskLostBehavior::WaitForever),
    });
}

fn ports(object: &Object<'_>, update: &mut AppUpdate, e: &mut Errors) {
    update.port_definitions = object.objects("portDefinitions", e, |object, e| {
        Some(PortDefinitionUpdate {
            port: object.port("port", e).unwrap_or(0),
            protocol: protocol(object, e),
            name: port_name(object, "name", e),
            labels: object.text_map("labels", e).unwrap_or_default(),
        })
    });
    update.require_ports = object.boolean("requirePorts", e);
    let ports = object.get("ports").and_then(|node| node.list(e));
    update.ports = ports.map(|items| items.iter().filter_map(|item| item.port(e)).collect());
}

pub(super) fn protocol(object: &Object<'_>, e: &mut Errors) -> Protocol {
    let find = |text: &str| if text == "tcp,udp" { Some(Protocol::Both) } else { Protocol::from_name(text) };
    object.get("protocol").and_then(|node| node.word(find, e)).unwrap_or(Protocol::Tcp)
}

pub(super) fn port_name(object: &Object<'_>, key: &str, e: &mut Errors) -> Option<String> {
    let node = object.get(key)?;
    let text = node.text(e)?;
    if !is_name(&text, false) {
        e.add(&node.path, "error.pattern");
    }
    Some(text)
}

fn checks(object: &Object<'_>, update: &mut AppUpdate, e: &mut Errors) {
    update.health_checks = object.objects("healthChecks", e, health_check);
    update.readiness_checks = object.objects("readinessChecks", e, readiness_check);
}

fn health_check(object: &Object<'_>, e: &mut Errors) -> Option<HealthCheck> {
    let path = object.get("path").and_then(|node| {
        let text = node.text(e)?;
        length(&text, 1, CHECK_PATH_LENGTH_MAX, &node.path, e);
        Some(text)
    });
    let command = object
        .get("command")
        .and_then(|node| node.object(e))
        .and_then(|command| command.need("value", e)?.text(e));
    let word = object.get("protocol").and_then(|node| node.word(HealthProtocol::from_name, e));
    let mut seconds = |key: &str, default: u32| object.count(key, e).unwrap_or(default);
    let (grace, interval) = (seconds("gracePeriodSeconds", 300), seconds("intervalSeconds", 60));
    let (timeout, delay) = (seconds("timeoutSeconds", 20), seconds("delaySeconds", 15));
    Some(HealthCheck {
        protocol: word.unwrap_or(HealthProtocol::Http),
        path,
        port: object.port("port", e),
        port_index: object.count("portIndex", e),
        command,
        grace_seconds: grace,
        interval_seconds: interval,
        timeout_seconds: timeout,
        failures_max: object.count("maxConsecutiveFailures", e).unwrap_or(3),
        delay_seconds: delay,
        ignore_1xx: object.boolean("ignoreHttp1xx", e).unwrap_or(false),
        ip_protocol: object
            .get("ipProtocol")
            .and_then(|node| node.word(IpProtocol::from_name, e))
            .unwrap_or(IpProtocol::V4),
    })
}

fn readiness_check(object: &Object<'_>, e: &mut Errors) -> Option<ReadinessCheck> {
    let statuses = object.get("httpStatusCodesForReady").and_then(|node| node.list(e));
    let statuses: BTreeSet<u16> = statuses
        .unwrap_or_default()
        .iter()
        .filter_map(|item| item.integer(100, 999, e).and_then(|status| u16::try_from(status).ok()))
        .collect();
    let protocol = object.get("protocol").and_then(|node| node.word(ReadinessProtocol::from_name, e));
    Some(ReadinessCheck {
        // The default itself does not match the pattern of names: none is demanded.
        name: object.text("name", e).unwrap_or_else(|| "readinessCheck".to_owned()),
        protocol: protocol.unwrap_or(ReadinessProtocol::Http),
        path: object.text("path", e).unwrap_or_else(|| "/".to_owned()),
        port_name: port_name(object, "portName", e).unwrap_or_else(|| "http-api".to_owned()),
        interval_seconds: object.count("intervalSeconds", e).unwrap_or(30),
        timeout_seconds: object.count("timeoutSeconds", e).unwrap_or(10),
        ready_statuses: statuses,
        preserve_last_response: object.boolean("preserveLastResponse", e).unwrap_or(false),
    })
}

fn strategies(object: &Object<'_>, update: &mut AppUpdate, e: &mut Errors) {
    update.backoff_seconds = object.count("backoffSeconds", e);
    update.backoff_factor = object.decimal("backoffFactor", 1.0, e);
    update.launch_delay_max_seconds = object.count("maxLaunchDelaySeconds", e);
    update.kill_grace_seconds = object.count("taskKillGracePeriodSeconds", e);
    let upgrade = object.get("upgradeStrategy").and_then(|node| node.object(e));
    update.upgrade = upgrade.map(|upgrade| UpgradeStrategy {
        health_min: upgrade.decimal("minimumHealthCapacity", 0.0, e).unwrap_or(1.0),
        over_max: upgrade.decimal("maximumOverCapacity", 0.0, e).unwrap_or(1.0),
    });
    update.kill_selection =
        object.get("killSelection").and_then(|node| node.word(KillSelection::from_name, e));
    update.unreachable = object.get("unreachableStrategy").and_then(|node| unreachable(&node, e));
}

fn unreachable(node: &Node<'_>, e: &mut Errors) -> Option<UnreachableStrategy> {
    if let Value::String(text) = node.value {
        if text.eq_ignore_ascii_case("disabled") {
            return Some(UnreachableStrategy::Disabled);
        }
        e.add(&node.path, "error.unknown.enum.literal");
        return None;
    }
    let object = node.object(e)?;
    Some(UnreachableStrategy::After {
        inactive_seconds: object.count("inactiveAfterSeconds", e).unwrap_or(0),
        expunge_seconds: object.count("expungeAfterSeconds", e).unwrap_or(0),
    })
}
