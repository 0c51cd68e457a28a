//! Resources and disks.
//!
//! Putting a list in order compares its entries with each other, so what one
//! list may hold is limited: no bytes keep a master busy for long.

use std::sync::Arc;

use model::{
    DiskInfo, DiskKind, DiskSource, DiskVolume, Persistence, Principal, Quantity, Ranges, Reservation,
    Resource, ResourceValue, Resources,
};

use super::{all, labels, number, role};
use crate::DecodeError;
use crate::wire;
use crate::wire::resource;

/// Entries of one list of resources.
const RESOURCES_MAX: usize = 4_096;
/// Entries of one list that merge with another one. A list in order has none.
const MERGES_MAX: usize = 64;
/// Ranges of one value.
const RANGES_MAX: usize = 32_768;
/// Items of one set.
const SET_ITEMS_MAX: usize = 4_096;

pub(super) fn resources(field: &str, resources: Vec<wire::Resource>) -> Result<Resources, DecodeError> {
    if resources.len() > RESOURCES_MAX {
        return Err(DecodeError::out_of_range(field, resources.len(), "a list of at most 4096 entries"));
    }
    let mut list = Resources::new();
    let mut merges = 0;
    for resource in all(field, resources, resource)? {
        let before = list.iter().count();
        list.add_one(resource);
        // An entry of nothing counts too: a list in order has none of these either.
        merges += usize::from(list.iter().count() == before);
        if merges > MERGES_MAX {
            return Err(DecodeError::out_of_range(field, list, "a list whose entries differ"));
        }
    }
    Ok(list)
}

pub(super) fn resource_list(list: wire::ResourceList) -> Result<Resources, DecodeError> {
    resources("resources", list.resources)
}

pub(super) fn resource(resource: wire::Resource) -> Result<Resource, DecodeError> {
    if resource.name.is_empty() {
        return Err(DecodeError::missing("name"));
    }
    let value = match resource.value {
        Some(resource::Value::ScalarMilli(milli)) => ResourceValue::Scalar(Quantity::from_milli(milli)),
        Some(resource::Value::Ranges(value)) => ResourceValue::Ranges(ranges(value)?),
        Some(resource::Value::Set(set)) => ResourceValue::Set(items(set)?),
        None => return Err(DecodeError::unknown("value", "no case")),
    };
    Ok(Resource {
        name: resource.name.into(),
        value,
        reservations: all("reservations", resource.reservations, reservation)?,
        disk: match resource.disk {
            Some(disk) => Some(Box::new(disk_info(*disk).map_err(|error| error.inside("disk"))?)),
            None => None,
        },
        revocable: resource.revocable,
        shared: resource.shared,
        provider: resource.provider.map(Arc::from),
    })
}

fn reservation(reservation: wire::Reservation) -> Result<Reservation, DecodeError> {
    Ok(Reservation {
        role: role("role", reservation.role)?,
        dynamic: reservation.dynamic,
        principal: reservation.principal.map(Principal::from),
        labels: labels(reservation.labels),
    })
}

pub(super) fn ranges(ranges: wire::Ranges) -> Result<Ranges, DecodeError> {
    if ranges.ranges.len() > RANGES_MAX {
        return Err(DecodeError::out_of_range("ranges", ranges.ranges.len(), "at most 32768 ranges"));
    }
    for range in &ranges.ranges {
        if range.begin > range.end {
            let shown = (range.begin, range.end);
            return Err(DecodeError::out_of_range("ranges", shown, "a begin that is not after the end"));
        }
    }
    Ok(Ranges::new(ranges.ranges.into_iter().map(|range| (range.begin, range.end))))
}

pub(super) fn items(set: wire::Set) -> Result<Vec<String>, DecodeError> {
    if set.items.len() > SET_ITEMS_MAX {
        return Err(DecodeError::out_of_range("set", set.items.len(), "at most 4096 items"));
    }
    Ok(set.items)
}

fn disk_info(disk: wire::DiskInfo) -> Result<DiskInfo, DecodeError> {
    Ok(DiskInfo {
        source: disk.source.map(disk_source).transpose().map_err(|error| error.inside("source"))?,
        persistence: disk.persistence.map(persistence),
        volume: disk.volume.map(disk_volume),
    })
}

fn disk_source(source: wire::DiskSource) -> Result<DiskSource, DecodeError> {
    Ok(DiskSource {
        kind: number::<DiskKind>("kind", source.kind)?,
        root: source.root,
        id: source.id,
        profile: source.profile,
        vendor: source.vendor,
        metadata: labels(source.metadata),
    })
}

fn persistence(persistence: wire::Persistence) -> Persistence {
    Persistence { id: persistence.id, principal: persistence.principal.map(Principal::from) }
}

fn disk_volume(volume: wire::DiskVolume) -> DiskVolume {
    DiskVolume {
        container_path: volume.container_path,
        read_only: volume.read_only,
        host_path: volume.host_path,
    }
}
