//! The commands `dcosd dev …`.
//!
//! Responsible for arguments, output and exit codes: 0 done, 1 refused or failed
//! with one line on stderr, 2 wrong usage (by clap). Not for the work itself.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::error::{Result, chain};
use crate::layout::{self, Layout};
use crate::spec::{self, Isolation, Role};
use crate::status::Status;
use crate::up::{Options, Report};
use crate::{DEFAULT_NAME, down, logs, shell, status, up};

/// Arguments of `dcosd dev`.
#[derive(Clone, Debug, Args)]
pub struct DevArgs {
    #[command(subcommand)]
    pub command: DevCommand,
    /// The cluster's name; clusters of different names run side by side
    #[arg(long, global = true, default_value = DEFAULT_NAME)]
    pub name: String,
    /// Where the cluster's data is kept [default: /var/lib/dcosd/dev/NAME, without root below the home directory]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// What to do with a local cluster.
#[derive(Clone, Debug, Subcommand)]
pub enum DevCommand {
    /// Start a cluster, or what is missing of it
    Up(UpArgs),
    /// Stop the cluster and remove everything but its data
    Down,
    /// Show the nodes
    Status {
        /// Print JSON for scripts
        #[arg(long)]
        json: bool,
    },
    /// Print the log of a node
    Logs {
        node: String,
        /// Print what comes, too
        #[arg(long, short)]
        follow: bool,
        /// How many lines to begin with
        #[arg(long, short = 'n', default_value_t = 200)]
        lines: usize,
    },
    /// Run a shell, or a command, on a node
    Shell {
        node: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Add an agent to the running cluster
    AddAgent {
        /// Make it a public agent
        #[arg(long)]
        public: bool,
        /// How long to wait until it has registered
        #[arg(long, default_value_t = 60, value_name = "SECONDS")]
        wait: u64,
    },
    /// Cut the power of a node: everything on it ends at once
    Kill { node: String },
    /// Start a node that is off
    Start { node: String },
    /// Cut nodes off from all others; they still reach each other
    Partition {
        #[arg(required = true, value_name = "NODE")]
        nodes: Vec<String>,
    },
    /// End all partitions
    Heal,
}

/// Arguments of `dcosd dev up`.
#[derive(Clone, Debug, Args)]
pub struct UpArgs {
    /// Masters: 1, 3 or 5 [default: 1]
    #[arg(long)]
    pub masters: Option<u8>,
    /// Private agents [default: 2]
    #[arg(long)]
    pub agents: Option<u8>,
    /// Public agents [default: 1]
    #[arg(long)]
    pub public_agents: Option<u8>,
    /// Forget all data of an earlier cluster of this name
    #[arg(long)]
    pub fresh: bool,
    /// Admin Router's port on this machine's loopback [default: 8000]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// A port of this machine's loopback that nodes find on theirs; may be repeated [default: 5000]
    #[arg(long = "host-port", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub host_ports: Vec<u16>,
    /// How long to wait until the cluster answers
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub wait: u64,
    /// Run plain processes even as root
    #[arg(long, hide = true)]
    pub plain: bool,
}

/// Runs one command.
pub fn run(args: DevArgs) -> ExitCode {
    match execute(args) {
        Ok(code) => code,
        Err(error) => {
            say_error(&format!("error: {}", chain(&error)));
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) {
    // A reader that went away is not a reason to stop half-way.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn say_error(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Finds the cluster's directories: a running cluster knows where its data is.
pub fn layout(name: &str, data_dir: Option<PathBuf>) -> Result<Layout> {
    spec::check_name(name)?;
    let run = layout::run_base()?.join(name);
    let pointer = Layout::at(run.clone(), PathBuf::new()).pointer();
    let remembered = std::fs::read_to_string(pointer).ok().map(PathBuf::from);
    let data = match (remembered, data_dir) {
        (Some(remembered), Some(asked)) if absolute(&asked)? != remembered => {
            return Err(crate::Error::Refused(format!(
                "cluster {name:?} runs with --data-dir {}; run `dcosd dev down --name {name}` before changing it",
                remembered.display()
            )));
        }
        (Some(remembered), _) => remembered,
        (None, Some(asked)) => absolute(&asked)?,
        (None, None) => layout::data_default(name)?,
    };
    Ok(Layout::at(run, data))
}

fn absolute(path: &std::path::Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(crate::error::file("finding", path))
}

fn execute(args: DevArgs) -> Result<ExitCode> {
    let place = layout(&args.name, args.data_dir)?;
    match args.command {
        DevCommand::Up(asked) => bring_up(&place, &args.name, asked)?,
        DevCommand::Down => match down::down(&place, &args.name)? {
            true => {
                say(&format!("cluster {} is down; its data stays in {}", args.name, place.data().display()))
            }
            false => say(&format!("cluster {} is not running", args.name)),
        },
        DevCommand::Status { json } => show(&status::status(&place)?, json),
        DevCommand::Logs { node, follow, lines } => {
            status::planned(&place)?.node(&node)?;
            logs::print(&place.node_log(&node), lines, follow, &mut std::io::stdout())?;
        }
        DevCommand::Shell { node, command } => {
            return shell::shell(&place, &node, &command).map(ExitCode::from);
        }
        DevCommand::AddAgent { public, wait } => {
            let role = if public { Role::PublicAgent } else { Role::Agent };
            let node = up::add_agent(&place, role, Duration::from_secs(wait), &mut |line| say_error(line))?;
            say(&format!("{} has joined the cluster", node.name));
        }
        DevCommand::Kill { node } => {
            status::kill(&place, &node)?;
            say(&format!("{node} is off; `dcosd dev start {node}` starts it again"));
        }
        DevCommand::Start { node } => match status::start(&place, &node)? {
            true => say(&format!("{node} is starting")),
            false => say(&format!("{node} is running already")),
        },
        DevCommand::Partition { nodes } => {
            status::partition(&place, &nodes)?;
            say(&format!("{} cut off from all others; `dcosd dev heal` ends it", nodes.join(", ")));
        }
        DevCommand::Heal => {
            status::heal(&place)?;
            say("all nodes reach each other again");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn bring_up(place: &Layout, name: &str, asked: UpArgs) -> Result<()> {
    let options = Options {
        name: name.to_owned(),
        masters: asked.masters,
        agents: asked.agents,
        public_agents: asked.public_agents,
        port: asked.port,
        host_ports: asked.host_ports,
        fresh: asked.fresh,
        plain: asked.plain,
        program: up::this_program()?,
        wait: Duration::from_secs(asked.wait),
    };
    let report = up::up(place, &options, &mut |line| say_error(line))?;
    say(&welcome(&report));
    Ok(())
}

/// What a person reads after `up`.
fn welcome(report: &Report) -> String {
    let cluster = &report.cluster;
    let url = cluster.url();
    let mut text = String::new();
    if report.started.is_empty() {
        text.push_str(&format!("Cluster {} is running already.\n", cluster.name));
    }
    if cluster.isolation == Isolation::Plain {
        let reason = report.plain_reason.as_deref().unwrap_or("made so");
        text.push_str(&format!(
            "Plain processes ({reason}): no network isolation, partition is unavailable, images need root: run as root.\n"
        ));
    }
    let nodes: Vec<_> = cluster.nodes.iter().map(|n| n.name.as_str()).collect();
    text.push_str(&format!(
        "Cluster {} is up: {}.\n\
         Admin Router answers at {url}; `dcos` finds it by itself, or with:\n  \
         export DCOS_URL={url}\n  \
         dcos node list\n  \
         dcos marathon app add hello.json\n  \
         dcosd dev status | logs {first} | kill agent1 | down",
        cluster.name,
        nodes.join(", "),
        first = nodes.first().copied().unwrap_or("master1"),
    ));
    text
}

fn show(status: &Status, json: bool) {
    if json {
        match serde_json::to_string_pretty(status) {
            Ok(text) => say(&text),
            Err(error) => say_error(&format!("error: {error}")),
        }
        return;
    }
    let mut rows = vec![["NAME", "ROLE", "ADDRESS", "PID", "STATE"].map(str::to_owned)];
    for node in &status.nodes {
        let pid = node.pid.map_or("-".to_owned(), |p| p.to_string());
        let state = node.state.as_str().to_owned();
        rows.push([node.name.clone(), node.role.to_owned(), node.address.clone(), pid, state]);
    }
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    say(&format!("Admin Router: {}", status.admin_router));
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        say(cells.join("  ").trim_end());
    }
}
