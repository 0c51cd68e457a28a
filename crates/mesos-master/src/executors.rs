//! Executors: who runs tasks for a framework on an agent, and what that holds.

use std::sync::Arc;

use model::agent_api::MasterToAgent;
use model::scheduler_api::SchedulerEvent;
use model::{AgentId, ExecutorId, ExecutorRecord, FrameworkId, Opaque, Time};

use crate::brain::{ConnId, Effect, Master, Out};

impl Master {
    /// What the returning agent says of its executors holds.
    pub(crate) fn merge_executors(
        &mut self,
        now: Time,
        conn: ConnId,
        id: &AgentId,
        reported: Vec<ExecutorRecord>,
        out: &mut Out,
    ) {
        self.drop_executors(now, id);
        for record in reported {
            if !self.frameworks.contains_key(&record.framework_id) {
                let framework_id = record.framework_id;
                let message = MasterToAgent::ShutdownFramework { framework_id };
                out.effect(Effect::ToAgent { conn, message });
                continue;
            }
            self.add_executor(now, id, record);
        }
    }

    pub(crate) fn add_executor(&mut self, now: Time, id: &AgentId, record: ExecutorRecord) {
        let (framework_id, executor_id) = (record.framework_id.clone(), record.info.id.clone());
        self.remove_executor(now, id, &framework_id, &executor_id);
        let Some(agent) = self.agents.get_mut(id) else { return };
        agent.take(&framework_id, &record.info.resources);
        agent.executors.insert((framework_id, executor_id), Arc::new(record));
    }

    /// Forgets an executor and frees what it held.
    pub(crate) fn remove_executor(
        &mut self,
        _now: Time,
        id: &AgentId,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
    ) -> Option<Arc<ExecutorRecord>> {
        let agent = self.agents.get_mut(id)?;
        let gone = agent.executors.remove(&(framework_id.clone(), executor_id.clone()))?;
        agent.give_back(framework_id, &gone.info.resources);
        self.dirty.insert(id.clone());
        Some(gone)
    }

    /// Forgets all executors of an agent.
    pub(crate) fn drop_executors(&mut self, now: Time, id: &AgentId) {
        let Some(agent) = self.agents.get(id) else { return };
        let keys: Vec<_> = agent.executors.keys().cloned().collect();
        for (framework_id, executor_id) in keys {
            self.remove_executor(now, id, &framework_id, &executor_id);
        }
    }

    pub(crate) fn executor_exited(
        &mut self,
        now: Time,
        conn: ConnId,
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        status: Option<i32>,
        out: &mut Out,
    ) {
        let Some(id) = self.agent_conns.get(&conn).cloned() else { return };
        self.remove_executor(now, &id, &framework_id, &executor_id);
        if let Some(conn) = self.frameworks.get(&framework_id).and_then(|framework| framework.conn) {
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
}
