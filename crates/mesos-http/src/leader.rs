//! The leading master as this room asks it.

use std::pin::Pin;
use std::sync::Arc;

use mesos_master::MasterView;
use mesos_master::shell::{Handle, SchedulerCaller};
use mesos_master::view::OperatorEvent;
use model::operator_api::{OperatorCall, OperatorReply};
use model::scheduler_api::SchedulerEvent;
use model::{AgentId, FrameworkId};
use tokio::sync::mpsc;

/// An answer that is waited for.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The state of one moment and what happens after it.
pub type Watch = (Arc<MasterView>, mpsc::Receiver<Arc<OperatorEvent>>);

/// A scheduler's way in and its events.
pub type SchedulerEnds = (SchedulerCaller, mpsc::Receiver<SchedulerEvent>);

/// What operators and frameworks ask of the leading master. `None`: its term is over.
pub trait LeadingMaster: Send + Sync {
    fn view(&self) -> Arc<MasterView>;
    fn operator(&self, call: OperatorCall) -> Answer<'_, Option<OperatorReply>>;
    /// Why a framework gets no offer from an agent.
    fn explain(&self, framework_id: FrameworkId, agent_id: AgentId) -> Answer<'_, Option<Vec<String>>>;
    fn watch(&self) -> Answer<'_, Option<Watch>>;
    /// Takes a new scheduler on.
    fn scheduler(&self) -> Option<SchedulerEnds>;
}

impl LeadingMaster for Handle {
    fn view(&self) -> Arc<MasterView> {
        Handle::view(self)
    }

    fn operator(&self, call: OperatorCall) -> Answer<'_, Option<OperatorReply>> {
        Box::pin(Handle::operator(self, call))
    }

    fn explain(&self, framework_id: FrameworkId, agent_id: AgentId) -> Answer<'_, Option<Vec<String>>> {
        Box::pin(Handle::explain(self, framework_id, agent_id))
    }

    fn watch(&self) -> Answer<'_, Option<Watch>> {
        Box::pin(Handle::watch(self))
    }

    fn scheduler(&self) -> Option<SchedulerEnds> {
        Some(Handle::scheduler(self))
    }
}

/// Who leads, as this master knows it.
#[derive(Clone)]
pub enum Leadership {
    Leading(Arc<dyn LeadingMaster>),
    Following { hostname: String, port: u16 },
    Leaderless,
}
