//! Reports: of tasks in both directions, of operations outwards.

use std::net::IpAddr;

use mesos_proto::v1::{check_info, network_info, task_status};
use mesos_proto::{ApiMessage, v1};
use model::{
    AgentId, CheckStatus, ContainerId, ContainerStatus, ExecutorId, Opaque, OperationStatus, Reason, Source,
    TaskId, TaskState, TaskStatus, Time,
};

use super::{
    Form, Invalid, by_name, by_name_out, labels, labels_out, opaque, opaque_out, resources_as_far_as_sound,
    resources_out, time_of_seconds, time_out, uuid, uuid_out,
};

/// Reads what an executor reports; `now` stands in for a missing time. What the
/// model cannot say (a state of a later version) is refused.
pub(crate) fn status(wire: &v1::TaskStatus, now: Time) -> Result<TaskStatus, Invalid> {
    let Some(state) = by_name!(v1::TaskState, wire.state => TaskState) else {
        return Err(Invalid(format!("Unknown task state {}", wire.state)));
    };
    let uuid = match wire.uuid.as_deref() {
        None => None,
        Some(bytes) => {
            let parsed = uuid(bytes);
            let refused = || Invalid(format!("'uuid' has {} bytes, 16 are expected", bytes.len()));
            Some(parsed.ok_or_else(refused)?)
        }
    };
    Ok(TaskStatus {
        task_id: TaskId::new(&wire.task_id.value),
        state,
        timestamp: wire.timestamp.map_or(now, time_of_seconds),
        source: wire
            .source
            .and_then(|source| by_name!(task_status::Source, source => Source))
            .unwrap_or(Source::Executor),
        reason: wire.reason.and_then(|reason| by_name!(task_status::Reason, reason => Reason)),
        message: wire.message.clone(),
        agent_id: wire.agent_id.as_ref().map(|id| AgentId::new(&id.value)),
        uuid,
        executor_id: wire.executor_id.as_ref().map(|id| ExecutorId::new(&id.value)),
        data: wire.data.as_ref().map(opaque),
        healthy: wire.healthy,
        check: wire.check_status.as_ref().map(check_status).transpose()?,
        labels: labels(wire.labels.as_ref()),
        limitation: wire.limitation.as_ref().map(|limit| resources_as_far_as_sound(&limit.resources)),
        unreachable_since: wire
            .unreachable_time
            .as_ref()
            .map(|time| Time::from_millis(u64::try_from(time.nanoseconds).unwrap_or_default() / 1_000_000)),
        container: wire.container_status.as_ref().map(container_status),
    })
}

fn check_status(wire: &v1::CheckStatusInfo) -> Result<CheckStatus, Invalid> {
    let Some(kind) = wire.r#type.and_then(|kind| check_info::Type::try_from(kind).ok()) else {
        return Err(Invalid::new("CheckStatusInfo must specify 'type'"));
    };
    let missing = |name: &str| {
        Invalid(format!("Expecting '{name}' to be set for {} check's status", kind.as_str_name()))
    };
    match kind {
        check_info::Type::Command => {
            let command = wire.command.as_ref().ok_or_else(|| missing("command"))?;
            Ok(CheckStatus::Command { exit_code: command.exit_code })
        }
        check_info::Type::Http => {
            let http = wire.http.as_ref().ok_or_else(|| missing("http"))?;
            Ok(CheckStatus::Http { status_code: http.status_code })
        }
        check_info::Type::Tcp => {
            let tcp = wire.tcp.as_ref().ok_or_else(|| missing("tcp"))?;
            Ok(CheckStatus::Tcp { succeeded: tcp.succeeded })
        }
        check_info::Type::Unknown => Err(Invalid::new("'UNKNOWN' is not a valid check's status type")),
    }
}

pub(crate) fn check_status_out(check: &CheckStatus) -> v1::CheckStatusInfo {
    let mut wire = v1::CheckStatusInfo::default();
    let kind = match *check {
        CheckStatus::Command { exit_code } => {
            wire.command = Some(v1::check_status_info::Command { exit_code });
            check_info::Type::Command
        }
        CheckStatus::Http { status_code } => {
            wire.http = Some(v1::check_status_info::Http { status_code });
            check_info::Type::Http
        }
        CheckStatus::Tcp { succeeded } => {
            wire.tcp = Some(v1::check_status_info::Tcp { succeeded });
            check_info::Type::Tcp
        }
    };
    wire.r#type = Some(kind as i32);
    wire
}

/// What the executor says stays in `raw`; the agent adds what it knows better.
fn container_status(wire: &v1::ContainerStatus) -> ContainerStatus {
    let first = wire.network_infos.iter().flat_map(|network| &network.ip_addresses).next();
    ContainerStatus {
        container_id: wire.container_id.as_ref().map_or_else(|| ContainerId::new(""), container_id),
        ip: first.and_then(|address| address.ip_address.clone()).unwrap_or_default(),
        pid: wire.executor_pid,
        raw: Some(Opaque::from(wire.to_protobuf())),
    }
}

pub(crate) fn container_status_out(status: &ContainerStatus) -> v1::ContainerStatus {
    let given = status.raw.as_ref().and_then(|raw| v1::ContainerStatus::from_protobuf(raw).ok());
    let mut wire = given.unwrap_or_default();
    if !status.container_id.as_str().is_empty() {
        wire.container_id = Some(container_id_out(&status.container_id));
    }
    wire.executor_pid = status.pid.or(wire.executor_pid);
    let addressed = wire.network_infos.iter().any(|network| !network.ip_addresses.is_empty());
    if !addressed && !status.ip.is_empty() {
        wire.network_infos.push(network_out(&status.ip));
    }
    wire
}

fn network_out(ip: &str) -> v1::NetworkInfo {
    let protocol = match ip.parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) => network_info::Protocol::IPv6,
        _ => network_info::Protocol::IPv4,
    };
    let address =
        network_info::IpAddress { protocol: Some(protocol as i32), ip_address: Some(ip.to_owned()) };
    v1::NetworkInfo { ip_addresses: vec![address], ..v1::NetworkInfo::default() }
}

/// Levels of containers inside each other that are written.
const NESTING_MAX: usize = 32;

pub(crate) fn container_id(wire: &v1::ContainerId) -> ContainerId {
    let mut parts = vec![wire.value.as_str()];
    let mut above = wire.parent.as_deref();
    while let Some(parent) = above {
        parts.push(&parent.value);
        above = parent.parent.as_deref();
    }
    parts.reverse();
    ContainerId::new(parts.join("."))
}

pub(crate) fn container_id_out(id: &ContainerId) -> v1::ContainerId {
    let mut parts = id.as_str().split('.').take(NESTING_MAX);
    let first = parts.next().unwrap_or_default();
    let mut wire = v1::ContainerId { value: first.to_owned(), parent: None };
    for part in parts {
        wire = v1::ContainerId { value: part.to_owned(), parent: Some(Box::new(wire)) };
    }
    wire
}

pub(crate) fn status_out(status: &TaskStatus, form: Form) -> v1::TaskStatus {
    v1::TaskStatus {
        task_id: status.task_id.as_str().into(),
        state: state_out(status.state),
        data: status.data.as_ref().map(opaque_out),
        message: status.message.clone(),
        agent_id: status.agent_id.as_ref().map(|id| id.as_str().into()),
        timestamp: Some(status.timestamp.as_secs_f64()),
        executor_id: status.executor_id.as_ref().map(|id| id.as_str().into()),
        healthy: status.healthy,
        source: by_name_out!(status.source => task_status::Source),
        reason: status.reason.and_then(|reason| by_name_out!(reason => task_status::Reason)),
        uuid: status.uuid.map(uuid_out),
        labels: labels_out(&status.labels),
        container_status: status.container.as_ref().map(container_status_out),
        unreachable_time: status.unreachable_since.map(time_out),
        check_status: status.check.as_ref().map(check_status_out),
        limitation: status
            .limitation
            .as_ref()
            .map(|limit| v1::TaskResourceLimitation { resources: resources_out(limit, form, None) }),
    }
}

pub(crate) fn state_out(state: TaskState) -> i32 {
    // Every name of the model is one of the wire; a test walks them.
    by_name_out!(state => v1::TaskState).unwrap_or(v1::TaskState::TaskUnknown as i32)
}

pub(crate) fn operation_status_out(status: &OperationStatus, form: Form) -> v1::OperationStatus {
    v1::OperationStatus {
        operation_id: status.operation_id.as_ref().map(|id| id.as_str().into()),
        state: by_name_out!(status.state => v1::OperationState)
            .unwrap_or(v1::OperationState::OperationUnknown as i32),
        message: status.message.clone(),
        converted_resources: resources_out(&status.converted, form, None),
        uuid: status.uuid.map(|uuid| v1::Uuid { value: uuid_out(uuid) }),
        agent_id: status.agent_id.as_ref().map(|id| id.as_str().into()),
        resource_provider_id: status
            .provider
            .as_deref()
            .map(|id| v1::ResourceProviderId { value: id.to_owned() }),
    }
}
