//! Keeps the published view in step with the memory, entry by entry.

use std::sync::Arc;

use super::{App, Marathon};
use crate::definition::AppDefinition;
use crate::path::PathId;
use crate::state::Instance;
use crate::view::{AppView, Counts, QueueView, View};

impl Marathon {
    /// The present state as an immutable snapshot; only what changed is rebuilt.
    pub fn view(&mut self) -> Arc<View> {
        let changed = std::mem::take(&mut self.unpublished);
        if !changed.is_empty() {
            let mut entries = std::mem::take(&mut self.published.apps);
            let apps = Arc::make_mut(&mut entries);
            for id in changed {
                match self.apps.get(&id) {
                    Some(app) => apps.insert(id.clone(), Arc::new(self.app_view(&id, app))),
                    None => apps.remove(&id),
                };
            }
            self.published.apps = entries;
        }
        if std::mem::take(&mut self.unpublished_rest) {
            self.published.deployments = Arc::new(self.deployments.clone());
            self.published.framework_id = self.framework_id.clone();
            self.published.connected = self.subscribed;
        }
        Arc::new(self.published.clone())
    }

    /// Whether [`Self::view`] would differ from the last one.
    pub fn is_view_stale(&self) -> bool {
        self.unpublished_rest || !self.unpublished.is_empty()
    }

    fn app_view(&self, _id: &PathId, app: &App) -> AppView {
        let instances: Vec<Arc<Instance>> = app.instances.values().cloned().collect();
        let numbers = app.numbers;
        AppView {
            definition: app.definition.clone(),
            versions: app.versions.clone(),
            counts: Counts { staged: numbers.staged, running: numbers.running, healthy: 0, unhealthy: 0 },
            instances,
            last_failure: app.last_failure.clone(),
            deployment: app.deployment.clone(),
            queue: app.wanted.as_ref().map(|wanted| QueueView {
                definition: wanted.definition.clone(),
                count: wanted.count,
                since: wanted.since,
                delayed_until: delay_end(app, &wanted.definition),
                tally: app.tally.clone(),
            }),
        }
    }
}

/// Also of the past: the reader compares with its own clock.
fn delay_end(app: &App, definition: &AppDefinition) -> Option<model::Time> {
    app.backoff
        .filter(|(config, _)| *config == definition.last_config_change)
        .map(|(_, backoff)| backoff.until())
}
