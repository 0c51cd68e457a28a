//! `TaskInfo` and `ExecutorInfo`: what the kernel looks at becomes typed, the
//! message as it came stays beside it and is what others get.

use std::borrow::Cow;
use std::collections::BTreeMap;

use mesos_proto::v1::{check_info, container_info, discovery_info, environment, executor_info, image};
use mesos_proto::{ApiMessage, raw, v1};
use model::task::{DiscoveryPort, TaskStatus};
use model::{
    AgentId, Check, CommandInfo, ContainerInfo, DiscoveryInfo, ExecutorId, ExecutorInfo, ExecutorKind,
    FrameworkId, HealthCheck, Opaque, Probe, Role, TaskId, TaskInfo, TaskLaunch, TaskState,
};

use super::{
    Form, allocation_role, duration_out, form, kill_policy, kill_policy_out, labels, labels_out, millis,
    resources_as_far_as_sound, resources_out, state_out, status_out,
};

/// Fields of the messages that are replaced when one is handed on.
const TASK_RESOURCES: u32 = 4;
const TASK_EXECUTOR: u32 = 5;
const TASK_HEALTH_CHECK: u32 = 8;
const EXECUTOR_RESOURCES: u32 = 5;
const EXECUTOR_FRAMEWORK: u32 = 8;
const HEALTH_CHECK_TYPE: u8 = 8;
/// Longest time in a check: ten years.
const CHECK_MAX_MS: f64 = 315_360_000_000.0;

/// Reads a task to launch; `bytes` is the message as it came, in protobuf.
pub(crate) fn task(wire: &v1::TaskInfo, bytes: &[u8]) -> TaskLaunch {
    let flaw = form::task(wire).err().map(|invalid| invalid.0);
    let mut kept = Cow::Borrowed(bytes);
    if let Some(kind) = wire.health_check.as_deref().and_then(form::inferred_health_check) {
        // Pieces of a message add up: this one says the type that was left out.
        raw::append(kept.to_mut(), TASK_HEALTH_CHECK, &[HEALTH_CHECK_TYPE << 3, kind as u8]);
    }
    let executor = wire.executor.as_deref().map(|executor| {
        let pieces = raw::submessages(bytes, &[TASK_EXECUTOR]).unwrap_or_default();
        Box::new(self::executor(executor, &joined(&pieces)))
    });
    let info = TaskInfo {
        id: TaskId::new(&wire.task_id.value),
        name: wire.name.clone(),
        agent_id: AgentId::new(&wire.agent_id.value),
        resources: resources_as_far_as_sound(&wire.resources),
        command: wire.command.as_ref().map(command).unwrap_or_default(),
        executor,
        container: wire.container.as_deref().map(container),
        kill_policy: wire.kill_policy.as_ref().and_then(kill_policy),
        discovery: wire.discovery.as_ref().map(discovery),
        labels: label_map(wire.labels.as_ref()),
        max_completion_ms: wire.max_completion_time.as_ref().and_then(millis),
        health_check: wire.health_check.as_deref().and_then(health_check).map(Box::new),
        check: wire.check.as_deref().and_then(check).map(Box::new),
        raw: Some(Opaque::new(&kept)),
    };
    TaskLaunch { info, allocation: allocation_role(&wire.resources), flaw }
}

/// What cannot be a check is a flaw of the task, and left out here.
fn health_check(wire: &v1::HealthCheck) -> Option<HealthCheck> {
    let kind = form::health_check_kind(wire)?;
    let ipv6 = |protocol: Option<i32>| protocol == Some(v1::network_info::Protocol::IPv6 as i32);
    let probe = match kind {
        v1::health_check::Type::Command => Probe::Command(command(wire.command.as_ref()?)),
        v1::health_check::Type::Http => {
            let http = wire.http.as_ref()?;
            Probe::Http {
                tls: http.scheme.as_deref() == Some("https"),
                ipv6: ipv6(http.protocol),
                port: u16::try_from(http.port).ok()?,
                path: path(http.path.as_deref()),
            }
        }
        v1::health_check::Type::Tcp => {
            let tcp = wire.tcp.as_ref()?;
            Probe::Tcp { ipv6: ipv6(tcp.protocol), port: u16::try_from(tcp.port).ok()? }
        }
        v1::health_check::Type::Unknown => return None,
    };
    Some(HealthCheck {
        check: timed(probe, wire.delay_seconds, wire.interval_seconds, wire.timeout_seconds),
        consecutive_failures: wire.consecutive_failures.unwrap_or(3),
        grace_ms: seconds(wire.grace_period_seconds, 10.0),
    })
}

fn check(wire: &v1::CheckInfo) -> Option<Check> {
    let probe = match wire.r#type.and_then(|kind| check_info::Type::try_from(kind).ok())? {
        check_info::Type::Command => Probe::Command(command(&wire.command.as_ref()?.command)),
        check_info::Type::Http => {
            let http = wire.http.as_ref()?;
            let port = u16::try_from(http.port).ok()?;
            Probe::Http { tls: false, ipv6: false, port, path: path(http.path.as_deref()) }
        }
        check_info::Type::Tcp => {
            Probe::Tcp { ipv6: false, port: u16::try_from(wire.tcp.as_ref()?.port).ok()? }
        }
        check_info::Type::Unknown => return None,
    };
    Some(timed(probe, wire.delay_seconds, wire.interval_seconds, wire.timeout_seconds))
}

fn path(given: Option<&str>) -> String {
    given.filter(|path| !path.is_empty()).unwrap_or("/").to_owned()
}

fn timed(probe: Probe, delay: Option<f64>, interval: Option<f64>, timeout: Option<f64>) -> Check {
    Check {
        probe,
        delay_ms: seconds(delay, 15.0),
        interval_ms: seconds(interval, 10.0),
        timeout_ms: seconds(timeout, 20.0),
    }
}

/// In milliseconds; what is no time is none, what is too long is cut.
fn seconds(given: Option<f64>, default: f64) -> u64 {
    (given.unwrap_or(default) * 1e3).round().clamp(0.0, CHECK_MAX_MS) as u64
}

/// Encoded pieces of one message.
pub(crate) fn joined<'a>(pieces: &[&'a [u8]]) -> Cow<'a, [u8]> {
    match pieces {
        [one] => Cow::Borrowed(one),
        several => Cow::Owned(several.concat()),
    }
}

/// Reads an executor; `bytes` is the message as it came, in protobuf.
pub(crate) fn executor(wire: &v1::ExecutorInfo, bytes: &[u8]) -> ExecutorInfo {
    let kind = wire.r#type.map(executor_info::Type::try_from);
    ExecutorInfo {
        id: ExecutorId::new(&wire.executor_id.value),
        kind: match kind {
            Some(Ok(executor_info::Type::Default)) => Some(ExecutorKind::Default),
            Some(Ok(executor_info::Type::Custom)) => Some(ExecutorKind::Custom),
            _ => None,
        },
        framework_id: wire.framework_id.as_ref().map(|id| FrameworkId::new(&id.value)),
        resources: resources_as_far_as_sound(&wire.resources),
        command: wire.command.as_ref().map(command),
        container: wire.container.as_deref().map(container),
        name: wire.name.clone().unwrap_or_default(),
        source: wire.source.clone().unwrap_or_default(),
        labels: labels(wire.labels.as_ref()),
        shutdown_grace_ms: wire.shutdown_grace_period.as_ref().and_then(millis),
        raw: Some(Opaque::new(bytes)),
    }
}

pub(crate) fn command(wire: &v1::CommandInfo) -> CommandInfo {
    let variables = wire.environment.as_ref().map(|environment| environment.variables.as_slice());
    let plain = |variable: &environment::Variable| Some((variable.name.clone(), variable.value.clone()?));
    CommandInfo {
        shell: wire.shell.unwrap_or(true),
        value: wire.value.clone(),
        arguments: wire.arguments.clone(),
        environment: variables.unwrap_or_default().iter().filter_map(plain).collect(),
        user: wire.user.clone(),
    }
}

pub(crate) fn container(wire: &v1::ContainerInfo) -> ContainerInfo {
    if let Some(docker) = &wire.docker {
        let force_pull = docker.force_pull_image.unwrap_or_default();
        return ContainerInfo { image: Some(docker.image.clone()), force_pull };
    }
    let image = wire.mesos.as_ref().and_then(|mesos| mesos.image.as_deref());
    ContainerInfo {
        image: image.and_then(|image| image.docker.as_ref()).map(|docker| docker.name.clone()),
        force_pull: image.is_some_and(|image| image.cached == Some(false)),
    }
}

fn discovery(wire: &v1::DiscoveryInfo) -> DiscoveryInfo {
    let ports = wire.ports.as_ref().map(|ports| ports.ports.as_slice()).unwrap_or_default();
    let port = |port: &v1::Port| {
        Some(DiscoveryPort {
            number: u16::try_from(port.number).ok()?,
            name: port.name.clone(),
            protocol: port.protocol.clone().unwrap_or_default(),
            labels: label_map(port.labels.as_ref()),
        })
    };
    DiscoveryInfo {
        name: wire.name.clone().unwrap_or_default(),
        ports: ports.iter().filter_map(port).collect(),
    }
}

fn label_map(wire: Option<&v1::Labels>) -> BTreeMap<String, String> {
    labels(wire).into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect()
}

fn label_map_out(map: &BTreeMap<String, String>) -> Option<v1::Labels> {
    let list: Vec<_> = map.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    labels_out(&list)
}

/// The whole task as it came, with the resources that hold. `allocation`: the role
/// to write with them; none: the one it came with.
pub(crate) fn task_info_out(info: &TaskInfo, form: Form, allocation: Option<&Role>) -> v1::TaskInfo {
    let given = info.raw.as_ref().and_then(|raw| v1::TaskInfo::from_protobuf(raw).ok());
    let mut wire = given.unwrap_or_else(|| plain_task(info));
    let named = allocation_role(&wire.resources);
    wire.resources = resources_out(&info.resources, form, allocation.or(named.as_ref()));
    wire.executor = info.executor.as_ref().map(|executor| Box::new(executor_out(executor, form, allocation)));
    wire
}

/// The same in protobuf, with every field that this version does not know.
pub(crate) fn task_bytes(info: &TaskInfo, form: Form, allocation: Option<&Role>) -> Vec<u8> {
    let kept = info
        .raw
        .as_ref()
        .and_then(|raw| raw::without(&raw::without(raw, TASK_RESOURCES).ok()?, TASK_EXECUTOR).ok());
    let wire = task_info_out(info, form, allocation);
    let Some(mut bytes) = kept else { return wire.to_protobuf() };
    for resource in &wire.resources {
        raw::append(&mut bytes, TASK_RESOURCES, &resource.to_protobuf());
    }
    if let Some(executor) = &info.executor {
        raw::append(&mut bytes, TASK_EXECUTOR, &executor_bytes(executor, form, allocation));
    }
    bytes
}

fn plain_task(info: &TaskInfo) -> v1::TaskInfo {
    v1::TaskInfo {
        name: info.name.clone(),
        task_id: info.id.as_str().into(),
        agent_id: info.agent_id.as_str().into(),
        command: info.executor.is_none().then(|| command_out(&info.command)),
        container: info.container.as_ref().map(|container| Box::new(container_out(container))),
        labels: label_map_out(&info.labels),
        discovery: info.discovery.as_ref().map(discovery_out),
        kill_policy: info.kill_policy.as_ref().map(kill_policy_out),
        max_completion_time: info.max_completion_ms.map(duration_out),
        ..v1::TaskInfo::default()
    }
}

/// As [`task_info_out`].
pub(crate) fn executor_out(info: &ExecutorInfo, form: Form, allocation: Option<&Role>) -> v1::ExecutorInfo {
    let given = info.raw.as_ref().and_then(|raw| v1::ExecutorInfo::from_protobuf(raw).ok());
    let mut wire = given.unwrap_or_else(|| plain_executor(info));
    let named = allocation_role(&wire.resources);
    wire.resources = resources_out(&info.resources, form, allocation.or(named.as_ref()));
    if wire.framework_id.is_none() {
        wire.framework_id = info.framework_id.as_ref().map(|id| id.as_str().into());
    }
    wire
}

/// As [`task_bytes`].
pub(crate) fn executor_bytes(info: &ExecutorInfo, form: Form, allocation: Option<&Role>) -> Vec<u8> {
    let kept = info
        .raw
        .as_ref()
        .and_then(|raw| raw::without(&raw::without(raw, EXECUTOR_RESOURCES).ok()?, EXECUTOR_FRAMEWORK).ok());
    let wire = executor_out(info, form, allocation);
    let Some(mut bytes) = kept else { return wire.to_protobuf() };
    for resource in &wire.resources {
        raw::append(&mut bytes, EXECUTOR_RESOURCES, &resource.to_protobuf());
    }
    if let Some(id) = &wire.framework_id {
        raw::append(&mut bytes, EXECUTOR_FRAMEWORK, &id.to_protobuf());
    }
    bytes
}

fn plain_executor(info: &ExecutorInfo) -> v1::ExecutorInfo {
    let kind = info.kind.map(|kind| match kind {
        ExecutorKind::Default => executor_info::Type::Default as i32,
        ExecutorKind::Custom => executor_info::Type::Custom as i32,
    });
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    v1::ExecutorInfo {
        executor_id: info.id.as_str().into(),
        command: info.command.as_ref().map(command_out),
        framework_id: info.framework_id.as_ref().map(|id| id.as_str().into()),
        name: text(&info.name),
        source: text(&info.source),
        container: info.container.as_ref().map(|container| Box::new(container_out(container))),
        shutdown_grace_period: info.shutdown_grace_ms.map(duration_out),
        labels: labels_out(&info.labels),
        r#type: kind,
        ..v1::ExecutorInfo::default()
    }
}

pub(crate) fn command_out(command: &CommandInfo) -> v1::CommandInfo {
    let variable = |(name, value): &(String, String)| environment::Variable {
        name: name.clone(),
        value: Some(value.clone()),
        r#type: Some(environment::variable::Type::Value as i32),
        secret: None,
    };
    let variables: Vec<_> = command.environment.iter().map(variable).collect();
    v1::CommandInfo {
        environment: (!variables.is_empty()).then_some(v1::Environment { variables }),
        value: command.value.clone(),
        user: command.user.clone(),
        shell: Some(command.shell),
        arguments: command.arguments.clone(),
        ..v1::CommandInfo::default()
    }
}

pub(crate) fn container_out(container: &ContainerInfo) -> v1::ContainerInfo {
    let image = container.image.as_ref().map(|name| {
        Box::new(v1::Image {
            r#type: v1::image::Type::Docker as i32,
            docker: Some(image::Docker { name: name.clone(), ..image::Docker::default() }),
            cached: Some(!container.force_pull),
            ..v1::Image::default()
        })
    });
    v1::ContainerInfo {
        r#type: container_info::Type::Mesos as i32,
        mesos: image.is_some().then_some(container_info::MesosInfo { image }),
        ..v1::ContainerInfo::default()
    }
}

pub(crate) fn discovery_out(discovery: &DiscoveryInfo) -> v1::DiscoveryInfo {
    let port = |port: &DiscoveryPort| v1::Port {
        number: u32::from(port.number),
        name: port.name.clone(),
        protocol: Some(port.protocol.clone()).filter(|protocol| !protocol.is_empty()),
        visibility: None,
        labels: label_map_out(&port.labels),
    };
    let ports: Vec<_> = discovery.ports.iter().map(port).collect();
    v1::DiscoveryInfo {
        visibility: discovery_info::Visibility::Framework as i32,
        name: Some(discovery.name.clone()).filter(|name| !name.is_empty()),
        ports: (!ports.is_empty()).then_some(v1::Ports { ports }),
        ..v1::DiscoveryInfo::default()
    }
}

/// What readers of the state see of a task.
pub(crate) fn task_out(
    framework_id: &FrameworkId,
    info: &TaskInfo,
    role: &Role,
    state: TaskState,
    statuses: &[TaskStatus],
    form: Form,
) -> v1::Task {
    let whole = task_info_out(info, form, Some(role));
    let own_user = whole.command.as_ref().and_then(|command| command.user.clone());
    let executor = whole.executor.as_deref();
    let executor_user = || executor?.command.as_ref()?.user.clone();
    let executor_id = executor.map(|executor| executor.executor_id.clone());
    let user = own_user.or_else(executor_user);
    v1::Task {
        name: whole.name,
        task_id: whole.task_id,
        framework_id: framework_id.as_str().into(),
        executor_id,
        agent_id: whole.agent_id,
        state: state_out(state),
        resources: whole.resources,
        statuses: statuses.iter().map(|status| status_out(status, form)).collect(),
        status_update_state: statuses.last().map(|status| state_out(status.state)),
        status_update_uuid: None,
        labels: whole.labels,
        discovery: whole.discovery,
        container: whole.container,
        user,
        health_check: whole.health_check,
        kill_policy: whole.kill_policy,
        limits: whole.limits,
    }
}
