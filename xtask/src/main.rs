//! The workspace's chores: `cargo xtask ci` is every gate that a change has to pass.
//!
//! Responsible for running the gates in order of cost and for the rules of the
//! tree that no other tool checks ([`tidy`]). Not for building the product and
//! not for installing system packages: `dev` and `tools/` do that.
//! Start reading at [`ci`].
#![forbid(unsafe_code)]

mod ci;
mod stage;
mod tally;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use stage::Stage;
use workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the workspace", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Run every gate, cheapest first; what `.ci/run` runs.
    Ci(ci::Options),
    /// Check the rules of the tree: layers, file sizes, words, links, bans with reasons.
    Tidy,
    /// Run the simulator in release mode over a range of seeds.
    Sim {
        /// How many seeds to run.
        #[arg(long, default_value_t = 500)]
        seeds: u64,
        /// The first seed; a failing seed replays with `--start SEED --seeds 1`.
        #[arg(long, default_value_t = 1)]
        start: u64,
    },
    /// Run the benchmarks behind SPECIFICATION.md in release mode.
    Bench {
        /// Passed on to the benchmark program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<()> {
    let workspace = Workspace::find()?;
    match chore {
        Chore::Ci(options) => ci::run(&workspace, options),
        Chore::Tidy => tidy::run(&workspace),
        Chore::Sim { seeds, start } => simulate(&workspace, seeds, start),
        Chore::Bench { arguments } => bench(&workspace, &arguments),
    }
}

/// The simulator is a test of `testkit`, so that `cargo test` runs its short form
/// and this command its long one: the same code, more seeds, optimised.
fn simulate(workspace: &Workspace, seeds: u64, start: u64) -> Result<()> {
    Stage::cargo(
        "simulation",
        &["test", "--release", "--package", "testkit", "--test", "seeds", "--", "--nocapture"],
    )
    .with_env("SIM_SEEDS", &seeds.to_string())
    .with_env("SIM_START", &start.to_string())
    .run(workspace)
    .map(drop)
}

fn bench(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    if !workspace.root.join("crates/bench").is_dir() {
        bail!(
            "there is no benchmark program yet: crates/bench is missing; the promised numbers are in SPECIFICATION.md"
        );
    }
    let mut command = vec!["run", "--release", "--package", "bench", "--"];
    command.extend(arguments.iter().map(String::as_str));
    Stage::cargo("bench", &command).run(workspace).map(drop)
}
