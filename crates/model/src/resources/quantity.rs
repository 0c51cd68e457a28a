//! Exact fixed-point scalars.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A fixed-point number with three decimals.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantity(i64);

impl Quantity {
    pub const ZERO: Quantity = Quantity(0);
    /// Largest magnitude accepted from outside: 10^12 units.
    pub const MAX: Quantity = Quantity(1_000_000_000_000_000);

    pub const fn from_milli(milli: i64) -> Self {
        Self(milli)
    }

    pub fn from_units(units: u32) -> Self {
        Self(i64::from(units) * 1000)
    }

    /// Rounds half away from zero; `None` when not finite or beyond [`Self::MAX`].
    pub fn from_f64(value: f64) -> Option<Self> {
        let milli = (value * 1000.0).round();
        // MAX is below 2^53, so the comparison and the cast are exact.
        if milli.is_finite() && milli.abs() <= Self::MAX.0 as f64 { Some(Self(milli as i64)) } else { None }
    }

    pub fn to_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    pub fn milli(self) -> i64 {
        self.0
    }

    pub fn is_positive(self) -> bool {
        self.0 > 0
    }

    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1000, (self.0 % 1000).abs());
        if self.0 < 0 && whole == 0 {
            f.write_str("-")?;
        }
        if part == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{part:03}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
