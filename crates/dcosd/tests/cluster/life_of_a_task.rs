//! A task's whole way on a real cluster: commands, images, limits, environment.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{Cluster, app, is_root, task_pids};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools")
}

fn make_image(dir: &Path) {
    let output = Command::new(tools().join("make-image")).arg(dir).output().unwrap();
    assert!(output.status.success(), "make-image: {}", String::from_utf8_lossy(&output.stderr));
}

fn limit_file(pid: i32, controller: &str, file: &str) -> String {
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let line = cgroups
        .lines()
        .find(|line| {
            line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == controller))
        })
        .unwrap_or_else(|| panic!("no {controller} in {cgroups}"));
    let path = line.splitn(3, ':').nth(2).unwrap();
    let path = format!("/sys/fs/cgroup/{controller}{path}/{file}");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
}

fn namespace(pid: i32, kind: &str) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap()
}

fn check_limits_and_namespaces(cluster: &Cluster, task: &Value, node: &str) {
    let pid = cluster.task_pid(task);
    assert_eq!(limit_file(pid, "memory", "memory.limit_in_bytes"), (64 * 1024 * 1024).to_string());
    assert_eq!(limit_file(pid, "cpu", "cpu.shares"), "512");
    assert_eq!(limit_file(pid, "cpu", "cpu.cfs_quota_us"), "50000");
    assert_eq!(limit_file(pid, "pids", "pids.max"), "4096");
    let daemon = cluster.pid(node);
    for kind in ["pid", "mnt", "uts", "ipc"] {
        assert_ne!(
            namespace(pid, kind),
            namespace(daemon, kind),
            "{kind} namespace is shared with the agent"
        );
    }
    assert_eq!(namespace(pid, "net"), namespace(daemon, "net"), "host networking shares the node's network");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_with_its_environment_and_limits() {
    if !is_root() {
        crate::support::skip("limits and namespaces need root");
        return;
    }
    let mut cluster = Cluster::up("cmd", &["--agents", "1", "--public-agents", "0"]).await;
    cluster
        .add(json!({
            "id": "/shop/web",
            "cmd": "env; echo on stderr >&2; cat /proc/self/status | head -1; exec sleep 1000",
            "cpus": 0.5, "mem": 64, "env": {"GREETING": "hello world"}, "labels": {"tier": "front"}
        }))
        .await;
    let task = cluster.running("/shop/web", 1).await.remove(0);
    let out = cluster
        .wait("the output", async || {
            let text = cluster.file(&task, "stdout").await;
            text.contains("Name:").then_some(text)
        })
        .await;
    let port = task["ports"][0].as_u64().unwrap();
    let host = task["host"].as_str().unwrap();
    for line in [
        format!("PORT0={port}"),
        format!("PORT={port}"),
        format!("HOST={host}"),
        format!("MESOS_TASK_ID={}", task["id"].as_str().unwrap()),
        "MARATHON_APP_ID=/shop/web".to_owned(),
        "MARATHON_APP_RESOURCE_CPUS=0.5".to_owned(),
        "MARATHON_APP_RESOURCE_MEM=64.0".to_owned(),
        "MARATHON_APP_LABEL_TIER=front".to_owned(),
        "GREETING=hello world".to_owned(),
    ] {
        assert!(out.lines().any(|have| have == line), "{line} is missing in:\n{out}");
    }
    assert!(out.lines().any(|line| line.starts_with("MESOS_SANDBOX=/")), "{out}");
    assert_eq!(cluster.file(&task, "stderr").await.trim(), "on stderr");
    let node = cluster.node_of(task["slaveId"].as_str().unwrap()).await;
    check_limits_and_namespaces(&cluster, &task, &node);
    sandbox_cannot_be_left(&cluster, &task).await;
    cluster.remove("/shop/web").await;
    assert!(task_pids(task["id"].as_str().unwrap()).is_empty(), "the task's processes are left");
    another_user_runs_it(&cluster).await;
    memory_limit_holds(&cluster).await;
    cluster.no_container_left().await;
    cluster.down();
}

async fn sandbox_cannot_be_left(cluster: &Cluster, task: &Value) {
    let agent = task["slaveId"].as_str().unwrap();
    for path in ["/../../../../etc/passwd", "/etc/passwd", "..", "/var/lib/../../etc/shadow"] {
        let (status, text) =
            cluster.call(Method::GET, &format!("/agent/{agent}/files/read?path={path}&offset=0"), None).await;
        assert!(status.is_client_error(), "{path}: {status} {text}");
        assert!(!text.contains("root:"), "{path} shows a file outside: {text}");
    }
}

async fn another_user_runs_it(cluster: &Cluster) {
    let mut nobody = app("/nobody", "id -un > who; cat who; exec sleep 1000");
    nobody["user"] = json!("nobody");
    cluster.add(nobody).await;
    let task = cluster.running("/nobody", 1).await.remove(0);
    cluster
        .wait("its user's name", async || {
            (cluster.file(&task, "stdout").await.trim() == "nobody").then_some(())
        })
        .await;
    cluster.remove("/nobody").await;
    // Too large for a checkpoint: refused with the figures, and the agent goes on.
    let mut large = app("/large-args", "x");
    large["cmd"] = serde_json::Value::Null;
    large["args"] = json!(["/bin/echo", "x".repeat(600_000)]);
    large["backoffSeconds"] = json!(3600);
    let (status, text) =
        cluster.call(Method::POST, "/service/marathon/v2/apps", Some(large.to_string())).await;
    if status == StatusCode::CREATED {
        let failure = cluster
            .wait("/large-args to fail", async || {
                let app = cluster.get("/service/marathon/v2/apps/large-args").await;
                app["app"]["lastTaskFailure"].as_object().cloned()
            })
            .await;
        assert!(failure["message"].as_str().unwrap().contains("bytes"), "{failure:?}");
        cluster.remove("/large-args").await;
    } else {
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{text}");
    }
}

async fn memory_limit_holds(cluster: &Cluster) {
    let mut greedy = app("/greedy", "head -c 300m /dev/zero | tail | sleep 1000; sleep 1000");
    greedy["cmd"] = json!("x=$(head -c 200000000 /dev/zero | tr '\\0' 'x'); echo ${#x}; sleep 1000");
    greedy["backoffSeconds"] = json!(3600);
    cluster.add(greedy).await;
    let failure = cluster
        .wait("the memory limit to end /greedy", async || {
            let app = cluster.get("/service/marathon/v2/apps/greedy").await;
            app["app"]["lastTaskFailure"].as_object().cloned()
        })
        .await;
    assert_eq!(failure["state"], "TASK_FAILED");
    assert!(failure["message"].as_str().unwrap().to_lowercase().contains("memory"), "{failure:?}");
    cluster.remove("/greedy").await;
}

struct Registry(Child);

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_registry(dir: &Path, port: u16) -> Registry {
    let config = dir.join("registry.yml");
    let root = dir.join("registry");
    let text = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
        root.display()
    );
    std::fs::write(&config, text).unwrap();
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let registry = Registry(child.expect("docker-registry is missing: tools/install-packages images"));
    for _ in 0..200 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return registry;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the registry does not answer on port {port}");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_come_from_a_layout_and_from_a_registry() {
    if !is_root() {
        crate::support::skip("images need root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("layout");
    make_image(&layout);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _registry = start_registry(dir.path(), port);
    let name = format!("127.0.0.1:{port}/hello:latest");
    let pushed = Command::new(tools().join("push-image")).arg(&layout).arg(&name).output().unwrap();
    assert!(pushed.status.success(), "push-image: {}", String::from_utf8_lossy(&pushed.stderr));
    let host_port = port.to_string();
    let mut cluster =
        Cluster::up("img", &["--agents", "1", "--public-agents", "0", "--host-port", &host_port]).await;
    // First, while no layer of the good image is there to make up for a bad one.
    bad_images(&cluster, &layout).await;
    for (id, image) in [("/layout", format!("oci:{}", layout.display())), ("/registry", name)] {
        cluster
            .add(json!({
                "id": id, "cpus": 0.5, "mem": 64, "container": {"type": "MESOS", "docker": {"image": image}},
                "cmd": "echo root=$(ls / | tr '\\n' ' '); cat /proc/1/comm; pwd; echo $MESOS_SANDBOX; exec sleep 1000"
            }))
            .await;
        let task = cluster.running(id, 1).await.remove(0);
        let out = cluster
            .wait("the output", async || {
                let text = cluster.file(&task, "stdout").await;
                text.contains("/mnt/mesos/sandbox").then_some(text)
            })
            .await;
        assert!(!out.contains("home") && out.contains("bin"), "{id} sees the host's files: {out}");
        let node = cluster.node_of(task["slaveId"].as_str().unwrap()).await;
        check_limits_and_namespaces(&cluster, &task, &node);
        cluster.remove(id).await;
    }
    cluster.no_container_left().await;
    cluster.down();
}

async fn bad_images(cluster: &Cluster, layout: &Path) {
    let corrupt = layout.with_file_name("corrupt");
    let copied = Command::new("cp").arg("-r").arg(layout).arg(&corrupt).status().unwrap();
    assert!(copied.success());
    // The largest blob is the layer: flip bytes in its middle.
    let blobs = std::fs::read_dir(corrupt.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    let layer = blobs.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&layer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&layer, bytes).unwrap();
    let cases = [
        ("/corrupt", format!("oci:{}", corrupt.display()), "corrupt: expected sha256:"),
        ("/missing", "127.0.0.1:1/nothing:latest".to_owned(), "127.0.0.1:1"),
        ("/nolayout", "oci:/nonexistent/layout".to_owned(), "/nonexistent/layout"),
    ];
    for (id, image, word) in cases {
        let mut bad = app(id, "sleep 1000");
        bad["container"] = json!({"type": "MESOS", "docker": {"image": image}});
        bad["backoffSeconds"] = json!(3600);
        cluster.add(bad).await;
        let failure = cluster
            .wait(&format!("{id} to fail"), async || {
                cluster.get(&format!("/service/marathon/v2/apps{id}")).await["app"]["lastTaskFailure"]
                    .as_object()
                    .cloned()
            })
            .await;
        assert_eq!(failure["state"], "TASK_FAILED");
        assert!(failure["message"].as_str().unwrap().contains(word), "{id}: {failure:?}");
        cluster.remove(id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_with_reasons() {
    let mut cluster = Cluster::up("bad", &["--agents", "1", "--public-agents", "0"]).await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let cases: Vec<(&str, String, u16, &str)> = vec![
        ("not JSON", "{".to_owned(), 400, "Invalid JSON"),
        ("empty", String::new(), 400, "Please specify data in JSON format"),
        ("deep", deep.clone(), 400, "Invalid JSON"),
        ("deep inside", format!("{{\"id\":\"/a\",\"cmd\":\"x\",\"env\":{deep}}}"), 400, "Invalid JSON"),
        (
            "wrong type",
            json!({"id": "/a", "cmd": "sleep 1", "instances": "many"}).to_string(),
            422,
            "/instances",
        ),
        ("negative", json!({"id": "/a", "cmd": "sleep 1", "cpus": -1}).to_string(), 422, "/cpus"),
        ("absurd", "{\"id\":\"/a\",\"cmd\":\"sleep 1\",\"cpus\":1e308}".to_owned(), 422, "/cpus"),
        ("no id", json!({"cmd": "sleep 1"}).to_string(), 422, "/id"),
        ("bad id", json!({"id": "/A_b", "cmd": "sleep 1"}).to_string(), 422, "/id"),
        ("nothing to run", json!({"id": "/a"}).to_string(), 422, "AppDefinition must either contain"),
    ];
    for (what, body, code, text) in cases {
        let (status, answer) = cluster.call(Method::POST, "/service/marathon/v2/apps", Some(body)).await;
        assert_eq!(status.as_u16(), code, "{what}: {answer}");
        assert!(answer.contains(text) && serde_json::from_str::<Value>(&answer).is_ok(), "{what}: {answer}");
    }
    let huge = format!("{{\"id\":\"/a\",\"cmd\":\"{}\"}}", "x".repeat(64 * 1024 * 1024));
    let (status, _) = cluster.call(Method::POST, "/service/marathon/v2/apps", Some(huge)).await;
    assert!(status.is_client_error() || status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
    // Unknown fields are ignored, as in the original.
    let mut odd = app("/odd", "sleep 1000");
    odd["nosuchfield"] = json!({"a": 1});
    cluster.add(odd).await;
    cluster.running("/odd", 1).await;
    let mut missing = app("/missing-command", "nosuchprogram-anywhere");
    missing["backoffSeconds"] = json!(3600);
    cluster.add(missing).await;
    let failure = cluster
        .wait("the missing command to fail", async || {
            cluster.get("/service/marathon/v2/apps/missing-command").await["app"]["lastTaskFailure"]
                .as_object()
                .cloned()
        })
        .await;
    assert!(failure["message"].as_str().unwrap().contains("127"), "{failure:?}");
    // An app too large for any agent waits, and says why.
    let mut large = app("/large", "sleep 1000");
    large["cpus"] = json!(100_000);
    cluster.add(large).await;
    cluster
        .wait("the queue to name the missing cpus", async || {
            let queue = cluster.get("/service/marathon/v2/queue").await;
            let item = queue["queue"].as_array()?.iter().find(|item| item["app"]["id"] == "/large")?.clone();
            let reasons = item["processedOffersSummary"]["rejectSummaryLastOffers"].as_array()?.clone();
            reasons
                .iter()
                .find(|r| r["reason"] == "InsufficientCpus" && r["declined"].as_u64() > Some(0))
                .cloned()
        })
        .await;
    for path in ["/service/marathon/v2/nosuch", "/mesos/nosuch", "/nosuch/at/all", "/agent/unknown-S0/state"]
    {
        let (status, _) = cluster.call(Method::GET, path, None).await;
        assert!(status.is_client_error(), "{path}: {status}");
    }
    assert_eq!(cluster.call(Method::GET, "/service/marathon/ping", None).await.1, "pong");
    cluster.down();
}
