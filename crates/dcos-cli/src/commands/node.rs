//! `dcos node`: agents and the leading master, from the master's state.

use crate::args::{ListFormat, NodeArgs, NodeCommand};
use crate::error::{Failure, Result};
use crate::http::Client;
use crate::json::Doc;
use crate::output;
use crate::table::{Column, render, text};

const COLUMNS: [Column; 8] = [
    text("HOSTNAME"),
    text("IP"),
    text("PUBLIC IP(S)"),
    text("ID"),
    text("TYPE"),
    text("STATUS"),
    text("REGION"),
    text("ZONE"),
];

pub async fn run(client: &Client, args: NodeArgs) -> Result<()> {
    match args.command {
        Some(NodeCommand::List { format, mesos_id }) => list(client, &format, mesos_id.as_deref()).await,
        None => {
            super::deprecated("dcos node", "dcos node list");
            list(client, &ListFormat { json: args.json, quiet: false }, None).await
        }
    }
}

async fn list(client: &Client, format: &ListFormat, mesos_id: Option<&str>) -> Result<()> {
    let state = client.get("/mesos/state").await?;
    let mut nodes: Vec<Doc> = state.get("slaves").items().iter().map(agent).collect();
    nodes.push(leader(&state));
    if let Some(id) = mesos_id {
        nodes.retain(|node| node.get("id").text() == id);
        if nodes.is_empty() {
            return Err(
                Failure::new(format!("agent '{id}' not found")).hint("list them with `dcos node list`")
            );
        }
    }
    nodes.sort_by_key(|node| (node.get("hostname").text().to_owned(), node.get("id").text().to_owned()));
    if format.json {
        return output::json(&Doc::Array(nodes));
    }
    if format.quiet {
        return output::ids(nodes.iter().map(|node| node.get("id").text()));
    }
    let rows: Vec<_> = nodes.iter().map(row).collect();
    output::print(&render(&COLUMNS, &rows))
}

/// The agent as the server described it, with its type.
fn agent(slave: &Doc) -> Doc {
    with(slave.clone(), "type", Doc::Text("agent".into()))
}

/// What the state says about the master that wrote it.
fn leader(state: &Doc) -> Doc {
    let mut master = Doc::Object(Vec::new());
    for key in ["id", "hostname", "pid", "version", "start_time", "elected_time", "domain"] {
        if state.has(key) {
            master = with(master, key, state.get(key).clone());
        }
    }
    with(master, "type", Doc::Text("master (leader)".into()))
}

fn with(doc: Doc, key: &str, value: Doc) -> Doc {
    match doc {
        Doc::Object(mut members) => {
            members.retain(|(name, _)| name != key);
            members.push((key.to_owned(), value));
            Doc::Object(members)
        }
        other => other,
    }
}

fn row(node: &Doc) -> Vec<String> {
    let public = node.at(&["attributes", "public_ip"]).text() == "true";
    let kind = node.get("type").text();
    vec![
        node.get("hostname").cell(),
        ip_of(node.get("pid").text()),
        String::new(),
        node.get("id").cell(),
        if public { format!("{kind} (public)") } else { kind.to_owned() },
        status(node),
        node.at(&["domain", "fault_domain", "region", "name"]).cell(),
        node.at(&["domain", "fault_domain", "zone", "name"]).cell(),
    ]
}

/// Draining wins over deactivated over active; an agent that is not active is disconnected.
fn status(node: &Doc) -> String {
    let drain = node.at(&["drain_info", "state"]).text();
    if !drain.is_empty() {
        drain.to_owned()
    } else if node.get("deactivated").is_true() {
        "DEACTIVATED".into()
    } else if node.has("active") && !node.get("active").is_true() {
        "INACTIVE".into()
    } else {
        "ACTIVE".into()
    }
}

/// `name@ip:port` → `ip`.
fn ip_of(pid: &str) -> String {
    let address = pid.rsplit('@').next().unwrap_or_default();
    address.rsplit_once(':').map_or(address, |(ip, _)| ip).to_owned()
}
