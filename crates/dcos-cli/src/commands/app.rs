//! `dcos marathon app`: everything that changes or shows one application.

use http::{Method, StatusCode};

use super::marathon::{BASE, app_id, app_path, current, existing};
use super::{app_list, resource, wait};
use crate::args::{App, AppVersion, Force, Wait};
use crate::error::{Failure, Result};
use crate::http::Client;
use crate::json::Doc;
use crate::output;

/// From here on the host name made from the id may not fit into DNS.
const LONG_ID: usize = 55;

pub async fn run(client: &Client, command: App) -> Result<()> {
    match command {
        App::Add { resource, wait } => add(client, resource.as_deref(), &wait).await,
        App::List { format } => app_list::run(client, &format).await,
        App::Show { id, app_version } => show(client, &app_id(&id), app_version.as_deref()).await,
        App::Update { id, properties, force, wait } => {
            update(client, &app_id(&id), &properties, &force, &wait).await
        }
        App::Scale { id, instances, force, wait } => {
            let id = app_id(&id);
            current(client, &id).await?;
            scale(client, &id, instances, &force, &wait).await
        }
        App::Restart { id, force, wait } => restart(client, &app_id(&id), &force, &wait).await,
        App::Remove { id, force, wait } => remove(client, &app_id(&id), &force, &wait).await,
        App::Start { id, instances, force, wait } => {
            let id = app_id(&id);
            let running = current(client, &id).await?.get("instances").count();
            if running > 0 {
                return Err(Failure::new(format!("application '{id}' already started: {running} instances"))
                    .hint(format!("change the number with `dcos marathon app scale {id} <n>`")));
            }
            scale(client, &id, instances, &force, &wait).await
        }
        App::Stop { id, force, wait } => {
            let id = app_id(&id);
            if current(client, &id).await?.get("instances").count() == 0 {
                return Err(Failure::new(format!("app '{id}' already stopped: 0 instances")));
            }
            scale(client, &id, 0, &force, &wait).await
        }
        App::Kill { id, scale, host } => kill(client, &app_id(&id), scale, host.as_deref()).await,
        App::Version(AppVersion::List { id, max_count }) => versions(client, &app_id(&id), max_count).await,
    }
}

async fn add(client: &Client, resource: Option<&str>, wait: &Wait) -> Result<()> {
    let definition = resource::read(client, resource).await?;
    let id = definition.doc.get("id").text();
    if !id.is_empty() {
        let id = app_id(id);
        if id.len() > LONG_ID {
            output::note(&format!("Warning: '{id}' is long; its DNS name may not be usable."));
        }
        if client.send(Method::GET, &app_path(&id), None).await?.status == StatusCode::OK {
            return Err(Failure::new(format!("Application '{id}' already exists"))
                .hint(format!("change it with `dcos marathon app update {id} < file.json`")));
        }
    }
    let reply = client.send(Method::POST, &format!("{BASE}/v2/apps"), Some(definition.text)).await?.json()?;
    let deployment = reply.get("deployments").items().first().map_or("", |first| first.get("id").text());
    created(deployment)?;
    wait_for(client, deployment, reply.get("id").text(), wait).await
}

async fn update(client: &Client, id: &str, words: &[String], force: &Force, wait: &Wait) -> Result<()> {
    let body = if words.is_empty() {
        resource::read(client, None).await?.text
    } else {
        resource::properties(words)?.compact()
    };
    // A PUT to an app that is not there would create it.
    current(client, id).await?;
    let reply = client.send(Method::PUT, &forced(app_path(id), force), Some(body)).await?;
    deployed(client, existing(reply, id)?, id, wait).await
}

async fn scale(client: &Client, id: &str, instances: u32, force: &Force, wait: &Wait) -> Result<()> {
    let body = format!("{{\"instances\":{instances}}}");
    let reply = client.send(Method::PUT, &forced(app_path(id), force), Some(body)).await?;
    deployed(client, existing(reply, id)?, id, wait).await
}

async fn restart(client: &Client, id: &str, force: &Force, wait: &Wait) -> Result<()> {
    if current(client, id).await?.get("instances").count() == 0 {
        return Err(Failure::new(format!(
            "unable to perform rolling restart of application '{id}' because it has no running tasks"
        )));
    }
    let path = forced(format!("{}/restart", app_path(id)), force);
    let reply = client.send(Method::POST, &path, None).await?;
    deployed(client, existing(reply, id)?, id, wait).await
}

async fn remove(client: &Client, id: &str, force: &Force, wait: &Wait) -> Result<()> {
    let reply = client.send(Method::DELETE, &forced(app_path(id), force), None).await?;
    let reply = existing(reply, id)?;
    match wait.wait {
        Some(limit) => wait::removed(client, reply.get("deploymentId").text(), limit).await,
        None => Ok(()),
    }
}

async fn show(client: &Client, id: &str, version: Option<&str>) -> Result<()> {
    let Some(version) = version else { return output::json(&current(client, id).await?) };
    let version = match version.parse::<i64>() {
        Ok(back) if back >= 0 => {
            return Err(Failure::new(format!("relative versions must be negative: {back}")));
        }
        Ok(back) => relative(client, id, back.unsigned_abs()).await?,
        Err(_) => version.to_owned(),
    };
    let path = format!("{}/versions/{}", app_path(id), super::marathon::encode_path(&version));
    let reply = client.send(Method::GET, &path, None).await?;
    output::json(&existing(reply, id)?)
}

async fn relative(client: &Client, id: &str, back: u64) -> Result<String> {
    let versions = list_versions(client, id).await?;
    let found = usize::try_from(back).ok().and_then(|back| versions.get(back));
    found.map(|version| version.text().to_owned()).ok_or_else(|| {
        Failure::new(format!("application '{id}' only has {} version(s)", versions.len()))
            .hint(format!("see `dcos marathon app version list {id}`"))
    })
}

async fn list_versions(client: &Client, id: &str) -> Result<Vec<Doc>> {
    let reply = client.send(Method::GET, &format!("{}/versions", app_path(id)), None).await?;
    Ok(existing(reply, id)?.get("versions").items().to_vec())
}

async fn versions(client: &Client, id: &str, max_count: Option<usize>) -> Result<()> {
    let mut versions = list_versions(client, id).await?;
    versions.truncate(max_count.unwrap_or(usize::MAX));
    output::json(&Doc::Array(versions))
}

async fn kill(client: &Client, id: &str, scale: bool, host: Option<&str>) -> Result<()> {
    let mut path = format!("{}/tasks", app_path(id));
    if let Some(host) = host {
        path.push_str(&format!("?host={}", super::marathon::encode_query(host)));
    } else if scale {
        path.push_str("?scale=true");
    }
    let reply = client.send(Method::DELETE, &path, None).await?;
    let reply = existing(reply, id)?;
    if scale {
        return output::line(&format!("Started deployment: {}", reply.compact()));
    }
    let killed = reply.get("tasks");
    if killed.items().is_empty() {
        return Err(Failure::new("no tasks were killed").hint("see what runs with `dcos marathon task list`"));
    }
    output::line(&format!("Killed tasks: {}", killed.compact()))
}

fn forced(path: String, force: &Force) -> String {
    if force.force { path + "?force=true" } else { path }
}

async fn deployed(client: &Client, reply: Doc, id: &str, wait: &Wait) -> Result<()> {
    let deployment = reply.get("deploymentId").text();
    created(deployment)?;
    wait_for(client, deployment, id, wait).await
}

fn created(deployment: &str) -> Result<()> {
    output::line(&format!("Created deployment {deployment}"))
}

async fn wait_for(client: &Client, deployment: &str, id: &str, wait: &Wait) -> Result<()> {
    match wait.wait {
        Some(limit) => wait::settled(client, deployment, &app_id(id), limit).await,
        None => Ok(()),
    }
}
