//! A person's way into a node.
//!
//! Responsible for running a command in a node's namespaces and control groups.
//! Invariant: the command belongs to the node, so `kill NODE` and `down` end it.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

use crate::cgroup::Group;
use crate::error::{Error, Result, file, system};
use crate::layout::Layout;
use crate::namespaces;
use crate::power;
use crate::process::{CLUSTER_MARK, NODE_MARK};
use crate::spec::Isolation;
use crate::status;

/// Runs a command on a node, or `$SHELL` if none is given, and hands back its exit code.
pub fn shell(layout: &Layout, name: &str, words: &[OsString]) -> Result<u8> {
    let cluster = status::planned(layout)?;
    let node = cluster.node(name)?;
    let Some(state) = power::running(layout, name)? else {
        return Err(Error::Refused(format!(
            "node {name} is not running; `dcosd dev start {name}` starts it"
        )));
    };
    let user_shell = std::env::var_os("SHELL").filter(|s| !s.is_empty()).unwrap_or("/bin/sh".into());
    let program = words.first().unwrap_or(&user_shell);
    let mut command = Command::new(program);
    command.args(words.get(1..).unwrap_or_default());
    command.current_dir(layout.node_data(&node.name));
    command.env(CLUSTER_MARK, layout.run()).env(NODE_MARK, name).env("PS1", format!("{name}:\\w\\$ "));
    let run = || -> Result<ExitStatus> {
        if cluster.isolation == Isolation::Namespaces {
            let entrances = Group::cluster(&cluster.name).member(name).entrances()?;
            let enter = move || entrances.iter().try_for_each(|mut e| e.write_all(b"0"));
            // SAFETY: between fork and exec only `write` is called, on descriptors that were opened before.
            unsafe { command.pre_exec(enter) };
            namespaces::join(state.supervisor.pid)?;
        }
        command.status().map_err(file("starting", program.as_ref()))
    };
    // Namespaces change for a thread of its own; a terminal's signals reach the command by themselves.
    let status = std::thread::scope(|scope| scope.spawn(run).join()).map_err(|_| {
        system::<std::io::Error>("entering the node")(std::io::Error::other("the thread panicked"))
    })??;
    let code = status.code().or_else(|| status.signal().map(|s| s + 128)).unwrap_or(1);
    Ok(u8::try_from(code).unwrap_or(1))
}
