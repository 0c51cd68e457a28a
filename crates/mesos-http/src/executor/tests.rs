//! The executor's side of the contract's checklist, over a real socket against a
//! real agent whose containers and master are played by the test.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mesos_agent::brain::{ConnId, Input};
use mesos_agent::config::AgentConfig;
use mesos_agent::shell::{Containers, MasterStream, Service};
use mesos_agent::state::{ContainerLaunch, ContainerResize, VolumeWork};
use mesos_proto::v1::executor::{Call as Message, Event};
use model::agent_api::{AgentToMaster, MasterToAgent};
use model::{AgentInfo, Capability, ContainerId, FrameworkInfo, Opaque, Rng, TaskState, UpdateId};
use serde_json::{Value, json};
use store::local::LocalHandle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::agent::{AgentIdentity, agent_router};
use crate::raw_http::{self, Answer, Connection, PATIENCE, Records};
use crate::{Everyone, FilesConfig, fixtures};
use mesos_proto::raw;

const PATH: &str = "/api/v1/executor";

struct Runtime;

impl Containers for Runtime {
    fn launch(&self, launch: ContainerLaunch, inputs: mpsc::Sender<Input>) {
        tokio::spawn(async move { inputs.send(Input::Started { id: launch.id, pid: 9 }).await });
    }
    fn terminate(&self, _: &ContainerId) {}
    fn destroy(&self, _: &ContainerId) {}
    fn forget(&self, _: &ContainerId) {}
    fn resize(&self, _: ContainerResize) {}
    fn volume(&self, _: VolumeWork, _: mpsc::Sender<Input>) {}
    fn look(&self, _: mesos_agent::Look, _: mpsc::Sender<Input>) {}
    fn volume_settled(&self, _: UpdateId) {}
}

struct Recorder(Arc<Mutex<Vec<AgentToMaster>>>);

impl MasterStream for Recorder {
    fn try_send(&self, message: AgentToMaster) -> bool {
        self.0.lock().unwrap().push(message);
        true
    }

    fn close(&self, _: &str) {}
}

struct Node {
    address: SocketAddr,
    handle: Handle,
    told: Arc<Mutex<Vec<AgentToMaster>>>,
    running: JoinHandle<Result<(), mesos_agent::shell::ServiceError>>,
    _dir: tempfile::TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Node {
    /// A node that knows its agent id and is connected to a master.
    async fn start(recovered: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let checkpoint = LocalHandle::open(dir.path().join("agent.redb")).await.unwrap();
        let info = AgentInfo { id: None, ..fixtures::agent_info(1) };
        let config = AgentConfig::new(info, dir.path().display().to_string());
        let clock = Clock::system();
        let (service, handle) =
            Service::load(checkpoint, config, Box::new(Runtime), Rng::new(1), clock).await.unwrap();
        if recovered {
            assert!(service.recovered(Vec::new()));
        }
        let running = tokio::spawn(service.run());
        let told = Arc::new(Mutex::new(Vec::new()));
        let view = handle.clone();
        let identity = AgentIdentity {
            build: fixtures::build(),
            flags: Default::default(),
            runtime: Arc::new(crate::memory::Memory::default()),
            authorizer: Arc::new(Everyone),
            logging: Arc::new(crate::LogLevel::new(|_| ())),
            executors: Some(handle.clone()),
        };
        let router = agent_router(Arc::new(move || view.view()), identity, FilesConfig::default());
        let address = raw_http::serve(router).await;
        let node = Self { address, handle, told, running, _dir: dir };
        if recovered {
            node.handle.connected(ConnId(1), Box::new(Recorder(node.told.clone()))).await;
            node.wait("the registration", |message| matches!(message, AgentToMaster::Register(_))).await;
            node.tell(MasterToAgent::Registered { agent_id: "S1".into() }).await;
        }
        node
    }

    async fn tell(&self, message: MasterToAgent) {
        self.handle.message(ConnId(1), message).await;
    }

    async fn wait(&self, what: &str, fits: impl Fn(&AgentToMaster) -> bool) -> AgentToMaster {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(message) = self.told.lock().unwrap().iter().find(|message| fits(message)) {
                return message.clone();
            }
            assert!(Instant::now() < deadline, "waited for {what}: {:?}", self.told.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A task with an executor of its own, as the master would send it.
    async fn run(&self, id: &str) -> Vec<u8> {
        let executor = json!({"executor_id": {"value": "E"}, "command": {"value": "./run"}, "data": "AAE=",
            "resources": [{"name": "mem", "type": "SCALAR", "scalar": {"value": 32.0}}]});
        let task = json!({"name": id, "task_id": {"value": id}, "agent_id": {"value": "S1"}, "executor": executor,
            "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.5}}], "data": "/w=="});
        let mut bytes =
            mesos_proto::json::to_protobuf(v1::TaskInfo::table(), task.to_string().as_bytes()).unwrap();
        raw::append(&mut bytes, 1000, b"future");
        let launch = convert::task(&v1::TaskInfo::from_protobuf(&bytes).unwrap(), &bytes);
        assert_eq!(launch.flaw, None);
        let framework = FrameworkInfo {
            capabilities: vec![Capability::MultiRole, Capability::ReservationRefinement],
            ..fixtures::framework_info("F", true)
        };
        let mut task = launch.info;
        if let Some(executor) = &mut task.executor {
            executor.framework_id = Some("F".into());
        }
        self.tell(MasterToAgent::RunTask {
            framework: Box::new(framework),
            role: fixtures::role("eng"),
            task: Box::new(task),
        })
        .await;
        bytes
    }

    async fn post(&self, format: Format, more: Value) -> Answer {
        let headers = [("Content-Type", format.media_type())];
        raw_http::request(self.address, "POST", PATH, &headers, &body(format, more)).await
    }

    async fn subscribe(&self, format: Format, subscribe: Value) -> Events {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut connection = Connection::open(self.address).await;
            let headers = [("Content-Type", format.media_type()), ("Accept", format.media_type())];
            let call = json!({"type": "SUBSCRIBE", "subscribe": subscribe});
            connection.send("POST", "/slave(1)/api/v1/executor", &headers, &body(format, call)).await;
            let head = connection.head().await;
            if head.status == 200 {
                assert_eq!(head.headers["content-type"], format.media_type());
                assert!(!head.headers.contains_key("mesos-stream-id"));
                return Events { records: connection.records(), format };
            }
            assert!(Instant::now() < deadline, "{head:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn body(format: Format, more: Value) -> Vec<u8> {
    let mut call = json!({"framework_id": {"value": "F"}, "executor_id": {"value": "E"}});
    call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let text = call.to_string().into_bytes();
    match format {
        Format::Json => text,
        Format::Protobuf => mesos_proto::json::to_protobuf(Message::table(), &text).unwrap(),
    }
}

struct Events {
    records: Records,
    format: Format,
}

impl Events {
    async fn next(&mut self) -> (Value, Vec<u8>) {
        let record = self.records.next().await.expect("an event");
        let event = Event::from_body(self.format, &record).unwrap();
        (serde_json::from_str(&event.to_json()).unwrap(), record)
    }
}

const UUID: &str = "AAAAAAAAAAAAAAAAAAAABw==";

fn update(more: Value) -> Value {
    let mut status = json!({"task_id": {"value": "t1"}, "state": "TASK_RUNNING", "source": "SOURCE_EXECUTOR",
        "uuid": UUID, "timestamp": 1.0});
    for (key, more) in more.as_object().unwrap() {
        match more {
            Value::Null => drop(status.as_object_mut().unwrap().remove(key)),
            more => status[key] = more.clone(),
        }
    }
    json!({"type": "UPDATE", "update": {"status": status}})
}

#[tokio::test(flavor = "multi_thread")]
async fn sea_8_an_executor_from_subscription_to_shutdown() {
    for format in [Format::Json, Format::Protobuf] {
        let node = Node::start(true).await;
        node.run("t1").await;
        let mut events = node.subscribe(format, json!({})).await;
        let (subscribed, bytes) = events.next().await;
        assert_eq!(subscribed["type"], "SUBSCRIBED");
        let subscribed = &subscribed["subscribed"];
        assert_eq!(subscribed["executor_info"]["data"], "AAE=");
        assert_eq!(subscribed["executor_info"]["framework_id"]["value"], "F");
        assert_eq!(subscribed["framework_info"]["id"]["value"], "F");
        assert_eq!(subscribed["agent_info"]["id"]["value"], "S1");
        assert!(subscribed["container_id"]["value"].is_string());
        if format == Format::Protobuf {
            assert_eq!(raw::submessages(&bytes, &[2, 1]).unwrap().len(), 1);
        }
        let (launch, bytes) = events.next().await;
        assert_eq!(launch["type"], "LAUNCH");
        let task = &launch["launch"]["task"];
        assert_eq!((&task["task_id"]["value"], &task["data"]), (&json!("t1"), &json!("/w==")));
        assert_eq!(task["resources"][0]["allocation_info"], json!({"role": "eng"}));
        // PB 17
        if format == Format::Protobuf {
            assert_eq!(raw::submessages(&bytes, &[4, 1, 1000]).unwrap(), [b"future"]);
        }

        assert_eq!(node.post(format, update(json!({"data": "AQ=="}))).await.status, 202);
        let (acknowledged, _) = events.next().await;
        assert_eq!(
            acknowledged,
            json!({"type": "ACKNOWLEDGED", "acknowledged": {"task_id": {"value": "t1"}, "uuid": UUID}})
        );
        let sent = node.wait("the update", |message| matches!(message, AgentToMaster::Update(_))).await;
        let AgentToMaster::Update(sent) = sent else { panic!() };
        assert_eq!((sent.status.state, sent.status.uuid), (TaskState::Running, Some(UpdateId(7))));
        assert_eq!(sent.status.data.as_deref(), Some(&[1_u8][..]));

        // 60, both ways.
        assert_eq!(
            node.post(format, json!({"type": "MESSAGE", "message": {"data": "/wA="}})).await.status,
            202
        );
        let fits = |message: &AgentToMaster| matches!(message, AgentToMaster::Message { data, .. } if **data == [0xff, 0]);
        node.wait("the message", fits).await;
        node.tell(MasterToAgent::Message {
            framework_id: "F".into(),
            executor_id: "E".into(),
            data: Opaque::new(&[0, 0xfe]),
        })
        .await;
        assert_eq!(events.next().await.0, json!({"type": "MESSAGE", "message": {"data": "AP4="}}));

        node.tell(MasterToAgent::KillTask {
            framework_id: "F".into(),
            task_id: "t1".into(),
            kill_policy: Some(model::KillPolicy { grace_ms: 5 }),
        })
        .await;
        let kill =
            json!({"task_id": {"value": "t1"}, "kill_policy": {"grace_period": {"nanoseconds": 5_000_000}}});
        assert_eq!(events.next().await.0, json!({"type": "KILL", "kill": kill}));
        node.tell(MasterToAgent::ShutdownExecutor { framework_id: "F".into(), executor_id: "E".into() })
            .await;
        assert_eq!(events.next().await.0, json!({"type": "SHUTDOWN"}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sea_47_48_what_an_executor_must_not_say() {
    let node = Node::start(true).await;
    node.run("t1").await;
    let _events = node.subscribe(Format::Json, json!({})).await;
    for (more, expected) in [
        (
            json!({"source": "SOURCE_AGENT"}),
            "Received Call from executor E with invalid source, expecting 'SOURCE_EXECUTOR'",
        ),
        (
            json!({"source": null}),
            "Received Call from executor E with invalid source, expecting 'SOURCE_EXECUTOR'",
        ),
        (json!({"state": "TASK_STAGING"}), "Received TASK_STAGING from executor E which is not allowed"),
        (json!({"uuid": null}), "Expecting 'uuid' to be present"),
        (json!({"uuid": "AAAA"}), "'uuid' has 3 bytes, 16 are expected"),
        (
            json!({"executor_id": {"value": "other"}}),
            "ExecutorID in Call: E does not match ExecutorID in TaskStatus: other",
        ),
        (json!({"check_status": {"type": "TCP"}}), "Expecting 'tcp' to be set for TCP check's status"),
    ] {
        for format in [Format::Json, Format::Protobuf] {
            let answer = node.post(format, update(more.clone())).await;
            let expected = format!("Failed to validate Executor::Call: {expected}");
            assert_eq!((answer.status, answer.text()), (400, expected));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sea_8_1_refusals() {
    let node = Node::start(true).await;
    let refused = |answer: Answer, status: u16, text: &str| {
        assert_eq!((answer.status, answer.text().as_str()), (status, text));
    };
    let post = async |headers: &[(&str, &str)], body: &str| {
        raw_http::request(node.address, "POST", PATH, headers, body.as_bytes()).await
    };
    refused(post(&[], "{}").await, 400, "Expecting 'Content-Type' to be present");
    let media = "Expecting 'Content-Type' of application/json or application/x-protobuf";
    refused(post(&[("Content-Type", "text/plain")], "{}").await, 415, media);
    let answer = raw_http::request(node.address, "GET", PATH, &[], b"").await;
    assert_eq!((answer.status, answer.headers["allow"].as_str()), (405, "POST"));
    let prefix = "Failed to validate Executor::Call: ";
    for (call, text) in [
        (json!({}), "Expecting 'type' to be present"),
        (json!({"type": "SUBSCRIBE"}), "Expecting 'subscribe' to be present"),
        (json!({"type": "UPDATE"}), "Expecting 'update' to be present"),
        (json!({"type": "MESSAGE"}), "Expecting 'message' to be present"),
    ] {
        refused(node.post(Format::Protobuf, call).await, 400, &format!("{prefix}{text}"));
    }
    let message = json!({"type": "MESSAGE", "message": {"data": ""}});
    assert_eq!(node.post(Format::Json, json!({"type": "HEARTBEAT"})).await.status, 202);
    assert_eq!(node.post(Format::Json, json!({"type": "UNKNOWN"})).await.status, 501);
    refused(node.post(Format::Json, message.clone()).await, 400, "Framework cannot be found");
    node.run("t1").await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = node.post(Format::Json, message.clone()).await;
        if answer.status == 403 {
            break refused(answer, 403, "Executor is not subscribed");
        }
        assert!(Instant::now() < deadline, "{answer:?}");
    }
    let mut other = message;
    other["executor_id"] = json!({"value": "other"});
    refused(node.post(Format::Json, other).await, 400, "Executor cannot be found");
    let headers = [("Content-Type", "application/json"), ("Accept", "text/plain")];
    let subscribe = body(Format::Json, json!({"type": "SUBSCRIBE", "subscribe": {}}));
    let answer = raw_http::request(node.address, "POST", PATH, &headers, &subscribe).await;
    assert_eq!(answer.status, 406);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_recovers_says_so() {
    let node = Node::start(false).await;
    for call in [json!({"type": "SUBSCRIBE", "subscribe": {}}), update(json!({}))] {
        let answer = node.post(Format::Json, call).await;
        assert_eq!((answer.status, answer.text().as_str()), (503, "Agent has not finished recovery"));
    }
}

/// 49: what was not confirmed is sent again with the next subscription, and told once.
#[tokio::test(flavor = "multi_thread")]
async fn sea_49_updates_of_a_subscription() {
    let node = Node::start(true).await;
    let task = node.run("t1").await;
    let mut first = node.subscribe(Format::Json, json!({})).await;
    assert_eq!(first.next().await.0["type"], "SUBSCRIBED");
    assert_eq!(first.next().await.0["type"], "LAUNCH");
    assert_eq!(node.post(Format::Json, update(json!({}))).await.status, 202);
    let task: Value = serde_json::from_str(&v1::TaskInfo::from_protobuf(&task).unwrap().to_json()).unwrap();
    let again =
        json!({"unacknowledged_tasks": [task], "unacknowledged_updates": [update(json!({}))["update"]]});
    let mut second = node.subscribe(Format::Protobuf, again).await;
    let mut kinds = Vec::new();
    while !kinds.contains(&json!("ACKNOWLEDGED")) || !kinds.contains(&json!("SUBSCRIBED")) {
        kinds.push(second.next().await.0["type"].clone());
    }
    assert!(!kinds.contains(&json!("LAUNCH")), "{kinds:?}");
    // The older stream has ended.
    while first.records.next().await.is_some() {}
    let updates = node.told.lock().unwrap().iter().filter(|m| matches!(m, AgentToMaster::Update(_))).count();
    assert_eq!(updates, 1);
}
