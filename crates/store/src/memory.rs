//! A transport between stores of one process, for tests and simulations.
//!
//! Messages pass through the same bytes as on a real network. Links can be cut
//! one way or both ways; a node that is not registered cannot be reached.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::members::{NodeId, NodeInfo};
use crate::network::{Transport, TransportError, TransportFuture};
use crate::store::{Store, WeakStore};

#[derive(Default)]
struct Wires {
    nodes: BTreeMap<NodeId, WeakStore>,
    cut: BTreeSet<(NodeId, NodeId)>,
}

/// Cheap to clone; all clones are the same network.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    wires: Arc<Mutex<Wires>>,
}

impl MemoryNetwork {
    pub fn new() -> Self {
        Self::default()
    }

    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The transport of the node `from`.
    pub fn transport(&self, from: NodeId) -> Arc<dyn Transport> {
        Arc::new(MemoryTransport { network: self.clone(), from })
    }

    /// Makes `store` reachable as `id`, in place of an earlier one.
    pub fn register(&self, id: NodeId, store: &Store) {
        self.wires().nodes.insert(id, store.downgrade());
    }

    pub fn unregister(&self, id: NodeId) {
        self.wires().nodes.remove(&id);
    }

    /// Cuts every link between the two sides, both ways.
    pub fn partition(&self, one: &[NodeId], other: &[NodeId]) {
        let mut wires = self.wires();
        for a in one {
            for b in other {
                wires.cut.insert((*a, *b));
                wires.cut.insert((*b, *a));
            }
        }
    }

    pub fn heal(&self) {
        self.wires().cut.clear();
    }

    fn reach(&self, from: NodeId, to: NodeId) -> Option<Store> {
        let wires = self.wires();
        if wires.cut.contains(&(from, to)) {
            return None;
        }
        wires.nodes.get(&to)?.upgrade()
    }
}

struct MemoryTransport {
    network: MemoryNetwork,
    from: NodeId,
}

impl Transport for MemoryTransport {
    fn call<'a>(&'a self, target: &'a NodeInfo, request: Vec<u8>) -> TransportFuture<'a> {
        Box::pin(async move {
            let unreachable = |reason: &str| TransportError::Unreachable {
                node: target.clone(),
                reason: reason.to_owned(),
            };
            let store =
                self.network.reach(self.from, target.id).ok_or_else(|| unreachable("no way there"))?;
            let answer = store.serve(&request).await.map_err(|error| TransportError::Failed {
                node: target.clone(),
                reason: error.to_string(),
            })?;
            // The way back can be cut while the peer works.
            self.network.reach(target.id, self.from).ok_or_else(|| unreachable("no way back"))?;
            Ok(answer)
        })
    }
}
