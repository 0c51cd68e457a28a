//! Certificates of a local cluster.
//!
//! Responsible for having a cluster CA in the data directory and a certificate in
//! each node's `pki` directory before the node starts. Not for cryptography: that
//! is `link::pki`. Invariant: what exists is kept.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use link::pki::ClusterCa;
use link::{Identity, PeerIdentity};
use model::Time;

use crate::error::{Error, Result, chain};
use crate::layout::{self, Layout};
use crate::spec::{Cluster, Node, Role};

/// A local cluster is for trying things out: ten years spare it renewals.
const VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// Makes sure that `node` has its certificate.
pub fn prepare(layout: &Layout, _cluster: &Cluster, node: &Node) -> Result<()> {
    let dir = layout.node_pki(&node.name);
    layout::create_private(&layout.ca())?;
    layout::create_private(&dir)?;
    if Identity::load(&dir).is_ok() {
        return Ok(());
    }
    let refused = |error: &dyn std::error::Error| {
        Error::Refused(format!("making the certificate of {}: {}", node.name, chain(error)))
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Time::from_millis(u64::try_from(since.as_millis()).unwrap_or(0));
    let ca = ClusterCa::load_or_create(layout.ca(), now, VALIDITY).map_err(|error| refused(&error))?;
    let role = match node.role {
        Role::Master => link::Role::Master,
        Role::Agent | Role::PublicAgent => link::Role::Agent,
    };
    let who = PeerIdentity::new(role, node.name.clone()).map_err(|error| refused(&error))?;
    let issued =
        ca.issue(&who, &[IpAddr::from(node.address)], now, VALIDITY).map_err(|error| refused(&error))?;
    issued.write(&dir).map_err(|error| refused(&error))
}
