//! `/state-summary`: what the GUI polls. Counts come from the frameworks' task
//! lists, so that the agents' and the frameworks' figures always agree.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use mesos_master::MasterView;
use mesos_master::view::FrameworkView;
use model::TaskState;
use serde::Serialize;
use serde_json::json;

use super::state::{FrameworkSummary, Slave};
use crate::stream::{Part, put};

#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Counts {
    task_staging: usize,
    task_starting: usize,
    task_running: usize,
    task_killing: usize,
    task_finished: usize,
    task_killed: usize,
    task_failed: usize,
    task_lost: usize,
    task_error: usize,
    task_unreachable: usize,
}

impl Counts {
    fn count(&mut self, state: TaskState) {
        let counter = match state {
            TaskState::Staging => &mut self.task_staging,
            TaskState::Starting => &mut self.task_starting,
            TaskState::Running => &mut self.task_running,
            TaskState::Killing => &mut self.task_killing,
            TaskState::Finished => &mut self.task_finished,
            TaskState::Killed => &mut self.task_killed,
            TaskState::Failed => &mut self.task_failed,
            TaskState::Lost => &mut self.task_lost,
            TaskState::Error => &mut self.task_error,
            TaskState::Unreachable => &mut self.task_unreachable,
            // The contract has no counter for these.
            TaskState::Dropped | TaskState::Gone | TaskState::GoneByOperator | TaskState::Unknown => return,
        };
        *counter += 1;
    }
}

/// Counts and the ids on the other side.
#[derive(Debug, Default)]
struct Side {
    counts: Counts,
    ids: BTreeSet<String>,
}

#[derive(Serialize)]
struct SlaveSummary<'a> {
    #[serde(flatten)]
    slave: Slave<'a>,
    #[serde(flatten)]
    counts: Counts,
    framework_ids: Vec<&'a str>,
}

#[derive(Serialize)]
struct FrameworkWithCounts<'a> {
    #[serde(flatten)]
    framework: FrameworkSummary<'a>,
    #[serde(flatten)]
    counts: Counts,
    slave_ids: Vec<&'a str>,
}

pub(super) fn summary(view: &Arc<MasterView>) -> Vec<Part> {
    let (agents, frameworks) = sides(view);
    let mut head = json!({"hostname": view.config.hostname});
    if !view.config.cluster.is_empty() {
        head["cluster"] = json!(view.config.cluster);
    }
    let for_agents = view.clone();
    let write_agent = move |i: usize, out: &mut Vec<u8>| {
        let agent = &for_agents.agents[i];
        let side = agents.get(agent.id.as_str());
        put(
            out,
            &SlaveSummary {
                slave: Slave::new(agent),
                counts: side.map(|side| side.counts).unwrap_or_default(),
                framework_ids: side.map(ids).unwrap_or_default(),
            },
        );
    };
    let for_frameworks = view.clone();
    let write_framework = move |i: usize, out: &mut Vec<u8>| {
        let side = &frameworks[i];
        let framework = FrameworkSummary::new(&for_frameworks.frameworks[i]);
        put(out, &FrameworkWithCounts { framework, counts: side.counts, slave_ids: ids(side) });
    };
    vec![
        Part::open_object(&head),
        Part::text(",\"slaves\":["),
        Part::items(view.agents.len(), write_agent),
        Part::text("],\"frameworks\":["),
        Part::items(view.frameworks.len(), write_framework),
        Part::text("]}"),
    ]
}

fn ids(side: &Side) -> Vec<&str> {
    side.ids.iter().map(String::as_str).collect()
}

fn sides(view: &MasterView) -> (HashMap<String, Side>, Vec<Side>) {
    let mut agents: HashMap<String, Side> = HashMap::new();
    let mut frameworks = Vec::with_capacity(view.frameworks.len());
    for framework in &view.frameworks {
        let mut side = Side::default();
        for task in all_tasks(framework) {
            let agent_id = task.info.agent_id.as_str();
            side.counts.count(task.state);
            if !side.ids.contains(agent_id) {
                side.ids.insert(agent_id.to_owned());
            }
            if !agents.contains_key(agent_id) {
                agents.insert(agent_id.to_owned(), Side::default());
            }
            if let Some(agent) = agents.get_mut(agent_id) {
                agent.counts.count(task.state);
                if !agent.ids.contains(framework.id.as_str()) {
                    agent.ids.insert(framework.id.to_string());
                }
            }
        }
        frameworks.push(side);
    }
    (agents, frameworks)
}

pub(super) fn all_tasks(framework: &FrameworkView) -> impl Iterator<Item = &Arc<mesos_master::state::Task>> {
    framework.tasks.iter().chain(&*framework.unreachable_tasks).chain(&*framework.completed_tasks)
}
