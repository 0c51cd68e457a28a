//! Figures of the machine that both `/metrics/snapshot`s carry.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use model::{Quantity, Resources, Time};

pub(crate) type Metrics = BTreeMap<String, f64>;

/// The clock of the edge; brains never see it.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

pub(crate) fn machine(metrics: &mut Metrics) {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    metrics.insert("system/cpus_total".to_owned(), cpus as f64);
    if let Ok(text) = std::fs::read_to_string("/proc/loadavg") {
        for (name, value) in ["1min", "5min", "15min"].iter().zip(text.split_whitespace()) {
            if let Ok(value) = value.parse() {
                metrics.insert(format!("system/load_{name}"), value);
            }
        }
    }
    if let Ok(text) = std::fs::read_to_string("/proc/meminfo") {
        for (line, name) in [("MemTotal:", "total"), ("MemFree:", "free")] {
            let kib = text
                .lines()
                .find_map(|l| l.strip_prefix(line))
                .and_then(|rest| rest.split_whitespace().next());
            if let Some(kib) = kib.and_then(|kib| kib.parse::<f64>().ok()) {
                metrics.insert(format!("system/mem_{name}_bytes"), kib * 1024.0);
            }
        }
    }
}

/// `/system/stats.json`.
pub(crate) fn stats() -> Metrics {
    let mut all = Metrics::new();
    machine(&mut all);
    let names = [
        ("system/load_1min", "avg_load_1min"),
        ("system/load_5min", "avg_load_5min"),
        ("system/load_15min", "avg_load_15min"),
        ("system/cpus_total", "cpus_total"),
        ("system/mem_total_bytes", "mem_total_bytes"),
        ("system/mem_free_bytes", "mem_free_bytes"),
    ];
    names.into_iter().map(|(from, to)| (to.to_owned(), all.get(from).copied().unwrap_or_default())).collect()
}

/// `<prefix>/{cpus,gpus,mem,disk}[_revocable]_{total,used,percent}`.
pub(crate) fn usage(metrics: &mut Metrics, prefix: &str, total: &Resources, used: &Resources) {
    for (suffix, revocable) in [("", false), ("_revocable", true)] {
        let of = |resources: &Resources| resources.filter(|resource| resource.revocable == revocable);
        let (total, used) = (of(total), of(used));
        for name in ["cpus", "gpus", "mem", "disk"] {
            let (total, used) = (total.scalar(name), used.scalar(name));
            let percent = if total > Quantity::ZERO { used.to_f64() / total.to_f64() } else { 0.0 };
            metrics.insert(format!("{prefix}/{name}{suffix}_total"), total.to_f64());
            metrics.insert(format!("{prefix}/{name}{suffix}_used"), used.to_f64());
            metrics.insert(format!("{prefix}/{name}{suffix}_percent"), percent);
        }
    }
}
