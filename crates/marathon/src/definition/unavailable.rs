//! What the contract allows and this version cannot carry out yet: refused, at
//! the field, never ignored.

use super::app::{AppDefinition, EnvValue};
use crate::api::Violation;

/// Every refusal here ends so; tests and clients tell by it.
pub const SUFFIX: &str = "not available in this version";

pub(super) fn of(app: &AppDefinition) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut refuse = |is_used: bool, path: &str, what: &str| {
        if is_used {
            found.push(Violation::new(path, format!("{what} {SUFFIX}")));
        }
    };
    refuse(!app.is_host_network(), "/networks", "container and bridge networks are");
    refuse(!app.volumes().is_empty(), "/container/volumes", "volumes are");
    if let Some(container) = &app.container {
        refuse(container.appc.is_some(), "/container/appc", "AppC images are");
        if let Some(docker) = &container.docker {
            refuse(docker.privileged, "/container/docker/privileged", "privileged containers are");
            refuse(!docker.parameters.is_empty(), "/container/docker/parameters", "Docker parameters are");
            refuse(docker.pull_secret.is_some(), "/container/docker/pullConfig", "pull secrets are");
        }
    }
    refuse(!app.health_checks.is_empty(), "/healthChecks", "health checks are");
    refuse(!app.readiness_checks.is_empty(), "/readinessChecks", "readiness checks are");
    refuse(!app.fetch.is_empty(), "/fetch", "fetching URIs is");
    refuse(app.gpus > 0, "/gpus", "GPUs are");
    refuse(!app.secrets.is_empty(), "/secrets", "secrets are");
    refuse(app.tty == Some(true), "/tty", "terminals are");
    refuse(app.residency.is_some(), "/residency", "resident apps are");
    let custom = !matches!(app.executor.as_str(), "" | "//cmd");
    refuse(custom, "/executor", "custom executors are");
    for (name, value) in &app.env {
        let secret = matches!(value, EnvValue::Secret(_));
        refuse(secret, &format!("/env/{name}"), "secrets in the environment are");
    }
    found
}
