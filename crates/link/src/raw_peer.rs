//! Tests with a peer that speaks by hand and breaks the rules after the greeting.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::conn::{self, CloseCode, CloseReason, Conn, RecvError};
use crate::frame::{self, Kind};
use crate::handshake::Greeted;
use crate::options::Options;

fn start(options: &Options) -> (Conn<String, String>, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let greeted = Greeted {
        peer: "agent:rude".parse().unwrap(),
        version: 1,
        max_send_bytes: options.max_frame_bytes,
        rest: BytesMut::new(),
    };
    (conn::start(ours, greeted, options), theirs)
}

/// What the peer is told at last.
async fn told(theirs: &mut DuplexStream) -> CloseReason {
    let mut all = BytesMut::new();
    while theirs.read_buf(&mut all).await.unwrap() > 0 {}
    loop {
        match frame::take(&mut all, u32::MAX).unwrap() {
            Ok((Kind::Close, payload)) => return CloseReason::from_wire(&payload),
            Ok(_) => {}
            Err(missing) => panic!("the end came {missing} bytes before a reason"),
        }
    }
}

async fn check(sent: &[u8], expected: impl Fn(&RecvError) -> bool) {
    let options = Options { max_frame_bytes: 1_000, ..Options::default() };
    let (mut conn, mut theirs) = start(&options);
    theirs.write_all(sent).await.unwrap();
    let got = conn.receiver.recv().await.unwrap_err();
    assert!(expected(&got), "{sent:?} gave {got:?}");
    assert_eq!(told(&mut theirs).await.code, CloseCode::Protocol);
    assert!(conn.sender.send(&"late".to_owned()).await.is_err());
}

#[tokio::test]
async fn rule_breakers_are_told_and_cut_off() {
    check(&[0xff, 0xff, 0xff, 0xff], |error| {
        matches!(error, RecvError::TooLarge { size: 0xffff_ffff, limit: 1_000 })
    })
    .await;
    check(&[0, 0, 0, 0], |error| matches!(error, RecvError::Malformed { .. })).await;
    check(&[0, 0, 0, 5, 99], |error| matches!(error, RecvError::Malformed { .. })).await;
    check(&[0, 0, 0, 1, Kind::Hello as u8], |error| matches!(error, RecvError::Malformed { .. })).await;
    // A frame that is whole, but no message: field 1 says 200 bytes and brings none.
    check(&[0, 0, 0, 4, 0, 0x0a, 0xc8, 0x01], |error| matches!(error, RecvError::Malformed { .. })).await;
}

#[tokio::test]
async fn an_unknown_close_code_is_kept_and_long_texts_are_cut() {
    let (mut conn, mut theirs) = start(&Options::default());
    let strange = CloseReason::new(CloseCode::Other(77), "é".repeat(2_000));
    let bytes = frame::encode(Kind::Close, &strange.to_wire(), u32::MAX).unwrap();
    theirs.write_all(&bytes).await.unwrap();
    match conn.receiver.recv().await {
        Err(RecvError::Closed { reason }) => {
            assert_eq!((reason.code, reason.text.len()), (CloseCode::Other(77), 1_024));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_dies_after_the_timeout_and_not_before() {
    let options = Options::default();
    let (mut conn, mut theirs) = start(&options);
    let began = tokio::time::Instant::now();
    let heartbeats = tokio::spawn(async move {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(4_900)).await;
            theirs.write_all(&frame::heartbeat()).await.unwrap();
        }
        theirs
    });
    let got = conn.receiver.recv().await;
    assert!(matches!(got, Err(RecvError::Dead { silent_ms: 5_000..5_100 })), "{got:?}");
    assert!(began.elapsed() >= Duration::from_secs(54) && began.elapsed() < Duration::from_secs(55));
    drop(heartbeats.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn our_signs_of_life_are_regular_and_frames_survive_cancelled_reads() {
    let (mut conn, mut theirs) = start(&Options::default());
    let mut seen = BytesMut::new();
    let mut beats = 0;
    let message = frame::encode(Kind::Data, &"x".repeat(100), u32::MAX).unwrap();
    for byte in &message {
        theirs.write_all(&[*byte]).await.unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(100), conn.receiver.recv()).await;
        if let Ok(got) = waiting {
            assert_eq!(got.unwrap(), "x".repeat(100));
            break;
        }
    }
    // About eleven seconds have passed.
    while let Ok(Ok(_)) = tokio::time::timeout(Duration::from_millis(1), theirs.read_buf(&mut seen)).await {}
    while let Ok(Ok((kind, _))) = frame::take(&mut seen, 10) {
        assert_eq!(kind, Kind::Heartbeat);
        beats += 1;
    }
    assert!((9..=12).contains(&beats), "{beats} in about 11 s");
}
