//! What a framework may say: pure checks of ids, resources, executors, tasks and
//! operations, in the order and with the texts of the contract.
//!
//! Each yields what is wrong, or nothing. Whether resources are there, and what else
//! is running, is looked at by the callers. Rules: `apache/mesos`
//! `src/master/validation.cpp`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use model::{
    AgentCapability, AgentInfo, Capability, DiskKind, ExecutorInfo, ExecutorKind, FrameworkId, FrameworkInfo,
    Principal, Quantity, Resource, ResourceOperation, ResourceValue, Resources, Role,
};

use crate::operations::conversion;

/// Longest id of a task, executor, framework or volume, in bytes: it becomes a directory.
pub const ID_LENGTH_MAX: usize = 255;

/// Longest failover timeout that can be represented, in seconds.
const FAILOVER_SECONDS_MAX: u64 = 9_223_372_036;

const EXECUTOR_CPUS_MIN: Quantity = Quantity::from_milli(10);
const EXECUTOR_MEM_MIN: Quantity = Quantity::from_milli(32_000);

/// What is wrong with the text of an id.
pub(crate) fn id_problem(id: &str) -> Option<String> {
    if id.is_empty() {
        return Some("ID must not be empty".to_owned());
    }
    if id.len() > ID_LENGTH_MAX {
        return Some(format!("ID must not be greater than {ID_LENGTH_MAX} characters"));
    }
    if id == "." || id == ".." {
        return Some(format!("'{id}' is disallowed"));
    }
    if id.contains(|c: char| c.is_control() || c == '/' || c == '\\') {
        return Some(format!("'{}' contains invalid characters", id.escape_default()));
    }
    None
}

/// `{ a, b }`, as lists stand in messages.
pub(crate) fn braces<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("{{ {} }}", items.join(", "))
}

/// What is wrong with a framework's description in itself.
pub(crate) fn framework_problem(
    info: &FrameworkInfo,
    limits: &crate::config::MasterLimits,
) -> Option<String> {
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<&Role> = info.roles.iter().filter(|role| !seen.insert(*role)).collect();
    if !twice.is_empty() {
        return Some(format!("'FrameworkInfo.roles' contains duplicate items: {}", braces(twice)));
    }
    if let Some(problem) = info.id.as_ref().and_then(|id| id_problem(id.as_str())) {
        return Some(format!("'FrameworkInfo.id' is not a valid ID: {problem}"));
    }
    for (role, alternatives) in &info.offer_filters {
        if !info.roles.contains(role) {
            return Some(format!(
                "'FrameworkInfo.offer_filters' is invalid: role '{role}' is not one of the framework's roles {}",
                braces(&info.roles)
            ));
        }
        for (name, quantity) in alternatives.iter().flatten() {
            if !quantity.is_positive() {
                return Some(format!(
                    "'FrameworkInfo.offer_filters' is invalid: '{name}' of role '{role}' is {quantity}, not above 0"
                ));
            }
        }
    }
    if info.failover_timeout_ms / 1000 > FAILOVER_SECONDS_MAX {
        let seconds = info.failover_timeout_ms / 1000;
        return Some(format!("The framework failover_timeout ({seconds}) is invalid"));
    }
    if let Some(allowed) = &limits.roles {
        let refused: BTreeSet<&Role> =
            info.roles.iter().filter(|role| !role.is_any() && !allowed.contains(role)).collect();
        if !refused.is_empty() {
            return Some(format!("Roles {} are not present in the master's --roles", braces(refused)));
        }
    }
    if info.user == "root" && !limits.root_submissions {
        return Some(
            "User 'root' is not allowed to run frameworks without --root_submissions set".to_owned(),
        );
    }
    None
}

pub(crate) fn suppressed_problem(info: &FrameworkInfo, suppressed: &[Role]) -> Option<String> {
    let foreign: BTreeSet<&Role> = suppressed.iter().filter(|role| !info.roles.contains(role)).collect();
    (!foreign.is_empty())
        .then(|| format!("Suppressed roles {} are not contained in the set of roles", braces(foreign)))
}

/// What is wrong with each resource in itself.
pub(crate) fn resources_problem(resources: &Resources) -> Option<String> {
    for resource in resources.iter() {
        if resource.name.is_empty() {
            return Some("Empty resource name".to_owned());
        }
        if let ResourceValue::Scalar(quantity) = resource.value {
            if !quantity.is_positive() {
                return Some(format!("Invalid scalar resource: {} <= 0", resource.name));
            }
            if resource.name == "gpus" && quantity.milli() % 1000 != 0 {
                return Some(format!("The 'gpus' resource must be an unsigned integer, not {quantity}"));
            }
        }
        if resource.disk.is_some() && resource.name != "disk" {
            return Some(format!("DiskInfo should not be set for {} resource", resource.name));
        }
        if resource.revocable && !resource.is_unreserved() {
            return Some(format!("Resource {} is revocable and cannot be reserved", resource.name));
        }
        if let Some(problem) = reservations_problem(resource) {
            return Some(problem);
        }
        if let Some(disk) = &resource.disk
            && disk.volume.is_some()
            && disk.persistence.is_none()
        {
            return Some("Non-persistent volume not supported".to_owned());
        }
        if resource.is_shared() && !resource.is_persistent_volume() {
            return Some("Only persistent volumes can be shared".to_owned());
        }
    }
    None
}

fn reservations_problem(resource: &Resource) -> Option<String> {
    for (index, reservation) in resource.reservations.iter().enumerate() {
        if reservation.role.is_any() {
            return Some("Invalid reservation: role \"*\" cannot be reserved".to_owned());
        }
        let Some(outer) = index.checked_sub(1).and_then(|index| resource.reservations.get(index)) else {
            continue;
        };
        if !reservation.dynamic {
            return Some("Invalid refined reservation: A refined reservation cannot be STATIC".to_owned());
        }
        if reservation.role == outer.role || !reservation.role.may_use(&outer.role) {
            return Some(format!(
                "Invalid refined reservation: role '{}' is not a refinement of '{}'",
                reservation.role, outer.role
            ));
        }
    }
    None
}

/// A persistence id that stands there twice within one role.
fn duplicate_persistence(resources: &Resources) -> Option<String> {
    let mut seen = BTreeSet::new();
    let volumes = resources.iter().filter(|resource| !resource.is_shared());
    volumes
        .filter_map(|resource| Some((resource.role(), resource.persistence()?.id.clone())))
        .find(|volume| !seen.insert(volume.clone()))
        .map(|(_, id)| id)
}

/// A name of which there are both revocable and other resources.
fn mixed_revocable(resources: &Resources) -> Option<String> {
    let mut kinds: BTreeMap<&str, bool> = BTreeMap::new();
    resources
        .iter()
        .find(|resource| {
            let first = *kinds.entry(resource.name.as_str()).or_insert(resource.revocable);
            first != resource.revocable
        })
        .map(|resource| resource.name.to_string())
}

/// Resources of a task or, with `who` so, of an executor.
pub(crate) fn held_problem(who: &str, resources: &Resources) -> Option<String> {
    if let Some(problem) = resources_problem(resources) {
        return Some(format!("{who} uses invalid resources: {problem}"));
    }
    if let Some(id) = duplicate_persistence(resources) {
        return Some(format!("{who} uses duplicate persistence ID: {id}"));
    }
    if let Some(name) = mixed_revocable(resources) {
        return Some(format!(
            "{who} mixes revocable and non-revocable resources: Cannot use both revocable and non-revocable '{name}' at the same time"
        ));
    }
    None
}

/// What is wrong with an executor in itself.
pub(crate) fn executor_problem(executor: &ExecutorInfo, framework_id: &FrameworkId) -> Option<String> {
    if let Some(problem) = id_problem(executor.id.as_str()) {
        return Some(format!("Executor has invalid ID: {problem}"));
    }
    if let Some(named) = &executor.framework_id
        && named != framework_id
    {
        return Some(format!(
            "ExecutorInfo has an invalid FrameworkID (Actual: {named} vs Expected: {framework_id})"
        ));
    }
    match executor.kind {
        Some(ExecutorKind::Default) => {
            if executor.command.is_some() {
                return Some("'ExecutorInfo.command' must not be set for 'DEFAULT' executor".to_owned());
            }
            if executor.container.as_ref().is_some_and(|container| container.image.is_some()) {
                return Some(
                    "'ExecutorInfo.container.mesos.image' must not be set for 'DEFAULT' executor".to_owned(),
                );
            }
        }
        Some(ExecutorKind::Custom) if executor.command.is_none() => {
            return Some("'ExecutorInfo.command' must be set for 'CUSTOM' executor".to_owned());
        }
        Some(ExecutorKind::Custom) | None => {}
    }
    if executor.resources.iter().any(Resource::is_shared) {
        return Some(format!("Executor '{}' uses shared resources, which an executor cannot", executor.id));
    }
    held_problem("Executor", &executor.resources)
}

/// The executor of a single task.
pub(crate) fn task_executor_problem(executor: &ExecutorInfo, framework_id: &FrameworkId) -> Option<String> {
    if let Some(problem) = executor_problem(executor, framework_id) {
        return Some(problem);
    }
    if executor.is_default() {
        return Some("'ExecutorInfo.type' must be 'CUSTOM'".to_owned());
    }
    if executor.command.is_none() {
        return Some("'ExecutorInfo.command' must be set".to_owned());
    }
    None
}

/// The executor of a group of tasks.
pub(crate) fn group_executor_problem(executor: &ExecutorInfo, framework_id: &FrameworkId) -> Option<String> {
    if executor.kind.is_none() {
        return Some("'ExecutorInfo.type' must be set".to_owned());
    }
    if let Some(problem) = executor_problem(executor, framework_id) {
        return Some(problem);
    }
    let least = |what: &str, held: Quantity, minimum: Quantity, unit: &str| {
        let shown = if held == Quantity::ZERO { "None".to_owned() } else { format!("{held}{unit}") };
        (held < minimum).then(|| {
            format!(
                "Executor '{}' uses less {what} ({shown}) than the minimum required ({minimum}{unit})",
                executor.id
            )
        })
    };
    let resources = &executor.resources;
    least("CPUs", resources.cpus(), EXECUTOR_CPUS_MIN, "")
        .or_else(|| least("memory", resources.mem(), EXECUTOR_MEM_MIN, "MB"))
        .or_else(|| {
            let none = !resources.disk().is_positive();
            none.then(|| format!("Executor '{}' does not have disk resources, which it needs", executor.id))
        })
}

/// Who asks for an operation.
pub(crate) struct Asker<'a> {
    /// None: an operator.
    pub framework: Option<&'a FrameworkInfo>,
    /// The role of the offers it draws upon.
    pub role: Option<&'a Role>,
    pub principal: Option<&'a Principal>,
}

/// What is wrong with an operation, but for its resources being there.
pub(crate) fn operation_problem(
    operation: &ResourceOperation,
    asker: &Asker<'_>,
    agent: &AgentInfo,
) -> Option<String> {
    match operation {
        ResourceOperation::Reserve { source, resources } => reserve_problem(source, resources, asker, agent),
        ResourceOperation::Unreserve { resources } => unreserve_problem(resources),
        ResourceOperation::Create { volumes } => create_problem(volumes, asker, agent),
        ResourceOperation::Destroy { volumes } => none_of("volumes", volumes)
            .or_else(|| {
                volumes.iter().find_map(volume_problem).map(|why| format!("Not a persistent volume: {why}"))
            })
            .or_else(|| {
                (!volumes.iter().all(|volume| is_there(&agent.resources, volume)))
                    .then(|| "Persistent volumes not found".to_owned())
            }),
        ResourceOperation::GrowVolume { volume, addition } => grow_problem(volume, addition, agent),
        ResourceOperation::ShrinkVolume { volume, subtract } => shrink_problem(volume, *subtract, agent),
        ResourceOperation::CreateDisk { source, .. } => disk_problem(source, &[DiskKind::Raw], "RAW"),
        ResourceOperation::DestroyDisk { source } => {
            disk_problem(source, &[DiskKind::Mount, DiskKind::Block, DiskKind::Raw], "MOUNT, BLOCK or RAW")
        }
    }
    .or_else(|| conversion::of(operation).err())
}

fn is_there(total: &Resources, volume: &Resource) -> bool {
    let mut one = volume.clone();
    one.shared = one.shared.min(1);
    total.contains(&Resources::from_iter([one]))
}

fn none_of(what: &str, resources: &Resources) -> Option<String> {
    if resources.is_empty() {
        return Some(format!("Invalid resources: no {what} given"));
    }
    resources_problem(resources).map(|problem| format!("Invalid resources: {problem}"))
}

/// The resources as they are under all dynamic reservations.
fn without_dynamic(resources: &Resources) -> Resources {
    let bare = |mut resource: Resource| {
        resource.reservations.retain(|reservation| !reservation.dynamic);
        resource
    };
    resources.iter().cloned().map(bare).collect()
}

fn reserve_problem(
    source: &Resources,
    resources: &Resources,
    asker: &Asker<'_>,
    agent: &AgentInfo,
) -> Option<String> {
    if asker.framework.is_some() && !source.is_empty() {
        return Some("Reservation updates are not yet implemented for the scheduler API.".to_owned());
    }
    if let Some(problem) = none_of("resources", resources) {
        return Some(problem);
    }
    // A change of reservations makes nothing and loses nothing.
    if !source.is_empty() && without_dynamic(source) != without_dynamic(resources) {
        return Some(format!(
            "'source' {source} and 'resources' {resources} are not the same resources with other dynamic \
             reservations; name the same amounts in both"
        ));
    }
    for resource in resources.iter() {
        let Some(reservation) = resource.reservations.last().filter(|reservation| reservation.dynamic) else {
            return Some(format!("Resource {} is not dynamically reserved", shown(resource)));
        };
        if resource.is_persistent_volume() {
            return Some(format!("A persistent volume {} must already be reserved", shown(resource)));
        }
        if resource.revocable {
            return Some(format!("Resource {} is revocable and cannot be reserved", shown(resource)));
        }
        if let Some(principal) = asker.principal {
            match &reservation.principal {
                None => {
                    return Some(format!(
                        "A reserve operation was attempted by principal '{principal}', but there is a reserved resource in the request with no principal set"
                    ));
                }
                Some(named) if named != principal => {
                    return Some(format!(
                        "A reserve operation was attempted by authenticated principal '{principal}', which does not match a reserved resource in the request with principal '{named}'"
                    ));
                }
                Some(_) => {}
            }
        }
        if let Some(framework) = asker.framework
            && !framework.roles.contains(&reservation.role)
        {
            return Some(format!(
                "A reserve operation was attempted for a resource with role '{}', but the framework can only reserve resources with roles {}",
                reservation.role,
                braces(&framework.roles)
            ));
        }
        if let Some(role) = asker.role
            && *role != reservation.role
        {
            return Some(format!(
                "A reserve operation was attempted for a resource with role '{}', but the resource was allocated to role '{role}'",
                reservation.role
            ));
        }
        let refined = resource.is_refined() || reservation.role.as_str().contains('/');
        if resource.is_refined() && !agent.capabilities.contains(&AgentCapability::ReservationRefinement) {
            return Some(format!(
                "Resource {} has refined reservations, which the agent does not support (RESERVATION_REFINEMENT)",
                shown(resource)
            ));
        }
        if refined && !agent.capabilities.contains(&AgentCapability::HierarchicalRole) {
            return Some(format!(
                "Resource {} is reserved for a hierarchical role, which the agent does not support (HIERARCHICAL_ROLE)",
                shown(resource)
            ));
        }
    }
    None
}

fn unreserve_problem(resources: &Resources) -> Option<String> {
    if let Some(problem) = none_of("resources", resources) {
        return Some(problem);
    }
    for resource in resources.iter() {
        if !resource.is_dynamically_reserved() {
            return Some(format!("Resource {} is not dynamically reserved", shown(resource)));
        }
        if resource.is_persistent_volume() {
            return Some(format!(
                "A dynamically reserved persistent volume {} cannot be unreserved directly. Please destroy the persistent volume first then unreserve the resource",
                shown(resource)
            ));
        }
    }
    None
}

/// Why something is no persistent volume.
fn volume_problem(resource: &Resource) -> Option<String> {
    let Some(disk) = &resource.disk else {
        return Some(format!("Resource {} does not have DiskInfo", shown(resource)));
    };
    let Some(persistence) = &disk.persistence else {
        return Some("'persistence' is not set in DiskInfo".to_owned());
    };
    match &disk.volume {
        None => return Some("Expecting 'volume' to be set for persistent volume".to_owned()),
        Some(volume) if volume.read_only => {
            return Some("Read-only persistent volume not supported".to_owned());
        }
        Some(volume) if volume.host_path.is_some() => {
            return Some("Expecting 'host_path' to be unset for persistent volume".to_owned());
        }
        Some(volume) if volume.container_path.is_empty() => {
            return Some("Expecting 'container_path' to be set for persistent volume".to_owned());
        }
        Some(_) => {}
    }
    if let Some(problem) = id_problem(&persistence.id) {
        return Some(format!("Invalid persistence ID: {problem}"));
    }
    if resource.is_unreserved() {
        return Some("Persistent volumes cannot be created from unreserved resources.".to_owned());
    }
    if resource.revocable {
        return Some("Persistent volumes cannot be created from revocable resources.".to_owned());
    }
    None
}

fn create_problem(volumes: &Resources, asker: &Asker<'_>, agent: &AgentInfo) -> Option<String> {
    if let Some(problem) = none_of("volumes", volumes) {
        return Some(problem);
    }
    if let Some(problem) = volumes.iter().find_map(volume_problem) {
        return Some(format!("Not a persistent volume: {problem}"));
    }
    let mut taken: BTreeSet<(Role, &str)> = BTreeSet::new();
    for volume in agent.resources.iter().chain(volumes.iter()) {
        let Some(persistence) = volume.persistence() else { continue };
        if !taken.insert((volume.role(), &persistence.id)) {
            return Some(format!("Persistence ID '{}' is not unique", persistence.id));
        }
    }
    for volume in volumes.iter() {
        if let Some(framework) = asker.framework
            && volume.is_shared()
            && !framework.can(Capability::SharedResources)
        {
            return Some(format!(
                "Create volume operation for '{}' has been attempted by framework '{}' with no SHARED_RESOURCES capability",
                shown(volume),
                framework.id.as_ref().map_or("", |id| id.as_str())
            ));
        }
        let named = volume.persistence().and_then(|persistence| persistence.principal.as_ref());
        match (asker.principal, named) {
            (Some(principal), None) => {
                return Some(format!(
                    "A create operation was attempted by principal '{principal}', but there is a volume in the operation with no principal set in DiskInfo.Persistence"
                ));
            }
            (Some(principal), Some(named)) if principal != named => {
                return Some(format!(
                    "A create operation was attempted by principal '{principal}', but there is a volume in the operation with principal '{named}' set in DiskInfo.Persistence"
                ));
            }
            (None, Some(named)) if asker.framework.is_some() => {
                return Some(format!(
                    "A create operation was attempted with no principal, but there is a volume in the operation with principal '{named}' set in DiskInfo.Persistence"
                ));
            }
            _ => {}
        }
    }
    None
}

fn resize_problem(volume: &Resource, agent: &AgentInfo, what: &str) -> Option<String> {
    if !agent.capabilities.contains(&AgentCapability::ResizeVolume) {
        return Some(format!(
            "Volume {} cannot be {what}: the agent does not support it (RESIZE_VOLUME)",
            shown(volume)
        ));
    }
    if let Some(problem) = volume_problem(volume) {
        return Some(format!("Invalid resource in the 'volume' field: Not a persistent volume: {problem}"));
    }
    if volume.is_shared() {
        return Some(format!("Volume {} is shared and cannot be {what}", shown(volume)));
    }
    let source = volume.disk_source();
    if source.is_some_and(|source| source.kind != DiskKind::Path || source.id.is_some()) {
        return Some(format!("Volume {} is not on a ROOT or PATH disk and cannot be {what}", shown(volume)));
    }
    None
}

fn grow_problem(volume: &Resource, addition: &Resource, agent: &AgentInfo) -> Option<String> {
    if let Some(problem) = resize_problem(volume, agent, "grown") {
        return Some(problem);
    }
    let added = Resources::from_iter([addition.clone()]);
    if let Some(problem) = none_of("addition", &added) {
        return Some(format!("Invalid resource in the 'addition' field: {problem}"));
    }
    let base = conversion::without_volume(volume);
    let same = Resource { value: addition.value.clone(), ..base } == *addition;
    (!same).then(|| {
        format!(
            "Incompatible resources in the 'volume' and 'addition' fields: {} cannot be added to {}",
            shown(addition),
            shown(volume)
        )
    })
}

fn shrink_problem(volume: &Resource, subtract: Quantity, agent: &AgentInfo) -> Option<String> {
    if let Some(problem) = resize_problem(volume, agent, "shrunk") {
        return Some(problem);
    }
    if !subtract.is_positive() {
        return Some(format!("The value of 'subtract' must be greater than zero, not {subtract}"));
    }
    if subtract >= volume.quantity() {
        return Some(format!(
            "The value of 'subtract' must be smaller than the size of the volume: {subtract} of {}",
            volume.quantity()
        ));
    }
    None
}

fn disk_problem(source: &Resource, kinds: &[DiskKind], names: &str) -> Option<String> {
    if let Some(problem) = none_of("source", &Resources::from_iter([source.clone()])) {
        return Some(problem);
    }
    if !source.disk_source().is_some_and(|disk| kinds.contains(&disk.kind)) {
        return Some(format!("'source' is not a {names} disk resource: {}", shown(source)));
    }
    if source.is_persistent_volume() {
        return Some(format!("'source' is a persistent volume: {}; destroy it first", shown(source)));
    }
    source
        .provider
        .is_none()
        .then(|| format!("'source' is not managed by a resource provider: {}", shown(source)))
}

fn shown(resource: &Resource) -> String {
    Resources::from_iter([resource.clone()]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for bad in ["", ".", "..", "a/b", "a\\b", "a\nb", &"x".repeat(256)] {
            assert!(id_problem(bad).is_some(), "{bad:?} must be refused");
        }
        for good in ["a", "a.b", "web 1", "...", &"x".repeat(255)] {
            assert!(id_problem(good).is_none(), "{good:?} must be accepted");
        }
    }

    #[test]
    fn ks_4_ks_6_amounts_of_a_task() {
        let text = |resource: Resource| {
            // As it came: the algebra itself never keeps an empty amount.
            let resources = Resources::from_iter([resource]);
            held_problem("Task", &resources)
        };
        let negative = text(Resource::scalar("cpus", Quantity::from_milli(-1000)));
        assert_eq!(negative.unwrap(), "Task uses invalid resources: Invalid scalar resource: cpus <= 0");
        let gpus = text(Resource::scalar("gpus", Quantity::from_milli(500)));
        assert!(gpus.unwrap().contains("gpus"));
    }

    #[test]
    fn lists_in_messages() {
        assert_eq!(braces(["a", "b"]), "{ a, b }");
    }
}
