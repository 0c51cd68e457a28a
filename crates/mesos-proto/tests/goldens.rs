//! Whole messages as they travel as JSON: what clients send is understood, what we send is this to the letter.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use mesos_proto::media::Format;
use mesos_proto::v1::{executor, master, scheduler};
use mesos_proto::{ApiMessage, Bytes, v1};

/// Reads, compares with what is written, and takes the way through protobuf too.
fn golden<M: ApiMessage>(sent: &str, written: &str) -> M {
    let message = M::from_json(sent.as_bytes()).unwrap();
    assert_eq!(message.to_json(), written);
    assert_eq!(M::from_json(written.as_bytes()).unwrap().to_json(), written);
    let (again, raw) = M::from_body_with_raw(Format::Json, sent.as_bytes()).unwrap();
    assert_eq!(again, message);
    assert_eq!(M::from_protobuf(&raw).unwrap(), message);
    assert_eq!(M::from_body(Format::Protobuf, &message.to_body(Format::Protobuf)).unwrap(), message);
    message
}

#[test]
fn subscribe() {
    let call: scheduler::Call = golden(
        r#"{
          "type": "SUBSCRIBE",
          "subscribe": { "framework_info": {
            "user": "root", "name": "example", "roles": ["test"], "failover_timeout": 60,
            "capabilities": [{"type": "MULTI_ROLE"}, {"type": "PARTITION_AWARE"}, {"type": "OF_TOMORROW"}]
          } }
        }"#,
        concat!(
            r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"example","#,
            r#""failover_timeout":60.0,"checkpoint":false,"#,
            r#""capabilities":[{"type":"MULTI_ROLE"},{"type":"PARTITION_AWARE"},{}],"roles":["test"]}}}"#,
        ),
    );
    assert_eq!(call.r#type(), scheduler::call::Type::Subscribe);
}

#[test]
fn accept() {
    let call: scheduler::Call = golden(
        r#"{"framework_id":{"value":"F-0000"},"type":"ACCEPT","accept":{
            "offer_ids":[{"value":"M-O17"}],
            "operations":[{"type":"LAUNCH","launch":{"task_infos":[{
                "name":"My \"Task\"","task_id":{"value":"t-1"},"agent_id":{"value":"M-S0"},
                "command":{"value":"sleep 10\n"},
                "resources":[
                    {"name":"cpus","type":"SCALAR","scalar":{"value":0.1},"role":"*"},
                    {"name":"ports","type":"RANGES","ranges":{"range":{"begin":31000,"end":31001}},"role":"*"}],
                "container":{"type":"DOCKER","docker":{"image":"nginx","network":"BRIDGE",
                    "port_mappings":[{"container_port":80,"host_port":31000,"protocol":"tcp"}]}},
                "data":"AAEC/w"}]}}],
            "filters":{}}}"#,
        concat!(
            r#"{"framework_id":{"value":"F-0000"},"type":"ACCEPT","accept":{"#,
            r#""offer_ids":[{"value":"M-O17"}],"operations":[{"type":"LAUNCH","launch":{"task_infos":[{"#,
            r#""name":"My \"Task\"","task_id":{"value":"t-1"},"agent_id":{"value":"M-S0"},"resources":["#,
            r#"{"name":"cpus","type":"SCALAR","scalar":{"value":0.1},"role":"*"},"#,
            r#"{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":31000,"end":31001}]},"role":"*"}],"#,
            r#""data":"AAEC/w==","command":{"value":"sleep 10\n","shell":true},"#,
            r#""container":{"type":"DOCKER","docker":{"image":"nginx","network":"BRIDGE","#,
            r#""port_mappings":[{"host_port":31000,"container_port":80,"protocol":"tcp"}],"privileged":false}}}]}}],"#,
            r#""filters":{"refuse_seconds":5.0}}}"#,
        ),
    );
    assert_eq!(
        call.accept.unwrap().operations[0].launch.as_ref().unwrap().task_infos[0].data(),
        b"\x00\x01\x02\xff"
    );
}

#[test]
fn events_of_a_scheduler() {
    let event =
        scheduler::Event { r#type: Some(scheduler::event::Type::Heartbeat as i32), ..Default::default() };
    assert_eq!(event.to_json(), r#"{"type":"HEARTBEAT"}"#);

    let status = v1::TaskStatus {
        task_id: "t-1".into(),
        state: v1::TaskState::TaskLost as i32,
        source: Some(v1::task_status::Source::Master as i32),
        reason: Some(v1::task_status::Reason::AgentRemoved as i32),
        message: Some("gone".to_owned()),
        timestamp: Some(1_546_300_800.25),
        uuid: Some(Bytes::from_static(&[0xfb, 0xff, 0xbf])),
        healthy: Some(false),
        ..Default::default()
    };
    let event = scheduler::Event {
        r#type: Some(scheduler::event::Type::Update as i32),
        update: Some(Box::new(scheduler::event::Update { status })),
        ..Default::default()
    };
    assert_eq!(
        event.to_json(),
        concat!(
            r#"{"type":"UPDATE","update":{"status":{"task_id":{"value":"t-1"},"state":"TASK_LOST","message":"gone","#,
            r#""timestamp":1546300800.25,"healthy":false,"source":"SOURCE_MASTER","reason":"REASON_AGENT_REMOVED","#,
            r#""uuid":"+/+/"}}}"#,
        )
    );
}

#[test]
fn an_agent_is_drained() {
    golden::<master::Call>(
        r#"{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"S1"},"max_grace_period":{"seconds":60}}}"#,
        r#"{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"S1"},"max_grace_period":{"seconds":60},"mark_gone":false}}"#,
    );
}

#[test]
fn quota_is_changed() {
    golden::<master::Call>(
        r#"{"type":"UPDATE_QUOTA","update_quota":{"force":"true","quota_configs":[{"role":"r","limits":{"mem":512.5}}]}}"#,
        r#"{"type":"UPDATE_QUOTA","update_quota":{"force":true,"quota_configs":[{"role":"r","limits":{"mem":{"value":512.5}}}]}}"#,
    );
}

#[test]
fn constraints_choose_one_of_several() {
    let constraint: scheduler::AttributeConstraint = golden(
        r#"{"selector":{"attribute_name":"rack"},"predicate":{"text_equals":{"value":"1"}}}"#,
        r#"{"selector":{"attribute_name":"rack"},"predicate":{"text_equals":{"value":"1"}}}"#,
    );
    use scheduler::attribute_constraint::selector::Selector;
    assert_eq!(constraint.selector.selector, Some(Selector::AttributeName("rack".to_owned())));
    golden::<scheduler::AttributeConstraint>(
        r#"{"selector":{"pseudoattribute_type":"ZONE"},"predicate":{"exists":{}}}"#,
        r#"{"selector":{"pseudoattribute_type":"ZONE"},"predicate":{"exists":{}}}"#,
    );
}

#[test]
fn an_executor_subscribes() {
    golden::<executor::Call>(
        r#"{"type":"SUBSCRIBE","executor_id":{"value":"e"},"framework_id":{"value":"f"},"subscribe":{}}"#,
        r#"{"executor_id":{"value":"e"},"framework_id":{"value":"f"},"type":"SUBSCRIBE","subscribe":{}}"#,
    );
}

#[test]
fn input_of_a_container() {
    golden::<v1::agent::Call>(
        r#"{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"PROCESS_IO","process_io":{"type":"DATA","data":{"type":"STDIN","data":"bHMK"}}}}"#,
        r#"{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"PROCESS_IO","process_io":{"type":"DATA","data":{"type":"STDIN","data":"bHMK"}}}}"#,
    );
}

#[test]
fn numbers_and_texts_to_the_letter() {
    let double = |value: f64| v1::value::Scalar { value }.to_json();
    for (value, text) in [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (15.0, "15.0"),
        (0.1, "0.1"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1e20, "100000000000000000000.0"),
        (1.5e21, "1.5e21"),
        (f64::MAX, "1.7976931348623157e308"),
        (5e-324, "5e-324"),
        (f64::INFINITY, r#""Infinity""#),
        (f64::NEG_INFINITY, r#""-Infinity""#),
        (f64::NAN, "null"),
    ] {
        assert_eq!(double(value), format!(r#"{{"value":{text}}}"#));
    }
    let text = v1::value::Text { value: "a\"b\\c/\n\r\t\u{8}\u{c}\u{1}\u{1f}\u{7f}é😀".to_owned() };
    let json = r#"{"value":"a\"b\\c/\n\r\t\b\f\u0001\u001F"#.to_owned() + "\u{7f}é😀\"}";
    assert_eq!(text.to_json(), json);
    assert_eq!(v1::value::Text::from_json(json.as_bytes()).unwrap(), text);
}

#[test]
fn refusals_name_what_is_wrong() {
    for (sent, told) in [
        ("", "Failed to parse body into JSON: EOF while parsing a value at line 1 column 0"),
        ("{} x", "Failed to parse body into JSON: trailing characters at line 1 column 4"),
        ("[]", "Failed to convert JSON into Call protobuf: Expecting a JSON object"),
        (
            r#"{"accept":{"offer_ids":[{"value":"a"},{}],"operations":{"launch":{"task_infos":[{"name":"n"}]}}}}"#,
            "Failed to convert JSON into Call protobuf: Missing required fields: accept.offer_ids[1].value, \
             accept.operations[0].launch.task_infos[0].task_id, accept.operations[0].launch.task_infos[0].agent_id",
        ),
        (
            r#"{"message":{"data":"a*b="}}"#,
            "Failed to convert JSON into Call protobuf: Failed to base64 decode bytes field 'data': Invalid symbol 42, offset 1.",
        ),
        (
            r#"{"kill":{"task_id":"t"}}"#,
            "Failed to convert JSON into Call protobuf: Not expecting a JSON string for field 'task_id'",
        ),
        (
            r#"{"kill":true}"#,
            "Failed to convert JSON into Call protobuf: Not expecting a JSON boolean for field 'kill'",
        ),
        (
            r#"{"type":{}}"#,
            "Failed to convert JSON into Call protobuf: Not expecting a JSON object for field 'type'",
        ),
    ] {
        let error = scheduler::Call::from_json(sent.as_bytes()).unwrap_err();
        assert_eq!(error.refusal(Format::Json, "Call"), told);
    }
    let error = scheduler::Call::from_protobuf(b"\x1a\x00").unwrap_err();
    assert_eq!(error.to_string(), "Missing required fields: subscribe.framework_info");
    assert_eq!(error.refusal(Format::Protobuf, "Call"), "Failed to parse body into Call protobuf");
}

#[test]
fn refusals_are_short() {
    let long = "é".repeat(10_000);
    for json in [
        format!(r#"{{"hostname":"h","port":"{long}"}}"#),
        format!(r#"{{"hostname":"h","attributes":{{"type":"{long}"}}}}"#),
    ] {
        let error = v1::AgentInfo::from_json(json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(&"é".repeat(100)) && error.len() < 400, "{error}");
    }
}

#[test]
fn integers_have_their_range() {
    let port = |text: &str| {
        let json = format!(r#"{{"host_port":{text},"container_port":1}}"#);
        v1::network_info::PortMapping::from_json(json.as_bytes()).map(|mapping| mapping.host_port)
    };
    for (text, value) in
        [("7", 7), ("7.9", 7), ("-0.9", 0), ("7e2", 700), ("4294967295", u32::MAX), ("\"8\"", 8)]
    {
        assert_eq!(port(text), Ok(value), "{text}");
    }
    for text in ["-1", "4294967296", "1e30", "-1e30", "\"99999999999\""] {
        let error = port(text).unwrap_err().to_string();
        assert!(
            error.contains("for field 'host_port' is out of range: 0 to 4294967295 is allowed"),
            "{error}"
        );
    }
}

#[test]
fn secrets_are_not_printed() {
    let secret = v1::secret::Value { data: Bytes::from_static(b"hunter2") };
    assert_eq!(format!("{secret:?}"), "Value { data: hidden }");
    let credential = v1::Credential { principal: "p".to_owned(), secret: Some("hunter2".to_owned()) };
    assert_eq!(format!("{credential:?}"), r#"Credential { principal: "p", secret: Some(hidden) }"#);
}
