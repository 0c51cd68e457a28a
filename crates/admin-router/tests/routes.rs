//! Every row of the route table, asked over a real socket.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use std::collections::HashMap;

use admin_router::routes::{AuthAction, Methods, ROUTES, Target};
use admin_router::{AgentAddress, Leader, Resolver, Upstream};
use axum::Router;
use axum::extract::Request;
use common::{Door, View, dead, serve};

/// Answers with its name and what it was asked.
fn echo(name: &'static str) -> Router {
    Router::new().fallback(move |request: Request| async move {
        let mut lines = vec![format!("{name} {} {}", request.method(), request.uri())];
        for (key, value) in request.headers() {
            lines.push(format!("{key}: {}", String::from_utf8_lossy(value.as_bytes())));
        }
        lines.join("\n")
    })
}

async fn full_view() -> View {
    let agent = serve(echo("agent")).await;
    let other = serve(echo("leader")).await;
    View {
        agents: Some(HashMap::from([("a-S0".to_owned(), agent)])),
        mesos: Some(Upstream::Service(echo("mesos"))),
        marathon: Some(Upstream::Service(echo("marathon"))),
        leader: Leader::Other(other),
    }
}

#[tokio::test]
async fn every_row_of_the_table_answers_as_its_target_says() {
    let door = Door::open(full_view().await).await;
    for route in ROUTES {
        let path = route.pattern.replace("{id}", "a-S0").replace("{name}", "some.name").replace('*', "x/y");
        let answer = door.get(&path).await;
        let first = answer.body.lines().next().unwrap_or_default().to_owned();
        let (status, body) = match route.target {
            Target::Landing => (200, "<!doctype html>".to_owned()),
            Target::DcosVersion | Target::Metadata => (200, first.clone()),
            Target::AddSlash(status) => (status.as_u16(), first.clone()),
            Target::Marathon => (200, "marathon GET /x/y".to_owned()),
            Target::Mesos => (200, "mesos GET /x/y".to_owned()),
            Target::Agent if route.pattern.ends_with('*') => (200, "agent GET /x/y".to_owned()),
            Target::Agent => (200, "agent GET /".to_owned()),
            Target::LeaderSystem => (200, "leader GET /system/v1/x/y".to_owned()),
            Target::NoService => (404, "404 Not Found: service not found.".to_owned()),
            Target::Hidden => (404, first.clone()),
        };
        assert_eq!((answer.status(), first), (status, body), "{}", route.pattern);
        assert_eq!(route.auth == AuthAction::Internal, route.target == Target::Hidden, "{}", route.pattern);
        if route.methods == Methods::Read {
            let post = format!("POST {path} HTTP/1.1\nHost: a\nConnection: close\nContent-Length: 0\n\n");
            assert_eq!(door.ask(&post).await.status(), 405, "{}", route.pattern);
        }
    }
    door.close().await;
}

#[tokio::test]
async fn redirects_stay_inside_whatever_the_host_says() {
    let door = Door::open(full_view().await).await;
    for (path, status, location) in [
        ("/marathon?a=1&b=%2F", 307, "/marathon/?a=1&b=%2F"),
        ("/mesos", 301, "/mesos/"),
        ("/service/marathon", 301, "/service/marathon/"),
        ("/service/foo?x", 301, "/service/foo/?x"),
        ("//mesos", 301, "/mesos/"),
    ] {
        let answer = door.ask(&format!("GET {path} HTTP/1.1\nHost: bad.host\nConnection: close\n\n")).await;
        assert_eq!((answer.status(), answer.header("location")), (status, Some(location)), "{path}");
    }
}

#[tokio::test]
async fn encoded_bytes_and_queries_pass_untouched() {
    let door = Door::open(full_view().await).await;
    for (path, line) in [
        ("/slave/a-S0/slave%281%29/state?jsonp=%20x", "agent GET /slave%281%29/state?jsonp=%20x"),
        ("/service/marathon/v2/apps/%2Fa%2Fb?force=true", "marathon GET /v2/apps/%2Fa%2Fb?force=true"),
        ("/marathon/v2/apps//web", "marathon GET /v2/apps//web"),
        ("/agent/a-S0/files/read?path=/../x", "agent GET /files/read?path=/../x"),
    ] {
        let answer = door.get(path).await;
        assert_eq!(answer.body.lines().next(), Some(line), "{path}");
    }
}

#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let door = Door::open(full_view().await).await;
    for path in ["/mesos/../metadata", "/service/marathon/%2e%2e/x", "/mesos/a%2f..%2fb", "/mesos/%00"] {
        assert_eq!(door.get(path).await.status(), 400, "{path}");
    }
    for request in [
        "GET /mesos/x HTTP/1.1\nConnection: close\n\n",
        "GET /mesos/x HTTP/1.1\nHost: a\nHost: b\nConnection: close\n\n",
        "POST /mesos/x HTTP/1.1\nHost: a\nContent-Length: 3\nContent-Length: 4\nConnection: close\n\nabcd",
        "GET /mesos/x y HTTP/1.1\nHost: a\nConnection: close\n\n",
    ] {
        assert_eq!(door.ask(request).await.status(), 400, "{request}");
    }
    for method in ["TRACE", "CONNECT"] {
        let answer = door.ask(&format!("{method} /mesos/x HTTP/1.1\nHost: a\nConnection: close\n\n")).await;
        assert!(matches!(answer.status(), 400 | 405), "{method}: {answer:?}");
    }
}

/// A body with both lengths must not let a second request through to an upstream.
#[tokio::test]
async fn both_lengths_do_not_smuggle_a_second_request() {
    let door = Door::open(full_view().await).await;
    let answer = door
        .ask(
            "POST /mesos/x HTTP/1.1\nHost: a\nConnection: close\nContent-Length: 4\nTransfer-Encoding: chunked\n\n\
             0\n\nGET /mesos/smuggled HTTP/1.1\nHost: a\n\n",
        )
        .await;
    assert!(!answer.body.contains("smuggled"), "{answer:?}");
    assert!(!answer.body.contains("content-length: 4"), "{answer:?}");
}

#[tokio::test]
async fn an_absolute_uri_names_the_host() {
    let door = Door::open(full_view().await).await;
    let answer = door.ask("GET http://real.host/mesos/x HTTP/1.1\nHost: other\nConnection: close\n\n").await;
    assert!(answer.body.contains("\nhost: real.host\n"), "{answer:?}");
}

#[tokio::test]
async fn upstreams_learn_the_client_from_the_door_only() {
    let door = Door::open(full_view().await).await;
    for path in ["/mesos/x", "/agent/a-S0/x"] {
        let answer = door
            .ask(&format!(
                "GET {path} HTTP/1.1\nHost: door.test:81\nX-Forwarded-For: 8.8.8.8\nX-Forwarded-Proto: https\n\
                 X-Real-IP: 8.8.8.8\nForwarded: for=8.8.8.8\nX-Drop: 1\nTE: trailers\nKeep-Alive: timeout=9\n\
                 Cookie: a=1; dcos-acs-auth-cookie=t; b=2\nConnection: close, X-Drop\n\n"
            ))
            .await;
        let body = answer.body;
        for line in [
            "\nx-forwarded-for: 127.0.0.1",
            "\nx-real-ip: 127.0.0.1",
            "\nx-forwarded-proto: http",
            "\nx-forwarded-host: door.test:81",
            &format!("\nx-forwarded-port: {}", door.addr.port()),
            "\nhost: door.test:81",
            "\ncookie: a=1; b=2",
        ] {
            assert!(body.contains(line), "{path} lacks {line:?}: {body}");
        }
        for gone in ["8.8.8.8", "x-drop", "\nte:", "keep-alive", "acs-auth"] {
            assert!(!body.contains(gone), "{path} has {gone}: {body}");
        }
    }
}

#[tokio::test]
async fn failures_have_the_contracts_form() {
    let mut view = full_view().await;
    let gone = dead().await;
    view.agents.as_mut().unwrap().insert("dead-S1".into(), gone);
    view.mesos = None;
    view.marathon = None;
    let door = Door::open(view).await;
    for (path, status, body) in [
        ("/exhibitor", 404, "404 Not Found: no route for `/exhibitor`.\n"),
        ("/agent/b-S9/state", 404, "404 Not Found: agent `b-S9` unknown.\n"),
        ("/mesos/state", 503, "503 Service Unavailable: mesos leader is unknown.\n"),
        ("/service/marathon/v2/apps", 503, "503 Service Unavailable: marathon leader is unknown.\n"),
        ("/service/group/app/x", 404, "404 Not Found: service not found.\n"),
    ] {
        let answer = door.get(path).await;
        assert_eq!((answer.status(), answer.body.as_str()), (status, body), "{path}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"), "{path}");
    }
    let answer = door.get("/agent/dead-S1/state").await;
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.header("content-type"), Some("text/html"));
    assert!(answer.body.contains("<title>502 Bad Gateway</title>"), "{answer:?}");
    assert!(answer.body.contains(&format!("the agent at {gone} could not be asked")), "{answer:?}");

    let blind = Door::open(View { agents: None, leader: Leader::Unknown, ..View::default() }).await;
    let answer = blind.get("/agent/a-S0/state").await;
    assert_eq!(
        (answer.status(), answer.body.as_str()),
        (503, "503 Service Unavailable: cache state is invalid\n")
    );
    let answer = blind.get("/system/v1/leader/mesos/logs").await;
    assert_eq!(answer.body, "503 Service Unavailable: mesos leader is unknown.\n");
}

#[tokio::test]
async fn a_request_is_passed_to_the_leading_door_once() {
    let door = Door::open(full_view().await).await;
    let answer = door.get("/system/v1/leader/marathon/logs/v2?x=1").await;
    assert!(answer.body.starts_with("leader GET /system/v1/logs/v2?x=1\n"), "{answer:?}");
    assert!(answer.body.contains("dcos-forwarded: true"), "{answer:?}");
    let answer = door
        .ask("GET /system/v1/leader/mesos/x HTTP/1.1\nHost: a\nDCOS-Forwarded: true\nConnection: close\n\n")
        .await;
    assert_eq!(answer.status(), 503);
}

#[tokio::test]
async fn documents_have_the_contracts_keys() {
    let door = Door::open(View::default()).await;
    let answer = door.get("/dcos-metadata/dcos-version.json").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let zeros = "0".repeat(40);
    let product = env!("CARGO_PKG_VERSION");
    assert_eq!(
        answer.body,
        format!(
            "{{\"version\":\"1.12.5\",\"dcos-variant\":\"open\",\"dcos-image-commit\":\"{zeros}\",\
             \"bootstrap-id\":\"{zeros}\",\"dcosd-version\":\"{product}\"}}\n"
        )
    );
    assert_eq!(door.get("/metadata").await.body, "{\"PUBLIC_IPV4\":\"127.0.0.1\",\"CLUSTER_ID\":\"\"}\n");
    let head = door.ask("HEAD / HTTP/1.1\nHost: a\nConnection: close\n\n").await;
    assert_eq!((head.status(), head.body.as_str()), (200, ""));
    assert!(door.get("/").await.body.contains("DC/OS"));
}

#[test]
fn a_resolver_is_an_object() {
    fn takes(_: &dyn Resolver) {}
    takes(&common::Fixed(std::sync::Mutex::new(View::default())));
    assert_eq!(common::Fixed(std::sync::Mutex::new(View::default())).agent("x"), AgentAddress::Unknown);
}
