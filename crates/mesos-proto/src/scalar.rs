//! Quantities on the wire are doubles that count in thousandths.

/// Below this a double still holds every thousandth.
const MAGNITUDE_MAX: f64 = 1e12;

/// The quantity in thousandths, rounded half away from zero; nothing for what is no quantity (infinite, not a number,
/// beyond 10¹²).
pub fn to_thousandths(value: f64) -> Option<i64> {
    // The check keeps the conversion within range.
    (value.abs() <= MAGNITUDE_MAX).then(|| (value * 1000.0).round() as i64)
}

pub fn from_thousandths(thousandths: i64) -> f64 {
    thousandths as f64 / 1000.0
}
