//! Offers and inverse offers, in the form that their framework understands.

use mesos_proto::v1;
use model::{Capability, FrameworkInfo, InverseOffer, Offer};

use super::{
    Form, agent_url_out, allocation_out, attribute_out, domain_out, resources_out, unavailability_out,
};

/// Resources that the kernel keeps for itself.
const HIDDEN: &str = "ephemeral_ports";

pub(crate) fn offer_out(offer: &Offer, framework: &FrameworkInfo) -> v1::Offer {
    let role = framework.can(Capability::MultiRole).then_some(&offer.role);
    let shown = offer.resources.filter(|resource| resource.name != HIDDEN);
    v1::Offer {
        id: offer.id.as_str().into(),
        framework_id: offer.framework_id.as_str().into(),
        agent_id: offer.agent_id.as_str().into(),
        hostname: offer.hostname.clone(),
        resources: resources_out(&shown, Form::of(framework), role),
        executor_ids: offer.executor_ids.iter().map(|id| id.as_str().into()).collect(),
        attributes: offer.attributes.iter().map(attribute_out).collect(),
        url: Some(agent_url_out(&offer.hostname, &offer.ip, offer.port)),
        unavailability: offer.unavailability.as_ref().map(unavailability_out),
        allocation_info: role.map(allocation_out),
        domain: offer.domain.as_ref().map(domain_out),
    }
}

pub(crate) fn inverse_offer_out(offer: &InverseOffer, framework: &FrameworkInfo) -> v1::InverseOffer {
    v1::InverseOffer {
        id: offer.id.as_str().into(),
        url: Some(agent_url_out(&offer.hostname, &offer.ip, offer.port)),
        framework_id: offer.framework_id.as_str().into(),
        agent_id: Some(offer.agent_id.as_str().into()),
        unavailability: unavailability_out(&offer.unavailability),
        resources: resources_out(&offer.resources, Form::of(framework), None),
    }
}
