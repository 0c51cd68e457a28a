//! Resources in their two forms: the summary object and the full list.

use std::borrow::Cow;
use std::collections::BTreeMap;

use mesos_proto::ApiMessage;
use model::{Quantity, Ranges, Resource, ResourceValue, Resources, Role};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;

use crate::convert::{self, Form};

/// `{"disk":0.0,"mem":0.0,"gpus":0.0,"cpus":0.0,"ports":"[…]"}`: the four
/// scalars are always there, ranges and sets are texts.
pub(crate) struct Summary<'a>(pub &'a Resources);

impl Serialize for Summary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut scalars: Vec<(Cow<'_, str>, Quantity)> =
            ["disk", "mem", "gpus", "cpus"].map(|name| (Cow::Borrowed(name), Quantity::ZERO)).into();
        let mut ranges: Vec<(Cow<'_, str>, Ranges)> = Vec::new();
        let mut sets: Vec<(Cow<'_, str>, Vec<String>)> = Vec::new();
        for resource in self.0.iter() {
            let name = match resource.revocable {
                true => Cow::Owned(format!("{}_revocable", resource.name)),
                false => Cow::Borrowed(resource.name.as_str()),
            };
            match &resource.value {
                ResourceValue::Scalar(quantity) => match scalars.iter_mut().find(|(known, _)| *known == name)
                {
                    Some((_, sum)) => *sum = sum.saturating_add(*quantity),
                    None => scalars.push((name, *quantity)),
                },
                ResourceValue::Ranges(more) => match ranges.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, sum)) => *sum = sum.union(more),
                    None => ranges.push((name, more.clone())),
                },
                ResourceValue::Set(more) => match sets.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, sum)) => sum.extend(more.iter().cloned()),
                    None => sets.push((name, more.clone())),
                },
            }
        }
        let mut map = serializer.serialize_map(Some(scalars.len() + ranges.len() + sets.len()))?;
        for (name, quantity) in scalars {
            map.serialize_entry(&name, &quantity.to_f64())?;
        }
        for (name, ranges) in ranges {
            map.serialize_entry(&name, &ranges.to_string())?;
        }
        for (name, items) in sets {
            map.serialize_entry(&name, &set_text(&items))?;
        }
        map.end()
    }
}

pub(crate) fn set_text(items: &[String]) -> String {
    format!("{{{}}}", items.join(", "))
}

/// `{role: summary}` of what is reserved.
pub(crate) struct Reserved<'a>(pub &'a Resources);

impl Serialize for Reserved<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let roles = self.0.reserved_roles();
        let mut map = serializer.serialize_map(Some(roles.len()))?;
        for role in roles {
            map.serialize_entry(role.as_str(), &Summary(&self.0.of_role(&role)))?;
        }
        map.end()
    }
}

/// Scalars only, without the zeros: the form of quota and role figures.
pub(crate) fn quantities(resources: &Resources) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for resource in resources.iter() {
        if let ResourceValue::Scalar(_) = resource.value {
            sums.entry(resource.name.to_string())
                .or_insert_with(|| resources.scalar(&resource.name).to_f64());
        }
    }
    sums
}

/// The complete `Resource` messages, in the endpoint format: with the old `role`
/// and `reservation` beside `reservations` where the old form can say it.
pub(crate) fn full(resources: &Resources, allocated_to: Option<&Role>) -> Vec<Value> {
    resources.iter().map(|resource| full_one(resource, allocated_to)).collect()
}

/// `{role: full list}` of what is reserved.
pub(crate) fn reserved_full(resources: &Resources) -> BTreeMap<String, Vec<Value>> {
    let of = |role: Role| (role.to_string(), full(&resources.of_role(&role), None));
    resources.reserved_roles().into_iter().map(of).collect()
}

fn full_one(resource: &Resource, allocated_to: Option<&Role>) -> Value {
    let message = convert::resource_out(resource, Form::Both, allocated_to);
    // What is written here can always be read back.
    serde_json::from_str(&message.to_json()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(text: &str, expected: &str) {
        let resources = Resources::parse(text, &Role::any()).unwrap();
        assert_eq!(serde_json::to_string(&Summary(&resources)).unwrap(), expected);
    }

    #[test]
    fn summaries() {
        check("", r#"{"disk":0.0,"mem":0.0,"gpus":0.0,"cpus":0.0}"#);
        check(
            "cpus:2;cpus(eng):0.5;mem:1024;ports:[31000-31099,31101-32000];bugs:{b,a};x:7",
            r#"{"disk":0.0,"mem":1024.0,"gpus":0.0,"cpus":2.5,"x":7.0,"ports":"[31000-31099, 31101-32000]","bugs":"{a, b}"}"#,
        );
    }

    #[test]
    fn full_forms() {
        let resources = Resources::parse("cpus:2;mem(eng):10;ports:[1-2]", &Role::any()).unwrap();
        assert_eq!(
            json!(full(&resources, None)),
            json!([
                {"name": "cpus", "type": "SCALAR", "scalar": {"value": 2.0}, "role": "*"},
                {"name": "mem", "type": "SCALAR", "scalar": {"value": 10.0}, "role": "eng",
                 "reservations": [{"type": "STATIC", "role": "eng"}]},
                {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 2}]}, "role": "*"},
            ])
        );
        assert_eq!(json!(reserved_full(&resources))["eng"][0]["scalar"]["value"], json!(10.0));
        assert_eq!(serde_json::to_string(&Reserved(&resources)).unwrap().find("\"eng\":{"), Some(1));
    }

    #[test]
    fn refined_reservations_have_no_old_form() {
        let role = |text: &str| Role::new(text).unwrap();
        let level = |text: &str, dynamic| model::Reservation {
            role: role(text),
            dynamic,
            principal: Some(model::Principal::new("p")),
            labels: vec![("k".to_owned(), None)],
        };
        let mut resource = Resource::scalar("cpus", Quantity::from_units(1));
        resource.reservations = vec![level("a", true)];
        let one = full_one(&resource, Some(&role("a")));
        assert_eq!(one["reservation"], json!({"principal": "p", "labels": {"labels": [{"key": "k"}]}}));
        assert_eq!(one["allocation_info"], json!({"role": "a"}));
        resource.reservations.push(level("a/b", true));
        let two = full_one(&resource, None);
        assert!(two.get("role").is_none() && two.get("reservation").is_none());
        assert_eq!(two["reservations"][1]["role"], json!("a/b"));
    }
}
