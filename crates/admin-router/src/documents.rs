//! The small documents that the door answers itself.
//!
//! Wire types of `/metadata` and `/dcos-metadata/*`; built from [`ClusterFacts`] per request,
//! they are a few hundred bytes.

use axum::body::Body;
use http::{Response, StatusCode};
use serde::Serialize;

use crate::config::ClusterFacts;
use crate::pages;

#[derive(Serialize)]
struct DcosVersion<'a> {
    version: &'a str,
    #[serde(rename = "dcos-variant")]
    variant: &'a str,
    #[serde(rename = "dcos-image-commit")]
    image_commit: &'a str,
    #[serde(rename = "bootstrap-id")]
    bootstrap_id: &'a str,
    #[serde(rename = "dcosd-version")]
    product_version: &'a str,
}

#[derive(Serialize)]
struct Metadata<'a> {
    #[serde(rename = "PUBLIC_IPV4")]
    public_ipv4: &'a str,
    #[serde(rename = "CLUSTER_ID")]
    cluster_id: &'a str,
}

pub fn dcos_version(facts: &ClusterFacts) -> Response<Body> {
    json(&DcosVersion {
        version: &facts.version,
        variant: &facts.variant,
        image_commit: &facts.image_commit,
        bootstrap_id: &facts.bootstrap_id,
        product_version: &facts.product_version,
    })
}

pub fn metadata(facts: &ClusterFacts) -> Response<Body> {
    json(&Metadata { public_ipv4: &facts.public_ipv4, cluster_id: &facts.cluster_id })
}

/// What a browser sees until the web GUI lives here.
pub fn landing(facts: &ClusterFacts) -> Response<Body> {
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>DC/OS</title></head><body>\n\
         <h1>DC/OS</h1>\n<p>This is Admin Router, the door of a DC/OS {}-compatible cluster.</p>\n<ul>\n\
         <li><a href=\"/service/marathon/v2/apps\">Marathon: apps</a></li>\n\
         <li><a href=\"/mesos/state-summary\">Mesos: state summary</a></li>\n\
         <li><a href=\"/dcos-metadata/dcos-version.json\">Version</a></li>\n</ul>\n</body></html>\n",
        facts.version
    );
    pages::with_type(StatusCode::OK, "text/html; charset=utf-8", page)
}

fn json<T: Serialize>(document: &T) -> Response<Body> {
    match serde_json::to_string(document) {
        Ok(text) => pages::with_type(StatusCode::OK, "application/json", text + "\n"),
        Err(error) => pages::plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
