//! Amounts in the form that sums and comparisons are quick in.
//!
//! [`Quants`] are amounts by name, whatever they are reserved for: what shares and quotas
//! count. A [`Bag`] is what [`Resources`] are, with the usual part (unreserved scalars of
//! the agent itself, and its ports) apart from the rest. Invariant: `Bag::from(r)` and
//! back is `r`; no amount of a bag is below 0.

use model::{MinAllocatable, Quantities, Quantity, Ranges, Resource, ResourceName, ResourceValue, Resources};

/// The names that have a place of their own.
const USUAL: [&str; 4] = ["cpus", "mem", "disk", "gpus"];

fn place(name: &str) -> Option<usize> {
    USUAL.iter().position(|usual| *usual == name)
}

/// Thousandths by name; a name that is absent has 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Quants {
    usual: [i64; 4],
    /// Ascending by name, never 0.
    more: Vec<(ResourceName, i64)>,
}

impl Quants {
    pub fn is_zero(&self) -> bool {
        self.usual == [0; 4] && self.more.is_empty()
    }

    pub fn get(&self, name: &str) -> i64 {
        match place(name) {
            Some(place) => self.usual[place],
            None => self
                .more
                .binary_search_by(|(mine, _)| mine.as_str().cmp(name))
                .map_or(0, |at| self.more[at].1),
        }
    }

    pub fn put(&mut self, name: &ResourceName, change: i64) {
        if let Some(place) = place(name) {
            self.usual[place] = self.usual[place].saturating_add(change);
            return;
        }
        match self.more.binary_search_by(|(mine, _)| mine.cmp(name)) {
            Ok(at) => {
                self.more[at].1 = self.more[at].1.saturating_add(change);
                if self.more[at].1 == 0 {
                    self.more.remove(at);
                }
            }
            Err(at) if change != 0 => self.more.insert(at, (name.clone(), change)),
            Err(_) => {}
        }
    }

    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.usual.iter_mut().zip(other.usual) {
            *mine = mine.saturating_add(theirs);
        }
        for (name, theirs) in &other.more {
            self.put(name, *theirs);
        }
    }

    pub fn subtract(&mut self, other: &Self) {
        for (mine, theirs) in self.usual.iter_mut().zip(other.usual) {
            *mine = mine.saturating_sub(theirs);
        }
        for (name, theirs) in &other.more {
            self.put(name, theirs.saturating_neg());
        }
    }

    /// What of this `other` does not cover.
    pub fn beyond(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.subtract(other);
        for mine in &mut rest.usual {
            *mine = (*mine).max(0);
        }
        rest.more.retain(|(_, mine)| *mine > 0);
        rest
    }

    pub fn raise_to(&mut self, other: &Self) {
        for (mine, theirs) in self.usual.iter_mut().zip(other.usual) {
            *mine = (*mine).max(theirs);
        }
        for (name, theirs) in &other.more {
            let mine = self.get(name);
            self.put(name, (*theirs).max(mine) - mine);
        }
    }

    pub fn from_quantities(quantities: &Quantities) -> Self {
        let mut sum = Self::default();
        for (name, quantity) in quantities {
            sum.put(name, quantity.milli());
        }
        sum
    }

    pub fn to_quantities(&self) -> Quantities {
        let usual = USUAL.iter().zip(self.usual).map(|(name, milli)| (ResourceName::from(*name), milli));
        let all = usual.chain(self.more.iter().cloned());
        all.filter(|(_, milli)| *milli != 0)
            .map(|(name, milli)| (name, Quantity::from_milli(milli)))
            .collect()
    }

    pub fn of(resources: &Resources) -> Self {
        let mut sum = Self::default();
        for resource in resources.iter() {
            if let ResourceValue::Scalar(quantity) = resource.value {
                sum.put(&resource.name, quantity.milli());
            }
        }
        sum
    }
}

/// The largest part that `held` is of `total`; names marked are not looked at.
pub(super) fn dominant_share(held: &Quants, total: &Quants, excluded: &Excluded) -> f64 {
    let part = |held: i64, total: i64| if total > 0 { held as f64 / total as f64 } else { 0.0 };
    let mut share = 0.0_f64;
    for at in 0..USUAL.len() {
        if !excluded.usual[at] {
            share = share.max(part(held.usual[at], total.usual[at]));
        }
    }
    for (name, milli) in &held.more {
        if !excluded.more.contains(name) {
            share = share.max(part(*milli, total.get(name)));
        }
    }
    share
}

/// Names that do not count in shares.
#[derive(Debug, Clone, Default)]
pub(super) struct Excluded {
    usual: [bool; 4],
    more: Vec<ResourceName>,
}

impl Excluded {
    pub fn new(names: &[ResourceName]) -> Self {
        let mut excluded = Self::default();
        for name in names {
            match place(name) {
                Some(place) => excluded.usual[place] = true,
                None => excluded.more.push(name.clone()),
            }
        }
        excluded
    }
}

/// The most of each name; a name that is absent has no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Room {
    usual: [i64; 4],
    more: Vec<(ResourceName, i64)>,
    /// Of names that are in neither.
    other: i64,
}

impl Room {
    pub fn limits(quantities: &Quantities) -> Self {
        let mut room = Self { usual: [i64::MAX; 4], more: Vec::new(), other: i64::MAX };
        for (name, quantity) in quantities {
            match place(name) {
                Some(place) => room.usual[place] = quantity.milli(),
                None => room.more.push((name.clone(), quantity.milli())),
            }
        }
        room
    }

    /// This much and nothing of any other name.
    pub fn only(quants: &Quants) -> Self {
        Self { usual: quants.usual, more: quants.more.clone(), other: 0 }
    }

    pub fn has_limits(&self) -> bool {
        self.usual != [i64::MAX; 4] || !self.more.is_empty() || self.other != i64::MAX
    }

    /// What is left when `used` is taken.
    pub fn less(&self, used: &Quants) -> Self {
        let left = |room: i64, used: i64| {
            if room == i64::MAX { room } else { room.saturating_sub(used).max(0) }
        };
        let mut rest = self.clone();
        for (mine, used) in rest.usual.iter_mut().zip(used.usual) {
            *mine = left(*mine, used);
        }
        for (name, mine) in &mut rest.more {
            *mine = left(*mine, used.get(name));
        }
        rest
    }

    fn of(&mut self, name: &ResourceName) -> &mut i64 {
        match place(name) {
            Some(place) => &mut self.usual[place],
            None => match self.more.iter().position(|(mine, _)| mine == name) {
                Some(at) => &mut self.more[at].1,
                None => &mut self.other,
            },
        }
    }
}

/// What quotas count of the resources that a role holds or is offered.
fn for_quota(resource: &Resource) -> bool {
    matches!(resource.value, ResourceValue::Scalar(_)) && resource.is_unreserved() && !resource.revocable
}

#[derive(Debug, Clone, Default)]
pub(super) struct Bag {
    /// Unreserved, the agent's own, kept, whole disks aside: by place.
    plain: [i64; 4],
    /// The same of `ports`.
    ports: Ranges,
    pub rest: Resources,
}

impl PartialEq for Bag {
    fn eq(&self, other: &Self) -> bool {
        self.plain == other.plain && self.ports == other.ports && self.rest == other.rest
    }
}

impl Bag {
    pub fn new(resources: &Resources) -> Self {
        let mut bag = Self::default();
        for resource in resources.iter() {
            let plain = resource.reservations.is_empty()
                && resource.disk.is_none()
                && resource.provider.is_none()
                && !resource.revocable
                && !resource.is_shared();
            match (&resource.value, place(&resource.name)) {
                (ResourceValue::Scalar(quantity), Some(place)) if plain && quantity.is_positive() => {
                    bag.plain[place] = bag.plain[place].saturating_add(quantity.milli());
                }
                (ResourceValue::Ranges(ranges), _) if plain && resource.name == *"ports" => {
                    bag.ports = if bag.ports.is_empty() { ranges.clone() } else { bag.ports.union(ranges) };
                }
                _ => bag.rest.add_one(resource.clone()),
            }
        }
        bag
    }

    pub fn to_resources(&self) -> Resources {
        let mut resources = Resources::new();
        for (name, milli) in USUAL.iter().zip(self.plain) {
            if milli > 0 {
                resources.add_one(Resource::scalar(name, Quantity::from_milli(milli)));
            }
        }
        if !self.ports.is_empty() {
            resources.add_one(Resource::ranges("ports", self.ports.clone()));
        }
        if !self.rest.is_empty() {
            resources.add(&self.rest);
        }
        resources
    }

    pub fn is_empty(&self) -> bool {
        self.plain == [0; 4] && self.ports.is_empty() && self.rest.is_empty()
    }

    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.plain.iter_mut().zip(other.plain) {
            *mine = mine.saturating_add(theirs);
        }
        if !other.ports.is_empty() {
            self.ports =
                if self.ports.is_empty() { other.ports.clone() } else { self.ports.union(&other.ports) };
        }
        if !other.rest.is_empty() {
            self.rest.add(&other.rest);
        }
    }

    /// What is not there is ignored.
    pub fn subtract(&mut self, other: &Self) {
        for (mine, theirs) in self.plain.iter_mut().zip(other.plain) {
            *mine = mine.saturating_sub(theirs).max(0);
        }
        if !other.ports.is_empty() && !self.ports.is_empty() {
            self.ports =
                if self.ports == other.ports { Ranges::default() } else { self.ports.subtract(&other.ports) };
        }
        if !other.rest.is_empty() {
            self.rest.subtract(&other.rest);
        }
    }

    pub fn contains(&self, other: &Self) -> bool {
        self.plain.iter().zip(other.plain).all(|(mine, theirs)| *mine >= theirs)
            && self.ports.contains(&other.ports)
            && (other.rest.is_empty() || self.rest.contains(&other.rest))
    }

    pub fn has_shared(&self) -> bool {
        self.rest.iter().any(Resource::is_shared)
    }

    /// Without shared volumes, which are never used up.
    pub fn unshared(&self) -> Self {
        let mut bag = self.clone();
        if self.has_shared() {
            bag.rest = self.rest.filter(|resource| !resource.is_shared());
        }
        bag
    }

    pub fn shared(&self) -> Resources {
        self.rest.filter(Resource::is_shared)
    }

    pub fn quants(&self) -> Quants {
        let mut sum = Quants { usual: self.plain, more: Vec::new() };
        if !self.rest.is_empty() {
            sum.add(&Quants::of(&self.rest));
        }
        sum
    }

    /// The part that quotas count.
    pub fn quota_quants(&self) -> Quants {
        let mut sum = Quants { usual: self.plain, more: Vec::new() };
        for resource in self.rest.iter().filter(|resource| for_quota(resource)) {
            sum.put(&resource.name, resource.quantity().milli());
        }
        sum
    }

    /// Splits off the part that quotas count; what is left is not limited by any.
    pub fn split_quota(&self) -> (Self, Self) {
        let mut counted = Self { plain: self.plain, ports: Ranges::default(), rest: Resources::new() };
        let mut other = Self { plain: [0; 4], ports: self.ports.clone(), rest: Resources::new() };
        if !self.rest.is_empty() {
            counted.rest = self.rest.filter(for_quota);
            other.rest = self.rest.filter(|resource| !for_quota(resource));
        }
        (counted, other)
    }

    /// Of unreserved scalars: no more of each name than there is room for. Tells whether something went.
    pub fn shrink(&mut self, mut room: Room) -> bool {
        let mut cut = false;
        for (mine, room) in self.plain.iter_mut().zip(&mut room.usual) {
            cut |= *mine > *room;
            *mine = (*mine).min(*room);
            if *room != i64::MAX {
                *room -= *mine;
            }
        }
        if self.rest.is_empty() {
            return cut;
        }
        let mut entries: Vec<&Resource> = self.rest.iter().collect();
        entries.sort_by_cached_key(|resource| {
            (resource.disk.is_some() || resource.provider.is_some(), format!("{resource:?}"))
        });
        let mut kept = Resources::new();
        for resource in entries {
            let room = room.of(&resource.name);
            let wanted = resource.quantity().milli();
            let part = wanted.min(*room);
            cut |= part != wanted;
            if part != wanted && resource.is_indivisible() {
                continue;
            }
            if *room != i64::MAX {
                *room -= part;
            }
            let value = ResourceValue::Scalar(Quantity::from_milli(part));
            kept.add_one(Resource { value, ..resource.clone() });
        }
        self.rest = kept;
        cut
    }
}

/// The least that an offer must hold; amounts as in [`Quants`], ranges and sets by their number.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Minimum(Vec<Least>);

#[derive(Debug, Clone, PartialEq)]
struct Least {
    usual: [i64; 4],
    ports: i64,
    more: Vec<(ResourceName, i64)>,
}

fn count(ranges: &Ranges) -> i64 {
    i64::try_from(ranges.count()).unwrap_or(i64::MAX).saturating_mul(1000)
}

impl Minimum {
    pub fn new(alternatives: &MinAllocatable) -> Self {
        Self(
            alternatives
                .iter()
                .map(|all| {
                    let mut least = Least { usual: [0; 4], ports: 0, more: Vec::new() };
                    for (name, quantity) in all {
                        match place(name) {
                            Some(place) => least.usual[place] = quantity.milli(),
                            None if *name == *"ports" => least.ports = quantity.milli(),
                            None => least.more.push((name.clone(), quantity.milli())),
                        }
                    }
                    least
                })
                .collect(),
        )
    }

    pub fn met_by(&self, bag: &Bag) -> bool {
        if self.0.is_empty() {
            return !bag.is_empty();
        }
        let mut usual = bag.plain;
        let mut ports = None;
        for resource in bag.rest.iter() {
            match (&resource.value, place(&resource.name)) {
                (ResourceValue::Scalar(quantity), Some(place)) => {
                    usual[place] = usual[place].saturating_add(quantity.milli());
                }
                (ResourceValue::Ranges(ranges), _) if resource.name == *"ports" => {
                    let sum = ports.unwrap_or_else(|| count(&bag.ports));
                    ports = Some(sum.saturating_add(count(ranges)));
                }
                _ => {}
            }
        }
        !bag.is_empty()
            && self.0.iter().any(|least| {
                usual.iter().zip(least.usual).all(|(mine, least)| *mine >= least)
                    && (least.ports == 0 || ports.unwrap_or_else(|| count(&bag.ports)) >= least.ports)
                    && least.more.iter().all(|(name, least)| amount(&bag.rest, name) >= *least)
            })
    }
}

fn amount(resources: &Resources, name: &ResourceName) -> i64 {
    let count = |resource: &Resource| match &resource.value {
        ResourceValue::Scalar(quantity) => quantity.milli(),
        ResourceValue::Ranges(ranges) => count(ranges),
        ResourceValue::Set(items) => i64::try_from(items.len()).unwrap_or(i64::MAX).saturating_mul(1000),
    };
    resources.iter().filter(|resource| resource.name == *name).map(count).fold(0, i64::saturating_add)
}
