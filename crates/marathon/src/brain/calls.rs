//! Clients' calls: checked whole, then stored whole, or refused with nothing changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{TaskId, Time};

use super::deployments::Changes;
use super::{Marathon, Out};
use crate::api::{ApiCall, ApiError, ApiReply, TaskSelector, Violation};
use crate::definition::{AppDefinition, AppUpdate, Rules, resolve};
use crate::path::{PATH_LENGTH_MAX, PathId, RESERVED_LAST};
use crate::state::{Instance, KillReason};

impl Marathon {
    pub(super) fn api(&mut self, now: Time, call: ApiCall, out: &mut Out) -> Result<ApiReply, ApiError> {
        match call {
            ApiCall::CreateApp { app, force } => self.create_app(now, &app, force, out),
            ApiCall::UpdateApp { id, update, partial, create, force } => {
                let update = AppUpdate { id: Some(id.as_str().to_owned()), ..*update };
                self.update_apps(now, vec![update], partial, create, force, out)
            }
            ApiCall::UpdateApps { updates, partial, create, force } => {
                self.update_apps(now, updates, partial, create, force, out)
            }
            ApiCall::DeleteApp { id, force } => {
                self.existing(&id)?;
                let version = self.next_version(now);
                let changes = Changes::from([(id, None)]);
                let deployment = self.deploy(version, changes, &BTreeSet::new(), force, out)?;
                Ok(ApiReply::Deployment { deployment, created: None })
            }
            ApiCall::RestartApp { id, force } => {
                let present = self.existing(&id)?;
                let version = self.next_version(now);
                let definition =
                    Arc::new(AppDefinition { version, last_scaling: version, ..(*present).clone() });
                let changes = Changes::from([(id.clone(), Some(definition))]);
                let deployment = self.deploy(version, changes, &BTreeSet::from([id]), force, out)?;
                Ok(ApiReply::Deployment { deployment, created: None })
            }
            ApiCall::KillTasks { selector, scale, wipe, force } => {
                self.kill_tasks(now, selector, scale, wipe, force, out)
            }
            ApiCall::DeleteDeployment { id, force } => {
                Ok(match self.end_deployment(now, &id, force, out)? {
                    Some(deployment) => ApiReply::Deployment { deployment, created: None },
                    None => ApiReply::Done,
                })
            }
            ApiCall::ResetDelay { id } => self.reset_delay(id),
        }
    }

    fn existing(&self, id: &PathId) -> Result<Arc<AppDefinition>, ApiError> {
        let definition = self.apps.get(id).and_then(|app| app.definition.clone());
        definition.ok_or_else(|| ApiError::AppNotFound(id.clone()))
    }

    fn rules(&self) -> Rules {
        Rules {
            default_network_name: self.config.default_network_name.clone(),
            bridge_name: self.config.bridge_name.clone(),
            features: self.config.features.clone(),
        }
    }

    fn create_app(
        &mut self,
        now: Time,
        app: &AppUpdate,
        force: bool,
        out: &mut Out,
    ) -> Result<ApiReply, ApiError> {
        let id = app_id(app.id.as_deref())?;
        // What is wrong with it is told before that the name is taken.
        let definition = resolve(app, &id, None, &self.rules()).map_err(ApiError::Invalid)?;
        if self.existing(&id).is_ok() {
            return Err(ApiError::AppExists(id));
        }
        let version = self.next_version(now);
        let changes = self.prepare(version, vec![definition])?;
        let created = changes.get(&id).cloned().flatten().ok_or_else(|| ApiError::AppNotFound(id.clone()))?;
        let deployment = self.deploy(version, changes, &BTreeSet::new(), force, out)?;
        Ok(ApiReply::Created { app: created, deployment })
    }

    fn update_apps(
        &mut self,
        now: Time,
        updates: Vec<AppUpdate>,
        partial: bool,
        create: bool,
        force: bool,
        out: &mut Out,
    ) -> Result<ApiReply, ApiError> {
        let single = updates.len() == 1;
        let rules = self.rules();
        let mut definitions: Vec<AppDefinition> = Vec::with_capacity(updates.len());
        let mut created = None;
        let mut violations = Vec::new();
        for (index, update) in updates.iter().enumerate() {
            let id = app_id(update.id.as_deref())?;
            let present = self.existing(&id);
            if present.is_err() {
                if !create {
                    return Err(ApiError::AppNotFound(id));
                }
                created = Some(id.clone());
            }
            let resolved = match update.version {
                Some(version) => self.former_version(&id, update, version)?,
                None => {
                    let base = present.as_deref().ok().filter(|_| partial);
                    resolve(update, &id, base, &rules)
                }
            };
            match resolved {
                Ok(definition) => {
                    // The last of several updates of one app holds.
                    definitions.retain(|other| other.id != definition.id);
                    definitions.push(definition);
                }
                Err(found) => violations.extend(
                    found.into_iter().map(
                        |violation| {
                            if single { violation } else { within(index, &violation) }
                        },
                    ),
                ),
            }
        }
        if !violations.is_empty() {
            return Err(ApiError::Invalid(violations));
        }
        let version = self.next_version(now);
        let changes = self.prepare(version, definitions)?;
        let deployment = self.deploy(version, changes, &BTreeSet::new(), force, out)?;
        Ok(ApiReply::Deployment { deployment, created: created.filter(|_| single) })
    }

    /// The definition to roll back to.
    fn former_version(
        &self,
        id: &PathId,
        update: &AppUpdate,
        version: Time,
    ) -> Result<Result<AppDefinition, Vec<Violation>>, ApiError> {
        if !update.is_rollback_only() {
            let error = "The 'version' field may only be combined with the 'id' field.";
            return Ok(Err(vec![Violation::new("/version", error)]));
        }
        self.existing(id)?;
        let app = self.apps.get(id).and_then(|app| app.versions.get(&version));
        let found = app.ok_or_else(|| ApiError::VersionNotFound { app: id.clone(), version })?;
        Ok(Ok((**found).clone()))
    }

    /// Puts in what depends on the other apps: service ports and versions; and
    /// checks the whole of all apps as it will be.
    fn prepare(&mut self, version: Time, definitions: Vec<AppDefinition>) -> Result<Changes, ApiError> {
        let new = definitions.iter().filter(|definition| self.existing(&definition.id).is_err()).count();
        let max = self.config.limits.apps_max;
        if new > 0 && self.apps.len() + new > max {
            return Err(ApiError::TooManyApps { max });
        }
        self.check_paths(&definitions)?;
        let mut ports = ServicePorts::new(self, &definitions);
        let mut changes = Changes::new();
        for mut definition in definitions {
            let present = self.apps.get(&definition.id).and_then(|app| app.definition.clone());
            ports.assign(&mut definition, present.as_deref())?;
            let definition = stamp(definition, present, version);
            changes.insert(definition.id.clone(), Some(definition));
        }
        Ok(changes)
    }

    /// No app may be where another app's group is.
    fn check_paths(&self, definitions: &[AppDefinition]) -> Result<(), ApiError> {
        let clash = || {
            let error = "Groups and Applications may not have the same identifier.";
            Err(ApiError::Invalid(vec![Violation::new("/id", error)]))
        };
        for definition in definitions {
            let id = &definition.id;
            let is_app = |other: &PathId| {
                self.apps.get(other).is_some_and(|app| app.definition.is_some())
                    || definitions.iter().any(|definition| definition.id == *other)
            };
            let mut group = id.parent();
            while !group.is_root() {
                if is_app(&group) {
                    return clash();
                }
                group = group.parent();
            }
            let below = self.apps.range(id.clone()..).skip_while(|(other, _)| *other == id);
            // Ids below sort after `id` but others, such as "/a-b", may come between.
            let mut below = below.take_while(|(other, _)| other.as_str().starts_with(id.as_str()));
            if below.any(|(other, app)| app.definition.is_some() && other.is_within(id)) {
                return clash();
            }
        }
        Ok(())
    }

    fn kill_tasks(
        &mut self,
        now: Time,
        selector: TaskSelector,
        scale: bool,
        wipe: bool,
        force: bool,
        out: &mut Out,
    ) -> Result<ApiReply, ApiError> {
        if scale && wipe {
            return Err(ApiError::BadRequest("You cannot use scale and wipe at the same time.".to_owned()));
        }
        let chosen = self.select(selector)?;
        if !scale {
            for instance in &chosen {
                self.sentence(now, &instance.task_id, KillReason::Requested, out);
            }
            return Ok(ApiReply::Killed { tasks: chosen });
        }
        let mut lowered: BTreeMap<PathId, u32> = BTreeMap::new();
        for instance in chosen.iter().filter(|instance| instance.sentenced.is_none()) {
            *lowered.entry(instance.app.clone()).or_default() += 1;
        }
        let version = self.next_version(now);
        let mut changes = Changes::new();
        for (id, count) in lowered {
            let Ok(present) = self.existing(&id) else { continue };
            let instances = present.instances.saturating_sub(count);
            let definition =
                AppDefinition { instances, version, last_scaling: version, ..(*present).clone() };
            changes.insert(id, Some(Arc::new(definition)));
        }
        let deployment = self.deploy(version, changes, &BTreeSet::new(), force, out)?;
        for instance in &chosen {
            self.sentence(now, &instance.task_id, KillReason::ScaleDown, out);
        }
        Ok(ApiReply::Deployment { deployment, created: None })
    }

    fn select(&self, selector: TaskSelector) -> Result<Vec<Arc<Instance>>, ApiError> {
        match selector {
            TaskSelector::App { id, host } => {
                self.existing(&id)?;
                let host = host.filter(|host| host != "*");
                let instances = self.apps.get(&id).into_iter().flat_map(|app| app.instances.values());
                let chosen = instances.filter(|i| host.as_ref().is_none_or(|host| *host == i.hostname));
                Ok(chosen.cloned().collect())
            }
            TaskSelector::Task { app, task } => {
                self.existing(&app)?;
                let found = self.instance(&task).filter(|instance| instance.app == app);
                Ok(vec![found.ok_or(ApiError::TaskNotFound(task))?.clone()])
            }
            TaskSelector::Ids(ids) => {
                let ids: BTreeSet<TaskId> = ids.into_iter().collect();
                Ok(ids.iter().filter_map(|id| self.instance(id)).cloned().collect())
            }
        }
    }

    fn reset_delay(&mut self, id: PathId) -> Result<ApiReply, ApiError> {
        match self.apps.get_mut(&id).filter(|app| app.wanted.is_some()) {
            None => Err(ApiError::NotQueued(id)),
            Some(app) => {
                app.backoff = None;
                self.revive_wanted = true;
                self.unpublished.insert(id);
                Ok(ApiReply::Done)
            }
        }
    }
}

fn app_id(text: Option<&str>) -> Result<PathId, ApiError> {
    let invalid = |error: &str| ApiError::Invalid(vec![Violation::new("/id", error)]);
    let text = text.ok_or_else(|| invalid("error.path.missing"))?;
    if text.len() > PATH_LENGTH_MAX {
        return Err(invalid("error.maxLength"));
    }
    let id = PathId::parse(text).map_err(|_| invalid("error.pattern"))?;
    if id.is_root() {
        return Err(invalid("must not be root"));
    }
    if id.last().is_some_and(|last| RESERVED_LAST.contains(&last)) {
        return Err(invalid(
            "must not end with any of the following reserved keywords: restart, tasks, versions",
        ));
    }
    Ok(id)
}

fn within(index: usize, violation: &Violation) -> Violation {
    let inner = if violation.path == "/" { "" } else { violation.path.as_str() };
    Violation::new(format!("({index}){inner}"), violation.error.clone())
}

/// Gives a definition its place in the app's history. What changes nothing is
/// the present definition itself.
fn stamp(
    definition: AppDefinition,
    present: Option<Arc<AppDefinition>>,
    version: Time,
) -> Arc<AppDefinition> {
    let last_config_change = match &present {
        Some(present) if definition.same_definition(present) => return present.clone(),
        Some(present) if definition.same_config(present) => present.last_config_change,
        _ => version,
    };
    Arc::new(AppDefinition { version, last_scaling: version, last_config_change, ..definition })
}

/// Automatic service ports: unique over all apps, an app's own ones come back to it.
struct ServicePorts {
    taken: BTreeSet<u16>,
    min: u16,
    max: u16,
}

impl ServicePorts {
    fn new(brain: &Marathon, definitions: &[AppDefinition]) -> Self {
        let changing: BTreeSet<&PathId> = definitions.iter().map(|definition| &definition.id).collect();
        let others = brain.apps.iter().filter(|(id, _)| !changing.contains(id));
        let mut taken: BTreeSet<u16> =
            others.filter_map(|(_, app)| app.definition.as_ref()).flat_map(|d| d.service_ports()).collect();
        taken.extend(definitions.iter().flat_map(AppDefinition::service_ports).filter(|port| *port != 0));
        // What a changing app has now is kept for it.
        let present = changing.iter().filter_map(|id| brain.apps.get(id)?.definition.as_ref());
        taken.extend(present.flat_map(|definition| definition.service_ports()));
        Self { taken, min: brain.config.service_port_min, max: brain.config.service_port_max }
    }

    fn assign(
        &mut self,
        definition: &mut AppDefinition,
        present: Option<&AppDefinition>,
    ) -> Result<(), ApiError> {
        let named: BTreeSet<u16> = definition.service_ports().into_iter().filter(|port| *port != 0).collect();
        let range = self.min..=self.max;
        let mut own: Vec<u16> = present.map(AppDefinition::service_ports).unwrap_or_default();
        own.retain(|port| range.contains(port) && !named.contains(port));
        let mut own = own.into_iter();
        let mut ports = Vec::new();
        for port in definition.service_ports() {
            if port != 0 {
                ports.push(port);
                continue;
            }
            let next = own.next().or_else(|| self.range_free());
            let Some(next) = next else {
                let error = format!(
                    "no service port between {} and {} is free; name service ports of your own, outside that range",
                    self.min, self.max
                );
                return Err(ApiError::Unprocessable(error));
            };
            self.taken.insert(next);
            ports.push(next);
        }
        if definition.is_host_network() {
            for (declared, port) in definition.port_definitions.iter_mut().zip(ports) {
                declared.port = port;
            }
        } else if let Some(mappings) =
            definition.container.as_mut().and_then(|container| container.port_mappings.as_mut())
        {
            for (mapping, port) in mappings.iter_mut().zip(ports) {
                mapping.service_port = port;
            }
        }
        Ok(())
    }

    fn range_free(&self) -> Option<u16> {
        (self.min..=self.max).find(|port| !self.taken.contains(port))
    }
}
