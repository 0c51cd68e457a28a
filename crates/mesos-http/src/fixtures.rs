//! A small cluster for tests, and checks of JSON shapes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use mesos_agent::AgentView as NodeView;
use mesos_agent::state::{AgentTask, Phase};
use mesos_agent::view::TaskView;
use mesos_master::config::{MasterConfig, MasterLimits};
use mesos_master::state::Task;
use mesos_master::view::{AgentView, Counters, FrameworkView, MasterView};
use model::operator_api::{OperatorCall, OperatorReply};
use model::task::{ContainerStatus, DiscoveryPort};
use model::{
    AgentId, AgentInfo, Attribute, AttributeValue, Capability, CommandInfo, ContainerId, ContainerInfo,
    DiscoveryInfo, FaultDomain, FrameworkId, FrameworkInfo, Offer, OfferId, Principal, Quantity, Ranges,
    Resources, Role, Source, TaskId, TaskInfo, TaskState, TaskStatus, Time,
};
use serde_json::Value;
use tower::ServiceExt;

use crate::{Answer, BuildInfo, Leadership, LeadingMaster, SchedulerEnds, Watch};

pub(crate) fn build() -> BuildInfo {
    BuildInfo {
        version: "1.7.3".into(),
        build_date: "2026-11-25 04:00:00".into(),
        build_time: 1_795_579_200.0,
        build_user: "builder".into(),
        git_sha: Some("0123abc".into()),
        git_branch: None,
        git_tag: None,
    }
}

pub(crate) fn resources(text: &str) -> Resources {
    Resources::parse(text, &Role::any()).unwrap()
}

pub(crate) fn role(text: &str) -> Role {
    Role::new(text).unwrap()
}

pub(crate) fn time(seconds: u64) -> Time {
    Time::from_millis(seconds * 1000 + 500)
}

pub(crate) fn agent_info(n: usize) -> AgentInfo {
    let attribute = |name: &str, value| Attribute { name: name.into(), value };
    AgentInfo {
        id: Some(AgentId::new(format!("master-S{n}"))),
        hostname: format!("10.0.0.{n}"),
        ip: format!("10.0.0.{n}"),
        port: 5051,
        resources: resources("cpus:4;mem:8192;disk:10000;ports:[31000-31099,31101-32000];cpus(eng):1"),
        attributes: vec![
            attribute("public_ip", AttributeValue::Text("true".into())),
            attribute("rack", AttributeValue::Scalar(Quantity::from_units(3))),
            attribute("range", AttributeValue::Ranges(Ranges::new([(1, 5)]))),
            attribute("set", AttributeValue::Set(vec!["a".into(), "b".into()])),
        ],
        domain: Some(FaultDomain { region: "r1".into(), zone: "z1".into() }),
        version: "1.7.3".into(),
        capabilities: Vec::new(),
    }
}

pub(crate) fn status(task: &str, state: TaskState, seconds: u64) -> TaskStatus {
    TaskStatus {
        task_id: TaskId::new(task),
        state,
        timestamp: time(seconds),
        source: Source::Executor,
        reason: None,
        message: None,
        agent_id: None,
        uuid: None,
        container: Some(ContainerStatus {
            container_id: ContainerId::new(format!("c-{}", task.replace('.', "-"))),
            ip: "10.0.0.1".into(),
            pid: Some(77),
            raw: None,
        }),
        check: None,
        data: None,
        executor_id: None,
        healthy: None,
        labels: Vec::new(),
        limitation: None,
        unreachable_since: None,
    }
}

pub(crate) fn task_info(id: &str, agent: usize) -> TaskInfo {
    TaskInfo {
        id: TaskId::new(id),
        name: id.split('.').next().unwrap().into(),
        agent_id: AgentId::new(format!("master-S{agent}")),
        resources: resources("cpus:0.5;mem:64;ports:[31000-31000]"),
        command: CommandInfo {
            shell: true,
            value: Some("sleep 1000000000".into()),
            environment: vec![("PORT0".into(), "31000".into())],
            user: Some("nobody".into()),
            ..CommandInfo::default()
        },
        container: Some(ContainerInfo { image: Some("busybox".into()), force_pull: false }),
        kill_policy: None,
        discovery: Some(DiscoveryInfo {
            name: "web".into(),
            ports: vec![DiscoveryPort {
                number: 31000,
                name: Some("http".into()),
                protocol: "tcp".into(),
                labels: BTreeMap::from([("VIP_0".into(), "/web:80".into())]),
            }],
        }),
        labels: BTreeMap::from([("owner".into(), "me".into())]),
        executor: None,
        max_completion_ms: None,
        health_check: None,
        check: None,
        raw: None,
    }
}

pub(crate) fn task(id: &str, agent: usize, state: TaskState, seconds: u64) -> Arc<Task> {
    Arc::new(Task {
        framework_id: FrameworkId::new("master-0000"),
        info: task_info(id, agent),
        role: role("eng/web"),
        state,
        statuses: vec![status(id, state, seconds)],
        forwarded: None,
        unacknowledged: None,
        kill_wanted: None,
        holds_resources: !state.is_terminal(),
        launched: time(seconds),
    })
}

pub(crate) fn framework(id: &str, multi_role: bool) -> FrameworkView {
    FrameworkView {
        id: FrameworkId::new(id),
        info: Arc::new(framework_info(id, multi_role)),
        active: true,
        connected: true,
        recovered: false,
        registered: time(50),
        reregistered: Some(time(60)),
        unregistered: None,
        used: Default::default(),
        offered: Default::default(),
        offers: Default::default(),
        tasks: Default::default(),
        unreachable_tasks: Default::default(),
        completed_tasks: Default::default(),
        counters: Default::default(),
        inverse_offers: Vec::new(),
        suppressed: Default::default(),
    }
}

pub(crate) fn framework_info(id: &str, multi_role: bool) -> FrameworkInfo {
    FrameworkInfo {
        id: Some(FrameworkId::new(id)),
        name: "marathon".into(),
        user: "root".into(),
        roles: vec![role("eng/web")],
        failover_timeout_ms: 604_800_000,
        checkpoint: true,
        hostname: "10.0.0.9".into(),
        principal: Some(Principal::new("dcos_marathon")),
        webui_url: Some("http://10.0.0.9:8080".into()),
        capabilities: if multi_role {
            vec![Capability::MultiRole, Capability::PartitionAware]
        } else {
            Vec::new()
        },
        labels: Vec::new(),
        offer_filters: Default::default(),
    }
}

/// Two agents, one lost, one not back; a framework with six tasks and an offer,
/// one without `MULTI_ROLE`, one completed.
pub(crate) fn cluster() -> MasterView {
    let mut marathon = framework("master-0000", true);
    marathon.tasks = vec![
        task("web.1", 1, TaskState::Running, 100),
        task("web.2", 1, TaskState::Staging, 105),
        task("web.3", 2, TaskState::Killing, 103),
    ]
    .into();
    marathon.unreachable_tasks = vec![task("web.4", 3, TaskState::Unreachable, 101)].into();
    marathon.completed_tasks =
        vec![task("web.5", 1, TaskState::Finished, 99), task("web.6", 2, TaskState::Failed, 104)].into();
    marathon.used = resources("cpus:1.5;mem:192").into();
    marathon.offered = resources("cpus:2;mem:100").into();
    marathon.offers = vec![Arc::new(Offer {
        id: OfferId::new("master-O1"),
        framework_id: marathon.id.clone(),
        agent_id: AgentId::new("master-S2"),
        hostname: "10.0.0.2".into(),
        ip: "10.0.0.2".into(),
        port: 5051,
        role: role("eng/web"),
        resources: resources("cpus:2;mem:100"),
        attributes: Vec::new(),
        domain: None,
        executor_ids: Vec::new(),
        unavailability: None,
    })]
    .into();
    let mut done = framework("master-0002", true);
    done.unregistered = Some(time(70));
    done.active = false;
    done.completed_tasks = vec![Arc::new(Task {
        framework_id: FrameworkId::new("master-0002"),
        ..(*task("old.1", 1, TaskState::Finished, 10)).clone()
    })]
    .into();
    MasterView {
        config: Arc::new(config()),
        elected: time(20),
        taken: time(200),
        agents: vec![Arc::new(agent(1, true, &marathon)), Arc::new(agent(2, false, &marathon))].into(),
        recovered_agents: vec![Arc::new(agent_info(7))].into(),
        unreachable_agents: vec![(Arc::new(agent_info(3)), time(110))].into(),
        frameworks: vec![Arc::new(marathon), Arc::new(framework("master-0001", false))].into(),
        completed_frameworks: vec![Arc::new(done)].into(),
        counters: Counters {
            tasks_finished: 2,
            messages: BTreeMap::from([("launch_tasks", 6)]),
            ..Counters::default()
        },
        gone_agents: Default::default(),
        weights: Default::default(),
        quotas: Default::default(),
        schedule: Default::default(),
        down_machines: Default::default(),
        draining_machines: Default::default(),
    }
}

fn agent(n: usize, active: bool, framework: &FrameworkView) -> AgentView {
    let info = Arc::new(agent_info(n));
    let id = info.id.clone().unwrap();
    let tasks: Vec<Arc<Task>> =
        framework.tasks.iter().filter(|task| task.info.agent_id == id).cloned().collect();
    let mut used = Resources::new();
    for task in &tasks {
        used.add(&task.info.resources);
    }
    AgentView {
        id,
        info,
        connected: active,
        active,
        registered: time(30),
        reregistered: if active { None } else { Some(time(40)) },
        used: used.clone(),
        offered: if active { Resources::new() } else { resources("cpus:2;mem:100") },
        used_by_framework: vec![(framework.id.clone(), used)],
        tasks,
        executors: Vec::new(),
        operations: Vec::new(),
        deactivated: false,
        drain: None,
    }
}

pub(crate) fn config() -> MasterConfig {
    MasterConfig {
        master_id: "master".into(),
        cluster: "test".into(),
        hostname: "10.0.0.100".into(),
        ip: "10.0.0.100".into(),
        port: 5050,
        version: "1.7.3".into(),
        domain: Some(FaultDomain { region: "r1".into(), zone: "z0".into() }),
        started: time(10),
        limits: MasterLimits::default(),
    }
}

/// One running, one launching, one ended and unacknowledged, one completed task.
pub(crate) fn node(work_dir: &str) -> NodeView {
    let view = |id: &str, phase: Phase, state: TaskState| {
        let container_id = ContainerId::new(format!("c-{}", id.replace('.', "-")));
        let directory =
            format!("{work_dir}/slaves/master-S1/frameworks/master-0000/executors/{id}/runs/{container_id}");
        let statuses = if phase == Phase::Launching { Vec::new() } else { vec![status(id, state, 100)] };
        let task = AgentTask {
            phase,
            state,
            updates: statuses.iter().cloned().collect(),
            statuses,
            pid: if phase == Phase::Running { Some(77) } else { None },
            ..AgentTask::new(FrameworkId::new("master-0000"), task_info(id, 1), container_id, time(90))
        };
        TaskView { directory, task: Arc::new(task) }
    };
    NodeView {
        id: Some(AgentId::new("master-S1")),
        info: agent_info(1),
        started: time(15),
        taken: time(200),
        registered: true,
        work_dir: work_dir.into(),
        frameworks: vec![Arc::new(framework_info("master-0000", true))],
        tasks: vec![
            view("web.1", Phase::Running, TaskState::Running),
            view("web.2", Phase::Launching, TaskState::Staging),
            view("web.5", Phase::Ended, TaskState::Failed),
        ],
        completed: vec![view("web.0", Phase::Ended, TaskState::Finished)],
        recovered: true,
        completed_frameworks: Vec::new(),
        executors: Vec::new(),
        completed_executors: Vec::new(),
        operations: Vec::new(),
        drain: None,
    }
}

/// A leading master that stays as it is and does nothing.
pub(crate) struct Still(pub Arc<MasterView>);

impl LeadingMaster for Still {
    fn view(&self) -> Arc<MasterView> {
        self.0.clone()
    }

    fn operator(&self, _: OperatorCall) -> Answer<'_, Option<OperatorReply>> {
        Box::pin(async { None })
    }

    fn explain(&self, _: FrameworkId, _: AgentId) -> Answer<'_, Option<Vec<String>>> {
        Box::pin(async { None })
    }

    fn watch(&self) -> Answer<'_, Option<Watch>> {
        Box::pin(async { None })
    }

    fn scheduler(&self) -> Option<SchedulerEnds> {
        None
    }
}

pub(crate) fn still(view: Arc<MasterView>) -> impl Fn() -> Leadership + Send + Sync + 'static {
    move || Leadership::Leading(Arc::new(Still(view.clone())))
}

pub(crate) async fn send(router: &Router, method: &str, uri: &str) -> Response {
    let request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
    router.clone().oneshot(request).await.unwrap()
}

pub(crate) async fn body(response: Response) -> Vec<u8> {
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

pub(crate) async fn get(router: &Router, uri: &str) -> Value {
    let response = send(router, "GET", uri).await;
    assert_eq!(response.status(), StatusCode::OK, "{uri}");
    assert_eq!(response.headers()["content-type"], "application/json", "{uri}");
    serde_json::from_slice(&body(response).await).unwrap()
}

pub(crate) async fn refused(router: &Router, uri: &str, expected: u16) -> String {
    let response = send(router, "GET", uri).await;
    assert_eq!(response.status().as_u16(), expected, "{uri}");
    String::from_utf8(body(response).await).unwrap()
}

/// Compares keys and kinds: `"id:s time:f count:i up:b list:a map:o maybe?:s"`.
#[track_caller]
pub(crate) fn shape(value: &Value, expected: &str) {
    let object = value.as_object().unwrap_or_else(|| panic!("not an object: {value}"));
    let mut known = Vec::new();
    for field in expected.split_whitespace() {
        let (name, kind) = field.split_once(':').unwrap();
        let (name, optional) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
        known.push(name);
        let Some(found) = object.get(name) else {
            assert!(optional, "{name} is missing in {value}");
            continue;
        };
        let fits = match kind {
            "s" => found.is_string(),
            "f" => found.is_f64(),
            "i" => found.is_u64(),
            "b" => found.is_boolean(),
            "a" => found.is_array(),
            "o" => found.is_object(),
            other => panic!("no kind {other}"),
        };
        assert!(fits, "{name} is {found}, not of kind {kind}");
    }
    let surplus: Vec<&String> = object.keys().filter(|key| !known.contains(&key.as_str())).collect();
    assert!(surplus.is_empty(), "{surplus:?} are not in the contract");
}

/// Every name that `{a,b}` alternatives spell out, of each word of the text.
pub(crate) fn spelled_out(text: &str) -> Vec<String> {
    fn expand(word: &str, into: &mut Vec<String>) {
        let Some((head, rest)) = word.split_once('{') else { return into.push(word.to_owned()) };
        let (choices, tail) = rest.split_once('}').unwrap();
        choices.split(',').for_each(|choice| expand(&format!("{head}{choice}{tail}"), into));
    }
    let mut all = Vec::new();
    text.split_whitespace().for_each(|word| expand(word, &mut all));
    all
}

/// What a timer of the metrics has after its name.
pub(crate) const TIMER: &str = "{,/count,/max,/min,/p50,/p90,/p95,/p99,/p999,/p9999}";

/// The resource summary object.
pub(crate) const SUMMARY: &str = "cpus:f gpus:f mem:f disk:f ports?:s";

pub(crate) const TASK: &str = "id:s name:s framework_id:s executor_id:s slave_id:s state:s resources:o role:s \
     statuses:a user?:s labels?:a discovery?:o container?:o";

pub(crate) const BUILD: &str =
    "version:s build_date:s build_time:f build_user:s git_sha?:s git_branch?:s git_tag?:s";
