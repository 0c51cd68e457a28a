//! Placement constraints: parsed once, asked per offer.
//!
//! Invariant: a [`Constraint`] that exists is well-formed, so that asking it
//! cannot fail. Rules: `mesosphere/marathon` `src/main/scala/mesosphere/mesos/Constraints.scala`.

use std::collections::BTreeMap;

use model::{Attribute, AttributeValue, Offer, Quantity};
use regex::{Regex, RegexBuilder};

/// Largest compiled size of one LIKE or UNLIKE expression, in bytes.
pub const REGEX_SIZE_BYTES_MAX: usize = 256 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    Unique,
    Cluster,
    GroupBy,
    Like,
    Unlike,
    MaxPer,
    Is,
}

impl Operator {
    pub const ALL: [Operator; 7] =
        [Self::Unique, Self::Cluster, Self::GroupBy, Self::Like, Self::Unlike, Self::MaxPer, Self::Is];

    pub fn name(self) -> &'static str {
        match self {
            Self::Unique => "UNIQUE",
            Self::Cluster => "CLUSTER",
            Self::GroupBy => "GROUP_BY",
            Self::Like => "LIKE",
            Self::Unlike => "UNLIKE",
            Self::MaxPer => "MAX_PER",
            Self::Is => "IS",
        }
    }

    /// In any case, as clients may write it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operator| operator.name().eq_ignore_ascii_case(name))
    }
}

/// Where something runs, as far as constraints look.
#[derive(Debug, Clone, PartialEq)]
pub struct Place<'a> {
    pub hostname: &'a str,
    pub region: Option<&'a str>,
    pub zone: Option<&'a str>,
    pub attributes: &'a [Attribute],
}

impl<'a> From<&'a Offer> for Place<'a> {
    fn from(offer: &'a Offer) -> Self {
        Self {
            hostname: &offer.hostname,
            region: offer.domain.as_ref().map(|domain| domain.region.as_str()),
            zone: offer.domain.as_ref().map(|domain| domain.zone.as_str()),
            attributes: &offer.attributes,
        }
    }
}

impl Place<'_> {
    /// The printed value of a constraint field here.
    pub fn value(&self, field: &str) -> Option<String> {
        match field {
            "hostname" | "@hostname" => Some(self.hostname.to_owned()),
            "@region" => self.region.map(str::to_owned),
            "@zone" => self.zone.map(str::to_owned),
            name => self.attributes.iter().find(|attribute| attribute.name == name).map(|a| print(&a.value)),
        }
    }

    fn scalar(&self, field: &str) -> Option<Quantity> {
        self.attributes.iter().find(|attribute| attribute.name == field).and_then(|a| match a.value {
            AttributeValue::Scalar(quantity) => Some(quantity),
            _ => None,
        })
    }
}

fn print(value: &AttributeValue) -> String {
    match value {
        AttributeValue::Scalar(quantity) => quantity.to_string(),
        AttributeValue::Ranges(ranges) => {
            let parts: Vec<String> =
                ranges.as_slice().iter().map(|(begin, end)| format!("{begin}-{end}")).collect();
            format!("[{}]", parts.join(","))
        }
        AttributeValue::Set(items) => format!("{{{}}}", items.join(",")),
        AttributeValue::Text(text) => text.clone(),
    }
}

/// Why three strings are no constraint; the texts are Marathon's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    #[error("operator must be one of the following UNIQUE, CLUSTER, GROUP_BY, LIKE, MAX_PER, UNLIKE or IS")]
    Operator,
    #[error("illegal constraint specification")]
    Field,
    #[error("UNIQUE does not accept a value")]
    UniqueValue,
    #[error("MAX_PER requires an integer value")]
    MaxPerValue,
    #[error("GROUP BY must define an integer value or else no value at all")]
    GroupByValue,
    #[error("LIKE and UNLIKE require a non-empty, regular expression value")]
    LikeValue,
    #[error("is not a valid regular expression")]
    Regex,
    #[error(
        "IS only supports Mesos text and float values (see http://mesos.apache.org/documentation/latest/attributes-resources/)"
    )]
    IsValue,
}

#[derive(Debug, Clone)]
enum Rule {
    Unique,
    Cluster(Option<String>),
    GroupBy(u64),
    Like(Regex),
    Unlike(Regex),
    MaxPer(u64),
    Is { text: String, number: Option<Quantity> },
}

/// One well-formed constraint.
#[derive(Debug, Clone)]
pub struct Constraint {
    field: String,
    rule: Rule,
}

impl Constraint {
    pub fn new(field: &str, operator: Operator, value: Option<&str>) -> Result<Self, ConstraintError> {
        if field.is_empty() {
            return Err(ConstraintError::Field);
        }
        let text = value.unwrap_or_default();
        let rule = match operator {
            Operator::Unique if text.is_empty() => Rule::Unique,
            Operator::Unique => return Err(ConstraintError::UniqueValue),
            Operator::Cluster => Rule::Cluster(Some(text.to_owned()).filter(|text| !text.is_empty())),
            Operator::GroupBy if text.is_empty() => Rule::GroupBy(0),
            Operator::GroupBy => Rule::GroupBy(text.parse().map_err(|_| ConstraintError::GroupByValue)?),
            Operator::Like => Rule::Like(whole(text)?),
            Operator::Unlike => Rule::Unlike(whole(text)?),
            Operator::MaxPer => Rule::MaxPer(text.parse().map_err(|_| ConstraintError::MaxPerValue)?),
            Operator::Is => is_rule(text)?,
        };
        Ok(Self { field: field.to_owned(), rule })
    }

    pub fn field(&self) -> &str {
        &self.field
    }

    /// Whether one more may run at `place` beside those at `others`.
    pub fn allows(&self, place: &Place<'_>, others: &[Place<'_>]) -> bool {
        let Some(value) = place.value(&self.field) else {
            return matches!(self.rule, Rule::Unlike(_));
        };
        let same =
            || others.iter().filter(|other| other.value(&self.field).as_ref() == Some(&value)).count() as u64;
        match &self.rule {
            Rule::Unique => same() == 0,
            Rule::Cluster(wanted) => {
                wanted.as_ref().is_none_or(|wanted| *wanted == value) && same() == others.len() as u64
            }
            Rule::GroupBy(groups_min) => self.is_smallest_group(&value, others, *groups_min),
            Rule::Like(regex) => regex.is_match(&value),
            Rule::Unlike(regex) => !regex.is_match(&value),
            Rule::MaxPer(max) => same() < *max,
            Rule::Is { text, number } => match (place.scalar(&self.field), number) {
                (Some(scalar), Some(number)) => scalar == *number,
                (Some(_), None) => false,
                (None, _) => *text == value,
            },
        }
    }

    fn is_smallest_group(&self, value: &str, others: &[Place<'_>], groups_min: u64) -> bool {
        let mut groups: BTreeMap<String, u64> = BTreeMap::new();
        for other in others {
            if let Some(theirs) = other.value(&self.field) {
                *groups.entry(theirs).or_default() += 1;
            }
        }
        let Some(mine) = groups.get(value) else { return true };
        (groups.len() as u64) >= groups_min && groups.values().all(|count| mine <= count)
    }
}

fn whole(text: &str) -> Result<Regex, ConstraintError> {
    if text.is_empty() {
        return Err(ConstraintError::LikeValue);
    }
    // The text must be an expression of its own: "a)(b" must not close our group.
    build(text)?;
    build(&format!("^(?:{text})$"))
}

fn build(text: &str) -> Result<Regex, ConstraintError> {
    RegexBuilder::new(text).size_limit(REGEX_SIZE_BYTES_MAX).build().map_err(|_| ConstraintError::Regex)
}

fn is_rule(text: &str) -> Result<Rule, ConstraintError> {
    if text.is_empty() || text.starts_with('[') || text.starts_with('{') {
        return Err(ConstraintError::IsValue);
    }
    let number = text.parse::<f64>().ok().and_then(Quantity::from_f64);
    Ok(Rule::Is { text: text.to_owned(), number })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constraint(field: &str, operator: &str, value: &str) -> Constraint {
        let operator = Operator::from_name(operator).unwrap();
        Constraint::new(field, operator, Some(value).filter(|value| !value.is_empty())).unwrap()
    }

    fn host(name: &str) -> Place<'_> {
        Place { hostname: name, region: None, zone: None, attributes: &[] }
    }

    fn zone<'a>(name: &'a str, zone: &'a str) -> Place<'a> {
        Place { hostname: name, region: Some("r"), zone: Some(zone), attributes: &[] }
    }

    #[test]
    fn unique_cluster_max_per() {
        let others = [host("a"), host("a"), host("b")];
        assert!(!constraint("hostname", "unique", "").allows(&host("a"), &others));
        assert!(constraint("@hostname", "UNIQUE", "").allows(&host("c"), &others));
        assert!(!constraint("@zone", "UNIQUE", "").allows(&host("c"), &others), "no zone never matches");
        assert!(constraint("hostname", "CLUSTER", "").allows(&host("a"), &[]));
        assert!(!constraint("hostname", "CLUSTER", "").allows(&host("b"), &[host("a")]));
        assert!(!constraint("hostname", "CLUSTER", "a").allows(&host("b"), &[]));
        assert!(constraint("hostname", "CLUSTER", "a").allows(&host("a"), &[host("a")]));
        assert!(!constraint("hostname", "MAX_PER", "2").allows(&host("a"), &others));
        assert!(constraint("hostname", "MAX_PER", "2").allows(&host("b"), &others));
    }

    #[test]
    fn group_by_prefers_the_smallest_group() {
        let others = [zone("a", "z1"), zone("b", "z1"), zone("c", "z2")];
        let two = constraint("@zone", "GROUP_BY", "");
        assert!(!two.allows(&zone("d", "z1"), &others));
        assert!(two.allows(&zone("d", "z2"), &others));
        assert!(two.allows(&zone("d", "z3"), &others), "a new group is the smallest");
        let three = constraint("@zone", "GROUP_BY", "3");
        assert!(!three.allows(&zone("d", "z2"), &others), "a third group is expected first");
    }

    #[test]
    fn like_takes_the_whole_text() {
        assert!(constraint("hostname", "LIKE", "node-[0-9]").allows(&host("node-1"), &[]));
        assert!(!constraint("hostname", "LIKE", "node-[0-9]").allows(&host("node-12"), &[]));
        assert!(!constraint("hostname", "LIKE", "a|b").allows(&host("ab"), &[]));
        assert!(constraint("hostname", "UNLIKE", "node-[0-9]").allows(&host("node-12"), &[]));
        assert!(constraint("rack", "UNLIKE", "x").allows(&host("a"), &[]), "no attribute is unlike");
        assert!(!constraint("rack", "LIKE", ".*").allows(&host("a"), &[]));
    }

    #[test]
    fn is_compares_numbers_to_three_decimals() {
        let attributes = [Attribute {
            name: "speed".into(),
            value: AttributeValue::Scalar(Quantity::from_f64(0.8).unwrap()),
        }];
        let place = Place { attributes: &attributes, ..host("a") };
        assert!(constraint("speed", "IS", "0.80").allows(&place, &[]));
        assert!(constraint("speed", "IS", "0.8001").allows(&place, &[]));
        assert!(!constraint("speed", "IS", "0.81").allows(&place, &[]));
        assert!(constraint("speed", "LIKE", r"0\.8").allows(&place, &[]));
    }

    #[test]
    fn refusals_have_the_texts_of_the_catalogue() {
        let refusal = |operator, value| Constraint::new("f", operator, value).unwrap_err();
        assert_eq!(refusal(Operator::Unique, Some("x")), ConstraintError::UniqueValue);
        assert_eq!(refusal(Operator::MaxPer, None), ConstraintError::MaxPerValue);
        assert_eq!(refusal(Operator::GroupBy, Some("x")), ConstraintError::GroupByValue);
        assert_eq!(refusal(Operator::Like, None), ConstraintError::LikeValue);
        assert_eq!(refusal(Operator::Like, Some("*")), ConstraintError::Regex);
        assert_eq!(refusal(Operator::Like, Some("a)(b")), ConstraintError::Regex);
        assert_eq!(refusal(Operator::Is, Some("[1-2]")), ConstraintError::IsValue);
        assert_eq!(Constraint::new("", Operator::Unique, None).unwrap_err(), ConstraintError::Field);
    }
}
