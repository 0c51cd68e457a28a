//! What this version cannot carry out yet.
use super::app::AppDefinition;
use crate::api::Violation;

pub(super) fn of(_definition: &AppDefinition) -> Vec<Violation> {
    Vec::new()
}
