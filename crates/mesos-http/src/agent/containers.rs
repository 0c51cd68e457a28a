//! `/containers` and `/monitor/statistics`.

use std::sync::Arc;

use mesos_agent::AgentView;
use mesos_agent::state::{AgentTask, Phase};
use mesos_proto::{ApiMessage, v1};
use model::{ContainerId, Quantity};
use serde::Serialize;
use serde_json::{Value, json};

use super::state::executor_name;
use crate::convert;
use crate::operator::agent::runtime::ContainerRuntime;
use crate::query::Query;
use crate::reply::Refusal;

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

impl ContainerStatistics {
    pub(crate) fn to_wire(&self) -> v1::ResourceStatistics {
        v1::ResourceStatistics {
            timestamp: self.timestamp,
            processes: self.processes,
            threads: self.threads,
            cpus_user_time_secs: self.cpus_user_time_secs,
            cpus_system_time_secs: self.cpus_system_time_secs,
            cpus_limit: self.cpus_limit,
            cpus_nr_periods: self.cpus_nr_periods,
            cpus_nr_throttled: self.cpus_nr_throttled,
            cpus_throttled_time_secs: self.cpus_throttled_time_secs,
            mem_total_bytes: self.mem_total_bytes,
            mem_rss_bytes: self.mem_rss_bytes,
            mem_file_bytes: self.mem_file_bytes,
            mem_limit_bytes: self.mem_limit_bytes,
            disk_used_bytes: self.disk_used_bytes,
            disk_limit_bytes: self.disk_limit_bytes,
            ..v1::ResourceStatistics::default()
        }
    }
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

    fn has(&self, run: &Run<'_>) -> bool {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        fits(&self.container_id, run.container_id.as_str())
            && fits(&self.framework_id, run.framework_id)
            && fits(&self.executor_id, run.executor_id)
    }
}

/// A container of an executor or of a command task.
struct Run<'a> {
    framework_id: &'a str,
    executor_id: &'a str,
    executor_name: String,
    source: &'a str,
    container_id: &'a ContainerId,
    pid: Option<u32>,
    status: Option<&'a model::ContainerStatus>,
    cpus: Quantity,
    mem: Quantity,
}

fn runs(view: &AgentView) -> Vec<Run<'_>> {
    let commands = view.tasks.iter().map(|view| &view.task);
    let commands = commands.filter(|task| task.phase != Phase::Ended && task.is_command()).map(|task| Run {
        framework_id: task.framework_id.as_str(),
        executor_id: task.info.id.as_str(),
        executor_name: executor_name(&task.info),
        source: task.info.id.as_str(),
        container_id: &task.container_id,
        pid: task.pid,
        status: task.statuses.iter().rev().find_map(|status| status.container.as_ref()),
        cpus: task.info.resources.scalar("cpus"),
        mem: task.info.resources.scalar("mem"),
    });
    let executors = view.executors.iter().map(|view| &view.executor);
    let executors = executors.filter(|executor| executor.is_live()).map(|executor| {
        let of_it = |task: &&Arc<AgentTask>| {
            task.phase != Phase::Ended
                && task.framework_id == executor.framework_id
                && task.executor_id.as_ref() == Some(&executor.info.id)
        };
        let mut held = executor.info.resources.clone();
        for task in view.tasks.iter().map(|view| &view.task).filter(of_it) {
            held.add(&task.info.resources);
        }
        Run {
            framework_id: executor.framework_id.as_str(),
            executor_id: executor.info.id.as_str(),
            executor_name: executor.info.name.clone(),
            source: &executor.info.source,
            container_id: &executor.container_id,
            pid: executor.pid,
            status: None,
            cpus: held.scalar("cpus"),
            mem: held.scalar("mem"),
        }
    });
    commands.chain(executors).collect()
}

pub(super) async fn containers(
    view: &AgentView,
    runtime: &dyn ContainerRuntime,
    chosen: &Selection,
) -> Vec<Value> {
    let mut list = Vec::new();
    for run in runs(view).iter().filter(|run| chosen.has(run)) {
        let mut entry = names(run);
        entry["container_id"] = json!(run.container_id.as_str());
        let mut status = run.status.map(convert::container_status_out).unwrap_or_default();
        status.container_id = Some(convert::container_id_out(run.container_id));
        status.executor_pid = run.pid.or(status.executor_pid);
        entry["status"] = serde_json::from_str(&status.to_json()).unwrap_or_default();
        if let Some(statistics) = figures(runtime, run).await {
            entry["statistics"] = json!(statistics);
        }
        list.push(entry);
    }
    list
}

/// Containers without figures are left out.
pub(super) async fn statistics(view: &AgentView, runtime: &dyn ContainerRuntime) -> Vec<Value> {
    let mut list = Vec::new();
    for run in &runs(view) {
        if let Some(statistics) = figures(runtime, run).await {
            let mut entry = names(run);
            entry["statistics"] = json!(statistics);
            list.push(entry);
        }
    }
    list
}

/// What the runtime measures, and the limits by what was asked for where it does not know them.
async fn figures(runtime: &dyn ContainerRuntime, run: &Run<'_>) -> Option<ContainerStatistics> {
    const MIB: f64 = 1024.0 * 1024.0;
    let mut statistics = runtime.statistics(run.container_id.clone()).await?;
    if statistics.cpus_limit.is_none() && run.cpus.is_positive() {
        statistics.cpus_limit = Some(run.cpus.to_f64());
    }
    if statistics.mem_limit_bytes.is_none() && run.mem.is_positive() {
        // Positive, and far below 2^64.
        statistics.mem_limit_bytes = Some((run.mem.to_f64() * MIB) as u64);
    }
    Some(statistics)
}

fn names(run: &Run<'_>) -> Value {
    json!({
        "framework_id": run.framework_id,
        "executor_id": run.executor_id,
        "executor_name": run.executor_name,
        "source": run.source,
    })
}
