//! Model to wire. Cannot fail: the model is the narrower of the two.

use model::agent_api::{AgentToMaster, MasterToAgent};
use model::scheduler_api::TaskRecord;
use model::{
    AgentInfo, Attribute, AttributeValue, CommandInfo, ContainerInfo, DiscoveryInfo, FrameworkInfo,
    KillPolicy, Quantity, Ranges, Reservation, Resource, ResourceValue, Resources, StatusUpdate, TaskInfo,
    TaskStatus,
};

use crate::numbers::Numbered;
use crate::wire;
use crate::wire::{agent_frame, attribute, master_frame, resource};
use crate::{AgentFrame, MasterFrame, PROTOCOL_VERSION, PROTOCOL_VERSION_OLDEST};

impl From<AgentToMaster> for AgentFrame {
    fn from(message: AgentToMaster) -> Self {
        let message = match message {
            AgentToMaster::Register(register) => agent_frame::Message::Register(Box::new(wire::Register {
                version: PROTOCOL_VERSION,
                version_oldest: PROTOCOL_VERSION_OLDEST,
                info: Some(agent_info(register.info)),
                frameworks: register.frameworks.into_iter().map(framework_info).collect(),
                tasks: register.tasks.into_iter().map(task_record).collect(),
            })),
            AgentToMaster::Update(update) => agent_frame::Message::Update(Box::new(status_update(*update))),
            // Not sent by any agent of this version.
            AgentToMaster::OperationUpdate { .. }
            | AgentToMaster::Message { .. }
            | AgentToMaster::ExecutorExited { .. }
            | AgentToMaster::Unregister => return Self { message: None },
        };
        Self { message: Some(message) }
    }
}

impl From<MasterToAgent> for MasterFrame {
    fn from(message: MasterToAgent) -> Self {
        use master_frame::Message;
        let message = match message {
            MasterToAgent::Registered { agent_id } => Message::Registered(wire::Registered {
                version: PROTOCOL_VERSION,
                version_oldest: PROTOCOL_VERSION_OLDEST,
                agent_id: agent_id.to_string(),
            }),
            MasterToAgent::RunTask { framework, role: _, task } => {
                Message::RunTask(Box::new(wire::RunTask {
                    framework: Some(framework_info(*framework)),
                    task: Some(task_info(*task)),
                }))
            }
            MasterToAgent::KillTask { framework_id, task_id, kill_policy: policy } => {
                Message::KillTask(wire::KillTask {
                    framework_id: framework_id.to_string(),
                    task_id: task_id.to_string(),
                    kill_policy: policy.map(kill_policy),
                })
            }
            MasterToAgent::Acknowledge { framework_id, task_id, uuid } => {
                Message::Acknowledge(wire::Acknowledge {
                    framework_id: framework_id.to_string(),
                    task_id: task_id.to_string(),
                    uuid: uuid.to_bytes().to_vec(),
                })
            }
            MasterToAgent::Reconcile { tasks } => Message::Reconcile(wire::Reconcile {
                tasks: tasks
                    .into_iter()
                    .map(|(framework_id, task_id)| wire::TaskName {
                        framework_id: framework_id.to_string(),
                        task_id: task_id.to_string(),
                    })
                    .collect(),
            }),
            MasterToAgent::ShutdownFramework { framework_id } => {
                Message::ShutdownFramework(wire::ShutdownFramework { framework_id: framework_id.to_string() })
            }
            MasterToAgent::Shutdown { message } => Message::Shutdown(wire::Shutdown { message }),
            // Not sent by any master of this version.
            MasterToAgent::RunGroup { .. }
            | MasterToAgent::ReconcileOperations { .. }
            | MasterToAgent::ShutdownExecutor { .. }
            | MasterToAgent::UpdateFramework { .. }
            | MasterToAgent::Message { .. }
            | MasterToAgent::ApplyOperation { .. }
            | MasterToAgent::AcknowledgeOperation { .. }
            | MasterToAgent::Drain { .. }
            | MasterToAgent::Reactivate => return Self { message: None },
        };
        Self { message: Some(message) }
    }
}

fn agent_info(info: AgentInfo) -> wire::AgentInfo {
    wire::AgentInfo {
        id: info.id.map(|id| id.to_string()),
        hostname: info.hostname,
        ip: info.ip,
        port: u32::from(info.port),
        version: info.version,
        resources: resources(&info.resources),
        attributes: info.attributes.into_iter().map(attribute).collect(),
        domain: info.domain.map(|domain| wire::FaultDomain { region: domain.region, zone: domain.zone }),
    }
}

fn attribute(attribute: Attribute) -> wire::Attribute {
    let value = match attribute.value {
        AttributeValue::Scalar(quantity) => attribute::Value::ScalarMilli(quantity.milli()),
        AttributeValue::Ranges(value) => attribute::Value::Ranges(ranges(&value)),
        AttributeValue::Set(items) => attribute::Value::Set(wire::Set { items }),
        AttributeValue::Text(text) => attribute::Value::Text(text),
    };
    wire::Attribute { name: attribute.name, value: Some(value) }
}

fn resources(resources: &Resources) -> Vec<wire::Resource> {
    resources.iter().map(resource).collect()
}

fn resource(resource: &Resource) -> wire::Resource {
    let value = match &resource.value {
        ResourceValue::Scalar(quantity) => resource::Value::ScalarMilli(Quantity::milli(*quantity)),
        ResourceValue::Ranges(value) => resource::Value::Ranges(ranges(value)),
        ResourceValue::Set(items) => resource::Value::Set(wire::Set { items: items.clone() }),
    };
    wire::Resource {
        name: resource.name.to_string(),
        value: Some(value),
        reservations: resource.reservations.iter().map(reservation).collect(),
    }
}

fn reservation(reservation: &Reservation) -> wire::Reservation {
    wire::Reservation {
        role: reservation.role.to_string(),
        dynamic: reservation.dynamic,
        principal: reservation.principal.as_ref().map(ToString::to_string),
        labels: reservation
            .labels
            .iter()
            .map(|(key, value)| wire::Label { key: key.clone(), value: value.clone() })
            .collect(),
    }
}

fn ranges(ranges: &Ranges) -> wire::Ranges {
    let ranges =
        ranges.as_slice().iter().map(|(begin, end)| wire::Range { begin: *begin, end: *end }).collect();
    wire::Ranges { ranges }
}

fn framework_info(info: FrameworkInfo) -> wire::FrameworkInfo {
    wire::FrameworkInfo {
        id: info.id.map(|id| id.to_string()),
        name: info.name,
        user: info.user,
        roles: info.roles.into_iter().map(String::from).collect(),
        failover_timeout_ms: info.failover_timeout_ms,
        checkpoint: info.checkpoint,
        hostname: info.hostname,
        principal: info.principal.map(|principal| principal.to_string()),
        webui_url: info.webui_url,
        capabilities: info.capabilities.into_iter().map(Numbered::number).collect(),
    }
}

fn task_record(record: TaskRecord) -> wire::TaskRecord {
    wire::TaskRecord {
        framework_id: record.framework_id.to_string(),
        info: Some(task_info(record.info)),
        state: record.state.number(),
        statuses: record.statuses.into_iter().map(task_status).collect(),
    }
}

fn task_info(info: TaskInfo) -> wire::TaskInfo {
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
    }
}

fn command_info(command: CommandInfo) -> wire::CommandInfo {
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

fn container_info(container: ContainerInfo) -> wire::ContainerInfo {
    wire::ContainerInfo { image: container.image, force_pull: container.force_pull }
}

fn kill_policy(policy: KillPolicy) -> wire::KillPolicy {
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

fn status_update(update: StatusUpdate) -> wire::StatusUpdate {
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
        uuid: status.uuid.map(|uuid| uuid.to_bytes().to_vec()),
        container: status.container.map(|container| wire::ContainerStatus {
            container_id: container.container_id.to_string(),
            ip: container.ip,
            pid: container.pid,
        }),
    }
}
