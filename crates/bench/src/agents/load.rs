//! Frameworks in the master's own process: each takes what it is offered until it has its
//! share of the tasks, and keeps nothing but their number.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mesos_master::shell::{Handle, SchedulerCaller};
use model::scheduler_api::{SchedulerCall, SchedulerEvent};
use model::{
    Capability, CommandInfo, FrameworkInfo, Offer, Operation, Quantity, Ranges, Resource, Resources, Role,
    TaskInfo, TaskState,
};
use tokio::sync::mpsc;

/// Longer than any run.
const REFUSE_MS: u64 = 24 * 3600 * 1000;
/// Of one task, in thousandths and MiB.
const TASK_MILLI_CPUS: i64 = 100;
const TASK_MEM: u32 = 64;

pub struct Running(Arc<AtomicUsize>);

impl Running {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Starts the frameworks; the tasks are spread evenly over the agents.
pub fn launch(handle: &Handle, frameworks: usize, tasks: usize, agents: usize) -> Running {
    let running = Arc::new(AtomicUsize::new(0));
    for number in 0..frameworks {
        let (caller, events) = handle.scheduler();
        let framework = Framework {
            number,
            left: tasks * (number + 1) / frameworks - tasks * number / frameworks,
            per_offer: tasks.div_ceil(agents),
            launched: 0,
            caller,
            running: running.clone(),
        };
        tokio::spawn(framework.run(events));
    }
    Running(running)
}

struct Framework {
    number: usize,
    left: usize,
    per_offer: usize,
    launched: usize,
    caller: SchedulerCaller,
    running: Arc<AtomicUsize>,
}

impl Framework {
    /// Until the master is gone.
    async fn run(mut self, mut events: mpsc::Receiver<SchedulerEvent>) {
        let info = Box::new(info(self.number));
        let subscribe = SchedulerCall::Subscribe { info, suppressed_roles: Vec::new() };
        let mut going = self.caller.call(subscribe).await;
        while going {
            let Some(event) = events.recv().await else { return };
            going = match event {
                SchedulerEvent::Offers(offers) => self.offered(offers).await,
                SchedulerEvent::Update(status) => {
                    if status.state == TaskState::Running {
                        self.running.fetch_add(1, Ordering::Relaxed);
                    } else {
                        eprintln!("bench: a task is {}: {:?}", status.state, status.message);
                    }
                    match (status.agent_id, status.uuid) {
                        (Some(agent_id), Some(uuid)) => {
                            let task_id = status.task_id;
                            self.caller.call(SchedulerCall::Acknowledge { agent_id, task_id, uuid }).await
                        }
                        _ => true,
                    }
                }
                SchedulerEvent::Error { message } => {
                    eprintln!("bench: a framework is refused: {message}");
                    false
                }
                _ => true,
            };
        }
    }

    async fn offered(&mut self, offers: Vec<Offer>) -> bool {
        let mut declined = Vec::new();
        for offer in offers {
            let tasks = self.tasks(&offer);
            if tasks.is_empty() {
                declined.push(offer.id);
                continue;
            }
            let accept = SchedulerCall::Accept {
                offer_ids: vec![offer.id],
                operations: vec![Operation::launch(tasks)],
                refuse_ms: Some(REFUSE_MS),
            };
            if !self.caller.call(accept).await {
                return false;
            }
        }
        if !declined.is_empty() {
            let decline = SchedulerCall::Decline { offer_ids: declined, refuse_ms: Some(REFUSE_MS) };
            if !self.caller.call(decline).await {
                return false;
            }
        }
        self.left > 0 || self.caller.call(SchedulerCall::Suppress { roles: Vec::new() }).await
    }

    /// As many as there shall be on one agent, and as fit.
    fn tasks(&mut self, offer: &Offer) -> Vec<TaskInfo> {
        let cpus = usize::try_from(offer.resources.cpus().milli() / TASK_MILLI_CPUS).unwrap_or(0);
        let mem = usize::try_from(offer.resources.mem().milli() / 1000 / i64::from(TASK_MEM)).unwrap_or(0);
        let count = self.per_offer.min(self.left).min(cpus).min(mem);
        let ports = offer.resources.ports();
        let tasks: Vec<TaskInfo> = (0_u64..)
            .take(count)
            .map_while(|index| ports.nth(index))
            .map(|port| {
                self.launched += 1;
                task(self.number, self.launched, offer, port)
            })
            .collect();
        self.left -= tasks.len();
        tasks
    }
}

pub fn info(number: usize) -> FrameworkInfo {
    FrameworkInfo {
        id: None,
        name: format!("bench-{number}"),
        user: "nobody".to_owned(),
        roles: vec![Role::any()],
        failover_timeout_ms: 604_800_000,
        checkpoint: true,
        hostname: "scheduler.example".to_owned(),
        principal: None,
        webui_url: Some("http://scheduler.example:8080".to_owned()),
        capabilities: vec![
            Capability::PartitionAware,
            Capability::TaskKillingState,
            Capability::RegionAware,
            Capability::MultiRole,
        ],
        labels: Vec::new(),
        offer_filters: Default::default(),
    }
}

/// About as much as an app of Marathon says.
fn task(framework: usize, number: usize, offer: &Offer, port: u64) -> TaskInfo {
    plain_task(&format!("bench-{framework}_app.instance-{number:08}._app.1"), offer.agent_id.clone(), port)
}

pub fn plain_task(id: &str, agent_id: model::AgentId, port: u64) -> TaskInfo {
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    TaskInfo {
        id: id.into(),
        name: "app.bench".to_owned(),
        agent_id,
        resources: Resources::from_iter([
            Resource::scalar("cpus", Quantity::from_milli(TASK_MILLI_CPUS)),
            Resource::scalar("mem", Quantity::from_units(TASK_MEM)),
            Resource::ranges("ports", Ranges::single(port)),
        ]),
        command: CommandInfo {
            shell: true,
            value: Some("exec /opt/app/bin/server --port $PORT0".to_owned()),
            arguments: Vec::new(),
            environment: vec![
                variable("MARATHON_APP_ID", "/bench/app"),
                variable("MARATHON_APP_VERSION", "2019-03-01T10:15:30.123Z"),
                variable("MESOS_TASK_ID", id),
                variable("HOST", "10.0.0.1"),
                variable("PORT0", "31000"),
            ],
            user: None,
        },
        executor: None,
        container: None,
        kill_policy: None,
        discovery: None,
        labels: Default::default(),
        max_completion_ms: None,
        health_check: None,
        check: None,
        raw: None,
    }
}
