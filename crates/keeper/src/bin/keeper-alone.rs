//! The keeper as a program of its own, for tests and measurements.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(flag), Some(dir)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: keeper --dir DIRECTORY");
        return ExitCode::from(2);
    };
    if flag != "--dir" {
        eprintln!("usage: keeper --dir DIRECTORY");
        return ExitCode::from(2);
    }
    match keeper::run(keeper::Config { dir: PathBuf::from(dir) }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keeper: {error}");
            ExitCode::FAILURE
        }
    }
}
