//! What an agent tells of itself and of what it runs.

use std::collections::BTreeMap;

use mesos_agent::AgentView;
use mesos_agent::state::Phase;
use mesos_agent::view::{ExecutorView, TaskView};
use mesos_proto::v1;
use mesos_proto::v1::agent as wire;
use mesos_proto::v1::agent::call::Type;
use mesos_proto::v1::agent::response::{self, Type as Answer, get_containers, get_executors, get_frameworks};
use model::{ContainerId, FrameworkInfo, Role, TaskState};

use super::{invalid, visible};
use crate::access::{Action, Caller, Object};
use crate::agent::{Served, executor_name, role_of};
use crate::convert::{self, Form};
use crate::operator::common;
use crate::reply::Refusal;

pub(super) async fn response(
    served: &Served,
    caller: &Caller,
    view: &std::sync::Arc<AgentView>,
    kind: Type,
    request: &wire::Call,
) -> Result<wire::Response, Refusal> {
    let view = visible(caller, view);
    let identity = &served.identity;
    let mut response = wire::Response::default();
    let answer = match kind {
        Type::GetHealth => {
            response.get_health = Some(response::GetHealth { healthy: true });
            Answer::GetHealth
        }
        Type::GetFlags => {
            response.get_flags = Some(response::GetFlags { flags: common::flags(&identity.flags) });
            Answer::GetFlags
        }
        Type::GetVersion => {
            let version_info = common::version(&identity.build);
            response.get_version = Some(response::GetVersion { version_info });
            Answer::GetVersion
        }
        Type::GetMetrics => {
            common::duration(request.get_metrics.as_ref().and_then(|get| get.timeout.as_ref()))
                .map_err(|error| invalid(format_args!("timeout: {error}")))?;
            let metrics = common::metrics(crate::agent::all_metrics(&view));
            response.get_metrics = Some(response::GetMetrics { metrics });
            Answer::GetMetrics
        }
        Type::GetLoggingLevel => {
            let level = identity.logging.level();
            response.get_logging_level = Some(response::GetLoggingLevel { level });
            Answer::GetLoggingLevel
        }
        Type::ListFiles => {
            let path = request.list_files.as_ref().map(|list| list.path.as_str()).unwrap_or_default();
            let file_infos = served.files.list(served.attached(), caller, path).await?;
            response.list_files = Some(response::ListFiles { file_infos });
            Answer::ListFiles
        }
        Type::ReadFile => {
            let (path, offset, length) = request
                .read_file
                .as_ref()
                .map(|read| (read.path.as_str(), read.offset, read.length))
                .unwrap_or_default();
            let (size, data) = served.files.piece(served.attached(), caller, path, offset, length).await?;
            response.read_file = Some(response::ReadFile { size, data });
            Answer::ReadFile
        }
        Type::GetContainers => {
            let asked = request.get_containers.unwrap_or_default();
            let containers = containers(served, caller, &view, &asked).await;
            response.get_containers = Some(response::GetContainers { containers });
            Answer::GetContainers
        }
        Type::GetFrameworks => {
            response.get_frameworks = Some(frameworks(&view));
            Answer::GetFrameworks
        }
        Type::GetExecutors => {
            response.get_executors = Some(executors(&view));
            Answer::GetExecutors
        }
        Type::GetTasks => {
            response.get_tasks = Some(tasks(&view));
            Answer::GetTasks
        }
        Type::GetOperations => {
            let id = view.id.clone().unwrap_or_else(|| "".into());
            let one = |operation: &std::sync::Arc<model::OperationRecord>| {
                convert::operation_out(operation, &id, Form::Both)
            };
            response.get_operations =
                Some(response::GetOperations { operations: view.operations.iter().map(one).collect() });
            Answer::GetOperations
        }
        Type::GetAgent => {
            let mut info = convert::agent_out(&view.info, Form::Both);
            info.id = view.id.as_ref().map(|id| v1::AgentId { value: id.to_string() });
            response.get_agent = Some(response::GetAgent {
                agent_info: Some(info),
                drain_config: view.drain.as_ref().map(|drain| convert::drain_config_out(&drain.config)),
                estimated_drain_start_time: view.drain.map(|drain| convert::time_out(drain.started)),
            });
            Answer::GetAgent
        }
        Type::GetResourceProviders => {
            response.get_resource_providers = Some(response::GetResourceProviders::default());
            Answer::GetResourceProviders
        }
        _ => {
            response.get_state = Some(Box::new(response::GetState {
                get_tasks: Some(tasks(&view)),
                get_executors: Some(executors(&view)),
                get_frameworks: Some(frameworks(&view)),
            }));
            Answer::GetState
        }
    };
    response.set_type(answer);
    Ok(response)
}

fn frameworks(view: &AgentView) -> response::GetFrameworks {
    let one = |info: &std::sync::Arc<FrameworkInfo>| get_frameworks::Framework {
        framework_info: convert::framework_out(info),
    };
    response::GetFrameworks {
        frameworks: view.frameworks.iter().map(one).collect(),
        completed_frameworks: view.completed_frameworks.iter().map(one).collect(),
    }
}

/// Those with a description, and those that command tasks imply.
fn executors(view: &AgentView) -> response::GetExecutors {
    let own = |view: &ExecutorView| get_executors::Executor {
        executor_info: convert::executor_out(&view.executor.info, Form::Both, Some(&view.executor.role)),
    };
    let implied = |task: &TaskView| get_executors::Executor {
        executor_info: v1::ExecutorInfo {
            executor_id: v1::ExecutorId { value: task.task.info.id.to_string() },
            framework_id: Some(v1::FrameworkId { value: task.task.framework_id.to_string() }),
            name: Some(executor_name(&task.task.info)),
            source: Some(task.task.info.id.to_string()),
            command: Some(convert::command_out(&task.task.info.command)),
            ..v1::ExecutorInfo::default()
        },
    };
    let all = |executors: &[ExecutorView], tasks: &[TaskView]| {
        let commands = tasks.iter().filter(|task| task.task.is_command()).map(implied);
        executors.iter().map(own).chain(commands).collect()
    };
    response::GetExecutors {
        executors: all(&view.executors, &view.tasks),
        completed_executors: all(&view.completed_executors, &view.completed),
    }
}

fn tasks(view: &AgentView) -> response::GetTasks {
    let mut tasks = response::GetTasks::default();
    let roles: BTreeMap<&str, Role> = view
        .frameworks
        .iter()
        .filter_map(|info| Some((info.id.as_ref()?.as_str(), role_of(Some(info)))))
        .collect();
    let shown = |task: &TaskView| {
        let task = &task.task;
        let role = task.role.clone().or_else(|| roles.get(task.framework_id.as_str()).cloned());
        let role = role.unwrap_or_else(Role::any);
        let mut wire =
            convert::task_out(&task.framework_id, &task.info, &role, task.state, &task.statuses, Form::Both);
        wire.executor_id = task.executor_id.as_ref().map(|id| v1::ExecutorId { value: id.to_string() });
        wire
    };
    for task in &view.tasks {
        let wire = shown(task);
        match task.task.phase {
            Phase::Queued => tasks.queued_tasks.push(wire),
            Phase::Launching if task.task.state == TaskState::Staging => tasks.queued_tasks.push(wire),
            Phase::Launching | Phase::Running => tasks.launched_tasks.push(wire),
            Phase::Ended => tasks.terminated_tasks.push(wire),
        }
    }
    tasks.completed_tasks = view.completed.iter().map(shown).collect();
    tasks
}

/// Containers of executors and command tasks; nested and standalone ones when asked for.
async fn containers(
    served: &Served,
    caller: &Caller,
    view: &AgentView,
    asked: &wire::call::GetContainers,
) -> Vec<get_containers::Container> {
    let mut found: Vec<get_containers::Container> = Vec::new();
    let runtime = &served.identity.runtime;
    let sees = |id: &model::FrameworkId| {
        let info = view.frameworks.iter().find(|info| info.id.as_ref() == Some(id));
        caller.may(Action::ViewContainer, Object::Of(info.map(AsRef::as_ref)))
    };
    for executor in view.executors.iter().map(|view| &view.executor).filter(|executor| executor.is_live()) {
        if !sees(&executor.framework_id) {
            continue;
        }
        let mut container = container(&executor.container_id, executor.pid, None);
        container.framework_id = Some(v1::FrameworkId { value: executor.framework_id.to_string() });
        container.executor_id = Some(v1::ExecutorId { value: executor.info.id.to_string() });
        container.executor_name = Some(executor.info.name.clone());
        found.push(container);
    }
    let nested = asked.show_nested.unwrap_or(false);
    for task in view.tasks.iter().map(|view| &view.task).filter(|task| task.phase != Phase::Ended) {
        let is_nested = task.container_id.parent().is_some();
        if !task.has_container() || (is_nested && !nested) || !sees(&task.framework_id) {
            continue;
        }
        let status = task.statuses.iter().rev().find_map(|status| status.container.as_ref());
        let mut container = container(&task.container_id, task.pid, status);
        container.framework_id = Some(v1::FrameworkId { value: task.framework_id.to_string() });
        container.executor_id = Some(v1::ExecutorId { value: task.executor_name().to_owned() });
        if task.is_command() {
            container.executor_name = Some(executor_name(&task.info));
        }
        found.push(container);
    }
    let standalone = asked.show_standalone.unwrap_or(false);
    if nested || standalone {
        for listing in runtime.list().await {
            let is_nested = listing.id.parent().is_some();
            let wanted = if is_nested { nested } else { standalone };
            let action = if is_nested { Action::ViewContainer } else { Action::ViewStandaloneContainer };
            if wanted && caller.may(action, Object::Any) {
                found.push(container(&listing.id, listing.pid, None));
            }
        }
    }
    for container in &mut found {
        let id = convert::container_id(&container.container_id);
        container.resource_statistics =
            runtime.statistics(id).await.map(|statistics| Box::new(statistics.to_wire()));
    }
    found
}

fn container(
    id: &ContainerId,
    pid: Option<u32>,
    status: Option<&model::ContainerStatus>,
) -> get_containers::Container {
    let mut shown = status.map(convert::container_status_out).unwrap_or_default();
    let wire_id = convert::container_id_out(id);
    shown.container_id = Some(wire_id.clone());
    shown.executor_pid = pid.or(shown.executor_pid);
    get_containers::Container {
        framework_id: None,
        executor_id: None,
        executor_name: None,
        container_id: wire_id,
        container_status: Some(shown),
        resource_statistics: None,
    }
}
