//! Looks at services and tasks, as health checks take them.
//!
//! Numbers `sea_…` are those of the scheduler and executor API's checklist.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use containers::{Command, ExitStatus, NestedSpec, Probed, probe_http, probe_tcp};
use model::ContainerId;
use support::Node;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const LIMIT: Option<Duration> = Some(Duration::from_secs(10));

/// Answers by path, a new connection for each; `/hang` never ends its body.
async fn server(address: &str) -> u16 {
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let count = stream.read(&mut request).await.unwrap_or_default();
            let request = String::from_utf8_lossy(&request[..count]).into_owned();
            let answer = match request.split(' ').nth(1) {
                Some("/moved") => {
                    "HTTP/1.1 302 Found\r\nLocation: /not-modified\r\nContent-Length: 0\r\n\r\n"
                }
                Some("/not-modified") => "HTTP/1.1 304 Not Modified\r\n\r\n",
                Some("/round") => "HTTP/1.1 307 Round\r\nLocation: /round\r\nContent-Length: 0\r\n\r\n",
                Some("/hang") => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
                Some("/fine?a=b") => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            };
            let _ = stream.write_all(answer.as_bytes()).await;
            if answer.ends_with("ab") {
                open.push(stream);
            }
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn sea_55_http_as_curl_does_it() {
    let port = server("127.0.0.1:0").await;
    let get = async |path: &str| probe_http(false, false, port, path, LIMIT).await;
    assert_eq!(get("/fine?a=b").await, Probed::Done(200));
    assert_eq!(get("/missing").await, Probed::Done(404));
    assert_eq!(get("/not-modified").await, Probed::Done(304));
    assert_eq!(get("/moved").await, Probed::Done(304), "the final status counts");
    assert!(matches!(get("/round").await, Probed::Failed(_)));
    let short = Some(Duration::from_millis(200));
    assert_eq!(probe_http(false, false, port, "/hang", short).await, Probed::TimedOut);
    assert!(matches!(probe_http(true, false, port, "/", LIMIT).await, Probed::Failed(_)), "no TLS there");
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let Probed::Failed(text) = probe_http(false, false, nobody, "/", LIMIT).await else { panic!() };
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp() {
    let port = server("127.0.0.1:0").await;
    assert_eq!(probe_tcp(false, port, LIMIT).await, Probed::Done(true));
    assert_eq!(probe_tcp(true, port, LIMIT).await, Probed::Done(false), "nobody listens there");
    if let Ok(listener) = TcpListener::bind("[::1]:0").await {
        let port = listener.local_addr().unwrap().port();
        assert_eq!(probe_tcp(true, port, LIMIT).await, Probed::Done(true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_inside_a_task() {
    let node = Node::start().await;
    let mut spec = node.shell("p", "echo up; sleep 1000 & wait");
    spec.env = vec![("COLOR".into(), "blue".into())];
    node.runtime.launch(spec).await.unwrap();
    node.wait_output("p", "up").await;
    let run = async |script: &str, limit| {
        let spec = NestedSpec {
            id: ContainerId::new("p.check"),
            command: Command::Shell(script.into()),
            env: Vec::new(),
            user: None,
            terminal: None,
            session: true,
        };
        node.runtime.run_nested(spec, limit).await
    };
    // More output than anything holds, and an id that is free again at once.
    let script = "test $COLOR = blue || exit 9; head -c 1000000 /dev/zero; exit 3";
    assert_eq!(run(script, LIMIT).await, Probed::Done(ExitStatus::Code(3)));
    assert_eq!(run("true", None).await, Probed::Done(ExitStatus::Code(0)));
    let start = Instant::now();
    let short = Some(Duration::from_millis(300));
    assert_eq!(run("trap '' TERM; sleep 1000 & sleep 1001", short).await, Probed::TimedOut);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(node.runtime.operated().is_empty(), "nothing is left of it");
    let spec = NestedSpec {
        id: ContainerId::new("q.check"),
        command: Command::Shell("true".into()),
        env: Vec::new(),
        user: None,
        terminal: None,
        session: true,
    };
    assert!(matches!(node.runtime.run_nested(spec, None).await, Probed::Failed(_)));
    node.finish().await;
}
