//! The master's shell: what streams see when a term begins, breaks and ends.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mesos_master::config::{MasterConfig, MasterLimits};
use mesos_master::shell::{AgentStream, Handle, Service};
use model::agent_api::{AgentToMaster, MasterToAgent};
use model::scheduler_api::{SchedulerCall, SchedulerEvent};
use model::{AgentInfo, FrameworkInfo, Resources, Rng, Role, Time};
use shell::Clock;
use store::Store;
use tokio::time::timeout;

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

struct Recorder(Arc<Mutex<Vec<MasterToAgent>>>);

impl AgentStream for Recorder {
    fn try_send(&self, message: MasterToAgent) -> bool {
        self.0.lock().unwrap().push(message);
        true
    }

    fn close(&self, _reason: &str) {}
}

fn config(id: &str) -> MasterConfig {
    MasterConfig {
        master_id: id.to_owned(),
        cluster: "test".to_owned(),
        hostname: "master1".to_owned(),
        ip: "127.0.0.1".to_owned(),
        port: 5050,
        version: "1.7.3".to_owned(),
        domain: None,
        started: Time::ZERO,
        limits: MasterLimits::default(),
    }
}

fn agent() -> AgentToMaster {
    let info = AgentInfo {
        id: None,
        hostname: "agent1".to_owned(),
        ip: "127.0.0.2".to_owned(),
        port: 5051,
        resources: Resources::parse("cpus:2;mem:1024", &Role::any()).unwrap(),
        attributes: Vec::new(),
        domain: None,
        version: "1.7.3".to_owned(),
        capabilities: Vec::new(),
    };
    AgentToMaster::Register(Box::new(model::agent_api::Registration {
        info,
        frameworks: Vec::new(),
        executors: Vec::new(),
        tasks: Vec::new(),
        operations: Vec::new(),
        drain: None,
    }))
}

fn framework() -> SchedulerCall {
    let info = FrameworkInfo {
        id: None,
        name: "test".to_owned(),
        user: "root".to_owned(),
        roles: vec![Role::any()],
        failover_timeout_ms: 60_000,
        checkpoint: true,
        hostname: String::new(),
        principal: None,
        webui_url: None,
        capabilities: Vec::new(),
        labels: Vec::new(),
        offer_filters: Default::default(),
    };
    SchedulerCall::Subscribe { info: Box::new(info), suppressed_roles: Vec::new() }
}

async fn open(dir: &std::path::Path) -> Store {
    let store = Store::open(store::Config::single(dir, "127.0.0.1")).await.unwrap();
    let mut leadership = store.leadership();
    timeout(PATIENCE, leadership.wait_for(|now| now.is_me)).await.unwrap().unwrap();
    store
}

async fn term(store: &Store, id: &str) -> (Service, Handle) {
    let term = store.leadership().borrow().term;
    Service::load(store.clone(), term, config(id), Rng::new(1), Clock::system()).await.unwrap()
}

async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited {PATIENCE:?} for {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_agent_learns_that_the_term_is_over_and_the_next_knows_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (service, handle) = term(&store, "M1").await;
    let running = tokio::spawn(service.run());
    let told = Arc::new(Mutex::new(Vec::new()));
    let input = handle.agent(Box::new(Recorder(told.clone())));
    assert!(input.message(agent()).await);
    wait_until("the registration", || !told.lock().unwrap().is_empty()).await;
    assert!(matches!(told.lock().unwrap()[0], MasterToAgent::Registered { .. }));

    // A term that ends inside a living process: a commit failed, or the leadership went.
    running.abort();
    timeout(PATIENCE, input.ended()).await.expect("an agent that says nothing must hear of the end");
    assert!(!input.message(agent()).await, "nobody listens any more");

    let (_service, handle) = term(&store, "M2").await;
    assert_eq!(handle.view().recovered_agents.len(), 1, "what was answered is known to the next term");
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_closes_sees_its_events_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (service, handle) = term(&store, "M1").await;
    let running = tokio::spawn(service.run());
    let (caller, mut events) = handle.scheduler();
    assert!(caller.call(framework()).await);
    let first = timeout(PATIENCE, events.recv()).await.unwrap();
    assert!(matches!(first, Some(SchedulerEvent::Subscribed { .. })), "{first:?}");
    wait_until("the framework in the view", || handle.view().frameworks.iter().any(|one| one.connected))
        .await;

    caller.close().await;
    let end = timeout(PATIENCE, async { while events.recv().await.is_some() {} });
    end.await.expect("the events of a closed stream must end, or whoever follows them waits for ever");
    wait_until("the framework to be gone", || handle.view().frameworks.iter().all(|one| !one.connected))
        .await;
    running.abort();
    store.shutdown().await;
}
