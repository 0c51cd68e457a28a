//! Who holds what: the one place where holdings change, at the agent and in the allocator.
//!
//! An offer is held from its grant on: what an ACCEPT makes of it stays held, and only
//! changes hands. Everything else is told to the allocator here.

use model::{AgentId, FrameworkId, Resources, Role};

use crate::allocator::{AgentFacts, FrameworkFacts};
use crate::brain::Master;
use crate::state::{Agent, Framework};

/// Where the resources of a new holder come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Of an offer: the allocator counts them already.
    Offered,
    /// An agent says that it holds them.
    New,
    /// It holds nothing.
    Nothing,
}

impl Master {
    pub(crate) fn claim(
        &mut self,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        role: &Role,
        resources: &Resources,
        claim: Claim,
    ) {
        match claim {
            Claim::Nothing => {}
            Claim::New => self.hold(agent_id, framework_id, role, resources),
            Claim::Offered => {
                if let Some(agent) = self.agents.get_mut(agent_id) {
                    agent.take(framework_id, resources);
                }
            }
        }
    }

    /// Something is held that was not offered.
    pub(crate) fn hold(
        &mut self,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        role: &Role,
        resources: &Resources,
    ) {
        if let Some(agent) = self.agents.get_mut(agent_id) {
            agent.take(framework_id, resources);
        }
        self.allocator.allocated(framework_id, role, agent_id, resources);
    }

    pub(crate) fn unhold(
        &mut self,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        role: &Role,
        resources: &Resources,
    ) {
        if let Some(agent) = self.agents.get_mut(agent_id) {
            agent.give_back(framework_id, resources);
        }
        self.allocator.released(self.now, framework_id, role, agent_id, resources, None);
    }
}

pub(crate) fn agent_facts(agent: &Agent) -> AgentFacts {
    AgentFacts {
        total: agent.info.resources.clone(),
        region: agent.info.domain.as_ref().map(|domain| domain.region.clone()),
        capabilities: agent.info.capabilities.clone(),
        active: agent.active(),
    }
}

pub(crate) fn framework_facts(framework: &Framework) -> FrameworkFacts {
    FrameworkFacts {
        roles: framework.info.roles.clone(),
        suppressed: framework.suppressed.clone(),
        capabilities: framework.info.capabilities.clone(),
        min_allocatable: framework.info.offer_filters.clone(),
        active: framework.active(),
    }
}
