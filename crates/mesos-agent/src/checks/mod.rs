//! Health checks and generic checks of tasks whose container the agent runs.
//!
//! [`Watch`] decides when to look and what a look means; this file ties watches
//! to tasks. They are not checkpointed: after a restart of this process they
//! begin anew from what was last reported, with their delay. Invariants: one look
//! of a kind at a time; none at a task that is being killed; a look's answer for
//! a task that is gone means nothing.

mod watch;

use model::{CheckStatus, ContainerId, Probe, Reason, Source, TaskState, Time};

use crate::brain::{Agent, Effect, Out};
use crate::state::{KillCause, Phase, TaskKey};
pub use watch::Seen;
use watch::{Health, Seeing, Watch};

/// Unacknowledged updates of a task beyond which nothing new is looked at: nobody
/// listens, and what is seen could only wait.
pub const UPDATES_WAITING_MAX: usize = 32;

/// One look to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Repeated in the answer; never used twice in one process.
    pub number: u64,
    pub container: ContainerId,
    pub probe: Probe,
    /// Zero: as long as it takes.
    pub timeout_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Health,
    Check,
}

/// All checks of one task.
#[derive(Debug)]
pub(crate) struct Watched {
    health: Option<(Watch, Health)>,
    check: Option<(Watch, Seeing)>,
}

impl Watched {
    fn due(&self) -> Option<Time> {
        let health = self.health.as_ref().and_then(|(watch, _)| watch.due());
        let check = self.check.as_ref().and_then(|(watch, _)| watch.due());
        health.into_iter().chain(check).min()
    }
}

impl Agent {
    /// The task runs: looks at it begin.
    pub(crate) fn watch(&mut self, now: Time, key: &TaskKey) {
        let Some(task) = self.tasks.get(key).filter(|task| task.has_container() && task.kill.is_none())
        else {
            return;
        };
        let info = &task.info;
        let running = task.statuses.iter().find(|status| status.state == TaskState::Running);
        let since = running.map_or(now, |status| status.timestamp.min(now));
        let healthy = task.statuses.iter().rev().find_map(|status| status.healthy);
        let health = info
            .health_check
            .as_deref()
            .map(|health| (Watch::new(&health.check, now), Health::new(health, since, healthy)));
        let check = info.check.as_deref().map(|check| {
            let last = task.statuses.iter().rev().find_map(|status| status.check);
            (Watch::new(check, now), Seeing::new(&check.probe, last))
        });
        if health.is_some() || check.is_some() {
            self.watched.insert(key.clone(), Watched { health, check });
        }
    }

    pub(crate) fn next_look(&self) -> Option<Time> {
        self.watched.values().filter_map(Watched::due).min()
    }

    /// Starts the looks whose time has come.
    pub(crate) fn looks_due(&mut self, now: Time, out: &mut Out) {
        if self.watched.is_empty() {
            return;
        }
        let due: Vec<TaskKey> = self
            .watched
            .iter()
            .filter(|(_, watched)| watched.due().is_some_and(|due| due <= now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            let runs =
                self.tasks.get(&key).filter(|task| task.phase == Phase::Running && task.kill.is_none());
            let Some(task) = runs else {
                self.watched.remove(&key);
                continue;
            };
            let is_unheard = task.updates.len() >= UPDATES_WAITING_MAX;
            let (container, info) = (task.container_id.clone(), task.info.clone());
            let Some(watched) = self.watched.get_mut(&key) else { continue };
            let health = watched.health.as_mut().map(|(watch, _)| watch);
            let check = watched.check.as_mut().map(|(watch, _)| watch);
            let of_health = info.health_check.as_deref().map(|health| &health.check);
            let both = [(Kind::Health, health, of_health), (Kind::Check, check, info.check.as_deref())];
            for (kind, watch, wanted) in both {
                let (Some(watch), Some(wanted)) = (watch, wanted) else { continue };
                if watch.due().is_none_or(|due| due > now) {
                    continue;
                }
                if is_unheard {
                    watch.postpone(now);
                    continue;
                }
                self.next_look += 1;
                let number = self.next_look;
                watch.begin(number);
                self.looks.insert(number, (key.clone(), kind));
                out.effect(Effect::Look(Box::new(Look {
                    number,
                    container: container.clone(),
                    probe: wanted.probe.clone(),
                    timeout_ms: wanted.timeout_ms,
                })));
            }
        }
    }

    /// The answer to one look.
    pub(crate) fn seen(&mut self, now: Time, number: u64, seen: &Seen, out: &mut Out) {
        let Some((key, kind)) = self.looks.remove(&number) else { return };
        let Some(watched) = self.watched.get_mut(&key) else { return };
        match (kind, &mut watched.health, &mut watched.check) {
            (Kind::Health, Some((watch, health)), _) => {
                if !watch.end(number, now) {
                    return;
                }
                let Some(verdict) = health.judge(now, seen) else { return };
                let healthy = verdict.failure.is_none();
                let message = verdict.failure.map(|text| format!("Health check failed: {text}"));
                let reason = Some(Reason::TaskHealthCheckStatusUpdated);
                let mut status =
                    self.status(now, &key, TaskState::Running, Source::Executor, reason, message);
                status.healthy = Some(healthy);
                self.push(now, &key, status, out);
                if verdict.kill {
                    self.kill(now, &key, None, KillCause::Unhealthy, out);
                }
            }
            (Kind::Check, _, Some((watch, seeing))) => {
                if !watch.end(number, now) || !seeing.changes(seen) {
                    return;
                }
                let reason = Some(Reason::TaskCheckStatusUpdated);
                self.report(now, &key, TaskState::Running, Source::Executor, reason, None, out);
            }
            _ => {}
        }
    }

    /// What every status of a task with a generic check says of it.
    pub(crate) fn check_status(&self, key: &TaskKey) -> Option<CheckStatus> {
        let task = self.tasks.get(key).filter(|task| task.has_container())?;
        let check = task.info.check.as_deref()?;
        let seeing = self.watched.get(key).and_then(|watched| watched.check.as_ref());
        let last = || task.statuses.iter().rev().find_map(|status| status.check);
        Some(match seeing {
            Some((_, seeing)) => seeing.last(),
            None => last().unwrap_or_else(|| watch::nothing(&check.probe)),
        })
    }

    /// What a running task's status says of its health when it says something else.
    pub(crate) fn health(&self, key: &TaskKey, state: TaskState) -> Option<bool> {
        let task = self.tasks.get(key).filter(|task| task.has_container() && state == TaskState::Running)?;
        task.info.health_check.as_ref()?;
        task.statuses.iter().rev().find_map(|status| status.healthy)
    }
}
