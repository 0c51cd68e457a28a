//! The rules a definition must keep, with Marathon's texts.
use super::app::AppDefinition;
use super::normalize::Rules;
use super::update::AppUpdate;
use crate::api::Violation;

pub(super) fn deprecated(_update: &AppUpdate) -> Vec<Violation> {
    Vec::new()
}

pub(super) fn update(_update: &AppUpdate, _base: Option<&AppDefinition>, _rules: &Rules) -> Vec<Violation> {
    Vec::new()
}

pub(super) fn definition(_definition: &AppDefinition, _rules: &Rules) -> Vec<Violation> {
    Vec::new()
}
