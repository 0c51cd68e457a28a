//! `Resource`: both forms of reservations in, the form that the reader speaks out.

use mesos_proto::v1::resource::{self, disk_info, reservation_info};
use mesos_proto::v1::value;
use mesos_proto::{ids, v1};
use model::{
    DiskInfo, DiskKind, DiskSource, DiskVolume, Persistence, Principal, Quantity, Ranges, Reservation,
    Resource, ResourceValue, Resources, Role,
};

use super::{Invalid, labels, labels_out};

/// How reservations are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `role` and `reservation`; what is refined cannot be said and is left out.
    Old,
    /// `reservations` alone.
    New,
    /// Both where the old one can say it: for readers of whom nothing is known.
    Both,
}

impl Form {
    /// What a framework understands.
    pub fn of(framework: &model::FrameworkInfo) -> Self {
        match framework.can(model::Capability::ReservationRefinement) {
            true => Self::New,
            false => Self::Old,
        }
    }
}

/// A list of resources as it came.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Incoming {
    pub resources: Resources,
    /// The one role that their `allocation_info` names, if any does.
    pub allocation: Option<Role>,
}

/// Reads a list. An entry that is wrong makes it wrong; so do two roles in `allocation_info`.
pub(crate) fn resources(list: &[v1::Resource]) -> Result<Incoming, Invalid> {
    let mut incoming = Incoming::default();
    for wire in list {
        incoming.resources.add_one(resource(wire)?);
        let role = allocation(wire)?;
        match (&incoming.allocation, role) {
            (_, None) => {}
            (None, role) => incoming.allocation = role,
            (Some(one), Some(other)) if *one == other => {}
            (Some(one), Some(other)) => {
                return Err(Invalid(format!(
                    "The resources have multiple allocation roles ('{one}' and '{other}') but only one \
                     allocation role is allowed"
                )));
            }
        }
    }
    Ok(incoming)
}

/// The sound entries alone, for an order that is refused anyway.
pub(crate) fn resources_as_far_as_sound(list: &[v1::Resource]) -> Resources {
    list.iter().filter_map(|wire| resource(wire).ok()).collect()
}

/// The first role that a list names as its allocation.
pub(crate) fn allocation_role(list: &[v1::Resource]) -> Option<Role> {
    list.iter().find_map(|wire| allocation(wire).ok().flatten())
}

fn allocation(wire: &v1::Resource) -> Result<Option<Role>, Invalid> {
    let named = wire.allocation_info.as_ref().and_then(|info| info.role.as_deref());
    let role = named.map(|role| role_of(&wire.name, role));
    role.transpose()
}

fn role_of(name: &str, role: &str) -> Result<Role, Invalid> {
    Role::new(role).map_err(|error| Invalid(format!("Invalid role '{role}' in resource '{name}': {error}")))
}

/// Reads one resource, by the rules of a sound one.
pub(crate) fn resource(wire: &v1::Resource) -> Result<Resource, Invalid> {
    let name = wire.name.as_str();
    if name.is_empty() {
        return Err(Invalid::new("Empty resource name"));
    }
    let mut resource = Resource::new(name, resource_value(wire)?);
    resource.reservations = reservations(wire)?;
    resource.disk = wire.disk.as_deref().map(|disk| self::disk(name, disk)).transpose()?.map(Box::new);
    resource.revocable = wire.revocable.is_some();
    resource.shared = u32::from(wire.shared.is_some());
    resource.provider = wire.provider_id.as_ref().map(|id| id.value.as_str().into());
    if resource.disk.is_some() && name != "disk" {
        return Err(Invalid(format!("DiskInfo should not be set for {name} resource")));
    }
    if resource.revocable && !resource.reservations.is_empty() {
        return Err(Invalid(format!("Revocable resource '{name}' must not be reserved")));
    }
    if resource.revocable && resource.is_persistent_volume() {
        return Err(Invalid::new("A persistent volume must not be revocable"));
    }
    if resource.is_shared() && !resource.is_persistent_volume() {
        return Err(Invalid::new("Only persistent volumes can be shared"));
    }
    Ok(resource)
}

fn resource_value(wire: &v1::Resource) -> Result<ResourceValue, Invalid> {
    let name = wire.name.as_str();
    let only = |scalar, ranges, set| {
        wire.scalar.is_some() == scalar && wire.ranges.is_some() == ranges && wire.set.is_some() == set
    };
    let kind = v1::value::Type::try_from(wire.r#type);
    match (kind, &wire.scalar, &wire.ranges, &wire.set) {
        (Ok(value::Type::Scalar), Some(scalar), ..) if only(true, false, false) => {
            let value = scalar.value;
            let Some(quantity) = Quantity::from_f64(value) else {
                return Err(Invalid(format!(
                    "Invalid scalar resource: '{name}' has the value {value}; a number of at most {} is allowed",
                    Quantity::MAX
                )));
            };
            if !quantity.is_positive() {
                return Err(Invalid::new("Invalid scalar resource: value <= 0"));
            }
            if name == "gpus" && quantity.milli() % 1000 != 0 {
                return Err(Invalid::new("The 'gpus' resource must be an unsigned integer"));
            }
            Ok(ResourceValue::Scalar(quantity))
        }
        (Ok(value::Type::Ranges), _, Some(ranges), _) if only(false, true, false) => {
            let list: Vec<(u64, u64)> = ranges.range.iter().map(|range| (range.begin, range.end)).collect();
            check_ranges(&list)?;
            Ok(ResourceValue::Ranges(Ranges::new(list)))
        }
        (Ok(value::Type::Set), _, _, Some(set)) if only(false, false, true) => {
            let mut items = set.item.clone();
            items.sort();
            if let Some(twice) = items.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(Invalid(format!("Invalid set resource: duplicated elements ('{}')", twice[0])));
            }
            Ok(ResourceValue::Set(items))
        }
        (Ok(value::Type::Scalar), ..) => Err(Invalid::new("Invalid scalar resource")),
        (Ok(value::Type::Ranges), ..) => Err(Invalid::new("Invalid ranges resource")),
        (Ok(value::Type::Set), ..) => Err(Invalid::new("Invalid set resource")),
        _ => {
            Err(Invalid(format!("Unsupported resource type of '{name}': SCALAR, RANGES and SET are allowed")))
        }
    }
}

fn check_ranges(list: &[(u64, u64)]) -> Result<(), Invalid> {
    if let Some((begin, end)) = list.iter().find(|(begin, end)| begin > end) {
        return Err(Invalid(format!("Invalid ranges resource: begin {begin} is after end {end}")));
    }
    let mut sorted = list.to_vec();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0].1 >= pair[1].0) {
        Some(pair) => Err(Invalid(format!(
            "Invalid ranges resource: overlapping ranges [{}-{}] and [{}-{}]",
            pair[0].0, pair[0].1, pair[1].0, pair[1].1
        ))),
        None => Ok(()),
    }
}

fn reservations(wire: &v1::Resource) -> Result<Vec<Reservation>, Invalid> {
    let new: Vec<Reservation> =
        wire.reservations.iter().map(|info| new_reservation(&wire.name, info)).collect::<Result<_, _>>()?;
    for pair in new.windows(2) {
        let (outer, inner) = (&pair[0], &pair[1]);
        if !inner.dynamic {
            return Err(Invalid::new("A refined reservation must be DYNAMIC"));
        }
        if inner.role == outer.role || !inner.role.may_use(&outer.role) {
            return Err(Invalid(format!(
                "Role '{}' does not refine '{}': it must be a role below it",
                inner.role, outer.role
            )));
        }
    }
    let Some(old) = old_reservation(wire)? else { return Ok(new) };
    match new.as_slice() {
        [] if wire.reservations.is_empty() => Ok(old.into_iter().collect()),
        [only] if old.as_ref() == Some(only) => Ok(new),
        _ => Err(Invalid(format!(
            "Invalid resource format: 'role' and 'reservation' of '{}' say something else than 'reservations'; \
             set the latter alone",
            wire.name
        ))),
    }
}

/// None: the old form is not used. `Some(None)`: it says unreserved.
fn old_reservation(wire: &v1::Resource) -> Result<Option<Option<Reservation>>, Invalid> {
    let role = match wire.role.as_deref() {
        None | Some("*") if wire.reservation.is_some() => {
            return Err(Invalid::new("Invalid reservation: role \"*\" cannot be dynamically reserved"));
        }
        None => return Ok(None),
        // The default, which clients write although they use the new form.
        Some("*") if !wire.reservations.is_empty() => return Ok(None),
        Some("*") => return Ok(Some(None)),
        Some(role) => role_of(&wire.name, role)?,
    };
    let Some(info) = &wire.reservation else {
        return Ok(Some(Some(Reservation { role, dynamic: false, principal: None, labels: Vec::new() })));
    };
    if info.role.is_some() || info.r#type.is_some() {
        return Err(Invalid::new(
            "Invalid resource format: 'role' and 'type' of 'Resource.reservation' must not be set",
        ));
    }
    let principal = info.principal.as_deref().map(Principal::new);
    Ok(Some(Some(Reservation { role, dynamic: true, principal, labels: labels(info.labels.as_ref()) })))
}

fn new_reservation(name: &str, info: &resource::ReservationInfo) -> Result<Reservation, Invalid> {
    let kind = info.r#type.map(reservation_info::Type::try_from);
    let dynamic = match kind {
        Some(Ok(reservation_info::Type::Dynamic)) => true,
        Some(Ok(reservation_info::Type::Static)) => false,
        _ => {
            return Err(Invalid(format!(
                "Invalid reservation of '{name}': 'type' must be STATIC or DYNAMIC"
            )));
        }
    };
    let Some(role) = info.role.as_deref() else {
        return Err(Invalid(format!("Invalid reservation of '{name}': 'role' must be set")));
    };
    if role == "*" {
        return Err(Invalid::new("Invalid reservation: role \"*\" cannot be reserved"));
    }
    if !dynamic && (info.principal.is_some() || info.labels.is_some()) {
        return Err(Invalid::new("Invalid reservation: a STATIC one has neither 'principal' nor 'labels'"));
    }
    Ok(Reservation {
        role: role_of(name, role)?,
        dynamic,
        principal: info.principal.as_deref().map(Principal::new),
        labels: labels(info.labels.as_ref()),
    })
}

fn disk(name: &str, wire: &resource::DiskInfo) -> Result<DiskInfo, Invalid> {
    let source = wire.source.as_ref().map(|source| disk_source(name, source)).transpose()?;
    let persistence = wire.persistence.as_ref().map(|persistence| Persistence {
        id: persistence.id.clone(),
        principal: persistence.principal.as_deref().map(Principal::new),
    });
    if let Some(persistence) = &persistence {
        ids::check(&persistence.id).map_err(|error| Invalid(format!("Invalid persistence ID: {error}")))?;
        let Some(volume) = &wire.volume else {
            return Err(Invalid::new("Expecting 'volume' to be set for persistent volume"));
        };
        if volume.image.is_some() || volume.source.is_some() {
            return Err(Invalid::new("Expecting neither 'image' nor 'source' in the 'volume' of a disk"));
        }
    } else if wire.volume.is_some() {
        return Err(Invalid::new("Non-persistent volume not supported"));
    }
    let volume = wire.volume.as_ref().map(|volume| DiskVolume {
        container_path: volume.container_path.clone(),
        read_only: volume.mode == v1::volume::Mode::Ro as i32,
        host_path: volume.host_path.clone(),
    });
    Ok(DiskInfo { source, persistence, volume })
}

pub(crate) fn disk_kind(number: i32) -> Option<DiskKind> {
    match disk_info::source::Type::try_from(number) {
        Ok(disk_info::source::Type::Path) => Some(DiskKind::Path),
        Ok(disk_info::source::Type::Mount) => Some(DiskKind::Mount),
        Ok(disk_info::source::Type::Block) => Some(DiskKind::Block),
        Ok(disk_info::source::Type::Raw) => Some(DiskKind::Raw),
        _ => None,
    }
}

pub(crate) fn disk_kind_out(kind: DiskKind) -> disk_info::source::Type {
    match kind {
        DiskKind::Path => disk_info::source::Type::Path,
        DiskKind::Mount => disk_info::source::Type::Mount,
        DiskKind::Block => disk_info::source::Type::Block,
        DiskKind::Raw => disk_info::source::Type::Raw,
    }
}

fn disk_source(name: &str, wire: &disk_info::Source) -> Result<DiskSource, Invalid> {
    let Some(kind) = disk_kind(wire.r#type) else {
        return Err(Invalid(format!("Unsupported 'DiskInfo.Source.Type' of '{name}'")));
    };
    let (path, mount) = (wire.path.as_ref(), wire.mount.as_ref());
    match kind {
        DiskKind::Mount if path.is_some() => {
            return Err(Invalid::new("'DiskInfo.Source' of type MOUNT must not have 'path'"));
        }
        DiskKind::Path if mount.is_some() => {
            return Err(Invalid::new("'DiskInfo.Source' of type PATH must not have 'mount'"));
        }
        _ => {}
    }
    let root = path.and_then(|path| path.root.clone()).or_else(|| mount.and_then(|mount| mount.root.clone()));
    Ok(DiskSource {
        kind,
        root,
        id: wire.id.clone(),
        profile: wire.profile.clone(),
        vendor: wire.vendor.clone(),
        metadata: labels(wire.metadata.as_ref()),
    })
}

/// Writes a bag, each entry with the role it is allocated to. A shared volume is
/// written as often as it is held.
pub(crate) fn resources_out(
    resources: &Resources,
    form: Form,
    allocation: Option<&Role>,
) -> Vec<v1::Resource> {
    let mut list = Vec::new();
    for resource in resources.iter() {
        if form == Form::Old && resource.is_refined() {
            continue;
        }
        let wire = resource_out(resource, form, allocation);
        for _ in 1..resource.shared {
            list.push(wire.clone());
        }
        list.push(wire);
    }
    list
}

/// Writes one resource. A refined one has no old form and comes in the new one.
pub(crate) fn resource_out(resource: &Resource, form: Form, allocation: Option<&Role>) -> v1::Resource {
    let mut wire = v1::Resource {
        name: resource.name.as_str().to_owned(),
        disk: resource.disk.as_deref().map(|disk| Box::new(disk_out(disk))),
        revocable: resource.revocable.then(resource::RevocableInfo::default),
        shared: resource.is_shared().then(resource::SharedInfo::default),
        allocation_info: allocation.map(allocation_out),
        provider_id: resource.provider.as_deref().map(|id| v1::ResourceProviderId { value: id.to_owned() }),
        ..v1::Resource::default()
    };
    match &resource.value {
        ResourceValue::Scalar(quantity) => {
            wire.r#type = value::Type::Scalar as i32;
            wire.scalar = Some(value::Scalar { value: quantity.to_f64() });
        }
        ResourceValue::Ranges(ranges) => {
            wire.r#type = value::Type::Ranges as i32;
            wire.ranges = Some(ranges_out(ranges));
        }
        ResourceValue::Set(items) => {
            wire.r#type = value::Type::Set as i32;
            wire.set = Some(value::Set { item: items.clone() });
        }
    }
    if form != Form::New {
        match resource.reservations.as_slice() {
            [] => wire.role = Some("*".to_owned()),
            [only] => {
                wire.role = Some(only.role.as_str().to_owned());
                wire.reservation = only.dynamic.then(|| reservation_details(only));
            }
            _ => {}
        }
    }
    if form != Form::Old || resource.is_refined() {
        wire.reservations = resource.reservations.iter().map(reservation_out).collect();
    }
    wire
}

pub(crate) fn allocation_out(role: &Role) -> resource::AllocationInfo {
    resource::AllocationInfo { role: Some(role.as_str().to_owned()) }
}

pub(crate) fn ranges_out(ranges: &Ranges) -> value::Ranges {
    let range = |(begin, end): &(u64, u64)| value::Range { begin: *begin, end: *end };
    value::Ranges { range: ranges.as_slice().iter().map(range).collect() }
}

pub(crate) fn reservation_out(reservation: &Reservation) -> resource::ReservationInfo {
    let kind =
        if reservation.dynamic { reservation_info::Type::Dynamic } else { reservation_info::Type::Static };
    resource::ReservationInfo {
        r#type: Some(kind as i32),
        role: Some(reservation.role.as_str().to_owned()),
        ..reservation_details(reservation)
    }
}

fn reservation_details(reservation: &Reservation) -> resource::ReservationInfo {
    resource::ReservationInfo {
        principal: reservation.principal.as_ref().map(|principal| principal.as_str().to_owned()),
        labels: labels_out(&reservation.labels),
        ..resource::ReservationInfo::default()
    }
}

fn disk_out(disk: &DiskInfo) -> resource::DiskInfo {
    let persistence = disk.persistence.as_ref().map(|persistence| disk_info::Persistence {
        id: persistence.id.clone(),
        principal: persistence.principal.as_ref().map(|principal| principal.as_str().to_owned()),
    });
    let volume = disk.volume.as_ref().map(|volume| v1::Volume {
        container_path: volume.container_path.clone(),
        host_path: volume.host_path.clone(),
        mode: if volume.read_only { v1::volume::Mode::Ro } else { v1::volume::Mode::Rw } as i32,
        ..v1::Volume::default()
    });
    resource::DiskInfo { persistence, volume, source: disk.source.as_ref().map(disk_source_out) }
}

fn disk_source_out(source: &DiskSource) -> disk_info::Source {
    let root = || source.root.clone();
    disk_info::Source {
        r#type: disk_kind_out(source.kind) as i32,
        path: (source.kind == DiskKind::Path).then(|| disk_info::source::Path { root: root() }),
        mount: (source.kind == DiskKind::Mount).then(|| disk_info::source::Mount { root: root() }),
        id: source.id.clone(),
        metadata: labels_out(&source.metadata),
        profile: source.profile.clone(),
        vendor: source.vendor.clone(),
    }
}
