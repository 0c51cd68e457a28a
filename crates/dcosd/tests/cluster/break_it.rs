//! Everything that can be killed is killed: tasks, agents, keepers, masters, machines.

use crate::support::{Cluster, app, is_root, kill, pids, start_time, task_pids};
use reqwest::Method;
use serde_json::json;

/// The keeper of a node: the process of our program whose command line says so.
fn keeper_of(data: &std::path::Path, node: &str) -> i32 {
    let needle = format!("{}/nodes/{node}/", data.display());
    let found = pids().into_iter().find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(" keeper ") && line.contains(&needle)
    });
    found.unwrap_or_else(|| panic!("no keeper of {node}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_outlive_the_daemons() {
    let mut cluster = Cluster::up("live", &["--agents", "1", "--public-agents", "0"]).await;
    cluster.add(app("/web", "exec sleep 1000")).await;
    let task = cluster.running("/web", 1).await.remove(0);
    let id = task["id"].as_str().unwrap().to_owned();
    let pid = cluster.task_pid(&task);
    let started = start_time(pid);
    let same = |what: &str| {
        assert_eq!(start_time(pid), started, "{what}: the task's process is another one");
        assert_eq!(task_pids(&id).last(), Some(&pid), "{what}");
    };

    // The task itself: another takes its place.
    cluster.add(app("/short", "exec sleep 1000")).await;
    let short = cluster.running("/short", 1).await.remove(0);
    kill(cluster.task_pid(&short));
    cluster
        .wait("a replacement of the killed task", async || {
            let tasks = cluster.tasks("/short").await;
            let running =
                tasks.iter().any(|task| task["state"] == "TASK_RUNNING" && task["id"] != short["id"]);
            (running && tasks.len() == 1).then_some(())
        })
        .await;
    cluster.remove("/short").await;

    // The agent's daemon: the task keeps its pid and start time, and its name.
    let old = cluster.kill_daemon("agent1");
    cluster
        .wait("the agent to come back", async || {
            let node = cluster.node("agent1");
            let slaves = cluster.get("/mesos/slaves").await;
            let active = slaves["slaves"][0]["active"] == true;
            (node["pid"].as_i64() != Some(i64::from(old)) && active).then_some(())
        })
        .await;
    same("agent killed");
    assert_eq!(cluster.running("/web", 1).await[0]["id"], id.as_str());

    // The keeper: the agent adopts the task, and still sees it end.
    kill(keeper_of(&cluster.data(), "agent1"));
    cluster.add(app("/after", "exec sleep 1000")).await;
    cluster.running("/after", 1).await;
    same("keeper killed");
    assert_eq!(cluster.running("/web", 1).await[0]["id"], id.as_str());

    // The master: everything is there again, nothing was started anew.
    let old = cluster.kill_daemon("master1");
    cluster
        .wait("the master to come back", async || {
            let new = cluster.node("master1")["pid"].as_i64() != Some(i64::from(old));
            let slaves = cluster.get("/mesos/slaves").await;
            (new && slaves["slaves"][0]["active"] == true).then_some(())
        })
        .await;
    same("master killed");
    assert_eq!(cluster.running("/web", 1).await[0]["id"], id.as_str());
    cluster.running("/after", 1).await;
    let state = cluster.get("/mesos/state").await;
    let completed = state["frameworks"][0]["completed_tasks"].as_array().map_or(0, Vec::len);
    assert_eq!(completed, 0, "something ended over the master's restart: {state}");

    // The adopted task's end is seen after all this.
    kill(pid);
    cluster
        .wait("a replacement of the adopted task", async || {
            let tasks = cluster.tasks("/web").await;
            (tasks.len() == 1 && tasks[0]["state"] == "TASK_RUNNING" && tasks[0]["id"] != id.as_str())
                .then_some(())
        })
        .await;
    cluster.down();
}

#[tokio::test(flavor = "multi_thread")]
async fn state_is_kept_from_down_to_up() {
    let mut cluster = Cluster::up("kept", &["--agents", "1", "--public-agents", "0"]).await;
    cluster.add(app("/web", "exec sleep 1000")).await;
    cluster.running("/web", 1).await;
    let (_, before) = cluster.call(Method::GET, "/service/marathon/v2/apps/web/versions", None).await;
    let port = cluster.url.rsplit_once(':').unwrap().1.to_owned();
    cluster.dev(&["down"]);
    cluster.dev(&["up", "--port", &port]);
    let (_, after) = cluster.call(Method::GET, "/service/marathon/v2/apps/web/versions", None).await;
    assert_eq!(before, after);
    cluster.running("/web", 1).await;
    cluster.dev(&["down"]);
    cluster.dev(&["up", "--fresh", "--port", &port]);
    let apps = cluster.get("/service/marathon/v2/apps").await;
    assert_eq!(apps["apps"], json!([]));
    cluster.down();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_machine_is_replaced_and_its_duplicates_end() {
    if !is_root() {
        crate::support::skip("partitions need root");
        return;
    }
    let mut cluster = Cluster::up("lost", &["--agents", "2", "--public-agents", "1"]).await;
    let mut spread = app("/web", "exec sleep 1000");
    spread["instances"] = json!(2);
    spread["constraints"] = json!([["hostname", "UNIQUE"]]);
    cluster.add(spread).await;
    let tasks = cluster.running("/web", 2).await;
    for task in &tasks {
        let node = cluster.node_of(task["slaveId"].as_str().unwrap()).await;
        assert_ne!(node, "public1", "a task that accepts only * runs on a public agent");
    }
    cluster.remove("/web").await;

    // Power off: the instance is started again elsewhere.
    cluster.add(app("/one", "exec sleep 1000")).await;
    let task = cluster.running("/one", 1).await.remove(0);
    let node = cluster.node_of(task["slaveId"].as_str().unwrap()).await;
    cluster.dev(&["kill", &node]);
    assert!(task_pids(task["id"].as_str().unwrap()).is_empty(), "power off leaves the task running");
    let moved = cluster
        .wait("the instance elsewhere", async || {
            let tasks = cluster.tasks("/one").await;
            tasks
                .iter()
                .find(|new| new["state"] == "TASK_RUNNING" && new["slaveId"] != task["slaveId"])
                .cloned()
        })
        .await;
    cluster.dev(&["start", &node]);
    cluster
        .wait("the agent to be back", async || {
            let slaves = cluster.get("/mesos/slaves").await;
            let active = slaves["slaves"].as_array()?.iter().filter(|slave| slave["active"] == true).count();
            (active == 3).then_some(())
        })
        .await;

    // Cut off: the instance is started elsewhere, and the one that was cut off ends on its return.
    let node = cluster.node_of(moved["slaveId"].as_str().unwrap()).await;
    let old = moved["id"].as_str().unwrap();
    cluster.dev(&["partition", &node]);
    cluster
        .wait("a second instance while the first is cut off", async || {
            let tasks = cluster.tasks("/one").await;
            tasks.iter().any(|new| new["state"] == "TASK_RUNNING" && new["id"] != old).then_some(())
        })
        .await;
    assert!(!task_pids(old).is_empty(), "without a master the task must go on");
    cluster.dev(&["heal"]);
    cluster.wait("the duplicate to end", async || task_pids(old).is_empty().then_some(())).await;
    cluster.running("/one", 1).await;
    cluster.down();
}

/// Below what the store wants free (64 MiB), above what an agent needs.
const LEFT_FREE_MIB: u64 = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_changes_and_stops_nothing() {
    if !is_root() {
        crate::support::skip("a disk of its own needs root");
        return;
    }
    let mut cluster = Cluster::up_on_disk("full", 256, &["--agents", "1", "--public-agents", "0"]).await;
    cluster.add(app("/web", "exec sleep 1000")).await;
    let task = cluster.running("/web", 1).await.remove(0);
    let (pid, daemon) = (cluster.task_pid(&task), cluster.pid("master1"));
    let started = start_time(pid);

    let ballast = cluster.data().join("ballast");
    fill(&ballast, &cluster.data());
    let (status, answer) = cluster
        .call(Method::POST, "/service/marathon/v2/apps", Some(app("/more", "exec sleep 1000").to_string()))
        .await;
    assert!(status.is_server_error(), "{status} {answer}");
    assert_eq!(start_time(pid), started, "the task must not notice");

    // Room again: the same process leads a new term, the idle agent comes by itself.
    std::fs::remove_file(&ballast).unwrap();
    cluster
        .wait("the master to lead again with its agent", async || {
            let slaves = cluster.get("/mesos/slaves").await;
            (slaves["slaves"].as_array()?.iter().filter(|slave| slave["active"] == true).count() == 1)
                .then_some(())
        })
        .await;
    assert_eq!(cluster.pid("master1"), daemon, "a refused commit must not end the daemon");
    assert_eq!(cluster.running("/web", 1).await[0]["id"], task["id"]);
    let (status, _) = cluster.call(Method::GET, "/service/marathon/v2/apps/more", None).await;
    assert_eq!(status.as_u16(), 404, "what was refused must not come alive later");
    cluster.add(app("/more", "exec sleep 1000")).await;
    cluster.running("/more", 1).await;
    assert_eq!(start_time(pid), started);
    cluster.down();
}

fn fill(ballast: &std::path::Path, disk: &std::path::Path) {
    let output = std::process::Command::new("df").args(["--output=avail", "-m"]).arg(disk).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let free: u64 = text.lines().nth(1).and_then(|line| line.trim().parse().ok()).unwrap();
    let size = usize::try_from((free - LEFT_FREE_MIB) * 1024 * 1024).unwrap();
    std::fs::write(ballast, vec![0; size]).unwrap();
}
