//! Marathon's event stream, with the time at which each event came in.
//!
//! Responsible for reading server-sent events as they arrive, so that waiting for a
//! task costs the measured daemons nothing. Not for their meaning beyond status updates.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use reqwest::Client;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::cluster::PATIENCE;

/// Events that may wait for the measuring side.
const WAITING_MAX: usize = 4096;
/// Longest event that is read.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

pub struct Events {
    updates: mpsc::Receiver<(Instant, Value)>,
    reader: JoinHandle<()>,
}

impl Events {
    pub async fn attach(url: &str) -> Result<Self> {
        let client = Client::builder().no_proxy().connect_timeout(Duration::from_secs(5)).build()?;
        let request = client.get(url).header("accept", "text/event-stream").send();
        let response = tokio::time::timeout(PATIENCE, request).await.context("no event stream in time")??;
        if !response.status().is_success() {
            bail!("GET {url}: {}", response.status());
        }
        let (sender, updates) = mpsc::channel(WAITING_MAX);
        let mut chunks = response.bytes_stream();
        let reader = tokio::spawn(async move {
            let mut text = Vec::new();
            while let Some(Ok(chunk)) = chunks.next().await {
                let now = Instant::now();
                text.extend_from_slice(&chunk);
                if text.len() > EVENT_BYTES_MAX {
                    return;
                }
                while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    let Some(data) = line.strip_prefix(b"data:") else { continue };
                    let Ok(event) = serde_json::from_slice::<Value>(data) else { continue };
                    if event["eventType"] == "status_update_event" && sender.send((now, event)).await.is_err()
                    {
                        return;
                    }
                }
            }
        });
        Ok(Self { updates, reader })
    }

    /// When a task of this app other than `not` was told to run, and its id.
    pub async fn running(&mut self, app: &str, not: &str) -> Result<(Instant, String)> {
        let search = async {
            while let Some((time, event)) = self.updates.recv().await {
                let task = event["taskId"].as_str().unwrap_or_default();
                if event["appId"] == app && event["taskStatus"] == "TASK_RUNNING" && task != not {
                    return Ok((time, task.to_owned()));
                }
            }
            bail!("the event stream ended")
        };
        let waited = tokio::time::timeout(PATIENCE, search).await;
        waited.with_context(|| format!("no task of {app} was running within {} s", PATIENCE.as_secs()))?
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
