//! Operations and their statuses.

use model::{FrameworkId, OperationRecord, OperationStatus, Quantity, Resource, ResourceOperation, UpdateId};

use super::resources::{resource, resource_list, resources};
use super::{all, number, optional_id, optional_role, optional_uuid, present, uuid};
use crate::DecodeError;
use crate::wire;
use crate::wire::operation_record as operation;

pub(super) fn operation_name(
    name: wire::OperationName,
) -> Result<(UpdateId, Option<FrameworkId>), DecodeError> {
    Ok((uuid("uuid", &name.uuid)?, optional_id("framework_id", name.framework_id)?))
}

pub(super) fn operation_record(record: wire::OperationRecord) -> Result<OperationRecord, DecodeError> {
    let kind = record.operation.ok_or_else(|| DecodeError::unknown("operation", "no case"))?;
    Ok(OperationRecord {
        uuid: uuid("uuid", &record.uuid)?,
        framework_id: optional_id("framework_id", record.framework_id)?,
        id: optional_id("id", record.id)?,
        operation: operation(kind)?,
        role: optional_role("role", record.role)?,
        latest: present("latest", record.latest, |latest| operation_status(*latest))?,
        statuses: all("statuses", record.statuses, operation_status)?,
    })
}

fn operation(kind: operation::Kind) -> Result<ResourceOperation, DecodeError> {
    use operation::Kind;
    let (name, converted) = match kind {
        Kind::Reserve(reserve) => ("reserve", self::reserve(*reserve)),
        Kind::Unreserve(list) => {
            ("unreserve", resource_list(list).map(|resources| ResourceOperation::Unreserve { resources }))
        }
        Kind::Create(list) => {
            ("create", resource_list(list).map(|volumes| ResourceOperation::Create { volumes }))
        }
        Kind::Destroy(list) => {
            ("destroy", resource_list(list).map(|volumes| ResourceOperation::Destroy { volumes }))
        }
        Kind::GrowVolume(grow) => ("grow_volume", grow_volume(*grow)),
        Kind::ShrinkVolume(shrink) => ("shrink_volume", shrink_volume(*shrink)),
        Kind::CreateDisk(create) => ("create_disk", create_disk(*create)),
        Kind::DestroyDisk(destroy) => (
            "destroy_disk",
            needed("source", destroy.source).map(|source| ResourceOperation::DestroyDisk { source }),
        ),
    };
    converted.map_err(|error| error.inside(name))
}

fn needed(field: &str, value: Option<wire::Resource>) -> Result<Resource, DecodeError> {
    present(field, value, resource)
}

fn reserve(reserve: operation::Reserve) -> Result<ResourceOperation, DecodeError> {
    Ok(ResourceOperation::Reserve {
        source: resources("source", reserve.source)?,
        resources: resources("resources", reserve.resources)?,
    })
}

fn grow_volume(grow: operation::GrowVolume) -> Result<ResourceOperation, DecodeError> {
    Ok(ResourceOperation::GrowVolume {
        volume: needed("volume", grow.volume)?,
        addition: needed("addition", grow.addition)?,
    })
}

fn shrink_volume(shrink: operation::ShrinkVolume) -> Result<ResourceOperation, DecodeError> {
    Ok(ResourceOperation::ShrinkVolume {
        volume: needed("volume", shrink.volume)?,
        subtract: Quantity::from_milli(shrink.subtract_milli),
    })
}

fn create_disk(create: operation::CreateDisk) -> Result<ResourceOperation, DecodeError> {
    Ok(ResourceOperation::CreateDisk {
        source: needed("source", create.source)?,
        target: number("target", create.target)?,
        profile: create.profile,
    })
}

pub(super) fn operation_status(status: wire::OperationStatus) -> Result<OperationStatus, DecodeError> {
    Ok(OperationStatus {
        operation_id: optional_id("operation_id", status.operation_id)?,
        state: number("state", status.state)?,
        message: status.message,
        converted: resources("converted", status.converted)?,
        uuid: optional_uuid("uuid", status.uuid)?,
        agent_id: optional_id("agent_id", status.agent_id)?,
        provider: status.provider,
    })
}
