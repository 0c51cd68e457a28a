//! Offers: matched against what is wanted, answered in the turn they come in.
//!
//! Invariant: an instance's record is written before the ACCEPT that launches it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::scheduler_api::SchedulerCall;
use model::{Offer, TaskInfo, Time};
use scheduler::{Bid, Place, RejectReason};

use super::{Deadline, Effect, Marathon, Out};
use crate::api::MarathonEvent;
use crate::path::PathId;
use crate::state::Write;

impl Marathon {
    pub(super) fn offers(&mut self, now: Time, offers: Vec<Offer>, out: &mut Out) {
        // What was launched or lost since counts before anything new is matched.
        self.settle(now, out);
        let mut unused = Vec::new();
        let mut postponed = Vec::new();
        let mut launched = 0;
        for offer in offers {
            if launched >= self.config.limits.launches_per_turn {
                postponed.push(offer.id);
                continue;
            }
            let offer = Arc::new(offer);
            let (tasks, capped) = self.use_offer(now, &offer, out);
            if tasks.is_empty() {
                unused.push(offer.id.clone());
                continue;
            }
            launched += tasks.len();
            let refuse_ms = if capped { 0 } else { self.config.decline_ms };
            let call = SchedulerCall::Accept {
                offer_ids: vec![offer.id.clone()],
                operations: vec![model::Operation::launch(tasks)],
                refuse_ms: Some(refuse_ms),
            };
            self.call(call, out);
        }
        if !postponed.is_empty() {
            self.call(SchedulerCall::Decline { offer_ids: postponed, refuse_ms: Some(0) }, out);
        }
        if !unused.is_empty() {
            let refuse_ms = Some(self.config.decline_ms);
            self.call(SchedulerCall::Decline { offer_ids: unused, refuse_ms }, out);
        }
    }

    /// Launches as much as fits, one instance per app and round; the flag says
    /// that it stopped at the limit per offer, with more to launch.
    fn use_offer(&mut self, now: Time, offer: &Arc<Offer>, out: &mut Out) -> (Vec<TaskInfo>, bool) {
        let mut open = self.open_apps(now);
        let mut rejected: BTreeMap<PathId, Vec<RejectReason>> = BTreeMap::new();
        let mut used: Vec<PathId> = Vec::new();
        let mut bid = Bid::new(offer);
        let mut tasks = Vec::new();
        while !open.is_empty() {
            let mut next = Vec::with_capacity(open.len());
            for id in open {
                if tasks.len() >= self.config.max_instances_per_offer
                    || self.tasks.len() >= self.config.limits.instances_max
                {
                    self.note_offer(now, offer, &used, rejected);
                    return (tasks, true);
                }
                match self.launch_one(now, &id, &mut bid, out) {
                    Ok(task) => {
                        tasks.push(task);
                        self.cursor = Some(id.clone());
                        if !used.contains(&id) {
                            used.push(id.clone());
                        }
                        if self.apps.get(&id).is_some_and(|app| app.wanted.is_some()) {
                            next.push(id);
                        }
                    }
                    Err(reasons) => {
                        rejected.insert(id, reasons);
                    }
                }
            }
            open = next;
        }
        self.note_offer(now, offer, &used, rejected);
        (tasks, false)
    }

    /// Apps that may launch now, starting after the one that launched last.
    fn open_apps(&self, now: Time) -> Vec<PathId> {
        let is_open = |id: &&PathId| {
            let app = self.apps.get(*id);
            app.is_some_and(|app| app.wanted.is_some() && app.delayed_until(now).is_none())
        };
        let after = |id: &&PathId| self.cursor.as_ref().is_some_and(|cursor| *id > cursor);
        let ids = || self.wanting.iter().filter(is_open);
        ids().filter(after).chain(ids().filter(|id| !after(id))).cloned().collect()
    }

    fn launch_one(
        &mut self,
        now: Time,
        id: &PathId,
        bid: &mut Bid<'_>,
        out: &mut Out,
    ) -> Result<TaskInfo, Vec<RejectReason>> {
        let app = self.apps.get(id).ok_or_else(Vec::new)?;
        let wanted = app.wanted.as_ref().ok_or_else(Vec::new)?;
        let definition = wanted.definition.clone();
        // Older configurations are on their way out and do not count.
        let others: Vec<Place<'_>> = if definition.constraints.is_empty() {
            Vec::new()
        } else {
            let counted = app.instances.values().filter(|i| i.config == definition.last_config_change);
            counted.map(|instance| instance.place()).collect()
        };
        let demand = wanted.demand.clone();
        let found = bid.take(&demand, &others, &mut self.rng)?;
        let (instance, task) = self.prepare_launch(now, &definition, bid.offer(), found);
        let instance = Arc::new(instance);
        let task_id = instance.task_id.clone();
        out.write(Write::PutInstance(instance.clone()));
        out.effect(Effect::Event(MarathonEvent::InstanceChanged {
            instance: instance.clone(),
            condition: "Created",
        }));
        self.tasks.insert(task_id.clone(), id.clone());
        self.unpublished.insert(id.clone());
        if let Some(app) = self.apps.get_mut(id) {
            app.insert(instance);
            if let Some(wanted) = app.wanted.as_mut() {
                wanted.count = wanted.count.saturating_sub(1);
                if wanted.count == 0 {
                    app.wanted = None;
                    self.wanting.remove(id);
                }
            }
        }
        self.watch_instance(&task_id, now);
        self.dirty.insert(id.clone());
        Ok(task)
    }

    fn note_offer(
        &mut self,
        now: Time,
        offer: &Arc<Offer>,
        used: &[PathId],
        rejected: BTreeMap<PathId, Vec<RejectReason>>,
    ) {
        for id in used {
            if let Some(app) = self.apps.get_mut(id) {
                Arc::make_mut(&mut app.tally).used(offer, now);
            }
        }
        for (id, reasons) in rejected {
            // Also of a used offer: the rest of it did not do for the next instance.
            if reasons.is_empty() {
                continue;
            }
            if let Some(app) = self.apps.get_mut(&id) {
                Arc::make_mut(&mut app.tally).rejected(offer, reasons, now);
                self.unpublished.insert(id);
            }
        }
    }

    /// Tells the master whether offers are of use.
    pub(super) fn tell_interest(&mut self, now: Time, out: &mut Out) {
        if !self.subscribed {
            return;
        }
        let interested = self.tasks.len() < self.config.limits.instances_max
            && self
                .wanting
                .iter()
                .any(|id| self.apps.get(id).is_some_and(|app| app.delayed_until(now).is_none()));
        let roles = vec![self.config.role.clone()];
        if !interested {
            if !self.suppressed {
                self.suppressed = true;
                self.call(SchedulerCall::Suppress { roles }, out);
            }
            return;
        }
        if !self.revive_wanted && !self.suppressed {
            return;
        }
        let earliest =
            self.last_revive.map(|last| last + Duration::from_millis(self.config.revive_interval_ms));
        if let Some(earliest) = earliest.filter(|earliest| *earliest > now) {
            self.deadlines.insert((earliest, Deadline::Revive));
            return;
        }
        self.revive_wanted = false;
        self.suppressed = false;
        self.last_revive = Some(now);
        self.call(SchedulerCall::Revive { roles }, out);
    }
}

impl super::App {
    /// When the launch delay ends; `None`: there is none at this moment.
    pub(super) fn delayed_until(&self, now: Time) -> Option<Time> {
        let wanted = self.wanted.as_ref()?;
        let (config, backoff) = self.backoff.as_ref()?;
        let until = backoff.until();
        (*config == wanted.definition.last_config_change && until > now).then_some(until)
    }
}
