//! `dcos`, the command line of DC/OS.
//!
//! Talks to one cluster over HTTP and prints what scripts and people expect of the original.
//! Not for: any decision about the cluster; what the server refuses, it explains, and this
//! program shows it. Invariants: standard output carries only the result, everything else
//! goes to standard error; the exit code follows the outcome; no runtime threads are started,
//! so that a call costs milliseconds.
//!
//! Start reading at [`args`] (what can be typed), then [`commands`].
#![forbid(unsafe_code)]

mod args;
mod cluster;
mod commands;
mod error;
mod http;
mod json;
mod output;
mod table;
mod usage;

use std::process::ExitCode;

use error::Failure;

fn main() -> ExitCode {
    let parsed = match usage::parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(shown) => return shown.show(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(commands::run(parsed));
            // A name look-up or a read of standard input may still sit in a thread; do not
            // wait for it.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(Failure::new("cannot start the event loop").cause(error)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.show(),
    }
}
