//! Compares what an app should be with what it is, and closes the gap.
//!
//! Nothing is remembered between two looks but the instances themselves, so that
//! a look after a crash continues where the last one stopped.
//! Restart arithmetic: `mesosphere/marathon` `core/deployment/impl/TaskReplaceActor.scala`,
//! here as a rule that holds at every moment instead of a script.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{Rng, TaskId, TaskState, Time};
use scheduler::Operator;

use super::{App, Deadline, Effect, Marathon, Out, Wanted};
use crate::api::MarathonEvent;
use crate::definition::AppDefinition;
use crate::definition::app::{KillSelection, UnreachableStrategy};
use crate::path::PathId;
use crate::state::{ActionKind, Instance, KillReason};

/// What an app should be at this moment.
#[derive(Debug, Clone)]
pub(super) enum Goal {
    /// Nothing may be left; `None` of a definition.
    Gone,
    /// So many instances of any version; new ones of this definition.
    Count { definition: Arc<AppDefinition>, count: u64 },
    /// All instances of this definition, keeping to its upgrade strategy.
    Replace { definition: Arc<AppDefinition>, forced: bool },
}

/// What one look at an app decided.
#[derive(Debug, Default)]
struct Plan {
    kills: Vec<(TaskId, KillReason)>,
    launch: u64,
}

impl Marathon {
    /// Repeats until nothing is left to change at this moment.
    pub(super) fn settle(&mut self, now: Time, out: &mut Out) {
        let mut deployments = BTreeSet::new();
        loop {
            if let Some(id) = self.dirty.pop_first() {
                self.converge(now, &id, out);
                if let Some(deployment) = self.apps.get(&id).and_then(|app| app.deployment.clone()) {
                    deployments.insert(deployment);
                }
                self.drop_empty(&id, out);
                continue;
            }
            let Some(deployment) = deployments.pop_first() else { return };
            self.advance(&deployment, out);
        }
    }

    /// Forgets an app that exists no more once its last instance has ended.
    fn drop_empty(&mut self, id: &PathId, out: &mut Out) {
        let Some(app) = self.apps.get(id) else { return };
        if app.definition.is_none() && app.instances.is_empty() && app.deployment.is_none() {
            self.apps.remove(id);
            self.wanting.remove(id);
            self.unpublished.insert(id.clone());
            out.effect(Effect::Event(MarathonEvent::AppTerminated { app: id.clone() }));
        }
    }

    pub(super) fn goal(&self, app: &App, id: &PathId) -> Goal {
        let steady = |definition: Option<&Arc<AppDefinition>>| match definition {
            Some(definition) => {
                Goal::Count { definition: definition.clone(), count: definition.instances.into() }
            }
            None => Goal::Gone,
        };
        let Some(deployment) = app.deployment.as_ref().and_then(|id| self.deployments.get(id)) else {
            return steady(app.definition.as_ref());
        };
        let target = deployment.target.get(id).and_then(Option::as_ref);
        let Some(kind) = deployment.action_begun(id) else {
            return steady(deployment.original.get(id).and_then(Option::as_ref));
        };
        match (kind, target) {
            (ActionKind::Stop, _) | (_, None) => Goal::Gone,
            (ActionKind::Start, Some(definition)) => Goal::Count { definition: definition.clone(), count: 0 },
            (ActionKind::Scale, Some(_)) => steady(target),
            (ActionKind::Restart { forced }, Some(definition)) => {
                Goal::Replace { definition: definition.clone(), forced }
            }
        }
    }

    fn converge(&mut self, now: Time, id: &PathId, out: &mut Out) {
        self.expunge_forgotten(now, id, out);
        let Some(app) = self.apps.get(id) else { return };
        self.unpublished.insert(id.clone());
        let goal = self.goal(app, id);
        let plan = match &goal {
            Goal::Gone => Plan {
                kills: unsentenced(app).map(|i| (i.task_id.clone(), KillReason::AppDeleted)).collect(),
                launch: 0,
            },
            Goal::Count { definition, count } => plan_count(app, definition, *count, now, &mut self.rng),
            Goal::Replace { definition, forced } => {
                plan_replace(app, definition, *forced, now, &mut self.rng)
            }
        };
        for (task, reason) in plan.kills {
            self.sentence(now, &task, reason, out);
        }
        self.set_wanted(now, id, &goal, plan.launch);
    }

    fn set_wanted(&mut self, now: Time, id: &PathId, goal: &Goal, count: u64) {
        let definition = match goal {
            Goal::Gone => None,
            Goal::Count { definition, .. } | Goal::Replace { definition, .. } => Some(definition),
        };
        let demand = definition.filter(|_| count > 0).and_then(|definition| {
            let same = self.apps.get(id).and_then(|app| app.wanted.as_ref());
            same.filter(|wanted| Arc::ptr_eq(&wanted.definition, definition))
                .map(|wanted| wanted.demand.clone())
                .or_else(|| self.demand(definition))
        });
        let Some(app) = self.apps.get_mut(id) else { return };
        let (Some(definition), Some(demand)) = (definition, demand) else {
            app.wanted = None;
            app.tally = Arc::default();
            self.wanting.remove(id);
            return;
        };
        let before = app.wanted.as_ref();
        let more =
            before.is_none_or(|wanted| wanted.count < count || !Arc::ptr_eq(&wanted.definition, definition));
        let since = before.map_or(now, |wanted| wanted.since);
        app.wanted = Some(Wanted { definition: definition.clone(), demand, count, since });
        let delayed = app.delayed_until(now);
        self.wanting.insert(id.clone());
        match delayed {
            Some(until) => {
                self.deadlines.insert((until, Deadline::Delay(id.clone())));
            }
            None => self.revive_wanted |= more,
        }
    }

    /// Drops unreachable instances whose time is up.
    fn expunge_forgotten(&mut self, now: Time, id: &PathId, out: &mut Out) {
        let Some(app) = self.apps.get(id).filter(|app| app.numbers.unreachable > 0) else { return };
        let forgotten: Vec<TaskId> = app
            .instances
            .values()
            .filter(|instance| match (instance.unreachable_since, self.unreachable_strategy(instance)) {
                (Some(since), UnreachableStrategy::After { expunge_seconds, .. }) => {
                    now.since(since).as_secs() >= u64::from(expunge_seconds)
                }
                _ => false,
            })
            .map(|instance| instance.task_id.clone())
            .collect();
        for task in forgotten {
            self.remove_instance(&task, out);
        }
    }

    /// Whether an action has come true.
    pub(super) fn is_done(&self, id: &PathId, kind: ActionKind) -> bool {
        let Some(app) = self.apps.get(id) else { return true };
        match (kind, self.goal(app, id)) {
            (ActionKind::Stop, _) | (_, Goal::Gone) => app.instances.is_empty(),
            (ActionKind::Start, _) => app.numbers.unsentenced() == 0,
            (_, Goal::Count { count, .. }) if app.numbers.unreachable == 0 => {
                app.numbers.up == count && app.numbers.total == count
            }
            (_, Goal::Count { definition, count }) => {
                let running = unsentenced(app).filter(|i| i.is_running()).count() as u64;
                let waited_for =
                    app.instances.values().filter(|i| !is_inactive(i, &definition, Time::MAX)).count();
                running == count && waited_for as u64 == count
            }
            (_, Goal::Replace { definition, forced }) => {
                let running =
                    unsentenced(app).filter(|i| i.is_running() && !is_stale(i, &definition, forced)).count();
                let waited_for =
                    app.instances.values().filter(|i| !is_inactive(i, &definition, Time::MAX)).count();
                running as u64 == u64::from(definition.instances) && waited_for == running
            }
        }
    }
}

pub(super) fn unsentenced(app: &App) -> impl Iterator<Item = &Arc<Instance>> {
    app.instances.values().filter(|instance| instance.sentenced.is_none())
}

/// Unreachable for so long that a replacement is due.
fn is_inactive(instance: &Instance, definition: &AppDefinition, now: Time) -> bool {
    match (instance.unreachable_since, definition.unreachable) {
        (Some(since), UnreachableStrategy::After { inactive_seconds, .. }) => {
            now.since(since).as_secs() >= u64::from(inactive_seconds)
        }
        _ => false,
    }
}

fn is_stale(instance: &Instance, definition: &AppDefinition, forced: bool) -> bool {
    if forced {
        instance.version != definition.version
    } else {
        instance.config != definition.last_config_change
    }
}

/// Instances that still hold a place although sentenced: only where two at a
/// time are forbidden.
fn lingering(app: &App, definition: &AppDefinition) -> u64 {
    if !AppDefinition::is_single_instance(&definition.labels) {
        return 0;
    }
    app.numbers.sentenced
}

fn plan_count(app: &App, definition: &Arc<AppDefinition>, count: u64, now: Time, rng: &mut Rng) -> Plan {
    let have = app.numbers.unsentenced();
    if have <= count && app.numbers.unreachable == 0 {
        let launch = (count - have).saturating_sub(lingering(app, definition));
        return Plan { kills: Vec::new(), launch };
    }
    let counted: Vec<&Arc<Instance>> =
        unsentenced(app).filter(|instance| !is_inactive(instance, definition, now)).collect();
    let have = counted.len() as u64;
    if have > count {
        let surplus = usize::try_from(have - count).unwrap_or(usize::MAX);
        let victims = choose_victims(counted, definition, surplus, rng);
        return Plan {
            kills: victims.into_iter().map(|task| (task, KillReason::ScaleDown)).collect(),
            launch: 0,
        };
    }
    let launch = (count - have).saturating_sub(lingering(app, definition));
    Plan { kills: Vec::new(), launch }
}

/// Keeps at least `ceil(n × health_min)` instances up and starts at most
/// `floor(n × (1 + over_max))`; where these are equal nothing could move, and
/// one more is allowed.
fn plan_replace(app: &App, definition: &Arc<AppDefinition>, forced: bool, now: Time, rng: &mut Rng) -> Plan {
    let wanted = u64::from(definition.instances);
    let (health_min, capacity_max) = upgrade_bounds(definition);
    let (stale, fresh): (Vec<_>, Vec<_>) =
        unsentenced(app).partition(|instance| is_stale(instance, definition, forced));
    let fresh: Vec<_> =
        fresh.into_iter().filter(|instance| !is_inactive(instance, definition, now)).collect();
    let fresh_up = fresh.iter().filter(|instance| instance.is_running()).count() as u64;
    let (stale_up, stale_down): (Vec<_>, Vec<_>) =
        stale.into_iter().partition(|instance| instance.is_running());

    let mut kills: Vec<(TaskId, KillReason)> =
        stale_down.iter().map(|instance| (instance.task_id.clone(), KillReason::Upgrade)).collect();
    let stale_up_len = stale_up.len() as u64;
    let spare = (fresh_up + stale_up_len).saturating_sub(health_min).min(stale_up_len);
    let victims = choose_victims(stale_up, definition, usize::try_from(spare).unwrap_or(usize::MAX), rng);
    kills.extend(victims.into_iter().map(|task| (task, KillReason::Upgrade)));

    let fresh_len = fresh.len() as u64;
    let surplus = usize::try_from(fresh_len.saturating_sub(wanted)).unwrap_or(usize::MAX);
    let victims = choose_victims(fresh, definition, surplus, rng);
    kills.extend(victims.into_iter().map(|task| (task, KillReason::ScaleDown)));

    let stale_left = stale_up_len - spare;
    let room = capacity_max.saturating_sub(stale_left + fresh_len);
    let launch = wanted.saturating_sub(fresh_len).min(room);
    // A single instance waits for its predecessor's end, also for those sentenced just now.
    let launch = if AppDefinition::is_single_instance(&definition.labels) && !kills.is_empty() {
        0
    } else {
        launch.saturating_sub(lingering(app, definition))
    };
    Plan { kills, launch }
}

/// `(minHealthy, maxCapacity)`, with room to move.
fn upgrade_bounds(definition: &AppDefinition) -> (u64, u64) {
    let wanted = f64::from(definition.instances);
    // Both factors are within 0..=1 by validation: no overflow, no sign.
    let health_min = (wanted * definition.upgrade.health_min).ceil() as u64;
    let capacity_max = (wanted * (1.0 + definition.upgrade.over_max)).floor() as u64;
    if health_min >= capacity_max { (health_min, capacity_max + 1) } else { (health_min, capacity_max) }
}

fn rank(state: TaskState, unreachable: bool) -> u8 {
    match state {
        _ if unreachable => 0,
        TaskState::Staging => 1,
        TaskState::Starting => 2,
        _ => 3,
    }
}

/// Those to end first: where groups are to be balanced, from the largest group;
/// then by state; then by age as the definition says.
fn choose_victims(
    mut candidates: Vec<&Arc<Instance>>,
    definition: &AppDefinition,
    count: usize,
    rng: &mut Rng,
) -> Vec<TaskId> {
    if count == 0 {
        return Vec::new();
    }
    // Equal ones have no order of their own.
    rng.shuffle(&mut candidates);
    candidates.sort_by(|a, b| {
        let by_state = rank(a.state, a.is_unreachable()).cmp(&rank(b.state, b.is_unreachable()));
        let by_age = a.active_since().cmp(&b.active_since());
        by_state.then(match definition.kill_selection {
            KillSelection::OldestFirst => by_age,
            KillSelection::YoungestFirst => by_age.reverse(),
        })
    });
    let Some(field) = group_field(definition) else {
        return candidates.into_iter().take(count).map(|instance| instance.task_id.clone()).collect();
    };
    let mut groups: BTreeMap<Option<String>, Vec<TaskId>> = BTreeMap::new();
    for instance in candidates.iter().rev() {
        groups.entry(instance.place().value(&field)).or_default().push(instance.task_id.clone());
    }
    let mut victims = Vec::with_capacity(count);
    while victims.len() < count {
        let Some(largest) = groups.values_mut().max_by_key(|group| group.len()) else { break };
        let Some(task) = largest.pop() else { break };
        victims.push(task);
    }
    victims
}

fn group_field(definition: &AppDefinition) -> Option<String> {
    definition.constraints.iter().find_map(|constraint| match constraint.0.as_slice() {
        [field, operator, ..] if Operator::from_name(operator) == Some(Operator::GroupBy) => {
            Some(field.clone())
        }
        _ => None,
    })
}
