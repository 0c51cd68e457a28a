//! There and back, hostile bytes, and messages of the future.

mod corpus;
mod samples;
mod strategies;

use std::collections::BTreeSet;
use std::fmt::Debug;

use model::agent_api::{AgentToMaster, MasterToAgent};
use model::{
    AgentCapability, Capability, DiskKind, ExecutorKind, OperationState, Reason, Source, StatusUpdate,
    TaskState, TaskStatus, Time, UpdateId,
};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use self::strategies::{from_agent, from_master};
use crate::numbers::{Known, Numbered};
use crate::wire::{agent_frame, master_frame};
use crate::{AgentFrame, DecodeError, MasterFrame, PROTOCOL_VERSION, wire};

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

fn resource(change: impl FnOnce(&mut wire::Resource)) -> wire::Resource {
    let mut resource = wire::Resource {
        name: "disk".into(),
        value: Some(wire::resource::Value::ScalarMilli(1)),
        ..Default::default()
    };
    change(&mut resource);
    resource
}

#[test]
fn a_new_kind_of_disk_or_operation_is_refused_with_its_place() {
    let unknown = |result: Result<AgentToMaster, DecodeError>, place: &str| {
        let error = result.unwrap_err();
        assert!(error.is_unknown() && error.to_string().starts_with(place), "{error}");
    };
    let disk = wire::DiskInfo {
        source: Some(wire::DiskSource { kind: 9, ..Default::default() }),
        ..Default::default()
    };
    let disk = resource(|r| r.disk = Some(Box::new(disk)));
    unknown(
        register(|r| r.info.as_mut().unwrap().resources = vec![disk]),
        "field register.info.resources[0].disk.source.kind has number 9",
    );
    let executor = wire::ExecutorInfo { id: "e".into(), kind: Some(7), ..Default::default() };
    let record = wire::ExecutorRecord {
        framework_id: "f".into(),
        agent_id: "a".into(),
        info: Some(Box::new(executor)),
        role: "*".into(),
    };
    unknown(register(|r| r.executors = vec![record]), "field register.executors[0].info.kind has number 7");
    let operation = wire::OperationRecord { uuid: vec![1; 16], ..Default::default() };
    unknown(
        register(|r| r.operations = vec![operation]),
        "field register.operations[0].operation has no case",
    );
}

#[test]
fn capabilities_of_the_future_are_dropped() {
    let registered = register(|r| {
        r.info.as_mut().unwrap().capabilities = vec![1, 4_000, 7];
        r.frameworks = vec![wire::FrameworkInfo { capabilities: vec![4_000, 5], ..Default::default() }];
    });
    let Ok(AgentToMaster::Register(registration)) = registered else { panic!("not a registration") };
    assert_eq!(registration.info.capabilities, [AgentCapability::MultiRole, AgentCapability::AgentDraining]);
    assert_eq!(registration.frameworks[0].capabilities, [Capability::PartitionAware]);
}

/// What one list may hold: putting it in order compares its entries.
#[test]
fn lists_have_limits() {
    let refused = |resources: Vec<wire::Resource>, what: &str| {
        let error = register(|r| r.info.as_mut().unwrap().resources = resources).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    let apart = |index: usize| resource(|r| r.provider = Some(index.to_string()));
    let at_limit = (0..4_096).map(apart).collect();
    assert!(register(|r| r.info.as_mut().unwrap().resources = at_limit).is_ok());
    refused((0..4_097).map(apart).collect(), "resources is 4097, which is out of range; allowed is a list");
    let set = wire::Set { items: vec![String::new(); 4_097] };
    refused(
        vec![resource(|r| r.value = Some(wire::resource::Value::Set(set)))],
        "resources[0].set is 4097, which is out of range; allowed is at most 4096 items",
    );
    let ranges = wire::Ranges { ranges: vec![wire::Range::default(); 32_769] };
    refused(
        vec![resource(|r| r.value = Some(wire::resource::Value::Ranges(ranges)))],
        "resources[0].ranges is 32769, which is out of range; allowed is at most 32768 ranges",
    );
}

fn register(change: impl FnOnce(&mut wire::Register)) -> Result<AgentToMaster, DecodeError> {
    let mut register = wire::Register {
        version: PROTOCOL_VERSION,
        version_oldest: PROTOCOL_VERSION,
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
    let error = register(|r| (r.version, r.version_oldest) = (1, 1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the peer speaks protocol 1, this node accepts 2 or newer; upgrade the peer"
    );
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
        ..Default::default()
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
    check::<AgentCapability>();
    check::<ExecutorKind>();
    check::<DiskKind>();
    check::<OperationState>();
    assert_eq!(TaskState::KNOWN.len(), TaskState::ALL.len());
}

/// Readable proof beside the corpus: a change here breaks running clusters.
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
            reason: Some(Reason::TaskUnknown),
            ..TaskStatus::new("t".into(), TaskState::Running, Time::from_millis(5), Source::Executor)
        },
        latest_state: TaskState::Finished,
    }));
    let expected = [
        0x12, 21, 0x0a, 1, b'f', 0x12, 1, b'a', 0x2a, 11, 0x0a, 1, b't', 0x10, 3, 0x18, 5, 0x20, 3, 0x28, 42,
        0x30, 10,
    ];
    assert_eq!(AgentFrame::from(update).encode_to_vec(), expected);
}
