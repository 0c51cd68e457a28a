//! The wire types: read by hand from JSON, printed by hand to JSON.

pub(crate) mod events;
pub(crate) mod print_app;
pub(crate) mod print_task;
pub(crate) mod read_app;
mod read_container;
pub(crate) mod shape;

use serde_json::Value;

/// Whole numbers print without a fraction.
pub(crate) fn number(value: f64) -> Value {
    // Below 2^53 every whole number is exact in both forms.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT { Value::from(value as i64) } else { Value::from(value) }
}
