//! The contract's statements, asked over HTTP; numbers are the checklist's
//! (`docs/conformance/marathon.md`).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use axum::body::Body;
use common::Marathon;
use http::{Request, StatusCode};
use marathon_http::{BODY_BYTES_MAX, ROUTES};
use serde_json::{Value, json};

const SLEEP: &str = r#"{"id":"/x","cmd":"sleep 1000","cpus":0.5,"mem":256,"instances":2}"#;

fn with(body: &str, key: &str, value: Value) -> String {
    let mut app: Value = serde_json::from_str(body).unwrap();
    app[key] = value;
    app.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_1_2_and_root_3_and_headers_17() {
    let m = Marathon::start().await;
    assert_eq!(m.get_as("/ping", "text/plain").await.body, "pong");
    assert_eq!(m.get_as("/ping", "application/json").await.body, "\"pong\"");
    assert_eq!(m.get("/ping").await.body, "pong");
    assert_eq!(m.get_as("/ping", "image/png").await.status, StatusCode::NO_CONTENT);
    let root = m.get("/").await;
    assert_eq!((root.status, root.header("location")), (StatusCode::FOUND, Some("/ui/")));
    for uri in ["/ping", "/v2/apps", "/v2/nothing"] {
        let answer = m.get(uri).await;
        assert_eq!(answer.header("cache-control"), Some("no-cache, no-store, must-revalidate"), "{uri}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("x-marathon-leader"), Some("http://10.0.0.1:8080"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn info_7_leader_8_unknown_18() {
    let m = Marathon::start().await;
    m.wait_for("the subscription", || m.handle.view().framework_id.is_some()).await;
    let info = m.get("/v2/info").await.json();
    assert_eq!(info["frameworkId"], "framework-0");
    assert_eq!(info["elected"], true);
    assert_eq!(info["version"], "1.7.236");
    assert_eq!(info["leader"], "10.0.0.1:8080");
    assert_eq!(info["marathon_config"]["mesos_role"], "slave_public");
    assert!(info["marathon_config"]["features"].as_array().unwrap().contains(&json!("vips")));
    assert_eq!(m.get("/v2/leader").await.json(), json!({ "leader": "10.0.0.1:8080" }));
    let unknown = m.get("/v2/nothing").await;
    assert_eq!((unknown.status, unknown.message()), (StatusCode::NOT_FOUND, "URI not found".to_owned()));
    let wrong = m.call("POST", "/v2/apps/x", "{}").await;
    assert_eq!(wrong.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(wrong.header("allow"), Some("GET, PUT, PATCH, DELETE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn create_24_25_26_and_read_38_42() {
    let m = Marathon::start().await;
    let created = m.call("POST", "/v2/apps", SLEEP).await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(created.header("location"), Some("/x"));
    let body = created.json();
    let deployment = created.header("marathon-deployment-id").unwrap();
    assert_eq!(body["deployments"], json!([{ "id": deployment }]));
    assert_eq!(body["tasks"], json!([]));
    assert_eq!(body["tasksRunning"], 0);
    assert!(body["version"].as_str().unwrap().ends_with('Z'));
    // Whoever was answered reads what it wrote.
    assert_eq!(m.get("/v2/apps/x").await.status, StatusCode::OK);
    m.settled().await;

    let shown = m.get("/v2/apps//x/").await;
    let app = &shown.json()["app"];
    assert_eq!(app["tasksRunning"], 2);
    assert_eq!(app["tasks"].as_array().unwrap().len(), 2);
    assert_eq!(app["deployments"], json!([]));
    for text in [
        r#""cpus":0.5"#,
        r#""mem":256,"#,
        r#""disk":0,"#,
        r#""gpus":0,"#,
        r#""backoffFactor":1.15"#,
        r#""portDefinitions":[{"name":"default","port":10000,"protocol":"tcp"}]"#,
        r#""networks":[{"mode":"host"}]"#,
        r#""unreachableStrategy":{"expungeAfterSeconds":0,"inactiveAfterSeconds":0}"#,
        r#""upgradeStrategy":{"maximumOverCapacity":1,"minimumHealthCapacity":1}"#,
        r#""executor":"","#,
        r#""killSelection":"YOUNGEST_FIRST""#,
        r#""maxLaunchDelaySeconds":3600"#,
        r#""requirePorts":false"#,
    ] {
        assert!(shown.body.contains(text), "{text} in {}", shown.body);
    }
    for absent in ["env", "labels", "args", "container", "fetch", "healthChecks", "user", "lastTaskFailure"] {
        assert!(app.get(absent).is_none(), "{absent} is printed");
    }
    let list = m.get("/v2/apps").await.json();
    assert!(list["apps"][0].get("tasks").is_none());
    assert_eq!(list["apps"][0]["tasksRunning"], 2);
    assert_eq!(list["apps"][0]["deployments"], json!([]));
    let embedded = m.get("/v2/apps?embed=apps.tasks&embed=apps.taskStats&embed=nonsense").await.json();
    assert_eq!(embedded["apps"][0]["tasks"][0]["state"], "TASK_RUNNING");
    assert_eq!(embedded["apps"][0]["taskStats"]["totalSummary"]["stats"]["counts"]["running"], 2);

    let again = m.call("POST", "/v2/apps", SLEEP).await;
    assert_eq!(
        (again.status, again.message()),
        (StatusCode::CONFLICT, "An app with id [/x] already exists.".into())
    );
    let relative = m.create(&with(SLEEP, "id", json!("y"))).await;
    assert_eq!(relative.json()["id"], "/y");
    let unknown = m.get("/v2/apps/z").await;
    assert_eq!(
        (unknown.status, unknown.message()),
        (StatusCode::NOT_FOUND, "App '/z' does not exist".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_ids_27_28_43() {
    let m = Marathon::start().await;
    m.create(&with(SLEEP, "id", json!("/a/b/c"))).await;
    m.create(&with(SLEEP, "id", json!("/a/d"))).await;
    let clash = m.call("POST", "/v2/apps", with(SLEEP, "id", json!("/a"))).await;
    assert_eq!(clash.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(clash.errors_at("/id"), ["Groups and Applications may not have the same identifier."]);
    let below = m.call("POST", "/v2/apps", with(SLEEP, "id", json!("/a/d/e"))).await;
    assert_eq!(below.status, StatusCode::UNPROCESSABLE_ENTITY);
    let group = m.get("/v2/apps/a/*").await.json();
    let ids: Vec<&str> =
        group["*"].as_array().unwrap().iter().map(|app| app["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["/a/b/c", "/a/d"]);
    let none = m.get("/v2/apps/n/*").await;
    assert_eq!((none.status, none.message()), (StatusCode::NOT_FOUND, "Group '/n' does not exist".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_29_30() {
    let m = Marathon::start().await;
    for bad in [
        "/A",
        "/a_b",
        "/...",
        "/a b",
        "/a+",
        "/a!",
        "/[",
        "/-a",
        "/a-",
        "/",
        "/a/restart",
        "/a/tasks",
        "/versions",
    ] {
        let answer = m.call("POST", "/v2/apps", with(SLEEP, "id", json!(bad))).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
        assert!(!answer.errors_at("/id").is_empty(), "{bad}");
    }
    let long = m.call("POST", "/v2/apps", with(SLEEP, "id", json!("/a".repeat(500)))).await;
    assert_eq!(long.errors_at("/id"), ["error.maxLength"]);
    for good in ["/a.b", "/0/1", "/a-b/c.d"] {
        assert_eq!(
            m.call("POST", "/v2/apps", with(SLEEP, "id", json!(good))).await.status,
            StatusCode::CREATED
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_31_32() {
    let m = Marathon::start().await;
    let answer = m.call("POST", "/v2/apps", "{").await;
    assert_eq!((answer.status, answer.message()), (StatusCode::BAD_REQUEST, "Invalid JSON".to_owned()));
    assert!(answer.json()["details"].is_string());
    let empty = m.call("POST", "/v2/apps", " ").await;
    assert_eq!(empty.message(), "Please specify data in JSON format");
    for (key, value, path, error) in [
        ("instances", json!("3"), "/instances", "error.expected.jsnumber"),
        ("instances", json!(-1), "/instances", "error.min"),
        ("instances", json!(1.5), "/instances", "error.expected.jsnumber"),
        ("instances", json!(1e18), "/instances", "error.max"),
        ("cpus", json!(-0.1), "/cpus", "error.min"),
        ("cpus", json!({}), "/cpus", "error.expected.jsnumber"),
        ("cmd", json!(5), "/cmd", "error.expected.jsstring"),
        ("args", json!("x"), "/args", "error.expected.jsarray"),
        ("env", json!([]), "/env", "error.expected.jsobject"),
        ("requirePorts", json!("true"), "/requirePorts", "error.expected.jsboolean"),
        ("killSelection", json!("best"), "/killSelection", "error.unknown.enum.literal"),
        ("labels", json!({"a": 1}), "/labels/a", "error.expected.jsstring"),
        ("portDefinitions", json!([{"port": 70000}]), "/portDefinitions(0)/port", "error.max"),
        ("portDefinitions", json!([{"name": "A"}]), "/portDefinitions(0)/name", "error.pattern"),
        ("backoffFactor", json!(0.5), "/backoffFactor", "error.min"),
    ] {
        let answer = m.call("POST", "/v2/apps", with(SLEEP, key, value.clone())).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{key} {value}");
        assert_eq!(answer.message(), "Invalid JSON");
        assert_eq!(answer.errors_at(path), [error], "{key} {value}: {}", answer.body);
    }
    let no_id = m.call("POST", "/v2/apps", r#"{"cmd":"sleep 1"}"#).await;
    assert_eq!(no_id.errors_at("/id"), ["error.path.missing"]);
    assert_eq!(m.call("POST", "/v2/apps", "[]").await.errors_at("/"), ["error.expected.jsobject"]);
    assert!(m.handle.view().apps.is_empty(), "nothing was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_requests_end_in_clear_refusals() {
    let m = Marathon::start().await;
    let huge = m.call("POST", "/v2/apps", with(SLEEP, "cpus", json!(1e308))).await;
    assert_eq!(huge.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(huge.errors_at("/cpus")[0].contains("expected at most"), "{}", huge.body);
    let beyond = SLEEP.replace("0.5", "1e999");
    assert_eq!(m.call("POST", "/v2/apps", beyond).await.status, StatusCode::BAD_REQUEST);
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep = m.call("POST", "/v2/apps", format!(r#"{{"id":"/x","cmd":"sleep 1","x":{deep}}}"#)).await;
    assert_eq!((deep.status, deep.message()), (StatusCode::BAD_REQUEST, "Invalid JSON".to_owned()));
    // A length that is only declared is refused before anything is read.
    let declared = Request::builder().method("POST").uri("/v2/apps").header("Content-Length", "10000000000");
    let declared = m.send(declared.body(Body::empty()).unwrap()).await;
    assert_eq!(declared.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(declared.message().contains(&BODY_BYTES_MAX.to_string()));
    let sent = m.call("POST", "/v2/apps", vec![b' '; BODY_BYTES_MAX + 1]).await;
    assert_eq!(sent.status, StatusCode::PAYLOAD_TOO_LARGE);
    // Larger than the store takes: refused whole.
    let fat = m.call("POST", "/v2/apps", with(SLEEP, "env", json!({ "A": "x".repeat(2_000_000) }))).await;
    assert_eq!(fat.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(fat.message().contains("the limit is"), "{}", fat.body);
    let nul = m.call("POST", "/v2/apps", with(SLEEP, "cmd", json!("sleep\u{0}1"))).await;
    assert_eq!(nul.status, StatusCode::UNPROCESSABLE_ENTITY);
    let query = format!("/v2/apps?id={}", "x".repeat(20_000));
    assert_eq!(m.get(&query).await.status, StatusCode::URI_TOO_LONG);
    assert_eq!(m.get("/v2/apps?id=%zz").await.status, StatusCode::BAD_REQUEST);
    assert!(m.handle.view().apps.is_empty());
    m.create(SLEEP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_33_34_99_135_152() {
    let m = Marathon::start().await;
    let either = "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.";
    assert_eq!(m.call("POST", "/v2/apps", r#"{"id":"/x"}"#).await.errors_at("/"), [either]);
    let both = m.call("POST", "/v2/apps", with(SLEEP, "args", json!(["a"]))).await;
    assert_eq!(
        (both.message(), both.errors_at("/")),
        ("Object is not valid".to_owned(), vec![either.to_owned()])
    );
    let mappings = json!({ "type": "MESOS", "portMappings": [{ "containerPort": 80 }] });
    let mappings = m.call("POST", "/v2/apps", with(SLEEP, "container", mappings)).await;
    assert_eq!(
        mappings.errors_at("/container/portMappings"),
        ["portMappings are not allowed with host-networking"]
    );
    let mut bridge: Value = serde_json::from_str(SLEEP).unwrap();
    bridge["networks"] = json!([{ "mode": "container/bridge" }]);
    bridge["portDefinitions"] = json!([{ "port": 0 }]);
    let bridge = m.call("POST", "/v2/apps", bridge.to_string()).await;
    assert_eq!(
        bridge.errors_at("/portDefinitions"),
        ["portDefinitions are only allowed with host-networking"]
    );
    let roles = m.call("POST", "/v2/apps", with(SLEEP, "acceptedResourceRoles", json!([]))).await;
    assert_eq!(roles.errors_at("/acceptedResourceRoles"), ["must not be empty"]);
    let order = json!({ "inactiveAfterSeconds": 60, "expungeAfterSeconds": 30 });
    let order = m.call("POST", "/v2/apps", with(SLEEP, "unreachableStrategy", order)).await;
    assert_eq!(order.status, StatusCode::UNPROCESSABLE_ENTITY);
    for (constraint, text) in [
        (json!(["hostname", "NEAR"]), "operator must be one of the following"),
        (json!(["hostname", "UNIQUE", "x"]), "UNIQUE does not accept a value"),
        (json!(["hostname", "GROUP_BY", "x"]), "GROUP BY must define an integer value"),
    ] {
        let answer = m.call("POST", "/v2/apps", with(SLEEP, "constraints", json!([constraint]))).await;
        assert!(answer.errors_at("/constraints(0)")[0].starts_with(text), "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_yet_is_refused_at_its_field() {
    let m = Marathon::start().await;
    for (key, value, path) in [
        ("healthChecks", json!([{ "protocol": "HTTP", "path": "/" }]), "/healthChecks"),
        ("fetch", json!([{ "uri": "http://example.com/a.tgz" }]), "/fetch"),
        ("gpus", json!(1), "/gpus"),
        ("tty", json!(true), "/tty"),
        ("networks", json!([{ "mode": "container", "name": "dcos" }]), "/networks"),
    ] {
        let answer = m.call("POST", "/v2/apps", with(SLEEP, key, value)).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{key}");
        assert!(answer.errors_at(path)[0].ends_with("not available in this version"), "{}", answer.body);
    }
    for uri in ["/v2/groups", "/v2/pods", "/v2/pods/x", "/v2/plugins", "/metrics"] {
        let answer = m.get(uri).await;
        assert_eq!(answer.status, StatusCode::NOT_IMPLEMENTED, "{uri}");
        assert!(answer.message().ends_with("not available in this version"), "{uri}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_the_table_answers() {
    let m = Marathon::start().await;
    m.create(SLEEP).await;
    for route in ROUTES.iter().filter(|route| route.path != "/v2/events") {
        let uri = route.path.replace("{id}", "no/app").replace(['{', '}'], "");
        let body = if matches!(route.method, "GET" | "DELETE") { "" } else { "{" };
        let answer = m.call(route.method, &uri, body).await;
        assert_ne!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{} {uri}", route.method);
        assert!(answer.status != StatusCode::NOT_FOUND || answer.message() != "URI not found", "{uri}");
        assert!(!answer.status.is_server_error() || answer.status == StatusCode::NOT_IMPLEMENTED, "{uri}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leniency_35_36_37() {
    let m = Marathon::start().await;
    let body = json!({
        "id": "/x", "cmd": "sleep 1000", "cpus": 0.1, "fooBar": 1, "health": true, "args": null,
        "killSelection": "oldest_first", "constraints": [["hostname", "unique"]],
        "version": "2014-01-01T00:00:00.000Z",
        "versionInfo": { "lastScalingAt": "2014-01-01T00:00:00.000Z" },
        "container": { "type": "mesos" }, "networks": [{ "mode": "HOST" }],
    });
    let created = m.create(&body.to_string()).await.json();
    assert_eq!(created["killSelection"], "OLDEST_FIRST");
    assert_eq!(created["constraints"], json!([["hostname", "UNIQUE"]]));
    assert_eq!(created["container"]["type"], "MESOS");
    assert!(created.get("fooBar").is_none());
    assert_ne!(created["version"], "2014-01-01T00:00:00.000Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_39_40_41() {
    let m = Marathon::start().await;
    m.create(&with(SLEEP, "labels", json!({ "foo": "one" }))).await;
    m.create(&with(&with(SLEEP, "id", json!("/foo/y")), "labels", json!({ "foo": "two" }))).await;
    let count = async |uri: &str| {
        let answer = m.get(uri).await;
        assert_eq!(answer.status, StatusCode::OK, "{uri}");
        answer.json()["apps"].as_array().unwrap().len()
    };
    assert_eq!(count("/v2/apps?id=FOO&cmd=SLEEP").await, 1);
    assert_eq!(count("/v2/apps?cmd=nothing").await, 0);
    assert_eq!(count("/v2/apps?label=foo").await, 2);
    assert_eq!(count("/v2/apps?label=foo%3D%3Done").await, 1);
    assert_eq!(count("/v2/apps?label=foo!=one").await, 1);
    assert_eq!(count("/v2/apps?label=foo+notin+(one,two)").await, 0);
    let bad = m.get("/v2/apps?label=foo%20in").await;
    assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(bad.message().starts_with("Can not parse label selector foo in"));
}

#[tokio::test(flavor = "multi_thread")]
async fn deprecated_forms_47_and_single_files() {
    let m = Marathon::start().await;
    let docker = json!({
        "cmd": "sleep 1000", "cpus": 0.1, "mem": 32,
        "container": { "docker": { "image": "alpine", "network": "HOST" } },
    });
    let put = m.call("PUT", "/v2/apps/docker", docker.to_string()).await;
    assert_eq!((put.status, put.header("location")), (StatusCode::CREATED, Some("/docker")));
    m.settled().await;
    let app = m.get("/v2/apps/docker").await.json();
    assert_eq!(app["app"]["portDefinitions"][0]["port"], 10000);
    assert_eq!(
        app["app"]["container"],
        json!({
            "type": "DOCKER",
            "volumes": [],
            "docker": { "image": "alpine", "forcePullImage": false, "parameters": [], "privileged": false },
        })
    );
    let ports = m.create(&with(&with(SLEEP, "id", json!("/p")), "ports", json!([0, 15000]))).await.json();
    assert_eq!(
        ports["portDefinitions"],
        json!([{ "port": 10001, "protocol": "tcp" }, { "port": 15000, "protocol": "tcp" }])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_51_to_60() {
    let m = Marathon::start().await;
    m.create(SLEEP).await;
    let first = m.get("/v2/apps/x").await.json()["app"].clone();
    let put = m.call("PUT", "/v2/apps/x", r#"{"instances":3}"#).await;
    assert_eq!(put.status, StatusCode::OK);
    assert_eq!(put.json()["deploymentId"].as_str(), put.header("marathon-deployment-id"));
    m.settled().await;
    let scaled = m.get("/v2/apps/x").await.json()["app"].clone();
    assert_eq!(scaled["tasksRunning"], 3);
    assert_ne!(scaled["versionInfo"]["lastScalingAt"], first["versionInfo"]["lastScalingAt"]);
    assert_eq!(scaled["versionInfo"]["lastConfigChangeAt"], first["versionInfo"]["lastConfigChangeAt"]);

    let mut same: Value = serde_json::from_str(SLEEP).unwrap();
    same["instances"] = json!(3);
    assert_eq!(m.call("PUT", "/v2/apps/x", same.to_string()).await.status, StatusCode::OK);
    assert_eq!(m.get("/v2/deployments").await.json(), json!([]));
    assert_eq!(m.get("/v2/apps/x").await.json()["app"]["version"], scaled["version"]);

    m.call("PUT", "/v2/apps/x", r#"{"env":{"B":"2"}}"#).await;
    m.settled().await;
    m.call("PUT", "/v2/apps/x", r#"{"env":{"A":"1"}}"#).await;
    m.settled().await;
    assert_eq!(m.get("/v2/apps/x").await.json()["app"]["env"], json!({ "A": "1" }), "no deep merge");

    let unknown = m.call("PATCH", "/v2/apps/nope", r#"{"instances":1}"#).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let full = m.call("PUT", "/v2/apps/x?partialUpdate=false", r#"{"cmd":"sleep 5"}"#).await;
    assert_eq!(full.status, StatusCode::OK);
    m.settled().await;
    let replaced = m.get("/v2/apps/x").await.json()["app"].clone();
    assert_eq!(
        (&replaced["instances"], &replaced["cpus"], replaced.get("env")),
        (&json!(1), &json!(1), None)
    );

    let back = json!({ "version": first["version"] }).to_string();
    assert_eq!(m.call("PUT", "/v2/apps/x", back).await.status, StatusCode::OK);
    m.settled().await;
    let restored = m.get("/v2/apps/x").await.json()["app"].clone();
    assert_eq!((&restored["instances"], &restored["cpus"]), (&json!(2), &json!(0.5)));
    let never = m.call("PUT", "/v2/apps/x", r#"{"version":"2014-01-01T00:00:00.000Z"}"#).await;
    assert_eq!(never.status, StatusCode::NOT_FOUND);
    let mixed = json!({ "version": first["version"], "instances": 2 }).to_string();
    let mixed = m.call("PUT", "/v2/apps/x", mixed).await;
    assert_eq!(
        mixed.errors_at("/version"),
        ["The 'version' field may only be combined with the 'id' field."]
    );
    let nulls = m.call("PUT", "/v2/apps/x", r#"{"cmd":null,"env":null,"instances":null}"#).await;
    assert_eq!(nulls.status, StatusCode::OK);
    assert_eq!(m.get("/v2/deployments").await.json(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn arrays_61_62_and_invalid_updates_63() {
    let m = Marathon::start().await;
    m.create(SLEEP).await;
    let both = json!([{ "id": "/x", "instances": 1 }, { "id": "/y", "cmd": "sleep 9", "cpus": 0.1 }]);
    let put = m.call("PUT", "/v2/apps", both.to_string()).await;
    assert_eq!(put.status, StatusCode::OK);
    m.settled().await;
    assert_eq!(m.get("/v2/apps").await.json()["apps"].as_array().unwrap().len(), 2);
    let patch = json!([{ "id": "/x", "instances": 2 }, { "id": "/z", "instances": 1 }]).to_string();
    assert_eq!(m.call("PATCH", "/v2/apps", patch).await.status, StatusCode::NOT_FOUND);
    assert_eq!(m.get("/v2/apps/x").await.json()["app"]["instances"], 1);
    let bad = json!({ "container": { "type": "DOCKER" } }).to_string();
    let bad = m.call("PUT", "/v2/apps/x", bad).await;
    assert_eq!(
        (bad.status, bad.errors_at("/container/docker")),
        (StatusCode::UNPROCESSABLE_ENTITY, vec!["not defined".into()])
    );
    assert_eq!(m.get("/v2/apps/x").await.json()["app"]["tasksRunning"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_64_65_versions_67_delete_68_69() {
    let m = Marathon::start().await;
    m.create(SLEEP).await;
    let before = m.get("/v2/apps/x").await.json()["app"].clone();
    assert_eq!(m.call("POST", "/v2/apps/x/restart", "").await.status, StatusCode::OK);
    m.settled().await;
    let after = m.get("/v2/apps/x").await.json()["app"].clone();
    assert_ne!(after["tasks"][0]["id"], before["tasks"][0]["id"]);
    assert_ne!(after["version"], before["version"]);
    assert_eq!(after["versionInfo"]["lastConfigChangeAt"], before["versionInfo"]["lastConfigChangeAt"]);
    assert_eq!(m.call("POST", "/v2/apps/nope/restart", "").await.status, StatusCode::NOT_FOUND);

    let versions = m.get("/v2/apps/x/versions").await.json()["versions"].clone();
    assert_eq!(versions, json!([after["version"], before["version"]]), "newest first");
    let old = m.get(&format!("/v2/apps/x/versions/{}", before["version"].as_str().unwrap())).await;
    assert_eq!(old.json()["id"], "/x");
    let never = m.get("/v2/apps/x/versions/2014-01-01T00:00:00.000Z").await;
    assert!(never.message().starts_with("App '/x' does not exist in version"));

    assert_eq!(m.call("DELETE", "/v2/apps/x", "").await.status, StatusCode::OK);
    assert_eq!(m.get("/v2/apps/x").await.status, StatusCode::NOT_FOUND);
    m.settled().await;
    assert_eq!(m.get("/v2/tasks").await.json(), json!({ "tasks": [] }));
    assert_eq!(m.call("DELETE", "/v2/apps/x", "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_75_76_rollback_77_78_79_queue_74_143_144() {
    let m = Marathon::start().await;
    let created = m.call("POST", "/v2/apps", with(SLEEP, "cpus", json!(1000))).await;
    let id = created.header("marathon-deployment-id").unwrap().to_owned();
    m.wait_for("an offer to be refused", || {
        let view = m.handle.view();
        view.apps.values().any(|app| app.queue.as_ref().is_some_and(|queue| queue.tally.unused > 0))
    })
    .await;
    let locked = m.call("PUT", "/v2/apps/x", r#"{"instances":1}"#).await;
    assert_eq!(locked.status, StatusCode::CONFLICT);
    assert_eq!(locked.json()["deployments"], json!([{ "id": id }]));
    assert!(locked.message().contains("'/v2/deployments/<DEPLOYMENT_ID>'"));
    assert_eq!(m.call("DELETE", "/v2/apps/x?force=false", "").await.status, StatusCode::CONFLICT);

    let deployments = m.get("/v2/deployments").await.json();
    assert_eq!(deployments[0]["id"], json!(id));
    assert_eq!(deployments[0]["affectedApps"], json!(["/x"]));
    assert_eq!(deployments[0]["affectedPods"], json!([]));
    assert_eq!((&deployments[0]["currentStep"], &deployments[0]["totalSteps"]), (&json!(2), &json!(2)));
    assert_eq!(deployments[0]["currentActions"][0]["action"], "ScaleApplication");
    assert_eq!(deployments[0]["steps"][0]["actions"], json!([{ "action": "StartApplication", "app": "/x" }]));

    let queue = m.get("/v2/queue?embed=lastUnusedOffers").await.json();
    let item = &queue["queue"][0];
    assert_eq!((&item["app"]["id"], &item["count"]), (&json!("/x"), &json!(2)));
    assert_eq!(item["delay"], json!({ "timeLeftSeconds": 0, "overdue": true }));
    let funnel = item["processedOffersSummary"]["rejectSummaryLaunchAttempt"].as_array().unwrap();
    assert_eq!(funnel.len(), 10);
    assert_eq!(funnel[4]["reason"], "InsufficientCpus");
    assert_eq!(funnel[4]["declined"], item["processedOffersSummary"]["unusedOffersCount"]);
    for pair in funnel.windows(2) {
        let left = pair[0]["processed"].as_u64().unwrap() - pair[0]["declined"].as_u64().unwrap();
        assert_eq!(pair[1]["processed"], left);
    }
    let offer = &item["lastUnusedOffers"][0];
    assert_eq!(offer["reason"], json!(["InsufficientCpus"]));
    assert_eq!(offer["offer"]["hostname"], "host-0");
    assert!(
        offer["offer"]["resources"]
            .as_array()
            .unwrap()
            .contains(&json!({ "name": "cpus", "role": "*", "scalar": 4 }))
    );
    assert!(m.get("/v2/queue").await.json()["queue"][0].get("lastUnusedOffers").is_none());

    let undone = m.call("DELETE", &format!("/v2/deployments/{id}"), "").await;
    assert_eq!(undone.status, StatusCode::OK);
    assert_ne!(undone.json()["deploymentId"], json!(id));
    m.settled().await;
    assert_eq!(m.get("/v2/apps/x").await.status, StatusCode::NOT_FOUND);

    let again = m.call("POST", "/v2/apps", with(SLEEP, "cpus", json!(1000))).await;
    let id = again.header("marathon-deployment-id").unwrap().to_owned();
    let cancelled = m.call("DELETE", &format!("/v2/deployments/{id}?force=true"), "").await;
    assert_eq!((cancelled.status, cancelled.body.as_str()), (StatusCode::ACCEPTED, ""));
    assert_eq!(m.get("/v2/deployments").await.json(), json!([]));
    assert_eq!(m.get("/v2/apps/x").await.status, StatusCode::OK);
    let unknown = m.call("DELETE", &format!("/v2/deployments/{id}"), "").await;
    assert_eq!(unknown.message(), format!("DeploymentPlan {id} does not exist"));
    let forced = m.call("PUT", "/v2/apps/x?force=true", r#"{"cpus":0.1}"#).await;
    assert_eq!(forced.status, StatusCode::OK);
    m.settled().await;
    assert_eq!(m.get("/v2/apps/x").await.json()["app"]["tasksRunning"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_86_to_91_and_tasks() {
    let m = Marathon::start().await;
    m.create(SLEEP).await;
    let tasks = m.get("/v2/tasks").await.json()["tasks"].clone();
    let task = &tasks[0];
    assert_eq!(
        (&task["appId"], &task["host"], &task["state"]),
        (&json!("/x"), &json!("host-0"), &json!("TASK_RUNNING"))
    );
    assert_eq!(task["servicePorts"], json!([10000]));
    assert_eq!(task["ipAddresses"], json!([{ "ipAddress": "10.0.0.9", "protocol": "IPv4" }]));
    assert_eq!(task["slaveId"], "agent-0");
    assert!(task["startedAt"].is_string() && task["stagedAt"].is_string() && task["version"].is_string());
    let id = task["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("x.") && id.len() == "x.".len() + 36 && &id[16..17] == "1", "{id}");
    assert_eq!(m.get("/v2/tasks?status=staging").await.json()["tasks"], json!([]));
    assert_eq!(m.get("/v2/tasks?status[]=running").await.json()["tasks"].as_array().unwrap().len(), 2);
    let text = m.get_as("/v2/tasks", "text/plain").await;
    assert_eq!(text.header("content-type"), Some("text/plain"));
    let port = |n: usize| tasks[n]["ports"][0].as_u64().unwrap();
    assert_eq!(text.body, format!("x\t10000\thost-0:{}\thost-0:{}\t\n", port(0), port(1)));

    let killed = m.call("DELETE", &format!("/v2/apps/x/tasks/{id}"), "").await;
    assert_eq!(killed.json()["task"]["id"], json!(id));
    m.wait_for("the replacement", || {
        let view = m.handle.view();
        let instances = &view.apps.values().next().unwrap().instances;
        instances.len() == 2 && instances.iter().all(|i| i.is_running() && i.task_id.as_str() != id)
    })
    .await;
    let unknown = m.call("DELETE", &format!("/v2/apps/x/tasks/{id}"), "").await;
    assert_eq!(unknown.message(), format!("Task '{id}' does not exist"));

    let other = tasks[1]["id"].as_str().unwrap();
    let body = json!({ "ids": [other, "gone.00000000-0000-1000-8000-000000000000"] }).to_string();
    let scaled = m.call("POST", "/v2/tasks/delete?scale=true", body).await;
    assert!(scaled.json()["deploymentId"].is_string());
    m.settled().await;
    assert_eq!(m.get("/v2/apps/x").await.json()["app"]["instances"], 1);
    let bad = m.call("POST", "/v2/tasks/delete", r#"{"ids":["nonsense"]}"#).await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
    assert!(bad.message().starts_with("Invalid task id 'nonsense'"));
    let both = m.call("DELETE", "/v2/apps/x/tasks?scale=true&wipe=true", "").await;
    assert_eq!(
        (both.status, both.message()),
        (StatusCode::BAD_REQUEST, "You cannot use scale and wipe at the same time.".into())
    );
    let elsewhere = m.call("DELETE", "/v2/apps/x/tasks?host=nowhere", "").await;
    assert_eq!(elsewhere.json(), json!({ "tasks": [] }));
    let all = m.call("DELETE", "/v2/apps/x/tasks?host=host-0", "").await;
    assert_eq!(all.json()["tasks"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_delay_139_140() {
    let m = Marathon::start().await;
    let unknown = m.call("DELETE", "/v2/queue/x/delay", "").await;
    assert_eq!(
        (unknown.status, unknown.message()),
        (StatusCode::NOT_FOUND, "Application /x not found in tasks queue.".into())
    );
    m.call("POST", "/v2/apps", with(SLEEP, "cpus", json!(1000))).await;
    assert_eq!(m.call("DELETE", "/v2/queue//x/delay", "").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_85() {
    let m = Marathon::start().await;
    assert_eq!(m.get("/v2/events").await.status, StatusCode::METHOD_NOT_ALLOWED);
    let uri = "/v2/events?event_type=deployment_info&event_type=deployment_step_success&event_type=deployment_success";
    let request =
        Request::builder().uri(uri).header("Accept", "text/event-stream").body(Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(m.router.clone(), request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    m.create(SLEEP).await;
    let mut body = response.into_body();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|(name, _)| name != "deployment_success") {
        let frame = http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap().into_data().unwrap();
        let text = String::from_utf8(frame.to_vec()).unwrap();
        let (name, data) = text.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.trim().strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(data["eventType"], name.strip_prefix("event: ").unwrap());
        assert!(data["timestamp"].is_string());
        seen.push((name.strip_prefix("event: ").unwrap().to_owned(), data["plan"]["id"].clone()));
    }
    let names: Vec<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
    let step = ["deployment_info", "deployment_step_success"];
    assert_eq!(names, [step[0], step[1], step[0], step[1], "deployment_success"]);
    assert!(seen.iter().all(|(_, plan)| *plan == seen[0].1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_from_the_store_knows_everything() {
    let m = Marathon::start().await;
    m.create(SLEEP).await;
    m.call("POST", "/v2/apps", with(&with(SLEEP, "id", json!("/big")), "cpus", json!(1000))).await;
    let before = m.get("/v2/apps?embed=apps.tasks").await.json();
    let m = m.restart().await;
    m.wait_for("the subscription", || m.handle.view().connected).await;
    assert_eq!(m.get("/v2/deployments").await.json()[0]["affectedApps"], json!(["/big"]));
    m.wait_for("the tasks to be confirmed", || {
        let view = m.handle.view();
        view.apps.values().flat_map(|app| &app.instances).filter(|i| i.is_running()).count() == 2
    })
    .await;
    assert_eq!(m.get("/v2/apps?embed=apps.tasks").await.json(), before);
    assert!(m.master.lock().unwrap().kills.is_empty());
}
