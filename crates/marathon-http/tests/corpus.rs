//! Every definition of the corpus gets the verdict it has there.
//!
//! The corpus lies beside the repository, or where `DCOSD_CORPUS` says.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use common::{Answer, Marathon};
use serde_json::Value;

/// The corpus takes these; the contract (`marathon-api.md` §9, checklist 29) and
/// Marathon's own pattern refuse upper-case letters in ids.
const REFUSED_BY_THE_CONTRACT: [&str; 1] = ["apps/docs-site/deploying-services-expose-service-1.json"];

fn corpus() -> PathBuf {
    let root = std::env::var_os("DCOSD_CORPUS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        PathBuf::from,
    );
    let dir = root.join("marathon");
    assert!(
        dir.join("manifest.json").is_file(),
        "the corpus is not at {}; set DCOSD_CORPUS to the directory that holds marathon/manifest.json",
        dir.display()
    );
    dir
}

/// Refused for nothing but that this version cannot do it yet.
fn only_unavailable(answer: &Answer) -> bool {
    let json = answer.json();
    let Some(details) = json["details"].as_array() else { return false };
    let errors = details.iter().flat_map(|detail| detail["errors"].as_array().cloned().unwrap_or_default());
    let mut errors = errors.peekable();
    answer.status == 422
        && errors.peek().is_some()
        && errors.all(|error| error.as_str().is_some_and(|e| e.ends_with(marathon::definition::UNAVAILABLE)))
}

#[tokio::test(flavor = "multi_thread")]
async fn verdicts_of_the_corpus() {
    let dir = corpus();
    let manifest: Vec<Value> =
        serde_json::from_slice(&std::fs::read(dir.join("manifest.json")).unwrap()).unwrap();
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut reasons: BTreeMap<String, u32> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut texts = Vec::new();
    let marathon = Marathon::start().await;
    for entry in &manifest {
        let text = |key: &str| entry[key].as_str().unwrap().to_owned();
        let (file, request, verdict) = (text("file"), text("request"), text("verdict"));
        let body = std::fs::read(dir.join(&file)).unwrap();
        let (method, path) = match request.split_once(' ') {
            Some((method, path)) if path.starts_with("/v2/apps") => (method, path),
            Some((_, path)) if path.starts_with("/v2/") => {
                *counts.entry("groups and pods: not served in this version").or_default() += 1;
                continue;
            }
            _ => continue,
        };
        if verdict.starts_with("accept") && method != "POST" {
            // Updates need the app they update; `http.rs` has such cases.
            *counts.entry("updates: elsewhere").or_default() += 1;
            continue;
        }
        let path = path.replace("{id}", "some-app");
        let answer = marathon.call(method, &path, body).await;
        let case = match verdict.as_str() {
            "accept" | "accept-if" if answer.status.is_success() => {
                let id = answer.json()["id"].as_str().unwrap().to_owned();
                assert_eq!(marathon.call("DELETE", &format!("/v2/apps{id}"), "").await.status, 200);
                "accepted"
            }
            "accept" | "accept-if" if only_unavailable(&answer) => {
                for detail in answer.json()["details"].as_array().unwrap() {
                    *reasons.entry(detail["errors"][0].as_str().unwrap().to_owned()).or_default() += 1;
                }
                "valid, refused as not available in this version"
            }
            "accept" if REFUSED_BY_THE_CONTRACT.contains(&file.as_str()) && answer.status == 422 => {
                "taken by the corpus, refused by the contract"
            }
            "accept-if" if answer.status == 422 => "refused for the condition the corpus names",
            "reject 4xx" if answer.status.is_client_error() => "refused",
            _ if verdict == format!("reject {}", answer.status.as_u16()) && !only_unavailable(&answer) => {
                "refused"
            }
            _ => {
                wrong.push(format!("{file}: {verdict}, but {} {}", answer.status, answer.body));
                "wrong"
            }
        };
        if case == "refused" {
            let why = text("why");
            // Only texts of answers: the corpus also quotes from requests.
            let of_answer = !why.starts_with("operator") && !why.starts_with("placeholder");
            let quoted = why.split('"').nth(1).filter(|quoted| of_answer && quoted.contains(' '));
            // The corpus leaves parts out by dots or by quotes inside.
            let part =
                quoted.map(|quoted| quoted.split("[...]").next().unwrap_or_default().trim_end_matches('\\'));
            if part.is_some_and(|part| !answer.body.contains(part)) {
                texts.push(format!("{file}: {why}, but {}", answer.body));
            }
        }
        *counts.entry(case).or_default() += 1;
    }
    println!("{} entries: {counts:#?}\n{reasons:#?}", manifest.len());
    assert!(wrong.is_empty(), "{} wrong verdicts:\n{}", wrong.len(), wrong.join("\n"));
    assert!(texts.is_empty(), "{} refusals lack the text of the corpus:\n{}", texts.len(), texts.join("\n"));
}
