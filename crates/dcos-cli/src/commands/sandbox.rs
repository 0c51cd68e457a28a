//! Files of a task's sandbox, through the agent's files API.
//!
//! Invariant: a file is read in bounded pieces at byte offsets that were asked for, so a log
//! with bytes that are not text is neither lost nor repeated.

use std::path::Path;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use super::marathon::{encode_path, encode_query};
use super::task::{Found, fits, none_fits, tasks};
use crate::args::Which;
use crate::error::{Failure, Result};
use crate::http::Client;
use crate::json::Doc;
use crate::output;
use crate::table::{number, render, text};

/// The files API gives no more at once.
const PIECE: u64 = 64 << 10;
/// How far back the last lines are looked for.
const MAX_TAIL: u64 = 16 << 20;
const FOLLOW_PAUSE: Duration = Duration::from_millis(300);
/// While following, nobody may be reachable for so long.
const TOLERATED_SILENCE: Duration = Duration::from_secs(30);

/// The tasks that `filter` means; ended ones only if it means no running one.
pub async fn chosen(client: &Client, filter: &str, which: Which) -> Result<Vec<Found>> {
    let state = client.get("/mesos/state").await?;
    let pick = |which: Which| {
        let mut found = tasks(&state, which);
        found.retain(|found| fits(filter, found.id()));
        if found.iter().any(|found| found.id() == filter) {
            found.retain(|found| found.id() == filter);
        }
        found
    };
    let mut found = pick(which);
    if found.is_empty() && !which.completed && !which.all {
        found = pick(Which { all: false, completed: true });
    }
    if found.is_empty() { Err(none_fits(filter)) } else { Ok(found) }
}

/// Where a task's sandbox is: the agent, and the directory by its name there.
struct Sandbox {
    agent: String,
    directory: String,
}

async fn sandbox(client: &Client, found: &Found) -> Result<Sandbox> {
    let task = &found.task;
    let agent = task.get("slave_id").text();
    let framework = task.get("framework_id").text();
    let executor = match task.get("executor_id").text() {
        "" => found.id(),
        executor => executor,
    };
    if agent.is_empty() {
        return Err(Failure::new(format!("task '{}' has not been given to an agent yet", found.id()))
            .hint("try again when it is running"));
    }
    let container = task
        .get("statuses")
        .items()
        .iter()
        .rev()
        .map(|status| status.at(&["container_status", "container_id", "value"]).text())
        .find(|id| !id.is_empty())
        .unwrap_or_default();
    let reply = client.send(Method::GET, &format!("/agent/{}/state", encode_path(agent)), None).await?;
    let known = match reply.status {
        // An agent without a state page still has the virtual path below.
        StatusCode::NOT_FOUND if !reply.body.contains("unknown") => None,
        _ => directory(&reply.json()?, framework, executor, container),
    };
    let virtual_path = || {
        format!("/var/lib/mesos/slave/slaves/{agent}/frameworks/{framework}/executors/{executor}/runs/latest")
    };
    Ok(Sandbox { agent: agent.to_owned(), directory: known.unwrap_or_else(virtual_path) })
}

/// The directory of an executor in an agent's state; of several runs, the task's own.
fn directory(state: &Doc, framework: &str, executor: &str, container: &str) -> Option<String> {
    let frameworks = ["frameworks", "completed_frameworks"].iter().flat_map(|key| state.get(key).items());
    let runs: Vec<&Doc> = frameworks
        .filter(|found| found.get("id").text() == framework)
        .flat_map(|found| ["executors", "completed_executors"].map(|key| found.get(key).items()))
        .flatten()
        .filter(|run| run.get("id").text() == executor && !run.get("directory").text().is_empty())
        .collect();
    let own = runs.iter().find(|run| run.get("container").text() == container);
    own.or(runs.first()).map(|run| run.get("directory").text().to_owned())
}

impl Sandbox {
    fn path(&self, inner: &str) -> String {
        format!("{}/{}", self.directory, inner.trim_start_matches('/'))
    }

    async fn read(&self, client: &Client, file: &str, range: Option<(u64, u64)>) -> Result<Option<Doc>> {
        let range = match range {
            Some((offset, length)) => format!("offset={offset}&length={length}"),
            None => "offset=-1".to_owned(),
        };
        let path = encode_query(&self.path(file));
        let target = format!("/agent/{}/files/read?path={path}&{range}", encode_path(&self.agent));
        let reply = client.send(Method::GET, &target, None).await?;
        if reply.status == StatusCode::NOT_FOUND { Ok(None) } else { reply.json().map(Some) }
    }

    async fn size(&self, client: &Client, file: &str) -> Result<Option<u64>> {
        let answer = self.read(client, file, None).await?;
        Ok(answer.map(|answer| u64::try_from(answer.get("offset").count()).unwrap_or(0)))
    }

    /// The bytes of `[from, to)`, as text.
    async fn range(&self, client: &Client, file: &str, from: u64, to: u64) -> Result<String> {
        let mut text = String::new();
        let mut at = from;
        while at < to {
            let length = PIECE.min(to - at);
            let answer = self.read(client, file, Some((at, length))).await?;
            text.push_str(answer.as_ref().map_or("", |answer| answer.get("data").text()));
            at += length;
        }
        Ok(text)
    }

    /// The last `lines` lines before `size`.
    async fn tail(&self, client: &Client, file: &str, size: u64, lines: usize) -> Result<String> {
        if lines == 0 {
            return Ok(String::new());
        }
        let mut span = PIECE;
        loop {
            let from = size.saturating_sub(span);
            let text = self.range(client, file, from, size).await?;
            let ends = text.trim_end_matches('\n').rmatch_indices('\n').nth(lines - 1).map(|(at, _)| at + 1);
            match ends {
                Some(at) => return Ok(text[at..].to_owned()),
                None if from == 0 || span >= MAX_TAIL => return Ok(text),
                None => span *= 4,
            }
        }
    }
}

/// A file that is being printed.
struct Reading {
    id: String,
    sandbox: Sandbox,
    /// `None` until the file exists.
    offset: Option<u64>,
}

pub async fn log(
    client: &Client,
    found: &[Found],
    file: &str,
    lines: Option<usize>,
    follow: bool,
) -> Result<()> {
    let several = found.len() > 1;
    let mut readings = Vec::new();
    for found in found {
        let sandbox = sandbox(client, found).await?;
        readings.push(Reading { id: found.id().to_owned(), sandbox, offset: None });
    }
    let mut last = None;
    let mut missing = Vec::new();
    for (at, reading) in readings.iter_mut().enumerate() {
        let Some(size) = reading.sandbox.size(client, file).await? else {
            missing.push(reading.id.clone());
            continue;
        };
        reading.offset = Some(size);
        if several {
            header(&reading.id, &mut last, at)?;
        }
        match lines {
            Some(lines) => output::print(&reading.sandbox.tail(client, file, size, lines).await?)?,
            None => whole(client, &reading.sandbox, file, size).await?,
        }
    }
    if !follow && missing.len() == readings.len() {
        return Err(Failure::new(format!(
            "no file '{file}' in the sandbox of task '{}'",
            missing.join("', '")
        ))
        .hint(format!(
            "see what is there with `dcos task ls {}`",
            missing.first().map_or("", String::as_str)
        )));
    }
    for id in &missing {
        output::note(&format!("Warning: task '{id}' has no file '{file}' yet."));
    }
    if !follow {
        return Ok(());
    }
    let mut heard = Instant::now();
    loop {
        tokio::time::sleep(FOLLOW_PAUSE).await;
        for (at, reading) in readings.iter_mut().enumerate() {
            let size = match reading.sandbox.size(client, file).await {
                Ok(size) => size,
                // A master or agent that restarts comes back; its tasks were never away.
                Err(_) if heard.elapsed() < TOLERATED_SILENCE => continue,
                Err(failure) => return Err(failure),
            };
            heard = Instant::now();
            let Some(size) = size else { continue };
            let from = match reading.offset {
                Some(offset) if offset <= size => offset,
                // Shorter than before: a new file.
                _ => 0,
            };
            if from < size {
                if several {
                    header(&reading.id, &mut last, at)?;
                }
                output::print(&reading.sandbox.range(client, file, from, size).await?)?;
            }
            reading.offset = Some(size);
        }
    }
}

/// Prints piece by piece, so that a large file does not wait in memory.
async fn whole(client: &Client, sandbox: &Sandbox, file: &str, size: u64) -> Result<()> {
    let mut at = 0;
    while at < size {
        let to = size.min(at + PIECE);
        output::print(&sandbox.range(client, file, at, to).await?)?;
        at = to;
    }
    Ok(())
}

/// Says whose lines follow, when that changes.
fn header(id: &str, last: &mut Option<usize>, at: usize) -> Result<()> {
    if last.replace(at) == Some(at) { Ok(()) } else { output::line(&format!("===> {id} <===")) }
}

pub async fn ls(client: &Client, found: &[Found], path: Option<&Path>, long: bool) -> Result<()> {
    let several = found.len() > 1;
    let inner = path.map_or_else(String::new, |path| path.to_string_lossy().into_owned());
    for (at, found) in found.iter().enumerate() {
        let sandbox = sandbox(client, found).await?;
        let directory = sandbox.path(&inner);
        let query = encode_query(directory.trim_end_matches('/'));
        let target = format!("/agent/{}/files/browse?path={query}", encode_path(&sandbox.agent));
        let reply = client.send(Method::GET, &target, None).await?;
        if reply.status == StatusCode::NOT_FOUND {
            let shown = if inner.is_empty() { "." } else { &inner };
            return Err(Failure::new(format!("cannot access '{shown}': no such file or directory")));
        }
        let files = reply.json()?;
        if several {
            header(found.id(), &mut None, at)?;
        }
        print_files(&files, long)?;
    }
    Ok(())
}

fn print_files(files: &Doc, long: bool) -> Result<()> {
    let name = |file: &Doc| file.get("path").text().rsplit('/').next().unwrap_or_default().to_owned();
    if !long {
        let names: Vec<String> = files.items().iter().map(name).collect();
        return output::line(&names.join("  "));
    }
    let rows: Vec<Vec<String>> = files
        .items()
        .iter()
        .map(|file| {
            vec![
                file.get("mode").cell(),
                file.get("nlink").cell(),
                file.get("uid").cell(),
                file.get("gid").cell(),
                file.get("size").cell(),
                date(file.get("mtime").count()),
                name(file),
            ]
        })
        .collect();
    let columns =
        [text("MODE"), number("LINKS"), text("UID"), text("GID"), number("SIZE"), text("DATE"), text("NAME")];
    output::print(&render(&columns, &rows))
}

/// Seconds since 1970 as `2006-01-02T15:04:05Z` (one word, so that columns stay countable).
fn date(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Civil date from days, in eras of 400 years that begin on 1 March.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let in_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let date = in_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(date(1_530_000_000), "2018-06-26T08:00:00Z");
        assert_eq!(date(-1), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn of_several_runs_the_tasks_own_is_taken() {
        let state = Doc::parse(
            r#"{"frameworks":[{"id":"F","executors":[{"id":"t","container":"c2","directory":"/two"}],
                "completed_executors":[{"id":"t","container":"c1","directory":"/one"}]}],
                "completed_frameworks":[{"id":"G","completed_executors":[{"id":"t","directory":"/g"}]}]}"#,
        )
        .unwrap();
        assert_eq!(directory(&state, "F", "t", "c1").as_deref(), Some("/one"));
        assert_eq!(directory(&state, "F", "t", "").as_deref(), Some("/two"));
        assert_eq!(directory(&state, "G", "t", "").as_deref(), Some("/g"));
        assert_eq!(directory(&state, "F", "x", ""), None);
    }
}
