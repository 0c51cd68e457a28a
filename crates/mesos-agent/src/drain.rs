//! Draining: the agent ends what it runs and takes nothing new until it is told otherwise.

use model::{DrainConfig, KillPolicy, Time};

use crate::brain::{Agent, Out};
use crate::state::{Drain, KillCause, Phase, TaskKey, Write};

impl Agent {
    pub(crate) fn start_drain(&mut self, now: Time, config: DrainConfig, out: &mut Out) {
        if self.drain.is_none_or(|drain| drain.config != config) {
            let started = self.drain.map_or(now, |drain| drain.started);
            self.drain = Some(Drain { config, started });
            out.write(Write::PutDrain(self.drain));
        }
        let keys: Vec<TaskKey> =
            self.tasks.values().filter(|task| task.phase != Phase::Ended).map(|task| task.key()).collect();
        for key in keys {
            self.drain_task(now, &key, out);
        }
        let runs: Vec<_> = self.runs.values().cloned().collect();
        for run in runs {
            self.end_idle_of_drain(now, &run, out);
        }
    }

    fn drain_task(&mut self, now: Time, key: &TaskKey, out: &mut Out) {
        let Some(task) = self.tasks.get(key) else { return };
        let own = task.info.kill_policy.map_or(self.config.limits.kill_grace_ms, |policy| policy.grace_ms);
        let grace_ms = self.grace_in_drain(own);
        // Custom executors choose for themselves when nobody names a period.
        let named = task.has_container() || grace_ms < own || task.info.kill_policy.is_some();
        self.kill(now, key, named.then_some(KillPolicy { grace_ms }), KillCause::Draining, out);
    }

    /// A grace period as far as draining leaves it.
    pub(crate) fn grace_in_drain(&self, grace_ms: u64) -> u64 {
        let most = self.drain.and_then(|drain| drain.config.max_grace_ms);
        most.map_or(grace_ms, |most| grace_ms.min(most))
    }

    pub(crate) fn end_drain(&mut self, out: &mut Out) {
        if self.drain.take().is_some() {
            out.write(Write::PutDrain(None));
        }
    }
}
