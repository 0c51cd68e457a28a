//! The agent stream: `link` connections as the shells of master and agent use them.

use agent_protocol::{AgentFrame, MasterFrame};
use link::{CloseCode, CloseReason, Options, Sender};
use mesos_agent::shell::MasterStream;
use mesos_master::shell::AgentStream;
use model::agent_api::{AgentToMaster, MasterToAgent};

/// Where masters listen for agents.
pub const AGENT_STREAM_PORT: u16 = 5055;

/// Frames that may wait for one peer; a peer that is further behind is cut off
/// and brought up to date by registering anew.
const QUEUE_FRAMES: usize = 16_384;

pub fn options() -> Options {
    Options { queue_frames: QUEUE_FRAMES, ..Options::default() }
}

fn close_later<T: prost::Message + 'static>(sender: &Sender<T>, reason: &str) {
    let (sender, reason) = (sender.clone(), CloseReason::new(CloseCode::Other(0), reason));
    tokio::spawn(async move { sender.close(reason).await });
}

/// A master's sender to one agent.
pub struct ToAgent(pub Sender<MasterFrame>);

impl AgentStream for ToAgent {
    fn try_send(&self, message: MasterToAgent) -> bool {
        self.0.try_send(&MasterFrame::from(message)).is_ok()
    }

    fn close(&self, reason: &str) {
        close_later(&self.0, reason);
    }
}

/// An agent's sender to its master.
pub struct ToMaster(pub Sender<AgentFrame>);

impl MasterStream for ToMaster {
    fn try_send(&self, message: AgentToMaster) -> bool {
        self.0.try_send(&AgentFrame::from(message)).is_ok()
    }

    fn close(&self, reason: &str) {
        close_later(&self.0, reason);
    }
}
