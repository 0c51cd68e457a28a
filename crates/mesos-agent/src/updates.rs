//! Status update streams: one per task, oldest first, sent until acknowledged.
//!
//! Only the oldest unacknowledged update of a task is on its way; the next goes
//! out with the acknowledgement. Retries double from 10 s to 10 min and start
//! over at every registration (`apache/mesos` `src/slave/task_status_update_manager.cpp`).

use std::sync::Arc;
use std::time::Duration;

use model::agent_api::AgentToMaster;
use model::{FrameworkId, Reason, Source, StatusUpdate, TaskState, TaskStatus, Time, UpdateId};

use crate::brain::{Agent, Effect, Out, Retry};
use crate::state::{AgentTask, KillCause, Phase, TaskKey, Write};

impl Agent {
    /// Makes a status of the agent's own and puts it into the task's stream.
    #[expect(clippy::too_many_arguments, reason = "each is a different part of one status")]
    pub(crate) fn report(
        &mut self,
        now: Time,
        key: &TaskKey,
        state: TaskState,
        source: Source,
        reason: Option<Reason>,
        message: Option<String>,
        out: &mut Out,
    ) {
        let status = self.status(now, key, state, source, reason, message);
        self.push(now, key, status, out);
    }

    pub(crate) fn status(
        &mut self,
        now: Time,
        key: &TaskKey,
        state: TaskState,
        source: Source,
        reason: Option<Reason>,
        message: Option<String>,
    ) -> TaskStatus {
        let task = self.tasks.get(key);
        let pid = task.and_then(|task| {
            task.pid.or_else(|| self.executors.get(&task.container_id).and_then(|executor| executor.pid))
        });
        TaskStatus {
            reason,
            message,
            agent_id: self.id.clone(),
            uuid: Some(UpdateId(self.rng.next_u128())),
            executor_id: task.and_then(|task| task.executor_id.clone()),
            healthy: self.health(key, state),
            check: self.check_status(key),
            container: task.map(|task| model::ContainerStatus {
                container_id: task.container_id.clone(),
                ip: self.config.info.ip.clone(),
                pid,
                raw: None,
            }),
            ..TaskStatus::new(key.1.clone(), state, now, source)
        }
    }

    /// Appends a status to the task's stream, makes it durable and sends it if
    /// it is the oldest.
    pub(crate) fn push(&mut self, now: Time, key: &TaskKey, mut status: TaskStatus, out: &mut Out) {
        let Some(slot) = self.tasks.get_mut(key) else { return };
        let task = Arc::make_mut(slot);
        if task.state.is_terminal() {
            return;
        }
        let state = status.state;
        if state.is_terminal() && task.kill.as_ref().is_some_and(|kill| kill.cause == KillCause::Draining) {
            status.reason = Some(Reason::AgentDraining);
        }
        task.state = state;
        match task.statuses.last_mut() {
            Some(last) if last.state == state => *last = status.clone(),
            _ => task.statuses.push(status.clone()),
        }
        if task.statuses.len() > AgentTask::STATUSES_MAX {
            task.statuses.remove(0);
        }
        if state.is_terminal() {
            task.phase = Phase::Ended;
            task.ended = Some(now);
        }
        if task.kill.as_ref().is_some_and(|kill| kill.silent) {
            out.write(Write::PutTask(slot.clone()));
            return;
        }
        task.updates.push_back(status);
        let first = task.updates.len() == 1;
        out.write(Write::PutTask(slot.clone()));
        if first {
            self.send_head(now, key, out);
        }
    }

    /// Sends the oldest unacknowledged update, if the master listens.
    pub(crate) fn send_head(&mut self, now: Time, key: &TaskKey, out: &mut Out) {
        let head = match self.tasks.get(key) {
            Some(task) => task.updates.front().map(|status| (status.clone(), task.state)),
            None => self.strangers.get(key).map(|status| (status.clone(), status.state)),
        };
        let Some((status, latest_state)) = head else {
            self.retries.remove(key);
            return;
        };
        let Some(agent_id) = self.id.clone() else { return };
        let interval =
            self.retries.get(key).map_or(self.config.limits.update_retry_min_ms, |retry| retry.interval_ms);
        let due = now + Duration::from_millis(interval);
        self.retries.insert(key.clone(), Retry { due, interval_ms: interval });
        if let Some(conn) = self.registered_conn() {
            let update = StatusUpdate { framework_id: key.0.clone(), agent_id, status, latest_state };
            let message = AgentToMaster::Update(Box::new(update));
            out.effect(Effect::ToMaster { conn, message });
        }
    }

    pub(crate) fn resend_all(&mut self, now: Time, out: &mut Out) {
        self.retries.clear();
        let keys: Vec<TaskKey> = self.tasks.keys().chain(self.strangers.keys()).cloned().collect();
        for key in keys {
            self.send_head(now, &key, out);
        }
    }

    /// All of one framework's: its scheduler is back.
    pub(crate) fn resend_of(&mut self, now: Time, framework: &FrameworkId, out: &mut Out) {
        let keys: Vec<TaskKey> = self
            .tasks
            .keys()
            .chain(self.strangers.keys())
            .filter(|key| key.0 == *framework)
            .cloned()
            .collect();
        for key in keys {
            self.retries.remove(&key);
            self.send_head(now, &key, out);
        }
    }

    pub(crate) fn retry_due(&mut self, now: Time, out: &mut Out) {
        let due: Vec<TaskKey> =
            self.retries.iter().filter(|(_, retry)| retry.due <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            if let Some(retry) = self.retries.get_mut(&key) {
                retry.interval_ms = (retry.interval_ms * 2).min(self.config.limits.update_retry_max_ms);
            }
            self.send_head(now, &key, out);
        }
    }

    pub(crate) fn acknowledged(&mut self, now: Time, key: &TaskKey, uuid: UpdateId, out: &mut Out) {
        if self.strangers.get(key).is_some_and(|status| status.uuid == Some(uuid)) {
            self.strangers.remove(key);
            self.retries.remove(key);
            return;
        }
        let Some(slot) = self.tasks.get_mut(key) else { return };
        let task = Arc::make_mut(slot);
        if task.updates.front().is_none_or(|status| status.uuid != Some(uuid)) {
            return;
        }
        let Some(status) = task.updates.pop_front() else { return };
        if !task.is_command() {
            task.settled.push_back(uuid);
            if task.settled.len() > AgentTask::SETTLED_MAX {
                task.settled.pop_front();
            }
        }
        self.retries.remove(key);
        if status.state.is_terminal() {
            self.forget_task(key, out);
            return;
        }
        out.write(Write::PutTask(slot.clone()));
        self.send_head(now, key, out);
    }

    /// Drops an ended task whose end is acknowledged; keeps it in the history.
    pub(crate) fn forget_task(&mut self, key: &TaskKey, out: &mut Out) {
        let Some(task) = self.tasks.remove(key) else { return };
        self.retries.remove(key);
        out.write(Write::DeleteTask(key.clone()));
        let run = task.run();
        if task.has_container() {
            self.by_container.remove(&task.container_id);
            out.effect(Effect::Forget { id: task.container_id.clone() });
        }
        if let Some(keys) = self.by_run.get_mut(&run) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_run.remove(&run);
            }
        }
        self.history.push_task(task, &self.config.limits);
        self.retire_if_done(&run, out);
        self.forget_framework_if_idle(&key.0, out);
    }

    /// Answers for a task that the master has here and we do not.
    pub(crate) fn report_stranger(
        &mut self,
        now: Time,
        key: TaskKey,
        reason: Reason,
        message: &str,
        out: &mut Out,
    ) {
        if self.tasks.contains_key(&key) || self.strangers.contains_key(&key) {
            return;
        }
        if self.strangers.len() >= self.config.limits.tasks_max {
            return;
        }
        let status = TaskStatus {
            reason: Some(reason),
            message: Some(message.to_owned()),
            agent_id: self.id.clone(),
            uuid: Some(UpdateId(self.rng.next_u128())),
            ..TaskStatus::new(key.1.clone(), self.lost_as(&key.0, TaskState::Dropped), now, Source::Agent)
        };
        self.strangers.insert(key.clone(), status);
        self.send_head(now, &key, out);
    }
}
