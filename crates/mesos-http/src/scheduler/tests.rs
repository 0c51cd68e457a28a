//! The contract's checklist over a real socket, against a real master and an
//! agent that is played by the test; each in both encodings where it matters.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mesos_master::config::MasterConfig;
use mesos_master::shell::{AgentInput, AgentStream, Handle, Service};
use mesos_proto::media::Format;
use mesos_proto::v1::scheduler::{Call, Event};
use mesos_proto::{ApiMessage, raw, v1};
use model::agent_api::{AgentToMaster, MasterToAgent, Registration};
use model::{AgentInfo, FrameworkId, Rng, Source, StatusUpdate, TaskState, TaskStatus, Time, UpdateId};
use serde_json::{Value, json};
use shell::Clock;
use store::Store;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::fixtures;
use crate::master::{MasterIdentity, master_router};
use crate::raw_http::{self, Answer, Connection, PATIENCE, Records};
use crate::{Everyone, Leadership};

const PATH: &str = "/api/v1/scheduler";

/// A master that leads, and what is around it.
struct Cluster {
    address: SocketAddr,
    handle: Handle,
    running: JoinHandle<Result<(), mesos_master::shell::ServiceError>>,
    _store: Store,
    _dir: tempfile::TempDir,
}

fn identity() -> MasterIdentity {
    MasterIdentity {
        build: fixtures::build(),
        started: Time::ZERO,
        flags: Default::default(),
        log_file: None,
        authorizer: Arc::new(Everyone),
        logging: Arc::new(crate::LogLevel::new(|_| ())),
    }
}

impl Cluster {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(store::Config::single(dir.path(), "127.0.0.1")).await.unwrap();
        let mut leadership = store.leadership();
        timeout(PATIENCE, leadership.wait_for(|now| now.is_me)).await.unwrap().unwrap();
        let term = store.leadership().borrow().term;
        let config = MasterConfig { master_id: "M".into(), ..fixtures::config() };
        let (service, handle) =
            Service::load(store.clone(), term, config, Rng::new(1), Clock::system()).await.unwrap();
        let running = tokio::spawn(service.run());
        let leading = handle.clone();
        let leadership = move || Leadership::Leading(Arc::new(leading.clone()));
        let address = raw_http::serve(master_router(leadership, identity())).await;
        Self { address, handle, running, _store: store, _dir: dir }
    }

    async fn post(&self, format: Format, headers: &[(&str, &str)], call: &Value) -> Answer {
        let body = body(format, call);
        let mut all = vec![("Content-Type", format.media_type())];
        all.extend(headers);
        raw_http::request(self.address, "POST", PATH, &all, &body).await
    }

    /// A call of one framework.
    async fn call(&self, framework: &Framework, more: Value) -> Answer {
        let mut call = json!({"framework_id": {"value": framework.id}});
        call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.post(framework.format, &[("Mesos-Stream-Id", &framework.stream_id)], &call).await
    }

    /// Opens a stream, whatever comes on it.
    async fn open(&self, format: Format, info: Value) -> (Answer, Events) {
        let mut call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}});
        if !info["id"].is_null() {
            call["framework_id"] = info["id"].clone();
        }
        let headers = [("Content-Type", format.media_type()), ("Accept", format.media_type())];
        let mut connection = Connection::open(self.address).await;
        connection.send("POST", PATH, &headers, &body(format, &call)).await;
        let head = connection.head().await;
        assert_eq!(head.status, 200, "{head:?}");
        (head, Events { records: connection.records(), format })
    }

    async fn subscribe(&self, format: Format, info: Value) -> Framework {
        let (head, mut events) = self.open(format, info).await;
        assert_eq!(head.headers["content-type"], format.media_type());
        let subscribed = events.next().await;
        assert_eq!(subscribed["type"], "SUBSCRIBED", "{subscribed}");
        assert_eq!(subscribed["subscribed"]["heartbeat_interval_seconds"], json!(15.0));
        assert_eq!(subscribed["subscribed"]["master_info"]["id"], "M");
        assert_eq!(events.next().await, json!({"type": "HEARTBEAT"}));
        let id = subscribed["subscribed"]["framework_id"]["value"].as_str().unwrap().to_owned();
        Framework { id, stream_id: head.headers["mesos-stream-id"].clone(), events, format }
    }

    async fn agent(&self, info: AgentInfo) -> Agent {
        let told = Arc::new(Mutex::new(Vec::new()));
        let input = self.handle.agent(Box::new(Recorder(told.clone())));
        let registration = Registration {
            info: AgentInfo { id: None, ..info },
            frameworks: Vec::new(),
            executors: Vec::new(),
            tasks: Vec::new(),
            operations: Vec::new(),
            drain: None,
        };
        assert!(input.message(AgentToMaster::Register(Box::new(registration))).await);
        let agent = Agent { input, told };
        agent.wait("the registration", |told| matches!(told, MasterToAgent::Registered { .. })).await;
        agent
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.running.abort();
    }
}

struct Recorder(Arc<Mutex<Vec<MasterToAgent>>>);

impl AgentStream for Recorder {
    fn try_send(&self, message: MasterToAgent) -> bool {
        self.0.lock().unwrap().push(message);
        true
    }

    fn close(&self, _reason: &str) {}
}

struct Agent {
    input: AgentInput,
    told: Arc<Mutex<Vec<MasterToAgent>>>,
}

impl Agent {
    async fn wait(&self, what: &str, fits: impl Fn(&MasterToAgent) -> bool) -> MasterToAgent {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(message) = self.told.lock().unwrap().iter().find(|message| fits(message)) {
                return message.clone();
            }
            assert!(Instant::now() < deadline, "waited for {what}: {:?}", self.told.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

struct Events {
    records: Records,
    format: Format,
}

impl Events {
    async fn next_or_end(&mut self) -> Option<Value> {
        let record = self.records.next().await?;
        Some(match self.format {
            Format::Json => serde_json::from_slice(&record).unwrap(),
            Format::Protobuf => {
                serde_json::from_str(&Event::from_protobuf(&record).unwrap().to_json()).unwrap()
            }
        })
    }

    async fn next(&mut self) -> Value {
        self.next_or_end().await.expect("an event")
    }

    /// The next one of a type; what comes before it is passed over.
    async fn next_of(&mut self, kind: &str) -> Value {
        let wanted = async {
            loop {
                let event = self.next().await;
                if event["type"] == kind {
                    return event;
                }
            }
        };
        timeout(PATIENCE, wanted).await.unwrap_or_else(|_| panic!("waited for {kind}"))
    }

    /// What is left until the end.
    async fn rest(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        while let Some(event) = self.next_or_end().await {
            events.push(event);
        }
        events
    }
}

struct Framework {
    id: String,
    stream_id: String,
    events: Events,
    format: Format,
}

fn body(format: Format, call: &Value) -> Vec<u8> {
    match format {
        Format::Json => call.to_string().into_bytes(),
        Format::Protobuf => {
            mesos_proto::json::to_protobuf(Call::table(), call.to_string().as_bytes()).unwrap()
        }
    }
}

const BOTH: [Format; 2] = [Format::Json, Format::Protobuf];

fn plain_info() -> Value {
    json!({"user": "root", "name": "test", "failover_timeout": 3600.0, "checkpoint": true})
}

fn multi_role_info(roles: &[&str]) -> Value {
    let capabilities = ["MULTI_ROLE", "PARTITION_AWARE", "RESERVATION_REFINEMENT"];
    let capabilities: Vec<Value> = capabilities.iter().map(|name| json!({"type": name})).collect();
    let mut info = plain_info();
    info["roles"] = json!(roles);
    info["capabilities"] = json!(capabilities);
    info
}

fn with_id(mut info: Value, id: &str) -> Value {
    info["id"] = json!({"value": id});
    info
}

fn refused(answer: &Answer, status: u16, text: &str) {
    assert_eq!((answer.status, answer.text().as_str()), (status, text));
}

fn subscribe_call() -> Value {
    json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": plain_info()}})
}

#[tokio::test(flavor = "multi_thread")]
async fn sea_1_2_3_4_5_8_what_is_wrong_with_a_request() {
    let cluster = Cluster::start().await;
    let json_type = ("Content-Type", "application/json");
    let post = async |headers: &[(&str, &str)], body: &str| {
        raw_http::request(cluster.address, "POST", PATH, headers, body.as_bytes()).await
    };
    // 1
    refused(&post(&[], "{}").await, 400, "Expecting 'Content-Type' to be present");
    // 2
    for method in ["GET", "PUT", "DELETE"] {
        let answer = raw_http::request(cluster.address, method, PATH, &[], b"").await;
        assert_eq!((answer.status, answer.headers["allow"].as_str()), (405, "POST"), "{method}");
    }
    // 3
    let media = "Expecting 'Content-Type' of application/json or application/x-protobuf";
    refused(&post(&[("Content-Type", "text/plain")], "{}").await, 415, media);
    // 4, 5
    let subscribe = subscribe_call().to_string();
    let accept = "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'";
    refused(&post(&[json_type, ("Accept", "text/plain")], &subscribe).await, 406, accept);
    let header = "Subscribe calls should not include the 'Mesos-Stream-Id' header";
    refused(&post(&[json_type, ("Mesos-Stream-Id", "x")], &subscribe).await, 400, header);
    // 8
    for format in BOTH {
        let mut call = subscribe_call();
        call["framework_id"] = json!({"value": "other"});
        let text =
            "Failed to validate scheduler::Call: 'framework_id' differs from 'subscribe.framework_info.id'";
        refused(&cluster.post(format, &[], &call).await, 400, text);
    }
    // Bodies that are none.
    assert!(post(&[json_type], "{").await.text().starts_with("Failed to parse body into JSON: "));
    assert!(post(&[json_type], "[]").await.text().starts_with("Failed to convert JSON into Call protobuf: "));
    let numbered = post(&[json_type], r#"{"type": 1}"#).await;
    assert!(numbered.text().starts_with("Failed to convert JSON into Call protobuf: "), "{numbered:?}");
    let answer = post(&[("Content-Type", "application/x-protobuf")], "\u{7f}").await;
    refused(&answer, 400, "Failed to parse body into Call protobuf");
    // PB 3: an unknown type is none.
    let typeless = "Failed to validate scheduler::Call: Expecting 'type' to be present";
    refused(&post(&[json_type], r#"{"type": "NOSUCH"}"#).await, 400, typeless);
    // Parameters of the media type are accepted.
    refused(&post(&[("Content-Type", "application/json; charset=utf-8")], "{}").await, 400, typeless);
    // A wrong accept header hurts nobody but SUBSCRIBE.
    let teardown = r#"{"type":"TEARDOWN","framework_id":{"value":"x"}}"#;
    refused(&post(&[json_type, ("Accept", "text/plain")], teardown).await, 400, "Framework cannot be found");
}

#[tokio::test(flavor = "multi_thread")]
async fn incomplete_calls_are_named() {
    let cluster = Cluster::start().await;
    let prefix = "Failed to validate scheduler::Call: ";
    let id = json!({"value": "x"});
    let mut cases = vec![
        (json!({"type": "SUBSCRIBE"}), "Expecting 'subscribe' to be present"),
        (json!({"type": "TEARDOWN"}), "Expecting 'framework_id' to be present"),
        (
            json!({"type": "ACKNOWLEDGE", "framework_id": id,
                   "acknowledge": {"agent_id": id, "task_id": id, "uuid": "AAAA"}}),
            "Not a valid UUID: 'uuid' has 3 bytes, 16 are expected",
        ),
        (
            json!({"type": "ACKNOWLEDGE_OPERATION_STATUS", "framework_id": id,
                   "acknowledge_operation_status": {"operation_id": id, "uuid": "AAAAAAAAAAAAAAAAAAAABw=="}}),
            "Expecting 'agent_id' to be present",
        ),
        (
            json!({"type": "UPDATE_FRAMEWORK", "framework_id": id, "update_framework": {"framework_info": plain_info()}}),
            "'framework_id' differs from 'update_framework.framework_info.id'",
        ),
    ];
    let texts: Vec<(String, String)> = [
        "ACCEPT",
        "DECLINE",
        "ACCEPT_INVERSE_OFFERS",
        "DECLINE_INVERSE_OFFERS",
        "KILL",
        "SHUTDOWN",
        "RECONCILE",
        "RECONCILE_OPERATIONS",
        "MESSAGE",
        "REQUEST",
        "ACKNOWLEDGE",
        "ACKNOWLEDGE_OPERATION_STATUS",
        "UPDATE_FRAMEWORK",
    ]
    .iter()
    .map(|kind| ((*kind).to_owned(), format!("Expecting '{}' to be present", kind.to_lowercase())))
    .collect();
    for (kind, text) in &texts {
        cases.push((json!({"type": kind, "framework_id": id}), text));
    }
    for (call, text) in cases {
        for format in BOTH {
            let answer = cluster.post(format, &[], &call).await;
            refused(&answer, 400, &format!("{prefix}{text}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sea_6_10_12_calls_need_their_stream() {
    let cluster = Cluster::start().await;
    for format in BOTH {
        let mut first = cluster.subscribe(format, plain_info()).await;
        let second = cluster.subscribe(format, plain_info()).await;
        // 6: fresh each time, and a UUID of version 4.
        assert_ne!(first.stream_id, second.stream_id);
        assert_eq!((first.stream_id.len(), first.stream_id.as_bytes()[14]), (36, b'4'));
        assert_ne!(first.id, second.id);
        assert!(first.id.starts_with("M-") && first.id.len() >= 6, "{}", first.id);

        // 10
        let decline =
            json!({"type": "DECLINE", "framework_id": {"value": first.id}, "decline": {"offer_ids": []}});
        let without = "All non-subscribe calls should include the 'Mesos-Stream-Id' header";
        refused(&cluster.post(format, &[], &decline).await, 400, without);
        let stale = format!(
            "The stream ID '{}' included in this request didn't match the stream ID currently associated with \
             framework ID {}",
            second.stream_id, first.id
        );
        let answer = cluster.post(format, &[("Mesos-Stream-Id", &second.stream_id)], &decline).await;
        refused(&answer, 400, &stale);
        let mut unknown = decline.clone();
        unknown["framework_id"] = json!({"value": "M-9999"});
        refused(&cluster.post(format, &[], &unknown).await, 400, "Framework cannot be found");
        refused(&cluster.post(format, &[("Mesos-Stream-Id", &first.stream_id)], &decline).await, 202, "");
        let unimplemented = cluster.call(&first, json!({"type": "UNKNOWN"})).await;
        refused(&unimplemented, 501, "");

        // 11, 12
        let newer = cluster.subscribe(format, with_id(plain_info(), &first.id)).await;
        assert_eq!(newer.id, first.id);
        let end = first.events.rest().await;
        let last = json!({"type": "ERROR", "error": {"message": "Framework failed over"}});
        assert_eq!(end.last(), Some(&last), "{end:?}");
        let answer = cluster.call(&first, json!({"type": "REVIVE"})).await;
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("didn't match the stream ID"), "{answer:?}");
        assert_eq!(cluster.call(&newer, json!({"type": "REVIVE"})).await.status, 202);

        // A framework that is known and has no stream.
        drop(newer);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = cluster.post(format, &[("Mesos-Stream-Id", "x")], &decline).await;
            match answer.text().as_str() {
                "Framework is not subscribed" => break assert_eq!(answer.status, 403),
                // The session ends before the master's snapshot knows, or even knew of its beginning.
                "Framework is not connected via HTTP" | "Framework cannot be found" => {}
                other => assert!(other.contains("didn't match"), "{answer:?}"),
            }
            assert!(Instant::now() < deadline, "{answer:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_framework_of_the_house_is_not_connected_via_http() {
    let cluster = Cluster::start().await;
    let (caller, mut events) = cluster.handle.scheduler();
    let info = Box::new(model::FrameworkInfo { id: None, ..fixtures::framework_info("x", true) });
    let subscribe = model::scheduler_api::SchedulerCall::Subscribe { info, suppressed_roles: Vec::new() };
    assert!(caller.call(subscribe).await);
    let Some(model::scheduler_api::SchedulerEvent::Subscribed { framework_id }) = events.recv().await else {
        panic!()
    };
    let call = json!({"type": "TEARDOWN", "framework_id": {"value": framework_id.as_str()}});
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = cluster.post(Format::Json, &[], &call).await;
        if answer.status == 403 {
            return refused(&answer, 403, "Framework is not connected via HTTP");
        }
        refused(&answer, 400, "Framework cannot be found");
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The second takes 15 seconds, and no call in between puts it off.
#[tokio::test(flavor = "multi_thread")]
async fn sea_7_heartbeats() {
    let cluster = Cluster::start().await;
    let mut framework = cluster.subscribe(Format::Json, plain_info()).await;
    let began = Instant::now();
    let _agent = cluster.agent(capable_agent()).await;
    assert_eq!(framework.events.next().await["type"], "OFFERS");
    framework.events.next_of("HEARTBEAT").await;
    let took = began.elapsed().as_secs_f64();
    assert!((14.0..16.0).contains(&took), "{took}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sea_9_a_refused_subscription_is_one_event() {
    let cluster = Cluster::start().await;
    for format in BOTH {
        let mut info = plain_info();
        info["roles"] = json!(["a"]);
        let (_, mut events) = cluster.open(format, info).await;
        let message = "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable";
        assert_eq!(events.rest().await, [json!({"type": "ERROR", "error": {"message": message}})]);
    }
    let mut info = multi_role_info(&["a"]);
    info["failover_timeout"] = json!(1e11);
    let (_, mut events) = cluster.open(Format::Json, info).await;
    let message = "The framework failover_timeout (100000000000) is invalid";
    assert_eq!(events.rest().await, [json!({"type": "ERROR", "error": {"message": message}})]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sea_13_14_who_does_not_lead() {
    let following = || Leadership::Following { hostname: "10.0.0.101".into(), port: 5050 };
    let address = raw_http::serve(master_router(following, identity())).await;
    for path in [PATH, "/master/api/v1/scheduler?x=1"] {
        // Before anything else is looked at.
        for method in ["POST", "GET"] {
            let answer = raw_http::request(address, method, path, &[], b"").await;
            assert_eq!(answer.status, 307);
            assert_eq!(answer.headers["location"], format!("//10.0.0.101:5050{path}"));
        }
    }
    let address = raw_http::serve(master_router(|| Leadership::Leaderless, identity())).await;
    refused(&raw_http::request(address, "POST", PATH, &[], b"").await, 503, "No leader elected");
}

#[tokio::test(flavor = "multi_thread")]
async fn sea_15_a_closed_stream_without_failover_timeout_ends_the_framework() {
    let cluster = Cluster::start().await;
    let agent = cluster.agent(capable_agent()).await;
    let mut info = plain_info();
    info["failover_timeout"] = json!(0.0);
    let mut framework = cluster.subscribe(Format::Protobuf, info).await;
    let id = FrameworkId::new(&framework.id);
    let offers = framework.events.next_of("OFFERS").await;
    let accept = launch(&offers["offers"]["offers"][0], "t", json!({}));
    refused(&cluster.call(&framework, accept).await, 202, "");
    agent.wait("the task", |message| matches!(message, MasterToAgent::RunTask { .. })).await;
    drop(framework);
    let shutdown = |message: &MasterToAgent| matches!(message, MasterToAgent::ShutdownFramework { framework_id } if *framework_id == id);
    let began = Instant::now();
    agent.wait("the framework's end", shutdown).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn sea_16_a_framework_that_is_back_in_time_stays() {
    let cluster = Cluster::start().await;
    let mut info = plain_info();
    info["failover_timeout"] = json!(1.0);
    let framework = cluster.subscribe(Format::Json, info.clone()).await;
    let id = framework.id.clone();
    drop(framework);
    tokio::time::sleep(Duration::from_millis(400)).await;
    let again = cluster.subscribe(Format::Json, with_id(info, &id)).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(cluster.call(&again, json!({"type": "REVIVE"})).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn sea_17_teardown() {
    let cluster = Cluster::start().await;
    for format in BOTH {
        let mut framework = cluster.subscribe(format, plain_info()).await;
        refused(&cluster.call(&framework, json!({"type": "TEARDOWN"})).await, 202, "");
        assert_eq!(framework.events.rest().await, Vec::<Value>::new());
        let (_, mut events) = cluster.open(format, with_id(plain_info(), &framework.id)).await;
        let message = "Framework has been removed";
        assert_eq!(events.rest().await, [json!({"type": "ERROR", "error": {"message": message}})]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sea_18_19_offers_in_the_form_of_the_framework() {
    let cluster = Cluster::start().await;
    let mut plain = plain_info();
    plain["role"] = json!("eng");
    let mut plain = cluster.subscribe(Format::Protobuf, plain).await;
    let _agent = cluster.agent(capable_agent()).await;
    let offers = plain.events.next_of("OFFERS").await;
    assert!(!offers.to_string().contains("allocation_info"), "{offers}");
    assert!(!offers.to_string().contains("\"reservations\""), "{offers}");
    let offer = &offers["offers"]["offers"][0];
    let roles: Vec<&Value> = offer["resources"].as_array().unwrap().iter().map(|one| &one["role"]).collect();
    assert!(roles.contains(&&json!("eng")) && roles.contains(&&json!("*")), "{offer}");
    assert_eq!(offer["url"]["path"], "/slave(1)");
    assert_eq!(
        offer["attributes"][0],
        json!({"name": "public_ip", "type": "TEXT", "text": {"value": "true"}})
    );
    drop(plain);

    let mut multi = cluster.subscribe(Format::Json, multi_role_info(&["eng"])).await;
    let offers = multi.events.next_of("OFFERS").await;
    let offer = &offers["offers"]["offers"][0];
    assert_eq!(offer["allocation_info"], json!({"role": "eng"}));
    for resource in offer["resources"].as_array().unwrap() {
        assert_eq!(resource["allocation_info"], json!({"role": "eng"}));
        assert!(resource.get("role").is_none(), "{resource}");
    }
    assert!(offer.to_string().contains(r#"{"role":"eng","type":"STATIC"}"#), "{offer}");
}

fn launch(offer: &Value, task: &str, more: Value) -> Value {
    let mut info = json!({
        "name": task, "task_id": {"value": task}, "agent_id": offer["agent_id"],
        "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.5}}],
        "command": {"value": "true"},
    });
    for (key, more) in more.as_object().unwrap() {
        match more {
            Value::Null => drop(info.as_object_mut().unwrap().remove(key)),
            more => info[key] = more.clone(),
        }
    }
    let operation = json!({"type": "LAUNCH", "launch": {"task_infos": [info]}});
    json!({"type": "ACCEPT", "accept": {"offer_ids": [offer["id"]], "operations": [operation]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_from_launch_to_acknowledgement() {
    let cluster = Cluster::start().await;
    let agent = cluster.agent(capable_agent()).await;
    for format in BOTH {
        let mut framework = cluster.subscribe(format, multi_role_info(&["eng"])).await;
        let offers = framework.events.next_of("OFFERS").await;
        let offer = &offers["offers"]["offers"][0];
        let name = format!("t-{format:?}");
        let accept = launch(offer, &name, json!({"data": "/wA="}));
        // PB 17: a field of the future reaches the agent.
        let answer = match format {
            Format::Json => cluster.call(&framework, accept).await,
            Format::Protobuf => {
                let mut call = accept;
                call["framework_id"] = json!({"value": framework.id});
                let bytes = body(format, &call);
                let mut message = Call::from_protobuf(&bytes).unwrap();
                let mut task = raw::submessages(&bytes, &[4, 2, 2, 1]).unwrap()[0].to_vec();
                raw::append(&mut task, 1000, b"future");
                let operations = std::mem::take(&mut message.accept.as_mut().unwrap().operations);
                assert_eq!(operations.len(), 1);
                let mut launch = Vec::new();
                raw::append(&mut launch, 1, &task);
                let mut operation = vec![0x08, 0x01];
                raw::append(&mut operation, 2, &launch);
                let mut more = Vec::new();
                raw::append(&mut more, 2, &operation);
                let mut bytes = message.to_protobuf();
                raw::append(&mut bytes, 4, &more);
                let headers =
                    [("Content-Type", format.media_type()), ("Mesos-Stream-Id", &framework.stream_id)];
                raw_http::request(cluster.address, "POST", PATH, &headers, &bytes).await
            }
        };
        refused(&answer, 202, "");
        let run = agent
            .wait(
                "the task",
                |message| matches!(message, MasterToAgent::RunTask { task, .. } if task.id.as_str() == name),
            )
            .await;
        let MasterToAgent::RunTask { task, .. } = run else { panic!() };
        let raw_task = task.raw.as_ref().unwrap();
        let kept = v1::TaskInfo::from_protobuf(raw_task).unwrap();
        assert_eq!(kept.data.as_deref(), Some(&[0xff_u8, 0][..]));
        let unknown = raw::submessages(raw_task, &[1000]).unwrap();
        assert_eq!(unknown, if format == Format::Protobuf { vec![&b"future"[..]] } else { vec![] });

        let mut status =
            TaskStatus::new(task.id.clone(), TaskState::Running, Time::from_millis(1500), Source::Executor);
        status.uuid = Some(UpdateId(7));
        status.agent_id = Some(task.agent_id.clone());
        let update = StatusUpdate {
            framework_id: FrameworkId::new(&framework.id),
            agent_id: task.agent_id.clone(),
            status,
            latest_state: TaskState::Running,
        };
        assert!(agent.input.message(AgentToMaster::Update(Box::new(update))).await);
        let event = framework.events.next_of("UPDATE").await;
        let expected = json!({"task_id": {"value": name}, "state": "TASK_RUNNING", "source": "SOURCE_EXECUTOR",
            "agent_id": offer["agent_id"], "timestamp": 1.5, "uuid": "AAAAAAAAAAAAAAAAAAAABw=="});
        assert_eq!(event["update"]["status"], expected);
        let acknowledge = json!({"agent_id": offer["agent_id"], "task_id": {"value": name},
            "uuid": "AAAAAAAAAAAAAAAAAAAABw=="});
        let answer =
            cluster.call(&framework, json!({"type": "ACKNOWLEDGE", "acknowledge": acknowledge})).await;
        refused(&answer, 202, "");
        agent
            .wait("the acknowledgement", |message| {
                matches!(message, MasterToAgent::Acknowledge { task_id, uuid: UpdateId(7), .. } if task_id.as_str() == name)
            })
            .await;

        // 42: what reconciliation says needs no acknowledgement.
        let answer = cluster.call(&framework, json!({"type": "RECONCILE", "reconcile": {}})).await;
        refused(&answer, 202, "");
        let event = framework.events.next_of("UPDATE").await;
        let status = &event["update"]["status"];
        assert_eq!(
            (&status["state"], &status["reason"]),
            (&json!("TASK_RUNNING"), &json!("REASON_RECONCILIATION"))
        );
        assert!(status.get("uuid").is_none() && status.get("data").is_none(), "{status}");
        assert_eq!(cluster.call(&framework, json!({"type": "TEARDOWN"})).await.status, 202);
    }
}

fn capable_agent() -> AgentInfo {
    let capabilities = model::AgentCapability::ALL.to_vec();
    AgentInfo { capabilities, ..fixtures::agent_info(1) }
}

#[tokio::test(flavor = "multi_thread")]
async fn sea_60_messages_keep_their_bytes() {
    let cluster = Cluster::start().await;
    let agent = cluster.agent(capable_agent()).await;
    for format in BOTH {
        let mut framework = cluster.subscribe(format, multi_role_info(&["eng"])).await;
        let offers = framework.events.next_of("OFFERS").await;
        let agent_id = &offers["offers"]["offers"][0]["agent_id"];
        let data: &[u8] = &[0xff, 0, format as u8];
        let message = v1::scheduler::call::Message {
            agent_id: agent_id["value"].as_str().unwrap().into(),
            executor_id: "e".into(),
            data: data.to_vec().into(),
        };
        let message: Value = serde_json::from_str(&message.to_json()).unwrap();
        refused(&cluster.call(&framework, json!({"type": "MESSAGE", "message": message})).await, 202, "");
        let fits = |told: &MasterToAgent| matches!(told, MasterToAgent::Message { data: sent, .. } if **sent == *data);
        agent.wait("the message", fits).await;
        let back = AgentToMaster::Message {
            framework_id: FrameworkId::new(&framework.id),
            executor_id: "e".into(),
            data: model::Opaque::new(data),
        };
        assert!(agent.input.message(back).await);
        assert_eq!(framework.events.next_of("MESSAGE").await["message"], message);
        assert_eq!(cluster.call(&framework, json!({"type": "TEARDOWN"})).await.status, 202);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sea_62_an_update_that_drops_a_role() {
    let cluster = Cluster::start().await;
    let _agent = cluster.agent(capable_agent()).await;
    for format in BOTH {
        let mut framework = cluster.subscribe(format, multi_role_info(&["eng", "ops"])).await;
        let offers = framework.events.next_of("OFFERS").await;
        let offer = &offers["offers"]["offers"][0];
        let role = offer["allocation_info"]["role"].as_str().unwrap();
        let other = if role == "eng" { "ops" } else { "eng" };
        let update = |info: Value| {
            let info = with_id(info, &framework.id);
            json!({"type": "UPDATE_FRAMEWORK", "update_framework": {"framework_info": info}})
        };
        let mut wrong = multi_role_info(&[other]);
        wrong["role"] = json!("x");
        let answer = cluster.call(&framework, update(wrong)).await;
        let text = "Supplied FrameworkInfo is not valid: 'FrameworkInfo.role' must not be set when the framework is \
                    MULTI_ROLE capable";
        refused(&answer, 400, text);
        let mut principal = multi_role_info(&[other]);
        principal["principal"] = json!("somebody");
        let answer = cluster.call(&framework, update(principal)).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.text().starts_with("FrameworkInfo update is not valid: "), "{answer:?}");

        refused(&cluster.call(&framework, update(multi_role_info(&[other]))).await, 200, "");
        let rescinded = framework.events.next_of("RESCIND").await;
        assert_eq!(rescinded["rescind"]["offer_id"], offer["id"]);
        assert_eq!(cluster.call(&framework, json!({"type": "TEARDOWN"})).await.status, 202);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sea_63_feedback_on_an_operation() {
    let cluster = Cluster::start().await;
    let agent = cluster.agent(capable_agent()).await;
    for format in BOTH {
        let mut framework = cluster.subscribe(format, multi_role_info(&["eng"])).await;
        let offers = framework.events.next_of("OFFERS").await;
        let offer = &offers["offers"]["offers"][0];
        let id = format!("o-{format:?}");
        let wanted = json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 1.0},
            "allocation_info": {"role": "eng"}, "reservations": [{"type": "DYNAMIC", "role": "eng"}]});
        let reserve = json!({"type": "RESERVE", "id": {"value": id}, "reserve": {"resources": [wanted]}});
        let accept = json!({"offer_ids": [offer["id"]], "operations": [reserve]});
        refused(&cluster.call(&framework, json!({"type": "ACCEPT", "accept": accept})).await, 202, "");
        let fits = |told: &MasterToAgent| matches!(told, MasterToAgent::ApplyOperation { operation } if operation.id.as_ref().is_some_and(|it| it.as_str() == id));
        let MasterToAgent::ApplyOperation { operation } = agent.wait("the operation", fits).await else {
            panic!()
        };
        let model::ResourceOperation::Reserve { resources, .. } = &operation.operation else { panic!() };
        let mut status = operation.latest.clone();
        status.state = model::OperationState::Finished;
        status.converted = resources.clone();
        status.uuid = Some(UpdateId(7));
        let update = AgentToMaster::OperationUpdate {
            uuid: operation.uuid,
            framework_id: operation.framework_id.clone(),
            status: Box::new(status),
        };
        assert!(agent.input.message(update).await);
        let event = framework.events.next_of("UPDATE_OPERATION_STATUS").await;
        let status = &event["update_operation_status"]["status"];
        assert_eq!(
            (&status["state"], &status["operation_id"]["value"]),
            (&json!("OPERATION_FINISHED"), &json!(id))
        );
        assert_eq!(status["converted_resources"][0]["reservations"], wanted["reservations"]);
        assert_eq!(status["uuid"]["value"], "AAAAAAAAAAAAAAAAAAAABw==");
        let acknowledge = json!({"agent_id": offer["agent_id"], "operation_id": {"value": id},
            "uuid": "AAAAAAAAAAAAAAAAAAAABw=="});
        let call =
            json!({"type": "ACKNOWLEDGE_OPERATION_STATUS", "acknowledge_operation_status": acknowledge});
        refused(&cluster.call(&framework, call).await, 202, "");
        let fits = |told: &MasterToAgent| matches!(told, MasterToAgent::AcknowledgeOperation { uuid, .. } if *uuid == operation.uuid);
        agent.wait("the acknowledgement", fits).await;
        assert_eq!(cluster.call(&framework, json!({"type": "TEARDOWN"})).await.status, 202);
    }
}

/// 25, and the other texts of form: the task that is wrong is refused, its neighbour runs.
#[tokio::test(flavor = "multi_thread")]
async fn sea_22_25_a_task_with_a_flaw() {
    let cluster = Cluster::start().await;
    let agent = cluster.agent(capable_agent()).await;
    let mut framework = cluster.subscribe(Format::Json, multi_role_info(&["eng"])).await;
    let offers = framework.events.next_of("OFFERS").await;
    let offer = &offers["offers"]["offers"][0];
    let executor = json!({"executor_id": {"value": "e"}, "command": {"value": "x"}});
    let mut accept = launch(offer, "both", json!({"executor": executor}));
    let good = launch(offer, "good", json!({}));
    let tasks = accept["accept"]["operations"][0]["launch"]["task_infos"].as_array_mut().unwrap();
    tasks.push(good["accept"]["operations"][0]["launch"]["task_infos"][0].clone());
    refused(&cluster.call(&framework, accept).await, 202, "");
    let event = framework.events.next_of("UPDATE").await;
    let status = &event["update"]["status"];
    assert_eq!((&status["state"], &status["reason"]), (&json!("TASK_ERROR"), &json!("REASON_TASK_INVALID")));
    assert_eq!(
        status["message"],
        "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"
    );
    assert!(status.get("uuid").is_none());
    let fits = |told: &MasterToAgent| matches!(told, MasterToAgent::RunTask { task, .. } if task.id.as_str() == "good");
    agent.wait("the good task", fits).await;
}

/// Roles that are none make a REVIVE that has no effect and is accepted.
#[tokio::test(flavor = "multi_thread")]
async fn calls_without_effect_are_accepted() {
    let cluster = Cluster::start().await;
    let framework = cluster.subscribe(Format::Json, multi_role_info(&["eng"])).await;
    for call in [
        json!({"type": "REVIVE", "revive": {"roles": ["a//b"]}}),
        json!({"type": "SUPPRESS", "suppress": {"roles": "-x"}}),
        json!({"type": "REQUEST", "request": {}}),
        json!({"type": "DECLINE", "decline": {"offer_ids": [{"value": "none"}], "filters": {"refuse_seconds": -1}}}),
        json!({"type": "KILL", "kill": {"task_id": {"value": "none"}, "kill_policy": {"grace_period": {"nanoseconds": -5}}}}),
        json!({"type": "RECONCILE_OPERATIONS", "reconcile_operations": {"operations": []}}),
        json!({"type": "ACCEPT_INVERSE_OFFERS", "accept_inverse_offers": {"inverse_offer_ids": [{"value": "none"}]}}),
    ] {
        refused(&cluster.call(&framework, call).await, 202, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_protocol_is_told_what_to_use() {
    let cluster = Cluster::start().await;
    for path in [
        "/master/mesos.internal.RegisterFrameworkMessage",
        "/mesos.scheduler.Call",
        "/master/mesos.scheduler.Call",
    ] {
        let headers = [("User-Agent", "libprocess/scheduler-1@10.0.0.4:41234")];
        let answer = raw_http::request(cluster.address, "POST", path, &headers, b"x").await;
        assert_eq!(answer.status, 501);
        assert!(answer.text().contains("POST /api/v1/scheduler"), "{answer:?}");
    }
}

/// The stream outlives nothing: with the term, it ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_term_that_ends_closes_its_streams() {
    let cluster = Cluster::start().await;
    let mut framework = cluster.subscribe(Format::Json, plain_info()).await;
    cluster.running.abort();
    assert_eq!(framework.events.rest().await, Vec::<Value>::new());
    // This test's master goes on to say that it leads, from its last snapshot.
    let answer = cluster.call(&framework, json!({"type": "REVIVE"})).await;
    assert!(matches!(answer.status, 400 | 403 | 503), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_have_a_limit() {
    let cluster = Cluster::start().await;
    let mut connection = Connection::open(cluster.address).await;
    let length = (crate::call_body::CALL_BYTES_MAX + 1).to_string();
    let head = [("Content-Type", "application/json")];
    // Announced only; nothing of it is waited for.
    connection.send_head("POST", PATH, &head, &length).await;
    assert_eq!(connection.answer().await.status, 413);
    // A large one is decoded all the same.
    let mut call = subscribe_call();
    call["ignored"] = json!("x".repeat(2 * crate::call_body::CALL_BYTES_LARGE));
    call["framework_id"] = json!({"value": "other"});
    let answer = cluster.post(Format::Json, &[], &call).await;
    assert!(answer.text().contains("differs from"), "{answer:?}");
}

/// One framework fills 100 agents with 100 tasks each; from the first ACCEPT to the last order to an agent.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: cargo test --release -p mesos-http -- --ignored --nocapture launches_per_second"]
async fn launches_per_second() {
    const AGENTS: usize = 100;
    const TASKS: usize = 100;
    for format in BOTH {
        let cluster = Cluster::start().await;
        let mut agents = Vec::new();
        for n in 0..AGENTS {
            let info = AgentInfo { hostname: format!("h{n}"), ip: format!("10.1.0.{n}"), ..capable_agent() };
            agents.push(cluster.agent(info).await);
        }
        let mut framework = cluster.subscribe(format, multi_role_info(&["eng"])).await;
        let mut bodies = Vec::new();
        while bodies.len() < AGENTS {
            let event = framework.events.next_of("OFFERS").await;
            for offer in event["offers"]["offers"].as_array().unwrap() {
                let one = launch(offer, "t", json!({"labels": {"labels": [{"key": "k", "value": "v"}]}}));
                let template = &one["accept"]["operations"][0]["launch"]["task_infos"][0];
                let tasks = (0..TASKS).map(|n| {
                    let mut task = template.clone();
                    task["task_id"] = json!({"value": format!("{}-{n}", bodies.len())});
                    task["resources"][0]["scalar"]["value"] = json!(0.01);
                    task
                });
                let mut call = one.clone();
                call["accept"]["operations"][0]["launch"]["task_infos"] = tasks.collect();
                call["framework_id"] = json!({"value": framework.id});
                bodies.push(body(format, &call));
            }
        }
        let headers = [("Content-Type", format.media_type()), ("Mesos-Stream-Id", &framework.stream_id)];
        let bytes: usize = bodies.iter().map(Vec::len).sum();
        let began = Instant::now();
        let mut connection = Connection::open(cluster.address).await;
        for body in &bodies {
            connection.send("POST", PATH, &headers, body).await;
            assert_eq!(connection.answer().await.status, 202);
        }
        let answered = began.elapsed();
        let count = |agent: &Agent| {
            let told = agent.told.lock().unwrap();
            told.iter().filter(|message| matches!(message, MasterToAgent::RunTask { .. })).count()
        };
        while agents.iter().map(count).sum::<usize>() < AGENTS * TASKS {
            assert!(began.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let rate = (AGENTS * TASKS) as f64 / began.elapsed().as_secs_f64();
        println!(
            "{format:?}: {rate:.0} launches/s, answered after {answered:?}, {} bytes a task",
            bytes / AGENTS / TASKS
        );
    }
}
