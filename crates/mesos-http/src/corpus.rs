//! The corpus of calls, whole and damaged: no body panics, every refusal says why.

use std::path::PathBuf;

use http::StatusCode;
use mesos_proto::ApiMessage;
use mesos_proto::media::Format;
use mesos_proto::v1::{executor, scheduler};
use model::{Rng, Time};

use crate::reply::Refusal;

/// Damaged copies of each body.
const DAMAGES: usize = 400;

fn corpus(of: &str) -> Vec<(String, Vec<u8>)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(of);
    let mut bodies: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), std::fs::read(path).unwrap()))
        .collect();
    bodies.sort();
    assert!(bodies.len() >= 3);
    bodies
}

/// Cut, flipped, doubled, or with a piece of another body.
fn damage(rng: &mut Rng, body: &[u8], other: &[u8]) -> Vec<u8> {
    let mut damaged = body.to_vec();
    for _ in 0..=rng.below(3) {
        let at = rng.below(damaged.len() as u64 + 1) as usize;
        match rng.below(5) {
            0 => damaged.truncate(at),
            1 => damaged.extend_from_within(at..),
            2 => {
                let from = rng.below(other.len() as u64 + 1) as usize;
                damaged.splice(at..at, other[from..].iter().copied().take(40));
            }
            3 => {
                if let Some(byte) = damaged.get_mut(at) {
                    *byte = *b"0-9\"{}[]:,\x00\xff\x80".get(rng.below(13) as usize).unwrap();
                }
            }
            _ => {
                if let Some(byte) = damaged.get_mut(at) {
                    *byte ^= 1 << rng.below(8);
                }
            }
        }
    }
    damaged
}

fn sane(refusal: &Refusal, body: &[u8]) {
    let shown = String::from_utf8_lossy(body);
    assert_eq!(refusal.status, StatusCode::BAD_REQUEST, "{shown}");
    assert!(refusal.message.starts_with("Failed to "), "{}: {shown}", refusal.message);
}

fn check<M: ApiMessage>(of: &str, take: impl Fn(Format, &[u8]) -> Option<Refusal>) {
    let mut rng = Rng::new(7);
    let json = corpus(of);
    let both: Vec<(String, Format, Vec<u8>)> = json
        .iter()
        .flat_map(|(name, body)| {
            let protobuf = mesos_proto::json::to_protobuf(M::table(), body).unwrap();
            [(name.clone(), Format::Json, body.clone()), (name.clone(), Format::Protobuf, protobuf)]
        })
        .collect();
    for (index, (name, format, body)) in both.iter().enumerate() {
        if let Some(refusal) = take(*format, body) {
            panic!("{name} {format:?}: {}", refusal.message);
        }
        let (_, _, other) = &both[(index + 2) % both.len()];
        for _ in 0..DAMAGES {
            let damaged = damage(&mut rng, body, other);
            if let Some(refusal) = take(*format, &damaged) {
                sane(&refusal, &damaged);
            }
        }
    }
}

#[test]
fn calls_of_schedulers() {
    check::<scheduler::Call>("scheduler", |format, body| crate::scheduler::take(format, body, None).err());
}

#[test]
fn calls_of_executors() {
    let now = Time::from_millis(1);
    check::<executor::Call>("executor", |format, body| crate::executor::take(format, body, now).err());
}
