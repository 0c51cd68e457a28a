//! The keeper as a program of its own, and a small agent that can be killed,
//! for this room's tests.

use std::process::ExitCode;

use containers::{Command, Config, LaunchSpec, Limits, Runtime};
use model::ContainerId;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result: Result<(), Box<dyn std::error::Error>> =
        match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["keeper", "--dir", dir] => keeper::run(keeper::Config { dir: dir.into() }).map_err(Into::into),
            ["agent", dir, script] => agent(dir, script),
            _ => Err("usage: keeper-for-tests keeper --dir DIRECTORY | agent DIRECTORY SCRIPT".into()),
        };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keeper-for-tests: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one script as container `orphan` and waits to be killed.
fn agent(dir: &str, script: &str) -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::path::PathBuf::from(dir);
    let sandbox = dir.join("sandbox/orphan");
    std::fs::create_dir_all(&sandbox)?;
    let config = Config::new(dir.join("run"), dir.join("images"), std::env::current_exe()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let (runtime, mut events) = Runtime::start(config).await?;
        let launched = runtime
            .launch(LaunchSpec {
                id: ContainerId::new("orphan"),
                sandbox,
                command: Command::Shell(script.into()),
                env: Vec::new(),
                user: None,
                image: None,
                volumes: Vec::new(),
                limits: Limits::default(),
            })
            .await?;
        // Whole at once, for a reader that polls.
        std::fs::write(dir.join("launched.new"), format!("{} {}", launched.pid, launched.start_time))?;
        std::fs::rename(dir.join("launched.new"), dir.join("launched"))?;
        while events.recv().await.is_some() {}
        Ok(())
    })
}
