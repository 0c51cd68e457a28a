//! There and back, hostile bytes, and messages of the future.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use model::agent_api::{AgentToMaster, MasterToAgent};
use model::scheduler_api::TaskRecord;
use model::task::{ContainerStatus, DiscoveryPort};
use model::{
    AgentInfo, Attribute, AttributeValue, Capability, CommandInfo, ContainerInfo, DiscoveryInfo, FaultDomain,
    FrameworkInfo, KillPolicy, Principal, Quantity, Ranges, Reason, Reservation, Resource, ResourceValue,
    Resources, Role, Source, StatusUpdate, TaskInfo, TaskState, TaskStatus, Time, UpdateId,
};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use prost::Message;

use crate::numbers::{Known, Numbered};
use crate::wire::{agent_frame, master_frame};
use crate::{AgentFrame, DecodeError, MasterFrame, PROTOCOL_VERSION, wire};

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

fn reservation() -> impl Strategy<Value = Reservation> {
    (role(), any::<bool>(), of(text()), vec((text(), of(text())), 0..3)).prop_map(
        |(role, dynamic, principal, labels)| Reservation {
            role,
            dynamic,
            principal: principal.map(Principal::from),
            labels,
        },
    )
}

fn resource() -> impl Strategy<Value = Resource> {
    let value = prop_oneof![
        quantity().prop_map(ResourceValue::Scalar),
        ranges().prop_map(ResourceValue::Ranges),
        vec(text(), 0..4).prop_map(ResourceValue::Set),
    ];
    ("[a-z]{1,6}", value, vec(reservation(), 0..3))
        .prop_map(|(name, value, reservations)| Resource { reservations, ..Resource::new(&name, value) })
}

fn resources() -> impl Strategy<Value = Resources> {
    vec(resource(), 0..5).prop_map(Resources::from_iter)
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

fn agent_info() -> impl Strategy<Value = AgentInfo> {
    let domain = (text(), text()).prop_map(|(region, zone)| FaultDomain { region, zone });
    (of(name()), text(), text(), any::<u16>(), resources(), vec(attribute(), 0..3), of(domain), text())
        .prop_map(|(id, hostname, ip, port, resources, attributes, domain, version)| AgentInfo {
            id,
            hostname,
            ip,
            port,
            resources,
            attributes,
            domain,
            version,
            capabilities: Vec::new(),
        })
}

fn framework_info() -> impl Strategy<Value = FrameworkInfo> {
    let capabilities = vec(proptest::sample::select(Capability::KNOWN), 0..4);
    let first = (of(name()), text(), text(), vec(role(), 0..3), any::<u64>(), any::<bool>());
    (first, text(), of(text()), of(text()), capabilities).prop_map(
        |(
            (id, name, user, roles, failover_timeout_ms, checkpoint),
            hostname,
            principal,
            webui_url,
            capabilities,
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
                labels: Vec::new(),
                offer_filters: Default::default(),
            }
        },
    )
}

fn command() -> impl Strategy<Value = CommandInfo> {
    (any::<bool>(), of(text()), vec(text(), 0..3), vec((text(), text()), 0..3), of(text())).prop_map(
        |(shell, value, arguments, environment, user)| CommandInfo {
            shell,
            value,
            arguments,
            environment,
            user,
        },
    )
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(text(), text(), 0..3)
}

fn discovery() -> impl Strategy<Value = DiscoveryInfo> {
    let port = (any::<u16>(), of(text()), text(), labels())
        .prop_map(|(number, name, protocol, labels)| DiscoveryPort { number, name, protocol, labels });
    (text(), vec(port, 0..3)).prop_map(|(name, ports)| DiscoveryInfo { name, ports })
}

fn policy() -> impl Strategy<Value = KillPolicy> {
    any::<u64>().prop_map(|grace_ms| KillPolicy { grace_ms })
}

fn task_info() -> impl Strategy<Value = TaskInfo> {
    let container =
        (of(text()), any::<bool>()).prop_map(|(image, force_pull)| ContainerInfo { image, force_pull });
    let first = (name(), text(), name(), resources(), command());
    (first, of(container), of(policy()), of(discovery()), labels()).prop_map(
        |((id, name, agent_id, resources, command), container, kill_policy, discovery, labels)| TaskInfo {
            id,
            name,
            agent_id,
            resources,
            command,
            container,
            kill_policy,
            discovery,
            labels,
            executor: None,
            max_completion_ms: None,
            raw: None,
        },
    )
}

fn state() -> impl Strategy<Value = TaskState> {
    proptest::sample::select(TaskState::ALL)
}

fn uuid() -> impl Strategy<Value = UpdateId> {
    any::<u128>().prop_map(UpdateId)
}

fn status() -> impl Strategy<Value = TaskStatus> {
    let container = (name(), text(), of(any::<u32>())).prop_map(|(container_id, ip, pid)| ContainerStatus {
        container_id,
        ip,
        pid,
        raw: None,
    });
    let source = proptest::sample::select(Source::ALL);
    let first = (name(), state(), any::<u64>().prop_map(Time::from_millis), source);
    let reason = proptest::sample::select(Reason::ALL);
    (first, of(reason), of(text()), of(name()), of(uuid()), of(container)).prop_map(
        |((task_id, state, timestamp, source), reason, message, agent_id, uuid, container)| TaskStatus {
            task_id,
            state,
            timestamp,
            source,
            reason,
            message,
            agent_id,
            uuid,
            container,
            check: None,
            data: None,
            executor_id: None,
            healthy: None,
            labels: Vec::new(),
            limitation: None,
            unreachable_since: None,
        },
    )
}

fn record() -> impl Strategy<Value = TaskRecord> {
    (name(), task_info(), state(), vec(status(), 0..3)).prop_map(|(framework_id, info, state, statuses)| {
        TaskRecord { framework_id, info, state, statuses, role: None }
    })
}

fn from_agent() -> impl Strategy<Value = AgentToMaster> {
    prop_oneof![
        (agent_info(), vec(framework_info(), 0..3), vec(record(), 0..3)).prop_map(
            |(info, frameworks, tasks)| {
                AgentToMaster::Register(Box::new(model::agent_api::Registration {
                    info,
                    frameworks,
                    executors: Vec::new(),
                    tasks,
                    operations: Vec::new(),
                    drain: None,
                }))
            }
        ),
        (name(), name(), status(), state()).prop_map(|(framework_id, agent_id, status, latest_state)| {
            AgentToMaster::Update(Box::new(StatusUpdate { framework_id, agent_id, status, latest_state }))
        }),
    ]
}

fn from_master() -> impl Strategy<Value = MasterToAgent> {
    prop_oneof![
        name().prop_map(|agent_id| MasterToAgent::Registered { agent_id }),
        (framework_info(), task_info()).prop_map(|(framework, task)| MasterToAgent::RunTask {
            framework: Box::new(framework),
            task: Box::new(task),
            role: Role::any()
        }),
        (name(), name(), of(policy())).prop_map(|(framework_id, task_id, kill_policy)| {
            MasterToAgent::KillTask { framework_id, task_id, kill_policy }
        }),
        (name(), name(), uuid()).prop_map(|(framework_id, task_id, uuid)| MasterToAgent::Acknowledge {
            framework_id,
            task_id,
            uuid
        }),
        vec((name(), name()), 0..4).prop_map(|tasks| MasterToAgent::Reconcile { tasks }),
        name().prop_map(|framework_id| MasterToAgent::ShutdownFramework { framework_id }),
        text().prop_map(|message| MasterToAgent::Shutdown { message }),
    ]
}

fn decode_agent(bytes: &[u8]) -> Result<AgentToMaster, DecodeError> {
    AgentToMaster::try_from(AgentFrame::decode(bytes).unwrap())
}

fn decode_master(bytes: &[u8]) -> Result<MasterToAgent, DecodeError> {
    MasterToAgent::try_from(MasterFrame::decode(bytes).unwrap())
}

proptest! {
    #[test]
    fn agent_messages_survive_the_way(message in from_agent()) {
        let bytes = AgentFrame::from(message.clone()).encode_to_vec();
        prop_assert_eq!(decode_agent(&bytes).unwrap(), message);
    }

    #[test]
    fn master_messages_survive_the_way(message in from_master()) {
        let bytes = MasterFrame::from(message.clone()).encode_to_vec();
        prop_assert_eq!(decode_master(&bytes).unwrap(), message);
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..512)) {
        let _ = AgentFrame::decode(&*bytes).map(AgentToMaster::try_from);
        let _ = MasterFrame::decode(&*bytes).map(MasterToAgent::try_from);
    }

    /// Arbitrary bytes rarely pass the outer layer; damaged real messages do.
    #[test]
    fn no_damage_panics(message in from_agent(), other in from_master(), hits in vec((any::<u32>(), any::<u8>()), 1..8)) {
        let damage = |mut bytes: Vec<u8>| {
            for (at, value) in &hits {
                let len = bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(*at as usize % len) {
                    *byte = *value;
                }
            }
            bytes
        };
        let _ = AgentFrame::decode(&*damage(AgentFrame::from(message).encode_to_vec())).map(AgentToMaster::try_from);
        let _ = MasterFrame::decode(&*damage(MasterFrame::from(other).encode_to_vec())).map(MasterToAgent::try_from);
    }

    #[test]
    fn fields_of_the_future_are_ignored(message in from_agent()) {
        let mut bytes = AgentFrame::from(message.clone()).encode_to_vec();
        // Field 1000, a text; then field 1001, a varint.
        bytes.extend([0xc2, 0x3e, 3, b'n', b'e', b'w', 0xc8, 0x3e, 42]);
        prop_assert_eq!(decode_agent(&bytes).unwrap(), message);
    }
}

/// What a later version might send: nested new fields, a new reason, a new capability.
mod future {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Frame {
        #[prost(message, optional, tag = "2")]
        pub update: Option<Update>,
        #[prost(message, optional, tag = "900")]
        pub brand_new: Option<Update>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Update {
        #[prost(string, tag = "1")]
        pub framework_id: String,
        #[prost(string, tag = "2")]
        pub agent_id: String,
        #[prost(message, optional, tag = "5")]
        pub status: Option<Status>,
        #[prost(int32, tag = "6")]
        pub latest_state: i32,
        #[prost(string, tag = "77")]
        pub note: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Status {
        #[prost(string, tag = "1")]
        pub task_id: String,
        #[prost(int32, tag = "2")]
        pub state: i32,
        #[prost(uint64, tag = "3")]
        pub timestamp_ms: u64,
        #[prost(int32, tag = "4")]
        pub source: i32,
        #[prost(int32, optional, tag = "5")]
        pub reason: Option<i32>,
        #[prost(bool, tag = "99")]
        pub healthy: bool,
    }

    pub fn update() -> Update {
        Update {
            framework_id: "f".into(),
            agent_id: "a".into(),
            status: Some(Status {
                task_id: "t".into(),
                state: 3,
                timestamp_ms: 7,
                source: 2,
                reason: Some(30_000),
                healthy: true,
            }),
            latest_state: 3,
            note: "from tomorrow".into(),
        }
    }
}

#[test]
fn a_newer_update_is_understood_without_what_is_new() {
    let bytes = future::Frame { update: Some(future::update()), brand_new: None }.encode_to_vec();
    let AgentToMaster::Update(update) = decode_agent(&bytes).unwrap() else { panic!("not an update") };
    assert_eq!((update.status.state, update.status.reason), (TaskState::Running, None));
}

#[test]
fn an_unknown_message_is_skipped_not_fatal() {
    let bytes = future::Frame { update: None, brand_new: Some(future::update()) }.encode_to_vec();
    assert!(decode_agent(&bytes).unwrap_err().is_unknown());
    assert!(decode_master(&bytes[..0]).unwrap_err().is_unknown());
}

#[test]
fn an_unknown_state_is_reported_with_its_place() {
    let mut update = future::update();
    update.status.as_mut().unwrap().state = 555;
    let bytes = future::Frame { update: Some(update), brand_new: None }.encode_to_vec();
    let error = decode_agent(&bytes).unwrap_err();
    assert!(error.is_unknown());
    assert_eq!(
        error.to_string(),
        "field update.status.state has number 555, which this version does not know; \
         skip the message or upgrade this node"
    );
}

fn register(change: impl FnOnce(&mut wire::Register)) -> Result<AgentToMaster, DecodeError> {
    let mut register = wire::Register {
        version: PROTOCOL_VERSION,
        version_oldest: 1,
        info: Some(wire::AgentInfo::default()),
        ..Default::default()
    };
    change(&mut register);
    AgentToMaster::try_from(AgentFrame { message: Some(agent_frame::Message::Register(Box::new(register))) })
}

#[test]
fn errors_name_the_field() {
    let missing = |field: &str| DecodeError::Missing { field: field.to_owned() };
    assert!(register(|_| {}).is_ok());
    assert_eq!(register(|r| r.info = None), Err(missing("register.info")));
    assert_eq!(register(|r| r.version = 0), Err(missing("register.version")));
    assert_eq!(
        register(|r| r.tasks = vec![wire::TaskRecord::default()]),
        Err(missing("register.tasks[0].framework_id"))
    );
    let port = register(|r| r.info.as_mut().unwrap().port = 65_536).unwrap_err();
    assert_eq!(
        port.to_string(),
        "field register.info.port is 65536, which is out of range; allowed is 0 to 65535"
    );
    let role = register(|r| {
        r.frameworks = vec![wire::FrameworkInfo { roles: vec!["a//b".into()], ..Default::default() }]
    });
    assert!(
        role.unwrap_err().to_string().starts_with("field register.frameworks[0].roles[0].role is \"a//b\"")
    );
}

#[test]
fn versions_are_compared() {
    assert!(register(|r| r.version = 9).is_ok(), "a newer peer that accepts us is welcome");
    let error = register(|r| (r.version, r.version_oldest) = (9, 5)).unwrap_err();
    assert_eq!(error, DecodeError::TooOld { spoken: 9, oldest: 5, ours: PROTOCOL_VERSION });
    assert!(!error.is_unknown());
}

#[test]
fn a_uuid_has_sixteen_bytes() {
    for (length, good) in [(0, false), (15, false), (16, true), (17, false)] {
        let acknowledge = wire::Acknowledge {
            framework_id: "f".into(),
            task_id: "t".into(),
            uuid: std::iter::repeat_n(1, length).collect(),
        };
        let frame = MasterFrame { message: Some(master_frame::Message::Acknowledge(acknowledge)) };
        assert_eq!(MasterToAgent::try_from(frame).is_ok(), good, "{length} bytes");
    }
}

#[test]
fn ranges_are_in_order() {
    let range = wire::Range { begin: 5, end: 4 };
    let resource = wire::Resource {
        name: "ports".into(),
        value: Some(wire::resource::Value::Ranges(wire::Ranges { ranges: vec![range] })),
        reservations: Vec::new(),
    };
    let error = register(|r| r.info.as_mut().unwrap().resources = vec![resource]).unwrap_err();
    assert!(
        matches!(error, DecodeError::OutOfRange { field, .. } if field == "register.info.resources[0].ranges")
    );
}

#[test]
fn numbers_are_unique_and_never_zero() {
    fn check<E: Numbered + Known + PartialEq + Debug>() {
        let mut seen = BTreeSet::new();
        for value in E::KNOWN {
            let number = value.number();
            assert!(number > 0 && seen.insert(number), "{value:?} has number {number}");
            assert_eq!(E::from_number(number), Some(*value));
        }
        assert_eq!(E::from_number(0), None);
    }
    check::<TaskState>();
    check::<Source>();
    check::<Reason>();
    check::<Capability>();
    assert_eq!(TaskState::KNOWN.len(), TaskState::ALL.len());
}

/// Bytes of the first version: a change here breaks running clusters.
#[test]
fn bytes_are_stable() {
    let message = MasterToAgent::Acknowledge {
        framework_id: "f".into(),
        task_id: "t".into(),
        uuid: UpdateId(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f),
    };
    let expected = [
        0x22, 24, 0x0a, 1, b'f', 0x12, 1, b't', 0x1a, 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
        15,
    ];
    assert_eq!(MasterFrame::from(message).encode_to_vec(), expected);

    let update = AgentToMaster::Update(Box::new(StatusUpdate {
        framework_id: "f".into(),
        agent_id: "a".into(),
        status: TaskStatus {
            task_id: "t".into(),
            state: TaskState::Running,
            timestamp: Time::from_millis(5),
            source: Source::Executor,
            reason: Some(Reason::TaskUnknown),
            message: None,
            agent_id: None,
            uuid: None,
            container: None,
            check: None,
            data: None,
            executor_id: None,
            healthy: None,
            labels: Vec::new(),
            limitation: None,
            unreachable_since: None,
        },
        latest_state: TaskState::Finished,
    }));
    let expected = [
        0x12, 21, 0x0a, 1, b'f', 0x12, 1, b'a', 0x2a, 11, 0x0a, 1, b't', 0x10, 3, 0x18, 5, 0x20, 3, 0x28, 42,
        0x30, 10,
    ];
    assert_eq!(AgentFrame::from(update).encode_to_vec(), expected);
}
