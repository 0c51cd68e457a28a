//! Whole local clusters of stub nodes, on this machine, for real.
//!
//! Tests that need root say so and are skipped visibly without it. Every test has
//! a cluster name and a port of its own, and takes everything down at its end,
//! also when it fails.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use devcluster::cgroup::Group;
use devcluster::probe;
use devcluster::process::Identity;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_devcluster-stub");
const WAIT: Duration = Duration::from_secs(20);
const COMMAND_WAIT: Duration = Duration::from_secs(90);

fn root(test: &str) -> bool {
    match devcluster::namespaces::available() {
        Ok(()) => true,
        Err(reason) => {
            eprintln!("SKIPPED {test}: needs root and namespaces ({reason})");
            false
        }
    }
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {WAIT:?} for: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A port that nobody uses now.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Runs a command to its end, not to the end of what it leaves behind, and not for ever.
#[track_caller]
fn bounded(command: &mut Command) -> Output {
    let (mut out, mut err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    command.stdin(std::process::Stdio::null());
    let mut child =
        command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap()).spawn().unwrap();
    let deadline = Instant::now() + COMMAND_WAIT;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{command:?} did not end within {COMMAND_WAIT:?}");
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let read = |file: &mut std::fs::File| {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    };
    Output { status, stdout: read(&mut out), stderr: read(&mut err) }
}

struct Cluster {
    name: String,
    port: u16,
    data: PathBuf,
    directory: tempfile::TempDir,
    run: PathBuf,
    user: Option<u32>,
    program: PathBuf,
}

impl Cluster {
    fn new(name: &str) -> Cluster {
        let directory = tempfile::tempdir().unwrap();
        let run = devcluster::layout::run_base().unwrap().join(name);
        Cluster {
            name: name.to_owned(),
            port: free_port(),
            data: directory.path().join("data"),
            directory,
            run,
            user: None,
            program: PROGRAM.into(),
        }
    }

    fn home(&self) -> &Path {
        self.directory.path()
    }

    fn raw(&self, words: &[&str]) -> Output {
        let mut command = match self.user {
            Some(user) => {
                let id = user.to_string();
                let mut command = Command::new("setpriv");
                command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(&self.program);
                command.env_remove("XDG_RUNTIME_DIR");
                command
            }
            None => Command::new(&self.program),
        };
        command.arg("dev").args(["--name", &self.name]).arg("--data-dir").arg(&self.data).args(words);
        command.env("HOME", self.directory.path()).env("STUB_MASTER_PORT", self.port.to_string());
        bounded(command.current_dir("/"))
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let output = self.raw(words);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {text}{errors}");
        text
    }

    #[track_caller]
    fn refused(&self, words: &[&str]) -> String {
        let output = self.raw(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}");
        String::from_utf8_lossy(&output.stderr).trim().to_owned()
    }

    #[track_caller]
    fn up(&self, more: &[&str]) -> String {
        let port = self.port.to_string();
        let mut words = vec!["up", "--port", &port, "--wait", "20"];
        words.extend(more);
        self.ok(&words)
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.ok(&["status", "--json"])).unwrap()
    }

    fn node(&self, name: &str) -> Value {
        let status = self.status();
        let nodes = status["nodes"].as_array().unwrap();
        nodes.iter().find(|n| n["name"] == name).unwrap().clone()
    }

    fn pid(&self, name: &str) -> u32 {
        let mut pid = None;
        eventually("a daemon", || {
            pid = self.node(name)["pid"].as_u64();
            pid.is_some()
        });
        u32::try_from(pid.unwrap()).unwrap()
    }

    fn state(&self, name: &str) -> String {
        self.node(name)["state"].as_str().unwrap().to_owned()
    }

    /// Asks the master through the gateway.
    fn master(&self, path: &str) -> Option<String> {
        let answer = probe::get(SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port), path).ok()?;
        (answer.status == 200).then(|| String::from_utf8(answer.body).unwrap())
    }

    /// Asks an agent from its own namespace.
    fn agent(&self, node: &str, path: &str) -> String {
        let address = self.node(node)["address"].as_str().unwrap().parse().unwrap();
        let namespace = self.run.join("netns").join(node);
        let answer = devcluster::namespaces::inside(&namespace, || {
            Ok(probe::get(SocketAddrV4::new(address, 5051), path).unwrap().body)
        });
        String::from_utf8(answer.unwrap()).unwrap()
    }

    fn reaches(&self, from: &str, to: &str) -> bool {
        let address = self.node(to)["address"].as_str().unwrap().to_owned();
        let port = if to.starts_with("master") { 80 } else { 5051 };
        let question = format!("/ask?{address}:{port}");
        let answer =
            if from == "master1" { self.master(&question).unwrap() } else { self.agent(from, &question) };
        answer == "true"
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let output = self.raw(&["down"]);
        if !output.status.success() && !std::thread::panicking() {
            panic!("down failed: {output:?}");
        }
    }
}

/// Everything by which a cluster could stay behind.
fn traces(run: &Path, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    if run.exists() {
        found.push(run.display().to_string());
    }
    found.extend(devcluster::namespaces::mounts_below(run).iter().map(|p| format!("mount {}", p.display())));
    found.extend(Group::cluster(name).left().iter().map(|p| p.display().to_string()));
    let marked = devcluster::process::marked(run, None, Path::new("/nowhere"));
    found.extend(marked.iter().map(|i| format!("process {}", i.pid)));
    found
}

/// The network namespaces in which any process is.
fn namespaces_in_use() -> BTreeSet<PathBuf> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|p| std::fs::read_link(p.path().join("ns/net")).ok()).collect()
}

fn host_links() -> BTreeSet<String> {
    let text = std::fs::read_to_string("/proc/net/dev").unwrap();
    text.lines().filter_map(|l| Some(l.split_once(':')?.0.trim().to_owned())).collect()
}

#[test]
fn a_cluster_starts_answers_and_leaves_nothing() {
    if !root("a_cluster_starts_answers_and_leaves_nothing") {
        return;
    }
    let links = host_links();
    let routes = std::fs::read_to_string("/proc/net/route").unwrap();
    let cluster = Cluster::new("t-life");
    let text = cluster.up(&[]);
    assert!(text.contains(&format!("Admin Router answers at http://127.0.0.1:{}", cluster.port)), "{text}");
    let status = cluster.status();
    assert_eq!(status["admin_router"], format!("http://127.0.0.1:{}", cluster.port));
    let roles: Vec<_> = status["nodes"].as_array().unwrap().iter().map(|n| n["role"].clone()).collect();
    assert_eq!(roles, ["master", "agent", "agent", "public-agent"]);
    eventually("all nodes run", || {
        ["master1", "agent1", "agent2", "public1"].iter().all(|n| cluster.state(n) == "running")
    });

    assert_eq!(host_links(), links, "the host sees no link of the cluster");
    assert_eq!(std::fs::read_to_string("/proc/net/route").unwrap(), routes);
    assert_eq!(cluster.agent("agent1", "/name"), "agent1");
    assert!(cluster.reaches("agent1", "public1") && cluster.reaches("master1", "agent2"));
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", cluster.pid("agent1"))).unwrap();
    assert!(groups.lines().all(|l| l.contains("/dcosd-t-life/agent1/")), "{groups}");
    let url = std::fs::read_to_string(cluster.data.join("url")).unwrap();
    assert_eq!(url, std::fs::read_to_string(cluster.directory.path().join(".dcos/dev-cluster")).unwrap());

    assert!(cluster.up(&[]).contains("running already"));
    assert_eq!(cluster.master("/starts").unwrap(), "1", "up changes nothing that runs");
    let namespaces: BTreeSet<_> = ["master1", "agent1", "agent2", "public1"]
        .iter()
        .map(|n| std::fs::read_link(format!("/proc/{}/ns/net", cluster.pid(n))).unwrap())
        .collect();
    assert_eq!(namespaces.len(), 4);

    let asked = Instant::now();
    cluster.ok(&["down"]);
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(5), "the daemons heard the signal to stop: {took:?}");
    assert_eq!(traces(&cluster.run, "t-life"), [""; 0]);
    assert!(namespaces_in_use().is_disjoint(&namespaces));
    assert!(!cluster.directory.path().join(".dcos/dev-cluster").exists());
    assert_eq!(cluster.state("agent1"), "stopped");
    assert!(cluster.ok(&["down"]).contains("not running"));

    cluster.up(&[]);
    assert_eq!(cluster.master("/starts").unwrap(), "2", "data is kept");
    cluster.up(&["--fresh"]);
    assert_eq!(cluster.master("/starts").unwrap(), "1", "data is forgotten");
}

#[test]
fn partitions_cut_and_heal() {
    if !root("partitions_cut_and_heal") {
        return;
    }
    let cluster = Cluster::new("t-cut");
    cluster.up(&[]);
    cluster.ok(&["partition", "agent1", "public1"]);
    assert!(!cluster.reaches("agent1", "agent2"));
    assert!(!cluster.reaches("master1", "agent1"));
    assert!(cluster.reaches("agent1", "public1"), "one side stays together");
    assert!(cluster.reaches("master1", "agent2"), "and so does the other");
    assert_eq!(cluster.state("agent1"), "partitioned");

    cluster.ok(&["partition", "public1"]);
    assert!(!cluster.reaches("agent1", "public1"), "a second cut makes a third side");
    cluster.ok(&["partition", "master1"]);
    assert!(cluster.master("/starts").is_some(), "the gateway reaches a master that is cut off");

    cluster.ok(&["heal"]);
    eventually("healed", || cluster.reaches("agent1", "agent2") && cluster.reaches("master1", "public1"));
    assert_eq!(cluster.state("agent1"), "running");
}

#[test]
fn power_cuts_take_everything_and_daemons_come_back() {
    if !root("power_cuts_take_everything_and_daemons_come_back") {
        return;
    }
    let cluster = Cluster::new("t-power");
    cluster.up(&["--agents", "1", "--public-agents", "0"]);
    let task: u32 = cluster.agent("agent1", "/daemonize").parse().unwrap();
    let task = Identity::of(task).expect("the task lives");

    let first = cluster.pid("agent1");
    Identity::of(first).unwrap().signal(rustix::process::Signal::KILL);
    eventually("a new daemon", || {
        cluster.node("agent1")["pid"].as_u64().is_some_and(|p| p != u64::from(first))
    });
    eventually("it answers", || cluster.state("agent1") == "running");
    assert_eq!(cluster.agent("agent1", "/starts"), "2");
    assert!(task.alive(), "a task outlives the daemon");
    assert!(cluster.ok(&["logs", "agent1"]).contains("was ended by signal 9"));

    cluster.ok(&["kill", "agent1"]);
    assert!(!task.alive(), "a power cut ends tasks");
    assert_eq!(cluster.state("agent1"), "killed");
    assert!(Group::cluster("t-power").member("agent1").processes().is_empty());
    assert!(cluster.refused(&["kill", "agent1"]).contains("is off already"));
    assert!(cluster.refused(&["shell", "agent1"]).contains("is not running"));
    cluster.ok(&["start", "agent1"]);
    eventually("the agent is back", || cluster.reaches("master1", "agent1"));

    let added = cluster.ok(&["add-agent"]);
    assert!(added.contains("agent2 has joined"), "{added}");
    assert_eq!(cluster.ok(&["shell", "agent2", "hostname"]).trim(), "agent2");
    let hosts = cluster.ok(&["shell", "agent1", "cat", "/etc/hosts"]);
    assert!(hosts.contains("10.200.0.102 agent2"), "{hosts}");
    let links = cluster.ok(&["shell", "agent1", "ls", "/sys/class/net"]);
    assert_eq!(links.split_ascii_whitespace().collect::<BTreeSet<_>>(), BTreeSet::from(["eth0", "lo"]));
    let mounts = cluster.ok(&["shell", "agent1", "cat", "/proc/self/mounts"]);
    assert_eq!(mounts.lines().filter(|l| l.starts_with("sysfs ")).count(), 1, "{mounts}");
    assert!(!mounts.contains(" /run/dcosd"), "no node holds another one's namespace: {mounts}");
    assert_eq!(cluster.raw(&["shell", "agent1", "sh", "-c", "exit 7"]).status.code(), Some(7));

    // Supervisor and gateway die; `up` repairs, `down` cleans.
    let group = Group::cluster("t-power");
    group.member("gateway").kill(Instant::now() + WAIT);
    let daemon = cluster.pid("agent1");
    let supervisors = group.member("agent1").processes();
    for pid in supervisors.iter().filter(|p| **p != daemon) {
        Identity::of(*pid).unwrap().signal(rustix::process::Signal::KILL);
    }
    eventually("stopped", || cluster.state("agent1") == "stopped");
    cluster.up(&[]);
    assert!(Identity::of(daemon).is_none(), "the orphaned daemon was ended first");
    assert!(cluster.reaches("agent1", "agent2"));
    for pid in group.member("agent2").processes() {
        Identity::of(pid).inspect(|i| i.signal(rustix::process::Signal::KILL));
    }
    cluster.ok(&["down"]);
    assert_eq!(traces(&cluster.run, "t-power"), [""; 0]);
}

#[test]
fn clusters_stand_side_by_side_and_see_the_hosts_registry() {
    if !root("clusters_stand_side_by_side_and_see_the_hosts_registry") {
        return;
    }
    let registry = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let registry_port = registry.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in registry.incoming().flatten() {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nimages");
        }
    });
    let (one, two) = (Cluster::new("t-one"), Cluster::new("t-two"));
    let small = ["--agents", "1", "--public-agents", "0", "--host-port", &registry_port.to_string()];
    one.up(&small);
    two.up(&small);
    for cluster in [&one, &two] {
        let namespace = cluster.run.join("netns/agent1");
        let answer = devcluster::namespaces::inside(&namespace, || {
            Ok(probe::get(SocketAddrV4::new(Ipv4Addr::LOCALHOST, registry_port), "/v2/").unwrap().body)
        });
        assert_eq!(answer.unwrap(), b"images");
    }
    let message = two.refused(&["up", "--port", &one.port.to_string()]);
    assert!(message.contains("run `dcosd dev down` before changing it"), "{message}");
    two.ok(&["down"]);
    assert_eq!(traces(&two.run, "t-two"), [""; 0]);
    assert!(one.reaches("master1", "agent1"), "the other cluster is untouched");
    let message = two.refused(&["up", "--port", &one.port.to_string()]);
    assert!(message.contains("choose another with --port"), "{message}");
}

#[test]
fn a_node_that_does_not_come_up_is_named_with_its_log() {
    if !root("a_node_that_does_not_come_up_is_named_with_its_log") {
        return;
    }
    let cluster = Cluster::new("t-late");
    cluster.up(&["--agents", "1", "--public-agents", "0"]);
    cluster.ok(&["kill", "agent1"]);
    std::fs::write(cluster.data.join("nodes/agent1/data/refuse-to-start"), "").unwrap();
    std::thread::sleep(Duration::from_millis(1_600));
    let message = cluster.refused(&["up", "--wait", "3"]);
    assert!(message.contains("error: the registration of agent1 did not happen within 3 s"), "{message}");
    assert!(message.contains("refusing to start\n"), "{message}");
    assert!(message.contains("the daemon starts again in 400 ms"), "{message}");
    std::fs::remove_file(cluster.data.join("nodes/agent1/data/refuse-to-start")).unwrap();
    cluster.up(&[]);
}

#[test]
fn three_masters_answer_through_any() {
    if !root("three_masters_answer_through_any") {
        return;
    }
    let cluster = Cluster::new("t-three");
    cluster.up(&["--masters", "3", "--agents", "1", "--public-agents", "0"]);
    for (off, left) in [("master1", 2), ("master2", 1)] {
        cluster.ok(&["kill", off]);
        assert!(cluster.master("/starts").is_some(), "{left} masters are left");
    }
    cluster.ok(&["kill", "master3"]);
    let refused = probe::get(SocketAddrV4::new(Ipv4Addr::LOCALHOST, cluster.port), "/").unwrap();
    assert_eq!(refused.status, 502);
    assert!(String::from_utf8(refused.body).unwrap().contains("no master of cluster \"t-three\""));
}

#[test]
fn a_power_cut_ends_frozen_tasks_and_fork_storms() {
    if !root("a_power_cut_ends_frozen_tasks_and_fork_storms") {
        return;
    }
    let cluster = Cluster::new("t-storm");
    cluster.up(&["--agents", "1", "--public-agents", "0"]);
    let storm = "for i in 1 2 3 4; do (while :; do sleep 0.5 & sleep 0.004; done) >/dev/null 2>&1 & done";
    cluster.ok(&["shell", "agent1", "sh", "-c", storm]);
    let frozen_task = "cd /sys/fs/cgroup/freezer 2>/dev/null || exit 0; mkdir -p dcosd-t-storm/agent1/box; \
        sleep 1000 >/dev/null 2>&1 & echo $! >dcosd-t-storm/agent1/box/cgroup.procs; \
        sleep 0.2; echo FROZEN >dcosd-t-storm/agent1/box/freezer.state; echo $!";
    let frozen = cluster.ok(&["shell", "agent1", "sh", "-c", frozen_task]);
    let frozen = frozen.trim().parse().ok().map(|pid| Identity::of(pid).unwrap());
    std::thread::sleep(Duration::from_millis(300));
    cluster.ok(&["kill", "agent1"]);
    assert!(Group::cluster("t-storm").member("agent1").processes().is_empty());
    assert!(!frozen.is_some_and(Identity::alive), "a frozen task died too");
    cluster.ok(&["start", "agent1"]);
    eventually("the agent is back", || cluster.reaches("master1", "agent1"));
    cluster.ok(&["shell", "agent1", "sh", "-c", frozen_task]);
    cluster.ok(&["down"]);
    assert_eq!(traces(&cluster.run, "t-storm"), [""; 0]);
}

#[test]
fn up_can_be_interrupted_anywhere_and_repeated() {
    if !root("up_can_be_interrupted_anywhere_and_repeated") {
        return;
    }
    let cluster = Cluster::new("t-crash");
    let port = cluster.port.to_string();
    for after_ms in [2, 10, 20, 30, 45, 60, 80, 110] {
        let mut up = Command::new(PROGRAM);
        up.args(["dev", "--name", "t-crash", "up", "--port", &port, "--data-dir"]).arg(&cluster.data);
        up.env("HOME", cluster.home())
            .stderr(std::process::Stdio::null())
            .stdout(std::process::Stdio::null());
        let mut up = up.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(after_ms));
        up.kill().unwrap();
        up.wait().unwrap();
        if after_ms % 20 == 0 {
            cluster.ok(&["down"]);
            assert_eq!(traces(&cluster.run, "t-crash"), [""; 0], "after {after_ms} ms");
        }
    }
    cluster.up(&[]);
    assert!(cluster.reaches("agent1", "agent2") && cluster.reaches("master1", "public1"));
    // Two at once wait for each other.
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert!(cluster.up(&[]).contains("running already")));
        }
    });
}

#[test]
fn logs_follow_and_stop_with_their_reader() {
    if !root("logs_follow_and_stop_with_their_reader") {
        return;
    }
    let cluster = Cluster::new("t-logs");
    cluster.up(&["--agents", "0", "--public-agents", "0"]);
    let mut follow = Command::new(PROGRAM);
    follow.args(["dev", "--name", "t-logs", "logs", "master1", "-f"]).stdout(std::process::Stdio::piped());
    let mut follow = follow.spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "master1 starts for the 1th time");
    Identity::of(cluster.pid("master1")).unwrap().signal(rustix::process::Signal::KILL);
    let came: Vec<_> = lines.by_ref().take(2).map(|l| l.unwrap()).collect();
    assert!(
        came[0].contains("was ended by signal 9") && came[1].contains("starts again in 200 ms"),
        "{came:?}"
    );
    drop(lines);
    // The next line meets a closed pipe.
    eventually("logs -f ends", || {
        Identity::of(cluster.pid("master1")).inspect(|i| i.signal(rustix::process::Signal::KILL));
        follow.try_wait().unwrap().is_some_and(|s| s.success())
    });
}

#[test]
fn wrong_use_says_what_is_allowed() {
    let cluster = Cluster::new("t-wrong");
    let message = cluster.refused(&["status"]);
    assert!(message.contains("`dcosd dev up` makes one"), "{message}");
    assert_eq!(cluster.refused(&["up", "--masters", "2"]), "error: --masters 2: allowed are 1, 3 and 5");
    assert!(cluster.refused(&["up", "--agents", "65"]).contains("0 to 64"));
    assert_eq!(cluster.raw(&["up", "--port", "0"]).status.code(), Some(2));
    assert_eq!(cluster.raw(&["partition"]).status.code(), Some(2));
    assert_eq!(cluster.raw(&["nonsense"]).status.code(), Some(2));
    assert!(cluster.refused(&["status", "--name", "No"]).contains("cluster name"), "names are checked");
}

/// Plain processes, as an ordinary user has them.
fn plain(name: &str, user: Option<u32>) {
    let mut cluster = Cluster::new(name);
    if let Some(user) = user {
        // An ordinary user may neither enter the build directory nor own this test's.
        cluster.program = cluster.directory.path().join("stub");
        std::fs::copy(PROGRAM, &cluster.program).unwrap();
        std::os::unix::fs::chown(cluster.directory.path(), Some(user), Some(user)).unwrap();
        cluster.run = std::env::temp_dir().join(format!("dcosd-{user}")).join(name);
        cluster.user = Some(user);
    }
    let more: &[&str] = if user.is_none() { &["--plain"] } else { &[] };
    let text = cluster.up(more);
    assert!(
        text.contains("no network isolation, partition is unavailable, images need root: run as root"),
        "{text}"
    );
    assert!(cluster.node("agent1")["address"].as_str().unwrap().starts_with("127."));
    eventually("agents run", || {
        cluster.state("agent2") == "running" && cluster.state("public1") == "running"
    });
    let message = cluster.refused(&["partition", "agent1"]);
    assert!(message.contains("partition is unavailable"), "{message}");
    assert_eq!(
        cluster.refused(&["kill", "x"]),
        "error: unknown node \"x\"; nodes are: master1, agent1, agent2, public1"
    );
    let agent = cluster.pid("agent1");
    let address = cluster.node("agent1")["address"].as_str().unwrap().parse().unwrap();
    let task = probe::get(SocketAddrV4::new(address, 5051), "/daemonize").unwrap().body;
    let task = Identity::of(String::from_utf8(task).unwrap().parse().unwrap()).unwrap();
    cluster.ok(&["kill", "agent1"]);
    assert!(Identity::of(agent).is_none() && !task.alive());
    assert_eq!(cluster.state("agent1"), "killed");
    cluster.ok(&["start", "agent1"]);
    eventually("the agent is back", || cluster.state("agent1") == "running");
    let master = cluster.pid("master1");
    cluster.ok(&["down"]);
    assert!(Identity::of(master).is_none());
    assert_eq!(traces(&cluster.run, name), [""; 0]);
}

#[test]
fn without_root_nodes_are_plain_processes() {
    plain("t-plain", None);
    let setpriv = Command::new("setpriv").arg("--version").output().is_ok();
    if !setpriv || !root("without_root_nodes_are_plain_processes (as nobody)") {
        eprintln!("SKIPPED the part as user nobody: needs root and setpriv");
        return;
    }
    plain("t-nobody", Some(65_534));
}
