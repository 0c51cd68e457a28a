//! The gates in order of cost, with the time each took.
//!
//! Invariants: the closing line is added up from the test runners' own result
//! lines; a failed gate makes the whole run fail and names the command that runs
//! that gate alone.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use crate::stage::Stage;
use crate::tally::Tally;
use crate::tidy;
use crate::workspace::Workspace;

/// Installed on first use; see `docs/decisions/0006-dependency-gate.md`.
const CARGO_DENY_VERSION: &str = "0.20.2";

/// The documentation is for developers and shows private items, so headers may link to them.
const RUSTDOC_FLAGS: &str = "-D warnings -A rustdoc::private_intra_doc_links";

#[derive(Args, Clone, Copy, Default)]
pub struct Options {
    /// Leave out what takes long: the documentation, the dependency gate, and all tests but unit tests.
    #[arg(long)]
    fast: bool,
    /// Run the gates behind a failed one too.
    #[arg(long)]
    keep_going: bool,
}

enum Gate {
    Tidy,
    Lock,
    Deny,
    Child(Stage),
}

impl Gate {
    fn name(&self) -> &'static str {
        match self {
            Self::Tidy => "tidy",
            Self::Lock => "lock file",
            Self::Deny => "dependencies",
            Self::Child(stage) => stage.name,
        }
    }

    fn command_line(&self) -> String {
        match self {
            Self::Tidy => "cargo xtask tidy".to_owned(),
            Self::Lock => "git diff --exit-code Cargo.lock".to_owned(),
            Self::Deny => deny().command_line(),
            Self::Child(stage) => stage.command_line(),
        }
    }

    fn run(&self, workspace: &Workspace, tally: &mut Tally) -> Result<()> {
        match self {
            Self::Tidy => tidy::run(workspace),
            Self::Lock => lock_is_committed(workspace),
            Self::Deny => {
                install_cargo_deny(workspace)?;
                deny().run_into(workspace, tally)
            }
            Self::Child(stage) => stage.run_into(workspace, tally),
        }
    }
}

fn gates(options: Options) -> Vec<Gate> {
    let mut gates = Vec::new();
    // Only a fresh clone can tell: at a desk the lock file changes together with a manifest.
    if std::env::var_os("CI").is_some() {
        gates.push(Gate::Lock);
    }
    gates.push(Gate::Child(Stage::cargo("format", &["fmt", "--all", "--check"])));
    gates.push(Gate::Tidy);
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    gates.push(Gate::Child(Stage::cargo("clippy", &clippy)));
    if options.fast {
        gates.push(Gate::Child(Stage::cargo(
            "unit tests",
            &["test", "--workspace", "--lib", "--bins", "--no-fail-fast"],
        )));
        return gates;
    }
    let docs =
        Stage::cargo("documentation", &["doc", "--workspace", "--no-deps", "--document-private-items"]);
    gates.push(Gate::Child(docs.with_env("RUSTDOCFLAGS", RUSTDOC_FLAGS)));
    gates.push(Gate::Deny);
    gates.push(Gate::Child(Stage::cargo("tests", &["test", "--workspace", "--no-fail-fast"])));
    gates
}

pub fn run(workspace: &Workspace, options: Options) -> Result<()> {
    let begun = Instant::now();
    let mut tally = Tally::default();
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for gate in gates(options) {
        if !failures.is_empty() && !options.keep_going {
            rows.push((gate.name(), "not run", Duration::ZERO));
            continue;
        }
        println!("\n==> {}: {}", gate.name(), gate.command_line());
        let gate_begun = Instant::now();
        let outcome = gate.run(workspace, &mut tally);
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        rows.push((gate.name(), verdict, gate_begun.elapsed()));
        if let Err(error) = outcome {
            eprintln!("\n{} failed: {error:#}\nto run it alone: {}", gate.name(), gate.command_line());
            failures.push(format!("{} (alone: {})", gate.name(), gate.command_line()));
        }
    }
    print_times(&rows, begun.elapsed());
    println!("\n{tally}");
    if failures.is_empty() {
        return Ok(());
    }
    bail!("failed: {}", failures.join("; "))
}

fn print_times(rows: &[(&str, &str, Duration)], total: Duration) {
    println!("\n{:<16} {:<8} {:>9}", "gate", "verdict", "time");
    for (name, verdict, time) in rows {
        println!("{name:<16} {verdict:<8} {:>7.1} s", time.as_secs_f64());
    }
    println!("{:<16} {:<8} {:>7.1} s", "all", "", total.as_secs_f64());
}

fn deny() -> Stage {
    Stage::cargo("dependencies", &["deny", "--workspace", "--locked", "check", "licenses", "bans", "sources"])
}

fn install_cargo_deny(workspace: &Workspace) -> Result<()> {
    if workspace.output(&workspace.cargo, &["deny", "--version"]).is_ok() {
        return Ok(());
    }
    println!(
        "cargo-deny is not there: building {CARGO_DENY_VERSION} once for this machine (about 3 CPU-minutes)"
    );
    Stage::cargo("cargo-deny", &["install", "cargo-deny", "--locked", "--version", CARGO_DENY_VERSION])
        .run(workspace)
        .map(drop)
}

fn lock_is_committed(workspace: &Workspace) -> Result<()> {
    let changed = workspace.output("git", &["status", "--porcelain", "--", "Cargo.lock"])?;
    if changed.is_empty() {
        return Ok(());
    }
    bail!("Cargo.lock does not fit the manifests as committed: commit the one that cargo just wrote")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_run_contains_every_gate_in_order_of_cost() {
        let names: Vec<_> =
            gates(Options::default()).iter().map(Gate::name).filter(|n| *n != "lock file").collect();
        assert_eq!(names, ["format", "tidy", "clippy", "documentation", "dependencies", "tests"]);
    }

    #[test]
    fn the_fast_run_ends_in_unit_tests() {
        let gates = gates(Options { fast: true, keep_going: false });
        assert_eq!(gates.last().map(Gate::name), Some("unit tests"));
    }
}
