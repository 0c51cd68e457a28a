//! Virtual paths: which real directory or file a name stands for.
//!
//! A sandbox has three names: its directory, the directory's `latest` sibling and
//! `/frameworks/F/executors/E/runs/latest`. Names are read by their form, so that
//! a node with many tasks pays nothing per read and a run that the view has
//! forgotten stays readable as long as it is on disk. Input: a view; no I/O
//! except to find the newest of forgotten runs.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use mesos_agent::AgentView;
use mesos_agent::view::TaskView;
use model::FrameworkInfo;

/// What is attached at one moment.
#[derive(Debug)]
pub(crate) struct Attached {
    log_name: &'static str,
    log_file: Option<PathBuf>,
    view: Option<Arc<AgentView>>,
}

/// A virtual path taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The attached directory or file.
    pub root: PathBuf,
    /// What follows, relative; may contain `..`.
    pub rest: PathBuf,
}

/// Whose a path is.
pub(crate) enum Owner {
    Log,
    /// None: a framework that the view does not know any more.
    Framework(Option<Arc<FrameworkInfo>>),
}

impl Attached {
    pub fn owner(&self, path: &[u8]) -> Owner {
        let path = Path::new(OsStr::from_bytes(path));
        if path.strip_prefix(self.log_name).is_ok() {
            return Owner::Log;
        }
        let mut parts = path.components().map(Component::as_os_str);
        let id = parts.find(|part| *part == "frameworks").and_then(|_| parts.next());
        let frameworks = self.view.iter().flat_map(|view| &view.frameworks);
        let known = |info: &&Arc<FrameworkInfo>| {
            id.is_some() && info.id.as_ref().map(|id| OsStr::new(id.as_str())) == id
        };
        Owner::Framework(frameworks.into_iter().find(known).cloned())
    }

    pub fn log(log_name: &'static str, log_file: Option<PathBuf>) -> Self {
        Self { log_name, log_file, view: None }
    }

    pub fn agent(view: Arc<AgentView>, log_file: Option<PathBuf>) -> Self {
        Self { log_name: "/slave/log", log_file, view: Some(view) }
    }

    /// Virtual to real names, for `/files/debug`.
    pub fn listing(&self) -> BTreeMap<String, String> {
        let mut names = BTreeMap::new();
        if let Some(file) = &self.log_file {
            names.insert(self.log_name.to_owned(), file.to_string_lossy().into_owned());
        }
        let Some(view) = &self.view else { return names };
        // Later runs of the same executor take over `latest`.
        let mut runs: Vec<&TaskView> = all_runs(view).collect();
        runs.sort_by_key(|run| run.task.received);
        for run in runs {
            let (framework, executor) = (&run.task.framework_id, &run.task.info.id);
            names.insert(
                format!("/frameworks/{framework}/executors/{executor}/runs/latest"),
                run.directory.clone(),
            );
            if let Some((parent, _)) = run.directory.rsplit_once('/') {
                names.insert(format!("{parent}/latest"), run.directory.clone());
            }
            names.insert(run.directory.clone(), run.directory.clone());
        }
        names
    }

    pub fn resolve(&self, path: &[u8]) -> Option<Resolved> {
        let path = Path::new(OsStr::from_bytes(path));
        if let Some(file) = &self.log_file
            && let Ok(rest) = path.strip_prefix(self.log_name)
        {
            return Some(Resolved { root: file.clone(), rest: rest.to_path_buf() });
        }
        let view = self.view.as_ref()?;
        let work_dir = Path::new(&view.work_dir);
        if let Ok(below) = path.strip_prefix(work_dir) {
            // `slaves/A/frameworks/F/executors/E/runs/R/…`
            let ([agent, framework, executor, run], rest) =
                take(below, ["slaves", "frameworks", "executors", "runs"])?;
            let mut runs = work_dir.join("slaves").join(agent);
            runs.extend([
                OsStr::new("frameworks"),
                framework,
                OsStr::new("executors"),
                executor,
                OsStr::new("runs"),
            ]);
            let root = if run == "latest" {
                newest_known(view, framework, executor).or_else(|| newest_on_disk(&runs))?
            } else {
                runs.join(run)
            };
            return Some(Resolved { root, rest });
        }
        let ([framework, executor, run], rest) =
            take(path.strip_prefix("/").ok()?, ["frameworks", "executors", "runs"])?;
        let root = if run == "latest" { newest_known(view, framework, executor)? } else { return None };
        Some(Resolved { root, rest })
    }
}

/// Takes `key/value/` pairs with these keys off the front.
fn take<'a, const N: usize>(path: &'a Path, keys: [&str; N]) -> Option<([&'a OsStr; N], PathBuf)> {
    let mut components = path.components();
    let mut values = [OsStr::new(""); N];
    for (key, value) in keys.iter().zip(&mut values) {
        let (Some(Component::Normal(found)), Some(Component::Normal(next))) =
            (components.next(), components.next())
        else {
            return None;
        };
        if found != *key {
            return None;
        }
        *value = next;
    }
    Some((values, components.as_path().to_path_buf()))
}

fn all_runs(view: &AgentView) -> impl Iterator<Item = &TaskView> {
    view.completed.iter().chain(&view.tasks)
}

fn newest_known(view: &AgentView, framework: &OsStr, executor: &OsStr) -> Option<PathBuf> {
    all_runs(view)
        .filter(|run| run.task.framework_id.as_str() == framework && run.task.info.id.as_str() == executor)
        .max_by_key(|run| run.task.received)
        .map(|run| PathBuf::from(&run.directory))
}

/// Runs looked at for `latest`; an executor has one, rarely a few.
const RUNS_MAX: usize = 1_000;

fn newest_on_disk(runs: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(runs).ok()?.take(RUNS_MAX).filter_map(Result::ok);
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories
        .max_by_key(|entry| entry.metadata().and_then(|data| data.modified()).ok())
        .map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::node;

    const RUN: &str = "/w/slaves/master-S1/frameworks/master-0000/executors/web.1/runs/c-web-1";

    fn check(path: &str, expected: Option<(&str, &str)>) {
        let attached = Attached::agent(Arc::new(node("/w")), Some("/var/log/agent".into()));
        let expected = expected.map(|(root, rest)| Resolved { root: root.into(), rest: rest.into() });
        assert_eq!(attached.resolve(path.as_bytes()), expected, "{path}");
    }

    #[test]
    fn names_of_a_sandbox() {
        let latest = "/frameworks/master-0000/executors/web.1/runs/latest";
        check(latest, Some((RUN, "")));
        check(&format!("{latest}/"), Some((RUN, "")));
        check(&format!("{latest}/a/b"), Some((RUN, "a/b")));
        check(&format!("{latest}/../../x"), Some((RUN, "../../x")));
        check(&RUN.replace("c-web-1", "latest/stdout"), Some((RUN, "stdout")));
        check(&format!("{RUN}/stdout"), Some((RUN, "stdout")));
        check("/slave/log", Some(("/var/log/agent", "")));
        check("/slave/log/", Some(("/var/log/agent", "")));
    }

    #[test]
    fn forgotten_runs_by_their_form() {
        let run = "/w/slaves/a/frameworks/f/executors/e/runs/r";
        check(run, Some((run, "")));
        check(&format!("{run}/stdout"), Some((run, "stdout")));
    }

    #[test]
    fn everything_else_is_nothing() {
        for path in [
            "",
            "/",
            "relative",
            "/etc/passwd",
            "/slave",
            "/w",
            "/w/meta/slaves",
            "/w/slaves/../../etc",
            "/w/slaves/a/frameworks/f/executors/e/runs",
            "/w/slaves/a/frameworks/f/executors/e/runs/latest",
            "/w/slaves/a/frameworks/../executors/e/runs/r",
            "/w/slaves/a/frameworks/f/executors/e/runs/..",
            "/frameworks/master-0000/executors/web.1/runs",
            "/frameworks/master-0000/executors/web.9/runs/latest",
            "/frameworks/master-0000/executors/web.1/runs/c-web-1",
        ] {
            check(path, None);
        }
    }
}
