//! The resource algebra: fixed-point scalars, ranges, sets, reservations.
//!
//! Invariants: a [`Quantity`] is an exact number of thousandths; [`Ranges`] are
//! sorted, disjoint and never adjacent; [`Resources`] holds at most one entry per
//! identity (name, kind of value, reservations) and never an empty one, so that
//! equality of values is equality of meaning. Rules: `apache/mesos`
//! `src/common/{values,resources}.cpp`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{InvalidRole, Principal, Role};

/// A fixed-point number with three decimals.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantity(i64);

impl Quantity {
    pub const ZERO: Quantity = Quantity(0);
    /// Largest magnitude accepted from outside: 10^12 units.
    pub const MAX: Quantity = Quantity(1_000_000_000_000_000);

    pub const fn from_milli(milli: i64) -> Self {
        Self(milli)
    }

    pub fn from_units(units: u32) -> Self {
        Self(i64::from(units) * 1000)
    }

    /// Rounds half away from zero; `None` when not finite or beyond [`Self::MAX`].
    pub fn from_f64(value: f64) -> Option<Self> {
        let milli = (value * 1000.0).round();
        // MAX is below 2^53, so the comparison and the cast are exact.
        if milli.is_finite() && milli.abs() <= Self::MAX.0 as f64 { Some(Self(milli as i64)) } else { None }
    }

    pub fn to_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    pub fn milli(self) -> i64 {
        self.0
    }

    pub fn is_positive(self) -> bool {
        self.0 > 0
    }

    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1000, (self.0 % 1000).abs());
        if self.0 < 0 && whole == 0 {
            f.write_str("-")?;
        }
        if part == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{part:03}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Sorted, disjoint, non-adjacent inclusive ranges.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    pub fn new(ranges: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut sorted: Vec<(u64, u64)> = ranges.into_iter().filter(|(begin, end)| begin <= end).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(sorted.len());
        for (begin, end) in sorted {
            match merged.last_mut() {
                Some(last) if begin <= last.1.saturating_add(1) => last.1 = last.1.max(end),
                _ => merged.push((begin, end)),
            }
        }
        Self(merged)
    }

    pub fn single(value: u64) -> Self {
        Self(vec![(value, value)])
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// How many values are inside.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, (begin, end)| sum.saturating_add((end - begin).saturating_add(1)))
    }

    /// The value at position `index` in ascending order.
    pub fn nth(&self, mut index: u64) -> Option<u64> {
        for (begin, end) in &self.0 {
            let len = end - begin + 1;
            if index < len {
                return Some(begin + index);
            }
            index -= len;
        }
        None
    }

    pub fn contains_value(&self, value: u64) -> bool {
        self.0.iter().any(|(begin, end)| (*begin..=*end).contains(&value))
    }

    pub fn contains(&self, other: &Self) -> bool {
        other.0.iter().all(|(begin, end)| self.0.iter().any(|(b, e)| b <= begin && end <= e))
    }

    pub fn union(&self, other: &Self) -> Self {
        Self::new(self.0.iter().chain(&other.0).copied())
    }

    pub fn subtract(&self, other: &Self) -> Self {
        let mut left = self.0.clone();
        for (cut_begin, cut_end) in &other.0 {
            let mut next = Vec::with_capacity(left.len() + 1);
            for (begin, end) in left {
                if *cut_end < begin || *cut_begin > end {
                    next.push((begin, end));
                    continue;
                }
                if begin < *cut_begin {
                    next.push((begin, cut_begin - 1));
                }
                if end > *cut_end {
                    next.push((cut_end + 1, end));
                }
            }
            left = next;
        }
        Self(left)
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, (begin, end)) in self.0.iter().enumerate() {
            write!(f, "{}{begin}-{end}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

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
    pub name: String,
    pub value: ResourceValue,
    #[serde(default)]
    pub reservations: Vec<Reservation>,
}

impl Resource {
    pub fn scalar(name: &str, quantity: Quantity) -> Self {
        Self { name: name.to_owned(), value: ResourceValue::Scalar(quantity), reservations: Vec::new() }
    }

    pub fn ranges(name: &str, ranges: Ranges) -> Self {
        Self { name: name.to_owned(), value: ResourceValue::Ranges(ranges), reservations: Vec::new() }
    }

    /// The role it belongs to: of the innermost reservation, or `*`.
    pub fn role(&self) -> Role {
        self.reservations.last().map_or_else(Role::any, |reservation| reservation.role.clone())
    }

    fn same_identity(&self, other: &Self) -> bool {
        self.name == other.name
            && self.value.same_kind(&other.value)
            && self.reservations == other.reservations
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
        let Some(mine) = self.0.iter_mut().find(|mine| mine.same_identity(&resource)) else {
            self.0.push(resource);
            return;
        };
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
        other.0.iter().all(|theirs| {
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
        self.0.iter().filter(|r| r.name == name).fold(Quantity::ZERO, |sum, r| match &r.value {
            ResourceValue::Scalar(quantity) => sum.saturating_add(*quantity),
            _ => sum,
        })
    }

    /// The union of ranges over all reservations.
    pub fn ranges(&self, name: &str) -> Ranges {
        self.0.iter().filter(|r| r.name == name).fold(Ranges::default(), |sum, r| match &r.value {
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
            let reservations = if role.is_any() {
                Vec::new()
            } else {
                vec![Reservation { role, dynamic: false, principal: None, labels: Vec::new() }]
            };
            resources.add_one(Resource { name: name.to_owned(), value, reservations });
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
            write!(f, "{}{}({role}):", if i == 0 { "" } else { "; " }, resource.name)?;
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
