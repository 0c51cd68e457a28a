//! Containers of images: what they see, what they may do, where images come from.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use containers::{
    Command, ContainerEvent, ExitStatus, ImageSource, LaunchError, LaunchSpec, NestedSpec, WindowSize,
};
use model::ContainerId;
use serde_json::json;
use support::images::{self, Layer, base_layer, image, write_layout};
use support::{Node, skip_without_root};

fn id(text: &str) -> ContainerId {
    ContainerId::new(text)
}

fn from(reference: &str) -> Option<ImageSource> {
    Some(ImageSource { reference: reference.into(), force_pull: false })
}

fn layout(node: &Node, name: &str) -> PathBuf {
    node.dir.path().join("layouts").join(name)
}

fn in_image(node: &Node, name: &str, reference: &str, script: &str) -> LaunchSpec {
    LaunchSpec { image: from(reference), ..node.shell(name, script) }
}

/// A node with the image `box` in its default place.
async fn node_with_box() -> Node {
    let node = Node::start().await;
    write_layout(&layout(&node, "box"), "latest", &image(&[(base_layer(), true)], &json!({})));
    node
}

async fn refused(node: &Node, spec: LaunchSpec) -> String {
    node.runtime.launch(spec).await.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_view_from_inside() {
    if skip_without_root() {
        return;
    }
    let mut node = node_with_box().await;
    let script = "ls -d /* | tr '\\n' ' '; echo; hostname; echo hi > $MESOS_SANDBOX/made; pwd; \
                  for n in pid mnt uts ipc net; do readlink /proc/self/ns/$n; done; \
                  ls /dev | tr '\\n' ' '; echo; id -u; grep -c . /etc/hosts; grep CapBnd /proc/self/status; grep NoNewPrivs /proc/self/status";
    let mut spec = in_image(&node, "c1", "box", &script.replace(" | tr '\\n' ' '; echo", ""));
    spec.env = vec![("MESOS_SANDBOX".into(), "/mnt/mesos/sandbox".into())];
    let sandbox = spec.sandbox.clone();
    let (status, output) = node.run(spec).await;
    let errors = fs::read_to_string(sandbox.join("stderr")).unwrap();
    assert_eq!(status, ExitStatus::Code(0), "{output}{errors}");
    assert_eq!(fs::read_to_string(sandbox.join("made")).unwrap(), "hi\n");
    for expected in ["/bin\n/dev\n/etc\n/mnt\n/proc\n/sys\n/tmp\n", "/mnt/mesos/sandbox\n", "NoNewPrivs:\t1"]
    {
        assert!(output.contains(expected), "{expected:?} in {output}{errors}");
    }
    for expected in
        ["full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stdin", "tty", "urandom", "zero"]
    {
        assert!(output.lines().any(|line| line == expected), "{expected} in {output}");
    }
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert!(output.contains(&host), "the node's hostname");
    for name in ["pid", "mnt", "uts", "ipc"] {
        let own = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert!(!output.contains(own.to_str().unwrap()), "{name} is shared");
    }
    assert!(output.contains(fs::read_link("/proc/self/ns/net").unwrap().to_str().unwrap()), "host network");
    assert!(output.contains("CapBnd:\t00000000a80425fb"), "{output}");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nested_container_may_no_more_than_its_parent() {
    if skip_without_root() {
        return;
    }
    let mut node = node_with_box().await;
    node.runtime.launch(in_image(&node, "p", "box", "echo up; sleep 1000")).await.unwrap();
    node.wait_output("p", "up").await;
    let script = "pwd; ls -d /home /root 2>/dev/null; grep -E 'CapBnd|CapPrm|NoNewPrivs' /proc/self/status; \
                  mknod /tmp/disk b 254 0 && echo made a disk; mount -t proc proc /tmp && echo mounted; \
                  cat /proc/1/environ 2>/dev/null && echo read init; readlink /proc/self/fd/0";
    for (name, terminal) in [("p.q", None), ("p.t", Some(WindowSize { rows: 24, columns: 80 }))] {
        let spec = NestedSpec {
            id: id(name),
            command: Command::Shell(script.into()),
            env: Vec::new(),
            user: None,
            terminal,
            session: true,
        };
        node.runtime.launch_nested(spec).await.unwrap();
        let mut output = node.runtime.attach_output(&id(name)).await.unwrap();
        let mut text = String::new();
        while let Some(chunk) = output.next().await {
            if chunk.stream == containers::Stream::Stdout {
                text.push_str(std::str::from_utf8(&chunk.data).unwrap());
            }
        }
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("m")).collect();
        let [home, permitted, bounding, privileges, stdin] = lines[..] else { panic!("{text}") };
        assert_eq!(home, "/mnt/mesos/sandbox");
        assert_eq!(permitted.trim_start_matches("CapPrm:\t"), "00000000a80425fb");
        assert_eq!(bounding.trim_start_matches("CapBnd:\t"), "00000000a80425fb");
        assert_eq!(privileges, "NoNewPrivs:\t1");
        match terminal {
            // The terminal has a name in the container's own file system.
            Some(_) => assert_eq!(stdin, "/dev/pts/0"),
            None => assert!(stdin.starts_with("pipe:"), "{stdin}"),
        }
        assert!(!text.contains("made a disk") && !text.contains("\nmounted"), "{text}");
    }
    node.runtime.destroy(&id("p")).await.unwrap();
    assert_eq!(node.exit().await.0, "p");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forbidden_inside() {
    if skip_without_root() {
        return;
    }
    let mut node = node_with_box().await;
    let script = "for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /etc/hosts /sys/kernel/profiling; do \
                    (echo x > $f) 2>/dev/null && echo \"wrote $f\"; done; \
                  mknod /tmp/disk b 254 0 && echo made a disk; mount -t proc proc /tmp && echo mounted; \
                  cat /proc/1/environ 2>/dev/null && echo read init; cat /proc/kcore | head -c1; \
                  ls /proc/1/root/ 2>/dev/null && echo saw init's root; echo done; echo x > /tmp/own && cat /tmp/own";
    let (status, output) = node.run(in_image(&node, "c1", "box", &script.replace("init's", "its"))).await;
    assert_eq!((status, output.as_str()), (ExitStatus::Code(0), "done\nx\n"));
    // The next container of the image sees nothing of it.
    let (_, output) = node.run(in_image(&node, "c2", "box", "ls /tmp")).await;
    assert_eq!(output, "");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entry_point_environment_working_directory_and_user() {
    if skip_without_root() {
        return;
    }
    let mut node = Node::start().await;
    let run = json!({"Entrypoint": ["/bin/sh", "-c"], "Cmd": ["echo $A $B; pwd; id -u"],
                     "Env": ["A=image", "B=image", "PATH=/bin"], "WorkingDir": "/srv/data"});
    write_layout(&layout(&node, "box"), "1", &image(&[(base_layer(), false)], &run));
    let default =
        |args: &[&str]| Command::ImageDefault { args: args.iter().map(|&arg| arg.to_owned()).collect() };
    let mut spec = node.spec("c1", default(&[]));
    spec.image = from("box:1");
    spec.env = vec![("B".into(), "task".into())];
    assert_eq!(node.run(spec).await.1, "image task\n/srv/data\n0\n");
    let mut spec = node.spec("c2", default(&["echo args"]));
    spec.image = from("box:1");
    assert_eq!(node.run(spec).await.1, "args\n");
    let mut spec =
        in_image(&node, "c3", "box:1", "id -u; id -G; touch /mnt/mesos/sandbox/made && echo made; touch /x");
    spec.user = Some("65534:65534".into());
    let (status, output) = node.run(spec).await;
    assert_eq!((status, output.as_str()), (ExitStatus::Code(1), "65534\n65534\nmade\n"));
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_and_whiteouts() {
    if skip_without_root() {
        return;
    }
    let mut node = Node::start().await;
    let lower = Layer::new()
        .dir("data")
        .file("data/a", b"1")
        .file("data/b", b"1")
        .dir("old")
        .file("old/x", b"1")
        .finish();
    let upper = Layer::new()
        .dir("data")
        .file("data/.wh.a", b"")
        .file("data/b", b"2")
        .dir("old")
        .file("old/.wh..wh..opq", b"")
        .file("old/y", b"2")
        .hard_link("data/c", "data/b")
        .finish();
    let made = image(&[(base_layer(), true), (lower, true), (upper, false)], &json!({}));
    write_layout(&layout(&node, "box"), "latest", &made);
    let (_, output) = node.run(in_image(&node, "c1", "box", "ls /data /old; cat /data/b /data/c")).await;
    assert_eq!(output, "/data:\nb\nc\n\n/old:\ny\n22");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_images_are_explained_and_leave_nothing() {
    if skip_without_root() {
        return;
    }
    let mut node = node_with_box().await;
    let text = refused(&node, in_image(&node, "c1", "no-such-image", "true")).await;
    assert!(text.contains("image no-such-image does not exist"), "{text}");
    let text = refused(&node, in_image(&node, "c2", "box:no-such-tag", "true")).await;
    assert!(text.contains("box:no-such-tag does not exist"), "{text}");
    let text = refused(&node, in_image(&node, "c3", "box/../../etc", "true")).await;
    assert!(text.contains("not valid"), "{text}");
    let mut spec = node.spec("c4", Command::ImageDefault { args: Vec::new() });
    spec.image = from("box");
    let text = refused(&node, spec).await;
    assert!(text.contains("neither ENTRYPOINT nor CMD"), "{text}");
    let mut spec = node.spec("c5", Command::Argv(vec!["no-such-program".into()]));
    spec.image = from("box");
    let text = refused(&node, spec).await;
    assert!(text.contains("no-such-program"), "{text}");

    // A layer with one byte changed.
    let made = image(&[(base_layer(), true), (Layer::new().file("f", b"data").finish(), true)], &json!({}));
    let dir = layout(&node, "corrupt");
    write_layout(&dir, "latest", &made);
    let digest = images::sha256(&made.blobs[1]);
    let blob = dir.join("blobs/sha256").join(&digest[7..]);
    let mut bytes = fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&blob, &bytes).unwrap();
    let text = refused(&node, in_image(&node, "c6", "corrupt", "true")).await;
    assert!(text.contains(&digest) && text.contains(&images::sha256(&bytes)), "{text}");

    // An archive that climbs out, and one that the configuration does not know.
    let evil = Layer::new().file("../../evil", b"x").finish();
    write_layout(&layout(&node, "evil"), "latest", &image(&[(evil, true)], &json!({})));
    let text = refused(&node, in_image(&node, "c7", "evil", "true")).await;
    assert!(text.contains("leads out of the layer"), "{text}");
    let store = node.config.image_store_dir.clone();
    assert_eq!(fs::read_dir(store.join("tmp")).unwrap().count(), 0, "temporary files are left");
    // The base layer alone, with its digest.
    assert_eq!(fs::read_dir(store.join("layers")).unwrap().count(), 2);
    // After all that the good image still runs.
    assert_eq!(node.run(in_image(&node, "c8", "box", "echo fine")).await.1, "fine\n");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_registry_and_shared_by_launches() {
    if skip_without_root() {
        return;
    }
    let registry = support::registry::DebianRegistry::start().await;
    let mut node = Node::start().await;
    let made = image(&[(base_layer(), true)], &json!({"Cmd": ["/bin/sh", "-c", "echo from registry"]}));
    registry.push("group/box", "1.0", &made).await;
    let reference = format!("{}/group/box:1.0", registry.address);
    let mut launches = tokio::task::JoinSet::new();
    for number in 0..6 {
        let mut spec = node.spec(&format!("c{number}"), Command::ImageDefault { args: Vec::new() });
        spec.image = from(&reference);
        let runtime = node.runtime.clone();
        launches.spawn(async move { runtime.launch(spec).await });
    }
    while let Some(result) = launches.join_next().await {
        result.unwrap().unwrap();
    }
    for _ in 0..6 {
        let (ended, status, ..) = node.exit().await;
        assert_eq!(status, ExitStatus::Code(0));
        assert_eq!(node.output(&ended), "from registry\n");
    }
    assert_eq!(registry.count("/blobs/"), 2, "one download of the layer and one of the configuration");
    let text =
        refused(&node, in_image(&node, "d1", &format!("{}/group/box:2.0", registry.address), "true")).await;
    assert!(text.contains("2.0 does not exist in registry"), "{text}");
    // By digest, and forced: the layers are here already.
    let by_digest = format!("{}/group/box@{}", registry.address, images::sha256(&made.manifest));
    assert_eq!(node.run(in_image(&node, "d2", &by_digest, "echo by digest")).await.1, "by digest\n");
    let mut spec = in_image(&node, "d3", &reference, "echo forced");
    spec.image = Some(ImageSource { reference: reference.clone(), force_pull: true });
    assert_eq!(node.run(spec).await.1, "forced\n");
    // Without the registry what is here still runs, forced or new does not.
    drop(registry);
    assert_eq!(node.run(in_image(&node, "d4", &reference, "echo offline")).await.1, "offline\n");
    let mut spec = in_image(&node, "d5", &reference, "true");
    spec.image = Some(ImageSource { reference, force_pull: true });
    let text = refused(&node, spec).await;
    assert!(text.contains("cannot reach registry 127.0.0.1"), "{text}");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_behind_a_token() {
    if skip_without_root() {
        return;
    }
    let made = image(&[(base_layer(), true)], &json!({}));
    let registry = support::registry::Guarded::start(&made).await;
    let mut node = Node::start().await;
    let reference = format!("{}/guarded", registry.address);
    assert_eq!(node.run(in_image(&node, "c1", &reference, "echo inside")).await.1, "inside\n");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_hangs() {
    if skip_without_root() {
        return;
    }
    let hanging = support::registry::Hanging::start().await;
    let mut node = Node::start_with(|config| config.pull.stall_timeout = Duration::from_secs(1)).await;
    let reference = format!("{}/box", hanging.address);
    let start = Instant::now();
    let text = refused(&node, in_image(&node, "c1", &reference, "true")).await;
    assert!(text.contains(&hanging.address) && text.contains("sent nothing for 1 s"), "{text}");
    assert!(start.elapsed() < Duration::from_secs(5));
    // Destroyed while it waits: cancelled at once.
    let spec = in_image(&node, "c2", &reference, "true");
    let runtime = node.runtime.clone();
    let launch = tokio::spawn(async move { runtime.launch(spec).await });
    loop {
        if let Some(ContainerEvent::Pulling { id, .. }) = node.events.recv().await
            && id.as_str() == "c2"
        {
            break;
        }
    }
    let start = Instant::now();
    node.runtime.destroy(&id("c2")).await.unwrap();
    assert!(matches!(launch.await.unwrap(), Err(LaunchError::Cancelled(_))));
    assert!(start.elapsed() < Duration::from_millis(500));
    assert!(hanging.connections.load(Ordering::Relaxed) >= 1, "it was asked");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_an_image_survives_agent_and_keeper() {
    if skip_without_root() {
        return;
    }
    let mut node = node_with_box().await;
    let spec = in_image(&node, "c1", "box", "trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done");
    let launched = node.runtime.launch(spec).await.unwrap();
    node.wait_output("c1", "up").await;
    support::kill(node.keeper_pid());
    node.restart().await;
    assert_eq!(keeper::process::start_time(launched.pid), Some(launched.start_time));
    node.runtime.signal(&id("c1"), libc::SIGTERM).await.unwrap();
    assert_eq!(node.exit().await.1, ExitStatus::Code(9));
    node.finish().await;
}
