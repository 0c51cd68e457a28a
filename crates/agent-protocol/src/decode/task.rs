//! Tasks and their statuses.

use model::scheduler_api::TaskRecord;
use model::task::DiscoveryPort;
use model::{
    Check, CheckStatus, CommandInfo, ContainerInfo, ContainerStatus, DiscoveryInfo, FrameworkId, HealthCheck,
    KillPolicy, Opaque, Probe, StatusUpdate, TaskId, TaskInfo, TaskStatus,
};

use super::info::executor_info;
use super::resources::{resource_list, resources};
use super::{
    all, id, labels, number, optional, optional_id, optional_role, optional_uuid, port, present, time,
};
use crate::DecodeError;
use crate::numbers::Numbered;
use crate::wire;
use crate::wire::check_status;

pub(super) fn task_name(name: wire::TaskName) -> Result<(FrameworkId, TaskId), DecodeError> {
    Ok((id("framework_id", name.framework_id)?, id("task_id", name.task_id)?))
}

pub(super) fn task_record(record: wire::TaskRecord) -> Result<TaskRecord, DecodeError> {
    Ok(TaskRecord {
        framework_id: id("framework_id", record.framework_id)?,
        info: present("info", record.info, |info| task_info(*info))?,
        role: optional_role("role", record.role)?,
        state: number("state", record.state)?,
        statuses: all("statuses", record.statuses, task_status)?,
    })
}

pub(super) fn task_info(info: wire::TaskInfo) -> Result<TaskInfo, DecodeError> {
    Ok(TaskInfo {
        id: id("id", info.id)?,
        name: info.name,
        agent_id: id("agent_id", info.agent_id)?,
        resources: resources("resources", info.resources)?,
        command: present("command", info.command, |command| Ok(command_info(command)))?,
        executor: optional("executor", info.executor, |executor| Ok(Box::new(executor_info(*executor)?)))?,
        container: info.container.map(container_info),
        kill_policy: info.kill_policy.map(kill_policy),
        discovery: optional("discovery", info.discovery, discovery_info)?,
        labels: info.labels,
        max_completion_ms: info.max_completion_ms,
        health_check: optional("health_check", info.health_check, |check| {
            Ok(Box::new(health_check(*check)?))
        })?,
        check: optional("check", info.check, |wanted| Ok(Box::new(check(*wanted)?)))?,
        raw: info.raw.map(Opaque::from),
    })
}

fn health_check(health: wire::HealthCheck) -> Result<HealthCheck, DecodeError> {
    Ok(HealthCheck {
        check: present("check", health.check, check)?,
        consecutive_failures: health.consecutive_failures,
        grace_ms: health.grace_ms,
    })
}

fn check(check: wire::Check) -> Result<Check, DecodeError> {
    use wire::probe::{Http, Kind, Tcp};
    let probe = match check.probe {
        Some(Kind::Command(command)) => Probe::Command(command_info(command)),
        Some(Kind::Http(Http { tls, ipv6, port: number, path })) => {
            Probe::Http { tls, ipv6, port: port("port", number)?, path }
        }
        Some(Kind::Tcp(Tcp { ipv6, port: number })) => Probe::Tcp { ipv6, port: port("port", number)? },
        None => return Err(DecodeError::unknown("probe", "no case")),
    };
    Ok(Check {
        probe,
        delay_ms: check.delay_ms,
        interval_ms: check.interval_ms,
        timeout_ms: check.timeout_ms,
    })
}

pub(super) fn command_info(command: wire::CommandInfo) -> CommandInfo {
    CommandInfo {
        shell: command.shell,
        value: command.value,
        arguments: command.arguments,
        environment: command
            .environment
            .into_iter()
            .map(|variable| (variable.name, variable.value))
            .collect(),
        user: command.user,
    }
}

pub(super) fn container_info(container: wire::ContainerInfo) -> ContainerInfo {
    ContainerInfo { image: container.image, force_pull: container.force_pull }
}

pub(super) fn kill_policy(policy: wire::KillPolicy) -> KillPolicy {
    KillPolicy { grace_ms: policy.grace_ms }
}

fn discovery_info(discovery: wire::DiscoveryInfo) -> Result<DiscoveryInfo, DecodeError> {
    let convert = |item: wire::DiscoveryPort| {
        Ok(DiscoveryPort {
            number: port("number", item.number)?,
            name: item.name,
            protocol: item.protocol,
            labels: item.labels,
        })
    };
    Ok(DiscoveryInfo { name: discovery.name, ports: all("ports", discovery.ports, convert)? })
}

pub(super) fn status_update(update: wire::StatusUpdate) -> Result<StatusUpdate, DecodeError> {
    Ok(StatusUpdate {
        framework_id: id("framework_id", update.framework_id)?,
        agent_id: id("agent_id", update.agent_id)?,
        status: present("status", update.status, task_status)?,
        latest_state: number("latest_state", update.latest_state)?,
    })
}

fn task_status(status: wire::TaskStatus) -> Result<TaskStatus, DecodeError> {
    Ok(TaskStatus {
        task_id: id("task_id", status.task_id)?,
        state: number("state", status.state)?,
        timestamp: time("timestamp_ms", status.timestamp_ms)?,
        source: number("source", status.source)?,
        reason: status.reason.and_then(Numbered::from_number),
        message: status.message,
        agent_id: optional_id("agent_id", status.agent_id)?,
        uuid: optional_uuid("uuid", status.uuid)?,
        executor_id: optional_id("executor_id", status.executor_id)?,
        data: status.data.map(Opaque::from),
        healthy: status.healthy,
        check: optional("check", status.check, check_status)?,
        labels: labels(status.labels),
        limitation: optional("limitation", status.limitation, resource_list)?,
        unreachable_since: status
            .unreachable_since_ms
            .map(|millis| time("unreachable_since_ms", millis))
            .transpose()?,
        container: optional("container", status.container, |container| container_status(*container))?,
    })
}

fn check_status(check: wire::CheckStatus) -> Result<CheckStatus, DecodeError> {
    use check_status::{Command, Http, Kind, Tcp};
    match check.kind {
        Some(Kind::Command(Command { exit_code })) => Ok(CheckStatus::Command { exit_code }),
        Some(Kind::Http(Http { status_code })) => Ok(CheckStatus::Http { status_code }),
        Some(Kind::Tcp(Tcp { succeeded })) => Ok(CheckStatus::Tcp { succeeded }),
        None => Err(DecodeError::unknown("kind", "no case")),
    }
}

fn container_status(container: wire::ContainerStatus) -> Result<ContainerStatus, DecodeError> {
    Ok(ContainerStatus {
        container_id: id("container_id", container.container_id)?,
        ip: container.ip,
        pid: container.pid,
        raw: container.raw.map(Opaque::from),
    })
}
