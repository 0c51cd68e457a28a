//! What can be wrong with a task or an executor in form alone, in the order in
//! which the master looks, with the texts that clients know.

use std::collections::BTreeSet;

use mesos_proto::v1;
use mesos_proto::v1::{check_info, container_info, environment, executor_info, health_check};
use model::{Quantity, Resources};

use super::{Invalid, resources};

type Checked = Result<(), Invalid>;

fn refuse(text: impl Into<String>) -> Checked {
    Err(Invalid(text.into()))
}

/// A task of LAUNCH.
pub(crate) fn task(task: &v1::TaskInfo) -> Checked {
    common(task)?;
    if task.command.is_some() == task.executor.is_some() {
        return refuse("Task should have at least one (but not both) of CommandInfo or ExecutorInfo present");
    }
    task.executor.as_deref().map_or(Ok(()), executor)
}

/// A task of LAUNCH_GROUP.
pub(crate) fn group_task(task: &v1::TaskInfo, executor: &v1::ExecutorInfo) -> Checked {
    common(task)?;
    if let Some(own) = task.executor.as_deref()
        && own != executor
    {
        return refuse("The `ExecutorInfo` of the task is not the one of its group; leave it out");
    }
    let Some(container) = task.container.as_deref() else { return Ok(()) };
    if container.r#type == container_info::Type::Docker as i32 {
        return refuse("Docker ContainerInfo is not supported on the task");
    }
    let probe = task.health_check.as_deref().and_then(health_check_kind);
    if !container.network_infos.is_empty()
        && let Some(kind @ (health_check::Type::Http | health_check::Type::Tcp)) = probe
    {
        return refuse(format!(
            "{} health checks are not supported for nested containers that have network infos of their own",
            kind.as_str_name()
        ));
    }
    Ok(())
}

fn common(task: &v1::TaskInfo) -> Checked {
    let negative = |duration: Option<&v1::DurationInfo>| duration.is_some_and(|span| span.nanoseconds < 0);
    if negative(task.kill_policy.as_ref().and_then(|policy| policy.grace_period.as_ref())) {
        return refuse("Task's 'kill_policy.grace_period' must be non-negative");
    }
    if negative(task.max_completion_time.as_ref()) {
        return refuse("Task's 'max_completion_time' must be non-negative");
    }
    if let Some(check) = task.check.as_deref() {
        self::check(check).map_err(|error| Invalid(format!("Task uses invalid check: {error}")))?;
    }
    if let Some(check) = task.health_check.as_deref() {
        self::health_check(check)
            .map_err(|error| Invalid(format!("Task uses invalid health check: {error}")))?;
    }
    let held = task_resources(&task.resources)?;
    if let Some(command) = &task.command {
        self::command(command)
            .map_err(|error| Invalid(format!("Task's `CommandInfo` is invalid: {error}")))?;
    }
    if let Some(container) = task.container.as_deref() {
        self::container(container)
            .map_err(|error| Invalid(format!("Task's `ContainerInfo` is invalid: {error}")))?;
    }
    limits(task, &held)
}

fn task_resources(list: &[v1::Resource]) -> Result<Resources, Invalid> {
    if list.is_empty() {
        return Err(Invalid::new("Task uses no resources"));
    }
    bag(list, "Task")
}

/// A sound list: no volume twice, no name both revocable and not.
fn bag(list: &[v1::Resource], owner: &str) -> Result<Resources, Invalid> {
    let incoming =
        resources(list).map_err(|error| Invalid(format!("{owner} uses invalid resources: {error}")))?;
    let mut volumes = BTreeSet::new();
    for resource in list.iter().filter(|resource| resource.shared.is_none()) {
        let persistence = resource.disk.as_ref().and_then(|disk| disk.persistence.as_ref());
        if let Some(persistence) = persistence
            && !volumes.insert((resource_role(resource), &persistence.id))
        {
            return Err(Invalid(format!("{owner} uses duplicate persistence ID: {}", persistence.id)));
        }
    }
    let names = |revocable: bool| -> BTreeSet<&str> {
        let fits = list.iter().filter(|resource| resource.revocable.is_some() == revocable);
        fits.map(|resource| resource.name.as_str()).collect()
    };
    if let Some(name) = names(true).intersection(&names(false)).next() {
        return Err(Invalid(format!(
            "{owner} uses invalid resources: Cannot use both revocable and non-revocable '{name}' at the same time"
        )));
    }
    Ok(incoming.resources)
}

fn resource_role(resource: &v1::Resource) -> &str {
    let last = resource.reservations.last().and_then(|reservation| reservation.role.as_deref());
    last.or(resource.role.as_deref()).unwrap_or("*")
}

fn limits(task: &v1::TaskInfo, held: &Resources) -> Checked {
    for (name, limit) in &task.limits {
        if !matches!(name.as_str(), "cpus" | "mem") {
            return refuse(format!(
                "Setting a limit for the resource '{name}' is not supported: only cpus and mem are"
            ));
        }
        let request = held.scalar(name);
        let limit = limit.value;
        if !limit.is_nan() && limit >= request.to_f64() {
            continue;
        }
        return refuse(format!(
            "The limit {limit} of '{name}' is below the request {request}; limits must be at least the request"
        ));
    }
    Ok(())
}

// ---- checks

/// The type of a health check, said or clear from what is set.
pub(crate) fn health_check_kind(check: &v1::HealthCheck) -> Option<health_check::Type> {
    let said = check.r#type.and_then(|kind| health_check::Type::try_from(kind).ok());
    said.filter(|kind| *kind != health_check::Type::Unknown).or_else(|| inferred_health_check(check))
}

/// Older clients leave the type out.
pub(crate) fn inferred_health_check(check: &v1::HealthCheck) -> Option<health_check::Type> {
    match (check.r#type, &check.command, &check.http) {
        (None, Some(_), None) => Some(health_check::Type::Command),
        (None, None, Some(_)) => Some(health_check::Type::Http),
        _ => None,
    }
}

fn health_check(check: &v1::HealthCheck) -> Checked {
    let said = check.r#type.and_then(|kind| health_check::Type::try_from(kind).ok());
    let Some(kind) = said.or_else(|| inferred_health_check(check)) else {
        return refuse("HealthCheck must specify 'type'");
    };
    let missing =
        |what: &str| refuse(format!("Expecting '{what}' to be set for {} health check", kind.as_str_name()));
    match kind {
        health_check::Type::Command => match &check.command {
            None => return missing("command"),
            Some(command) => checked_command(command, "Command health check", "Health check")?,
        },
        health_check::Type::Http => {
            let Some(http) = &check.http else { return missing("http") };
            if let Some(scheme) = http.scheme.as_deref()
                && !matches!(scheme, "http" | "https")
            {
                return refuse(format!("Unsupported HTTP health check scheme: '{scheme}'"));
            }
            path(http.path.as_deref(), "HTTP health check")?;
        }
        health_check::Type::Tcp if check.tcp.is_none() => return missing("tcp"),
        health_check::Type::Tcp => {}
        health_check::Type::Unknown => return refuse("'UNKNOWN' is not a valid health check type"),
    }
    non_negative("delay_seconds", check.delay_seconds)?;
    non_negative("grace_period_seconds", check.grace_period_seconds)?;
    non_negative("interval_seconds", check.interval_seconds)?;
    non_negative("timeout_seconds", check.timeout_seconds)
}

fn check(check: &v1::CheckInfo) -> Checked {
    let Some(kind) = check.r#type.and_then(|kind| check_info::Type::try_from(kind).ok()) else {
        return refuse("CheckInfo must specify 'type'");
    };
    let missing =
        |what: &str| refuse(format!("Expecting '{what}' to be set for {} check", kind.as_str_name()));
    match kind {
        check_info::Type::Command => match &check.command {
            None => return missing("command"),
            Some(inner) => checked_command(&inner.command, "Command check", "Check")?,
        },
        check_info::Type::Http => match &check.http {
            None => return missing("http"),
            Some(http) => path(http.path.as_deref(), "HTTP check")?,
        },
        check_info::Type::Tcp if check.tcp.is_none() => return missing("tcp"),
        check_info::Type::Tcp => {}
        check_info::Type::Unknown => return refuse("'UNKNOWN' is not a valid check type"),
    }
    non_negative("delay_seconds", check.delay_seconds)?;
    non_negative("interval_seconds", check.interval_seconds)?;
    non_negative("timeout_seconds", check.timeout_seconds)
}

fn checked_command(command: &v1::CommandInfo, what: &str, owner: &str) -> Checked {
    if command.value.is_none() {
        let wanted = if command.shell.unwrap_or(true) { "'shell command'" } else { "'executable path'" };
        return refuse(format!("{what} must contain {wanted}"));
    }
    self::command(command).map_err(|error| Invalid(format!("{owner}'s `CommandInfo` is invalid: {error}")))
}

fn path(path: Option<&str>, what: &str) -> Checked {
    match path {
        Some(path) if !path.starts_with('/') => {
            refuse(format!("The path '{path}' of {what} must start with '/'"))
        }
        _ => Ok(()),
    }
}

fn non_negative(name: &str, value: Option<f64>) -> Checked {
    match value {
        Some(value) if value.is_nan() || value < 0.0 => {
            refuse(format!("Expecting '{name}' to be non-negative"))
        }
        _ => Ok(()),
    }
}

// ---- commands and containers

fn command(command: &v1::CommandInfo) -> Checked {
    let variables = command.environment.as_ref().map(|environment| environment.variables.as_slice());
    variables.unwrap_or_default().iter().try_for_each(variable)
}

fn variable(variable: &environment::Variable) -> Checked {
    let name = &variable.name;
    let kind = match variable.r#type {
        None => environment::variable::Type::Value,
        Some(kind) => environment::variable::Type::try_from(kind).unwrap_or_default(),
    };
    match kind {
        environment::variable::Type::Value if variable.secret.is_some() => {
            refuse(format!("Environment variable '{name}' of type 'VALUE' must not have a secret set"))
        }
        environment::variable::Type::Value if variable.value.is_none() => {
            refuse(format!("Environment variable '{name}' of type 'VALUE' must have a value set"))
        }
        environment::variable::Type::Secret if variable.value.is_some() => {
            refuse(format!("Environment variable '{name}' of type 'SECRET' must not have a value set"))
        }
        environment::variable::Type::Secret => match &variable.secret {
            None => refuse(format!("Environment variable '{name}' of type 'SECRET' must have a secret set")),
            Some(secret) => {
                let zero = secret.value.as_ref().is_some_and(|value| value.data.contains(&0));
                if zero {
                    return refuse(format!(
                        "Environment variable '{name}' specifies a secret containing null bytes, which is not \
                         allowed in the environment"
                    ));
                }
                self::secret(secret).map_err(|error| {
                    Invalid(format!("Environment variable '{name}' specifies an invalid secret: {error}"))
                })
            }
        },
        environment::variable::Type::Value => Ok(()),
        environment::variable::Type::Unknown => refuse(format!(
            "Environment variable '{name}' is of type 'UNKNOWN'; VALUE and SECRET are allowed"
        )),
    }
}

fn secret(secret: &v1::Secret) -> Checked {
    use v1::secret::Type;
    match secret.r#type.and_then(|kind| Type::try_from(kind).ok()) {
        Some(Type::Reference) if secret.reference.is_none() => {
            refuse("Secret of type REFERENCE must have the 'reference' field set")
        }
        Some(Type::Reference) if secret.value.is_some() => {
            refuse("Secret of type REFERENCE must not have the 'value' field set")
        }
        Some(Type::Value) if secret.value.is_none() => {
            refuse("Secret of type VALUE must have the 'value' field set")
        }
        Some(Type::Value) if secret.reference.is_some() => {
            refuse("Secret of type VALUE must not have the 'reference' field set")
        }
        Some(Type::Reference | Type::Value) => Ok(()),
        Some(Type::Unknown) | None => refuse("Secret must have the type REFERENCE or VALUE"),
    }
}

fn container(container: &v1::ContainerInfo) -> Checked {
    container.volumes.iter().try_for_each(volume)?;
    if container.r#type != container_info::Type::Docker as i32 {
        return Ok(());
    }
    let Some(docker) = &container.docker else {
        return refuse("DockerInfo 'docker' is not set for DOCKER typed ContainerInfo");
    };
    if docker.parameters.iter().any(|parameter| parameter.key == "name") {
        return refuse("Parameter in DockerInfo must not be 'name'");
    }
    Ok(())
}

fn volume(volume: &v1::Volume) -> Checked {
    let given = [volume.host_path.is_some(), volume.image.is_some(), volume.source.is_some()];
    match given.into_iter().filter(|given| *given).count() {
        1 => {}
        0 => return refuse("One of 'host_path', 'image', or 'source' must be set for Volume"),
        _ => return refuse("Only one of 'host_path', 'image', or 'source' must be set for Volume"),
    }
    let Some(source) = volume.source.as_deref() else { return Ok(()) };
    use v1::volume::source::Type;
    let (name, set) = match source.r#type.and_then(|kind| Type::try_from(kind).ok()) {
        Some(Type::DockerVolume) => ("docker_volume", source.docker_volume.is_some()),
        Some(Type::HostPath) => ("host_path", source.host_path.is_some()),
        Some(Type::SandboxPath) => ("sandbox_path", source.sandbox_path.is_some()),
        Some(Type::Secret) => ("secret", source.secret.is_some()),
        Some(Type::CsiVolume) => ("csi_volume", source.csi_volume.is_some()),
        Some(Type::Unknown) | None => return refuse("'source.type' of a Volume is unknown or not set"),
    };
    if !set {
        return refuse(format!("'source.{name}' is not set for the type of the Volume's source"));
    }
    Ok(())
}

// ---- executors

/// An executor of a task of LAUNCH.
fn executor(executor: &v1::ExecutorInfo) -> Checked {
    let kind = executor.r#type.and_then(|kind| executor_info::Type::try_from(kind).ok());
    if kind == Some(executor_info::Type::Default) {
        return refuse("'ExecutorInfo.type' must be 'CUSTOM' in LAUNCH; use LAUNCH_GROUP for a DEFAULT one");
    }
    executor_common(executor)?;
    if executor.command.is_none() {
        return refuse("'ExecutorInfo.command' must be set for 'CUSTOM' executor");
    }
    Ok(())
}

fn executor_common(executor: &v1::ExecutorInfo) -> Checked {
    if let Some(shared) = executor.resources.iter().find(|resource| resource.shared.is_some()) {
        return refuse(format!(
            "Executor uses the shared resource '{}', which only tasks may use",
            shared.name
        ));
    }
    bag(&executor.resources, "Executor")?;
    let negative = executor.shutdown_grace_period.as_ref().is_some_and(|span| span.nanoseconds < 0);
    if negative {
        return refuse("ExecutorInfo's 'shutdown_grace_period' must be non-negative");
    }
    if let Some(command) = &executor.command {
        self::command(command)
            .map_err(|error| Invalid(format!("Executor's `CommandInfo` is invalid: {error}")))?;
    }
    if let Some(container) = executor.container.as_deref() {
        self::container(container)
            .map_err(|error| Invalid(format!("Executor's `ContainerInfo` is invalid: {error}")))?;
    }
    Ok(())
}

/// What an executor of a group needs at least.
const GROUP_CPUS_MIN: Quantity = Quantity::from_milli(10);
const GROUP_MEM_MIN: Quantity = Quantity::from_milli(32_000);

/// The executor of a group.
pub(crate) fn group_executor(executor: &v1::ExecutorInfo) -> Checked {
    let kind = executor.r#type.and_then(|kind| executor_info::Type::try_from(kind).ok());
    let container = executor.container.as_deref();
    match kind {
        None => return refuse("'ExecutorInfo.type' must be set"),
        Some(executor_info::Type::Unknown) => return refuse("Unknown executor type"),
        Some(executor_info::Type::Custom) => {
            if executor.command.is_none() {
                return refuse("'ExecutorInfo.command' must be set for 'CUSTOM' executor");
            }
            if container.is_some_and(|container| container.r#type == container_info::Type::Docker as i32) {
                return refuse("Docker ContainerInfo is not supported on the executor");
            }
        }
        Some(executor_info::Type::Default) => {
            if executor.command.is_some() {
                return refuse("'ExecutorInfo.command' must not be set for 'DEFAULT' executor");
            }
            if let Some(container) = container {
                if container.r#type != container_info::Type::Mesos as i32 {
                    return refuse("'ExecutorInfo.container.type' must be 'MESOS' for 'DEFAULT' executor");
                }
                if container.mesos.as_ref().is_some_and(|mesos| mesos.image.is_some()) {
                    return refuse(
                        "'ExecutorInfo.container.mesos.image' must not be set for 'DEFAULT' executor",
                    );
                }
            }
        }
    }
    executor_common(executor)?;
    let held = bag(&executor.resources, "Executor")?;
    if held.scalar("cpus") < GROUP_CPUS_MIN {
        return refuse(format!(
            "Executor '{}' uses less cpus than the minimum {GROUP_CPUS_MIN}",
            executor.executor_id.value
        ));
    }
    if held.scalar("mem") < GROUP_MEM_MIN {
        return refuse(format!(
            "Executor '{}' uses less mem than the minimum {GROUP_MEM_MIN} MB",
            executor.executor_id.value
        ));
    }
    if held.scalar("disk") <= Quantity::ZERO {
        return refuse(format!("Executor '{}' uses no disk; some is needed", executor.executor_id.value));
    }
    Ok(())
}
