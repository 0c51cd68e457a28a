//! A real keeper with real processes: the contract its client builds on.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keeper::protocol::{self, Message, PROTOCOL, Refusal, ReplyBody, Request, RequestBody, Scope};
use keeper::record::{Identity, Record};
use keeper::spec::{self, Isolation, Join, Spec, WindowSize};

const PATIENCE: Duration = Duration::from_secs(10);

struct Keeper {
    dir: tempfile::TempDir,
    child: Child,
    stream: UnixStream,
    buffer: Vec<u8>,
    events: Vec<(String, i32)>,
    request: u64,
    started: Vec<Identity>,
}

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_keeper-alone"))
}

fn spawn(dir: &Path) -> Child {
    Command::new(program()).arg("--dir").arg(dir).stdin(Stdio::null()).spawn().unwrap()
}

fn connect(dir: &Path) -> UnixStream {
    let stream = until("the keeper's socket", || UnixStream::connect(dir.join(keeper::SOCKET_FILE)).ok());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Keeper {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = spawn(dir.path());
        let stream = connect(dir.path());
        let mut keeper = Self {
            dir,
            child,
            stream,
            buffer: Vec::new(),
            events: Vec::new(),
            request: 0,
            started: Vec::new(),
        };
        keeper.hello();
        keeper
    }

    fn hello(&mut self) -> u32 {
        match self.ask(RequestBody::Hello { protocol: PROTOCOL }) {
            ReplyBody::Welcome { pid, .. } => pid,
            other => panic!("{other:?}"),
        }
    }

    fn reconnect(&mut self) -> u32 {
        self.stream = connect(self.dir.path());
        self.buffer.clear();
        self.hello()
    }

    fn ask(&mut self, body: RequestBody) -> ReplyBody {
        self.request += 1;
        let request = self.request;
        protocol::send(&mut self.stream, &Request { id: request, body }).unwrap();
        loop {
            match protocol::receive(&mut self.stream, &mut self.buffer).unwrap() {
                Message::Reply { id, body } if id == request => return body,
                Message::Reply { id, .. } => panic!("reply to {id}, not {request}"),
                Message::Exited { container, status } => self.events.push((container, status)),
            }
        }
    }

    fn exit_of(&mut self, wanted: &str) -> i32 {
        loop {
            if let Some(index) = self.events.iter().position(|(id, _)| id == wanted) {
                return self.events.remove(index).1;
            }
            match protocol::receive(&mut self.stream, &mut self.buffer).unwrap() {
                Message::Exited { container, status } => self.events.push((container, status)),
                other @ Message::Reply { .. } => panic!("{other:?}"),
            }
        }
    }

    fn spec(&self, id: &str, script: &str) -> Spec {
        let digest = [id.len() as u8; 32];
        Spec {
            container: id.into(),
            digest,
            argv: vec!["sh".into(), "-c".into(), script.into()],
            env: vec!["PATH=/usr/bin:/bin".into(), "COLOR=blue".into()],
            cwd: self.dir.path().to_str().unwrap().into(),
            credentials: None,
            stdio: spec::Stdio::Files {
                stdout: self.dir.path().join(format!("{id}.out")),
                stderr: self.dir.path().join(format!("{id}.err")),
            },
            cgroup_procs: Vec::new(),
            isolation: if is_root() { Isolation::Host } else { Isolation::Session },
            rlimits: Vec::new(),
        }
    }

    fn launch(&mut self, spec: Spec) -> Identity {
        match self.ask(RequestBody::Launch(Box::new(spec))) {
            ReplyBody::Launched { pid, start_time, .. } => {
                let identity = Identity { pid, start_time };
                self.started.push(identity);
                identity
            }
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self, spec: Spec) -> (Refusal, String) {
        match self.ask(RequestBody::Launch(Box::new(spec))) {
            ReplyBody::Refused { kind, message } => (kind, message),
            other => panic!("{other:?}"),
        }
    }

    fn signal(&mut self, id: &str, signal: i32, scope: Scope) {
        let body = RequestBody::Signal { container: id.into(), signal, scope };
        assert_eq!(self.ask(body), ReplyBody::Done);
    }

    fn output(&self, id: &str) -> String {
        fs::read_to_string(self.dir.path().join(format!("{id}.out"))).unwrap_or_default()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        for &identity in &self.started {
            let _ = keeper::process::signal(identity, rustix::process::Signal::KILL, true);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn code(status: i32) -> Option<i32> {
    libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status))
}

fn end_signal(status: i32) -> Option<i32> {
    libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status))
}

#[test]
fn exit_code_output_and_environment() {
    let mut keeper = Keeper::start();
    let spec = keeper.spec("a", "echo $COLOR in $PWD; echo oops >&2; cat; exit 7");
    let identity = keeper.launch(spec);
    assert!(identity.pid > 1);
    assert_eq!(code(keeper.exit_of("a")), Some(7));
    assert_eq!(keeper.output("a"), format!("blue in {}\n", keeper.dir.path().display()));
    assert_eq!(fs::read_to_string(keeper.dir.path().join("a.err")).unwrap(), "oops\n");
    assert_eq!(Record::of(keeper.dir.path(), "a").status().and_then(code), Some(7));
}

#[test]
fn terminate_ends_a_shell_and_its_sleep() {
    let mut keeper = Keeper::start();
    for (id, script, scope) in [
        ("one", "sleep 1000", Scope::Leader),
        ("two", "sleep 1000; true", Scope::All),
        ("three", "trap 'exit 3' TERM; sleep 1000 & wait", Scope::Leader),
    ] {
        let spec = keeper.spec(id, &format!("echo up; {script}"));
        keeper.launch(spec);
        until("the script's start", || (keeper.output(id) == "up\n").then_some(()));
        // The trap is set, or the sleep started, right after the echo.
        std::thread::sleep(Duration::from_millis(50));
        keeper.signal(id, libc::SIGTERM, scope);
        let status = keeper.exit_of(id);
        if id == "three" {
            assert_eq!(code(status), Some(3), "{id}");
        } else {
            assert_eq!(end_signal(status), Some(libc::SIGTERM), "{id}: {status:#x}");
        }
    }
}

#[test]
fn kill_ends_everything() {
    let mut keeper = Keeper::start();
    let spec = keeper.spec("a", "trap '' TERM; sleep 1000 & sleep 1001 & wait");
    let identity = keeper.launch(spec);
    until("both sleeps", || (keeper::process::descendants(identity.pid).len() == 3).then_some(()));
    let below = keeper::process::descendants(identity.pid);
    keeper.signal("a", libc::SIGKILL, Scope::All);
    assert_eq!(end_signal(keeper.exit_of("a")), Some(libc::SIGKILL));
    for pid in below {
        until("the end of a descendant", || {
            (keeper::process::start_time(pid).is_none() || keeper::process::is_zombie(pid)).then_some(())
        });
    }
}

#[test]
fn a_missing_command_is_explained_and_leaves_nothing() {
    let mut keeper = Keeper::start();
    let mut spec = keeper.spec("a", "");
    spec.argv = vec!["no-such-program".into()];
    let (kind, message) = keeper.refused(spec);
    assert_eq!(kind, Refusal::Failed);
    assert!(message.contains("no-such-program") && message.contains("No such file"), "{message}");
    assert!(!Record::of(keeper.dir.path(), "a").dir().exists());
    let mut spec = keeper.spec("b", "true");
    spec.cwd = "/no/such/directory".into();
    let (_, message) = keeper.refused(spec);
    assert!(message.contains("/no/such/directory"), "{message}");
}

#[test]
fn bad_specs_are_refused() {
    let mut keeper = Keeper::start();
    let good = keeper.spec("a", "true");
    let stdout = |path: &str| spec::Stdio::Files { stdout: path.into(), stderr: "/dev/null".into() };
    let bad = [
        Spec { container: "../a".into(), ..good.clone() },
        Spec { container: String::new(), ..good.clone() },
        Spec { argv: Vec::new(), ..good.clone() },
        Spec { env: vec!["A=\0".into()], ..good.clone() },
        Spec { stdio: stdout("relative"), ..good.clone() },
        Spec { stdio: stdout("/tmp/../etc/x"), ..good.clone() },
    ];
    for spec in bad {
        let text = format!("{spec:?}");
        let (kind, message) = keeper.refused(spec);
        assert_eq!(kind, Refusal::Invalid, "{text}: {message}");
    }
}

#[test]
fn the_same_launch_twice_is_one_container() {
    let mut keeper = Keeper::start();
    let spec = keeper.spec("a", "sleep 1000");
    let first = keeper.launch(spec.clone());
    assert_eq!(keeper.launch(spec.clone()), first);
    let (kind, _) = keeper.refused(Spec { digest: [9; 32], ..spec });
    assert_eq!(kind, Refusal::Invalid);
}

#[test]
fn exits_are_told_again_until_forgotten() {
    let mut keeper = Keeper::start();
    let spec = keeper.spec("a", "exit 4");
    keeper.launch(spec);
    assert_eq!(code(keeper.exit_of("a")), Some(4));
    keeper.reconnect();
    assert_eq!(code(keeper.exit_of("a")), Some(4));
    assert_eq!(keeper.ask(RequestBody::Forget { container: "a".into() }), ReplyBody::Done);
    keeper.reconnect();
    assert_eq!(keeper.ask(RequestBody::List), ReplyBody::Containers(Vec::new()));
    assert!(keeper.events.is_empty());
}

#[test]
fn an_upgrade_keeps_children_and_pid() {
    let mut keeper = Keeper::start();
    let pid = keeper.reconnect();
    let spec = keeper.spec("a", "trap 'exit 5' TERM; echo up; sleep 1000 & wait");
    let identity = keeper.launch(spec);
    until("the trap", || (keeper.output("a") == "up\n").then_some(()));
    let arguments = vec!["--dir".to_owned(), keeper.dir.path().to_str().unwrap().to_owned()];
    let upgrade = RequestBody::Upgrade { program: program().to_str().unwrap().into(), arguments };
    assert_eq!(keeper.ask(upgrade), ReplyBody::Done);
    // The old socket may still be there for a moment.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(keeper.reconnect(), pid);
    let ReplyBody::Containers(known) = keeper.ask(RequestBody::List) else { panic!("no list") };
    assert_eq!((known[0].pid, known[0].is_child, known[0].status), (identity.pid, true, None));
    keeper.signal("a", libc::SIGTERM, Scope::Leader);
    assert_eq!(code(keeper.exit_of("a")), Some(5));
}

#[test]
fn the_status_outlives_the_keeper() {
    let mut keeper = Keeper::start();
    let spec = keeper.spec("a", "trap 'exit 6' TERM; echo up; sleep 1000 & wait");
    let identity = keeper.launch(spec);
    until("the trap", || (keeper.output("a") == "up\n").then_some(()));
    keeper.child.kill().unwrap();
    keeper.child.wait().unwrap();
    let record = Record::of(keeper.dir.path(), "a");
    assert_eq!(record.identity(), Some(identity));
    assert!(keeper::process::signal(identity, rustix::process::Signal::TERM, false).unwrap());
    assert_eq!(until("the status file", || record.init_status()), 6 << 8);
}

#[test]
fn one_keeper_per_directory_and_none_left_when_stopped() {
    let mut keeper = Keeper::start();
    let second = Command::new(program()).arg("--dir").arg(keeper.dir.path()).output().unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another keeper runs"));
    assert_eq!(keeper.ask(RequestBody::Stop), ReplyBody::Done);
    assert!(keeper.child.wait().unwrap().success());
    assert!(!keeper.dir.path().join(keeper::SOCKET_FILE).exists());
}

#[test]
fn namespaces_are_the_containers_own() {
    if !is_root() {
        println!("skipped: namespaces need root");
        return;
    }
    let mut keeper = Keeper::start();
    let spec = keeper.spec(
        "a",
        "for n in pid mnt uts ipc net; do readlink /proc/self/ns/$n; done; echo $$; ls -d /proc/[0-9]*",
    );
    keeper.launch(spec);
    assert_eq!(code(keeper.exit_of("a")), Some(0));
    let output = keeper.output("a");
    let mut lines = output.lines();
    for name in ["pid", "mnt", "uts", "ipc"] {
        let own = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(lines.next(), own.to_str(), "{name}");
    }
    assert_eq!(lines.next(), fs::read_link("/proc/self/ns/net").unwrap().to_str(), "host network");
    assert_eq!(lines.next(), Some("2"), "the command is the init's first child");
    assert!(lines.count() <= 4, "only the container's own processes are seen");
}

/// A spec that runs inside the container of `parent`.
fn nested(keeper: &Keeper, id: &str, parent: Identity, script: &str) -> Spec {
    let Identity { pid, start_time } = parent;
    let join = Join { pid, start_time, capabilities: None };
    Spec { isolation: Isolation::Nested(join), cwd: "/".into(), ..keeper.spec(id, script) }
}

#[test]
fn a_nested_container_is_in_all_namespaces_of_its_parent() {
    let mut keeper = Keeper::start();
    let names = "for n in pid mnt uts ipc net; do readlink /proc/self/ns/$n; done";
    let parent = keeper.spec("a", &format!("{names}; echo up; sleep 1000 & wait"));
    let parent = keeper.launch(parent);
    until("the parent's start", || keeper.output("a").ends_with("up\n").then_some(()));
    let spec = nested(&keeper, "a.b", parent, &format!("{names}; echo $COLOR; exit 3"));
    keeper.launch(spec);
    assert_eq!(code(keeper.exit_of("a.b")), Some(3));
    assert_eq!(keeper.output("a.b"), keeper.output("a").replace("up\n", "blue\n"));
}

#[test]
fn a_nested_container_that_cannot_start_is_explained() {
    let mut keeper = Keeper::start();
    let parent = keeper.spec("a", "sleep 1000");
    let parent = keeper.launch(parent);
    let mut spec = nested(&keeper, "a.b", parent, "");
    spec.argv = vec!["no-such-program".into()];
    let (kind, message) = keeper.refused(spec);
    assert_eq!(kind, Refusal::Failed);
    assert!(message.contains("no-such-program") && message.contains("No such file"), "{message}");
    let mut spec = nested(&keeper, "a.c", parent, "true");
    spec.cwd = "/no/such/directory".into();
    let (_, message) = keeper.refused(spec);
    assert!(message.contains("/no/such/directory"), "{message}");
    keeper.signal("a", libc::SIGKILL, Scope::All);
    keeper.exit_of("a");
    let spec = nested(&keeper, "a.d", parent, "true");
    let (_, message) = keeper.refused(spec);
    assert!(message.contains("has ended"), "{message}");
    assert_eq!(Record::list(keeper.dir.path()).unwrap(), ["a"]);
    // Nobody is left of those that failed.
    until("the children's end", || keeper::process::children(keeper.child.id()).is_empty().then_some(()));
}

#[test]
fn a_nested_container_ends_whole_and_alone() {
    let mut keeper = Keeper::start();
    let parent = keeper.spec("a", "sleep 1000 & wait");
    let parent = keeper.launch(parent);
    // What the command leaves behind, in another session too, ends with it.
    let script = "setsid sleep 1001 & sleep 1002 & echo up";
    let spec = nested(&keeper, "a.b", parent, script);
    keeper.launch(spec);
    assert_eq!(code(keeper.exit_of("a.b")), Some(0));
    let script = "trap '' TERM; setsid sleep 1003 & sleep 1004 & echo up; wait";
    let spec = nested(&keeper, "a.c", parent, script);
    let identity = keeper.launch(spec);
    until("the shell and both sleeps", || {
        (keeper::process::descendants(identity.pid).len() == 3).then_some(())
    });
    let below = keeper::process::descendants(identity.pid);
    keeper.signal("a.c", libc::SIGKILL, Scope::All);
    assert_eq!(end_signal(keeper.exit_of("a.c")), Some(libc::SIGKILL));
    for pid in below {
        until("the end of a descendant", || keeper::process::start_time(pid).is_none().then_some(()));
    }
    // The parent's command and its sleep are all there is.
    assert_eq!(keeper::process::descendants(parent.pid).len(), 2);
    let spec = nested(&keeper, "a.d", parent, "trap 'exit 4' TERM; echo up; sleep 1000 & wait");
    keeper.launch(spec);
    until("the trap", || (keeper.output("a.d") == "up\n").then_some(()));
    keeper.signal("a.d", libc::SIGTERM, Scope::Leader);
    assert_eq!(code(keeper.exit_of("a.d")), Some(4));
}

#[test]
fn a_nested_container_ends_with_its_parent() {
    if !is_root() {
        println!("skipped: without a pid namespace the client has to do it");
        return;
    }
    let mut keeper = Keeper::start();
    let parent = keeper.spec("a", "sleep 1000");
    let parent = keeper.launch(parent);
    let spec = nested(&keeper, "a.b", parent, "trap '' TERM; sleep 1000 & wait");
    keeper.launch(spec);
    keeper.signal("a", libc::SIGTERM, Scope::Leader);
    assert_eq!(end_signal(keeper.exit_of("a")), Some(libc::SIGTERM));
    assert_eq!(end_signal(keeper.exit_of("a.b")), Some(libc::SIGKILL));
    until("the children's end", || keeper::process::children(keeper.child.id()).is_empty().then_some(()));
}

#[test]
fn a_kept_terminal_outlives_clients_and_upgrades() {
    let mut keeper = Keeper::start();
    let output = keeper.dir.path().join("a.out");
    let spec = keeper.spec("a", "tty >/dev/null && stty size; read word; echo got $word; stty size; exit 2");
    let size = WindowSize { rows: 24, columns: 80 };
    keeper.launch(Spec { stdio: spec::Stdio::Terminal { output, size }, ..spec });
    until("the first size", || keeper.output("a").contains("24 80").then_some(()));
    let arguments = vec!["--dir".to_owned(), keeper.dir.path().to_str().unwrap().to_owned()];
    let upgrade = RequestBody::Upgrade { program: program().to_str().unwrap().into(), arguments };
    assert_eq!(keeper.ask(upgrade), ReplyBody::Done);
    std::thread::sleep(Duration::from_millis(100));
    keeper.reconnect();
    let size = WindowSize { rows: 50, columns: 132 };
    assert_eq!(keeper.ask(RequestBody::Resize { container: "a".into(), size }), ReplyBody::Done);
    let input = RequestBody::Input { container: "a".into(), data: b"that\n".to_vec() };
    assert_eq!(keeper.ask(input.clone()), ReplyBody::Written { bytes: 5 });
    assert_eq!(code(keeper.exit_of("a")), Some(2));
    let text = keeper.output("a");
    assert!(text.contains("got that\r\n50 132\r\n"), "{text:?}");
    assert!(matches!(keeper.ask(input), ReplyBody::Refused { kind: Refusal::Unknown, .. }));
}
