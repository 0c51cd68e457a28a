//! Calls that change something: into the model's words, and its answers back.
//!
//! What is wrong with the form is said here; everything else is the master's to
//! decide. The legacy endpoints use the same conversions.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use mesos_master::MasterView;
use mesos_proto::v1::master as wire;
use mesos_proto::v1::master::call::Type;
use mesos_proto::{google, v1};
use model::operator_api::{OperatorCall, OperatorReply};
use model::{
    AgentId, DrainConfig, FrameworkId, Quantities, Quantity, QuotaConfig, Resource, ResourceOperation,
    ResourceValue, Resources, Role,
};

use crate::access::{Action, Caller, Object};
use crate::convert;
use crate::leader::LeadingMaster;
use crate::master::Served;
use crate::operator::common;
use crate::reply::Refusal;

/// What was asked, checked for its form.
pub(crate) struct Written(pub OperatorCall);

impl Written {
    /// Asks the master and says what came of it.
    pub async fn perform(self, master: &dyn LeadingMaster) -> Result<Response, Refusal> {
        let Some(reply) = master.operator(self.0).await else {
            return Err(Refusal::unavailable("This master does not lead any more; ask the new leader"));
        };
        Ok(match reply {
            OperatorReply::Done => StatusCode::OK.into_response(),
            OperatorReply::Accepted => StatusCode::ACCEPTED.into_response(),
            OperatorReply::Invalid(text) => (StatusCode::BAD_REQUEST, text).into_response(),
            OperatorReply::NotFound(text) => (StatusCode::NOT_FOUND, text).into_response(),
            OperatorReply::Conflict(text) => (StatusCode::CONFLICT, text).into_response(),
            OperatorReply::Busy { message, after } => {
                let mut response = (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
                response.headers_mut().insert(RETRY_AFTER, retry_after(after));
                response
            }
        })
    }
}

/// Whole seconds, at least one.
fn retry_after(after: Duration) -> HeaderValue {
    HeaderValue::from(after.as_secs().max(1))
}

/// What is settled before any right is looked at.
pub(super) fn check(kind: Type, call: &wire::Call) -> Result<(), String> {
    let given: Vec<&v1::Resource> = match kind {
        Type::ReserveResources => {
            call.reserve_resources.iter().flat_map(|call| call.resources.iter().chain(&call.source)).collect()
        }
        Type::UnreserveResources => {
            call.unreserve_resources.iter().flat_map(|call| &call.resources).collect()
        }
        Type::CreateVolumes => call.create_volumes.iter().flat_map(|call| &call.volumes).collect(),
        Type::DestroyVolumes => call.destroy_volumes.iter().flat_map(|call| &call.volumes).collect(),
        Type::GrowVolume => {
            if call.grow_volume.as_ref().is_some_and(|call| call.agent_id.is_none()) {
                return Err("Expecting 'grow_volume.agent_id' to be present".to_owned());
            }
            call.grow_volume.iter().flat_map(|call| [&call.volume, &call.addition]).collect()
        }
        Type::ShrinkVolume => {
            if call.shrink_volume.as_ref().is_some_and(|call| call.agent_id.is_none()) {
                return Err("Expecting 'shrink_volume.agent_id' to be present".to_owned());
            }
            call.shrink_volume.iter().map(|call| &call.volume).collect()
        }
        _ => Vec::new(),
    };
    given.into_iter().try_for_each(|resource| one(resource).map(drop))
}

pub(super) async fn write(
    served: &Served,
    caller: &Caller,
    master: &dyn LeadingMaster,
    view: &MasterView,
    kind: Type,
    call: wire::Call,
) -> Result<Response, Refusal> {
    let Some(written) = written(served, caller, view, kind, call)? else {
        return Ok(StatusCode::OK.into_response());
    };
    written.perform(master).await
}

/// `None` for what is done already: it concerns this process only.
fn written(
    served: &Served,
    caller: &Caller,
    view: &MasterView,
    kind: Type,
    call: wire::Call,
) -> Result<Option<Written>, Refusal> {
    let bad = |text: String| Refusal::bad_request(text);
    let absent = || super::invalid("Expecting the call's own message to be present");
    let call = match kind {
        Type::SetLoggingLevel => {
            let set = call.set_logging_level.ok_or_else(absent)?;
            let duration = common::duration(Some(&set.duration))
                .map_err(|error| super::invalid(format_args!("duration: {error}")))?;
            served.identity.logging.set(set.level, duration.unwrap_or_default());
            return Ok(None);
        }
        Type::UpdateWeights => {
            let update = call.update_weights.ok_or_else(absent)?;
            return weights(caller, &update.weight_infos).map(Some);
        }
        Type::ReserveResources => {
            let reserve = call.reserve_resources.ok_or_else(absent)?;
            return apply(
                caller,
                view,
                &reserve.agent_id.value,
                ResourceOperation::Reserve {
                    source: resources(&reserve.source).map_err(bad)?,
                    resources: resources(&reserve.resources).map_err(bad)?,
                },
            )
            .map(Some);
        }
        Type::UnreserveResources => {
            let unreserve = call.unreserve_resources.ok_or_else(absent)?;
            let operation =
                ResourceOperation::Unreserve { resources: resources(&unreserve.resources).map_err(bad)? };
            return apply(caller, view, &unreserve.agent_id.value, operation).map(Some);
        }
        Type::CreateVolumes => {
            let create = call.create_volumes.ok_or_else(absent)?;
            let operation = ResourceOperation::Create { volumes: resources(&create.volumes).map_err(bad)? };
            return apply(caller, view, &create.agent_id.value, operation).map(Some);
        }
        Type::DestroyVolumes => {
            let destroy = call.destroy_volumes.ok_or_else(absent)?;
            let operation = ResourceOperation::Destroy { volumes: resources(&destroy.volumes).map_err(bad)? };
            return apply(caller, view, &destroy.agent_id.value, operation).map(Some);
        }
        Type::GrowVolume => {
            let grow = *call.grow_volume.ok_or_else(absent)?;
            let operation = ResourceOperation::GrowVolume {
                volume: one(&grow.volume).map_err(bad)?,
                addition: one(&grow.addition).map_err(bad)?,
            };
            let agent_id = grow.agent_id.map(|id| id.value).unwrap_or_default();
            return apply(caller, view, &agent_id, operation).map(Some);
        }
        Type::ShrinkVolume => {
            let shrink = *call.shrink_volume.ok_or_else(absent)?;
            let subtract = Quantity::from_f64(shrink.subtract.value).ok_or_else(|| {
                bad(format!(
                    "Invalid SHRINK_VOLUME operation: {} is no quantity that a volume can lose",
                    shrink.subtract.value
                ))
            })?;
            let operation =
                ResourceOperation::ShrinkVolume { volume: one(&shrink.volume).map_err(bad)?, subtract };
            let agent_id = shrink.agent_id.map(|id| id.value).unwrap_or_default();
            return apply(caller, view, &agent_id, operation).map(Some);
        }
        Type::UpdateMaintenanceSchedule => {
            let update = call.update_maintenance_schedule.ok_or_else(absent)?;
            OperatorCall::UpdateMaintenanceSchedule(convert::schedule(&update.schedule))
        }
        Type::StartMaintenance => {
            let machines = call.start_maintenance.ok_or_else(absent)?.machines;
            OperatorCall::StartMaintenance(machines.iter().map(convert::machine).collect())
        }
        Type::StopMaintenance => {
            let machines = call.stop_maintenance.ok_or_else(absent)?.machines;
            OperatorCall::StopMaintenance(machines.iter().map(convert::machine).collect())
        }
        Type::DrainAgent => {
            let drain = call.drain_agent.ok_or_else(absent)?;
            let max_grace_ms = drain.max_grace_period.as_ref().map(millis).transpose().map_err(bad)?;
            let config = DrainConfig { max_grace_ms, mark_gone: drain.mark_gone.unwrap_or(false) };
            OperatorCall::DrainAgent { agent_id: AgentId::new(drain.agent_id.value), config }
        }
        Type::DeactivateAgent => {
            let agent_id = call.deactivate_agent.ok_or_else(absent)?.agent_id;
            OperatorCall::DeactivateAgent { agent_id: AgentId::new(agent_id.value) }
        }
        Type::ReactivateAgent => {
            let agent_id = call.reactivate_agent.ok_or_else(absent)?.agent_id;
            OperatorCall::ReactivateAgent { agent_id: AgentId::new(agent_id.value) }
        }
        Type::UpdateQuota => {
            let update = call.update_quota.ok_or_else(absent)?;
            let mut configs = Vec::with_capacity(update.quota_configs.len());
            for given in update.quota_configs {
                let config = quota_config(caller, given).map_err(bad)?;
                may_for_role(caller, Action::UpdateQuota, &config.role)?;
                configs.push(config);
            }
            OperatorCall::UpdateQuota { force: update.force.unwrap_or(false), configs }
        }
        Type::SetQuota => {
            let set = call.set_quota.ok_or_else(absent)?;
            return set_quota(caller, &set.quota_request).map(Some);
        }
        Type::RemoveQuota => {
            let remove = call.remove_quota.ok_or_else(absent)?;
            return remove_quota(caller, &remove.role).map(Some);
        }
        Type::Teardown => {
            let teardown = call.teardown.ok_or_else(absent)?;
            return self::teardown(caller, view, &teardown.framework_id.value).map(Some);
        }
        Type::MarkAgentGone => {
            let gone = call.mark_agent_gone.ok_or_else(absent)?;
            OperatorCall::MarkAgentGone { agent_id: AgentId::new(gone.agent_id.value) }
        }
        _ => return Err(Refusal { status: StatusCode::NOT_IMPLEMENTED, message: String::new() }),
    };
    Ok(Some(Written(call)))
}

fn may_for_role(caller: &Caller, action: Action, role: &Role) -> Result<(), Refusal> {
    if caller.may(action, Object::Role(role)) { Ok(()) } else { Err(Refusal::forbidden()) }
}

// ---- resources

fn one(resource: &v1::Resource) -> Result<Resource, String> {
    if resource.allocation_info.is_some() {
        return Err(format!(
            "Resource '{}' has 'allocation_info', which an operator must leave out: \
             his operations are on what nobody is given",
            resource.name
        ));
    }
    convert::resource(resource).map_err(|error| error.to_string())
}

pub(crate) fn resources(given: &[v1::Resource]) -> Result<Resources, String> {
    given.iter().map(one).collect()
}

/// An operation on free resources of an agent.
pub(crate) fn apply(
    caller: &Caller,
    view: &MasterView,
    agent_id: &str,
    operation: ResourceOperation,
) -> Result<Written, Refusal> {
    if !view.agents.iter().any(|agent| agent.id.as_str() == agent_id) {
        return Err(Refusal::bad_request("No agent found with specified ID".to_owned()));
    }
    let principal = caller.principal.clone();
    Ok(Written(OperatorCall::Apply { agent_id: AgentId::new(agent_id), operation, principal }))
}

// ---- roles

pub(crate) fn weights(caller: &Caller, infos: &[v1::WeightInfo]) -> Result<Written, Refusal> {
    let mut weights = Vec::with_capacity(infos.len());
    for info in infos {
        let (role, weight) = convert::weight(info).map_err(|error| {
            Refusal::bad_request(format!("Failed to validate update weights request JSON: {error}"))
        })?;
        may_for_role(caller, Action::UpdateWeight, &role)?;
        weights.push((role, weight));
    }
    Ok(Written(OperatorCall::UpdateWeights(weights)))
}

fn quota_config(caller: &Caller, mut given: v1::quota::QuotaConfig) -> Result<QuotaConfig, String> {
    // An infinite limit is the same as none named.
    given.limits.retain(|_, limit| limit.value != f64::INFINITY);
    let config = convert::quota_config(&given).map_err(|error| format!("Invalid QuotaConfig: {error}"))?;
    Ok(QuotaConfig { principal: caller.principal.clone(), ..config })
}

pub(crate) fn set_quota(caller: &Caller, request: &v1::quota::QuotaRequest) -> Result<Written, Refusal> {
    let refused = |why: String| Refusal::bad_request(format!("Failed to validate set quota request: {why}"));
    let name = request
        .role
        .as_deref()
        .filter(|role| !role.is_empty())
        .ok_or_else(|| refused("QuotaInfo must specify a role".to_owned()))?;
    let role = Role::new(name)
        .map_err(|error| refused(format!("QuotaInfo with invalid role: '{name}': {}", error.why)))?;
    if request.guarantee.is_empty() {
        return Err(refused("QuotaInfo with empty 'guarantee'".to_owned()));
    }
    let mut guarantees = Quantities::new();
    for given in &request.guarantee {
        let resource =
            one(given).map_err(|why| refused(format!("QuotaInfo with invalid resource: {why}")))?;
        let ResourceValue::Scalar(quantity) = resource.value else {
            return Err(refused("QuotaInfo must not include non-scalar resources".to_owned()));
        };
        if !resource.is_unreserved() {
            return Err(refused("QuotaInfo must not contain any ReservationInfo".to_owned()));
        }
        if resource.disk.is_some() {
            return Err(refused("QuotaInfo must not contain DiskInfo".to_owned()));
        }
        if resource.revocable {
            return Err(refused("QuotaInfo must not contain RevocableInfo".to_owned()));
        }
        if guarantees.insert(resource.name.clone(), quantity).is_some() {
            return Err(refused(format!("QuotaInfo contains duplicate resource name '{}'", resource.name)));
        }
    }
    may_for_role(caller, Action::UpdateQuota, &role)?;
    let config =
        QuotaConfig { role, limits: guarantees.clone(), guarantees, principal: caller.principal.clone() };
    Ok(Written(OperatorCall::SetQuota { force: request.force.unwrap_or(false), config }))
}

pub(crate) fn remove_quota(caller: &Caller, role: &str) -> Result<Written, Refusal> {
    let role = Role::new(role).map_err(|error| {
        Refusal::bad_request(format!(
            "Failed to validate remove quota request: Invalid role '{role}': {}",
            error.why
        ))
    })?;
    may_for_role(caller, Action::UpdateQuota, &role)?;
    Ok(Written(OperatorCall::RemoveQuota { role }))
}

pub(crate) fn teardown(caller: &Caller, view: &MasterView, framework_id: &str) -> Result<Written, Refusal> {
    let known = view.frameworks.iter().find(|framework| framework.id.as_str() == framework_id);
    let Some(framework) = known else {
        return Err(Refusal::bad_request("No framework found with specified ID".to_owned()));
    };
    if !caller.may(Action::TeardownFramework, Object::Framework(&framework.info)) {
        return Err(Refusal::forbidden());
    }
    Ok(Written(OperatorCall::Teardown { framework_id: FrameworkId::new(framework_id) }))
}

// ---- draining

fn millis(duration: &google::protobuf::Duration) -> Result<u64, String> {
    let refused = || {
        format!(
            "Invalid 'max_grace_period': {} seconds and {} nanoseconds are no duration: expecting none or more",
            duration.seconds, duration.nanos
        )
    };
    let seconds = u64::try_from(duration.seconds).map_err(|_| refused())?;
    let nanos = u64::try_from(duration.nanos).map_err(|_| refused())?;
    Ok(seconds.saturating_mul(1000).saturating_add(nanos.div_ceil(1_000_000)))
}
