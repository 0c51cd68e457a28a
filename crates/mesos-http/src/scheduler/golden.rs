//! Events byte by byte, as the contract shows them.

use mesos_proto::{ApiMessage, recordio};
use model::scheduler_api::SchedulerEvent;
use model::{
    CheckStatus, InverseOffer, Offer, OperationState, OperationStatus, Reason, TaskState, Unavailability,
    UpdateId,
};

use super::events;
use crate::convert::master_out;
use crate::fixtures;

fn written(event: &SchedulerEvent) -> String {
    let framework = fixtures::framework_info("M-0000", true);
    events::event(event, &framework, &master_out(&fixtures::config())).to_json()
}

#[track_caller]
fn check(event: SchedulerEvent, expected: &str) {
    assert_eq!(written(&event), expected);
}

#[test]
fn a_heartbeat_is_its_record() {
    let record = recordio::encode(events::heartbeat().to_json().as_bytes());
    assert_eq!(String::from_utf8(record).unwrap(), "20\n{\"type\":\"HEARTBEAT\"}");
}

#[test]
fn subscribed() {
    let text = written(&SchedulerEvent::Subscribed { framework_id: "M-0003".into() });
    let head = r#"{"type":"SUBSCRIBED","subscribed":{"framework_id":{"value":"M-0003"},"heartbeat_interval_seconds":15.0,"master_info":{"id":"master","ip":1677721610,"port":5050,"#;
    assert!(text.starts_with(head), "{text}");
}

fn offer() -> Offer {
    Offer {
        id: "M-O17".into(),
        framework_id: "M-0000".into(),
        agent_id: "M-S4".into(),
        hostname: "h4".into(),
        ip: "10.0.0.4".into(),
        port: 5051,
        role: fixtures::role("eng"),
        resources: fixtures::resources("cpus:0.5"),
        attributes: Vec::new(),
        domain: None,
        executor_ids: vec!["e".into()],
        unavailability: None,
    }
}

#[test]
fn offers() {
    check(
        SchedulerEvent::Offers(vec![offer()]),
        r#"{"type":"OFFERS","offers":{"offers":[{"id":{"value":"M-O17"},"framework_id":{"value":"M-0000"},"agent_id":{"value":"M-S4"},"hostname":"h4","resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.5},"role":"*","allocation_info":{"role":"eng"}}],"executor_ids":[{"value":"e"}],"url":{"scheme":"http","address":{"hostname":"h4","ip":"10.0.0.4","port":5051},"path":"/slave(1)"},"allocation_info":{"role":"eng"}}]}}"#,
    );
    check(
        SchedulerEvent::Rescind("M-O17".into()),
        r#"{"type":"RESCIND","rescind":{"offer_id":{"value":"M-O17"}}}"#,
    );
}

#[test]
fn inverse_offers() {
    let offer = InverseOffer {
        id: "M-O18".into(),
        framework_id: "M-0000".into(),
        agent_id: "M-S4".into(),
        hostname: "h4".into(),
        ip: "10.0.0.4".into(),
        port: 5051,
        unavailability: Unavailability { start_ns: 1_546_300_800_123_456_789, duration_ns: Some(5) },
        resources: model::Resources::new(),
    };
    check(
        SchedulerEvent::InverseOffers(vec![offer]),
        r#"{"type":"INVERSE_OFFERS","inverse_offers":{"inverse_offers":[{"id":{"value":"M-O18"},"url":{"scheme":"http","address":{"hostname":"h4","ip":"10.0.0.4","port":5051},"path":"/slave(1)"},"framework_id":{"value":"M-0000"},"agent_id":{"value":"M-S4"},"unavailability":{"start":{"nanoseconds":1546300800123456789},"duration":{"nanoseconds":5}}}]}}"#,
    );
    check(
        SchedulerEvent::RescindInverse("M-O18".into()),
        r#"{"type":"RESCIND_INVERSE_OFFER","rescind_inverse_offer":{"inverse_offer_id":{"value":"M-O18"}}}"#,
    );
}

#[test]
fn updates() {
    let mut status = fixtures::status("t1", TaskState::Running, 1);
    status.uuid = Some(UpdateId(7));
    status.reason = Some(Reason::TaskCheckStatusUpdated);
    status.check = Some(CheckStatus::Command { exit_code: None });
    check(
        SchedulerEvent::Update(Box::new(status)),
        r#"{"type":"UPDATE","update":{"status":{"task_id":{"value":"t1"},"state":"TASK_RUNNING","timestamp":1.5,"source":"SOURCE_EXECUTOR","reason":"REASON_TASK_CHECK_STATUS_UPDATED","uuid":"AAAAAAAAAAAAAAAAAAAABw==","container_status":{"network_infos":[{"ip_addresses":[{"protocol":"IPv4","ip_address":"10.0.0.1"}]}],"executor_pid":77,"container_id":{"value":"c-t1"}},"check_status":{"type":"COMMAND","command":{}}}}}"#,
    );
    let status = OperationStatus {
        operation_id: Some("o1".into()),
        state: OperationState::Finished,
        message: None,
        converted: fixtures::resources("cpus:1"),
        uuid: Some(UpdateId(7)),
        agent_id: Some("M-S4".into()),
        provider: None,
    };
    check(
        SchedulerEvent::UpdateOperation(Box::new(status)),
        r#"{"type":"UPDATE_OPERATION_STATUS","update_operation_status":{"status":{"operation_id":{"value":"o1"},"state":"OPERATION_FINISHED","converted_resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":1.0},"role":"*"}],"uuid":{"value":"AAAAAAAAAAAAAAAAAAAABw=="},"agent_id":{"value":"M-S4"}}}}"#,
    );
}

#[test]
fn the_others() {
    check(
        SchedulerEvent::Message {
            agent_id: "a".into(),
            executor_id: "e".into(),
            data: model::Opaque::new(&[0xff, 0]),
        },
        r#"{"type":"MESSAGE","message":{"agent_id":{"value":"a"},"executor_id":{"value":"e"},"data":"/wA="}}"#,
    );
    check(
        SchedulerEvent::Failure { agent_id: "a".into(), executor: None },
        r#"{"type":"FAILURE","failure":{"agent_id":{"value":"a"}}}"#,
    );
    check(
        SchedulerEvent::Failure { agent_id: "a".into(), executor: Some(("e".into(), Some(256))) },
        r#"{"type":"FAILURE","failure":{"agent_id":{"value":"a"},"executor_id":{"value":"e"},"status":256}}"#,
    );
    check(SchedulerEvent::Error { message: "m".into() }, r#"{"type":"ERROR","error":{"message":"m"}}"#);
}
