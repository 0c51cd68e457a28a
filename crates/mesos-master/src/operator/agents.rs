//! Agents as operators see them: drained, deactivated, brought back, gone.

use model::agent_api::MasterToAgent;
use model::operator_api::OperatorReply;
use model::{AgentCapability, AgentId, DrainConfig, DrainInfo, DrainState, Time};

use super::{Outcome, invalid};
use crate::brain::{Effect, Master, Out};
use crate::state::AgentState;

impl Master {
    /// Admitted or unreachable, and not gone.
    fn is_present(&self, id: &AgentId) -> bool {
        self.agents.get(id).is_some_and(|agent| !matches!(agent.state, AgentState::Gone { .. }))
    }

    pub(super) fn drain_agent(
        &mut self,
        now: Time,
        id: &AgentId,
        config: DrainConfig,
        out: &mut Out,
    ) -> Outcome {
        if !self.is_present(id) {
            return Err(invalid("Unknown agent"));
        }
        let Some(agent) = self.agents.get(id) else { return Err(invalid("Unknown agent")) };
        if agent.is_registered() {
            if let Some((machine, _)) = self.maintenance.of_agent(&agent.info) {
                return Err(invalid(format!(
                    "Agent {id} is part of a maintenance schedule under Machine {} ({})",
                    machine.hostname, machine.ip
                )));
            }
            if !agent.info.capabilities.contains(&AgentCapability::AgentDraining) {
                return Err(invalid(format!("Agent {id} is not capable of draining")));
            }
        }
        let Some(agent) = self.agents.get_mut(id) else { return Err(invalid("Unknown agent")) };
        agent.deactivated = true;
        agent.drain = Some(DrainInfo { state: DrainState::Draining, config, started: now });
        let conn = agent.conn();
        self.draining.insert(id.clone());
        self.store_agent(id, out);
        self.rescind_all_of(id, out);
        self.agent_facts_changed(id);
        if let Some(conn) = conn {
            out.effect(Effect::ToAgent { conn, message: MasterToAgent::Drain { config } });
        }
        Ok(OperatorReply::Done)
    }

    pub(super) fn deactivate_agent(&mut self, id: &AgentId, out: &mut Out) -> Outcome {
        if !self.is_present(id) {
            return Err(invalid("Unknown agent"));
        }
        let Some(agent) = self.agents.get_mut(id) else { return Err(invalid("Unknown agent")) };
        if !agent.deactivated {
            agent.deactivated = true;
            self.store_agent(id, out);
            self.rescind_all_of(id, out);
            self.agent_facts_changed(id);
        }
        Ok(OperatorReply::Done)
    }

    pub(super) fn reactivate_agent(&mut self, id: &AgentId, out: &mut Out) -> Outcome {
        let Some(agent) = self.agents.get_mut(id).filter(|agent| agent.deactivated) else {
            return Err(invalid("Agent is not deactivated"));
        };
        if agent.drain.is_some_and(|drain| drain.state == DrainState::Draining) {
            return Err(invalid("Agent is still in the DRAINING state"));
        }
        agent.deactivated = false;
        let drained = agent.drain.take().is_some();
        let conn = agent.conn();
        self.draining.remove(id);
        self.store_agent(id, out);
        if let (true, Some(conn)) = (drained, conn) {
            out.effect(Effect::ToAgent { conn, message: MasterToAgent::Reactivate });
        }
        self.agent_facts_changed(id);
        Ok(OperatorReply::Done)
    }

    pub(super) fn mark_agent_gone(&mut self, now: Time, id: &AgentId, out: &mut Out) -> Outcome {
        match self.agents.get(id).map(|agent| agent.state) {
            None => Err(OperatorReply::NotFound(format!("Agent '{id}' not found"))),
            Some(AgentState::Gone { .. }) => Ok(OperatorReply::Done),
            Some(_) => {
                self.agent_gone(now, id, out);
                Ok(OperatorReply::Done)
            }
        }
    }

    /// What agents are to be emptied, and are empty by now.
    pub(crate) fn settle_draining(&mut self, now: Time, out: &mut Out) {
        // An agent that nothing happened to is as full as it was.
        let recent = self.agents.take_recent(!self.draining.is_empty());
        let empty = |id: &&AgentId| {
            self.agents.get(*id).is_some_and(|agent| {
                agent.conn().is_some() && agent.tasks.is_empty() && agent.operations.is_empty()
            })
        };
        let done: Vec<AgentId> = match &recent {
            Some(recent) => recent.intersection(&self.draining).filter(empty).cloned().collect(),
            None => self.draining.iter().filter(empty).cloned().collect(),
        };
        for id in done {
            self.draining.remove(&id);
            let Some(drain) = self.agents.get_mut(&id).and_then(|agent| agent.drain.as_mut()) else {
                continue;
            };
            drain.state = DrainState::Drained;
            if drain.config.mark_gone {
                self.agent_gone(now, &id, out);
            } else {
                self.store_agent(&id, out);
            }
        }
    }
}
