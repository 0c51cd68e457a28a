//! The committed bytes under `corpus/`: what they mean may never change, and
//! nothing made of them may panic.
//!
//! A line is `good|bad <name> <hex>`. Good lines are the messages of `samples`,
//! one to one; bad lines are refused. `cargo test -p agent-protocol -- --ignored
//! write_corpus` writes the good lines anew, which is right only for messages
//! that no peer knows yet or together with a new oldest version.

use std::fmt::{Debug, Write};
use std::time::{Duration, Instant};

use model::Rng;
use model::agent_api::{AgentToMaster, MasterToAgent};
use prost::Message;

use super::samples;
use crate::{AgentFrame, MasterFrame, wire};

const AGENT: &str = include_str!("../../corpus/agent.txt");
const MASTER: &str = include_str!("../../corpus/master.txt");

struct Entry {
    good: bool,
    name: &'static str,
    bytes: Vec<u8>,
}

fn entries(text: &'static str) -> Vec<Entry> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split(' ');
            let (kind, name) = (words.next().unwrap(), words.next().unwrap());
            assert!(matches!(kind, "good" | "bad"), "{line}");
            let bytes = unhex(words.next().unwrap_or_default());
            Entry { good: kind == "good", name, bytes }
        })
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn agent(bytes: &[u8]) -> Result<AgentToMaster, String> {
    let frame = AgentFrame::decode(bytes).map_err(|error| error.to_string())?;
    AgentToMaster::try_from(frame).map_err(|error| error.to_string())
}

fn master(bytes: &[u8]) -> Result<MasterToAgent, String> {
    let frame = MasterFrame::decode(bytes).map_err(|error| error.to_string())?;
    MasterToAgent::try_from(frame).map_err(|error| error.to_string())
}

fn good_agent() -> Vec<(&'static str, AgentToMaster, Vec<u8>)> {
    let encoded = |message: AgentToMaster| {
        let bytes = AgentFrame::from(message.clone()).encode_to_vec();
        (samples::case_of_agent(&message), message, bytes)
    };
    samples::from_agent().into_iter().map(encoded).collect()
}

fn good_master() -> Vec<(&'static str, MasterToAgent, Vec<u8>)> {
    let encoded = |message: MasterToAgent| {
        let bytes = MasterFrame::from(message.clone()).encode_to_vec();
        (samples::case_of_master(&message), message, bytes)
    };
    samples::from_master().into_iter().map(encoded).collect()
}

fn check<M: Debug + PartialEq>(
    text: &'static str,
    samples: Vec<(&'static str, M, Vec<u8>)>,
    decode: fn(&[u8]) -> Result<M, String>,
) {
    let (good, bad): (Vec<Entry>, Vec<Entry>) = entries(text).into_iter().partition(|entry| entry.good);
    let names: Vec<_> = good.iter().map(|entry| entry.name).collect();
    assert_eq!(names, samples.iter().map(|(name, ..)| *name).collect::<Vec<_>>());
    for (entry, (name, message, bytes)) in good.iter().zip(samples) {
        assert_eq!(decode(&entry.bytes).as_ref(), Ok(&message), "{name}");
        assert_eq!(hex(&entry.bytes), hex(&bytes), "{name}");
    }
    assert!(!bad.is_empty());
    for entry in bad {
        let Err(error) = decode(&entry.bytes) else { panic!("{} is accepted", entry.name) };
        assert!(!error.is_empty());
    }
}

#[test]
fn the_corpus_means_what_it_meant() {
    check(AGENT, good_agent(), agent);
    check(MASTER, good_master(), master);
}

#[test]
#[ignore = "writes into the tree"]
fn write_corpus() {
    let write = |name: &str, old: &str, good: Vec<(&str, Vec<u8>)>| {
        let kept = old.lines().filter(|line| !line.starts_with("good "));
        let lines = good.iter().map(|(name, bytes)| format!("good {name} {}", hex(bytes)));
        let text = kept.map(str::to_owned).chain(lines).collect::<Vec<_>>().join("\n") + "\n";
        std::fs::write(format!("{}/corpus/{name}", env!("CARGO_MANIFEST_DIR")), text).unwrap();
    };
    write("agent.txt", AGENT, good_agent().into_iter().map(|(name, _, bytes)| (name, bytes)).collect());
    write("master.txt", MASTER, good_master().into_iter().map(|(name, _, bytes)| (name, bytes)).collect());
}

/// One to four hits of the kinds that parsers fail on.
fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>, others: &[Entry]) {
    const TELLING: [u8; 12] = [0, 1, 2, 0x0a, 0x0b, 0x0c, 0x12, 0x7f, 0x80, 0xfe, 0xff, 0x5a];
    for _ in 0..=rng.below(4) {
        let (from, to) = (rng.index(bytes.len()), rng.index(bytes.len()));
        let range = from.min(to)..from.max(to);
        match rng.below(7) {
            0 => {
                if let Some(byte) = bytes.get_mut(from) {
                    *byte ^= 1 << rng.below(8);
                }
            }
            1 => {
                if let Some(byte) = bytes.get_mut(from) {
                    *byte = TELLING[rng.index(TELLING.len())];
                }
            }
            2 => bytes.truncate(from),
            3 => drop(bytes.drain(range)),
            4 => {
                let again = bytes.get(range).unwrap_or_default().to_vec();
                bytes.splice(to..to, again);
            }
            5 => {
                let other = &others[rng.index(others.len())].bytes;
                let (a, b) = (rng.index(other.len()), rng.index(other.len()));
                let part = other.get(a.min(b)..a.max(b)).unwrap_or_default().to_vec();
                bytes.splice(from..from, part);
            }
            _ => bytes.insert(from, TELLING[rng.index(TELLING.len())]),
        }
    }
}

/// What decodes at all must survive the way once more.
fn settle(bytes: &[u8]) -> bool {
    let mut understood = false;
    if let Ok(message) = agent(bytes) {
        let again = AgentFrame::from(message.clone()).encode_to_vec();
        assert_eq!(agent(&again), Ok(message), "{}", hex(bytes));
        understood = true;
    }
    if let Ok(message) = master(bytes) {
        let again = MasterFrame::from(message.clone()).encode_to_vec();
        assert_eq!(master(&again), Ok(message), "{}", hex(bytes));
        understood = true;
    }
    understood
}

#[test]
fn nothing_made_of_the_corpus_panics() {
    let all: Vec<Entry> = entries(AGENT).into_iter().chain(entries(MASTER)).collect();
    let mut understood = 0;
    for seed in 0..300 {
        for (index, entry) in all.iter().enumerate() {
            let mut rng = Rng::new(seed * 1_000 + index as u64);
            let mut bytes = entry.bytes.clone();
            mutate(&mut rng, &mut bytes, &all);
            bytes.truncate(64 * 1024);
            understood += u32::from(settle(&bytes));
        }
    }
    // Else the mutations are too coarse to reach what lies behind the outer layer.
    assert!(understood > 300, "only {understood} mutated messages were understood");
}

/// Lists that would be dear to put in order are refused before they are.
#[test]
fn no_list_takes_long() {
    let ranges = |count: u64| wire::Ranges {
        ranges: (0..count).map(|i| wire::Range { begin: 2 * i, end: 2 * i }).collect(),
    };
    let entry = |value| wire::Resource { name: "r".into(), value: Some(value), ..Default::default() };
    let spans = |count| entry(wire::resource::Value::Ranges(ranges(count)));
    let sets = || entry(wire::resource::Value::Set(wire::Set { items: names(4_000) }));
    fn names(count: usize) -> Vec<String> {
        (0..count).map(|index| index.to_string()).collect()
    }
    let lists = [
        std::iter::once(spans(32_768)).chain((0..4_095).map(|_| spans(1))).collect::<Vec<_>>(),
        (0..200).map(|_| sets()).collect(),
    ];
    for converted in lists {
        let status = wire::OperationStatus { state: 3, converted, ..Default::default() };
        let update = wire::OperationUpdate { uuid: vec![1; 16], status: Some(status), ..Default::default() };
        let message = Some(wire::agent_frame::Message::OperationUpdate(Box::new(update)));
        let bytes = AgentFrame { message }.encode_to_vec();
        let begin = Instant::now();
        let error = agent(&bytes).unwrap_err();
        assert!(error.contains("status.converted") && error.contains("entries differ"), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    }
}
