//! The JSON shapes of Mesos' legacy endpoints, shared by master and agent.
//!
//! Each type borrows from the model and is written once; names and optionality
//! are those of `apache/mesos` `src/common/http.cpp`.

pub(crate) mod resources;
pub(crate) mod task;

use std::collections::BTreeMap;

use model::{Attribute, AttributeValue, FaultDomain, FrameworkInfo};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

/// `{"key":…,"value":…}` pairs.
pub(crate) fn labels(labels: &BTreeMap<String, String>) -> Vec<Label<'_>> {
    labels.iter().map(|(key, value)| Label { key, value }).collect()
}

#[derive(serde::Serialize)]
pub(crate) struct Label<'a> {
    key: &'a str,
    value: &'a str,
}

/// The same where a value may be left out.
pub(crate) fn optional_labels(labels: &[(String, Option<String>)]) -> Vec<OptionalLabel<'_>> {
    labels.iter().map(|(key, value)| OptionalLabel { key, value: value.as_deref() }).collect()
}

#[derive(serde::Serialize)]
pub(crate) struct OptionalLabel<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
}

/// Attributes as one object; a repeated name is repeated, as in the original.
pub(crate) struct Attributes<'a>(pub &'a [Attribute]);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for attribute in self.0 {
            match &attribute.value {
                AttributeValue::Scalar(quantity) => {
                    map.serialize_entry(&attribute.name, &quantity.to_f64())?
                }
                AttributeValue::Ranges(ranges) => {
                    map.serialize_entry(&attribute.name, &ranges.to_string())?
                }
                AttributeValue::Set(items) => {
                    map.serialize_entry(&attribute.name, &resources::set_text(items))?
                }
                AttributeValue::Text(text) => map.serialize_entry(&attribute.name, text)?,
            }
        }
        map.end()
    }
}

pub(crate) fn domain(domain: &FaultDomain) -> Value {
    json!({"fault_domain": {"region": {"name": domain.region}, "zone": {"name": domain.zone}}})
}

/// `role` without `MULTI_ROLE`, `roles` with it.
#[derive(serde::Serialize)]
pub(crate) struct Roles<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<Vec<&'a str>>,
}

impl<'a> Roles<'a> {
    pub fn of(info: &'a FrameworkInfo) -> Self {
        if info.can(model::Capability::MultiRole) {
            Self { role: None, roles: Some(info.roles.iter().map(model::Role::as_str).collect()) }
        } else {
            Self { role: Some(info.roles.first().map_or("*", model::Role::as_str)), roles: None }
        }
    }
}

/// Milliseconds as seconds, for `failover_timeout`.
pub(crate) fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}
