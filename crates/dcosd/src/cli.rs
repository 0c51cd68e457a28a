//! The command line of `dcosd`.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The node daemon of DC/OS: a master, an agent, or a whole cluster on one machine.
#[derive(Debug, Parser)]
#[command(name = "dcosd", version, about, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a master: Mesos, Marathon and Admin Router.
    Master(MasterArgs),
    /// Run an agent: containers of this node.
    Agent(Box<AgentArgs>),
    /// A whole cluster on this machine.
    Dev(devcluster::cli::DevArgs),
    /// The parent of an agent's containers; started by the agent.
    #[command(hide = true)]
    Keeper(KeeperArgs),
    /// The supervisor of one node of a dev cluster; started by `dev up`.
    #[command(hide = true)]
    DevNode(devcluster::node::NodeArgs),
    /// The way from the host into a dev cluster; started by `dev up`.
    #[command(hide = true)]
    DevGateway(devcluster::gateway::GatewayArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// What every node is told.
#[derive(Debug, Clone, Args)]
pub struct NodeArgs {
    /// Name of this node, unique in the cluster; the certificate names it too.
    #[arg(long)]
    pub node_name: String,
    #[arg(long, default_value = "dcos")]
    pub cluster: String,
    /// The node's own address: where it listens, and what it tells others.
    #[arg(long)]
    pub ip: Ipv4Addr,
    /// Everything durable of this node lies below.
    #[arg(long)]
    pub data_dir: PathBuf,
    /// Holds ca.pem, cert.pem and key.pem of this node.
    #[arg(long)]
    pub pki_dir: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Args)]
pub struct MasterArgs {
    #[command(flatten)]
    pub node: NodeArgs,
    /// Port of Admin Router, the one door from outside.
    #[arg(long, default_value_t = 80)]
    pub http_port: u16,
    /// All masters as name=address, this one too.
    #[arg(long, value_delimiter = ',')]
    pub peers: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct AgentArgs {
    #[command(flatten)]
    pub node: NodeArgs,
    /// Addresses of the masters.
    #[arg(long, value_delimiter = ',', required = true)]
    pub masters: Vec<Ipv4Addr>,
    /// A public agent: its resources are reserved for the role slave_public.
    #[arg(long)]
    pub public: bool,
    /// Like cpus:4;mem:8192;disk:20000;ports:[1025-32000]; detected when absent.
    #[arg(long)]
    pub resources: Option<String>,
    /// Like rack:r1;ssd:true
    #[arg(long, default_value = "")]
    pub attributes: String,
    /// Cgroup of this node in every hierarchy; containers go below it.
    #[arg(long)]
    pub cgroup_root: Option<String>,
    /// Registries spoken to over plain HTTP, as host or host:port; loopback always is.
    #[arg(long, value_delimiter = ',')]
    pub insecure_registries: Vec<String>,
    /// Registry of image names without one; file:///dir is a directory of OCI layouts.
    #[arg(long, default_value = "registry-1.docker.io")]
    pub docker_registry: String,
    /// What a start does with what ran before: go on with it, or end it all, forget
    /// the agent's id and stop.
    #[arg(long, value_enum, default_value = "reconnect")]
    pub recover: Recover,
    /// Which changes of resources and attributes a restart accepts: none, or more of them.
    #[arg(long, value_enum, default_value = "additive")]
    pub reconfiguration_policy: ReconfigurationPolicy,
    /// Seconds that an executor may take from its order to its subscription, images included.
    #[arg(long, default_value_t = 600)]
    pub executor_registration_timeout: u64,
    /// Seconds that an executor has to come back after a restart of the agent.
    #[arg(long, default_value_t = 10)]
    pub executor_reregistration_timeout: u64,
    /// Seconds from SHUTDOWN to the end by force, for executors that name none.
    #[arg(long, default_value_t = 5)]
    pub executor_shutdown_grace_period: u64,
    /// Seconds that executors wait for an agent that is away.
    #[arg(long, default_value_t = 86_400)]
    pub recovery_timeout: u64,
    /// Seconds that sandboxes of ended tasks stay; less as the disk fills.
    #[arg(long, default_value_t = 172_800)]
    pub gc_delay: u64,
    /// Part of the disk, from 0 to 1, that is to stay free.
    #[arg(long, default_value_t = 0.1)]
    pub gc_disk_headroom: f64,
    /// Offered beside all others and taken back when the machine gets busy, like cpus:2;mem:1024
    #[arg(long, default_value = "")]
    pub revocable_resources: String,
    /// Load of the last 5 minutes above which revocable resources are taken back.
    #[arg(long)]
    pub qos_load_threshold_5min: Option<f64>,
    /// The same for the last 15 minutes.
    #[arg(long)]
    pub qos_load_threshold_15min: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Recover {
    Reconnect,
    Cleanup,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReconfigurationPolicy {
    Equal,
    Additive,
}

#[derive(Debug, Clone, Args)]
pub struct KeeperArgs {
    /// The keeper's directory: its socket and its containers' records.
    #[arg(long)]
    pub dir: PathBuf,
}
