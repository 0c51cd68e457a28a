//! Powering nodes and the gateway on and off.
//!
//! Responsible for one node's start from any earlier state, for the sudden power
//! cut, and for the clean stop. Not for which nodes exist. Invariant: before a
//! node starts, nothing of its earlier life runs; starting what runs changes nothing.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::cgroup::Group;
use crate::error::{Error, Result, file};
use crate::gateway::{self, GatewayState};
use crate::layout::{self, Layout};
use crate::links;
use crate::namespaces;
use crate::node::NodeState;
use crate::pki;
use crate::process::{self, CLUSTER_MARK, NODE_MARK, wait_until};
use crate::spec::{Cluster, Isolation, Node};

/// How long a supervisor may take until the daemon is started.
const START_WAIT: Duration = Duration::from_secs(20);
/// How long a clean stop of a node may take before it becomes a sudden one.
pub const STOP_WAIT: Duration = Duration::from_secs(20);
const KILL_WAIT: Duration = Duration::from_secs(10);

/// What a supervisor that lives now says about its node.
pub fn running(layout: &Layout, node: &str) -> Result<Option<NodeState>> {
    let state: Option<NodeState> = layout::read_json(&layout.node_state(node))?;
    Ok(state.filter(|s| s.supervisor.alive()))
}

/// Starts a node unless it runs; true when it was started.
pub fn start(layout: &Layout, cluster: &Cluster, node: &Node) -> Result<bool> {
    if running(layout, &node.name)?.is_some() {
        return Ok(false);
    }
    kill_processes(layout, cluster, node)?;
    prepare_files(layout, cluster, node)?;
    if cluster.isolation == Isolation::Namespaces {
        let namespace = layout.namespace(&node.name);
        namespaces::create(&namespace)?;
        links::plug(&layout.switch(), &namespace, &node.name, node.address)?;
        Group::cluster(&cluster.name).member(&node.name).create()?;
    }
    layout::remove(&layout.killed_mark(&node.name))?;
    layout::remove(&layout.node_state(&node.name))?;
    let log = layout.node_log(&node.name);
    let mut child = launch(layout, cluster, &log, Some(&node.name), "dev-node")?;
    let mut state = None;
    let ready = wait_until(Instant::now() + START_WAIT, || {
        state = layout::read_json::<NodeState>(&layout.node_state(&node.name)).ok().flatten();
        state.is_some() || matches!(child.try_wait(), Ok(Some(_)))
    });
    match state.map(|s| s.failure(&node.name)) {
        Some(Some(failure)) => Err(failure),
        Some(None) => Ok(true),
        None if ready => Err(Error::Refused(format!(
            "the supervisor of node {} ended at once; its log is {}",
            node.name,
            log.display()
        ))),
        None => Err(Error::Timeout {
            what: format!("the start of node {}", node.name),
            seconds: START_WAIT.as_secs(),
            hint: format!("; its log is {}", log.display()),
        }),
    }
}

/// Starts this program again as a detached helper of the cluster.
fn launch(
    layout: &Layout,
    cluster: &Cluster,
    log: &std::path::Path,
    node: Option<&str>,
    command: &str,
) -> Result<Child> {
    let output = OpenOptions::new().create(true).append(true).open(log).map_err(file("opening log", log))?;
    let second = output.try_clone().map_err(file("opening log", log))?;
    let mut line = Command::new(&cluster.program);
    line.arg(command).arg("--run-dir").arg(layout.run()).current_dir("/").env(CLUSTER_MARK, layout.run());
    if let Some(node) = node {
        line.arg("--node").arg(node).env(NODE_MARK, node);
    }
    line.stdin(Stdio::null()).stdout(output).stderr(second);
    line.spawn().map_err(file("starting", &cluster.program))
}

fn prepare_files(layout: &Layout, cluster: &Cluster, node: &Node) -> Result<()> {
    layout::create_public(&layout.node_data(&node.name))?;
    layout::create_public(&layout.node_etc(&node.name))?;
    pki::prepare(layout, cluster, node)?;
    write_etc(layout, cluster, node)
}

/// Writes what the node shows as `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`. In place, because
/// a running node has these very files mounted.
pub fn write_etc(layout: &Layout, cluster: &Cluster, node: &Node) -> Result<()> {
    let mut hosts = "127.0.0.1 localhost\n".to_owned();
    for other in &cluster.nodes {
        hosts.push_str(&format!("{} {}\n", other.address, other.name));
    }
    let mut resolver = String::new();
    for master in cluster.masters().take(3) {
        resolver.push_str(&format!("nameserver {}\n", master.address));
    }
    resolver.push_str("options timeout:1 attempts:1\n");
    let files = [("hosts", hosts), ("hostname", format!("{}\n", node.name)), ("resolv.conf", resolver)];
    for (name, content) in files {
        let path = layout.node_etc(&node.name).join(name);
        fs::write(&path, content).map_err(file("writing", &path))?;
    }
    Ok(())
}

/// Cuts a node's power: first the cable, so that no peer sees a connection being closed, then everything.
pub fn cut(layout: &Layout, cluster: &Cluster, node: &Node) -> Result<()> {
    layout::replace(&layout.killed_mark(&node.name), b"")?;
    if cluster.isolation == Isolation::Namespaces && namespaces::is_namespace(&layout.switch()) {
        links::set_power(&layout.switch(), &node.name, false)?;
    }
    kill_processes(layout, cluster, node)?;
    layout::remove(&layout.node_state(&node.name))
}

/// Ends every process of a node, its supervisor first.
fn kill_processes(layout: &Layout, cluster: &Cluster, node: &Node) -> Result<()> {
    let deadline = Instant::now() + KILL_WAIT;
    let state: Option<NodeState> = layout::read_json(&layout.node_state(&node.name)).unwrap_or_default();
    let gone = match cluster.isolation {
        Isolation::Namespaces => Group::cluster(&cluster.name).member(&node.name).kill(deadline),
        Isolation::Plain => kill_plain(layout, &node.name, state.as_ref(), deadline),
    };
    if gone {
        return Ok(());
    }
    Err(Error::Timeout {
        what: format!("the end of all processes of node {}", node.name),
        seconds: KILL_WAIT.as_secs(),
        hint: String::new(),
    })
}

fn kill_plain(layout: &Layout, node: &str, state: Option<&NodeState>, deadline: Instant) -> bool {
    let mut family = Vec::new();
    if let Some(supervisor) = state.map(|s| s.supervisor).filter(|s| s.alive()) {
        // Stopped, it cannot start the daemon again while its descendants are counted.
        supervisor.signal(Signal::STOP);
        family = process::descendants(supervisor.pid);
        family.push(supervisor);
    }
    wait_until(deadline, || {
        family.extend(process::marked(layout.run(), Some(node), &layout.nodes()));
        let below: Vec<_> = family.iter().flat_map(|i| process::descendants(i.pid)).collect();
        family.extend(below);
        family.retain(|i| i.alive());
        family.sort_unstable_by_key(|i| i.pid);
        family.dedup();
        family.iter().for_each(|i| i.signal(Signal::KILL));
        family.is_empty()
    })
}

/// Starts the gateway unless it runs; true when it was started.
pub fn start_gateway(layout: &Layout, cluster: &Cluster) -> Result<bool> {
    let path = layout.gateway_state();
    let state: Option<GatewayState> = layout::read_json(&path)?;
    if state.is_some_and(|s| s.gateway.alive()) {
        return Ok(false);
    }
    if cluster.isolation == Isolation::Namespaces {
        Group::cluster(&cluster.name).member(gateway::GROUP).create()?;
    }
    layout::remove(&path)?;
    let log = layout.gateway_log();
    let mut child = launch(layout, cluster, &log, None, "dev-gateway")?;
    let mut state: Option<GatewayState> = None;
    wait_until(Instant::now() + START_WAIT, || {
        state = layout::read_json(&path).ok().flatten();
        state.is_some() || matches!(child.try_wait(), Ok(Some(_)))
    });
    match state {
        Some(GatewayState { error: None, .. }) => Ok(true),
        Some(GatewayState { error: Some(text), .. }) => {
            Err(Error::Refused(format!("the gateway cannot run: {text}")))
        }
        None => Err(Error::Refused(format!("the gateway does not start; its log is {}", log.display()))),
    }
}

/// Removes what earlier runs left in the data directory.
pub fn wipe(layout: &Layout) -> Result<()> {
    if !layout.plan().exists() {
        return Ok(());
    }
    let mounts = namespaces::mounts_below(layout.data());
    if let Some(mount) = mounts.first() {
        return Err(Error::Refused(format!(
            "{} is still mounted: unmount it before --fresh",
            mount.display()
        )));
    }
    for directory in [layout.nodes(), layout.ca()] {
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(file("removing", &directory)(error));
            }
            _ => {}
        }
    }
    for path in [layout.gateway_log(), layout.url(), layout.plan()] {
        layout::remove(&path)?;
    }
    Ok(())
}

/// Writes the URL where programs look for it.
pub fn write_url(layout: &Layout, cluster: &Cluster) -> Result<()> {
    let url = format!("{}\n", cluster.url());
    layout::replace(&layout.url(), url.as_bytes())?;
    let Some(pointer) = layout::url_pointer() else { return Ok(()) };
    let write = || -> std::io::Result<()> {
        if let Some(parent) = pointer.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        fs::File::create(&pointer)?.write_all(url.as_bytes())
    };
    // Only a convenience: a user without a home directory has a cluster all the same.
    if let Err(error) = write() {
        tracing::debug!(path = %pointer.display(), %error, "the URL is not noted in the home directory");
    }
    Ok(())
}
