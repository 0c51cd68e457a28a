//! Random ACCEPTs, updates, broken streams and failovers of schedulers: whatever is
//! asked, what tasks, executors and operations hold, what is offered and what is free
//! make up what the agents have, at every step.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use model::Rng;

mod scenario_cluster;

use scenario_cluster::Cluster;

const SEEDS: u64 = 60;
const ORDERS: usize = 150;

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.index(from.len())]
}

/// One operation of an ACCEPT; most are possible, some are not.
fn operation(rng: &mut Rng) -> String {
    let task = rng.below(40);
    match rng.below(12) {
        0 | 1 => format!("launch:t{task}=cpus:1;mem:50"),
        2 => format!("launch:t{task}=cpus(eng!):1;mem:50"),
        3 => format!("launch:t{task}=cpus:1;mem:50|e{}~cpus:0.5;mem:32", rng.below(2)),
        4 => format!("group:d1~cpus:0.1;mem:32;disk:1+t{task}=cpus:1;mem:20+t{}=cpus:0.5;mem:20", task + 40),
        5 => format!(
            "launch:t{task}=cpus:0.5;mem:10;disk(eng!):100@s1!+t{}=mem:10;disk(eng!):100@s1!",
            task + 40
        ),
        6 => pick(rng, &["reserve:cpus(eng!):1", "reserve:disk(eng!):100", "reserve#r1:mem(eng!):100"])
            .to_owned(),
        7 => pick(rng, &["unreserve:cpus(eng!):1", "unreserve:disk(eng!):100", "unreserve#u1:mem(eng!):100"])
            .to_owned(),
        8 => pick(rng, &["create:disk(eng!):100@v1", "create#c1:disk(eng!):100@s1!"]).to_owned(),
        9 => pick(rng, &["destroy:disk(eng!):100@v1", "destroy#d1:disk(eng!):100@s1!"]).to_owned(),
        10 => {
            pick(rng, &["grow:disk(eng!):100@v1+disk(eng!):100", "shrink:disk(eng!):200@v1-100"]).to_owned()
        }
        _ => format!("launch:t{task}=cpus:0.5;mem:10;disk(eng!):100@v1"),
    }
}

fn order(rng: &mut Rng, operations: usize) -> String {
    let agent = pick(rng, &["a1", "a2"]);
    let framework = pick(rng, &["f", "g"]);
    match rng.below(20) {
        0..=8 => {
            let refuse = pick(rng, &["refuse=0", "refuse=1", "refuse=5"]);
            let count = 1 + rng.below(4);
            let list: Vec<String> = (0..count).map(|_| operation(rng)).collect();
            format!("do {framework} {agent} {refuse} {}", list.join(" "))
        }
        9..=11 => {
            let state = pick(rng, &["RUNNING", "FINISHED", "FAILED", "DROPPED"]);
            format!("update {agent} {framework} t{} {state}", rng.below(80))
        }
        12 => format!("exited {agent} {framework} e{} 1", rng.below(2)),
        13 | 14 if operations > 0 => {
            let state = pick(rng, &["FINISHED", "FINISHED", "FINISHED", "DROPPED", "FAILED"]);
            format!("did {agent} o{} {state}", rng.index(operations))
        }
        15 => format!("return {agent}{}", pick(rng, &["", " less"])),
        16 => format!("subscribe {framework} role=eng principal=p caps={CAPABILITIES}"),
        17 => {
            format!("ack-operation {framework} {} u{}", pick(rng, &["r1", "u1", "c1", "d1"]), rng.below(60))
        }
        18 => format!("decline {framework} {agent} seconds=1"),
        _ => format!("advance {}s", 1 + rng.below(7)),
    }
}

const CAPABILITIES: &str = "MULTI_ROLE,PARTITION_AWARE,SHARED_RESOURCES,RESERVATION_REFINEMENT";

#[test]
fn nothing_is_lost_or_held_twice() {
    let (mut ran, mut applied, mut converted) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let mut cluster = Cluster::new();
        for line in ["subscribe f", "subscribe g"] {
            cluster.order(&format!("{line} role=eng principal=p caps={CAPABILITIES}"));
        }
        cluster.order("agent a1 cpus:8;mem:1024;disk:1000");
        cluster.order("agent a2 cpus:4;mem:512;disk:500");
        for _ in 0..ORDERS {
            // The invariants are checked at every step.
            let line = order(&mut rng, cluster.operations_count());
            cluster.order(&line);
        }
        ran += cluster.trace.matches(": run ").count();
        applied += cluster.trace.matches(": apply ").count();
        converted += cluster.trace.matches("[v1]").count() + cluster.trace.matches("[s1]").count();
    }
    assert!(ran > 400 && applied > 150 && converted > 400, "{ran} {applied} {converted}");
}
