//! How each promise about the cluster is measured.
//!
//! Responsible for the load and for what is counted. Invariant: every measure leaves
//! the cluster without apps, and counters are read only when nothing is in progress.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::meter::{self, Group};
use crate::report::{Promise, Report};

/// What every measured task runs.
const COMMAND: &str = "exec sleep 100000";
/// What the first process of every container calls itself.
const CONTAINER_INIT: &str = "dcos-init";
/// How long daemons get to finish what they do after an answer.
const SETTLE: Duration = Duration::from_secs(2);
/// How often the large app is asked for its number of running tasks.
const ASK_EVERY: Duration = Duration::from_millis(20);
const MIB: f64 = 1024.0 * 1024.0;

/// Many of these fit on a small machine. Their quota is the kernel's least, 1 ms of every 100 ms.
const CPUS_OF_MANY: f64 = 0.001;
/// Of a task alone: its quota does not slow its start down.
const CPUS_OF_ONE: f64 = 0.1;
/// Pause between single tasks, so that each is a request of its own and not a burst.
const PAUSE: Duration = Duration::from_millis(200);

fn plain(id: &str, instances: u32, cpus: f64) -> Value {
    json!({ "id": id, "cmd": COMMAND, "cpus": cpus, "mem": 32, "instances": instances, "backoffSeconds": 0 })
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Of an idle cluster's daemons: memory, CPU, and the size of their program.
pub async fn idle(cluster: &Cluster, seconds: u64, report: &mut Report) -> Result<()> {
    let size = cluster.program().metadata().context("the program is gone")?.len();
    report.add(Promise::ProgramSize, vec![size as f64 / 1e6]);
    tokio::time::sleep(3 * SETTLE).await;
    let daemons = watched(cluster)?;
    let before = cpu_of(&daemons)?;
    let begin = Instant::now();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let used = cpu_of(&daemons)?;
    let watched = begin.elapsed();
    let mut total = 0;
    for (((name, pid), before), after) in daemons.iter().zip(&before).zip(&used) {
        let memory = meter::memory(*pid);
        total += memory.rss;
        report.note(&format!("  {name}: RSS"), "MiB", vec![memory.rss as f64 / MIB]);
        report.note(
            &format!("  {name}: of it its own, not of files"),
            "MiB",
            vec![memory.anonymous as f64 / MIB],
        );
        report.note(&format!("  {name}: CPU"), "%", vec![percent(*after - *before, watched)]);
    }
    report.add(Promise::IdleMemory, vec![total as f64 / MIB]);
    let cpu = used.iter().sum::<Duration>() - before.iter().sum::<Duration>();
    report.add(Promise::IdleCpu, vec![percent(cpu, watched)]);
    Ok(())
}

fn percent(used: Duration, watched: Duration) -> f64 {
    used.as_secs_f64() / watched.as_secs_f64() * 100.0
}

fn cpu_of(daemons: &[(String, i32)]) -> Result<Vec<Duration>> {
    daemons.iter().map(|(_, pid)| meter::cpu(*pid)).collect()
}

/// The daemons of all nodes and the agent's keeper; not the development cluster's own supervisors.
fn watched(cluster: &Cluster) -> Result<Vec<(String, i32)>> {
    let mut found = cluster.daemons()?;
    let keepers = cluster.group()?.processes().into_iter().filter(|(_, group)| group.ends_with("keeper"));
    found.extend(keepers.map(|(pid, _)| ("keeper".to_owned(), pid)));
    if found.len() != 3 {
        bail!("expected a master, an agent and a keeper, found {found:?}");
    }
    Ok(found)
}

/// Starting and stopping one large app.
#[derive(Default)]
struct Large {
    seconds: Vec<f64>,
    cpu_per_start: Vec<f64>,
    cpu_per_stop: Vec<f64>,
    all_memory: Vec<f64>,
    managing_memory: Vec<f64>,
}

async fn large(cluster: &Cluster, app: &Value, instances: u32, rounds: u32) -> Result<Large> {
    let group = cluster.group()?;
    let id = app["id"].as_str().context("an app has an id")?;
    let mut large = Large::default();
    let share = |bytes: u64, before: u64| (bytes as f64 - before as f64) / MIB / f64::from(instances);
    for _ in 0..rounds {
        // A container's first process is of neither the daemons' program nor the task.
        let manages = |pid| meter::runs(pid, cluster.program()) || meter::name(pid) == CONTAINER_INIT;
        let memory_before = meter::pss(&group, manages);
        let cpu_before = group.cpu()?;
        let begin = Instant::now();
        cluster.add(app).await?;
        running(cluster, id, instances).await?;
        large.seconds.push(begin.elapsed().as_secs_f64());
        tokio::time::sleep(SETTLE).await;
        let cpu_running = group.cpu()?;
        large.cpu_per_start.push(millis(cpu_running - cpu_before) / f64::from(instances));
        let memory = meter::pss(&group, manages);
        large.all_memory.push(share(memory.all, memory_before.all));
        large.managing_memory.push(share(memory.managing, memory_before.managing));
        let cpu_before = group.cpu()?;
        cluster.remove(id).await?;
        tokio::time::sleep(SETTLE).await;
        large.cpu_per_stop.push(millis(group.cpu()? - cpu_before) / f64::from(instances));
    }
    Ok(large)
}

/// Waits until exactly this many tasks run; asks for numbers only, which costs the daemons little.
async fn running(cluster: &Cluster, app: &str, instances: u32) -> Result<()> {
    let what = format!("{instances} running tasks of {app}");
    let path = format!("/v2/apps{app}");
    cluster
        .wait(&what, ASK_EVERY, async || {
            let answer = cluster.get(&path).await?;
            Ok((answer["app"]["tasksRunning"] == instances).then_some(()))
        })
        .await
}

/// The large app of plain processes.
pub async fn processes(cluster: &Cluster, instances: u32, rounds: u32, report: &mut Report) -> Result<()> {
    // The first start of all reads files and grows heaps; that is not what is promised.
    large(cluster, &plain("/warm", 1, CPUS_OF_MANY), 1, 1).await?;
    let large = large(cluster, &plain("/processes", instances, CPUS_OF_MANY), instances, rounds).await?;
    if instances == 200 {
        report.add(Promise::LargeApp, large.seconds);
    } else {
        report.note(
            &format!("app with {instances} plain processes, request to all running"),
            "s",
            large.seconds,
        );
    }
    report.add(Promise::CpuPerProcess, large.cpu_per_start);
    report.note("  CPU per stop, plain process", "ms", large.cpu_per_stop);
    report.add(Promise::MemoryPerTask, large.managing_memory);
    report.note("  memory added per task, PSS with the task", "MiB", large.all_memory);
    Ok(())
}

/// A smaller app, each task in a container of an image that is unpacked already.
pub async fn image(
    cluster: &Cluster,
    layout: &Path,
    instances: u32,
    rounds: u32,
    report: &mut Report,
) -> Result<()> {
    let app = |id: &str, instances| {
        let mut app = plain(id, instances, CPUS_OF_MANY);
        let image = format!("oci:{}", layout.display());
        app["container"] = json!({ "type": "MESOS", "docker": { "image": image } });
        app
    };
    large(cluster, &app("/unpack", 1), 1, 1).await?;
    let large = large(cluster, &app("/image", instances), instances, rounds).await?;
    report.add(Promise::CpuPerImage, large.cpu_per_start);
    report.note(&format!("  app with {instances} containers, request to all running"), "s", large.seconds);
    report.note("  CPU per stop, image", "ms", large.cpu_per_stop);
    report.note("  memory added per container, PSS without the task", "MiB", large.managing_memory);
    report.note("  memory added per container, PSS with the task", "MiB", large.all_memory);
    Ok(())
}

/// One task at a time, from the request to the event that it runs.
pub async fn one(cluster: &Cluster, repeat: u32, report: &mut Report) -> Result<()> {
    report.add(Promise::OneTask, single(cluster, repeat, CPUS_OF_ONE).await?);
    let throttled = single(cluster, repeat, CPUS_OF_MANY).await?;
    report.note("  the same with a quota of 1 ms in 100 ms", "ms", throttled);
    Ok(())
}

async fn single(cluster: &Cluster, repeat: u32, cpus: f64) -> Result<Vec<f64>> {
    let mut events = cluster.events().await?;
    let mut times = Vec::new();
    for number in 0..repeat {
        let id = format!("/one-{number}");
        let begin = Instant::now();
        cluster.add(&plain(&id, 1, cpus)).await?;
        let (time, _) = events.running(&id, "").await?;
        times.push(millis(time.saturating_duration_since(begin)));
        cluster.remove(&id).await?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(times)
}

/// One task, killed again and again from outside.
pub async fn replace(cluster: &Cluster, repeat: u32, report: &mut Report) -> Result<()> {
    let mut events = cluster.events().await?;
    cluster.add(&plain("/replace", 1, CPUS_OF_ONE)).await?;
    let (_, mut task) = events.running("/replace", "").await?;
    let mut times = Vec::new();
    let group: Group = cluster.group()?;
    for _ in 0..repeat {
        tokio::time::sleep(PAUSE).await;
        let pid = meter::task_process(&task)?;
        if !group.processes().iter().any(|(member, _)| *member == pid) {
            bail!("process {pid} with the id of task {task} is not of this cluster");
        }
        let begin = Instant::now();
        kill(pid)?;
        let (time, next) = events.running("/replace", &task).await?;
        times.push(millis(time.saturating_duration_since(begin)));
        task = next;
    }
    cluster.remove("/replace").await?;
    report.add(Promise::Replacement, times);
    Ok(())
}

fn kill(pid: i32) -> Result<()> {
    let target = rustix::process::Pid::from_raw(pid).filter(|_| pid > 1);
    let target = target.with_context(|| format!("{pid} is no process to kill"))?;
    rustix::process::kill_process(target, rustix::process::Signal::KILL)
        .with_context(|| format!("cannot kill {pid}"))
}
