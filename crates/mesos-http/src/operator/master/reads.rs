//! Answers about the cluster, from one snapshot.

use std::collections::BTreeMap;

use mesos_master::MasterView;
use mesos_master::state::Task;
use mesos_master::view::{AgentView, FrameworkView};
use mesos_proto::v1;
use mesos_proto::v1::allocator::InverseOfferStatus;
use mesos_proto::v1::allocator::inverse_offer_status;
use mesos_proto::v1::maintenance::{ClusterStatus, cluster_status::DrainingMachine};
use mesos_proto::v1::master as wire;
use mesos_proto::v1::master::call::Type;
use mesos_proto::v1::master::response::{self, Type as Answer, get_agents, get_executors, get_frameworks};
use model::{Resources, Role, Time};

use crate::access::{Action, Caller, Object};
use crate::convert::{self, Form};

/// The answer to a call that only reads.
pub(super) fn response(kind: Type, view: &MasterView, started: Time, caller: &Caller) -> wire::Response {
    let mut response = wire::Response::default();
    let answer = match kind {
        Type::GetAgents => {
            response.get_agents = Some(agents(view));
            Answer::GetAgents
        }
        Type::GetFrameworks => {
            response.get_frameworks = Some(frameworks(view));
            Answer::GetFrameworks
        }
        Type::GetExecutors => {
            response.get_executors = Some(executors(view));
            Answer::GetExecutors
        }
        Type::GetOperations => {
            response.get_operations = Some(operations(view));
            Answer::GetOperations
        }
        Type::GetTasks => {
            response.get_tasks = Some(tasks(view));
            Answer::GetTasks
        }
        Type::GetRoles => {
            response.get_roles = Some(roles(view));
            Answer::GetRoles
        }
        Type::GetWeights => {
            response.get_weights = Some(weights(view));
            Answer::GetWeights
        }
        Type::GetMaster => {
            response.get_master = Some(response::GetMaster {
                master_info: Some(Box::new(convert::master_out(&view.config))),
                start_time: Some(started.as_secs_f64()),
                elected_time: Some(view.elected.as_secs_f64()),
            });
            Answer::GetMaster
        }
        Type::GetMaintenanceStatus => {
            let seen = caller.may(Action::GetMaintenanceStatus, Object::Any);
            let status = if seen { maintenance_status(view) } else { ClusterStatus::default() };
            response.get_maintenance_status = Some(response::GetMaintenanceStatus { status });
            Answer::GetMaintenanceStatus
        }
        Type::GetMaintenanceSchedule => {
            let seen = caller.may(Action::GetMaintenanceSchedule, Object::Any);
            let schedule = if seen { convert::schedule_out(&view.schedule) } else { Default::default() };
            response.get_maintenance_schedule = Some(response::GetMaintenanceSchedule { schedule });
            Answer::GetMaintenanceSchedule
        }
        Type::GetQuota => {
            response.get_quota = Some(response::GetQuota { status: quota(view, caller) });
            Answer::GetQuota
        }
        _ => {
            response.get_state = Some(Box::new(state(view)));
            Answer::GetState
        }
    };
    response.set_type(answer);
    response
}

pub(super) fn state(view: &MasterView) -> response::GetState {
    response::GetState {
        get_tasks: Some(tasks(view)),
        get_executors: Some(executors(view)),
        get_frameworks: Some(frameworks(view)),
        get_agents: Some(agents(view)),
    }
}

// ---- agents

fn agents(view: &MasterView) -> response::GetAgents {
    let offered = offered_by_agent(view);
    let one = |shown: &AgentView| {
        let offered = offered.get(shown.id.as_str()).map_or(&[][..], Vec::as_slice);
        agent_with(shown, offered)
    };
    response::GetAgents {
        agents: view.agents.iter().map(|shown| one(shown)).collect(),
        recovered_agents: view
            .recovered_agents
            .iter()
            .map(|info| convert::agent_out(info, Form::Both))
            .collect(),
    }
}

/// The agent as it is when it comes: nothing of it was offered yet.
pub(super) fn agent(shown: &AgentView) -> get_agents::Agent {
    agent_with(shown, &[])
}

fn agent_with(shown: &AgentView, offered: &[(&Role, &Resources)]) -> get_agents::Agent {
    let info = &shown.info;
    let held = shown.tasks.iter().filter(|task| task.holds_resources);
    let used = held.map(|task| (&task.role, &task.info.resources));
    let executors = shown.executors.iter().map(|executor| (&executor.role, &executor.info.resources));
    let mut agent_info = convert::agent_out(info, Form::Both);
    agent_info.id = Some(v1::AgentId { value: shown.id.to_string() });
    get_agents::Agent {
        agent_info,
        active: shown.active,
        version: info.version.clone(),
        pid: Some(format!("slave(1)@{}:{}", info.ip, info.port)),
        registered_time: Some(convert::time_out(shown.registered)),
        reregistered_time: shown.reregistered.map(convert::time_out),
        total_resources: convert::resources_out(&info.resources, Form::Both, None),
        allocated_resources: by_role(used.chain(executors)),
        offered_resources: by_role(offered.iter().copied()),
        capabilities: convert::agent_capabilities_out(&info.capabilities),
        resource_providers: Vec::new(),
        deactivated: Some(shown.deactivated),
        drain_info: shown.drain.as_ref().map(convert::drain_info_out),
        estimated_drain_start_time: shown.drain.as_ref().map(|drain| convert::time_out(drain.started)),
    }
}

fn offered_by_agent(view: &MasterView) -> BTreeMap<&str, Vec<(&Role, &Resources)>> {
    let mut offered: BTreeMap<&str, Vec<(&Role, &Resources)>> = BTreeMap::new();
    for offer in view.frameworks.iter().flat_map(|framework| &framework.offers) {
        offered.entry(offer.agent_id.as_str()).or_default().push((&offer.role, &offer.resources));
    }
    offered
}

/// Sums by the role that resources are allocated to.
fn by_role<'a>(allocations: impl Iterator<Item = (&'a Role, &'a Resources)>) -> Vec<v1::Resource> {
    let mut sums: BTreeMap<&Role, Resources> = BTreeMap::new();
    for (role, resources) in allocations {
        sums.entry(role).or_default().add(resources);
    }
    sums.into_iter().flat_map(|(role, sum)| convert::resources_out(&sum, Form::Both, Some(role))).collect()
}

// ---- frameworks

fn frameworks(view: &MasterView) -> response::GetFrameworks {
    response::GetFrameworks {
        frameworks: view.frameworks.iter().map(|shown| framework(shown)).collect(),
        completed_frameworks: view.completed_frameworks.iter().map(|shown| framework(shown)).collect(),
        recovered_frameworks: Vec::new(),
    }
}

fn framework(shown: &FrameworkView) -> get_frameworks::Framework {
    let info = &shown.info;
    let held = shown.tasks.iter().filter(|task| task.holds_resources);
    get_frameworks::Framework {
        offers: shown.offers.iter().map(|offer| convert::offer_out(offer, info)).collect(),
        inverse_offers: shown
            .inverse_offers
            .iter()
            .map(|offer| convert::inverse_offer_out(offer, info))
            .collect(),
        allocated_resources: by_role(held.map(|task| (&task.role, &task.info.resources))),
        offered_resources: by_role(shown.offers.iter().map(|offer| (&offer.role, &offer.resources))),
        ..framework_alone(shown)
    }
}

/// Without offers and resources, as events have it.
pub(super) fn framework_alone(shown: &FrameworkView) -> get_frameworks::Framework {
    let mut framework_info = convert::framework_out(&shown.info);
    framework_info.id = Some(v1::FrameworkId { value: shown.id.to_string() });
    get_frameworks::Framework {
        framework_info,
        active: shown.active,
        connected: shown.connected,
        recovered: shown.recovered,
        registered_time: Some(convert::time_out(shown.registered)),
        reregistered_time: shown.reregistered.map(convert::time_out),
        unregistered_time: shown.unregistered.map(convert::time_out),
        offers: Vec::new(),
        inverse_offers: Vec::new(),
        allocated_resources: Vec::new(),
        offered_resources: Vec::new(),
        offer_constraints: None,
    }
}

// ---- what runs

fn tasks(view: &MasterView) -> response::GetTasks {
    let frameworks = || view.frameworks.iter().chain(&view.completed_frameworks);
    response::GetTasks {
        pending_tasks: Vec::new(),
        tasks: frameworks().flat_map(|framework| &framework.tasks).map(|task| self::task(task)).collect(),
        completed_tasks: frameworks()
            .flat_map(|framework| framework.completed_tasks.iter())
            .map(|task| self::task(task))
            .collect(),
        orphan_tasks: Vec::new(),
        unreachable_tasks: frameworks()
            .flat_map(|framework| framework.unreachable_tasks.iter())
            .map(|task| self::task(task))
            .collect(),
    }
}

pub(super) fn task(task: &Task) -> v1::Task {
    let mut shown =
        convert::task_out(&task.framework_id, &task.info, &task.role, task.state, &task.statuses, Form::Both);
    if let Some(status) = &task.forwarded {
        shown.status_update_state = Some(convert::state_out(status.state));
        shown.status_update_uuid = status.uuid.map(convert::uuid_out);
    }
    shown
}

fn executors(view: &MasterView) -> response::GetExecutors {
    let executors =
        view.agents.iter().flat_map(|agent| &agent.executors).map(|executor| get_executors::Executor {
            executor_info: convert::executor_out(&executor.info, Form::Both, Some(&executor.role)),
            agent_id: v1::AgentId { value: executor.agent_id.to_string() },
        });
    response::GetExecutors { executors: executors.collect(), orphan_executors: Vec::new() }
}

fn operations(view: &MasterView) -> response::GetOperations {
    let operations = view.agents.iter().flat_map(|agent| {
        agent.operations.iter().map(|operation| convert::operation_out(operation, &agent.id, Form::Both))
    });
    response::GetOperations { operations: operations.collect() }
}

// ---- roles

fn roles(view: &MasterView) -> response::GetRoles {
    let figures = crate::master::role_figures(view);
    let one = |(name, figures): (&String, &crate::master::Figures)| v1::Role {
        name: name.clone(),
        weight: crate::master::role_weight(view, name),
        frameworks: figures.frameworks.iter().map(|id| v1::FrameworkId { value: id.clone() }).collect(),
        resources: convert::resources_out(&figures.allocated.plus(&figures.offered), Form::Both, None),
    };
    response::GetRoles { roles: figures.iter().map(one).collect() }
}

fn weights(view: &MasterView) -> response::GetWeights {
    let one = |(role, weight): (&Role, &model::Weight)| convert::weight_out(role, *weight);
    response::GetWeights { weight_infos: view.weights.iter().map(one).collect() }
}

pub(crate) fn quota(view: &MasterView, caller: &Caller) -> v1::quota::QuotaStatus {
    let seen =
        || view.quotas.values().filter(|config| caller.may(Action::GetQuota, Object::Role(&config.role)));
    let info = |config: &model::QuotaConfig| v1::quota::QuotaInfo {
        role: Some(config.role.to_string()),
        principal: config.principal.as_ref().map(ToString::to_string),
        guarantee: config
            .guarantees
            .iter()
            .map(|(name, quantity)| {
                let resource = model::Resource::scalar(name, *quantity);
                convert::resource_out(&resource, Form::Both, None)
            })
            .collect(),
    };
    v1::quota::QuotaStatus {
        infos: seen().map(info).collect(),
        configs: seen().map(convert::quota_config_out).collect(),
    }
}

// ---- maintenance

pub(crate) fn maintenance_status(view: &MasterView) -> ClusterStatus {
    let status = |answer: &mesos_master::view::InverseOfferAnswer| InverseOfferStatus {
        status: match answer.accepted {
            None => inverse_offer_status::Status::Unknown,
            Some(true) => inverse_offer_status::Status::Accept,
            Some(false) => inverse_offer_status::Status::Decline,
        } as i32,
        framework_id: v1::FrameworkId { value: answer.framework_id.to_string() },
        timestamp: convert::time_out(answer.at),
    };
    ClusterStatus {
        draining_machines: view
            .draining_machines
            .iter()
            .map(|(machine, answers)| DrainingMachine {
                id: convert::machine_out(machine),
                statuses: answers.iter().map(status).collect(),
            })
            .collect(),
        down_machines: view.down_machines.iter().map(convert::machine_out).collect(),
    }
}
