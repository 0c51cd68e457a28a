//! `dcosd dev down`: everything ends and nothing stays behind but the data.
//!
//! Responsible for stopping and for cleaning up by name, whatever has crashed
//! before. Not for deleting data. Invariant: it can be repeated, and it reports
//! what it could not remove instead of forgetting it.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::cgroup::Group;
use crate::error::{Error, Result};
use crate::gateway::GatewayState;
use crate::layout::{self, Layout, Lock};
use crate::namespaces;
use crate::node::NodeState;
use crate::power::STOP_WAIT;
use crate::process::{self, Identity, wait_until};
use crate::spec::Cluster;

const CLEAN_WAIT: Duration = Duration::from_secs(10);

/// Stops the cluster and removes all traces outside the data directory; false when there was nothing.
pub fn down(layout: &Layout, name: &str) -> Result<bool> {
    let lock = Lock::take(layout)?;
    let something = stop(layout, name)?;
    lock.remove();
    Ok(something)
}

/// As [`down`], for a caller who holds the lock.
pub fn stop(layout: &Layout, name: &str) -> Result<bool> {
    let group = Group::cluster(name);
    let something = layout.run().exists() || !group.left().is_empty();
    stop_supervisors(layout);
    let gateway: Option<GatewayState> = layout::read_json(&layout.gateway_state()).unwrap_or_default();
    if let Some(state) = &gateway {
        state.gateway.signal(Signal::KILL);
    }
    let killed = group.kill(Instant::now() + CLEAN_WAIT) && kill_marked(layout);
    let unmounted = namespaces::forget(layout.run());
    let removed = group.remove(Instant::now() + CLEAN_WAIT);
    remove_urls(layout)?;
    let mut left: Vec<String> = Vec::new();
    if !killed {
        left.push("processes".to_owned());
    }
    if !unmounted {
        left.push(format!("mounts below {}", layout.run().display()));
    }
    if !removed {
        left.extend(group.left().iter().map(|p| p.display().to_string()));
    }
    if unmounted
        && let Err(error) = fs::remove_dir_all(layout.run())
        && error.kind() != std::io::ErrorKind::NotFound
    {
        left.push(format!("{} ({error})", layout.run().display()));
    }
    if left.is_empty() {
        return Ok(something);
    }
    Err(Error::Refused(format!("some things could not be removed: {}; try again", left.join(", "))))
}

/// Asks every supervisor to stop its node, all at the same time.
fn stop_supervisors(layout: &Layout) {
    let mut open: Vec<Identity> = Vec::new();
    for entry in fs::read_dir(layout.run().join("nodes")).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|e| e == "json") {
            let state: Option<NodeState> = layout::read_json(&entry.path()).unwrap_or_default();
            open.extend(state.map(|s| s.supervisor));
        }
    }
    open.iter().for_each(|s| s.signal(Signal::TERM));
    wait_until(Instant::now() + STOP_WAIT, || !open.iter().any(|s| s.alive()));
}

/// Ends what carries the cluster's mark and is in none of its groups.
fn kill_marked(layout: &Layout) -> bool {
    wait_until(Instant::now() + CLEAN_WAIT, || {
        let left = process::marked(layout.run(), None, &layout.nodes());
        left.iter().for_each(|i| i.signal(Signal::KILL));
        left.is_empty()
    })
}

/// Forgets the URL, unless another cluster has written its own since.
fn remove_urls(layout: &Layout) -> Result<()> {
    let Ok(Some(cluster)) = layout::read_json::<Cluster>(&layout.plan()) else { return Ok(()) };
    layout::remove(&layout.url())?;
    if let Some(pointer) = layout::url_pointer()
        && fs::read_to_string(&pointer).is_ok_and(|text| text.trim() == cluster.url())
    {
        layout::remove(&pointer)?;
    }
    Ok(())
}
