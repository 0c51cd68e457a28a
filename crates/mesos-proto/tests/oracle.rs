//! A second way to read and write: reflection over the same files, with a JSON of its own. Where the rules of the two
//! agree, so must the results.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use common::{Dice, Shape, described, message};
use mesos_proto::{ApiMessage, DecodeError, MISSING_MAX, v1};
use prost_reflect::prost::Message as _;
use prost_reflect::{
    Cardinality, DeserializeOptions, DynamicMessage, FieldDescriptor, ReflectMessage, SerializeOptions, Value,
};

const ROUNDS: u64 = 60;

fn complete() -> Shape {
    Shape { forgetful: 0, depth: 4 }
}

#[test]
fn protobuf_survives() {
    fn run<M: ApiMessage>(name: &str) {
        for seed in 0..ROUNDS {
            let expected = message(&mut Dice::new(seed), &described(name), &complete(), 0);
            let ours = M::from_protobuf(&expected.encode_to_vec())
                .unwrap_or_else(|error| panic!("{name}, seed {seed}: {error}"));
            let back = DynamicMessage::decode(described(name), ours.to_protobuf().as_slice()).unwrap();
            assert_eq!(back, expected, "{name}, seed {seed}");
        }
    }
    for_each_message!(run);
}

/// What we write is read by the other one as the same message, with the defaults that we add.
#[test]
fn our_json_is_understood() {
    fn run<M: ApiMessage>(name: &str) {
        for seed in 0..ROUNDS {
            let mut expected = message(&mut Dice::new(seed), &described(name), &complete(), 0);
            let json = M::from_protobuf(&expected.encode_to_vec()).unwrap().to_json();
            let mut reader = serde_json::Deserializer::from_str(&json);
            let options = DeserializeOptions::new().deny_unknown_fields(true);
            let back = DynamicMessage::deserialize_with_options(described(name), &mut reader, &options)
                .unwrap_or_else(|error| panic!("{name}, seed {seed}: {error}: {json}"));
            fill_defaults(&mut expected);
            assert_eq!(back, expected, "{name}, seed {seed}: {json}");
            // And by ourselves, to the letter.
            assert_eq!(M::from_json(json.as_bytes()).unwrap().to_json(), json, "{name}, seed {seed}");
        }
    }
    for_each_message!(run);
}

/// What the other one writes we read as the same message.
#[test]
fn their_json_is_understood() {
    fn run<M: ApiMessage>(name: &str) {
        let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
        let quoting = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(true);
        for seed in 0..ROUNDS {
            let expected = message(&mut Dice::new(seed), &described(name), &complete(), 0);
            for options in [&options, &quoting] {
                let mut json = Vec::new();
                expected
                    .serialize_with_options(&mut serde_json::Serializer::new(&mut json), options)
                    .unwrap();
                let ours = M::from_json(&json).unwrap_or_else(|error| panic!("{name}, seed {seed}: {error}"));
                let direct = M::from_protobuf(&expected.encode_to_vec()).unwrap();
                assert_eq!(ours, direct, "{name}, seed {seed}");
            }
        }
    }
    for_each_message!(run);
}

/// Both formats name the same missing fields, in the order of the original.
#[test]
fn missing_fields_are_found() {
    fn run<M: ApiMessage>(name: &str, refused: &mut u64) {
        let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
        for seed in 0..ROUNDS {
            let sent = message(&mut Dice::new(seed), &described(name), &Shape { forgetful: 12, depth: 4 }, 0);
            let mut as_encoded = Vec::new();
            missing(&sent, "", false, &mut as_encoded);
            let mut as_json = Vec::new();
            missing(&sent, "", true, &mut as_json);
            if as_encoded.len() >= MISSING_MAX {
                continue;
            }
            let told = |result: Result<M, DecodeError>| match result {
                Ok(_) => Vec::new(),
                Err(DecodeError::MissingFields(fields)) => fields,
                Err(other) => panic!("{name}, seed {seed}: {other}"),
            };
            assert_eq!(told(M::from_protobuf(&sent.encode_to_vec())), as_encoded, "{name}, seed {seed}");
            let mut json = Vec::new();
            sent.serialize_with_options(&mut serde_json::Serializer::new(&mut json), &options).unwrap();
            assert_eq!(told(M::from_json(&json)), as_json, "{name}, seed {seed}");
            *refused += u64::from(!as_encoded.is_empty());
        }
    }
    let mut refused = 0;
    for_each_message!(run, &mut refused);
    assert!(refused > ROUNDS, "only {refused} messages had something missing");
}

/// As the original does it: first the message's own fields, then what is in its messages, by number. Entries of maps
/// have no order but that in which they are written, which JSON settles by their names.
fn missing(message: &DynamicMessage, prefix: &str, by_key: bool, out: &mut Vec<String>) {
    let mut fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
    fields.sort_by_key(FieldDescriptor::number);
    for field in &fields {
        if field.cardinality() == Cardinality::Required && !message.has_field(field) {
            out.push(format!("{prefix}{}", field.name()));
        }
    }
    for field in fields.iter().filter(|field| message.has_field(field)) {
        let name = field.name();
        match &*message.get_field(field) {
            Value::Message(inner) => missing(inner, &format!("{prefix}{name}."), by_key, out),
            Value::List(values) => {
                for (index, value) in values.iter().enumerate() {
                    if let Value::Message(inner) = value {
                        missing(inner, &format!("{prefix}{name}[{index}]."), by_key, out);
                    }
                }
            }
            Value::Map(entries) => {
                let mut entries: Vec<_> = entries.iter().collect();
                if by_key {
                    entries.sort_by_key(|(key, _)| key.as_str().map(str::to_owned));
                }
                for (index, (_, value)) in entries.into_iter().enumerate() {
                    if let Value::Message(inner) = value {
                        missing(inner, &format!("{prefix}{name}[{index}].value."), by_key, out);
                    }
                }
            }
            _ => {}
        }
    }
}

fn fill_defaults(message: &mut DynamicMessage) {
    for field in message.descriptor().fields() {
        let description = field.field_descriptor_proto();
        let deprecated = description.options.as_ref().is_some_and(|options| options.deprecated());
        if description.default_value.is_some() && !deprecated && !message.has_field(&field) {
            message.set_field(&field, field.default_value());
        }
        if !message.has_field(&field) {
            continue;
        }
        match message.get_field_mut(&field) {
            Value::Message(inner) => fill_defaults(inner),
            Value::List(values) => values.iter_mut().for_each(fill_value),
            Value::Map(entries) => entries.values_mut().for_each(fill_value),
            _ => {}
        }
    }
}

fn fill_value(value: &mut Value) {
    if let Value::Message(inner) = value {
        fill_defaults(inner);
    }
}
