//! What a local cluster is doing, and which nodes are cut off.
//!
//! Responsible for the state of each node and for the record of partitions. Not
//! for changing processes. Invariant: a state is read from the processes
//! themselves, never from what was once intended.

use std::time::Duration;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::gateway::GatewayState;
use crate::layout::{self, Layout, Lock};
use crate::links;
use crate::power;
use crate::process::Identity;
use crate::spec::{Cluster, Isolation, Node};

/// A daemon younger than this may still fail at once.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// A node's state as `status` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Running,
    Stopped,
    Killed,
    Partitioned,
    Starting,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Stopped => "stopped",
            State::Killed => "killed",
            State::Partitioned => "partitioned",
            State::Starting => "starting",
        }
    }
}

/// The output of `status --json`.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub admin_router: String,
    pub nodes: Vec<NodeStatus>,
}

#[derive(Clone, Debug, Serialize)]
pub struct NodeStatus {
    pub name: String,
    pub role: &'static str,
    pub address: String,
    pub pid: Option<u32>,
    pub state: State,
}

/// Reads the whole cluster's state.
pub fn status(layout: &Layout) -> Result<Status> {
    let cluster = planned(layout)?;
    let mut nodes = Vec::new();
    for node in &cluster.nodes {
        let running = power::running(layout, &node.name)?;
        let daemon = running.as_ref().and_then(|s| s.daemon).filter(|d| d.alive());
        nodes.push(NodeStatus {
            name: node.name.clone(),
            role: node.role.as_str(),
            address: node.address.to_string(),
            pid: daemon.map(|d| d.pid),
            state: state(layout, node, running.is_some(), daemon),
        });
    }
    Ok(Status { admin_router: cluster.url(), nodes })
}

fn state(layout: &Layout, node: &Node, supervised: bool, daemon: Option<Identity>) -> State {
    if layout.killed_mark(&node.name).exists() {
        return State::Killed;
    }
    match daemon {
        _ if !supervised => State::Stopped,
        _ if cut_off(layout, &node.name) => State::Partitioned,
        Some(daemon) if daemon.age() >= SETTLED_AFTER => State::Running,
        _ => State::Starting,
    }
}

/// The stored plan, or a refusal that says how to get one.
pub fn planned(layout: &Layout) -> Result<Cluster> {
    layout::read_json(&layout.plan())?.ok_or_else(|| {
        Error::Refused(format!(
            "there is no cluster in {}; `dcosd dev up` makes one",
            layout.data().display()
        ))
    })
}

/// The plan of a cluster of which at least something runs.
pub fn running_cluster(layout: &Layout) -> Result<Cluster> {
    let cluster = planned(layout)?;
    if any_running(layout, &cluster)? || gateway(layout)?.is_some() {
        return Ok(cluster);
    }
    Err(Error::Refused(format!("cluster {:?} is not running; start it with `dcosd dev up`", cluster.name)))
}

pub fn any_running(layout: &Layout, cluster: &Cluster) -> Result<bool> {
    for node in &cluster.nodes {
        if power::running(layout, &node.name)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The gateway, if it runs.
pub fn gateway(layout: &Layout) -> Result<Option<Identity>> {
    let state: Option<GatewayState> = layout::read_json(&layout.gateway_state())?;
    Ok(state.map(|s| s.gateway).filter(|g| g.alive()))
}

fn groups(layout: &Layout) -> Vec<Vec<String>> {
    layout::read_json(&layout.partition()).ok().flatten().unwrap_or_default()
}

/// Whether a node is on a side of its own.
pub fn cut_off(layout: &Layout, node: &str) -> bool {
    groups(layout).iter().flatten().any(|n| n == node)
}

/// Makes the bridges as the record of partitions says.
pub fn apply_partition(layout: &Layout, cluster: &Cluster) -> Result<()> {
    if cluster.isolation == Isolation::Plain {
        return Ok(());
    }
    let ports: Vec<String> = cluster.nodes.iter().map(|n| n.name.clone()).collect();
    links::arrange(&layout.switch(), &ports, &groups(layout))
}

/// Cuts the named nodes, as one group, off from all others.
pub fn partition(layout: &Layout, names: &[String]) -> Result<()> {
    let _lock = Lock::take(layout)?;
    let cluster = running_cluster(layout)?;
    for name in names {
        cluster.node(name)?;
    }
    if cluster.isolation == Isolation::Plain {
        return Err(Error::Refused(
            "partition is unavailable: without root the nodes share the host's network; run the cluster as root"
                .to_owned(),
        ));
    }
    let mut sides = groups(layout);
    for side in &mut sides {
        side.retain(|n| !names.contains(n));
    }
    let mut new = names.to_vec();
    new.sort();
    new.dedup();
    sides.push(new);
    sides.retain(|s| !s.is_empty());
    layout::write_json(&layout.partition(), &sides)?;
    apply_partition(layout, &cluster)
}

/// Puts all nodes on one network again.
pub fn heal(layout: &Layout) -> Result<()> {
    let _lock = Lock::take(layout)?;
    let cluster = running_cluster(layout)?;
    layout::remove(&layout.partition())?;
    apply_partition(layout, &cluster)
}

/// Cuts a node's power.
pub fn kill(layout: &Layout, name: &str) -> Result<()> {
    let _lock = Lock::take(layout)?;
    let cluster = running_cluster(layout)?;
    let node = cluster.node(name)?;
    if power::running(layout, name)?.is_none() && layout.killed_mark(name).exists() {
        return Err(Error::Refused(format!(
            "node {name} is off already; `dcosd dev start {name}` starts it"
        )));
    }
    power::cut(layout, &cluster, node)
}

/// Starts a node that is off; false when it was on.
pub fn start(layout: &Layout, name: &str) -> Result<bool> {
    let _lock = Lock::take(layout)?;
    let cluster = planned(layout)?;
    let node = cluster.node(name)?;
    if !layout.run().exists() {
        return Err(Error::Refused(format!(
            "cluster {:?} is not running; start it with `dcosd dev up`",
            cluster.name
        )));
    }
    let started = power::start(layout, &cluster, node)?;
    apply_partition(layout, &cluster)?;
    Ok(started)
}
