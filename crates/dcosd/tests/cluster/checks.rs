//! Health checks and generic checks of tasks on a real node.
//!
//! Numbers `sea_…` are those of the scheduler and executor API's checklist.

use serde_json::{Value, json};

use crate::foreign::sandbox;
use crate::framework::{Framework, command, info, task};
use crate::support::{Cluster, is_root, skip};

/// A status that came before, or comes.
async fn status(framework: &mut Framework, fits: impl Fn(&Value) -> bool) -> Value {
    if let Some(status) = framework.statuses.iter().find(|status| fits(status)) {
        return status.clone();
    }
    framework.event("UPDATE", |event| fits(&event["update"]["status"])).await["update"]["status"].clone()
}

fn timed(mut check: Value) -> Value {
    for (name, seconds) in [("delay_seconds", 0.1), ("interval_seconds", 0.2), ("timeout_seconds", 5.0)] {
        check[name] = json!(seconds);
    }
    check
}

#[tokio::test(flavor = "multi_thread")]
async fn sea_54_55_56_looks_at_a_task() {
    if !is_root() {
        skip("clusters of namespaces need root");
        return;
    }
    let mut cluster = Cluster::up("checks", &["--agents", "1", "--public-agents", "0"]).await;
    let mut framework = Framework::subscribe(&cluster, info("eng", &["PARTITION_AWARE"])).await;
    let offer = framework.offer(|_| true).await;
    let mut web = task("web", &offer, "eng");
    web["command"] =
        command("mkdir www; echo fine > www/health; exec busybox httpd -f -p 127.0.0.1:31500 -h www");
    let http = json!({"port": 31_500, "path": "/health", "scheme": "http"});
    let mut health = timed(json!({"type": "HTTP", "http": http, "consecutive_failures": 3}));
    health["grace_period_seconds"] = json!(30.0);
    web["health_check"] = health;
    // Inside the task: its directory, its environment.
    let look = command("test $MESOS_EXECUTOR_ID = web && test -e flag");
    web["check"] = timed(json!({"type": "COMMAND", "command": {"command": look}}));
    let mut plain = task("plain", &offer, "eng");
    plain["command"] = command("exec sleep 1000");
    plain["health_check"] = timed(json!({"type": "TCP", "tcp": {"port": 31_501}, "consecutive_failures": 2}));
    plain["health_check"]["grace_period_seconds"] = json!(0.0);
    framework.accept(&offer, json!([{"type": "LAUNCH", "launch": {"task_infos": [web, plain]}}])).await;

    let of = |id: &'static str| move |status: &Value| status["task_id"]["value"] == id;
    let started = framework.state("web", "TASK_RUNNING").await;
    assert_eq!(started["check_status"]["type"], "COMMAND", "{started}");
    let healthy = status(&mut framework, |status| of("web")(status) && status["healthy"] == true).await;
    assert_eq!(healthy["state"], "TASK_RUNNING");
    assert_eq!(healthy["reason"], "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED");
    let code = |wanted: i64| {
        move |status: &Value| {
            status["reason"] == "REASON_TASK_CHECK_STATUS_UPDATED"
                && status["check_status"]["command"]["exit_code"] == wanted
        }
    };
    status(&mut framework, code(1)).await;
    let run = sandbox(&cluster, "agent1", &framework, "web");
    std::fs::write(run.join("flag"), "").unwrap();
    let checked = status(&mut framework, code(0)).await;
    assert_eq!(checked["healthy"], true, "{checked}");

    // Nobody listens for this one.
    let killed = framework.state("plain", "TASK_KILLED").await;
    assert_eq!(killed["healthy"], false, "{killed}");

    // The daemon's death changes nothing for the task, and looks go on.
    let old = cluster.kill_daemon("agent1");
    cluster
        .wait("the agent to come back", async || {
            let new = cluster.node("agent1")["pid"].as_i64() != Some(i64::from(old));
            let slaves = cluster.get("/mesos/slaves").await;
            (new && slaves["slaves"][0]["active"] == true).then_some(())
        })
        .await;
    assert!(!framework.statuses.iter().any(|status| of("web")(status) && status["healthy"] == false));
    std::fs::remove_file(run.join("www/health")).unwrap();
    let killed = framework.state("web", "TASK_KILLED").await;
    assert_eq!(killed["healthy"], false, "{killed}");
    let unhealthy = framework.statuses.iter().filter(|status| {
        of("web")(status) && status["healthy"] == false && status["state"] == "TASK_RUNNING"
    });
    let messages: Vec<&str> = unhealthy.filter_map(|status| status["message"].as_str()).collect();
    assert_eq!(messages, ["Health check failed: HTTP status 404"; 3]);
    framework.teardown().await;
    cluster.no_container_left().await;
    cluster.down();
}
