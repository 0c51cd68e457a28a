//! Three members in one process: elections, partitions, restarts, snapshots, new members.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use store::memory::MemoryNetwork;
use store::{CommitError, Config, Key, NodeId, NodeInfo, ReadError, Revision, Store, Txn};

const PATIENCE: Duration = Duration::from_secs(20);

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn info(id: u64) -> NodeInfo {
    NodeInfo { id: NodeId(id), address: format!("memory:{id}") }
}

struct Group {
    dir: tempfile::TempDir,
    network: MemoryNetwork,
    stores: BTreeMap<u64, Store>,
    snapshot_every: u64,
}

impl Group {
    async fn start(size: u64, snapshot_every: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut group = Self { dir, network: MemoryNetwork::new(), stores: BTreeMap::new(), snapshot_every };
        for id in 1..=size {
            group.open(id, (1..=size).map(info).collect()).await;
        }
        group
    }

    async fn open(&mut self, id: u64, members: Vec<NodeInfo>) {
        let dir = self.dir.path().join(format!("node{id}"));
        let mut config = Config::new(NodeId(id), dir, members, self.network.transport(NodeId(id)));
        config.snapshot_every = self.snapshot_every;
        config.commit_timeout = Duration::from_secs(2);
        let store = Store::open(config).await.unwrap();
        self.network.register(NodeId(id), &store);
        self.stores.insert(id, store);
    }

    /// As good as a crash for the others: it is gone from one moment to the next.
    async fn kill(&mut self, id: u64) {
        self.network.unregister(NodeId(id));
        self.stores.remove(&id).unwrap().shutdown().await;
    }

    /// The one that leads among `ids`, once all of them agree.
    async fn leader(&self, ids: &[u64]) -> u64 {
        let began = Instant::now();
        loop {
            let seen: Vec<_> = ids.iter().map(|id| *self.stores[id].leadership().borrow()).collect();
            if let Some(leader) = seen[0].leader
                && seen.iter().all(|one| one.leader == Some(leader) && one.term == seen[0].term)
                && ids.contains(&leader.0)
                && self.stores[&leader.0].leadership().borrow().is_me
            {
                return leader.0;
            }
            assert!(began.elapsed() < PATIENCE, "no leader among {ids:?}: {seen:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn put(&self, leader: u64, name: &str) -> Revision {
        self.stores[&leader].commit(Txn::new().put(key(name), name)).await.unwrap()
    }

    async fn wait_revision(&self, id: u64, revision: Revision) {
        let began = Instant::now();
        while self.stores[&id].revision_local() < revision {
            assert!(began.elapsed() < PATIENCE, "node {id} is at {}", self.stores[&id].revision_local());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn names(&self, id: u64) -> Vec<String> {
        self.stores[&id].range_local("").entries.iter().map(|entry| entry.key.to_string()).collect()
    }
}

fn others(all: &[u64], without: u64) -> Vec<u64> {
    all.iter().copied().filter(|id| *id != without).collect()
}

fn ids(numbers: &[u64]) -> Vec<NodeId> {
    numbers.iter().copied().map(NodeId).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_group_elects_replicates_and_points_to_its_leader() {
    let group = Group::start(3, 5_000).await;
    let all = [1, 2, 3];
    let leader = group.leader(&all).await;
    let revision = group.put(leader, "a").await;
    for id in all {
        group.wait_revision(id, revision).await;
        assert_eq!(group.names(id), ["a"]);
    }
    for id in others(&all, leader) {
        let refused = group.stores[&id].commit(Txn::new().put(key("b"), "b")).await;
        assert_eq!(refused, Err(CommitError::NotLeader { leader: Some(info(leader)) }));
        let refused = group.stores[&id].range("").await;
        assert_eq!(refused, Err(ReadError::NotLeader { leader: Some(info(leader)) }));
    }
    // A watch works on a follower too.
    let follower = others(&all, leader)[0];
    let mut watch = group.stores[&follower].watch("", revision);
    group.put(leader, "c").await;
    assert_eq!(watch.next().await.unwrap().changes[0].key, key("c"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_leader_is_replaced_and_comes_back_as_a_follower() {
    let mut group = Group::start(3, 5_000).await;
    let all = [1, 2, 3];
    let first = group.leader(&all).await;
    let term = group.stores[&first].leadership().borrow().term;
    group.put(first, "a").await;
    group.kill(first).await;
    let rest = others(&all, first);
    let began = Instant::now();
    let second = group.leader(&rest).await;
    group.put(second, "b").await;
    println!("writes resumed {} ms after the leader's end", began.elapsed().as_millis());
    assert!(group.stores[&second].leadership().borrow().term > term);
    let fenced = group.stores[&second].commit(Txn::new().put(key("x"), "x").in_term(term)).await;
    assert!(matches!(fenced, Err(CommitError::Fenced { .. })), "{fenced:?}");
    group.open(first, vec![]).await;
    let leader = group.leader(&all).await;
    let revision = group.put(leader, "c").await;
    group.wait_revision(first, revision).await;
    assert_eq!(group.names(first), ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_cut_off_steps_aside_and_nothing_it_accepted_appears() {
    let group = Group::start(3, 5_000).await;
    let all = [1, 2, 3];
    let old = group.leader(&all).await;
    group.put(old, "a").await;
    let rest = others(&all, old);
    group.network.partition(&ids(&[old]), &ids(&rest));
    let lonely = group.stores[&old].commit(Txn::new().put(key("lost"), "lost")).await;
    assert!(matches!(lonely, Err(CommitError::Uncertain { .. })), "{lonely:?}");
    assert!(!group.stores[&old].leadership().borrow().is_me);
    assert!(matches!(group.stores[&old].range("").await, Err(ReadError::Unavailable { .. })));
    assert_eq!(group.names(old), ["a"]);
    let new = group.leader(&rest).await;
    let revision = group.put(new, "b").await;
    group.network.heal();
    group.wait_revision(old, revision).await;
    assert_eq!(group.names(old), ["a", "b"]);
    let leader = group.leader(&all).await;
    let revision = group.put(leader, "c").await;
    for id in all {
        group.wait_revision(id, revision).await;
        assert_eq!(group.names(id), ["a", "b", "c"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_writes_fail_and_local_reads_work() {
    let mut group = Group::start(3, 5_000).await;
    let leader = group.leader(&[1, 2, 3]).await;
    let revision = group.put(leader, "a").await;
    for id in others(&[1, 2, 3], leader) {
        group.wait_revision(id, revision).await;
        group.kill(id).await;
    }
    let refused = group.stores[&leader].commit(Txn::new().put(key("b"), "b")).await;
    assert!(matches!(refused, Err(CommitError::Uncertain { .. })), "{refused:?}");
    assert_eq!(group.names(leader), ["a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_missed_the_log_gets_a_snapshot() {
    let mut group = Group::start(3, 20).await;
    let all = [1, 2, 3];
    let leader = group.leader(&all).await;
    let absent = others(&all, leader)[0];
    group.kill(absent).await;
    let mut revision = Revision(0);
    for number in 0..200 {
        let leader = group.leader(&others(&all, absent)).await;
        revision = group.put(leader, &format!("k{number:03}")).await;
    }
    group.open(absent, vec![]).await;
    group.wait_revision(absent, revision).await;
    assert_eq!(group.names(absent).len(), 200);
    // Its history began with the snapshot: an old watch is told so.
    let lost = group.stores[&absent].watch("", Revision(1)).next().await;
    assert!(matches!(lost, Err(store::WatchError::Compacted { .. })), "{lost:?}");
    group.kill(absent).await;
    group.open(absent, vec![]).await;
    group.wait_revision(absent, revision).await;
    assert_eq!(group.names(absent).len(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_group_restarts_from_its_disks() {
    let mut group = Group::start(3, 50).await;
    let all = [1, 2, 3];
    let leader = group.leader(&all).await;
    for number in 0..120 {
        group.put(leader, &format!("k{number:03}")).await;
    }
    for id in all {
        group.kill(id).await;
    }
    for id in all {
        group.open(id, all.into_iter().map(info).collect()).await;
    }
    let leader = group.leader(&all).await;
    assert_eq!(group.stores[&leader].range("").await.unwrap().entries.len(), 120);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_becomes_three_and_a_member_is_replaced_while_others_run() {
    let mut group = Group::start(1, 5_000).await;
    group.put(1, "a").await;
    group.open(2, vec![]).await;
    group.open(3, vec![]).await;
    group.stores[&1].change_members(vec![info(1), info(2), info(3)]).await.unwrap();
    assert_eq!(group.stores[&1].members(), [info(1), info(2), info(3)]);
    let leader = group.leader(&[1, 2, 3]).await;
    group.put(leader, "b").await;
    let gone = others(&[1, 2, 3], leader)[0];
    group.kill(gone).await;
    group.open(4, vec![]).await;
    let mut members: Vec<NodeInfo> = others(&[1, 2, 3], gone).into_iter().map(info).collect();
    members.push(info(4));
    group.stores[&leader].change_members(members.clone()).await.unwrap();
    let revision = group.put(leader, "c").await;
    group.wait_revision(4, revision).await;
    assert_eq!(group.names(4), ["a", "b", "c"]);
    assert_eq!(group.stores[&4].members().len(), 3);
    let follower = members.iter().find(|member| member.id.0 != leader).unwrap().id.0;
    let refused = group.stores[&follower].change_members(members).await;
    assert!(matches!(refused, Err(store::MembersError::NotLeader { .. })), "{refused:?}");
}

#[tokio::test]
async fn garbage_from_a_peer_is_refused() {
    let group = Group::start(1, 5_000).await;
    for bytes in [&b""[..], b"\x01", b"\x02\x00", b"\x01\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n"] {
        assert!(group.stores[&1].serve(bytes).await.is_err(), "{bytes:?}");
    }
    let refused = group.stores[&1].serve(&vec![1; 33 * 1024 * 1024]).await;
    assert!(matches!(refused, Err(store::RpcError::TooLarge { .. })), "{refused:?}");
    group.put(1, "a").await;
}

/// What one client was told about each of its writes.
#[derive(Default)]
struct Told {
    written: Vec<String>,
    refused: Vec<String>,
}

/// Writes unique keys through whichever node it likes, for as long as it may.
async fn client(
    number: u64,
    stores: std::sync::Arc<tokio::sync::Mutex<BTreeMap<u64, Store>>>,
    until: Instant,
) -> Told {
    let mut told = Told::default();
    let mut target = 1 + number % 3;
    for count in 0_u64.. {
        if Instant::now() > until {
            break;
        }
        let store = stores.lock().await.get(&target).cloned();
        let Some(store) = store else {
            target = target % 3 + 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let name = format!("c{number}/{count:06}");
        // The check makes a write that was carried out twice visible as a refusal.
        let txn = Txn::new().check(key(&name), store::Check::Absent).put(key(&name), name.as_str());
        match store.commit(txn).await {
            Ok(_) => told.written.push(name),
            Err(CommitError::NotLeader { leader }) => {
                told.refused.push(name);
                target = leader.map_or(target % 3 + 1, |leader| leader.id.0);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(CommitError::Unavailable { .. }) => {
                told.refused.push(name);
                target = target % 3 + 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(CommitError::Uncertain { .. }) => target = target % 3 + 1,
            Err(other) => panic!("{other}"),
        }
    }
    told
}

/// `STORE_CHAOS_SEED` replays the faults of a run, `STORE_CHAOS_SECONDS` makes it longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_partitions_and_restarts() {
    let number =
        |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let seed: u64 = number("STORE_CHAOS_SEED", 42);
    let run = Duration::from_secs(number("STORE_CHAOS_SECONDS", 8));
    println!("seed {seed}");
    let mut random = seed | 1;
    let mut roll = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut group = Group::start(3, 30).await;
    let all = [1, 2, 3];
    group.leader(&all).await;
    let reachable = std::sync::Arc::new(tokio::sync::Mutex::new(group.stores.clone()));
    let until = Instant::now() + run;
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..6 {
        clients.spawn(client(number, std::sync::Arc::clone(&reachable), until));
    }
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(200 + roll(600))).await;
        let victim = 1 + roll(3);
        if roll(2) == 0 {
            group.network.partition(&ids(&[victim]), &ids(&others(&all, victim)));
            tokio::time::sleep(Duration::from_millis(300 + roll(1_500))).await;
            group.network.heal();
        } else {
            reachable.lock().await.remove(&victim);
            group.kill(victim).await;
            tokio::time::sleep(Duration::from_millis(roll(1_000))).await;
            group.open(victim, all.into_iter().map(info).collect()).await;
            reachable.lock().await.insert(victim, group.stores[&victim].clone());
        }
    }
    let mut told = Told::default();
    while let Some(result) = clients.join_next().await {
        let one = result.unwrap();
        told.written.extend(one.written);
        told.refused.extend(one.refused);
    }
    group.network.heal();
    let leader = group.leader(&all).await;
    let revision = group.put(leader, "end").await;
    let stored: std::collections::BTreeSet<String> = {
        let read = group.stores[&leader].range("").await.unwrap();
        read.entries.iter().map(|entry| entry.key.to_string()).collect()
    };
    println!(
        "{} written, {} refused, {} stored, revision {revision}",
        told.written.len(),
        told.refused.len(),
        stored.len()
    );
    assert!(told.written.len() > 50, "only {} writes came through", told.written.len());
    let lost: Vec<&String> = told.written.iter().filter(|name| !stored.contains(*name)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let ghosts: Vec<&String> = told.refused.iter().filter(|name| stored.contains(*name)).collect();
    assert!(ghosts.is_empty(), "refused and stored: {ghosts:?}");
    for id in all {
        group.wait_revision(id, revision).await;
        assert_eq!(
            group.stores[&id].range_local(""),
            group.stores[&leader].range_local(""),
            "node {id} differs"
        );
    }
}
