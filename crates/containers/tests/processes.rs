//! Plain commands: real processes, limits, and everything that may die meanwhile.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::time::{Duration, Instant};

use containers::{Command, ControlError, ExitStatus, LaunchError, LaunchSpec, Limits, RecoveredState};
use model::ContainerId;
use support::{Node, is_alive, kill, skip_without_root, until};

fn id(text: &str) -> ContainerId {
    ContainerId::new(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn output_environment_exit_code_and_working_directory() {
    let mut node = Node::start().await;
    let mut spec = node.shell("c1", "echo $COLOR; pwd; echo bad >&2; exit 7");
    spec.env = vec![("COLOR".into(), "blue".into())];
    let sandbox = spec.sandbox.clone();
    let (status, output) = node.run(spec).await;
    assert_eq!(status, ExitStatus::Code(7));
    assert_eq!(output, format!("blue\n{}\n", sandbox.display()));
    assert_eq!(fs::read_to_string(sandbox.join("stderr")).unwrap(), "bad\n");
    assert!(sandbox.is_dir(), "destroy leaves the sandbox");
    let spec = node.spec("c2", Command::Argv(vec!["printf".into(), "%s|".into(), "a b".into(), "c".into()]));
    assert_eq!(node.run(spec).await, (ExitStatus::Code(0), "a b|c|".into()));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_reach_the_command() {
    let mut node = Node::start().await;
    let spec = node.shell("c1", "trap 'echo got it; exit 3' TERM; echo up; while :; do sleep 0.01; done");
    node.runtime.launch(spec).await.unwrap();
    node.wait_output("c1", "up").await;
    node.runtime.signal(&id("c1"), libc::SIGTERM).await.unwrap();
    let (_, status, oom, _) = node.exit().await;
    assert_eq!((status, oom), (ExitStatus::Code(3), false));
    assert!(matches!(node.runtime.signal(&id("c1"), libc::SIGTERM).await, Err(ControlError::NotRunning(_))));
    let spec = node.shell("c2", "sleep 1000");
    node.runtime.launch(spec).await.unwrap();
    node.runtime.signal(&id("c2"), libc::SIGTERM).await.unwrap();
    assert_eq!(node.exit().await.1, ExitStatus::Signal(libc::SIGTERM));
    assert!(node.runtime.signal(&id("c2"), 99).await.is_err());
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destroy_ends_everything_and_may_be_repeated() {
    let mut node = Node::start().await;
    let spec = node.shell("c1", "trap '' TERM; (setsid sleep 1000 &) ; sleep 1001 & echo up; wait");
    let launched = node.runtime.launch(spec).await.unwrap();
    node.wait_output("c1", "up").await;
    let below = keeper::process::descendants(launched.pid);
    node.runtime.destroy(&id("c1")).await.unwrap();
    node.runtime.destroy(&id("c1")).await.unwrap();
    assert_eq!(node.exit().await.1, ExitStatus::Signal(libc::SIGKILL));
    for pid in below {
        assert!(!is_alive(pid), "process {pid} is left");
    }
    node.runtime.forget(&id("c1")).await.unwrap();
    node.runtime.destroy(&id("never-heard-of")).await.unwrap();
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_survives_its_agent() {
    let mut node = Node::start().await;
    let spec = node.shell("c1", "trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done");
    let before = node.runtime.launch(spec).await.unwrap();
    node.wait_output("c1", "up").await;
    let ended = node.shell("c2", "exit 4");
    node.runtime.launch(ended).await.unwrap();
    node.exit().await;
    let keeper = node.keeper_pid();
    node.restart().await;
    assert_eq!(node.keeper_pid(), keeper);
    let recovered = node.runtime.recover().await;
    let RecoveredState::Running { pid, start_time } = recovered[0].state.clone() else {
        panic!("{recovered:?}")
    };
    assert_eq!((pid, start_time), (before.pid, before.start_time));
    assert!(
        matches!(&recovered[1].state, RecoveredState::Exited(exit) if exit.status == ExitStatus::Code(4))
    );
    let (ended, status, ..) = node.exit().await;
    assert_eq!((ended.as_str(), status), ("c2", ExitStatus::Code(4)), "told again until forgotten");
    node.runtime.signal(&id("c1"), libc::SIGTERM).await.unwrap();
    assert_eq!(node.exit().await.1, ExitStatus::Code(9));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_adopts_when_the_keeper_dies() {
    let mut node = Node::start().await;
    let long = node.shell("long", "trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done");
    let before = node.runtime.launch(long).await.unwrap();
    node.wait_output("long", "up").await;
    let keeper = node.keeper_pid();
    kill(keeper);
    // A new keeper for new tasks.
    until("another keeper", || support::keeper_of(&node.config.runtime_dir).filter(|&pid| pid != keeper))
        .await;
    let after = until_launched(&node, "short", "exit 5").await;
    assert_ne!(after, before.pid);
    let (ended, status, ..) = node.exit().await;
    assert_eq!((ended.as_str(), status), ("short", ExitStatus::Code(5)));
    assert_eq!(keeper::process::start_time(before.pid), Some(before.start_time), "the old task runs on");
    assert!(node.runtime.usage(&id("long")).await.is_some());
    node.runtime.signal(&id("long"), libc::SIGTERM).await.unwrap();
    let (ended, status, ..) = node.exit().await;
    assert_eq!((ended.as_str(), status), ("long", ExitStatus::Code(9)));
    until("the reaping", || keeper::process::start_time(before.pid).is_none().then_some(())).await;
    node.finish().await;
}

/// A launch in the very moment of the keeper's death may be refused.
async fn until_launched(node: &Node, name: &str, script: &str) -> u32 {
    for attempt in 0..50 {
        match node.runtime.launch(node.shell(name, script)).await {
            Ok(launched) => return launched.pid,
            Err(LaunchError::Keeper(_)) if attempt < 49 => {
                tokio::time::sleep(Duration::from_millis(20)).await
            }
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!("the last attempt returns or panics")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_known_even_if_agent_and_keeper_died() {
    let mut node = Node::start().await;
    let spec = node.shell("c1", "echo up; sleep 0.3; exit 6");
    node.runtime.launch(spec).await.unwrap();
    node.wait_output("c1", "up").await;
    // The old agent side must not notice: it goes first.
    let config = node.config.clone();
    let keeper = node.keeper_pid();
    node.restart().await;
    kill(keeper);
    assert_eq!(node.exit().await.1, ExitStatus::Code(6));
    assert_eq!(config.runtime_dir, node.config.runtime_dir);
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_and_later_a_killed_keeper() {
    let dir = tempfile::tempdir().unwrap();
    let script = "trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done";
    let mut agent = std::process::Command::new(support::keeper_program())
        .args(["agent", dir.path().to_str().unwrap(), script])
        .spawn()
        .unwrap();
    let launched = until("the launch", || fs::read_to_string(dir.path().join("launched")).ok()).await;
    let output = dir.path().join("sandbox/orphan/stdout");
    until("the trap", || fs::read_to_string(&output).ok().filter(|text| text == "up\n")).await;
    agent.kill().unwrap();
    agent.wait().unwrap();
    // Another agent on the same directories.
    let mut node = Node::start_with(|config| {
        config.runtime_dir = dir.path().join("run");
        config.image_store_dir = dir.path().join("images");
        config.cgroup_root = None;
    })
    .await;
    let keeper = node.keeper_pid();
    let recovered = node.runtime.recover().await;
    let RecoveredState::Running { pid, start_time } = recovered[0].state else { panic!("{recovered:?}") };
    assert_eq!(format!("{pid} {start_time}"), launched);
    kill(keeper);
    let short = until_launched(&node, "short", "exit 5").await;
    assert_ne!(short, pid);
    assert_eq!(node.exit().await.1, ExitStatus::Code(5));
    assert_eq!(keeper::process::start_time(pid), Some(start_time));
    node.runtime.signal(&id("orphan"), libc::SIGTERM).await.unwrap();
    assert_eq!(node.exit().await.1, ExitStatus::Code(9), "its first process wrote it down");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_launches_are_explained_and_leave_nothing() {
    let mut node = Node::start().await;
    let error = |node: &Node, spec: LaunchSpec| {
        let runtime = node.runtime.clone();
        async move { runtime.launch(spec).await.unwrap_err().to_string() }
    };
    let spec = node.spec("c1", Command::Argv(vec!["no-such-program".into()]));
    let text = error(&node, spec).await;
    assert!(text.contains("no-such-program") && text.contains("check the command"), "{text}");
    let mut spec = node.shell("c2", "true");
    spec.sandbox = spec.sandbox.join("../c2");
    assert!(error(&node, spec).await.contains("without '..'"));
    let mut spec = node.shell("c3", "true");
    spec.user = Some("no-such-user".into());
    assert!(error(&node, spec).await.contains("no-such-user"));
    let mut spec = node.shell("c4", "true");
    spec.env = vec![("A=B".into(), "x".into())];
    assert!(error(&node, spec).await.contains("A=B"));
    let mut spec = node.shell("c5", "a\0b");
    assert!(error(&node, spec.clone()).await.contains("NUL"));
    spec.command = Command::ImageDefault { args: Vec::new() };
    assert!(error(&node, spec).await.contains("neither a command nor an image"));
    let mut spec = node.shell("x", "true");
    spec.id = id("../../etc");
    assert!(error(&node, spec).await.contains("container id"));
    // The id is free again, and taken once something runs.
    let spec = node.shell("c1", "sleep 1000");
    node.runtime.launch(spec.clone()).await.unwrap();
    assert!(matches!(node.runtime.launch(spec).await, Err(LaunchError::Exists(_))));
    node.runtime.destroy(&id("c1")).await.unwrap();
    node.exit().await;
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user() {
    if skip_without_root() {
        return;
    }
    let mut node = Node::start().await;
    // The sandbox's parents must be searchable for the user.
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(node.dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let mut spec = node.shell("c1", "id -un; touch made; ls -l made | cut -d' ' -f3");
    spec.user = Some("nobody".into());
    assert_eq!(node.run(spec).await, (ExitStatus::Code(0), "nobody\nnobody\n".into()));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_limit() {
    if skip_without_root() {
        return;
    }
    let mut node = Node::start().await;
    let mut spec = node.spec("c1", Command::Argv(vec!["tail".into(), "/dev/zero".into()]));
    spec.limits = Limits { cpus_milli: 1000, mem_mib: 32, pids: 0, cfs: false };
    node.runtime.launch(spec).await.unwrap();
    let (_, status, oom, message) = node.exit().await;
    assert_eq!((status, oom), (ExitStatus::Signal(libc::SIGKILL), true));
    assert_eq!(message.as_deref(), Some("Memory limit exceeded: Requested: 32MB Maximum Used: 32MB"));
    // The command survives its child, but not the limit; also when recovered.
    let mut spec = node.shell("c2", "echo up; sleep 0.5; tail /dev/zero; echo survived; sleep 1000");
    spec.limits = Limits { cpus_milli: 0, mem_mib: 32, pids: 0, cfs: false };
    node.runtime.launch(spec).await.unwrap();
    node.wait_output("c2", "up").await;
    node.runtime.forget(&id("c1")).await.unwrap();
    node.restart().await;
    let (_, status, oom, _) = node.exit().await;
    assert_eq!((status, oom), (ExitStatus::Signal(libc::SIGKILL), true));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pids_limit() {
    if skip_without_root() {
        return;
    }
    let mut node = Node::start().await;
    let mut spec = node.shell("c1", "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; echo all");
    spec.limits = Limits { cpus_milli: 0, mem_mib: 0, pids: 8, cfs: false };
    let (status, output) = node.run(spec).await;
    assert_eq!((status, output.as_str()), (ExitStatus::Code(2), ""), "dash gives up when it cannot fork");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cpu_limit_and_use() {
    if skip_without_root() {
        return;
    }
    let mut node = Node::start().await;
    let mut spec = node.shell("c1", "echo up; while :; do :; done");
    spec.limits = Limits { cpus_milli: 200, mem_mib: 64, pids: 0, cfs: true };
    node.runtime.launch(spec).await.unwrap();
    node.wait_output("c1", "up").await;
    let first = node.runtime.usage(&id("c1")).await.unwrap();
    let start = Instant::now();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let second = node.runtime.usage(&id("c1")).await.unwrap();
    let used = (second.cpu_user_ns + second.cpu_system_ns) - (first.cpu_user_ns + first.cpu_system_ns);
    let share = used as f64 / start.elapsed().as_nanos() as f64;
    // One period of 100 ms may be counted more than the time allows.
    assert!((0.05..=0.30).contains(&share), "{share} of a processor with a limit of 0.2");
    assert_eq!(second.pids, 2, "the first process and the shell");
    assert!(second.mem_bytes > 0 && second.mem_bytes <= second.mem_total_bytes);
    node.runtime.destroy(&id("c1")).await.unwrap();
    node.exit().await;
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once() {
    let mut node = Node::start().await;
    let mut launches = tokio::task::JoinSet::new();
    for number in 0..40 {
        let (runtime, spec) =
            (node.runtime.clone(), node.shell(&format!("c{number}"), &format!("exit {number}")));
        launches.spawn(async move { runtime.launch(spec).await });
    }
    while let Some(result) = launches.join_next().await {
        result.unwrap().unwrap();
    }
    let mut codes = Vec::new();
    for _ in 0..40 {
        let (ended, status, ..) = node.exit().await;
        assert_eq!(status, ExitStatus::Code(ended[1..].parse().unwrap()));
        codes.push(ended);
    }
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), 40);
    node.finish().await;
}
