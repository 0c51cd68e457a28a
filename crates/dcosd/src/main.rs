//! `dcosd`: the composition root, the only place that knows all rooms.
//!
//! `main` reads the command line; [`master`] and [`agent`] put a node together.
#![forbid(unsafe_code)]

mod agent;
mod cli;
mod container_calls;
mod containers_side;
mod detect;
mod logging;
mod master;
mod qos;
mod stream;
mod sweep;
mod volumes;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

/// Threads for sockets and brains; more would only add memory to small nodes.
const WORKER_THREADS: usize = 2;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Master(args) => {
            logging::start(args.node.log_format);
            serve(master::run(args))
        }
        Command::Agent(args) => {
            logging::start(args.node.log_format);
            serve(agent::run(*args))
        }
        Command::Dev(args) => devcluster::cli::run(args),
        Command::Keeper(args) => keeper_process(args),
        Command::DevNode(args) => devcluster::node::run(&args),
        Command::DevGateway(args) => devcluster::gateway::run(&args),
    }
}

fn serve(work: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = match builder.worker_threads(WORKER_THREADS).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            return ExitCode::FAILURE;
        }
    };
    // Two TLS users must not choose differently; the first to install wins, which is this one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "this node stops");
            ExitCode::FAILURE
        }
    }
}

/// Resolves when the process is asked to end.
async fn asked_to_end() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// A seed for brains' own numbers, from the operating system.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // The standard library keys its hashers from the system's random source.
    RandomState::new().hash_one(std::process::id())
}

fn keeper_process(args: cli::KeeperArgs) -> ExitCode {
    match keeper::run(keeper::Config { dir: args.dir }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::start(cli::LogFormat::Text);
            tracing::error!(error = containers_side::chain(&error), "the keeper stops");
            ExitCode::FAILURE
        }
    }
}
