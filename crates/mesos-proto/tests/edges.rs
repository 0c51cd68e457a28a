//! Encoded messages in pieces, media types, ids.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use mesos_proto::ids::{self, IdError};
use mesos_proto::media::{self, Body, Format, MediaError, Refusal};
use mesos_proto::raw::{self, WireType};
use mesos_proto::{ApiMessage, DecodeError, v1};

#[test]
fn fields_lie_side_by_side() {
    let mut message = vec![0x08, 0x96, 0x01];
    raw::append(&mut message, 2, b"text");
    message.extend_from_slice(&[0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x25, 1, 2, 3, 4]);
    message.extend_from_slice(&[0x2b, 0x08, 1, 0x33, 0x34, 0x2c]);
    let fields: Vec<_> = raw::fields(&message).map(Result::unwrap).collect();
    let seen: Vec<_> = fields
        .iter()
        .map(|field| (field.number, field.wire_type, field.span.clone(), field.payload.len()))
        .collect();
    assert_eq!(
        seen,
        [
            (1, WireType::Varint, 0..3, 2),
            (2, WireType::Length, 3..9, 4),
            (3, WireType::Fixed64, 9..18, 8),
            (4, WireType::Fixed32, 18..23, 4),
            (5, WireType::Group, 23..29, 4),
        ]
    );
    assert_eq!(fields[0].varint(), Some(150));
    assert_eq!(fields[1].payload, b"text");
    assert_eq!(raw::without(&message, 2).unwrap(), [&message[..3], &message[9..]].concat());
}

#[test]
fn broken_bytes_end_the_fields() {
    for broken in [
        &[0x80][..],                                             // a key without an end
        &[0x0a, 5, 1],                                           // less than announced
        &[0x00, 0],                                              // no field has the number 0
        &[0x0e, 0],                                              // wire type 6
        &[0x0c],                                                 // the end of no group
        &[0x0b, 0x14],                                           // the end of another group
        &[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2], // 65 bits
        &[0x0a, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], // a length beyond memory
        &[0x88, 0x80, 0x80, 0x80, 0x80, 0x01, 0],                // a number beyond 29 bits
    ] {
        let mut fields = raw::fields(broken);
        assert!(matches!(fields.next(), Some(Err(DecodeError::Malformed(_)))), "{broken:?}");
        assert_eq!(fields.next(), None);
        assert!(v1::Labels::from_protobuf(broken).is_err());
        assert!(raw::without(broken, 1).is_err() && raw::submessages(broken, &[1]).is_err());
    }
}

/// A message that comes in two pieces is one; what is required may be in either.
#[test]
fn pieces_add_up() {
    let mut port = Vec::new();
    raw::append(&mut port, 2, &[0x08, 80]);
    raw::append(&mut port, 2, b"\x12\x01x");
    // Field 3 of ContainerInfo.DockerInfo is a list, field 3 of ContainerInfo one message.
    let mut container = vec![0x08, 1];
    raw::append(&mut container, 3, b"\x0a\x05image");
    raw::append(&mut container, 3, &[0x20, 1]);
    let container = v1::ContainerInfo::from_protobuf(&container).unwrap();
    let docker = container.docker.unwrap();
    assert_eq!((docker.image.as_str(), docker.privileged), ("image", Some(true)));
}

/// The original keeps a known field that comes in another wire type among the unknown ones.
#[test]
fn other_wire_types_are_passed_over() {
    let label = [0x08, 1, 0x0a, 1, b'k', 0x15, 1, 2, 3, 4];
    let label = v1::Label::from_protobuf(&label).unwrap();
    assert_eq!(label, v1::Label { key: "k".to_owned(), value: None });
    assert_eq!(v1::Label::from_protobuf(&[0x08, 1]).unwrap_err().to_string(), "Missing required fields: key");
    // Deep inside.
    let mut labels = Vec::new();
    raw::append(&mut labels, 1, &[0x0a, 1, b'k', 0x10, 7]);
    assert_eq!(v1::Labels::from_protobuf(&labels).unwrap().labels[0].value, None);
}

#[test]
fn lists_of_numbers_may_be_packed() {
    let mut check = vec![0x08, 80, 0x20, 1];
    raw::append(&mut check, 4, &[2, 0x80, 1]);
    assert_eq!(v1::health_check::HttpCheckInfo::from_protobuf(&check).unwrap().statuses, [1, 2, 128]);
    let mut services = vec![0x08, 1, 0x08, 99];
    raw::append(&mut services, 1, &[2, 99, 1]);
    assert_eq!(v1::CsiPluginContainerInfo::from_protobuf(&services).unwrap().services, [1, 2, 1]);
}

/// Others refuse an entry without its required number, which is how prost writes a zero.
#[test]
fn zeros_in_maps_are_written() {
    let zero = v1::value::Scalar { value: 0.0 };
    let task = v1::TaskInfo { limits: [("gpus".to_owned(), zero)].into(), ..Default::default() };
    let launch = v1::offer::operation::Launch { task_infos: vec![task] };
    let bytes = launch.to_protobuf();
    let entries = raw::submessages(&bytes, &[1, 15]).unwrap();
    let mut expected = Vec::new();
    raw::append(&mut expected, 1, b"gpus");
    raw::append(&mut expected, 2, &[0x09, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(entries, [expected]);
    assert_eq!(v1::offer::operation::Launch::from_protobuf(&bytes).unwrap(), launch);
    assert_eq!(launch.to_body(Format::Protobuf), bytes);
}

#[test]
fn texts_are_utf8() {
    let error = v1::Label::from_protobuf(&[0x0a, 1, 0xff]).unwrap_err().to_string();
    assert!(error.contains("Label.key"), "{error}");
}

/// The last member of a choice counts.
#[test]
fn a_choice_is_one() {
    use v1::scheduler::attribute_constraint::{Selector, selector};
    let mut both = vec![0x08, 3];
    raw::append(&mut both, 2, b"rack");
    let decoded = Selector::from_protobuf(&both).unwrap();
    assert_eq!(decoded.selector, Some(selector::Selector::AttributeName("rack".to_owned())));
    both.extend_from_slice(&[0x08, 2]);
    let decoded = Selector::from_protobuf(&both).unwrap();
    assert_eq!(decoded.selector, Some(selector::Selector::PseudoattributeType(2)));
    // An unknown value chooses nothing.
    assert_eq!(Selector::from_protobuf(&[0x08, 99]).unwrap().selector, None);
}

#[test]
fn content_types_of_calls() {
    assert_eq!(media::request(Some("application/json")), Ok(Format::Json));
    assert_eq!(media::request(Some("Application/JSON; charset=utf-8")), Ok(Format::Json));
    assert_eq!(media::request(Some("application/x-protobuf")), Ok(Format::Protobuf));
    for (given, error, text, refusal) in [
        (None, MediaError::NoContentType, "Expecting 'Content-Type' to be present", Refusal::BadRequest),
        (
            Some("text/plain"),
            MediaError::ContentType,
            "Expecting 'Content-Type' of application/json or application/x-protobuf",
            Refusal::UnsupportedMediaType,
        ),
        (
            Some("application/recordio"),
            MediaError::ContentType,
            "Expecting 'Content-Type' of application/json or application/x-protobuf",
            Refusal::UnsupportedMediaType,
        ),
    ] {
        assert_eq!(media::request(given), Err(error));
        assert_eq!((error.to_string().as_str(), error.refusal()), (text, refusal));
    }
}

#[test]
fn accepted_types() {
    for none in
        [None, Some("*/*"), Some("application/*"), Some("application/x-protobuf, application/json;q=0.1")]
    {
        assert_eq!(media::response(none), Ok(Format::Json), "{none:?}");
    }
    assert_eq!(media::response(Some("application/x-protobuf")), Ok(Format::Protobuf));
    assert_eq!(media::response(Some("application/json;q=0, */*")), Ok(Format::Protobuf));
    for unusable in ["text/plain", "", "text/*", "application/recordio", "*/*;q=0"] {
        assert_eq!(media::response(Some(unusable)), Err(MediaError::Accept), "{unusable:?}");
    }
    assert_eq!(
        MediaError::Accept.to_string(),
        "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'"
    );
}

#[test]
fn streams_of_the_agent() {
    let (json, protobuf, records) = (Some(media::JSON), Some(media::PROTOBUF), Some(media::RECORDIO));
    assert_eq!(media::agent_request(json, None), Ok(Body::Whole(Format::Json)));
    assert_eq!(media::agent_request(records, protobuf), Ok(Body::Records(Format::Protobuf)));
    for (content, message, text) in [
        (None, None, "Expecting 'Content-Type' to be present"),
        (
            Some("text/plain"),
            None,
            "Expecting 'Content-Type' of application/json or application/x-protobuf or application/recordio",
        ),
        (records, None, "Expecting 'Message-Content-Type' to be set for streaming requests"),
        (
            records,
            Some("text/plain"),
            "Expecting 'Message-Content-Type' of application/json or application/x-protobuf",
        ),
        (json, json, "Expecting 'Message-Content-Type' to be not set for non-streaming requests"),
    ] {
        assert_eq!(media::agent_request(content, message).unwrap_err().to_string(), text);
    }
    assert_eq!(media::agent_response(None, None), Ok(Body::Whole(Format::Json)));
    assert_eq!(media::agent_response(Some("*/*"), None), Ok(Body::Whole(Format::Json)));
    assert_eq!(media::agent_response(records, protobuf), Ok(Body::Records(Format::Protobuf)));
    assert_eq!(media::agent_response(records, None), Ok(Body::Records(Format::Json)));
    assert_eq!(media::agent_response(json, json), Err(MediaError::SurplusMessageAccept));
    assert_eq!(media::agent_response(records, Some("text/plain")), Err(MediaError::MessageAccept));
    assert_eq!(media::agent_response(Some("text/plain"), None), Err(MediaError::AcceptOrRecords));
    let body = Body::Records(Format::Protobuf);
    assert_eq!((body.content_type(), body.message_content_type()), (media::RECORDIO, protobuf));
    assert_eq!((body.format(), Body::Whole(Format::Json).message_content_type()), (Format::Protobuf, None));
}

#[test]
fn ids_that_are_allowed() {
    for id in ["a", "a.b", "...", "with space", "ünïcode", "-", &"x".repeat(255)] {
        assert_eq!(ids::check(id), Ok(()), "{id}");
    }
    assert_eq!(ids::check(""), Err(IdError::Empty { limit: 255 }));
    assert_eq!(ids::check(&"x".repeat(256)), Err(IdError::TooLong { length: 256, limit: 255 }));
    // Bytes, not characters.
    assert_eq!(ids::check(&"é".repeat(128)), Err(IdError::TooLong { length: 256, limit: 255 }));
    for dots in [".", ".."] {
        assert_eq!(ids::check(dots), Err(IdError::Dots(dots.to_owned())));
    }
    for (id, character) in [("a/b", '/'), ("a\\b", '\\'), ("a\nb", '\n'), ("a\u{7f}", '\u{7f}'), ("\0", '\0')]
    {
        assert_eq!(ids::check(id), Err(IdError::Character { id: id.to_owned(), character }));
    }
}

#[test]
fn ids_of_containers() {
    let id = |parent: &str, value: &str| v1::ContainerId {
        value: value.to_owned(),
        parent: Some(Box::new(parent.into())),
    };
    assert_eq!(ids::check_container(&id("parent", "child")), Ok(()));
    for (parent, child) in [("a.b", "c"), ("a", "b c"), ("", "c"), ("a", "/"), (&"x".repeat(243), "c")] {
        assert!(ids::check_container(&id(parent, child)).is_err(), "{parent} {child}");
    }
}
