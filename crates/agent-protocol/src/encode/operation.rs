//! Operations and their statuses.

use model::{OperationRecord, OperationStatus, ResourceOperation};

use super::resources::{resource, resource_list, resources};
use super::uuid;
use crate::numbers::Numbered;
use crate::wire;
use crate::wire::operation_record as operation;

pub(super) fn operation_record(record: OperationRecord) -> wire::OperationRecord {
    wire::OperationRecord {
        uuid: uuid(record.uuid),
        framework_id: record.framework_id.map(|id| id.to_string()),
        id: record.id.map(|id| id.to_string()),
        role: record.role.map(String::from),
        latest: Some(Box::new(operation_status(record.latest))),
        statuses: record.statuses.into_iter().map(operation_status).collect(),
        operation: Some(kind(record.operation)),
    }
}

fn kind(kind: ResourceOperation) -> operation::Kind {
    use operation::Kind;
    match kind {
        ResourceOperation::Reserve { source, resources: target } => {
            Kind::Reserve(Box::new(operation::Reserve {
                source: resources(&source),
                resources: resources(&target),
            }))
        }
        ResourceOperation::Unreserve { resources } => Kind::Unreserve(resource_list(&resources)),
        ResourceOperation::Create { volumes } => Kind::Create(resource_list(&volumes)),
        ResourceOperation::Destroy { volumes } => Kind::Destroy(resource_list(&volumes)),
        ResourceOperation::GrowVolume { volume, addition } => {
            Kind::GrowVolume(Box::new(operation::GrowVolume {
                volume: Some(resource(&volume)),
                addition: Some(resource(&addition)),
            }))
        }
        ResourceOperation::ShrinkVolume { volume, subtract } => {
            Kind::ShrinkVolume(Box::new(operation::ShrinkVolume {
                volume: Some(resource(&volume)),
                subtract_milli: subtract.milli(),
            }))
        }
        ResourceOperation::CreateDisk { source, target, profile } => {
            Kind::CreateDisk(Box::new(operation::CreateDisk {
                source: Some(resource(&source)),
                target: target.number(),
                profile,
            }))
        }
        ResourceOperation::DestroyDisk { source } => {
            Kind::DestroyDisk(Box::new(operation::DestroyDisk { source: Some(resource(&source)) }))
        }
    }
}

pub(super) fn operation_status(status: OperationStatus) -> wire::OperationStatus {
    wire::OperationStatus {
        operation_id: status.operation_id.map(|id| id.to_string()),
        state: status.state.number(),
        message: status.message,
        converted: resources(&status.converted),
        uuid: status.uuid.map(uuid),
        agent_id: status.agent_id.map(|id| id.to_string()),
        provider: status.provider,
    }
}
