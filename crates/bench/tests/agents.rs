//! `bench agents` with a handful of agents: the whole way, without the figures.

use std::process::Command;

#[test]
fn a_handful_of_agents_connect_register_and_run_tasks() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args([
            "agents",
            "--agents",
            "20",
            "--tasks",
            "101",
            "--frameworks",
            "3",
            "--idle-seconds",
            "1",
            "--json",
        ])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows: Vec<&str> =
        report["rows"].as_array().unwrap().iter().filter_map(|row| row["what"].as_str()).collect();
    for wanted in [
        "RunTask, CPU to bytes",
        "memory per registered agent, master",
        "registered: CPU per agent and second, master",
        "master with all agents and tasks, RSS",
    ] {
        assert!(rows.contains(&wanted), "{wanted:?} is not in {rows:?}");
    }
    assert!(!errors.contains("bench: "), "{errors}");
}
