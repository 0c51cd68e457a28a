//! Text scenarios: orders to the brain, and the full trace of what it did.
//!
//! Each file holds blocks `orders / ---- / trace`, apart by blank lines; one
//! master lives through the whole file. `UPDATE_SCENARIOS=1` rewrites the traces,
//! to be read as a diff of behaviour. Numbers such as `sea_22` and `ks_9` name the
//! line of the contracts' checklists that a block shows.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fmt::Write as _;
use std::path::Path;

mod scenario_cluster;

use scenario_cluster::Cluster;

fn play(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut cluster = Cluster::new();
    let mut played = String::new();
    for block in text.trim().split("\n\n") {
        let (orders, _) = block.split_once("\n----").unwrap_or((block, ""));
        cluster.trace.clear();
        for line in orders.lines().filter(|line| !line.starts_with('#')) {
            cluster.order(line);
        }
        let _ = write!(played, "{orders}\n----\n{}\n", cluster.trace);
    }
    let played = format!("{}\n", played.trim_end());
    if std::env::var_os("UPDATE_SCENARIOS").is_some() {
        std::fs::write(path, &played).unwrap();
    } else {
        assert_eq!(played, text, "{}: the trace differs; UPDATE_SCENARIOS=1 rewrites it", path.display());
    }
}

#[test]
fn scenarios() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        play(&path);
    }
}
