//! Takes what a demand needs out of one offer, several times if it fits.
//!
//! Invariant: what all matches of one [`Bid`] took is contained in its offer.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Offer, Quantity, Ranges, Resource, ResourceValue, Resources, Rng, Role};

use crate::constraint::{Constraint, Place};

/// One host port that a demand needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortDemand {
    Random,
    Fixed(u16),
}

/// What one instance needs.
#[derive(Debug, Clone)]
pub struct Demand {
    pub cpus: Quantity,
    pub mem: Quantity,
    pub disk: Quantity,
    pub gpus: Quantity,
    pub ports: Vec<PortDemand>,
    /// Roles whose resources may be used; `*` stands for unreserved ones.
    pub roles: BTreeSet<Role>,
    pub constraints: Arc<[Constraint]>,
    /// Where agents must be unless a constraint names `@region` or `@zone`.
    pub home_region: Option<String>,
}

/// Why an offer was not used, in the order of the funnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectReason {
    UnfulfilledRole,
    UnfulfilledConstraint,
    NoCorrespondingReservationFound,
    AgentMaintenance,
    InsufficientCpus,
    InsufficientMemory,
    InsufficientDisk,
    InsufficientGpus,
    InsufficientPorts,
    DeclinedScarceResources,
}

impl RejectReason {
    pub const ALL: [RejectReason; 10] = [
        Self::UnfulfilledRole,
        Self::UnfulfilledConstraint,
        Self::NoCorrespondingReservationFound,
        Self::AgentMaintenance,
        Self::InsufficientCpus,
        Self::InsufficientMemory,
        Self::InsufficientDisk,
        Self::InsufficientGpus,
        Self::InsufficientPorts,
        Self::DeclinedScarceResources,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::UnfulfilledRole => "UnfulfilledRole",
            Self::UnfulfilledConstraint => "UnfulfilledConstraint",
            Self::NoCorrespondingReservationFound => "NoCorrespondingReservationFound",
            Self::AgentMaintenance => "AgentMaintenance",
            Self::InsufficientCpus => "InsufficientCpus",
            Self::InsufficientMemory => "InsufficientMemory",
            Self::InsufficientDisk => "InsufficientDisk",
            Self::InsufficientGpus => "InsufficientGpus",
            Self::InsufficientPorts => "InsufficientPorts",
            Self::DeclinedScarceResources => "DeclinedScarceResources",
        }
    }
}

/// What one match took.
#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    pub resources: Resources,
    /// One host port per [`PortDemand`], in the same order.
    pub ports: Vec<u16>,
}

/// One offer while it is being used up.
#[derive(Debug)]
pub struct Bid<'a> {
    offer: &'a Offer,
    left: Resources,
}

impl<'a> Bid<'a> {
    pub fn new(offer: &'a Offer) -> Self {
        Self { offer, left: offer.resources.clone() }
    }

    pub fn offer(&self) -> &'a Offer {
        self.offer
    }

    /// Takes one instance's worth, or says why not (never with an empty list).
    /// `others` are the places of the instances that constraints count.
    pub fn take(
        &mut self,
        demand: &Demand,
        others: &[Place<'_>],
        rng: &mut Rng,
    ) -> Result<Match, Vec<RejectReason>> {
        let usable = self.left.filter(|resource| demand.roles.contains(&resource.role()));
        let offered = self.offer.resources.filter(|resource| demand.roles.contains(&resource.role()));
        if offered.is_empty() {
            return Err(vec![RejectReason::UnfulfilledRole]);
        }
        if !self.is_allowed_here(demand, others) {
            return Err(vec![RejectReason::UnfulfilledConstraint]);
        }
        let mut taken = Resources::new();
        let mut reasons = Vec::new();
        for (name, need, reason) in [
            ("cpus", demand.cpus, RejectReason::InsufficientCpus),
            ("mem", demand.mem, RejectReason::InsufficientMemory),
            ("disk", demand.disk, RejectReason::InsufficientDisk),
            ("gpus", demand.gpus, RejectReason::InsufficientGpus),
        ] {
            if !take_scalar(&usable, name, need, &mut taken) {
                reasons.push(reason);
            }
        }
        let ports = choose_ports(&usable.ports(), &demand.ports, rng);
        let Some(ports) = ports.filter(|_| reasons.is_empty()) else {
            if reasons.is_empty() || choose_ports(&usable.ports(), &demand.ports, &mut Rng::new(0)).is_none()
            {
                reasons.push(RejectReason::InsufficientPorts);
            }
            return Err(reasons);
        };
        for port in &ports {
            take_port(&usable, u64::from(*port), &mut taken);
        }
        debug_assert!(self.left.contains(&taken), "a match takes what is there");
        self.left.subtract(&taken);
        Ok(Match { resources: taken, ports })
    }

    fn is_allowed_here(&self, demand: &Demand, others: &[Place<'_>]) -> bool {
        let place = Place::from(self.offer);
        let names_domain = demand.constraints.iter().any(|c| matches!(c.field(), "@region" | "@zone"));
        if !names_domain
            && let (Some(home), Some(region)) = (demand.home_region.as_deref(), place.region)
            && home != region
        {
            return false;
        }
        demand.constraints.iter().all(|constraint| constraint.allows(&place, others))
    }
}

/// Reserved entries first, then the unreserved.
fn entries<'a>(usable: &'a Resources, name: &'a str) -> impl Iterator<Item = &'a Resource> {
    let mut found: Vec<&Resource> = usable.iter().filter(|resource| resource.name == name).collect();
    found.sort_by_key(|resource| resource.reservations.is_empty());
    found.into_iter()
}

fn take_scalar(usable: &Resources, name: &str, need: Quantity, taken: &mut Resources) -> bool {
    let mut open = need;
    for resource in entries(usable, name) {
        let ResourceValue::Scalar(have) = resource.value else { continue };
        if !open.is_positive() {
            break;
        }
        let part = have.min(open);
        taken.add_one(Resource { value: ResourceValue::Scalar(part), ..resource.clone() });
        open = open.saturating_sub(part);
    }
    !open.is_positive()
}

fn take_port(usable: &Resources, port: u64, taken: &mut Resources) {
    for resource in entries(usable, "ports") {
        if let ResourceValue::Ranges(ranges) = &resource.value
            && ranges.contains_value(port)
        {
            let value = ResourceValue::Ranges(Ranges::single(port));
            taken.add_one(Resource { value, ..resource.clone() });
            return;
        }
    }
}

fn choose_ports(free: &Ranges, demands: &[PortDemand], rng: &mut Rng) -> Option<Vec<u16>> {
    let mut left = free.clone();
    for demand in demands {
        if let PortDemand::Fixed(port) = demand {
            if !left.contains_value(u64::from(*port)) {
                return None;
            }
            left = left.subtract(&Ranges::single(u64::from(*port)));
        }
    }
    let mut ports = Vec::with_capacity(demands.len());
    for demand in demands {
        match demand {
            PortDemand::Fixed(port) => ports.push(*port),
            PortDemand::Random => {
                let port = left.nth(rng.below(left.count()))?;
                left = left.subtract(&Ranges::single(port));
                ports.push(u16::try_from(port).ok()?);
            }
        }
    }
    Some(ports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constraint::Operator;

    fn offer(resources: &str) -> Offer {
        Offer {
            id: "o".into(),
            framework_id: "f".into(),
            agent_id: "a".into(),
            hostname: "host".into(),
            ip: "127.0.0.1".into(),
            port: 5051,
            role: Role::any(),
            resources: Resources::parse(resources, &Role::any()).unwrap(),
            attributes: Vec::new(),
            domain: None,
            executor_ids: Vec::new(),
            unavailability: None,
        }
    }

    fn demand(cpus: f64, ports: &[PortDemand]) -> Demand {
        Demand {
            cpus: Quantity::from_f64(cpus).unwrap(),
            mem: Quantity::from_units(32),
            disk: Quantity::ZERO,
            gpus: Quantity::ZERO,
            ports: ports.to_vec(),
            roles: BTreeSet::from([Role::any()]),
            constraints: Arc::from([]),
            home_region: None,
        }
    }

    #[test]
    fn one_offer_serves_several_instances_until_it_is_empty() {
        let offer = offer("cpus:1;mem:128;ports:[31000-31002]");
        let mut bid = Bid::new(&offer);
        let mut rng = Rng::new(1);
        let mut ports = BTreeSet::new();
        for _ in 0..3 {
            ports.extend(bid.take(&demand(0.3, &[PortDemand::Random]), &[], &mut rng).unwrap().ports);
        }
        assert_eq!(ports.len(), 3);
        assert_eq!(
            bid.take(&demand(0.3, &[PortDemand::Random]), &[], &mut rng),
            Err(vec![RejectReason::InsufficientCpus, RejectReason::InsufficientPorts])
        );
    }

    #[test]
    fn fixed_ports_are_exact_and_never_given_away_at_random() {
        let offer = offer("cpus:1;mem:128;ports:[31000-31001]");
        for seed in 0..20 {
            let mut bid = Bid::new(&offer);
            let both = [PortDemand::Random, PortDemand::Fixed(31000)];
            let found = bid.take(&demand(0.1, &both), &[], &mut Rng::new(seed)).unwrap();
            assert_eq!(found.ports, [31001, 31000]);
            let again = bid.take(&demand(0.1, &[PortDemand::Fixed(31000)]), &[], &mut Rng::new(seed));
            assert_eq!(again, Err(vec![RejectReason::InsufficientPorts]));
        }
    }

    #[test]
    fn roles_decide_what_is_seen() {
        let offer = offer("cpus(slave_public):1;mem(slave_public):128;mem:64");
        let mut rng = Rng::new(1);
        let mut wants = demand(0.1, &[]);
        assert_eq!(Bid::new(&offer).take(&wants, &[], &mut rng), Err(vec![RejectReason::InsufficientCpus]));
        wants.roles = BTreeSet::from([Role::new("slave_public").unwrap()]);
        assert!(Bid::new(&offer).take(&wants, &[], &mut rng).is_ok());
        wants.roles = BTreeSet::from([Role::new("other").unwrap()]);
        assert_eq!(Bid::new(&offer).take(&wants, &[], &mut rng), Err(vec![RejectReason::UnfulfilledRole]));
        // Reserved memory goes first, the rest is unreserved.
        wants.roles = BTreeSet::from([Role::new("slave_public").unwrap(), Role::any()]);
        wants.mem = Quantity::from_units(160);
        let found = Bid::new(&offer).take(&wants, &[], &mut rng).unwrap();
        assert_eq!(found.resources.unreserved().mem(), Quantity::from_units(32));
    }

    #[test]
    fn constraints_come_before_resources() {
        let offer = offer("cpus:1;mem:128");
        let mut wants = demand(50.0, &[]);
        wants.constraints = Arc::from([Constraint::new("hostname", Operator::Unlike, Some("host")).unwrap()]);
        assert_eq!(
            Bid::new(&offer).take(&wants, &[], &mut Rng::new(1)),
            Err(vec![RejectReason::UnfulfilledConstraint])
        );
    }
}
