//! Resources and disks.

use model::{
    DiskInfo, DiskSource, DiskVolume, Persistence, Quantity, Ranges, Reservation, Resource, ResourceValue,
    Resources,
};

use super::labels;
use crate::numbers::Numbered;
use crate::wire;
use crate::wire::resource;

pub(super) fn resources(resources: &Resources) -> Vec<wire::Resource> {
    resources.iter().map(resource).collect()
}

pub(super) fn resource_list(list: &Resources) -> wire::ResourceList {
    wire::ResourceList { resources: resources(list) }
}

pub(super) fn resource(resource: &Resource) -> wire::Resource {
    let value = match &resource.value {
        ResourceValue::Scalar(quantity) => resource::Value::ScalarMilli(Quantity::milli(*quantity)),
        ResourceValue::Ranges(value) => resource::Value::Ranges(ranges(value)),
        ResourceValue::Set(items) => resource::Value::Set(wire::Set { items: items.clone() }),
    };
    wire::Resource {
        name: resource.name.to_string(),
        value: Some(value),
        reservations: resource.reservations.iter().map(reservation).collect(),
        disk: resource.disk.as_deref().map(|disk| Box::new(disk_info(disk))),
        revocable: resource.revocable,
        shared: resource.shared,
        provider: resource.provider.as_ref().map(ToString::to_string),
    }
}

fn reservation(reservation: &Reservation) -> wire::Reservation {
    wire::Reservation {
        role: reservation.role.to_string(),
        dynamic: reservation.dynamic,
        principal: reservation.principal.as_ref().map(ToString::to_string),
        labels: labels(reservation.labels.clone()),
    }
}

pub(super) fn ranges(ranges: &Ranges) -> wire::Ranges {
    let ranges =
        ranges.as_slice().iter().map(|(begin, end)| wire::Range { begin: *begin, end: *end }).collect();
    wire::Ranges { ranges }
}

fn disk_info(disk: &DiskInfo) -> wire::DiskInfo {
    wire::DiskInfo {
        source: disk.source.clone().map(disk_source),
        persistence: disk.persistence.clone().map(persistence),
        volume: disk.volume.clone().map(disk_volume),
    }
}

fn disk_source(source: DiskSource) -> wire::DiskSource {
    wire::DiskSource {
        kind: source.kind.number(),
        root: source.root,
        id: source.id,
        profile: source.profile,
        vendor: source.vendor,
        metadata: labels(source.metadata),
    }
}

fn persistence(persistence: Persistence) -> wire::Persistence {
    wire::Persistence {
        id: persistence.id,
        principal: persistence.principal.map(|principal| principal.to_string()),
    }
}

fn disk_volume(volume: DiskVolume) -> wire::DiskVolume {
    wire::DiskVolume {
        container_path: volume.container_path,
        read_only: volume.read_only,
        host_path: volume.host_path,
    }
}
