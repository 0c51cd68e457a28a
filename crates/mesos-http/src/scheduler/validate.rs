//! Is a call complete in itself? The detail texts of "Failed to validate scheduler::Call".

use mesos_proto::v1::scheduler::Call;
use mesos_proto::v1::scheduler::call::Type;
use model::Principal;

use crate::convert::{Invalid, uuid};

fn present<T>(part: Option<T>, name: &str) -> Result<T, Invalid> {
    part.ok_or_else(|| Invalid(format!("Expecting '{name}' to be present")))
}

/// Yields the type of a sound call.
pub(super) fn validate(call: &Call, principal: Option<&Principal>) -> Result<Type, Invalid> {
    let kind = present(call.r#type.and_then(|kind| Type::try_from(kind).ok()), "type")?;
    let id = call.framework_id.as_ref();
    if kind == Type::Subscribe {
        let info = &present(call.subscribe.as_deref(), "subscribe")?.framework_info;
        if id != info.id.as_ref() {
            return Err(Invalid::new("'framework_id' differs from 'subscribe.framework_info.id'"));
        }
        return match (principal, info.principal.as_deref()) {
            (Some(mine), Some(its)) if mine.as_str() != its => Err(Invalid(format!(
                "Authenticated principal '{mine}' does not match principal '{its}' set in `FrameworkInfo`"
            ))),
            _ => Ok(kind),
        };
    }
    present(id, "framework_id")?;
    match kind {
        Type::Accept => drop(present(call.accept.as_ref(), "accept")?),
        Type::Decline => drop(present(call.decline.as_ref(), "decline")?),
        Type::AcceptInverseOffers => {
            present(call.accept_inverse_offers.as_ref(), "accept_inverse_offers")?;
        }
        Type::DeclineInverseOffers => {
            present(call.decline_inverse_offers.as_ref(), "decline_inverse_offers")?;
        }
        Type::Kill => drop(present(call.kill.as_ref(), "kill")?),
        Type::Shutdown => drop(present(call.shutdown.as_ref(), "shutdown")?),
        Type::Acknowledge => {
            let acknowledge = present(call.acknowledge.as_ref(), "acknowledge")?;
            uuid_of(&acknowledge.uuid)?;
        }
        Type::AcknowledgeOperationStatus => {
            let acknowledge =
                present(call.acknowledge_operation_status.as_ref(), "acknowledge_operation_status")?;
            uuid_of(&acknowledge.uuid)?;
            present(acknowledge.agent_id.as_ref(), "agent_id")?;
        }
        Type::Reconcile => drop(present(call.reconcile.as_ref(), "reconcile")?),
        Type::ReconcileOperations => {
            present(call.reconcile_operations.as_ref(), "reconcile_operations")?;
        }
        Type::Message => drop(present(call.message.as_ref(), "message")?),
        Type::Request => drop(present(call.request.as_ref(), "request")?),
        Type::UpdateFramework => {
            let update = present(call.update_framework.as_deref(), "update_framework")?;
            if id != update.framework_info.id.as_ref() {
                return Err(Invalid::new("'framework_id' differs from 'update_framework.framework_info.id'"));
            }
        }
        Type::Unknown | Type::Subscribe | Type::Teardown | Type::Revive | Type::Suppress => {}
    }
    Ok(kind)
}

fn uuid_of(bytes: &[u8]) -> Result<(), Invalid> {
    match uuid(bytes) {
        Some(_) => Ok(()),
        None => Err(Invalid(format!("Not a valid UUID: 'uuid' has {} bytes, 16 are expected", bytes.len()))),
    }
}
