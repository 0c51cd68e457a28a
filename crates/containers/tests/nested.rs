//! Containers inside others: sessions, watched ones, terminals, and every end
//! one of them may come to. Numbers `oa_…` are those of the operator API's
//! checklist.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, Instant};

use containers::{
    AttachError, Command, ControlError, ENDED_MAX, ExitStatus, LaunchError, NestedSpec, Output, Stream,
    WindowSize,
};
use model::ContainerId;
use support::{Node, PATIENCE, is_alive, is_root, kill, skip_without_root, until};

fn id(text: &str) -> ContainerId {
    ContainerId::new(text)
}

fn session(name: &str, script: &str) -> NestedSpec {
    NestedSpec {
        id: id(name),
        command: Command::Shell(script.into()),
        env: Vec::new(),
        user: None,
        terminal: None,
        session: true,
    }
}

fn plain(name: &str, script: &str) -> NestedSpec {
    NestedSpec { session: false, ..session(name, script) }
}

const SIZE: WindowSize = WindowSize { rows: 24, columns: 80 };

/// A node with one container that waits, `p`.
async fn node() -> Node {
    let node = Node::start().await;
    let mut spec = node.shell("p", "echo up; sleep 1000 & wait");
    spec.env = vec![("COLOR".into(), "blue".into()), ("SHAPE".into(), "round".into())];
    spec.limits = containers::Limits { cpus_milli: 1000, mem_mib: 256, pids: 512, cfs: true };
    node.runtime.launch(spec).await.unwrap();
    node.wait_output("p", "up").await;
    node
}

/// Everything until the end, as (stdout, stderr).
async fn all(mut output: Output) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let read = async {
        while let Some(chunk) = output.next().await {
            match chunk.stream {
                Stream::Stdout => out.extend_from_slice(&chunk.data),
                Stream::Stderr => err.extend_from_slice(&chunk.data),
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the output's end in time");
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

/// Output until it holds `wanted`.
async fn seen(output: &mut Output, wanted: &str) -> String {
    let mut text = String::new();
    let read = async {
        while !text.contains(wanted) {
            let chunk = output.next().await.unwrap_or_else(|| panic!("no {wanted:?} in {text:?}"));
            text.push_str(std::str::from_utf8(&chunk.data).unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("no {wanted:?} in time"));
    text
}

async fn status(node: &Node, name: &str) -> ExitStatus {
    let id = id(name);
    let wait = node.runtime.wait(&id);
    tokio::time::timeout(PATIENCE, wait).await.expect("an end in time").expect("a container").status
}

async fn run(node: &Node, spec: NestedSpec) -> (ExitStatus, String, String) {
    let name = spec.id.as_str().to_owned();
    node.runtime.launch_nested(spec).await.unwrap();
    let (out, err) = all(node.runtime.attach_output(&id(&name)).await.unwrap()).await;
    (status(node, &name).await, out, err)
}

#[tokio::test(flavor = "multi_thread")]
async fn oa_49_oa_51_a_session_in_its_parents_place() {
    let mut node = node().await;
    let mut spec = session("p.s", "echo $COLOR $SHAPE $MORE; pwd; echo bad >&2; exit 3");
    spec.env = vec![("SHAPE".into(), "flat".into()), ("MORE".into(), "yes".into())];
    let sandbox = node.dir.path().join("sandbox/p");
    let (status, out, err) = run(&node, spec).await;
    assert_eq!(status.raw(), Some(768));
    assert_eq!((out, err), (format!("blue flat yes\n{}\n", sandbox.display()), "bad\n".to_owned()));
    if is_root() {
        let parent = node.runtime.operated();
        assert_eq!(parent.len(), 1);
        let names = "for n in pid mnt uts ipc net; do readlink /proc/self/ns/$n; done; cat /proc/self/cgroup";
        let (_, own, _) = run(&node, session("p.n", names)).await;
        let command = keeper::process::descendants(node.keeper_pid())
            .into_iter()
            .find(|&pid| keeper::process::name(pid).as_deref() == Some("sleep"))
            .unwrap();
        let mut expected = String::new();
        for name in ["pid", "mnt", "uts", "ipc", "net"] {
            let link = fs::read_link(format!("/proc/{command}/ns/{name}")).unwrap();
            expected.push_str(&format!("{}\n", link.display()));
        }
        expected.push_str(&fs::read_to_string(format!("/proc/{command}/cgroup")).unwrap());
        assert_eq!(own, expected);
    }
    // The agent hears of its own containers only.
    let recovered = node.runtime.recover().await;
    assert_eq!(recovered.len(), 1);
    node.runtime.destroy(&id("p")).await.unwrap();
    assert_eq!(node.exit().await.0, "p");
    assert!(node.events.try_recv().is_err());
    // The end is known until the parent is forgotten.
    assert_eq!(self::status(&node, "p.s").await, ExitStatus::Code(3));
    node.runtime.forget(&id("p")).await.unwrap();
    assert!(node.runtime.wait(&id("p.s")).await.is_none());
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oa_52_oa_53_input_until_it_is_closed() {
    let node = node().await;
    node.runtime.launch_nested(session("p.s", "cat; echo done")).await.unwrap();
    let mut output = node.runtime.attach_output(&id("p.s")).await.unwrap();
    let mut input = node.runtime.attach_input(&id("p.s")).await.unwrap();
    assert!(!input.has_terminal());
    assert!(matches!(node.runtime.attach_input(&id("p.s")).await, Err(AttachError::Busy(_))));
    input.write(b"one\n").await.unwrap();
    assert_eq!(seen(&mut output, "\n").await, "one\n");
    assert!(input.resize(SIZE).await.is_err());
    // Letting go is no end; another may go on.
    drop(input);
    let mut input = node.runtime.attach_input(&id("p.s")).await.unwrap();
    input.write(b"two\n").await.unwrap();
    assert_eq!(seen(&mut output, "\n").await, "two\n");
    input.close();
    assert!(input.write(b"three\n").await.is_err());
    assert_eq!(all(output).await.0, "done\n");
    assert_eq!(status(&node, "p.s").await, ExitStatus::Code(0));
    // More than pipes hold, both ways.
    let data = "0123456789abcdef".repeat(64 << 10);
    node.runtime.launch_nested(session("p.t", "cat")).await.unwrap();
    let output = node.runtime.attach_output(&id("p.t")).await.unwrap();
    let mut input = node.runtime.attach_input(&id("p.t")).await.unwrap();
    let writing = async {
        input.write(data.as_bytes()).await.unwrap();
        input.close();
    };
    let ((), (out, _)) = tokio::join!(writing, all(output));
    assert!(out == data, "{} bytes came back of {}", out.len(), data.len());
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oa_51_oa_54_a_session_with_a_terminal() {
    let node = node().await;
    let script = "tty; stty size; echo bad >&2; read word; echo got $word; stty size; exit 4";
    let spec = NestedSpec { terminal: Some(SIZE), ..session("p.s", script) };
    node.runtime.launch_nested(spec).await.unwrap();
    let mut output = node.runtime.attach_output(&id("p.s")).await.unwrap();
    let mut input = node.runtime.attach_input(&id("p.s")).await.unwrap();
    assert!(input.has_terminal());
    let text = seen(&mut output, "bad\r\n").await;
    assert!(text.starts_with("/dev/pts/") && text.contains("\r\n24 80\r\n"), "{text:?}");
    input.resize(WindowSize { rows: 50, columns: 132 }).await.unwrap();
    // Closing means nothing to a terminal.
    input.close();
    input.write(b"that\n").await.unwrap();
    let (out, err) = all(output).await;
    assert!(out.ends_with("got that\r\n50 132\r\n"), "{out:?}");
    assert_eq!(err, "");
    assert_eq!(status(&node, "p.s").await, ExitStatus::Code(4));
    // It is the command's controlling terminal: its keys are signals.
    let script = "trap 'echo caught; exit 5' INT; echo up; while :; do sleep 0.01; done";
    let spec = NestedSpec { terminal: Some(SIZE), ..session("p.t", script) };
    node.runtime.launch_nested(spec).await.unwrap();
    let mut output = node.runtime.attach_output(&id("p.t")).await.unwrap();
    seen(&mut output, "up").await;
    node.runtime.attach_input(&id("p.t")).await.unwrap().write(b"\x03").await.unwrap();
    seen(&mut output, "caught").await;
    assert_eq!(status(&node, "p.t").await, ExitStatus::Code(5));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oa_50_a_session_ends_with_its_reader() {
    let node = node().await;
    for (name, terminal) in [("p.s", None), ("p.t", Some(SIZE))] {
        let script = "trap '' TERM HUP PIPE; setsid sleep 1001 & echo up; sleep 1000 & wait; wait";
        let spec = NestedSpec { terminal, ..session(name, script) };
        let launched = node.runtime.launch_nested(spec).await.unwrap();
        let mut output = node.runtime.attach_output(&id(name)).await.unwrap();
        seen(&mut output, "up").await;
        let below = keeper::process::descendants(launched.pid);
        let second = node.runtime.attach_output(&id(name)).await.unwrap();
        drop(output);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(is_alive(launched.pid), "one still reads");
        drop(second);
        assert_eq!(status(&node, name).await, ExitStatus::Signal(libc::SIGKILL));
        for pid in below {
            until("the end of all", || (!is_alive(pid)).then_some(())).await;
        }
    }
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_makes_the_session_wait() {
    let node = node().await;
    let script = "i=0; while [ $i -lt 40000 ]; do echo 0123456789abcdefghijklmnopqrstuv; i=$((i+1)); done";
    node.runtime.launch_nested(session("p.s", script)).await.unwrap();
    let output = node.runtime.attach_output(&id("p.s")).await.unwrap();
    let pid = node.runtime.operated()[0].pid.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(is_alive(pid), "it waits for its reader");
    let (out, _) = all(output).await;
    assert_eq!(out.len(), 40_000 * 33);
    assert_eq!(status(&node, "p.s").await, ExitStatus::Code(0));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_and_removal() {
    let node = node().await;
    let runtime = &node.runtime;
    runtime.launch_nested(session("p.s", "trap 'exit 6' TERM; echo up; sleep 1000 & wait")).await.unwrap();
    let mut output = runtime.attach_output(&id("p.s")).await.unwrap();
    seen(&mut output, "up").await;
    assert!(matches!(runtime.launch_nested(session("p.s", "true")).await, Err(LaunchError::Exists(_))));
    assert!(runtime.remove(&id("p.s")).await.is_err(), "it runs");
    assert!(runtime.kill(&id("p.s"), 99).await.is_err());
    runtime.kill(&id("p.s"), libc::SIGTERM).await.unwrap();
    assert_eq!(status(&node, "p.s").await, ExitStatus::Code(6));
    assert!(matches!(runtime.kill(&id("p.s"), libc::SIGTERM).await, Err(ControlError::NotRunning(_))));
    runtime.remove(&id("p.s")).await.unwrap();
    runtime.remove(&id("p.s")).await.unwrap();
    assert!(runtime.wait(&id("p.s")).await.is_none());
    assert!(runtime.remove(&id("p")).await.is_err(), "a task's is not ours");
    // The id is free again; nobody has attached to this one.
    runtime.launch_nested(session("p.s", "sleep 1000")).await.unwrap();
    runtime.kill(&id("p.s"), libc::SIGKILL).await.unwrap();
    assert_eq!(status(&node, "p.s").await.raw(), Some(9));
    assert_eq!(all(runtime.attach_output(&id("p.s")).await.unwrap()).await, (String::new(), String::new()));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parents_end_is_everybodys() {
    let mut node = node().await;
    let wait = "trap '' TERM; echo up; sleep 1000 & wait; wait";
    node.runtime.launch_nested(session("p.s", wait)).await.unwrap();
    let mut output = node.runtime.attach_output(&id("p.s")).await.unwrap();
    seen(&mut output, "up").await;
    node.runtime.launch_nested(plain("p.q", wait)).await.unwrap();
    let inner = node.runtime.launch_nested(session("p.q.r", wait)).await.unwrap();
    let mut innermost = node.runtime.attach_output(&id("p.q.r")).await.unwrap();
    seen(&mut innermost, "up").await;
    node.runtime.signal(&id("p"), libc::SIGKILL).await.unwrap();
    assert_eq!(node.exit().await.0, "p");
    for name in ["p.s", "p.q", "p.q.r"] {
        assert_eq!(status(&node, name).await, ExitStatus::Signal(libc::SIGKILL), "{name}");
    }
    assert!(output.next().await.is_none() && innermost.next().await.is_none());
    assert!(!is_alive(inner.pid));
    let error = node.runtime.launch_nested(session("p.t", "true")).await.unwrap_err();
    assert!(matches!(error, LaunchError::NoParent(_)), "{error}");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watched_ones_have_a_sandbox_and_outlive_the_agent() {
    let mut node = node().await;
    let script =
        "echo first; pwd; echo $MESOS_SANDBOX; trap 'echo last; exit 7' TERM; while :; do sleep 0.01; done";
    node.runtime.launch_nested(plain("p.q", script)).await.unwrap();
    let sandbox = node.dir.path().join("sandbox/p/containers/q");
    let path = sandbox.join("stdout");
    let expected = format!("first\n{0}\n{0}\n", sandbox.display());
    until("the first lines", || (fs::read_to_string(&path).ok()? == expected).then_some(())).await;
    assert!(matches!(node.runtime.attach_input(&id("p.q")).await, Err(AttachError::NoInput(_))));
    let reader = "trap '' HUP; echo up; read a; echo got $a; read b; echo got $b; exit 8";
    let spec = NestedSpec { terminal: Some(SIZE), ..plain("p.t", reader) };
    node.runtime.launch_nested(spec).await.unwrap();
    node.runtime.launch_nested(session("p.s", "sleep 1000")).await.unwrap();
    let terminal = sandbox.with_file_name("t").join("stdout");
    until("its start", || (fs::read_to_string(&terminal).ok()? == "up\r\n").then_some(())).await;
    let mut input = node.runtime.attach_input(&id("p.t")).await.unwrap();
    assert!(matches!(node.runtime.attach_input(&id("p.t")).await, Err(AttachError::Busy(_))));
    input.write(b"this\n").await.unwrap();
    drop(input);

    node.restart().await;
    assert_eq!(
        status(&node, "p.s").await,
        ExitStatus::Signal(libc::SIGKILL),
        "sessions end with their agent"
    );
    assert_eq!(node.runtime.recover().await.len(), 1);
    // What was written before is not told again.
    let mut output = node.runtime.attach_output(&id("p.q")).await.unwrap();
    node.runtime.kill(&id("p.q"), libc::SIGTERM).await.unwrap();
    assert_eq!(seen(&mut output, "last\n").await, "last\n");
    assert!(output.next().await.is_none());
    assert_eq!(status(&node, "p.q").await, ExitStatus::Code(7));
    let mut input = node.runtime.attach_input(&id("p.t")).await.unwrap();
    assert!(input.has_terminal());
    input.resize(WindowSize { rows: 1, columns: 2 }).await.unwrap();
    input.write(b"that\n").await.unwrap();
    assert_eq!(status(&node, "p.t").await, ExitStatus::Code(8));
    assert!(fs::read_to_string(&terminal).unwrap().ends_with("got that\r\n"));
    assert!(input.write(b"more\n").await.is_err());
    drop(input);
    // And an end is known to the next agent too.
    node.restart().await;
    assert_eq!(status(&node, "p.q").await, ExitStatus::Code(7));
    node.runtime.remove(&id("p.q")).await.unwrap();
    assert!(!sandbox.exists() && terminal.exists());
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keepers_end_is_not_theirs() {
    let node = node().await;
    let script = "trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done";
    node.runtime.launch_nested(plain("p.q", script)).await.unwrap();
    node.runtime.launch_nested(session("p.s", script)).await.unwrap();
    let mut output = node.runtime.attach_output(&id("p.s")).await.unwrap();
    seen(&mut output, "up").await;
    let file = node.dir.path().join("sandbox/p/containers/q/stdout");
    until("its start", || (fs::read_to_string(&file).ok()? == "up\n").then_some(())).await;
    let keeper = node.keeper_pid();
    kill(keeper);
    until("another keeper", || support::keeper_of(&node.config.runtime_dir).filter(|&pid| pid != keeper))
        .await;
    for name in ["p.q", "p.s"] {
        until("its waiting", || {
            let found = node.runtime.operated().into_iter().find(|found| found.id == id(name));
            found.unwrap().pid
        })
        .await;
        node.runtime.kill(&id(name), libc::SIGTERM).await.unwrap();
        assert_eq!(status(&node, name).await, ExitStatus::Code(9), "{name}");
    }
    // The new keeper nests in what it did not start.
    for attempt in 0..50 {
        match node.runtime.launch_nested(session("p.t", "exit 2")).await {
            Err(LaunchError::Keeper(_)) if attempt < 49 => {
                tokio::time::sleep(Duration::from_millis(20)).await
            }
            other => {
                other.unwrap();
                break;
            }
        }
    }
    assert_eq!(status(&node, "p.t").await, ExitStatus::Code(2));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sessions_at_once() {
    let node = node().await;
    let mut sessions = tokio::task::JoinSet::new();
    let start = Instant::now();
    for number in 0..50 {
        let runtime = node.runtime.clone();
        sessions.spawn(async move {
            let name = id(&format!("p.s{number}"));
            let terminal = (number % 2 == 1).then_some(SIZE);
            let script = format!("read word; echo $word {number}; exit {number}");
            let spec = NestedSpec { terminal, ..session(name.as_str(), &script) };
            runtime.launch_nested(spec).await.unwrap();
            let output = runtime.attach_output(&name).await.unwrap();
            let mut input = runtime.attach_input(&name).await.unwrap();
            input.write(b"go\n").await.unwrap();
            let (out, _) = all(output).await;
            assert!(out.trim_end().ends_with(&format!("go {number}")), "{out:?}");
            let exit = runtime.wait(&name).await.unwrap();
            assert_eq!(exit.status, ExitStatus::Code(number));
        });
    }
    while let Some(result) = sessions.join_next().await {
        result.unwrap();
    }
    println!("50 sessions in {:?}", start.elapsed());
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_are_remembered_up_to_a_limit() {
    let node = node().await;
    let count = ENDED_MAX + 5;
    for number in 0..count {
        let name = format!("p.s{number}");
        node.runtime.launch_nested(session(&name, "exit 1")).await.unwrap();
        all(node.runtime.attach_output(&id(&name)).await.unwrap()).await;
        // Ended as soon as its streams have: that is no other end.
        node.runtime.destroy(&id(&name)).await.unwrap();
        assert_eq!(status(&node, &name).await, ExitStatus::Code(1));
    }
    let known = node.runtime.operated();
    assert!(known.len() <= ENDED_MAX + 1, "{}", known.len());
    assert_eq!(known.last().unwrap().id, id(&format!("p.s{}", count - 1)));
    assert!(node.runtime.wait(&id("p.s0")).await.is_none());
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_launches_are_explained_and_leave_nothing() {
    let node = node().await;
    let refused = |spec: NestedSpec| {
        let runtime = node.runtime.clone();
        async move { runtime.launch_nested(spec).await.unwrap_err().to_string() }
    };
    assert!(refused(session("alone", "true")).await.contains("parent.child"));
    assert!(refused(session("p.", "true")).await.contains("container id"));
    assert!(refused(session("../p.x", "true")).await.contains("container id"));
    assert!(refused(session("q.s", "true")).await.contains("no container q runs"));
    let spec = NestedSpec { command: Command::Argv(Vec::new()), ..session("p.s", "") };
    assert!(refused(spec).await.contains("no program"));
    let spec = NestedSpec { command: Command::ImageDefault { args: Vec::new() }, ..session("p.s", "") };
    assert!(refused(spec).await.contains("no image"));
    let spec = NestedSpec { env: vec![("A=B".into(), String::new())], ..session("p.s", "") };
    assert!(refused(spec).await.contains("A=B"));
    let spec = NestedSpec { user: Some("no-such-user".into()), ..session("p.s", "") };
    assert!(refused(spec).await.contains("no-such-user"));
    for kind in [session, plain] {
        let spec = NestedSpec { command: Command::Argv(vec!["no-such-program".into()]), ..kind("p.s", "") };
        let text = refused(spec).await;
        assert!(text.contains("no-such-program") && text.contains("check the command"), "{text}");
    }
    assert!(node.runtime.operated().is_empty());
    let sandboxes = fs::read_dir(node.dir.path().join("sandbox/p/containers")).unwrap();
    assert_eq!(sandboxes.count(), 0);
    assert_eq!(run(&node, session("p.s", "true")).await.0, ExitStatus::Code(0));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_what_they_may_not_reach() {
    if skip_without_root() {
        return;
    }
    let node = Node::start().await;
    fs::set_permissions(node.dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let mut spec = node.shell("p", "echo up; sleep 1000 & wait");
    spec.user = Some("nobody".into());
    node.runtime.launch(spec).await.unwrap();
    node.wait_output("p", "up").await;
    // The parent's user, unless another is asked for; its streams are its own.
    let script = "id -un; echo again > /dev/stdout; id -Gn";
    let (status, out, err) = run(&node, session("p.s", script)).await;
    assert_eq!((status, out.as_str(), err.as_str()), (ExitStatus::Code(0), "nobody\nagain\nnogroup\n", ""));
    let spec = NestedSpec { user: Some("root".into()), ..session("p.r", "id -un") };
    assert_eq!(run(&node, spec).await.1, "root\n");
    let spec = NestedSpec { terminal: Some(SIZE), ..session("p.t", "echo mine > $(tty)") };
    assert_eq!(run(&node, spec).await.1, "mine\r\n");
    node.runtime.launch_nested(plain("p.q", "touch made")).await.unwrap();
    self::status(&node, "p.q").await;
    let sandbox = node.dir.path().join("sandbox/p");
    let nobody = fs::metadata(&sandbox).unwrap().uid();
    assert_ne!(nobody, 0);
    for name in ["containers/q", "containers/q/made", "containers/q/stdout"] {
        assert_eq!(fs::metadata(sandbox.join(name)).unwrap().uid(), nobody, "{name}");
    }
    // A link in the way leads nowhere.
    let outside = node.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::rename(sandbox.join("containers"), sandbox.join("old")).unwrap();
    symlink(&outside, sandbox.join("containers")).unwrap();
    let error = node.runtime.launch_nested(plain("p.u", "true")).await.unwrap_err();
    assert!(matches!(error, LaunchError::Prepare { .. }), "{error}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    node.runtime.remove(&id("p.q")).await.unwrap_err();
    node.finish().await;
}
