//! `dcos marathon` against a stub cluster: requests, outputs, exit codes.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Stub, run};

const M: &str = "/service/marathon/v2";

fn stub(fixed: &[(&str, u16, &str)]) -> Stub {
    let full: Vec<(String, u16, &str)> = fixed
        .iter()
        .map(|(key, status, body)| (key.replace("M/", &format!("{M}/")), *status, *body))
        .collect();
    let full: Vec<(&str, u16, &str)> =
        full.iter().map(|(key, status, body)| (key.as_str(), *status, *body)).collect();
    Stub::new(&full)
}

const WEB: &str =
    r#"{"app":{"id":"/web","instances":2,"tasksRunning":2,"mem":128,"unknown":{"z":1,"a":1.50}}}"#;
const WEB_STOPPED: &str = r#"{"app":{"id":"/web","instances":0}}"#;
const NO_WEB: &str = r#"{"message":"App '/web' does not exist"}"#;
const DEPLOYED: &str = r#"{"version":"2024-01-31T12:00:00.000Z","deploymentId":"d-1"}"#;

#[test]
fn add_posts_the_file_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("web.json");
    let text = "{ \"id\": \"web\",\n  \"cpus\": 0.10, \"zz\": 1, \"aa\": 2 }\n";
    std::fs::write(&file, text).unwrap();
    let answer = r#"{"id":"/web","deployments":[{"id":"d-1"}]}"#;
    let stub = stub(&[("GET M/apps/web", 404, NO_WEB), ("POST M/apps", 201, answer)]);
    stub.dcos(&["marathon", "app", "add", file.to_str().unwrap()]).is(0, "Created deployment d-1\n", "");
    stub.dcos_with(&["marathon", "app", "add"], text).is(0, "Created deployment d-1\n", "");
    stub.dcos_with(&["marathon", "app", "add", "-"], text).is(0, "Created deployment d-1\n", "");
    assert_eq!(stub.changes(), vec![format!("POST {M}/apps {}", text.trim_end()); 3]);
}

#[test]
fn add_refuses_what_exists_and_what_is_not_json() {
    let stub = stub(&[("GET M/apps/web", 200, WEB)]);
    stub.dcos_with(&["marathon", "app", "add"], r#"{"id":"/web"}"#).is(
        1,
        "",
        "Error: Application '/web' already exists\n  hint: change it with `dcos marathon app update /web < file.json`\n",
    );
    stub.dcos_with(&["marathon", "app", "add"], "{\"id\": \"/web\",\n \"cpus\" 1}").is(
        1,
        "",
        "Error: standard input is not valid JSON: expected `:` at line 2 column 9\n   \"cpus\" 1}\n          ^\n",
    );
    stub.dcos_with(&["marathon", "app", "add"], "[1]").is(
        1,
        "",
        "Error: standard input does not hold a JSON object\n",
    );
    stub.dcos(&["marathon", "app", "add", "/no/such.json"]).is(
        1,
        "",
        "Error: can't read from resource: /no/such.json. Please check that it exists\n  \
         cause: No such file or directory (os error 2)\n",
    );
    let deep = format!("{{\"id\":\"/a\",\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let ran = stub.dcos_with(&["marathon", "app", "add"], &deep);
    assert!(
        ran.code == 1
            && ran.err.contains("is not valid JSON: nested deeper than 127 levels at line 1 column 142\n"),
        "{ran:?}"
    );
    assert!(stub.changes().is_empty());
}

#[test]
fn refusals_show_every_field() {
    let body = r#"{"message":"Object is not valid","details":[
        {"path":"/cpus","errors":["must be greater than or equal to 0"]},
        {"path":"/container","errors":["needs an image","needs a type"]}]}"#;
    let stub = stub(&[("POST M/apps", 422, body)]);
    stub.dcos_with(&["marathon", "app", "add"], r#"{"cpus":-1}"#).is(
        1,
        "",
        &format!(
            "Error: Object is not valid\n  /cpus: must be greater than or equal to 0\n  /container: needs an image\n  \
             /container: needs a type\n  cause: POST http://{}{M}/apps answered 422 Unprocessable Entity\n  \
             hint: correct these fields and send the definition again\n",
            stub.addr
        ),
    );
}

#[test]
fn list_has_the_columns_of_the_contract() {
    let apps = r#"{"apps":[
        {"id":"/web","mem":128,"cpus":0.1,"instances":3,"tasksRunning":2,"tasksHealthy":1,"cmd":null,"args":["a","b"],
         "healthChecks":[{}],"container":{"type":"DOCKER"},"role":"slave_public"},
        {"id":"/a","mem":32.0,"cpus":1.5,"instances":0,"tasksRunning":0,"cmd":"while true; do echo hello; sleep 10; done",
         "healthChecks":[],"container":null,"role":"*"}]}"#;
    let deployments = r#"[{"id":"d-1","affectedApps":["/web"],"currentStep":1,"totalSteps":2,
        "currentActions":[{"action":"ScaleApplication","app":"/web"},{"action":"KillAllOldTasksOf","app":"/web"}]}]"#;
    let queue = r#"{"queue":[{"pod":{"id":"/p"},"delay":{"overdue":true}},{"app":{"id":"/web"},"delay":{"overdue":true}}]}"#;
    let stub = stub(&[
        ("GET M/apps", 200, apps),
        ("GET M/deployments", 200, deployments),
        ("GET M/queue", 200, queue),
    ]);
    stub.dcos(&["marathon", "app", "list"]).is(
        0,
        "ID    MEM  CPUS  TASKS  HEALTH  DEPLOYMENT           WAITING  CONTAINER  CMD                             ROLE\n\
         /a     32   1.5  0/0    ---     ---                  False    MESOS      while true; do echo hello; ...  *\n\
         /web  128   0.1  2/3    1/2     (scale, kill-tasks)  True     DOCKER     a b                             slave_public\n",
        "",
    );
    stub.dcos(&["marathon", "app", "list", "--quiet"]).is(0, "/a\n/web\n", "");
    let json = stub.dcos(&["marathon", "app", "list", "--json"]);
    assert!(
        json.out.starts_with("[\n  {\n    \"id\": \"/web\",\n    \"mem\": 128,\n    \"cpus\": 0.1,"),
        "{json:?}"
    );
}

#[test]
fn show_prints_the_servers_object_and_versions() {
    let versions = r#"{"versions":["2024-01-02T00:00:00.000Z","2024-01-01T00:00:00.000Z"]}"#;
    let stub = stub(&[
        ("GET M/apps/web", 200, WEB),
        ("GET M/apps/web/versions", 200, versions),
        ("GET M/apps/web/versions/2024-01-01T00:00:00.000Z", 200, r#"{"id":"/web","old":true}"#),
        ("GET M/apps/no", 404, r#"{"message":"App '/no' does not exist"}"#),
    ]);
    stub.dcos(&["marathon", "app", "show", "web"]).is(
        0,
        "{\n  \"id\": \"/web\",\n  \"instances\": 2,\n  \"tasksRunning\": 2,\n  \"mem\": 128,\n  \"unknown\": {\n    \
         \"z\": 1,\n    \"a\": 1.50\n  }\n}\n",
        "",
    );
    let show =
        |version: &str| stub.dcos(&["marathon", "app", "show", "/web", &format!("--app-version={version}")]);
    show("-1").is(0, "{\n  \"id\": \"/web\",\n  \"old\": true\n}\n", "");
    show("2").is(1, "", "Error: relative versions must be negative: 2\n");
    show("-99").is(
        1,
        "",
        "Error: application '/web' only has 2 version(s)\n  hint: see `dcos marathon app version list /web`\n",
    );
    stub.dcos(&["marathon", "app", "show", "no"]).is(
        1,
        "",
        "Error: app '/no' does not exist\n  hint: list what is there with `dcos marathon app list`\n",
    );
    stub.dcos(&["marathon", "app", "version", "list", "web", "--max-count", "1"]).is(
        0,
        "[\n  \"2024-01-02T00:00:00.000Z\"\n]\n",
        "",
    );
}

#[test]
fn update_types_its_properties() {
    let stub = stub(&[
        ("GET M/apps/web", 200, WEB),
        ("PUT M/apps/web", 200, DEPLOYED),
        ("PUT M/apps/web?force=true", 200, DEPLOYED),
    ]);
    let update = |args: &[&str], stdin: &str| {
        stub.dcos_with(&[&["marathon", "app", "update", "web"], args].concat(), stdin)
    };
    update(&["cpus=0.2", "env={\"A\":\"b\"}", "cmd=null", "instances=3"], "").is(
        0,
        "Created deployment d-1\n",
        "",
    );
    update(&["--force"], "{\"cmd\": \"x\"}").is(0, "Created deployment d-1\n", "");
    assert_eq!(
        stub.changes(),
        [
            format!(r#"PUT {M}/apps/web {{"cpus":0.2,"env":{{"A":"b"}},"cmd":null,"instances":3}}"#),
            format!(r#"PUT {M}/apps/web?force=true {{"cmd": "x"}}"#),
        ]
    );
    update(&["a=1", "a=2"], "").is(1, "", "Error: key 'a' was given twice\n");
    assert_eq!(update(&["novalue"], "").code, 1);
}

#[test]
fn an_update_never_creates() {
    let stub = stub(&[("GET M/apps/web", 404, NO_WEB)]);
    let ran = stub.dcos(&["marathon", "app", "update", "web", "cpus=1"]);
    assert!(ran.code == 1 && ran.err.starts_with("Error: app '/web' does not exist\n"), "{ran:?}");
    assert_eq!(stub.dcos(&["marathon", "app", "scale", "web", "3"]).code, 1);
    assert!(stub.changes().is_empty());
}

#[test]
fn scale_start_stop_restart_remove() {
    let up = stub(&[
        ("GET M/apps/web", 200, WEB),
        ("PUT M/apps/web", 200, DEPLOYED),
        ("POST M/apps/web/restart?force=true", 200, DEPLOYED),
        ("DELETE M/apps/web", 200, DEPLOYED),
    ]);
    let app = |stub: &Stub, args: &[&str]| stub.dcos(&[&["marathon", "app"], args].concat());
    app(&up, &["scale", "web", "5"]).is(0, "Created deployment d-1\n", "");
    app(&up, &["stop", "web"]).is(0, "Created deployment d-1\n", "");
    app(&up, &["restart", "web", "--force"]).is(0, "Created deployment d-1\n", "");
    app(&up, &["remove", "web"]).is(0, "", "");
    let ran = app(&up, &["start", "web"]);
    assert!(ran.code == 1 && ran.err.starts_with("Error: application '/web' already started: 2 instances\n"));
    assert_eq!(
        up.changes(),
        [
            format!(r#"PUT {M}/apps/web {{"instances":5}}"#),
            format!(r#"PUT {M}/apps/web {{"instances":0}}"#),
            format!("POST {M}/apps/web/restart?force=true"),
            format!("DELETE {M}/apps/web"),
        ]
    );
    let down = stub(&[("GET M/apps/web", 200, WEB_STOPPED), ("PUT M/apps/web", 200, DEPLOYED)]);
    app(&down, &["stop", "web"]).is(1, "", "Error: app '/web' already stopped: 0 instances\n");
    app(&down, &["restart", "web"]).is(
        1,
        "",
        "Error: unable to perform rolling restart of application '/web' because it has no running tasks\n",
    );
    app(&down, &["start", "web", "4"]).is(0, "Created deployment d-1\n", "");
    assert_eq!(down.changes(), [format!(r#"PUT {M}/apps/web {{"instances":4}}"#)]);
}

#[test]
fn no_command_takes_all_apps_for_one() {
    let stub = stub(&[("GET M/apps/web/*", 200, r#"{"*":[]}"#)]);
    for id in ["", "/", "//"] {
        let ran = stub.dcos(&["marathon", "app", "remove", id]);
        assert!(ran.code == 1 && ran.err.contains("give the ID of one application"), "{ran:?}");
    }
    stub.dcos(&["marathon", "app", "stop", "web/*"]).is(1, "", "Error: '/web/*' does not name one app\n");
    assert!(stub.changes().is_empty());
}

#[test]
fn a_locked_app_names_the_way_out() {
    let body = r#"{"message":"App is locked by one or more deployments.","deployments":[{"id":"d-0"}]}"#;
    let stub = stub(&[("GET M/apps/web", 200, WEB), ("PUT M/apps/web", 409, body)]);
    stub.dcos(&["marathon", "app", "scale", "web", "3"]).is(
        1,
        "",
        &format!(
            "Error: changes blocked: deployment already in progress for app\n  \
             cause: App is locked by one or more deployments.\n         \
             PUT http://{}{M}/apps/web answered 409 Conflict\n  \
             hint: wait for it (`dcos marathon deployment list`), or override it with --force\n",
            stub.addr
        ),
    );
}

#[test]
fn kill_says_what_it_killed() {
    let stub = stub(&[
        ("DELETE M/apps/web/tasks", 200, r#"{"tasks":[{"id":"web.1"}]}"#),
        ("DELETE M/apps/web/tasks?host=h1", 200, r#"{"tasks":[]}"#),
        ("DELETE M/apps/web/tasks?scale=true", 200, r#"{"version":"v","deploymentId":"d-1"}"#),
    ]);
    let kill = |args: &[&str]| stub.dcos(&[&["marathon", "app", "kill", "web"], args].concat());
    kill(&[]).is(0, "Killed tasks: [{\"id\":\"web.1\"}]\n", "");
    kill(&["--scale"]).is(0, "Started deployment: {\"version\":\"v\",\"deploymentId\":\"d-1\"}\n", "");
    let none = kill(&["--host", "h1"]);
    assert!(none.code == 1 && none.err.starts_with("Error: no tasks were killed\n"), "{none:?}");
    assert_eq!(kill(&["--scale", "--host", "h1"]).code, 1);
}

#[test]
fn deployments_are_listed_stopped_and_rolled_back() {
    let list = r#"[{"id":"d-1","affectedApps":["/web"],"affectedPods":[],"currentStep":2,"totalSteps":3,
        "currentActions":[{"action":"RestartApplication","app":"/web"}]}]"#;
    let busy = stub(&[
        ("GET M/deployments", 200, list),
        ("DELETE M/deployments/d-1", 200, DEPLOYED),
        ("DELETE M/deployments/d-1?force=true", 202, ""),
    ]);
    let deployment = |stub: &Stub, args: &[&str]| stub.dcos(&[&["marathon", "deployment"], args].concat());
    let table = "APP   POD  ACTION   PROGRESS  ID\n/web  -    restart  1/3       d-1\n";
    deployment(&busy, &["list"]).is(0, table, "");
    deployment(&busy, &["list", "web"]).is(0, table, "");
    deployment(&busy, &["list", "-q"]).is(0, "d-1\n", "");
    deployment(&busy, &["list", "other"]).is(1, "", "Error: There are no deployments for '/other'\n");
    deployment(&busy, &["stop", "d-1"]).is(0, "", "");
    deployment(&busy, &["rollback", "d-1"]).is(
        0,
        "{\n  \"version\": \"2024-01-31T12:00:00.000Z\",\n  \"deploymentId\": \"d-1\"\n}\n",
        "",
    );
    let watched = deployment(&busy, &["watch", "d-1", "--max-count", "1"]);
    assert!(watched.code == 0 && watched.out.contains("\"id\": \"d-1\"") && !watched.out.contains('\x1b'));
    let idle = stub(&[("GET M/deployments", 200, "[]")]);
    deployment(&idle, &["list"]).is(1, "", "Error: There are no deployments\n");
    deployment(&idle, &["list", "--json"]).is(0, "[]\n", "");
    assert_eq!(deployment(&idle, &["watch", "d-1"]).code, 0);
}

#[test]
fn tasks_are_listed_shown_and_killed() {
    let tasks = r#"{"tasks":[
        {"appId":"/web","id":"web.2","host":"10.0.0.2","startedAt":"2024-01-31T12:00:00.000Z","role":"*",
         "healthCheckResults":[{"alive":false}]},
        {"appId":"/web","id":"web.1","host":"10.0.0.1","startedAt":null}]}"#;
    let stub = stub(&[
        ("GET M/tasks", 200, tasks),
        ("POST M/tasks/delete", 200, r#"{"tasks":[{"id":"web.1"}]}"#),
        ("POST M/tasks/delete?scale=true&wipe=true", 200, DEPLOYED),
    ]);
    let task = |args: &[&str]| stub.dcos(&[&["marathon", "task"], args].concat());
    task(&["list"]).is(
        0,
        "APP   HEALTHY  STARTED                   HOST      ID     ROLE\n\
         /web  True     -                         10.0.0.1  web.1  -\n\
         /web  False    2024-01-31T12:00:00.000Z  10.0.0.2  web.2  *\n",
        "",
    );
    task(&["list", "other", "--json"]).is(0, "[]\n", "");
    let shown = task(&["show", "web.1"]);
    assert!(shown.out.contains("\"startedAt\": null"), "{shown:?}");
    let none = task(&["show", "x"]);
    assert!(none.code == 1 && none.err.starts_with("Error: Task 'x' does not exist\n"));
    task(&["stop", "web.1"]).is(0, "{\n  \"id\": \"web.1\"\n}\n", "");
    task(&["kill", "web.1", "web.2"]).is(0, "Killed tasks: [{\"id\":\"web.1\"}]\n", "");
    let nothing = Stub::new(&[("POST /service/marathon/v2/tasks/delete", 200, r#"{"tasks":[]}"#)]);
    let ran = nothing.dcos(&["marathon", "task", "kill", "unknown"]);
    assert!(ran.code == 1 && ran.err.starts_with("Error: no tasks were killed\n"), "{ran:?}");
    task(&["kill", "web.1", "--scale", "--wipe"]).is(0, "Created deployment: d-1\n", "");
    assert_eq!(stub.changes()[1], format!(r#"POST {M}/tasks/delete {{"ids":["web.1","web.2"]}}"#));
}

#[test]
fn about_and_ping() {
    let stub = Stub::new(&[
        ("GET /service/marathon/v2/info", 200, r#"{"name":"marathon"}"#),
        ("GET /service/marathon/ping", 200, "pong\n"),
    ]);
    stub.dcos(&["marathon", "about"]).is(0, "{\n  \"name\": \"marathon\"\n}\n", "");
    stub.dcos(&["marathon", "ping", "--once"]).is(0, "Marathon ping response[1x]: \"pong\"\n", "");
}

/// A cluster whose deployment needs a few looks.
fn deploying(looks: usize, running_after: &'static str) -> Stub {
    let left = AtomicUsize::new(looks);
    Stub::start(
        &[],
        Some(Box::new(move |key, _| match key.trim_start_matches("GET ").trim_start_matches(M) {
            "/deployments" if left.load(Ordering::SeqCst) == 0 => (200, "[]".into()),
            "/deployments" => {
                left.fetch_sub(1, Ordering::SeqCst);
                let body = r#"[{"id":"d-1","currentStep":1,"totalSteps":1,
                    "currentActions":[{"action":"ScaleApplication","app":"/web"}]}]"#;
                (200, body.into())
            }
            "/apps/web" if left.load(Ordering::SeqCst) == 0 => (200, running_after.into()),
            "/apps/web" => (200, r#"{"app":{"id":"/web","instances":3,"tasksRunning":1}}"#.into()),
            _ if key.starts_with("PUT ") => (200, DEPLOYED.into()),
            _ => (404, String::new()),
        })),
    )
}

#[test]
fn wait_ends_well_only_when_all_instances_run() {
    let good = deploying(2, r#"{"app":{"id":"/web","instances":3,"tasksRunning":3}}"#);
    good.dcos(&["marathon", "app", "scale", "web", "3", "--wait"]).is(
        0,
        "Created deployment d-1\n",
        "step 1/1 scale /web: 1/3 running\nstep 1/1 scale /web: 3/3 running\n/web: 3/3 running\n",
    );
    let bad = deploying(
        2,
        r#"{"app":{"id":"/web","instances":3,"tasksRunning":1,"lastTaskFailure":{"message":"exited with 127"}}}"#,
    );
    bad.dcos(&["marathon", "app", "scale", "web", "3", "--wait=1m"]).is(
        1,
        "Created deployment d-1\n",
        "step 1/1 scale /web: 1/3 running\n\
         Error: the deployment has ended, but of 3 instances of '/web' 1 running\n  cause: exited with 127\n  \
         hint: see `dcos task log web`\n",
    );
    let slow = deploying(usize::MAX, "");
    let ran = slow.dcos(&["marathon", "app", "scale", "web", "3", "--wait=1s"]);
    assert!(ran.code == 124 && ran.err.contains("Error: deployment d-1 did not end in 1 s\n"), "{ran:?}");
}

#[test]
fn foreign_answers_are_shown_as_they_are() {
    let page = "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center>\
                <hr>Marathon is away</body></html>";
    let stub = stub(&[("GET M/apps", 502, page), ("GET M/tasks", 401, ""), ("GET M/info", 200, "<html>")]);
    let list = stub.dcos(&["marathon", "app", "list", "-q"]);
    assert!(list.code == 1 && list.err.contains("cause: 502 Bad Gateway Marathon is away\n"), "{list:?}");
    let login = stub.dcos(&["marathon", "task", "list"]);
    assert!(login.code == 1 && login.err.contains("please run `dcos auth login`"), "{login:?}");
    let html = stub.dcos(&["marathon", "about"]);
    assert!(html.code == 1 && html.err.contains("is not JSON"), "{html:?}");
}

#[test]
fn definitions_come_from_urls_without_our_token() {
    let stub = Stub::new(&[
        ("GET /files/web.json", 200, r#"{"id":"/web"}"#),
        ("GET /service/marathon/v2/apps/web", 404, NO_WEB),
        ("POST /service/marathon/v2/apps", 201, r#"{"deployments":[{"id":"d-9"}]}"#),
    ]);
    let url = format!("http://{}/files/web.json", stub.addr);
    let cluster = format!("http://{}", stub.addr);
    run(&["--url", &cluster, "marathon", "app", "add", &url], &[("DCOS_ACS_TOKEN", "secret")], "").is(
        0,
        "Created deployment d-9\n",
        "",
    );
}
