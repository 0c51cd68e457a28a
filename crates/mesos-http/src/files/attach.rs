//! Virtual paths: which real directory or file a name stands for.
//!
//! A sandbox has four names: its directory, the directory's `latest` sibling,
//! `/frameworks/F/executors/E/runs/latest` and the same with its container id.
//! Sandboxes of runs that the view has forgotten keep the first two as long as
//! they are on disk. Input: an agent's view; no I/O except for forgotten runs.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use mesos_agent::AgentView;

/// What is attached at one moment.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    /// Virtual to real; without trailing slashes.
    paths: BTreeMap<PathBuf, PathBuf>,
    work_dir: Option<PathBuf>,
}

/// A virtual path taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The attached directory or file.
    pub root: PathBuf,
    /// What follows, relative; may contain `..`.
    pub rest: PathBuf,
}

impl Attached {
    pub fn log(name: &str, file: Option<PathBuf>) -> Self {
        let paths = file.map(|file| (PathBuf::from(name), file)).into_iter().collect();
        Self { paths, work_dir: None }
    }

    pub fn agent(view: &AgentView, log_file: Option<PathBuf>) -> Self {
        let mut attached = Self::log("/slave/log", log_file);
        attached.work_dir = Some(PathBuf::from(&view.work_dir));
        // Later runs of the same executor take over `latest`.
        let mut tasks: Vec<_> = view.completed.iter().chain(&view.tasks).collect();
        tasks.sort_by_key(|task| task.task.received);
        for view in tasks {
            let real = PathBuf::from(&view.directory);
            let runs = format!("/frameworks/{}/executors/{}/runs", view.task.framework_id, view.task.info.id);
            let container = view.task.container_id.as_str();
            attached.paths.insert(Path::new(&runs).join(container), real.clone());
            attached.paths.insert(Path::new(&runs).join("latest"), real.clone());
            if let Some(parent) = real.parent() {
                attached.paths.insert(parent.join("latest"), real.clone());
            }
            attached.paths.insert(real.clone(), real);
        }
        attached
    }

    /// For `/files/debug`.
    pub fn listing(&self) -> BTreeMap<String, String> {
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        self.paths.iter().map(|(name, real)| (text(name), text(real))).collect()
    }

    /// The longest attached prefix wins.
    pub fn resolve(&self, path: &[u8]) -> Option<Resolved> {
        let path = Path::new(OsStr::from_bytes(path));
        for prefix in path.ancestors() {
            if let Some(root) = self.paths.get(prefix) {
                let rest = path.strip_prefix(prefix).ok()?;
                return Some(Resolved { root: root.clone(), rest: rest.to_path_buf() });
            }
        }
        self.forgotten(path)
    }

    /// `<work_dir>/slaves/A/frameworks/F/executors/E/runs/R/…` by its form.
    fn forgotten(&self, path: &Path) -> Option<Resolved> {
        let work_dir = self.work_dir.as_ref()?;
        let below = path.strip_prefix(work_dir).ok()?;
        let mut components = below.components();
        let mut root = work_dir.clone();
        for fixed in ["slaves", "frameworks", "executors", "runs"] {
            for expected in [Some(fixed), None] {
                let Some(Component::Normal(name)) = components.next() else { return None };
                if expected.is_some_and(|expected| name != expected) {
                    return None;
                }
                root.push(name);
            }
        }
        let rest = components.as_path().to_path_buf();
        let root = if root.ends_with("latest") { newest_run(root.parent()?)? } else { root };
        Some(Resolved { root, rest })
    }
}

/// Runs looked at for `latest`; an executor has one, rarely a few.
const RUNS_MAX: usize = 1_000;

fn newest_run(runs: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(runs).ok()?.take(RUNS_MAX).filter_map(Result::ok);
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories
        .max_by_key(|entry| entry.metadata().and_then(|data| data.modified()).ok())
        .map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attached() -> Attached {
        let mut attached = Attached::log("/slave/log", Some("/var/log/agent".into()));
        attached.work_dir = Some("/w".into());
        attached.paths.insert("/frameworks/f/executors/e/runs/latest".into(), "/w/real".into());
        attached
    }

    fn check(path: &str, expected: Option<(&str, &str)>) {
        let expected = expected.map(|(root, rest)| Resolved { root: root.into(), rest: rest.into() });
        assert_eq!(attached().resolve(path.as_bytes()), expected, "{path}");
    }

    #[test]
    fn prefixes() {
        check("/slave/log", Some(("/var/log/agent", "")));
        check("/slave/log/", Some(("/var/log/agent", "")));
        check("/frameworks/f/executors/e/runs/latest/a/b", Some(("/w/real", "a/b")));
        check("/frameworks/f/executors/e/runs/latest/../../x", Some(("/w/real", "../../x")));
        check("/etc/passwd", None);
        check("", None);
        check("/", None);
    }

    #[test]
    fn forgotten_runs_by_their_form() {
        check(
            "/w/slaves/a/frameworks/f/executors/e/runs/r/stdout",
            Some(("/w/slaves/a/frameworks/f/executors/e/runs/r", "stdout")),
        );
        check(
            "/w/slaves/a/frameworks/f/executors/e/runs/r",
            Some(("/w/slaves/a/frameworks/f/executors/e/runs/r", "")),
        );
        check("/w/slaves/a/frameworks/f/executors/e/runs", None);
        check("/w/slaves/a/frameworks/../executors/e/runs/r", None);
        check("/w/slaves/../../etc", None);
        check("/w/meta/slaves", None);
        check("/w/slaves/a/frameworks/f/executors/e/runs/latest", None);
    }
}
