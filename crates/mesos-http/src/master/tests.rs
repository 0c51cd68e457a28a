//! Every endpoint against the contract: keys, kinds, numbers, refusals.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use http_body_util::BodyExt;
use model::TaskState;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{MasterIdentity, ROUTES, master_router};
use crate::fixtures::{
    BUILD, SUMMARY, TASK, TIMER, body, build, cluster, get, refused, send, shape, spelled_out, still, task,
    time,
};
use crate::stream::CHUNK_SIZE;
use crate::{Everyone, Leadership};

const SLAVE_INFO: &str = "id:s hostname:s port:i attributes:o domain?:o";

const SLAVE: &str = "id:s hostname:s port:i attributes:o domain?:o pid:s registered_time:f reregistered_time?:f \
     resources:o used_resources:o offered_resources:o reserved_resources:o unreserved_resources:o active:b \
     deactivated:b version:s capabilities:a";

const FRAMEWORK_SUMMARY: &str = "id:s name:s used_resources:o offered_resources:o capabilities:a hostname:s \
     webui_url:s active:b connected:b recovered:b";

const FRAMEWORK: &str = "id:s name:s used_resources:o offered_resources:o capabilities:a hostname:s webui_url:s \
     active:b connected:b recovered:b user:s failover_timeout:f checkpoint:b registered_time:f unregistered_time:f \
     principal?:s resources:o reregistered_time?:f role?:s roles?:a tasks:a unreachable_tasks:a completed_tasks:a \
     offers:a executors:a";

const COUNTS: &str = "TASK_STAGING:i TASK_STARTING:i TASK_RUNNING:i TASK_KILLING:i TASK_FINISHED:i TASK_KILLED:i \
     TASK_FAILED:i TASK_LOST:i TASK_ERROR:i TASK_UNREACHABLE:i";

fn identity() -> MasterIdentity {
    MasterIdentity {
        build: build(),
        started: time(10),
        flags: BTreeMap::from([("quorum".into(), "1".into())]),
        log_file: None,
        authorizer: Arc::new(Everyone),
        logging: Arc::new(crate::LogLevel::new(|_| ())),
    }
}

fn leader() -> Router {
    master_router(still(Arc::new(cluster())), identity())
}

fn with(leadership: Leadership) -> Router {
    master_router(move || leadership.clone(), identity())
}

fn follower() -> Router {
    with(Leadership::Following { hostname: "10.0.0.101".into(), port: 5050 })
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

/// Paths of the table as they can be asked for.
fn concrete(path: &str) -> String {
    path.replace("{*rest}", "x")
}

#[tokio::test]
async fn the_table_is_what_is_served() {
    let router = leader();
    let mut seen = BTreeSet::new();
    let mut methods: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for route in ROUTES {
        for path in route.paths() {
            for method in route.methods {
                assert!(seen.insert((path, *method)), "{method} {path} is twice in the table");
                methods.entry(path).or_default().push(method);
                let loop_guard = path.ends_with("{*rest}");
                let status = send(&router, method, &concrete(path)).await.status().as_u16();
                assert_eq!(status == 404, loop_guard, "{method} {path} answers {status}");
                assert_ne!(status, 405, "{method} {path}");
            }
        }
    }
    for (path, methods) in methods {
        let refused = send(&router, "PATCH", &concrete(path)).await;
        assert_eq!(refused.status(), 405, "{path}");
        assert_eq!(refused.headers()["allow"], methods.join(", "), "{path}");
        let text = String::from_utf8(body(refused).await).unwrap();
        let expected = format!(
            "405 Method Not Allowed. Expecting one of {{ '{}' }}, but received 'PATCH'.",
            methods.join("', '")
        );
        assert_eq!(text, expected, "{path}");
    }
    for path in ["/", "/nothing", "/state/x", "/master", "/api/v2"] {
        assert_eq!(send(&router, "GET", path).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn aliases_answer_the_same() {
    let router = leader();
    for plain in ["/state", "/slaves", "/tasks", "/roles"] {
        let expected = get(&router, plain).await;
        for alias in [format!("/master{plain}"), format!("{plain}.json"), format!("/master{plain}.json")] {
            assert_eq!(get(&router, &alias).await, expected, "{alias}");
        }
    }
}

#[tokio::test]
async fn state() {
    let state = get(&leader(), "/state").await;
    let head = "start_time:f elected_time:f id:s pid:s hostname:s capabilities:a activated_slaves:i \
         deactivated_slaves:i unreachable_slaves:i domain?:o leader:s leader_info:o cluster?:s log_dir?:s \
         external_log_file?:s flags:o slaves:a recovered_slaves:a frameworks:a completed_frameworks:a orphan_tasks:a \
         unregistered_frameworks:a";
    shape(&state, &format!("{BUILD} {head}"));
    shape(&state["leader_info"], "id:s pid:s port:i hostname:s domain?:o");
    assert_eq!(state["pid"], "master@10.0.0.100:5050");
    assert_eq!(state["start_time"], json!(10.5));
    assert_eq!(
        [&state["activated_slaves"], &state["deactivated_slaves"], &state["unreachable_slaves"]],
        [&json!(1), &json!(1), &json!(1)]
    );
    assert_eq!(state["orphan_tasks"], json!([]));
    assert_eq!(state["domain"], json!({"fault_domain": {"region": {"name": "r1"}, "zone": {"name": "z0"}}}));

    assert_eq!(ids(&state["slaves"]), ["master-S1", "master-S2"]);
    assert_eq!(ids(&state["recovered_slaves"]), ["master-S7"]);
    shape(&state["recovered_slaves"][0], SLAVE_INFO);
    let slave = &state["slaves"][0];
    shape(slave, SLAVE);
    assert_eq!(slave["pid"], "slave(1)@10.0.0.1:5051");
    assert_eq!(
        slave["attributes"],
        json!({"public_ip": "true", "rack": 3.0, "range": "[1-5]", "set": "{a, b}"})
    );
    assert_eq!(slave.get("reregistered_time"), None);
    assert_eq!(state["slaves"][1]["reregistered_time"], json!(40.5));
    for name in ["resources", "used_resources", "offered_resources", "unreserved_resources"] {
        shape(&slave[name], SUMMARY);
    }
    assert_eq!(slave["resources"]["cpus"], json!(5.0));
    assert_eq!(slave["unreserved_resources"]["cpus"], json!(4.0));
    assert_eq!(slave["resources"]["ports"], "[31000-31099, 31101-32000]");
    shape(&slave["reserved_resources"], "eng:o");
}

#[tokio::test]
async fn frameworks_in_state() {
    let state = get(&leader(), "/state").await;
    assert_eq!(ids(&state["frameworks"]), ["master-0000", "master-0001"]);
    assert_eq!(ids(&state["completed_frameworks"]), ["master-0002"]);
    for framework in [&state["frameworks"][0], &state["frameworks"][1], &state["completed_frameworks"][0]] {
        shape(framework, FRAMEWORK);
    }
    let marathon = &state["frameworks"][0];
    assert_eq!(marathon["roles"], json!(["eng/web"]));
    assert_eq!(marathon.get("role"), None);
    assert_eq!(state["frameworks"][1]["role"], "eng/web");
    assert_eq!(state["frameworks"][1].get("roles"), None);
    assert_eq!(marathon["failover_timeout"], json!(604_800.0));
    assert_eq!(marathon["unregistered_time"], json!(0.0));
    assert_eq!(state["completed_frameworks"][0]["unregistered_time"], json!(70.5));
    assert_eq!(marathon["capabilities"], json!(["MULTI_ROLE", "PARTITION_AWARE"]));
    assert_eq!(marathon["resources"]["cpus"], json!(3.5));
    assert_eq!(ids(&marathon["tasks"]), ["web.1", "web.2", "web.3"]);
    assert_eq!(ids(&marathon["unreachable_tasks"]), ["web.4"]);
    assert_eq!(ids(&marathon["completed_tasks"]), ["web.5", "web.6"]);

    let offer = &marathon["offers"][0];
    shape(offer, "id:s framework_id:s allocation_info:o slave_id:s resources:o");
    assert_eq!(offer["allocation_info"], json!({"role": "eng/web"}));

    let task = &marathon["tasks"][0];
    shape(task, TASK);
    assert_eq!(task["executor_id"], "");
    assert_eq!(task["labels"], json!([{"key": "owner", "value": "me"}]));
    assert_eq!(
        task["discovery"],
        json!({"visibility": "FRAMEWORK", "name": "web", "ports": {"ports": [{"number": 31000, "name": "http",
            "protocol": "tcp", "labels": {"labels": [{"key": "VIP_0", "value": "/web:80"}]}}]}})
    );
    assert_eq!(
        task["container"],
        json!({"type": "MESOS", "mesos": {"image": {"type": "DOCKER", "docker": {"name": "busybox"}, "cached": true}}})
    );
    assert_eq!(
        task["statuses"],
        json!([{"state": "TASK_RUNNING", "timestamp": 100.5, "container_status": {"container_id": {"value": "c-web-1"},
            "network_infos": [{"ip_addresses": [{"protocol": "IPv4", "ip_address": "10.0.0.1"}]}]}}])
    );
}

#[tokio::test]
async fn summary_agrees_with_state() {
    let router = leader();
    let (summary, state) = (get(&router, "/state-summary").await, get(&router, "/state").await);
    shape(&summary, "hostname:s cluster?:s slaves:a frameworks:a");
    for slave in summary["slaves"].as_array().unwrap() {
        shape(slave, &format!("{SLAVE} {COUNTS} framework_ids:a"));
    }
    for framework in summary["frameworks"].as_array().unwrap() {
        shape(framework, &format!("{FRAMEWORK_SUMMARY} {COUNTS} slave_ids:a"));
    }
    assert_eq!(summary["slaves"][0]["framework_ids"], json!(["master-0000"]));
    assert_eq!(summary["frameworks"][0]["slave_ids"], json!(["master-S1", "master-S2", "master-S3"]));
    let framework = &state["frameworks"][0];
    let tasks: Vec<&Value> = ["tasks", "unreachable_tasks", "completed_tasks"]
        .iter()
        .flat_map(|list| framework[*list].as_array().unwrap())
        .collect();
    for state in COUNTS.split_whitespace().map(|field| field.trim_end_matches(":i")) {
        let count = |slave: Option<&str>| {
            tasks.iter().filter(|t| t["state"] == state && slave.is_none_or(|id| t["slave_id"] == id)).count()
        };
        assert_eq!(summary["frameworks"][0][state], count(None), "{state}");
        for slave in summary["slaves"].as_array().unwrap() {
            assert_eq!(slave[state], count(slave["id"].as_str()), "{state} on {}", slave["id"]);
        }
    }
}

#[tokio::test]
async fn slaves() {
    let router = leader();
    let slaves = get(&router, "/slaves").await;
    shape(&slaves, "slaves:a recovered_slaves:a");
    let slave = &slaves["slaves"][1];
    let full = "reserved_resources_full:o unreserved_resources_full:a used_resources_full:a offered_resources_full:a";
    shape(slave, &format!("{SLAVE} {full}"));
    assert_eq!(
        slave["reserved_resources_full"]["eng"][0]["reservations"],
        json!([{"type": "STATIC", "role": "eng"}])
    );
    assert_eq!(
        slave["offered_resources_full"][0],
        json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 2.0}, "role": "*",
            "allocation_info": {"role": "eng/web"}})
    );
    assert_eq!(slave["used_resources_full"][0]["scalar"], json!({"value": 0.5}));

    let one = get(&router, "/slaves?slave_id=master-S2").await;
    assert_eq!((ids(&one["slaves"]), ids(&one["recovered_slaves"])), (vec!["master-S2"], vec![]));
    let back = get(&router, "/slaves?slave_id=master-S7").await;
    assert_eq!((ids(&back["slaves"]), ids(&back["recovered_slaves"])), (vec![], vec!["master-S7"]));
}

#[tokio::test]
async fn frameworks() {
    let router = leader();
    let all = get(&router, "/frameworks").await;
    shape(&all, "frameworks:a completed_frameworks:a unregistered_frameworks:a");
    assert_eq!(all["frameworks"], get(&router, "/state").await["frameworks"]);
    let one = get(&router, "/frameworks?framework_id=master-0002").await;
    assert_eq!((ids(&one["frameworks"]), ids(&one["completed_frameworks"])), (vec![], vec!["master-0002"]));
}

#[tokio::test]
async fn tasks_are_ordered_and_paged() {
    let router = leader();
    for (query, expected) in [
        ("", vec!["web.2", "web.6", "web.3", "web.4", "web.1", "web.5", "old.1"]),
        ("?order=asc", vec!["old.1", "web.5", "web.1", "web.4", "web.3", "web.6", "web.2"]),
        ("?order=asc&limit=1", vec!["old.1"]),
        ("?order=asc&limit=2&offset=1", vec!["web.5", "web.1"]),
        ("?offset=100", vec![]),
        ("?limit=0", vec![]),
        ("?task_id=web.4", vec!["web.4"]),
        ("?framework_id=master-0002", vec!["old.1"]),
        ("?framework_id=master-0002&task_id=web.4", vec![]),
        ("?framework_id=nobody", vec![]),
    ] {
        let tasks = get(&router, &format!("/tasks{query}")).await;
        shape(&tasks, "tasks:a");
        assert_eq!(ids(&tasks["tasks"]), expected, "{query}");
        tasks["tasks"].as_array().unwrap().iter().for_each(|task| shape(task, TASK));
    }
    for (query, message) in [
        ("limit=x", "Failed to parse limit: Failed to convert 'x' to number.\n"),
        ("limit=-1", "Negative limit provided: -1.\n"),
        ("offset=1e3", "Failed to parse offset: Failed to convert '1e3' to number.\n"),
        (
            "limit=99999999999999999999",
            "Failed to parse limit: Failed to convert '99999999999999999999' to number.\n",
        ),
        ("order=up", "Invalid order 'up': expecting 'asc' or 'des'.\n"),
        ("limit=%", "Malformed % escape in the query.\n"),
    ] {
        assert_eq!(refused(&router, &format!("/tasks?{query}"), 400).await, message);
    }
}

#[tokio::test]
async fn roles() {
    let roles = get(&leader(), "/roles").await;
    shape(&roles, "roles:a");
    let list = roles["roles"].as_array().unwrap();
    let names: Vec<&str> = list.iter().map(|role| role["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["eng", "eng/web"]);
    for role in list {
        shape(role, "name:s weight:f quota:o resources:o allocated:o offered:o reserved:o frameworks:a");
        shape(&role["quota"], "role:s guarantee:o limit:o consumed:o");
        shape(&role["resources"], SUMMARY);
    }
    assert_eq!(list[0]["reserved"], json!({"cpus": 2.0}));
    assert_eq!(list[0]["allocated"], json!({"cpus": 1.5, "mem": 192.0}));
    assert_eq!(list[0]["quota"]["consumed"], json!({"cpus": 3.5, "mem": 192.0}));
    assert_eq!(list[0]["frameworks"], json!([]));
    assert_eq!(list[1]["offered"], json!({"cpus": 2.0, "mem": 100.0}));
    assert_eq!(list[1]["frameworks"], json!(["master-0000", "master-0001"]));
}

#[tokio::test]
async fn process_endpoints() {
    let router = leader();
    let health = send(&router, "GET", "/health").await;
    assert_eq!((health.status().as_u16(), body(health).await), (200, vec![]));
    shape(&get(&router, "/version").await, BUILD);
    assert_eq!(get(&router, "/flags").await, json!({"flags": {"quorum": "1"}}));
    let redirect = send(&router, "GET", "/redirect").await;
    assert_eq!(redirect.status(), 307);
    assert_eq!(redirect.headers()["location"], "//10.0.0.100:5050");
    assert_eq!(refused(&router, "/redirect/foo", 404).await, "");
    assert_eq!(send(&router, "HEAD", "/state").await.status(), 200);
}

#[tokio::test]
async fn jsonp_is_a_program() {
    let router = leader();
    for path in ["/version", "/state", "/tasks", "/roles", "/flags", "/metrics/snapshot", "/files/debug"] {
        let response = send(&router, "GET", &format!("{path}?jsonp=my.f")).await;
        assert_eq!(response.headers()["content-type"], "text/javascript", "{path}");
        let text = String::from_utf8(body(response).await).unwrap();
        let inner = text.strip_prefix("my.f(").and_then(|text| text.strip_suffix(')')).unwrap();
        assert!(serde_json::from_str::<Value>(inner).unwrap().is_object(), "{path}");
    }
    refused(&router, "/state?jsonp=alert(1)//", 400).await;
}

#[tokio::test]
async fn metrics() {
    let router = leader();
    let metrics = get(&router, "/metrics/snapshot?timeout=5secs").await;
    for (name, value) in metrics.as_object().unwrap() {
        assert!(value.is_f64(), "{name} is {value}");
    }
    for (name, value) in [
        ("master/elected", 1.0),
        ("master/slaves_active", 1.0),
        ("master/slaves_inactive", 1.0),
        ("master/slaves_unreachable", 1.0),
        ("master/frameworks_active", 2.0),
        ("master/outstanding_offers", 1.0),
        ("master/tasks_running", 1.0),
        ("master/tasks_unreachable", 1.0),
        ("master/tasks_finished", 2.0),
        ("master/messages_launch_tasks", 6.0),
        ("master/cpus_total", 10.0),
        ("master/cpus_used", 1.5),
        ("master/cpus_percent", 0.15),
        ("master/gpus_percent", 0.0),
    ] {
        assert_eq!(metrics[name], json!(value), "{name}");
    }
    for name in ["system/cpus_total", "system/load_1min", "system/mem_free_bytes", "master/uptime_secs"] {
        assert!(metrics[name].as_f64().unwrap() >= 0.0, "{name}");
    }
    let message = refused(&router, "/metrics/snapshot?timeout=soon", 400).await;
    assert_eq!(message, "Invalid timeout 'soon': expecting a number and a unit, such as 5secs.\n");
}

/// The contract's unconditional names, before and while somebody leads.
#[tokio::test]
async fn oa_39_every_unconditional_metric() {
    let names = format!(
        "system/{{cpus_total,load_1min,load_5min,load_15min,mem_free_bytes,mem_total_bytes}} \
        master/{{uptime_secs,elected,outstanding_offers,operator_event_stream_subscribers}} \
        master/{{cpus,gpus,mem,disk}}{{,_revocable}}_{{total,used,percent}} \
        master/slaves_{{active,inactive,connected,disconnected,unreachable}} \
        master/frameworks_{{active,inactive,connected,disconnected}} \
        master/event_queue_{{dispatches,http_requests,messages}} \
        master/slave_{{registrations,reregistrations,removals}} \
        master/slave_removals/reason_{{registered,unhealthy,unregistered}} \
        master/slave_{{unreachable,shutdowns}}_{{scheduled,completed,canceled}} \
        master/{{recovery_slave_removals,dropped_messages,http_cache_hits}} \
        master/tasks_{{staging,starting,running,killing,unreachable}} \
        master/tasks_{{finished,failed,killed,lost,error,dropped,gone,gone_by_operator}} \
        master/messages_{{authenticate,deactivate_framework,decline_offers,executor_to_framework,exited_executor}} \
        master/messages_{{framework_to_executor,kill_task,launch_tasks,operation_status_update}} \
        master/messages_{{operation_status_update_acknowledgement,reconcile_operations,reconcile_tasks}} \
        master/messages_{{register_framework,register_slave,reregister_framework,reregister_slave}} \
        master/messages_{{resource_request,revive_offers,status_update,status_update_acknowledgement}} \
        master/messages_{{suppress_offers,unregister_framework,unregister_slave,update_slave}} \
        master/{{valid,invalid}}_{{executor_to_framework,framework_to_executor}}_messages \
        master/{{valid,invalid}}_{{status_updates,status_update_acknowledgements}} \
        master/{{valid,invalid}}_operation_status_{{updates,update_acknowledgements}} \
        allocator{{,/mesos}}/event_queue_dispatches allocator/mesos/allocation_runs \
        allocator/mesos/allocation_run{{,_latency}}_ms{TIMER} \
        registrar/{{queued_operations,registry_size_bytes,state_fetch_ms,log/recovered,log/ensemble_size}} \
        registrar/state_store_ms{TIMER}"
    );
    for router in [leader(), follower()] {
        let metrics = get(&router, "/metrics/snapshot").await;
        for name in spelled_out(&names) {
            assert!(metrics[&name].is_f64(), "{name} is {}", metrics[&name]);
        }
    }
    let metrics = get(&leader(), "/metrics/snapshot").await;
    for name in spelled_out("allocator/mesos/resources/{cpus,gpus,mem,disk}/{total,offered_or_allocated}") {
        assert!(metrics[&name].is_f64(), "{name}");
    }
    assert!(metrics["allocator/mesos/roles/eng/web/shares/dominant"].is_f64());
}

/// About the cluster: only the leader. About the process: everybody.
#[tokio::test]
async fn oa_05_those_who_do_not_lead() {
    let (follower, leaderless) = (follower(), with(Leadership::Leaderless));
    for route in ROUTES {
        for (path, method) in
            route.paths().flat_map(|path| route.methods.iter().map(move |method| (concrete(path), method)))
        {
            let uri = format!("{path}?path=%2Fx");
            let response = send(&follower, method, &uri).await;
            let status = response.status().as_u16();
            let own = [
                "/health",
                "/version",
                "/flags",
                "/metrics/",
                "/files/",
                "/logging/",
                "/system/",
                "/stats.json",
                "/mesos.",
            ];
            if own.iter().any(|own| path.trim_start_matches("/master").starts_with(own)) {
                assert_ne!(status, 307, "{path}");
                assert_ne!(send(&leaderless, method, &uri).await.status(), 503, "{path}");
            } else if path.ends_with("redirect/x") {
                assert_eq!(status, 404, "{path}");
            } else {
                let location = response.headers()["location"].to_str().unwrap();
                let expected = if path.ends_with("redirect") { "" } else { &uri };
                assert_eq!((status, location), (307, format!("//10.0.0.101:5050{expected}").as_str()));
                let refused = send(&leaderless, method, &uri).await;
                assert_eq!(refused.status(), 503, "{path}");
                assert_eq!(body(refused).await, b"No leader elected");
            }
        }
    }
    let metrics = get(&follower, "/metrics/snapshot").await;
    assert_eq!(metrics["master/elected"], json!(0.0));
    assert_eq!(metrics["master/tasks_running"], json!(0.0), "every name is there from the start");
}

#[tokio::test]
async fn the_log_is_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let log_file = directory.path().join("master.log");
    std::fs::write(&log_file, "one\ntwo\n").unwrap();
    let view = Arc::new(cluster());
    let identity = MasterIdentity { log_file: Some(log_file.clone()), ..identity() };
    let router = master_router(still(view), identity);
    assert_eq!(get(&router, "/files/debug").await, json!({"/master/log": log_file}));
    let read = get(&router, "/files/read?path=/master/log&offset=4&length=3").await;
    assert_eq!(read, json!({"offset": 4, "data": "two"}));
    refused(&router, "/files/read?path=/master/log/x&offset=0", 404).await;
    refused(&router, "/files/read?path=/master&offset=0", 404).await;
}

/// Over a socket, as clients meet it: `HEAD` has no body, every answer says how
/// long it is, a reader that leaves in the middle harms nobody.
#[tokio::test]
async fn over_a_socket() {
    let mut view = cluster();
    let mut marathon = (*view.frameworks[0]).clone();
    marathon.tasks = (0..500).map(|i| task(&format!("web.{i}"), 1, TaskState::Running, i)).collect();
    view.frameworks.insert(Arc::new(marathon));
    let view = Arc::new(view);
    let router = master_router(still(view), identity());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });

    let ask = |request: &'static str| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(format!("{request} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap().to_lowercase();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    };
    let (head, text) = ask("GET /version").await;
    assert!(
        head.starts_with("http/1.1 200") && head.contains(&format!("content-length: {}", text.len())),
        "{head}"
    );
    let (head, text) = ask("HEAD /version").await;
    assert!(head.starts_with("http/1.1 200") && text.is_empty(), "{head} {text}");
    let (head, text) = ask("GET /state").await;
    assert!(head.contains(&format!("content-length: {}", text.len())), "{head}");
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /state HTTP/1.1\r\nHost: m\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0; 100]).await.unwrap();
    }
    assert!(ask("GET /health").await.0.starts_with("http/1.1 200"));
    server.abort();
}

#[tokio::test]
async fn ten_thousand_tasks_come_in_pieces() {
    const TASKS: usize = 10_000;
    let mut view = cluster();
    let mut marathon = (*view.frameworks[0]).clone();
    marathon.tasks =
        (0..TASKS).map(|i| task(&format!("web.{i}"), 1 + i % 2, TaskState::Running, i as u64)).collect();
    view.frameworks.insert(Arc::new(marathon));
    let view = Arc::new(view);
    let router = master_router(still(view), identity());
    let start = Instant::now();
    let response = send(&router, "GET", "/state").await;
    let first = start.elapsed();
    let (mut text, mut largest) = (Vec::new(), 0);
    let mut stream = response.into_body();
    while let Some(frame) = stream.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        largest = largest.max(data.len());
        text.extend_from_slice(&data);
    }
    let all = start.elapsed();
    println!(
        "{TASKS} tasks: {} bytes, first chunk {first:?}, all {all:?}, largest chunk {largest}",
        text.len()
    );
    assert!(largest < 2 * CHUNK_SIZE, "a chunk of {largest} bytes");
    let state: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(state["frameworks"][0]["tasks"].as_array().unwrap().len(), TASKS);
    let start = Instant::now();
    let summary = get(&router, "/state-summary").await;
    println!("summary {:?}", start.elapsed());
    assert_eq!(summary["frameworks"][0]["TASK_RUNNING"], json!(TASKS));
    let start = Instant::now();
    let page = get(&router, "/tasks?limit=2").await;
    println!("tasks page {:?}", start.elapsed());
    assert_eq!(ids(&page["tasks"]), ["web.9999", "web.9998"]);
}
