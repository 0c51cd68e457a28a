//! The agent's API over loopback, as `dcos task exec` and `attach` speak it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mesos_proto::ApiMessage;
use mesos_proto::media::{JSON, PROTOBUF, RECORDIO};
use mesos_proto::recordio::{self, Decoder};
use mesos_proto::v1::agent as wire;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::agent::{AgentIdentity, router_with_heartbeat};
use crate::fixtures::{build, node};
use crate::memory::Memory;
use crate::runtime::WindowSize;
use crate::{Everyone, FilesConfig, LogLevel};

const PATIENCE: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_millis(200);

struct Agent {
    address: std::net::SocketAddr,
    memory: Memory,
    directory: tempfile::TempDir,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An answer: status, headers in lower case, the connection to read on from.
struct Answered {
    status: u16,
    head: String,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Agent {
    async fn new() -> Self {
        Self::with(true).await
    }

    async fn with(recovered: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let work_dir = directory.path().canonicalize().unwrap().join("work");
        let mut view = node(work_dir.to_str().unwrap());
        view.recovered = recovered;
        let sandbox = std::path::PathBuf::from(&view.tasks[0].directory);
        std::fs::create_dir_all(&sandbox).unwrap();
        std::fs::write(sandbox.join("stdout"), vec![b'x'; 1024 * 1024]).unwrap();
        let memory = Memory::with(&["executor", "task"]);
        let identity = AgentIdentity {
            build: build(),
            flags: [("work_dir".to_owned(), "/w".to_owned())].into(),
            runtime: Arc::new(memory.clone()),
            authorizer: Arc::new(Everyone),
            logging: Arc::new(LogLevel::new(|_| ())),
            executors: None,
        };
        let view = Arc::new(view);
        let router = router_with_heartbeat(
            Arc::new(move || view.clone()),
            identity,
            FilesConfig::default(),
            HEARTBEAT,
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, memory, directory, server }
    }

    /// Opens a request whose body goes on.
    async fn open(&self, headers: &[(&str, &str)], path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut head = format!("POST {path} HTTP/1.1\r\nHost: agent\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        stream
    }

    async fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Answered {
        let length = body.len().to_string();
        let mut all = headers.to_vec();
        all.push(("Content-Length", &length));
        let mut stream = self.open(&all, "/slave(1)/api/v1").await;
        stream.write_all(body).await.unwrap();
        answered(stream).await
    }

    /// One call in JSON, answered in JSON.
    async fn call(&self, call: &Value) -> (u16, String) {
        let answer = self.post(&[("Content-Type", JSON)], call.to_string().as_bytes()).await;
        (answer.status, answer.whole().await)
    }

    async fn ok(&self, call: &Value) -> Value {
        let (status, body) = self.call(call).await;
        assert_eq!(status, 200, "{call}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn session(&self, id: &str, command: &str, tty: bool, accept: &[(&str, &str)]) -> Answered {
        let mut call = json!({"type": "LAUNCH_NESTED_CONTAINER_SESSION",
            "launch_nested_container_session": {"container_id": nested(id), "command": {"value": command}}});
        if tty {
            let window = json!({"type": "MESOS", "tty_info": {"window_size": {"rows": 24, "columns": 80}}});
            call["launch_nested_container_session"]["container"] = window;
        }
        let mut headers = vec![("Content-Type", JSON)];
        headers.extend_from_slice(accept);
        self.post(&headers, call.to_string().as_bytes()).await
    }

    /// An open input stream, its first record sent.
    async fn input(&self, id: &Value) -> TcpStream {
        let headers =
            [("Content-Type", RECORDIO), ("Message-Content-Type", JSON), ("Transfer-Encoding", "chunked")];
        let mut stream = self.open(&headers, "/api/v1").await;
        let first = json!({"type": "ATTACH_CONTAINER_INPUT", "attach_container_input":
            {"type": "CONTAINER_ID", "container_id": id}});
        send(&mut stream, &first).await;
        stream
    }
}

fn nested(id: &str) -> Value {
    json!({"value": id, "parent": {"value": "task"}})
}

async fn send(stream: &mut TcpStream, record: &Value) {
    let record = recordio::encode(record.to_string().as_bytes());
    stream.write_all(format!("{:x}\r\n", record.len()).as_bytes()).await.unwrap();
    stream.write_all(&[record, b"\r\n".to_vec()].concat()).await.unwrap();
}

fn stdin(data: &str) -> Value {
    json!({"type": "ATTACH_CONTAINER_INPUT", "attach_container_input": {"type": "PROCESS_IO", "process_io":
        {"type": "DATA", "data": {"type": "STDIN", "data": base64_of(data)}}}})
}

/// Through the message itself, so that the test needs no encoder of its own.
fn base64_of(data: &str) -> Value {
    let io = wire::process_io::Data { r#type: None, data: Some(Bytes::from(data.to_owned())) };
    serde_json::from_str::<Value>(&io.to_json()).unwrap()["data"].clone()
}

fn control(control: Value) -> Value {
    json!({"type": "ATTACH_CONTAINER_INPUT", "attach_container_input": {"type": "PROCESS_IO", "process_io":
        {"type": "CONTROL", "control": control}}})
}

async fn answered(mut stream: TcpStream) -> Answered {
    let mut buffer = Vec::new();
    loop {
        let end = buffer.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap().to_lowercase();
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            return Answered { status, head, stream, buffer: buffer.split_off(end + 4) };
        }
        let read = timeout(PATIENCE, stream.read_buf(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "the connection ended: {}", String::from_utf8_lossy(&buffer));
    }
}

impl Answered {
    /// The body of known length.
    async fn whole(mut self) -> String {
        let length = self.head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        while self.buffer.len() < length {
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.unwrap().unwrap();
            assert!(read > 0, "the body ended early");
        }
        String::from_utf8(self.buffer).unwrap()
    }

    /// The records that came until `enough` says so or the stream ends.
    async fn records<M: ApiMessage>(
        &mut self,
        json: bool,
        mut enough: impl FnMut(&[M]) -> bool,
    ) -> (Vec<M>, bool) {
        let (mut decoder, mut found, mut ended) = (Decoder::default(), Vec::new(), false);
        loop {
            // Chunks of the transfer encoding come off first.
            while let Some(line) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let text = std::str::from_utf8(&self.buffer[..line]).unwrap();
                let size = usize::from_str_radix(text, 16).unwrap();
                if self.buffer.len() < line + 2 + size + 2 {
                    break;
                }
                let chunk: Vec<u8> = self.buffer.drain(..line + 2 + size + 2).collect();
                ended |= size == 0;
                for record in decoder.feed(&chunk[line + 2..line + 2 + size]).unwrap() {
                    found.push(if json {
                        M::from_json(&record).unwrap()
                    } else {
                        M::from_protobuf(&record).unwrap()
                    });
                }
            }
            if ended || enough(&found) {
                return (found, ended);
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.unwrap().unwrap();
            assert!(read > 0, "the stream broke");
        }
    }
}

fn text(records: &[wire::ProcessIo], kind: wire::process_io::data::Type) -> String {
    let data = records.iter().filter_map(|record| record.data.as_ref());
    let of_kind = data.filter(|data| data.r#type() == kind);
    of_kind.map(|data| String::from_utf8(data.data.clone().unwrap().to_vec()).unwrap()).collect()
}

async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited {PATIENCE:?} for {what}");
}

const RECORDS: &[(&str, &str)] = &[("Accept", RECORDIO), ("Message-Accept", PROTOBUF)];
use wire::process_io::data::Type::{Stderr, Stdout};

/// OA 2.1: each row with its text.
#[tokio::test]
async fn oa_45_46_the_pipeline_in_order() {
    let agent = Agent::new().await;
    let recovering = Agent::with(false).await;
    let answer = recovering.post(&[], b"").await;
    assert_eq!((answer.status, answer.whole().await), (503, "Agent has not finished recovery".to_owned()));
    let health = r#"{"type":"GET_HEALTH"}"#;
    let framed = String::from_utf8(recordio::encode(health.as_bytes())).unwrap();
    for (headers, body, status, text) in [
        (vec![], health, 400, "Expecting 'Content-Type' to be present"),
        (
            vec![("Content-Type", "text/plain")],
            health,
            415,
            "Expecting 'Content-Type' of application/json or application/x-protobuf or application/recordio",
        ),
        (
            vec![("Content-Type", RECORDIO)],
            &framed,
            400,
            "Expecting 'Message-Content-Type' to be set for streaming requests",
        ),
        (
            vec![("Content-Type", JSON), ("Message-Content-Type", JSON)],
            health,
            415,
            "Expecting 'Message-Content-Type' to be not set for non-streaming requests",
        ),
        (
            vec![("Content-Type", JSON), ("Accept", JSON), ("Message-Accept", JSON)],
            health,
            406,
            "Expecting 'Message-Accept' to be not set for non-streaming responses",
        ),
        (
            vec![("Content-Type", RECORDIO), ("Message-Content-Type", JSON)],
            &framed,
            415,
            "Streaming 'Content-Type' application/recordio is not supported for GET_HEALTH call",
        ),
        (
            vec![("Content-Type", JSON), ("Accept", RECORDIO), ("Message-Accept", JSON)],
            health,
            406,
            "Streaming response is not supported for GET_HEALTH call",
        ),
        (
            vec![("Content-Type", JSON)],
            r#"{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{}}"#,
            415,
            "Expecting 'Content-Type' to be application/recordio for ATTACH_CONTAINER_INPUT call",
        ),
        (
            vec![("Content-Type", JSON)],
            "{}",
            400,
            "Failed to validate agent::Call: Expecting 'type' to be present",
        ),
        (
            vec![("Content-Type", JSON)],
            r#"{"type":"WAIT_NESTED_CONTAINER","wait_nested_container":{"container_id":{"value":"a"}}}"#,
            400,
            "Failed to validate agent::Call: Expecting 'wait_nested_container.container_id.parent' to be present",
        ),
        (
            vec![("Content-Type", RECORDIO), ("Message-Content-Type", JSON)],
            "",
            400,
            "Received EOF while reading request body",
        ),
    ] {
        let answer = agent.post(&headers, body.as_bytes()).await;
        assert_eq!((answer.status, answer.whole().await.as_str()), (status, text), "{headers:?} {body}");
    }
    for (headers, status) in [
        (vec![("Content-Type", JSON), ("Accept", "text/html")], 406),
        (vec![("Content-Type", JSON), ("Accept", RECORDIO), ("Message-Accept", "text/html")], 406),
        (vec![("Content-Type", JSON)], 200),
    ] {
        assert_eq!(agent.post(&headers, health.as_bytes()).await.status, status, "{headers:?}");
    }
    let mut get = TcpStream::connect(agent.address).await.unwrap();
    get.write_all(b"GET /api/v1 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(answered(get).await.status, 405);
    let unknown = agent.call(&json!({"type": "UNKNOWN"})).await;
    assert_eq!(unknown.0, 501);
}

#[tokio::test]
async fn reads_in_both_formats() {
    let agent = Agent::new().await;
    for kind in [
        "GET_HEALTH",
        "GET_FLAGS",
        "GET_VERSION",
        "GET_LOGGING_LEVEL",
        "GET_STATE",
        "GET_CONTAINERS",
        "GET_FRAMEWORKS",
        "GET_EXECUTORS",
        "GET_OPERATIONS",
        "GET_TASKS",
        "GET_AGENT",
        "GET_RESOURCE_PROVIDERS",
    ] {
        let answer = agent.ok(&json!({"type": kind})).await;
        let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 2, "{answer}");
        assert_eq!(answer["type"], kind);
        assert!(answer[kind.to_lowercase()].is_object(), "{answer}");
        let headers = [("Content-Type", JSON), ("Accept", PROTOBUF)];
        let binary = agent.post(&headers, json!({"type": kind}).to_string().as_bytes()).await;
        assert!(binary.head.contains(PROTOBUF), "{}", binary.head);
    }
    let state = agent.ok(&json!({"type": "GET_STATE"})).await;
    let tasks = &state["get_state"]["get_tasks"];
    assert_eq!(tasks["launched_tasks"][0]["task_id"]["value"], "web.1");
    assert_eq!(tasks["queued_tasks"][0]["task_id"]["value"], "web.2");
    assert_eq!(tasks["terminated_tasks"][0]["task_id"]["value"], "web.5");
    assert_eq!(tasks["completed_tasks"][0]["task_id"]["value"], "web.0");
    let metrics = agent.ok(&json!({"type": "GET_METRICS", "get_metrics": {}})).await;
    let names: Vec<&str> = metrics["get_metrics"]["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|metric| metric["name"].as_str().unwrap())
        .collect();
    for name in ["slave/registered", "gc/path_removals_pending", "system/cpus_total"] {
        assert!(names.contains(&name), "{name}");
    }
    let (status, text) = agent.call(&json!({"type": "GET_METRICS"})).await;
    assert_eq!(status, 400);
    assert_eq!(text, "Failed to validate agent::Call: Expecting 'get_metrics' to be present");
    let level = json!({"type": "SET_LOGGING_LEVEL",
        "set_logging_level": {"level": 2, "duration": {"nanoseconds": 60_000_000_000_u64}}});
    assert_eq!(agent.call(&level).await.0, 200);
    let level = agent.ok(&json!({"type": "GET_LOGGING_LEVEL"})).await;
    assert_eq!(level["get_logging_level"]["level"], 2);
}

#[tokio::test]
async fn oa_07_08_09_files_by_calls() {
    let agent = Agent::new().await;
    let path = "/frameworks/master-0000/executors/web.1/runs/latest";
    let read = |offset: u64| json!({"type": "READ_FILE", "read_file": {"path": format!("{path}/stdout"), "offset": offset}});
    let big = agent.ok(&read(0)).await;
    assert_eq!(big["read_file"]["size"], 1024 * 1024);
    let headers = [("Content-Type", JSON), ("Accept", PROTOBUF)];
    let mut binary = agent.post(&headers, read(10).to_string().as_bytes()).await;
    let length = binary.head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let length: usize = length.parse().unwrap();
    while binary.buffer.len() < length {
        binary.stream.read_buf(&mut binary.buffer).await.unwrap();
    }
    let response = wire::Response::from_protobuf(&binary.buffer).unwrap();
    assert_eq!(response.read_file.unwrap().data.len(), 65_536);
    let past = agent.ok(&read(99_999_999)).await;
    assert_eq!(past["read_file"], json!({"size": 1024 * 1024, "data": ""}));
    let list = |path: &str| json!({"type": "LIST_FILES", "list_files": {"path": path}});
    let listed = agent.ok(&list(path)).await;
    let info = &listed["list_files"]["file_infos"][0];
    assert_eq!(info["path"], format!("{path}/stdout"));
    assert_eq!(info["size"], 1024 * 1024);
    assert!(info["mtime"]["nanoseconds"].as_i64().unwrap() > 0 && info["mode"].as_u64().unwrap() > 0);
    assert_eq!(agent.call(&list("/nowhere")).await.0, 404);
    assert!(agent.directory.path().exists());
}

#[tokio::test]
async fn oa_47_48_49_57_launch_wait_kill_remove() {
    let agent = Agent::new().await;
    let launch = |id: &str, command: &str| {
        json!({"type": "LAUNCH_NESTED_CONTAINER", "launch_nested_container":
            {"container_id": nested(id), "command": {"value": command}}})
    };
    let wait = |id: &str| json!({"type": "WAIT_NESTED_CONTAINER", "wait_nested_container": {"container_id": nested(id)}});
    let kill = |id: &str| json!({"type": "KILL_NESTED_CONTAINER", "kill_nested_container": {"container_id": nested(id)}});
    let remove = |id: &str| json!({"type": "REMOVE_NESTED_CONTAINER", "remove_nested_container": {"container_id": nested(id)}});
    assert_eq!(agent.call(&launch("a", "cat")).await, (200, String::new()));
    assert_eq!(agent.call(&launch("a", "cat")).await, (202, String::new()));
    assert_eq!(agent.call(&launch("b", "exit 3")).await.0, 200);
    assert_eq!(agent.ok(&wait("b")).await["wait_nested_container"]["exit_status"], 768);
    let missing = (404, "Container task.z cannot be found".to_owned());
    assert_eq!(agent.call(&wait("z")).await, missing);
    assert_eq!(agent.call(&remove("a")).await.0, 500, "it runs");
    assert_eq!(agent.call(&kill("a")).await.0, 200);
    let gone = (404, "Container 'task.a' cannot be found (or is already killed)".to_owned());
    assert_eq!(agent.call(&kill("a")).await, gone);
    assert_eq!(agent.ok(&wait("a")).await["wait_nested_container"]["exit_status"], 9);
    assert_eq!(agent.call(&remove("a")).await.0, 200);
    assert_eq!(agent.call(&remove("a")).await.0, 200);
    let (status, text) = agent.call(&launch("c", "missing")).await;
    assert_eq!((status, text.as_str()), (400, "Failed to execute 'missing': not found"));
    let docker = json!({"type": "LAUNCH_NESTED_CONTAINER", "launch_nested_container":
        {"container_id": nested("d"), "container": {"type": "DOCKER", "docker": {"image": "x"}}}});
    let refused = (400, "The provided ContainerInfo is not supported".to_owned());
    assert_eq!(agent.call(&docker).await, refused);

    let standalone = |resources: Value| {
        json!({"type": "LAUNCH_CONTAINER", "launch_container":
            {"container_id": {"value": "alone"}, "command": {"value": "cat"}, "resources": resources}})
    };
    let cpus = json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 1.0}});
    let mut reserved = cpus.clone();
    reserved["reservations"] = json!([{"type": "STATIC", "role": "eng"}]);
    let (status, text) = agent.call(&standalone(json!([reserved]))).await;
    assert_eq!(status, 400, "{text}");
    assert!(
        text.starts_with("Failed to validate agent::Call: 'launch_container.resources' is invalid"),
        "{text}"
    );
    assert_eq!(agent.call(&standalone(json!([cpus]))).await.0, 200);
}

#[tokio::test]
async fn oa_58_nested_containers_are_listed_with_their_parents() {
    let agent = Agent::new().await;
    let launch = json!({"type": "LAUNCH_CONTAINER", "launch_container": {"container_id": nested("n"),
        "command": {"value": "cat"}}});
    assert_eq!(agent.call(&launch).await.0, 200);
    let list = |options: Value| json!({"type": "GET_CONTAINERS", "get_containers": options});
    let plain = agent.ok(&list(json!({}))).await;
    let ids = |answer: &Value| -> Vec<Value> {
        let containers = answer["get_containers"]["containers"].as_array().unwrap();
        containers.iter().map(|container| container["container_id"].clone()).collect()
    };
    assert!(!ids(&plain).contains(&nested("n")));
    let all = agent.ok(&list(json!({"show_nested": true, "show_standalone": true}))).await;
    assert!(ids(&all).contains(&nested("n")), "{all}");
    let first = &all["get_containers"]["containers"][0];
    assert_eq!(first["executor_id"]["value"], "web.1");
    assert_eq!(first["container_status"]["network_infos"][0]["ip_addresses"][0]["ip_address"], "10.0.0.1");
}

#[tokio::test]
async fn oa_50_a_session_ends_with_its_connection() {
    let agent = Agent::new().await;
    let session = agent.session("s", "cat", false, RECORDS).await;
    assert_eq!(session.status, 200);
    assert!(session.head.contains("content-type: application/recordio"), "{}", session.head);
    assert!(session.head.contains("message-content-type: application/x-protobuf"), "{}", session.head);
    assert_eq!(agent.memory.state()[2], ("task.s".to_owned(), None));
    drop(session);
    wait_until("the end of the session's container", || agent.memory.state()[2].1 == Some(9)).await;
    let again = agent.session("s", "cat", false, RECORDS).await;
    assert_eq!(again.status, 400, "an id is used once");
}

#[tokio::test]
async fn oa_51_56_output_by_streams_and_formats() {
    let agent = Agent::new().await;
    let mut plain = agent.session("plain", "both", false, RECORDS).await;
    let (records, ended) = plain.records::<wire::ProcessIo>(false, |_| false).await;
    assert!(ended);
    assert_eq!((text(&records, Stdout), text(&records, Stderr)), ("out".to_owned(), "err".to_owned()));
    let mut terminal = agent.session("terminal", "both", true, RECORDS).await;
    let (records, _) = terminal.records::<wire::ProcessIo>(false, |_| false).await;
    assert_eq!((text(&records, Stdout), text(&records, Stderr)), ("outerr".to_owned(), String::new()));
    let mut json = agent.session("json", "both", false, &[("Accept", JSON)]).await;
    assert!(json.head.contains("content-type: application/json"), "{}", json.head);
    let (records, _) = json.records::<wire::ProcessIo>(true, |_| false).await;
    assert_eq!(text(&records, Stdout), "out");
    let answer = agent.session("anything", "both", false, &[("Accept", "*/*")]).await;
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
}

#[tokio::test]
async fn oa_52_53_55_input_and_its_end() {
    let agent = Agent::new().await;
    let mut session = agent.session("cat", "cat", false, RECORDS).await;
    let mut input = agent.input(&nested("cat")).await;
    send(
        &mut input,
        &control(json!({"type": "HEARTBEAT",
        "heartbeat": {"interval": {"nanoseconds": 30_000_000_000_u64}}})),
    )
    .await;
    send(&mut input, &stdin("hello")).await;
    let (records, _) =
        session.records::<wire::ProcessIo>(false, |records| text(records, Stdout) == "hello").await;
    assert_eq!(text(&records, Stdout), "hello");
    let second = answered(agent.input(&nested("cat")).await).await;
    assert_eq!(second.status, 409);
    assert_eq!(second.whole().await, "Multiple input connections are not allowed");
    // A silent session says that it lives.
    let heartbeat = |records: &[wire::ProcessIo]| {
        records.iter().any(|record| record.control.as_ref().is_some_and(|c| c.heartbeat.is_some()))
    };
    session.records::<wire::ProcessIo>(false, heartbeat).await;
    send(&mut input, &stdin("")).await;
    let (_, ended) = session.records::<wire::ProcessIo>(false, |_| false).await;
    assert!(ended, "an empty piece ends the input, and with it the program");
    let answer = answered(input).await;
    assert_eq!(answer.status, 200, "answered though the request's body goes on");
    assert_eq!(answer.whole().await, "");
}

#[tokio::test]
async fn oa_54_a_terminal_gets_its_size_and_no_end() {
    let agent = Agent::new().await;
    let _session = agent.session("tty", "cat", true, RECORDS).await;
    assert_eq!(agent.memory.window("task.tty"), Some(WindowSize { rows: 24, columns: 80 }));
    let mut input = agent.input(&nested("tty")).await;
    let size = |rows: u32| {
        control(json!({"type": "TTY_INFO", "tty_info": {"window_size": {"rows": rows, "columns": 200}}}))
    };
    send(&mut input, &size(50)).await;
    let wanted = Some(WindowSize { rows: 50, columns: 200 });
    wait_until("the new size", || agent.memory.window("task.tty") == wanted).await;
    send(&mut input, &stdin("")).await;
    send(&mut input, &size(51)).await;
    wait_until("a size after the end", || agent.memory.window("task.tty").unwrap().rows == 51).await;
    input.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(answered(input).await.status, 200);

    let _plain = agent.session("plain", "cat", false, RECORDS).await;
    let mut input = agent.input(&nested("plain")).await;
    send(&mut input, &size(50)).await;
    let answer = answered(input).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.whole().await, "Unable to set the window size: it has no terminal");
}

#[tokio::test]
async fn input_that_is_none_is_refused() {
    let agent = Agent::new().await;
    let _session = agent.session("s", "closed", false, RECORDS).await;
    let unknown = answered(agent.input(&nested("nobody")).await).await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.whole().await, "Container task.nobody cannot be found");
    for (record, status, text) in [
        (
            json!({"type": "ATTACH_CONTAINER_INPUT", "attach_container_input": {"type": "CONTAINER_ID",
                "container_id": nested("s")}}),
            400,
            "Expecting 'attach_container_input.type' to be PROCESS_IO",
        ),
        (stdin("x"), 500, "Failed writing to stdin: Broken pipe"),
    ] {
        let mut input = agent.input(&nested("s")).await;
        send(&mut input, &record).await;
        let answer = answered(input).await;
        assert_eq!((answer.status, answer.whole().await.as_str()), (status, text));
    }
    let first = stdin("x").to_string();
    let headers = [("Content-Type", RECORDIO), ("Message-Content-Type", JSON)];
    let answer = agent.post(&headers, &recordio::encode(first.as_bytes())).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.whole().await, "Expecting 'attach_container_input.type' to be CONTAINER_ID");
    let answer = agent.post(&headers, b"12x").await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn attaching_to_a_task_does_not_end_it() {
    let agent = Agent::new().await;
    let attach = json!({"type": "ATTACH_CONTAINER_OUTPUT",
        "attach_container_output": {"container_id": {"value": "task"}}});
    let headers = [("Content-Type", JSON), ("Accept", RECORDIO), ("Message-Accept", JSON)];
    let mut output = agent.post(&headers, attach.to_string().as_bytes()).await;
    assert_eq!(output.status, 200);
    let mut input = agent.input(&json!({"value": "task"})).await;
    send(&mut input, &stdin("hi")).await;
    output.records::<wire::ProcessIo>(true, |records| text(records, Stdout) == "hi").await;
    drop((output, input));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(agent.memory.state().contains(&("task".to_owned(), None)));
    let nobody = json!({"type": "ATTACH_CONTAINER_OUTPUT",
        "attach_container_output": {"container_id": {"value": "nobody"}}});
    assert_eq!(agent.call(&nobody).await, (404, "Container nobody cannot be found".to_owned()));
}

#[tokio::test]
async fn oa_64_used_images_stay() {
    let agent = Agent::new().await;
    agent.memory.set_images(&["kept", "used", "old"], &["used"]);
    let prune = json!({"type": "PRUNE_IMAGES", "prune_images": {"excluded_images":
        [{"type": "DOCKER", "docker": {"name": "kept"}}]}});
    assert_eq!(agent.call(&prune).await.0, 200);
    assert_eq!(agent.memory.images(), ["kept", "used"]);
}

#[tokio::test]
async fn resource_providers_are_none() {
    let agent = Agent::new().await;
    let remove = json!({"type": "REMOVE_RESOURCE_PROVIDER_CONFIG",
        "remove_resource_provider_config": {"type": "t", "name": "n"}});
    assert_eq!(agent.call(&remove).await.0, 501);
}
