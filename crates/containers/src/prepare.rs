//! Turns what the agent asks into what the keeper carries out.
//!
//! Decides command, environment, user and file system view; touches no process.

use std::path::{Component, Path};

use keeper::CONTAINER_CAPABILITIES;
use keeper::spec::{Bind, Credentials, Isolation, Root, Spec, Stdio};
use model::ContainerId;

use crate::api::{Command, LaunchError, LaunchSpec};
use crate::image::{Image, ImageConfig};
use crate::user;

/// Where a container of an image sees its sandbox.
pub const SANDBOX_TARGET: &str = "/mnt/mesos/sandbox";
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const MKNOD: u64 = 1 << 27;
/// Files of the node that a container needs to find others by name.
const NODE_FILES: [&str; 3] = ["/etc/resolv.conf", "/etc/hosts", "/etc/hostname"];

/// What of the node matters for a spec.
#[derive(Debug, Clone, Copy)]
pub struct Node {
    pub root: bool,
    pub confines_devices: bool,
}

/// Checks what can be checked before anything is fetched or made.
pub fn check(spec: &LaunchSpec, node: Node) -> Result<(), LaunchError> {
    let invalid = |message: String| Err(LaunchError::Invalid(message));
    if !keeper::spec::is_container_id(spec.id.as_str()) {
        return invalid(keeper::spec::Invalid::Id(spec.id.as_str().chars().take(64).collect()).to_string());
    }
    let plain =
        |path: &Path| path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !spec.sandbox.is_absolute() || !plain(&spec.sandbox) {
        return invalid(format!("sandbox path {:?} must be absolute and without '..'", spec.sandbox));
    }
    if !spec.sandbox.is_dir() {
        return invalid(format!(
            "sandbox {:?} is no directory: it must exist before the launch",
            spec.sandbox
        ));
    }
    check_env(&spec.env)?;
    for volume in &spec.volumes {
        let path = Path::new(&volume.container_path);
        let inside = path.components().all(|part| {
            matches!(part, Component::Normal(_) | Component::CurDir)
                || (part == Component::RootDir && spec.image.is_some())
        });
        if !inside || path.file_name().is_none() {
            return invalid(format!(
                "container path {:?} of a volume must be relative and without '..'; absolute only in an image",
                volume.container_path
            ));
        }
    }
    match (&spec.command, &spec.image) {
        (Command::ImageDefault { .. }, None) => {
            invalid("the task has neither a command nor an image with one: give it a command".into())
        }
        (Command::Argv(argv), _) if argv.is_empty() => {
            invalid("the command has no program: give at least its name".into())
        }
        (_, Some(_)) if !node.root => Err(LaunchError::NeedsRoot {
            what: "running an image",
            advice: "start the agent as root or run a plain command",
        }),
        _ => Ok(()),
    }
}

pub fn check_env(env: &[(String, String)]) -> Result<(), LaunchError> {
    match env.iter().find(|(name, _)| name.is_empty() || name.contains(['=', '\0'])) {
        Some((name, _)) => Err(LaunchError::Invalid(format!(
            "environment variable name {name:?} is empty or holds '=' or NUL"
        ))),
        None => Ok(()),
    }
}

/// Replaces or adds a variable in a list of `NAME=value` entries.
pub fn set(env: &mut Vec<String>, name: &str, value: &str) {
    let is_it = |entry: &str| entry.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
    let entry = format!("{name}={value}");
    match env.iter_mut().find(|entry| is_it(entry)) {
        Some(known) => *known = entry,
        None => env.push(entry),
    }
}

/// The user's numbers; `None` keeps the agent's.
pub fn credentials(spec: &LaunchSpec, node: Node) -> Result<Option<Credentials>, LaunchError> {
    let Some(name) = &spec.user else {
        // An image never gets the agent's supplementary groups.
        let inside = spec.image.is_some().then(|| Credentials { uid: 0, gid: 0, groups: Vec::new() });
        return Ok(inside);
    };
    user(&spec.id, name, node)
}

/// The numbers of a user by name.
pub fn user(id: &ContainerId, name: &str, node: Node) -> Result<Option<Credentials>, LaunchError> {
    let resolved = user::resolve(name).map_err(|source| LaunchError::Prepare {
        id: id.clone(),
        what: format!("user {name:?}"),
        source,
    })?;
    let found = resolved.ok_or_else(|| LaunchError::UnknownUser { user: name.to_owned() })?;
    if node.root {
        Ok(Some(found))
    } else if found.uid == rustix::process::geteuid().as_raw() {
        Ok(None)
    } else {
        Err(LaunchError::NeedsRoot {
            what: "running a task as another user",
            advice: "start the agent as root or leave out the task's user",
        })
    }
}

/// The arguments to execute: the table of Mesos' `docker/runtime` isolator
/// (`apache/mesos` `docs/container-image.md`).
pub fn argv(command: &Command, image: Option<&ImageConfig>) -> Option<Vec<String>> {
    let args = match command {
        Command::Shell(line) => return Some(vec!["/bin/sh".into(), "-c".into(), line.clone()]),
        Command::Argv(argv) => return Some(argv.clone()),
        Command::ImageDefault { args } => args,
    };
    let ImageConfig { entrypoint, cmd, .. } = image?;
    let argv: Vec<String> = match (entrypoint.is_empty(), args.is_empty()) {
        (false, false) => entrypoint.iter().chain(args).cloned().collect(),
        (false, true) => entrypoint.iter().chain(cmd).cloned().collect(),
        (true, false) => cmd.iter().take(1).chain(args).cloned().collect(),
        (true, true) => cmd.clone(),
    };
    let names_program = !(entrypoint.is_empty() && cmd.is_empty());
    names_program.then_some(argv)
}

/// The image's variables, overridden by the task's, with a PATH in any case.
pub fn environment(task: &[(String, String)], image: Option<&ImageConfig>) -> Vec<String> {
    let mut env: Vec<(String, String)> = Vec::with_capacity(task.len() + 8);
    let image = image.map(|config| config.env.as_slice()).unwrap_or_default();
    let image = image.iter().filter_map(|entry| entry.split_once('='));
    let task = task.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in [("PATH", PATH_DEFAULT)].into_iter().chain(image).chain(task) {
        match env.iter_mut().find(|(known, _)| known == name) {
            Some(entry) => value.clone_into(&mut entry.1),
            None => env.push((name.to_owned(), value.to_owned())),
        }
    }
    env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// The whole spec but for control groups, for a container with this directory.
pub fn build(spec: &LaunchSpec, node: Node, dir: &Path, image: Option<&Image>) -> Result<Spec, LaunchError> {
    let config = image.map(|image| &image.config);
    let argv = argv(&spec.command, config).ok_or_else(|| LaunchError::NoCommand {
        reference: spec.image.as_ref().map(|image| image.reference.clone()).unwrap_or_default(),
    })?;
    let sandbox = spec.sandbox.to_str().ok_or_else(|| {
        LaunchError::Invalid(format!(
            "sandbox path {:?} is no UTF-8: choose another work directory",
            spec.sandbox
        ))
    })?;
    let (isolation, cwd) = match image {
        Some(image) => {
            let cwd = match image.config.working_dir.as_str() {
                "" => SANDBOX_TARGET.to_owned(),
                relative if !relative.starts_with('/') => format!("/{relative}"),
                absolute => absolute.to_owned(),
            };
            (Isolation::Image(root(spec, node, dir, image)), cwd)
        }
        None if node.root => (Isolation::Host, sandbox.to_owned()),
        None => (Isolation::Session, sandbox.to_owned()),
    };
    Ok(Spec {
        container: spec.id.as_str().to_owned(),
        digest: [0; 32],
        argv,
        env: environment(&spec.env, config),
        cwd,
        credentials: credentials(spec, node)?,
        stdio: Stdio::Files { stdout: spec.sandbox.join("stdout"), stderr: spec.sandbox.join("stderr") },
        cgroup_procs: Vec::new(),
        isolation,
        rlimits: Vec::new(),
    })
}

fn root(spec: &LaunchSpec, node: Node, dir: &Path, image: &Image) -> Root {
    let mut binds = vec![Bind {
        source: spec.sandbox.clone(),
        target: SANDBOX_TARGET.into(),
        read_only: false,
        is_directory: true,
        optional: false,
    }];
    for volume in &spec.volumes {
        let target = match volume.container_path.starts_with('/') {
            true => volume.container_path.clone(),
            false => format!("{SANDBOX_TARGET}/{}", volume.container_path.trim_start_matches("./")),
        };
        binds.push(Bind {
            source: volume.source.clone(),
            target,
            read_only: volume.read_only,
            is_directory: true,
            optional: false,
        });
    }
    for file in NODE_FILES {
        // Read-only: a container's root must not change the node's names.
        binds.push(Bind {
            source: file.into(),
            target: file.into(),
            read_only: true,
            is_directory: false,
            optional: true,
        });
    }
    // Without device control a new device file would open the node's disks.
    let withheld = if node.confines_devices { 0 } else { MKNOD };
    Root {
        layers_dir: image.layers_dir.clone(),
        layers: image.layers.clone(),
        upper: dir.join("upper"),
        work: dir.join("work"),
        mountpoint: dir.join("root"),
        binds,
        capabilities: CONTAINER_CAPABILITIES & !withheld,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(entrypoint: &[&str], cmd: &[&str]) -> ImageConfig {
        let own = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        ImageConfig { entrypoint: own(entrypoint), cmd: own(cmd), ..ImageConfig::default() }
    }

    #[test]
    fn the_entry_point_table() {
        let default =
            |args: &[&str]| Command::ImageDefault { args: args.iter().map(|&arg| arg.to_owned()).collect() };
        let both = config(&["/entry", "-e"], &["cmd", "-c"]);
        let entry = config(&["/entry", "-e"], &[]);
        let cmd = config(&[], &["cmd", "-c"]);
        let none = config(&[], &[]);
        let check = |command: &Command, image: &ImageConfig, expected: Option<&str>| {
            let found = argv(command, Some(image)).map(|argv| argv.join(" "));
            assert_eq!(found.as_deref(), expected, "{command:?} {image:?}");
        };
        check(&Command::Shell("echo $A".into()), &both, Some("/bin/sh -c echo $A"));
        check(&Command::Argv(vec!["prog".into(), "x".into()]), &both, Some("prog x"));
        check(&default(&["x"]), &both, Some("/entry -e x"));
        check(&default(&["x"]), &cmd, Some("cmd x"));
        check(&default(&["x"]), &none, None);
        check(&default(&[]), &both, Some("/entry -e cmd -c"));
        check(&default(&[]), &entry, Some("/entry -e"));
        check(&default(&[]), &cmd, Some("cmd -c"));
        check(&default(&[]), &none, None);
        assert_eq!(argv(&default(&[]), None), None);
    }

    #[test]
    fn the_task_overrides_the_image() {
        let image =
            ImageConfig { env: vec!["A=1".into(), "B=x=y".into(), "odd".into()], ..ImageConfig::default() };
        let env = environment(&[("A".into(), "2".into()), ("C".into(), String::new())], Some(&image));
        assert_eq!(env, [format!("PATH={PATH_DEFAULT}"), "A=2".into(), "B=x=y".into(), "C=".into()]);
        let env = environment(&[("PATH".into(), "/mine".into())], None);
        assert_eq!(env, ["PATH=/mine"]);
    }
}
