//! `dcos marathon app list`.

use super::marathon::BASE;
use crate::args::ListFormat;
use crate::error::Result;
use crate::http::Client;
use crate::json::Doc;
use crate::output;
use crate::table::{Column, number, render, text};

const COLUMNS: [Column; 10] = [
    text("ID"),
    number("MEM"),
    number("CPUS"),
    text("TASKS"),
    text("HEALTH"),
    text("DEPLOYMENT"),
    text("WAITING"),
    text("CONTAINER"),
    text("CMD"),
    text("ROLE"),
];

/// Longer commands are cut.
const CMD_CHARS: usize = 30;

pub async fn run(client: &Client, format: &ListFormat) -> Result<()> {
    let apps = format!("{BASE}/v2/apps");
    if format.json || format.quiet {
        let answer = client.get(&apps).await?;
        let apps = answer.get("apps");
        return if format.json {
            output::json(apps)
        } else {
            output::ids(sorted(apps.items()).iter().map(|app| app.get("id").text()))
        };
    }
    let (deployments, queue) = (format!("{BASE}/v2/deployments"), format!("{BASE}/v2/queue"));
    let (apps, deployments, queue) =
        tokio::try_join!(client.get(&apps), client.get(&deployments), client.get(&queue))?;
    let rows: Vec<_> = sorted(apps.get("apps").items())
        .into_iter()
        .map(|app| row(app, deployments.items(), queue.get("queue").items()))
        .collect();
    output::print(&render(&COLUMNS, &rows))
}

fn sorted(apps: &[Doc]) -> Vec<&Doc> {
    let mut apps: Vec<&Doc> = apps.iter().collect();
    apps.sort_by(|a, b| a.get("id").text().cmp(b.get("id").text()));
    apps
}

fn row(app: &Doc, deployments: &[Doc], queue: &[Doc]) -> Vec<String> {
    let id = app.get("id").text();
    let waiting = queue
        .iter()
        .filter(|item| item.at(&["app", "id"]).text() == id)
        .any(|item| item.at(&["delay", "overdue"]).is_true());
    let running = app.get("tasksRunning").count();
    let health = if app.get("healthChecks").items().is_empty() {
        "---".to_owned()
    } else {
        format!("{}/{running}", app.get("tasksHealthy").count())
    };
    vec![
        id.to_owned(),
        app.get("mem").cell(),
        app.get("cpus").cell(),
        format!("{running}/{}", app.get("instances").count()),
        health,
        actions_of(id, deployments),
        if waiting { "True" } else { "False" }.into(),
        container(app),
        cut(&command(app)),
        app.get("role").cell(),
    ]
}

fn actions_of(id: &str, deployments: &[Doc]) -> String {
    let actions: Vec<&str> = deployments
        .iter()
        .flat_map(|deployment| deployment.get("currentActions").items())
        .filter(|action| action.get("app").text() == id)
        .map(|action| short_action(action.get("action").text()))
        .collect();
    match actions.as_slice() {
        [] => "---".into(),
        [one] => (*one).to_owned(),
        several => format!("({})", several.join(", ")),
    }
}

/// The short name of a deployment's action.
pub fn short_action(action: &str) -> &str {
    match action {
        "ResolveArtifacts" => "artifacts",
        "ScaleApplication" | "ScalePod" => "scale",
        "StartApplication" | "StartPod" => "start",
        "StopApplication" | "StopPod" => "stop",
        "RestartApplication" | "RestartPod" => "restart",
        "KillAllOldTasksOf" => "kill-tasks",
        other => other,
    }
}

fn container(app: &Doc) -> String {
    let kind = app.at(&["container", "type"]).text();
    if kind.is_empty() { "MESOS".into() } else { kind.to_uppercase() }
}

fn command(app: &Doc) -> String {
    match app.get("cmd").text() {
        "" => app.get("args").items().iter().map(Doc::text).collect::<Vec<_>>().join(" "),
        cmd => cmd.to_owned(),
    }
}

fn cut(command: &str) -> String {
    if command.chars().count() <= CMD_CHARS {
        return command.to_owned();
    }
    command.chars().take(CMD_CHARS - 3).collect::<String>() + "..."
}
