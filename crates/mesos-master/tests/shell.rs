//! The master's shell: what streams see when a term begins, breaks and ends.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mesos_master::config::{MasterConfig, MasterLimits};
use mesos_master::shell::{AgentStream, Handle, Service};
use model::agent_api::{AgentToMaster, MasterToAgent};
use model::operator_api::{OperatorCall, OperatorReply};
use model::scheduler_api::{SchedulerCall, SchedulerEvent};
use model::{
    AgentCapability, AgentInfo, DrainConfig, DrainState, FrameworkInfo, MachineId, MaintenanceSchedule,
    MaintenanceWindow, QuotaConfig, Resources, Rng, Role, Time, Unavailability, Weight,
};
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
        capabilities: AgentCapability::ALL.to_vec(),
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

#[tokio::test(flavor = "multi_thread")]
async fn ks_69_what_operators_settled_survives_a_failover_through_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (service, handle) = term(&store, "M1").await;
    let running = tokio::spawn(service.run());
    let told = Arc::new(Mutex::new(Vec::new()));
    let input = handle.agent(Box::new(Recorder(told.clone())));
    assert!(input.message(agent()).await);
    wait_until("the registration", || !told.lock().unwrap().is_empty()).await;
    let MasterToAgent::Registered { agent_id } = told.lock().unwrap()[0].clone() else { panic!("{told:?}") };

    let role = Role::new("team/üÖ'x").unwrap();
    let team = Role::new("team").unwrap();
    let machine = MachineId { hostname: "elsewhere".to_owned(), ip: "10.0.0.7".to_owned() };
    let window = MaintenanceWindow {
        machines: vec![machine.clone()],
        unavailability: Unavailability { start_ns: 1, duration_ns: None },
    };
    let schedule = MaintenanceSchedule { windows: vec![window] };
    let one = model::Quantity::from_units(1);
    let config = QuotaConfig {
        role: team.clone(),
        guarantees: [("cpus".into(), one)].into(),
        limits: [("cpus".into(), one)].into(),
        principal: Some("operator".into()),
    };
    let drain = DrainConfig { max_grace_ms: Some(1_000), mark_gone: false };
    let calls = [
        OperatorCall::UpdateWeights(vec![(role.clone(), Weight(2_500))]),
        OperatorCall::SetQuota { force: false, config: config.clone() },
        OperatorCall::UpdateMaintenanceSchedule(schedule.clone()),
        OperatorCall::StartMaintenance(vec![machine.clone()]),
        OperatorCall::DrainAgent { agent_id: agent_id.clone(), config: drain },
    ];
    for call in calls {
        assert_eq!(handle.operator(call.clone()).await, Some(OperatorReply::Done), "{call:?}");
    }
    // What was answered is durable: nothing else of this term is needed.
    running.abort();
    timeout(PATIENCE, input.ended()).await.unwrap();

    let (service, handle) = term(&store, "M2").await;
    let running = tokio::spawn(service.run());
    let view = handle.view();
    assert_eq!(view.weights.get(&role), Some(&Weight(2_500)));
    assert_eq!(view.quotas.get(&team), Some(&config));
    assert_eq!((&*view.schedule, &**view.down_machines), (&schedule, &[machine.clone()][..]));
    let told = Arc::new(Mutex::new(Vec::new()));
    let input = handle.agent(Box::new(Recorder(told.clone())));
    let AgentToMaster::Register(mut back) = agent() else { panic!() };
    back.info.id = Some(agent_id.clone());
    assert!(input.message(AgentToMaster::Register(back)).await);
    wait_until("the drained agent", || {
        handle.view().agents.get(&agent_id).and_then(|agent| agent.drain).map(|drain| drain.state)
            == Some(DrainState::Drained)
    })
    .await;
    // Taken back, all of it: nothing of it is left in the store.
    for call in [
        OperatorCall::ReactivateAgent { agent_id: agent_id.clone() },
        OperatorCall::RemoveQuota { role: team },
        OperatorCall::StopMaintenance(vec![machine]),
    ] {
        assert_eq!(handle.operator(call.clone()).await, Some(OperatorReply::Done), "{call:?}");
    }
    running.abort();
    timeout(PATIENCE, input.ended()).await.unwrap();
    let (_service, handle) = term(&store, "M3").await;
    let view = handle.view();
    assert!(view.quotas.is_empty() && view.schedule.windows.is_empty() && view.down_machines.is_empty());
    assert_eq!(view.recovered_agents.len(), 1);
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_gets_the_state_and_what_happens_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (service, handle) = term(&store, "M1").await;
    let running = tokio::spawn(service.run());
    let (view, mut events) = timeout(PATIENCE, handle.watch()).await.unwrap().unwrap();
    assert!(view.agents.is_empty());
    let input = handle.agent(Box::new(Recorder(Arc::default())));
    assert!(input.message(agent()).await);
    let first = timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert!(matches!(&*first, mesos_master::view::OperatorEvent::AgentAdded(_)), "{first:?}");
    let (view, _events) = timeout(PATIENCE, handle.watch()).await.unwrap().unwrap();
    assert_eq!(view.agents.len(), 1, "a later watcher starts from a later state");
    running.abort();
    store.shutdown().await;
}

/// More than one transaction of the store may hold, in one turn of the brain.
#[tokio::test(flavor = "multi_thread")]
async fn many_large_records_at_once_end_no_term() {
    const AGENTS: usize = 120;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (service, handle) = term(&store, "M1").await;
    // Before the term runs, so that all are taken in one turn.
    let mut inputs = Vec::new();
    for number in 0..AGENTS {
        let input = handle.agent(Box::new(Recorder(Arc::default())));
        let AgentToMaster::Register(mut register) = agent() else { panic!() };
        register.info.hostname = format!("agent{number}");
        register.info.ip = format!("127.0.1.{number}");
        let text = "x".repeat(100_000);
        register.info.attributes =
            vec![model::Attribute { name: "note".to_owned(), value: model::AttributeValue::Text(text) }];
        assert!(input.message(AgentToMaster::Register(register)).await);
        inputs.push(input);
    }
    let running = tokio::spawn(service.run());
    wait_until("all registrations", || handle.view().agents.len() == AGENTS).await;
    assert!(!running.is_finished());
    running.abort();
    let (_service, handle) = term(&store, "M2").await;
    assert_eq!(handle.view().recovered_agents.len(), AGENTS);
    store.shutdown().await;
}
