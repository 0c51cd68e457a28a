//! Health and readiness checks.

use super::super::app::{AppDefinition, ContainerType, HealthCheck, HealthProtocol, IpProtocol};
use super::Found;

pub(super) fn check(app: &AppDefinition, found: &mut Found) {
    let ports = if app.is_host_network() { app.port_definitions.len() } else { app.port_mappings().len() };
    for (index, check) in app.health_checks.iter().enumerate() {
        health(app, check, ports, &format!("/healthChecks({index})"), found);
    }
    let mesos = app.health_checks.iter().filter(|check| check.protocol.is_mesos_network()).count();
    let text = "AppDefinition can contain at most one Mesos health check";
    found.add_if(mesos > 1, "/healthChecks", text);
    readiness(app, found);
}

fn health(app: &AppDefinition, check: &HealthCheck, ports: usize, path: &str, found: &mut Found) {
    if check.protocol == HealthProtocol::Command {
        found.add_if(check.command.is_none(), format!("{path}/command"), "not defined");
    } else {
        let text = "Health check port indices must address an element of the ports array or container port mappings.";
        let outside = match (check.port, check.port_index) {
            (_, Some(index)) => index as usize >= ports,
            (Some(_), None) => false,
            (None, None) => true,
        };
        found.add_if(outside, path, text);
        let both = check.port.is_some() && check.port_index.is_some();
        found.add_if(both, path, "must specify either a port or a port index");
        found.add_if(check.command.is_some(), format!("{path}/command"), "must be empty");
    }
    let docker = app.container.as_ref().is_some_and(|container| container.kind == ContainerType::Docker);
    let allowed = docker && check.protocol.is_mesos_network();
    let text = "IPv6 can only be used for container type DOCKER and Mesos http/https/tcp health checks";
    found.add_if(check.ip_protocol == IpProtocol::V6 && !allowed, path, text);
}

fn readiness(app: &AppDefinition, found: &mut Found) {
    let count = app.readiness_checks.len();
    found.add_if(count > 1, "/readinessChecks", format!("got {count}, expected 1 or less"));
    for (index, check) in app.readiness_checks.iter().enumerate() {
        let path = format!("/readinessChecks({index})");
        let (timeout, interval) = (check.timeout_seconds, check.interval_seconds);
        let text = format!("got {timeout}, expected less than {interval}");
        found.add_if(timeout >= interval, format!("{path}/timeoutSeconds"), text);
        let named = app
            .port_definitions
            .iter()
            .map(|definition| definition.name.as_deref())
            .chain(app.port_mappings().iter().map(|mapping| mapping.name.as_deref()))
            .any(|name| name == Some(check.port_name.as_str()));
        let text = format!("No port definition reference for portName {}", check.port_name);
        found.add_if(!named, format!("{path}/portName"), text);
    }
}
