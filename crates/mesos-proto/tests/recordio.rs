//! Frames of records: every way of cutting a stream gives the same records.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use mesos_proto::recordio::{Decoder, RECORD_BYTES_MAX, RecordError, append, encode};
use proptest::prelude::*;

fn stream(records: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for record in records {
        append(&mut stream, record);
    }
    stream
}

proptest! {
    #[test]
    fn any_cutting_gives_the_records(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
        cuts in prop::collection::vec(1_usize..9, 1..80),
    ) {
        let stream = stream(&records);
        let mut decoder = Decoder::default();
        let mut rest = stream.as_slice();
        let mut got = Vec::new();
        for cut in cuts.iter().cycle() {
            let (chunk, after) = rest.split_at(rest.len().min(*cut));
            got.extend(decoder.feed(chunk).unwrap());
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(got, records);
        prop_assert_eq!(decoder.finish(), Ok(()));
    }

    #[test]
    fn any_bytes_are_records_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let whole = Decoder::new(100).feed(&bytes);
        let mut decoder = Decoder::new(100);
        let single: Result<Vec<_>, _> = bytes.iter().map(|byte| decoder.feed(&[*byte])).collect();
        prop_assert_eq!(whole, single.map(|records| records.concat()));
    }
}

/// All 2ⁿ⁻¹ ways to cut a short stream.
#[test]
fn every_cutting_of_a_short_stream() {
    let records = [b"ab".to_vec(), vec![], b"0123456789".to_vec()];
    let stream = stream(&records);
    for cuts in 0_u32..1 << (stream.len() - 1) {
        let mut decoder = Decoder::default();
        let mut got = Vec::new();
        let mut from = 0;
        for at in 1..=stream.len() {
            if at == stream.len() || cuts & (1 << (at - 1)) != 0 {
                got.extend(decoder.feed(&stream[from..at]).unwrap());
                from = at;
            }
        }
        assert_eq!(got, records, "{cuts:b}");
    }
}

#[test]
fn the_frame() {
    assert_eq!(encode(br#"{"type":"HEARTBEAT"}"#), b"20\n{\"type\":\"HEARTBEAT\"}");
    assert_eq!(encode(b""), b"0\n");
}

#[test]
fn leading_zeros_are_digits_too() {
    assert_eq!(Decoder::default().feed(b"003\nabc").unwrap(), [b"abc"]);
    let mut endless = Decoder::default();
    assert_eq!(endless.feed(&[b'0'; 64]), Err(RecordError::LongLength));
}

#[test]
fn records_beyond_the_limit() {
    let mut decoder = Decoder::new(3);
    assert_eq!(decoder.feed(b"3\nabc").unwrap(), [b"abc"]);
    let error = RecordError::TooLarge { length: 4, limit: 3 };
    assert_eq!(decoder.feed(b"4\n"), Err(error.clone()));
    assert_eq!(error.to_string(), "a record of 4 bytes; at most 3 are allowed");
    // A number that no machine word holds.
    let huge = Decoder::default().feed(b"99999999999999999999\n");
    assert_eq!(
        huge,
        Err(RecordError::TooLarge { length: 99_999_999_999_999_999_999, limit: RECORD_BYTES_MAX })
    );
}

#[test]
fn after_an_error_there_is_nothing() {
    let mut decoder = Decoder::default();
    let mut chunk = b"1\nax".as_slice();
    assert_eq!(decoder.next(&mut chunk), Ok(Some(b"a".to_vec())));
    for _ in 0..3 {
        assert_eq!(decoder.next(&mut chunk), Err(RecordError::NotADigit(b'x')));
        assert_eq!(decoder.finish(), Err(RecordError::NotADigit(b'x')));
    }
}

#[test]
fn an_end_inside_a_record() {
    for (stream, end) in [("", true), ("1", false), ("1\n", false), ("1\na", true), ("0\n", true)] {
        let mut decoder = Decoder::default();
        decoder.feed(stream.as_bytes()).unwrap();
        assert_eq!(decoder.finish().is_ok(), end, "{stream:?}");
    }
}
