//! SUBSCRIBE: the state of one moment, then every change, and a heartbeat when
//! nothing else comes.
//!
//! Who reads too slowly is cut off by the master's shell and comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use mesos_master::MasterView;
use mesos_master::view::OperatorEvent;
use mesos_proto::media::Format;
use mesos_proto::v1::master as wire;
use mesos_proto::v1::master::event::{self, Type};
use mesos_proto::{ApiMessage, recordio, v1};
use model::{FrameworkId, FrameworkInfo};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::reads;
use crate::access::{Action, Caller, Object};
use crate::body;
use crate::convert::{self, Form};
use crate::leader::LeadingMaster;
use crate::master::Served;
use crate::reply::Refusal;

/// As the original's.
pub(crate) const fn heartbeat_default() -> Duration {
    Duration::from_secs(15)
}

pub(super) async fn subscribe(
    served: &Served,
    caller: Caller,
    master: &dyn LeadingMaster,
    format: Format,
) -> Result<Response, Refusal> {
    let Some((view, events)) = master.watch().await else {
        return Err(Refusal::unavailable("This master does not lead any more; ask the new leader"));
    };
    let heartbeat = served.heartbeat;
    let count = served.subscribers.clone().enter();
    let mut stream = Stream::new(caller, events, format, heartbeat, &view);
    let shown = crate::master::visible(&stream.caller, &view);
    drop(view);
    let first = tokio::task::spawn_blocking(move || {
        let subscribed = event::Subscribed {
            get_state: Some(Box::new(reads::state(&shown))),
            heartbeat_interval_seconds: Some(heartbeat.as_secs_f64()),
        };
        record(Type::Subscribed, format, |event| event.subscribed = Some(subscribed))
    });
    let first = first
        .await
        .map_err(|error| Refusal::internal(format!("The state could not be written: {error}.\n")))?;
    stream.first = Some(first);
    let records = futures_util::stream::unfold((stream, count), |(mut stream, count)| async move {
        let record = stream.next().await?;
        Some((record, (stream, count)))
    });
    Ok(body::stream(records, format.media_type(), None))
}

fn record(kind: Type, format: Format, fill: impl FnOnce(&mut wire::Event)) -> Bytes {
    let mut event = wire::Event::default();
    event.set_type(kind);
    fill(&mut event);
    Bytes::from(recordio::encode(&event.to_body(format)))
}

struct Stream {
    caller: Caller,
    first: Option<Bytes>,
    events: mpsc::Receiver<Arc<OperatorEvent>>,
    heartbeat: Interval,
    format: Format,
    /// Only kept when something is hidden from the reader.
    frameworks: BTreeMap<FrameworkId, Arc<FrameworkInfo>>,
}

impl Stream {
    fn new(
        caller: Caller,
        events: mpsc::Receiver<Arc<OperatorEvent>>,
        format: Format,
        every: Duration,
        view: &MasterView,
    ) -> Self {
        let mut heartbeat = interval_at(Instant::now() + every, every);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut frameworks = BTreeMap::new();
        if !caller.sees_all() {
            let known = view.frameworks.iter().chain(&view.completed_frameworks);
            frameworks.extend(known.map(|framework| (framework.id.clone(), framework.info.clone())));
        }
        Self { caller, first: None, events, heartbeat, format, frameworks }
    }

    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            tokio::select! {
                // The heartbeat comes on time, however much happens.
                biased;
                _ = self.heartbeat.tick() => return Some(record(Type::Heartbeat, self.format, |_| ())),
                event = self.events.recv() => {
                    let event = event?;
                    if self.shows(&event) {
                        return Some(encode(&event, self.format));
                    }
                }
            }
        }
    }

    fn shows(&mut self, event: &OperatorEvent) -> bool {
        if self.caller.sees_all() {
            return true;
        }
        match event {
            OperatorEvent::TaskAdded(task) => self.shows_of(&task.framework_id, Action::ViewTask),
            OperatorEvent::TaskUpdated { framework_id, .. } => self.shows_of(framework_id, Action::ViewTask),
            OperatorEvent::AgentAdded(_) | OperatorEvent::AgentRemoved(_) => true,
            OperatorEvent::FrameworkAdded(framework) | OperatorEvent::FrameworkUpdated(framework) => {
                self.frameworks.insert(framework.id.clone(), framework.info.clone());
                self.caller.may(Action::ViewFramework, Object::Framework(&framework.info))
            }
            OperatorEvent::FrameworkRemoved(info) => {
                if let Some(id) = &info.id {
                    self.frameworks.remove(id);
                }
                self.caller.may(Action::ViewFramework, Object::Framework(info))
            }
        }
    }

    fn shows_of(&self, framework_id: &FrameworkId, action: Action) -> bool {
        let info = self.frameworks.get(framework_id).map(AsRef::as_ref);
        let framework =
            info.is_some_and(|info| self.caller.may(Action::ViewFramework, Object::Framework(info)));
        framework && self.caller.may(action, Object::Of(info))
    }
}

fn encode(event: &OperatorEvent, format: Format) -> Bytes {
    match event {
        OperatorEvent::TaskAdded(task) => record(Type::TaskAdded, format, |event| {
            event.task_added = Some(Box::new(event::TaskAdded { task: reads::task(task) }));
        }),
        OperatorEvent::TaskUpdated { framework_id, status, state } => {
            record(Type::TaskUpdated, format, |event| {
                event.task_updated = Some(Box::new(event::TaskUpdated {
                    framework_id: v1::FrameworkId { value: framework_id.to_string() },
                    status: convert::status_out(status, Form::Both),
                    state: convert::state_out(*state),
                }));
            })
        }
        OperatorEvent::AgentAdded(agent) => record(Type::AgentAdded, format, |event| {
            event.agent_added = Some(Box::new(event::AgentAdded { agent: reads::agent(agent) }));
        }),
        OperatorEvent::AgentRemoved(id) => record(Type::AgentRemoved, format, |event| {
            let agent_id = v1::AgentId { value: id.to_string() };
            event.agent_removed = Some(event::AgentRemoved { agent_id });
        }),
        OperatorEvent::FrameworkAdded(framework) => record(Type::FrameworkAdded, format, |event| {
            let framework = reads::framework_alone(framework);
            event.framework_added = Some(Box::new(event::FrameworkAdded { framework }));
        }),
        OperatorEvent::FrameworkUpdated(framework) => record(Type::FrameworkUpdated, format, |event| {
            let framework = reads::framework_alone(framework);
            event.framework_updated = Some(Box::new(event::FrameworkUpdated { framework }));
        }),
        OperatorEvent::FrameworkRemoved(info) => record(Type::FrameworkRemoved, format, |event| {
            let framework_info = convert::framework_out(info);
            event.framework_removed = Some(Box::new(event::FrameworkRemoved { framework_info }));
        }),
    }
}
