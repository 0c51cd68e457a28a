//! Frameworks of other people: executors of their own, groups, volumes.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::framework::{Framework, command, info, scalar, task};
use crate::support::{Cluster, task_pids};

/// An executor as somebody might write it: `sh` and `curl`. Tells that tasks run, ends
/// them when asked, comes back when its agent was away.
const EXECUTOR: &str = r#"
url="http://$MESOS_AGENT_ENDPOINT/api/v1/executor"
ids="\"framework_id\":{\"value\":\"$MESOS_FRAMEWORK_ID\"},\"executor_id\":{\"value\":\"$MESOS_EXECUTOR_ID\"}"
json='Content-Type: application/json'
touch tasks
call() { curl -s --retry 50 --retry-delay 1 --retry-all-errors -f -H "$json" -d "$1" "$url"; }
update() {
    status="\"task_id\":{\"value\":\"$1\"},\"executor_id\":{\"value\":\"$MESOS_EXECUTOR_ID\"}"
    status="$status,\"state\":\"$2\",\"source\":\"SOURCE_EXECUTOR\",\"uuid\":\"$(head -c 16 /dev/urandom | base64)\""
    call "{$ids,\"type\":\"UPDATE\",\"update\":{\"status\":{$status}}}"
}
events() {
    while read -r length; do
        event=$(head -c "$length")
        echo "$event"
        id=$(echo "$event" | grep -o '"task_id":{"value":"[^"]*"' | head -1 | cut -d'"' -f6)
        case "$event" in
        *'"type":"LAUNCH"'*) echo "$id" >> tasks; update "$id" TASK_RUNNING ;;
        *'"type":"KILL"'*) update "$id" TASK_KILLED ;;
        *'"type":"MESSAGE"'*) call "{$ids,\"type\":\"MESSAGE\",\"message\":$(echo "$event" | grep -o '{"data":"[^"]*"}')}" ;;
        *'"type":"SHUTDOWN"'*) echo bye; touch over; kill $$; exit ;;
        esac
    done
}
while [ ! -e over ]; do
    curl -sN -H "$json" -H 'Accept: application/json' -d "{$ids,\"type\":\"SUBSCRIBE\",\"subscribe\":{}}" "$url" | events
    sleep 0.2
done
"#;

pub fn sandbox(cluster: &Cluster, node: &str, framework: &Framework, executor: &str) -> PathBuf {
    let slaves = cluster.data().join("nodes").join(node).join("data/slave/slaves");
    let slave = std::fs::read_dir(&slaves).unwrap_or_else(|error| panic!("{}: {error}", slaves.display()));
    let slave = slave.map(|entry| entry.unwrap().path()).next().unwrap();
    slave.join(format!("frameworks/{}/executors/{executor}/runs/latest", framework.id))
}

#[tokio::test(flavor = "multi_thread")]
async fn sea_45_60_an_executor_of_their_own_outlives_the_agent() {
    if std::process::Command::new("curl").arg("--version").output().is_err() {
        crate::support::skip("the executor of this test needs curl");
        return;
    }
    let mut cluster = Cluster::up("exec", &["--agents", "1", "--public-agents", "0"]).await;
    let mut framework = Framework::subscribe(&cluster, info("eng", &["PARTITION_AWARE"])).await;
    let offer = framework.offer(|_| true).await;
    let executor = json!({
        "type": "CUSTOM", "executor_id": {"value": "mine"}, "command": command(EXECUTOR),
        "resources": [scalar("eng", "cpus", 0.1), scalar("eng", "mem", 64.0)],
    });
    let with_executor = |id: &str| {
        let mut task = task(id, &offer, "eng");
        task["executor"] = executor.clone();
        task["data"] = json!("AP8K");
        task
    };
    let launch =
        json!([{"type": "LAUNCH", "launch": {"task_infos": [with_executor("t1"), with_executor("t2")]}}]);
    framework.accept(&offer, launch).await;
    let status = framework.state("t1", "TASK_RUNNING").await;
    framework.state("t2", "TASK_RUNNING").await;
    assert_eq!(status["executor_id"]["value"], "mine");
    assert_eq!(status["source"], "SOURCE_EXECUTOR");
    assert!(status["container_status"]["container_id"]["value"].is_string(), "{status}");

    // Bytes both ways.
    let agent_id = offer["agent_id"].clone();
    let message = json!({"agent_id": agent_id, "executor_id": {"value": "mine"}, "data": "AP8KIQ=="});
    framework.call(json!({"type": "MESSAGE", "message": message})).await;
    let echo = framework.event("MESSAGE", |_| true).await;
    assert_eq!(echo["message"]["data"], "AP8KIQ==");

    // The agent is killed: the executor is the same process and is listened to again.
    let pids = task_pids("mine");
    let old = cluster.kill_daemon("agent1");
    cluster
        .wait("the agent to come back", async || {
            let new = cluster.node("agent1")["pid"].as_i64() != Some(i64::from(old));
            let slaves = cluster.get("/mesos/slaves").await;
            (new && slaves["slaves"][0]["active"] == true).then_some(())
        })
        .await;
    framework.kill("t1").await;
    let status = framework.state("t1", "TASK_KILLED").await;
    assert_eq!(status["source"], "SOURCE_EXECUTOR", "{status}");
    assert_eq!(task_pids("mine").first(), pids.first());

    let shutdown = json!({"agent_id": agent_id, "executor_id": {"value": "mine"}});
    framework.call(json!({"type": "SHUTDOWN", "shutdown": shutdown})).await;
    let failure = framework.event("FAILURE", |_| true).await;
    assert_eq!(failure["failure"]["executor_id"]["value"], "mine", "{failure}");
    let status = framework.state("t2", "TASK_FAILED").await;
    assert_eq!(status["reason"], "REASON_EXECUTOR_TERMINATED", "{status}");
    framework.teardown().await;
    cluster.down();
}

#[tokio::test(flavor = "multi_thread")]
async fn sea_52_groups_on_the_default_executor() {
    let mut cluster = Cluster::up("group", &["--agents", "1", "--public-agents", "0"]).await;
    let mut framework = Framework::subscribe(&cluster, info("eng", &["PARTITION_AWARE"])).await;
    let offer = framework.offer(|_| true).await;
    let executor = json!({
        "type": "DEFAULT", "executor_id": {"value": "pod"}, "framework_id": {"value": framework.id},
        "resources": [scalar("eng", "cpus", 0.1), scalar("eng", "mem", 32.0), scalar("eng", "disk", 1.0)],
    });
    let of_group = |id: &str, line: &str| {
        let mut task = task(id, &offer, "eng");
        task["command"] = command(line);
        task
    };
    let tasks = [
        of_group("good", "echo $MESOS_ALLOCATION_ROLE $MESOS_CONTAINER_IP; exec sleep 1000"),
        of_group("done", "exit 0"),
        of_group("bad", "while [ ! -e fail ]; do sleep 0.1; done; exit 3"),
    ];
    let group = json!([{
        "type": "LAUNCH_GROUP",
        "launch_group": {"executor": executor, "task_group": {"tasks": tasks}},
    }]);
    framework.accept(&offer, group).await;
    framework.state("done", "TASK_FINISHED").await;
    for id in ["good", "bad"] {
        framework.state(id, "TASK_STARTING").await;
        let status = framework.state(id, "TASK_RUNNING").await;
        assert!(status["container_status"]["container_id"]["parent"]["value"].is_string(), "{status}");
    }
    let run = sandbox(&cluster, "agent1", &framework, "pod");
    let output = std::fs::read_to_string(run.join("tasks/good/stdout")).unwrap();
    assert!(output.starts_with("eng "), "{output}");

    // The agent is killed: the group runs on.
    let old = cluster.kill_daemon("agent1");
    cluster
        .wait("the agent to come back", async || {
            let new = cluster.node("agent1")["pid"].as_i64() != Some(i64::from(old));
            let slaves = cluster.get("/mesos/slaves").await;
            (new && slaves["slaves"][0]["active"] == true).then_some(())
        })
        .await;
    std::fs::write(run.join("tasks/bad/fail"), "").unwrap();
    let status = framework.state("bad", "TASK_FAILED").await;
    assert_eq!(status["message"], "Command exited with status 3");
    framework.state("good", "TASK_KILLED").await;
    let failure = framework.event("FAILURE", |_| true).await;
    assert_eq!(failure["failure"]["executor_id"]["value"], "pod", "{failure}");
    framework.teardown().await;
    cluster.down();
}

#[tokio::test(flavor = "multi_thread")]
async fn sea_21_ks_14_17_a_volume_outlives_its_task_and_not_its_end() {
    let mut cluster = Cluster::up("volume", &["--agents", "1", "--public-agents", "0"]).await;
    let mut framework = Framework::subscribe(&cluster, info("eng", &["PARTITION_AWARE"])).await;
    let offer = framework.offer(|_| true).await;
    let mut disk = scalar("eng", "disk", 64.0);
    disk["reservations"] = json!([{"type": "DYNAMIC", "role": "eng", "principal": "me"}]);
    let mut volume = disk.clone();
    volume["disk"] = json!({
        "persistence": {"id": "data", "principal": "me"},
        "volume": {"mode": "RW", "container_path": "store"},
    });
    let on_volume = |id: &str, line: &str, offer: &Value| {
        let mut task = task(id, offer, "eng");
        task["command"] = command(line);
        task["resources"].as_array_mut().unwrap().push(volume.clone());
        task
    };
    let operations = json!([
        {"type": "RESERVE", "reserve": {"resources": [disk]}},
        {"type": "CREATE", "create": {"volumes": [volume]}},
        {"type": "LAUNCH", "launch": {"task_infos": [on_volume("write", "echo kept > store/file", &offer)]}},
    ]);
    framework.accept(&offer, operations).await;
    framework.state("write", "TASK_FINISHED").await;
    let directory = cluster.data().join("nodes/agent1/data/slave/volumes/roles/eng/data");
    assert_eq!(std::fs::read_to_string(directory.join("file")).unwrap(), "kept\n");

    let has_volume = |offer: &Value| {
        offer["resources"].as_array().unwrap().iter().any(|one| one["disk"]["persistence"]["id"] == "data")
    };
    // It is offered again, also after a restart of the agent.
    let old = cluster.kill_daemon("agent1");
    cluster
        .wait("the agent to come back", async || {
            (cluster.node("agent1")["pid"].as_i64() != Some(i64::from(old))).then_some(())
        })
        .await;
    let offer = framework.offer(has_volume).await;
    let launch = json!([
        {"type": "LAUNCH", "launch": {"task_infos": [on_volume("read", "grep kept store/file", &offer)]}},
    ]);
    framework.accept(&offer, launch).await;
    framework.state("read", "TASK_FINISHED").await;

    let offer = framework.offer(has_volume).await;
    let operations = json!([
        {"type": "DESTROY", "destroy": {"volumes": [volume]}},
        {"type": "CREATE", "create": {"volumes": [volume]}},
        {"type": "LAUNCH", "launch": {"task_infos": [on_volume("empty", "test ! -e store/file", &offer)]}},
    ]);
    framework.accept(&offer, operations).await;
    framework.state("empty", "TASK_FINISHED").await;

    let offer = framework.offer(has_volume).await;
    let operations = json!([
        {"type": "DESTROY", "destroy": {"volumes": [volume]}},
        {"type": "UNRESERVE", "unreserve": {"resources": [disk]}},
    ]);
    framework.accept(&offer, operations).await;
    cluster.wait("the volume to go", async || (!directory.exists()).then_some(())).await;
    framework.teardown().await;
    cluster.down();
}
