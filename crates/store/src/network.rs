//! Carries the engine's messages over a [`Transport`] of bytes, and answers those of peers.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{
    InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, SnapshotMismatch, Unreachable,
};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{RaftNetwork, RaftNetworkFactory, SnapshotSegmentId};

use crate::members::{NodeId, NodeInfo};
use crate::raft::{Address, Raft, Types, node_info};
use crate::wire::{self, Reply, Request, RpcError, SNAPSHOT_MAX_BYTES};

/// How long a peer that cannot be reached is left alone.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// The peer cannot be reached now; it is left alone for a moment.
    #[error("{node} cannot be reached: {reason}")]
    Unreachable { node: NodeInfo, reason: String },
    /// The message or its answer was lost; it is tried again at once.
    #[error("a message to {node} failed: {reason}")]
    Failed { node: NodeInfo, reason: String },
}

pub type TransportFuture<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, TransportError>> + Send + 'a>>;

/// Moves one request to a peer and brings its answer back.
///
/// The other side gives the request to [`crate::Store::serve`]. The transport
/// is responsible for knowing who the peer is: whoever may call `serve` is
/// trusted as a member. Callers drop the future when they have waited enough.
pub trait Transport: Send + Sync + 'static {
    fn call<'a>(&'a self, target: &'a NodeInfo, request: Vec<u8>) -> TransportFuture<'a>;
}

/// For a group of one.
pub(crate) struct NoPeers;

impl Transport for NoPeers {
    fn call<'a>(&'a self, target: &'a NodeInfo, _request: Vec<u8>) -> TransportFuture<'a> {
        let error = TransportError::Unreachable {
            node: target.clone(),
            reason: "this node has no transport".to_owned(),
        };
        Box::pin(std::future::ready(Err(error)))
    }
}

pub(crate) struct Network {
    pub transport: Arc<dyn Transport>,
}

pub(crate) struct Peer {
    transport: Arc<dyn Transport>,
    node: NodeInfo,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: NodeId, address: &Address) -> Peer {
        Peer { transport: Arc::clone(&self.transport), node: node_info(target, address) }
    }
}

type CallError<E> = RPCError<NodeId, Address, RaftError<NodeId, E>>;

fn network_error<E: StdError>(error: &(impl StdError + 'static)) -> CallError<E> {
    RPCError::Network(NetworkError::new(error))
}

impl Peer {
    async fn call<E: StdError>(&self, request: &Request) -> Result<Reply, CallError<E>> {
        let bytes = wire::encode_message(request).map_err(|error| network_error(&error))?;
        let answer = self.transport.call(&self.node, bytes).await.map_err(|error| match &error {
            TransportError::Unreachable { .. } => RPCError::Unreachable(Unreachable::new(&error)),
            TransportError::Failed { .. } => network_error(&error),
        })?;
        wire::decode_reply(&answer).map_err(|error| network_error(&error))
    }

    fn unexpected<E: StdError>(&self, reply: &Reply) -> CallError<E> {
        let reason = match reply {
            Reply::Failed { reason } => reason.clone(),
            _ => "the answer does not belong to the question".to_owned(),
        };
        network_error(&TransportError::Failed { node: self.node.clone(), reason })
    }
}

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, CallError<openraft::error::Infallible>> {
        let request = Request::append(&rpc).map_err(|error| network_error(&error))?;
        Ok(match self.call(&request).await? {
            Reply::Appended => AppendEntriesResponse::Success,
            Reply::AppendedUpTo { last } => AppendEntriesResponse::PartialSuccess(last.map(Into::into)),
            Reply::Conflict => AppendEntriesResponse::Conflict,
            Reply::HigherVote { vote } => AppendEntriesResponse::HigherVote(vote.into()),
            other => return Err(self.unexpected(&other)),
        })
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<Types>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<NodeId>, CallError<InstallSnapshotError>> {
        match self.call(&Request::snapshot(rpc)).await? {
            Reply::SnapshotTaken { vote } => Ok(InstallSnapshotResponse { vote: vote.into() }),
            Reply::SnapshotMismatch { expected_id, expected_offset, got_id, got_offset } => {
                let mismatch = SnapshotMismatch {
                    expect: SnapshotSegmentId { id: expected_id, offset: expected_offset },
                    got: SnapshotSegmentId { id: got_id, offset: got_offset },
                };
                let error = RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch));
                Err(RPCError::RemoteError(RemoteError::new(self.node.id, error)))
            }
            other => Err(self.unexpected(&other)),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<NodeId>,
        _option: RPCOption,
    ) -> Result<VoteResponse<NodeId>, CallError<openraft::error::Infallible>> {
        match self.call(&Request::vote(&rpc)).await? {
            Reply::Voted { vote, granted, last } => Ok(VoteResponse {
                vote: vote.into(),
                vote_granted: granted,
                last_log_id: last.map(Into::into),
            }),
            other => Err(self.unexpected(&other)),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(UNREACHABLE_PAUSE))
    }
}

/// Answers one message of a peer.
pub(crate) async fn serve(raft: &Raft, request: &[u8]) -> Result<Vec<u8>, RpcError> {
    let reply = match wire::decode_request(request)? {
        Request::Append { vote, previous, entries, commit } => {
            let rpc = wire::append_request(vote, previous, &entries, commit)
                .map_err(|error| RpcError::malformed(&error))?;
            match raft.append_entries(rpc).await {
                Ok(AppendEntriesResponse::Success) => Reply::Appended,
                Ok(AppendEntriesResponse::PartialSuccess(last)) => {
                    Reply::AppendedUpTo { last: last.map(Into::into) }
                }
                Ok(AppendEntriesResponse::Conflict) => Reply::Conflict,
                Ok(AppendEntriesResponse::HigherVote(vote)) => Reply::HigherVote { vote: vote.into() },
                Err(error) => Reply::Failed { reason: error.to_string() },
            }
        }
        Request::Vote { vote, last } => {
            match raft.vote(VoteRequest::new(vote.into(), last.map(Into::into))).await {
                Ok(answer) => Reply::Voted {
                    vote: answer.vote.into(),
                    granted: answer.vote_granted,
                    last: answer.last_log_id.map(Into::into),
                },
                Err(error) => Reply::Failed { reason: error.to_string() },
            }
        }
        Request::Snapshot { vote, meta, offset, data, done } => {
            if offset.saturating_add(data.len() as u64) > SNAPSHOT_MAX_BYTES {
                return Err(RpcError::Malformed {
                    reason: format!("a snapshot above {SNAPSHOT_MAX_BYTES} bytes is not accepted"),
                });
            }
            let rpc = InstallSnapshotRequest { vote: vote.into(), meta: meta.into(), offset, data, done };
            match raft.install_snapshot(rpc).await {
                Ok(answer) => Reply::SnapshotTaken { vote: answer.vote.into() },
                Err(RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch))) => {
                    Reply::SnapshotMismatch {
                        expected_id: mismatch.expect.id,
                        expected_offset: mismatch.expect.offset,
                        got_id: mismatch.got.id,
                        got_offset: mismatch.got.offset,
                    }
                }
                Err(error) => Reply::Failed { reason: error.to_string() },
            }
        }
    };
    wire::encode_message(&reply).map_err(|error| RpcError::malformed(&error))
}
