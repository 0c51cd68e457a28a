//! Frameworks built on published libraries, unchanged, on a real cluster.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{Cluster, is_root, skip};

fn compat(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../compat").join(name)
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let shown =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed:\n{shown}");
    output
}

/// A Go compiler: in the path, or where Go's own archive is unpacked.
fn go() -> PathBuf {
    let unpacked = Path::new("/usr/local/go/bin/go");
    if unpacked.exists() { unpacked.to_owned() } else { PathBuf::from("go") }
}

/// Builds the mesos-go framework into the directory.
fn mesos_go(dir: &Path) -> PathBuf {
    let program = dir.join("mesos-go");
    run(Command::new(go())
        .current_dir(compat("mesos-go"))
        .args(["build", "-mod=readonly", "-o"])
        .arg(&program)
        .arg(".")
        .env("CGO_ENABLED", "0"));
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn a_framework_on_mesos_go_runs_unchanged() {
    if !is_root() {
        skip("frameworks on real agents need root");
        return;
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let program = mesos_go(dir.path());
    let mut cluster = Cluster::up("mgo", &["--agents", "2", "--public-agents", "0"]).await;
    let door = format!("{}/mesos", cluster.url);
    for codec in ["protobuf", "json"] {
        for scenario in
            ["launch", "reconcile", "failover", "volumes", "group", "executor", "exec", "operator"]
        {
            run(Command::new(&program).args(["-master", &door, "-codec", codec, scenario]));
        }
    }
    cluster.down();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_framework_on_node_runs_unchanged() {
    if !is_root() {
        skip("frameworks on real agents need root");
        return;
    }
    let home = compat("mesos-framework-js");
    run(Command::new("npm").current_dir(&home).args(["ci", "--no-audit", "--no-fund"]));
    let mut cluster = Cluster::up("mjs", &["--agents", "1", "--public-agents", "0"]).await;
    let scenario = home.join("scenario.js");
    let address = cluster.node("master1")["address"].as_str().unwrap().to_owned();
    let scenario = scenario.to_str().unwrap();
    // The library knows only /api/v1/scheduler of a host and port: it runs beside the master.
    let output = cluster.shell("master1", &["node", scenario, &address, "5050"]);
    let shown =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown}");
    cluster.down();
}
