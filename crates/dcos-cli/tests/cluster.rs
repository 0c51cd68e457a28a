//! `dcos task`, `node`, `service` and the process contract, against a stub cluster.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use std::io::Read;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use common::{Stub, command, run};

const STATE: &str = r#"{"id":"m-1","hostname":"10.0.0.1","pid":"master@10.0.0.1:5050","version":"1.7.3",
 "slaves":[
  {"id":"a-S1","hostname":"node-b","pid":"slave(1)@10.0.0.3:5051","active":true,"attributes":{"public_ip":"true"},
   "domain":{"fault_domain":{"region":{"name":"eu"},"zone":{"name":"z1"}}}},
  {"id":"a-S0","hostname":"node-a","pid":"slave(1)@10.0.0.2:5051","active":true,"deactivated":true,"attributes":{}}],
 "frameworks":[
  {"id":"F","name":"marathon","user":"root","hostname":"10.0.0.1","active":true,
   "used_resources":{"cpus":0.3,"mem":96,"disk":0},
   "tasks":[
    {"id":"web.2","name":"web","framework_id":"F","executor_id":"","slave_id":"a-S1","state":"TASK_RUNNING","statuses":[]},
    {"id":"db.1","name":"db","framework_id":"F","executor_id":"","slave_id":"a-S0","state":"TASK_STAGING","user":"nobody"}],
   "unreachable_tasks":[],
   "completed_tasks":[
    {"id":"web.1","name":"web","framework_id":"F","executor_id":"","slave_id":"a-S1","state":"TASK_FAILED"}]},
  {"id":"G","name":"jobs","user":"root","hostname":"h","active":false,"tasks":[]}],
 "completed_frameworks":[{"id":"H","name":"old","hostname":"h","active":false,"tasks":[],"completed_tasks":[]}]}"#;

const AGENT: &str = r#"{"id":"a-S1","frameworks":[{"id":"F","executors":[
   {"id":"web.2","container":"c2","directory":"/sandboxes/web.2/runs/c2"}],"completed_executors":[
   {"id":"web.1","container":"c1","directory":"/sandboxes/web.1/runs/c1"}]}]}"#;

/// A cluster with files: `(agent path of the file, content)`, growing on demand.
struct Files(Mutex<Vec<(String, Vec<u8>)>>);

impl Files {
    fn answer(&self, key: &str) -> Option<(u16, String)> {
        let query = key.strip_prefix("GET /agent/a-S1/files/read?path=")?;
        let (path, range) = query.split_once("&offset=")?;
        let files = self.0.lock().unwrap();
        let Some((_, bytes)) = files.iter().find(|(name, _)| name == path) else {
            return Some((404, "No such file or directory".into()));
        };
        if range == "-1" {
            return Some((200, format!("{{\"offset\":{},\"data\":\"\"}}", bytes.len())));
        }
        let (offset, length) = range.split_once("&length=")?;
        let (offset, length): (usize, usize) = (offset.parse().unwrap(), length.parse().unwrap());
        assert!(length <= 64 << 10);
        let piece = &bytes[offset..bytes.len().min(offset + length)];
        let data = String::from_utf8_lossy(piece).replace('\n', "\\n");
        Some((200, format!("{{\"data\":\"{data}\",\"offset\":{offset}}}")))
    }
}

fn stub_with(files: &[(&str, &str)]) -> Stub {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    let files = Files(Mutex::new(files));
    Stub::start(
        &[("GET /mesos/state", 200, STATE), ("GET /agent/a-S1/state", 200, AGENT)],
        Some(Box::new(move |key, _| files.answer(key).unwrap_or((404, format!("no {key}"))))),
    )
}

#[test]
fn nodes_are_listed() {
    let stub = stub_with(&[]);
    stub.dcos(&["node", "list"]).is(
        0,
        "HOSTNAME  IP        PUBLIC IP(S)  ID    TYPE             STATUS       REGION  ZONE\n\
         10.0.0.1  10.0.0.1  -             m-1   master (leader)  ACTIVE       -       -\n\
         node-a    10.0.0.2  -             a-S0  agent            DEACTIVATED  -       -\n\
         node-b    10.0.0.3  -             a-S1  agent (public)   ACTIVE       eu      z1\n",
        "",
    );
    let old = stub.dcos(&["node", "--json"]);
    assert_eq!(
        (old.code, old.err.as_str()),
        (0, "Warning: 'dcos node' is deprecated, use 'dcos node list'.\n")
    );
    assert!(old.out.contains("\"version\": \"1.7.3\",\n    \"type\": \"master (leader)\""), "{old:?}");
    stub.dcos(&["node", "list", "--mesos-id", "a-S0", "-q"]).is(0, "a-S0\n", "");
    assert_eq!(stub.dcos(&["node", "list", "--mesos-id", "x"]).code, 1);
}

#[test]
fn services_are_listed() {
    let stub = stub_with(&[]);
    stub.dcos(&["service", "list"]).is(
        0,
        "NAME      HOST      ACTIVE  TASKS  CPU   MEM  DISK  ID\n\
         marathon  10.0.0.1  True        2  0.3  96.0   0.0  F\n",
        "",
    );
    stub.dcos(&["service", "list", "--inactive", "--completed", "-q"]).is(0, "G\nF\nH\n", "");
    assert!(stub.dcos(&["service", "--json"]).out.starts_with("[\n  {\n    \"id\": \"F\","));
}

#[test]
fn tasks_are_listed_and_filtered() {
    let stub = stub_with(&[]);
    let header = "NAME  HOST    USER    STATE         ID     AGENT ID  REGION  ZONE\n";
    let (db, web) = (
        "db    node-a  nobody  TASK_STAGING  db.1   a-S0      -       -\n",
        "web   node-b  root    TASK_RUNNING  web.2  a-S1      eu      z1\n",
    );
    stub.dcos(&["task", "list"]).is(0, &format!("{header}{db}{web}"), "");
    stub.dcos(&["task", "list", "--all", "-q"]).is(0, "db.1\nweb.1\nweb.2\n", "");
    stub.dcos(&["task", "list", "--completed", "-q"]).is(0, "web.1\n", "");
    stub.dcos(&["task", "list", "w*2", "-q"]).is(0, "web.2\n", "");
    stub.dcos(&["task", "eb", "-q"]).is(
        0,
        "web.2\n",
        "Warning: 'dcos task' is deprecated, use 'dcos task list'.\n",
    );
    stub.dcos(&["task", "list", "nope", "--json"]).is(0, "[]\n", "");
    let none = stub.dcos(&["task", "list", "nope"]);
    assert!(
        none.code == 1 && none.err.starts_with("Error: no task ID found containing 'nope'\n"),
        "{none:?}"
    );
    assert_eq!(stub.dcos(&["task", "list", "--all", "--completed"]).code, 1);
}

#[test]
fn logs_print_the_last_lines() {
    let many: String = (1..=30_000).map(|n| format!("line {n}\n")).collect();
    let stub = stub_with(&[
        ("/sandboxes/web.2/runs/c2/stdout", "one\ntwo\nthree\n"),
        ("/sandboxes/web.2/runs/c2/big", &many),
        ("/sandboxes/web.2/runs/c2/open", "no end"),
        ("/sandboxes/web.2/runs/c2/empty", ""),
        ("/sandboxes/web.1/runs/c1/stdout", "last words\n"),
    ]);
    stub.dcos(&["task", "log", "web.2"]).is(0, "one\ntwo\nthree\n", "");
    stub.dcos(&["task", "log", "web.2", "--lines", "2"]).is(0, "two\nthree\n", "");
    stub.dcos(&["task", "log", "web.2", "--lines", "0"]).is(0, "", "");
    stub.dcos(&["task", "log", "web.2", "open", "--lines=1"]).is(0, "no end", "");
    stub.dcos(&["task", "log", "web.2", "empty"]).is(0, "", "");
    stub.dcos(&["task", "log", "web.2", "big", "--lines=1"]).is(0, "line 30000\n", "");
    let long = stub.dcos(&["task", "log", "web.2", "big", "--lines=20000"]);
    assert!(long.out.starts_with("line 10001\n") && long.out.ends_with("line 30000\n"));
    assert_eq!(stub.dcos(&["task", "log", "web.2", "big", "--all"]).out, many);
    // Nothing that runs is called so, but something that ran was.
    stub.dcos(&["task", "log", "web.1"]).is(0, "last words\n", "");
    stub.dcos(&["task", "log", "web.2", "nofile"]).is(
        1,
        "",
        "Error: no file 'nofile' in the sandbox of task 'web.2'\n  hint: see what is there with `dcos task ls web.2`\n",
    );
    stub.dcos(&["task", "log", "web", "--completed"]).is(0, "last words\n", "");
}

#[test]
fn logs_of_several_tasks_say_whose_lines_follow() {
    let state = STATE.replace("db.1", "web.3").replace("a-S0", "a-S1");
    let agent = AGENT.replace(
        r#""executors":["#,
        r#""executors":[{"id":"web.3","container":"c3","directory":"/sandboxes/web.3/runs/c3"},"#,
    );
    let files =
        [("/sandboxes/web.2/runs/c2/stdout", "two\n"), ("/sandboxes/web.3/runs/c3/stdout", "three\n")];
    let files =
        Files(Mutex::new(files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).to_vec()));
    let stub = Stub::start(
        &[("GET /mesos/state", 200, &state), ("GET /agent/a-S1/state", 200, &agent)],
        Some(Box::new(move |key, _| files.answer(key).unwrap_or((404, String::new())))),
    );
    let log = stub.dcos(&["task", "log", "web"]);
    log.is(0, "===> web.2 <===\ntwo\n===> web.3 <===\nthree\n", "");
    // A whole ID means one task, even if it is a part of others.
    stub.dcos(&["task", "log", "web.3"]).is(0, "three\n", "");
}

/// Without a page about itself an agent still has the sandbox under its virtual path.
#[test]
fn a_sandbox_has_a_virtual_path() {
    let path = "/var/lib/mesos/slave/slaves/a-S1/frameworks/F/executors/web.2/runs/latest";
    let stub = Stub::new(&[
        ("GET /mesos/state", 200, STATE),
        ("GET /agent/a-S1/state", 404, ""),
        (&format!("GET /agent/a-S1/files/browse?path={path}"), 200, "[]"),
    ]);
    stub.dcos(&["task", "ls", "web.2"]).is(0, "\n", "");
    let gone = Stub::new(&[
        ("GET /mesos/state", 200, STATE),
        ("GET /agent/a-S1/state", 404, "404 Not Found: agent `a-S1` unknown.\n"),
    ]);
    let ran = gone.dcos(&["task", "ls", "web.2"]);
    assert!(ran.code == 1 && ran.err.starts_with("Error: agent `a-S1` unknown.\n"), "{ran:?}");
}

#[test]
fn a_log_is_followed() {
    let files = Files(Mutex::new(vec![("/sandboxes/web.2/runs/c2/stdout".into(), b"one\n".to_vec())]));
    let files = std::sync::Arc::new(files);
    let shared = std::sync::Arc::clone(&files);
    let stub = Stub::start(
        &[("GET /mesos/state", 200, STATE), ("GET /agent/a-S1/state", 200, AGENT)],
        Some(Box::new(move |key, _| shared.answer(key).unwrap_or((404, String::new())))),
    );
    let url = format!("http://{}", stub.addr);
    let mut child = command(&["task", "log", "web.2", "--follow"], &[("DCOS_URL", &url)]).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut wait_for = |text: &str| {
        let mut seen = vec![0; text.len()];
        out.read_exact(&mut seen).unwrap();
        assert_eq!(String::from_utf8_lossy(&seen), text);
    };
    wait_for("one\n");
    files.0.lock().unwrap()[0].1.extend(b"two\n");
    wait_for("two\n");
    // A file that starts anew.
    files.0.lock().unwrap()[0].1 = b"3\n".to_vec();
    wait_for("3\n");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn sandboxes_are_listed() {
    let browse = r#"[{"gid":"root","mode":"-rw-r--r--","mtime":1530000000,"nlink":1,"path":"/sandboxes/web.2/runs/c2/stderr","size":0,"uid":"root"},
        {"gid":"root","mode":"-rw-r--r--","mtime":1530000000,"nlink":1,"path":"/sandboxes/web.2/runs/c2/stdout","size":12,"uid":"root"}]"#;
    let stub = Stub::new(&[
        ("GET /mesos/state", 200, STATE),
        ("GET /agent/a-S1/state", 200, AGENT),
        ("GET /agent/a-S1/files/browse?path=/sandboxes/web.2/runs/c2", 200, browse),
        ("GET /agent/a-S1/files/browse?path=/sandboxes/web.2/runs/c2/no", 404, ""),
    ]);
    stub.dcos(&["task", "ls", "web.2"]).is(0, "stderr  stdout\n", "");
    stub.dcos(&["task", "ls", "web.2", "--long"]).is(
        0,
        "MODE        LINKS  UID   GID   SIZE  DATE                  NAME\n\
         -rw-r--r--      1  root  root     0  2018-06-26T08:00:00Z  stderr\n\
         -rw-r--r--      1  root  root    12  2018-06-26T08:00:00Z  stdout\n",
        "",
    );
    stub.dcos(&["task", "ls", "web.2", "no"]).is(
        1,
        "",
        "Error: cannot access 'no': no such file or directory\n",
    );
}

#[test]
fn wrong_words_are_explained_on_standard_error() {
    let none = |args: &[&str]| run(args, &[], "");
    none(&["marathn"]).is(
        1,
        "",
        "Error: 'marathn' is not a dcos command.\n  hint: did you mean 'marathon'?\n",
    );
    none(&["marathon", "ap"]).is(1, "", "Error: unknown command 'ap'\n  hint: did you mean 'app'?\n");
    none(&["marathon", "app", "show"]).is(
        1,
        "",
        "Error: the following required arguments were not provided:\n  <ID>\n  hint: usage: dcos marathon app show <ID>\n",
    );
    none(&["node", "list"]).is(
        1,
        "",
        "Error: no cluster is attached\n  hint: start one on this machine with `dcosd dev up`, or set DCOS_URL=http://<master>\n",
    );
    for args in [&[][..], &["help"], &["--help"]] {
        let ran = none(args);
        assert!(
            ran.code == 0
                && ran.out.contains("\n\tmarathon       \tDeploy and manage applications to DC/OS\n")
        );
    }
    assert_eq!(none(&["help", "marathon"]).out, none(&["marathon", "--help"]).out);
}

#[test]
fn an_absent_cluster_is_one_clear_sentence() {
    let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{addr}");
    run(&["node", "list"], &[("DCOS_URL", &url)], "").is(
        1,
        "",
        &format!(
            "Error: cluster '{url}' is unreachable: connection refused\n  \
             hint: check that it runs (`dcosd dev status` for a local one) and that DCOS_URL or --url is right\n"
        ),
    );
    let https = run(&["--url", "https://x", "node", "list"], &[], "");
    assert!(https.code == 1 && https.err.contains("https is not supported yet"), "{https:?}");
}

#[test]
fn version_names_both_sides() {
    let cli = format!("dcoscli.version={}\n", env!("CARGO_PKG_VERSION"));
    run(&["--version"], &[], "").is(0, &cli, "");
    let body = r#"{"version":"1.12.5","dcos-variant":"open","dcos-image-commit":"c0","bootstrap-id":"b0"}"#;
    let stub = Stub::new(&[("GET /dcos-metadata/dcos-version.json", 200, body)]);
    let full = "dcos.version=1.12.5\ndcos.variant=open\ndcos.commit=c0\ndcos.bootstrap-id=b0\n";
    stub.dcos(&["--version"]).is(0, &format!("{cli}{full}"), "");
    let gone = "dcos.version=N/A\ndcos.variant=N/A\ndcos.commit=N/A\ndcos.bootstrap-id=N/A\n";
    run(&["--version"], &[("DCOS_URL", "http://127.0.0.1:1")], "").is(0, &format!("{cli}{gone}"), "");
}

#[test]
fn the_local_cluster_is_found() {
    let stub = stub_with(&[]);
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".dcos")).unwrap();
    std::fs::write(home.path().join(".dcos/dev-cluster"), format!("http://{}\n", stub.addr)).unwrap();
    let ran = run(&["service", "list", "-q"], &[("HOME", home.path().to_str().unwrap())], "");
    ran.is(0, "F\n", "");
}

#[test]
fn a_relative_directory_is_resolved_here() {
    let stub = stub_with(&[]);
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("rel")).unwrap();
    std::fs::write(home.path().join("rel/dev-cluster"), format!("http://{}\n", stub.addr)).unwrap();
    let mut dcos = command(&["service", "list", "-q"], &[("DCOS_DIR", "rel")]);
    let output = dcos.current_dir(home.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "F\n");
}

#[test]
fn refusals_of_the_door_are_explained() {
    let stub = Stub::new(&[("GET /mesos/state", 503, "503 Service Unavailable: mesos leader is unknown.\n")]);
    stub.dcos(&["node", "list"]).is(
        1,
        "",
        &format!(
            "Error: could not connect to the leading mesos master\n  \
             cause: mesos leader is unknown.\n         \
             GET http://{}/mesos/state answered 503 Service Unavailable\n  \
             hint: an election or a restart takes moments; try again\n",
            stub.addr
        ),
    );
    let stub = Stub::new(&[(
        "GET /mesos/state",
        403,
        "<html><body>needs dcos:adminrouter:ops:mesos full</body></html>",
    )]);
    let ran = stub.dcos(&["node", "list"]);
    assert!(
        ran.code == 1 && ran.err.starts_with("Error: you are not authorized to perform this operation\n")
    );
    assert!(ran.err.contains("cause: needs dcos:adminrouter:ops:mesos full\n"), "{ran:?}");
}

#[test]
fn requests_are_shown_on_demand_and_tokens_never() {
    let stub = stub_with(&[]);
    let url = format!("http://{}", stub.addr);
    let vars = [("DCOS_URL", url.as_str()), ("DCOS_ACS_TOKEN", "hush")];
    let ran = run(&["service", "list", "-q", "-vv"], &vars, "");
    assert!(ran.err.starts_with(&format!("> GET {url}/mesos/state\n< 200 OK\n{{")), "{ran:?}");
    assert!(ran.out == "F\n" && !ran.err.contains("hush"));
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let stub = stub_with(&[]);
    let url = format!("http://{}", stub.addr);
    let mut child = command(&["task", "list"], &[("DCOS_URL", &url)]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn an_interrupt_ends_a_request() {
    use std::os::unix::process::ExitStatusExt;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut child = command(&["task", "list"], &[("DCOS_URL", &url)]).spawn().unwrap();
    let (_silent, _) = listener.accept().unwrap();
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    // A shell shows this as 130.
    assert_eq!(child.wait().unwrap().signal(), Some(2));
}

#[test]
fn a_silent_cluster_is_left_in_time() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let ran = run(&["task", "list"], &[("DCOS_URL", &url), ("DCOS_TIMEOUT", "1")], "");
    assert!(ran.code == 1 && ran.err.contains("got no answer in 1 s"), "{ran:?}");
}

/// The promise is 5 ms for a release build on a quiet machine; this only catches a start
/// that has become a different kind of thing.
#[test]
fn starting_is_quick() {
    let best = (0..10).map(|_| {
        let start = Instant::now();
        run(&["--version"], &[], "");
        start.elapsed()
    });
    assert!(best.min().unwrap() < Duration::from_millis(200));
}
