//! What was measured, against what is promised.
//!
//! Responsible for the list of promises, for percentiles and verdicts, and for printing.
//! Invariant: a verdict is about the median; the spread is printed beside it.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

/// A line of SPECIFICATION.md: lower is better in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    LargeApp,
    CpuPerProcess,
    CpuPerImage,
    OneTask,
    Replacement,
    MemoryPerTask,
    IdleMemory,
    IdleCpu,
    ProgramSize,
    MasterMemory,
    Allocation,
    Placement,
}

struct Terms {
    what: &'static str,
    unit: &'static str,
    gate: f64,
    goal: f64,
}

impl Promise {
    fn terms(self) -> Terms {
        let terms = |what, unit, gate, goal| Terms { what, unit, gate, goal };
        match self {
            Self::LargeApp => terms("app with 200 plain processes, request to all running", "s", 5.0, 2.0),
            Self::CpuPerProcess => terms("CPU per start, plain process", "ms", 20.0, 8.0),
            Self::CpuPerImage => terms("CPU per start, image", "ms", 50.0, 25.0),
            Self::OneTask => terms("one task, request to TASK_RUNNING", "ms", 60.0, 20.0),
            Self::Replacement => terms("killed task, to its replacement running", "ms", 100.0, 30.0),
            Self::MemoryPerTask => terms("memory added per task, PSS without the task", "MiB", 0.7, 0.3),
            Self::IdleMemory => terms("idle master + agent + keeper, RSS", "MiB", 50.0, 25.0),
            Self::IdleCpu => terms("idle master + agent + keeper, CPU of one core", "%", 0.3, 0.3),
            Self::Allocation => {
                terms("allocation run, 100 frameworks and 10,000 agents, CPU", "ms", 200.0, 30.0)
            }
            Self::Placement => terms("placement, CPU, all rows with 5,000 agents", "us", 20.0, 6.67),
            Self::ProgramSize => terms("size of the program dcosd", "MB", 60.0, 60.0),
            Self::MasterMemory => {
                terms("master with 10,000 agents and 100,000 tasks, RSS", "MiB", 1024.0, 1024.0)
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Goal,
    Pass,
    Miss,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Goal => "GOAL",
            Self::Pass => "PASS",
            Self::Miss => "MISS",
        }
    }
}

struct Row {
    what: String,
    unit: &'static str,
    /// Ascending, never empty.
    samples: Vec<f64>,
    promised: Option<(f64, f64)>,
}

impl Row {
    fn percentile(&self, percent: usize) -> f64 {
        // Nearest rank: a value that was really measured.
        let rank = (self.samples.len() * percent).div_ceil(100).max(1);
        self.samples.get(rank - 1).or(self.samples.last()).copied().unwrap_or(f64::NAN)
    }

    fn verdict(&self) -> Option<Verdict> {
        let (gate, goal) = self.promised?;
        let median = self.percentile(50);
        Some(match median {
            _ if median <= goal => Verdict::Goal,
            _ if median <= gate => Verdict::Pass,
            _ => Verdict::Miss,
        })
    }
}

pub struct Report {
    rows: Vec<Row>,
    remarks: Vec<String>,
    load_at_begin: String,
    load_at_end: String,
}

impl Report {
    pub fn new() -> Self {
        Self { rows: Vec::new(), remarks: Vec::new(), load_at_begin: load(), load_at_end: String::new() }
    }

    /// A measured promise.
    pub fn add(&mut self, promise: Promise, samples: Vec<f64>) {
        let Terms { what, unit, gate, goal } = promise.terms();
        self.push(what.to_owned(), unit, samples, Some((gate, goal)));
    }

    /// A figure that explains others and promises nothing.
    pub fn note(&mut self, what: &str, unit: &'static str, samples: Vec<f64>) {
        self.push(what.to_owned(), unit, samples, None);
    }

    fn push(
        &mut self,
        what: String,
        unit: &'static str,
        mut samples: Vec<f64>,
        promised: Option<(f64, f64)>,
    ) {
        samples.sort_by(f64::total_cmp);
        if !samples.is_empty() {
            self.rows.push(Row { what, unit, samples, promised });
        }
    }

    pub fn remark(&mut self, text: String) {
        self.remarks.push(text);
    }

    pub fn end(&mut self) {
        self.load_at_end = load();
    }

    pub fn gate_missed(&self) -> bool {
        self.rows.iter().any(|row| row.verdict() == Some(Verdict::Miss))
    }

    pub fn table(&self) -> String {
        let mut text = String::new();
        let width = self.rows.iter().map(|row| row.what.chars().count()).max().unwrap_or(0);
        let _ = writeln!(
            text,
            "{:width$}  {:>4} {:>4} {:>9} {:>9} {:>9} {:>9}  {:>13}",
            "", "unit", "n", "min", "p50", "p90", "max", "gate / goal"
        );
        for row in &self.rows {
            let [min, p50, p90, max] = [0, 50, 90, 100].map(|percent| row.percentile(percent));
            let promised = row.promised.map_or_else(String::new, |(gate, goal)| format!("{gate} / {goal}"));
            let line = format!(
                "{:width$}  {:>4} {:>4} {min:>9.2} {p50:>9.2} {p90:>9.2} {max:>9.2}  {promised:>13}  {}",
                row.what,
                row.unit,
                row.samples.len(),
                row.verdict().map_or("", Verdict::word)
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        for remark in &self.remarks {
            let _ = writeln!(text, "{remark}");
        }
        let _ = write!(
            text,
            "{}; load before {}, after {}: other work on the machine makes figures worse",
            machine(),
            self.load_at_begin,
            self.load_at_end
        );
        text
    }

    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "what": row.what,
                "unit": row.unit,
                "gate": row.promised.map(|(gate, _)| gate),
                "goal": row.promised.map(|(_, goal)| goal),
                "verdict": row.verdict().map(Verdict::word),
                "p50": row.percentile(50),
                "p90": row.percentile(90),
                "samples": row.samples,
            })
        });
        json!({
            "time": chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now()).to_rfc3339(),
            "machine": machine(),
            "loadBefore": self.load_at_begin,
            "loadAfter": self.load_at_end,
            "rows": rows.collect::<Vec<_>>(),
            "remarks": self.remarks,
        })
    }
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace().next().unwrap_or("unknown").to_owned()
}

fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
    format!("{cpus} processors, {} GiB, Linux {}", kib >> 20, kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(promise: Promise, samples: &[f64]) -> Report {
        let mut report = Report::new();
        report.add(promise, samples.to_vec());
        report
    }

    #[test]
    fn a_percentile_is_a_measured_value() {
        let report = report(Promise::OneTask, &[3.0, 1.0, 2.0, 4.0]);
        let row = &report.rows[0];
        assert_eq!([0, 50, 90, 100].map(|percent| row.percentile(percent)), [1.0, 2.0, 4.0, 4.0]);
    }

    #[test]
    fn the_median_decides() {
        let verdict = |samples: &[f64]| report(Promise::LargeApp, samples).rows[0].verdict();
        assert_eq!(verdict(&[1.0, 2.0, 9.0]), Some(Verdict::Goal));
        assert_eq!(verdict(&[1.0, 5.0, 9.0]), Some(Verdict::Pass));
        assert_eq!(verdict(&[1.0, 5.1, 9.0]), Some(Verdict::Miss));
    }

    #[test]
    fn only_promises_can_be_missed() {
        let mut report = report(Promise::IdleCpu, &[0.1]);
        report.note("something else", "ms", vec![1e9]);
        report.note("nothing measured", "ms", Vec::new());
        assert!(!report.gate_missed());
        assert_eq!(report.rows.len(), 2);
        report.add(Promise::IdleCpu, vec![0.4]);
        assert!(report.gate_missed());
        assert!(report.table().contains("MISS"));
    }
}
