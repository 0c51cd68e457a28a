//! `dcos marathon`: what its commands share.

use http::{Method, StatusCode};

use super::{app, deployment, marathon_task};
use crate::args::Marathon;
use crate::error::{Failure, Result};
use crate::http::{Client, Reply};
use crate::json::Doc;
use crate::output;

/// Marathon's place behind the door.
pub const BASE: &str = "/service/marathon";

pub async fn run(client: &Client, command: Marathon) -> Result<()> {
    match command {
        Marathon::About => output::json(&client.get(&format!("{BASE}/v2/info")).await?),
        Marathon::App(command) => app::run(client, command).await,
        Marathon::Deployment(command) => deployment::run(client, command).await,
        // One door answers for all masters, so once and always are the same here.
        Marathon::Ping { once: _ } => ping(client).await,
        Marathon::Task(command) => marathon_task::run(client, command).await,
    }
}

async fn ping(client: &Client) -> Result<()> {
    let reply = client.send(Method::GET, &format!("{BASE}/ping"), None).await?.success()?;
    output::line(&format!("Marathon ping response[1x]: \"{}\"", reply.body.trim()))
}

/// `/web` from `web`, `/web` or `//web/`.
pub fn app_id(typed: &str) -> String {
    format!("/{}", typed.trim_matches('/'))
}

/// The path of an app, with what cannot stand in a URL encoded.
pub fn app_path(id: &str) -> String {
    format!("{BASE}/v2/apps{}", encode_path(id))
}

pub fn encode_path(path: &str) -> String {
    encode(path, b"/-._~:@!$'()*,;=+")
}

pub fn encode_query(value: &str) -> String {
    encode(value, b"-._~/")
}

fn encode(text: &str, kept: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The answer, or the original's sentence for an app that is not there.
pub fn existing(reply: Reply, id: &str) -> Result<Doc> {
    if reply.status == StatusCode::NOT_FOUND && reply.refusal().to_string().contains("does not exist") {
        return Err(Failure::new(format!("app '{id}' does not exist"))
            .hint("list what is there with `dcos marathon app list`"));
    }
    reply.json()
}

/// The app as the server holds it now.
pub async fn current(client: &Client, id: &str) -> Result<Doc> {
    let reply = client.send(Method::GET, &app_path(id), None).await?;
    match existing(reply, id)?.get("app") {
        app @ Doc::Object(_) => Ok(app.clone()),
        _ => Err(Failure::new(format!("'{id}' does not name one app"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_paths() {
        assert_eq!(app_id("web"), "/web");
        assert_eq!(app_id("//shop/web/"), "/shop/web");
        assert_eq!(app_path("/shop/wéb x?"), "/service/marathon/v2/apps/shop/w%C3%A9b%20x%3F");
        assert_eq!(encode_query("a/b&c=d"), "a/b%26c%3Dd");
    }
}
