//! Volumes of every kind.

use std::collections::BTreeMap;

use scheduler::{Constraint, Operator};

use super::super::app::{AppDefinition, ConstraintText, ContainerType, DiskType, Volume, VolumeMode};
use super::super::normalize::Rules;
use super::{Found, feature};

pub(super) fn check(app: &AppDefinition, rules: &Rules, found: &mut Found) {
    let docker = app.container.as_ref().is_some_and(|container| container.kind == ContainerType::Docker);
    let mut external_names: BTreeMap<&str, u32> = BTreeMap::new();
    for (index, volume) in app.volumes().iter().enumerate() {
        let path = format!("/container/volumes({index})");
        match volume {
            Volume::Host { container_path, host_path, .. } => {
                found.add_if(container_path.is_empty(), format!("{path}/containerPath"), "must not be empty");
                found.add_if(host_path.is_empty(), format!("{path}/hostPath"), "must not be empty");
            }
            Volume::Persistent { .. } => persistent(volume, &path, found),
            Volume::External { name, .. } => {
                *external_names.entry(name).or_default() += 1;
                external(volume, docker, rules, &path, found);
            }
            Volume::Secret { secret, .. } => {
                feature(rules, "secrets", &path, found);
                let missing = !app.secrets.contains_key(secret);
                found.add_if(
                    missing,
                    format!("{path}/secret"),
                    "volume.secret must refer to an existing secret",
                );
                found.add_if(docker, path, "secret volumes are not supported with the Docker containerizer");
            }
        }
    }
    let id = &app.id;
    let text = format!("Number of instances is limited to 1 when declaring DVDI volumes in app [{id}]");
    found.add_if(!external_names.is_empty() && app.instances > 1, "/", text);
    for (name, count) in external_names {
        let text = format!("Requested DVDI volume '{name}' is declared more than once within app {id}");
        found.add_if(count > 1, "/container/volumes", text);
    }
}

fn persistent(volume: &Volume, path: &str, found: &mut Found) {
    let Volume::Persistent { container_path, mode, size, disk, max_size, constraints, .. } = volume else {
        return;
    };
    found.add_if(*mode != VolumeMode::Rw, format!("{path}/mode"), "must be RW for persistent volumes");
    found.add_if(*size <= 0, format!("{path}/persistent/size"), format!("got {size}, expected 1 or more"));
    let at = format!("{path}/containerPath");
    found.add_if(container_path.contains('/'), at.clone(), "value must not contain \"/\"");
    let dots = matches!(container_path.as_str(), "." | ".." | "");
    found.add_if(dots, at, "value must not be empty, \".\" or \"..\"");
    let at = format!("{path}/persistent");
    let root = *disk == DiskType::Root && !constraints.is_empty();
    found.add_if(root, at.clone(), "Constraints on root volumes are not supported");
    if let Some(max) = max_size {
        found.add_if(*disk != DiskType::Mount, at.clone(), "Only mount volumes can have maxSize");
        found.add_if(max <= size, at, "Max size must be larger than size");
    }
    for (index, constraint) in constraints.iter().enumerate() {
        disk_constraint(constraint, &format!("{path}/persistent/constraints({index})"), found);
    }
}

fn disk_constraint(constraint: &ConstraintText, path: &str, found: &mut Found) {
    let [field, operator, rest @ ..] = constraint.0.as_slice() else {
        found.add(path, "Each constraint must have either 2 or 3 fields");
        return;
    };
    found.add_if(field != "path", path, "Unsupported field");
    match Operator::from_name(operator) {
        Some(operator @ (Operator::Like | Operator::Unlike)) => {
            let value = rest.first().map(String::as_str);
            if let Err(error) = Constraint::new("path", operator, value) {
                found.add(path, error.to_string());
            }
        }
        _ => found.add(path, "Operator must be one of LIKE, UNLIKE"),
    }
}

fn external(volume: &Volume, docker: bool, rules: &Rules, path: &str, found: &mut Found) {
    let Volume::External { mode, name, provider, size, options, .. } = volume else { return };
    feature(rules, "external_volumes", path, found);
    let at = format!("{path}/external");
    found.add_if(name.is_empty(), format!("{at}/name"), "must not be empty");
    if provider != "dvdi" {
        found.add(format!("{at}/provider"), "is unknown provider");
        return;
    }
    let options_path = format!("{at}/options");
    let driver = options.get("dvdi/driver").is_some_and(|driver| !driver.is_empty());
    found.add_if(!driver, format!("{options_path}/\"dvdi/driver\""), "not defined");
    if docker {
        found.add_if(size.is_some(), format!("{at}/size"), "must be undefined for Docker containers");
        let others = options.keys().any(|name| name != "dvdi/driver");
        found.add_if(others, options_path, "must only contain \"dvdi/driver\"");
    } else {
        found.add_if(*mode != VolumeMode::Rw, format!("{path}/mode"), "must be RW");
        let small = size.is_some_and(|size| size <= 0);
        found.add_if(small, format!("{at}/size"), "must be greater than 0");
    }
}
