//! The life of tasks: starts, ends, kills.
//!
//! Tasks with a container of their own are ended by signals; those of a custom
//! executor are its own to end, and are asked for.

use std::sync::Arc;
use std::time::Duration;

use model::executor_api::ExecutorEvent;
use model::{
    Capability, ContainerId, FrameworkId, KillPolicy, Reason, Resources, Source, TaskState, TaskStatus, Time,
    UpdateId,
};

use crate::brain::{Agent, Effect, Out};
use crate::executors::ExecutorEnd;
use crate::exits;
use crate::state::{ContainerExit, Kill, KillCause, Phase, TaskKey, Write};

const KILLED_BEFORE_DELIVERY: &str = "Task killed before it was delivered to its executor";

impl Agent {
    pub(crate) fn started(&mut self, now: Time, id: &ContainerId, pid: u32, out: &mut Out) {
        if self.executors.contains_key(id) {
            self.executor_started(now, id, pid, out);
            return;
        }
        let Some(key) = self.by_container.get(id).cloned() else {
            out.effect(Effect::Destroy { id: id.clone() });
            return;
        };
        let Some(slot) = self.tasks.get_mut(&key) else { return };
        let task = Arc::make_mut(slot);
        if task.phase == Phase::Ended {
            return;
        }
        let first = task.phase == Phase::Launching;
        task.phase = Phase::Running;
        task.pid = Some(pid);
        if first {
            task.complete_by = task.info.max_completion_ms.map(|ms| now + Duration::from_millis(ms));
        }
        if first && task.kill.is_none() {
            self.report(now, &key, TaskState::Running, Source::Executor, None, None, out);
        } else if first {
            out.write(Write::PutTask(slot.clone()));
        }
        self.watch(now, &key);
        // A kill from before the start, or from before a restart of this process, is carried on.
        let kill = self.tasks.get(&key).and_then(|task| task.kill.clone());
        if let Some(kill) = kill {
            let order = if kill.forced || kill.deadline <= now {
                Effect::Destroy { id: id.clone() }
            } else {
                Effect::Terminate { id: id.clone() }
            };
            out.effect(order);
        }
    }

    pub(crate) fn launch_failed(&mut self, now: Time, id: &ContainerId, message: String, out: &mut Out) {
        if self.executors.contains_key(id) {
            self.executor_ended(now, id, ExecutorEnd::LaunchFailed(message), out);
            return;
        }
        let Some(key) = self.by_container.get(id).cloned() else { return };
        let cause = self.tasks.get(&key).and_then(|task| task.kill.as_ref()).map(|kill| kill.cause);
        if cause == Some(KillCause::Preempted) {
            let (state, reason) = (self.lost_as(&key.0, TaskState::Gone), Some(Reason::ContainerPreempted));
            self.end(now, &key, state, Source::Agent, reason, exits::PREEMPTED.to_owned(), out);
        } else if cause.is_some() {
            let reason = Some(Reason::TaskKilledDuringLaunch);
            let text = "Task killed before it was started".to_owned();
            self.end(now, &key, TaskState::Killed, Source::Agent, reason, text, out);
        } else {
            let reason = Some(Reason::ContainerLaunchFailed);
            self.end(now, &key, TaskState::Failed, Source::Agent, reason, message, out);
        }
    }

    pub(crate) fn exited(&mut self, now: Time, id: &ContainerId, exit: &ContainerExit, out: &mut Out) {
        if self.executors.get(id).is_some_and(|executor| executor.is_live()) {
            self.executor_ended(now, id, ExecutorEnd::Exited(exit), out);
            return;
        }
        let Some(key) = self.by_container.get(id).cloned() else {
            // An executor that ended is forgotten with its last task.
            if !self.executors.contains_key(id) {
                out.effect(Effect::Forget { id: id.clone() });
            }
            return;
        };
        let Some(task) = self.tasks.get(&key) else { return };
        if task.phase == Phase::Ended {
            return;
        }
        let cause = task.kill.as_ref().map(|kill| kill.cause);
        let (state, reason, message) = exits::describe(exit, cause);
        let state = if state == TaskState::Gone { self.lost_as(&key.0, state) } else { state };
        let limitation = exit.memory.as_ref().map(|_| memory_limit(&task.info.resources));
        let mut status = self.status(now, &key, state, Source::Executor, reason, Some(message));
        status.limitation = limitation;
        if cause == Some(KillCause::Unhealthy) && status.state == TaskState::Killed {
            status.healthy = Some(false);
        }
        self.end_with(now, &key, status, out);
    }

    /// The task is over: told to its framework, or forgotten at once when that is gone.
    #[expect(clippy::too_many_arguments, reason = "each is a different part of one status")]
    pub(crate) fn end(
        &mut self,
        now: Time,
        key: &TaskKey,
        state: TaskState,
        source: Source,
        reason: Option<Reason>,
        message: String,
        out: &mut Out,
    ) {
        let status = self.status(now, key, state, source, reason, Some(message));
        self.end_with(now, key, status, out);
    }

    pub(crate) fn end_with(&mut self, now: Time, key: &TaskKey, status: TaskStatus, out: &mut Out) {
        let Some(slot) = self.tasks.get_mut(key) else { return };
        if slot.phase == Phase::Ended {
            return;
        }
        self.watched.remove(key);
        let state = status.state;
        let (run, group, owns_container) = (slot.run(), slot.group, slot.has_container());
        if owns_container {
            self.by_container.remove(&slot.container_id);
        }
        if slot.kill.as_ref().is_some_and(|kill| kill.silent) {
            let task = Arc::make_mut(slot);
            task.phase = Phase::Ended;
            task.state = state;
            task.ended = Some(now);
            self.forget_task(key, out);
        } else {
            self.push(now, key, status, out);
        }
        if !self.executors.contains_key(&run) {
            return;
        }
        if owns_container {
            if state != TaskState::Finished
                && let Some(group) = group
            {
                self.kill_siblings(now, &run, group, out);
            }
            self.end_default_if_empty(now, &run, out);
        } else {
            self.resize(&run, out);
            self.end_idle_of_drain(now, &run, out);
        }
    }

    // ---- killing

    pub(crate) fn kill_task(&mut self, now: Time, key: TaskKey, policy: Option<KillPolicy>, out: &mut Out) {
        if self.tasks.contains_key(&key) {
            self.kill(now, &key, policy, KillCause::Asked, out);
        } else {
            self.report_stranger(now, key, Reason::ExecutorTerminated, "Cannot find executor", out);
        }
    }

    pub(crate) fn kill(
        &mut self,
        now: Time,
        key: &TaskKey,
        policy: Option<KillPolicy>,
        cause: KillCause,
        out: &mut Out,
    ) {
        let grace_default = self.config.limits.kill_grace_ms;
        let grace_of_drain = self.grace_in_drain(u64::MAX);
        let Some(slot) = self.tasks.get_mut(key) else { return };
        let task = Arc::make_mut(slot);
        match task.phase {
            Phase::Ended => {}
            Phase::Queued => {
                let (run, group) = (task.run(), task.group);
                task.kill = Some(Kill { deadline: now, forced: false, silent: false, cause, policy });
                let (reason, text) = (Reason::TaskKilledDuringLaunch, KILLED_BEFORE_DELIVERY.to_owned());
                self.end(now, key, TaskState::Killed, Source::Agent, Some(reason), text, out);
                if let Some(group) = group {
                    self.end_queued_group(now, &run, group, out);
                }
            }
            Phase::Launching | Phase::Running if task.has_container() => {
                let grace = policy.or(task.info.kill_policy).map_or(grace_default, |policy| policy.grace_ms);
                let deadline = now + Duration::from_millis(grace.min(grace_of_drain));
                self.kill_container(
                    now,
                    key,
                    Kill { deadline, forced: false, silent: false, cause, policy },
                    out,
                );
            }
            Phase::Launching | Phase::Running => {
                let silent = task.kill.as_ref().is_some_and(|kill| kill.silent);
                // The first cause holds; the order is repeated with the newest period.
                let cause = task.kill.as_ref().map_or(cause, |kill| kill.cause);
                task.kill = Some(Kill { deadline: Time::MAX, forced: false, silent, cause, policy });
                let run = task.run();
                out.write(Write::PutTask(slot.clone()));
                if let Some(conn) = self.subscribed.get(&run) {
                    let event = ExecutorEvent::Kill { task_id: key.1.clone(), kill_policy: policy };
                    out.effect(Effect::ToExecutor { conn: *conn, event });
                }
            }
        }
    }

    fn kill_container(&mut self, now: Time, key: &TaskKey, order: Kill, out: &mut Out) {
        let Some(slot) = self.tasks.get_mut(key) else { return };
        let task = Arc::make_mut(slot);
        if let Some(kill) = &mut task.kill {
            if order.deadline < kill.deadline {
                kill.deadline = order.deadline;
                out.write(Write::PutTask(slot.clone()));
            }
            return;
        }
        self.watched.remove(key);
        let launching = task.phase == Phase::Launching;
        task.kill = Some(Kill { forced: launching, ..order });
        let id = task.container_id.clone();
        if launching {
            out.write(Write::PutTask(slot.clone()));
            out.effect(Effect::Destroy { id });
            return;
        }
        if self.framework_can(&key.0, Capability::TaskKillingState) {
            self.report(now, key, TaskState::Killing, Source::Executor, None, None, out);
        } else if let Some(task) = self.tasks.get(key) {
            out.write(Write::PutTask(task.clone()));
        }
        out.effect(Effect::Terminate { id });
    }

    pub(crate) fn preempt_task(&mut self, now: Time, key: &TaskKey, out: &mut Out) {
        let Some(slot) = self.tasks.get_mut(key) else { return };
        let silent = slot.kill.as_ref().is_some_and(|kill| kill.silent);
        let cause = KillCause::Preempted;
        Arc::make_mut(slot).kill = Some(Kill { deadline: now, forced: true, silent, cause, policy: None });
        out.write(Write::PutTask(slot.clone()));
        out.effect(Effect::Destroy { id: slot.container_id.clone() });
    }

    /// Live tasks that were launched together on one run.
    fn group_of(&self, run: &ContainerId, group: UpdateId) -> Vec<TaskKey> {
        let keys = self.by_run.get(run).into_iter().flatten();
        let of_group = |key: &&TaskKey| {
            self.tasks.get(*key).is_some_and(|task| task.group == Some(group) && task.phase != Phase::Ended)
        };
        keys.filter(of_group).cloned().collect()
    }

    fn kill_siblings(&mut self, now: Time, run: &ContainerId, group: UpdateId, out: &mut Out) {
        for key in self.group_of(run, group) {
            if self.tasks.get(&key).is_some_and(|task| task.kill.is_none()) {
                self.kill(now, &key, None, KillCause::Asked, out);
            }
        }
    }

    /// A group is delivered whole or not at all.
    pub(crate) fn end_queued_group(&mut self, now: Time, run: &ContainerId, group: UpdateId, out: &mut Out) {
        for key in self.group_of(run, group) {
            if self.tasks.get(&key).is_some_and(|task| task.phase == Phase::Queued) {
                let (reason, text) = (Reason::TaskKilledDuringLaunch, KILLED_BEFORE_DELIVERY.to_owned());
                self.end(now, &key, TaskState::Killed, Source::Agent, Some(reason), text, out);
            }
        }
    }

    pub(crate) fn completions_due(&mut self, now: Time, out: &mut Out) {
        let due: Vec<TaskKey> = self
            .by_container
            .values()
            .filter(|key| {
                self.tasks.get(*key).is_some_and(|task| {
                    task.phase == Phase::Running
                        && task.kill.is_none()
                        && task.complete_by.is_some_and(|end| end <= now)
                })
            })
            .cloned()
            .collect();
        for key in due {
            self.kill(now, &key, None, KillCause::MaxCompletionTime, out);
        }
    }

    pub(crate) fn force_kills(&mut self, now: Time, out: &mut Out) {
        for (id, key) in &self.by_container {
            let Some(slot) = self.tasks.get_mut(key) else { continue };
            let due = slot.kill.as_ref().is_some_and(|kill| !kill.forced && kill.deadline <= now);
            if slot.phase == Phase::Running && due {
                if let Some(kill) = &mut Arc::make_mut(slot).kill {
                    kill.forced = true;
                }
                out.effect(Effect::Destroy { id: id.clone() });
            }
        }
    }

    /// The framework is gone: all it has here ends, and nobody is told.
    pub(crate) fn shutdown_framework(&mut self, now: Time, id: &FrameworkId, out: &mut Out) {
        let grace = Duration::from_millis(self.config.limits.kill_grace_ms);
        let keys: Vec<TaskKey> = self.tasks.keys().filter(|key| key.0 == *id).cloned().collect();
        for key in keys {
            let Some(slot) = self.tasks.get_mut(&key) else { continue };
            if slot.phase == Phase::Ended {
                self.forget_task(&key, out);
                continue;
            }
            let task = Arc::make_mut(slot);
            let before = task.kill.take();
            let deadline = before.as_ref().map_or(now + grace, |kill| kill.deadline.min(now + grace));
            let launching = task.phase == Phase::Launching;
            let owns = task.has_container();
            let forced = launching || before.as_ref().is_some_and(|kill| kill.forced);
            let cause = KillCause::Asked;
            let deadline = if owns { deadline } else { Time::MAX };
            task.kill = Some(Kill { deadline, forced, silent: true, cause, policy: None });
            task.updates.clear();
            let container = task.container_id.clone();
            if task.phase == Phase::Queued {
                let text = KILLED_BEFORE_DELIVERY.to_owned();
                self.end(now, &key, TaskState::Killed, Source::Agent, None, text, out);
                continue;
            }
            out.write(Write::PutTask(slot.clone()));
            match (owns, launching) {
                (true, true) => out.effect(Effect::Destroy { id: container }),
                (true, false) if before.is_none() => out.effect(Effect::Terminate { id: container }),
                _ => {}
            }
        }
        let runs: Vec<ContainerId> =
            self.runs.iter().filter(|(key, _)| key.0 == *id).map(|(_, run)| run.clone()).collect();
        for run in runs {
            self.shutdown_executor(now, &run, true, out);
        }
        self.strangers.retain(|key, _| key.0 != *id);
        self.retries.retain(|key, _| key.0 != *id);
        self.forget_framework_if_idle(id, out);
    }
}

/// The memory that was not enough.
pub(crate) fn memory_limit(resources: &Resources) -> Resources {
    let mut limitation = Resources::new();
    limitation.add_one(model::Resource::scalar("mem", resources.mem()));
    limitation
}
