//! Tells who leads, as this node knows it.

use std::time::Duration;

use openraft::ServerState;
use tokio::sync::watch;

use crate::members::NodeId;
use crate::raft::{Address, Raft};
use crate::txn::Term;

/// Who leads. A hint for routing and for starting brains; what protects the
/// state is the term given with each transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leadership {
    pub leader: Option<NodeId>,
    pub term: Term,
    pub is_me: bool,
}

type Metrics = openraft::RaftMetrics<NodeId, Address>;

/// Keeps `leadership` up to date until the engine ends.
pub(crate) async fn follow(raft: Raft, leadership: watch::Sender<Leadership>, lease: Duration) {
    let mut metrics = raft.metrics();
    loop {
        let (now, alone) = {
            let metrics = metrics.borrow_and_update();
            (judge(&metrics, lease), metrics.membership_config.voter_ids().count() <= 1)
        };
        publish(&leadership, now);
        let changed = if alone {
            metrics.changed().await
        } else {
            // A leader that lost its peers sees no event: its lease runs out by time alone.
            tokio::time::timeout(lease / 4, metrics.changed()).await.unwrap_or(Ok(()))
        };
        if changed.is_err() || metrics.borrow().running_state.is_err() {
            let term = leadership.borrow().term;
            return publish(&leadership, Leadership { leader: None, term, is_me: false });
        }
    }
}

pub(crate) fn judge(metrics: &Metrics, lease: Duration) -> Leadership {
    let alone = metrics.membership_config.voter_ids().count() == 1;
    let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
    let leads = metrics.state == ServerState::Leader && metrics.current_leader == Some(metrics.id);
    let heard = alone || metrics.millis_since_quorum_ack.is_some_and(|silent_ms| silent_ms <= lease_ms);
    let vote = metrics.vote.leader_id;
    let leader = metrics.current_leader.filter(|leader| *leader != metrics.id || (leads && heard));
    Leadership { leader, term: Term::new(vote.term, vote.node_id), is_me: leads && heard }
}

fn publish(leadership: &watch::Sender<Leadership>, now: Leadership) {
    leadership.send_if_modified(|known| {
        let differs = *known != now;
        *known = now;
        differs
    });
}
