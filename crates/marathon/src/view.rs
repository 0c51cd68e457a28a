//! The published snapshot that all reads are served from.
//!
//! Shared entries are replaced, never changed: a reader that holds a view may
//! take its time.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{FrameworkId, Time};
use scheduler::OfferTally;

use crate::definition::AppDefinition;
use crate::path::PathId;
use crate::state::{Deployment, Instance, TaskFailure};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// Also apps that are gone but whose instances still end.
    pub apps: Arc<BTreeMap<PathId, Arc<AppView>>>,
    pub deployments: Arc<BTreeMap<String, Arc<Deployment>>>,
    pub framework_id: Option<FrameworkId>,
    /// Subscribed to a master.
    pub connected: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct AppView {
    /// `None`: deleted, its instances still end.
    pub definition: Option<Arc<AppDefinition>>,
    pub versions: Arc<BTreeMap<Time, Arc<AppDefinition>>>,
    /// By task id.
    pub instances: Vec<Arc<Instance>>,
    pub counts: Counts,
    pub last_failure: Option<Arc<TaskFailure>>,
    pub deployment: Option<String>,
    pub queue: Option<QueueView>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub staged: u64,
    pub running: u64,
    pub healthy: u64,
    pub unhealthy: u64,
}

/// What is still to be launched of one app.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueView {
    pub definition: Arc<AppDefinition>,
    pub count: u64,
    pub since: Time,
    /// Not before; `None`: no delay.
    pub delayed_until: Option<Time>,
    pub tally: Arc<OfferTally>,
}

impl View {
    /// An app that exists.
    pub fn app(&self, id: &PathId) -> Option<(&Arc<AppView>, &Arc<AppDefinition>)> {
        let view = self.apps.get(id)?;
        view.definition.as_ref().map(|definition| (view, definition))
    }

    /// All apps that exist, by id.
    pub fn existing(&self) -> impl Iterator<Item = (&Arc<AppView>, &Arc<AppDefinition>)> {
        self.apps.values().filter_map(|view| view.definition.as_ref().map(|definition| (view, definition)))
    }
}
