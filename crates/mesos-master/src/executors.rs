//! Executors: who runs tasks for a framework on an agent, and what that holds.
//!
//! An executor is charged once, with the first task that starts it, and until its agent
//! says that it ended or registers without it. Those that an agent makes by itself for
//! one task are its own affair and are not listed here.

use std::sync::Arc;

use model::agent_api::MasterToAgent;
use model::scheduler_api::SchedulerEvent;
use model::{AgentId, ExecutorId, ExecutorRecord, FrameworkId, Opaque};

use crate::brain::{ConnId, Effect, Master, Out};
use crate::ledger::Claim;

impl Master {
    /// What the returning agent says of its executors holds.
    pub(crate) fn merge_executors(
        &mut self,

        conn: ConnId,
        id: &AgentId,
        reported: Vec<ExecutorRecord>,
        out: &mut Out,
    ) {
        self.drop_executors(id);
        for record in reported {
            if self.frameworks.contains_key(&record.framework_id) {
                self.add_executor(id, record, Claim::New);
            } else {
                let framework_id = record.framework_id;
                let message = MasterToAgent::ShutdownFramework { framework_id };
                out.effect(Effect::ToAgent { conn, message });
            }
        }
    }

    pub(crate) fn add_executor(&mut self, id: &AgentId, record: ExecutorRecord, claim: Claim) {
        let (framework_id, executor_id) = (record.framework_id.clone(), record.info.id.clone());
        self.remove_executor(id, &framework_id, &executor_id);
        self.claim(id, &framework_id, &record.role, &record.info.resources, claim);
        if let Some(framework) = self.frameworks.get_mut(&framework_id) {
            framework.executors.insert((id.clone(), executor_id.clone()));
        }
        if let Some(agent) = self.agents.get_mut(id) {
            agent.executors.insert((framework_id, executor_id), Arc::new(record));
        }
    }

    /// Forgets an executor and frees what it held.
    pub(crate) fn remove_executor(
        &mut self,
        id: &AgentId,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
    ) -> Option<Arc<ExecutorRecord>> {
        let agent = self.agents.get_mut(id)?;
        let gone = agent.executors.remove(&(framework_id.clone(), executor_id.clone()))?;
        self.unhold(id, framework_id, &gone.role, &gone.info.resources);
        if let Some(framework) = self.frameworks.get_mut(framework_id) {
            framework.executors.remove(&(id.clone(), executor_id.clone()));
        }
        Some(gone)
    }

    /// Forgets all executors of an agent.
    pub(crate) fn drop_executors(&mut self, id: &AgentId) {
        let Some(agent) = self.agents.get(id) else { return };
        let keys: Vec<_> = agent.executors.keys().cloned().collect();
        for (framework_id, executor_id) in keys {
            self.remove_executor(id, &framework_id, &executor_id);
        }
    }

    pub(crate) fn executor_exited(
        &mut self,

        conn: ConnId,
        framework_id: &FrameworkId,
        executor_id: ExecutorId,
        status: Option<i32>,
        out: &mut Out,
    ) {
        let Some(id) = self.agent_conns.get(&conn).cloned() else { return };
        self.remove_executor(&id, framework_id, &executor_id);
        if let Some(conn) = self.frameworks.get(framework_id).and_then(|framework| framework.conn) {
            let event = SchedulerEvent::Failure { agent_id: id, executor: Some((executor_id, status)) };
            out.effect(Effect::ToScheduler { conn, event });
        }
    }

    /// From an executor to its scheduler, if it listens.
    pub(crate) fn executor_message(
        &mut self,
        conn: ConnId,
        framework_id: &FrameworkId,
        executor_id: ExecutorId,
        data: Opaque,
        out: &mut Out,
    ) {
        let Some(agent_id) = self.agent_conns.get(&conn).cloned() else { return };
        if let Some(conn) = self.frameworks.get(framework_id).and_then(|framework| framework.conn) {
            let event = SchedulerEvent::Message { agent_id, executor_id, data };
            out.effect(Effect::ToScheduler { conn, event });
        }
    }

    /// An order of a scheduler to an agent, given if the agent is there.
    pub(crate) fn order_agent(&mut self, agent_id: &AgentId, message: MasterToAgent, out: &mut Out) {
        if let Some(conn) = self.agents.get(agent_id).and_then(|agent| agent.conn()) {
            out.effect(Effect::ToAgent { conn, message });
        }
    }
}
