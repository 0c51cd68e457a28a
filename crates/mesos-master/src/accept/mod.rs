//! ACCEPT: offers of one agent make one pool, operations draw upon it in their
//! order, and what is left is declined.
//!
//! Invariant: what the offers held is afterwards held by tasks, executors and
//! operations, or was given back; nothing is counted twice or lost. What operations
//! converted goes back without a filter, so that it is offered again at once.

use std::time::Duration;

use model::{
    AgentId, FrameworkId, Offer, OfferId, Operation, OperationKind, OperationState, Reason, Resource,
    Resources, Role, TaskInfo, TaskLaunch, TaskState, Time,
};

use crate::brain::{ConnId, Master, Out};

mod changes;
mod launch;

/// What the offers of an ACCEPT hold together, as it is used up.
#[derive(Debug)]
pub(crate) struct Deal {
    pub framework_id: FrameworkId,
    pub agent_id: AgentId,
    pub conn: ConnId,
    pub role: Role,
    pub pool: Resources,
    /// The shared volumes in the pool: any number of tasks may use one.
    pub shared: Resources,
}

impl Deal {
    fn new(first: &Offer, conn: ConnId, pool: Resources) -> Self {
        Self {
            framework_id: first.framework_id.clone(),
            agent_id: first.agent_id.clone(),
            conn,
            role: first.role.clone(),
            shared: copies(&pool),
            pool,
        }
    }

    fn holds(&self, wanted: &Resources) -> bool {
        let exclusive = wanted.filter(|resource| !resource.is_shared());
        self.pool.contains(&exclusive) && self.shared.contains(&copies(wanted))
    }

    /// Takes what [`Self::holds`] said is there; yields the copies of shared volumes
    /// that were not.
    fn take(&mut self, wanted: &Resources) -> Resources {
        let lacking: Resources = wanted
            .iter()
            .filter(|resource| resource.is_shared())
            .filter(|resource| !self.pool.contains(&Resources::from_iter([(*resource).clone()])))
            .cloned()
            .collect();
        self.pool.subtract(&wanted.minus(&lacking));
        lacking
    }
}

/// One copy of each shared volume.
fn copies(resources: &Resources) -> Resources {
    let shared = resources.iter().filter(|resource| resource.is_shared());
    shared.map(|resource| Resource { shared: 1, ..resource.clone() }).collect()
}

/// Why nothing of an ACCEPT can be done.
struct Refusal {
    reason: Reason,
    task_message: String,
    operation_message: String,
}

impl Master {
    pub(crate) fn accept(
        &mut self,
        now: Time,
        id: &FrameworkId,
        offer_ids: &[OfferId],
        operations: Vec<Operation>,
        refuse_ms: Option<u64>,
        out: &mut Out,
    ) {
        let problem = self.offers_problem(id, offer_ids);
        let mut taken: Vec<Offer> = Vec::new();
        for offer_id in offer_ids {
            if self.offers.get(offer_id).is_some_and(|open| open.offer.framework_id == *id) {
                taken.extend(self.close_offer(offer_id));
            }
        }
        let refusal = match problem {
            Some(problem) => Some(Refusal {
                reason: Reason::InvalidOffers,
                task_message: format!("Task launched with invalid offers: {problem}"),
                operation_message: format!("Operation attempted with invalid offers: {problem}"),
            }),
            None => self.agent_refusal(taken.first()),
        };
        let conn = taken.first().and_then(|first| self.agents.get(&first.agent_id)?.conn());
        let (None, Some(first), Some(conn)) = (&refusal, taken.first(), conn) else {
            for offer in &taken {
                self.give_back(offer, &offer.resources, None);
            }
            if let Some(refusal) = refusal {
                self.refuse_all(now, id, operations, &refusal, out);
            }
            return;
        };
        let first = first.clone();
        let mut pool = Resources::new();
        for offer in &taken {
            pool.add(&offer.resources);
        }
        let offered = pool.clone();
        let mut deal = Deal::new(&first, conn, pool);
        for operation in operations {
            self.run_operation(now, &mut deal, operation, out);
        }
        let converted = deal.pool.minus(&offered);
        let declined = deal.pool.minus(&converted);
        self.give_back(&first, &converted, None);
        let filter = self.refusal_time(refuse_ms);
        self.give_back(&first, &declined, filter);
    }

    /// How long what is refused is not offered again.
    pub(crate) fn refusal_time(&self, refuse_ms: Option<u64>) -> Option<Duration> {
        let millis = refuse_ms.unwrap_or(self.config.limits.refuse_default_ms);
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    /// Lets the allocator have what an offer held.
    pub(crate) fn give_back(&mut self, offer: &Offer, resources: &Resources, filter: Option<Duration>) {
        if resources.is_empty() {
            return;
        }
        self.allocator.released(
            self.now,
            &offer.framework_id,
            &offer.role,
            &offer.agent_id,
            resources,
            filter,
        );
    }

    fn offers_problem(&self, id: &FrameworkId, offer_ids: &[OfferId]) -> Option<String> {
        if offer_ids.is_empty() {
            return Some("No offers specified".to_owned());
        }
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = offer_ids.iter().find(|offer_id| !seen.insert(*offer_id)) {
            return Some(format!("Duplicate offer {twice} in offer list"));
        }
        let mut offers = Vec::with_capacity(offer_ids.len());
        for offer_id in offer_ids {
            let Some(open) = self.offers.get(offer_id) else {
                return Some(format!("Offer {offer_id} is no longer valid"));
            };
            offers.push(&open.offer);
        }
        if let Some(foreign) = offers.iter().find(|offer| offer.framework_id != *id) {
            return Some(format!(
                "Offer {} has invalid framework {} while framework {id} is expected",
                foreign.id, foreign.framework_id
            ));
        }
        let first = offers.first()?;
        if let Some(other) = offers.iter().find(|offer| offer.role != first.role) {
            return Some(format!(
                "Aggregated offers must be allocated to the same role. Offer {} uses role {} but another is using role {}",
                other.id, other.role, first.role
            ));
        }
        if let Some(other) = offers.iter().find(|offer| offer.agent_id != first.agent_id) {
            return Some(format!(
                "Aggregated offers must belong to one single agent. Offer {} uses agent {} and another uses agent {}",
                other.id, other.agent_id, first.agent_id
            ));
        }
        None
    }

    /// Offers go with their agent's stream, so this is the second line of defence.
    fn agent_refusal(&self, first: Option<&Offer>) -> Option<Refusal> {
        let agent = self.agents.get(&first?.agent_id);
        if agent.is_some_and(|agent| agent.conn().is_some()) {
            return None;
        }
        let (reason, message) = match agent {
            Some(_) => (Reason::AgentDisconnected, "Agent disconnected"),
            None => (Reason::AgentRemoved, "Agent removed"),
        };
        Some(Refusal { reason, task_message: message.to_owned(), operation_message: message.to_owned() })
    }

    fn refuse_all(
        &mut self,
        now: Time,
        id: &FrameworkId,
        operations: Vec<Operation>,
        refusal: &Refusal,
        out: &mut Out,
    ) {
        for operation in operations {
            match operation.kind {
                OperationKind::Launch { tasks } | OperationKind::LaunchGroup { tasks, .. } => {
                    for task in tasks {
                        let message = refusal.task_message.clone();
                        self.refuse(now, id, &task.info, TaskState::Dropped, refusal.reason, message, out);
                    }
                }
                OperationKind::Resources(_) | OperationKind::Unknown => {
                    let message = refusal.operation_message.clone();
                    self.refuse_operation(id, None, operation.id, OperationState::Error, message, out);
                }
            }
        }
    }

    fn run_operation(&mut self, now: Time, deal: &mut Deal, operation: Operation, out: &mut Out) {
        let Operation { id, kind, allocation, flaw } = operation;
        let elsewhere = allocation.filter(|role| *role != deal.role).map(|role| {
            format!(
                "The resources of the operation are allocated to role '{role}' but the offers to role '{}'",
                deal.role
            )
        });
        match kind {
            OperationKind::Launch { tasks } => {
                let forbidden = id.map(|_| "The `id` field cannot be set on LAUNCH operations".to_owned());
                match forbidden.or(flaw).or(elsewhere) {
                    Some(problem) => {
                        for task in tasks {
                            self.refuse_invalid(now, deal, &task.info, Reason::TaskInvalid, &problem, out);
                        }
                    }
                    None => self.launch_each(now, deal, tasks, out),
                }
            }
            OperationKind::LaunchGroup { executor, tasks } => {
                let forbidden =
                    id.map(|_| "The `id` field cannot be set on LAUNCH_GROUP operations".to_owned());
                match forbidden.or(elsewhere) {
                    Some(problem) => self.refuse_group(now, deal, &tasks, &problem, out),
                    None => self.launch_group(now, deal, *executor, tasks, flaw, out),
                }
            }
            OperationKind::Resources(change) => {
                self.change_resources(deal, id, change, flaw.or(elsewhere), out);
            }
            OperationKind::Unknown => {
                let problem = flaw.unwrap_or_else(|| "Unknown operation type".to_owned());
                let (framework, agent) = (deal.framework_id.clone(), deal.agent_id.clone());
                self.refuse_operation(&framework, Some(agent), id, OperationState::Error, problem, out);
            }
        }
    }

    fn refuse_group(&mut self, now: Time, deal: &Deal, tasks: &[TaskLaunch], problem: &str, out: &mut Out) {
        for task in tasks {
            self.refuse_invalid(now, deal, &task.info, Reason::TaskGroupInvalid, problem, out);
        }
    }

    fn refuse_invalid(
        &mut self,
        now: Time,
        deal: &Deal,
        task: &TaskInfo,
        reason: Reason,
        problem: &str,
        out: &mut Out,
    ) {
        let message = problem.to_owned();
        self.refuse(now, &deal.framework_id, task, TaskState::Error, reason, message, out);
    }
}
