//! A framework of somebody else's: the scheduler API over HTTP, spoken by hand.

use std::time::Duration;

use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::support::Cluster;

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Framework {
    url: String,
    client: Client,
    stream_id: String,
    events: Response,
    buffer: Vec<u8>,
    pub id: String,
    /// Statuses by arrival; each was acknowledged.
    pub statuses: Vec<Value>,
    pub seen: Vec<Value>,
}

impl Framework {
    pub async fn subscribe(cluster: &Cluster, info: Value) -> Self {
        let url = format!("{}/mesos/api/v1/scheduler", cluster.url);
        let client = Client::builder().build().unwrap();
        let call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}});
        let request = client.post(&url).header("content-type", "application/json");
        let events =
            request.header("accept", "application/json").body(call.to_string()).send().await.unwrap();
        let status = events.status();
        if status != 200 {
            panic!("SUBSCRIBE: {status} {}", events.text().await.unwrap_or_default());
        }
        let stream_id = events.headers()["mesos-stream-id"].to_str().unwrap().to_owned();
        let mut framework = Self {
            url,
            client,
            stream_id,
            events,
            buffer: Vec::new(),
            id: String::new(),
            statuses: Vec::new(),
            seen: Vec::new(),
        };
        let subscribed = framework.event("SUBSCRIBED", |_| true).await;
        framework.id = subscribed["subscribed"]["framework_id"]["value"].as_str().unwrap().to_owned();
        framework
    }

    pub async fn call(&self, mut call: Value) {
        call["framework_id"] = json!({"value": self.id});
        let request = self.client.post(&self.url).header("content-type", "application/json");
        let answer =
            request.header("mesos-stream-id", &self.stream_id).body(call.to_string()).send().await.unwrap();
        let status = answer.status();
        assert_eq!(status, 202, "{call}: {}", answer.text().await.unwrap_or_default());
    }

    /// The next record of the stream.
    async fn record(&mut self) -> Value {
        loop {
            if let Some(line) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let length: usize = std::str::from_utf8(&self.buffer[..line]).unwrap().parse().unwrap();
                if self.buffer.len() > line + length {
                    let rest = self.buffer.split_off(line + 1 + length);
                    let record = serde_json::from_slice(&self.buffer[line + 1..]).unwrap();
                    self.buffer = rest;
                    return record;
                }
            }
            let chunk = self.events.chunk().await.unwrap().expect("the stream of events ended");
            self.buffer.extend_from_slice(&chunk);
        }
    }

    /// Waits for an event of this kind; updates are acknowledged on the way.
    pub async fn event(&mut self, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let event = self.record().await;
                if event["type"] == "UPDATE" {
                    let status = event["update"]["status"].clone();
                    if status["uuid"].is_string() {
                        self.call(json!({"type": "ACKNOWLEDGE", "acknowledge": {
                            "agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"],
                        }}))
                        .await;
                    }
                    self.statuses.push(status);
                }
                if event["type"] != "HEARTBEAT" {
                    self.seen.push(event.clone());
                }
                if event["type"] == kind && fits(&event) {
                    return event;
                }
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(event) => event,
            Err(_) => {
                let short = |event: &Value| event.to_string().chars().take(600).collect::<String>();
                let came: Vec<String> = self.seen.iter().map(short).collect();
                panic!("waited {PATIENCE:?} for {kind}; came:\n{}", came.join("\n"));
            }
        }
    }

    /// The status with which a task reaches this state, also one that came before.
    pub async fn state(&mut self, task: &str, state: &str) -> Value {
        let is = |status: &Value| status["task_id"]["value"] == task && status["state"] == state;
        if let Some(status) = self.statuses.iter().find(|status| is(status)) {
            return status.clone();
        }
        self.event("UPDATE", |event| is(&event["update"]["status"])).await["update"]["status"].clone()
    }

    /// An offer whose resources pass.
    pub async fn offer(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.event("OFFERS", |_| true).await;
            for offer in event["offers"]["offers"].as_array().unwrap() {
                if fits(offer) {
                    return offer.clone();
                }
                let decline = json!({"offer_ids": [offer["id"]], "filters": {"refuse_seconds": 0.1}});
                self.call(json!({"type": "DECLINE", "decline": decline})).await;
            }
        }
    }

    pub async fn accept(&mut self, offer: &Value, operations: Value) {
        self.call(json!({"type": "ACCEPT", "accept": {
            "offer_ids": [offer["id"]], "operations": operations, "filters": {"refuse_seconds": 0.1},
        }}))
        .await;
    }

    pub async fn kill(&self, task: &str) {
        self.call(json!({"type": "KILL", "kill": {"task_id": {"value": task}}})).await;
    }

    pub async fn teardown(self) {
        self.call(json!({"type": "TEARDOWN"})).await;
    }
}

pub fn info(role: &str, capabilities: &[&str]) -> Value {
    let capabilities: Vec<Value> = ["MULTI_ROLE", "RESERVATION_REFINEMENT"]
        .iter()
        .chain(capabilities)
        .map(|name| json!({"type": name}))
        .collect();
    json!({
        "user": "root", "name": "foreign", "principal": "me", "roles": [role], "checkpoint": true, "failover_timeout": 600.0,
        "capabilities": capabilities,
    })
}

pub fn scalar(role: &str, name: &str, value: f64) -> Value {
    json!({
        "name": name, "type": "SCALAR", "scalar": {"value": value}, "allocation_info": {"role": role},
    })
}

pub fn task(id: &str, offer: &Value, role: &str) -> Value {
    json!({
        "task_id": {"value": id}, "name": id, "agent_id": offer["agent_id"],
        "resources": [scalar(role, "cpus", 0.1), scalar(role, "mem", 32.0)],
    })
}

pub fn command(line: &str) -> Value {
    json!({"shell": true, "value": line})
}
