//! Bodies, tunnels, limits and closing, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use admin_router::{Config, Limits, Upstream};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use common::{Door, PATIENCE, View, serve};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};

fn limits(limits: Limits) -> Config {
    Config { limits, ..Config::default() }
}

/// A body the test feeds chunk by chunk, answered at `/stream`.
fn fed() -> (mpsc::Sender<Bytes>, Router) {
    let (feed, chunks) = mpsc::channel::<Bytes>(4);
    let chunks = Arc::new(Mutex::new(Some(chunks)));
    let router = Router::new().fallback(move || {
        let chunks = Arc::clone(&chunks);
        async move {
            let chunks = chunks.lock().await.take().expect("asked once");
            let stream = futures_util::stream::unfold(chunks, |mut chunks| async {
                chunks.recv().await.map(|chunk| (Ok::<_, std::io::Error>(chunk), chunks))
            });
            Body::from_stream(stream)
        }
    });
    (feed, router)
}

async fn view_of(router: Router, over_http: bool) -> View {
    let upstream = if over_http { Upstream::Http(serve(router).await) } else { Upstream::Service(router) };
    View { mesos: Some(upstream.clone()), marathon: Some(upstream), ..View::default() }
}

#[tokio::test]
async fn the_first_chunk_arrives_before_the_last_is_sent() {
    for over_http in [false, true] {
        let (feed, router) = fed();
        let door = Door::open(view_of(router, over_http).await).await;
        let mut wire = door.connect().await;
        wire.send(b"GET /mesos/api/v1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
        for chunk in ["first", "second"] {
            feed.send(Bytes::from(chunk)).await.unwrap();
            wire.until(chunk).await;
        }
        drop(feed);
        wire.until("\r\n0\r\n\r\n").await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_upstreams_stream() {
    for over_http in [false, true] {
        let (feed, router) = fed();
        let door = Door::open(view_of(router, over_http).await).await;
        let mut wire = door.connect().await;
        wire.send(b"GET /mesos/api/v1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
        feed.send(Bytes::from_static(b"first")).await.unwrap();
        wire.until("first").await;
        drop(wire);
        tokio::time::timeout(PATIENCE, feed.closed()).await.expect("the upstream notices");
    }
}

#[tokio::test]
async fn a_chunked_request_body_streams_to_the_upstream() {
    for over_http in [false, true] {
        let (told, mut heard) = mpsc::channel::<Bytes>(4);
        let router = Router::new().fallback(move |request: Request| {
            let told = told.clone();
            async move {
                let mut body = request.into_body().into_data_stream();
                while let Some(Ok(chunk)) = body.next().await {
                    told.send(chunk).await.unwrap();
                }
                "done"
            }
        });
        let door = Door::open(view_of(router, over_http).await).await;
        let mut wire = door.connect().await;
        wire.send(b"POST /mesos/api/v1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for chunk in ["one", "two"] {
            wire.send(format!("3\r\n{chunk}\r\n").as_bytes()).await;
            let heard = tokio::time::timeout(PATIENCE, heard.recv()).await.expect("passed on at once");
            assert_eq!(heard.as_deref(), Some(chunk.as_bytes()));
        }
        wire.send(b"0\r\n\r\n").await;
        wire.until("done").await;
    }
}

fn counting() -> (Arc<AtomicU64>, Router) {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let router = Router::new().fallback(move |request: Request| {
        let counter = Arc::clone(&counter);
        async move {
            let mut body = request.into_body().into_data_stream();
            while let Some(Ok(chunk)) = body.next().await {
                counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
            counter.load(Ordering::Relaxed).to_string()
        }
    });
    (count, router)
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The client, the door and the upstream share this process, so the peak bounds all three.
async fn upload(mib: usize) {
    let (_, router) = counting();
    let door = Door::open(view_of(router, true).await).await;
    let mut wire = door.connect().await;
    let head =
        format!("POST /service/marathon/up HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", mib << 20);
    wire.send(head.as_bytes()).await;
    let block = vec![7u8; 1 << 20];
    let before = resident_kib();
    for _ in 0..mib {
        wire.send(&block).await;
    }
    wire.until(&(mib << 20).to_string()).await;
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 24 << 10, "{mib} MiB grew the process by {grown} KiB");
}

#[tokio::test]
async fn an_upload_of_64_mib_takes_constant_memory() {
    upload(64).await;
}

#[tokio::test]
#[ignore = "long form, seconds: cargo test -p admin-router -- --ignored"]
async fn an_upload_of_1_gib_takes_constant_memory() {
    upload(1024).await;
}

#[tokio::test]
async fn a_body_over_its_limit_is_refused() {
    for over_http in [false, true] {
        let (count, router) = counting();
        let config = limits(Limits { body_bytes: 10, service_body_bytes: 20, ..Limits::default() });
        let door = Door::with(config, view_of(router, over_http).await).await;
        let declared =
            door.ask("POST /mesos/x HTTP/1.1\nHost: a\nConnection: close\nContent-Length: 11\n\n").await;
        assert_eq!(declared.status(), 413);
        assert_eq!(declared.body, "413 Payload Too Large: the request body may have 10 bytes here\n");
        let chunked =
            "HTTP/1.1\nHost: a\nConnection: close\nTransfer-Encoding: chunked\n\nf\n123456789abcdef\n0\n\n";
        assert_eq!(door.ask(&format!("POST /mesos/x {chunked}")).await.status(), 413);
        assert_eq!(count.load(Ordering::Relaxed), 0);
        assert_eq!(door.ask(&format!("POST /service/marathon/x {chunked}")).await.status(), 200);
    }
}

#[tokio::test]
async fn a_websocket_passes_both_ways_and_other_upgrades_do_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let upstream = tokio::spawn(async move {
        let mut heads = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut seen).await.unwrap();
            }
            let head = String::from_utf8(seen).unwrap();
            let upgrades = head.contains("upgrade: websocket");
            heads.push(head);
            if !upgrades {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                continue;
            }
            let switch =
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
            stream.write_all(switch).await.unwrap();
            let mut echo = [0; 4];
            stream.read_exact(&mut echo).await.unwrap();
            stream.write_all(&echo).await.unwrap();
        }
        heads
    });
    let view = View { agents: Some(HashMap::from([("a-S0".into(), addr)])), ..View::default() };
    let door = Door::open(view).await;
    let mut wire = door.connect().await;
    wire.send(b"GET /agent/a-S0/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n")
        .await;
    let head = wire.until("hello").await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    wire.send(b"ping").await;
    wire.until("ping").await;

    let other =
        "GET /agent/a-S0/x HTTP/1.1\nHost: a\nConnection: Upgrade, HTTP2-Settings, close\nUpgrade: h2c\n\n";
    assert_eq!(door.ask(other).await.status(), 200);
    let heads = upstream.await.unwrap();
    assert!(!heads[1].contains("h2c"), "{}", heads[1]);
}

/// Answers every connection with `reply` as it is.
async fn raw(reply: &'static [u8]) -> View {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = Upstream::Http(listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut seen).await.unwrap();
            }
            stream.write_all(reply).await.unwrap();
        }
    });
    View { mesos: Some(upstream), ..View::default() }
}

#[tokio::test]
async fn broken_upstreams_do_not_confuse_the_client() {
    let both = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nX-Drop: 1\r\n\
        Connection: X-Drop\r\nServer: nginx/1.2\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let answer = Door::open(raw(both).await).await.get("/mesos/x").await;
    assert!(
        answer.status() == 502
            || (answer.body.contains("hello") && answer.header("content-length").is_none())
    );
    for gone in ["x-drop", "server"] {
        assert_eq!(answer.header(gone), None);
    }
    for nonsense in [
        &b"SSH-2.0-OpenSSH\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 101 X\r\n\r\n",
    ] {
        let answer = Door::open(raw(nonsense).await).await.get("/mesos/x").await;
        assert_eq!(answer.status(), 502, "{answer:?}");
    }
}

#[tokio::test]
async fn a_silent_upstream_is_504_and_a_silent_client_408() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let view = View { mesos: Some(Upstream::Http(listener.local_addr().unwrap())), ..View::default() };
    let config = limits(Limits { stall_timeout: Duration::from_millis(200), ..Limits::default() });
    let door = Door::with(config, view).await;
    let answer = door.get("/mesos/x").await;
    assert_eq!(answer.status(), 504);
    assert!(answer.body.contains("sent no answer for 0.2 s"), "{answer:?}");
    let answer =
        door.ask("POST /mesos/x HTTP/1.1\nHost: a\nConnection: close\nContent-Length: 5\n\nab").await;
    assert_eq!(answer.status(), 408);
}

#[tokio::test]
async fn an_upstream_that_accepts_nothing_is_504() {
    let full = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let addr = full.local_addr().unwrap();
    // Fills the queue of connections that nobody takes.
    let mut queue = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
        queue.push(stream);
        assert!(queue.len() < 100, "the queue has no end");
    }
    let view = View { mesos: Some(Upstream::Http(addr)), ..View::default() };
    let config = limits(Limits { connect_timeout: Duration::from_millis(200), ..Limits::default() });
    let answer = Door::with(config, view).await.get("/mesos/x").await;
    assert_eq!(answer.status(), 504);
    assert!(answer.body.contains(&format!("{addr} did not accept a connection in time")), "{answer:?}");
}

#[tokio::test]
async fn connections_headers_and_their_time_are_bounded() {
    let config = limits(Limits {
        connections: 1,
        header_bytes: 16 << 10,
        headers: 10,
        header_timeout: Duration::from_millis(300),
        ..Limits::default()
    });
    let door = Door::with(config, View::default()).await;
    let mut holder = door.connect().await;
    holder.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    holder.until("</html>").await;
    let refused = door.get("/").await;
    assert_eq!(refused.status(), 503, "{refused:?}");
    assert_eq!(refused.header("content-length"), Some(refused.body.len().to_string().as_str()));
    // The idle holder runs into the header timeout, which frees its place.
    holder.answer().await;

    let start = Instant::now();
    let mut slow = door.connect().await;
    slow.send(b"GET / HTTP/1.1\r\nHost: a\r\n").await;
    slow.answer().await;
    assert!(start.elapsed() < Duration::from_secs(5));

    let many = "X-A: 1\n".repeat(20);
    assert_eq!(door.ask(&format!("GET / HTTP/1.1\nHost: a\n{many}\n")).await.status(), 431);
    let large = "x".repeat(20 << 10);
    assert_eq!(door.ask(&format!("GET / HTTP/1.1\nHost: a\nX-A: {large}\n\n")).await.status(), 431);
}

#[tokio::test]
async fn closing_lets_requests_finish_and_cuts_what_does_not() {
    let (feed, router) = fed();
    let mut door = Door::open(view_of(router, false).await).await;
    let mut wire = door.connect().await;
    wire.send(b"GET /mesos/x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    feed.send(Bytes::from_static(b"first")).await.unwrap();
    wire.until("first").await;
    door.begin_close();
    tokio::time::sleep(Duration::from_millis(50)).await;
    feed.send(Bytes::from_static(b"last")).await.unwrap();
    drop(feed);
    wire.until("last").await;
    door.close().await;

    let (feed, router) = fed();
    let config = limits(Limits { drain_timeout: Duration::from_millis(100), ..Limits::default() });
    let door = Door::with(config, view_of(router, false).await).await;
    let mut wire = door.connect().await;
    wire.send(b"GET /mesos/x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    feed.send(Bytes::from_static(b"first")).await.unwrap();
    wire.until("first").await;
    door.close().await;
    wire.answer().await;
}
