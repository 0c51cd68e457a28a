//! One message of every case with every field set: what the corpus is made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::agent_api::{AgentToMaster, MasterToAgent, Registration};
use model::scheduler_api::TaskRecord;
use model::task::DiscoveryPort;
use model::{
    AgentCapability, AgentInfo, Attribute, AttributeValue, Capability, CheckStatus, CommandInfo,
    ContainerInfo, ContainerStatus, DiscoveryInfo, DiskInfo, DiskKind, DiskSource, DiskVolume, DrainConfig,
    ExecutorInfo, ExecutorKind, ExecutorRecord, FaultDomain, FrameworkInfo, KillPolicy, Opaque,
    OperationRecord, OperationState, OperationStatus, Persistence, Quantity, Ranges, Reason, Reservation,
    Resource, ResourceOperation, ResourceValue, Resources, Role, Source, StatusUpdate, TaskInfo, TaskState,
    TaskStatus, Time, UpdateId,
};

fn role() -> Role {
    Role::new("eng/web").unwrap()
}

fn pairs() -> Vec<(String, Option<String>)> {
    vec![("k".into(), Some("v".into())), ("bare".into(), None)]
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("a".into(), "1".into()), ("b".into(), "2".into())])
}

fn bytes() -> Option<Opaque> {
    Some(Opaque::new(&[0, 255, 7]))
}

fn uuid(number: u128) -> UpdateId {
    UpdateId(0x0102_0304_0506_4708_890a_0b0c_0d0e_0f00 + number)
}

fn volume() -> Resource {
    let reservation =
        Reservation { role: role(), dynamic: true, principal: Some("alice".into()), labels: pairs() };
    Resource {
        disk: Some(Box::new(DiskInfo {
            source: Some(DiskSource {
                kind: DiskKind::Mount,
                root: Some("/mnt".into()),
                id: Some("id".into()),
                profile: Some("fast".into()),
                vendor: Some("acme".into()),
                metadata: pairs(),
            }),
            persistence: Some(Persistence { id: "p".into(), principal: Some("alice".into()) }),
            volume: Some(DiskVolume {
                container_path: "data".into(),
                read_only: true,
                host_path: Some("/h".into()),
            }),
        })),
        revocable: true,
        shared: 3,
        provider: Some(Arc::from("provider")),
        ..Resource::scalar("disk", Quantity::from_units(64)).reserved(reservation)
    }
}

fn resources() -> Resources {
    Resources::from_iter([
        Resource::scalar("cpus", Quantity::from_milli(1_500)),
        Resource::ranges("ports", Ranges::new([(1_000, 2_000), (31_000, 32_000)])),
        Resource::new("zones", ResourceValue::Set(vec!["a".into(), "b".into()])),
        volume(),
    ])
}

fn agent() -> AgentInfo {
    let attribute = |name: &str, value| Attribute { name: name.into(), value };
    AgentInfo {
        id: Some("agent-1".into()),
        hostname: "node.example".into(),
        ip: "10.0.0.1".into(),
        port: 5_051,
        resources: resources(),
        attributes: vec![
            attribute("rack", AttributeValue::Text("r1".into())),
            attribute("speed", AttributeValue::Scalar(Quantity::from_milli(-2_500))),
            attribute("slots", AttributeValue::Ranges(Ranges::new([(1, 4)]))),
            attribute("kinds", AttributeValue::Set(vec!["ssd".into()])),
        ],
        domain: Some(FaultDomain { region: "r".into(), zone: "z".into() }),
        version: "1".into(),
        capabilities: AgentCapability::ALL.to_vec(),
    }
}

fn framework() -> FrameworkInfo {
    let amounts = |milli| BTreeMap::from([("cpus".into(), Quantity::from_milli(milli))]);
    FrameworkInfo {
        id: Some("framework-1".into()),
        name: "web".into(),
        user: "nobody".into(),
        roles: vec![Role::any(), role()],
        failover_timeout_ms: 604_800_000,
        checkpoint: true,
        hostname: "scheduler.example".into(),
        principal: Some("alice".into()),
        webui_url: Some("http://scheduler.example".into()),
        capabilities: Capability::ALL.to_vec(),
        labels: pairs(),
        offer_filters: BTreeMap::from([(role(), vec![amounts(1_000), amounts(10)]), (Role::any(), vec![])]),
    }
}

fn command() -> CommandInfo {
    CommandInfo {
        shell: true,
        value: Some("exec sleep 1000".into()),
        arguments: vec!["a".into(), String::new()],
        environment: vec![("PATH".into(), "/bin".into()), ("X".into(), String::new())],
        user: Some("nobody".into()),
    }
}

fn container() -> ContainerInfo {
    ContainerInfo { image: Some("busybox:1".into()), force_pull: true }
}

fn executor() -> ExecutorInfo {
    ExecutorInfo {
        id: "executor-1".into(),
        kind: Some(ExecutorKind::Custom),
        framework_id: Some("framework-1".into()),
        resources: resources(),
        command: Some(command()),
        container: Some(container()),
        name: "runner".into(),
        source: "src".into(),
        labels: pairs(),
        shutdown_grace_ms: Some(5_000),
        raw: bytes(),
    }
}

fn task() -> TaskInfo {
    TaskInfo {
        id: "task-1".into(),
        name: "web".into(),
        agent_id: "agent-1".into(),
        resources: resources(),
        command: command(),
        executor: Some(Box::new(executor())),
        container: Some(container()),
        kill_policy: Some(KillPolicy { grace_ms: 3_000 }),
        discovery: Some(DiscoveryInfo {
            name: "web".into(),
            ports: vec![DiscoveryPort {
                number: 80,
                name: Some("http".into()),
                protocol: "tcp".into(),
                labels: labels(),
            }],
        }),
        labels: labels(),
        max_completion_ms: Some(60_000),
        health_check: None,
        check: None,
        raw: bytes(),
    }
}

fn status(check: CheckStatus) -> TaskStatus {
    TaskStatus {
        reason: Some(Reason::TaskCheckStatusUpdated),
        message: Some("checked".into()),
        agent_id: Some("agent-1".into()),
        uuid: Some(uuid(1)),
        executor_id: Some("executor-1".into()),
        data: bytes(),
        healthy: Some(false),
        check: Some(check),
        labels: pairs(),
        limitation: Some(Resources::new()),
        unreachable_since: Some(Time::from_millis(1_700_000_000_000)),
        container: Some(ContainerStatus {
            container_id: "c.d".into(),
            ip: "10.0.0.9".into(),
            pid: Some(99),
            raw: bytes(),
        }),
        ..TaskStatus::new(
            "task-1".into(),
            TaskState::Running,
            Time::from_millis(1_700_000_000_123),
            Source::Executor,
        )
    }
}

fn statuses() -> Vec<TaskStatus> {
    vec![
        status(CheckStatus::Command { exit_code: Some(-1) }),
        status(CheckStatus::Http { status_code: Some(200) }),
        status(CheckStatus::Tcp { succeeded: Some(true) }),
        status(CheckStatus::Tcp { succeeded: None }),
    ]
}

fn operation_status() -> OperationStatus {
    OperationStatus {
        operation_id: Some("operation-1".into()),
        state: OperationState::Finished,
        message: Some("done".into()),
        converted: resources(),
        uuid: Some(uuid(2)),
        agent_id: Some("agent-1".into()),
        provider: Some("provider".into()),
    }
}

fn operations() -> Vec<ResourceOperation> {
    vec![
        ResourceOperation::Reserve { source: resources(), resources: resources() },
        ResourceOperation::Unreserve { resources: resources() },
        ResourceOperation::Create { volumes: resources() },
        ResourceOperation::Destroy { volumes: resources() },
        ResourceOperation::GrowVolume { volume: volume(), addition: volume() },
        ResourceOperation::ShrinkVolume { volume: volume(), subtract: Quantity::from_milli(500) },
        ResourceOperation::CreateDisk {
            source: volume(),
            target: DiskKind::Block,
            profile: Some("fast".into()),
        },
        ResourceOperation::DestroyDisk { source: volume() },
    ]
}

fn record(operation: ResourceOperation) -> OperationRecord {
    OperationRecord {
        uuid: uuid(3),
        framework_id: Some("framework-1".into()),
        id: Some("operation-1".into()),
        operation,
        role: Some(role()),
        latest: operation_status(),
        statuses: vec![operation_status()],
    }
}

pub(super) fn from_agent() -> Vec<AgentToMaster> {
    vec![
        AgentToMaster::Register(Box::new(Registration {
            info: agent(),
            frameworks: vec![framework()],
            executors: vec![ExecutorRecord {
                framework_id: "framework-1".into(),
                agent_id: "agent-1".into(),
                info: executor(),
                role: role(),
            }],
            tasks: vec![TaskRecord {
                framework_id: "framework-1".into(),
                info: task(),
                role: Some(role()),
                state: TaskState::Running,
                statuses: statuses(),
            }],
            operations: operations().into_iter().map(record).collect(),
            drain: Some(DrainConfig { max_grace_ms: Some(1), mark_gone: true }),
        })),
        AgentToMaster::Update(Box::new(StatusUpdate {
            framework_id: "framework-1".into(),
            agent_id: "agent-1".into(),
            status: status(CheckStatus::Http { status_code: None }),
            latest_state: TaskState::Killing,
        })),
        AgentToMaster::OperationUpdate {
            uuid: uuid(3),
            framework_id: Some("framework-1".into()),
            status: Box::new(operation_status()),
        },
        AgentToMaster::Message {
            framework_id: "framework-1".into(),
            executor_id: "executor-1".into(),
            data: Opaque::new(b"hello"),
        },
        AgentToMaster::ExecutorExited {
            framework_id: "framework-1".into(),
            executor_id: "executor-1".into(),
            status: Some(-9),
        },
        AgentToMaster::Unregister,
    ]
}

pub(super) fn from_master() -> Vec<MasterToAgent> {
    let (framework_id, task_id) = ("framework-1".into(), "task-1".into());
    let messages = [
        MasterToAgent::Registered { agent_id: "agent-1".into() },
        MasterToAgent::RunTask { framework: Box::new(framework()), role: role(), task: Box::new(task()) },
        MasterToAgent::RunGroup {
            framework: Box::new(framework()),
            role: role(),
            executor: Box::new(executor()),
            tasks: vec![task(), task()],
        },
        MasterToAgent::KillTask {
            framework_id: "framework-1".into(),
            task_id: "task-1".into(),
            kill_policy: Some(KillPolicy { grace_ms: 0 }),
        },
        MasterToAgent::Acknowledge {
            framework_id: "framework-1".into(),
            task_id: "task-1".into(),
            uuid: uuid(1),
        },
        MasterToAgent::Reconcile { tasks: vec![(framework_id, task_id)] },
        MasterToAgent::ReconcileOperations {
            operations: vec![(uuid(3), Some("framework-1".into())), (uuid(4), None)],
        },
        MasterToAgent::ShutdownExecutor {
            framework_id: "framework-1".into(),
            executor_id: "executor-1".into(),
        },
        MasterToAgent::ShutdownFramework { framework_id: "framework-1".into() },
        MasterToAgent::UpdateFramework { framework: Box::new(framework()) },
        MasterToAgent::Message {
            framework_id: "framework-1".into(),
            executor_id: "executor-1".into(),
            data: Opaque::new(&[]),
        },
        MasterToAgent::AcknowledgeOperation { uuid: uuid(3), status_uuid: uuid(2) },
        MasterToAgent::Drain { config: DrainConfig { max_grace_ms: None, mark_gone: true } },
        MasterToAgent::Reactivate,
        MasterToAgent::Shutdown { message: "gone for good".into() },
    ];
    let apply = |operation| MasterToAgent::ApplyOperation { operation: Box::new(record(operation)) };
    messages.into_iter().chain(operations().into_iter().map(apply)).collect()
}

/// The case, as the corpus names it; a new case does not compile until it has a sample to be named by.
pub(super) fn case_of_agent(message: &AgentToMaster) -> &'static str {
    match message {
        AgentToMaster::Register(_) => "register",
        AgentToMaster::Update(_) => "update",
        AgentToMaster::OperationUpdate { .. } => "operation_update",
        AgentToMaster::Message { .. } => "message",
        AgentToMaster::ExecutorExited { .. } => "executor_exited",
        AgentToMaster::Unregister => "unregister",
    }
}

pub(super) fn case_of_master(message: &MasterToAgent) -> &'static str {
    match message {
        MasterToAgent::Registered { .. } => "registered",
        MasterToAgent::RunTask { .. } => "run_task",
        MasterToAgent::RunGroup { .. } => "run_group",
        MasterToAgent::KillTask { .. } => "kill_task",
        MasterToAgent::Acknowledge { .. } => "acknowledge",
        MasterToAgent::Reconcile { .. } => "reconcile",
        MasterToAgent::ReconcileOperations { .. } => "reconcile_operations",
        MasterToAgent::ShutdownExecutor { .. } => "shutdown_executor",
        MasterToAgent::ShutdownFramework { .. } => "shutdown_framework",
        MasterToAgent::UpdateFramework { .. } => "update_framework",
        MasterToAgent::Message { .. } => "message",
        MasterToAgent::ApplyOperation { operation } => match operation.operation {
            ResourceOperation::Reserve { .. } => "apply_reserve",
            ResourceOperation::Unreserve { .. } => "apply_unreserve",
            ResourceOperation::Create { .. } => "apply_create",
            ResourceOperation::Destroy { .. } => "apply_destroy",
            ResourceOperation::GrowVolume { .. } => "apply_grow_volume",
            ResourceOperation::ShrinkVolume { .. } => "apply_shrink_volume",
            ResourceOperation::CreateDisk { .. } => "apply_create_disk",
            ResourceOperation::DestroyDisk { .. } => "apply_destroy_disk",
        },
        MasterToAgent::AcknowledgeOperation { .. } => "acknowledge_operation",
        MasterToAgent::Drain { .. } => "drain",
        MasterToAgent::Reactivate => "reactivate",
        MasterToAgent::Shutdown { .. } => "shutdown",
    }
}
