//! The cluster that is measured: one master, one agent, real processes.
//!
//! Responsible for starting it, speaking with it and taking it down. Invariant: a
//! dropped [`Cluster`] is down, also on error.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use crate::events::Events;
use crate::meter::Group;

/// Longest wait for anything the cluster does.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Longest answer to a request.
const REQUEST_MAX: Duration = Duration::from_secs(30);

pub struct Cluster {
    program: PathBuf,
    name: String,
    url: String,
    data: tempfile::TempDir,
    client: Client,
    down: bool,
}

impl Cluster {
    pub async fn up(program: &Path) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.context("no free port on 127.0.0.1")?.port();
        let cluster = Self {
            program: program.to_owned(),
            name: format!("bench{}", std::process::id()),
            url: format!("http://127.0.0.1:{port}"),
            data: tempfile::tempdir().context("cannot make a temporary directory")?,
            client: Client::builder().timeout(REQUEST_MAX).no_proxy().build().context("no HTTP client")?,
            down: false,
        };
        let port = port.to_string();
        cluster.dev(&["up", "--masters", "1", "--agents", "1", "--public-agents", "0", "--port", &port])?;
        cluster
            .wait("Marathon to answer", Duration::from_millis(50), async || {
                let (status, _) = cluster.call(Method::GET, "/v2/info", None).await;
                Ok((status == StatusCode::OK).then_some(()))
            })
            .await?;
        Ok(cluster)
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The control group of all its processes.
    pub fn group(&self) -> Result<Group> {
        Group::find(&format!("dcosd-{}", self.name))
    }

    fn dev_output(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command.arg("dev").args(arguments).args(["--name", &self.name]);
        command.arg("--data-dir").arg(self.data.path().join("cluster")).env("HOME", self.data.path());
        command.output().with_context(|| format!("cannot run {}", self.program.display()))
    }

    fn dev(&self, arguments: &[&str]) -> Result<String> {
        let output = self.dev_output(arguments)?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("dcosd dev {} failed: {}", arguments.join(" "), error.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The daemon's pid of every node, with the node's name.
    pub fn daemons(&self) -> Result<Vec<(String, i32)>> {
        let text = self.dev(&["status", "--json"])?;
        let status: Value = serde_json::from_str(&text).context("dcosd dev status --json is no JSON")?;
        let mut daemons = Vec::new();
        for node in status["nodes"].as_array().into_iter().flatten() {
            let name = node["name"].as_str().unwrap_or_default();
            let pid = node["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
            daemons.push((name.to_owned(), pid.with_context(|| format!("{name} does not run"))?));
        }
        Ok(daemons)
    }

    /// The last lines of every node's log.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for (node, _) in self.daemons().unwrap_or_default() {
            if let Ok(log) = self.dev(&["logs", &node, "-n", "20"]) {
                let _ = writeln!(text, "--- {node}\n{log}");
            }
        }
        text
    }

    /// A request to Marathon; a failed one is a 503 with the reason.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, String) {
        let mut request = self.client.request(method, format!("{}/service/marathon{path}", self.url));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        match request.send().await {
            Ok(response) => (response.status(), response.text().await.unwrap_or_default()),
            Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        }
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        let (status, text) = self.call(Method::GET, path, None).await;
        if status != StatusCode::OK {
            bail!("GET {path}: {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("GET {path}: no JSON"))
    }

    pub async fn add(&self, app: &Value) -> Result<()> {
        let (status, text) = self.call(Method::POST, "/v2/apps", Some(app)).await;
        if status != StatusCode::CREATED {
            bail!("POST /v2/apps {app}: {status}: {text}");
        }
        Ok(())
    }

    /// Removes an app and waits until none of its tasks is left.
    pub async fn remove(&self, app: &str) -> Result<()> {
        let (status, text) = self.call(Method::DELETE, &format!("/v2/apps{app}?force=true"), None).await;
        if status != StatusCode::OK {
            bail!("DELETE /v2/apps{app}: {status}: {text}");
        }
        self.wait(&format!("{app} to be gone"), Duration::from_millis(20), async || {
            let (status, _) = self.call(Method::GET, &format!("/v2/apps{app}"), None).await;
            let tasks = self.get("/v2/tasks").await?;
            let left = tasks["tasks"].as_array().into_iter().flatten().any(|task| task["appId"] == app);
            Ok((status == StatusCode::NOT_FOUND && !left).then_some(()))
        })
        .await
    }

    pub async fn events(&self) -> Result<Events> {
        Events::attach(&format!("{}/service/marathon/v2/events", self.url)).await
    }

    /// Asks again and again until there is an answer, within bounds.
    pub async fn wait<T>(
        &self,
        what: &str,
        every: Duration,
        mut ask: impl AsyncFnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let begin = Instant::now();
        loop {
            if let Some(answer) = ask().await? {
                return Ok(answer);
            }
            if begin.elapsed() > PATIENCE {
                bail!("waited {} s for {what}", PATIENCE.as_secs());
            }
            tokio::time::sleep(every).await;
        }
    }

    /// Takes the cluster down; what it leaves behind is an error.
    pub fn down(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if self.down {
            return Ok(());
        }
        self.down = true;
        self.dev(&["down"])?;
        if let Ok(group) = self.group() {
            bail!("dcosd dev down left the control group {}", group.path().display());
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("bench: {error:#}");
        }
    }
}
