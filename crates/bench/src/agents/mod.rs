//! `bench agents`: one real master with thousands of agents on real connections.
//!
//! The master's brain, shell, store and listener run in this process, put together as
//! `dcosd` does it; the agents of [`fleet`] are simulated, their connections are not: TCP,
//! TLS with a certificate each, greeting, frames, heartbeats. They live in a process of
//! their own, so that memory and CPU are told apart by the kernel. [`load`] are frameworks
//! in this process, [`messages`] the cost of bytes alone. Needs no root.

pub mod fleet;
mod load;
mod master;
mod messages;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use self::master::{Delay, Master};
use crate::meter;
use crate::report::{Promise, Report};

/// Of Mesos, as agents and master name it.
const VERSION: &str = "1.7.3";
/// The size that is promised.
const AGENTS: usize = 10_000;
const TASKS: usize = 100_000;
/// Descriptors beside those of connections.
const FILES_BESIDE: u64 = 256;
/// Between a change and a reading, so that heaps and queues come to rest.
const REST: Duration = Duration::from_secs(3);
/// The same for a handful of agents.
const REST_FEW: Duration = Duration::from_millis(300);
/// No more than these are a handful.
const FEW: usize = 100;
/// Nothing has changed for this long: it never will.
const STALL: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

#[derive(Args)]
pub struct Options {
    /// Agents that connect
    #[arg(long, default_value_t = AGENTS, value_parser = positive)]
    agents: usize,
    /// Tasks that are launched on them
    #[arg(long, default_value_t = TASKS, value_parser = positive)]
    tasks: usize,
    /// Frameworks that launch them, in equal parts
    #[arg(long, default_value_t = 10, value_parser = positive)]
    frameworks: usize,
    /// Seconds during which idle agents are watched
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    idle_seconds: u64,
    /// A twentieth of agents and tasks, watched for 5 s: checks the way, promises nothing
    #[arg(long, conflicts_with_all = ["agents", "tasks", "idle_seconds"])]
    short: bool,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("{text:?} is not a whole number above 0")),
        Ok(number) => Ok(number),
    }
}

impl Options {
    fn resolved(&self) -> (usize, usize, Duration) {
        if self.short {
            return (AGENTS / 20, TASKS / 20, Duration::from_secs(5));
        }
        (self.agents, self.tasks, Duration::from_secs(self.idle_seconds))
    }
}

/// One descriptor for each connection, as far as the hard limit allows.
fn allow_files(connections: usize) -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = connections as u64 + FILES_BESIDE;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        let allowed = limit.maximum.unwrap_or_default().saturating_sub(FILES_BESIDE);
        bail!(
            "{connections} agents need {wanted} open files per process, the hard limit allows \
             {allowed} agents; raise it (ulimit -Hn) or give --agents {allowed}"
        );
    }
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).context("cannot raise the limit of open files")
}

pub async fn measure(options: &Options) -> Result<Report> {
    let (agents, tasks, idle) = options.resolved();
    let rest = if agents <= FEW { REST_FEW } else { REST };
    allow_files(agents)?;
    let mut report = Report::new();
    eprintln!("measuring: bytes of messages");
    messages::measure(&mut report)?;

    let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
    let mut master = Master::start(scratch.path()).await?;
    tokio::time::sleep(rest).await;
    let delay = Delay::start();
    let mut meter = Meter::new(i32::try_from(std::process::id()).context("our own number")?);
    let empty = meter.read()?;
    report.note("master without agents, RSS", "MiB", vec![mib(empty.rss)]);

    eprintln!("measuring: {agents} connections");
    let mut fleet = Fleet::start(&master, scratch.path(), agents).await?;
    fleet.wait("connected").await?;
    let connecting = meter.read()?;
    report.note("CPU per connection made, master", "ms", vec![per(connecting.cpu, agents) / 1e3]);
    tokio::time::sleep(rest).await;
    let connected = meter.read()?;
    let per_agent = |more: u64, less: u64| more.saturating_sub(less) as f64 / agents as f64 / 1024.0;
    report.note("memory per connection, master", "KiB", vec![per_agent(connected.rss, empty.rss)]);

    eprintln!("measuring: heartbeats of {agents} connections");
    delay.worst();
    let beats = watch("heartbeats only", &mut report, &mut meter, &fleet, agents, idle).await?;
    report.note("heartbeats only: latest timer, master", "ms", vec![delay.worst()]);
    master.check()?;

    eprintln!("measuring: {agents} registrations");
    let begin = Instant::now();
    meter.read()?;
    fleet.say("register").await?;
    let registered = |master: &Master| master.handle.view().agents.len();
    until(&mut master, agents, "registered agents", registered).await?;
    let registering = meter.read()?;
    let seconds = begin.elapsed();
    report.note("all agents registered", "s", vec![seconds.as_secs_f64()]);
    let cpu = registering.cpu.saturating_sub(seconds.mul_f64(beats));
    report.note("CPU per registration, master", "us", vec![per(cpu, agents)]);
    report.note("all agents registered: latest timer, master", "ms", vec![delay.worst()]);
    tokio::time::sleep(rest).await;
    let before = meter.read()?;
    report.note("memory per registered agent, master", "KiB", vec![per_agent(before.rss, empty.rss)]);
    report.note("master with all agents, RSS", "MiB", vec![mib(before.rss)]);
    watch("registered", &mut report, &mut meter, &fleet, agents, idle).await?;
    master.check()?;

    eprintln!("measuring: {tasks} tasks");
    let begin = Instant::now();
    meter.read()?;
    delay.worst();
    let running = load::launch(&master.handle, options.frameworks, tasks, agents);
    until(&mut master, tasks, "running tasks", |_| running.count()).await?;
    let launching = meter.read()?;
    let seconds = begin.elapsed();
    report.note("all tasks running", "s", vec![seconds.as_secs_f64()]);
    let cpu = launching.cpu.saturating_sub(seconds.mul_f64(beats));
    report.note("CPU per task, master and frameworks", "us", vec![per(cpu, tasks)]);
    report.note("all tasks running: latest timer, master", "ms", vec![delay.worst()]);
    tokio::time::sleep(rest).await;
    let full = meter.read()?;
    let per_task = full.rss.saturating_sub(before.rss) as f64 / tasks as f64 / 1024.0;
    report.note("memory per task, master and frameworks", "KiB", vec![per_task]);
    let rss = vec![mib(full.rss)];
    if agents >= AGENTS && tasks >= TASKS {
        report.add(Promise::MasterMemory, rss);
    } else {
        report.note("master with all agents and tasks, RSS", "MiB", rss);
    }
    report.note("the same, highest so far", "MiB", vec![mib(meter.peak())]);
    watch("all tasks running", &mut report, &mut meter, &fleet, agents, idle).await?;
    master.check()?;
    let left = registered(&master);
    ensure!(left == agents, "only {left} of {agents} agents are still there: the figures mean nothing");
    master.release();
    fleet.end().await?;
    report.end();
    Ok(report)
}

/// CPU of an idle time, for the master and for the simulated agents together. The answer is
/// the master's share of one core: what it uses beside anything else that is measured.
async fn watch(
    what: &str,
    report: &mut Report,
    meter: &mut Meter,
    fleet: &Fleet,
    agents: usize,
    idle: Duration,
) -> Result<f64> {
    let mut far = Meter::new(fleet.pid);
    far.read()?;
    meter.read()?;
    let begin = Instant::now();
    tokio::time::sleep(idle).await;
    let (near, far) = (meter.read()?.cpu, far.read()?.cpu);
    let seconds = begin.elapsed().as_secs_f64();
    let share = |cpu: Duration| 100.0 * cpu.as_secs_f64() / seconds;
    report.note(&format!("{what}: CPU of one core, master"), "%", vec![share(near)]);
    let each = |cpu: Duration| per(cpu, agents) / seconds;
    report.note(&format!("{what}: CPU per agent and second, master"), "us", vec![each(near)]);
    report.note(&format!("{what}: CPU per agent and second, agent"), "us", vec![each(far)]);
    Ok(near.as_secs_f64() / seconds)
}

/// Waits for a count; an error when it stands still or the master ends.
async fn until(
    master: &mut Master,
    wanted: usize,
    what: &str,
    count: impl Fn(&Master) -> usize,
) -> Result<()> {
    let (mut last, mut changed) = (0, Instant::now());
    loop {
        master.check()?;
        let now = count(master);
        if now >= wanted {
            return Ok(());
        }
        if now != last {
            (last, changed) = (now, Instant::now());
        }
        ensure!(changed.elapsed() < STALL, "{now} of {wanted} {what}, and no more for {} s", STALL.as_secs());
        tokio::time::sleep(POLL).await;
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

/// Microseconds for each one.
fn per(cpu: Duration, count: usize) -> f64 {
    cpu.as_secs_f64() * 1e6 / count as f64
}

struct Reading {
    rss: u64,
    /// Since the reading before.
    cpu: Duration,
}

struct Meter {
    pid: i32,
    cpu: Duration,
}

impl Meter {
    fn new(pid: i32) -> Self {
        Self { pid, cpu: Duration::ZERO }
    }

    fn read(&mut self) -> Result<Reading> {
        let cpu = meter::cpu(self.pid)?;
        let since = cpu.saturating_sub(std::mem::replace(&mut self.cpu, cpu));
        Ok(Reading { rss: meter::memory(self.pid).rss, cpu: since })
    }

    fn peak(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }
}

/// The process of the simulated agents; it ends when its input does.
struct Fleet {
    pid: i32,
    child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Fleet {
    async fn start(master: &Master, scratch: &Path, agents: usize) -> Result<Self> {
        let program: PathBuf = std::env::current_exe().context("our own program")?;
        let mut command = Command::new(program);
        command.arg("fleet").arg("--address").arg(master.address.to_string());
        command.arg("--pki").arg(master::pki(scratch)).arg("--agents").arg(agents.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("cannot start the simulated agents")?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).context("the agents' process ended")?;
        let commands = child.stdin.take().context("no way to the agents' process")?;
        let answers = child.stdout.take().context("no way from the agents' process")?;
        Ok(Self { pid, child, commands, answers: BufReader::new(answers).lines() })
    }

    async fn say(&mut self, command: &str) -> Result<()> {
        let line = format!("{command}\n");
        self.commands.write_all(line.as_bytes()).await.context("the agents' process is gone")
    }

    async fn wait(&mut self, answer: &str) -> Result<()> {
        match self.answers.next_line().await.context("reading from the agents' process")? {
            Some(line) if line == answer => Ok(()),
            Some(line) => bail!("the agents' process says {line:?} instead of {answer:?}"),
            None => bail!("the agents' process ended; see its message above"),
        }
    }

    async fn end(self) -> Result<()> {
        let Self { mut child, commands, .. } = self;
        drop(commands);
        let status = child.wait().await.context("waiting for the agents' process")?;
        ensure!(status.success(), "the agents' process failed: {status}");
        Ok(())
    }
}
