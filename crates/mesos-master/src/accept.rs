//! ACCEPT: offers into tasks, each task checked, the rest declined.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::agent_api::MasterToAgent;
use model::{
    AgentId, Capability, FrameworkId, Offer, OfferId, Reason, ResourceValue, Resources, Role, Source,
    TaskInfo, TaskState, TaskStatus, Time,
};

use crate::brain::{Effect, Master, Out};
use crate::state::Task;

/// Longest task id, in bytes (it becomes a directory name).
pub const TASK_ID_LENGTH_MAX: usize = 255;

impl Master {
    pub(crate) fn accept(
        &mut self,
        now: Time,
        id: &FrameworkId,
        offer_ids: Vec<OfferId>,
        tasks: Vec<TaskInfo>,
        refuse_ms: Option<u64>,
        out: &mut Out,
    ) {
        let problem = self.offers_problem(id, &offer_ids);
        let mut taken: Vec<Offer> = Vec::new();
        for offer_id in &offer_ids {
            if self.offers.get(offer_id).is_some_and(|open| open.offer.framework_id == *id) {
                taken.extend(self.remove_offer(offer_id, false, out));
            }
        }
        if let Some(problem) = problem {
            for task in tasks {
                let message = format!("Task launched with invalid offers: {problem}");
                self.refuse(now, id, &task, None, Reason::InvalidOffers, message, out);
            }
            return;
        }
        let Some(first) = taken.first().cloned() else { return };
        let mut pool = Resources::new();
        for offer in &taken {
            pool.add(&offer.resources);
        }
        for task in tasks {
            match self.task_problem(id, &first.agent_id, &task, &pool) {
                Some(message) => {
                    self.refuse(now, id, &task, Some(TaskState::Error), Reason::TaskInvalid, message, out)
                }
                None => {
                    pool.subtract(&task.resources);
                    self.launch(now, id, &first.agent_id, &first.role, task, out);
                }
            }
        }
        self.add_filter(now, &first, pool, refuse_ms);
    }

    fn offers_problem(&self, id: &FrameworkId, offer_ids: &[OfferId]) -> Option<String> {
        if offer_ids.is_empty() {
            return Some("No offers specified".to_owned());
        }
        let mut place: Option<(&AgentId, &Role)> = None;
        for (index, offer_id) in offer_ids.iter().enumerate() {
            if offer_ids[..index].contains(offer_id) {
                return Some(format!("Duplicate offer {offer_id} in offer list"));
            }
            let Some(open) = self.offers.get(offer_id) else {
                return Some(format!("Offer {offer_id} is no longer valid"));
            };
            if open.offer.framework_id != *id {
                return Some(format!("Offer {offer_id} has invalid framework {}", open.offer.framework_id));
            }
            match place {
                None => place = Some((&open.offer.agent_id, &open.offer.role)),
                Some((agent_id, role)) => {
                    if *role != open.offer.role {
                        return Some("Aggregated offers must be allocated to the same role".to_owned());
                    }
                    if *agent_id != open.offer.agent_id {
                        return Some("Aggregated offers must belong to one single agent".to_owned());
                    }
                }
            }
        }
        None
    }

    fn task_problem(
        &self,
        id: &FrameworkId,
        agent_id: &AgentId,
        task: &TaskInfo,
        pool: &Resources,
    ) -> Option<String> {
        let text = task.id.as_str();
        if text.is_empty() || text.len() > TASK_ID_LENGTH_MAX {
            return Some(format!("Task has invalid ID: it must have 1 to {TASK_ID_LENGTH_MAX} bytes"));
        }
        let unusable = |c: char| c.is_control() || c == '/' || c == '\\';
        if text.contains(unusable) || text == "." || text == ".." {
            return Some(format!(
                "Task has invalid ID: {text:?} contains a slash, a control character, or is a dot name"
            ));
        }
        let framework = self.frameworks.get(id)?;
        if framework.tasks.contains_key(&task.id) {
            return Some(format!("Task has duplicate ID: {}", task.id));
        }
        if framework.unreachable.contains_key(&task.id) {
            return Some(format!("Task reuses the ID of an unreachable task: {}", task.id));
        }
        if task.agent_id != *agent_id {
            return Some(format!(
                "Task uses invalid agent {} while agent {agent_id} is expected",
                task.agent_id
            ));
        }
        if task.resources.is_empty() {
            return Some("Task uses no resources".to_owned());
        }
        for resource in task.resources.iter() {
            if let ResourceValue::Scalar(quantity) = &resource.value
                && !quantity.is_positive()
            {
                return Some(format!(
                    "Task uses invalid resources: Invalid scalar resource: {} <= 0",
                    resource.name
                ));
            }
        }
        if !pool.contains(&task.resources) {
            return Some(format!(
                "Total resources {} required by task and its executor is more than available {pool}",
                task.resources
            ));
        }
        None
    }

    fn launch(
        &mut self,
        now: Time,
        id: &FrameworkId,
        agent_id: &AgentId,
        role: &Role,
        info: TaskInfo,
        out: &mut Out,
    ) {
        let Some(conn) = self.agents.get(agent_id).and_then(|agent| agent.conn()) else {
            let message = "Agent disconnected".to_owned();
            self.refuse(now, id, &info, None, Reason::AgentDisconnected, message, out);
            return;
        };
        let Some(framework) = self.frameworks.get(id).map(|framework| framework.info.clone()) else { return };
        self.counters.tasks_launched += 1;
        let task = Arc::new(Task {
            framework_id: id.clone(),
            info: info.clone(),
            role: role.clone(),
            state: TaskState::Staging,
            statuses: Vec::new(),
            forwarded: None,
            unacknowledged: None,
            kill_wanted: None,
            holds_resources: true,
            launched: now,
        });
        self.place_task(agent_id, (id.clone(), info.id.clone()), task, true);
        let message = MasterToAgent::RunTask {
            framework: Box::new((*framework).clone()),
            role: role.clone(),
            task: Box::new(info),
        };
        out.effect(Effect::ToAgent { conn, message });
    }

    /// Ends a task that never started; `None` as state: dropped or lost.
    #[expect(clippy::too_many_arguments, reason = "each is a different part of one status")]
    fn refuse(
        &mut self,
        now: Time,
        id: &FrameworkId,
        task: &TaskInfo,
        state: Option<TaskState>,
        reason: Reason,
        message: String,
        out: &mut Out,
    ) {
        let aware = self.frameworks.get(id).is_some_and(|f| f.info.can(Capability::PartitionAware));
        let state = state.unwrap_or(if aware { TaskState::Dropped } else { TaskState::Lost });
        self.count_end(state);
        let status = TaskStatus {
            task_id: task.id.clone(),
            state,
            timestamp: now,
            source: Source::Master,
            reason: Some(reason),
            message: Some(message),
            agent_id: Some(task.agent_id.clone()),
            uuid: None,
            container: None,
            check: None,
            data: None,
            executor_id: None,
            healthy: None,
            labels: Vec::new(),
            limitation: None,
            unreachable_since: None,
        };
        self.forward(id, status, out);
    }
}

/// Sums by framework, for invariants and tests.
pub(crate) fn sum_by_framework<'a>(
    tasks: impl Iterator<Item = &'a Arc<Task>>,
) -> BTreeMap<FrameworkId, Resources> {
    let mut sums: BTreeMap<FrameworkId, Resources> = BTreeMap::new();
    for task in tasks.filter(|task| task.holds_resources) {
        sums.entry(task.framework_id.clone()).or_default().add(&task.info.resources);
    }
    sums
}
