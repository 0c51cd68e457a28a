//! `/containers` and `/monitor/statistics`.

use mesos_agent::AgentView;
use mesos_agent::state::Phase;
use mesos_agent::view::TaskView;
use serde::Serialize;
use serde_json::{Value, json};

use super::StatisticsSource;
use super::state::executor_name;
use crate::query::Query;
use crate::reply::Refusal;
use crate::wire::task::network_infos;

/// What a container used and may use, by the names of Mesos' `ResourceStatistics`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ContainerStatistics {
    /// Seconds since 1970.
    pub timestamp: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus_user_time_secs: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus_system_time_secs: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus_limit: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus_nr_periods: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus_nr_throttled: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus_throttled_time_secs: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_total_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_rss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_file_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_limit_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_used_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_limit_bytes: Option<u64>,
}

/// Which containers are asked for.
#[derive(Debug, Default)]
pub(super) struct Selection {
    container_id: Option<String>,
    framework_id: Option<String>,
    executor_id: Option<String>,
}

impl Selection {
    pub fn of(query: &Query) -> Result<Self, Refusal> {
        let text = |name: &str| query.text(name).map(|value| value.into_owned());
        let chosen = Self {
            container_id: text("container_id"),
            framework_id: text("framework_id"),
            executor_id: text("executor_id"),
        };
        let Self { container_id, framework_id, executor_id } = &chosen;
        let container_and_more = container_id.is_some() && (framework_id.is_some() || executor_id.is_some());
        if container_and_more || (executor_id.is_some() && framework_id.is_none()) {
            return Err(Refusal::bad_request(
                "Supported query parameters are container_id only, framework_id only, or executor_id and \
                 framework_id only"
                    .to_owned(),
            ));
        }
        Ok(chosen)
    }

    fn has(&self, view: &TaskView) -> bool {
        let task = &view.task;
        let fits = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        fits(&self.container_id, task.container_id.as_str())
            && fits(&self.framework_id, task.framework_id.as_str())
            && fits(&self.executor_id, task.info.id.as_str())
    }
}

fn live(view: &AgentView) -> impl Iterator<Item = &TaskView> {
    view.tasks.iter().filter(|task| task.task.phase != Phase::Ended)
}

pub(super) fn containers(
    view: &AgentView,
    source: Option<&StatisticsSource>,
    chosen: &Selection,
) -> Vec<Value> {
    let one = |view: &TaskView| {
        let mut entry = names(view);
        let id = &view.task.container_id;
        entry["container_id"] = json!(id.as_str());
        let known = view.task.statuses.iter().rev().find_map(|status| status.container.as_ref());
        let mut status = json!({"container_id": {"value": id.as_str()}});
        if let Some(known) = known {
            let networks = network_infos(&known.ip);
            if !networks.is_empty() {
                status["network_infos"] = json!(networks);
            }
        }
        if let Some(pid) = view.task.pid {
            status["executor_pid"] = json!(pid);
        }
        entry["status"] = status;
        if let Some(statistics) = source.and_then(|source| source(id)) {
            entry["statistics"] = json!(statistics);
        }
        entry
    };
    live(view).filter(|view| chosen.has(view)).map(one).collect()
}

/// Containers without figures are left out.
pub(super) fn statistics(view: &AgentView, source: Option<&StatisticsSource>) -> Vec<Value> {
    let one = |view: &TaskView| {
        let mut entry = names(view);
        entry["statistics"] = json!(source?(&view.task.container_id)?);
        Some(entry)
    };
    live(view).filter_map(one).collect()
}

fn names(view: &TaskView) -> Value {
    let task = &view.task;
    json!({
        "framework_id": task.framework_id.as_str(),
        "executor_id": task.info.id.as_str(),
        "executor_name": executor_name(&task.info),
        "source": task.info.id.as_str(),
    })
}
