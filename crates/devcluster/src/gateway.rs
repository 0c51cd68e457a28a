//! The gateway (`dcosd dev-gateway`): the one door from the host into a cluster.
//!
//! Responsible for carrying connections from the host's loopback to a master's
//! Admin Router. Not for HTTP. It dials from inside the master's own namespace,
//! as over a management port, so that a partitioned master can still be asked.
//! Invariant: it listens on loopback only.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cgroup::Group;
use crate::error::{Result, chain, system};
use crate::forward::{self, Forward, Sockets, Target};
use crate::layout::{self, Layout};
use crate::node;
use crate::process::Identity;
use crate::spec::Isolation;

/// The gateway's name among the cluster's control groups.
pub const GROUP: &str = "gateway";
/// Connections to Admin Router at a time.
const CONNECTIONS_MAX: usize = 1_024;

/// Arguments of the hidden command `dcosd dev-gateway`.
#[derive(Clone, Debug, clap::Args)]
pub struct GatewayArgs {
    /// The cluster's run directory
    #[arg(long)]
    pub run_dir: PathBuf,
}

/// What the gateway tells about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GatewayState {
    pub gateway: Identity,
    pub error: Option<String>,
}

/// Forwards until SIGTERM.
pub fn run(args: &GatewayArgs) -> ExitCode {
    let Err(error) = serve(args) else { return ExitCode::SUCCESS };
    let text = chain(&error);
    tracing::error!(error = text, "the gateway cannot run");
    let _ = publish(&Layout::at(args.run_dir.clone(), PathBuf::new()), Some(text));
    ExitCode::FAILURE
}

fn publish(layout: &Layout, error: Option<String>) -> Result<()> {
    let Some(gateway) = Identity::of(std::process::id()) else { return Ok(()) };
    layout::write_json(&layout.gateway_state(), &GatewayState { gateway, error })
}

fn serve(args: &GatewayArgs) -> Result<()> {
    // Fails only for a process that leads a group already, which is just as detached.
    let _ = rustix::process::setsid();
    let (layout, cluster) = node::load(&args.run_dir)?;
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, cluster.port);
    let socket = TcpListener::bind(address).map_err(system(format!("listening on {address}")))?;
    let mut targets = Vec::new();
    for master in cluster.masters() {
        let sockets = match cluster.isolation {
            Isolation::Namespaces => Sockets::inside(&layout.namespace(&master.name))?,
            Isolation::Plain => Sockets::here()?,
        };
        let address = SocketAddrV4::new(master.address, cluster.master_port());
        targets.push(Target { sockets: Arc::new(sockets), address });
    }
    if cluster.isolation == Isolation::Namespaces {
        Group::cluster(&cluster.name).member(GROUP).enter()?;
    }
    let refusal = format!(
        "no master of cluster {:?} accepts connections; see `dcosd dev status` and `dcosd dev logs master1`\n",
        cluster.name
    );
    let forward = Forward { targets, connections_max: CONNECTIONS_MAX, refusal: Some(refusal) };
    let runtime = forward::runtime()?;
    runtime.block_on(async {
        let listener = forward::listener(socket).map_err(system("listening"))?;
        publish(&layout, None)?;
        forward.serve(listener).await;
        Ok(())
    })
}
