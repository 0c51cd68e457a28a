//! How long a turn and a snapshot take with 10,000 agents and 100,000 tasks, and how
//! much memory that is. A snapshot is made in slices, as the shell has it: the longest
//! piece is what an input may have to wait for.
//!
//! `cargo bench -p mesos-master --bench snapshots`
#![allow(clippy::unwrap_used, reason = "a bench ends at the first surprise")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mesos_master::config::MasterLimits;
use mesos_master::{ConnId, Effect, Input, Master, MasterConfig};
use model::agent_api::{AgentToMaster, MasterToAgent, Registration};
use model::scheduler_api::{SchedulerCall, SchedulerEvent, TaskRecord};
use model::{
    AgentCapability, AgentId, AgentInfo, Capability, CommandInfo, FrameworkId, FrameworkInfo, Resources, Rng,
    Role, Source, StatusUpdate, TaskInfo, TaskState, TaskStatus, Time, UpdateId,
};
use shell::Brain;

const AGENTS: u64 = 10_000;
const TASKS_PER_AGENT: u64 = 10;
/// Status updates between two snapshots: 50,000 a second.
const UPDATES_PER_ROUND: u64 = 1_000;
const ROUNDS: usize = 200;

fn resident_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
}

fn framework(id: Option<FrameworkId>) -> FrameworkInfo {
    FrameworkInfo {
        id,
        name: "bench".to_owned(),
        user: "root".to_owned(),
        roles: vec![Role::any()],
        failover_timeout_ms: 3_600_000,
        checkpoint: true,
        hostname: String::new(),
        principal: None,
        webui_url: None,
        capabilities: vec![Capability::PartitionAware],
        labels: Vec::new(),
        offer_filters: BTreeMap::new(),
    }
}

fn task(agent: u64, number: u64, framework_id: &FrameworkId) -> TaskRecord {
    let info = TaskInfo {
        id: task_id(agent, number).as_str().into(),
        name: "web".to_owned(),
        agent_id: "unknown".into(),
        resources: Resources::parse("cpus:0.1;mem:64;ports:[31000-31000]", &Role::any()).unwrap(),
        command: CommandInfo { shell: true, value: Some("sleep 1000".to_owned()), ..CommandInfo::default() },
        container: None,
        kill_policy: None,
        discovery: None,
        labels: BTreeMap::new(),
        executor: None,
        max_completion_ms: None,
        health_check: None,
        check: None,
        raw: None,
    };
    let status =
        TaskStatus::new(info.id.clone(), TaskState::Running, Time::from_millis(1_000), Source::Executor);
    TaskRecord {
        framework_id: framework_id.clone(),
        info,
        role: Some(Role::any()),
        state: TaskState::Running,
        statuses: vec![status],
    }
}

fn task_id(agent: u64, number: u64) -> String {
    format!("web.{:08x}-{agent}-{number}", agent.wrapping_mul(2_654_435_761) % 0xffff_ffff)
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() - 1) * percent / 100]
}

fn main() {
    let config = MasterConfig {
        master_id: "b9c1e2f0-0000-4000-8000-000000000000".to_owned(),
        cluster: "bench".to_owned(),
        hostname: "master1".to_owned(),
        ip: "10.0.0.1".to_owned(),
        port: 5050,
        version: "1.9.0".to_owned(),
        domain: None,
        started: Time::ZERO,
        limits: MasterLimits::default(),
    };
    let mut now = Time::from_millis(1_000);
    let mut master = Master::load(config, Rng::new(1), Vec::new(), now);
    let call = SchedulerCall::Subscribe { info: Box::new(framework(None)), suppressed_roles: Vec::new() };
    let scheduler = ConnId(1);
    let out = master.step(now, Input::Scheduler { conn: scheduler, call });
    let framework_id = out
        .effects
        .iter()
        .find_map(|effect| match effect {
            Effect::ToScheduler { event: SchedulerEvent::Subscribed { framework_id }, .. } => {
                Some(framework_id.clone())
            }
            _ => None,
        })
        .unwrap();
    let suppress = SchedulerCall::Suppress { roles: Vec::new() };
    master.step(now, Input::Scheduler { conn: scheduler, call: suppress });
    let begin = Instant::now();
    let mut ids: Vec<AgentId> = Vec::new();
    for agent in 0..AGENTS {
        let info = AgentInfo {
            id: None,
            hostname: format!("node-{agent}.example"),
            ip: format!("10.{}.{}.{}", 1 + agent / 65_536, agent / 256 % 256, agent % 256),
            port: 5051,
            resources: Resources::parse("cpus:16;mem:65536;disk:100000;ports:[31000-32000]", &Role::any())
                .unwrap(),
            attributes: Vec::new(),
            domain: None,
            version: "1.9.0".to_owned(),
            capabilities: AgentCapability::ALL.to_vec(),
        };
        let registration = Registration {
            info,
            frameworks: vec![framework(Some(framework_id.clone()))],
            executors: Vec::new(),
            tasks: (0..TASKS_PER_AGENT).map(|number| task(agent, number, &framework_id)).collect(),
            operations: Vec::new(),
            drain: None,
        };
        let message = AgentToMaster::Register(Box::new(registration));
        let out = master.step(now, Input::Agent { conn: ConnId(10 + agent), message });
        let id = out.effects.into_iter().find_map(|effect| match effect {
            Effect::ToAgent { message: MasterToAgent::Registered { agent_id }, .. } => Some(agent_id),
            _ => None,
        });
        ids.push(id.unwrap());
    }
    println!("registering {AGENTS} agents: {:?} each", (begin.elapsed()) / AGENTS as u32);
    let begin = Instant::now();
    let first = master.view(now);
    println!("the first snapshot, of {} tasks: {:?}", first.frameworks[0].tasks.len(), begin.elapsed());
    assert_eq!(first.frameworks[0].tasks.len() as u64, AGENTS * TASKS_PER_AGENT);
    let mut published = first;
    let (mut steps, mut views, mut pieces) = (Vec::new(), Vec::new(), Vec::new());
    let mut next = 0_u64;
    for _ in 0..ROUNDS {
        now = now + Duration::from_millis(20);
        let begin = Instant::now();
        for _ in 0..UPDATES_PER_ROUND {
            next += 1;
            let (agent, number) = (next.wrapping_mul(7_919) % AGENTS, next % TASKS_PER_AGENT);
            let id = ids[agent as usize].clone();
            let mut status = TaskStatus::new(
                task_id(agent, number).as_str().into(),
                TaskState::Running,
                now,
                Source::Executor,
            );
            status.uuid = Some(UpdateId(u128::from(next)));
            status.agent_id = Some(id.clone());
            let update = StatusUpdate {
                framework_id: framework_id.clone(),
                agent_id: id,
                status,
                latest_state: TaskState::Running,
            };
            let message = AgentToMaster::Update(Box::new(update));
            master.step(now, Input::Agent { conn: ConnId(10 + agent), message });
        }
        steps.push((begin.elapsed()) / UPDATES_PER_ROUND as u32);
        let begin = Instant::now();
        let mut longest = Duration::ZERO;
        let view = loop {
            let piece = Instant::now();
            let view = Brain::prepare_view(&mut master, now).then(|| Brain::view(&mut master, now));
            longest = longest.max(piece.elapsed());
            if let Some(view) = view {
                break view;
            }
        };
        views.push(begin.elapsed());
        pieces.push(longest);
        // Readers keep a snapshot for a while.
        published = view;
    }
    println!("one status update: p50 {:?}, p99 {:?}", percentile(&mut steps, 50), percentile(&mut steps, 99));
    println!(
        "a snapshot after {UPDATES_PER_ROUND} of them: p50 {:?}, p99 {:?}",
        percentile(&mut views, 50),
        percentile(&mut views, 99)
    );
    println!(
        "its longest piece: p50 {:?}, p99 {:?}",
        percentile(&mut pieces, 50),
        percentile(&mut pieces, 99)
    );
    let begin = Instant::now();
    let used = published.frameworks[0].used.cpus();
    println!("a reader's sum of {used} cpus: {:?}", begin.elapsed());
    println!("resident: {} MiB", resident_mib());
}
