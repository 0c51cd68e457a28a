//! `dcos service`: the frameworks of the master.

use crate::args::{ServiceArgs, ServiceCommand, ServiceList};
use crate::error::Result;
use crate::http::Client;
use crate::json::Doc;
use crate::output;
use crate::table::{Column, number, render, text};

const COLUMNS: [Column; 8] = [
    text("NAME"),
    text("HOST"),
    text("ACTIVE"),
    number("TASKS"),
    number("CPU"),
    number("MEM"),
    number("DISK"),
    text("ID"),
];

pub async fn run(client: &Client, args: ServiceArgs) -> Result<()> {
    match args.command {
        Some(ServiceCommand::List(list)) => run_list(client, &list).await,
        None => {
            super::deprecated("dcos service", "dcos service list");
            run_list(client, &args.list).await
        }
    }
}

async fn run_list(client: &Client, list: &ServiceList) -> Result<()> {
    let state = client.get("/mesos/state").await?;
    let mut found: Vec<Doc> = Vec::new();
    for framework in state.get("frameworks").items() {
        if list.inactive || framework.get("active").is_true() {
            found.push(framework.clone());
        }
    }
    if list.completed {
        found.extend(state.get("completed_frameworks").items().iter().cloned());
    }
    found.sort_by_key(|service| (service.get("name").text().to_owned(), service.get("id").text().to_owned()));
    if list.format.json {
        return output::json(&Doc::Array(found));
    }
    if list.format.quiet {
        return output::ids(found.iter().map(|service| service.get("id").text()));
    }
    let rows: Vec<_> = found.iter().map(row).collect();
    output::print(&render(&COLUMNS, &rows))
}

fn row(service: &Doc) -> Vec<String> {
    let used = |name: &str| format!("{:.1}", service.at(&["used_resources", name]).number().unwrap_or(0.0));
    vec![
        service.get("name").cell(),
        service.get("hostname").cell(),
        if service.get("active").is_true() { "True" } else { "False" }.into(),
        service.get("tasks").items().len().to_string(),
        used("cpus"),
        used("mem"),
        used("disk"),
        service.get("id").cell(),
    ]
}
