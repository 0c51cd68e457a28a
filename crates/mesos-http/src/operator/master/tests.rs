//! The master's API: pipeline, reads, writes, events; a scripted master answers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use mesos_master::MasterView;
use mesos_master::view::OperatorEvent;
use mesos_proto::media::{JSON, PROTOBUF};
use mesos_proto::recordio::{self, Decoder};
use mesos_proto::v1::master as wire;
use mesos_proto::{ApiMessage, DecodeError};
use model::operator_api::{OperatorCall, OperatorReply};
use model::{AgentId, FrameworkId, Principal, TaskState};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tower::ServiceExt;

use crate::access::{Action, Authorizer, Object};
use crate::fixtures::{build, cluster, framework, status, task, time};
use crate::master::{MasterIdentity, router_with_heartbeat};
use crate::{Answer, Everyone, Leadership, LeadingMaster, LogLevel, SchedulerEnds, Watch};

const PATIENCE: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_millis(100);

/// Says what it is told to say and remembers what it was asked.
#[derive(Default)]
struct Scripted {
    replies: Mutex<VecDeque<OperatorReply>>,
    asked: Mutex<Vec<OperatorCall>>,
    watchers: Mutex<Vec<mpsc::Sender<Arc<OperatorEvent>>>>,
}

struct Leading(Arc<Scripted>, Arc<MasterView>);

impl LeadingMaster for Leading {
    fn view(&self) -> Arc<MasterView> {
        self.1.clone()
    }

    fn operator(&self, call: OperatorCall) -> Answer<'_, Option<OperatorReply>> {
        self.0.asked.lock().unwrap().push(call);
        let reply = self.0.replies.lock().unwrap().pop_front();
        Box::pin(async move { reply })
    }

    fn explain(&self, framework_id: FrameworkId, agent_id: AgentId) -> Answer<'_, Option<Vec<String>>> {
        let lines = vec![format!("{framework_id} refused {agent_id}"), "for 5 s more".to_owned()];
        Box::pin(async move { Some(lines) })
    }

    fn watch(&self) -> Answer<'_, Option<Watch>> {
        let (sender, receiver) = mpsc::channel(100);
        self.0.watchers.lock().unwrap().push(sender);
        Box::pin(async move { Some((self.1.clone(), receiver)) })
    }

    fn scheduler(&self) -> Option<SchedulerEnds> {
        None
    }
}

/// Sees nothing of framework `master-0000` and may change nothing.
#[derive(Debug)]
struct Stranger;

impl Authorizer for Stranger {
    fn principal(&self, _: &HeaderMap) -> Option<Principal> {
        Some(Principal::new("stranger"))
    }

    fn allows(&self, _: Option<&Principal>, action: Action, object: Object<'_>) -> bool {
        match object {
            Object::Framework(info) | Object::Of(Some(info)) => {
                info.id.as_ref().is_some_and(|id| id.as_str() != "master-0000")
            }
            Object::Of(None) => false,
            _ => action.name().starts_with("VIEW") || action.name().starts_with("GET"),
        }
    }

    fn sees_all(&self, _: Option<&Principal>) -> bool {
        false
    }
}

struct Api {
    router: Router,
    script: Arc<Scripted>,
    _directory: tempfile::TempDir,
}

fn api() -> Api {
    api_for(Arc::new(Everyone))
}

fn api_for(authorizer: Arc<dyn Authorizer>) -> Api {
    let directory = tempfile::tempdir().unwrap();
    let log_file = directory.path().join("master.log");
    std::fs::write(&log_file, vec![b'l'; 1024 * 1024]).unwrap();
    let identity = MasterIdentity {
        build: build(),
        started: time(10),
        flags: [("quorum".to_owned(), "1".to_owned())].into(),
        log_file: Some(log_file),
        authorizer,
        logging: Arc::new(LogLevel::new(|_| ())),
    };
    let script = Arc::new(Scripted::default());
    let (for_router, view) = (script.clone(), Arc::new(cluster()));
    let leadership = move || Leadership::Leading(Arc::new(Leading(for_router.clone(), view.clone())));
    let router = router_with_heartbeat(leadership, identity, HEARTBEAT);
    Api { router, script, _directory: directory }
}

impl Api {
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
    }

    async fn call(&self, call: &Value) -> (u16, String) {
        let headers = [("Content-Type", JSON)];
        text(self.send("POST", "/api/v1", &headers, call.to_string().into_bytes()).await).await
    }

    async fn ok(&self, call: &Value) -> Value {
        let (status, body) = self.call(call).await;
        assert_eq!(status, 200, "{call}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn post(&self, path: &str, body: &str) -> (u16, String) {
        text(self.send("POST", path, &[], body.as_bytes().to_vec()).await).await
    }

    fn reply(&self, reply: OperatorReply) {
        self.script.replies.lock().unwrap().push_back(reply);
    }

    fn asked(&self) -> Option<OperatorCall> {
        self.script.asked.lock().unwrap().pop()
    }

    fn event(&self, event: OperatorEvent) {
        let event = Arc::new(event);
        for watcher in &*self.script.watchers.lock().unwrap() {
            watcher.try_send(event.clone()).unwrap();
        }
    }

    async fn subscribe(&self, accept: &str) -> Events {
        let headers = [("Content-Type", JSON), ("Accept", accept)];
        let response =
            self.send("POST", "/master/api/v1", &headers, br#"{"type":"SUBSCRIBE"}"#.to_vec()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], accept);
        Events {
            body: response.into_body(),
            decoder: Decoder::default(),
            ready: VecDeque::new(),
            accept: accept.to_owned(),
        }
    }
}

struct Events {
    body: Body,
    decoder: Decoder,
    ready: VecDeque<Vec<u8>>,
    accept: String,
}

impl Events {
    async fn next(&mut self) -> wire::Event {
        loop {
            if let Some(record) = self.ready.pop_front() {
                let event: Result<wire::Event, DecodeError> = match self.accept.as_str() {
                    JSON => wire::Event::from_json(&record),
                    _ => wire::Event::from_protobuf(&record),
                };
                return event.unwrap();
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.unwrap().unwrap().unwrap();
            self.ready.extend(self.decoder.feed(&frame.into_data().unwrap()).unwrap());
        }
    }

    /// The next that is no heartbeat.
    async fn news(&mut self) -> wire::Event {
        loop {
            let event = self.next().await;
            if event.r#type() != wire::event::Type::Heartbeat {
                return event;
            }
        }
    }
}

async fn text(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn oa_03_04_the_pipeline_in_order() {
    let api = api();
    let get = api.send("GET", "/api/v1", &[], Vec::new()).await;
    assert_eq!(get.status(), 405);
    for (headers, body, status, expected) in [
        (vec![], "{}", 400, "Expecting 'Content-Type' to be present"),
        (
            vec![("Content-Type", "text/plain")],
            "{}",
            415,
            "Expecting 'Content-Type' of application/json or application/x-protobuf",
        ),
        (
            vec![("Content-Type", JSON)],
            "{}",
            400,
            "Failed to validate master::Call: Expecting 'type' to be present",
        ),
        (
            vec![("Content-Type", JSON)],
            r#"{"type":"GET_METRICS"}"#,
            400,
            "Failed to validate master::Call: Expecting 'get_metrics' to be present",
        ),
        (vec![("Content-Type", PROTOBUF)], "\u{1}\u{2}", 400, "Failed to parse body into Call protobuf"),
        (vec![("Content-Type", JSON)], r#"{"type":"UNKNOWN"}"#, 501, ""),
    ] {
        let answer = api.send("POST", "/api/v1", &headers, body.into()).await;
        assert_eq!(text(answer).await, (status, expected.to_owned()), "{headers:?} {body}");
    }
    let headers = [("Content-Type", JSON)];
    let (status, message) = text(api.send("POST", "/api/v1", &headers, b"{".to_vec()).await).await;
    assert_eq!(status, 400);
    assert!(message.starts_with("Failed to parse body into JSON"), "{message}");
    let headers = [("Content-Type", JSON), ("Accept", "text/html")];
    let refused = api.send("POST", "/api/v1", &headers, br#"{"type":"GET_HEALTH"}"#.to_vec()).await;
    assert_eq!(refused.status(), 406);
    let large = vec![b' '; crate::call_body::CALL_BYTES_MAX + 1];
    let refused = api.send("POST", "/api/v1", &[("Content-Type", JSON)], large).await;
    assert_eq!(refused.status(), 413);
}

const READS: &[&str] = &[
    "GET_HEALTH",
    "GET_FLAGS",
    "GET_VERSION",
    "GET_LOGGING_LEVEL",
    "GET_STATE",
    "GET_AGENTS",
    "GET_FRAMEWORKS",
    "GET_EXECUTORS",
    "GET_OPERATIONS",
    "GET_TASKS",
    "GET_ROLES",
    "GET_WEIGHTS",
    "GET_MASTER",
    "GET_MAINTENANCE_STATUS",
    "GET_MAINTENANCE_SCHEDULE",
    "GET_QUOTA",
];

#[tokio::test]
async fn oa_01_02_reads_in_both_formats() {
    let api = api();
    for kind in READS {
        let answer = api.ok(&json!({"type": kind})).await;
        assert_eq!(answer.as_object().unwrap().len(), 2, "{answer}");
        assert_eq!(answer["type"], **kind);
        assert!(answer[kind.to_lowercase()].is_object(), "{answer}");
        let headers = [("Content-Type", JSON), ("Accept", PROTOBUF)];
        let call = json!({"type": kind}).to_string().into_bytes();
        let binary = api.send("POST", "/api/v1", &headers, call).await;
        assert_eq!(binary.headers()["content-type"], PROTOBUF);
        let bytes = binary.into_body().collect().await.unwrap().to_bytes();
        let same = wire::Response::from_protobuf(&bytes).unwrap();
        assert_eq!(same, wire::Response::from_json(answer.to_string().as_bytes()).unwrap(), "{kind}");
    }
    let call = wire::Call { r#type: Some(wire::call::Type::GetVersion as i32), ..Default::default() };
    let headers = [("Content-Type", PROTOBUF)];
    let (status, body) = text(api.send("POST", "/api/v1", &headers, call.to_protobuf()).await).await;
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("\"version\":\"1.7.3\""), "{body}");
}

#[tokio::test]
async fn the_state_of_one_moment() {
    let state = api().ok(&json!({"type": "GET_STATE"})).await["get_state"].take();
    let ids = |list: &Value| -> Vec<String> {
        list.as_array()
            .unwrap()
            .iter()
            .map(|task| task["task_id"]["value"].as_str().unwrap().to_owned())
            .collect()
    };
    let tasks = &state["get_tasks"];
    assert_eq!(ids(&tasks["tasks"]), ["web.1", "web.2", "web.3"]);
    assert_eq!(ids(&tasks["unreachable_tasks"]), ["web.4"]);
    assert_eq!(ids(&tasks["completed_tasks"]), ["web.5", "web.6", "old.1"]);
    let agent = &state["get_agents"]["agents"][0];
    assert_eq!(agent["agent_info"]["id"]["value"], "master-S1");
    assert_eq!(agent["pid"], "slave(1)@10.0.0.1:5051");
    assert_eq!(agent["registered_time"]["nanoseconds"], 30_500_000_000_u64);
    assert_eq!(agent["allocated_resources"][0]["allocation_info"]["role"], "eng/web");
    assert_eq!(state["get_agents"]["recovered_agents"][0]["id"]["value"], "master-S7");
    let framework = &state["get_frameworks"]["frameworks"][0];
    assert_eq!(framework["framework_info"]["id"]["value"], "master-0000");
    assert_eq!(framework["offers"][0]["id"]["value"], "master-O1");
    assert_eq!(framework["offered_resources"][0]["scalar"]["value"], 2.0);
    let completed = &state["get_frameworks"]["completed_frameworks"][0];
    assert_eq!(completed["unregistered_time"]["nanoseconds"], 70_500_000_000_u64);
}

#[tokio::test]
async fn oa_07_08_09_files_by_calls() {
    let api = api();
    let read =
        |offset: u64| json!({"type": "READ_FILE", "read_file": {"path": "/master/log", "offset": offset}});
    assert_eq!(api.ok(&read(2_000_000)).await["read_file"], json!({"size": 1024 * 1024, "data": ""}));
    let headers = [("Content-Type", JSON), ("Accept", PROTOBUF)];
    let answer = api.send("POST", "/api/v1", &headers, read(0).to_string().into_bytes()).await;
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let file = wire::Response::from_protobuf(&bytes).unwrap().read_file.unwrap();
    assert_eq!((file.size, file.data.len()), (1024 * 1024, 65_536));
    let list = json!({"type": "LIST_FILES", "list_files": {"path": "/nowhere"}});
    assert_eq!(api.call(&list).await.0, 404);
}

#[tokio::test]
async fn writes_become_the_words_of_the_house() {
    let api = api();
    let agent = json!({"value": "master-S1"});
    let cpus = json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 1.0},
        "reservations": [{"type": "DYNAMIC", "role": "eng", "principal": "ops"}]});
    let volume = json!({"name": "disk", "type": "SCALAR", "scalar": {"value": 64.0},
        "reservations": [{"type": "DYNAMIC", "role": "eng"}],
        "disk": {"persistence": {"id": "v1"}, "volume": {"container_path": "data", "mode": "RW"}}});
    let machine = json!({"hostname": "Node-1", "ip": "10.0.0.1"});
    let guarantee = json!([{"name": "cpus", "type": "SCALAR", "scalar": {"value": 12.0}}]);
    for (kind, message, expected) in [
        (
            "UPDATE_WEIGHTS",
            json!({"weight_infos": [{"role": "eng", "weight": 2.5}]}),
            "UpdateWeights([(eng, Weight(2500))])",
        ),
        ("RESERVE_RESOURCES", json!({"agent_id": agent, "resources": [cpus]}), "Reserve { source: "),
        (
            "UNRESERVE_RESOURCES",
            json!({"agent_id": agent, "resources": [cpus]}),
            "Unreserve { resources: cpus(eng):1 }",
        ),
        (
            "CREATE_VOLUMES",
            json!({"agent_id": agent, "volumes": [volume]}),
            "Create { volumes: disk(eng)[v1]:64 }",
        ),
        (
            "DESTROY_VOLUMES",
            json!({"agent_id": agent, "volumes": [volume]}),
            "Destroy { volumes: disk(eng)[v1]:64 }",
        ),
        ("GROW_VOLUME", json!({"agent_id": agent, "volume": volume, "addition": cpus}), "GrowVolume {"),
        (
            "SHRINK_VOLUME",
            json!({"agent_id": agent, "volume": volume, "subtract": {"value": 8.0}}),
            "subtract: 8 }",
        ),
        (
            "UPDATE_MAINTENANCE_SCHEDULE",
            json!({"schedule": {"windows": [{"machine_ids": [machine],
            "unavailability": {"start": {"nanoseconds": 5}, "duration": {"nanoseconds": 7}}}]}}),
            "MachineId { hostname: \"node-1\", ip: \"10.0.0.1\" }], unavailability: Unavailability { start_ns: 5, duration_ns: Some(7) }",
        ),
        (
            "START_MAINTENANCE",
            json!({"machines": [machine]}),
            "StartMaintenance([MachineId { hostname: \"node-1\"",
        ),
        ("STOP_MAINTENANCE", json!({"machines": [machine]}), "StopMaintenance([MachineId"),
        (
            "DRAIN_AGENT",
            json!({"agent_id": agent, "max_grace_period": {"seconds": 60}, "mark_gone": true}),
            "config: DrainConfig { max_grace_ms: Some(60000), mark_gone: true }",
        ),
        ("DEACTIVATE_AGENT", json!({"agent_id": agent}), "DeactivateAgent { agent_id: master-S1 }"),
        ("REACTIVATE_AGENT", json!({"agent_id": agent}), "ReactivateAgent { agent_id: master-S1 }"),
        (
            "UPDATE_QUOTA",
            json!({"force": true, "quota_configs": [{"role": "eng", "limits": {"cpus": {"value": 4.0}}}]}),
            "UpdateQuota { force: true, configs: [QuotaConfig { role: eng, guarantees: {}, limits: {cpus: 4}",
        ),
        (
            "SET_QUOTA",
            json!({"quota_request": {"role": "eng", "guarantee": guarantee}}),
            "SetQuota { force: false, config: QuotaConfig { role: eng, guarantees: {cpus: 12}, limits: {cpus: 12}",
        ),
        ("REMOVE_QUOTA", json!({"role": "eng"}), "RemoveQuota { role: eng }"),
        (
            "TEARDOWN",
            json!({"framework_id": {"value": "master-0000"}}),
            "Teardown { framework_id: master-0000 }",
        ),
        ("MARK_AGENT_GONE", json!({"agent_id": {"value": "nobody"}}), "MarkAgentGone { agent_id: nobody }"),
    ] {
        let mut call = json!({"type": kind});
        call[kind.to_lowercase()] = message;
        for (reply, status, text) in [
            (OperatorReply::Done, 200, ""),
            (OperatorReply::Accepted, 202, ""),
            (OperatorReply::Invalid("bad".into()), 400, "bad"),
            (OperatorReply::NotFound("none".into()), 404, "none"),
            (OperatorReply::Conflict("later".into()), 409, "later"),
            (OperatorReply::Busy { message: "busy".into(), after: Duration::from_secs(3) }, 503, "busy"),
        ] {
            api.reply(reply);
            assert_eq!(api.call(&call).await, (status, text.to_owned()), "{kind}");
            let asked = format!("{:?}", api.asked().unwrap());
            assert!(asked.contains(expected), "{kind}: {asked}");
        }
        let (status, message) = api.call(&json!({"type": kind})).await;
        let expected =
            format!("Failed to validate master::Call: Expecting '{}' to be present", kind.to_lowercase());
        assert_eq!((status, message), (400, expected));
    }
    let level = json!({"type": "SET_LOGGING_LEVEL",
        "set_logging_level": {"level": 2, "duration": {"nanoseconds": 60_000_000_000_u64}}});
    assert_eq!(api.call(&level).await, (200, String::new()));
    assert_eq!(api.ok(&json!({"type": "GET_LOGGING_LEVEL"})).await["get_logging_level"]["level"], 2);
    let over = api.call(&json!({"type": "MARK_AGENT_GONE", "mark_agent_gone": {"agent_id": agent}})).await;
    assert_eq!(over.0, 503, "the term is over");
}

#[tokio::test]
async fn oa_10_18_20_24_what_is_wrong_in_form() {
    let api = api();
    let plain = json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 1.0}});
    let reserve = |agent: &str, resource: &Value| {
        json!({"type": "RESERVE_RESOURCES", "reserve_resources":
            {"agent_id": {"value": agent}, "resources": [resource]}})
    };
    let unknown = (400, "No agent found with specified ID".to_owned());
    assert_eq!(api.call(&reserve("nobody", &plain)).await, unknown);
    let mut allocated = plain.clone();
    allocated["allocation_info"] = json!({"role": "eng"});
    let (status, message) = api.call(&reserve("master-S1", &allocated)).await;
    assert_eq!(status, 400);
    assert!(message.contains("allocation_info"), "{message}");
    let weight = json!({"type": "UPDATE_WEIGHTS", "update_weights": {"weight_infos": [{"role": "eng", "weight": 0.0}]}});
    let (status, message) = api.call(&weight).await;
    assert_eq!(status, 400);
    assert!(
        message.starts_with("Failed to validate update weights request JSON: Invalid weight"),
        "{message}"
    );
    let teardown = json!({"type": "TEARDOWN", "teardown": {"framework_id": {"value": "nobody"}}});
    let none = (400, "No framework found with specified ID".to_owned());
    assert_eq!(api.call(&teardown).await, none);
    let quota = json!({"type": "SET_QUOTA", "set_quota": {"quota_request": {"role": "eng", "guarantee": [
        {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 2}]}}]}}});
    assert_eq!(api.call(&quota).await.0, 400);
    let drain = json!({"type": "DRAIN_AGENT", "drain_agent":
        {"agent_id": {"value": "master-S1"}, "max_grace_period": {"seconds": -1}}});
    assert_eq!(api.call(&drain).await.0, 400);
    assert!(api.asked().is_none(), "none of it reached the master");
}

#[tokio::test]
async fn oa_61_forms_of_the_legacy_endpoints() {
    let api = api();
    let missing = |name: &str| (400, format!("Missing '{name}' query parameter in the request body"));
    for path in ["/reserve", "/unreserve", "/create-volumes", "/destroy-volumes"] {
        let list = if path.ends_with("volumes") { "volumes" } else { "resources" };
        assert_eq!(api.post(path, &format!("{list}=[]")).await, missing("slaveId"));
        assert_eq!(api.post(path, "slaveId=master-S1").await, missing(list));
        let (status, message) = api.post(path, &format!("slaveId=master-S1&{list}=x")).await;
        assert_eq!(status, 400);
        let start = format!("Error in parsing '{list}' query parameter in the request body: ");
        assert!(message.starts_with(&start), "{message}");
        api.reply(OperatorReply::Accepted);
        let resource = "%5B%7B%22name%22%3A%22cpus%22%2C%22type%22%3A%22SCALAR%22%2C%22scalar%22%3A%7B%22value%22%3A1\
            %7D%2C%22role%22%3A%22eng%22%2C%22reservation%22%3A%7B%22principal%22%3A%22ops%22%7D%7D%5D";
        let form = format!("slaveId=master-S1&{list}={resource}");
        assert_eq!(api.post(path, &form).await, (202, String::new()), "{path}");
        let asked = format!("{:?}", api.asked().unwrap());
        assert!(asked.contains("cpus(eng):1") && asked.contains("master-S1"), "{asked}");
        assert_eq!(
            api.post(path, &form.replace("master-S1", "x")).await.1,
            "No agent found with specified ID"
        );
    }
    assert_eq!(api.post("/teardown", "").await, missing("frameworkId"));
    assert_eq!(api.post("/teardown", "frameworkId=x").await.1, "No framework found with specified ID");
    api.reply(OperatorReply::Done);
    assert_eq!(api.post("/master/teardown", "frameworkId=master-0000").await.0, 200);
}

#[tokio::test]
async fn oa_21_22_25_26_json_of_the_legacy_endpoints() {
    let api = api();
    let put = api.send("PUT", "/weights", &[], br#"[{"role":"a","weight":2.0}]"#.to_vec());
    api.reply(OperatorReply::Done);
    assert_eq!(put.await.status(), 200);
    assert!(format!("{:?}", api.asked()).contains("[(a, Weight(2000))]"));
    let request =
        r#"{"role":"dev","guarantee":[{"name":"cpus","type":"SCALAR","scalar":{"value":12}}],"force":true}"#;
    api.reply(OperatorReply::Conflict("Quota guarantees overcommit the cluster".into()));
    assert_eq!(api.post("/quota", request).await.0, 409);
    assert!(format!("{:?}", api.asked()).contains("force: true"));
    let (status, message) = api.post("/quota", "[").await;
    assert_eq!(status, 400);
    assert!(message.starts_with("Failed to parse set quota request JSON '['"), "{message}");
    for (path, role) in [("/quota/dev", "dev"), ("/master/quota/eng/web", "eng/web")] {
        api.reply(OperatorReply::Done);
        assert_eq!(api.send("DELETE", path, &[], Vec::new()).await.status(), 200);
        assert_eq!(format!("{:?}", api.asked().unwrap()), format!("RemoveQuota {{ role: {role} }}"));
    }
    let (status, message) = text(api.send("DELETE", "/quota", &[], Vec::new()).await).await;
    assert_eq!(status, 400);
    assert!(message.ends_with("expected 3 tokens, found 2 tokens"), "{message}");
    let schedule =
        r#"{"windows":[{"machine_ids":[{"hostname":"a"}],"unavailability":{"start":{"nanoseconds":1}}}]}"#;
    api.reply(OperatorReply::Invalid("Machine 'a' appears more than once in the schedule".into()));
    assert_eq!(api.post("/maintenance/schedule", schedule).await.0, 400);
    for (path, expected) in [("/machine/down", "StartMaintenance"), ("/machine/up", "StopMaintenance")] {
        api.reply(OperatorReply::Done);
        assert_eq!(api.post(path, r#"[{"hostname":"a"}]"#).await.0, 200);
        assert!(format!("{:?}", api.asked()).contains(expected));
        assert_eq!(api.post(path, "{}").await.0, 400);
    }
    for (path, expected) in
        [("/weights", "[]"), ("/maintenance/schedule", "{}"), ("/maintenance/status", "{}"), ("/quota", "{}")]
    {
        let answer = text(api.send("GET", path, &[], Vec::new()).await).await;
        assert_eq!(answer, (200, expected.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn explanations_and_levels() {
    let api = api();
    let ask = |query: &str| {
        let path = format!("/dcosd/explain{query}");
        let api = &api;
        async move { text(api.send("GET", &path, &[], Vec::new()).await).await }
    };
    let (status, body) = ask("?framework_id=master-0000&slave_id=master-S1").await;
    assert_eq!(status, 200, "{body}");
    let expected = json!({"framework_id": "master-0000", "slave_id": "master-S1",
        "reasons": ["master-0000 refused master-S1", "for 5 s more"]});
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
    assert_eq!(ask("").await.0, 400);
    assert_eq!(ask("?framework_id=x&slave_id=master-S1").await.0, 404);
    assert_eq!(ask("?framework_id=master-0000&slave_id=x").await.0, 404);
    assert_eq!(api.post("/logging/toggle?level=1&duration=5mins", "").await.0, 200);
    let shown = text(api.send("GET", "/logging/toggle", &[], Vec::new()).await).await;
    assert_eq!(shown, (200, "1\n".to_owned()));
    for query in ["?level=1", "?duration=1secs", "?level=x&duration=1secs", "?level=1&duration=x"] {
        assert_eq!(api.post(&format!("/logging/toggle{query}"), "").await.0, 400, "{query}");
    }
}

#[tokio::test]
async fn oa_30_31_32_the_event_stream() {
    for accept in [JSON, PROTOBUF] {
        let api = api();
        let mut events = api.subscribe(accept).await;
        let first = events.next().await;
        assert_eq!(first.r#type(), wire::event::Type::Subscribed);
        let subscribed = first.subscribed.unwrap();
        assert_eq!(subscribed.heartbeat_interval_seconds, Some(HEARTBEAT.as_secs_f64()));
        let state = subscribed.get_state.unwrap();
        assert_eq!(state.get_tasks.unwrap().tasks.len(), 3);
        assert_eq!(events.next().await.r#type(), wire::event::Type::Heartbeat);

        let shown = framework("master-0009", true);
        api.event(OperatorEvent::FrameworkAdded(Box::new(shown.clone())));
        let added = events.news().await.framework_added.unwrap().framework;
        assert_eq!(added.framework_info.id.unwrap().value, "master-0009");
        assert!(added.offers.is_empty() && added.allocated_resources.is_empty());
        api.event(OperatorEvent::TaskAdded(task("new.1", 1, TaskState::Staging, 300)));
        let added = events.news().await.task_added.unwrap().task;
        assert_eq!(added.task_id.value, "new.1");
        api.event(OperatorEvent::TaskUpdated {
            framework_id: FrameworkId::new("master-0000"),
            status: Box::new(status("new.1", TaskState::Starting, 301)),
            state: TaskState::Running,
        });
        let updated = events.news().await.task_updated.unwrap();
        assert_eq!(updated.state(), mesos_proto::v1::TaskState::TaskRunning);
        assert_eq!(updated.status.state(), mesos_proto::v1::TaskState::TaskStarting);
        api.event(OperatorEvent::FrameworkUpdated(Box::new(shown.clone())));
        assert!(events.news().await.framework_updated.is_some());
        api.event(OperatorEvent::AgentAdded(Box::new((*cluster().agents[0]).clone())));
        let agent = events.news().await.agent_added.unwrap().agent;
        assert_eq!(agent.agent_info.id.unwrap().value, "master-S1");
        api.event(OperatorEvent::AgentRemoved(AgentId::new("master-S1")));
        assert_eq!(events.news().await.agent_removed.unwrap().agent_id.value, "master-S1");
        api.event(OperatorEvent::FrameworkRemoved(shown.info));
        assert!(events.news().await.framework_removed.is_some());
        let metrics = text(api.send("GET", "/metrics/snapshot", &[], Vec::new()).await).await.1;
        let metrics: Value = serde_json::from_str(&metrics).unwrap();
        assert_eq!(metrics["master/operator_event_stream_subscribers"], 1.0);
        // The master cuts a reader off by dropping its end.
        api.script.watchers.lock().unwrap().clear();
        while let Some(frame) = timeout(PATIENCE, events.body.frame()).await.unwrap() {
            drop(frame.unwrap());
        }
    }
}

#[tokio::test]
async fn oa_33_62_a_stranger_sees_and_changes_nothing() {
    let api = api_for(Arc::new(Stranger));
    for path in ["/state", "/state-summary", "/frameworks", "/tasks", "/slaves"] {
        let (status, body) = text(api.send("GET", path, &[], Vec::new()).await).await;
        assert_eq!(status, 200);
        assert!(!body.contains("web.1") && !body.contains("\"master-0000\""), "{path}: {body}");
    }
    for kind in ["GET_STATE", "GET_TASKS", "GET_FRAMEWORKS"] {
        let answer = api.ok(&json!({"type": kind})).await.to_string();
        assert!(!answer.contains("web.1") && !answer.contains("\"master-0000\""), "{kind}: {answer}");
    }
    let mut events = api.subscribe(JSON).await;
    let first = events.next().await.to_json();
    assert!(!first.contains("web.1"), "{first}");
    api.event(OperatorEvent::TaskAdded(task("web.9", 1, TaskState::Staging, 300)));
    let known = framework("master-0001", false);
    api.event(OperatorEvent::FrameworkUpdated(Box::new(known)));
    assert!(events.news().await.framework_updated.is_some(), "the foreign task is left out");
    let gone = json!({"type": "MARK_AGENT_GONE", "mark_agent_gone": {"agent_id": {"value": "master-S1"}}});
    assert_eq!(api.call(&gone).await, (403, String::new()));
    let teardown = json!({"type": "TEARDOWN", "teardown": {"framework_id": {"value": "master-0001"}}});
    assert_eq!(api.call(&teardown).await, (403, String::new()));
    let denied = (403, String::new());
    assert_eq!(api.post("/reserve", "slaveId=master-S1&resources=[]").await, denied);
    assert_eq!(api.post("/machine/down", "[]").await, denied);
    assert_eq!(text(api.send("DELETE", "/quota/x", &[], Vec::new()).await).await, denied);
    let read = json!({"type": "READ_FILE", "read_file": {"path": "/master/log", "offset": 0}});
    assert_eq!(api.call(&read).await, denied);
    assert!(api.asked().is_none());
}

/// Bytes of a reader that no frame splits.
#[test]
fn records_are_whole() {
    let event = wire::Event { r#type: Some(9), ..Default::default() };
    assert_eq!(recordio::encode(&event.to_protobuf()), b"2\n\x08\x09");
}
