//! Operations on the agent's own resources: reservations and volumes.
//!
//! What they made is checkpointed before they are answered; statuses are sent
//! again until acknowledged. A volume's directory is made or removed after that,
//! in order, and at most once (`apache/mesos` `src/slave/slave.cpp`,
//! `src/common/resources_utils.cpp`).

use std::sync::Arc;
use std::time::Duration;

use model::agent_api::AgentToMaster;
use model::{
    DiskKind, FrameworkId, OperationRecord, OperationState, OperationStatus, Quantity, Resource,
    ResourceOperation, ResourceValue, Resources, Time, UpdateId,
};

use crate::brain::{Agent, Effect, Out, Retry};
use crate::state::{VolumeChange, VolumeMount, VolumeWork, Write};

/// What an operation takes, and what it gives for it.
pub(crate) fn conversion(operation: &ResourceOperation) -> Result<(Resources, Resources), String> {
    let each = |resources: &Resources, f: &dyn Fn(Resource) -> Resource| {
        let mut all = Resources::new();
        resources.iter().for_each(|resource| all.add_one(f(resource.clone())));
        all
    };
    let volume_of =
        |volume: &Resource, size: Quantity| Resource { value: ResourceValue::Scalar(size), ..volume.clone() };
    let one = |resource: Resource| {
        let mut one = Resources::new();
        one.add_one(resource);
        one
    };
    Ok(match operation {
        ResourceOperation::Reserve { source, resources } if source.is_empty() => {
            if resources.iter().any(|resource| !resource.is_dynamically_reserved()) {
                return Err("RESERVE of resources without a dynamic reservation".to_owned());
            }
            (each(resources, &Resource::unreserved_once), resources.clone())
        }
        ResourceOperation::Reserve { source, resources } => (source.clone(), resources.clone()),
        ResourceOperation::Unreserve { resources } => {
            if resources.iter().any(|resource| !resource.is_dynamically_reserved()) {
                return Err("UNRESERVE of resources without a dynamic reservation".to_owned());
            }
            (resources.clone(), each(resources, &Resource::unreserved_once))
        }
        ResourceOperation::Create { volumes } => (each(volumes, &raw_disk), volumes.clone()),
        ResourceOperation::Destroy { volumes } => (volumes.clone(), each(volumes, &raw_disk)),
        ResourceOperation::GrowVolume { volume, addition } => {
            let grown = volume_of(volume, volume.quantity().saturating_add(addition.quantity()));
            let mut taken = one(volume.clone());
            taken.add_one(addition.clone());
            (taken, one(grown))
        }
        ResourceOperation::ShrinkVolume { volume, subtract } => {
            if *subtract >= volume.quantity() {
                return Err(format!(
                    "SHRINK_VOLUME by {subtract} of a volume of {}: something must be left",
                    volume.quantity()
                ));
            }
            let mut given = one(volume_of(volume, volume.quantity().saturating_sub(*subtract)));
            given.add_one(raw_disk(volume_of(volume, *subtract)));
            (one(volume.clone()), given)
        }
        ResourceOperation::CreateDisk { .. } | ResourceOperation::DestroyDisk { .. } => {
            return Err(format!("{} needs a resource provider, and this agent has none", operation.name()));
        }
    })
}

/// The disk that a volume is made of.
fn raw_disk(mut volume: Resource) -> Resource {
    volume.shared = 0;
    if let Some(disk) = &mut volume.disk {
        disk.persistence = None;
        disk.volume = None;
        if disk.source.is_none() {
            volume.disk = None;
        }
    }
    volume
}

/// The configured resource that a converted one was made of.
fn origin(converted: &Resource) -> Resource {
    let mut plain = raw_disk(converted.clone());
    while plain.is_dynamically_reserved() {
        plain = plain.unreserved_once();
    }
    plain
}

/// The configured resources after all conversions; the first resource that is
/// not there any more, if one is not.
pub(crate) fn apply_converted(configured: &Resources, converted: &Resources) -> Result<Resources, String> {
    let mut total = configured.clone();
    for resource in converted.iter() {
        let mut plain = Resources::new();
        plain.add_one(origin(resource));
        if !total.contains(&plain) {
            return Err(format!("{} of {} is reserved or a volume", resource.name, resource.quantity()));
        }
        total.subtract(&plain);
        total.add_one(resource.clone());
    }
    Ok(total)
}

fn is_converted(resource: &Resource) -> bool {
    resource.reservations.iter().any(|reservation| reservation.dynamic) || resource.is_persistent_volume()
}

/// Where a persistent volume lies on this machine.
pub(crate) fn volume_path(work_dir: &str, resource: &Resource) -> Option<String> {
    let id = &resource.persistence()?.id;
    let role = resource.role().as_str().replace('/', " ");
    let below = |root: &str| format!("{root}/volumes/roles/{role}/{id}");
    match resource.disk_source() {
        None => Some(below(work_dir)),
        Some(source) => {
            let root = source.root.as_deref()?;
            let root = if root.starts_with('/') { root.to_owned() } else { format!("{work_dir}/{root}") };
            match source.kind {
                DiskKind::Path => Some(below(&root)),
                DiskKind::Mount => Some(root),
                DiskKind::Block | DiskKind::Raw => None,
            }
        }
    }
}

impl Agent {
    pub(crate) fn apply_operation(&mut self, now: Time, mut record: OperationRecord, out: &mut Out) {
        let uuid = record.uuid;
        if self.operations.contains_key(&uuid) {
            self.send_operation(now, uuid, out);
            return;
        }
        let full = self.operations.len() >= self.config.limits.operations_max;
        let result = if full {
            let most = self.config.limits.operations_max;
            Err(format!("the agent already has {most} operations, its limit operations_max"))
        } else {
            self.convert(&record.operation, out)
        };
        let (state, message, converted) = match result {
            Ok(converted) => (OperationState::Finished, None, converted),
            Err(message) => (OperationState::Failed, Some(message), Resources::new()),
        };
        let status = OperationStatus {
            operation_id: record.id.clone(),
            state,
            message,
            converted,
            uuid: Some(UpdateId(self.rng.next_u128())),
            agent_id: self.id.clone(),
            provider: None,
        };
        record.latest = status.clone();
        record.statuses.push(status);
        let record = Arc::new(record);
        out.write(Write::PutOperation(record.clone()));
        self.operations.insert(uuid, record);
        self.send_operation(now, uuid, out);
    }

    fn convert(&mut self, operation: &ResourceOperation, out: &mut Out) -> Result<Resources, String> {
        let (consumed, converted) = conversion(operation)?;
        if !self.total.contains(&consumed) {
            return Err(format!("{} of resources that this agent does not have", operation.name()));
        }
        self.total.subtract(&consumed);
        self.total.add(&converted);
        self.resources.converted = self.total.filter(is_converted);
        let volumes = match operation {
            ResourceOperation::Create { volumes } => Some((volumes, true)),
            ResourceOperation::Destroy { volumes } => Some((volumes, false)),
            _ => None,
        };
        let mut ordered = Vec::new();
        if let Some((volumes, make)) = volumes {
            for volume in volumes.iter() {
                let Some(path) = volume_path(&self.config.work_dir, volume) else { continue };
                let mounted = volume.disk_source().is_some_and(|source| source.kind == DiskKind::Mount);
                let what = match (make, mounted) {
                    (true, _) => VolumeChange::Make,
                    (false, true) => VolumeChange::Empty,
                    (false, false) => VolumeChange::Remove,
                };
                ordered.push(VolumeWork { uuid: UpdateId(self.rng.next_u128()), path, what });
            }
        }
        self.resources.volumes.extend(ordered.iter().cloned());
        out.write(Write::PutResources(Box::new(self.resources.clone())));
        for work in ordered {
            out.effect(Effect::Volume(work));
        }
        Ok(converted)
    }

    pub(crate) fn volume_done(&mut self, uuid: UpdateId, out: &mut Out) {
        let Some(position) = self.resources.volumes.iter().position(|work| work.uuid == uuid) else { return };
        self.resources.volumes.remove(position);
        out.write(Write::PutResources(Box::new(self.resources.clone())));
        out.effect(Effect::VolumeSettled { uuid });
    }

    /// The volumes among these resources, as a container sees them.
    pub(crate) fn mounts(&self, resources: &Resources) -> Vec<VolumeMount> {
        let one = |resource: &Resource| {
            let volume = resource.disk.as_ref()?.volume.as_ref()?;
            Some(VolumeMount {
                source: volume_path(&self.config.work_dir, resource)?,
                container_path: volume.container_path.clone(),
                read_only: volume.read_only,
                owned: !resource.is_shared(),
            })
        };
        resources.iter().filter_map(one).collect()
    }

    // ---- statuses

    fn send_operation(&mut self, now: Time, uuid: UpdateId, out: &mut Out) {
        let Some(operation) = self.operations.get(&uuid) else {
            self.operation_retries.remove(&uuid);
            return;
        };
        let message = AgentToMaster::OperationUpdate {
            uuid,
            framework_id: operation.framework_id.clone(),
            status: Box::new(operation.latest.clone()),
        };
        let least = self.config.limits.update_retry_min_ms;
        let interval_ms = self.operation_retries.get(&uuid).map_or(least, |retry| retry.interval_ms);
        let due = now + Duration::from_millis(interval_ms);
        self.operation_retries.insert(uuid, Retry { due, interval_ms });
        self.to_master(message, out);
    }

    pub(crate) fn resend_operations(&mut self, now: Time, out: &mut Out) {
        self.operation_retries.clear();
        let all: Vec<UpdateId> = self.operations.keys().copied().collect();
        for uuid in all {
            self.send_operation(now, uuid, out);
        }
    }

    pub(crate) fn operations_due(&mut self, now: Time, out: &mut Out) {
        let due: Vec<UpdateId> = self
            .operation_retries
            .iter()
            .filter(|(_, retry)| retry.due <= now)
            .map(|(uuid, _)| *uuid)
            .collect();
        for uuid in due {
            if let Some(retry) = self.operation_retries.get_mut(&uuid) {
                retry.interval_ms = (retry.interval_ms * 2).min(self.config.limits.update_retry_max_ms);
            }
            self.send_operation(now, uuid, out);
        }
    }

    pub(crate) fn operation_acknowledged(&mut self, uuid: UpdateId, status_uuid: UpdateId, out: &mut Out) {
        let acknowledged =
            self.operations.get(&uuid).is_some_and(|operation| operation.latest.uuid == Some(status_uuid));
        if acknowledged {
            self.operations.remove(&uuid);
            self.operation_retries.remove(&uuid);
            out.write(Write::DeleteOperation(uuid));
        }
    }

    /// The master believes that this operation is here. One we do not have never
    /// arrived, or was acknowledged before; the master asks again if this gets lost.
    pub(crate) fn reconcile_operation(
        &mut self,
        now: Time,
        uuid: UpdateId,
        framework_id: Option<FrameworkId>,
        out: &mut Out,
    ) {
        if self.operations.contains_key(&uuid) {
            self.send_operation(now, uuid, out);
            return;
        }
        let status = OperationStatus {
            operation_id: None,
            state: OperationState::Dropped,
            message: Some("Reconciliation: operation unknown to the agent".to_owned()),
            converted: Resources::new(),
            uuid: Some(UpdateId(self.rng.next_u128())),
            agent_id: self.id.clone(),
            provider: None,
        };
        self.to_master(AgentToMaster::OperationUpdate { uuid, framework_id, status: Box::new(status) }, out);
    }
}
