//! The invariants, for debug builds and the simulator.

use std::collections::BTreeSet;

use super::Marathon;
use super::numbers::Numbers;

impl Marathon {
    /// `Err` names the broken invariant.
    pub fn check_invariants(&self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for (id, app) in &self.apps {
            let mut numbers = Numbers::default();
            app.instances.values().for_each(|instance| numbers.add(instance));
            if numbers != app.numbers {
                return Err(format!("app {id} counts {:?}, but has {numbers:?}", app.numbers));
            }
            for (task, instance) in &app.instances {
                if instance.app != *id || instance.task_id != *task || self.tasks.get(task) != Some(id) {
                    return Err(format!("instance {task} is not where it belongs"));
                }
                if !seen.insert(task) {
                    return Err(format!("instance {task} belongs to two apps"));
                }
                if instance.state.is_terminal() {
                    return Err(format!("instance {task} is terminal but still known"));
                }
            }
            if app.wanted.is_some() != self.wanting.contains(id) {
                return Err(format!("app {id} is wrongly listed as wanting"));
            }
            if app.wanted.as_ref().is_some_and(|wanted| wanted.count == 0) {
                return Err(format!("app {id} wants nothing but is queued"));
            }
            if let Some(deployment) = &app.deployment
                && !self.deployments.get(deployment).is_some_and(|plan| plan.affects(id))
            {
                return Err(format!(
                    "app {id} is locked by deployment {deployment}, which does not affect it"
                ));
            }
            if app.definition.as_ref().is_some_and(|definition| definition.id != *id) {
                return Err(format!("app {id} has the definition of another"));
            }
        }
        if seen.len() != self.tasks.len() {
            return Err("a task is known that no app has".to_owned());
        }
        for (id, plan) in &self.deployments {
            for app in plan.target.keys() {
                if self.apps.get(app).and_then(|app| app.deployment.as_ref()) != Some(id) {
                    return Err(format!("deployment {id} affects {app}, which is not locked by it"));
                }
            }
            if plan.current >= plan.steps.len() {
                return Err(format!("deployment {id} is past its last step"));
            }
        }
        Ok(())
    }
}
