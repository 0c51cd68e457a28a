//! What a start costs on this machine, as root:
//! `cargo run --release -p containers --example measure`.
//!
//! CPU is that of agent side, keeper and containers together, as their common
//! control group counts it: from the launch of `/bin/true` until nothing of the
//! container is left. Memory is what sleeping tasks add (PSS), with and without
//! the command's own.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use containers::{Command, Config, ContainerEvent, ImageSource, LaunchSpec, Limits, Runtime};
use model::ContainerId;
use tokio::sync::mpsc;

#[path = "../tests/support/images.rs"]
mod images;

const STARTS: u32 = 200;
const SLEEPERS: u32 = 200;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let ["keeper", "--dir", dir] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return match keeper::run(keeper::Config { dir: dir.into() }) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(measure())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("measure: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Bench {
    runtime: Runtime,
    events: mpsc::Receiver<ContainerEvent>,
    dir: tempfile::TempDir,
    group: String,
    launches: Vec<Duration>,
}

async fn measure() -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let group = format!("dcos-measure-{}", std::process::id());
    let agent = Path::new("/sys/fs/cgroup/cpuacct").join(&group).join("agent");
    fs::create_dir_all(&agent)?;
    fs::write(agent.join("cgroup.procs"), std::process::id().to_string())?;
    let mut config = Config::new(dir.path().join("run"), dir.path().join("images"), std::env::current_exe()?);
    config.cgroup_root = Some(format!("/{group}"));
    config.default_registry = format!("file://{}", dir.path().display());
    images::write_layout(
        &dir.path().join("box"),
        "latest",
        &images::image(&[(images::base_layer(), true)], &serde_json::json!({})),
    );
    let (runtime, events) = Runtime::start(config).await?;
    let mut bench = Bench { runtime, events, dir, group, launches: Vec::new() };
    println!(
        "{:<10} {:>10} {:>14} {:>14} {:>14}",
        "start of", "cpu ms", "running p50", "gone p50", "gone p90"
    );
    for (name, image) in [("process", false), ("image", true)] {
        // The first pays for the image and for cold caches.
        bench.cycle(&format!("{name}-warm"), image).await?;
        let before = bench.cpu_ns()?;
        bench.launches.clear();
        let mut walls = Vec::new();
        for number in 0..STARTS {
            walls.push(bench.cycle(&format!("{name}-{number}"), image).await?);
        }
        let cpu = (bench.cpu_ns()? - before) as f64 / f64::from(STARTS) / 1e6;
        let at = |walls: &mut Vec<Duration>, share: usize| {
            walls.sort();
            walls[walls.len() * share / 100].as_secs_f64() * 1e3
        };
        let running = at(&mut bench.launches, 50);
        println!(
            "{name:<10} {cpu:>10.2} {running:>14.2} {:>14.2} {:>14.2}",
            at(&mut walls, 50),
            at(&mut walls, 90)
        );
    }
    bench.memory().await?;
    bench.runtime.shut_down().await?;
    fs::write("/sys/fs/cgroup/cpuacct/cgroup.procs", std::process::id().to_string())?;
    fs::remove_dir(&agent)?;
    for controller in ["cpu", "cpuacct", "memory", "pids", "devices"] {
        let _ = fs::remove_dir(Path::new("/sys/fs/cgroup").join(controller).join(&bench.group));
    }
    Ok(())
}

impl Bench {
    fn spec(&self, id: &str, image: bool, argv: &[&str]) -> Result<LaunchSpec, Failure> {
        let sandbox = self.dir.path().join("sandbox").join(id);
        fs::create_dir_all(&sandbox)?;
        Ok(LaunchSpec {
            id: ContainerId::new(id),
            sandbox,
            command: Command::Argv(argv.iter().map(|&word| word.to_owned()).collect()),
            env: Vec::new(),
            user: None,
            image: image.then(|| ImageSource { reference: "box".into(), force_pull: false }),
            volumes: Vec::new(),
            limits: Limits { cpus_milli: 1000, mem_mib: 64, pids: 64, cfs: true },
        })
    }

    async fn cycle(&mut self, id: &str, image: bool) -> Result<Duration, Failure> {
        let spec = self.spec(id, image, &["/bin/true"])?;
        let id = spec.id.clone();
        let start = Instant::now();
        self.runtime.launch(spec).await?;
        self.launches.push(start.elapsed());
        while !matches!(self.events.recv().await, Some(ContainerEvent::Exited { .. }) | None) {}
        self.runtime.destroy(&id).await?;
        self.runtime.forget(&id).await?;
        Ok(start.elapsed())
    }

    fn cpu_ns(&self) -> Result<u64, Failure> {
        let path = Path::new("/sys/fs/cgroup/cpuacct").join(&self.group).join("cpuacct.usage");
        Ok(fs::read_to_string(path)?.trim().parse()?)
    }

    async fn memory(&mut self) -> Result<(), Failure> {
        let keeper = keeper::process::children(std::process::id()).into_iter().next().ok_or("no keeper")?;
        let (agent_before, keeper_before) =
            (memory_kib(std::process::id(), "Pss")?, memory_kib(keeper, "Pss")?);
        let mut pids = Vec::new();
        let mut launches = tokio::task::JoinSet::new();
        let start = Instant::now();
        for number in 0..SLEEPERS {
            let spec = self.spec(&format!("sleep-{number}"), false, &["sleep", "1000"])?;
            let runtime = self.runtime.clone();
            launches.spawn(async move { runtime.launch(spec).await });
        }
        while let Some(launched) = launches.join_next().await {
            pids.push(launched??.pid);
        }
        println!("{SLEEPERS} at once: all running after {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
        let mut first = 0;
        let mut commands = 0;
        for pid in &pids {
            first += memory_kib(*pid, "Pss")?;
            for below in keeper::process::descendants(*pid) {
                commands += memory_kib(below, "Pss")?;
            }
        }
        let keeper_after = memory_kib(keeper, "Pss")?;
        let private = memory_kib(keeper, "Private_Dirty")? + memory_kib(keeper, "Private_Clean")?;
        let agent = memory_kib(std::process::id(), "Pss")?.saturating_sub(agent_before);
        let grown = keeper_after.saturating_sub(keeper_before);
        println!("keeper with {SLEEPERS} tasks: {keeper_after} KiB PSS, {private} KiB private");
        let each = |sum: u64| sum as f64 / f64::from(SLEEPERS);
        println!(
            "added per task: {:.1} KiB PSS (first process {:.1}, keeper {:.1}, agent side {:.1}); the command itself {:.1}",
            each(first + grown + agent),
            each(first),
            each(grown),
            each(agent),
            each(commands)
        );
        for number in 0..SLEEPERS {
            let id = ContainerId::new(format!("sleep-{number}"));
            self.runtime.destroy(&id).await?;
            self.runtime.forget(&id).await?;
        }
        Ok(())
    }
}

fn memory_kib(pid: u32, name: &str) -> Result<u64, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.and_then(|rest| rest.split_whitespace().next()).ok_or("no such line")?.parse()?)
}
