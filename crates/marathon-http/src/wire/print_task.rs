//! Prints tasks, deployments and queue items.

use marathon::AppDefinition;
use marathon::state::{Action, Deployment, Instance, Step};
use marathon::view::QueueView;
use model::{Attribute, AttributeValue, Offer, Ranges, Resource, ResourceValue, Time};
use scheduler::{Funnel, UnusedOffer};
use serde_json::{Value, json};

use super::number;
use super::print_app::{Object, app};

pub(crate) fn task(instance: &Instance) -> Object {
    let mut out = Object::default();
    out.set("id", instance.task_id.as_str()).set("appId", instance.app.as_str());
    out.set("host", instance.hostname.as_str()).set("state", instance.state.name());
    out.set("slaveId", instance.agent_id.as_str());
    let address = instance.container_ip.as_deref().unwrap_or(&instance.agent_ip);
    if !address.is_empty() {
        let protocol = if address.contains(':') { "IPv6" } else { "IPv4" };
        out.set("ipAddresses", json!([{ "ipAddress": address, "protocol": protocol }]));
    }
    out.set("ports", instance.ports.clone());
    out.set("stagedAt", instance.staged.to_iso());
    out.set_some("startedAt", instance.started.map(Time::to_iso));
    out.set("version", instance.version.to_iso());
    out.set("localVolumes", Vec::<Value>::new());
    out.set_some("region", instance.region.clone()).set_some("zone", instance.zone.clone());
    out
}

/// As `/v2/tasks` shows it.
pub(crate) fn task_with_service_ports(instance: &Instance, definition: Option<&AppDefinition>) -> Value {
    let mut out = task(instance);
    out.set("servicePorts", definition.map(AppDefinition::service_ports).unwrap_or_default());
    Value::Object(out.0)
}

fn action(action: &Action) -> Value {
    json!({ "action": action.kind.name(), "app": action.app.as_str() })
}

pub(crate) fn step(step: &Step) -> Value {
    json!({ "actions": step.actions.iter().map(action).collect::<Vec<Value>>() })
}

pub(crate) fn steps(plan: &Deployment) -> Value {
    plan.steps.iter().map(step).collect()
}

pub(crate) fn deployment(plan: &Deployment) -> Value {
    let affected: Vec<&str> = plan.target.keys().map(marathon::PathId::as_str).collect();
    let current = plan.steps.get(plan.current);
    let current_actions: Vec<Value> = current
        .into_iter()
        .flat_map(|step| &step.actions)
        .map(|action| {
            json!({
                "action": action.kind.name(),
                "app": action.app.as_str(),
                "readinessCheckResults": [],
            })
        })
        .collect();
    json!({
        "id": plan.id,
        "version": plan.version.to_iso(),
        "affectedApps": affected,
        "affectedPods": [],
        "steps": steps(plan),
        "currentActions": current_actions,
        "currentStep": plan.current + 1,
        "totalSteps": plan.steps.len(),
    })
}

pub(crate) fn queue_item(item: &QueueView, now: Time, with_offers: bool) -> Value {
    let left = item.delayed_until.map_or(0, |until| until.since(now).as_millis().div_ceil(1000));
    let tally = &item.tally;
    let mut summary = Object::default();
    summary.set("processedOffersCount", tally.processed).set("unusedOffersCount", tally.unused);
    summary.set_some("lastUnusedOfferAt", tally.last_unused.map(Time::to_iso));
    summary.set_some("lastUsedOfferAt", tally.last_used.map(Time::to_iso));
    summary.set("rejectSummaryLastOffers", funnel(&tally.last_offers_funnel()));
    summary.set("rejectSummaryLaunchAttempt", funnel(&tally.attempt_funnel()));
    let mut out = Object::default();
    out.set("app", app(&item.definition)).set("count", item.count);
    // The largest delay is a 32-bit number of seconds.
    let left = u64::try_from(left).unwrap_or(u64::MAX);
    out.set("delay", json!({ "timeLeftSeconds": left, "overdue": left == 0 }));
    out.set("since", item.since.to_iso()).set("processedOffersSummary", summary.0);
    if with_offers {
        out.set("lastUnusedOffers", tally.last_offers().map(unused_offer).collect::<Vec<Value>>());
    }
    Value::Object(out.0)
}

fn funnel(funnel: &Funnel) -> Value {
    let row = |row: &scheduler::FunnelRow| json!({ "reason": row.reason.name(), "declined": row.declined, "processed": row.processed });
    funnel.0.iter().map(row).collect()
}

fn unused_offer(unused: &UnusedOffer) -> Value {
    let reasons: Vec<&str> = unused.reasons.iter().map(|reason| reason.name()).collect();
    json!({ "offer": offer(&unused.offer), "reason": reasons, "timestamp": unused.time.to_iso() })
}

fn offer(offer: &Offer) -> Value {
    json!({
        "id": offer.id.as_str(),
        "hostname": offer.hostname,
        "agentId": offer.agent_id.as_str(),
        "resources": offer.resources.iter().map(resource).collect::<Vec<Value>>(),
        "attributes": offer.attributes.iter().map(attribute).collect::<Vec<Value>>(),
    })
}

fn ranges(ranges: &Ranges) -> Value {
    ranges.as_slice().iter().map(|(begin, end)| json!({ "begin": begin, "end": end })).collect()
}

fn resource(resource: &Resource) -> Value {
    let mut out = Object::default();
    out.set("name", resource.name.as_str()).set("role", resource.role().as_str());
    match &resource.value {
        ResourceValue::Scalar(quantity) => out.set("scalar", number(quantity.to_f64())),
        ResourceValue::Ranges(value) => out.set("ranges", ranges(value)),
        ResourceValue::Set(items) => out.set("set", items.clone()),
    };
    Value::Object(out.0)
}

fn attribute(attribute: &Attribute) -> Value {
    let mut out = Object::default();
    out.set("name", attribute.name.as_str());
    match &attribute.value {
        AttributeValue::Text(text) => out.set("text", text.as_str()),
        AttributeValue::Scalar(quantity) => out.set("scalar", number(quantity.to_f64())),
        AttributeValue::Ranges(value) => out.set("ranges", ranges(value)),
        AttributeValue::Set(items) => out.set("set", items.clone()),
    };
    Value::Object(out.0)
}
