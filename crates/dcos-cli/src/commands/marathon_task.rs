//! `dcos marathon task`.

use http::Method;

use super::marathon::{BASE, app_id};
use crate::args::{ListFormat, MarathonTask};
use crate::error::{Failure, Result};
use crate::http::Client;
use crate::json::Doc;
use crate::output;
use crate::table::{render, text};

pub async fn run(client: &Client, command: MarathonTask) -> Result<()> {
    match command {
        MarathonTask::List { app, format } => list(client, app.as_deref(), &format).await,
        MarathonTask::Show { id } => {
            match tasks(client).await?.into_iter().find(|task| task.get("id").text() == id) {
                Some(task) => output::json(&task),
                None => Err(unknown(&id)),
            }
        }
        MarathonTask::Stop { id, wipe } => {
            let killed = delete(client, std::slice::from_ref(&id), false, wipe).await?;
            match killed.get("tasks").items().first() {
                Some(task) => output::json(task),
                None => Err(unknown(&id)),
            }
        }
        MarathonTask::Kill { ids, scale, wipe, json } => kill(client, &ids, scale, wipe, json).await,
    }
}

fn unknown(id: &str) -> Failure {
    Failure::new(format!("Task '{id}' does not exist")).hint("list them with `dcos marathon task list`")
}

async fn tasks(client: &Client) -> Result<Vec<Doc>> {
    let answer = client.get(&format!("{BASE}/v2/tasks")).await?;
    let mut tasks = answer.get("tasks").items().to_vec();
    let key = |task: &Doc| (task.get("appId").text().to_owned(), task.get("id").text().to_owned());
    tasks.sort_by_key(key);
    Ok(tasks)
}

async fn list(client: &Client, app: Option<&str>, format: &ListFormat) -> Result<()> {
    let mut tasks = tasks(client).await?;
    if let Some(id) = app.map(app_id) {
        tasks.retain(|task| task.get("appId").text() == id);
    }
    if format.json {
        return output::json(&Doc::Array(tasks));
    }
    if format.quiet {
        return output::ids(tasks.iter().map(|task| task.get("id").text()));
    }
    let rows: Vec<_> = tasks.iter().map(row).collect();
    let columns = [text("APP"), text("HEALTHY"), text("STARTED"), text("HOST"), text("ID"), text("ROLE")];
    output::print(&render(&columns, &rows))
}

fn row(task: &Doc) -> Vec<String> {
    let healthy = task.get("healthCheckResults").items().iter().all(|result| result.get("alive").is_true());
    vec![
        task.get("appId").cell(),
        if healthy { "True" } else { "False" }.into(),
        task.get("startedAt").cell(),
        task.get("host").cell(),
        task.get("id").cell(),
        task.get("role").cell(),
    ]
}

async fn delete(client: &Client, ids: &[String], scale: bool, wipe: bool) -> Result<Doc> {
    let ids = ids.iter().map(|id| Doc::Text(id.clone())).collect();
    let body = Doc::Object(vec![("ids".into(), Doc::Array(ids))]).compact();
    let flags: Vec<&str> = [(scale, "scale=true"), (wipe, "wipe=true")]
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, flag)| *flag)
        .collect();
    let query = if flags.is_empty() { String::new() } else { format!("?{}", flags.join("&")) };
    client.send(Method::POST, &format!("{BASE}/v2/tasks/delete{query}"), Some(body)).await?.json()
}

async fn kill(client: &Client, ids: &[String], scale: bool, wipe: bool, json: bool) -> Result<()> {
    let reply = delete(client, ids, scale, wipe).await?;
    let deployment = reply.get("deploymentId").text();
    if deployment.is_empty() && reply.get("tasks").items().is_empty() {
        return Err(Failure::new("no tasks were killed").hint("list them with `dcos marathon task list`"));
    }
    if json {
        return output::json(&reply);
    }
    if deployment.is_empty() {
        return output::line(&format!("Killed tasks: {}", reply.get("tasks").compact()));
    }
    output::line(&format!("Created deployment: {deployment}"))
}
