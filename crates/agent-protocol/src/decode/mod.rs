//! Wire to model: checks presence and range of every field.
//!
//! Ids may not be empty and names of resources may not either; other texts may.
//! A reason or capability that this version does not know is dropped: both only
//! refine what the rest of the message says. Any other unknown number or case
//! makes the message [`DecodeError::Unknown`].

mod info;
mod operation;
mod resources;
mod task;

use model::agent_api::{AgentToMaster, MasterToAgent, Registration};
use model::{Opaque, Role, Time, UpdateId};

use self::info::{agent_info, drain_config, executor_info, executor_record, framework_info};
use self::operation::{operation_name, operation_record, operation_status};
use self::task::{kill_policy, status_update, task_info, task_name, task_record};
use crate::numbers::Numbered;
use crate::wire;
use crate::wire::{agent_frame, master_frame};
use crate::{AgentFrame, DecodeError, MasterFrame, PROTOCOL_VERSION, PROTOCOL_VERSION_OLDEST};

impl TryFrom<AgentFrame> for AgentToMaster {
    type Error = DecodeError;

    fn try_from(frame: AgentFrame) -> Result<Self, DecodeError> {
        use agent_frame::Message;
        let (name, converted) = match frame.message {
            Some(Message::Register(register)) => ("register", registration(*register)),
            Some(Message::Update(update)) => {
                ("update", status_update(*update).map(|update| Self::Update(Box::new(update))))
            }
            Some(Message::OperationUpdate(update)) => ("operation_update", operation_update(*update)),
            Some(Message::Message(message)) => ("message", message_to_scheduler(message)),
            Some(Message::ExecutorExited(exited)) => ("executor_exited", executor_exited(exited)),
            Some(Message::Unregister(wire::Unregister {})) => return Ok(Self::Unregister),
            None => return Err(no_case()),
        };
        converted.map_err(|error| error.inside(name))
    }
}

fn registration(register: wire::Register) -> Result<AgentToMaster, DecodeError> {
    versions(register.version, register.version_oldest)?;
    Ok(AgentToMaster::Register(Box::new(Registration {
        info: present("info", register.info, agent_info)?,
        frameworks: all("frameworks", register.frameworks, framework_info)?,
        executors: all("executors", register.executors, executor_record)?,
        tasks: all("tasks", register.tasks, task_record)?,
        operations: all("operations", register.operations, operation_record)?,
        drain: register.drain.map(drain_config),
    })))
}

fn operation_update(update: wire::OperationUpdate) -> Result<AgentToMaster, DecodeError> {
    Ok(AgentToMaster::OperationUpdate {
        uuid: uuid("uuid", &update.uuid)?,
        framework_id: optional_id("framework_id", update.framework_id)?,
        status: Box::new(present("status", update.status, operation_status)?),
    })
}

fn message_to_scheduler(message: wire::ExecutorMessage) -> Result<AgentToMaster, DecodeError> {
    Ok(AgentToMaster::Message {
        framework_id: id("framework_id", message.framework_id)?,
        executor_id: id("executor_id", message.executor_id)?,
        data: Opaque::from(message.data),
    })
}

fn executor_exited(exited: wire::ExecutorExited) -> Result<AgentToMaster, DecodeError> {
    Ok(AgentToMaster::ExecutorExited {
        framework_id: id("framework_id", exited.framework_id)?,
        executor_id: id("executor_id", exited.executor_id)?,
        status: exited.status,
    })
}

impl TryFrom<MasterFrame> for MasterToAgent {
    type Error = DecodeError;

    fn try_from(frame: MasterFrame) -> Result<Self, DecodeError> {
        use master_frame::Message;
        let (name, converted) = match frame.message {
            Some(Message::Registered(message)) => ("registered", registered(message)),
            Some(Message::RunTask(message)) => ("run_task", run_task(*message)),
            Some(Message::RunGroup(message)) => ("run_group", run_group(*message)),
            Some(Message::KillTask(message)) => ("kill_task", kill_task(message)),
            Some(Message::Acknowledge(message)) => ("acknowledge", acknowledge(message)),
            Some(Message::Reconcile(message)) => {
                ("reconcile", all("tasks", message.tasks, task_name).map(|tasks| Self::Reconcile { tasks }))
            }
            Some(Message::ReconcileOperations(message)) => (
                "reconcile_operations",
                all("operations", message.operations, operation_name)
                    .map(|operations| Self::ReconcileOperations { operations }),
            ),
            Some(Message::ShutdownExecutor(message)) => ("shutdown_executor", shutdown_executor(message)),
            Some(Message::ShutdownFramework(message)) => (
                "shutdown_framework",
                id("framework_id", message.framework_id)
                    .map(|framework_id| Self::ShutdownFramework { framework_id }),
            ),
            Some(Message::UpdateFramework(message)) => (
                "update_framework",
                present("framework", message.framework, framework_info)
                    .map(|framework| Self::UpdateFramework { framework: Box::new(framework) }),
            ),
            Some(Message::Message(message)) => ("message", message_to_executor(message)),
            Some(Message::ApplyOperation(message)) => (
                "apply_operation",
                present("operation", message.operation, operation_record)
                    .map(|operation| Self::ApplyOperation { operation: Box::new(operation) }),
            ),
            Some(Message::AcknowledgeOperation(message)) => {
                ("acknowledge_operation", acknowledge_operation(&message))
            }
            Some(Message::Drain(config)) => return Ok(Self::Drain { config: drain_config(config) }),
            Some(Message::Reactivate(wire::Reactivate {})) => return Ok(Self::Reactivate),
            Some(Message::Shutdown(shutdown)) => return Ok(Self::Shutdown { message: shutdown.message }),
            None => return Err(no_case()),
        };
        converted.map_err(|error| error.inside(name))
    }
}

fn registered(registered: wire::Registered) -> Result<MasterToAgent, DecodeError> {
    versions(registered.version, registered.version_oldest)?;
    Ok(MasterToAgent::Registered { agent_id: id("agent_id", registered.agent_id)? })
}

fn run_task(run: wire::RunTask) -> Result<MasterToAgent, DecodeError> {
    Ok(MasterToAgent::RunTask {
        framework: Box::new(present("framework", run.framework, framework_info)?),
        role: role("role", run.role)?,
        task: Box::new(present("task", run.task, task_info)?),
    })
}

fn run_group(run: wire::RunGroup) -> Result<MasterToAgent, DecodeError> {
    Ok(MasterToAgent::RunGroup {
        framework: Box::new(present("framework", run.framework, framework_info)?),
        role: role("role", run.role)?,
        executor: Box::new(present("executor", run.executor, executor_info)?),
        tasks: all("tasks", run.tasks, task_info)?,
    })
}

fn kill_task(kill: wire::KillTask) -> Result<MasterToAgent, DecodeError> {
    Ok(MasterToAgent::KillTask {
        framework_id: id("framework_id", kill.framework_id)?,
        task_id: id("task_id", kill.task_id)?,
        kill_policy: kill.kill_policy.map(kill_policy),
    })
}

fn acknowledge(acknowledge: wire::Acknowledge) -> Result<MasterToAgent, DecodeError> {
    Ok(MasterToAgent::Acknowledge {
        framework_id: id("framework_id", acknowledge.framework_id)?,
        task_id: id("task_id", acknowledge.task_id)?,
        uuid: uuid("uuid", &acknowledge.uuid)?,
    })
}

fn shutdown_executor(shutdown: wire::ShutdownExecutor) -> Result<MasterToAgent, DecodeError> {
    Ok(MasterToAgent::ShutdownExecutor {
        framework_id: id("framework_id", shutdown.framework_id)?,
        executor_id: id("executor_id", shutdown.executor_id)?,
    })
}

fn message_to_executor(message: wire::ExecutorMessage) -> Result<MasterToAgent, DecodeError> {
    Ok(MasterToAgent::Message {
        framework_id: id("framework_id", message.framework_id)?,
        executor_id: id("executor_id", message.executor_id)?,
        data: Opaque::from(message.data),
    })
}

fn acknowledge_operation(acknowledge: &wire::AcknowledgeOperation) -> Result<MasterToAgent, DecodeError> {
    Ok(MasterToAgent::AcknowledgeOperation {
        uuid: uuid("uuid", &acknowledge.uuid)?,
        status_uuid: uuid("status_uuid", &acknowledge.status_uuid)?,
    })
}

/// A case with a tag of the future looks like none at all.
fn no_case() -> DecodeError {
    DecodeError::unknown("message", "no case")
}

fn versions(spoken: u32, oldest: u32) -> Result<(), DecodeError> {
    if spoken == 0 {
        return Err(DecodeError::missing("version"));
    }
    if oldest > PROTOCOL_VERSION {
        return Err(DecodeError::TooOld { spoken, oldest, ours: PROTOCOL_VERSION });
    }
    if spoken < PROTOCOL_VERSION_OLDEST {
        return Err(DecodeError::PeerTooOld { spoken, oldest: PROTOCOL_VERSION_OLDEST });
    }
    Ok(())
}

fn present<W, M>(
    field: &str,
    value: Option<W>,
    convert: impl FnOnce(W) -> Result<M, DecodeError>,
) -> Result<M, DecodeError> {
    let value = value.ok_or_else(|| DecodeError::missing(field))?;
    convert(value).map_err(|error| error.inside(field))
}

fn optional<W, M>(
    field: &str,
    value: Option<W>,
    convert: impl FnOnce(W) -> Result<M, DecodeError>,
) -> Result<Option<M>, DecodeError> {
    value.map(convert).transpose().map_err(|error| error.inside(field))
}

fn all<W, M>(
    field: &str,
    values: Vec<W>,
    convert: impl Fn(W) -> Result<M, DecodeError>,
) -> Result<Vec<M>, DecodeError> {
    let convert_at =
        |(index, value)| convert(value).map_err(|error| error.inside(&format!("{field}[{index}]")));
    values.into_iter().enumerate().map(convert_at).collect()
}

fn id<I: From<String>>(field: &str, text: String) -> Result<I, DecodeError> {
    if text.is_empty() { Err(DecodeError::missing(field)) } else { Ok(I::from(text)) }
}

fn optional_id<I: From<String>>(field: &str, text: Option<String>) -> Result<Option<I>, DecodeError> {
    text.map(|text| id(field, text)).transpose()
}

fn number<E: Numbered>(field: &str, value: i32) -> Result<E, DecodeError> {
    if value == 0 {
        return Err(DecodeError::missing(field));
    }
    E::from_number(value).ok_or_else(|| DecodeError::unknown(field, format!("number {value}")))
}

fn optional_number<E: Numbered>(field: &str, value: Option<i32>) -> Result<Option<E>, DecodeError> {
    value.map(|value| number(field, value)).transpose()
}

fn port(field: &str, value: u32) -> Result<u16, DecodeError> {
    u16::try_from(value).map_err(|_| DecodeError::out_of_range(field, value, "0 to 65535"))
}

fn time(field: &str, millis: u64) -> Result<Time, DecodeError> {
    if millis > Time::MAX.as_millis() {
        return Err(DecodeError::out_of_range(field, millis, "a time before the year 10000"));
    }
    Ok(Time::from_millis(millis))
}

fn role(field: &str, text: String) -> Result<Role, DecodeError> {
    if text.is_empty() {
        return Err(DecodeError::missing(field));
    }
    Role::new(&text)
        .map_err(|_| DecodeError::out_of_range(field, text, "'*' or components separated by slashes"))
}

fn optional_role(field: &str, text: Option<String>) -> Result<Option<Role>, DecodeError> {
    text.map(|text| role(field, text)).transpose()
}

fn uuid(field: &str, bytes: &[u8]) -> Result<UpdateId, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::missing(field));
    }
    let bytes = <[u8; 16]>::try_from(bytes)
        .map_err(|_| DecodeError::out_of_range(field, format!("{} bytes", bytes.len()), "16 bytes"))?;
    Ok(UpdateId(u128::from_be_bytes(bytes)))
}

fn optional_uuid(field: &str, bytes: Option<Vec<u8>>) -> Result<Option<UpdateId>, DecodeError> {
    bytes.map(|bytes| uuid(field, &bytes)).transpose()
}

fn labels(labels: Vec<wire::Label>) -> Vec<(String, Option<String>)> {
    labels.into_iter().map(|label| (label.key, label.value)).collect()
}
