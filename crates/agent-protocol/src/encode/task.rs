//! Tasks and their statuses.

use model::scheduler_api::TaskRecord;
use model::{
    Check, CheckStatus, CommandInfo, ContainerInfo, ContainerStatus, DiscoveryInfo, HealthCheck, KillPolicy,
    Probe, StatusUpdate, TaskInfo, TaskStatus, Time,
};

use super::info::executor_info;
use super::resources::{resource_list, resources};
use super::{bytes, labels, uuid};
use crate::numbers::Numbered;
use crate::wire;
use crate::wire::check_status;

pub(super) fn task_record(record: TaskRecord) -> wire::TaskRecord {
    wire::TaskRecord {
        framework_id: record.framework_id.to_string(),
        info: Some(Box::new(task_info(record.info))),
        state: record.state.number(),
        statuses: record.statuses.into_iter().map(task_status).collect(),
        role: record.role.map(String::from),
    }
}

pub(super) fn task_info(info: TaskInfo) -> wire::TaskInfo {
    wire::TaskInfo {
        id: info.id.to_string(),
        name: info.name,
        agent_id: info.agent_id.to_string(),
        resources: resources(&info.resources),
        command: Some(command_info(info.command)),
        container: info.container.map(container_info),
        kill_policy: info.kill_policy.map(kill_policy),
        discovery: info.discovery.map(discovery_info),
        labels: info.labels,
        executor: info.executor.map(|executor| Box::new(executor_info(*executor))),
        max_completion_ms: info.max_completion_ms,
        health_check: info.health_check.map(|check| Box::new(health_check(*check))),
        check: info.check.map(|wanted| Box::new(check(*wanted))),
        raw: info.raw.map(bytes),
    }
}

fn health_check(health: HealthCheck) -> wire::HealthCheck {
    wire::HealthCheck {
        check: Some(check(health.check)),
        consecutive_failures: health.consecutive_failures,
        grace_ms: health.grace_ms,
    }
}

fn check(check: Check) -> wire::Check {
    use wire::probe::{Http, Kind, Tcp};
    let probe = match check.probe {
        Probe::Command(command) => Kind::Command(command_info(command)),
        Probe::Http { tls, ipv6, port, path } => Kind::Http(Http { tls, ipv6, port: u32::from(port), path }),
        Probe::Tcp { ipv6, port } => Kind::Tcp(Tcp { ipv6, port: u32::from(port) }),
    };
    wire::Check {
        probe: Some(probe),
        delay_ms: check.delay_ms,
        interval_ms: check.interval_ms,
        timeout_ms: check.timeout_ms,
    }
}

pub(super) fn command_info(command: CommandInfo) -> wire::CommandInfo {
    wire::CommandInfo {
        shell: command.shell,
        value: command.value,
        arguments: command.arguments,
        environment: command
            .environment
            .into_iter()
            .map(|(name, value)| wire::Variable { name, value })
            .collect(),
        user: command.user,
    }
}

pub(super) fn container_info(container: ContainerInfo) -> wire::ContainerInfo {
    wire::ContainerInfo { image: container.image, force_pull: container.force_pull }
}

pub(super) fn kill_policy(policy: KillPolicy) -> wire::KillPolicy {
    wire::KillPolicy { grace_ms: policy.grace_ms }
}

fn discovery_info(discovery: DiscoveryInfo) -> wire::DiscoveryInfo {
    let ports = discovery
        .ports
        .into_iter()
        .map(|port| wire::DiscoveryPort {
            number: u32::from(port.number),
            name: port.name,
            protocol: port.protocol,
            labels: port.labels,
        })
        .collect();
    wire::DiscoveryInfo { name: discovery.name, ports }
}

pub(super) fn status_update(update: StatusUpdate) -> wire::StatusUpdate {
    wire::StatusUpdate {
        framework_id: update.framework_id.to_string(),
        agent_id: update.agent_id.to_string(),
        status: Some(task_status(update.status)),
        latest_state: update.latest_state.number(),
    }
}

fn task_status(status: TaskStatus) -> wire::TaskStatus {
    wire::TaskStatus {
        task_id: status.task_id.to_string(),
        state: status.state.number(),
        timestamp_ms: status.timestamp.as_millis(),
        source: status.source.number(),
        reason: status.reason.map(Numbered::number),
        message: status.message,
        agent_id: status.agent_id.map(|id| id.to_string()),
        uuid: status.uuid.map(uuid),
        executor_id: status.executor_id.map(|id| id.to_string()),
        container: status.container.map(|container| Box::new(container_status(container))),
        data: status.data.map(bytes),
        healthy: status.healthy,
        check: status.check.map(check_status),
        labels: labels(status.labels),
        limitation: status.limitation.as_ref().map(resource_list),
        unreachable_since_ms: status.unreachable_since.map(Time::as_millis),
    }
}

fn check_status(check: CheckStatus) -> wire::CheckStatus {
    use check_status::{Command, Http, Kind, Tcp};
    let kind = match check {
        CheckStatus::Command { exit_code } => Kind::Command(Command { exit_code }),
        CheckStatus::Http { status_code } => Kind::Http(Http { status_code }),
        CheckStatus::Tcp { succeeded } => Kind::Tcp(Tcp { succeeded }),
    };
    wire::CheckStatus { kind: Some(kind) }
}

fn container_status(container: ContainerStatus) -> wire::ContainerStatus {
    wire::ContainerStatus {
        container_id: container.container_id.to_string(),
        ip: container.ip,
        pid: container.pid,
        raw: container.raw.map(bytes),
    }
}
