//! No bytes make a reader panic, take long, or disagree with itself. The corpus is made of sound messages, which are
//! then damaged; `MESOS_PROTO_FUZZ_ROUNDS` makes it run longer.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use common::{Dice, Shape, described, message};
use mesos_proto::media::Format;
use mesos_proto::recordio::Decoder;
use mesos_proto::{ApiMessage, DECODED_BYTES_MAX, DEPTH_MAX, DecodeError, MISSING_MAX, raw, v1};
use prost_reflect::prost::Message as _;

fn rounds() -> u64 {
    let given = std::env::var("MESOS_PROTO_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    given.unwrap_or(40)
}

/// What has to be true of any bytes.
fn probe<M: ApiMessage>(bytes: &[u8]) {
    if let Ok(message) = M::from_protobuf(bytes) {
        // What was read can be written and read again in both formats.
        let again = M::from_protobuf(&message.to_protobuf()).unwrap();
        assert_eq!(again.to_protobuf(), message.to_protobuf());
        let json = message.to_json();
        // JSON has no word for what is not a number.
        if !json.contains(":null") {
            assert_eq!(M::from_json(json.as_bytes()).unwrap().to_json(), json);
        }
    }
    if let Ok((message, raw)) = M::from_body_with_raw(Format::Json, bytes) {
        assert_eq!(M::from_protobuf(&raw).unwrap().to_json(), message.to_json());
    }
    let fields: Result<Vec<_>, _> = raw::fields(bytes).collect();
    if let Ok(fields) = fields {
        // They lie side by side and cover everything.
        let end = fields.iter().fold(0, |at, field| {
            assert_eq!(field.span.start, at);
            field.span.end
        });
        assert_eq!(end, bytes.len());
        for field in &fields {
            let without = raw::without(bytes, field.number).unwrap();
            assert!(raw::fields(&without).all(|left| left.unwrap().number != field.number));
        }
    }
    let _ = raw::submessages(bytes, &[4, 2, 2, 1]);
    let _ = Decoder::new(1 << 16).feed(bytes);
}

fn damage(dice: &mut Dice, bytes: &mut Vec<u8>) {
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len() as u64 + 1) as usize;
        match dice.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, dice.roll() as u8),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 if at < bytes.len() => bytes[at] = dice.roll() as u8,
            _ if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            _ => {}
        }
    }
}

#[test]
fn damaged_messages() {
    fn run<M: ApiMessage>(name: &str) {
        for seed in 0..rounds() {
            let mut dice = Dice::new(seed);
            let message = message(&mut dice, &described(name), &Shape { forgetful: 40, depth: 4 }, 0);
            let sound = message.encode_to_vec();
            for _ in 0..4 {
                let mut bytes = sound.clone();
                damage(&mut dice, &mut bytes);
                probe::<M>(&bytes);
            }
            if let Ok(sound) = M::from_protobuf(&sound) {
                for _ in 0..4 {
                    let mut bytes = sound.to_json().into_bytes();
                    damage(&mut dice, &mut bytes);
                    probe::<M>(&bytes);
                }
            }
        }
    }
    for_each_message!(run);
}

#[test]
fn noise() {
    let mut dice = Dice::new(7);
    for _ in 0..rounds() * 50 {
        let bytes: Vec<u8> = (0..dice.below(60)).map(|_| dice.roll() as u8).collect();
        probe::<v1::scheduler::Call>(&bytes);
        probe::<v1::agent::ProcessIo>(&bytes);
    }
}

fn nested_container(levels: usize) -> Vec<u8> {
    let mut id = Vec::new();
    for level in 0..=levels {
        let mut outer = Vec::new();
        raw::append(&mut outer, 1, b"c");
        if level > 0 {
            raw::append(&mut outer, 2, &id);
        }
        id = outer;
    }
    id
}

#[test]
fn depth_is_limited() {
    assert!(v1::ContainerId::from_protobuf(&nested_container(DEPTH_MAX)).is_ok());
    let deeper = nested_container(DEPTH_MAX + 1);
    assert_eq!(v1::ContainerId::from_protobuf(&deeper), Err(DecodeError::TooDeep { limit: DEPTH_MAX }));
    // Far beyond any stack.
    assert!(v1::ContainerId::from_protobuf(&nested_container(20_000)).is_err());

    let json = |levels: usize| {
        let open = r#"{"value":"c","parent":"#.repeat(levels);
        format!(r#"{open}{{"value":"c"}}{}"#, "}".repeat(levels))
    };
    assert!(v1::ContainerId::from_json(json(DEPTH_MAX).as_bytes()).is_ok());
    let error = v1::ContainerId::from_json(json(DEPTH_MAX + 1).as_bytes()).unwrap_err();
    assert_eq!(error, DecodeError::TooDeep { limit: DEPTH_MAX });
    assert!(v1::ContainerId::from_json(json(100_000).as_bytes()).is_err());
    assert!(v1::Labels::from_json(format!(r#"{{"labels":{}"#, "[".repeat(100_000)).as_bytes()).is_err());

    let groups = |levels: usize| [vec![0x1b; levels], vec![0x1c; levels]].concat();
    assert!(v1::Labels::from_protobuf(&groups(DEPTH_MAX)).is_ok());
    assert!(v1::Labels::from_protobuf(&groups(DEPTH_MAX + 1)).is_err());
    assert!(v1::Labels::from_protobuf(&groups(1_000_000)).is_err());
}

#[test]
fn memory_is_limited() {
    // Two bytes for each empty operation.
    let too_many = DECODED_BYTES_MAX / v1::offer::Operation::table().size + 1;
    let accept = [0x12, 0].repeat(too_many);
    let decoded = v1::scheduler::call::Accept::from_protobuf(&accept).map(drop);
    assert_eq!(decoded, Err(DecodeError::TooLarge { limit: DECODED_BYTES_MAX }));
}

#[test]
fn long_lists_of_what_is_missing_are_cut() {
    let offers = [0x0a, 0].repeat(1_000);
    let error = v1::scheduler::event::Offers::from_protobuf(&offers).unwrap_err();
    let DecodeError::MissingFields(fields) = error else { panic!("{error}") };
    assert_eq!(fields.len(), MISSING_MAX);
    assert_eq!(fields.last().map(String::as_str), Some("…"));
}
