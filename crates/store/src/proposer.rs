//! Group commit: one task turns whatever waits into one log entry.
//!
//! The engine flushes each entry before it takes the next, so one entry per
//! transaction would mean one flush per transaction. While an entry is on its
//! way the next ones gather in a bounded queue; a full queue makes callers wait.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft::error::{ClientWriteError, RaftError};
use tokio::sync::{mpsc, oneshot, watch};

use crate::disk;
use crate::members::NodeId;
use crate::raft::{Address, Batch, Raft, Vote, leader_info};
use crate::state::{Outcome, STATE_MAX_BYTES};
use crate::txn::{CommitError, Revision, Term, Txn};

/// Most transactions in one log entry.
const BATCH_MAX_COMMANDS: usize = 1024;
/// Most bytes in one log entry, unless its only transaction is larger.
const BATCH_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Transactions that may wait for their turn.
pub(crate) const QUEUE_LENGTH: usize = 4096;

type ServerMetrics = openraft::metrics::RaftServerMetrics<NodeId, Address>;
pub(crate) type Answer = oneshot::Sender<Result<Revision, CommitError>>;

pub(crate) struct Proposal {
    pub txn: Txn,
    pub size_bytes: usize,
    pub answer: Answer,
}

pub(crate) struct Proposer {
    pub raft: Raft,
    pub queue: mpsc::Receiver<Proposal>,
    pub dir: PathBuf,
    pub disk_reserve_bytes: u64,
    pub commit_timeout: Duration,
}

impl Proposer {
    /// Runs until every handle is gone or the store is shut down.
    pub(crate) async fn run(mut self) {
        let mut waiting: VecDeque<Proposal> = VecDeque::new();
        let mut received: Vec<Proposal> = Vec::with_capacity(BATCH_MAX_COMMANDS);
        loop {
            if waiting.is_empty() && self.queue.recv_many(&mut received, BATCH_MAX_COMMANDS).await == 0 {
                return;
            }
            while received.len() + waiting.len() < BATCH_MAX_COMMANDS {
                match self.queue.try_recv() {
                    Ok(proposal) => received.push(proposal),
                    Err(_) => break,
                }
            }
            waiting.extend(received.drain(..));
            let batch = next_batch(&mut waiting);
            if batch.is_empty() {
                continue;
            }
            match self.disk_refusal() {
                Some(error) => {
                    for proposal in batch {
                        let _ = proposal.answer.send(Err(error.clone()));
                    }
                }
                None => self.propose(batch).await,
            }
        }
    }

    /// Refusing early keeps room for deletes, snapshots and the log's own housekeeping.
    fn disk_refusal(&self) -> Option<CommitError> {
        match disk::free_bytes(&self.dir) {
            Ok(free) if free < self.disk_reserve_bytes => Some(CommitError::Unavailable {
                reason: format!(
                    "the disk of {} has {free} bytes free, {} must stay free; make room there",
                    self.dir.display(),
                    self.disk_reserve_bytes
                ),
            }),
            Ok(_) => None,
            Err(error) => Some(CommitError::Unavailable {
                reason: format!("the free space of {} cannot be read: {error}", self.dir.display()),
            }),
        }
    }

    async fn propose(&self, batch: Vec<Proposal>) {
        let mut commands = Vec::with_capacity(batch.len());
        let mut waiters: Vec<(Option<Term>, Answer)> = Vec::with_capacity(batch.len());
        for proposal in batch {
            waiters.push((proposal.txn.term, proposal.answer));
            commands.push(proposal.txn);
        }
        if let Err(fatal) = self.raft.metrics().borrow().running_state.clone() {
            let error = CommitError::Unavailable { reason: stopped(&fatal) };
            return answer_all(waiters, &error);
        }
        let mut server = self.raft.server_metrics();
        let vote = server.borrow_and_update().vote;
        let write = self.raft.client_write(Batch { commands: Arc::new(commands) });
        let written = tokio::select! {
            biased;
            written = tokio::time::timeout(self.commit_timeout, write) => written,
            () = deposed(server, vote) => {
                // The next leader may have the entry or not; callers should not wait for the timeout to hear it.
                let reason = "the leadership changed before a majority answered".to_owned();
                return answer_all(waiters, &CommitError::Uncertain { reason });
            }
        };
        let error = match written {
            Ok(Ok(response)) => return answer_each(waiters, response.data),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
                // Also after a leader's entry was overwritten: either way it will never be applied.
                CommitError::NotLeader { leader: leader_info(&forward) }
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => {
                CommitError::Unavailable { reason: error.to_string() }
            }
            Ok(Err(RaftError::Fatal(fatal))) => CommitError::Uncertain { reason: stopped(&fatal) },
            Err(_) => CommitError::Uncertain {
                reason: format!(
                    "no majority of the members answered within {} ms",
                    self.commit_timeout.as_millis()
                ),
            },
        };
        answer_all(waiters, &error);
    }
}

/// Completes when a newer vote than `vote` was seen and this node does not lead by it.
async fn deposed(mut server: watch::Receiver<ServerMetrics>, vote: Vote) {
    let newer = |metrics: &ServerMetrics| {
        metrics.vote.leader_id > vote.leader_id && metrics.state != ServerState::Leader
    };
    if server.wait_for(newer).await.is_err() {
        // The engine ended; the write itself reports that.
        std::future::pending::<()>().await;
    }
}

/// Takes what fits into one entry; callers that gave up are left out.
fn next_batch(waiting: &mut VecDeque<Proposal>) -> Vec<Proposal> {
    let mut batch: Vec<Proposal> = Vec::with_capacity(waiting.len().min(BATCH_MAX_COMMANDS));
    let mut bytes = 0;
    while let Some(next) = waiting.front() {
        let full = batch.len() == BATCH_MAX_COMMANDS || bytes + next.size_bytes > BATCH_MAX_BYTES;
        if full && !batch.is_empty() {
            break;
        }
        let Some(next) = waiting.pop_front() else { break };
        if !next.answer.is_closed() {
            bytes += next.size_bytes;
            batch.push(next);
        }
    }
    batch
}

pub(crate) fn stopped(fatal: &openraft::error::Fatal<NodeId>) -> String {
    match fatal {
        openraft::error::Fatal::Stopped => "the store is shut down".to_owned(),
        other => format!("the store on this node stopped: {other}; repair the cause and restart the node"),
    }
}

fn answer_all(waiters: Vec<(Option<Term>, Answer)>, error: &CommitError) {
    for (_, answer) in waiters {
        let _ = answer.send(Err(error.clone()));
    }
}

fn answer_each(waiters: Vec<(Option<Term>, Answer)>, outcomes: Vec<Outcome>) {
    debug_assert_eq!(waiters.len(), outcomes.len());
    for ((term, answer), outcome) in waiters.into_iter().zip(outcomes) {
        let result = match outcome {
            Outcome::Committed { revision } => Ok(revision),
            Outcome::Conflict { key, expected, found } => Err(CommitError::Conflict { key, expected, found }),
            Outcome::Fenced { current } => {
                Err(CommitError::Fenced { expected: term.unwrap_or_default(), current })
            }
            Outcome::Full { size } => {
                Err(CommitError::TooLarge { what: "store", size, limit: STATE_MAX_BYTES })
            }
        };
        // A caller that stopped waiting does not change what happened.
        let _ = answer.send(result);
    }
}
