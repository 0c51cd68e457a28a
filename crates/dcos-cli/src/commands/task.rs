//! `dcos task`: finding tasks in the master's state, and listing them.
//!
//! A task is meant by a part of its ID or by a pattern for all of it; an exact ID wins.

use super::sandbox;
use crate::args::{TaskArgs, TaskCommand, TaskList, Which};
use crate::error::{Failure, Result};
use crate::http::Client;
use crate::json::Doc;
use crate::output;
use crate::table::{Column, render, text};

const COLUMNS: [Column; 8] = [
    text("NAME"),
    text("HOST"),
    text("USER"),
    text("STATE"),
    text("ID"),
    text("AGENT ID"),
    text("REGION"),
    text("ZONE"),
];

/// A task with what the state says around it.
pub struct Found {
    pub task: Doc,
    /// User of its framework, for tasks that name none.
    user: String,
}

impl Found {
    pub fn id(&self) -> &str {
        self.task.get("id").text()
    }
}

pub async fn run(client: &Client, args: TaskArgs) -> Result<()> {
    match args.command {
        Some(TaskCommand::List(list)) => run_list(client, &list).await,
        Some(TaskCommand::Log { task, file, follow, lines, all, completed }) => {
            let lines = if all { None } else { Some(lines) };
            let found = sandbox::chosen(client, &task, Which { all: false, completed }).await?;
            sandbox::log(client, &found, &file, lines, follow).await
        }
        Some(TaskCommand::Ls { task, path, long, which }) => {
            let found = sandbox::chosen(client, &task, which).await?;
            sandbox::ls(client, &found, path.as_deref(), long).await
        }
        None => {
            super::deprecated("dcos task", "dcos task list");
            run_list(client, &args.list).await
        }
    }
}

async fn run_list(client: &Client, list: &TaskList) -> Result<()> {
    let state = client.get("/mesos/state").await?;
    let mut found = tasks(&state, list.which);
    if let Some(filter) = &list.filter {
        found.retain(|found| fits(filter, found.id()));
    }
    if let Some(agent) = &list.agent_id {
        found.retain(|found| found.task.get("slave_id").text() == agent);
    }
    found.sort_by_key(|found| (found.task.get("name").text().to_owned(), found.id().to_owned()));
    if list.format.json {
        return output::json(&Doc::Array(found.into_iter().map(|found| found.task).collect()));
    }
    if let (Some(filter), true) = (&list.filter, found.is_empty()) {
        return Err(none_fits(filter));
    }
    if list.format.quiet {
        return output::ids(found.iter().map(Found::id));
    }
    let rows: Vec<_> = found.iter().map(|found| row(found, &state)).collect();
    output::print(&render(&COLUMNS, &rows))
}

pub fn none_fits(filter: &str) -> Failure {
    Failure::new(format!("no task ID found containing '{filter}'"))
        .hint("list the running ones with `dcos task list`, ended ones with --completed")
}

/// The tasks of all frameworks.
pub fn tasks(state: &Doc, which: Which) -> Vec<Found> {
    let mut found = Vec::new();
    for key in ["frameworks", "completed_frameworks"] {
        for framework in state.get(key).items() {
            let user = framework.get("user").text();
            let mut take = |list: &str| {
                let tasks = framework.get(list).items().iter().cloned();
                found.extend(tasks.map(|task| Found { task, user: user.to_owned() }));
            };
            if !which.completed {
                take("tasks");
                take("unreachable_tasks");
            }
            if which.completed || which.all {
                take("completed_tasks");
            }
        }
    }
    found
}

fn row(found: &Found, state: &Doc) -> Vec<String> {
    let task = &found.task;
    let agent_id = task.get("slave_id").text();
    let none = Doc::Null;
    let agent =
        state.get("slaves").items().iter().find(|agent| agent.get("id").text() == agent_id).unwrap_or(&none);
    let user = task.get("user").text();
    vec![
        task.get("name").cell(),
        agent.get("hostname").cell(),
        if user.is_empty() { found.user.clone() } else { user.to_owned() },
        task.get("state").cell(),
        task.get("id").cell(),
        agent_id.to_owned(),
        agent.at(&["domain", "fault_domain", "region", "name"]).cell(),
        agent.at(&["domain", "fault_domain", "zone", "name"]).cell(),
    ]
}

/// True if `filter` is a part of `id`, or a pattern for all of it.
pub fn fits(filter: &str, id: &str) -> bool {
    id.contains(filter) || glob(filter.as_bytes(), id.as_bytes())
}

/// Shell pattern with `*` and `?`, in linear space and without recursion.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') => (p, t) = (p + 1, t + 1),
            Some(byte) if *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                // Let the last star take one byte more.
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_patterns_mean_tasks() {
        let id = "web.instance-1234._app.1";
        for filter in ["web", "1234", "web.*", "*.1", "web.instance-????._app.*", id, "*"] {
            assert!(fits(filter, id), "{filter}");
        }
        for filter in ["db", "web?", "*.2", "?", "web*x"] {
            assert!(!fits(filter, id), "{filter}");
        }
    }
}
