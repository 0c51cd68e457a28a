//! How a store is opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::members::{NodeId, NodeInfo};
use crate::network::{NoPeers, Transport};

/// Options of [`crate::Store::open`], with defaults from [`Config::new`].
#[derive(Clone)]
pub struct Config {
    pub node_id: NodeId,
    /// Owned by this store alone; made when missing.
    pub dir: PathBuf,
    /// The first members of a new group, the same list on each of them. Empty: this
    /// node waits until the leader of an existing group adds it. Not read once the
    /// directory belongs to a group: then the log says who the members are.
    pub members: Vec<NodeInfo>,
    pub transport: Arc<dyn Transport>,
    /// Log entries (each a batch of transactions) between two snapshots.
    pub snapshot_every: u64,
    /// Bytes of log between two snapshots.
    pub snapshot_every_bytes: u64,
    /// The leader's sign of life; elections follow after 3 to 6 silent intervals on top of
    /// a lease of 6, so that writes resume within a second of a leader's death.
    pub heartbeat: Duration,
    /// A commit that takes longer is answered as uncertain.
    pub commit_timeout: Duration,
    /// Commits are refused while the disk has less free: a store that fills its disk
    /// could not even delete.
    pub disk_reserve_bytes: u64,
}

impl Config {
    pub fn new(
        node_id: NodeId,
        dir: impl Into<PathBuf>,
        members: Vec<NodeInfo>,
        transport: Arc<dyn Transport>,
    ) -> Self {
        Self {
            node_id,
            dir: dir.into(),
            members,
            transport,
            snapshot_every: 5_000,
            snapshot_every_bytes: 64 * 1024 * 1024,
            heartbeat: Duration::from_millis(75),
            commit_timeout: Duration::from_secs(10),
            disk_reserve_bytes: 64 * 1024 * 1024,
        }
    }

    /// A group of one, without peers to talk to.
    pub fn single(dir: impl Into<PathBuf>, address: impl Into<String>) -> Self {
        let me = NodeInfo { id: NodeId(1), address: address.into() };
        Self::new(me.id, dir, vec![me], Arc::new(NoPeers))
    }
}
