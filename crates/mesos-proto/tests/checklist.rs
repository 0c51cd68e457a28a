//! The statements about the messages of the Mesos API that every implementation has to make true, by their numbers
//! (`D1` is `d01_…`). The table is `docs/conformance/mesos-proto.md`.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use mesos_proto::raw;
use mesos_proto::recordio::{Decoder, RecordError};
use mesos_proto::table::{self, Kind, Label};
use mesos_proto::{ApiMessage, Bytes, DESCRIPTORS, DecodeError, google, scalar, v1};
use prost_reflect::{Cardinality, DescriptorPool, Kind as Reflected};

/// Names, numbers, labels, types and defaults of some fields of every shape, written down by hand.
#[test]
fn d01_the_files_describe_the_messages() {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let count = |package: &str| pool.all_messages().filter(|m| m.full_name().starts_with(package)).count();
    let ours: Vec<_> = pool.all_messages().filter(|m| m.full_name().starts_with("mesos.v1.")).collect();
    let (entries, messages): (Vec<_>, Vec<_>) = ours.iter().partition(|message| message.is_map_entry());
    assert_eq!((messages.len(), entries.len()), (351, 11));
    assert_eq!(messages.iter().map(|message| message.fields().len()).sum::<usize>(), 1206);
    assert_eq!(pool.all_enums().filter(|e| e.full_name().starts_with("mesos.v1.")).count(), 53);
    assert!(count("mesos.v1.scheduler.") > 30);

    let expect = [
        ("mesos.v1.FrameworkInfo", 1, "user", "required string", None),
        ("mesos.v1.FrameworkInfo", 6, "role", "optional string", Some("*")),
        ("mesos.v1.FrameworkInfo", 13, "offer_filters", "map message", None),
        ("mesos.v1.HealthCheck", 5, "consecutive_failures", "optional uint32", Some("3")),
        ("mesos.v1.Value.Range", 2, "end", "required uint64", None),
        ("mesos.v1.ExecutorInfo", 4, "data", "optional bytes", None),
        ("mesos.v1.AgentInfo", 8, "port", "optional int32", Some("5051")),
        ("mesos.v1.TimeInfo", 1, "nanoseconds", "required int64", None),
        ("mesos.v1.Image", 4, "cached", "optional bool", Some("true")),
        ("mesos.v1.NetworkInfo.IPAddress", 1, "protocol", "optional enum", Some("IPv4")),
        ("mesos.v1.Filters", 1, "refuse_seconds", "optional double", Some("5")),
        ("mesos.v1.Offer.Operation", 16, "destroy_disk", "optional message", None),
        ("mesos.v1.scheduler.Call", 19, "update_framework", "optional message", None),
        ("mesos.v1.executor.Call.Message", 2, "data", "required bytes", None),
        ("mesos.v1.agent.Call", 22, "mark_resource_provider_gone", "optional message", None),
        ("mesos.v1.master.Response.GetFrameworks.Framework", 11, "recovered", "required bool", None),
        ("mesos.v1.quota.QuotaConfig", 3, "limits", "map message", None),
        ("mesos.v1.ResourceStatistics", 55, "net_ephemeral_ports", "optional message", None),
    ];
    for (message, number, name, shape, default) in expect {
        let field = pool.get_message_by_name(message).and_then(|m| m.get_field(number)).unwrap();
        assert_eq!(field.name(), name, "{message} {number}");
        let label = match field.cardinality() {
            _ if field.is_map() => "map",
            Cardinality::Required => "required",
            Cardinality::Optional => "optional",
            Cardinality::Repeated => "repeated",
        };
        let kind = match field.kind() {
            Reflected::Message(_) => "message".to_owned(),
            Reflected::Enum(_) => "enum".to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(format!("{label} {kind}"), shape, "{message}.{name}");
        let given = field.field_descriptor_proto().default_value.clone();
        assert_eq!(given.as_deref(), default, "{message}.{name}");
    }
    // Numbers of enums that are easily got wrong.
    assert_eq!(v1::TaskState::TaskStaging as i32, 6);
    assert_eq!(v1::TaskState::TaskStarting as i32, 0);
    assert_eq!(v1::task_status::Reason::AgentDraining as i32, 34);
    assert_eq!(v1::capability_info::Capability::CheckpointRestore as i32, 1040);
}

/// The tables that the code walks say the same as the files.
#[test]
fn d01_the_tables_are_the_files() {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    for table in table::messages() {
        let message = pool.get_message_by_name(table.name).unwrap();
        assert_eq!(table.fields.len(), message.fields().len(), "{}", table.name);
        for (index, field) in table.fields.iter().enumerate() {
            let described = message.get_field(field.number).unwrap();
            assert_eq!(described.name(), field.name);
            assert_eq!(table.by_number(field.number).unwrap().0, index);
            assert_eq!(table.by_name(field.name).unwrap().number, field.number);
            assert_eq!(field.label == Label::Required, described.cardinality() == Cardinality::Required);
            assert_eq!(field.label == Label::Map, described.is_map());
            match (field.kind, described.kind()) {
                (Kind::Message(table), Reflected::Message(message)) => {
                    assert_eq!(table.name, message.full_name())
                }
                (Kind::Enum(table), Reflected::Enum(described)) => {
                    assert_eq!(table.name, described.full_name());
                    for value in described.values() {
                        assert!(table.has(value.number()));
                        assert_eq!(table.number(value.name()), Some(value.number()));
                    }
                }
                (kind, described) => {
                    assert_eq!(format!("{kind:?}").to_lowercase(), format!("{described:?}"));
                }
            }
        }
        assert!(table.by_number(0).is_none() && table.by_number(u32::MAX).is_none());
        assert!(table.by_name("no_such_field").is_none());
    }
}

#[test]
fn d02_defaults_are_written() {
    assert_eq!(
        v1::HealthCheck::default().to_json(),
        r#"{"delay_seconds":15.0,"interval_seconds":10.0,"timeout_seconds":20.0,"consecutive_failures":3,"grace_period_seconds":10.0}"#
    );
}

#[test]
fn d03_an_unknown_type_is_no_type() {
    let call = v1::scheduler::Call::from_json(br#"{"type":"NOSUCH"}"#).unwrap();
    assert_eq!(call.r#type, None);
    assert_eq!(call.r#type(), v1::scheduler::call::Type::Unknown);
    // In protobuf too: field 2 of the call, value 99.
    let call = v1::scheduler::Call::from_protobuf(&[0x10, 99]).unwrap();
    assert_eq!(call.r#type, None);
}

#[test]
fn d03_an_unknown_value_of_a_required_enum_is_refused() {
    let error = v1::Value::from_json(br#"{"type":"NOSUCH"}"#).unwrap_err();
    assert_eq!(error, DecodeError::Mismatch("Failed to find enum for 'NOSUCH'".to_owned()));
    let error = v1::Value::from_protobuf(&[0x08, 99]).unwrap_err();
    assert_eq!(error.to_string(), "Missing required fields: type");
    // A known value stays if an unknown one follows.
    let value = v1::Value::from_protobuf(&[0x08, 2, 0x08, 99]).unwrap();
    assert_eq!(value.r#type(), v1::value::Type::Set);
}

#[test]
fn d04_an_enum_is_not_a_number() {
    let error = v1::scheduler::Call::from_json(br#"{"type":1}"#).unwrap_err();
    assert_eq!(error.to_string(), "Not expecting a JSON number for field 'type'");
    assert!(matches!(error, DecodeError::Mismatch(_)));
}

#[test]
fn d05_long_numbers_stay_exact() {
    let text = r#"{"nanoseconds":1546300800123456789}"#;
    let time = v1::TimeInfo::from_json(text.as_bytes()).unwrap();
    assert_eq!(time.nanoseconds, 1_546_300_800_123_456_789);
    assert_eq!(time.to_json(), text);
    for extreme in [r#"{"begin":0,"end":18446744073709551615}"#, r#"{"nanoseconds":-9223372036854775808}"#] {
        let back = match extreme.contains("begin") {
            true => v1::value::Range::from_json(extreme.as_bytes()).unwrap().to_json(),
            false => v1::TimeInfo::from_json(extreme.as_bytes()).unwrap().to_json(),
        };
        assert_eq!(back, extreme);
    }
}

#[test]
fn d06_a_uuid_is_24_characters() {
    let uuid = v1::Uuid { value: Bytes::from_static(b"0123456789abcdef") };
    let json = uuid.to_json();
    assert_eq!(json, r#"{"value":"MDEyMzQ1Njc4OWFiY2RlZg=="}"#);
    assert_eq!(json.split('"').nth(3).map(str::len), Some(24));
    assert_eq!(v1::Uuid::from_json(json.as_bytes()).unwrap(), uuid);
}

#[test]
fn d07_numbers_may_be_quoted() {
    let agent = v1::AgentInfo::from_json(br#"{"hostname":"h","port":"5051"}"#).unwrap();
    assert_eq!(agent.port, Some(5051));
    let error = v1::AgentInfo::from_json(br#"{"hostname":"h","port":"many"}"#).unwrap_err();
    assert!(
        error.to_string().starts_with("Failed to parse 'many' as a JSON number for field 'port': "),
        "{error}"
    );
    let command = v1::CommandInfo::from_json(br#"{"shell":"false"}"#).unwrap();
    assert_eq!(command.shell, Some(false));
}

#[test]
fn d08_limits_may_be_infinite() {
    let text = br#"{"name":"n","task_id":{"value":"t"},"agent_id":{"value":"a"},"limits":{"cpus":{"value":"Infinity"}}}"#;
    let task = v1::TaskInfo::from_json(text).unwrap();
    assert_eq!(task.limits["cpus"].value, f64::INFINITY);
    assert_eq!(task.to_json().as_bytes(), text);
    let scalar = v1::value::Scalar::from_json(br#"{"value":"-Infinity"}"#).unwrap();
    assert_eq!(scalar.value, f64::NEG_INFINITY);
}

#[test]
fn d09_one_value_is_a_list() {
    let revive = v1::scheduler::call::Revive::from_json(br#"{"roles":"a"}"#).unwrap();
    assert_eq!(revive.roles, ["a"]);
    let text = br#"{"labels":{"key":"k"}}"#;
    assert_eq!(v1::Labels::from_json(text).unwrap().labels.len(), 1);
    let check = v1::health_check::HttpCheckInfo::from_json(br#"{"port":80,"statuses":200}"#).unwrap();
    assert_eq!(check.statuses, [200]);
    // But a list is no single value.
    let error = v1::AgentInfo::from_json(br#"{"hostname":["h"]}"#).unwrap_err();
    assert_eq!(error.to_string(), "Not expecting a JSON array for field 'hostname'");
}

#[test]
fn d10_unknown_names_and_null_are_passed_over() {
    let text = br#"{"hostname":"h","hots":[1,{"a":null}],"port":null,"frameworkId":7}"#;
    let agent = v1::AgentInfo::from_json(text).unwrap();
    assert_eq!(agent, v1::AgentInfo { hostname: "h".to_owned(), ..Default::default() });
    let error = v1::AgentInfo::from_json(br#"{"hostname":null}"#).unwrap_err();
    assert_eq!(error.to_string(), "Missing required fields: hostname");
}

#[test]
fn d11_deprecated_defaults_are_not_written() {
    let resource =
        v1::Resource::from_json(br#"{"name":"cpus","type":"SCALAR","scalar":{"value":1}}"#).unwrap();
    assert_eq!(resource.role(), "*");
    assert_eq!(resource.to_json(), r#"{"name":"cpus","type":"SCALAR","scalar":{"value":1.0}}"#);
    let resource = v1::Resource { role: Some("*".to_owned()), ..resource };
    assert_eq!(resource.to_json(), r#"{"name":"cpus","type":"SCALAR","scalar":{"value":1.0},"role":"*"}"#);
}

#[test]
fn d12_quantities_count_in_thousandths() {
    let sum = scalar::to_thousandths(0.1 + 0.2);
    assert_eq!(sum, scalar::to_thousandths(0.3));
    assert_eq!(scalar::to_thousandths(1.0004), scalar::to_thousandths(1.0));
    assert_eq!(scalar::to_thousandths(0.0004), Some(0));
    assert_eq!(scalar::to_thousandths(0.0005), Some(1));
    assert_eq!(scalar::to_thousandths(-0.0005), Some(-1));
    assert_eq!(scalar::from_thousandths(1500), 1.5);
    for none in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
        assert_eq!(scalar::to_thousandths(none), None);
    }
}

/// Every other way of cutting is in `tests/recordio.rs`.
#[test]
fn d13_records_may_be_cut_anywhere() {
    let stream = b"20\n{\"type\":\"HEARTBEAT\"}0\n3\nabc";
    for cut in 0..=stream.len() {
        let mut decoder = Decoder::default();
        let mut records = decoder.feed(&stream[..cut]).unwrap();
        records.extend(decoder.feed(&stream[cut..]).unwrap());
        assert_eq!(records, [b"{\"type\":\"HEARTBEAT\"}".to_vec(), vec![], b"abc".to_vec()], "{cut}");
        decoder.finish().unwrap();
    }
}

#[test]
fn d14_lengths_are_digits() {
    assert_eq!(Decoder::default().feed(b"12a\n"), Err(RecordError::NotADigit(b'a')));
    for (stream, byte) in [("-1\n", b'-'), ("+1\n", b'+'), (" 1\n", b' '), ("1 \n", b' '), ("1\r\n", b'\r')] {
        assert_eq!(
            Decoder::default().feed(stream.as_bytes()),
            Err(RecordError::NotADigit(byte)),
            "{stream:?}"
        );
    }
    assert_eq!(Decoder::default().feed(b"\n"), Err(RecordError::NoLength));
}

#[test]
fn d15_durations_may_be_negative_until_they_are_used() {
    let json = br#"{"nanoseconds":-1}"#;
    let duration = v1::DurationInfo::from_json(json).unwrap();
    assert_eq!(duration.nanoseconds, -1);
    assert_eq!(duration.to_json().as_bytes(), json);
    assert_eq!(v1::DurationInfo::from_protobuf(&duration.to_protobuf()).unwrap(), duration);
    let error = Duration::try_from(&duration).unwrap_err();
    assert_eq!(error.to_string(), "a duration of -1 ns; 0 or more is allowed");
    let duration = google::protobuf::Duration { seconds: 1, nanos: -1 };
    assert_eq!(Duration::try_from(&duration), Ok(Duration::from_nanos(999_999_999)));
    assert!(Duration::try_from(&google::protobuf::Duration { seconds: 0, nanos: -1 }).is_err());
    assert_eq!(v1::DurationInfo::from(Duration::from_secs(1)).nanoseconds, 1_000_000_000);
}

#[test]
fn d16_maps_are_objects_and_entries() {
    let json = br#"{"role":"r","limits":{"cpus":{"value":1},"mem":{"value":2},"cpus":{"value":3}}}"#;
    let from_json = v1::quota::QuotaConfig::from_json(json).unwrap();
    let entry = |name: &[u8], value: f64| {
        let mut scalar = vec![0x09];
        scalar.extend_from_slice(&value.to_le_bytes());
        let mut entry = Vec::new();
        raw::append(&mut entry, 1, name);
        raw::append(&mut entry, 2, &scalar);
        entry
    };
    let mut binary = Vec::new();
    raw::append(&mut binary, 1, b"r");
    for (name, value) in [("cpus", 1.0), ("mem", 2.0), ("cpus", 3.0)] {
        raw::append(&mut binary, 3, &entry(name.as_bytes(), value));
    }
    let from_binary = v1::quota::QuotaConfig::from_protobuf(&binary).unwrap();
    assert_eq!(from_json, from_binary);
    assert_eq!(from_json.limits["cpus"].value, 3.0);
    assert_eq!(from_json.to_json(), r#"{"role":"r","limits":{"cpus":{"value":3.0},"mem":{"value":2.0}}}"#);
    // The short form of quantities.
    let short = v1::quota::QuotaConfig::from_json(br#"{"role":"r","limits":{"cpus":3,"mem":"2"}}"#).unwrap();
    assert_eq!(short, from_json);
}

/// Field 2000 of a task, which nobody knows, stays in the slice that is handed on.
#[test]
fn d17_unknown_fields_of_a_task_stay() {
    let task = v1::TaskInfo {
        name: "n".to_owned(),
        task_id: "t".into(),
        agent_id: "a".into(),
        ..Default::default()
    };
    let mut sent = task.to_protobuf();
    raw::append(&mut sent, 2000, b"from the future");
    let mut launch = Vec::new();
    raw::append(&mut launch, 1, &sent);
    let mut operation = vec![0x08, 1];
    raw::append(&mut operation, 2, &launch);
    let mut accept = Vec::new();
    raw::append(&mut accept, 2, &operation);
    let mut call = vec![0x10, 3];
    raw::append(&mut call, 4, &accept);

    let decoded = v1::scheduler::Call::from_protobuf(&call).unwrap();
    assert_eq!(decoded.accept.unwrap().operations[0].launch.as_ref().unwrap().task_infos, [task]);
    assert_eq!(raw::submessages(&call, &[4, 2, 2, 1]).unwrap(), [sent.as_slice()]);
}

#[test]
fn d18_operations_of_1_5_are_unknown() {
    // Type 7 was CREATE_VOLUME, with its message in field 8.
    let mut old = vec![0x08, 7];
    raw::append(&mut old, 8, b"\x0a\x00");
    let operation = v1::offer::Operation::from_protobuf(&old).unwrap();
    assert_eq!(operation, v1::offer::Operation::default());
    assert_eq!(operation.r#type(), v1::offer::operation::Type::Unknown);
    let operation =
        v1::offer::Operation::from_json(br#"{"type":"CREATE_VOLUME","create_volume":{"source":3}}"#).unwrap();
    assert_eq!(operation, v1::offer::Operation::default());
}
