//! The resource algebra: fixed-point scalars, ranges, sets, reservations, disks.
//!
//! Invariants: a [`Quantity`] is an exact number of thousandths; [`Ranges`] are
//! sorted, disjoint and never adjacent; [`Resources`] holds at most one entry per
//! identity (name, kind of value, reservations, disk, provider, revocable, shared)
//! and never an empty one, so that equality of values is equality of meaning; only
//! what never merges (volumes, mount disks) may stand there twice. Rules: `apache/mesos`
//! `src/common/{values,resources}.cpp`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{InvalidRole, Principal, Role};

mod disk;
mod name;
mod quantity;
mod ranges;

pub use disk::{DiskInfo, DiskKind, DiskSource, DiskVolume, Persistence};
pub use name::ResourceName;
pub use quantity::Quantity;
pub use ranges::Ranges;

/// One level of a reservation stack.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reservation {
    pub role: Role,
    pub dynamic: bool,
    #[serde(default)]
    pub principal: Option<Principal>,
    #[serde(default)]
    pub labels: Vec<(String, Option<String>)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ResourceValue {
    Scalar(Quantity),
    Ranges(Ranges),
    Set(Vec<String>),
}

impl ResourceValue {
    fn is_empty(&self) -> bool {
        match self {
            Self::Scalar(quantity) => *quantity == Quantity::ZERO,
            Self::Ranges(ranges) => ranges.is_empty(),
            Self::Set(items) => items.is_empty(),
        }
    }

    fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// A named amount with its reservation stack (empty: unreserved).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    pub name: ResourceName,
    pub value: ResourceValue,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reservations: Vec<Reservation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Box<DiskInfo>>,
    /// May be taken back at any moment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revocable: bool,
    /// 0: for one user at a time; else how many copies of a shared volume are meant.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shared: u32,
    /// The resource provider it comes from; none: the agent itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Arc<str>>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Resource {
    /// An unreserved amount of the agent itself.
    pub fn new(name: &str, value: ResourceValue) -> Self {
        Self {
            name: name.into(),
            value,
            reservations: Vec::new(),
            disk: None,
            revocable: false,
            shared: 0,
            provider: None,
        }
    }

    pub fn scalar(name: &str, quantity: Quantity) -> Self {
        Self::new(name, ResourceValue::Scalar(quantity))
    }

    pub fn ranges(name: &str, ranges: Ranges) -> Self {
        Self::new(name, ResourceValue::Ranges(ranges))
    }

    /// The role it belongs to: of the innermost reservation, or `*`.
    pub fn role(&self) -> Role {
        self.reservations.last().map_or_else(Role::any, |reservation| reservation.role.clone())
    }

    pub fn is_unreserved(&self) -> bool {
        self.reservations.is_empty()
    }

    /// The innermost reservation was made by a framework or an operator.
    pub fn is_dynamically_reserved(&self) -> bool {
        self.reservations.last().is_some_and(|reservation| reservation.dynamic)
    }

    /// Reserved more than once, for a role and then for one below it.
    pub fn is_refined(&self) -> bool {
        self.reservations.len() > 1
    }

    pub fn is_shared(&self) -> bool {
        self.shared > 0
    }

    pub fn persistence(&self) -> Option<&Persistence> {
        self.disk.as_ref().and_then(|disk| disk.persistence.as_ref())
    }

    pub fn disk_source(&self) -> Option<&DiskSource> {
        self.disk.as_ref().and_then(|disk| disk.source.as_ref())
    }

    pub fn is_persistent_volume(&self) -> bool {
        self.persistence().is_some()
    }

    /// The amount of a scalar; zero for other kinds.
    pub fn quantity(&self) -> Quantity {
        match self.value {
            ResourceValue::Scalar(quantity) => quantity,
            _ => Quantity::ZERO,
        }
    }

    /// The same amount with one more reservation on top.
    pub fn reserved(mut self, reservation: Reservation) -> Self {
        self.reservations.push(reservation);
        self
    }

    /// The same amount with its innermost reservation taken off.
    pub fn unreserved_once(mut self) -> Self {
        self.reservations.pop();
        self
    }

    /// Whole or not at all: parts of it are never given out.
    pub fn is_indivisible(&self) -> bool {
        let source = self.disk_source();
        self.is_persistent_volume()
            || source.is_some_and(|source| {
                source.id.is_some() || matches!(source.kind, DiskKind::Mount | DiskKind::Block)
            })
    }

    /// Where a volume is mounted, and who made it, is how it is used, not what it is.
    fn same_disk(&self, other: &Self) -> bool {
        self.disk_source() == other.disk_source()
            && self.persistence().map(|volume| &volume.id) == other.persistence().map(|volume| &volume.id)
    }

    fn same_identity(&self, other: &Self) -> bool {
        self.name == other.name
            && self.value.same_kind(&other.value)
            && self.reservations == other.reservations
            && self.same_disk(other)
            && self.revocable == other.revocable
            && self.is_shared() == other.is_shared()
            && self.provider == other.provider
            // An indivisible one is equal as a whole or another one.
            && (!self.is_indivisible() || self.value == other.value)
    }
}

/// Why a text or a list is no resource specification.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidResources {
    #[error("{text:?} is not name:value; write for instance cpus:2;mem:1024;ports:[31000-32000]")]
    Form { text: String },
    #[error("resource {name}: {value:?} is not a number above 0, a range like [1-5] or a set like {{a,b}}")]
    Value { name: String, value: String },
    #[error("invalid scalar resource {name}: value {value} is not above 0")]
    NotPositive { name: String, value: Quantity },
    #[error("gpus must be whole, not {value}")]
    FractionalGpus { value: Quantity },
    #[error("resource {name} is reserved for an unusable role")]
    Role { name: String, source: InvalidRole },
}

/// A normalised bag of resources; the order of its entries has no meaning.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Resources(Vec<Resource>);

impl PartialEq for Resources {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().all(|mine| other.0.contains(mine))
    }
}

impl Resources {
    /// Longest text that [`Self::parse`] reads, in bytes.
    pub const TEXT_LENGTH_MAX: usize = 64 * 1024;

    pub fn new() -> Self {
        Self(Vec::new())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.0.iter()
    }

    pub fn add_one(&mut self, resource: Resource) {
        if resource.value.is_empty() {
            return;
        }
        let apart = resource.is_indivisible() && !resource.is_shared();
        let mine = self.0.iter_mut().find(|mine| !apart && mine.same_identity(&resource));
        let Some(mine) = mine else {
            self.0.push(resource);
            return;
        };
        if resource.is_shared() {
            mine.shared = mine.shared.saturating_add(resource.shared);
            return;
        }
        match (&mut mine.value, resource.value) {
            (ResourceValue::Scalar(a), ResourceValue::Scalar(b)) => *a = a.saturating_add(b),
            (ResourceValue::Ranges(a), ResourceValue::Ranges(b)) => *a = a.union(&b),
            (ResourceValue::Set(a), ResourceValue::Set(b)) => {
                for item in b {
                    if !a.contains(&item) {
                        a.push(item);
                    }
                }
                a.sort();
            }
            _ => debug_assert!(false, "same identity means same kind"),
        }
    }

    pub fn add(&mut self, other: &Resources) {
        for resource in &other.0 {
            self.add_one(resource.clone());
        }
    }

    pub fn plus(&self, other: &Resources) -> Self {
        let mut sum = self.clone();
        sum.add(other);
        sum
    }

    /// Takes `other` away, entry by entry; what is not there is ignored, and a
    /// scalar never goes below 0.
    pub fn subtract(&mut self, other: &Resources) {
        for resource in &other.0 {
            let Some(position) = self.0.iter().position(|mine| mine.same_identity(resource)) else {
                continue;
            };
            let mine = &mut self.0[position];
            if resource.is_shared() {
                mine.shared = mine.shared.saturating_sub(resource.shared);
                if mine.shared == 0 {
                    self.0.remove(position);
                }
                continue;
            }
            if resource.is_indivisible() {
                self.0.remove(position);
                continue;
            }
            match (&mut mine.value, &resource.value) {
                (ResourceValue::Scalar(a), ResourceValue::Scalar(b)) => {
                    *a = a.saturating_sub(*b).max(Quantity::ZERO);
                }
                (ResourceValue::Ranges(a), ResourceValue::Ranges(b)) => *a = a.subtract(b),
                (ResourceValue::Set(a), ResourceValue::Set(b)) => a.retain(|item| !b.contains(item)),
                _ => debug_assert!(false, "same identity means same kind"),
            }
            if mine.value.is_empty() {
                self.0.remove(position);
            }
        }
    }

    pub fn minus(&self, other: &Resources) -> Self {
        let mut rest = self.clone();
        rest.subtract(other);
        rest
    }

    pub fn contains(&self, other: &Resources) -> bool {
        other.0.iter().enumerate().all(|(index, theirs)| {
            if theirs.is_shared() {
                return self.0.iter().any(|mine| mine.same_identity(theirs) && mine.shared >= theirs.shared);
            }
            if theirs.is_indivisible() {
                // Equal ones stand there as often as there are.
                let wanted = other.0[..=index].iter().filter(|same| same.same_identity(theirs)).count();
                return self.0.iter().filter(|mine| mine.same_identity(theirs)).count() >= wanted;
            }
            self.0.iter().filter(|mine| mine.same_identity(theirs)).any(|mine| {
                match (&mine.value, &theirs.value) {
                    (ResourceValue::Scalar(a), ResourceValue::Scalar(b)) => a >= b,
                    (ResourceValue::Ranges(a), ResourceValue::Ranges(b)) => a.contains(b),
                    (ResourceValue::Set(a), ResourceValue::Set(b)) => b.iter().all(|item| a.contains(item)),
                    _ => false,
                }
            })
        })
    }

    /// The sum of a scalar over all reservations.
    pub fn scalar(&self, name: &str) -> Quantity {
        self.0.iter().filter(|r| r.name == *name).fold(Quantity::ZERO, |sum, r| match &r.value {
            ResourceValue::Scalar(quantity) => sum.saturating_add(*quantity),
            _ => sum,
        })
    }

    /// The union of ranges over all reservations.
    pub fn ranges(&self, name: &str) -> Ranges {
        self.0.iter().filter(|r| r.name == *name).fold(Ranges::default(), |sum, r| match &r.value {
            ResourceValue::Ranges(ranges) => sum.union(ranges),
            _ => sum,
        })
    }

    pub fn cpus(&self) -> Quantity {
        self.scalar("cpus")
    }

    /// MB.
    pub fn mem(&self) -> Quantity {
        self.scalar("mem")
    }

    /// MB.
    pub fn disk(&self) -> Quantity {
        self.scalar("disk")
    }

    pub fn ports(&self) -> Ranges {
        self.ranges("ports")
    }

    pub fn unreserved(&self) -> Self {
        self.filter(|resource| resource.reservations.is_empty())
    }

    /// Exactly this role's own (for `*`: the unreserved).
    pub fn of_role(&self, role: &Role) -> Self {
        self.filter(|resource| resource.role() == *role)
    }

    /// What may be offered to `role`: unreserved, its own and its ancestors' reservations.
    pub fn usable_by(&self, role: &Role) -> Self {
        self.filter(|resource| role.may_use(&resource.role()))
    }

    /// Without what may be taken back at any moment.
    pub fn nonrevocable(&self) -> Self {
        self.filter(|resource| !resource.revocable)
    }

    pub fn persistent_volumes(&self) -> Self {
        self.filter(Resource::is_persistent_volume)
    }

    /// Amounts by name, whatever the reservation: what shares and quotas count.
    pub fn quantities(&self) -> BTreeMap<ResourceName, Quantity> {
        let mut sums = BTreeMap::new();
        for resource in &self.0 {
            if let ResourceValue::Scalar(quantity) = resource.value {
                let sum: &mut Quantity = sums.entry(resource.name.clone()).or_default();
                *sum = sum.saturating_add(quantity);
            }
        }
        sums
    }

    pub fn filter(&self, keep: impl Fn(&Resource) -> bool) -> Self {
        Self(self.0.iter().filter(|resource| keep(resource)).cloned().collect())
    }

    /// Names of the roles that have reservations here.
    pub fn reserved_roles(&self) -> Vec<Role> {
        let mut roles: Vec<Role> =
            self.0.iter().filter(|r| !r.reservations.is_empty()).map(Resource::role).collect();
        roles.sort();
        roles.dedup();
        roles
    }

    /// Reads `name[(role)]:value` joined by `;`. `default_role` applies where no
    /// role is given.
    pub fn parse(text: &str, default_role: &Role) -> Result<Self, InvalidResources> {
        let mut resources = Self::new();
        if text.len() > Self::TEXT_LENGTH_MAX {
            return Err(InvalidResources::Form { text: text.chars().take(80).collect() });
        }
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let form = || InvalidResources::Form { text: part.chars().take(80).collect() };
            let (head, value) = part.split_once(':').ok_or_else(form)?;
            let (name, role) = match head.trim().split_once('(') {
                Some((name, rest)) => {
                    let role = rest.trim_end().strip_suffix(')').ok_or_else(form)?;
                    let role = Role::new(role.trim())
                        .map_err(|source| InvalidResources::Role { name: name.to_owned(), source })?;
                    (name.trim(), role)
                }
                None => (head.trim(), default_role.clone()),
            };
            if name.is_empty() {
                return Err(form());
            }
            let value = parse_value(name, value.trim())?;
            let mut resource = Resource::new(name, value);
            if !role.is_any() {
                resource = resource.reserved(Reservation {
                    role,
                    dynamic: false,
                    principal: None,
                    labels: Vec::new(),
                });
            }
            resources.add_one(resource);
        }
        Ok(resources)
    }
}

fn parse_value(name: &str, text: &str) -> Result<ResourceValue, InvalidResources> {
    let bad = || InvalidResources::Value { name: name.to_owned(), value: text.chars().take(80).collect() };
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let mut ranges = Vec::new();
        for item in inner.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (begin, end) = item.split_once('-').ok_or_else(bad)?;
            let begin: u64 = begin.trim().parse().map_err(|_| bad())?;
            let end: u64 = end.trim().parse().map_err(|_| bad())?;
            if begin > end {
                return Err(bad());
            }
            ranges.push((begin, end));
        }
        return Ok(ResourceValue::Ranges(Ranges::new(ranges)));
    }
    if let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let mut items: Vec<String> =
            inner.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect();
        items.sort();
        items.dedup();
        return Ok(ResourceValue::Set(items));
    }
    let number: f64 = text.parse().map_err(|_| bad())?;
    let quantity = Quantity::from_f64(number).ok_or_else(bad)?;
    if !quantity.is_positive() {
        return Err(InvalidResources::NotPositive { name: name.to_owned(), value: quantity });
    }
    if name == "gpus" && quantity.milli() % 1000 != 0 {
        return Err(InvalidResources::FractionalGpus { value: quantity });
    }
    Ok(ResourceValue::Scalar(quantity))
}

impl FromIterator<Resource> for Resources {
    fn from_iter<I: IntoIterator<Item = Resource>>(iter: I) -> Self {
        let mut resources = Self::new();
        for resource in iter {
            resources.add_one(resource);
        }
        resources
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, resource) in self.0.iter().enumerate() {
            let role = resource.role();
            write!(f, "{}{}({role})", if i == 0 { "" } else { "; " }, resource.name)?;
            if let Some(persistence) = resource.persistence() {
                write!(f, "[{}]", persistence.id)?;
            } else if let Some(root) = resource.disk_source().and_then(|source| source.root.as_ref()) {
                write!(f, "[{root}]")?;
            }
            if resource.revocable {
                f.write_str("{REV}")?;
            }
            if resource.is_shared() {
                f.write_str("<SHARED>")?;
            }
            f.write_str(":")?;
            match &resource.value {
                ResourceValue::Scalar(quantity) => write!(f, "{quantity}")?,
                ResourceValue::Ranges(ranges) => write!(f, "{ranges}")?,
                ResourceValue::Set(items) => write!(f, "{{{}}}", items.join(", "))?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Resources {
        Resources::parse(text, &Role::any()).unwrap()
    }

    #[test]
    fn tenths_add_up() {
        let mut sum = Resources::new();
        for _ in 0..10 {
            sum.add(&parse("cpus:0.1"));
        }
        assert_eq!(sum, parse("cpus:1"));
    }

    #[test]
    fn ranges_coalesce_and_split() {
        assert_eq!(Ranges::new([(1, 3), (4, 5)]).to_string(), "[1-5]");
        let cut = Ranges::new([(1, 10)]).subtract(&Ranges::new([(4, 6)]));
        assert_eq!(cut.to_string(), "[1-3, 7-10]");
        assert_eq!((cut.count(), cut.nth(3), cut.nth(7)), (7, Some(7), None));
    }

    #[test]
    fn nonsense_is_refused_with_the_value() {
        for text in [
            "cpus",
            "cpus:0",
            "cpus:-1",
            "cpus:1e308",
            "cpus:NaN",
            "ports:[5-1]",
            "gpus:0.5",
            "cpus(a//b):1",
            ":1",
        ] {
            assert!(Resources::parse(text, &Role::any()).is_err(), "{text:?}");
        }
        let error = Resources::parse("cpus:abc", &Role::any()).unwrap_err().to_string();
        assert!(error.contains("abc") && error.contains("cpus"), "{error}");
    }

    #[test]
    fn reserved_and_unreserved_do_not_merge() {
        let mixed = parse("cpus:1;cpus(slave_public):2");
        assert_eq!(mixed.iter().count(), 2);
        assert_eq!(mixed.cpus(), Quantity::from_units(3));
        assert_eq!(mixed.unreserved(), parse("cpus:1"));
        assert_eq!(mixed.of_role(&Role::new("slave_public").unwrap()).cpus(), Quantity::from_units(2));
        assert!(!mixed.contains(&parse("cpus:2")));
    }

    #[test]
    fn order_has_no_meaning() {
        assert_eq!(parse("cpus:1;mem:2"), parse("mem:2;cpus:1"));
        assert_ne!(parse("cpus:1;mem:2"), parse("mem:2;cpus:2"));
    }

    #[test]
    fn quantities_print_without_trailing_zeros() {
        for (milli, text) in [(1500, "1.5"), (1, "0.001"), (2000, "2"), (-500, "-0.5"), (1010, "1.01")] {
            assert_eq!(Quantity::from_milli(milli).to_string(), text);
        }
        assert_eq!(Quantity::from_f64(0.0005), Some(Quantity::from_milli(1)));
        assert_eq!(Quantity::from_f64(f64::INFINITY), None);
    }

    #[test]
    fn a_volume_is_the_same_wherever_it_is_mounted() {
        let volume = |path: &str| {
            let persistence = Persistence { id: "v1".to_owned(), principal: None };
            let volume = DiskVolume { container_path: path.to_owned(), read_only: false, host_path: None };
            let disk = DiskInfo { source: None, persistence: Some(persistence), volume: Some(volume) };
            let disk = Some(Box::new(disk));
            Resources::from_iter([Resource { disk, ..Resource::scalar("disk", Quantity::from_units(10)) }])
        };
        assert!(volume("a").contains(&volume("b")));
        assert!(volume("a").minus(&volume("b")).is_empty());
        assert!(!volume("a").contains(&parse("disk:10")));
    }

    fn any_resources() -> impl Strategy<Value = Resources> {
        let ranges = prop::collection::vec((0_u64..60, 0_u64..8), 0..4);
        (0_i64..5000, 0_i64..5000, ranges).prop_map(|(cpus, mem, ranges)| {
            Resources::from_iter([
                Resource::scalar("cpus", Quantity::from_milli(cpus)),
                Resource::scalar("mem", Quantity::from_milli(mem)),
                Resource::ranges("ports", Ranges::new(ranges.into_iter().map(|(b, l)| (b, b + l)))),
            ])
        })
    }

    proptest! {
        #[test]
        fn what_is_contained_can_be_taken_and_given_back(a in any_resources(), b in any_resources()) {
            let sum = a.plus(&b);
            prop_assert!(sum.contains(&a) && sum.contains(&b));
            if a.contains(&b) {
                let restored = a.minus(&b).plus(&b);
                prop_assert!(restored.contains(&a) && a.contains(&restored));
            }
        }

        #[test]
        fn stored_form_round_trips(a in any_resources()) {
            let text = serde_json::to_string(&a).unwrap();
            prop_assert_eq!(serde_json::from_str::<Resources>(&text).unwrap(), a);
        }
    }
}
