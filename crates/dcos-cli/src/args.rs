//! Everything that can be typed.
//!
//! Only shapes and help texts; `usage` turns errors into the contract's form, `commands`
//! carries out. Invariant: every command and flag here does what its help says.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "dcos", disable_help_subcommand = true, disable_version_flag = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    /// Print version information
    #[arg(long)]
    pub version: bool,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Default, Clone, Args)]
pub struct Global {
    /// Name or ID of the configured cluster to use
    #[arg(long, global = true, value_name = "NAME")]
    pub cluster: Option<String>,
    /// URL of the cluster's Admin Router
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// Show requests on standard error (-vv: answers as well)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Display help information about DC/OS
    Help {
        /// The command to explain
        command: Vec<String>,
    },
    /// Deploy and manage applications to DC/OS
    #[command(subcommand)]
    Marathon(Marathon),
    /// View DC/OS node information
    Node(NodeArgs),
    /// Manage DC/OS services
    Service(ServiceArgs),
    /// Manage DC/OS tasks
    Task(TaskArgs),
}

#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum Marathon {
    /// Print the state of Marathon
    About,
    /// Manage applications
    #[command(subcommand)]
    App(App),
    /// Manage deployments
    #[command(subcommand)]
    Deployment(Deployment),
    /// Check that Marathon answers
    Ping {
        /// Ask once only
        #[arg(long)]
        once: bool,
    },
    /// Manage the tasks of applications
    #[command(subcommand)]
    Task(MarathonTask),
}

#[derive(Debug, Args)]
pub struct Force {
    /// Override deployments that hold the application
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct Wait {
    /// Wait until the deployment has ended, at most TIME (5m, 30s)
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "10m",
          value_parser = duration)]
    pub wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct ListFormat {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print IDs only
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum App {
    /// Add an application from a file, an http URL or standard input
    Add {
        /// JSON definition; '-' or nothing for standard input
        resource: Option<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// List applications
    List {
        #[command(flatten)]
        format: ListFormat,
    },
    /// Show an application as JSON
    Show {
        #[arg(value_parser = app_id)]
        id: String,
        /// A version, or a negative number for that many versions back
        #[arg(long, allow_hyphen_values = true, value_name = "VERSION")]
        app_version: Option<String>,
    },
    /// Change an application
    Update {
        #[arg(value_parser = app_id)]
        id: String,
        /// key=value; without any, a JSON object is read from standard input
        properties: Vec<String>,
        #[command(flatten)]
        force: Force,
        #[command(flatten)]
        wait: Wait,
    },
    /// Set the number of instances
    Scale {
        #[arg(value_parser = app_id)]
        id: String,
        instances: u32,
        #[command(flatten)]
        force: Force,
        #[command(flatten)]
        wait: Wait,
    },
    /// Replace all instances
    Restart {
        #[arg(value_parser = app_id)]
        id: String,
        #[command(flatten)]
        force: Force,
        #[command(flatten)]
        wait: Wait,
    },
    /// Remove an application
    Remove {
        #[arg(value_parser = app_id)]
        id: String,
        #[command(flatten)]
        force: Force,
        #[command(flatten)]
        wait: Wait,
    },
    /// Start a stopped application
    Start {
        #[arg(value_parser = app_id)]
        id: String,
        #[arg(default_value_t = 1)]
        instances: u32,
        #[command(flatten)]
        force: Force,
        #[command(flatten)]
        wait: Wait,
    },
    /// Stop an application, keeping its definition
    Stop {
        #[arg(value_parser = app_id)]
        id: String,
        #[command(flatten)]
        force: Force,
        #[command(flatten)]
        wait: Wait,
    },
    /// Kill the running instances of an application
    Kill {
        #[arg(value_parser = app_id)]
        id: String,
        /// Scale the application down by the killed instances
        #[arg(long, conflicts_with = "host")]
        scale: bool,
        /// Kill only the instances on this host
        #[arg(long)]
        host: Option<String>,
    },
    /// Look at earlier versions
    #[command(subcommand)]
    Version(AppVersion),
}

#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum AppVersion {
    /// List the versions of an application as JSON
    List {
        #[arg(value_parser = app_id)]
        id: String,
        #[arg(long, value_name = "N")]
        max_count: Option<usize>,
    },
}

#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum Deployment {
    /// List running deployments
    List {
        /// Only those of this application
        app: Option<String>,
        #[command(flatten)]
        format: ListFormat,
    },
    /// Undo a deployment
    Rollback { id: String },
    /// Stop a deployment where it is
    Stop { id: String },
    /// Follow a deployment until it has ended
    Watch {
        id: String,
        /// Look this many times at most
        #[arg(long, value_name = "N")]
        max_count: Option<u64>,
        /// Seconds between looks
        #[arg(long, value_name = "SECONDS", default_value_t = 1)]
        interval: u64,
    },
}

#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum MarathonTask {
    /// List the tasks of applications
    List {
        /// Only those of this application
        app: Option<String>,
        #[command(flatten)]
        format: ListFormat,
    },
    /// Show a task as JSON
    Show { id: String },
    /// Kill a task; Marathon starts another
    Stop {
        id: String,
        /// Give up its volumes and reservations
        #[arg(long)]
        wipe: bool,
    },
    /// Kill tasks
    Kill {
        #[arg(required = true)]
        ids: Vec<String>,
        /// Scale the applications down by the killed tasks
        #[arg(long)]
        scale: bool,
        /// Give up their volumes and reservations
        #[arg(long)]
        wipe: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
#[command(disable_help_subcommand = true, args_conflicts_with_subcommands = true)]
pub struct NodeArgs {
    #[command(subcommand)]
    pub command: Option<NodeCommand>,
    /// Print JSON (old form of 'node list --json')
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List the nodes of the cluster
    List {
        #[command(flatten)]
        format: ListFormat,
        /// Only the agent with this ID
        #[arg(long, value_name = "ID")]
        mesos_id: Option<String>,
    },
}

#[derive(Debug, Args)]
#[command(disable_help_subcommand = true, args_conflicts_with_subcommands = true)]
pub struct ServiceArgs {
    #[command(subcommand)]
    pub command: Option<ServiceCommand>,
    /// The old form of 'service list'
    #[command(flatten)]
    pub list: ServiceList,
}

#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// List services (Mesos frameworks)
    List(ServiceList),
}

#[derive(Debug, Args)]
pub struct ServiceList {
    #[command(flatten)]
    pub format: ListFormat,
    /// Services that have ended, too
    #[arg(long)]
    pub completed: bool,
    /// Services that are not connected, too
    #[arg(long)]
    pub inactive: bool,
}

#[derive(Debug, Args)]
#[command(disable_help_subcommand = true, args_conflicts_with_subcommands = true)]
pub struct TaskArgs {
    #[command(subcommand)]
    pub command: Option<TaskCommand>,
    /// The old form of 'task list'
    #[command(flatten)]
    pub list: TaskList,
}

#[derive(Debug, Args)]
pub struct TaskList {
    /// Part of a task ID, or a pattern with '*' and '?' for all of it
    pub filter: Option<String>,
    #[command(flatten)]
    pub which: Which,
    /// Only tasks of this agent
    #[arg(long, value_name = "ID")]
    pub agent_id: Option<String>,
    #[command(flatten)]
    pub format: ListFormat,
}

#[derive(Debug, Args, Clone, Copy)]
pub struct Which {
    /// Tasks that have ended, too
    #[arg(long)]
    pub all: bool,
    /// Only tasks that have ended
    #[arg(long, conflicts_with = "all")]
    pub completed: bool,
}

#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    /// List tasks
    List(TaskList),
    /// Print a file of a task's sandbox, by default its standard output
    Log {
        /// Part of a task ID, or a pattern
        task: String,
        #[arg(default_value = "stdout")]
        file: String,
        /// Keep printing what is added
        #[arg(long)]
        follow: bool,
        /// Print this many of the last lines
        #[arg(long, default_value_t = 10, value_name = "N")]
        lines: usize,
        /// Print the whole file
        #[arg(long, conflicts_with = "lines")]
        all: bool,
        /// Only tasks that have ended
        #[arg(long)]
        completed: bool,
    },
    /// List the files of a task's sandbox
    Ls {
        /// Part of a task ID, or a pattern
        task: String,
        /// A directory inside the sandbox
        path: Option<PathBuf>,
        /// Print modes, owners, sizes and times
        #[arg(long)]
        long: bool,
        #[command(flatten)]
        which: Which,
    },
}

/// `/web` from `web`, `/web` or `//web/`.
fn app_id(text: &str) -> Result<String, String> {
    match text.trim_matches('/') {
        "" => Err("give the ID of one application, like /web".to_owned()),
        name => Ok(format!("/{name}")),
    }
}

/// `90`, `90s`, `5m`, `2h`.
fn duration(text: &str) -> Result<Duration, String> {
    let (digits, factor) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(digits) if text.ends_with('m') => (digits, 60),
        Some(digits) if text.ends_with('h') => (digits, 3600),
        Some(digits) => (digits, 1),
        None => (text, 1),
    };
    let seconds = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(factor));
    seconds.map(Duration::from_secs).ok_or_else(|| "give a time like 90s, 5m or 2h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        assert!(
            duration("-1s").is_err() && duration("m").is_err() && duration("99999999999999999999h").is_err()
        );
    }
}
