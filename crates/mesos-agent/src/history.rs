//! What has ended, for reads: bounded, newest last, gone with the process.

use std::collections::VecDeque;
use std::sync::Arc;

use model::FrameworkInfo;

use crate::config::AgentLimits;
use crate::state::{AgentExecutor, AgentTask};

/// All ended tasks together, whatever the limits per executor allow.
const TASKS_MAX: usize = 5_000;

#[derive(Debug, Default)]
pub(crate) struct History {
    pub tasks: VecDeque<Arc<AgentTask>>,
    pub executors: VecDeque<Arc<AgentExecutor>>,
    pub frameworks: VecDeque<Arc<FrameworkInfo>>,
}

impl History {
    /// A command task counts as an executor of its framework.
    pub fn push_task(&mut self, task: Arc<AgentTask>, limits: &AgentLimits) {
        let alike = |other: &AgentTask| {
            other.framework_id == task.framework_id
                && match &task.executor_id {
                    None => other.is_command(),
                    Some(_) => other.run() == task.run(),
                }
        };
        let most =
            if task.is_command() { limits.completed_executors_max } else { limits.completed_tasks_max };
        push(&mut self.tasks, task.clone(), |other| alike(other), most);
        if self.tasks.len() > TASKS_MAX {
            self.tasks.pop_front();
        }
    }

    pub fn push_executor(&mut self, executor: Arc<AgentExecutor>, limits: &AgentLimits) {
        let framework = executor.framework_id.clone();
        push(
            &mut self.executors,
            executor,
            |other| other.framework_id == framework,
            limits.completed_executors_max,
        );
    }

    /// With a framework that is forgotten go its executors and tasks.
    pub fn push_framework(&mut self, info: Arc<FrameworkInfo>, limits: &AgentLimits) {
        self.frameworks.retain(|other| other.id != info.id);
        self.frameworks.push_back(info);
        while self.frameworks.len() > limits.completed_frameworks_max {
            let Some(oldest) = self.frameworks.pop_front() else { return };
            self.tasks.retain(|task| Some(&task.framework_id) != oldest.id.as_ref());
            self.executors.retain(|executor| Some(&executor.framework_id) != oldest.id.as_ref());
        }
    }
}

/// Appends, and drops the oldest of its like beyond `most`.
fn push<T>(list: &mut VecDeque<T>, item: T, alike: impl Fn(&T) -> bool, most: usize) {
    list.push_back(item);
    if list.iter().filter(|other| alike(other)).count() > most
        && let Some(oldest) = list.iter().position(alike)
    {
        list.remove(oldest);
    }
}
