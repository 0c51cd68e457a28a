//! The agent's endpoints against the contract, and its files on a real disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use serde_json::{Value, json};

use super::{AgentIdentity, ROUTES, agent_router};
use crate::FilesConfig;
use crate::fixtures::{
    BUILD, SUMMARY, TASK, TIMER, body, build, get, node, refused, send, shape, spelled_out,
};
use crate::memory::Memory;

struct Node {
    router: Router,
    /// Canonical; the work directory is below.
    directory: tempfile::TempDir,
    sandbox: PathBuf,
}

const SANDBOX: &str = "/frameworks/master-0000/executors/web.1/runs/latest";

impl Node {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let work_dir = directory.path().canonicalize().unwrap().join("work");
        let view = node(work_dir.to_str().unwrap());
        let sandbox = PathBuf::from(&view.tasks[0].directory);
        fs::create_dir_all(&sandbox).unwrap();
        fs::write(sandbox.join("stdout"), "hello\nworld\n").unwrap();
        fs::write(directory.path().join("secret"), "secret").unwrap();
        let log_file = directory.path().join("agent.log");
        fs::write(&log_file, "log").unwrap();
        let view = Arc::new(view);
        let router = agent_router(
            Arc::new(move || view.clone()),
            identity(),
            FilesConfig { log_file: Some(log_file) },
        );
        Self { router, directory, sandbox }
    }

    async fn read(&self, path: &str, more: &str) -> Value {
        get(&self.router, &format!("/files/read?path={}{more}", encode(path.as_bytes()))).await
    }

    async fn refused(&self, endpoint: &str, path: &str, status: u16) -> String {
        let uri = format!("/files/{endpoint}?offset=0&path={}", encode(path.as_bytes()));
        refused(&self.router, &uri, status).await
    }
}

fn encode(path: &[u8]) -> String {
    path.iter().map(|byte| format!("%{byte:02x}")).collect()
}

fn identity() -> AgentIdentity {
    AgentIdentity {
        build: build(),
        flags: BTreeMap::from([("work_dir".into(), "/w".into())]),
        runtime: Arc::new(Memory::default()),
        authorizer: Arc::new(crate::Everyone),
        logging: Arc::new(crate::LogLevel::new(|_| ())),
        executors: None,
    }
}

#[tokio::test]
async fn the_table_is_what_is_served() {
    let node = Node::new();
    let mut seen = BTreeSet::new();
    for route in ROUTES {
        for (path, method) in route.paths().flat_map(|p| route.methods.iter().map(move |m| (p, m))) {
            assert!(seen.insert((path, method)), "{method} {path} is twice in the table");
            let uri = format!("{path}?path={SANDBOX}/stdout");
            let expected = match path {
                "/api/v1" | "/slave(1)/api/v1" => 400,
                // This node takes no calls of executors.
                "/api/v1/executor" | "/slave(1)/api/v1/executor" => 503,
                _ => 200,
            };
            assert_eq!(send(&node.router, method, &uri).await.status(), expected, "{method} {uri}");
            assert_eq!(send(&node.router, "PATCH", &uri).await.status(), 405, "{uri}");
        }
    }
    for path in ["/", "/slave(1)", "/slave(2)/state", "/api/v2"] {
        assert_eq!(send(&node.router, "GET", path).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn state() {
    let node = Node::new();
    let state = get(&node.router, "/slave(1)/state").await;
    assert_eq!(get(&node.router, "/slave%281%29/state").await["id"], state["id"]);
    let head = "start_time:f id:s pid:s hostname:s capabilities:a domain?:o resources:o reserved_resources:o \
         unreserved_resources:o reserved_resources_full:o unreserved_resources_full:a reserved_resources_allocated:o \
         unreserved_resources_allocated:o resource_providers:a attributes:o master_hostname?:s log_dir?:s \
         external_log_file?:s flags:o frameworks:a completed_frameworks:a";
    shape(&state, &format!("{BUILD} {head}"));
    assert_eq!(state["pid"], "slave(1)@10.0.0.1:5051");
    shape(&state["resources"], SUMMARY);
    assert_eq!(state["unreserved_resources_allocated"]["cpus"], json!(1.0));

    let framework = &state["frameworks"][0];
    shape(
        framework,
        "id:s name:s user:s failover_timeout:f checkpoint:b hostname:s principal?:s role?:s roles?:a executors:a \
         completed_executors:a",
    );
    let executor = "id:s name:s source:s container:s directory:s resources:o role?:s labels?:a type?:s tasks:a \
         queued_tasks:a completed_tasks:a";
    let executors = framework["executors"].as_array().unwrap();
    assert_eq!(executors.len(), 3);
    executors.iter().for_each(|found| shape(found, executor));
    shape(&framework["completed_executors"][0], executor);
    shape(&executors[0]["tasks"][0], TASK);
    shape(
        &executors[1]["queued_tasks"][0],
        "id:s name:s slave_id:s resources:o role:s command:o discovery?:o",
    );
    shape(&executors[1]["queued_tasks"][0]["command"], "shell:b value:s argv:a environment:o uris:a");
    assert_eq!(executors[2]["completed_tasks"][0]["state"], "TASK_FAILED");
    assert_eq!(executors[0]["name"], "Command Executor (Task: web.1) (Command: sh -c 'sleep 100000...')");
    assert_eq!(executors[0]["directory"], node.sandbox.to_str().unwrap());
    assert_eq!(framework["completed_executors"][0]["completed_tasks"][0]["id"], "web.0");
}

#[tokio::test]
async fn ended_tasks_outlive_their_framework() {
    let mut view = node("/w");
    view.frameworks.clear();
    view.tasks.clear();
    let view = Arc::new(view);
    let router = agent_router(Arc::new(move || view.clone()), identity(), FilesConfig::default());
    let state = get(&router, "/state").await;
    assert_eq!(state["frameworks"], json!([]));
    assert_eq!(state["completed_frameworks"][0]["completed_executors"][0]["id"], "web.0");
}

#[tokio::test]
async fn containers_and_statistics() {
    let node = Node::new();
    let list = get(&node.router, "/containers").await;
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), 2, "what has ended is no container");
    for entry in list {
        let keys =
            "container_id:s executor_id:s executor_name:s framework_id:s source:s status:o statistics?:o";
        shape(entry, keys);
    }
    assert_eq!(list[0]["status"]["network_infos"][0]["ip_addresses"][0]["ip_address"], "10.0.0.1");
    assert_eq!(list[0]["status"]["executor_pid"], 77);
    for (query, count) in [
        ("container_id=c-web-1", 1),
        ("framework_id=master-0000", 2),
        ("framework_id=master-0000&executor_id=web.2", 1),
        ("framework_id=other", 0),
    ] {
        let chosen = get(&node.router, &format!("/containers?{query}")).await;
        assert_eq!(chosen.as_array().unwrap().len(), count, "{query}");
    }
    for query in ["executor_id=web.1", "container_id=c&framework_id=f", "container_id=c&executor_id=e"] {
        let message = refused(&node.router, &format!("/containers?{query}"), 400).await;
        assert!(message.starts_with("Supported query parameters are"), "{message}");
    }
    let statistics = get(&node.router, "/monitor/statistics.json").await;
    assert_eq!(statistics.as_array().unwrap().len(), 1, "without figures, left out");
    shape(&statistics[0], "executor_id:s executor_name:s framework_id:s source:s statistics:o");
    assert_eq!(
        statistics[0]["statistics"],
        json!({"timestamp": 200.0, "cpus_user_time_secs": 1.25, "cpus_limit": 0.5, "mem_rss_bytes": 4096,
            "mem_limit_bytes": 67_108_864})
    );
}

#[tokio::test]
async fn process_endpoints() {
    let node = Node::new();
    let health = send(&node.router, "GET", "/slave(1)/health").await;
    assert_eq!((health.status().as_u16(), body(health).await), (200, vec![]));
    shape(&get(&node.router, "/version").await, BUILD);
    assert_eq!(get(&node.router, "/flags").await, json!({"flags": {"work_dir": "/w"}}));
    let metrics = get(&node.router, "/metrics/snapshot").await;
    assert!(metrics.as_object().unwrap().values().all(Value::is_f64));
    for (name, value) in [
        ("slave/registered", 1.0),
        ("slave/executors_running", 1.0),
        ("slave/executors_registering", 1.0),
        ("slave/tasks_running", 1.0),
        ("slave/tasks_staging", 1.0),
        ("slave/cpus_used", 1.0),
        ("slave/frameworks_active", 1.0),
    ] {
        assert_eq!(metrics[name], json!(value), "{name}");
    }
    refused(&node.router, "/metrics/snapshot?timeout=x", 400).await;
}

#[tokio::test]
async fn oa_39_every_unconditional_metric() {
    let names = format!(
        "system/{{cpus_total,load_1min,load_5min,load_15min,mem_free_bytes,mem_total_bytes}} \
        slave/{{uptime_secs,registered,recovery_errors,recovery_time_secs,frameworks_active}} \
        slave/{{cpus,gpus,mem,disk}}{{,_revocable}}_{{total,used,percent}} \
        slave/executors_{{registering,running,terminating,terminated,preempted}} \
        slave/{{executor_directory_max_allowed_age_secs,container_launch_errors}} \
        slave/tasks_{{staging,starting,running,killing,finished,failed,killed,lost,gone}} \
        slave/{{valid,invalid}}_{{framework_messages,status_updates}} \
        gc/path_removals_{{succeeded,failed,pending}} \
        containerizer/fetcher/{{cache_size_total_bytes,cache_size_used_bytes}} \
        containerizer/fetcher/task_fetches_{{succeeded,failed}} containerizer/docker/image_pull_ms{TIMER} \
        containerizer/mesos/{{container_destroy_errors,filesystem/containers_new_rootfs}} \
        containerizer/mesos/provisioner/{{remove_container_errors,bind/remove_rootfs_errors}} \
        containerizer/mesos/provisioner/docker_store/image_pull_ms{TIMER} \
        containerizer/mesos/disk/project_ids_{{total,free}} volume_gid_manager/volume_gids_{{total,free}} \
        resource_provider_manager/{{subscribed,events/subscribe,events/disconnect}}"
    );
    let metrics = get(&Node::new().router, "/metrics/snapshot").await;
    for name in spelled_out(&names) {
        assert!(metrics[&name].is_f64(), "{name} is {}", metrics[&name]);
    }
}

#[tokio::test]
async fn sandboxes_have_their_names() {
    let node = Node::new();
    let listing = get(&node.router, "/files/debug").await;
    let names = listing.as_object().unwrap();
    let real = node.sandbox.to_str().unwrap();
    let latest = node.sandbox.parent().unwrap().join("latest");
    for name in [real, latest.to_str().unwrap(), SANDBOX] {
        assert_eq!(names[name], real, "{name}");
        assert_eq!(
            node.read(&format!("{name}/stdout"), "&offset=0").await["data"],
            "hello\nworld\n",
            "{name}"
        );
    }
    assert!(real.contains("/frameworks/master-0000/executors/web.1/runs/c-web-1"), "what clients scan for");
    assert_eq!(names.len(), 1 + 3 * 4, "a log and four sandboxes");
    assert_eq!(node.read("/slave/log", "&offset=0").await["data"], "log");
}

#[tokio::test]
async fn reading() {
    let node = Node::new();
    let path = format!("{SANDBOX}/stdout");
    for (more, offset, data) in [
        ("", 12, ""),
        ("&offset=-1", 12, ""),
        ("&offset=-1&length=5", 12, ""),
        ("&offset=0", 0, "hello\nworld\n"),
        ("&offset=6&length=5", 6, "world"),
        ("&offset=6&length=-1", 6, "world\n"),
        ("&offset=6&length=0", 6, ""),
        ("&offset=6&length=500", 6, "world\n"),
        ("&offset=12", 12, ""),
        ("&offset=9223372036854775807", i64::MAX, ""),
    ] {
        assert_eq!(node.read(&path, more).await, json!({"offset": offset, "data": data}), "{more}");
    }
    for (more, message) in [
        ("&offset=x", "Failed to parse offset: Failed to convert 'x' to number.\n"),
        ("&offset=-2", "Negative offset provided: -2.\n"),
        ("&offset=0&length=-2", "Negative length provided: -2.\n"),
        ("&length=1.5", "Failed to parse length: Failed to convert '1.5' to number.\n"),
    ] {
        assert_eq!(refused(&node.router, &format!("/files/read?path={path}{more}"), 400).await, message);
    }
    for endpoint in ["read", "browse", "download"] {
        for query in ["", "?path=", "?offset=0"] {
            let message = refused(&node.router, &format!("/files/{endpoint}{query}"), 400).await;
            assert_eq!(message, "Expecting 'path=value' in query.\n");
        }
    }
    assert_eq!(node.refused("read", SANDBOX, 400).await, "Cannot read a directory.\n");
    assert_eq!(node.refused("download", SANDBOX, 400).await, "Cannot download a directory.\n");
    assert_eq!(node.refused("read", &format!("{SANDBOX}/absent"), 404).await, "");
    assert_eq!(node.refused("read", &format!("{SANDBOX}/stdout/x"), 404).await, "");
}

#[tokio::test]
async fn pieces_are_bounded_and_lossy() {
    let node = Node::new();
    fs::write(node.sandbox.join("big"), vec![b'x'; 1024 * 1024]).unwrap();
    let big = node.read(&format!("{SANDBOX}/big"), "&offset=10&length=900000").await;
    assert_eq!(big["data"].as_str().unwrap().len(), 65_536);
    fs::write(node.sandbox.join("bytes"), b"a\xff\0b\xe2\x82").unwrap();
    assert_eq!(node.read(&format!("{SANDBOX}/bytes"), "&offset=0").await["data"], "a\u{fffd}\0b\u{fffd}");
    // Following a text in pieces by the length of what came gives the whole text.
    let text = "\u{20ac}\u{e9}x\u{1f600}".repeat(50);
    fs::write(node.sandbox.join("text"), &text).unwrap();
    let mut whole = String::new();
    while whole.len() < text.len() {
        let more = format!("&offset={}&length=7", whole.len());
        let piece = node.read(&format!("{SANDBOX}/text"), &more).await;
        assert_ne!(piece["data"], "");
        whole.push_str(piece["data"].as_str().unwrap());
    }
    assert_eq!(whole, text);
}

#[tokio::test]
async fn browsing() {
    let node = Node::new();
    fs::create_dir(node.sandbox.join("a")).unwrap();
    fs::write(node.sandbox.join("a/b"), "").unwrap();
    fs::set_permissions(node.sandbox.join("stdout"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("stdout", node.sandbox.join("inside")).unwrap();
    symlink("/etc/passwd", node.sandbox.join("outside")).unwrap();
    let list = get(&node.router, &format!("/files/browse?path={SANDBOX}/")).await;
    let list = list.as_array().unwrap();
    for entry in list {
        shape(entry, "gid:s mode:s mtime:f nlink:i path:s size:i uid:s");
    }
    let shown: Vec<(&str, &str)> =
        list.iter().map(|entry| (entry["path"].as_str().unwrap(), entry["mode"].as_str().unwrap())).collect();
    let expected =
        [("a", "drwxr-xr-x"), ("inside", "-rw-r-----"), ("outside", "lrwxrwxrwx"), ("stdout", "-rw-r-----")];
    let expected: Vec<(String, &str)> =
        expected.iter().map(|(name, mode)| (format!("{SANDBOX}/{name}"), *mode)).collect();
    let expected: Vec<(&str, &str)> = expected.iter().map(|(name, mode)| (name.as_str(), *mode)).collect();
    assert_eq!(shown, expected);
    assert_eq!(list[3]["size"], 12);
    assert_eq!(get(&node.router, &format!("/files/browse?path={SANDBOX}/stdout")).await, json!([]));
    assert_eq!(node.refused("browse", &format!("{SANDBOX}/absent"), 404).await, "");
}

#[tokio::test]
async fn downloading() {
    let node = Node::new();
    let data: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    fs::write(node.sandbox.join("data.json"), &data).unwrap();
    let response = send(&node.router, "GET", &format!("/files/download?path={SANDBOX}/data.json")).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["content-length"], "300000");
    assert_eq!(response.headers()["content-disposition"], "attachment; filename=data.json");
    assert_eq!(body(response).await, data);
    let plain = send(&node.router, "GET", &format!("/files/download?path={SANDBOX}/stdout")).await;
    assert_eq!(plain.headers()["content-type"], "application/octet-stream");
    let name = b"a\xff b";
    fs::write(node.sandbox.join(std::ffi::OsStr::from_bytes(name)), "odd").unwrap();
    let uri = format!("/files/download?path={}", encode(&[SANDBOX.as_bytes(), b"/", name].concat()));
    assert_eq!(body(send(&node.router, "GET", &uri).await).await, b"odd");
}

#[tokio::test]
async fn nothing_outside_is_served() {
    let node = Node::new();
    let outside = node.directory.path().canonicalize().unwrap().join("secret");
    symlink(&outside, node.sandbox.join("link")).unwrap();
    symlink("../../../../../../../..", node.sandbox.join("up")).unwrap();
    symlink("loop", node.sandbox.join("loop")).unwrap();
    fs::create_dir(node.sandbox.join("dir")).unwrap();
    symlink(node.sandbox.join("stdout"), node.sandbox.join("dir/absolute")).unwrap();
    let sibling = node.sandbox.parent().unwrap().join("c-web-1x");
    fs::create_dir(&sibling).unwrap();
    fs::write(sibling.join("f"), "sibling").unwrap();
    let absolute = format!("{SANDBOX}/dir/absolute");
    assert_eq!(node.read(&absolute, "&offset=0").await["data"], "hello\nworld\n", "inside is inside");
    for endpoint in ["read", "browse", "download"] {
        for path in [
            "link",
            "up/secret",
            "up",
            "loop",
            "..",
            "../..",
            "../c-web-1x/f",
            "dir/../../c-web-1x/f",
            "a\0b",
        ] {
            let status = send(
                &node.router,
                "GET",
                &format!(
                    "/files/{endpoint}?offset=0&path={}",
                    encode(format!("{SANDBOX}/{path}").as_bytes())
                ),
            )
            .await
            .status()
            .as_u16();
            assert!(matches!(status, 400 | 404), "{endpoint} {path} answers {status}");
        }
        let work = node.directory.path().join("work");
        for path in ["/etc/passwd", "/", "relative", "/..", outside.to_str().unwrap(), work.to_str().unwrap()]
        {
            node.refused(endpoint, path, 404).await;
        }
    }
    let message = node.refused("read", &format!("{SANDBOX}/link"), 400).await;
    assert!(message.ends_with("is inaccessible.\n"), "{message}");
}

#[tokio::test]
async fn only_regular_files_are_read() {
    let node = Node::new();
    let fifo = node.sandbox.join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    for endpoint in ["read", "download"] {
        let message = node.refused(endpoint, &format!("{SANDBOX}/fifo"), 400).await;
        assert_eq!(message, format!("Cannot {endpoint} what is not a regular file.\n"));
    }
}

#[tokio::test]
async fn forgotten_runs_stay_readable() {
    let node = Node::new();
    let runs = node.sandbox.ancestors().nth(3).unwrap().join("long-ago/runs");
    fs::create_dir_all(runs.join("c-old")).unwrap();
    fs::write(runs.join("c-old/stdout"), "old").unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    for path in [runs.join("c-old/stdout"), runs.join("latest/stdout")] {
        assert_eq!(node.read(&text(&path), "&offset=0").await["data"], "old", "{path:?}");
    }
    node.refused("browse", &text(&runs), 404).await;
    let meta = format!("{}/meta", text(node.directory.path()));
    node.refused("browse", &meta, 404).await;
}
