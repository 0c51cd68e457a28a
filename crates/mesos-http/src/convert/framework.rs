//! `FrameworkInfo`, with the texts of a subscription that cannot be taken.

use std::collections::BTreeMap;

use mesos_proto::v1::framework_info::{self, capability};
use mesos_proto::v1::value;
use mesos_proto::{ids, v1};
use model::cluster::Quantities;
use model::{Capability, FrameworkId, FrameworkInfo, MinAllocatable, Principal, Quantity, Role};

use super::{Invalid, labels, labels_out};

/// About 292 years, what 64 bits of nanoseconds hold.
const FAILOVER_TIMEOUT_MAX: f64 = i64::MAX as f64 / 1e9;

pub(crate) fn framework(wire: &v1::FrameworkInfo) -> Result<FrameworkInfo, Invalid> {
    let capabilities = capabilities(&wire.capabilities);
    let roles = roles(wire, capabilities.contains(&Capability::MultiRole))?;
    let id = wire.id.as_ref().map(|id| id.value.as_str()).filter(|id| !id.is_empty());
    if let Some(id) = id {
        ids::check(id).map_err(|error| Invalid(format!("'FrameworkInfo.id' is not valid: {error}")))?;
    }
    let offer_filters = offer_filters(wire, &roles)?;
    let seconds = wire.failover_timeout.unwrap_or_default();
    if seconds.is_nan() || seconds.abs() > FAILOVER_TIMEOUT_MAX {
        return Err(Invalid(format!("The framework failover_timeout ({seconds}) is invalid")));
    }
    Ok(FrameworkInfo {
        id: id.map(FrameworkId::new),
        name: wire.name.clone(),
        user: wire.user.clone(),
        roles,
        // Below 2^63, and a negative one counts as none.
        failover_timeout_ms: (seconds * 1000.0).round() as u64,
        checkpoint: wire.checkpoint.unwrap_or_default(),
        hostname: wire.hostname.clone().unwrap_or_default(),
        principal: wire.principal.as_deref().map(Principal::new),
        webui_url: wire.webui_url.clone(),
        capabilities,
        labels: labels(wire.labels.as_ref()),
        offer_filters,
    })
}

/// Unknown ones are passed over, each known one counts once.
fn capabilities(list: &[framework_info::Capability]) -> Vec<Capability> {
    let mut known = Vec::new();
    for capability in list.iter().filter_map(|capability| capability.r#type) {
        let name = capability::Type::try_from(capability).map(|kind| kind.as_str_name());
        let Some(capability) = name.ok().and_then(Capability::from_name) else { continue };
        if !known.contains(&capability) {
            known.push(capability);
        }
    }
    known
}

fn roles(wire: &v1::FrameworkInfo, multi_role: bool) -> Result<Vec<Role>, Invalid> {
    if !multi_role {
        if !wire.roles.is_empty() {
            return Err(Invalid::new(
                "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable",
            ));
        }
        let role = wire.role.as_deref().unwrap_or("*");
        let role = Role::new(role)
            .map_err(|error| Invalid(format!("'FrameworkInfo.role' is not a valid role: {error}")))?;
        return Ok(vec![role]);
    }
    if wire.role.is_some() {
        return Err(Invalid::new(
            "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable",
        ));
    }
    let mut sorted: Vec<&str> = wire.roles.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let mut twice: Vec<&str> =
        sorted.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    twice.dedup();
    if !twice.is_empty() {
        return Err(Invalid(format!(
            "'FrameworkInfo.roles' contains duplicate items: {{ {} }}",
            twice.join(", ")
        )));
    }
    let role = |role: &String| {
        Role::new(role)
            .map_err(|error| Invalid(format!("'FrameworkInfo.roles' contains invalid role: {error}")))
    };
    wire.roles.iter().map(role).collect()
}

fn offer_filters(
    wire: &v1::FrameworkInfo,
    roles: &[Role],
) -> Result<BTreeMap<Role, MinAllocatable>, Invalid> {
    let mut filters = BTreeMap::new();
    for (name, filter) in &wire.offer_filters {
        let role = Role::new(name).map_err(|error| {
            Invalid(format!("'FrameworkInfo.offer_filters' contains invalid role: {error}"))
        })?;
        if !roles.contains(&role) {
            return Err(Invalid(format!(
                "'FrameworkInfo.offer_filters' names role '{role}', which is not one of the framework's roles"
            )));
        }
        let wanted = filter.min_allocatable_resources.as_ref().map(|least| least.quantities.as_slice());
        let wanted = wanted.unwrap_or_default().iter().map(|any| quantities(&any.quantities));
        let wanted: MinAllocatable = wanted.collect::<Result<_, _>>().map_err(|error| {
            Invalid(format!("'FrameworkInfo.offer_filters' of role '{role}' is not valid: {error}"))
        })?;
        filters.insert(role, wanted);
    }
    Ok(filters)
}

/// A map of names to amounts, none below zero.
pub(crate) fn quantities(wire: &BTreeMap<String, value::Scalar>) -> Result<Quantities, Invalid> {
    let mut quantities = Quantities::new();
    for (name, scalar) in wire {
        let quantity = Quantity::from_f64(scalar.value).filter(|quantity| *quantity >= Quantity::ZERO);
        let Some(quantity) = quantity else {
            return Err(Invalid(format!(
                "Invalid amount {} of '{name}': a number from 0 to {} is allowed",
                scalar.value,
                Quantity::MAX
            )));
        };
        quantities.insert(name.as_str().into(), quantity);
    }
    Ok(quantities)
}

pub(crate) fn quantities_out(quantities: &Quantities) -> BTreeMap<String, value::Scalar> {
    let entry = |(name, quantity): (&model::ResourceName, &Quantity)| {
        (name.as_str().to_owned(), value::Scalar { value: quantity.to_f64() })
    };
    quantities.iter().map(entry).collect()
}

pub(crate) fn framework_out(info: &FrameworkInfo) -> v1::FrameworkInfo {
    let multi_role = info.can(Capability::MultiRole);
    let capability = |capability: &Capability| framework_info::Capability {
        r#type: super::by_name_out!(capability => capability::Type),
    };
    let filters = info.offer_filters.iter().map(|(role, wanted)| {
        let any = |wanted| v1::offer_filters::ResourceQuantities { quantities: quantities_out(wanted) };
        let least =
            v1::offer_filters::MinAllocatableResources { quantities: wanted.iter().map(any).collect() };
        (role.as_str().to_owned(), v1::OfferFilters { min_allocatable_resources: Some(least) })
    });
    v1::FrameworkInfo {
        user: info.user.clone(),
        name: info.name.clone(),
        id: info.id.as_ref().map(|id| id.as_str().into()),
        failover_timeout: Some(info.failover_timeout_ms as f64 / 1000.0),
        checkpoint: Some(info.checkpoint),
        role: (!multi_role).then(|| info.roles.first().map_or("*", Role::as_str).to_owned()),
        hostname: Some(info.hostname.clone()).filter(|hostname| !hostname.is_empty()),
        principal: info.principal.as_ref().map(|principal| principal.as_str().to_owned()),
        webui_url: info.webui_url.clone(),
        capabilities: info.capabilities.iter().map(capability).collect(),
        labels: labels_out(&info.labels),
        roles: match multi_role {
            true => info.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            false => Vec::new(),
        },
        offer_filters: filters.collect(),
    }
}
