//! Processes inside a running task, as `dcos task exec` and `attach` start them:
//! through the door, with real containers behind it.
//!
//! Numbers `oa_…` are those of the operator API's checklist.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Cluster, is_root, skip, start_time, task_pids};

const PATIENCE: Duration = Duration::from_secs(20);

/// One HTTP/1.1 exchange whose both bodies stay open.
struct Open {
    stream: TcpStream,
    /// Undecoded bytes of the connection.
    raw: Vec<u8>,
    /// Decoded bytes of the body.
    body: Vec<u8>,
    status: u16,
    head: String,
}

impl Open {
    async fn start(cluster: &Cluster, agent: &str, headers: &[(&str, &str)]) -> TcpStream {
        let address = cluster.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut head = format!("POST /agent/{agent}/api/v1 HTTP/1.1\r\nHost: {address}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    async fn answer(stream: TcpStream) -> Self {
        let mut open = Self { stream, raw: Vec::new(), body: Vec::new(), status: 0, head: String::new() };
        let end = loop {
            if let Some(at) = open.raw.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            assert!(open.fill().await, "the connection ended: {}", String::from_utf8_lossy(&open.raw));
        };
        open.head = String::from_utf8(open.raw[..end].to_vec()).unwrap().to_ascii_lowercase();
        open.raw.drain(..end + 4);
        open.status = open.head.split(' ').nth(1).unwrap().parse().unwrap();
        open
    }

    async fn fill(&mut self) -> bool {
        let mut chunk = [0; 16 << 10];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut chunk)).await;
        match read.expect("bytes in time") {
            Ok(count) if count > 0 => {
                self.raw.extend_from_slice(&chunk[..count]);
                true
            }
            _ => false,
        }
    }

    /// The next chunk of the body; false at its end.
    async fn chunk(&mut self) -> bool {
        loop {
            if let Some(at) = self.raw.windows(2).position(|window| window == b"\r\n") {
                let size = std::str::from_utf8(&self.raw[..at]).unwrap();
                let size = usize::from_str_radix(size, 16).unwrap();
                if self.raw.len() >= at + 2 + size + 2 {
                    self.body.extend_from_slice(&self.raw[at + 2..at + 2 + size]);
                    self.raw.drain(..at + 2 + size + 2);
                    return size > 0;
                }
            }
            if !self.fill().await {
                return false;
            }
        }
    }

    /// The next record, heartbeats left out; `None` at the end.
    async fn record(&mut self) -> Option<Value> {
        loop {
            while let Some(at) = self.body.iter().position(|&byte| byte == b'\n') {
                let length: usize = std::str::from_utf8(&self.body[..at]).unwrap().parse().unwrap();
                if self.body.len() < at + 1 + length {
                    break;
                }
                let record: Value = serde_json::from_slice(&self.body[at + 1..at + 1 + length]).unwrap();
                self.body.drain(..at + 1 + length);
                if record["type"] == "DATA" {
                    return Some(record);
                }
            }
            if !self.chunk().await {
                return None;
            }
        }
    }

    /// What both streams say until the end, or until stdout ends with `until`.
    async fn output(&mut self, until: &str) -> (String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        while until.is_empty() || !out.ends_with(until) {
            let Some(record) = self.record().await else { break };
            let data = unbase64(record["data"]["data"].as_str().unwrap());
            let data = String::from_utf8(data).unwrap();
            match record["data"]["type"].as_str().unwrap() {
                "STDOUT" => out.push_str(&data),
                "STDERR" => err.push_str(&data),
                other => panic!("{other}"),
            }
        }
        (out, err)
    }
}

const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(data: &[u8]) -> String {
    let mut text = String::new();
    for group in data.chunks(3) {
        let number = group.iter().chain([&0, &0]).take(3).fold(0, |sum, &byte| sum << 8 | u32::from(byte));
        for at in 0..4 {
            let is_padding = at > group.len();
            let digit = (number >> (18 - 6 * at)) & 63;
            text.push(if is_padding { '=' } else { char::from(ALPHABET[digit as usize]) });
        }
    }
    text
}

fn unbase64(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .bytes()
        .filter_map(|byte| ALPHABET.iter().position(|&known| known == byte))
        .map(|digit| u32::try_from(digit).unwrap())
        .collect();
    let bytes = digits.chunks(4).flat_map(|group| {
        let number = group.iter().chain([&0, &0, &0]).take(4).fold(0, |sum, digit| sum << 6 | digit);
        number.to_be_bytes()[1..group.len()].to_vec()
    });
    bytes.collect()
}

fn record(value: &Value) -> Vec<u8> {
    let text = value.to_string();
    format!("{}\n{text}", text.len()).into_bytes()
}

async fn send_chunk(stream: &mut TcpStream, data: &[u8]) {
    stream.write_all(format!("{:x}\r\n", data.len()).as_bytes()).await.unwrap();
    stream.write_all(data).await.unwrap();
    stream.write_all(b"\r\n").await.unwrap();
}

/// A task to work in, and the words for it.
struct Place<'a> {
    cluster: &'a Cluster,
    agent: String,
    parent: String,
}

impl Place<'_> {
    fn id(&self, name: &str) -> Value {
        json!({ "value": name, "parent": { "value": self.parent } })
    }

    async fn call(&self, kind: &str, field: &str, rest: Value) -> (StatusCode, String) {
        let body = json!({ "type": kind, field: rest }).to_string();
        self.cluster.call(Method::POST, &format!("/agent/{}/api/v1", self.agent), Some(body)).await
    }

    /// As `dcos task exec` opens its first connection.
    async fn session(&self, name: &str, argv: &[&str], tty: bool) -> Open {
        let headers = [
            ("Content-Type", "application/json"),
            ("Accept", "application/recordio"),
            ("Message-Accept", "application/json"),
        ];
        let mut stream = Open::start(self.cluster, &self.agent, &headers).await;
        let mut launch = json!({
            "container_id": self.id(name),
            "command": { "value": argv[0], "arguments": argv, "shell": false,
                         "environment": { "variables": [{ "name": "MORE", "value": "yes" }] } }
        });
        if tty {
            let size = json!({ "rows": 24, "columns": 80 });
            launch["container"] = json!({ "type": "MESOS", "tty_info": { "window_size": size } });
        }
        let call = json!({ "type": "LAUNCH_NESTED_CONTAINER_SESSION",
                           "launch_nested_container_session": launch });
        send_chunk(&mut stream, call.to_string().as_bytes()).await;
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        Open::answer(stream).await
    }

    /// Its second connection, without waiting for an answer.
    async fn input(&self, name: &str) -> TcpStream {
        let headers = [
            ("Content-Type", "application/recordio"),
            ("Message-Content-Type", "application/json"),
            ("Accept", "application/json"),
        ];
        let mut stream = Open::start(self.cluster, &self.agent, &headers).await;
        let first = json!({ "type": "ATTACH_CONTAINER_INPUT", "attach_container_input":
                            { "type": "CONTAINER_ID", "container_id": self.id(name) } });
        send_chunk(&mut stream, &record(&first)).await;
        stream
    }

    async fn exit_status(&self, name: &str) -> i64 {
        let rest = json!({ "container_id": self.id(name) });
        let (status, text) = self.call("WAIT_NESTED_CONTAINER", "wait_nested_container", rest).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer["wait_nested_container"]["exit_status"].as_i64().unwrap_or_else(|| panic!("{text}"))
    }
}

async fn send_io(stream: &mut TcpStream, io: Value) {
    let call = json!({ "type": "ATTACH_CONTAINER_INPUT",
                       "attach_container_input": { "type": "PROCESS_IO", "process_io": io } });
    send_chunk(stream, &record(&call)).await;
}

async fn type_in(stream: &mut TcpStream, text: &str) {
    let data = json!({ "type": "STDIN", "data": base64(text.as_bytes()) });
    send_io(stream, json!({ "type": "DATA", "data": data })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oa_47_to_oa_58_processes_inside_a_task() {
    if !is_root() {
        skip("clusters of namespaces need root");
        return;
    }
    let mut cluster = Cluster::up("exec", &["--agents", "1", "--public-agents", "0"]).await;
    cluster
        .add(json!({ "id": "/host", "cmd": "exec sleep 1000", "cpus": 0.5, "mem": 64, "env": { "COLOR": "blue" } }))
        .await;
    let task = cluster.running("/host", 1).await.remove(0);
    let agent = task["slaveId"].as_str().unwrap().to_owned();
    let before = cluster.task_pid(&task);
    let born = start_time(before);
    let listed = cluster.get(&format!("/agent/{agent}/containers")).await;
    let parent = listed[0]["container_id"].as_str().unwrap_or_else(|| panic!("{listed}")).to_owned();
    let place = Place { cluster: &cluster, agent, parent };

    streams_and_codes(&place).await;
    a_terminal(&place).await;
    watched(&place).await;
    a_closed_connection_is_the_end(&place).await;
    an_agent_that_dies(&place).await;

    assert_eq!(start_time(before), born, "nothing of this touched the task");
    cluster.remove("/host").await;
    assert!(task_pids(task["id"].as_str().unwrap()).is_empty(), "processes are left");
    cluster.no_container_left().await;
    cluster.down();
}

async fn streams_and_codes(place: &Place<'_>) {
    let script = "echo $COLOR $MORE; pwd; echo bad >&2; exit 3";
    let mut session = place.session("s1", &["/bin/sh", "-c", script], false).await;
    assert_eq!(session.status, 200, "{}", session.head);
    assert!(session.head.contains("content-type: application/recordio"), "{}", session.head);
    assert!(session.head.contains("message-content-type: application/json"), "{}", session.head);
    let (out, err) = session.output("").await;
    assert!(out.starts_with("blue yes\n/") && out.contains(&format!("/runs/{}\n", place.parent)), "{out}");
    assert_eq!(err, "bad\n");
    assert_eq!(place.exit_status("s1").await, 768);

    // Two connections, as `cat` needs them; the empty piece closes its input.
    let mut session = place.session("s2", &["cat"], false).await;
    let mut input = place.input("s2").await;
    type_in(&mut input, "through the door\n").await;
    assert_eq!(session.output("\n").await.0, "through the door\n");
    let second = Open::answer(place.input("s2").await).await;
    assert_eq!(second.status, 409, "{}", second.head);
    let missing = Open::answer(place.input("nowhere").await).await;
    assert_eq!(missing.status, 404, "{}", missing.head);
    type_in(&mut input, "").await;
    assert_eq!(session.output("").await, (String::new(), String::new()));
    assert_eq!(place.exit_status("s2").await, 0);
    let answer = Open::answer(input).await;
    assert_eq!(answer.status, 200, "{}", answer.head);

    let (status, text) = place
        .call(
            "WAIT_NESTED_CONTAINER",
            "wait_nested_container",
            json!({ "container_id": place.id("nowhere") }),
        )
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{text}");
    let nothing = place.session("s3", &["/no/such/program"], false).await;
    assert_eq!(nothing.status, 400, "{}", nothing.head);
}

async fn a_terminal(place: &Place<'_>) {
    let script = "stty size; echo bad >&2; read word; echo got $word; stty size; exit 4";
    let mut session = place.session("t1", &["/bin/sh", "-c", script], true).await;
    let mut input = place.input("t1").await;
    let (out, err) = session.output("bad\r\n").await;
    assert_eq!((out.as_str(), err.as_str()), ("24 80\r\nbad\r\n", ""));
    let size = json!({ "rows": 50, "columns": 132 });
    let control = json!({ "type": "TTY_INFO", "tty_info": { "window_size": size } });
    send_io(&mut input, json!({ "type": "CONTROL", "control": control })).await;
    type_in(&mut input, "that\n").await;
    let (out, _) = session.output("").await;
    assert!(out.ends_with("got that\r\n50 132\r\n"), "{out:?}");
    assert_eq!(place.exit_status("t1").await, 4 << 8);
}

/// One that nobody holds on to: files, the list, signals, removal.
async fn watched(place: &Place<'_>) {
    let script = "echo up; trap 'echo bye; exit 5' TERM; while :; do sleep 0.05; done";
    let launch = json!({ "container_id": place.id("q1"), "command": { "value": script } });
    for expected in [StatusCode::OK, StatusCode::ACCEPTED] {
        let (status, text) =
            place.call("LAUNCH_NESTED_CONTAINER", "launch_nested_container", launch.clone()).await;
        assert_eq!(status, expected, "{text}");
    }
    let (_, text) = place.call("GET_CONTAINERS", "get_containers", json!({ "show_nested": true })).await;
    let all: Value = serde_json::from_str(&text).unwrap();
    let all = all["get_containers"]["containers"].as_array().unwrap().clone();
    assert!(
        all.iter().any(|found| found["container_id"]["value"] == "q1"
            && found["container_id"]["parent"]["value"] == place.parent.as_str()),
        "{all:?}"
    );
    let refused = json!({ "container_id": place.id("q1") });
    let (status, text) =
        place.call("REMOVE_NESTED_CONTAINER", "remove_nested_container", refused.clone()).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{text}");
    let headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/recordio"),
        ("Message-Accept", "application/json"),
    ];
    let mut stream = Open::start(place.cluster, &place.agent, &headers).await;
    let call = json!({ "type": "ATTACH_CONTAINER_OUTPUT",
                       "attach_container_output": { "container_id": place.id("q1") } });
    send_chunk(&mut stream, call.to_string().as_bytes()).await;
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut attached = Open::answer(stream).await;
    assert_eq!(attached.status, 200, "{}", attached.head);
    let kill = json!({ "container_id": place.id("q1"), "signal": 15 });
    let (status, text) = place.call("KILL_NESTED_CONTAINER", "kill_nested_container", kill.clone()).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert_eq!(attached.output("").await.0, "bye\n");
    assert_eq!(place.exit_status("q1").await, 5 << 8);
    let (status, text) = place.call("KILL_NESTED_CONTAINER", "kill_nested_container", kill).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{text}");
    for _ in 0..2 {
        let (status, text) =
            place.call("REMOVE_NESTED_CONTAINER", "remove_nested_container", refused.clone()).await;
        assert_eq!(status, StatusCode::OK, "{text}");
    }
    // One of its own, beside the tasks.
    let id = json!({ "value": "standalone" });
    let resources: Vec<Value> = [("cpus", 0.1), ("mem", 32.0)]
        .map(|(name, value)| json!({ "name": name, "type": "SCALAR", "scalar": { "value": value } }))
        .into();
    let launch = json!({ "container_id": id, "command": { "value": "pwd; exit 6" }, "resources": resources });
    let (status, text) = place.call("LAUNCH_CONTAINER", "launch_container", launch).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let (status, text) = place.call("WAIT_CONTAINER", "wait_container", json!({ "container_id": id })).await;
    assert!(status == StatusCode::OK && text.contains("\"exit_status\":1536"), "{status} {text}");
    let (status, text) =
        place.call("REMOVE_CONTAINER", "remove_container", json!({ "container_id": id })).await;
    assert_eq!(status, StatusCode::OK, "{text}");
}

async fn a_closed_connection_is_the_end(place: &Place<'_>) {
    let script = "trap '' TERM HUP PIPE; echo up; while :; do sleep 0.05; done";
    let mut session = place.session("s4", &["/bin/sh", "-c", script], false).await;
    assert_eq!(session.output("\n").await.0, "up\n");
    drop(session);
    assert_eq!(place.exit_status("s4").await, 9);
}

/// Its sessions end, the others go on.
async fn an_agent_that_dies(place: &Place<'_>) {
    let launch = json!({ "container_id": place.id("q2"), "command": { "value": "sleep 1000" } });
    let (status, text) = place.call("LAUNCH_NESTED_CONTAINER", "launch_nested_container", launch).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let mut session = place.session("s5", &["/bin/sh", "-c", "echo up; exec sleep 1000"], false).await;
    assert_eq!(session.output("\n").await.0, "up\n");
    let node = place.cluster.node_of(&place.agent).await;
    place.cluster.kill_daemon(&node);
    assert_eq!(session.output("").await.0, "");
    let kill = json!({ "container_id": place.id("q2"), "signal": 9 });
    place
        .cluster
        .wait("the agent to be back, with what it had", async || {
            let (status, _) =
                place.call("KILL_NESTED_CONTAINER", "kill_nested_container", kill.clone()).await;
            (status == StatusCode::OK).then_some(())
        })
        .await;
    assert_eq!(place.exit_status("q2").await, 9);
    assert_eq!(place.exit_status("s5").await, 9);
}
