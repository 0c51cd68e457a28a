//! Executors: processes of a framework's own that run its tasks, and the default
//! executor, which is built in and has no process.
//!
//! A custom executor gets what was queued when it subscribes. It may come back
//! after a restart of the agent, or be given up (`apache/mesos`
//! `src/slave/slave.cpp`, `src/slave/http.cpp`).

use std::sync::Arc;
use std::time::Duration;

use model::agent_api::AgentToMaster;
use model::executor_api::{ExecutorCall, ExecutorEvent};
use model::{
    AgentInfo, ContainerId, Reason, Source, TaskId, TaskInfo, TaskState, TaskStatus, Time, UpdateId,
};

use crate::brain::{Agent, Effect, ExecutorConn, ExecutorKey, ExecutorRefusal, Out};
use crate::exits;
use crate::state::{
    AgentTask, ContainerExit, ExecutorPhase, ExitStatus, KillCause, Phase, Shutdown, TaskKey, Verdict, Write,
};

/// How a run came to its end.
pub(crate) enum ExecutorEnd<'a> {
    Exited(&'a ContainerExit),
    LaunchFailed(String),
    /// The agent restarted before it could be started.
    NeverStarted,
}

impl Agent {
    // ---- calls

    pub(crate) fn executor_call(
        &mut self,
        now: Time,
        conn: ExecutorConn,
        key: ExecutorKey,
        call: ExecutorCall,
        out: &mut Out,
    ) {
        let taken = self.called_run(&key, &call).and_then(|run| match call {
            ExecutorCall::Subscribe { unacknowledged_tasks, unacknowledged_updates } => {
                out.effect(Effect::ExecutorReply { conn, result: Ok(()) });
                self.subscribe(now, conn, &run, &unacknowledged_tasks, unacknowledged_updates, out);
                Ok(false)
            }
            ExecutorCall::Update(status) => {
                check_update(&key, &status)?;
                self.executor_update(now, &run, *status, out);
                Ok(true)
            }
            ExecutorCall::Message(data) => {
                let (framework_id, executor_id) = key;
                self.to_master(AgentToMaster::Message { framework_id, executor_id, data }, out);
                Ok(true)
            }
        });
        match taken {
            Ok(true) => out.effect(Effect::ExecutorReply { conn, result: Ok(()) }),
            Ok(false) => {}
            Err(refusal) => out.effect(Effect::ExecutorReply { conn, result: Err(refusal) }),
        }
    }

    /// The run that is meant, if it may make this call now.
    fn called_run(&self, key: &ExecutorKey, call: &ExecutorCall) -> Result<ContainerId, ExecutorRefusal> {
        if !self.recovered {
            return Err(ExecutorRefusal::Recovering);
        }
        let run = self.runs.get(key);
        let is_subscribe = matches!(call, ExecutorCall::Subscribe { .. });
        // Who is back may go on; who is not is told to come back first.
        if !is_subscribe && run.is_some_and(|run| self.reconnecting.contains(run)) {
            return Err(ExecutorRefusal::Recovering);
        }
        if !self.frameworks.contains_key(&key.0) {
            return Err(ExecutorRefusal::UnknownFramework);
        }
        let run = run.ok_or(ExecutorRefusal::UnknownExecutor)?;
        if self.executors.get(run).is_none_or(|executor| executor.is_default()) {
            return Err(ExecutorRefusal::UnknownExecutor);
        }
        if !is_subscribe && !self.subscribed.contains_key(run) {
            return Err(ExecutorRefusal::NotSubscribed);
        }
        Ok(run.clone())
    }

    fn subscribe(
        &mut self,
        now: Time,
        conn: ExecutorConn,
        run: &ContainerId,
        unacknowledged_tasks: &[TaskId],
        unacknowledged_updates: Vec<TaskStatus>,
        out: &mut Out,
    ) {
        if let Some(older) = self.subscribed.insert(run.clone(), conn) {
            out.effect(Effect::CloseExecutor { conn: older });
        }
        self.deadlines.remove(run);
        self.reconnecting.remove(run);
        let Some(slot) = self.executors.get_mut(run) else { return };
        if slot.phase == ExecutorPhase::Terminating {
            // What it still has to say comes with its next subscription, or not at all.
            self.subscribed.remove(run);
            out.effect(Effect::ToExecutor { conn, event: ExecutorEvent::Shutdown });
            out.effect(Effect::CloseExecutor { conn });
            return;
        }
        let first = slot.phase == ExecutorPhase::Registering;
        if first {
            Arc::make_mut(slot).phase = ExecutorPhase::Running;
            out.write(Write::PutExecutor(slot.clone()));
        }
        let executor = slot.clone();
        let live = self.live_tasks(run);
        if first && live.is_empty() {
            // All it was started for was killed meanwhile.
            self.shutdown_executor(now, run, false, out);
            return;
        }
        let Some(framework) = self.frameworks.get(&executor.framework_id) else { return };
        let agent =
            AgentInfo { id: self.id.clone(), resources: self.total.clone(), ..self.config.info.clone() };
        let event = ExecutorEvent::Subscribed {
            executor: Box::new(executor.info.clone()),
            role: executor.role.clone(),
            framework: Box::new((**framework).clone()),
            agent: Box::new(agent),
            container_id: run.clone(),
        };
        out.effect(Effect::ToExecutor { conn, event });
        for status in unacknowledged_updates {
            self.executor_update(now, run, status, out);
        }
        self.end_undelivered(now, run, unacknowledged_tasks, out);
        self.repeat_kills(run, conn, out);
        self.deliver(run, out);
    }

    /// Handed over, never reported on, and not known to the executor: lost on the way.
    fn end_undelivered(&mut self, now: Time, run: &ContainerId, known: &[TaskId], out: &mut Out) {
        for key in self.live_tasks(run) {
            let lost = self.tasks.get(&key).is_some_and(|task| {
                task.phase == Phase::Running && task.state == TaskState::Staging && !known.contains(&key.1)
            });
            if lost {
                let state = self.lost_as(&key.0, TaskState::Dropped);
                let text = "Task launched during agent restart".to_owned();
                self.end(now, &key, state, Source::Agent, Some(Reason::AgentRestarted), text, out);
            }
        }
    }

    fn repeat_kills(&self, run: &ContainerId, conn: ExecutorConn, out: &mut Out) {
        for key in self.live_tasks(run) {
            let Some(kill) = self.tasks.get(&key).and_then(|task| task.kill.as_ref()) else { continue };
            let event = ExecutorEvent::Kill { task_id: key.1.clone(), kill_policy: kill.policy };
            out.effect(Effect::ToExecutor { conn, event });
        }
    }

    pub(crate) fn executor_closed(&mut self, conn: ExecutorConn) {
        // An older subscription's end says nothing of the newer.
        self.subscribed.retain(|_, current| *current != conn);
    }

    /// Live tasks of a run, in the order in which they came.
    pub(crate) fn live_tasks(&self, run: &ContainerId) -> Vec<TaskKey> {
        let keys = self.by_run.get(run).into_iter().flatten();
        let mut live: Vec<&Arc<AgentTask>> =
            keys.filter_map(|key| self.tasks.get(key)).filter(|task| task.phase != Phase::Ended).collect();
        live.sort_by_key(|task| task.order);
        live.into_iter().map(|task| task.key()).collect()
    }

    /// Hands over what is queued, in order; a group in one piece.
    pub(crate) fn deliver(&mut self, run: &ContainerId, out: &mut Out) {
        let Some(conn) = self.subscribed.get(run).copied() else { return };
        let mut events: Vec<(Option<UpdateId>, Vec<TaskInfo>)> = Vec::new();
        for key in self.live_tasks(run) {
            let Some(slot) = self.tasks.get_mut(&key).filter(|task| task.phase == Phase::Queued) else {
                continue;
            };
            Arc::make_mut(slot).phase = Phase::Running;
            out.write(Write::PutTask(slot.clone()));
            match events.last_mut() {
                Some((Some(group), tasks)) if slot.group == Some(*group) => tasks.push(slot.info.clone()),
                _ => events.push((slot.group, vec![slot.info.clone()])),
            }
        }
        for (group, mut tasks) in events {
            let event = match group {
                Some(_) => ExecutorEvent::LaunchGroup(tasks),
                None => match tasks.pop() {
                    Some(task) => ExecutorEvent::Launch(Box::new(task)),
                    None => continue,
                },
            };
            out.effect(Effect::ToExecutor { conn, event });
        }
    }

    // ---- updates

    /// Into the task's stream, unless it was there before; acknowledged in any case,
    /// so that the executor can stop repeating it.
    fn executor_update(&mut self, now: Time, run: &ContainerId, status: TaskStatus, out: &mut Out) {
        let Some(executor) = self.executors.get(run) else { return };
        let (framework_id, pid) = (executor.framework_id.clone(), executor.pid);
        let executor_id = executor.info.id.clone();
        let Some(uuid) = status.uuid else { return };
        let key = (framework_id, status.task_id.clone());
        let task_id = status.task_id.clone();
        let news = self.tasks.get(&key).filter(|task| task.run() == *run && task.phase != Phase::Ended);
        let news = news.is_some_and(|task| {
            !task.settled.contains(&uuid) && task.updates.iter().all(|known| known.uuid != Some(uuid))
        });
        if news {
            let raw = status.container.as_ref().and_then(|container| container.raw.clone());
            let container = model::ContainerStatus {
                container_id: run.clone(),
                ip: self.config.info.ip.clone(),
                pid,
                raw,
            };
            let status = TaskStatus {
                agent_id: self.id.clone(),
                executor_id: Some(executor_id),
                container: Some(container),
                ..status
            };
            if status.state.is_terminal() {
                self.end_with(now, &key, status, out);
            } else {
                self.push(now, &key, status, out);
            }
        }
        if let Some(conn) = self.subscribed.get(run) {
            let event = ExecutorEvent::Acknowledged { task_id, uuid };
            out.effect(Effect::ToExecutor { conn: *conn, event });
        }
    }

    // ---- process

    pub(crate) fn executor_started(&mut self, now: Time, run: &ContainerId, pid: u32, out: &mut Out) {
        let Some(slot) = self.executors.get_mut(run) else { return };
        if !slot.is_live() {
            out.effect(Effect::Destroy { id: run.clone() });
            return;
        }
        Arc::make_mut(slot).pid = Some(pid);
        out.write(Write::PutExecutor(slot.clone()));
        if slot.shutdown.is_some_and(|shutdown| shutdown.forced || shutdown.deadline <= now) {
            out.effect(Effect::Destroy { id: run.clone() });
            return;
        }
        // What came while it was being started.
        self.resize(run, out);
    }

    /// Remembers why the agent itself ends this executor.
    pub(crate) fn judge(&mut self, run: &ContainerId, verdict: Verdict) {
        if let Some(slot) = self.executors.get_mut(run) {
            Arc::make_mut(slot).verdict = Some(verdict);
        }
    }

    pub(crate) fn executors_due(&mut self, now: Time, out: &mut Out) {
        let due: Vec<ContainerId> =
            self.deadlines.iter().filter(|(_, due)| **due <= now).map(|(run, _)| run.clone()).collect();
        for run in due {
            self.deadlines.remove(&run);
            let was_waited_for = self.reconnecting.remove(&run);
            self.judge(&run, if was_waited_for { Verdict::NotBack } else { Verdict::NeverSubscribed });
            self.force_executor(now, &run, out);
        }
        let due: Vec<ContainerId> = self
            .executors
            .values()
            .filter(|executor| executor.is_live())
            .filter(|executor| executor.shutdown.is_some_and(|it| !it.forced && it.deadline <= now))
            .map(|executor| executor.container_id.clone())
            .collect();
        for run in due {
            self.force_executor(now, &run, out);
        }
    }

    /// SIGKILL to all of it.
    fn force_executor(&mut self, now: Time, run: &ContainerId, out: &mut Out) {
        let Some(slot) = self.executors.get_mut(run) else { return };
        let executor = Arc::make_mut(slot);
        executor.phase = ExecutorPhase::Terminating;
        let silent = executor.shutdown.is_some_and(|shutdown| shutdown.silent);
        executor.shutdown = Some(Shutdown { deadline: now, forced: true, silent });
        out.write(Write::PutExecutor(slot.clone()));
        out.effect(Effect::Destroy { id: run.clone() });
    }

    /// Takes back what a run has only until further notice.
    pub(crate) fn preempt(&mut self, now: Time, run: &ContainerId, out: &mut Out) {
        match self.executors.get(run).filter(|executor| executor.is_live()) {
            Some(executor) if !executor.is_default() => {
                self.judge(run, Verdict::Preempted);
                self.force_executor(now, run, out);
            }
            _ => {
                for key in self.live_tasks(run) {
                    self.preempt_task(now, &key, out);
                }
            }
        }
    }

    /// Asks it to end; by force after its grace period.
    pub(crate) fn shutdown_executor(&mut self, now: Time, run: &ContainerId, silent: bool, out: &mut Out) {
        let Some(slot) = self.executors.get_mut(run) else { return };
        if !slot.is_live() {
            return;
        }
        let executor = Arc::make_mut(slot);
        if let Some(shutdown) = &mut executor.shutdown {
            shutdown.silent |= silent;
            out.write(Write::PutExecutor(slot.clone()));
            return;
        }
        let default_grace = self.config.limits.executor_shutdown_grace_ms;
        let grace = executor.info.shutdown_grace_ms.unwrap_or(default_grace);
        let (is_default, runs) = (executor.is_default(), executor.pid.is_some());
        executor.phase = ExecutorPhase::Terminating;
        let deadline = if is_default { Time::MAX } else { now + Duration::from_millis(grace) };
        executor.shutdown = Some(Shutdown { deadline, forced: is_default, silent });
        out.write(Write::PutExecutor(slot.clone()));
        self.deadlines.remove(run);
        self.reconnecting.remove(run);
        if is_default {
            for key in self.live_tasks(run) {
                let policy = self.tasks.get(&key).and_then(|task| task.info.kill_policy);
                let own = policy.map_or(self.config.limits.kill_grace_ms, |policy| policy.grace_ms);
                let policy = Some(model::KillPolicy { grace_ms: own.min(grace) });
                self.kill(now, &key, policy, KillCause::Asked, out);
            }
            self.end_default_if_empty(now, run, out);
        } else if let Some(conn) = self.subscribed.get(run) {
            out.effect(Effect::ToExecutor { conn: *conn, event: ExecutorEvent::Shutdown });
        } else if !runs {
            self.force_executor(now, run, out);
        }
    }

    /// An executor that a draining agent left without tasks has no more to do.
    pub(crate) fn end_idle_of_drain(&mut self, now: Time, run: &ContainerId, out: &mut Out) {
        let idle = self.drain.is_some() && self.live_tasks(run).is_empty();
        if idle
            && self.executors.get(run).is_some_and(|executor| executor.is_live() && !executor.is_default())
        {
            self.shutdown_executor(now, run, false, out);
        }
    }

    /// The default executor ends with its last task.
    pub(crate) fn end_default_if_empty(&mut self, now: Time, run: &ContainerId, out: &mut Out) {
        let ends =
            self.executors.get(run).is_some_and(|executor| executor.is_default() && executor.is_live());
        if ends && self.live_tasks(run).is_empty() {
            let exit = ContainerExit { status: ExitStatus::Code(0), memory: None };
            self.executor_ended(now, run, ExecutorEnd::Exited(&exit), out);
        }
    }

    pub(crate) fn executor_ended(
        &mut self,
        now: Time,
        run: &ContainerId,
        end: ExecutorEnd<'_>,
        out: &mut Out,
    ) {
        let Some(slot) = self.executors.get_mut(run) else { return };
        if !slot.is_live() {
            return;
        }
        let executor = Arc::make_mut(slot);
        executor.phase = ExecutorPhase::Ended;
        executor.ended = Some(now);
        out.write(Write::PutExecutor(slot.clone()));
        let executor = slot.clone();
        let key = (executor.framework_id.clone(), executor.info.id.clone());
        if self.runs.get(&key) == Some(run) {
            self.runs.remove(&key);
        }
        if let Some(conn) = self.subscribed.remove(run) {
            out.effect(Effect::CloseExecutor { conn });
        }
        self.deadlines.remove(run);
        self.reconnecting.remove(run);
        for task_key in self.live_tasks(run) {
            let Some(task) = self.tasks.get(&task_key) else { continue };
            let draining = task.kill.as_ref().is_some_and(|kill| kill.cause == KillCause::Draining);
            let (state, reason, text) = self.left_behind(&task_key, executor.verdict, &end);
            let reason = if draining { Reason::AgentDraining } else { reason };
            let mut status = self.status(now, &task_key, state, Source::Agent, Some(reason), Some(text));
            if reason == Reason::ContainerLimitationMemory {
                status.limitation = Some(crate::tasks::memory_limit(&self.resources_of(&executor)));
            }
            self.end_with(now, &task_key, status, out);
        }
        if executor.shutdown.is_none_or(|shutdown| !shutdown.silent) {
            let status = match &end {
                ExecutorEnd::Exited(exit) => exit.status.wait_status(),
                ExecutorEnd::LaunchFailed(_) | ExecutorEnd::NeverStarted => None,
            };
            self.tell_executor_exited(key, status, out);
        }
        self.retire_if_done(run, out);
    }

    /// What a task ends with whose executor ended before it.
    fn left_behind(
        &self,
        key: &TaskKey,
        verdict: Option<Verdict>,
        end: &ExecutorEnd<'_>,
    ) -> (TaskState, Reason, String) {
        let seconds = |ms: u64| ms / 1000;
        let gone = || self.lost_as(&key.0, TaskState::Gone);
        let limits = &self.config.limits;
        match (verdict, end) {
            (Some(Verdict::NeverSubscribed), _) => (
                TaskState::Failed,
                Reason::ExecutorRegistrationTimeout,
                format!(
                    "Executor did not register within {}secs",
                    seconds(limits.executor_registration_timeout_ms)
                ),
            ),
            (Some(Verdict::NotBack), _) => (
                gone(),
                Reason::ExecutorReregistrationTimeout,
                format!(
                    "Executor did not reregister within {}secs",
                    seconds(limits.executor_reregistration_timeout_ms)
                ),
            ),
            (Some(Verdict::NotCheckpointed), _) => (
                gone(),
                Reason::AgentRestarted,
                "The agent restarted, and the framework does not checkpoint".to_owned(),
            ),
            (Some(Verdict::Preempted), _) => {
                (gone(), Reason::ContainerPreempted, exits::PREEMPTED.to_owned())
            }
            (None, ExecutorEnd::Exited(ContainerExit { memory: Some(memory), .. })) => {
                (TaskState::Failed, Reason::ContainerLimitationMemory, memory.clone())
            }
            (None, ExecutorEnd::Exited(_)) => {
                (TaskState::Failed, Reason::ExecutorTerminated, "Executor terminated".to_owned())
            }
            (None, ExecutorEnd::LaunchFailed(message)) => {
                (TaskState::Failed, Reason::ContainerLaunchFailed, message.clone())
            }
            (None, ExecutorEnd::NeverStarted) => (
                self.lost_as(&key.0, TaskState::Dropped),
                Reason::AgentRestarted,
                "The agent restarted before the task's executor was started".to_owned(),
            ),
        }
    }

    /// An ended run goes with the last task whose end is acknowledged.
    pub(crate) fn retire_if_done(&mut self, run: &ContainerId, out: &mut Out) {
        let ended = self.executors.get(run).is_some_and(|executor| !executor.is_live());
        if !ended || self.by_run.contains_key(run) {
            return;
        }
        let Some(executor) = self.executors.remove(run) else { return };
        out.write(Write::DeleteExecutor(run.clone()));
        if !executor.is_default() {
            out.effect(Effect::Forget { id: run.clone() });
        }
        let framework_id = executor.framework_id.clone();
        self.history.push_executor(executor, &self.config.limits);
        self.forget_framework_if_idle(&framework_id, out);
    }
}

fn check_update(key: &ExecutorKey, status: &TaskStatus) -> Result<(), ExecutorRefusal> {
    let invalid = |text: &str| Err(ExecutorRefusal::Invalid(text.to_owned()));
    if status.uuid.is_none() {
        return invalid("Expecting 'uuid' to be present");
    }
    if status.source != Source::Executor {
        return invalid("Received Call from executor with invalid 'source', expecting 'SOURCE_EXECUTOR'");
    }
    if status.state == TaskState::Staging {
        return invalid("Received TASK_STAGING, which an executor must not send");
    }
    if status.executor_id.as_ref().is_some_and(|id| *id != key.1) {
        return invalid("ExecutorID in Call does not match the one in its TaskStatus");
    }
    Ok(())
}
