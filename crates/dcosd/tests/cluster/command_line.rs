//! The `dcos` command against a real cluster, as a person would use it.

use crate::support::Cluster;

fn text(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_added_scaled_updated_restarted_and_removed() {
    let mut cluster = Cluster::up("cli", &["--agents", "1", "--public-agents", "1"]).await;
    let done = |arguments: &[&str]| {
        let output = cluster.dcos(arguments);
        assert!(output.status.success(), "dcos {arguments:?}: {}", text(&output));
        text(&output)
    };
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/hello.json");
    done(&["marathon", "app", "add", file]);
    let task = cluster.running("/hello", 1).await.remove(0);
    assert!(done(&["marathon", "app", "list"]).contains("/hello"));
    assert!(done(&["marathon", "app", "show", "/hello"]).contains("\"instances\": 1"));
    let tasks = done(&["task", "list"]);
    assert!(tasks.contains("hello") && tasks.contains("TASK_RUNNING"), "{tasks}");
    cluster
        .wait("the log through the command", async || {
            done(&["task", "log", "hello"]).contains("hello from").then_some(())
        })
        .await;
    let nodes = done(&["node", "list"]);
    assert!(nodes.contains("agent (public)") && nodes.contains("master (leader)"), "{nodes}");
    assert!(done(&["service", "list"]).contains("marathon"));

    done(&["marathon", "app", "scale", "/hello", "3"]);
    let scaled = cluster.running("/hello", 3).await;
    assert!(scaled.iter().any(|one| one["id"] == task["id"]), "scaling up must not replace what runs");
    done(&["marathon", "app", "update", "/hello", "env={\"A\":\"b\"}", "instances=2"]);
    cluster.running("/hello", 2).await;
    cluster
        .wait("the update to replace all", async || {
            let tasks = cluster.running("/hello", 2).await;
            let deployments = cluster.get("/service/marathon/v2/deployments").await;
            let old = tasks.iter().any(|new| scaled.iter().any(|old| old["id"] == new["id"]));
            (!old && deployments.as_array()?.is_empty()).then_some(())
        })
        .await;
    let before = cluster.running("/hello", 2).await;
    done(&["marathon", "app", "restart", "/hello"]);
    cluster
        .wait("the restart to replace all", async || {
            let tasks = cluster.running("/hello", 2).await;
            let old = tasks.iter().any(|new| before.iter().any(|old| old["id"] == new["id"]));
            (!old).then_some(())
        })
        .await;
    done(&["marathon", "app", "remove", "/hello"]);
    cluster
        .wait("the app to be gone", async || {
            cluster.get("/service/marathon/v2/apps").await["apps"].as_array()?.is_empty().then_some(())
        })
        .await;

    let missing = cluster.dcos(&["marathon", "app", "show", "/nosuch"]);
    assert!(!missing.status.success() && text(&missing).contains("/nosuch"), "{}", text(&missing));
    let wrong = cluster.dcos(&["marathon", "app", "add", "/nonexistent.json"]);
    assert!(!wrong.status.success() && text(&wrong).contains("/nonexistent.json"), "{}", text(&wrong));
    let added = cluster.dev(&["add-agent"]);
    assert!(added.contains("agent2"), "{added}");
    cluster.down();
    let off = cluster.dcos(&["node", "list"]);
    assert!(!off.status.success() && !text(&off).contains("panicked"), "{}", text(&off));
}
