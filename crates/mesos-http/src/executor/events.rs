//! Events of an executor. In protobuf, its own description and its tasks are put
//! together from the bytes that its framework sent, unknown fields included.

use std::time::Duration;

use mesos_proto::media::Format;
use mesos_proto::v1::executor::{Event, event};
use mesos_proto::{ApiMessage, raw, recordio, v1};
use model::executor_api::ExecutorEvent;
use model::{AgentInfo, Capability, ContainerId, ExecutorInfo, FrameworkInfo, Role, TaskInfo};

use crate::convert::{
    Form, agent_out, container_id_out, executor_bytes, executor_out, framework_out, kill_policy_out,
    opaque_out, task_bytes, task_info_out, uuid_out,
};

/// The first one follows after as long.
pub(super) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// `Event.type`.
const TYPE: u8 = 1 << 3;
const SUBSCRIBED: u32 = 2;
const LAUNCH: u32 = 4;
const LAUNCH_GROUP: u32 = 8;

/// Writes the events of one subscription.
pub(super) struct Writer {
    format: Format,
    form: Form,
    /// Set for frameworks of several roles.
    allocation: Option<Role>,
}

fn of(kind: event::Type) -> Event {
    Event { r#type: Some(kind as i32), ..Event::default() }
}

/// An event of which one part is encoded already.
fn spliced(kind: event::Type, number: u32, part: &[u8]) -> Vec<u8> {
    // The numbers of all types are below 128.
    let mut bytes = vec![TYPE, kind as u8];
    raw::append(&mut bytes, number, part);
    bytes
}

fn field(number: u32, part: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    raw::append(&mut bytes, number, part);
    bytes
}

impl Writer {
    pub fn new(format: Format) -> Self {
        Self { format, form: Form::New, allocation: None }
    }

    pub fn heartbeat(&self) -> Vec<u8> {
        recordio::encode(&of(event::Type::Heartbeat).to_body(self.format))
    }

    /// The record.
    pub fn event(&mut self, event: &ExecutorEvent) -> Vec<u8> {
        recordio::encode(&self.body(event))
    }

    fn body(&mut self, event: &ExecutorEvent) -> Vec<u8> {
        let message = match event {
            ExecutorEvent::Subscribed { executor, role, framework, agent, container_id } => {
                self.form = Form::of(framework);
                self.allocation = framework.can(Capability::MultiRole).then(|| role.clone());
                return self.subscribed(executor, framework, agent, container_id);
            }
            ExecutorEvent::Launch(task) => return self.launch(task),
            ExecutorEvent::LaunchGroup(tasks) => return self.launch_group(tasks),
            ExecutorEvent::Kill { task_id, kill_policy } => {
                let kill_policy = kill_policy.as_ref().map(kill_policy_out);
                let kill = event::Kill { task_id: task_id.as_str().into(), kill_policy };
                Event { kill: Some(kill), ..of(event::Type::Kill) }
            }
            ExecutorEvent::Acknowledged { task_id, uuid } => {
                let acknowledged =
                    event::Acknowledged { task_id: task_id.as_str().into(), uuid: uuid_out(*uuid) };
                Event { acknowledged: Some(acknowledged), ..of(event::Type::Acknowledged) }
            }
            ExecutorEvent::Message(data) => {
                let message = event::Message { data: opaque_out(data) };
                Event { message: Some(message), ..of(event::Type::Message) }
            }
            ExecutorEvent::Shutdown => of(event::Type::Shutdown),
            ExecutorEvent::Error { message } => {
                let error = event::Error { message: message.clone() };
                Event { error: Some(error), ..of(event::Type::Error) }
            }
        };
        message.to_body(self.format)
    }

    fn subscribed(
        &self,
        executor: &ExecutorInfo,
        framework: &FrameworkInfo,
        agent: &AgentInfo,
        container_id: &ContainerId,
    ) -> Vec<u8> {
        let framework_info = framework_out(framework);
        let agent_info = agent_out(agent, self.form);
        let container_id = container_id_out(container_id);
        if self.format == Format::Json {
            let executor_info = executor_out(executor, self.form, self.allocation.as_ref());
            let subscribed = event::Subscribed {
                executor_info,
                framework_info,
                agent_info,
                container_id: Some(container_id),
            };
            let message = Event { subscribed: Some(Box::new(subscribed)), ..of(event::Type::Subscribed) };
            return message.to_body(self.format);
        }
        let mut part = field(1, &executor_bytes(executor, self.form, self.allocation.as_ref()));
        raw::append(&mut part, 2, &framework_info.to_protobuf());
        raw::append(&mut part, 3, &agent_info.to_protobuf());
        raw::append(&mut part, 4, &container_id.to_protobuf());
        spliced(event::Type::Subscribed, SUBSCRIBED, &part)
    }

    fn launch(&self, task: &TaskInfo) -> Vec<u8> {
        let allocation = self.allocation.as_ref();
        if self.format == Format::Json {
            let launch = event::Launch { task: task_info_out(task, self.form, allocation) };
            return Event { launch: Some(Box::new(launch)), ..of(event::Type::Launch) }.to_body(self.format);
        }
        spliced(event::Type::Launch, LAUNCH, &field(1, &task_bytes(task, self.form, allocation)))
    }

    fn launch_group(&self, tasks: &[TaskInfo]) -> Vec<u8> {
        let allocation = self.allocation.as_ref();
        if self.format == Format::Json {
            let tasks = tasks.iter().map(|task| task_info_out(task, self.form, allocation)).collect();
            let launch_group = event::LaunchGroup { task_group: v1::TaskGroupInfo { tasks } };
            return Event { launch_group: Some(launch_group), ..of(event::Type::LaunchGroup) }
                .to_body(self.format);
        }
        let mut group = Vec::new();
        for task in tasks {
            raw::append(&mut group, 1, &task_bytes(task, self.form, allocation));
        }
        spliced(event::Type::LaunchGroup, LAUNCH_GROUP, &field(1, &group))
    }
}
