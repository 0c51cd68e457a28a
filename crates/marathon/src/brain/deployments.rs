//! Deployment plans: made, stored, moved on, cancelled, reverted.
//!
//! Invariant: a plan and the definitions it leads to become durable together,
//! before anything is done; a plan moves on only when its step has come true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::Time;

use super::{Effect, Marathon, Out};
use crate::api::{ApiError, DeploymentRef, MarathonEvent, Violation};
use crate::definition::AppDefinition;
use crate::path::PathId;
use crate::state::{Action, ActionKind, Deployment, Step, Write};

/// Definitions to be: `None` deletes.
pub(super) type Changes = BTreeMap<PathId, Option<Arc<AppDefinition>>>;

impl Marathon {
    /// Makes the changes durable with the plan that leads to them.
    /// `restarts`: apps whose instances are replaced although nothing differs.
    pub(super) fn deploy(
        &mut self,
        version: Time,
        changes: Changes,
        restarts: &BTreeSet<PathId>,
        force: bool,
        out: &mut Out,
    ) -> Result<DeploymentRef, ApiError> {
        let conflicts: BTreeSet<String> =
            changes.keys().filter_map(|id| self.apps.get(id)?.deployment.clone()).collect();
        if !force && !conflicts.is_empty() {
            return Err(ApiError::Locked { deployments: conflicts.into_iter().collect() });
        }
        let max = self.config.limits.deployments_max;
        if self.deployments.len() - conflicts.len() >= max {
            return Err(ApiError::TooManyDeployments { max });
        }
        let layers = self.layers(&changes)?;
        let original: Changes = changes
            .keys()
            .map(|id| (id.clone(), self.apps.get(id).and_then(|app| app.definition.clone())))
            .collect();
        let steps = self.steps(&original, &changes, restarts, &layers);
        let plan = Arc::new(Deployment {
            id: self.rng.uuid().to_string(),
            version,
            steps,
            current: 0,
            original,
            target: changes.clone(),
        });
        self.check_size(&plan)?;
        for conflict in &conflicts {
            self.cancel(conflict, "The upgrade has been cancelled", out);
        }
        let groups: BTreeSet<PathId> = changes.keys().map(PathId::parent).collect();
        for (id, definition) in changes {
            self.put_definition(&id, definition, out);
            let app = self.apps.entry(id.clone()).or_default();
            app.deployment = Some(plan.id.clone());
            self.dirty.insert(id);
        }
        self.start_plan(&plan, groups, out);
        Ok(DeploymentRef { id: plan.id.clone(), version })
    }

    /// A plan that the store would refuse must not be begun.
    fn check_size(&self, plan: &Arc<Deployment>) -> Result<(), ApiError> {
        let max = self.config.limits.plan_bytes_max;
        let value = Write::PutDeployment(plan.clone()).value();
        let bytes = value.ok().flatten().map_or(usize::MAX, |value| value.len());
        if bytes > max { Err(ApiError::PlanTooLarge { bytes, max }) } else { Ok(()) }
    }

    fn start_plan(&mut self, plan: &Arc<Deployment>, groups: BTreeSet<PathId>, out: &mut Out) {
        for group in groups {
            out.effect(Effect::Event(MarathonEvent::GroupChangeSuccess { group, version: plan.version }));
        }
        out.effect(Effect::Event(MarathonEvent::DeploymentInfo(plan.clone())));
        self.unpublished_rest = true;
        if plan.steps.is_empty() {
            for id in plan.target.keys() {
                if let Some(app) = self.apps.get_mut(id) {
                    app.deployment = None;
                }
            }
            out.effect(Effect::Event(MarathonEvent::DeploymentSuccess(plan.clone())));
            return;
        }
        let restarted = plan.steps.iter().flat_map(|step| &step.actions);
        for action in restarted.filter(|action| matches!(action.kind, ActionKind::Restart { .. })) {
            if let Some(app) = self.apps.get_mut(&action.app) {
                app.backoff = None;
            }
        }
        out.write(Write::PutDeployment(plan.clone()));
        self.deployments.insert(plan.id.clone(), plan.clone());
    }

    /// Replaces what is stored of an app.
    fn put_definition(&mut self, id: &PathId, definition: Option<Arc<AppDefinition>>, out: &mut Out) {
        let versions_max = self.config.limits.versions_max.max(1);
        let app = self.apps.entry(id.clone()).or_default();
        let before = app.definition.clone();
        match definition {
            Some(definition) if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, &definition)) => {}
            Some(definition) => {
                let versions = Arc::make_mut(&mut app.versions);
                versions.insert(definition.version, definition.clone());
                out.write(Write::PutVersion(definition.clone()));
                while versions.len() > versions_max {
                    if let Some((version, _)) = versions.pop_first() {
                        out.write(Write::DeleteVersion { app: id.clone(), version });
                    }
                }
                if app.backoff.is_some_and(|(config, _)| config != definition.last_config_change) {
                    app.backoff = None;
                }
                out.write(Write::PutApp(definition.clone()));
                app.definition = Some(definition);
            }
            None => {
                for version in app.versions.keys() {
                    out.write(Write::DeleteVersion { app: id.clone(), version: *version });
                }
                app.versions = Arc::default();
                app.backoff = None;
                if app.last_failure.take().is_some() {
                    out.write(Write::DeleteTaskFailure(id.clone()));
                }
                if app.definition.take().is_some() {
                    out.write(Write::DeleteApp(id.clone()));
                }
            }
        }
    }

    fn steps(
        &self,
        original: &Changes,
        target: &Changes,
        restarts: &BTreeSet<PathId>,
        layers: &BTreeMap<PathId, usize>,
    ) -> Vec<Step> {
        let mut stops = Vec::new();
        let mut starts = Vec::new();
        let mut by_layer: BTreeMap<usize, Vec<Action>> = BTreeMap::new();
        for (id, after) in target {
            let before = original.get(id).and_then(Option::as_ref);
            let Some(after) = after else {
                let left = self.apps.get(id).is_some_and(|app| !app.instances.is_empty());
                if before.is_some() || left {
                    stops.push(Action { app: id.clone(), kind: ActionKind::Stop });
                }
                continue;
            };
            let kind = match before {
                None => {
                    starts.push(Action { app: id.clone(), kind: ActionKind::Start });
                    Some(ActionKind::Scale)
                }
                Some(before) => self.action_for(id, before, after, restarts.contains(id)),
            };
            if let Some(kind) = kind {
                let layer = layers.get(id).copied().unwrap_or(0);
                by_layer.entry(layer).or_default().push(Action { app: id.clone(), kind });
            }
        }
        let mut steps = vec![stops, starts];
        steps.extend(by_layer.into_values());
        steps.retain(|actions| !actions.is_empty());
        steps.into_iter().map(|actions| Step { actions }).collect()
    }

    fn action_for(
        &self,
        id: &PathId,
        before: &AppDefinition,
        after: &AppDefinition,
        restart: bool,
    ) -> Option<ActionKind> {
        // A cancelled upgrade may have left instances of another configuration.
        let mixed = self.apps.get(id).is_some_and(|app| {
            super::converge::unsentenced(app).any(|instance| instance.config != after.last_config_change)
        });
        let changed = before.last_config_change != after.last_config_change;
        if after.instances == 0 && before.instances != 0 {
            Some(ActionKind::Scale)
        } else if restart {
            Some(ActionKind::Restart { forced: true })
        } else if changed || (mixed && before.version != after.version) {
            Some(ActionKind::Restart { forced: false })
        } else if before.instances != after.instances {
            Some(ActionKind::Scale)
        } else {
            None
        }
    }

    /// Longest path to each app in the dependency graph as it will be.
    fn layers(&self, changes: &Changes) -> Result<BTreeMap<PathId, usize>, ApiError> {
        let mut graph: BTreeMap<&PathId, &AppDefinition> = BTreeMap::new();
        for (id, app) in &self.apps {
            if let Some(definition) = &app.definition {
                graph.insert(id, definition);
            }
        }
        for (id, change) in changes {
            match change {
                Some(definition) => graph.insert(id, definition),
                None => graph.remove(id),
            };
        }
        if graph.values().all(|definition| definition.dependencies.is_empty()) {
            return Ok(BTreeMap::new());
        }
        let edges: BTreeMap<&PathId, Vec<&PathId>> = graph
            .iter()
            .map(|(id, definition)| {
                let needs = |other: &&PathId| {
                    *other != *id
                        && definition.dependencies.iter().any(|dependency| other.is_within(dependency))
                };
                let found = if definition.dependencies.is_empty() {
                    Vec::new()
                } else {
                    graph.keys().copied().filter(needs).collect()
                };
                (*id, found)
            })
            .collect();
        longest_paths(&edges)
    }

    pub(super) fn cancel(&mut self, id: &str, reason: &str, out: &mut Out) {
        let Some(plan) = self.deployments.remove(id) else { return };
        self.release(&plan, out);
        let reason = reason.to_owned();
        out.effect(Effect::Event(MarathonEvent::DeploymentFailed { plan, reason }));
    }

    /// Ends the hold of a plan on its apps.
    fn release(&mut self, plan: &Deployment, out: &mut Out) {
        for id in plan.target.keys() {
            if let Some(app) = self.apps.get_mut(id).filter(|app| app.deployment.as_ref() == Some(&plan.id)) {
                app.deployment = None;
                self.dirty.insert(id.clone());
            }
        }
        self.unpublished_rest = true;
        out.write(Write::DeleteDeployment(plan.id.clone()));
    }

    /// Moves a plan on as far as it has come true.
    pub(super) fn advance(&mut self, id: &str, out: &mut Out) {
        let Some(plan) = self.deployments.get(id).cloned() else { return };
        let Some(step) = plan.steps.get(plan.current) else { return };
        if !step.actions.iter().all(|action| self.is_done(&action.app, action.kind)) {
            return;
        }
        out.effect(Effect::Event(MarathonEvent::DeploymentStepSuccess(plan.clone())));
        self.unpublished_rest = true;
        if plan.current + 1 >= plan.steps.len() {
            self.deployments.remove(id);
            self.release(&plan, out);
            out.effect(Effect::Event(MarathonEvent::DeploymentSuccess(plan)));
            return;
        }
        let mut next = (*plan).clone();
        next.current += 1;
        let next = Arc::new(next);
        out.write(Write::PutDeployment(next.clone()));
        self.deployments.insert(next.id.clone(), next.clone());
        self.dirty.extend(next.target.keys().cloned());
        out.effect(Effect::Event(MarathonEvent::DeploymentInfo(next)));
    }

    /// Ends a deployment: with `force` leaving everything as it is, else by a new
    /// one that brings back what it changed and nobody changed since.
    pub(super) fn end_deployment(
        &mut self,
        now: Time,
        id: &str,
        force: bool,
        out: &mut Out,
    ) -> Result<Option<DeploymentRef>, ApiError> {
        let Some(plan) = self.deployments.get(id).cloned() else {
            return Err(ApiError::DeploymentNotFound(id.to_owned()));
        };
        if force {
            self.cancel(id, "The upgrade has been cancelled", out);
            return Ok(None);
        }
        let version = self.next_version(now);
        let mut changes = Changes::new();
        for (app, target) in &plan.target {
            let present = self.apps.get(app).and_then(|app| app.definition.as_ref());
            if present.map(|d| d.version) != target.as_ref().map(|d| d.version) {
                continue;
            }
            let before = plan.original.get(app).and_then(Option::as_ref);
            let restored = before.map(|before| {
                // The old configuration keeps its mark, so that instances of it may stay.
                Arc::new(AppDefinition { version, last_scaling: version, ..(**before).clone() })
            });
            changes.insert(app.clone(), restored);
        }
        let reference = self.deploy(version, changes, &BTreeSet::new(), true, out)?;
        // Nothing was left to bring back: then the new plan did not replace it.
        self.cancel(id, "The upgrade has been cancelled", out);
        Ok(Some(reference))
    }
}

fn longest_paths(edges: &BTreeMap<&PathId, Vec<&PathId>>) -> Result<BTreeMap<PathId, usize>, ApiError> {
    let mut open: BTreeMap<&PathId, usize> = edges.iter().map(|(id, needs)| (*id, needs.len())).collect();
    let mut needed_by: BTreeMap<&PathId, Vec<&PathId>> = BTreeMap::new();
    for (id, needs) in edges {
        for need in needs {
            needed_by.entry(need).or_default().push(id);
        }
    }
    let mut ready: Vec<&PathId> = open.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    let mut layers: BTreeMap<PathId, usize> = ready.iter().map(|id| ((*id).clone(), 0)).collect();
    let mut settled = 0;
    while let Some(id) = ready.pop() {
        settled += 1;
        let next_layer = layers.get(id).copied().unwrap_or(0) + 1;
        for dependent in needed_by.get(id).into_iter().flatten() {
            let layer = layers.entry((*dependent).clone()).or_insert(0);
            *layer = (*layer).max(next_layer);
            if let Some(count) = open.get_mut(dependent) {
                *count -= 1;
                if *count == 0 {
                    ready.push(dependent);
                }
            }
        }
    }
    if settled < edges.len() {
        return Err(ApiError::Invalid(vec![Violation::new(
            "/",
            "Dependency graph has cyclic dependencies.",
        )]));
    }
    Ok(layers)
}
