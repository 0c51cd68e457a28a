//! `dcosd dev up`: from nothing, or from anything, to a running cluster.
//!
//! Responsible for planning, starting what is missing, and waiting until the
//! cluster answers. Not for printing results. Invariant: the first start, a start
//! after `down` and one after a crash are the same steps.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::down;
use crate::error::{Error, Result, file};
use crate::layout::{self, Layout, Lock};
use crate::links;
use crate::logs;
use crate::machine;
use crate::namespaces;
use crate::power;
use crate::probe;
use crate::spec::{Cluster, HOST_PORTS_MAX, Isolation, Node, Role, Sizes};
use crate::status;

/// What `up` was asked for; `None` means "as it is, or the default".
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub name: String,
    pub masters: Option<u8>,
    pub agents: Option<u8>,
    pub public_agents: Option<u8>,
    pub port: Option<u16>,
    pub host_ports: Vec<u16>,
    pub fresh: bool,
    /// Plain processes although namespaces would be possible.
    pub plain: bool,
    /// The program with the commands `master`, `agent`, `dev-node` and `dev-gateway`.
    pub program: PathBuf,
    pub wait: Duration,
}

/// What `up` did.
#[derive(Clone, Debug)]
pub struct Report {
    pub cluster: Cluster,
    pub started: Vec<String>,
    /// Why the nodes are not isolated from each other.
    pub plain_reason: Option<String>,
}

/// Brings the cluster up and waits until it answers.
pub fn up(layout: &Layout, options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Report> {
    let _lock = Lock::take(layout)?;
    if options.fresh {
        down::stop(layout, &options.name)?;
        power::wipe(layout)?;
    }
    let (mut isolation, mut plain_reason) = machine::isolation();
    if options.plain {
        (isolation, plain_reason) = (Isolation::Plain, Some("asked for with --plain".to_owned()));
    }
    let cluster = plan(layout, options, isolation)?;
    check_port(layout, &cluster)?;
    layout::create_public(layout.data())?;
    layout.create_run()?;
    layout::write_json(&layout.plan(), &cluster)?;
    if cluster.isolation == Isolation::Namespaces {
        namespaces::create(&layout.switch())?;
        links::build_switch(&layout.switch())?;
    }
    let mut started = Vec::new();
    for node in &cluster.nodes {
        if power::start(layout, &cluster, node)? {
            progress(&format!("started {} at {}", node.name, node.address));
            started.push(node.name.clone());
        }
    }
    // Links of nodes that were started again hang on the main bridge; a partition must hold for them too.
    status::apply_partition(layout, &cluster)?;
    power::start_gateway(layout, &cluster)?;
    power::write_url(layout, &cluster)?;
    wait_ready(layout, &cluster, options.wait, progress)?;
    Ok(Report { cluster, started, plain_reason })
}

/// The stored plan, grown to what is asked for, or a new one.
fn plan(layout: &Layout, options: &Options, isolation: Isolation) -> Result<Cluster> {
    if options.host_ports.len() > HOST_PORTS_MAX {
        return Err(Error::Refused(format!("--host-port: at most {HOST_PORTS_MAX} are allowed")));
    }
    let machine = machine::measure(layout.data());
    let stored: Option<Cluster> = layout::read_json(&layout.plan())?;
    let defaults = Sizes::default();
    let Some(mut cluster) = stored else {
        let sizes = Sizes {
            masters: options.masters.unwrap_or(defaults.masters),
            agents: options.agents.unwrap_or(defaults.agents),
            public_agents: options.public_agents.unwrap_or(defaults.public_agents),
        };
        sizes.check()?;
        let mut cluster = Cluster {
            name: options.name.clone(),
            isolation,
            port: options.port.unwrap_or(crate::DEFAULT_PORT),
            host_ports: host_ports(options, Vec::new()),
            program: options.program.clone(),
            agent_mem_mib: machine.agent_mem_mib(sizes.agents.saturating_add(sizes.public_agents)),
            nodes: Vec::new(),
        };
        cluster.grow(sizes, machine)?;
        return Ok(cluster);
    };
    refuse_changes(layout, options, isolation, &cluster)?;
    let current = |role| u8::try_from(cluster.count(role)).unwrap_or(u8::MAX);
    let sizes = Sizes {
        masters: current(Role::Master),
        agents: options.agents.unwrap_or(current(Role::Agent)),
        public_agents: options.public_agents.unwrap_or(current(Role::PublicAgent)),
    };
    sizes.check()?;
    cluster.grow(sizes, machine)?;
    cluster.program = options.program.clone();
    cluster.port = options.port.unwrap_or(cluster.port);
    cluster.host_ports = host_ports(options, cluster.host_ports);
    Ok(cluster)
}

fn host_ports(options: &Options, stored: Vec<u16>) -> Vec<u16> {
    let ports: BTreeSet<u16> = options.host_ports.iter().copied().collect();
    match (ports.is_empty(), stored.is_empty()) {
        (false, _) => ports.into_iter().collect(),
        (true, false) => stored,
        (true, true) => vec![crate::DEFAULT_HOST_PORT],
    }
}

/// Refuses what cannot be changed in a cluster that has data, or that runs.
fn refuse_changes(layout: &Layout, options: &Options, isolation: Isolation, stored: &Cluster) -> Result<()> {
    let refuse = |what: String| Err(Error::Refused(format!("{what}; start anew with --fresh")));
    if stored.name != options.name {
        return refuse(format!("{} holds cluster {:?}", layout.data().display(), stored.name));
    }
    let counts = [
        ("--masters", options.masters, Role::Master),
        ("--agents", options.agents, Role::Agent),
        ("--public-agents", options.public_agents, Role::PublicAgent),
    ];
    for (option, wanted, role) in counts {
        let Some(wanted) = wanted.map(usize::from) else { continue };
        let has = stored.count(role);
        if wanted < has || (role == Role::Master && wanted != has) {
            return refuse(format!("{option} {wanted}: cluster {:?} has {has} already", stored.name));
        }
    }
    if stored.isolation != isolation {
        let how = |i| if i == Isolation::Plain { "without" } else { "with" };
        return refuse(format!(
            "cluster {:?} was made {} network isolation and would now run {}",
            stored.name,
            how(stored.isolation),
            how(isolation)
        ));
    }
    let port_changes = options.port.is_some_and(|p| p != stored.port);
    if port_changes && status::any_running(layout, stored)? {
        return Err(Error::Refused(format!(
            "cluster {:?} runs with port {}; run `dcosd dev down` before changing it",
            stored.name, stored.port
        )));
    }
    Ok(())
}

fn check_port(layout: &Layout, cluster: &Cluster) -> Result<()> {
    if status::gateway(layout)?.is_some() {
        return Ok(());
    }
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, cluster.port);
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::Refused(format!(
            "{address} is not free for Admin Router ({error}); choose another with --port"
        ))),
    }
}

/// Waits until Admin Router answers and every agent has registered.
pub fn wait_ready(
    layout: &Layout,
    cluster: &Cluster,
    wait: Duration,
    progress: &mut dyn FnMut(&str),
) -> Result<()> {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, cluster.port);
    let deadline = Instant::now() + wait;
    // Agents on the other side of a partition cannot register; with a cut-off master that may be any.
    let cut = |n: &&Node| status::cut_off(layout, &n.name);
    let master_cut = cluster.masters().any(|m| cut(&m));
    let expected: Vec<&Node> = cluster.agents().filter(|n| !master_cut && !cut(n)).collect();
    let mut answered = false;
    loop {
        let ping = probe::get(address, "/service/marathon/ping");
        let pong = ping.is_ok_and(|a| a.status == 200 && a.body.trim_ascii() == b"pong");
        if pong && !answered {
            progress("Admin Router answers; waiting for the agents");
        }
        answered = answered || pong;
        let slaves = probe::get(address, "/mesos/slaves").ok().and_then(|a| probe::registered(&a.body));
        let slaves = slaves.unwrap_or_default();
        let here = |n: &&&Node| slaves.contains(&n.name) || slaves.contains(&n.address.to_string());
        let missing: Vec<&Node> = expected.iter().filter(|n| !here(n)).copied().collect();
        if pong && missing.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(late(layout, cluster, wait, pong, &missing));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn late(layout: &Layout, cluster: &Cluster, wait: Duration, pong: bool, missing: &[&Node]) -> Error {
    let blamed = if pong { missing.first().copied() } else { cluster.masters().next() };
    let what = match (pong, blamed) {
        (true, Some(node)) => format!("the registration of {}", node.name),
        _ => format!("an answer of Admin Router at {}", cluster.url()),
    };
    let mut hint = String::new();
    if let Some(node) = blamed {
        let lines = logs::last_lines(&layout.node_log(&node.name), 20).unwrap_or_default();
        hint = format!(
            "; the last lines of {}'s log:\n{lines}(all of it: dcosd dev logs {})",
            node.name, node.name
        );
    }
    Error::Timeout { what, seconds: wait.as_secs(), hint }
}

/// Adds one agent to a running cluster.
pub fn add_agent(
    layout: &Layout,
    role: Role,
    wait: Duration,
    progress: &mut dyn FnMut(&str),
) -> Result<Node> {
    let _lock = Lock::take(layout)?;
    let mut cluster = status::running_cluster(layout)?;
    let node = cluster.add(role, machine::measure(layout.data()))?;
    layout::write_json(&layout.plan(), &cluster)?;
    for other in &cluster.nodes {
        if layout.node_etc(&other.name).exists() {
            power::write_etc(layout, &cluster, other)?;
        }
    }
    power::start(layout, &cluster, &node)?;
    progress(&format!("started {} at {}", node.name, node.address));
    let only = Cluster {
        nodes: cluster
            .nodes
            .iter()
            .filter(|n| n.role == Role::Master || n.name == node.name)
            .cloned()
            .collect(),
        ..cluster
    };
    wait_ready(layout, &only, wait, progress)?;
    Ok(node)
}

/// The program that runs now, also after it was replaced on disk by a new build.
pub fn this_program() -> Result<PathBuf> {
    let path = std::env::current_exe().map_err(file("finding", std::path::Path::new("/proc/self/exe")))?;
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or(path.clone(), PathBuf::from))
}
