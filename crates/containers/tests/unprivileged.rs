//! An agent without root: plain processes, and clear words about the rest.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::process::CommandExt;

use containers::{Command, ExitStatus, ImageSource, NestedSpec};
use model::ContainerId;
use support::{Node, is_alive, is_root};

const NOBODY: u32 = 65_534;

/// As root, runs the test below as another user; it is the same program.
#[test]
fn as_nobody() {
    if !is_root() {
        println!("not root: without_root runs by itself");
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "without_root", "--nocapture"])
        .env_remove("TMPDIR")
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed") && text.contains("ran without root"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_root() {
    if is_root() {
        println!("root: as_nobody runs this as another user");
        return;
    }
    let mut node = Node::start().await;
    let capabilities = node.runtime.capabilities().clone();
    assert!(!capabilities.root && capabilities.cgroup_version.is_none() && !capabilities.overlay);
    assert!(capabilities.warnings[0].contains("without root"), "{capabilities:?}");

    let mut spec = node.shell("c1", "id -u; exit 3");
    spec.user = Some("nobody".into());
    assert_eq!(node.run(spec).await, (ExitStatus::Code(3), "65534\n".into()));

    // Processes that leave the session are found and ended all the same.
    let spec = node.shell("c2", "trap '' TERM; (setsid sleep 1000 &); sleep 1001 & echo up; wait");
    let launched = node.runtime.launch(spec).await.unwrap();
    node.wait_output("c2", "up").await;
    let below = support::until("three processes", || {
        let below = keeper::process::descendants(launched.pid);
        (below.len() == 3).then_some(below)
    })
    .await;
    let usage = node.runtime.usage(&ContainerId::new("c2")).await.unwrap();
    assert!(usage.pids == 4 && usage.mem_bytes > 0, "{usage:?}");
    node.runtime.destroy(&ContainerId::new("c2")).await.unwrap();
    assert_eq!(node.exit().await.1, ExitStatus::Signal(libc::SIGKILL));
    for pid in below {
        support::until("the end of a process", || (!is_alive(pid)).then_some(())).await;
    }
    node.runtime.forget(&ContainerId::new("c2")).await.unwrap();

    // A session, in the place of a container that nothing sets apart.
    let mut spec = node.shell("p", "trap '' TERM; echo up; sleep 1000 & wait");
    spec.env = vec![("COLOR".into(), "blue".into())];
    node.runtime.launch(spec).await.unwrap();
    node.wait_output("p", "up").await;
    let session = |name: &str, script: &str| NestedSpec {
        id: ContainerId::new(name),
        command: Command::Shell(script.into()),
        env: Vec::new(),
        user: None,
        terminal: Some(containers::WindowSize { rows: 24, columns: 80 }),
        session: true,
    };
    node.runtime.launch_nested(session("p.s", "echo $COLOR; id -u; stty size; exit 3")).await.unwrap();
    let mut output = node.runtime.attach_output(&ContainerId::new("p.s")).await.unwrap();
    let mut text = Vec::new();
    while let Some(chunk) = output.next().await {
        text.extend_from_slice(&chunk.data);
    }
    assert_eq!(String::from_utf8(text).unwrap(), "blue\r\n65534\r\n24 80\r\n");
    let exit = node.runtime.wait(&ContainerId::new("p.s")).await.unwrap();
    assert_eq!(exit.status, ExitStatus::Code(3));
    let waiting = session("p.t", "trap '' TERM HUP; echo up; setsid sleep 1000 & wait; wait");
    let launched = node.runtime.launch_nested(waiting).await.unwrap();
    let mut output = node.runtime.attach_output(&ContainerId::new("p.t")).await.unwrap();
    output.next().await.unwrap();
    node.runtime.destroy(&ContainerId::new("p")).await.unwrap();
    assert_eq!(node.exit().await.1, ExitStatus::Signal(libc::SIGKILL));
    assert!(!is_alive(launched.pid));
    node.runtime.forget(&ContainerId::new("p")).await.unwrap();

    // The agent adopts here too.
    let spec = node.shell("c3", "trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done");
    let before = node.runtime.launch(spec).await.unwrap();
    node.wait_output("c3", "up").await;
    support::kill(node.keeper_pid());
    node.restart().await;
    assert_eq!(keeper::process::start_time(before.pid), Some(before.start_time));
    node.runtime.signal(&ContainerId::new("c3"), libc::SIGTERM).await.unwrap();
    assert_eq!(node.exit().await.1, ExitStatus::Code(9));

    let mut spec = node.shell("c4", "true");
    spec.user = Some("root".into());
    let text = node.runtime.launch(spec).await.unwrap_err().to_string();
    assert!(text.contains("another user needs root"), "{text}");
    let mut spec = node.shell("c5", "true");
    spec.image = Some(ImageSource { reference: "box".into(), force_pull: false });
    let text = node.runtime.launch(spec).await.unwrap_err().to_string();
    assert!(text.contains("image needs root"), "{text}");
    node.finish().await;
    println!("ran without root");
}
