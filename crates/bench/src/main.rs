//! `bench`: measures the numbers of SPECIFICATION.md on a real cluster of this machine.
//!
//! Responsible for the order of the measures and for the exit code: 0 measured, 1 not
//! measured, 3 with `--gate` if a gate is missed. [`report`] holds every promise's gate
//! and goal, [`measures`], [`docker`] and [`agents`] say how each is measured, [`meter`] reads the
//! kernel's counters. Invariant: whatever happens, the cluster and the container engine
//! that were started here are ended before the program ends.
#![forbid(unsafe_code)]

mod agents;
mod allocator;
mod cluster;
mod docker;
mod events;
mod measures;
mod meter;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};

use crate::cluster::Cluster;
use crate::report::Report;

/// Exit code of a missed gate.
const GATE_MISSED: u8 = 3;

#[derive(Parser)]
#[command(name = "cargo xtask bench", about = "Measure the promises of SPECIFICATION.md on this machine")]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print JSON instead of the table
    #[arg(long, global = true)]
    json: bool,
    /// Exit with 3 if a gate is missed
    #[arg(long, global = true)]
    gate: bool,
    /// Measure only these; may be repeated [default: all]
    #[arg(long, value_enum)]
    only: Vec<Group>,
    /// Tasks of the large app
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2000))]
    instances: u32,
    /// How often the large apps are started
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// How often a single task is started, and killed; also the number of Docker's containers
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// Seconds during which the idle cluster is watched
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    idle_seconds: u64,
    /// Measure this program instead of building `dcosd` in release mode
    #[arg(long, value_name = "FILE")]
    dcosd: Option<PathBuf>,
    /// Minutes after which measuring is given up
    #[arg(long, global = true, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=120))]
    limit: u64,
}

/// Without one: a real cluster of one master and one agent.
#[derive(Subcommand)]
enum Command {
    /// Measure one master with thousands of simulated agents on real connections; needs no root
    Agents(agents::Options),
    /// The simulated agents' side of it
    #[command(hide = true)]
    Fleet(agents::fleet::Options),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    /// Memory and CPU of an idle cluster, size of the program
    Idle,
    /// The large app of plain processes: time, CPU, memory
    Processes,
    /// The same with an image
    Image,
    /// One task, from the request to running
    One,
    /// A killed task, to its replacement
    Replace,
    /// Debian's Docker engine beside it
    Docker,
    /// The allocator alone; needs neither root nor a cluster
    Allocator,
}

impl Options {
    fn wants(&self, group: Group) -> bool {
        self.only.is_empty() || self.only.contains(&group)
    }

    fn wants_cluster(&self) -> bool {
        use Group::{Idle, Image, One, Processes, Replace};
        [Idle, Processes, Image, One, Replace].iter().any(|group| self.wants(*group))
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    // Only loopback is spoken to, without TLS; the HTTP client wants a provider all the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bench: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(Command::Fleet(fleet)) = &options.command {
        return match runtime.block_on(agents::fleet::run(fleet)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("bench: simulated agents: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    match runtime.block_on(bounded(&options)) {
        Ok(report) => {
            if options.json {
                println!("{}", report.json());
            } else {
                println!("{}", report.table());
            }
            if options.gate && report.gate_missed() { ExitCode::from(GATE_MISSED) } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures until done, interrupted or out of time; dropping the work ends what it started.
async fn bounded(options: &Options) -> Result<Report> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    tokio::select! {
        result = measure(options) => result,
        () = tokio::time::sleep(Duration::from_secs(options.limit * 60)) => {
            bail!("measuring took more than {} minutes, the limit; raise it with --limit", options.limit)
        }
        _ = terminate.recv() => bail!("asked to end"),
        _ = interrupt.recv() => bail!("asked to end"),
    }
}

async fn measure(options: &Options) -> Result<Report> {
    if let Some(Command::Agents(agents)) = &options.command {
        return agents::measure(agents).await;
    }
    let mut report = Report::new();
    if options.wants(Group::Allocator) {
        eprintln!("measuring: the allocator");
        allocator::measure(options.repeat, &mut report);
    }
    if options.wants_cluster() || options.wants(Group::Docker) {
        measure_machine(options, &mut report).await?;
    }
    report.end();
    Ok(report)
}

async fn measure_machine(options: &Options, report: &mut Report) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "measuring needs root: the promises are about tasks in control groups and namespaces of their own"
        );
    }
    let program = program(options).await?;
    let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
    let layout = scratch.path().join("image");
    if options.wants(Group::Image) || options.wants(Group::Docker) {
        make_image(&layout).await?;
    }
    if options.wants_cluster() {
        let cluster = Cluster::up(&program).await?;
        let measured = measure_cluster(options, &cluster, &layout, report).await;
        // The logs are only there as long as the cluster is.
        if measured.is_err() {
            eprintln!("{}", cluster.logs());
        }
        cluster.down()?;
        measured?;
    }
    if options.wants(Group::Docker) {
        eprintln!("measuring: Docker");
        docker::measure(&layout, options.repeat, report).await?;
    }
    Ok(())
}

async fn measure_cluster(
    options: &Options,
    cluster: &Cluster,
    layout: &Path,
    report: &mut Report,
) -> Result<()> {
    if options.wants(Group::Idle) {
        eprintln!("measuring: an idle cluster");
        measures::idle(cluster, options.idle_seconds, report).await?;
    }
    if options.wants(Group::Processes) {
        eprintln!("measuring: {} plain processes", options.instances);
        measures::processes(cluster, options.instances, options.rounds, report).await?;
    }
    if options.wants(Group::Image) {
        let instances = options.instances.div_ceil(4);
        eprintln!("measuring: {instances} containers of an image");
        measures::image(cluster, layout, instances, options.rounds, report).await?;
    }
    if options.wants(Group::One) {
        eprintln!("measuring: one task");
        measures::one(cluster, options.repeat, report).await?;
    }
    if options.wants(Group::Replace) {
        eprintln!("measuring: a killed task");
        measures::replace(cluster, options.repeat, report).await?;
    }
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The program to measure, built now so that no old one is measured by mistake.
async fn program(options: &Options) -> Result<PathBuf> {
    if let Some(program) = &options.dcosd {
        return std::path::absolute(program).with_context(|| format!("no path: {}", program.display()));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = tokio::process::Command::new(cargo);
    build.args(["build", "--release", "--package", "dcosd"]).current_dir(root()).kill_on_drop(true);
    let status = build.status().await.context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo build --release --package dcosd failed: {status}");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let program = target.join("release/dcosd");
    program.canonicalize().with_context(|| format!("{} was not built", program.display()))
}

async fn make_image(layout: &Path) -> Result<()> {
    let mut tool = tokio::process::Command::new(root().join("tools/make-image"));
    let output = tool.arg(layout).kill_on_drop(true).output().await.context("cannot run tools/make-image")?;
    if !output.status.success() {
        bail!("tools/make-image failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
