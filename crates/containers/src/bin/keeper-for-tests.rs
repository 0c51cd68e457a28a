//! The keeper as a program of its own, for this room's tests and measurements.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ["keeper", "--dir", dir] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
        eprintln!("usage: keeper-for-tests keeper --dir DIRECTORY");
        return ExitCode::from(2);
    };
    match keeper::run(keeper::Config { dir: dir.into() }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keeper: {error}");
            ExitCode::FAILURE
        }
    }
}
