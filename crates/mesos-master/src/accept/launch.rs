//! LAUNCH and LAUNCH_GROUP: each task by itself, or all of a group together.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::agent_api::MasterToAgent;
use model::{
    ExecutorInfo, ExecutorRecord, FrameworkId, Reason, Resources, Source, TaskId, TaskInfo, TaskLaunch,
    TaskState, TaskStatus, Time,
};

use super::Deal;
use crate::brain::{Effect, Master, Out};
use crate::ledger::Claim;
use crate::state::Task;
use crate::validation;
use crate::view::OperatorEvent;

impl Master {
    pub(super) fn launch_each(&mut self, now: Time, deal: &mut Deal, tasks: Vec<TaskLaunch>, out: &mut Out) {
        for mut task in tasks {
            if let Some(executor) = &mut task.info.executor {
                executor.framework_id.get_or_insert_with(|| deal.framework_id.clone());
            }
            match self.task_problem(deal, &task) {
                Some(problem) => {
                    self.refuse_invalid(now, deal, &task.info, Reason::TaskInvalid, &problem, out);
                }
                None => self.launch(now, deal, task.info, out),
            }
        }
    }

    fn launch(&mut self, now: Time, deal: &mut Deal, info: TaskInfo, out: &mut Out) {
        let Some(framework) = self.frameworks.get(&deal.framework_id).map(|f| f.info.clone()) else { return };
        if let Some(executor) = &info.executor {
            self.start_executor(deal, executor);
        }
        self.start_task(now, deal, info.clone(), out);
        let message = MasterToAgent::RunTask {
            framework: Box::new((*framework).clone()),
            role: deal.role.clone(),
            task: Box::new(info),
        };
        out.effect(Effect::ToAgent { conn: deal.conn, message });
    }

    pub(super) fn launch_group(
        &mut self,
        now: Time,
        deal: &mut Deal,
        mut executor: ExecutorInfo,
        mut tasks: Vec<TaskLaunch>,
        flaw: Option<String>,
        out: &mut Out,
    ) {
        executor.framework_id.get_or_insert_with(|| deal.framework_id.clone());
        for task in &mut tasks {
            if let Some(executor) = &mut task.info.executor {
                executor.framework_id.get_or_insert_with(|| deal.framework_id.clone());
            }
        }
        if let Some(problem) = self.group_problem(deal, &executor, &tasks, flaw) {
            self.refuse_group(now, deal, &tasks, &problem, out);
            return;
        }
        let Some(framework) = self.frameworks.get(&deal.framework_id).map(|f| f.info.clone()) else { return };
        self.start_executor(deal, &executor);
        let mut infos = Vec::with_capacity(tasks.len());
        for task in tasks {
            let mut info = task.info;
            info.executor = Some(Box::new(executor.clone()));
            self.start_task(now, deal, info.clone(), out);
            infos.push(info);
        }
        let message = MasterToAgent::RunGroup {
            framework: Box::new((*framework).clone()),
            role: deal.role.clone(),
            executor: Box::new(executor),
            tasks: infos,
        };
        out.effect(Effect::ToAgent { conn: deal.conn, message });
    }

    /// Charges the executor, unless it runs already.
    fn start_executor(&mut self, deal: &mut Deal, info: &ExecutorInfo) {
        if self.running_executor(deal, info).is_some() {
            return;
        }
        self.draw(deal, &info.resources);
        let record = ExecutorRecord {
            framework_id: deal.framework_id.clone(),
            agent_id: deal.agent_id.clone(),
            info: info.clone(),
            role: deal.role.clone(),
        };
        let agent_id = deal.agent_id.clone();
        self.add_executor(&agent_id, record, Claim::Offered);
    }

    fn start_task(&mut self, now: Time, deal: &mut Deal, info: TaskInfo, out: &mut Out) {
        self.draw(deal, &info.resources);
        self.counters.tasks_launched += 1;
        let key = (deal.framework_id.clone(), info.id.clone());
        let task = Arc::new(Task {
            framework_id: deal.framework_id.clone(),
            info,
            role: deal.role.clone(),
            state: TaskState::Staging,
            statuses: Vec::new(),
            forwarded: None,
            unacknowledged: None,
            kill_wanted: None,
            holds_resources: true,
            launched: now,
        });
        self.tell(out, || OperatorEvent::TaskAdded(task.clone()));
        self.place_task(&deal.agent_id, key, task, Claim::Offered);
    }

    /// Takes resources out of the pool; further copies of shared volumes are made.
    fn draw(&mut self, deal: &mut Deal, wanted: &Resources) {
        let lacking = deal.take(wanted);
        if !lacking.is_empty() {
            self.allocator.allocated(&deal.framework_id, &deal.role, &deal.agent_id, &lacking);
        }
    }

    fn running_executor(&self, deal: &Deal, info: &ExecutorInfo) -> Option<&Arc<ExecutorRecord>> {
        let key = (deal.framework_id.clone(), info.id.clone());
        self.agents.get(&deal.agent_id)?.executors.get(&key)
    }

    /// The checks that a task of its own and one of a group have in common.
    fn task_core_problem(&self, deal: &Deal, task: &TaskLaunch) -> Option<String> {
        let info = &task.info;
        if let Some(problem) = validation::id_problem(info.id.as_str()) {
            return Some(format!("Task has invalid ID: {problem}"));
        }
        let framework = self.frameworks.get(&deal.framework_id)?;
        if framework.tasks.contains_key(&info.id) {
            return Some(format!("Task has duplicate ID: {}", info.id));
        }
        if framework.unreachable.contains_key(&info.id) {
            return Some(format!("Task reuses the ID of an unreachable task: {}", info.id));
        }
        if info.agent_id != deal.agent_id {
            return Some(format!(
                "Task uses invalid agent {} while agent {} is expected",
                info.agent_id, deal.agent_id
            ));
        }
        if task.flaw.is_some() {
            return task.flaw.clone();
        }
        if info.resources.is_empty() {
            return Some("Task uses no resources".to_owned());
        }
        if let Some(problem) = validation::held_problem("Task", &info.resources) {
            return Some(problem);
        }
        if let Some(role) = task.allocation.as_ref().filter(|role| **role != deal.role) {
            return Some(format!(
                "Task uses invalid resources: they are allocated to role '{role}' but the offers to role '{}'",
                deal.role
            ));
        }
        None
    }

    fn task_problem(&self, deal: &Deal, task: &TaskLaunch) -> Option<String> {
        if let Some(problem) = self.task_core_problem(deal, task) {
            return Some(problem);
        }
        let info = &task.info;
        let mut total = info.resources.clone();
        if let Some(executor) = &info.executor {
            if info.command.value.is_some() || !info.command.arguments.is_empty() {
                return Some(
                    "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"
                        .to_owned(),
                );
            }
            let problem = validation::task_executor_problem(executor, &deal.framework_id)
                .or_else(|| self.compatibility_problem(deal, executor));
            if problem.is_some() {
                return problem;
            }
            if self.running_executor(deal, executor).is_none() {
                total.add(&executor.resources);
            }
        }
        if !deal.holds(&total) {
            return Some(format!(
                "Total resources {total} required by task and its executor is more than available {}",
                deal.pool
            ));
        }
        None
    }

    fn compatibility_problem(&self, deal: &Deal, executor: &ExecutorInfo) -> Option<String> {
        let running = self.running_executor(deal, executor)?;
        (!running.info.is_like(executor)).then(|| {
            format!(
                "ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID. Executor '{}' runs on agent {} with resources {} and other fields that the task must repeat as they are; it names resources {}",
                executor.id, deal.agent_id, running.info.resources, executor.resources
            )
        })
    }

    fn group_problem(
        &self,
        deal: &Deal,
        executor: &ExecutorInfo,
        tasks: &[TaskLaunch],
        flaw: Option<String>,
    ) -> Option<String> {
        if tasks.is_empty() {
            return Some("Task group cannot be empty".to_owned());
        }
        let mut seen: BTreeSet<&TaskId> = BTreeSet::new();
        let mut total = Resources::new();
        for task in tasks {
            let invalid = |problem: String| format!("Task '{}' is invalid: {problem}", task.info.id);
            if let Some(problem) = self.task_core_problem(deal, task) {
                return Some(invalid(problem));
            }
            if !seen.insert(&task.info.id) {
                return Some(invalid(format!("Task has duplicate ID: {}", task.info.id)));
            }
            if task.info.executor.as_ref().is_some_and(|own| !own.is_like(executor)) {
                return Some(invalid(
                    "The `ExecutorInfo` of task is different from the `ExecutorInfo` of task group"
                        .to_owned(),
                ));
            }
            total.add(&task.info.resources);
        }
        let problem = flaw
            .or_else(|| validation::group_executor_problem(executor, &deal.framework_id))
            .or_else(|| self.compatibility_problem(deal, executor));
        if problem.is_some() {
            return problem;
        }
        if self.running_executor(deal, executor).is_none() {
            total.add(&executor.resources);
        }
        if !deal.holds(&total) {
            return Some(format!(
                "Total resources {total} required by task group and its executor are more than available {}",
                deal.pool
            ));
        }
        None
    }

    /// Ends a task that never started.
    #[expect(clippy::too_many_arguments, reason = "each is a different part of one status")]
    pub(super) fn refuse(
        &mut self,
        now: Time,
        id: &FrameworkId,
        task: &TaskInfo,
        state: TaskState,
        reason: Reason,
        message: String,
        out: &mut Out,
    ) {
        let status = TaskStatus {
            reason: Some(reason),
            message: Some(message),
            agent_id: Some(task.agent_id.clone()),
            executor_id: task.executor.as_ref().map(|executor| executor.id.clone()),
            ..TaskStatus::new(task.id.clone(), self.named(id, state), now, Source::Master)
        };
        self.count_task(id, &status);
        self.forward(id, status, out);
    }
}
