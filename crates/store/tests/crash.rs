//! Death at any point, damaged files, full disks.
//!
//! A child process (this test binary, started again) writes in a loop and prints
//! each acknowledged number; it is killed with SIGKILL at a random moment. What
//! it printed must be there afterwards. `STORE_CRASH_ROUNDS` sets the rounds.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use store::local::{Local, LocalHandle, LocalWrite};
use store::{Check, CommitError, Config, Key, OpenError, Store, Txn};

const CHILD_DIR: &str = "STORE_CRASH_DIR";
const SHORT_ROUNDS: u32 = 20;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn rounds() -> u32 {
    std::env::var("STORE_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SHORT_ROUNDS)
}

fn config(dir: &Path) -> Config {
    Config { snapshot_every: 40, ..Config::single(dir, "127.0.0.1:1") }
}

fn start_child(test: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Lets the child acknowledge for a while, kills it, and returns the highest acknowledged number of each writer.
fn kill_after(mut child: Child, acknowledgements: u32) -> Vec<(u32, u64)> {
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut highest = std::collections::BTreeMap::new();
    let mut count = 0;
    for line in out.lines() {
        let line = line.unwrap();
        let Some(rest) = line.strip_prefix("ack ") else { continue };
        let (writer, number) = rest.split_once(' ').unwrap();
        highest.insert(writer.parse().unwrap(), number.parse().unwrap());
        count += 1;
        if count == acknowledgements {
            // SIGKILL; lines that are already in the pipe are read to the end.
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(count >= acknowledgements, "the child ended by itself after {count}");
    highest.into_iter().collect()
}

/// One write call per line, so that a line is never half in the pipe.
fn acknowledge(writer: u32, number: u64) {
    use std::io::Write;
    let line = format!("ack {writer} {number}\n");
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
    let _ = std::io::stdout().flush();
}

const WRITERS: u32 = 8;

#[test]
#[ignore = "the child process of store_keeps_what_it_acknowledged"]
fn store_child() {
    let Some(dir) = std::env::var_os(CHILD_DIR).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async move {
        let store = Store::open(config(&dir)).await.unwrap();
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let store = store.clone();
            writers.spawn(async move {
                let name = format!("w{writer}/last");
                let mut last = store.get(&name).await.unwrap();
                loop {
                    let (number, check) = match &last {
                        Some(entry) => {
                            let number: u64 = String::from_utf8_lossy(&entry.value).parse().unwrap();
                            (number + 1, Check::Revision(entry.revision))
                        }
                        None => (1, Check::Absent),
                    };
                    let text = number.to_string();
                    let txn = Txn::new()
                        .check(key(&name), check)
                        .put(key(&name), text.as_str())
                        .put(key(&format!("w{writer}/all/{number:08}")), text.as_str());
                    store.commit(txn).await.unwrap();
                    acknowledge(writer, number);
                    last = store.get(&name).await.unwrap();
                }
            });
        }
        writers.join_next().await;
    });
}

#[test]
fn store_keeps_what_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("store");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut random = fastrand_seed();
    for round in 0..rounds() {
        let acknowledged = kill_after(start_child("store_child", &dir), 1 + next(&mut random, 400));
        runtime.block_on(async {
            let store = Store::open(config(&dir)).await.unwrap();
            for (writer, number) in &acknowledged {
                let read = store.range(&format!("w{writer}/")).await.unwrap();
                let (last, all) = read.entries.split_last().unwrap();
                let last: u64 = String::from_utf8_lossy(&last.value).parse().unwrap();
                assert!(
                    last >= *number,
                    "round {round}: writer {writer} was told {number}, the store has {last}"
                );
                // Both keys of one transaction, and nothing between is missing.
                assert_eq!(all.len() as u64, last, "round {round}: writer {writer}");
            }
            store.shutdown().await;
        });
    }
}

#[test]
#[ignore = "the child process of local_keeps_what_it_acknowledged"]
fn local_child() {
    let Some(dir) = std::env::var_os(CHILD_DIR).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let local = LocalHandle::open(dir.join("agent.redb")).await.unwrap();
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let local = local.clone();
            writers.spawn(async move {
                let mut number = local.range(&format!("w{writer}/all/")).await.unwrap().len() as u64;
                loop {
                    number += 1;
                    let put = |name: String| LocalWrite::Put {
                        key: key(&name),
                        value: number.to_string().as_str().into(),
                    };
                    let writes =
                        vec![put(format!("w{writer}/last")), put(format!("w{writer}/all/{number:08}"))];
                    local.apply(writes).await.unwrap();
                    acknowledge(writer, number);
                }
            });
        }
        writers.join_next().await;
    });
}

#[test]
fn local_keeps_what_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = fastrand_seed();
    for round in 0..rounds() {
        let acknowledged = kill_after(start_child("local_child", dir.path()), 1 + next(&mut random, 400));
        let local = Local::open(dir.path().join("agent.redb")).unwrap();
        for (writer, number) in acknowledged {
            let read = local.range(&format!("w{writer}/")).unwrap();
            let last: u64 = String::from_utf8_lossy(&read.last().unwrap().1).parse().unwrap();
            assert!(last >= number, "round {round}: writer {writer} was told {number}, the file has {last}");
            assert_eq!(read.len() as u64 - 1, last, "round {round}: writer {writer}");
        }
    }
}

/// A fixed seed: the moments differ between rounds, not between runs.
fn fastrand_seed() -> u64 {
    0x2545_f491_4f6c_dd1d
}

fn next(state: &mut u64, below: u32) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state % u64::from(below)) as u32
}

async fn filled(dir: &Path) {
    let store = Store::open(config(dir)).await.unwrap();
    for number in 0..100 {
        store.commit(Txn::new().put(key(&format!("k{number}")), vec![7; 2_000])).await.unwrap();
    }
    store.shutdown().await;
}

/// Opens whatever is there; it must not panic, and what it accepts must be right.
async fn open_damaged(dir: &Path) -> Result<(), OpenError> {
    let store = Store::open(config(dir)).await?;
    let read = store.range("").await.unwrap();
    assert_eq!(read.entries.len(), 100);
    assert!(read.entries.iter().all(|entry| *entry.value == [7; 2_000]));
    store.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_is_refused_by_name_or_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("good");
    filled(&good).await;
    let log = std::fs::read(good.join("log.redb")).unwrap();
    let mut random = fastrand_seed();
    let mut refused = 0;
    for round in 0..60 {
        let bad = dir.path().join(format!("bad{round}"));
        copy_dir(&good, &bad);
        let mut bytes = log.clone();
        let position = next(&mut random, u32::try_from(bytes.len()).unwrap()) as usize;
        match round % 3 {
            0 => bytes.truncate(position),
            1 => bytes[position..].iter_mut().take(4096).for_each(|byte| *byte ^= 0x5a),
            _ => bytes.extend(vec![0x5a; position % 100_000]),
        }
        std::fs::write(bad.join("log.redb"), bytes).unwrap();
        if let Err(error) = open_damaged(&bad).await {
            assert!(error.to_string().contains("log.redb"), "{error}");
            refused += 1;
        }
        std::fs::remove_dir_all(&bad).unwrap();
    }
    assert!(refused > 10, "only {refused} of 60 damages were noticed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_or_missing_snapshot_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("store");
    filled(&dir).await;
    let snapshot = std::fs::read_dir(dir.join("snapshots")).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&snapshot).unwrap();
    let mut bad = bytes.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    for damaged in [&bad[..], &bytes[..bytes.len() / 2], b""] {
        std::fs::write(&snapshot, damaged).unwrap();
        let error = open_damaged(&dir).await.unwrap_err();
        assert!(matches!(&error, OpenError::Snapshot { .. }), "{error}");
    }
    std::fs::write(&snapshot, &bytes).unwrap();
    std::fs::rename(dir.join("log.redb"), dir.join("log.away")).unwrap();
    let error = open_damaged(&dir).await.unwrap_err();
    assert!(matches!(&error, OpenError::LogMissing { .. }), "{error}");
    std::fs::rename(dir.join("log.away"), dir.join("log.redb")).unwrap();
    open_damaged(&dir).await.unwrap();
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A small file system of its own; gone when dropped.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = std::ffi::CString::new(format!("size={size}")).unwrap();
        let mounted = rustix::mount::mount(
            "tmpfs",
            dir.path(),
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            Some(options.as_c_str()),
        );
        match mounted {
            Ok(()) => Some(Self { dir }),
            Err(error) => {
                println!("skipped: a small tmpfs needs root ({error})");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.dir.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

async fn write_until_refused(store: &Store) -> (u32, CommitError) {
    for number in 0..1_000 {
        if let Err(error) =
            store.commit(Txn::new().put(key(&format!("k{number:04}")), vec![7; 100_000])).await
        {
            return (number, error);
        }
    }
    panic!("the disk did not fill up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_early_and_goes_on_when_there_is_room() {
    let Some(disk) = SmallDisk::mount("32m") else { return };
    let ballast = disk.dir.path().join("ballast");
    let config = Config {
        disk_reserve_bytes: 8 << 20,
        snapshot_every: 10,
        ..Config::single(disk.dir.path().join("s"), "x")
    };
    let store = Store::open(config).await.unwrap();
    store.commit(Txn::new().put(key("a"), "1")).await.unwrap();
    std::fs::write(&ballast, vec![0; 20 << 20]).unwrap();
    let (_, error) = write_until_refused(&store).await;
    assert!(
        matches!(&error, CommitError::Unavailable { reason } if reason.contains("must stay free")),
        "{error}"
    );
    assert_eq!(&*store.get("a").await.unwrap().unwrap().value, b"1");
    std::fs::remove_file(&ballast).unwrap();
    store.commit(Txn::new().put(key("b"), "2")).await.unwrap();
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_nevertheless_is_an_error_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount("16m") else { return };
    let dir = disk.dir.path().join("s");
    let config = Config { disk_reserve_bytes: 0, ..Config::single(&dir, "x") };
    let store = Store::open(config.clone()).await.unwrap();
    let (written, error) = write_until_refused(&store).await;
    assert!(matches!(&error, CommitError::Uncertain { .. }), "{error}");
    let after = store.commit(Txn::new().put(key("z"), "z")).await;
    assert!(matches!(&after, Err(CommitError::Unavailable { .. })), "{after:?}");
    assert!(!store.leadership().borrow().is_me);
    store.shutdown().await;
    // With room again, everything that was acknowledged is there.
    rustix::mount::mount_remount(disk.dir.path(), rustix::mount::MountFlags::empty(), c"size=64m").unwrap();
    let store = Store::open(config).await.unwrap();
    let read = store.range("k").await.unwrap();
    assert!(read.entries.len() as u32 >= written, "{} of {written}", read.entries.len());
    store.shutdown().await;
}

#[test]
fn a_full_disk_is_an_error_for_local_too() {
    let Some(disk) = SmallDisk::mount("8m") else { return };
    let local = Local::open(disk.dir.path().join("agent.redb")).unwrap();
    let put = |number: u32| {
        vec![LocalWrite::Put { key: key(&format!("k{number}")), value: vec![7; 100_000].into() }]
    };
    let failed = (0..1_000).find_map(|number| local.apply(put(number)).err().map(|error| (number, error)));
    let (written, error) = failed.unwrap();
    assert!(error.to_string().contains("agent.redb"), "{error}");
    drop(local);
    rustix::mount::mount_remount(disk.dir.path(), rustix::mount::MountFlags::empty(), c"size=32m").unwrap();
    let local = Local::open(disk.dir.path().join("agent.redb")).unwrap();
    assert!(local.range("k").unwrap().len() as u32 >= written);
    local.apply(put(2_000)).unwrap();
}
