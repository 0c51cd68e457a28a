//! What one caller may see of a snapshot, as a snapshot of its own: every answer
//! that is made of it is filtered, and none can forget to be.

use std::sync::Arc;

use mesos_master::MasterView;
use mesos_master::state::Task;
use mesos_master::view::{AgentView, FrameworkView, Sum};
use model::{FrameworkInfo, Resources};

use crate::access::{Action, Caller, Object};

/// The same snapshot for who sees all.
pub(crate) fn visible(caller: &Caller, view: &Arc<MasterView>) -> Arc<MasterView> {
    if caller.sees_all() {
        return view.clone();
    }
    let sees = |info: &FrameworkInfo| caller.may(Action::ViewFramework, Object::Framework(info));
    let shown = |list: &mesos_master::view::Shelf<Arc<FrameworkView>>| {
        let seen = list.iter().filter(|framework| sees(&framework.info));
        seen.map(|framework| Arc::new(filtered(caller, framework))).collect()
    };
    let mut filtered = MasterView::clone(view);
    filtered.frameworks = shown(&view.frameworks);
    filtered.completed_frameworks = shown(&view.completed_frameworks);
    let agents = view.agents.iter().map(|agent| Arc::new(of_agent(caller, view, agent)));
    filtered.agents = agents.collect();
    let sees_role = |role: &model::Role| caller.may(Action::ViewRole, Object::Role(role));
    filtered.weights = Arc::new(
        view.weights.iter().filter(|(role, _)| sees_role(role)).map(|(r, w)| (r.clone(), *w)).collect(),
    );
    filtered.quotas = Arc::new(
        view.quotas
            .iter()
            .filter(|(role, _)| sees_role(role))
            .map(|(role, quota)| (role.clone(), quota.clone()))
            .collect(),
    );
    Arc::new(filtered)
}

fn filtered(caller: &Caller, framework: &FrameworkView) -> FrameworkView {
    let info = &framework.info;
    let sees_tasks = caller.may(Action::ViewTask, Object::Of(Some(info)));
    let keep = |tasks: &Arc<Vec<Arc<Task>>>| if sees_tasks { tasks.clone() } else { Arc::default() };
    FrameworkView {
        tasks: if sees_tasks { framework.tasks.clone() } else { Default::default() },
        unreachable_tasks: keep(&framework.unreachable_tasks),
        completed_tasks: keep(&framework.completed_tasks),
        used: Sum::clone(&framework.used),
        ..framework.clone()
    }
}

/// Sums stay whole, as in the original: how full an agent is, is no secret.
fn of_agent(caller: &Caller, view: &MasterView, agent: &AgentView) -> AgentView {
    let info = |id: &model::FrameworkId| {
        let live = view.frameworks.get(id);
        live.or_else(|| view.completed_frameworks.get(id)).map(|framework| &*framework.info)
    };
    let sees = |id: &model::FrameworkId, action: Action| {
        let info = info(id);
        info.is_some_and(|info| caller.may(Action::ViewFramework, Object::Framework(info)))
            && caller.may(action, Object::Of(info))
    };
    let mut shown = agent.clone();
    shown.tasks.retain(|task| sees(&task.framework_id, Action::ViewTask));
    shown.executors.retain(|executor| sees(&executor.framework_id, Action::ViewExecutor));
    shown
        .operations
        .retain(|operation| operation.framework_id.as_ref().is_none_or(|id| sees(id, Action::ViewFramework)));
    shown.used_by_framework.retain(|(id, _): &(_, Resources)| sees(id, Action::ViewFramework));
    shown
}
