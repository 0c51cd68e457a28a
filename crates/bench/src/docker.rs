//! Debian's Docker engine beside the cluster: the same command, the same image.
//!
//! Responsible for a private engine (own data, own socket, no network) and for counting
//! what its containers cost. Where no engine can be started that is a remark, not an
//! error. Invariant: a dropped [`Engine`] has ended with all its processes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::meter::{self, Group};
use crate::report::Report;

const DAEMON: &str = "/usr/sbin/dockerd";
/// Debian's own client: another one in the path may be of another age.
const CLIENT: &str = "/usr/bin/docker";
/// How long the engine gets to start, and to end.
const PATIENCE: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_secs(2);
const IMAGE: &str = "bench";
const MIB: f64 = 1024.0 * 1024.0;

/// A running engine.
struct Engine {
    daemon: Child,
    /// The engine and its containers.
    group: Group,
    /// The client, so that its cost is told apart.
    client: Group,
    socket: String,
    directory: tempfile::TempDir,
}

/// Starts an engine, measures containers one after the other, and ends the engine.
pub async fn measure(layout: &Path, containers: u32, report: &mut Report) -> Result<()> {
    let engine = match Engine::start().await {
        Ok(engine) => engine,
        Err(error) => {
            report.remark(format!("Docker was not measured: {error:#}"));
            return Ok(());
        }
    };
    if let Err(error) = run(&engine, layout, containers, report).await {
        report.remark(format!("Docker was not measured: {error:#}\n{}", engine.log()));
    }
    Ok(())
}

async fn run(engine: &Engine, layout: &Path, containers: u32, report: &mut Report) -> Result<()> {
    let layer = layer(layout)?;
    let entry = r#"ENTRYPOINT ["/bin/sh", "-c"]"#;
    engine.docker(&["import", "--change", entry, &layer.to_string_lossy(), IMAGE])?;
    let start = || engine.docker(&["run", "-d", "--network", "none", IMAGE, "exec sleep 100000"]);
    start().context("the first container")?;
    tokio::time::sleep(SETTLE).await;
    let ours = |pid| ["dockerd", "containerd", "containerd-shim-runc-v2"].iter().any(|name| is(pid, name));
    let memory_before = meter::pss(&engine.group, ours);
    let (cpu_before, client_before) = (engine.group.cpu()?, engine.client.cpu()?);
    let mut times = Vec::new();
    for _ in 0..containers {
        let begin = Instant::now();
        start()?;
        times.push(begin.elapsed().as_secs_f64() * 1000.0);
        // An interrupt is noticed between containers.
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(SETTLE).await;
    let per = |total: f64| vec![total / f64::from(containers)];
    let millis = |duration: Duration| duration.as_secs_f64() * 1000.0;
    let memory = meter::pss(&engine.group, ours);
    let mib = |after: u64, before: u64| (after as f64 - before as f64) / MIB;
    report.note("Docker: CPU per container", "ms", per(millis(engine.group.cpu()? - cpu_before)));
    report.note(
        "  Docker: CPU of its client per container",
        "ms",
        per(millis(engine.client.cpu()? - client_before)),
    );
    report.note("  Docker: docker run -d until it returns", "ms", times);
    report.note(
        "Docker: memory added per container, PSS without the task",
        "MiB",
        per(mib(memory.managing, memory_before.managing)),
    );
    report.note(
        "  Docker: memory added per container, PSS with the task",
        "MiB",
        per(mib(memory.all, memory_before.all)),
    );
    Ok(())
}

fn is(pid: i32, name: &str) -> bool {
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    program.file_name().is_some_and(|file| file == name)
}

/// The only layer of the image, by the layout's own pointers.
fn layer(layout: &Path) -> Result<PathBuf> {
    let read = |path: &Path| -> Result<Value> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", path.display()))
    };
    let blob = |digest: &Value| {
        let hash = digest.as_str().and_then(|digest| digest.strip_prefix("sha256:"));
        hash.map(|hash| layout.join("blobs/sha256").join(hash)).context("the image has no digest")
    };
    let index = read(&layout.join("index.json"))?;
    let manifest = read(&blob(&index["manifests"][0]["digest"])?)?;
    blob(&manifest["layers"][0]["digest"])
}

impl Engine {
    async fn start() -> Result<Self> {
        for program in [DAEMON, CLIENT] {
            if !Path::new(program).exists() {
                bail!("{program} is missing; tools/install-packages bench installs it");
            }
        }
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let name = format!("bench-docker-{}", std::process::id());
        let group = Group::make(&name)?;
        let client = Group::make(&format!("{name}-client")).inspect_err(|_| group.remove())?;
        let at = |file: &str| directory.path().join(file).to_string_lossy().into_owned();
        let socket = format!("unix://{}", at("socket"));
        let arguments = [
            format!("--data-root={}", at("data")),
            format!("--exec-root={}", at("exec")),
            format!("--pidfile={}", at("pid")),
            format!("--config-file={}", at("config.json")),
            format!("--host={socket}"),
            format!("--cgroup-parent=/{name}"),
            "--exec-opt=native.cgroupdriver=cgroupfs".to_owned(),
            "--bridge=none".to_owned(),
            "--iptables=false".to_owned(),
            "--ip6tables=false".to_owned(),
            "--ip-forward=false".to_owned(),
            "--ip-masq=false".to_owned(),
        ];
        let spawned =
            std::fs::write(at("config.json"), "{}").and_then(|()| File::create(at("log"))).and_then(|log| {
                let mut daemon = inside(&group, DAEMON);
                daemon.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
                daemon.spawn()
            });
        let daemon = spawned.inspect_err(|_| {
            group.remove();
            client.remove();
        })?;
        let mut engine = Self { daemon, group, client, socket, directory };
        engine.wait_until_it_answers().await?;
        Ok(engine)
    }

    async fn wait_until_it_answers(&mut self) -> Result<()> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.daemon.try_wait().context("cannot wait for dockerd")? {
                bail!("dockerd ended at once, {status}:\n{}", self.log());
            }
            let Err(error) = self.docker(&["version"]) else { return Ok(()) };
            if begin.elapsed() > PATIENCE {
                return Err(error.context(format!(
                    "no answer within {} s:\n{}",
                    PATIENCE.as_secs(),
                    self.log()
                )));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn docker(&self, arguments: &[&str]) -> Result<String> {
        let mut client = inside(&self.client, CLIENT);
        client.args(["--host", &self.socket]).args(arguments).env("DOCKER_CONFIG", self.directory.path());
        let output: Output = client.output().context("cannot run docker")?;
        if !output.status.success() {
            let first = arguments.first().copied().unwrap_or_default();
            bail!("docker {first} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The end of the engine's log.
    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join("\n")
    }

    /// Ends what is in the engine's group and waits for it, within bounds.
    fn end_rest(&mut self) {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let _ = self.daemon.try_wait();
            let left = self.group.processes();
            if left.is_empty() {
                return;
            }
            for (pid, _) in left {
                signal(pid, rustix::process::Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A command that starts as a member of the group; only the program itself is counted there.
fn inside(group: &Group, program: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", r#"echo $$ >"$0/cgroup.procs" && exec "$@""#]).arg(group.path()).arg(program);
    command
}

fn signal(pid: i32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid).filter(|_| pid > 1) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Ok(ids) = self.docker(&["ps", "--all", "--quiet"]) {
            let mut remove = vec!["rm", "--force"];
            remove.extend(ids.lines());
            if let Err(error) = self
                .docker(&remove)
                .map(drop)
                .or_else(|error| if ids.is_empty() { Ok(()) } else { Err(error) })
            {
                eprintln!("bench: {error:#}");
            }
        }
        if let Ok(pid) = i32::try_from(self.daemon.id()) {
            signal(pid, rustix::process::Signal::TERM);
        }
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE && matches!(self.daemon.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.end_rest();
        // Other hierarchies got groups of the same name from the engine.
        if let Some(name) = self.group.path().file_name() {
            for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
                Group::at(hierarchy.path().join(name)).remove();
            }
        }
        self.group.remove();
        self.client.remove();
    }
}
