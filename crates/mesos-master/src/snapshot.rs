//! The brain as its readers see it, kept up to date from one snapshot to the next.
//!
//! Only what was touched since the last snapshot is built anew: agents one by one;
//! of a framework its head, and those of its tasks, offers and shares that the
//! touched agents show to be different.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{AgentId, FrameworkId, Offer, OfferId, Resources, Time};

use crate::brain::Master;
use crate::shelf::{Keyed, Shelf};
use crate::state::{Agent, AgentState, CompletedFramework, Framework, Task};
use crate::view::{AgentView, FrameworkView, MasterView, Share, Sum};

/// The last snapshot, and what the next is compared with.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    view: Option<MasterView>,
    /// Open offers by agent, as of the last snapshot.
    offers: BTreeMap<AgentId, Vec<(FrameworkId, OfferId)>>,
    lists: BTreeMap<FrameworkId, Lists>,
    /// Frameworks that the agents looked at so far show to be different.
    frameworks: BTreeSet<FrameworkId>,
    /// How often the next snapshot was put off.
    slices: u32,
}

/// Agents looked at in one slice: a millisecond or two.
const SLICE_AGENTS: usize = 200;
/// A snapshot is put off so often at most, however much changes meanwhile.
const SLICES_MAX: u32 = 100;

/// What a framework has on all agents together.
#[derive(Debug, Default)]
struct Lists {
    tasks: Shelf<Arc<Task>>,
    offers: Shelf<Arc<Offer>>,
    shares: Shelf<Share>,
}

impl Master {
    /// One moment of the cluster. Cheap when little has changed since the last.
    pub fn view(&mut self, now: Time) -> MasterView {
        self.look_at_agents(now, usize::MAX);
        let mut snapshots = std::mem::take(&mut self.snapshots);
        let mut view = snapshots.view.take().unwrap_or_else(|| self.empty_view(now));
        view.taken = now;
        view.counters = self.counters.clone();
        let mut frameworks = std::mem::take(&mut snapshots.frameworks);
        frameworks.append(&mut self.frameworks.take_touched(usize::MAX));
        snapshots.slices = 0;
        for id in frameworks {
            match self.frameworks.get(&id) {
                Some(framework) => {
                    let lists = snapshots.lists.entry(id.clone()).or_default();
                    let old = view.frameworks.get(&id);
                    let mut new = listed_framework(framework, lists, old.map(|old| &**old));
                    let inverse =
                        framework.inverse_offers.iter().filter_map(|id| self.inverse_offers.get(id));
                    new.inverse_offers = inverse.map(|open| open.offer.clone()).collect();
                    view.frameworks.insert(Arc::new(new));
                }
                None => {
                    snapshots.lists.remove(&id);
                    view.frameworks.remove(&id);
                }
            }
        }
        self.settled(&mut view);
        view.weights = self.weights.clone();
        view.quotas = self.quotas.clone();
        view.schedule = self.maintenance.schedule().clone();
        view.down_machines = self.maintenance.down().clone();
        view.draining_machines = self.draining_machines();
        snapshots.view = Some(view.clone());
        self.snapshots = snapshots;
        view
    }

    /// Does a part of the work that the next snapshot needs; true when little is left.
    /// A change of all agents at once must not hold the brain's turn up.
    pub(crate) fn prepare_view(&mut self, now: Time) -> bool {
        if self.agents.touched() <= SLICE_AGENTS || self.snapshots.slices >= SLICES_MAX {
            return true;
        }
        self.snapshots.slices += 1;
        self.look_at_agents(now, SLICE_AGENTS);
        false
    }

    fn look_at_agents(&mut self, now: Time, most: usize) {
        let mut snapshots = std::mem::take(&mut self.snapshots);
        let mut view = snapshots.view.take().unwrap_or_else(|| self.empty_view(now));
        let mut frameworks = std::mem::take(&mut snapshots.frameworks);
        for id in self.agents.take_touched(most) {
            let old = view.agents.get(&id).cloned();
            let agent = self.agents.get(&id);
            let new = agent.filter(|agent| is_listed(agent.state)).map(|agent| Arc::new(agent_view(agent)));
            self.compare(&mut snapshots, &id, old.as_deref(), new.as_deref(), &mut |framework| {
                if !frameworks.contains(framework) {
                    frameworks.insert(framework.clone());
                }
            });
            place_agent(&mut view, &id, agent, new);
        }
        snapshots.frameworks = frameworks;
        snapshots.view = Some(view);
        self.snapshots = snapshots;
    }

    /// Whether the kept snapshot says what one made from nothing says.
    pub fn check_snapshot(&mut self, now: Time) -> Result<(), String> {
        let kept = self.view(now);
        self.snapshots = Snapshots::default();
        self.agents.touch_all();
        self.frameworks.touch_all();
        let fresh = self.view(now);
        if kept == fresh {
            return Ok(());
        }
        let agent = kept.agents.iter().find(|agent| fresh.agents.get(&agent.id) != Some(agent));
        let framework = kept.frameworks.iter().find(|one| fresh.frameworks.get(&one.id) != Some(one));
        Err(format!("the snapshot is stale; first agent {agent:?}, first framework {framework:?}"))
    }

    fn empty_view(&self, now: Time) -> MasterView {
        MasterView {
            config: self.config.clone(),
            elected: self.elected,
            taken: now,
            agents: Shelf::new(),
            recovered_agents: Shelf::new(),
            unreachable_agents: Shelf::new(),
            gone_agents: Shelf::new(),
            weights: Arc::default(),
            quotas: Arc::default(),
            schedule: Arc::default(),
            down_machines: Arc::default(),
            draining_machines: Arc::default(),
            frameworks: Shelf::new(),
            completed_frameworks: Shelf::new(),
            counters: self.counters.clone(),
        }
    }

    /// The lists that do not hang on agents or live frameworks.
    fn settled(&self, view: &mut MasterView) {
        let ended = |done: &CompletedFramework| {
            let old = view.completed_frameworks.get(&done.framework.id);
            old.filter(|old| old.unregistered == Some(done.unregistered)).cloned()
        };
        let known: Vec<Option<Arc<FrameworkView>>> = self.completed.iter().map(ended).collect();
        if known.len() == view.completed_frameworks.len() && known.iter().all(Option::is_some) {
            return;
        }
        let views = self.completed.iter().zip(known).map(|(done, old)| {
            old.unwrap_or_else(|| {
                let new = listed_framework(&done.framework, &Lists::default(), None);
                Arc::new(FrameworkView { unregistered: Some(done.unregistered), ..new })
            })
        });
        view.completed_frameworks = views.collect();
    }

    /// Carries what differs between two views of one agent into the lists of the frameworks.
    fn compare(
        &self,
        snapshots: &mut Snapshots,
        id: &AgentId,
        old: Option<&AgentView>,
        new: Option<&AgentView>,
        touched: &mut impl FnMut(&FrameworkId),
    ) {
        let old_tasks = old.map_or(&[][..], |agent| &agent.tasks);
        let new_tasks = new.map_or(&[][..], |agent| &agent.tasks);
        let lists = &mut snapshots.lists;
        // Both in the order of framework and task.
        differences(old_tasks, new_tasks, task_key, Arc::ptr_eq, |old, new| match (old, new) {
            (_, Some(task)) => {
                touched(&task.framework_id);
                lists.entry(task.framework_id.clone()).or_default().tasks.insert(task.clone());
            }
            (Some(task), None) => {
                touched(&task.framework_id);
                if let Some(list) = lists.get_mut(&task.framework_id)
                    // It may be on another agent by now.
                    && list.tasks.get(task.key()).is_some_and(|listed| Arc::ptr_eq(listed, task))
                {
                    list.tasks.remove(task.key());
                }
            }
            (None, None) => {}
        });
        let old_shares = old.map_or(&[][..], |agent| &agent.used_by_framework);
        let new_shares = new.map_or(&[][..], |agent| &agent.used_by_framework);
        differences(
            old_shares,
            new_shares,
            |share| &share.0,
            |a, b| a == b,
            |old, new| {
                let Some((framework_id, _)) = new.or(old) else { return };
                touched(framework_id);
                let list = lists.entry(framework_id.clone()).or_default();
                match new {
                    Some((_, held)) => {
                        list.shares.insert(Share { agent_id: id.clone(), resources: Arc::new(held.clone()) })
                    }
                    None => drop(list.shares.remove(id)),
                }
            },
        );
        let offers: Vec<(FrameworkId, OfferId)> = match (new, self.agents.get(id)) {
            (Some(_), Some(agent)) => {
                let open = agent.offers.iter().filter_map(|offer| self.offers.get(offer));
                open.map(|open| (open.offer.framework_id.clone(), open.offer.id.clone())).collect()
            }
            _ => Vec::new(),
        };
        let before = snapshots.offers.get(id).map_or(&[][..], Vec::as_slice);
        for (framework_id, offer_id) in before.iter().filter(|offer| !offers.contains(offer)) {
            touched(framework_id);
            if let Some(list) = lists.get_mut(framework_id) {
                list.offers.remove(offer_id);
            }
        }
        for (framework_id, offer_id) in offers.iter().filter(|offer| !before.contains(offer)) {
            touched(framework_id);
            if let Some(open) = self.offers.get(offer_id) {
                let list = lists.entry(framework_id.clone()).or_default();
                list.offers.insert(Arc::new(open.offer.clone()));
            }
        }
        if offers.is_empty() {
            snapshots.offers.remove(id);
        } else {
            snapshots.offers.insert(id.clone(), offers);
        }
    }

    /// A framework as events show it: without offers, resources and tasks.
    pub fn framework_view(&self, framework: &Framework, unregistered: Option<Time>) -> FrameworkView {
        FrameworkView { unregistered, ..bare_framework(framework) }
    }
}

fn task_key(task: &Arc<Task>) -> (&FrameworkId, &model::TaskId) {
    (&task.framework_id, &task.info.id)
}

/// Walks two sorted lists and names each pair that is not the same.
fn differences<'a, T, K: Ord>(
    old: &'a [T],
    new: &'a [T],
    key: impl Fn(&'a T) -> K,
    same: impl Fn(&T, &T) -> bool,
    mut differs: impl FnMut(Option<&'a T>, Option<&'a T>),
) {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        // What is the same needs no look at its key.
        while let (Some(a), Some(b)) = (old.peek(), new.peek())
            && same(a, b)
        {
            old.next();
            new.next();
        }
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(a), Some(b)) => key(a).cmp(&key(b)),
        };
        match order {
            std::cmp::Ordering::Less => differs(old.next(), None),
            std::cmp::Ordering::Greater => differs(None, new.next()),
            std::cmp::Ordering::Equal => {
                let (a, b) = (old.next(), new.next());
                if a.zip(b).is_some_and(|(a, b)| !same(a, b)) {
                    differs(a, b);
                }
            }
        }
    }
}

/// Whether an agent is among those that readers see as present.
fn is_listed(state: AgentState) -> bool {
    matches!(state, AgentState::Connected { .. } | AgentState::Disconnected { .. })
}

fn place_agent(view: &mut MasterView, id: &AgentId, agent: Option<&Agent>, new: Option<Arc<AgentView>>) {
    let state = agent.map(|agent| agent.state);
    match new {
        Some(new) => view.agents.insert(new),
        None => drop(view.agents.remove(id)),
    }
    let key = Some(id.clone());
    match (state, agent) {
        (Some(AgentState::Recovered { .. }), Some(agent)) => view.recovered_agents.insert(agent.info.clone()),
        _ => drop(view.recovered_agents.remove(&key)),
    }
    match (state, agent) {
        (Some(AgentState::Unreachable { since }), Some(agent)) => {
            view.unreachable_agents.insert((agent.info.clone(), since));
        }
        _ => drop(view.unreachable_agents.remove(&key)),
    }
    match state {
        Some(AgentState::Gone { since }) => view.gone_agents.insert((id.clone(), since)),
        _ => drop(view.gone_agents.remove(id)),
    }
}

pub(crate) fn agent_view(agent: &Agent) -> AgentView {
    AgentView {
        id: agent.id.clone(),
        info: agent.info.clone(),
        connected: agent.conn().is_some(),
        active: agent.active(),
        registered: agent.registered,
        reregistered: agent.reregistered,
        used: agent.used_total(),
        offered: agent.offered.clone(),
        used_by_framework: agent.used.iter().map(|(id, used)| (id.clone(), used.clone())).collect(),
        tasks: agent.tasks.values().cloned().collect(),
        executors: agent.executors.values().cloned().collect(),
        operations: agent.operations.values().cloned().collect(),
        deactivated: agent.deactivated,
        drain: agent.drain,
    }
}

fn bare_framework(framework: &Framework) -> FrameworkView {
    FrameworkView {
        id: framework.id.clone(),
        info: framework.info.clone(),
        active: framework.active(),
        connected: framework.conn.is_some(),
        recovered: framework.recovered,
        registered: framework.registered,
        reregistered: framework.reregistered,
        unregistered: None,
        used: Sum::from(Resources::new()),
        offered: Sum::from(Resources::new()),
        offers: Shelf::new(),
        inverse_offers: Vec::new(),
        suppressed: framework.suppressed.clone(),
        tasks: Shelf::new(),
        unreachable_tasks: Arc::default(),
        completed_tasks: Arc::default(),
        counters: framework.counters.clone(),
    }
}

fn listed_framework(framework: &Framework, lists: &Lists, old: Option<&FrameworkView>) -> FrameworkView {
    FrameworkView {
        used: Sum::of_shares(lists.shares.clone()),
        offered: Sum::of_offers(lists.offers.clone()),
        offers: lists.offers.clone(),
        tasks: lists.tasks.clone(),
        unreachable_tasks: kept(framework.unreachable.values(), old.map(|old| &old.unreachable_tasks)),
        completed_tasks: kept(framework.completed.iter(), old.map(|old| &old.completed_tasks)),
        ..bare_framework(framework)
    }
}

/// The old list when it is still the same.
fn kept<'a>(
    tasks: impl ExactSizeIterator<Item = &'a Arc<Task>> + Clone,
    old: Option<&Arc<Vec<Arc<Task>>>>,
) -> Arc<Vec<Arc<Task>>> {
    match old {
        Some(old)
            if old.len() == tasks.len() && old.iter().zip(tasks.clone()).all(|(a, b)| Arc::ptr_eq(a, b)) =>
        {
            old.clone()
        }
        _ => Arc::new(tasks.cloned().collect()),
    }
}
