//! Removes the sandboxes of ended tasks and executors, later or sooner as the disk
//! fills; nested ones also while their executor runs.
//!
//! Rule: `apache/mesos` `src/slave/slave.cpp`, garbage collection: a sandbox may
//! stay for `delay × max(0, 1 − headroom − disk usage)` after its last change.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mesos_agent::shell::Handle;

/// Shortest stay, however full the disk: a sandbox just made may not be known yet.
const STAY_MIN: Duration = Duration::from_secs(300);
const INTERVAL: Duration = Duration::from_secs(60);

/// How long sandboxes are kept.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// Longest stay.
    pub delay: Duration,
    /// Part of the disk that is to stay free.
    pub headroom: f64,
}

impl Keep {
    /// How long a sandbox may stay when this part of the disk (0 to 1) is used.
    fn stay(self, usage: f64) -> Duration {
        // A shorter delay is meant.
        let least = STAY_MIN.min(self.delay);
        self.delay.mul_f64((1.0 - self.headroom - usage).clamp(0.0, 1.0)).max(least)
    }
}

/// Sweeps for ever.
pub async fn run(handle: Handle, keep: Keep) {
    loop {
        tokio::time::sleep(INTERVAL.min(keep.delay.max(Duration::from_secs(1)))).await;
        let view = handle.view();
        let tasks = view.tasks.iter().map(|task| &task.directory);
        let executors = view.executors.iter().map(|executor| &executor.directory);
        let live: BTreeSet<PathBuf> = tasks.chain(executors).map(PathBuf::from).collect();
        let root = PathBuf::from(&view.work_dir);
        let swept = tokio::task::spawn_blocking(move || sweep(&root, &live, keep, SystemTime::now())).await;
        match swept {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(count)) => tracing::info!(count, "removed sandboxes of ended tasks"),
            Ok(Err(error)) => tracing::warn!(%error, "sweeping sandboxes"),
        }
    }
}

fn sweep(root: &Path, live: &BTreeSet<PathBuf>, keep: Keep, now: SystemTime) -> std::io::Result<usize> {
    if !root.exists() {
        return Ok(0);
    }
    let stat = rustix::fs::statvfs(root)?;
    let free = if stat.f_blocks == 0 { 1.0 } else { stat.f_bavail as f64 / stat.f_blocks as f64 };
    let stay = keep.stay(1.0 - free);
    let mut count = 0;
    let runs = runs(root)?;
    let nested = runs.iter().filter(|run| live.contains(*run));
    let nested: Vec<PathBuf> = nested.flat_map(|run| nested_of(run)).collect();
    for run in runs.into_iter().chain(nested) {
        if live.contains(&run) {
            continue;
        }
        // One that cannot be removed must not keep the others.
        match old(&run, stay, now)
            .and_then(|old| if old { std::fs::remove_dir_all(&run).map(|()| true) } else { Ok(false) })
        {
            Ok(true) => {
                count += 1;
                prune(root, &run);
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(sandbox = %run.display(), %error, "a sandbox cannot be removed"),
        }
    }
    Ok(count)
}

/// Whether nothing in the directory changed for longer than `stay`. Its files count
/// too: a log that grows does not touch its directory.
fn old(run: &Path, stay: Duration, now: SystemTime) -> std::io::Result<bool> {
    let mut newest = std::fs::symlink_metadata(run)?.modified()?;
    for entry in std::fs::read_dir(run)? {
        newest = newest.max(entry?.metadata()?.modified()?);
    }
    Ok(now.duration_since(newest).unwrap_or_default() > stay)
}

/// Sandboxes within that of a live run; none in most.
fn nested_of(run: &Path) -> Vec<PathBuf> {
    subdirectories(&run.join("containers")).unwrap_or_default()
}

/// All run directories: `slaves/*/frameworks/*/executors/*/runs/*` without links.
fn runs(root: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut level = vec![root.join("slaves")];
    for name in [None, Some("frameworks"), None, Some("executors"), None, Some("runs"), None] {
        let mut next = Vec::new();
        for dir in level {
            match name {
                Some(name) => next.push(dir.join(name)),
                None => next.extend(subdirectories(&dir)?),
            }
        }
        level = next;
    }
    Ok(level)
}

fn subdirectories(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes the link `latest` and the directories above that became empty.
fn prune(root: &Path, run: &Path) {
    let Some(runs) = run.parent() else { return };
    let latest = runs.join("latest");
    if std::fs::metadata(&latest).is_err() {
        // Absent is as good as removed.
        let _ = std::fs::remove_file(&latest);
    }
    let mut dir = Some(runs);
    while let Some(path) = dir.filter(|path| *path != root) {
        // Not empty: in use, and everything above too.
        if std::fs::remove_dir(path).is_err() {
            return;
        }
        dir = path.parent();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Keep = Keep { delay: Duration::from_secs(2 * 24 * 3_600), headroom: 0.1 };

    #[test]
    fn ks_41_a_full_disk_shortens_the_stay() {
        assert!(KEEP.stay(0.0) > Duration::from_secs(40 * 3_600));
        assert!(KEEP.stay(0.5) < KEEP.stay(0.2));
        assert_eq!(KEEP.stay(0.95), STAY_MIN);
        let short = Keep { delay: Duration::from_secs(2), ..KEEP };
        assert_eq!(short.stay(0.95), Duration::from_secs(2));
    }

    #[test]
    fn ks_41_only_old_sandboxes_of_what_ended_go() {
        let dir = tempfile::tempdir().unwrap();
        let run =
            |name: &str| dir.path().join(format!("slaves/S0/frameworks/F/executors/{name}/runs/c-{name}"));
        for name in ["live", "ended"] {
            std::fs::create_dir_all(run(name)).unwrap();
            std::fs::write(run(name).join("stdout"), "x").unwrap();
            let latest = run(name).with_file_name("latest");
            std::os::unix::fs::symlink(format!("c-{name}"), latest).unwrap();
        }
        let nested = |name: &str| run("live").join("containers").join(name);
        for name in ["runs", "done"] {
            std::fs::create_dir_all(nested(name)).unwrap();
        }
        let live = BTreeSet::from([run("live"), nested("runs")]);
        assert_eq!(sweep(dir.path(), &live, KEEP, SystemTime::now()).unwrap(), 0);
        let later = SystemTime::now() + KEEP.delay + Duration::from_secs(1);
        assert_eq!(sweep(dir.path(), &live, KEEP, later).unwrap(), 2);
        assert!(run("live").exists() && !run("ended").exists());
        assert!(nested("runs").exists() && !nested("done").exists());
        assert!(!dir.path().join("slaves/S0/frameworks/F/executors/ended").exists());
    }
}
