//! Any message that the model can hold.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use model::agent_api::{AgentToMaster, MasterToAgent, Registration};
use model::scheduler_api::TaskRecord;
use model::task::DiscoveryPort;
use model::{
    AgentCapability, AgentInfo, Attribute, AttributeValue, Capability, Check, CheckStatus, CommandInfo,
    ContainerInfo, ContainerStatus, DiscoveryInfo, DiskInfo, DiskKind, DiskSource, DiskVolume, DrainConfig,
    ExecutorInfo, ExecutorKind, ExecutorRecord, FaultDomain, FrameworkInfo, HealthCheck, KillPolicy, Opaque,
    OperationRecord, OperationState, OperationStatus, Persistence, Principal, Probe, Quantity, Ranges,
    Reason, Reservation, Resource, ResourceName, ResourceOperation, ResourceValue, Resources, Role, Source,
    StatusUpdate, TaskInfo, TaskState, TaskStatus, Time, UpdateId,
};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use crate::numbers::Known;

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9./ -]{0,12}", any::<String>()]
}

fn name<I: From<String> + Debug>() -> impl Strategy<Value = I> {
    "[a-zA-Z0-9._-]{1,20}".prop_map(I::from)
}

fn quantity() -> impl Strategy<Value = Quantity> {
    any::<i64>().prop_map(Quantity::from_milli)
}

fn ranges() -> impl Strategy<Value = Ranges> {
    vec((any::<u64>(), any::<u64>()), 0..4).prop_map(Ranges::new)
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::any()), "[a-z]{1,8}(/[a-z_]{1,8}){0,2}".prop_map(|text| Role::new(text).unwrap())]
}

fn pairs() -> impl Strategy<Value = Vec<(String, Option<String>)>> {
    vec((text(), of(text())), 0..3)
}

fn opaque() -> impl Strategy<Value = Opaque> {
    vec(any::<u8>(), 0..24).prop_map(Opaque::from)
}

fn reservation() -> impl Strategy<Value = Reservation> {
    (role(), any::<bool>(), of(text()), pairs()).prop_map(|(role, dynamic, principal, labels)| Reservation {
        role,
        dynamic,
        principal: principal.map(Principal::from),
        labels,
    })
}

fn resource() -> BoxedStrategy<Resource> {
    let value = prop_oneof![
        quantity().prop_map(ResourceValue::Scalar),
        ranges().prop_map(ResourceValue::Ranges),
        vec(text(), 0..4).prop_map(ResourceValue::Set),
    ];
    let shared = prop_oneof![Just(0), any::<u32>()];
    ("[a-z]{1,6}", value, vec(reservation(), 0..3), of(disk()), any::<bool>(), shared, of(text()))
        .prop_map(|(name, value, reservations, disk, revocable, shared, provider)| Resource {
            name: name.into(),
            value,
            reservations,
            disk: disk.map(Box::new),
            revocable,
            shared,
            provider: provider.map(Arc::from),
        })
        .boxed()
}

fn disk_kind() -> impl Strategy<Value = DiskKind> {
    select(DiskKind::KNOWN)
}

fn disk() -> BoxedStrategy<DiskInfo> {
    let source = (disk_kind(), of(text()), of(text()), of(text()), of(text()), pairs()).prop_map(
        |(kind, root, id, profile, vendor, metadata)| DiskSource {
            kind,
            root,
            id,
            profile,
            vendor,
            metadata,
        },
    );
    let persistence = (text(), of(text()))
        .prop_map(|(id, principal)| Persistence { id, principal: principal.map(Principal::from) });
    let volume = (text(), any::<bool>(), of(text())).prop_map(|(container_path, read_only, host_path)| {
        DiskVolume { container_path, read_only, host_path }
    });
    (of(source), of(persistence), of(volume))
        .prop_map(|(source, persistence, volume)| DiskInfo { source, persistence, volume })
        .boxed()
}

fn resources() -> BoxedStrategy<Resources> {
    vec(resource(), 0..5).prop_map(Resources::from_iter).boxed()
}

fn attribute() -> impl Strategy<Value = Attribute> {
    let value = prop_oneof![
        quantity().prop_map(AttributeValue::Scalar),
        ranges().prop_map(AttributeValue::Ranges),
        vec(text(), 0..4).prop_map(AttributeValue::Set),
        text().prop_map(AttributeValue::Text),
    ];
    (text(), value).prop_map(|(name, value)| Attribute { name, value })
}

fn agent_info() -> BoxedStrategy<AgentInfo> {
    let domain = (text(), text()).prop_map(|(region, zone)| FaultDomain { region, zone });
    let capabilities = vec(select(AgentCapability::KNOWN), 0..4);
    let first = (of(name()), text(), text(), any::<u16>(), resources());
    (first, vec(attribute(), 0..3), of(domain), text(), capabilities)
        .prop_map(|((id, hostname, ip, port, resources), attributes, domain, version, capabilities)| {
            AgentInfo { id, hostname, ip, port, resources, attributes, domain, version, capabilities }
        })
        .boxed()
}

fn framework_info() -> BoxedStrategy<FrameworkInfo> {
    let capabilities = vec(select(Capability::KNOWN), 0..4);
    let filter = vec(btree_map(text().prop_map(ResourceName::from), quantity(), 0..3), 0..3);
    let last = (capabilities, pairs(), btree_map(role(), filter, 0..3));
    let first = (of(name()), text(), text(), vec(role(), 0..3), any::<u64>(), any::<bool>());
    (first, text(), of(text()), of(text()), last)
        .prop_map(
            |(
                (id, name, user, roles, failover_timeout_ms, checkpoint),
                hostname,
                principal,
                webui_url,
                (capabilities, labels, offer_filters),
            )| {
                FrameworkInfo {
                    id,
                    name,
                    user,
                    roles,
                    failover_timeout_ms,
                    checkpoint,
                    hostname,
                    principal: principal.map(Principal::from),
                    webui_url,
                    capabilities,
                    labels,
                    offer_filters,
                }
            },
        )
        .boxed()
}

fn command() -> BoxedStrategy<CommandInfo> {
    (any::<bool>(), of(text()), vec(text(), 0..3), vec((text(), text()), 0..3), of(text()))
        .prop_map(|(shell, value, arguments, environment, user)| CommandInfo {
            shell,
            value,
            arguments,
            environment,
            user,
        })
        .boxed()
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(text(), text(), 0..3)
}

fn discovery() -> BoxedStrategy<DiscoveryInfo> {
    let port = (any::<u16>(), of(text()), text(), labels())
        .prop_map(|(number, name, protocol, labels)| DiscoveryPort { number, name, protocol, labels });
    (text(), vec(port, 0..3)).prop_map(|(name, ports)| DiscoveryInfo { name, ports }).boxed()
}

fn policy() -> impl Strategy<Value = KillPolicy> {
    any::<u64>().prop_map(|grace_ms| KillPolicy { grace_ms })
}

fn container() -> impl Strategy<Value = ContainerInfo> {
    (of(text()), any::<bool>()).prop_map(|(image, force_pull)| ContainerInfo { image, force_pull })
}

fn executor() -> BoxedStrategy<ExecutorInfo> {
    let first = (name(), of(select(ExecutorKind::KNOWN)), of(name()), resources(), of(command()));
    let second = (of(container()), text(), text(), pairs(), of(any::<u64>()), of(opaque()));
    (first, second)
        .prop_map(
            |(
                (id, kind, framework_id, resources, command),
                (container, name, source, labels, shutdown_grace_ms, raw),
            )| ExecutorInfo {
                id,
                kind,
                framework_id,
                resources,
                command,
                container,
                name,
                source,
                labels,
                shutdown_grace_ms,
                raw,
            },
        )
        .boxed()
}

fn executor_record() -> BoxedStrategy<ExecutorRecord> {
    (name(), name(), executor(), role())
        .prop_map(|(framework_id, agent_id, info, role)| ExecutorRecord {
            framework_id,
            agent_id,
            info,
            role,
        })
        .boxed()
}

fn task_info() -> BoxedStrategy<TaskInfo> {
    let first = (name(), text(), name(), resources(), command());
    let last = (labels(), of(executor()), of(any::<u64>()), of(opaque()), of(health()), of(look()));
    (first, of(container()), of(policy()), of(discovery()), last)
        .prop_map(
            |(
                (id, name, agent_id, resources, command),
                container,
                kill_policy,
                discovery,
                (labels, executor, max_completion_ms, raw, health_check, check),
            )| TaskInfo {
                id,
                name,
                agent_id,
                resources,
                command,
                container,
                kill_policy,
                discovery,
                labels,
                executor: executor.map(Box::new),
                max_completion_ms,
                health_check: health_check.map(Box::new),
                check: check.map(Box::new),
                raw,
            },
        )
        .boxed()
}

fn probe() -> impl Strategy<Value = Probe> {
    let http = (any::<bool>(), any::<bool>(), any::<u16>(), text());
    prop_oneof![
        command().prop_map(Probe::Command),
        http.prop_map(|(tls, ipv6, port, path)| Probe::Http { tls, ipv6, port, path }),
        (any::<bool>(), any::<u16>()).prop_map(|(ipv6, port)| Probe::Tcp { ipv6, port }),
    ]
}

fn look() -> impl Strategy<Value = Check> {
    (probe(), any::<[u64; 3]>()).prop_map(|(probe, [delay_ms, interval_ms, timeout_ms])| Check {
        probe,
        delay_ms,
        interval_ms,
        timeout_ms,
    })
}

fn health() -> impl Strategy<Value = HealthCheck> {
    (look(), any::<u32>(), any::<u64>()).prop_map(|(check, consecutive_failures, grace_ms)| HealthCheck {
        check,
        consecutive_failures,
        grace_ms,
    })
}

fn state() -> impl Strategy<Value = TaskState> {
    select(TaskState::ALL)
}

fn uuid() -> impl Strategy<Value = UpdateId> {
    any::<u128>().prop_map(UpdateId)
}

fn time() -> impl Strategy<Value = Time> {
    any::<u64>().prop_map(Time::from_millis)
}

fn check() -> impl Strategy<Value = CheckStatus> {
    prop_oneof![
        of(any::<i32>()).prop_map(|exit_code| CheckStatus::Command { exit_code }),
        of(any::<u32>()).prop_map(|status_code| CheckStatus::Http { status_code }),
        of(any::<bool>()).prop_map(|succeeded| CheckStatus::Tcp { succeeded }),
    ]
}

fn status() -> BoxedStrategy<TaskStatus> {
    let container = (name(), text(), of(any::<u32>()), of(opaque()))
        .prop_map(|(container_id, ip, pid, raw)| ContainerStatus { container_id, ip, pid, raw });
    let first = (name(), state(), time(), select(Source::ALL));
    let second = (of(select(Reason::ALL)), of(text()), of(name()), of(uuid()), of(container));
    let third = (of(name()), of(opaque()), of(any::<bool>()), of(check()), pairs());
    (first, second, third, of(resources()), of(time()))
        .prop_map(
            |(
                (task_id, state, timestamp, source),
                (reason, message, agent_id, uuid, container),
                (executor_id, data, healthy, check, labels),
                limitation,
                unreachable_since,
            )| TaskStatus {
                task_id,
                state,
                timestamp,
                source,
                reason,
                message,
                agent_id,
                uuid,
                executor_id,
                data,
                healthy,
                check,
                labels,
                limitation,
                unreachable_since,
                container,
            },
        )
        .boxed()
}

fn record() -> BoxedStrategy<TaskRecord> {
    (name(), task_info(), of(role()), state(), vec(status(), 0..3))
        .prop_map(|(framework_id, info, role, state, statuses)| TaskRecord {
            framework_id,
            info,
            role,
            state,
            statuses,
        })
        .boxed()
}

fn operation() -> BoxedStrategy<ResourceOperation> {
    prop_oneof![
        (resources(), resources())
            .prop_map(|(source, resources)| ResourceOperation::Reserve { source, resources }),
        resources().prop_map(|resources| ResourceOperation::Unreserve { resources }),
        resources().prop_map(|volumes| ResourceOperation::Create { volumes }),
        resources().prop_map(|volumes| ResourceOperation::Destroy { volumes }),
        (resource(), resource())
            .prop_map(|(volume, addition)| ResourceOperation::GrowVolume { volume, addition }),
        (resource(), quantity())
            .prop_map(|(volume, subtract)| ResourceOperation::ShrinkVolume { volume, subtract }),
        (resource(), disk_kind(), of(text())).prop_map(|(source, target, profile)| {
            ResourceOperation::CreateDisk { source, target, profile }
        }),
        resource().prop_map(|source| ResourceOperation::DestroyDisk { source }),
    ]
    .boxed()
}

fn operation_status() -> BoxedStrategy<OperationStatus> {
    let first = (of(name()), select(OperationState::ALL), of(text()), resources());
    (first, of(uuid()), of(name()), of(text()))
        .prop_map(|((operation_id, state, message, converted), uuid, agent_id, provider)| OperationStatus {
            operation_id,
            state,
            message,
            converted,
            uuid,
            agent_id,
            provider,
        })
        .boxed()
}

fn operation_record() -> BoxedStrategy<OperationRecord> {
    let first = (uuid(), of(name()), of(name()), operation(), of(role()));
    (first, operation_status(), vec(operation_status(), 0..3))
        .prop_map(|((uuid, framework_id, id, operation, role), latest, statuses)| OperationRecord {
            uuid,
            framework_id,
            id,
            operation,
            role,
            latest,
            statuses,
        })
        .boxed()
}

fn drain() -> impl Strategy<Value = DrainConfig> {
    (of(any::<u64>()), any::<bool>())
        .prop_map(|(max_grace_ms, mark_gone)| DrainConfig { max_grace_ms, mark_gone })
}

fn registration() -> BoxedStrategy<Registration> {
    let lists = (vec(framework_info(), 0..3), vec(executor_record(), 0..2), vec(record(), 0..3));
    (agent_info(), lists, vec(operation_record(), 0..2), of(drain()))
        .prop_map(|(info, (frameworks, executors, tasks), operations, drain)| Registration {
            info,
            frameworks,
            executors,
            tasks,
            operations,
            drain,
        })
        .boxed()
}

pub(super) fn from_agent() -> impl Strategy<Value = AgentToMaster> {
    prop_oneof![
        registration().prop_map(|registration| AgentToMaster::Register(Box::new(registration))),
        (name(), name(), status(), state()).prop_map(|(framework_id, agent_id, status, latest_state)| {
            AgentToMaster::Update(Box::new(StatusUpdate { framework_id, agent_id, status, latest_state }))
        }),
        (uuid(), of(name()), operation_status()).prop_map(|(uuid, framework_id, status)| {
            AgentToMaster::OperationUpdate { uuid, framework_id, status: Box::new(status) }
        }),
        (name(), name(), opaque()).prop_map(|(framework_id, executor_id, data)| AgentToMaster::Message {
            framework_id,
            executor_id,
            data
        }),
        (name(), name(), of(any::<i32>())).prop_map(|(framework_id, executor_id, status)| {
            AgentToMaster::ExecutorExited { framework_id, executor_id, status }
        }),
        Just(AgentToMaster::Unregister),
    ]
}

pub(super) fn from_master() -> impl Strategy<Value = MasterToAgent> {
    prop_oneof![
        name().prop_map(|agent_id| MasterToAgent::Registered { agent_id }),
        (framework_info(), role(), task_info()).prop_map(|(framework, role, task)| MasterToAgent::RunTask {
            framework: Box::new(framework),
            role,
            task: Box::new(task),
        }),
        (framework_info(), role(), executor(), vec(task_info(), 0..3)).prop_map(
            |(framework, role, executor, tasks)| MasterToAgent::RunGroup {
                framework: Box::new(framework),
                role,
                executor: Box::new(executor),
                tasks,
            }
        ),
        (name(), name(), of(policy())).prop_map(|(framework_id, task_id, kill_policy)| {
            MasterToAgent::KillTask { framework_id, task_id, kill_policy }
        }),
        (name(), name(), uuid()).prop_map(|(framework_id, task_id, uuid)| MasterToAgent::Acknowledge {
            framework_id,
            task_id,
            uuid
        }),
        vec((name(), name()), 0..4).prop_map(|tasks| MasterToAgent::Reconcile { tasks }),
        vec((uuid(), of(name())), 0..4)
            .prop_map(|operations| MasterToAgent::ReconcileOperations { operations }),
        (name(), name()).prop_map(|(framework_id, executor_id)| MasterToAgent::ShutdownExecutor {
            framework_id,
            executor_id
        }),
        name().prop_map(|framework_id| MasterToAgent::ShutdownFramework { framework_id }),
        framework_info()
            .prop_map(|framework| MasterToAgent::UpdateFramework { framework: Box::new(framework) }),
        (name(), name(), opaque()).prop_map(|(framework_id, executor_id, data)| MasterToAgent::Message {
            framework_id,
            executor_id,
            data
        }),
        operation_record()
            .prop_map(|operation| MasterToAgent::ApplyOperation { operation: Box::new(operation) }),
        (uuid(), uuid())
            .prop_map(|(uuid, status_uuid)| MasterToAgent::AcknowledgeOperation { uuid, status_uuid }),
        drain().prop_map(|config| MasterToAgent::Drain { config }),
        Just(MasterToAgent::Reactivate),
        text().prop_map(|message| MasterToAgent::Shutdown { message }),
    ]
}
