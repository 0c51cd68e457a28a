//! Figures of large answers: `cargo run --release -p mesos-http --example answers [tasks]`.
#![allow(clippy::unwrap_used, reason = "a figure that cannot be taken is no figure")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use http::Request;
use mesos_http::{
    Answer, BuildInfo, Everyone, Leadership, LeadingMaster, LogLevel, MasterIdentity, SchedulerEnds, Watch,
    master_router,
};
use mesos_master::config::{MasterConfig, MasterLimits};
use mesos_master::state::Task;
use mesos_master::view::{AgentView, Counters, FrameworkView, MasterView, Sum};
use model::operator_api::{OperatorCall, OperatorReply};
use model::task::{ContainerStatus, DiscoveryPort};
use model::{
    AgentId, AgentInfo, CommandInfo, ContainerId, ContainerInfo, DiscoveryInfo, FrameworkId, FrameworkInfo,
    Resources, Role, Source, TaskInfo, TaskState, TaskStatus, Time,
};
use tower::ServiceExt;

const TASKS_PER_AGENT: usize = 10;
const ROUNDS: u32 = 20;

#[derive(Clone)]
struct Still(Arc<MasterView>);

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

fn task(n: usize) -> Arc<Task> {
    let id = format!("service_web.instance-{n:08}._app.1");
    let status = |state, millis| {
        let mut status =
            TaskStatus::new(id.as_str().into(), state, Time::from_millis(millis), Source::Executor);
        status.container = Some(ContainerStatus {
            container_id: ContainerId::new(format!("0123456789-{n}")),
            ip: "10.0.0.1".into(),
            pid: Some(77),
            raw: None,
        });
        status
    };
    let info = TaskInfo {
        id: id.as_str().into(),
        name: "web.service".into(),
        agent_id: AgentId::new(format!("M-S{}", n / TASKS_PER_AGENT)),
        resources: Resources::parse("cpus:0.5;mem:64;ports:[31000-31001]", &Role::any()).unwrap(),
        command: CommandInfo {
            shell: true,
            value: Some("sleep 1000".into()),
            environment: vec![("PORT0".into(), "31000".into())],
            user: Some("nobody".into()),
            ..CommandInfo::default()
        },
        executor: None,
        container: Some(ContainerInfo { image: Some("busybox".into()), force_pull: false }),
        kill_policy: None,
        discovery: Some(DiscoveryInfo {
            name: "web".into(),
            ports: vec![DiscoveryPort {
                number: 31000,
                name: Some("http".into()),
                protocol: "tcp".into(),
                labels: [("VIP_0".to_owned(), "/web:80".to_owned())].into(),
            }],
        }),
        labels: [("owner".to_owned(), "me".to_owned())].into(),
        max_completion_ms: None,
        health_check: None,
        check: None,
        raw: None,
    };
    Arc::new(Task {
        framework_id: FrameworkId::new("M-0000"),
        info,
        role: Role::any(),
        state: TaskState::Running,
        statuses: vec![status(TaskState::Starting, 1000), status(TaskState::Running, 2000)],
        forwarded: None,
        unacknowledged: None,
        kill_wanted: None,
        holds_resources: true,
        launched: Time::from_millis(900),
    })
}

fn view(tasks: usize) -> MasterView {
    let tasks: Vec<Arc<Task>> = (0..tasks).map(task).collect();
    let agents = tasks.chunks(TASKS_PER_AGENT).enumerate().map(|(n, tasks)| {
        let info = AgentInfo {
            id: Some(AgentId::new(format!("M-S{n}"))),
            hostname: format!("10.0.{}.{}", n / 250, n % 250),
            ip: "10.0.0.1".into(),
            port: 5051,
            resources: Resources::parse("cpus:8;mem:16384;disk:10000;ports:[31000-32000]", &Role::any())
                .unwrap(),
            attributes: Vec::new(),
            domain: None,
            version: "1.7.3".into(),
            capabilities: Vec::new(),
        };
        let mut used = Resources::new();
        tasks.iter().for_each(|task| used.add(&task.info.resources));
        Arc::new(AgentView {
            id: AgentId::new(format!("M-S{n}")),
            info: Arc::new(info),
            connected: true,
            active: true,
            registered: Time::from_millis(500),
            reregistered: None,
            used: used.clone(),
            offered: Resources::new(),
            used_by_framework: vec![(FrameworkId::new("M-0000"), used)],
            tasks: tasks.to_vec(),
            executors: Vec::new(),
            operations: Vec::new(),
            deactivated: false,
            drain: None,
        })
    });
    let agents = agents.collect();
    let info = FrameworkInfo {
        id: Some(FrameworkId::new("M-0000")),
        name: "marathon".into(),
        user: "root".into(),
        roles: vec![Role::any()],
        failover_timeout_ms: 604_800_000,
        checkpoint: true,
        hostname: "10.0.0.9".into(),
        principal: None,
        webui_url: None,
        capabilities: Vec::new(),
        labels: Vec::new(),
        offer_filters: Default::default(),
    };
    let framework = FrameworkView {
        id: FrameworkId::new("M-0000"),
        info: Arc::new(info),
        active: true,
        connected: true,
        recovered: false,
        registered: Time::from_millis(600),
        reregistered: None,
        unregistered: None,
        used: Sum::default(),
        offered: Sum::default(),
        offers: Default::default(),
        inverse_offers: Vec::new(),
        suppressed: Default::default(),
        tasks: tasks.into_iter().collect(),
        unreachable_tasks: Arc::default(),
        completed_tasks: Arc::default(),
        counters: Arc::default(),
    };
    let config = MasterConfig {
        master_id: "M".into(),
        cluster: "figures".into(),
        hostname: "10.0.0.100".into(),
        ip: "10.0.0.100".into(),
        port: 5050,
        version: "1.7.3".into(),
        domain: None,
        started: Time::ZERO,
        limits: MasterLimits::default(),
    };
    MasterView {
        config: Arc::new(config),
        elected: Time::ZERO,
        taken: Time::ZERO,
        agents,
        recovered_agents: Default::default(),
        unreachable_agents: Default::default(),
        gone_agents: Default::default(),
        weights: Arc::default(),
        quotas: Arc::default(),
        schedule: Arc::default(),
        down_machines: Arc::default(),
        draining_machines: Arc::default(),
        frameworks: [Arc::new(framework)].into_iter().collect(),
        completed_frameworks: Default::default(),
        counters: Counters::default(),
    }
}

/// Time and size of one answer, the body read to its end.
async fn ask(router: &axum::Router, request: Request<Body>) -> (Duration, usize) {
    let start = Instant::now();
    let response = router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (start.elapsed(), bytes.len())
}

fn request(path: &str, call: &str, accept: &str) -> Request<Body> {
    let method = if call.is_empty() { "GET" } else { "POST" };
    let request = Request::builder().method(method).uri(path).header("Accept", accept);
    request.header("Content-Type", "application/json").body(Body::from(call.to_owned())).unwrap()
}

#[tokio::main]
async fn main() {
    let tasks = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let view = view(tasks);
    let json = "application/json";
    println!("{tasks} tasks; made anew (best and median of {ROUNDS}), then shared (median)");
    for (path, call, accept) in [
        ("/state", "", json),
        ("/state-summary", "", json),
        ("/slaves", "", json),
        ("/tasks?limit=100", "", json),
        ("/metrics/snapshot", "", json),
        ("/api/v1", r#"{"type":"GET_STATE"}"#, json),
        ("/api/v1", r#"{"type":"GET_STATE"}"#, "application/x-protobuf"),
    ] {
        let (mut made, mut shared, mut size) = (Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            let still = Still(Arc::new(view.clone()));
            let identity = MasterIdentity {
                build: BuildInfo {
                    version: "1.7.3".into(),
                    build_date: String::new(),
                    build_time: 0.0,
                    build_user: String::new(),
                    git_sha: None,
                    git_branch: None,
                    git_tag: None,
                },
                started: Time::ZERO,
                flags: Default::default(),
                log_file: None,
                authorizer: Arc::new(Everyone),
                logging: Arc::new(LogLevel::new(|_| ())),
            };
            let leadership = move || Leadership::Leading(Arc::new(still.clone()));
            let router = master_router(leadership, identity);
            made.push(ask(&router, request(path, call, accept)).await.0);
            let (time, length) = ask(&router, request(path, call, accept)).await;
            shared.push(time);
            size = length;
        }
        made.sort();
        shared.sort();
        let middle = made.len() / 2;
        let what = format!("{path} {call} {accept}");
        println!(
            "{what:75} {:>9} bytes  {:>10.2?} {:>10.2?}  {:>10.2?}",
            size, made[0], made[middle], shared[middle]
        );
    }
}
