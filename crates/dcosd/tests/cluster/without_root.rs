//! Plain processes on loopback addresses: what is left without root.

use crate::support::{Cluster, app, task_pids};

#[tokio::test(flavor = "multi_thread")]
async fn plain_processes_run_and_what_is_missing_is_said() {
    let mut cluster = Cluster::up("plain", &["--agents", "1", "--public-agents", "0", "--plain"]).await;
    cluster.add(app("/web", "echo up; exec sleep 1000")).await;
    let task = cluster.running("/web", 1).await.remove(0);
    assert_eq!(cluster.node("agent1")["address"].as_str().unwrap().split('.').next(), Some("127"));
    cluster
        .wait("the output", async || cluster.file(&task, "stdout").await.contains("up").then_some(()))
        .await;
    let partition = cluster.dev_output(&["partition", "agent1"]);
    assert!(!partition.status.success(), "without namespaces there is nothing to cut");
    let said = String::from_utf8_lossy(&partition.stderr).into_owned();
    assert!(said.contains("root"), "{said}");
    cluster.kill_daemon("agent1");
    cluster.running("/web", 1).await;
    cluster.remove("/web").await;
    assert!(task_pids(task["id"].as_str().unwrap()).is_empty());
    cluster.down();
}
