//! Events outwards, in the form that their framework understands.

use mesos_proto::v1;
use mesos_proto::v1::scheduler::{Event, event};
use model::FrameworkInfo;
use model::scheduler_api::SchedulerEvent;

use super::stream::HEARTBEAT_INTERVAL;
use crate::convert::{Form, inverse_offer_out, offer_out, opaque_out, operation_status_out, status_out};

fn of(kind: event::Type) -> Event {
    Event { r#type: Some(kind as i32), ..Event::default() }
}

pub(super) fn heartbeat() -> Event {
    of(event::Type::Heartbeat)
}

pub(super) fn error(message: String) -> Event {
    Event { error: Some(event::Error { message }), ..of(event::Type::Error) }
}

/// `master`: who SUBSCRIBED says it is.
pub(super) fn event(event: &SchedulerEvent, framework: &FrameworkInfo, master: &v1::MasterInfo) -> Event {
    let form = Form::of(framework);
    match event {
        SchedulerEvent::Subscribed { framework_id } => Event {
            subscribed: Some(event::Subscribed {
                framework_id: framework_id.as_str().into(),
                heartbeat_interval_seconds: Some(HEARTBEAT_INTERVAL.as_secs_f64()),
                master_info: Some(Box::new(master.clone())),
            }),
            ..of(event::Type::Subscribed)
        },
        SchedulerEvent::Offers(offers) => {
            let offers = offers.iter().map(|offer| offer_out(offer, framework)).collect();
            Event { offers: Some(event::Offers { offers }), ..of(event::Type::Offers) }
        }
        SchedulerEvent::InverseOffers(offers) => {
            let inverse_offers = offers.iter().map(|offer| inverse_offer_out(offer, framework)).collect();
            let inverse_offers = Some(event::InverseOffers { inverse_offers });
            Event { inverse_offers, ..of(event::Type::InverseOffers) }
        }
        SchedulerEvent::Rescind(id) => {
            let rescind = event::Rescind { offer_id: id.as_str().into() };
            Event { rescind: Some(rescind), ..of(event::Type::Rescind) }
        }
        SchedulerEvent::RescindInverse(id) => {
            let rescind = event::RescindInverseOffer { inverse_offer_id: id.as_str().into() };
            Event { rescind_inverse_offer: Some(rescind), ..of(event::Type::RescindInverseOffer) }
        }
        SchedulerEvent::Update(status) => {
            let update = event::Update { status: status_out(status, form) };
            Event { update: Some(Box::new(update)), ..of(event::Type::Update) }
        }
        SchedulerEvent::UpdateOperation(status) => {
            let update = event::UpdateOperationStatus { status: operation_status_out(status, form) };
            Event { update_operation_status: Some(update), ..of(event::Type::UpdateOperationStatus) }
        }
        SchedulerEvent::Message { agent_id, executor_id, data } => Event {
            message: Some(event::Message {
                agent_id: agent_id.as_str().into(),
                executor_id: executor_id.as_str().into(),
                data: opaque_out(data),
            }),
            ..of(event::Type::Message)
        },
        SchedulerEvent::Failure { agent_id, executor } => {
            let (executor_id, status) =
                executor.as_ref().map_or((None, None), |(id, status)| (Some(id.as_str().into()), *status));
            let failure = event::Failure { agent_id: Some(agent_id.as_str().into()), executor_id, status };
            Event { failure: Some(failure), ..of(event::Type::Failure) }
        }
        SchedulerEvent::Error { message } => error(message.clone()),
    }
}
