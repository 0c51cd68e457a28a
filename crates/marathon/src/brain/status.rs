//! What the master tells of tasks, and the kills that we ask for.
//!
//! Invariant: every update with a uuid is acknowledged in the turn it comes in,
//! after the writes of that turn.

use std::sync::Arc;
use std::time::Duration;

use model::scheduler_api::SchedulerCall;
use model::{Reason, TaskId, TaskState, TaskStatus, Time};
use scheduler::{Backoff, BackoffPolicy};

use super::{Deadline, Effect, Marathon, Out};
use crate::api::MarathonEvent;
use crate::definition::AppDefinition;
use crate::definition::app::UnreachableStrategy;
use crate::state::{Instance, KillReason, TaskFailure, Write};

/// When the kills follow that were too many for one turn.
const KILL_PACE: Duration = Duration::from_millis(20);
/// Longest message of a failed task that is kept, in characters.
const FAILURE_MESSAGE_MAX: usize = 2_000;

/// Marathon's word for what a task's state makes of its instance.
pub fn condition(state: TaskState) -> &'static str {
    match state {
        TaskState::Staging => "Staging",
        TaskState::Starting => "Starting",
        TaskState::Running => "Running",
        TaskState::Killing => "Killing",
        TaskState::Finished => "Finished",
        TaskState::Failed => "Failed",
        TaskState::Killed => "Killed",
        TaskState::Error => "Error",
        TaskState::Dropped => "Dropped",
        TaskState::Unreachable => "Unreachable",
        TaskState::Gone | TaskState::GoneByOperator | TaskState::Lost => "Gone",
        TaskState::Unknown => "Unknown",
    }
}

impl Marathon {
    pub(super) fn update(&mut self, now: Time, status: TaskStatus, out: &mut Out) {
        match self.instance(&status.task_id) {
            None => self.update_of_unknown(&status, out),
            Some(_) if status.state.is_terminal() || status.state == TaskState::Unknown => {
                self.instance_ended(now, &status, out);
            }
            Some(_) if status.state == TaskState::Unreachable => self.instance_unreachable(now, &status, out),
            Some(_) => self.instance_alive(now, &status, out),
        }
        let agent_id = status.agent_id.clone();
        if let (Some(uuid), Some(agent_id)) = (status.uuid, agent_id) {
            self.call(SchedulerCall::Acknowledge { agent_id, task_id: status.task_id, uuid }, out);
        }
    }

    /// A task we gave up, or never had: it must not run.
    fn update_of_unknown(&mut self, status: &TaskStatus, out: &mut Out) {
        // One that is being killed needs no second kill: its answer would be the same again.
        let alive = matches!(status.state, TaskState::Staging | TaskState::Starting | TaskState::Running);
        if alive {
            let call = SchedulerCall::Kill {
                task_id: status.task_id.clone(),
                agent_id: status.agent_id.clone(),
                kill_policy: None,
            };
            self.call(call, out);
        } else if status.state.is_terminal() {
            let event = MarathonEvent::UnknownInstanceTerminated {
                task_id: status.task_id.clone(),
                condition: condition(status.state),
            };
            out.effect(Effect::Event(event));
        }
    }

    fn instance_alive(&mut self, now: Time, status: &TaskStatus, out: &mut Out) {
        let task = &status.task_id;
        let Some(before) = self.instance(task).cloned() else { return };
        // A late STAGING or STARTING does not undo what is known.
        let stale = matches!(status.state, TaskState::Staging | TaskState::Starting)
            && matches!(before.state, TaskState::Running | TaskState::Killing)
            && !before.is_unreachable();
        let state = if stale { before.state } else { status.state };
        let Some(after) = self.change_instance(task, |instance| {
            instance.confirmed = true;
            instance.state = state;
            instance.unreachable_since = None;
            if state == TaskState::Running && instance.started.is_none() {
                instance.started = Some(status.timestamp);
            }
            if let Some(container) = &status.container {
                instance.container_ip = Some(container.ip.clone());
            }
        }) else {
            return;
        };
        // STAGING and STARTING are not worth a write: reconciliation brings them back.
        let durable_before = (before.started, before.unreachable_since, &before.container_ip);
        if durable_before != (after.started, after.unreachable_since, &after.container_ip) {
            out.write(Write::PutInstance(after.clone()));
        }
        if let Some(app) = self.apps.get_mut(&after.app)
            && let Some((config, backoff)) = &mut app.backoff
            && *config == after.config
        {
            backoff.seen_alive(now);
        }
        if before.state != after.state {
            self.tell_change(&after, status, out);
        }
    }

    fn instance_unreachable(&mut self, now: Time, status: &TaskStatus, out: &mut Out) {
        let task = &status.task_id;
        let Some(before) = self.instance(task).cloned() else { return };
        let strategy = self.unreachable_strategy(&before);
        let forget = UnreachableStrategy::After { inactive_seconds: 0, expunge_seconds: 0 };
        if before.sentenced.is_some() || strategy == forget {
            let mut last = (*before).clone();
            last.state = TaskState::Unreachable;
            self.tell_change(&Arc::new(last), status, out);
            self.note_failure(&before, status, out);
            self.remove_instance(task, out);
            return;
        }
        let Some(after) = self.change_instance(task, |instance| {
            instance.confirmed = true;
            instance.state = TaskState::Unreachable;
            instance.unreachable_since = instance.unreachable_since.or(Some(now));
        }) else {
            return;
        };
        if before.unreachable_since.is_none() {
            out.write(Write::PutInstance(after.clone()));
            self.note_failure(&before, status, out);
            self.tell_change(&after, status, out);
        }
        self.watch_instance(task, now);
    }

    /// How long an unreachable instance is waited for.
    pub(super) fn unreachable_strategy(&self, instance: &Instance) -> UnreachableStrategy {
        self.apps
            .get(&instance.app)
            .and_then(|app| app.definition.as_ref())
            .map_or(UnreachableStrategy::After { inactive_seconds: 0, expunge_seconds: 0 }, |d| d.unreachable)
    }

    fn instance_ended(&mut self, now: Time, status: &TaskStatus, out: &mut Out) {
        let Some(instance) = self.remove_instance(&status.task_id, out) else { return };
        let mut last = (*instance).clone();
        last.state = status.state;
        let last = Arc::new(last);
        self.tell_change(&last, status, out);
        if instance.sentenced.is_some() {
            return;
        }
        self.note_failure(&instance, status, out);
        let failed = matches!(
            status.state,
            TaskState::Failed
                | TaskState::Finished
                | TaskState::Error
                | TaskState::Dropped
                | TaskState::Gone
                | TaskState::GoneByOperator
        );
        // An offer that was withdrawn meanwhile says nothing about the app.
        if failed && status.reason != Some(Reason::InvalidOffers) {
            self.back_off(now, &instance);
        }
    }

    fn back_off(&mut self, now: Time, instance: &Instance) {
        let Some(app) = self.apps.get_mut(&instance.app) else { return };
        let wanted = app.wanted.as_ref().map(|wanted| &wanted.definition);
        let of_this_config =
            |definition: &&Arc<AppDefinition>| definition.last_config_change == instance.config;
        let Some(definition) = wanted.or(app.definition.as_ref()).filter(of_this_config) else { return };
        let policy = BackoffPolicy {
            first: Duration::from_secs(definition.backoff_seconds.into()),
            factor: definition.backoff_factor,
            max: Duration::from_secs(definition.launch_delay_max_seconds.into()),
        };
        let previous =
            app.backoff.filter(|(config, _)| *config == instance.config).map(|(_, backoff)| backoff);
        let backoff = Backoff::failed(previous, policy, now);
        app.backoff = Some((instance.config, backoff));
        if backoff.until() > now {
            self.deadlines.insert((backoff.until(), Deadline::Delay(instance.app.clone())));
        }
    }

    fn note_failure(&mut self, instance: &Instance, status: &TaskStatus, out: &mut Out) {
        if matches!(status.state, TaskState::Finished | TaskState::Killed) {
            return;
        }
        let Some(app) = self.apps.get_mut(&instance.app) else { return };
        if app.definition.is_none() {
            return;
        }
        let failure = Arc::new(TaskFailure {
            app: instance.app.clone(),
            task_id: instance.task_id.clone(),
            host: instance.hostname.clone(),
            message: status.message.iter().flat_map(|m| m.chars()).take(FAILURE_MESSAGE_MAX).collect(),
            state: status.state,
            timestamp: status.timestamp,
            version: instance.version,
            agent_id: Some(instance.agent_id.clone()),
        });
        app.last_failure = Some(failure.clone());
        self.unpublished.insert(instance.app.clone());
        out.write(Write::PutTaskFailure(failure));
    }

    fn tell_change(&self, instance: &Arc<Instance>, status: &TaskStatus, out: &mut Out) {
        out.effect(Effect::Event(MarathonEvent::StatusUpdate {
            instance: instance.clone(),
            state: status.state,
            message: status.message.clone().unwrap_or_default(),
        }));
        let condition = condition(status.state);
        out.effect(Effect::Event(MarathonEvent::InstanceChanged { instance: instance.clone(), condition }));
    }

    // ---- kills

    /// Decides, durably, that an instance ends; an unreachable one is forgotten at once.
    pub(super) fn sentence(&mut self, now: Time, task: &TaskId, reason: KillReason, out: &mut Out) {
        let Some(before) = self.instance(task).cloned() else { return };
        if before.sentenced.is_some() {
            return;
        }
        let Some(instance) = self.change_instance(task, |instance| instance.sentenced = Some(reason)) else {
            return;
        };
        if before.is_unreachable() {
            self.remove_instance(task, out);
        } else {
            out.write(Write::PutInstance(instance));
        }
        self.kill(now, &before, out);
    }

    fn kill(&mut self, now: Time, instance: &Instance, out: &mut Out) {
        if self.kills_this_turn >= self.config.limits.kills_per_turn && !instance.is_unreachable() {
            let soon = now + KILL_PACE;
            self.deadlines.insert((soon, Deadline::Kill(instance.task_id.clone())));
            return;
        }
        self.kills_this_turn += 1;
        // The grace period travelled with the task.
        let call = SchedulerCall::Kill {
            task_id: instance.task_id.clone(),
            agent_id: Some(instance.agent_id.clone()),
            kill_policy: None,
        };
        self.call(call, out);
        if !instance.is_unreachable() {
            let again = now + Duration::from_millis(self.config.kill_retry_ms);
            self.deadlines.insert((again, Deadline::Kill(instance.task_id.clone())));
        }
    }

    /// The kill, or its answer, may have been lost: ask again, and ask what became of the task.
    pub(super) fn kill_again(&mut self, now: Time, task: &TaskId, out: &mut Out) {
        let Some(instance) = self.instance(task).cloned() else { return };
        if instance.sentenced.is_none() {
            return;
        }
        let sent = self.kills_this_turn;
        self.kill(now, &instance, out);
        if self.kills_this_turn > sent {
            let tasks = vec![(task.clone(), Some(instance.agent_id.clone()))];
            self.call(SchedulerCall::Reconcile { tasks }, out);
        }
    }

    /// After a (re)subscription: whatever was asked before may be lost.
    pub(super) fn kill_sentenced_again(&mut self, now: Time, out: &mut Out) {
        let sentenced: Vec<_> = self
            .apps
            .values()
            .flat_map(|app| app.instances.values())
            .filter(|instance| instance.sentenced.is_some())
            .cloned()
            .collect();
        self.deadlines.retain(|(_, deadline)| !matches!(deadline, Deadline::Kill(_)));
        for instance in sentenced {
            self.kill(now, &instance, out);
        }
    }

    // ---- launches that nobody confirms, agents that nobody sees

    /// Sets the deadlines that an instance in its present state needs.
    pub(super) fn watch_instance(&mut self, task: &TaskId, now: Time) {
        let Some(instance) = self.instance(task).cloned() else { return };
        if instance.sentenced.is_some() {
            let again = now + Duration::from_millis(self.config.kill_retry_ms);
            self.deadlines.insert((again, Deadline::Kill(task.clone())));
        }
        if !instance.confirmed {
            let inquiry = now + Duration::from_millis(self.config.launch_inquiry_ms);
            self.deadlines.insert((inquiry, Deadline::Launch(task.clone())));
        }
        let strategy = self.unreachable_strategy(&instance);
        if let (Some(since), UnreachableStrategy::After { inactive_seconds, expunge_seconds }) =
            (instance.unreachable_since, strategy)
        {
            for seconds in [inactive_seconds, expunge_seconds] {
                let time = since + Duration::from_secs(seconds.into());
                self.deadlines.insert((time.max(now), Deadline::Unreachable(instance.app.clone())));
            }
        }
    }

    pub(super) fn launch_overdue(&mut self, now: Time, task: &TaskId, out: &mut Out) {
        let Some(instance) = self.instance(task).cloned() else { return };
        if instance.confirmed || instance.sentenced.is_some() {
            return;
        }
        if now.since(instance.staged) >= Duration::from_millis(self.config.launch_confirm_timeout_ms) {
            // Should it come up after all, it is unknown and ends.
            self.kill(now, &instance, out);
            self.remove_instance(task, out);
            return;
        }
        let tasks = vec![(task.clone(), Some(instance.agent_id.clone()))];
        self.call(SchedulerCall::Reconcile { tasks }, out);
        let inquiry = now + Duration::from_millis(self.config.launch_inquiry_ms);
        self.deadlines.insert((inquiry, Deadline::Launch(task.clone())));
    }
}
