//! The checklist against a real master over loopback; the test plays the agent
//! and the framework.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mesos_master::config::MasterConfig;
use mesos_master::shell::{AgentInput, AgentStream, Handle, SchedulerCaller, Service};
use model::agent_api::{AgentToMaster, MasterToAgent, Registration};
use model::scheduler_api::{SchedulerCall, SchedulerEvent};
use model::{
    AgentInfo, Capability, FrameworkInfo, Offer, Operation, OperationState, OperationStatus, Rng, Source,
    StatusUpdate, TaskInfo, TaskState, TaskStatus, Time,
};
use serde_json::{Value, json};
use shell::Clock;
use store::Store;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::fixtures;
use crate::master::{MasterIdentity, master_router};
use crate::raw_http::{self, Connection, PATIENCE, Records};
use crate::{Everyone, Leadership, LogLevel};

struct Cluster {
    address: SocketAddr,
    handle: Handle,
    running: tokio::task::JoinHandle<Result<(), mesos_master::shell::ServiceError>>,
    _store: Store,
    _dir: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.running.abort();
    }
}

type Told = Arc<Mutex<Vec<MasterToAgent>>>;

struct Recorder(Told);

impl AgentStream for Recorder {
    fn try_send(&self, message: MasterToAgent) -> bool {
        self.0.lock().unwrap().push(message);
        true
    }

    fn close(&self, _: &str) {}
}

struct Agent {
    id: String,
    input: AgentInput,
    told: Told,
}

impl Agent {
    /// Carries out what it was told to apply, and says so.
    async fn apply(&self) {
        let operations: Vec<_> = self.told.lock().unwrap().drain(..).collect();
        for message in operations {
            let MasterToAgent::ApplyOperation { operation } = message else { continue };
            let status = OperationStatus {
                operation_id: operation.id.clone(),
                state: OperationState::Finished,
                message: None,
                converted: model::Resources::new(),
                uuid: None,
                agent_id: None,
                provider: None,
            };
            let (uuid, framework_id) = (operation.uuid, operation.framework_id.clone());
            let update = AgentToMaster::OperationUpdate { uuid, framework_id, status: Box::new(status) };
            assert!(self.input.message(update).await);
        }
    }
}

struct Framework {
    caller: SchedulerCaller,
    events: mpsc::Receiver<SchedulerEvent>,
}

impl Framework {
    async fn wait<T>(&mut self, what: &str, mut find: impl FnMut(SchedulerEvent) -> Option<T>) -> T {
        let found = timeout(PATIENCE, async {
            loop {
                let event = self.events.recv().await.unwrap();
                if let Some(found) = find(event) {
                    return found;
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
    }

    async fn offer(&mut self) -> Offer {
        let offers = |event| match event {
            SchedulerEvent::Offers(offers) => offers.into_iter().next(),
            _ => None,
        };
        self.wait("an offer", offers).await
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
        let identity = MasterIdentity {
            build: fixtures::build(),
            started: Time::ZERO,
            flags: Default::default(),
            log_file: None,
            authorizer: Arc::new(Everyone),
            logging: Arc::new(LogLevel::new(|_| ())),
        };
        let router = master_router(move || Leadership::Leading(Arc::new(leading.clone())), identity);
        let address = raw_http::serve(router).await;
        Self { address, handle, running, _store: store, _dir: dir }
    }

    async fn agent(&self) -> Agent {
        let told = Told::default();
        let input = self.handle.agent(Box::new(Recorder(told.clone())));
        let resources = fixtures::resources("cpus:4;mem:4096;disk:1000;cpus(static):1");
        let info = AgentInfo {
            id: None,
            resources,
            capabilities: model::AgentCapability::ALL.to_vec(),
            ..fixtures::agent_info(1)
        };
        let registration = Registration {
            info,
            frameworks: Vec::new(),
            executors: Vec::new(),
            tasks: Vec::new(),
            operations: Vec::new(),
            drain: None,
        };
        assert!(input.message(AgentToMaster::Register(Box::new(registration))).await);
        let registered = told.clone();
        let id = self
            .until("the registration", || {
                registered.lock().unwrap().iter().find_map(|message| match message {
                    MasterToAgent::Registered { agent_id } => Some(agent_id.to_string()),
                    _ => None,
                })
            })
            .await;
        self.until("the agent in the view", || (!self.handle.view().agents.is_empty()).then_some(())).await;
        Agent { id, input, told }
    }

    async fn framework(&self) -> Framework {
        let (caller, events) = self.handle.scheduler();
        let info = FrameworkInfo {
            id: None,
            roles: vec![fixtures::role("eng")],
            capabilities: vec![Capability::MultiRole, Capability::ReservationRefinement],
            ..fixtures::framework_info("", true)
        };
        let subscribe = SchedulerCall::Subscribe { info: Box::new(info), suppressed_roles: Vec::new() };
        assert!(caller.call(subscribe).await);
        Framework { caller, events }
    }

    async fn until<T>(&self, what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
        let waited = timeout(PATIENCE, async {
            loop {
                if let Some(found) = holds() {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let headers = [("Content-Type", "application/json")];
        let answer = raw_http::request(self.address, method, path, &headers, body.as_bytes()).await;
        (answer.status, answer.text())
    }

    async fn get(&self, path: &str) -> Value {
        let (status, text) = self.send("GET", path, "").await;
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn call(&self, kind: &str, message: Value) -> (u16, String) {
        let mut call = json!({"type": kind});
        if !message.is_null() {
            call[kind.to_lowercase()] = message;
        }
        self.send("POST", "/api/v1", &call.to_string()).await
    }

    async fn read(&self, kind: &str) -> Value {
        let (status, text) = self.call(kind, Value::Null).await;
        assert_eq!(status, 200, "{kind}: {text}");
        serde_json::from_str::<Value>(&text).unwrap()[kind.to_lowercase()].take()
    }

    async fn subscribe(&self) -> Records {
        let mut connection = Connection::open(self.address).await;
        let headers = [("Content-Type", "application/json"), ("Accept", "application/json")];
        connection.send("POST", "/api/v1", &headers, br#"{"type":"SUBSCRIBE"}"#).await;
        assert_eq!(connection.head().await.status, 200);
        connection.records()
    }
}

async fn next(records: &mut Records) -> Value {
    let record = timeout(PATIENCE, records.next()).await.unwrap().unwrap();
    serde_json::from_slice(&record).unwrap()
}

fn dynamic(name: &str, amount: f64) -> Value {
    json!({"name": name, "type": "SCALAR", "scalar": {"value": amount},
        "reservations": [{"type": "DYNAMIC", "role": "eng"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn oa_10_11_12_14_15_reservations_and_volumes() {
    let cluster = Cluster::start().await;
    let agent = cluster.agent().await;
    let id = json!({"value": agent.id});
    let mut framework = cluster.framework().await;
    let offer = framework.offer().await;
    let plain = json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 1.0},
        "reservations": [{"type": "STATIC", "role": "eng"}]});
    let refused = cluster.call("RESERVE_RESOURCES", json!({"agent_id": id, "resources": [plain]})).await;
    assert_eq!(refused.0, 400, "{}", refused.1);
    let reserve = json!({"agent_id": id, "resources": [dynamic("disk", 100.0)]});
    assert_eq!(cluster.call("RESERVE_RESOURCES", reserve).await, (202, String::new()));
    let rescinded = |event| match event {
        SchedulerEvent::Rescind(id) => Some(id),
        _ => None,
    };
    assert_eq!(framework.wait("the offer to be taken back", rescinded).await, offer.id);
    agent.apply().await;
    let mut volume = dynamic("disk", 100.0);
    volume["disk"] = json!({"persistence": {"id": "v1"}, "volume": {"container_path": "data", "mode": "RW"}});
    let create = json!({"agent_id": id, "volumes": [volume]});
    assert_eq!(cluster.call("CREATE_VOLUMES", create).await, (202, String::new()));
    agent.apply().await;
    cluster
        .until("the volume", || {
            let view = cluster.handle.view();
            view.agents[0].info.resources.iter().any(model::Resource::is_persistent_volume).then_some(())
        })
        .await;
    let slaves = cluster.get("/slaves").await;
    let full = &slaves["slaves"][0]["reserved_resources_full"]["eng"];
    assert_eq!(full[0]["disk"]["persistence"]["id"], "v1", "{full}");
    assert_eq!(full[0]["reservations"][0]["type"], "DYNAMIC");
    let unreserve = json!({"agent_id": id, "resources": [volume]});
    assert_eq!(cluster.call("UNRESERVE_RESOURCES", unreserve).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn oa_13_16_31_32_what_is_used_and_what_is_told() {
    let cluster = Cluster::start().await;
    let agent = cluster.agent().await;
    let mut events = cluster.subscribe().await;
    let first = next(&mut events).await;
    assert_eq!(first["type"], "SUBSCRIBED");
    assert_eq!(first["subscribed"]["heartbeat_interval_seconds"], 15.0);
    let agents = &first["subscribed"]["get_state"]["get_agents"]["agents"];
    assert_eq!(agents[0]["agent_info"]["id"]["value"], agent.id.as_str());
    let mut framework = cluster.framework().await;
    assert_eq!(next(&mut events).await["type"], "FRAMEWORK_ADDED");
    let offer = framework.offer().await;
    let task = TaskInfo {
        agent_id: offer.agent_id.clone(),
        resources: fixtures::resources("cpus:4;mem:64"),
        discovery: None,
        ..fixtures::task_info("t", 1)
    };
    let accept = SchedulerCall::Accept {
        offer_ids: vec![offer.id.clone()],
        operations: vec![Operation::launch([task])],
        refuse_ms: None,
    };
    assert!(framework.caller.call(accept).await);
    let added = next(&mut events).await;
    assert_eq!(
        (&added["type"], &added["task_added"]["task"]["task_id"]["value"]),
        (&json!("TASK_ADDED"), &json!("t"))
    );
    let mut status =
        TaskStatus::new("t".into(), TaskState::Running, Time::from_millis(1000), Source::Executor);
    status.uuid = Some(model::UpdateId(7));
    let update = StatusUpdate {
        framework_id: offer.framework_id.clone(),
        agent_id: offer.agent_id.clone(),
        status,
        latest_state: TaskState::Running,
    };
    assert!(agent.input.message(AgentToMaster::Update(Box::new(update))).await);
    let updated = next(&mut events).await;
    assert_eq!(
        (&updated["type"], &updated["task_updated"]["state"]),
        (&json!("TASK_UPDATED"), &json!("TASK_RUNNING"))
    );
    let reserve = json!({"agent_id": {"value": agent.id}, "resources": [dynamic("cpus", 4.0)]});
    assert_eq!(cluster.call("RESERVE_RESOURCES", reserve).await.0, 409, "a task has them");
    let state = cluster.get("/state").await;
    assert_eq!(state["frameworks"][0]["tasks"][0]["state"], "TASK_RUNNING");
    let metrics = cluster.get("/metrics/snapshot").await;
    assert_eq!(metrics["master/tasks_running"], 1.0);
    assert_eq!(metrics["master/messages_launch_tasks"], 1.0);
    let id = offer.framework_id.to_string();
    assert_eq!(metrics[format!("master/frameworks/marathon/{id}/calls/accept")], 1.0);
    let (status, body) = cluster.send("POST", "/teardown", &format!("frameworkId={id}")).await;
    assert_eq!((status, body.as_str()), (200, ""));
    let removed = loop {
        let event = next(&mut events).await;
        if event["type"] == "FRAMEWORK_REMOVED" {
            break event;
        }
    };
    assert_eq!(removed["framework_removed"]["framework_info"]["id"]["value"], id.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn oa_17_18_19_20_21_22_quotas_and_weights() {
    let cluster = Cluster::start().await;
    let _agent = cluster.agent().await;
    let request = |cpus: f64, force: bool| {
        json!({"quota_request": {"role": "dev", "force": force,
            "guarantee": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": cpus}}]}})
    };
    assert_eq!(cluster.call("REMOVE_QUOTA", json!({"role": "dev"})).await.0, 400);
    let over = cluster.call("SET_QUOTA", request(500.0, false)).await;
    assert_eq!(over.0, 409, "{}", over.1);
    assert_eq!(cluster.call("SET_QUOTA", request(500.0, true)).await, (200, String::new()));
    assert_eq!(cluster.call("SET_QUOTA", request(1.0, true)).await.0, 400, "it has one");
    let shown = cluster.get("/quota").await;
    assert_eq!(shown["infos"][0]["role"], "dev");
    assert_eq!(shown["infos"][0]["guarantee"][0]["scalar"]["value"], 500.0);
    assert_eq!(cluster.read("GET_QUOTA").await["status"], shown);
    assert_eq!(cluster.send("DELETE", "/quota/dev", "").await.0, 200);
    assert_eq!(cluster.get("/quota").await, json!({}));
    let nested = json!({"quota_configs": [{"role": "a/b", "limits": {"cpus": {"value": 1.0}}}]});
    assert_eq!(cluster.call("UPDATE_QUOTA", nested).await.0, 400);
    let weights = r#"[{"weight":2.0,"role":"a"}]"#;
    assert_eq!(cluster.send("PUT", "/weights", weights).await.0, 200);
    let expected: Value = serde_json::from_str(weights).unwrap();
    assert_eq!(cluster.get("/weights").await, expected);
    assert_eq!(cluster.read("GET_WEIGHTS").await["weight_infos"], expected);
    let roles = cluster.get("/roles").await;
    assert_eq!(roles["roles"][0]["weight"], 2.0, "{roles}");
}

#[tokio::test(flavor = "multi_thread")]
async fn oa_23_25_26_28_29_agents_and_machines() {
    let cluster = Cluster::start().await;
    let agent = cluster.agent().await;
    let machine = json!({"hostname": "10.0.0.1", "ip": "10.0.0.1"});
    let down = cluster.send("POST", "/machine/down", &json!([machine]).to_string()).await;
    assert_eq!(down.0, 400, "{}", down.1);
    let window = json!({"machine_ids": [machine],
        "unavailability": {"start": {"nanoseconds": 4_000_000_000_000_000_000_u64}}});
    let twice = json!({"windows": [window, window]}).to_string();
    assert_eq!(cluster.send("POST", "/maintenance/schedule", &twice).await.0, 400);
    let once = json!({"windows": [window]});
    assert_eq!(cluster.send("POST", "/maintenance/schedule", &once.to_string()).await.0, 200);
    assert_eq!(cluster.get("/maintenance/schedule").await, once);
    let status = cluster.get("/maintenance/status").await;
    assert_eq!(status["draining_machines"][0]["id"], machine, "{status}");
    let mut framework = cluster.framework().await;
    assert!(framework.offer().await.unavailability.is_some());
    let cleared = cluster.send("POST", "/maintenance/schedule", "{}").await;
    assert_eq!(cleared.0, 200, "{}", cleared.1);

    let id = json!({"agent_id": {"value": agent.id}});
    assert_eq!(cluster.call("DRAIN_AGENT", id.clone()).await, (200, String::new()));
    let shown = cluster.read("GET_AGENTS").await;
    assert_eq!(shown["agents"][0]["deactivated"], true, "{shown}");
    assert_eq!(cluster.get("/slaves").await["slaves"][0]["deactivated"], true);
    assert!(shown["agents"][0]["drain_info"]["state"].is_string(), "{shown}");
    assert_eq!(cluster.call("REACTIVATE_AGENT", id.clone()).await.0, 200);
    assert_eq!(cluster.read("GET_AGENTS").await["agents"][0]["deactivated"], false);

    let nobody = json!({"agent_id": {"value": "nobody"}});
    assert_eq!(cluster.call("MARK_AGENT_GONE", nobody).await.0, 404);
    assert_eq!(cluster.call("MARK_AGENT_GONE", id.clone()).await, (200, String::new()));
    assert_eq!(cluster.call("MARK_AGENT_GONE", id).await, (200, String::new()));
}
