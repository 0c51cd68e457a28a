//! Bodies into words of the house: decoded, validated, converted.

use mesos_proto::media::Format;
use mesos_proto::v1::scheduler::{Call, OfferConstraints, call};
use mesos_proto::{ApiMessage, raw, v1};
use model::scheduler_api::SchedulerCall;
use model::{
    AgentId, ExecutorId, FrameworkId, FrameworkInfo, OfferId, OperationId, Principal, Role, TaskId, UpdateId,
};

use super::validate::validate;
use crate::convert::{self, Invalid, kill_policy, opaque, refuse_ms, uuid};
use crate::reply::Refusal;

/// A call that is sound in itself.
pub(crate) struct Taken {
    /// Empty in a first SUBSCRIBE.
    pub framework_id: FrameworkId,
    pub order: Order,
}

pub(crate) enum Order {
    Subscribe(Box<Subscribe>),
    Update(Box<Subscribe>),
    Call(Box<SchedulerCall>),
    /// Sound, and without any effect.
    Ignored,
    Unknown,
}

/// What a framework says of itself. What is wrong there is told by an event.
pub(crate) struct Subscribe {
    pub checked: Result<Checked, Invalid>,
}

pub(crate) struct Checked {
    pub info: FrameworkInfo,
    pub suppressed_roles: Vec<Role>,
}

/// `accept.operations` in a call.
const OPERATIONS: [u32; 2] = [4, 2];

pub(crate) fn take(format: Format, body: &[u8], principal: Option<&Principal>) -> Result<Taken, Refusal> {
    let (call, raw) = Call::from_body_with_raw(format, body)
        .map_err(|error| Refusal::bad_request(error.refusal(format, "Call")))?;
    let kind = validate(&call, principal)
        .map_err(|error| Refusal::bad_request(format!("Failed to validate scheduler::Call: {error}")))?;
    let id = call.framework_id.as_ref().map(|id| id.value.as_str()).unwrap_or_default();
    let framework_id = FrameworkId::new(id);
    Ok(Taken { framework_id, order: order(kind, call, &raw) })
}

/// Whatever validation has seen to is there; what is not, is taken for an order without effect.
fn order(kind: call::Type, call: Call, raw: &[u8]) -> Order {
    let converted = match kind {
        call::Type::Unknown => return Order::Unknown,
        call::Type::Subscribe => return call.subscribe.map_or(Order::Ignored, |part| subscribe(&part)),
        call::Type::UpdateFramework => {
            return call.update_framework.map_or(Order::Ignored, |part| update(&part));
        }
        call::Type::Teardown => Some(SchedulerCall::Teardown),
        call::Type::Request => Some(SchedulerCall::Request),
        call::Type::Accept => call.accept.map(|accept| {
            let pieces = raw::submessages(raw, &OPERATIONS).unwrap_or_default();
            let pieces = if pieces.len() == accept.operations.len() { pieces } else { Vec::new() };
            SchedulerCall::Accept {
                offer_ids: offers(&accept.offer_ids),
                operations: convert::operations(&accept.operations, &pieces),
                refuse_ms: refuse_ms(accept.filters.as_ref()),
            }
        }),
        call::Type::Decline => call.decline.map(|decline| SchedulerCall::Decline {
            offer_ids: offers(&decline.offer_ids),
            refuse_ms: refuse_ms(decline.filters.as_ref()),
        }),
        call::Type::AcceptInverseOffers => {
            call.accept_inverse_offers.map(|accept| SchedulerCall::AcceptInverseOffers {
                offer_ids: offers(&accept.inverse_offer_ids),
                refuse_ms: refuse_ms(accept.filters.as_ref()),
            })
        }
        call::Type::DeclineInverseOffers => {
            call.decline_inverse_offers.map(|decline| SchedulerCall::DeclineInverseOffers {
                offer_ids: offers(&decline.inverse_offer_ids),
                refuse_ms: refuse_ms(decline.filters.as_ref()),
            })
        }
        // One role that is none, and the whole call has no effect.
        call::Type::Revive => {
            roles(&call.revive.unwrap_or_default().roles).ok().map(|roles| SchedulerCall::Revive { roles })
        }
        call::Type::Suppress => roles(&call.suppress.unwrap_or_default().roles)
            .ok()
            .map(|roles| SchedulerCall::Suppress { roles }),
        call::Type::Kill => call.kill.map(|kill| SchedulerCall::Kill {
            task_id: TaskId::new(&kill.task_id.value),
            agent_id: agent(kill.agent_id.as_ref()),
            kill_policy: kill.kill_policy.as_ref().and_then(kill_policy),
        }),
        call::Type::Shutdown => call.shutdown.map(|shutdown| SchedulerCall::ShutdownExecutor {
            agent_id: AgentId::new(&shutdown.agent_id.value),
            executor_id: ExecutorId::new(&shutdown.executor_id.value),
        }),
        call::Type::Acknowledge => call.acknowledge.map(|acknowledge| SchedulerCall::Acknowledge {
            agent_id: AgentId::new(&acknowledge.agent_id.value),
            task_id: TaskId::new(&acknowledge.task_id.value),
            uuid: uuid(&acknowledge.uuid).unwrap_or(UpdateId(0)),
        }),
        call::Type::AcknowledgeOperationStatus => {
            call.acknowledge_operation_status.map(|acknowledge| SchedulerCall::AcknowledgeOperation {
                agent_id: agent(acknowledge.agent_id.as_ref()),
                operation_id: OperationId::new(&acknowledge.operation_id.value),
                uuid: uuid(&acknowledge.uuid).unwrap_or(UpdateId(0)),
            })
        }
        call::Type::Reconcile => call.reconcile.map(|reconcile| {
            let task = |task: &call::reconcile::Task| {
                (TaskId::new(&task.task_id.value), agent(task.agent_id.as_ref()))
            };
            SchedulerCall::Reconcile { tasks: reconcile.tasks.iter().map(task).collect() }
        }),
        call::Type::ReconcileOperations => call.reconcile_operations.map(|reconcile| {
            let operation = |operation: &call::reconcile_operations::Operation| {
                let provider = operation.resource_provider_id.as_ref().map(|id| id.value.clone());
                (
                    OperationId::new(&operation.operation_id.value),
                    agent(operation.agent_id.as_ref()),
                    provider,
                )
            };
            SchedulerCall::ReconcileOperations {
                operations: reconcile.operations.iter().map(operation).collect(),
            }
        }),
        call::Type::Message => call.message.map(|message| SchedulerCall::Message {
            agent_id: AgentId::new(&message.agent_id.value),
            executor_id: ExecutorId::new(&message.executor_id.value),
            data: opaque(&message.data),
        }),
    };
    converted.map_or(Order::Ignored, |call| Order::Call(Box::new(call)))
}

fn offers(ids: &[v1::OfferId]) -> Vec<OfferId> {
    ids.iter().map(|id| OfferId::new(&id.value)).collect()
}

fn agent(id: Option<&v1::AgentId>) -> Option<AgentId> {
    id.map(|id| AgentId::new(&id.value))
}

/// The names that are no roles, if there are any.
fn roles(names: &[String]) -> Result<Vec<Role>, Vec<&str>> {
    let bad: Vec<&str> = names.iter().map(String::as_str).filter(|name| Role::new(name).is_err()).collect();
    if bad.is_empty() { Ok(names.iter().filter_map(|name| Role::new(name).ok()).collect()) } else { Err(bad) }
}

fn subscribe(part: &call::Subscribe) -> Order {
    let checked = convert::framework(&part.framework_info)
        .and_then(|info| checked(info, &part.suppressed_roles, part.offer_constraints.as_ref()));
    Order::Subscribe(Box::new(Subscribe { checked }))
}

fn update(part: &call::UpdateFramework) -> Order {
    let checked = convert::framework(&part.framework_info)
        .map_err(|error| Invalid(format!("Supplied FrameworkInfo is not valid: {error}")))
        .and_then(|info| {
            checked(info, &part.suppressed_roles, part.offer_constraints.as_ref())
                .map_err(|error| Invalid(format!("'UpdateFramework' call is not valid: {error}")))
        });
    Order::Update(Box::new(Subscribe { checked }))
}

fn checked(
    info: FrameworkInfo,
    suppressed: &[String],
    constraints: Option<&OfferConstraints>,
) -> Result<Checked, Invalid> {
    let suppressed_roles = roles(suppressed).map_err(|bad| {
        Invalid(format!("Suppressed roles {{ {} }} are not contained in the set of roles", bad.join(", ")))
    })?;
    // Only looked at: offers are not filtered by them, which a framework cannot rely on in any case.
    for name in constraints.iter().flat_map(|constraints| constraints.role_constraints.keys()) {
        if !info.roles.iter().any(|role| role.as_str() == name) {
            return Err(Invalid(format!(
                "Offer constraints specify `role_constraints` for a role '{name}' not contained in the set of roles"
            )));
        }
    }
    Ok(Checked { info, suppressed_roles })
}
