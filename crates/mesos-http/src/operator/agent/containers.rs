//! Launching, waiting for, killing and removing containers; pruning images.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use mesos_proto::media::Format;
use mesos_proto::v1::agent as wire;
use mesos_proto::v1::agent::call::Type;
use mesos_proto::v1::agent::response::{self, Type as Answer};
use mesos_proto::{ApiMessage, v1};
use model::{ContainerId, Opaque, Quantities};

use super::invalid;
use super::runtime::{ContainerError, Launched, NewContainer, Termination, WindowSize};
use crate::agent::Served;
use crate::body;
use crate::convert::{self, Form};
use crate::reply::Refusal;

/// Containers whose input somebody has; one at a time may.
#[derive(Debug, Default)]
pub(crate) struct Inputs(Mutex<BTreeSet<ContainerId>>);

/// The right to a container's input, until it is dropped.
pub(super) struct InputHeld(Arc<Inputs>, ContainerId);

impl Inputs {
    pub(super) fn take(self: &Arc<Self>, id: &ContainerId) -> Option<InputHeld> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(id.clone()).then(|| InputHeld(self.clone(), id.clone()))
    }
}

impl Drop for InputHeld {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

pub(super) fn refused(error: ContainerError) -> Refusal {
    let status = match error {
        ContainerError::NotFound(id) => {
            let message = format!("Container {id} cannot be found");
            return Refusal { status: StatusCode::NOT_FOUND, message };
        }
        ContainerError::Invalid(_) => StatusCode::BAD_REQUEST,
        ContainerError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        ContainerError::Unsupported(_) => StatusCode::NOT_IMPLEMENTED,
    };
    Refusal { status, message: error.to_string() }
}

pub(super) async fn serve(
    served: &Served,
    kind: Type,
    call: wire::Call,
    format: Format,
) -> Result<Response, Refusal> {
    let runtime = &served.identity.runtime;
    let absent = || invalid("Expecting the call's own message to be present");
    match kind {
        Type::LaunchContainer => {
            let launch = call.launch_container.ok_or_else(absent)?;
            let mut container = new_container(launch.container_id, launch.command, launch.container)?;
            if container.id.parent().is_some() {
                if !launch.resources.is_empty() || !launch.limits.is_empty() {
                    return Err(invalid(
                        "Resources may not be specified when using 'launch_container' to launch nested \
                         containers: they share those of their parent",
                    ));
                }
            } else {
                container.resources = standalone_resources(&launch.resources)?;
                container.limits = limits(&launch.limits)?;
            }
            launched(runtime.launch(container).await)
        }
        Type::LaunchNestedContainer => {
            let launch = call.launch_nested_container.ok_or_else(absent)?;
            let container = new_container(launch.container_id, launch.command, launch.container)?;
            launched(runtime.launch(container).await)
        }
        Type::WaitContainer => {
            let id = convert::container_id(&call.wait_container.ok_or_else(absent)?.container_id);
            let ended = runtime.wait(id).await.map_err(refused)?;
            let mut response = wire::Response::default();
            response.set_type(Answer::WaitContainer);
            response.wait_container = Some(wait_container(ended));
            Ok(body::message(format, response.to_body(format)))
        }
        Type::WaitNestedContainer => {
            let id = convert::container_id(&call.wait_nested_container.ok_or_else(absent)?.container_id);
            let ended = wait_container(runtime.wait(id).await.map_err(refused)?);
            let mut response = wire::Response::default();
            response.set_type(Answer::WaitNestedContainer);
            response.wait_nested_container = Some(response::WaitNestedContainer {
                exit_status: ended.exit_status,
                state: ended.state,
                reason: ended.reason,
                limitation: ended.limitation,
                message: ended.message,
            });
            Ok(body::message(format, response.to_body(format)))
        }
        Type::KillContainer => {
            let kill = call.kill_container.ok_or_else(absent)?;
            self::kill(served, &kill.container_id, kill.signal).await
        }
        Type::KillNestedContainer => {
            let kill = call.kill_nested_container.ok_or_else(absent)?;
            self::kill(served, &kill.container_id, kill.signal).await
        }
        Type::RemoveContainer => {
            remove(served, &call.remove_container.ok_or_else(absent)?.container_id).await
        }
        Type::RemoveNestedContainer => {
            remove(served, &call.remove_nested_container.ok_or_else(absent)?.container_id).await
        }
        _ => {
            let prune = call.prune_images.ok_or_else(absent)?;
            let names = prune.excluded_images.iter().filter_map(|image| image.docker.as_ref());
            let excluded = names.map(|docker| docker.name.clone()).collect();
            runtime.prune_images(excluded).await.map_err(refused)?;
            Ok(StatusCode::OK.into_response())
        }
    }
}

fn launched(outcome: Result<Launched, ContainerError>) -> Result<Response, Refusal> {
    match outcome {
        Ok(Launched::Now) => Ok(StatusCode::OK.into_response()),
        Ok(Launched::Before) => Ok(StatusCode::ACCEPTED.into_response()),
        // Whatever kept it from starting, the request was for something that cannot be.
        Err(ContainerError::Failed(text)) => Err(Refusal::bad_request(text)),
        Err(ContainerError::NotFound(id)) => {
            Err(Refusal::bad_request(format!("Parent container {id} does not exist")))
        }
        Err(error) => Err(refused(error)),
    }
}

async fn kill(served: &Served, id: &v1::ContainerId, signal: Option<i32>) -> Result<Response, Refusal> {
    const KILL: i32 = 9;
    const SIGNAL_MAX: i32 = 64;
    let signal = signal.unwrap_or(KILL);
    if !(1..=SIGNAL_MAX).contains(&signal) {
        return Err(invalid(format_args!("{signal} is no signal: expecting 1 to {SIGNAL_MAX}")));
    }
    let id = convert::container_id(id);
    match served.identity.runtime.kill(id, signal).await {
        Ok(()) => Ok(StatusCode::OK.into_response()),
        Err(ContainerError::NotFound(id)) => Err(Refusal {
            status: StatusCode::NOT_FOUND,
            message: format!("Container '{id}' cannot be found (or is already killed)"),
        }),
        Err(error) => Err(refused(error)),
    }
}

async fn remove(served: &Served, id: &v1::ContainerId) -> Result<Response, Refusal> {
    match served.identity.runtime.remove(convert::container_id(id)).await {
        // What is not there is removed.
        Ok(()) | Err(ContainerError::NotFound(_)) => Ok(StatusCode::OK.into_response()),
        Err(error) => Err(refused(error)),
    }
}

pub(super) fn new_container(
    id: v1::ContainerId,
    command: Option<v1::CommandInfo>,
    container: Option<Box<v1::ContainerInfo>>,
) -> Result<NewContainer, Refusal> {
    let unsupported = || Refusal::bad_request("The provided ContainerInfo is not supported".to_owned());
    let tty = match container.as_deref() {
        Some(info) if info.r#type() != v1::container_info::Type::Mesos => return Err(unsupported()),
        Some(info) => info.tty_info.as_ref().map(|tty| tty.window_size.as_ref().map(window_size)),
        None => None,
    };
    let tty = match tty {
        None => None,
        Some(None) => Some(None),
        Some(Some(size)) => Some(Some(size.map_err(invalid)?)),
    };
    Ok(NewContainer {
        id: convert::container_id(&id),
        raw_command: command.as_ref().map(|command| Opaque::from(command.to_protobuf())),
        raw_container: container.as_ref().map(|info| Opaque::from(info.to_protobuf())),
        command: command.as_ref().map(convert::command),
        container: container.as_deref().map(convert::container),
        tty,
        resources: model::Resources::new(),
        limits: Quantities::new(),
        session: false,
    })
}

pub(super) fn window_size(size: &v1::tty_info::WindowSize) -> Result<WindowSize, String> {
    let within = |number: u32, name: &str| {
        u16::try_from(number).map_err(|_| format!("'{name}' is {number}: at most {} are possible", u16::MAX))
    };
    Ok(WindowSize { rows: within(size.rows, "rows")?, columns: within(size.columns, "columns")? })
}

/// Unreserved, not revocable, no volume: nobody else accounts for them.
fn standalone_resources(given: &[v1::Resource]) -> Result<model::Resources, Refusal> {
    let read = convert::resources(given).map_err(invalid)?;
    for resource in read.resources.iter() {
        let problem = if !resource.is_unreserved() {
            "is reserved"
        } else if resource.revocable {
            "is revocable"
        } else if resource.is_persistent_volume() {
            "is a persistent volume"
        } else {
            continue;
        };
        return Err(invalid(format_args!(
            "'launch_container.resources' is invalid: {} {problem}; a standalone container may use plain \
             unreserved resources only",
            resource.name
        )));
    }
    Ok(read.resources)
}

fn limits(given: &std::collections::BTreeMap<String, v1::value::Scalar>) -> Result<Quantities, Refusal> {
    let finite: std::collections::BTreeMap<_, _> = given
        .iter()
        .filter(|(_, limit)| limit.value != f64::INFINITY)
        .map(|(name, limit)| (name.clone(), *limit))
        .collect();
    convert::quantities(&finite).map_err(invalid)
}

fn wait_container(ended: Termination) -> response::WaitContainer {
    response::WaitContainer {
        exit_status: ended.status,
        state: ended.state.map(convert::state_out),
        reason: ended.reason.and_then(|reason| {
            v1::task_status::Reason::from_str_name(reason.name()).map(|reason| reason as i32)
        }),
        limitation: ended.limitation.map(|limit| v1::TaskResourceLimitation {
            resources: convert::resources_out(&limit, Form::Both, None),
        }),
        message: ended.message,
    }
}
