//! The legacy endpoints that change something, and what they show of it.
//!
//! Forms and JSON become the same words as the calls of the v1 API.

use axum::response::Response;
use bytes::Bytes;
use mesos_master::MasterView;
use mesos_proto::{ApiMessage, v1};
use model::operator_api::OperatorCall;
use model::{ResourceOperation, Resources};
use serde_json::Value;

use super::Endpoint;
use crate::access::{Action, Caller, Object};
use crate::call_body;
use crate::convert;
use crate::leader::LeadingMaster;
use crate::operator::master::{
    Written, apply, maintenance_status, quota, remove_quota, resources, set_quota, teardown, weights,
};
use crate::query::Query;
use crate::reply::{self, Refusal};
use crate::routes::Call;
use crate::stream::Part;

pub(super) async fn serve(
    endpoint: Endpoint,
    caller: &Caller,
    master: &dyn LeadingMaster,
    call: Call,
) -> Result<Response, Refusal> {
    let view = master.view();
    let callback = call.callback.clone();
    let shown = |text: String| Ok(reply::stream(vec![Part::Bytes(text.into_bytes())], callback.clone()));
    let written = match endpoint {
        Endpoint::Weights => {
            let infos =
                view.weights.iter().map(|(role, weight)| convert::weight_out(role, *weight).to_json());
            return shown(format!("[{}]", infos.collect::<Vec<String>>().join(",")));
        }
        Endpoint::Quota => return shown(quota(&view, caller).to_json()),
        Endpoint::Schedule => {
            let seen = caller.may(Action::GetMaintenanceSchedule, Object::Any);
            let schedule = if seen { convert::schedule_out(&view.schedule) } else { Default::default() };
            return shown(schedule.to_json());
        }
        Endpoint::MaintenanceStatus => {
            let seen = caller.may(Action::GetMaintenanceStatus, Object::Any);
            let status = if seen { maintenance_status(&view) } else { Default::default() };
            return shown(status.to_json());
        }
        Endpoint::RemoveQuota => remove_quota(caller, &role_of_path(&call.path)?)?,
        _ => {
            let bytes = call_body::read_within(call.body, call_body::OLDER_CALL_BYTES_MAX).await?.bytes;
            written(endpoint, caller, &view, &bytes)?
        }
    };
    written.perform(master).await
}

fn written(
    endpoint: Endpoint,
    caller: &Caller,
    view: &MasterView,
    bytes: &Bytes,
) -> Result<Written, Refusal> {
    Ok(match endpoint {
        Endpoint::UpdateWeights => {
            let infos: Vec<v1::WeightInfo> = list(bytes, "update weights request JSON")?;
            weights(caller, &infos)?
        }
        Endpoint::SetQuota => {
            let text = String::from_utf8_lossy(bytes);
            let request = v1::quota::QuotaRequest::from_json(bytes).map_err(|error| {
                Refusal::bad_request(format!("Failed to parse set quota request JSON '{text}': {error}"))
            })?;
            set_quota(caller, &request)?
        }
        Endpoint::UpdateSchedule => {
            let schedule = v1::maintenance::Schedule::from_json(bytes).map_err(|error| {
                Refusal::bad_request(format!("Failed to parse the maintenance schedule: {error}"))
            })?;
            Written(OperatorCall::UpdateMaintenanceSchedule(convert::schedule(&schedule)))
        }
        Endpoint::MachineDown | Endpoint::MachineUp => {
            let machines: Vec<v1::MachineId> = list(bytes, "the list of machines")?;
            let machines = machines.iter().map(convert::machine).collect();
            Written(match endpoint {
                Endpoint::MachineDown => OperatorCall::StartMaintenance(machines),
                _ => OperatorCall::StopMaintenance(machines),
            })
        }
        Endpoint::Teardown => {
            let form = form(bytes)?;
            teardown(caller, view, &field(&form, "frameworkId")?)?
        }
        Endpoint::Reserve => {
            let form = form(bytes)?;
            let (agent_id, resources) = on_agent(&form, "resources")?;
            let operation = ResourceOperation::Reserve { source: Resources::new(), resources };
            apply(caller, view, &agent_id, operation)?
        }
        Endpoint::Unreserve => {
            let form = form(bytes)?;
            let (agent_id, resources) = on_agent(&form, "resources")?;
            apply(caller, view, &agent_id, ResourceOperation::Unreserve { resources })?
        }
        Endpoint::CreateVolumes => {
            let form = form(bytes)?;
            let (agent_id, volumes) = on_agent(&form, "volumes")?;
            apply(caller, view, &agent_id, ResourceOperation::Create { volumes })?
        }
        Endpoint::DestroyVolumes => {
            let form = form(bytes)?;
            let (agent_id, volumes) = on_agent(&form, "volumes")?;
            apply(caller, view, &agent_id, ResourceOperation::Destroy { volumes })?
        }
        _ => return Err(Refusal::not_found()),
    })
}

/// The part after `/quota/`; roles have slashes of their own.
fn role_of_path(path: &str) -> Result<String, Refusal> {
    let below = path.trim_start_matches("/master").trim_start_matches("/quota");
    let role = below.trim_matches('/');
    if role.is_empty() {
        return Err(Refusal::bad_request(format!(
            "Failed to parse request path '{path}': expected 3 tokens, found 2 tokens"
        )));
    }
    let decoded = Query::parse(Some(&format!("role={}", role.replace('+', "%2B"))))?;
    Ok(decoded.text("role").unwrap_or_default().into_owned())
}

// ---- bodies

fn form(bytes: &Bytes) -> Result<Query, Refusal> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Refusal::bad_request(format!("Unable to decode query string: {error}")))?;
    Query::parse(Some(text.trim_end()))
        .map_err(|error| Refusal::bad_request(format!("Unable to decode query string: {}", error.message)))
}

fn field(form: &Query, name: &str) -> Result<String, Refusal> {
    form.text(name)
        .map(|value| value.into_owned())
        .ok_or_else(|| Refusal::bad_request(format!("Missing '{name}' query parameter in the request body")))
}

fn on_agent(form: &Query, name: &str) -> Result<(String, Resources), Refusal> {
    let agent_id = field(form, "slaveId")?;
    let text = field(form, name)?;
    let refused = |why: String| {
        Refusal::bad_request(format!("Error in parsing '{name}' query parameter in the request body: {why}"))
    };
    let given: Vec<v1::Resource> = array(text.as_bytes()).map_err(refused)?;
    Ok((agent_id, resources(&given).map_err(refused)?))
}

fn list<M: ApiMessage>(bytes: &Bytes, what: &str) -> Result<Vec<M>, Refusal> {
    array(bytes).map_err(|why| {
        let text = String::from_utf8_lossy(bytes);
        Refusal::bad_request(format!("Failed to parse {what} '{text}': {why}"))
    })
}

/// A JSON array of messages.
fn array<M: ApiMessage>(bytes: &[u8]) -> Result<Vec<M>, String> {
    let items: Vec<Value> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    items
        .iter()
        .map(|item| M::from_json(item.to_string().as_bytes()).map_err(|error| error.to_string()))
        .collect()
}
