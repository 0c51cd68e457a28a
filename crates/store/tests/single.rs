//! A group of one: transactions, reads, watches, restarts, limits.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::{Duration, Instant};

use store::{
    Check, CommitError, Config, Key, OpenError, ReadError, Revision, Store, Txn, VALUE_MAX_BYTES, WatchError,
};

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn config(dir: &tempfile::TempDir) -> Config {
    Config::single(dir.path().join("store"), "127.0.0.1:1")
}

async fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(config(dir)).await.unwrap()
}

async fn text(store: &Store, prefix: &str) -> String {
    let snapshot = store.range(prefix).await.unwrap();
    let entries: Vec<String> = snapshot
        .entries
        .iter()
        .map(|entry| format!("{}={}@{}", entry.key, String::from_utf8_lossy(&entry.value), entry.revision))
        .collect();
    entries.join(" ")
}

#[tokio::test]
async fn commits_are_checked_counted_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let first = store.commit(Txn::new().put(key("a/1"), "x").put(key("a/2"), "y")).await.unwrap();
    assert_eq!(first, Revision(1));
    let second = store
        .commit(Txn::new().check(key("a/1"), Check::Revision(first)).put(key("a/1"), "z").delete(key("a/2")))
        .await
        .unwrap();
    assert_eq!(text(&store, "a/").await, format!("a/1=z@{second}"));
    let refused = store.commit(Txn::new().check(key("a/1"), Check::Revision(first)).delete(key("a/1"))).await;
    assert_eq!(
        refused,
        Err(CommitError::Conflict { key: key("a/1"), expected: Check::Revision(first), found: Some(second) })
    );
    assert_eq!(store.get("a/1").await.unwrap().unwrap().revision, second);
    store.shutdown().await;
}

#[tokio::test]
async fn a_new_group_of_one_leads_at_once_and_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut terms = Vec::new();
    for round in 0..3 {
        let began = Instant::now();
        let store = open(&dir).await;
        let took = began.elapsed();
        let leadership = *store.leadership().borrow();
        assert!(leadership.is_me, "{leadership:?}");
        terms.push(leadership.term);
        // Generous on shared machines; the example `figures` prints the exact time.
        assert!(took < Duration::from_millis(400), "round {round}: {took:?}");
        store.commit(Txn::new().put(key(&format!("k{round}")), "v")).await.unwrap();
        store.shutdown().await;
    }
    assert!(terms.windows(2).all(|pair| pair[0] < pair[1]), "{terms:?}");
    assert_eq!(text(&open(&dir).await, "").await, "k0=v@1 k1=v@2 k2=v@3");
}

#[tokio::test]
async fn an_old_term_is_fenced() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let term = store.leadership().borrow().term;
    store.commit(Txn::new().put(key("a"), "1").in_term(term)).await.unwrap();
    store.shutdown().await;
    let store = open(&dir).await;
    let now = store.leadership().borrow().term;
    let refused = store.commit(Txn::new().put(key("a"), "2").in_term(term)).await;
    assert_eq!(refused, Err(CommitError::Fenced { expected: term, current: now }));
    assert!(now > term);
}

#[tokio::test]
async fn limits_are_named_in_the_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    store.commit(Txn::new().put(key("a"), vec![1; VALUE_MAX_BYTES])).await.unwrap();
    let refused = store.commit(Txn::new().put(key("a"), vec![1; VALUE_MAX_BYTES + 1])).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "value is 1048577, the limit is 1048576; split it or delete what is not needed"
    );
    let mut txn = Txn::new();
    for number in 0..9 {
        txn = txn.put(key(&format!("k{number}")), vec![1; VALUE_MAX_BYTES]);
    }
    let refused = store.commit(txn).await;
    assert!(matches!(refused, Err(CommitError::TooLarge { what: "transaction", .. })), "{refused:?}");
    let refused = store.commit(Txn::new().delete_prefix("a\0")).await;
    assert!(matches!(refused, Err(CommitError::InvalidPrefix { .. })), "{refused:?}");
    let refused = store.range("a\0").await;
    assert!(matches!(refused, Err(ReadError::InvalidPrefix { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_watch_resumes_from_a_revision_and_sees_only_its_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    store.commit(Txn::new().put(key("a/1"), "x")).await.unwrap();
    let read = store.range("a/").await.unwrap();
    store.commit(Txn::new().put(key("b/1"), "no")).await.unwrap();
    store.commit(Txn::new().put(key("a/2"), "y").put(key("b/2"), "no")).await.unwrap();
    let mut watch = store.watch("a/", read.revision);
    let seen = watch.next().await.unwrap();
    assert_eq!((seen.revision, seen.changes.len()), (Revision(3), 1));
    assert_eq!(seen.changes[0].key, key("a/2"));
    let waiting = tokio::spawn(async move { (watch.next().await, watch) });
    tokio::task::yield_now().await;
    store.commit(Txn::new().delete_prefix("a/")).await.unwrap();
    let (seen, mut watch) = waiting.await.unwrap();
    let deleted: Vec<String> = seen.unwrap().changes.iter().map(|change| change.key.to_string()).collect();
    assert_eq!(deleted, ["a/1", "a/2"]);
    store.shutdown().await;
    assert_eq!(watch.next().await, Err(WatchError::Closed));
}

#[tokio::test]
async fn a_watch_after_a_restart_goes_on_from_the_log_or_says_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    for number in 0..5 {
        store.commit(Txn::new().put(key("a"), format!("{number}").as_str())).await.unwrap();
    }
    store.shutdown().await;
    let store = open(&dir).await;
    assert_eq!(store.watch("", Revision(3)).next().await.unwrap().revision, Revision(4));
    store.trigger_snapshot().await;
    wait_for_snapshot(&dir).await;
    store.shutdown().await;
    let store = open(&dir).await;
    let lost = store.watch("", Revision(3)).next().await;
    assert_eq!(lost, Err(WatchError::Compacted { asked: Revision(3), oldest: Revision(5) }));
}

async fn wait_for_snapshot(dir: &tempfile::TempDir) {
    let snapshots = dir.path().join("store/snapshots");
    let finished = |name: &str| name.ends_with(".snapshot");
    for _ in 0..500 {
        let names = std::fs::read_dir(&snapshots).unwrap().flatten();
        if names.into_iter().any(|entry| finished(&entry.file_name().to_string_lossy())) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no snapshot within 5 s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_shorten_the_log_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { snapshot_every: 50, ..config(&dir) };
    let store = Store::open(config.clone()).await.unwrap();
    for number in 0..400 {
        store
            .commit(Txn::new().put(key(&format!("k{:03}", number % 100)), format!("{number}").as_str()))
            .await
            .unwrap();
    }
    wait_for_snapshot(&dir).await;
    store.shutdown().await;
    let store = Store::open(config).await.unwrap();
    let read = store.range("").await.unwrap();
    assert_eq!((read.entries.len(), read.revision), (100, Revision(400)));
    assert_eq!(&*read.entries[99].value, b"399");
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_count_together_without_losing_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let store = store.clone();
        clients.spawn(async move {
            for _ in 0..10 {
                loop {
                    let old = store.get("n").await.unwrap();
                    let (check, count) = match &old {
                        Some(entry) => {
                            let count: u32 = String::from_utf8_lossy(&entry.value).parse().unwrap();
                            (Check::Revision(entry.revision), count)
                        }
                        None => (Check::Absent, 0),
                    };
                    let txn =
                        Txn::new().check(key("n"), check).put(key("n"), (count + 1).to_string().as_str());
                    match store.commit(txn).await {
                        Ok(_) => break,
                        Err(CommitError::Conflict { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        });
    }
    while let Some(result) = clients.join_next().await {
        result.unwrap();
    }
    assert_eq!(&*store.get("n").await.unwrap().unwrap().value, b"160");
}

#[tokio::test]
async fn a_directory_is_used_once_and_by_its_own_node() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let refused = Store::open(config(&dir)).await.map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    store.shutdown().await;
    let mut other = config(&dir);
    other.node_id = store::NodeId(2);
    let refused = Store::open(other).await.map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("belongs to node 1, not to node 2"), "{refused}");
    open(&dir).await;
}

#[tokio::test]
async fn after_shutdown_every_handle_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let other = store.clone();
    store.shutdown().await;
    let refused = other.commit(Txn::new().put(key("a"), "1")).await;
    assert_eq!(refused, Err(CommitError::Unavailable { reason: "the store is shut down".to_owned() }));
    assert!(matches!(other.range("").await, Err(ReadError::Unavailable { .. })));
}

#[tokio::test]
async fn nonsense_configuration_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bad = Config { heartbeat: Duration::from_millis(1), ..config(&dir) };
    assert!(matches!(Store::open(bad).await, Err(OpenError::Config { what: "the heartbeat", .. })));
    let mut bad = config(&dir);
    bad.members[0].id = store::NodeId(9);
    assert!(matches!(Store::open(bad).await, Err(OpenError::NotAMember { .. })));
    std::fs::write(dir.path().join("file"), "").unwrap();
    let bad = Config { dir: dir.path().join("file"), ..config(&dir) };
    assert!(matches!(Store::open(bad).await, Err(OpenError::Directory { .. })));
}

/// The next owner of the directory would find a snapshot that is newer than the one it began with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_after_a_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let list = || {
        let mut names: Vec<_> = std::fs::read_dir(dir.path().join("store/snapshots"))
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        names.sort();
        names
    };
    // Large enough that a snapshot takes longer than the shutdown.
    let store = open(&dir).await;
    for number in 0..8 {
        let txn = Txn::new().put(key(&format!("k{number}")), vec![7; VALUE_MAX_BYTES]);
        store.commit(txn).await.unwrap();
    }
    store.shutdown().await;
    for round in 0..8 {
        let store = open(&dir).await;
        store.commit(Txn::new().put(key("round"), round.to_string().as_str())).await.unwrap();
        store.trigger_snapshot().await;
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        store.shutdown().await;
        let at_shutdown = list();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(list(), at_shutdown, "round {round}");
    }
}
