//! What this node says of itself.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use crate::Served;
use crate::reply;
use crate::request::Call;

pub(super) fn ping(call: &Call) -> Response {
    if call.accept.is_empty() {
        return reply::typed(StatusCode::OK, "text/plain", "pong");
    }
    for media in call.accept.split(',').map(|part| part.split(';').next().unwrap_or_default().trim()) {
        match media {
            "text/plain" | "text/*" | "*/*" => return reply::typed(StatusCode::OK, "text/plain", "pong"),
            "application/json" => return reply::ok(&json!("pong")),
            _ => {}
        }
    }
    reply::empty(StatusCode::NO_CONTENT)
}

pub(super) fn leader(served: &Served) -> Response {
    reply::ok(&json!({ "leader": served.identity.address }))
}

pub(super) fn info(served: &Served) -> Response {
    let identity = &served.identity;
    let framework_id = served.handle.view().framework_id.as_ref().map(|id| id.as_str().to_owned());
    let mut body = json!({
        "name": served.handle.config().framework_name,
        "version": identity.version,
        "buildref": identity.buildref,
        "elected": true,
        "leader": identity.address,
        "marathon_config": marathon_config(served),
        "zookeeper_config": zookeeper_config(),
        "http_config": { "http_port": identity.http_port, "https_port": identity.https_port },
    });
    if let (Some(id), Value::Object(body)) = (framework_id, &mut body) {
        body.insert("frameworkId".to_owned(), id.into());
    }
    reply::ok(&body)
}

fn marathon_config(served: &Served) -> Value {
    let config = served.handle.config();
    let identity = &served.identity;
    let mut out = json!({
        "checkpoint": true,
        "decline_offer_duration": config.decline_ms,
        "env_vars_prefix": null,
        "executor": "//cmd",
        "failover_timeout": config.failover_timeout_ms / 1000,
        "features": config.features.iter().collect::<Vec<_>>(),
        "framework_name": config.framework_name,
        "ha": true,
        "hostname": config.hostname,
        "launch_token": 100,
        "launch_token_refresh_interval": 30_000,
        "leader_proxy_connection_timeout_ms": 5_000,
        "leader_proxy_read_timeout_ms": 10_000,
        "local_port_min": config.service_port_min,
        "local_port_max": config.service_port_max,
        "master": identity.master,
        "max_instances_per_offer": config.max_instances_per_offer,
        "mesos_bridge_name": config.bridge_name,
        "mesos_heartbeat_failure_threshold": 5,
        "mesos_heartbeat_interval": 15_000,
        "mesos_leader_ui_url": identity.mesos_leader_ui_url,
        "mesos_role": config.role.as_str(),
        "mesos_user": config.user,
        "min_revive_offers_interval": config.revive_interval_ms,
        "offer_matching_timeout": 3_000,
        "on_elected_prepare_timeout": 180_000,
        "reconciliation_initial_delay": 15_000,
        "reconciliation_interval": config.reconcile_interval_ms,
        "revive_offers_for_new_apps": true,
        "revive_offers_repetitions": 1,
        "scale_apps_initial_delay": 15_000,
        "scale_apps_interval": 300_000,
        "store_cache": true,
        "task_launch_confirm_timeout": config.launch_confirm_timeout_ms,
        "task_launch_timeout": 86_400_000,
        "task_lost_expunge_initial_delay": 300_000,
        "task_lost_expunge_interval": 30_000,
        "task_reservation_timeout": 1_800_000,
    });
    if let Value::Object(out) = &mut out {
        let optional =
            [("default_network_name", &config.default_network_name), ("webui_url", &config.webui_url)];
        for (key, value) in optional {
            if let Some(value) = value {
                out.insert(key.to_owned(), value.as_str().into());
            }
        }
        out.retain(|_, value| !value.is_null());
    }
    out
}

/// There is no ZooKeeper; clients expect the keys.
fn zookeeper_config() -> Value {
    json!({
        "zk": "",
        "zk_compression": true,
        "zk_compression_threshold": 65_536,
        "zk_connection_timeout": 10_000,
        "zk_max_node_size": 1_024_000,
        "zk_max_versions": 50,
        "zk_session_timeout": 10_000,
        "zk_timeout": 10_000,
    })
}
