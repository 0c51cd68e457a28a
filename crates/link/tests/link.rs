//! Real sockets on 127.0.0.1, real certificates.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use link::pki::ClusterCa;
use link::{
    CloseCode, CloseReason, Conn, ConnectError, HandshakeError, Identity, Listener, Options, PeerIdentity,
    RecvError, Role, SendError, connect, memory_pair,
};
use model::Time;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

#[derive(Clone, PartialEq, prost::Message)]
struct Note {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(bytes = "vec", tag = "2")]
    body: Vec<u8>,
}

fn note(number: u64, size: usize) -> Note {
    Note { number, body: vec![7; size] }
}

fn now() -> Time {
    Time::from_millis(
        u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap(),
    )
}

fn new_ca() -> ClusterCa {
    ClusterCa::create(tempfile::tempdir().unwrap().path(), now(), YEAR).unwrap()
}

fn ca() -> &'static ClusterCa {
    static CA: OnceLock<ClusterCa> = OnceLock::new();
    CA.get_or_init(new_ca)
}

fn id(text: &str) -> PeerIdentity {
    text.parse().unwrap()
}

fn identity(ca: &ClusterCa, text: &str) -> Identity {
    ca.issue(&id(text), &[], now(), YEAR).unwrap().identity().unwrap()
}

fn quick() -> Options {
    Options {
        heartbeat: Duration::from_millis(50),
        timeout: Duration::from_millis(400),
        ..Options::default()
    }
}

type Pair = (Conn<Note, Note>, Conn<Note, Note>);

async fn listen(options: Options) -> Listener {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    Listener::bind(address, identity(ca(), "master:m1"), &[Role::Agent], options).await.unwrap()
}

async fn pair(options: Options) -> (Listener, Pair) {
    let mut listener = listen(options.clone()).await;
    let agent = identity(ca(), "agent:a1");
    let (near, far) = tokio::join!(
        connect::<Note, Note>(listener.local_addr(), &agent, Role::Master, &options),
        listener.accept::<Note, Note>()
    );
    (listener, (near.unwrap(), far.unwrap()))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[tokio::test]
async fn messages_go_both_ways_in_order_and_peers_know_each_other() {
    let (_listener, (mut near, mut far)) = pair(Options::default()).await;
    assert_eq!((near.peer.clone(), far.peer.clone()), (id("master:m1"), id("agent:a1")));
    assert_eq!(near.version, link::PROTOCOL_VERSION);
    for number in 0..1_000 {
        near.sender.send(&note(number, (number % 300) as usize)).await.unwrap();
    }
    far.sender.send(&note(7, 5_000_000)).await.unwrap();
    for number in 0..1_000 {
        assert_eq!(far.receiver.recv().await.unwrap(), note(number, (number % 300) as usize));
    }
    assert_eq!(near.receiver.recv().await.unwrap(), note(7, 5_000_000));
    // An empty message is a message.
    near.sender.send(&Note::default()).await.unwrap();
    assert_eq!(far.receiver.recv().await.unwrap(), Note::default());
}

#[tokio::test]
async fn a_close_says_why_and_what_was_queued_arrives_before() {
    let (_listener, (near, mut far)) = pair(Options::default()).await;
    for number in 0..100 {
        near.sender.send(&note(number, 1_000)).await.unwrap();
    }
    near.sender.close(CloseReason::new(CloseCode::ShuttingDown, "upgrade")).await;
    drop(near);
    for number in 0..100 {
        assert_eq!(far.receiver.recv().await.unwrap().number, number);
    }
    let reason = CloseReason::new(CloseCode::ShuttingDown, "upgrade");
    assert_eq!(far.receiver.recv().await, Err(RecvError::Closed { reason: reason.clone() }));
    assert_eq!(far.receiver.recv().await, Err(RecvError::Closed { reason }));
    far.sender.closed().await;
    let refused = far.sender.send(&note(1, 1)).await;
    assert!(
        matches!(&refused, Err(SendError::Closed { reason }) if reason.contains("upgrade")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn dropping_either_half_ends_the_connection() {
    let (_listener, (near, mut far)) = pair(Options::default()).await;
    near.sender.send(&note(1, 1)).await.unwrap();
    let link::Conn { sender, mut receiver, .. } = near;
    drop(sender);
    assert_eq!(far.receiver.recv().await.unwrap().number, 1);
    assert!(matches!(far.receiver.recv().await, Err(RecvError::Closed { .. })));
    assert!(matches!(receiver.recv().await, Err(RecvError::ClosedHere { .. })));
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_by_both_sides() {
    let stranger_ca = new_ca();
    let options = Options { handshake_timeout: Duration::from_secs(3), ..Options::default() };
    let listener = listen(options.clone()).await;
    let stranger = identity(&stranger_ca, "agent:a1");
    let refused =
        connect::<Note, Note>(listener.local_addr(), &stranger, Role::Master, &options).await.map(|_| ());
    let text = chain(&refused.unwrap_err());
    assert!(text.contains("UnknownIssuer"), "{text}");

    // One that trusts our master, but is not one of us: a certificate of the stranger, our CA as root.
    let mixed = stranger_ca.issue(&id("agent:a1"), &[], now(), YEAR).unwrap();
    let dir = tempfile::tempdir().unwrap();
    mixed.write(dir.path()).unwrap();
    std::fs::write(dir.path().join("ca.crt"), ca().certificate_pem()).unwrap();
    let mixed = Identity::load(dir.path()).unwrap();
    let refused =
        connect::<Note, Note>(listener.local_addr(), &mixed, Role::Master, &options).await.map(|_| ());
    let text = chain(&refused.unwrap_err());
    assert!(text.contains("alert"), "{text}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let options = Options { handshake_timeout: Duration::from_secs(3), ..Options::default() };
    let listener = listen(options.clone()).await;
    let day = Duration::from_secs(86_400);
    let expired = ca().issue(&id("agent:a1"), &[], now() - day * 10, day).unwrap().identity().unwrap();
    let refused =
        connect::<Note, Note>(listener.local_addr(), &expired, Role::Master, &options).await.map(|_| ());
    assert!(chain(&refused.unwrap_err()).contains("alert"));
}

#[tokio::test]
async fn a_wrong_role_is_refused_on_either_side() {
    let options = Options::default();
    let mut listener = listen(options.clone()).await;
    let other_master = identity(ca(), "master:m2");
    let refused = connect::<Note, Note>(listener.local_addr(), &other_master, Role::Master, &options).await;
    // The door closes after our greeting, so we may hear of it at the greeting or just behind it.
    match refused {
        Err(error) => assert!(chain(&error).contains("only agent may be here"), "{}", chain(&error)),
        Ok(mut conn) => assert!(conn.receiver.recv().await.is_err()),
    }
    // Asking for an agent where a master answers: its certificate lacks the agents' name.
    let agent = identity(ca(), "agent:a1");
    let refused =
        connect::<Note, Note>(listener.local_addr(), &agent, Role::Agent, &options).await.map(|_| ());
    let text = chain(&refused.unwrap_err());
    assert!(text.contains("not valid for name"), "{text}");
    // The listener still works.
    let (near, far) = tokio::join!(
        connect::<Note, Note>(listener.local_addr(), &agent, Role::Master, &options),
        listener.accept::<Note, Note>()
    );
    assert_eq!((near.unwrap().peer, far.unwrap().peer), (id("master:m1"), id("agent:a1")));
}

#[tokio::test]
async fn oversized_messages_are_refused_at_the_sender() {
    let small = Options { max_frame_bytes: 1_000, ..Options::default() };
    let mut listener = listen(small).await;
    let agent = identity(ca(), "agent:a1");
    let options = Options::default();
    let (near, far) = tokio::join!(
        connect::<Note, Note>(listener.local_addr(), &agent, Role::Master, &options),
        listener.accept::<Note, Note>()
    );
    let (near, mut far) = (near.unwrap(), far.unwrap());
    // The peer's limit counts although ours is larger.
    let refused = near.sender.send(&note(1, 1_000)).await;
    assert!(matches!(refused, Err(SendError::TooLarge { limit: 1_000, .. })), "{refused:?}");
    near.sender.send(&note(2, 900)).await.unwrap();
    assert_eq!(far.receiver.recv().await.unwrap().number, 2);
}

/// A peer that speaks the greeting by hand in memory and then whatever it likes.
#[tokio::test]
async fn garbage_on_the_socket_costs_nothing() {
    let options = Options { handshake_timeout: Duration::from_millis(500), ..Options::default() };
    let mut listener = listen(options.clone()).await;
    let agent = identity(ca(), "agent:a1");
    let mut held = Vec::new();
    for bytes in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 4096], &[22, 3, 1, 0xff, 0xff, 1]] {
        let mut stream = TcpStream::connect(listener.local_addr()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        held.push(stream);
    }
    let (near, far) = tokio::join!(
        connect::<Note, Note>(listener.local_addr(), &agent, Role::Master, &options),
        listener.accept::<Note, Note>()
    );
    near.unwrap().sender.send(&note(1, 1)).await.unwrap();
    assert_eq!(far.unwrap().receiver.recv().await.unwrap().number, 1);
    for mut stream in held {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "a stranger was not shown the door");
    }
}

/// Passes bytes on between the two, until it is told to swallow them.
async fn proxy(target: SocketAddr) -> (SocketAddr, tokio::sync::watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (swallow, swallowing) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(target).await.unwrap();
        let (near_read, near_write) = near.into_split();
        let (far_read, far_write) = far.into_split();
        for (mut from, mut to) in [(near_read, far_write), (far_read, near_write)] {
            let swallowing = swallowing.clone();
            tokio::spawn(async move {
                let mut bytes = vec![0; 64 * 1024];
                while let Ok(count) = from.read(&mut bytes).await {
                    if !*swallowing.borrow() && to.write_all(&bytes[..count]).await.is_err() {
                        return;
                    }
                    if count == 0 {
                        std::future::pending::<()>().await;
                    }
                }
            });
        }
        std::future::pending::<()>().await;
    });
    (address, swallow)
}

#[tokio::test]
async fn a_half_open_peer_is_noticed_by_both_sides_in_time() {
    let mut listener = listen(quick()).await;
    let (address, swallow) = proxy(listener.local_addr()).await;
    let agent = identity(ca(), "agent:a1");
    let options = quick();
    let (near, far) = tokio::join!(
        connect::<Note, Note>(address, &agent, Role::Master, &options),
        listener.accept::<Note, Note>()
    );
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    // Silence of messages alone is no death: heartbeats run.
    let quiet = tokio::time::timeout(options.timeout * 3, async {
        tokio::select! { got = near.receiver.recv() => got, got = far.receiver.recv() => got }
    })
    .await;
    assert!(quiet.is_err(), "{quiet:?}");
    swallow.send_replace(true);
    let began = Instant::now();
    let (one, other) = tokio::join!(near.receiver.recv(), far.receiver.recv());
    assert!(matches!(one, Err(RecvError::Dead { .. })), "{one:?}");
    assert!(matches!(other, Err(RecvError::Dead { .. })), "{other:?}");
    assert!(began.elapsed() < options.timeout * 3, "{:?}", began.elapsed());
    let refused = near.sender.send(&note(1, 1)).await;
    assert!(matches!(&refused, Err(SendError::Closed { reason }) if reason.contains("dead")), "{refused:?}");
}

#[tokio::test]
async fn a_killed_connection_is_lost_at_once() {
    let mut listener = listen(Options::default()).await;
    let agent = identity(ca(), "agent:a1");
    let options = Options::default();
    // A runtime of its own stands for the other process; with it, its sockets vanish.
    let address = listener.local_addr();
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let conn = runtime.block_on(connect::<Note, Note>(address, &agent, Role::Master, &options)).unwrap();
        runtime.block_on(conn.sender.send(&note(1, 1))).unwrap();
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(50)).await });
        runtime.shutdown_background();
        std::mem::forget(conn.sender);
        drop(conn.receiver);
    });
    let mut far = listener.accept::<Note, Note>().await.unwrap();
    assert_eq!(far.receiver.recv().await.unwrap().number, 1);
    process.join().unwrap();
    let began = Instant::now();
    let lost = far.receiver.recv().await;
    assert!(matches!(lost, Err(RecvError::Lost | RecvError::Io { .. })), "{lost:?}");
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_slow_reader_slows_its_sender_within_the_limits() {
    let options = Options { queue_frames: 10_000, queue_bytes: 1024 * 1024, ..quick() };
    let (_listener, (near, mut far)) = pair(options.clone()).await;
    let sender = near.sender.clone();
    let mut near_receiver = near.receiver;
    // Reading here shows that the peer lives: its writer sends heartbeats though its reader sleeps.
    let alive = tokio::spawn(async move { near_receiver.recv().await });
    let mut accepted = 0_u64;
    let stuck = tokio::time::timeout(options.timeout * 3, async {
        loop {
            sender.send(&note(accepted, 100_000)).await.unwrap();
            accepted += 1;
        }
    });
    assert!(stuck.await.is_err(), "the sender was never held back");
    assert_eq!(sender.try_send(&note(0, 100_000)), Err(SendError::Full));
    // The queue's megabyte, and what the kernel holds.
    assert!(accepted > 10 && accepted < 400, "{accepted} messages of 100 kB were accepted");
    assert!(!alive.is_finished(), "a slow peer was taken for dead");
    for number in 0..accepted {
        assert_eq!(far.receiver.recv().await.unwrap().number, number);
    }
    sender.send(&note(accepted, 100_000)).await.unwrap();
    assert_eq!(far.receiver.recv().await.unwrap().number, accepted);
}

#[tokio::test]
async fn a_message_larger_than_the_queue_still_passes() {
    let options = Options { queue_bytes: 1_000, ..Options::default() };
    let (_listener, (near, mut far)) = pair(options).await;
    for number in 0..3 {
        near.sender.send(&note(number, 50_000)).await.unwrap();
        near.sender.send(&note(number, 5)).await.unwrap();
    }
    for number in 0..6 {
        assert_eq!(far.receiver.recv().await.unwrap().number, number / 2);
    }
}

#[tokio::test]
async fn the_memory_variant_behaves_alike() {
    let options = Options::default();
    let (near, mut far) = memory_pair::<Note, Note>(id("agent:a1"), id("master:m1"), &options).await.unwrap();
    assert_eq!((near.peer.clone(), far.peer.clone()), (id("master:m1"), id("agent:a1")));
    near.sender.send(&note(1, 200_000)).await.unwrap();
    assert_eq!(far.receiver.recv().await.unwrap(), note(1, 200_000));
    drop(near);
    assert!(matches!(far.receiver.recv().await, Err(RecvError::Closed { .. })));
}

#[tokio::test]
async fn a_peer_that_cannot_keep_our_timeout_is_refused() {
    let options = Options { heartbeat: Duration::from_secs(4), ..Options::default() };
    let refused = memory_pair::<Note, Note>(id("agent:a1"), id("master:m1"), &options).await.map(|_| ());
    let refused = refused.unwrap_err();
    assert!(
        matches!(refused, HandshakeError::Heartbeat { .. } | HandshakeError::Refused { .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn nobody_there_is_an_error_in_time() {
    let agent = identity(ca(), "agent:a1");
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = connect::<Note, Note>(closed, &agent, Role::Master, &quick()).await.map(|_| ());
    assert!(matches!(refused, Err(ConnectError::Tcp { .. })), "{refused:?}");
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = Options { handshake_timeout: Duration::from_millis(200), ..quick() };
    let address = silent.local_addr().unwrap();
    let refused = connect::<Note, Note>(address, &agent, Role::Master, &options).await.map(|_| ());
    assert!(matches!(refused, Err(ConnectError::Timeout { limit_ms: 200, .. })), "{refused:?}");
}
