//! The short form of the simulation: many seeds, each a cluster's bad day.
//!
//! `SIM_SEEDS` and `SIM_START` choose the seeds; the long form is `cargo xtask sim`.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use testkit::{Plan, World};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn every_seed_comes_to_rest_where_it_was_promised() {
    let (start, count) = (number("SIM_START", 1), number("SIM_SEEDS", 500));
    let next = AtomicU64::new(start);
    let failures = Mutex::new(Vec::new());
    let totals = Mutex::new((0_u64, 0_u64, 0_u64, 0_u64));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= start + count {
                        return;
                    }
                    match World::new(seed).run() {
                        Ok(report) => {
                            let mut totals = totals.lock().unwrap();
                            totals.0 += report.events;
                            totals.1 += report.launches;
                            totals.2 += report.faults;
                            totals.3 = totals.3.max(report.settled_ms);
                        }
                        Err(failure) => failures.lock().unwrap().push(failure),
                    }
                }
            });
        }
    });
    let (events, launches, faults, settled) = *totals.lock().unwrap();
    println!(
        "{count} seeds from {start}: {events} events, {launches} launches, {faults} faults, at rest after at most {settled} ms"
    );
    let mut failures = failures.into_inner().unwrap();
    failures.sort_by_key(|failure| failure.seed);
    if let Some(first) = failures.first() {
        let seeds: Vec<u64> = failures.iter().map(|failure| failure.seed).collect();
        panic!("{} of {count} seeds failed: {seeds:?}\nthe first:\n{first}", failures.len());
    }
    assert!(launches > 0 && faults > 0, "the simulation must do something");
}

/// Seeds that once failed, each with what it found.
const FOUND: &[(u64, &str)] = &[
    (113, "bags of resources were compared in order"),
    (265, "a task of an app that was deleted meanwhile came back with its agent and was not ended"),
    (668, "the same with a surplus instance"),
    (12059, "a framework that was away heard of a returned task that it was unreachable"),
    (14490, "an agent that crashed before it had kept its id came back under another; its tasks hung"),
];

#[test]
fn seeds_that_failed_once_pass() {
    for (seed, found) in FOUND {
        if let Err(failure) = World::new(*seed).run() {
            panic!("again: {found}\n{failure}");
        }
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [3, 11] {
        let first = World::new(seed).run();
        let second = World::new(seed).run();
        match (first, second) {
            (Ok(first), Ok(second)) => assert_eq!(first, second),
            (Err(first), Err(second)) => assert_eq!(first.to_string(), second.to_string()),
            (first, second) => panic!("seed {seed} differs: {first:?} and {second:?}"),
        }
    }
}

#[test]
fn racing_frameworks_lose_nothing_and_share_nothing_twice() {
    let (start, count) = (number("SIM_START", 1), number("SIM_RACES", 60));
    for seed in start..start + count {
        if let Err(failure) = World::with_plan(seed, Plan::racing(seed)).run() {
            panic!("a race:\n{failure}");
        }
    }
}

#[test]
fn twenty_frameworks_race_on_two_thousand_agents() {
    let (start, count) = (number("SIM_START", 1), number("SIM_KERNELS", 1));
    for seed in start..start + count {
        match World::with_plan(seed, Plan::kernel(seed)).run() {
            Ok(report) => println!("kernel seed {seed}: {report:?}"),
            Err(failure) => panic!("the kernel:\n{failure}"),
        }
    }
}
