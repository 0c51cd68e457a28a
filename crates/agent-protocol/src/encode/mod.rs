//! Model to wire. Cannot fail: the model is the narrower of the two.

mod info;
mod operation;
mod resources;
mod task;

use model::agent_api::{AgentToMaster, MasterToAgent, Registration};
use model::{Opaque, UpdateId};

use self::info::{agent_info, drain_config, executor_info, executor_record, framework_info};
use self::operation::{operation_record, operation_status};
use self::task::{kill_policy, status_update, task_info, task_record};
use crate::wire;
use crate::wire::{agent_frame, master_frame};
use crate::{AgentFrame, MasterFrame, PROTOCOL_VERSION, PROTOCOL_VERSION_OLDEST};

impl From<AgentToMaster> for AgentFrame {
    fn from(message: AgentToMaster) -> Self {
        use agent_frame::Message;
        let message = match message {
            AgentToMaster::Register(registration) => Message::Register(Box::new(register(*registration))),
            AgentToMaster::Update(update) => Message::Update(Box::new(status_update(*update))),
            AgentToMaster::OperationUpdate { uuid: operation, framework_id, status } => {
                Message::OperationUpdate(Box::new(wire::OperationUpdate {
                    uuid: uuid(operation),
                    framework_id: framework_id.map(|id| id.to_string()),
                    status: Some(operation_status(*status)),
                }))
            }
            AgentToMaster::Message { framework_id, executor_id, data } => {
                Message::Message(wire::ExecutorMessage {
                    framework_id: framework_id.to_string(),
                    executor_id: executor_id.to_string(),
                    data: bytes(data),
                })
            }
            AgentToMaster::ExecutorExited { framework_id, executor_id, status } => {
                Message::ExecutorExited(wire::ExecutorExited {
                    framework_id: framework_id.to_string(),
                    executor_id: executor_id.to_string(),
                    status,
                })
            }
            AgentToMaster::Unregister => Message::Unregister(wire::Unregister {}),
        };
        Self { message: Some(message) }
    }
}

impl From<MasterToAgent> for MasterFrame {
    fn from(message: MasterToAgent) -> Self {
        use master_frame::Message;
        let message = match message {
            MasterToAgent::Registered { agent_id } => Message::Registered(wire::Registered {
                version: PROTOCOL_VERSION,
                version_oldest: PROTOCOL_VERSION_OLDEST,
                agent_id: agent_id.to_string(),
            }),
            MasterToAgent::RunTask { framework, role, task } => Message::RunTask(Box::new(wire::RunTask {
                framework: Some(framework_info(*framework)),
                task: Some(task_info(*task)),
                role: role.into(),
            })),
            MasterToAgent::RunGroup { framework, role, executor, tasks } => {
                Message::RunGroup(Box::new(wire::RunGroup {
                    framework: Some(framework_info(*framework)),
                    executor: Some(executor_info(*executor)),
                    role: role.into(),
                    tasks: tasks.into_iter().map(task_info).collect(),
                }))
            }
            MasterToAgent::KillTask { framework_id, task_id, kill_policy: policy } => {
                Message::KillTask(wire::KillTask {
                    framework_id: framework_id.to_string(),
                    task_id: task_id.to_string(),
                    kill_policy: policy.map(kill_policy),
                })
            }
            MasterToAgent::Acknowledge { framework_id, task_id, uuid: update } => {
                Message::Acknowledge(wire::Acknowledge {
                    framework_id: framework_id.to_string(),
                    task_id: task_id.to_string(),
                    uuid: uuid(update),
                })
            }
            MasterToAgent::Reconcile { tasks } => Message::Reconcile(wire::Reconcile {
                tasks: tasks
                    .into_iter()
                    .map(|(framework_id, task_id)| wire::TaskName {
                        framework_id: framework_id.to_string(),
                        task_id: task_id.to_string(),
                    })
                    .collect(),
            }),
            MasterToAgent::ReconcileOperations { operations } => {
                Message::ReconcileOperations(wire::ReconcileOperations {
                    operations: operations
                        .into_iter()
                        .map(|(operation, framework_id)| wire::OperationName {
                            uuid: uuid(operation),
                            framework_id: framework_id.map(|id| id.to_string()),
                        })
                        .collect(),
                })
            }
            MasterToAgent::ShutdownExecutor { framework_id, executor_id } => {
                Message::ShutdownExecutor(wire::ShutdownExecutor {
                    framework_id: framework_id.to_string(),
                    executor_id: executor_id.to_string(),
                })
            }
            MasterToAgent::ShutdownFramework { framework_id } => {
                Message::ShutdownFramework(wire::ShutdownFramework { framework_id: framework_id.to_string() })
            }
            MasterToAgent::UpdateFramework { framework } => {
                Message::UpdateFramework(Box::new(wire::UpdateFramework {
                    framework: Some(framework_info(*framework)),
                }))
            }
            MasterToAgent::Message { framework_id, executor_id, data } => {
                Message::Message(wire::ExecutorMessage {
                    framework_id: framework_id.to_string(),
                    executor_id: executor_id.to_string(),
                    data: bytes(data),
                })
            }
            MasterToAgent::ApplyOperation { operation } => {
                Message::ApplyOperation(Box::new(wire::ApplyOperation {
                    operation: Some(operation_record(*operation)),
                }))
            }
            MasterToAgent::AcknowledgeOperation { uuid: operation, status_uuid } => {
                Message::AcknowledgeOperation(wire::AcknowledgeOperation {
                    uuid: uuid(operation),
                    status_uuid: uuid(status_uuid),
                })
            }
            MasterToAgent::Drain { config } => Message::Drain(drain_config(config)),
            MasterToAgent::Reactivate => Message::Reactivate(wire::Reactivate {}),
            MasterToAgent::Shutdown { message } => Message::Shutdown(wire::Shutdown { message }),
        };
        Self { message: Some(message) }
    }
}

fn register(registration: Registration) -> wire::Register {
    wire::Register {
        version: PROTOCOL_VERSION,
        version_oldest: PROTOCOL_VERSION_OLDEST,
        info: Some(agent_info(registration.info)),
        frameworks: registration.frameworks.into_iter().map(framework_info).collect(),
        tasks: registration.tasks.into_iter().map(task_record).collect(),
        executors: registration.executors.into_iter().map(executor_record).collect(),
        operations: registration.operations.into_iter().map(operation_record).collect(),
        drain: registration.drain.map(drain_config),
    }
}

fn uuid(uuid: UpdateId) -> Vec<u8> {
    uuid.to_bytes().to_vec()
}

fn bytes(opaque: Opaque) -> Vec<u8> {
    opaque.to_vec()
}

fn labels(labels: Vec<(String, Option<String>)>) -> Vec<wire::Label> {
    labels.into_iter().map(|(key, value)| wire::Label { key, value }).collect()
}
