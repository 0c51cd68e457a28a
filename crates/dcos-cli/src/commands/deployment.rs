//! `dcos marathon deployment`.

use std::io::IsTerminal;
use std::time::Duration;

use http::Method;

use super::app_list::short_action;
use super::marathon::{BASE, app_id, encode_path};
use crate::args::{Deployment, ListFormat};
use crate::error::{Failure, Result};
use crate::http::Client;
use crate::json::Doc;
use crate::output;
use crate::table::{render, text};

/// Clears the screen and moves to its top.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub async fn run(client: &Client, command: Deployment) -> Result<()> {
    match command {
        Deployment::List { app, format } => list(client, app.as_deref(), &format).await,
        Deployment::Rollback { id } => {
            let reply = client.send(Method::DELETE, &path(&id), None).await?;
            output::json(&reply.json()?)
        }
        Deployment::Stop { id } => {
            let path = format!("{}?force=true", path(&id));
            client.send(Method::DELETE, &path, None).await?.success().map(drop)
        }
        Deployment::Watch { id, max_count, interval } => watch(client, &id, max_count, interval).await,
    }
}

fn path(id: &str) -> String {
    format!("{BASE}/v2/deployments/{}", encode_path(id))
}

async fn list(client: &Client, app: Option<&str>, format: &ListFormat) -> Result<()> {
    let app = app.map(app_id);
    let all = client.get(&format!("{BASE}/v2/deployments")).await?;
    let mut found: Vec<Doc> = all
        .items()
        .iter()
        .filter(|deployment| match &app {
            Some(id) => affects(deployment, id),
            None => true,
        })
        .cloned()
        .collect();
    if format.json {
        return output::json(&Doc::Array(found));
    }
    if found.is_empty() {
        let which = app.map_or_else(String::new, |id| format!(" for '{id}'"));
        return Err(Failure::new(format!("There are no deployments{which}")));
    }
    if format.quiet {
        return output::ids(found.iter().map(|deployment| deployment.get("id").text()));
    }
    found.sort_by_key(|deployment| joined(deployment.get("affectedApps")));
    let rows: Vec<_> = found.iter().map(row).collect();
    output::print(&render(&[text("APP"), text("POD"), text("ACTION"), text("PROGRESS"), text("ID")], &rows))
}

fn affects(deployment: &Doc, id: &str) -> bool {
    ["affectedApps", "affectedPods"]
        .iter()
        .any(|key| deployment.get(key).items().iter().any(|app| app.text() == id))
}

fn row(deployment: &Doc) -> Vec<String> {
    let actions: Vec<&str> = deployment
        .get("currentActions")
        .items()
        .iter()
        .map(|a| short_action(a.get("action").text()))
        .collect();
    let done = (deployment.get("currentStep").count() - 1).max(0);
    vec![
        joined(deployment.get("affectedApps")),
        joined(deployment.get("affectedPods")),
        actions.join(", "),
        format!("{done}/{}", deployment.get("totalSteps").count()),
        deployment.get("id").text().to_owned(),
    ]
}

fn joined(ids: &Doc) -> String {
    ids.items().iter().map(Doc::text).collect::<Vec<_>>().join(", ")
}

async fn watch(client: &Client, id: &str, max_count: Option<u64>, interval: u64) -> Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let mut looks = 0;
    let mut shown = String::new();
    while max_count.is_none_or(|max| looks < max) {
        if looks > 0 {
            tokio::time::sleep(Duration::from_secs(interval)).await;
        }
        looks += 1;
        let all = client.get(&format!("{BASE}/v2/deployments")).await?;
        let Some(found) = all.items().iter().find(|deployment| deployment.get("id").text() == id) else {
            if shown.is_empty() {
                output::note(&format!("deployment '{id}' does not run (it has ended, or never was)"));
            }
            return Ok(());
        };
        let text = found.pretty();
        if text != shown {
            let clear = if terminal { CLEAR } else { "" };
            output::print(&format!("{clear}{text}\n"))?;
            shown = text;
        }
    }
    Ok(())
}
