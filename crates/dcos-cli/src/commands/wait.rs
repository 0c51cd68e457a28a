//! `--wait`: follows a deployment to its end and says what became of it.
//!
//! Progress goes to standard error. Invariant: success means that the server's last word
//! was "all instances run" (and are healthy where health is checked), not that the
//! deployment vanished.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use super::app_list::short_action;
use super::marathon::{BASE, app_path};
use crate::error::{Failure, Result, TIMED_OUT};
use crate::http::Client;
use crate::json::Doc;
use crate::output::note;

const FIRST_LOOK: Duration = Duration::from_millis(50);
const SLOWEST_LOOK: Duration = Duration::from_secs(1);
/// After so long without a change the reasons are shown.
const IMPATIENCE: Duration = Duration::from_secs(10);
/// A master that restarts may be away for so long.
const TOLERATED_SILENCE: Duration = Duration::from_secs(30);

/// Waits until the deployment has ended and the app runs as it should.
pub async fn settled(client: &Client, deployment: &str, id: &str, limit: Duration) -> Result<()> {
    ended(client, deployment, Some(id), limit).await?;
    let reply = client.send(Method::GET, &app_path(id), None).await?;
    if reply.status == StatusCode::NOT_FOUND {
        return Err(Failure::new(format!(
            "app '{id}' is gone: its deployment was rolled back or the app removed"
        )));
    }
    let answer = reply.json()?;
    let app = answer.get("app");
    let (wanted, running) = (app.get("instances").count(), app.get("tasksRunning").count());
    let healthy = app.get("tasksHealthy").count();
    let checked = !app.get("healthChecks").items().is_empty();
    if running < wanted || (checked && healthy < wanted) {
        let state = if checked {
            format!("{healthy} healthy, {running} running")
        } else {
            format!("{running} running")
        };
        let failure =
            Failure::new(format!("the deployment has ended, but of {wanted} instances of '{id}' {state}"));
        let last = app.at(&["lastTaskFailure", "message"]).text();
        let failure = if last.is_empty() { failure } else { failure.cause(last) };
        return Err(
            failure.hint(format!("see `dcos task log {}`", id.trim_start_matches('/').replace('/', "_")))
        );
    }
    note(&format!("{id}: {running}/{wanted} running"));
    Ok(())
}

/// Waits until the deployment that removes an app has ended.
pub async fn removed(client: &Client, deployment: &str, limit: Duration) -> Result<()> {
    ended(client, deployment, None, limit).await
}

async fn ended(client: &Client, deployment: &str, app: Option<&str>, limit: Duration) -> Result<()> {
    let start = Instant::now();
    let (mut heard, mut changed) = (start, start);
    let mut pause = FIRST_LOOK;
    let mut shown = String::new();
    let mut explained = false;
    loop {
        match look(client, deployment, app).await {
            Ok(None) => return Ok(()),
            Ok(Some(line)) => {
                heard = Instant::now();
                if line != shown {
                    note(&line);
                    shown = line;
                    changed = heard;
                    explained = false;
                } else if changed.elapsed() > IMPATIENCE && !explained {
                    explained = true;
                    explain(client, app).await;
                }
            }
            Err(failure) if heard.elapsed() > TOLERATED_SILENCE => return Err(failure),
            Err(_) => {}
        }
        if start.elapsed() >= limit {
            return Err(Failure::new(format!(
                "deployment {deployment} did not end in {} s",
                limit.as_secs()
            ))
            .hint("it goes on; follow it with `dcos marathon deployment list`")
            .code(TIMED_OUT));
        }
        tokio::time::sleep(pause.min(limit.saturating_sub(start.elapsed()))).await;
        pause = (pause * 3 / 2).min(SLOWEST_LOOK);
    }
}

/// One line about where the deployment stands; `None` when it has ended.
async fn look(client: &Client, deployment: &str, app: Option<&str>) -> Result<Option<String>> {
    let all = client.get(&format!("{BASE}/v2/deployments")).await?;
    let Some(found) = all.items().iter().find(|found| found.get("id").text() == deployment) else {
        return Ok(None);
    };
    let actions: Vec<String> = found
        .get("currentActions")
        .items()
        .iter()
        .map(|action| format!("{} {}", short_action(action.get("action").text()), action.get("app").text()))
        .collect();
    let mut line = format!(
        "step {}/{} {}",
        found.get("currentStep").count(),
        found.get("totalSteps").count(),
        actions.join(", ")
    );
    if let Some(id) = app {
        let answer = client.get(&app_path(id)).await?;
        let app = answer.get("app");
        line.push_str(&format!(
            ": {}/{} running",
            app.get("tasksRunning").count(),
            app.get("instances").count()
        ));
        if !app.get("healthChecks").items().is_empty() {
            line.push_str(&format!(", {} healthy", app.get("tasksHealthy").count()));
        }
    }
    Ok(Some(line.trim_end().to_owned()))
}

/// Why nothing moves, as far as the launch queue knows.
async fn explain(client: &Client, app: Option<&str>) {
    let Ok(queue) = client.get(&format!("{BASE}/v2/queue")).await else { return };
    for item in queue.get("queue").items() {
        if app.is_some_and(|id| item.at(&["app", "id"]).text() != id) {
            continue;
        }
        let delay = item.at(&["delay", "timeLeftSeconds"]).count();
        if delay > 0 {
            note(&format!("  waiting {delay} s before the next launch, because the last ones failed"));
        }
        for reason in reasons(item.get("processedOffersSummary")) {
            note(&format!("  {reason}"));
        }
    }
}

fn reasons(summary: &Doc) -> Vec<String> {
    let steps = summary.get("rejectSummaryLastOffers").items();
    let refused = steps.iter().filter(|step| step.get("declined").count() > 0);
    let line = |step: &Doc| {
        let (declined, processed) = (step.get("declined").count(), step.get("processed").count());
        format!("{declined} of {processed} offers refused: {}", step.get("reason").text())
    };
    refused.map(line).collect()
}
