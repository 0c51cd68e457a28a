//! Operations of ACCEPT inwards; operations that an agent has outwards.

use mesos_proto::v1::offer::{self, operation};
use mesos_proto::v1::value;
use mesos_proto::{ApiMessage, raw, v1};
use model::{
    Operation, OperationId, OperationKind, OperationRecord, Quantity, Resource, ResourceOperation, Resources,
    Role, TaskLaunch,
};

use super::{
    Form, Incoming, Invalid, allocation_role, disk_kind, disk_kind_out, executor, form, joined,
    operation_status_out, resource_out, resources, resources_out, task, uuid_out,
};

/// Reads the operations of ACCEPT; `bytes` are theirs as they came, in the same order.
pub(crate) fn operations(list: &[offer::Operation], bytes: &[&[u8]]) -> Vec<Operation> {
    let one = |(index, wire): (usize, &offer::Operation)| match bytes.get(index) {
        Some(bytes) => operation(wire, bytes),
        None => operation(wire, &wire.to_protobuf()),
    };
    list.iter().enumerate().map(one).collect()
}

pub(crate) fn operation(wire: &offer::Operation, bytes: &[u8]) -> Operation {
    let id = wire.id.as_ref().map(|id| OperationId::new(&id.value));
    let read = read(wire, bytes);
    Operation { id, kind: read.kind, allocation: read.allocation, flaw: read.flaw.map(|invalid| invalid.0) }
}

struct Read {
    kind: OperationKind,
    allocation: Option<Role>,
    flaw: Option<Invalid>,
}

impl Read {
    /// An order that is refused anyway keeps its type and nothing else.
    fn of(kind: ResourceOperation, result: Result<(ResourceOperation, Option<Role>), Invalid>) -> Self {
        match result {
            Ok((kind, allocation)) => Self { kind: OperationKind::Resources(kind), allocation, flaw: None },
            Err(flaw) => Self { kind: OperationKind::Resources(kind), allocation: None, flaw: Some(flaw) },
        }
    }
}

fn read(wire: &offer::Operation, bytes: &[u8]) -> Read {
    let kind = wire.r#type.and_then(|kind| operation::Type::try_from(kind).ok());
    match kind.unwrap_or(operation::Type::Unknown) {
        operation::Type::Unknown => Read { kind: OperationKind::Unknown, allocation: None, flaw: None },
        operation::Type::Launch => {
            let list = wire.launch.as_ref().map(|launch| launch.task_infos.as_slice()).unwrap_or_default();
            let flaw =
                wire.id.as_ref().map(|_| Invalid::new("The `id` field cannot be set on LAUNCH operations"));
            Read {
                kind: OperationKind::Launch { tasks: tasks(list, bytes, &[2, 1]) },
                allocation: None,
                flaw,
            }
        }
        operation::Type::LaunchGroup => group(wire, bytes),
        operation::Type::Reserve => {
            let nothing =
                ResourceOperation::Reserve { source: Resources::new(), resources: Resources::new() };
            Read::of(
                nothing,
                present(wire.reserve.as_ref(), "reserve").and_then(|reserve| {
                    let wanted = bag(&reserve.resources)?;
                    let source = bag(&reserve.source)?.resources;
                    Ok((
                        ResourceOperation::Reserve { source, resources: wanted.resources },
                        wanted.allocation,
                    ))
                }),
            )
        }
        operation::Type::Unreserve => {
            let nothing = ResourceOperation::Unreserve { resources: Resources::new() };
            Read::of(
                nothing,
                present(wire.unreserve.as_ref(), "unreserve").and_then(|unreserve| {
                    let Incoming { resources, allocation } = bag(&unreserve.resources)?;
                    Ok((ResourceOperation::Unreserve { resources }, allocation))
                }),
            )
        }
        operation::Type::Create => {
            let nothing = ResourceOperation::Create { volumes: Resources::new() };
            Read::of(
                nothing,
                present(wire.create.as_ref(), "create").and_then(|create| {
                    let Incoming { resources: volumes, allocation } = bag(&create.volumes)?;
                    Ok((ResourceOperation::Create { volumes }, allocation))
                }),
            )
        }
        operation::Type::Destroy => {
            let nothing = ResourceOperation::Destroy { volumes: Resources::new() };
            Read::of(
                nothing,
                present(wire.destroy.as_ref(), "destroy").and_then(|destroy| {
                    let Incoming { resources: volumes, allocation } = bag(&destroy.volumes)?;
                    Ok((ResourceOperation::Destroy { volumes }, allocation))
                }),
            )
        }
        operation::Type::GrowVolume => {
            let nothing = ResourceOperation::GrowVolume { volume: no_disk(), addition: no_disk() };
            Read::of(
                nothing,
                present(wire.grow_volume.as_deref(), "grow_volume").and_then(|grow| {
                    let volume = one(&grow.volume)?;
                    let addition = one(&grow.addition)?;
                    let allocation = bag(&[grow.volume.clone(), grow.addition.clone()])?.allocation;
                    Ok((ResourceOperation::GrowVolume { volume, addition }, allocation))
                }),
            )
        }
        operation::Type::ShrinkVolume => {
            let nothing = ResourceOperation::ShrinkVolume { volume: no_disk(), subtract: Quantity::ZERO };
            Read::of(
                nothing,
                present(wire.shrink_volume.as_deref(), "shrink_volume").and_then(|shrink| {
                    let volume = one(&shrink.volume)?;
                    let subtract = quantity(&shrink.subtract)?;
                    let allocation = allocation_role(std::slice::from_ref(&shrink.volume));
                    Ok((ResourceOperation::ShrinkVolume { volume, subtract }, allocation))
                }),
            )
        }
        operation::Type::CreateDisk => {
            let nothing = ResourceOperation::CreateDisk {
                source: no_disk(),
                target: model::DiskKind::Mount,
                profile: None,
            };
            Read::of(
                nothing,
                present(wire.create_disk.as_deref(), "create_disk").and_then(|create| {
                    let source = one(&create.source)?;
                    let target = disk_kind(create.target_type);
                    let target = target.ok_or_else(|| {
                        Invalid::new("'create_disk.target_type' is not known: MOUNT and BLOCK are allowed")
                    })?;
                    let profile = create.target_profile.clone();
                    let allocation = allocation_role(std::slice::from_ref(&create.source));
                    Ok((ResourceOperation::CreateDisk { source, target, profile }, allocation))
                }),
            )
        }
        operation::Type::DestroyDisk => {
            let nothing = ResourceOperation::DestroyDisk { source: no_disk() };
            Read::of(
                nothing,
                present(wire.destroy_disk.as_deref(), "destroy_disk").and_then(|destroy| {
                    let source = one(&destroy.source)?;
                    let allocation = allocation_role(std::slice::from_ref(&destroy.source));
                    Ok((ResourceOperation::DestroyDisk { source }, allocation))
                }),
            )
        }
    }
}

fn no_disk() -> Resource {
    Resource::scalar("disk", Quantity::ZERO)
}

fn present<T>(part: Option<T>, name: &str) -> Result<T, Invalid> {
    part.ok_or_else(|| Invalid(format!("Expecting '{name}' to be present in the operation")))
}

fn bag(list: &[v1::Resource]) -> Result<Incoming, Invalid> {
    resources(list).map_err(|error| Invalid(format!("Invalid resources: {error}")))
}

fn one(wire: &v1::Resource) -> Result<Resource, Invalid> {
    super::resource(wire).map_err(|error| Invalid(format!("Invalid resource: {error}")))
}

/// The amount to take off a volume.
pub(crate) fn quantity(wire: &value::Scalar) -> Result<Quantity, Invalid> {
    Quantity::from_f64(wire.value).ok_or_else(|| {
        Invalid(format!("Invalid amount {}: a number of at most {} is allowed", wire.value, Quantity::MAX))
    })
}

fn tasks(list: &[v1::TaskInfo], bytes: &[u8], path: &[u32]) -> Vec<TaskLaunch> {
    let pieces = raw::submessages(bytes, path).unwrap_or_default();
    let one = |(index, wire): (usize, &v1::TaskInfo)| match pieces.get(index) {
        Some(bytes) if pieces.len() == list.len() => task(wire, bytes),
        _ => task(wire, &wire.to_protobuf()),
    };
    list.iter().enumerate().map(one).collect()
}

fn group(wire: &offer::Operation, bytes: &[u8]) -> Read {
    let Some(group) = wire.launch_group.as_deref() else {
        return Read {
            kind: OperationKind::Unknown,
            allocation: None,
            flaw: Some(Invalid::new("Expecting 'launch_group' to be present in the operation")),
        };
    };
    let pieces = raw::submessages(bytes, &[7, 1]).unwrap_or_default();
    let executor = executor(&group.executor, &joined(&pieces));
    let mut tasks = tasks(&group.task_group.tasks, bytes, &[7, 2, 1]);
    for (task, wire) in tasks.iter_mut().zip(&group.task_group.tasks) {
        task.flaw = form::group_task(wire, &group.executor).err().map(|invalid| invalid.0);
    }
    let named =
        wire.id.as_ref().map(|_| Invalid::new("The `id` field cannot be set on LAUNCH_GROUP operations"));
    let empty = || Invalid::new("Task group cannot be empty");
    let flaw = named
        .or_else(|| group.task_group.tasks.is_empty().then(empty))
        .or_else(|| form::group_executor(&group.executor).err());
    let allocation = allocation_role(&group.executor.resources);
    Read { kind: OperationKind::LaunchGroup { executor: Box::new(executor), tasks }, allocation, flaw }
}

/// What readers of the state see of an operation.
pub(crate) fn operation_out(
    record: &OperationRecord,
    agent_id: &model::AgentId,
    form: Form,
) -> v1::Operation {
    v1::Operation {
        framework_id: record.framework_id.as_ref().map(|id| id.as_str().into()),
        agent_id: Some(agent_id.as_str().into()),
        info: resource_operation_out(record, form),
        latest_status: operation_status_out(&record.latest, form),
        statuses: record.statuses.iter().map(|status| operation_status_out(status, form)).collect(),
        uuid: v1::Uuid { value: uuid_out(record.uuid) },
    }
}

fn resource_operation_out(record: &OperationRecord, form: Form) -> offer::Operation {
    let role = record.role.as_ref();
    let list = |resources: &Resources| resources_out(resources, form, role);
    let one = |resource: &Resource| resource_out(resource, form, role);
    let id = record.id.as_ref().map(|id| id.as_str().into());
    let mut wire = offer::Operation { id, ..offer::Operation::default() };
    let kind = match &record.operation {
        ResourceOperation::Reserve { source, resources } => {
            wire.reserve = Some(operation::Reserve { resources: list(resources), source: list(source) });
            operation::Type::Reserve
        }
        ResourceOperation::Unreserve { resources } => {
            wire.unreserve = Some(operation::Unreserve { resources: list(resources) });
            operation::Type::Unreserve
        }
        ResourceOperation::Create { volumes } => {
            wire.create = Some(operation::Create { volumes: list(volumes) });
            operation::Type::Create
        }
        ResourceOperation::Destroy { volumes } => {
            wire.destroy = Some(operation::Destroy { volumes: list(volumes) });
            operation::Type::Destroy
        }
        ResourceOperation::GrowVolume { volume, addition } => {
            let grow = operation::GrowVolume { volume: one(volume), addition: one(addition) };
            wire.grow_volume = Some(Box::new(grow));
            operation::Type::GrowVolume
        }
        ResourceOperation::ShrinkVolume { volume, subtract } => {
            let subtract = value::Scalar { value: subtract.to_f64() };
            wire.shrink_volume = Some(Box::new(operation::ShrinkVolume { volume: one(volume), subtract }));
            operation::Type::ShrinkVolume
        }
        ResourceOperation::CreateDisk { source, target, profile } => {
            wire.create_disk = Some(Box::new(operation::CreateDisk {
                source: one(source),
                target_type: disk_kind_out(*target) as i32,
                target_profile: profile.clone(),
            }));
            operation::Type::CreateDisk
        }
        ResourceOperation::DestroyDisk { source } => {
            wire.destroy_disk = Some(Box::new(operation::DestroyDisk { source: one(source) }));
            operation::Type::DestroyDisk
        }
    };
    wire.r#type = Some(kind as i32);
    wire
}

/// How long a refusal holds, in milliseconds; None: as long as the master thinks right.
pub(crate) fn refuse_ms(filters: Option<&v1::Filters>) -> Option<u64> {
    let seconds = filters?.refuse_seconds?;
    // Saturates; the master cuts it to a year.
    (seconds >= 0.0).then(|| (seconds * 1000.0).round() as u64)
}
