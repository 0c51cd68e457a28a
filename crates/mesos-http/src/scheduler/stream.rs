//! The task behind one stream: events in, records out, heartbeats between.

use std::sync::Arc;
use std::time::Duration;

use mesos_master::shell::SchedulerCaller;
use mesos_proto::media::Format;
use mesos_proto::v1::MasterInfo;
use mesos_proto::v1::scheduler::Event;
use mesos_proto::{ApiMessage, recordio};
use model::scheduler_api::{SchedulerCall, SchedulerEvent};
use model::{FrameworkId, FrameworkInfo, Role};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::events;
use super::sessions::{Session, Sessions};
use crate::convert::master_out;
use crate::event_stream::{BATCH_MAX, Chunks, Gone};
use crate::leader::LeadingMaster;

pub(super) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

/// A subscription on its way.
pub(super) struct Opening {
    pub sessions: Arc<Sessions>,
    pub master: Arc<dyn LeadingMaster>,
    pub caller: SchedulerCaller,
    pub stream_id: Arc<str>,
    pub format: Format,
    pub info: Arc<FrameworkInfo>,
    pub suppressed_roles: Vec<Role>,
}

/// Says why not, and nothing else.
pub(super) async fn refuse(chunks: Chunks, format: Format, message: String) {
    // Who left before the answer needs none.
    let _ = chunks.send(record(format, &events::error(message))).await;
}

/// One record is one chunk of the response, as in the original: published
/// clients (mesos-framework for Node) take chunks for records.
fn record(format: Format, event: &Event) -> Vec<u8> {
    let mut out = Vec::new();
    recordio::append(&mut out, &event.to_body(format));
    out
}

/// From SUBSCRIBE to the end of the stream, whoever ends it.
pub(super) async fn run(opening: Opening, mut events: mpsc::Receiver<SchedulerEvent>, chunks: Chunks) {
    let Opening { sessions, master, caller, stream_id, format, info, suppressed_roles } = opening;
    let subscribe = SchedulerCall::Subscribe { info: Box::new((*info).clone()), suppressed_roles };
    let master_info = master_out(&master.view().config);
    let session = Session::new(stream_id.clone(), caller.clone(), info);
    let mut pump = Pump { sessions, session, format, master_info, chunks, open: None };
    if caller.call(subscribe).await {
        let ended = tokio::select! {
            gone = pump.run(&mut events) => gone,
            // The term is over: the scheduler looks for the next leader.
            () = caller.ended() => None,
        };
        if ended == Some(Gone::Stalled) {
            tracing::warn!(%stream_id, framework = ?pump.open, "closing a scheduler's stream: it is not read");
        }
    }
    if let Some(id) = &pump.open {
        pump.sessions.close(id, &stream_id);
    }
    caller.close().await;
}

struct Pump {
    sessions: Arc<Sessions>,
    session: Session,
    format: Format,
    master_info: MasterInfo,
    chunks: Chunks,
    /// Set once it is subscribed.
    open: Option<FrameworkId>,
}

impl Pump {
    /// Until the events end (`None`) or the reader is gone.
    async fn run(&mut self, events: &mut mpsc::Receiver<SchedulerEvent>) -> Option<Gone> {
        let mut heartbeats =
            tokio::time::interval_at(Instant::now() + HEARTBEAT_INTERVAL, HEARTBEAT_INTERVAL);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        loop {
            let mut records = Vec::new();
            tokio::select! {
                () = self.chunks.closed() => return Some(Gone::Closed),
                _ = heartbeats.tick(), if self.open.is_some() => {
                    records.push(record(self.format, &events::heartbeat()));
                }
                count = events.recv_many(&mut batch, BATCH_MAX) => {
                    if count == 0 {
                        return None;
                    }
                    for event in batch.drain(..) {
                        if self.take(&event, &mut records) {
                            heartbeats.reset();
                        }
                    }
                }
            }
            for record in records {
                if let Err(gone) = self.chunks.send(record).await {
                    return Some(gone);
                }
            }
        }
    }

    /// True when this was the beginning.
    fn take(&mut self, event: &SchedulerEvent, records: &mut Vec<Vec<u8>>) -> bool {
        if let SchedulerEvent::Subscribed { framework_id } = event {
            self.sessions.open(framework_id.clone(), self.session.clone());
            self.open = Some(framework_id.clone());
        }
        records.push(record(self.format, &events::event(event, &self.session.info(), &self.master_info)));
        let begins = matches!(event, SchedulerEvent::Subscribed { .. });
        if begins {
            records.push(record(self.format, &events::heartbeat()));
        }
        begins
    }
}
