//! A real cluster of real processes for one test, and words to speak with it.
//!
//! Each cluster has its own name, data and port; dropping it takes it down and
//! checks that nothing is left. Waits are level-triggered, bounded, and say what
//! they waited for.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

pub const DCOSD: &str = env!("CARGO_BIN_EXE_dcosd");

/// Longest wait for anything in a test.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tells the runner that this test did nothing, and why; past the harness's capture.
pub fn skip(why: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "skipped: {why}");
}

pub fn is_root() -> bool {
    // SAFETY: geteuid only reads the process's credentials.
    unsafe { libc::geteuid() == 0 }
}

/// One cluster at a time.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

pub struct Cluster {
    _turn: tokio::sync::MutexGuard<'static, ()>,
    name: String,
    pub url: String,
    data: tempfile::TempDir,
    client: Client,
    down: bool,
    /// The data lies on a file system of its own.
    mounted: bool,
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Cluster {
    /// Named and placed, nothing started.
    async fn prepared(name: &str) -> Self {
        let name = format!("{name}{}", std::process::id());
        // The second of several tests in one process finds it installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let data = tempfile::tempdir().unwrap();
        let port = free_port().to_string();
        let home = data.path().join("home");
        std::fs::create_dir_all(&home).unwrap();
        Self {
            _turn: TURN.lock().await,
            name,
            url: format!("http://127.0.0.1:{port}"),
            client: Client::builder().timeout(Duration::from_secs(30)).build().unwrap(),
            data,
            down: false,
            mounted: false,
        }
    }

    pub async fn up(name: &str, options: &[&str]) -> Self {
        let cluster = Self::prepared(name).await;
        let port = cluster.port();
        cluster.start(&port, options);
        cluster
    }

    /// With all its data on a small disk of its own, which the test may fill.
    pub async fn up_on_disk(name: &str, mib: u32, options: &[&str]) -> Self {
        let mut cluster = Self::prepared(name).await;
        let at = cluster.data();
        std::fs::create_dir_all(&at).unwrap();
        let size = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).status();
        assert!(mounted.unwrap().success(), "mounting a tmpfs on {}", at.display());
        cluster.mounted = true;
        let port = cluster.port();
        cluster.start(&port, options);
        cluster
    }

    fn port(&self) -> String {
        self.url.rsplit_once(':').map(|(_, port)| port.to_owned()).unwrap()
    }

    fn start(&self, port: &str, options: &[&str]) {
        let mut arguments = vec!["up", "--port", port];
        arguments.extend(options);
        self.dev(&arguments);
    }

    pub fn data(&self) -> PathBuf {
        self.data.path().join("cluster")
    }

    pub fn dev_output(&self, arguments: &[&str]) -> Output {
        Command::new(DCOSD)
            .arg("dev")
            .args(arguments)
            .args(["--name", &self.name])
            .arg("--data-dir")
            .arg(self.data())
            .env("HOME", self.data.path().join("home"))
            .output()
            .unwrap()
    }

    /// Runs a command on a node.
    pub fn shell(&self, node: &str, command: &[&str]) -> Output {
        Command::new(DCOSD)
            .args(["dev", "--name", &self.name, "--data-dir"])
            .arg(self.data())
            .args(["shell", node])
            .args(command)
            .output()
            .unwrap()
    }

    /// Runs `dcosd dev …`, which must succeed.
    pub fn dev(&self, arguments: &[&str]) -> String {
        let output = self.dev_output(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "dcosd dev {arguments:?} failed:\n{out}{err}");
        out.into_owned()
    }

    /// Runs the `dcos` command, which must be built beside `dcosd`.
    pub fn dcos(&self, arguments: &[&str]) -> Output {
        let program = Path::new(DCOSD).with_file_name("dcos");
        Command::new(&program)
            .args(arguments)
            .env("DCOS_URL", &self.url)
            .env("HOME", self.data.path().join("home"))
            .output()
            .unwrap_or_else(|error| {
                panic!("{}: {error}; build it with cargo build -p dcos-cli", program.display())
            })
    }

    pub fn status(&self) -> Value {
        serde_json::from_str(&self.dev(&["status", "--json"])).unwrap()
    }

    pub fn node(&self, name: &str) -> Value {
        let status = self.status();
        let nodes = status["nodes"].as_array().unwrap();
        nodes
            .iter()
            .find(|node| node["name"] == name)
            .unwrap_or_else(|| panic!("no node {name}: {status}"))
            .clone()
    }

    pub fn pid(&self, node: &str) -> i32 {
        i32::try_from(self.node(node)["pid"].as_i64().unwrap()).unwrap()
    }

    /// Kills the node's daemon as `kill -9` does; its supervisor starts it again.
    pub fn kill_daemon(&self, node: &str) -> i32 {
        let pid = self.pid(node);
        kill(pid);
        pid
    }

    pub async fn call(&self, method: Method, path: &str, body: Option<String>) -> (StatusCode, String) {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        match request.send().await {
            Ok(response) => (response.status(), response.text().await.unwrap_or_default()),
            Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        }
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, text) = self.call(Method::GET, path, None).await;
        serde_json::from_str(&text).unwrap_or_else(|_| json!({ "status": status.as_u16(), "text": text }))
    }

    pub async fn add(&self, app: Value) {
        let (status, text) =
            self.call(Method::POST, "/service/marathon/v2/apps", Some(app.to_string())).await;
        assert_eq!(status, StatusCode::CREATED, "{text}");
    }

    pub async fn remove(&self, app: &str) {
        let path = format!("/service/marathon/v2/apps{app}?force=true");
        let (status, text) = self.call(Method::DELETE, &path, None).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        self.wait(&format!("{app} to be gone"), async || {
            let tasks = self.get("/service/marathon/v2/tasks").await;
            let left = tasks["tasks"].as_array()?.iter().filter(|task| task["appId"] == app).count();
            (left == 0).then_some(())
        })
        .await;
    }

    pub async fn tasks(&self, app: &str) -> Vec<Value> {
        let answer = self.get(&format!("/service/marathon/v2/apps{app}/tasks")).await;
        answer["tasks"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until exactly `count` tasks run and no other is there.
    pub async fn running(&self, app: &str, count: usize) -> Vec<Value> {
        self.wait(&format!("{count} running tasks of {app}"), async || {
            let tasks = self.tasks(app).await;
            let running = tasks.iter().filter(|task| task["state"] == "TASK_RUNNING").count();
            (running == count && tasks.len() == count).then_some(tasks)
        })
        .await
    }

    /// Waits until it gives something; panics with what it waited for.
    pub async fn wait<T>(&self, what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(value) = probe().await {
                return value;
            }
            if begin.elapsed() > PATIENCE {
                let apps =
                    self.get("/service/marathon/v2/apps?embed=apps.tasks&embed=apps.lastTaskFailure").await;
                let queue = self.get("/service/marathon/v2/queue").await;
                let slaves = self.get("/mesos/slaves").await;
                panic!(
                    "waited {PATIENCE:?} for {what}\napps: {apps}\nqueue: {queue}\nagents: {slaves}\n{}",
                    self.logs()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn logs(&self) -> String {
        let mut text = String::new();
        for node in self.status()["nodes"].as_array().unwrap() {
            let name = node["name"].as_str().unwrap();
            let output = self.dev_output(&["logs", name, "-n", "30"]);
            text.push_str(&format!("--- {name}\n{}", String::from_utf8_lossy(&output.stdout)));
        }
        text
    }

    /// The agent's id by its node's name (nodes are named as their agents' hostnames).
    pub async fn agent_id(&self, node: &str) -> String {
        let address = self.node(node)["address"].as_str().unwrap().to_owned();
        let slaves = self.get("/mesos/slaves").await;
        let slave = slaves["slaves"]
            .as_array()
            .unwrap()
            .iter()
            .find(|slave| slave["hostname"] == address.as_str() || slave["hostname"] == node);
        slave.unwrap_or_else(|| panic!("{node} is not in {slaves}"))["id"].as_str().unwrap().to_owned()
    }

    /// The node on which an agent id lives.
    pub async fn node_of(&self, agent_id: &str) -> String {
        for node in self.status()["nodes"].as_array().unwrap() {
            let name = node["name"].as_str().unwrap();
            if node["role"] != "master" && self.agent_id(name).await == agent_id {
                return name.to_owned();
            }
        }
        panic!("no node has the agent {agent_id}");
    }

    /// What the task wrote to a file of its sandbox, through the API.
    pub async fn file(&self, task: &Value, file: &str) -> String {
        let (agent, id) = (task["slaveId"].as_str().unwrap(), task["id"].as_str().unwrap());
        let state = self.get(&format!("/agent/{agent}/state")).await;
        let directory =
            find_directory(&state, id).unwrap_or_else(|| panic!("no directory of {id} in {state}"));
        let path = format!("/agent/{agent}/files/read?path={directory}/{file}&offset=0&length=65536");
        let read = self.get(&path).await;
        read["data"].as_str().unwrap_or_else(|| panic!("{path}: {read}")).to_owned()
    }

    /// The task's own pid on the host, by its id in the process's environment.
    pub fn task_pid(&self, task: &Value) -> i32 {
        let id = task["id"].as_str().unwrap();
        task_pids(id).into_iter().next_back().unwrap_or_else(|| panic!("no process of {id}"))
    }

    /// Waits until no container has a control group, on any node.
    pub async fn no_container_left(&self) {
        let pattern = format!("*{}*/mesos/*", self.name);
        self.wait("the control groups of containers to go", async || {
            let found =
                Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-path", &pattern]).output();
            found.ok()?.stdout.is_empty().then_some(())
        })
        .await;
    }

    pub fn down(&mut self) {
        if self.down {
            return;
        }
        self.down = true;
        self.dev(&["down"]);
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&self.name), "mounts are left:\n{mounts}");
        for pid in pids() {
            let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { continue };
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            assert!(!line.contains(&format!("{}/", self.name)), "process {pid} is left: {line}");
        }
        let pattern = format!("*{}*", self.name);
        let found =
            Command::new("find").args(["/sys/fs/cgroup", "-maxdepth", "3", "-name", &pattern]).output();
        let left = found.unwrap().stdout;
        assert!(left.is_empty(), "cgroups are left: {}", String::from_utf8_lossy(&left));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.down && std::thread::panicking() {
            let _ = self.dev_output(&["down"]);
        } else {
            self.down();
        }
        if self.mounted {
            let _ = Command::new("umount").arg(self.data()).status();
        }
    }
}

fn find_directory(state: &Value, task: &str) -> Option<String> {
    for list in ["frameworks", "completed_frameworks"] {
        for framework in state[list].as_array().into_iter().flatten() {
            for executors in ["executors", "completed_executors"] {
                for executor in framework[executors].as_array().into_iter().flatten() {
                    if executor["id"] == task {
                        return executor["directory"].as_str().map(str::to_owned);
                    }
                }
            }
        }
    }
    None
}

pub fn kill(pid: i32) {
    assert!(pid > 1);
    // SAFETY: a plain signal to a process that this test's cluster started.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

pub fn pids() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let mut pids: Vec<i32> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

/// Processes with this task's id in their environment, oldest first.
pub fn task_pids(task_id: &str) -> Vec<i32> {
    let needle = format!("MESOS_TASK_ID={task_id}\0");
    let has = |pid: &i32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.windows(needle.len()).any(|window| window == needle.as_bytes())
    };
    pids().into_iter().filter(has).collect()
}

/// Start time of a process in clock ticks since boot: with its pid, its identity.
pub fn start_time(pid: i32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().nth(19).unwrap_or("").to_owned());
    fields.unwrap_or_default()
}

pub fn app(id: &str, cmd: &str) -> Value {
    json!({ "id": id, "cmd": cmd, "cpus": 0.1, "mem": 32, "backoffSeconds": 0 })
}
