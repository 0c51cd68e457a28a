//! Wire to model: checks presence and range of every field.
//!
//! Ids may not be empty and names of resources may not either; other texts may.
//! A reason or capability that this version does not know is dropped: both only
//! refine what the rest of the message says. Any other unknown number or case
//! makes the message [`DecodeError::Unknown`].

use model::agent_api::{AgentToMaster, MasterToAgent, Registration};
use model::scheduler_api::TaskRecord;
use model::task::{ContainerStatus, DiscoveryPort};
use model::{
    AgentId, AgentInfo, Attribute, AttributeValue, CommandInfo, ContainerInfo, DiscoveryInfo, FaultDomain,
    FrameworkId, FrameworkInfo, KillPolicy, Principal, Quantity, Ranges, Reservation, Resource,
    ResourceValue, Resources, Role, StatusUpdate, TaskId, TaskInfo, TaskStatus, Time, UpdateId,
};

use crate::numbers::Numbered;
use crate::wire;
use crate::wire::{agent_frame, attribute, master_frame, resource};
use crate::{AgentFrame, DecodeError, MasterFrame, PROTOCOL_VERSION, PROTOCOL_VERSION_OLDEST};

impl TryFrom<AgentFrame> for AgentToMaster {
    type Error = DecodeError;

    fn try_from(frame: AgentFrame) -> Result<Self, DecodeError> {
        match frame.message {
            Some(agent_frame::Message::Register(register)) => {
                let wire::Register { version, version_oldest, info, frameworks, tasks } = *register;
                versions(version, version_oldest).map_err(|error| error.inside("register"))?;
                Ok(Self::Register(Box::new(Registration {
                    info: present("register.info", info, agent_info)?,
                    frameworks: all("register.frameworks", frameworks, framework_info)?,
                    executors: Vec::new(),
                    tasks: all("register.tasks", tasks, task_record)?,
                    operations: Vec::new(),
                    drain: None,
                })))
            }
            Some(agent_frame::Message::Update(update)) => {
                Ok(Self::Update(Box::new(status_update(*update).map_err(|error| error.inside("update"))?)))
            }
            None => Err(no_case()),
        }
    }
}

impl TryFrom<MasterFrame> for MasterToAgent {
    type Error = DecodeError;

    fn try_from(frame: MasterFrame) -> Result<Self, DecodeError> {
        use master_frame::Message;
        match frame.message {
            Some(Message::Registered(registered)) => {
                versions(registered.version, registered.version_oldest)
                    .map_err(|error| error.inside("registered"))?;
                Ok(Self::Registered { agent_id: id("registered.agent_id", registered.agent_id)? })
            }
            Some(Message::RunTask(run)) => Ok(Self::RunTask {
                framework: Box::new(present("run_task.framework", run.framework, framework_info)?),
                role: Role::any(),
                task: Box::new(present("run_task.task", run.task, task_info)?),
            }),
            Some(Message::KillTask(kill)) => Ok(Self::KillTask {
                framework_id: id("kill_task.framework_id", kill.framework_id)?,
                task_id: id("kill_task.task_id", kill.task_id)?,
                kill_policy: kill.kill_policy.map(kill_policy),
            }),
            Some(Message::Acknowledge(acknowledge)) => Ok(Self::Acknowledge {
                framework_id: id("acknowledge.framework_id", acknowledge.framework_id)?,
                task_id: id("acknowledge.task_id", acknowledge.task_id)?,
                uuid: update_id("acknowledge.uuid", &acknowledge.uuid)?,
            }),
            Some(Message::Reconcile(reconcile)) => {
                Ok(Self::Reconcile { tasks: all("reconcile.tasks", reconcile.tasks, task_name)? })
            }
            Some(Message::ShutdownFramework(shutdown)) => Ok(Self::ShutdownFramework {
                framework_id: id("shutdown_framework.framework_id", shutdown.framework_id)?,
            }),
            Some(Message::Shutdown(shutdown)) => Ok(Self::Shutdown { message: shutdown.message }),
            None => Err(no_case()),
        }
    }
}

/// A case with a tag of the future looks like none at all.
fn no_case() -> DecodeError {
    DecodeError::unknown("message", "no case")
}

fn versions(spoken: u32, oldest: u32) -> Result<(), DecodeError> {
    if spoken == 0 {
        return Err(DecodeError::missing("version"));
    }
    if oldest > PROTOCOL_VERSION {
        return Err(DecodeError::TooOld { spoken, oldest, ours: PROTOCOL_VERSION });
    }
    if spoken < PROTOCOL_VERSION_OLDEST {
        return Err(DecodeError::PeerTooOld { spoken, oldest: PROTOCOL_VERSION_OLDEST });
    }
    Ok(())
}

fn present<W, M>(
    field: &str,
    value: Option<W>,
    convert: impl FnOnce(W) -> Result<M, DecodeError>,
) -> Result<M, DecodeError> {
    let value = value.ok_or_else(|| DecodeError::missing(field))?;
    convert(value).map_err(|error| error.inside(field))
}

fn optional<W, M>(
    field: &str,
    value: Option<W>,
    convert: impl FnOnce(W) -> Result<M, DecodeError>,
) -> Result<Option<M>, DecodeError> {
    value.map(convert).transpose().map_err(|error| error.inside(field))
}

fn all<W, M>(
    field: &str,
    values: Vec<W>,
    convert: impl Fn(W) -> Result<M, DecodeError>,
) -> Result<Vec<M>, DecodeError> {
    let convert_at =
        |(index, value)| convert(value).map_err(|error| error.inside(&format!("{field}[{index}]")));
    values.into_iter().enumerate().map(convert_at).collect()
}

fn id<I: From<String>>(field: &str, text: String) -> Result<I, DecodeError> {
    if text.is_empty() { Err(DecodeError::missing(field)) } else { Ok(I::from(text)) }
}

fn optional_id<I: From<String>>(field: &str, text: Option<String>) -> Result<Option<I>, DecodeError> {
    text.map(|text| id(field, text)).transpose()
}

fn number<E: Numbered>(field: &str, value: i32) -> Result<E, DecodeError> {
    if value == 0 {
        return Err(DecodeError::missing(field));
    }
    E::from_number(value).ok_or_else(|| DecodeError::unknown(field, format!("number {value}")))
}

fn port(field: &str, value: u32) -> Result<u16, DecodeError> {
    u16::try_from(value).map_err(|_| DecodeError::out_of_range(field, value, "0 to 65535"))
}

fn time(field: &str, millis: u64) -> Result<Time, DecodeError> {
    if millis > Time::MAX.as_millis() {
        return Err(DecodeError::out_of_range(field, millis, "a time before the year 10000"));
    }
    Ok(Time::from_millis(millis))
}

fn role(field: &str, text: String) -> Result<Role, DecodeError> {
    Role::new(&text)
        .map_err(|_| DecodeError::out_of_range(field, text, "'*' or components separated by slashes"))
}

fn update_id(field: &str, bytes: &[u8]) -> Result<UpdateId, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::missing(field));
    }
    let bytes = <[u8; 16]>::try_from(bytes)
        .map_err(|_| DecodeError::out_of_range(field, format!("{} bytes", bytes.len()), "16 bytes"))?;
    Ok(UpdateId(u128::from_be_bytes(bytes)))
}

fn agent_info(info: wire::AgentInfo) -> Result<AgentInfo, DecodeError> {
    Ok(AgentInfo {
        id: optional_id("id", info.id)?,
        hostname: info.hostname,
        ip: info.ip,
        port: port("port", info.port)?,
        resources: resources(info.resources)?,
        attributes: all("attributes", info.attributes, attribute)?,
        domain: info.domain.map(|domain| FaultDomain { region: domain.region, zone: domain.zone }),
        version: info.version,
        capabilities: Vec::new(),
    })
}

fn attribute(attribute: wire::Attribute) -> Result<Attribute, DecodeError> {
    let value = match attribute.value {
        Some(attribute::Value::ScalarMilli(milli)) => AttributeValue::Scalar(Quantity::from_milli(milli)),
        Some(attribute::Value::Ranges(value)) => AttributeValue::Ranges(ranges(value)?),
        Some(attribute::Value::Set(set)) => AttributeValue::Set(set.items),
        Some(attribute::Value::Text(text)) => AttributeValue::Text(text),
        None => return Err(DecodeError::unknown("value", "no case")),
    };
    Ok(Attribute { name: attribute.name, value })
}

fn resources(resources: Vec<wire::Resource>) -> Result<Resources, DecodeError> {
    Ok(all("resources", resources, resource)?.into_iter().collect())
}

fn resource(resource: wire::Resource) -> Result<Resource, DecodeError> {
    if resource.name.is_empty() {
        return Err(DecodeError::missing("name"));
    }
    let value = match resource.value {
        Some(resource::Value::ScalarMilli(milli)) => ResourceValue::Scalar(Quantity::from_milli(milli)),
        Some(resource::Value::Ranges(value)) => ResourceValue::Ranges(ranges(value)?),
        Some(resource::Value::Set(set)) => ResourceValue::Set(set.items),
        None => return Err(DecodeError::unknown("value", "no case")),
    };
    let reservations = all("reservations", resource.reservations, reservation)?;
    Ok(Resource { reservations, ..Resource::new(&resource.name, value) })
}

fn reservation(reservation: wire::Reservation) -> Result<Reservation, DecodeError> {
    Ok(Reservation {
        role: role("role", reservation.role)?,
        dynamic: reservation.dynamic,
        principal: reservation.principal.map(Principal::from),
        labels: reservation.labels.into_iter().map(|label| (label.key, label.value)).collect(),
    })
}

fn ranges(ranges: wire::Ranges) -> Result<Ranges, DecodeError> {
    for range in &ranges.ranges {
        if range.begin > range.end {
            let shown = (range.begin, range.end);
            return Err(DecodeError::out_of_range("ranges", shown, "a begin that is not after the end"));
        }
    }
    Ok(Ranges::new(ranges.ranges.into_iter().map(|range| (range.begin, range.end))))
}

fn framework_info(info: wire::FrameworkInfo) -> Result<FrameworkInfo, DecodeError> {
    Ok(FrameworkInfo {
        id: optional_id("id", info.id)?,
        name: info.name,
        user: info.user,
        roles: all("roles", info.roles, |text| role("role", text))?,
        failover_timeout_ms: info.failover_timeout_ms,
        checkpoint: info.checkpoint,
        hostname: info.hostname,
        principal: info.principal.map(Principal::from),
        webui_url: info.webui_url,
        capabilities: info.capabilities.into_iter().filter_map(Numbered::from_number).collect(),
        labels: Vec::new(),
        offer_filters: Default::default(),
    })
}

fn task_name(name: wire::TaskName) -> Result<(FrameworkId, TaskId), DecodeError> {
    Ok((id("framework_id", name.framework_id)?, id("task_id", name.task_id)?))
}

fn task_record(record: wire::TaskRecord) -> Result<TaskRecord, DecodeError> {
    Ok(TaskRecord {
        framework_id: id("framework_id", record.framework_id)?,
        info: present("info", record.info, task_info)?,
        state: number("state", record.state)?,
        statuses: all("statuses", record.statuses, task_status)?,
        role: None,
    })
}

fn task_info(info: wire::TaskInfo) -> Result<TaskInfo, DecodeError> {
    Ok(TaskInfo {
        id: id("id", info.id)?,
        name: info.name,
        agent_id: id::<AgentId>("agent_id", info.agent_id)?,
        resources: resources(info.resources)?,
        command: present("command", info.command, |command| Ok(command_info(command)))?,
        container: info
            .container
            .map(|container| ContainerInfo { image: container.image, force_pull: container.force_pull }),
        kill_policy: info.kill_policy.map(kill_policy),
        discovery: optional("discovery", info.discovery, discovery_info)?,
        labels: info.labels,
        executor: None,
        max_completion_ms: None,
        raw: None,
    })
}

fn command_info(command: wire::CommandInfo) -> CommandInfo {
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

fn kill_policy(policy: wire::KillPolicy) -> KillPolicy {
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

fn status_update(update: wire::StatusUpdate) -> Result<StatusUpdate, DecodeError> {
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
        uuid: status.uuid.map(|bytes| update_id("uuid", &bytes)).transpose()?,
        container: optional("container", status.container, |container| {
            Ok(ContainerStatus {
                container_id: id("container_id", container.container_id)?,
                ip: container.ip,
                pid: container.pid,
                raw: None,
            })
        })?,
        check: None,
        data: None,
        executor_id: None,
        healthy: None,
        labels: Vec::new(),
        limitation: None,
        unreachable_since: None,
    })
}
