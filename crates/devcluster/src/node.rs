//! The supervisor of one node (`dcosd dev-node`): its machine, so to speak.
//!
//! Responsible for entering the node's namespaces and control groups, starting
//! the daemon, starting it again whenever it ends, its log, the host ports, and
//! the clean stop on SIGTERM. Not for making namespaces or certificates: those
//! exist before it starts. Invariant: it is the reaper of every process of the
//! node, and after a clean stop none is left.
//!
//! Call [`run`] on the main thread before any other thread exists.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Signal, WaitOptions, WaitStatus};
use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::cgroup::Group;
use crate::error::{Error, Result, chain, file, system};
use crate::forward::{self, Forward, Sockets, Target};
use crate::layout::{self, Layout};
use crate::log_file::{LogFile, ROTATE_BYTES};
use crate::namespaces::{self, View};
use crate::process::{self, CLUSTER_MARK, Identity, NODE_MARK};
use crate::signals::{self, Event};
use crate::spec::{Cluster, Isolation, Node};

/// Connections through one host port at a time.
const HOST_PORT_CONNECTIONS_MAX: usize = 256;
/// How long the daemon has to end by itself.
const DAEMON_STOP: Duration = Duration::from_secs(8);
/// How long everything else on the node has.
const REST_STOP: Duration = Duration::from_secs(2);
const KILL_WAIT: Duration = Duration::from_secs(5);
const IDLE_WAIT: Duration = Duration::from_secs(60);

/// Arguments of the hidden command `dcosd dev-node`.
#[derive(Clone, Debug, clap::Args)]
pub struct NodeArgs {
    /// The cluster's run directory
    #[arg(long)]
    pub run_dir: PathBuf,
    /// The node's name
    #[arg(long)]
    pub node: String,
}

/// What a supervisor tells about its node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeState {
    pub supervisor: Identity,
    pub daemon: Option<Identity>,
    pub restarts: u32,
    /// Why the node cannot start at all.
    pub error: Option<String>,
}

/// Supervises a node until SIGTERM.
pub fn run(args: &NodeArgs) -> ExitCode {
    let outcome = Supervisor::prepare(args).and_then(|mut supervisor| {
        let outcome = supervisor.supervise();
        supervisor.stop_everything();
        outcome
    });
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    let text = chain(&error);
    tracing::error!(node = args.node, error = text, "the node cannot run");
    if let Some(supervisor) = Identity::of(std::process::id()) {
        let state = NodeState { supervisor, daemon: None, restarts: 0, error: Some(text) };
        let path = Layout::at(args.run_dir.clone(), PathBuf::new()).node_state(&args.node);
        let _ = layout::write_json(&path, &state);
    }
    ExitCode::FAILURE
}

/// The layout and plan that a run directory belongs to.
pub fn load(run: &std::path::Path) -> Result<(Layout, Cluster)> {
    let pointer = Layout::at(run.to_path_buf(), PathBuf::new()).pointer();
    let data = std::fs::read_to_string(&pointer).map_err(file("reading", &pointer))?;
    let layout = Layout::at(run.to_path_buf(), PathBuf::from(data));
    let plan = layout.plan();
    match layout::read_json(&plan)? {
        Some(cluster) => Ok((layout, cluster)),
        None => Err(file("reading", &plan)(io::ErrorKind::NotFound.into())),
    }
}

struct Supervisor {
    layout: Layout,
    cluster: Cluster,
    node: Node,
    group: Option<Group>,
    output: File,
    state: NodeState,
    started: Instant,
    backoff: Backoff,
}

impl Supervisor {
    fn prepare(args: &NodeArgs) -> Result<Supervisor> {
        // Fails only for a process that leads a group already, which is just as detached.
        let _ = rustix::process::setsid();
        signals::hold()?;
        let (layout, cluster) = load(&args.run_dir)?;
        let node = cluster.node(&args.node)?.clone();
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(system("becoming the node's reaper"))?;
        let identity = Identity::of(std::process::id()).ok_or_else(|| {
            system("reading the own start time from /proc")(io::Error::from(io::ErrorKind::NotFound))
        })?;
        let output = open_log(&layout, &node)?;
        let isolated = cluster.isolation == Isolation::Namespaces;
        let mut group = None;
        if isolated {
            let own = Group::cluster(&cluster.name).member(&node.name);
            own.enter()?;
            group = Some(own);
            let host = Arc::new(Sockets::here()?);
            enter(&layout, &node)?;
            offer_host_ports(&cluster, &host)?;
        }
        let state = NodeState { supervisor: identity, daemon: None, restarts: 0, error: None };
        let started = Instant::now();
        Ok(Supervisor { layout, cluster, node, group, output, state, started, backoff: Backoff::default() })
    }

    /// Runs until asked to stop.
    fn supervise(&mut self) -> Result<()> {
        self.start_daemon()?;
        let mut start_at: Option<Instant> = None;
        loop {
            let wait = start_at.map_or(IDLE_WAIT, |at| at.saturating_duration_since(Instant::now()));
            let event = signals::wait(wait);
            if self.reap() {
                let pause = self.backoff.after(self.started.elapsed());
                self.note(&format!("the daemon starts again in {} ms", pause.as_millis()));
                start_at = Some(Instant::now() + pause);
                self.publish()?;
            }
            if event == Event::Stop {
                return Ok(());
            }
            if start_at.is_some_and(|at| at <= Instant::now()) {
                start_at = None;
                self.state.restarts = self.state.restarts.saturating_add(1);
                if let Err(error) = self.start_daemon() {
                    self.note(&chain(&error));
                    start_at = Some(Instant::now() + self.backoff.after(Duration::ZERO));
                }
            }
        }
    }

    fn start_daemon(&mut self) -> Result<()> {
        let data = self.layout.node_data(&self.node.name);
        let output = || self.output.try_clone().map(Stdio::from).map_err(system("sharing the log"));
        let mut command = Command::new(&self.cluster.program);
        command
            .args(self.cluster.daemon_arguments(&self.node, &self.layout))
            .current_dir(&data)
            .env(CLUSTER_MARK, self.layout.run())
            .env(NODE_MARK, &self.node.name)
            .stdin(Stdio::null())
            .stdout(output()?)
            .stderr(output()?)
            .process_group(0);
        // SAFETY: `release` makes async-signal-safe calls only and allocates nothing. Without it the
        // daemon would inherit the signals that this process holds back.
        unsafe { command.pre_exec(signals::release) };
        let child = command.spawn().map_err(file("starting", &self.cluster.program))?;
        self.started = Instant::now();
        // Reaped by `reap`, together with the node's orphans.
        self.state.daemon = Some(identity_of_child(child.id()));
        self.publish()
    }

    /// Collects ended processes; true when the daemon was among them.
    fn reap(&mut self) -> bool {
        let mut daemon_ended = false;
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let is_daemon =
                self.state.daemon.is_some_and(|d| i64::from(d.pid) == i64::from(pid.as_raw_nonzero().get()));
            if is_daemon {
                self.note(&format!("the daemon (pid {}) {}", pid.as_raw_nonzero(), ending(status)));
                self.state.daemon = None;
                daemon_ended = true;
            }
        }
        daemon_ended
    }

    fn publish(&self) -> Result<()> {
        layout::write_json(&self.layout.node_state(&self.node.name), &self.state)
    }

    fn note(&self, text: &str) {
        use std::io::Write;
        let _ = writeln!(&self.output, "[dev] {text}");
    }

    /// Everything that lives on the node, except this process.
    fn others(&self) -> Vec<Identity> {
        let own = std::process::id();
        match &self.group {
            Some(group) => {
                group.processes().into_iter().filter(|p| *p != own).filter_map(Identity::of).collect()
            }
            None => process::descendants(own),
        }
    }

    /// Stops the daemon, then everything that it left running.
    fn stop_everything(&mut self) {
        self.note("stopping");
        if let Some(daemon) = self.state.daemon {
            daemon.signal(Signal::TERM);
            let deadline = Instant::now() + DAEMON_STOP;
            while daemon.alive() && Instant::now() < deadline {
                signals::wait(Duration::from_millis(50));
                self.reap();
            }
        }
        self.end_others(Signal::TERM, REST_STOP);
        if let Some(group) = &self.group {
            // Also wakes what is frozen and could not hear a signal.
            group.kill(Instant::now() + KILL_WAIT);
        }
        self.end_others(Signal::KILL, KILL_WAIT);
        let _ = layout::remove(&self.layout.node_state(&self.node.name));
    }

    /// Sends a signal to everything else on the node and waits for its end.
    fn end_others(&mut self, signal: Signal, wait: Duration) {
        let deadline = Instant::now() + wait;
        let mut told = Vec::new();
        loop {
            let left = self.others();
            if left.is_empty() || Instant::now() >= deadline {
                return;
            }
            for identity in left.iter().filter(|i| !told.contains(*i)) {
                identity.signal(signal);
            }
            told = left;
            signals::wait(Duration::from_millis(20));
            self.reap();
        }
    }
}

/// A child that ended at once is a zombie until it is reaped, and still needs a name.
fn identity_of_child(pid: u32) -> Identity {
    Identity::of(pid).unwrap_or(Identity { pid, started: 0 })
}

fn ending(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (_, Some(signal)) => format!("was ended by signal {signal}"),
        _ => "ended".to_owned(),
    }
}

/// One pipe for the node's whole life: what outlives a daemon keeps writing to the same log.
fn open_log(layout: &Layout, node: &Node) -> Result<File> {
    let log = LogFile::open(&layout.node_log(&node.name), ROTATE_BYTES)?;
    let (reader, writer) = io::pipe().map_err(system("making the log's pipe"))?;
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || log.copy_from(reader))
        .map_err(system("starting a thread"))?;
    let output = File::from(std::os::fd::OwnedFd::from(writer));
    rustix::stdio::dup2_stdout(&output).map_err(system("redirecting the output"))?;
    rustix::stdio::dup2_stderr(&output).map_err(system("redirecting the output"))?;
    Ok(output)
}

fn enter(layout: &Layout, node: &Node) -> Result<()> {
    namespaces::enter_network(&namespaces::open(&layout.namespace(&node.name))?)?;
    let run_base = layout::run_base()?;
    namespaces::become_node(&View {
        host_name: &node.name,
        etc: &layout.node_etc(&node.name),
        run_base: &run_base,
    })
}

/// Makes ports of the host's loopback reachable on the node's loopback.
fn offer_host_ports(cluster: &Cluster, host: &Arc<Sockets>) -> Result<()> {
    let mut listeners = Vec::new();
    for port in &cluster.host_ports {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, *port);
        let socket = TcpListener::bind(address).map_err(system(format!("listening on {address}")))?;
        listeners.push((socket, address));
    }
    let host = host.clone();
    let serve = move || {
        let Ok(runtime) = forward::runtime() else { return };
        runtime.block_on(async {
            for (socket, address) in listeners {
                let Ok(listener) = forward::listener(socket) else { continue };
                let targets = vec![Target { sockets: host.clone(), address }];
                let connections_max = HOST_PORT_CONNECTIONS_MAX;
                tokio::spawn(Forward { targets, connections_max, refusal: None }.serve(listener));
            }
            std::future::pending::<()>().await;
        });
    };
    std::thread::Builder::new()
        .name("host-ports".to_owned())
        .spawn(serve)
        .map(drop)
        .map_err(system("starting a thread"))
}

impl NodeState {
    /// The error with which a supervisor gave up, for the person who started it.
    pub fn failure(&self, node: &str) -> Option<Error> {
        self.error.as_ref().map(|text| Error::Refused(format!("node {node} cannot run: {text}")))
    }
}
