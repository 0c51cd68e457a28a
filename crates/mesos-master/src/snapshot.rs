//! The brain as its readers see it.

use std::collections::BTreeMap;

use model::{MaintenanceSchedule, Resources, Time};

use crate::brain::Master;
use crate::state::{AgentState, Framework};
use crate::view::{AgentView, FrameworkView, MasterView};

impl Master {
    pub fn view(&self, now: Time) -> MasterView {
        let mut agents = Vec::new();
        let mut recovered_agents = Vec::new();
        let mut unreachable_agents = Vec::new();
        for agent in self.agents.values() {
            match agent.state {
                AgentState::Recovered { .. } => recovered_agents.push(agent.info.clone()),
                AgentState::Unreachable { since } => unreachable_agents.push((agent.info.clone(), since)),
                AgentState::Gone { .. } => {}
                AgentState::Connected { .. } | AgentState::Disconnected { .. } => agents.push(AgentView {
                    id: agent.id.clone(),
                    info: agent.info.clone(),
                    active: agent.conn().is_some(),
                    registered: agent.registered,
                    reregistered: agent.reregistered,
                    used: agent.used_total(),
                    offered: agent.offered.clone(),
                    used_by_framework: agent
                        .used
                        .iter()
                        .map(|(id, used)| (id.clone(), used.clone()))
                        .collect(),
                    tasks: agent.tasks.values().cloned().collect(),
                    executors: Vec::new(),
                    operations: Vec::new(),
                    deactivated: false,
                    drain: None,
                }),
            }
        }
        MasterView {
            config: self.config.clone(),
            elected: self.elected,
            taken: now,
            agents,
            recovered_agents,
            unreachable_agents,
            gone_agents: Vec::new(),
            weights: BTreeMap::new(),
            quotas: BTreeMap::new(),
            schedule: MaintenanceSchedule::default(),
            down_machines: Vec::new(),
            draining_machines: Vec::new(),
            frameworks: self
                .frameworks
                .values()
                .map(|framework| self.framework_view(framework, None))
                .collect(),
            completed_frameworks: self
                .completed
                .iter()
                .map(|done| self.framework_view(&done.framework, Some(done.unregistered)))
                .collect(),
            counters: self.counters.clone(),
        }
    }

    pub(crate) fn framework_view(&self, framework: &Framework, unregistered: Option<Time>) -> FrameworkView {
        let mut used = Resources::new();
        let mut offered = Resources::new();
        let mut tasks = Vec::with_capacity(framework.tasks.len());
        for (task_id, agent_id) in &framework.tasks {
            let key = (framework.id.clone(), task_id.clone());
            if let Some(task) = self.agents.get(agent_id).and_then(|agent| agent.tasks.get(&key)) {
                if task.holds_resources {
                    used.add(&task.info.resources);
                }
                tasks.push(task.clone());
            }
        }
        let offers: Vec<model::Offer> = framework
            .offers
            .iter()
            .filter_map(|id| self.offers.get(id))
            .map(|open| open.offer.clone())
            .collect();
        for offer in &offers {
            offered.add(&offer.resources);
        }
        FrameworkView {
            id: framework.id.clone(),
            info: framework.info.clone(),
            active: framework.active(),
            connected: framework.conn.is_some(),
            recovered: framework.recovered,
            registered: framework.registered,
            reregistered: framework.reregistered,
            unregistered,
            used,
            offered,
            offers,
            inverse_offers: Vec::new(),
            suppressed: framework.suppressed.clone(),
            tasks,
            unreachable_tasks: framework.unreachable.values().cloned().collect(),
            completed_tasks: framework.completed.iter().cloned().collect(),
        }
    }
}
