//! Prints what `/v2/events` tells.

use marathon::MarathonEvent;
use marathon::shell::Told;
use marathon::state::{Deployment, Instance};
use model::{TaskId, TaskState};
use serde_json::{Value, json};

use super::print_app::{self, Object};
use super::print_task;

/// Name and body of an event.
pub(crate) fn event(told: &Told) -> (&'static str, Value) {
    let (name, mut out) = parts(&told.event);
    out.set("eventType", name).set("timestamp", told.time.to_iso());
    (name, Value::Object(out.0))
}

fn parts(event: &MarathonEvent) -> (&'static str, Object) {
    let mut out = Object::default();
    let name = match event {
        MarathonEvent::ApiPost { client_ip, uri, app } => {
            out.set("clientIp", client_ip.as_str()).set("uri", uri.as_str());
            out.set("appDefinition", print_app::app(app));
            "api_post_event"
        }
        MarathonEvent::SchedulerRegistered { framework_id } => {
            out.set("frameworkId", framework_id.as_str()).set("master", "leader.mesos");
            "scheduler_registered_event"
        }
        MarathonEvent::SchedulerReregistered => {
            out.set("master", "leader.mesos");
            "scheduler_reregistered_event"
        }
        MarathonEvent::SchedulerDisconnected => "scheduler_disconnected_event",
        MarathonEvent::DeploymentInfo(plan) => {
            running_plan(plan, &mut out);
            "deployment_info"
        }
        MarathonEvent::DeploymentStepSuccess(plan) => {
            running_plan(plan, &mut out);
            "deployment_step_success"
        }
        MarathonEvent::DeploymentSuccess(done) => {
            out.set("id", done.id.as_str()).set("plan", plan(done));
            "deployment_success"
        }
        MarathonEvent::DeploymentFailed { plan: failed, reason } => {
            out.set("id", failed.id.as_str()).set("plan", plan(failed)).set("reason", reason.as_str());
            "deployment_failed"
        }
        MarathonEvent::GroupChangeSuccess { group, version } => {
            out.set("groupId", group.as_str()).set("version", version.to_iso());
            "group_change_success"
        }
        MarathonEvent::AppTerminated { app } => {
            out.set("appId", app.as_str());
            "app_terminated_event"
        }
        MarathonEvent::StatusUpdate { instance, state, message } => {
            status_update(instance, *state, message, &mut out);
            "status_update_event"
        }
        MarathonEvent::InstanceChanged { instance, condition } => {
            out.set("instanceId", instance.instance_id()).set("condition", *condition);
            out.set("runSpecId", instance.app.as_str()).set("agentId", instance.agent_id.as_str());
            out.set("host", instance.hostname.as_str()).set("runSpecVersion", instance.version.to_iso());
            "instance_changed_event"
        }
        MarathonEvent::UnknownInstanceTerminated { task_id, condition } => {
            let (instance, app) = unknown(task_id);
            out.set("instanceId", instance).set("runSpecId", app).set("condition", *condition);
            "unknown_instance_terminated_event"
        }
    };
    (name, out)
}

fn running_plan(running: &Deployment, out: &mut Object) {
    out.set("plan", plan(running));
    out.set_some("currentStep", running.steps.get(running.current).map(print_task::step));
}

fn plan(plan: &Deployment) -> Value {
    json!({ "id": plan.id, "version": plan.version.to_iso(), "steps": print_task::steps(plan) })
}

fn status_update(instance: &Instance, state: TaskState, message: &str, out: &mut Object) {
    let task = print_task::task(instance);
    out.set("slaveId", instance.agent_id.as_str()).set("taskId", instance.task_id.as_str());
    out.set("taskStatus", state.name()).set("message", message).set("appId", instance.app.as_str());
    out.set("host", instance.hostname.as_str()).set("ports", instance.ports.clone());
    out.set("ipAddresses", task.0.get("ipAddresses").cloned().unwrap_or_else(|| json!([])));
    out.set("version", instance.version.to_iso());
}

/// Instance and app of a task that we do not know, by its id.
fn unknown(task: &TaskId) -> (String, String) {
    match task.as_str().rsplit_once('.') {
        Some((safe, uuid)) => (format!("{safe}.marathon-{uuid}"), format!("/{}", safe.replace('_', "/"))),
        None => (task.as_str().to_owned(), "/".to_owned()),
    }
}
