//! A node for tests: own directories, own control groups, own keeper, and a
//! check that nothing is left of it.
#![allow(clippy::unwrap_used, dead_code)]

pub mod images;
pub mod registry;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use containers::{Command, Config, ContainerEvent, ExitStatus, LaunchSpec, Limits, Runtime};
use model::ContainerId;
use tokio::sync::mpsc;

pub const PATIENCE: Duration = Duration::from_secs(20);

static NODES: AtomicU32 = AtomicU32::new(0);

pub struct Node {
    pub dir: tempfile::TempDir,
    pub runtime: Runtime,
    pub events: mpsc::Receiver<ContainerEvent>,
    pub cgroup: String,
    pub config: Config,
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// For tests whose subject needs root.
pub fn skip_without_root() -> bool {
    if !is_root() {
        println!("skipped: needs root");
    }
    !is_root()
}

pub fn keeper_program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_keeper-for-tests"))
}

impl Node {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let number = NODES.fetch_add(1, Ordering::Relaxed);
        let cgroup = format!("dcos-test-{}-{number}", std::process::id());
        let mut config = Config::new(dir.path().join("run"), dir.path().join("images"), keeper_program());
        config.cgroup_root = Some(format!("/{cgroup}"));
        config.default_registry = format!("file://{}", dir.path().join("layouts").display());
        change(&mut config);
        let (runtime, events) = Runtime::start(config.clone()).await.unwrap();
        Self { dir, runtime, events, cgroup, config }
    }

    /// A new agent side on the same node; the keeper stays.
    pub async fn restart(&mut self) {
        let (runtime, events) = Runtime::start(self.config.clone()).await.unwrap();
        self.runtime = runtime;
        self.events = events;
    }

    pub fn spec(&self, id: &str, command: Command) -> LaunchSpec {
        let sandbox = self.dir.path().join("sandbox").join(id);
        fs::create_dir_all(&sandbox).unwrap();
        LaunchSpec {
            id: ContainerId::new(id),
            sandbox,
            command,
            env: Vec::new(),
            user: None,
            image: None,
            volumes: Vec::new(),
            limits: Limits { cpus_milli: 100, mem_mib: 64, pids: 64, cfs: true },
        }
    }

    pub fn shell(&self, id: &str, script: &str) -> LaunchSpec {
        self.spec(id, Command::Shell(script.into()))
    }

    pub fn output(&self, id: &str) -> String {
        fs::read_to_string(self.dir.path().join("sandbox").join(id).join("stdout")).unwrap_or_default()
    }

    pub async fn wait_output(&self, id: &str, expected: &str) {
        until(&format!("{expected:?} in the output of {id}"), || {
            self.output(id).contains(expected).then_some(())
        })
        .await;
    }

    /// The next exit, skipping other events.
    pub async fn exit(&mut self) -> (String, ExitStatus, bool, Option<String>) {
        let next = async {
            loop {
                match self.events.recv().await.expect("the runtime runs") {
                    ContainerEvent::Exited { id, status, oom, mem_limit_message } => {
                        return (id.as_str().to_owned(), status, oom, mem_limit_message);
                    }
                    ContainerEvent::Pulling { .. } => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("an exit in time")
    }

    pub async fn run(&mut self, spec: LaunchSpec) -> (ExitStatus, String) {
        let id = spec.id.clone();
        self.runtime.launch(spec).await.unwrap();
        let (ended, status, ..) = self.exit().await;
        assert_eq!(ended, id.as_str());
        self.runtime.destroy(&id).await.unwrap();
        self.runtime.forget(&id).await.unwrap();
        (status, self.output(id.as_str()))
    }

    pub fn keeper_pid(&self) -> u32 {
        keeper_of(&self.config.runtime_dir).expect("a keeper")
    }

    pub fn group(&self, controller: &str, id: &str) -> PathBuf {
        Path::new("/sys/fs/cgroup").join(controller).join(&self.cgroup).join("mesos").join(id)
    }

    /// Ends everything and fails if anything is left on the machine.
    pub async fn finish(self) {
        let ids: Vec<ContainerId> = self.runtime.recover().await.into_iter().map(|found| found.id).collect();
        for id in &ids {
            self.runtime.destroy(id).await.unwrap();
            self.runtime.forget(id).await.unwrap();
        }
        self.runtime.shut_down().await.unwrap();
        let run = self.config.runtime_dir.clone();
        until("the keeper's end", || keeper_of(&run).is_none().then_some(())).await;
        let left: Vec<String> = fs::read_dir(run.join("containers"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        assert!(left.is_empty(), "records left: {left:?}");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = self.dir.path().to_str().unwrap();
        assert!(!mounts.contains(own), "mounts left in {own}");
        for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let group = controller.path().join(&self.cgroup);
            assert!(
                !group.join("mesos").exists() && !group.join("keeper").exists(),
                "groups left in {}",
                group.display()
            );
            let _ = fs::remove_dir(&group);
        }
    }
}

/// A failed test leaves nothing on the machine either.
impl Drop for Node {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let run = &self.config.runtime_dir;
        for id in keeper::record::Record::list(run).unwrap_or_default() {
            if let Some(identity) = keeper::record::Record::of(run, &id).identity() {
                let _ = keeper::process::signal(identity, rustix::process::Signal::KILL, true);
            }
        }
        for _ in 0..100 {
            // The agent side may start another one until it is gone itself.
            let Some(pid) = keeper_of(run) else { break };
            kill(pid);
            std::thread::sleep(Duration::from_millis(10));
        }
        for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let group = controller.path().join(&self.cgroup);
            for below in fs::read_dir(group.join("mesos")).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(below.path());
            }
            for path in [group.join("mesos"), group.join("keeper"), group] {
                let _ = fs::remove_dir(path);
            }
        }
    }
}

pub fn keeper_of(dir: &Path) -> Option<u32> {
    let wanted = fs::canonicalize(dir).ok()?;
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.into_iter().find(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|&byte| byte == 0);
        words.next().is_some_and(|program| program.ends_with(b"keeper-for-tests"))
            && words.any(|word| word == wanted.to_str().unwrap().as_bytes())
    })
}

pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

pub fn is_alive(pid: u32) -> bool {
    keeper::process::start_time(pid).is_some() && !keeper::process::is_zombie(pid)
}

pub fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
