//! A whole Marathon over a store on disk, with a master in memory, asked over HTTP.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part; a test may panic")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use marathon::Config;
use marathon::shell::{Handle, SchedulerLink, Service};
use marathon_http::{Identity, router};
use model::scheduler_api::{SchedulerCall, SchedulerEvent};
use model::{Offer, Resources, Rng, Role, Source, TaskId, TaskInfo, TaskState, TaskStatus, Time, UpdateId};
use serde_json::Value;
use shell::Clock;
use store::Store;
use tokio::sync::mpsc;
use tower::ServiceExt;

pub struct Answer {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }

    /// The errors at a path of `details`.
    pub fn errors_at(&self, path: &str) -> Vec<String> {
        let json = self.json();
        let details = json["details"].as_array().cloned().unwrap_or_default();
        details
            .iter()
            .filter(|detail| detail["path"] == path)
            .flat_map(|detail| detail["errors"].as_array().cloned().unwrap_or_default())
            .map(|error| error.as_str().unwrap_or_default().to_owned())
            .collect()
    }
}

/// What the master in memory knows.
#[derive(Default)]
pub struct Master {
    pub tasks: BTreeMap<TaskId, TaskInfo>,
    pub kills: Vec<TaskId>,
}

pub struct Marathon {
    pub router: Router,
    pub handle: Handle,
    pub master: Arc<Mutex<Master>>,
    pub store: Store,
    dir: Option<tempfile::TempDir>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Marathon {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

pub const CPUS: &str = "cpus:4;mem:4096;disk:1000;ports:[31000-31999]";

impl Marathon {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(store::Config::single(dir.path(), "127.0.0.1:1")).await.unwrap();
        let mut marathon = Self::over(store, Arc::default()).await;
        marathon.dir = Some(dir);
        marathon
    }

    pub async fn over(store: Store, master: Arc<Mutex<Master>>) -> Self {
        let term = store.leadership().borrow().term;
        let (links, receiver) = mpsc::channel(1);
        let clock = Clock::system();
        let (service, handle) =
            Service::load(store.clone(), term, Config::default(), Rng::new(7), clock, receiver)
                .await
                .unwrap();
        let (calls, from_marathon) = mpsc::channel(10_000);
        let (to_marathon, events) = mpsc::channel(10_000);
        links.send(SchedulerLink { calls, events }).await.unwrap();
        let seen = master.clone();
        let tasks = vec![
            tokio::spawn(async move {
                // The links stay open as long as the service.
                let _links = links;
                run_master(seen, from_marathon, to_marathon).await;
            }),
            tokio::spawn(async move {
                service.run().await.unwrap();
            }),
        ];
        let router = router(handle.clone(), Identity::new("10.0.0.1:8080"));
        Self { router, handle, master, store, dir: None, tasks }
    }

    /// The service is lost, another takes over from the store.
    pub async fn restart(mut self) -> Self {
        let (store, master, dir) = (self.store.clone(), self.master.clone(), self.dir.take());
        drop(self);
        let mut next = Self::over(store, master).await;
        next.dir = dir;
        next
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: head.status, headers: head.headers, body }
    }

    pub async fn call(&self, method: &str, uri: &str, body: impl Into<Body>) -> Answer {
        self.send(Request::builder().method(method).uri(uri).body(body.into()).unwrap()).await
    }

    pub async fn get(&self, uri: &str) -> Answer {
        self.call("GET", uri, "").await
    }

    pub async fn get_as(&self, uri: &str, accept: &str) -> Answer {
        let request = Request::builder().uri(uri).header("Accept", accept);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Creates an app and waits until its deployment is over.
    pub async fn create(&self, body: &str) -> Answer {
        let answer = self.call("POST", "/v2/apps", body.to_owned()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        self.settled().await;
        answer
    }

    pub async fn settled(&self) {
        self.wait_for("no deployment", || self.handle.view().deployments.is_empty()).await;
    }

    pub async fn wait_for(&self, what: &str, mut until: impl FnMut() -> bool) {
        for _ in 0..1000 {
            if until() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("waited 10 s for {what}");
    }
}

fn status(task: &TaskId, state: TaskState) -> SchedulerEvent {
    SchedulerEvent::Update(Box::new(TaskStatus {
        task_id: task.clone(),
        state,
        timestamp: Time::from_millis(1_551_435_330_123),
        source: Source::Executor,
        reason: None,
        message: None,
        agent_id: Some("agent-0".into()),
        uuid: Some(UpdateId(1)),
        container: None,
        check: None,
        data: None,
        executor_id: None,
        healthy: None,
        labels: Vec::new(),
        limitation: None,
        unreachable_since: None,
    }))
}

async fn run_master(
    seen: Arc<Mutex<Master>>,
    mut calls: mpsc::Receiver<SchedulerCall>,
    events: mpsc::Sender<SchedulerEvent>,
) {
    let mut offers = 0;
    while let Some(call) = calls.recv().await {
        let mut answers = Vec::new();
        match call {
            SchedulerCall::Subscribe { .. } => {
                answers.push(SchedulerEvent::Subscribed { framework_id: "framework-0".into() });
            }
            SchedulerCall::Revive { .. } => {
                offers += 1;
                answers.push(offer(offers, &seen.lock().unwrap()));
            }
            SchedulerCall::Accept { operations, .. } => {
                for task in launched(operations) {
                    answers.push(status(&task.id, TaskState::Staging));
                    answers.push(status(&task.id, TaskState::Running));
                    seen.lock().unwrap().tasks.insert(task.id.clone(), task);
                }
            }
            SchedulerCall::Kill { task_id, .. } => {
                let mut seen = seen.lock().unwrap();
                seen.kills.push(task_id.clone());
                if seen.tasks.remove(&task_id).is_some() {
                    answers.push(status(&task_id, TaskState::Killed));
                }
            }
            SchedulerCall::Reconcile { tasks } => {
                for (task, _) in tasks {
                    let known = seen.lock().unwrap().tasks.contains_key(&task);
                    answers.push(status(&task, if known { TaskState::Running } else { TaskState::Unknown }));
                }
            }
            _ => {}
        }
        for answer in answers {
            if events.send(answer).await.is_err() {
                return;
            }
        }
    }
}

fn offer(number: u64, seen: &Master) -> SchedulerEvent {
    let mut resources = Resources::parse(CPUS, &Role::any()).unwrap();
    for task in seen.tasks.values() {
        resources.subtract(&task.resources);
    }
    SchedulerEvent::Offers(vec![Offer {
        id: format!("offer-{number}").into(),
        framework_id: "framework-0".into(),
        agent_id: "agent-0".into(),
        hostname: "host-0".into(),
        ip: "10.0.0.9".into(),
        port: 5051,
        role: Role::any(),
        resources,
        attributes: Vec::new(),
        domain: None,
        executor_ids: Vec::new(),
        unavailability: None,
    }])
}

/// The tasks that an ACCEPT launches.
fn launched(operations: Vec<model::Operation>) -> Vec<TaskInfo> {
    let tasks = operations.into_iter().filter_map(|operation| match operation.kind {
        model::OperationKind::Launch { tasks } => Some(tasks),
        _ => None,
    });
    tasks.flatten().map(|task| task.info).collect()
}
