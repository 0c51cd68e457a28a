//! Carries a parsed command out.

mod app;
mod app_list;
mod deployment;
mod marathon;
mod marathon_task;
mod node;
mod resource;
mod sandbox;
mod service;
mod task;
mod version;
mod wait;

use std::env;

use crate::args::{Cli, Command, Global};
use crate::cluster::{self, Cluster, Environment};
use crate::error::Result;
use crate::http::Client;
use crate::usage;

pub async fn run(cli: Cli) -> Result<()> {
    let global = cli.global;
    match cli.command {
        _ if cli.version => version::run(&global).await,
        None | Some(Command::Help { .. }) => crate::output::print(&usage::listing()),
        Some(Command::Marathon(command)) => marathon::run(&client(&global)?, command).await,
        Some(Command::Node(args)) => node::run(&client(&global)?, args).await,
        Some(Command::Service(args)) => service::run(&client(&global)?, args).await,
        Some(Command::Task(args)) => task::run(&client(&global)?, args).await,
    }
}

fn client(global: &Global) -> Result<Client> {
    Client::new(cluster(global)?, global.verbose)
}

fn cluster(global: &Global) -> Result<Cluster> {
    cluster::locate(global, &Environment(&|name| env::var_os(name)))
}

/// An old spelling that still works.
fn deprecated(old: &str, new: &str) {
    crate::output::note(&format!("Warning: '{old}' is deprecated, use '{new}'."));
}
