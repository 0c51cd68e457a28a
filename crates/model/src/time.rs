//! Points in time as milliseconds since 1970, handed in from outside.
//!
//! Nothing here reads a clock: shells read it once per turn and pass it on.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(u64);

impl Time {
    pub const ZERO: Time = Time(0);
    /// Year 9999: the last instant that prints with a four-digit year.
    pub const MAX: Time = Time(253_402_300_799_999);

    pub fn from_millis(millis: u64) -> Self {
        Self(millis.min(Self::MAX.0))
    }

    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// Seconds with fraction, as Mesos prints times.
    pub fn as_secs_f64(self) -> f64 {
        // Exact: a millisecond count below 2^53.
        self.0 as f64 / 1000.0
    }

    /// How long after `earlier`; zero when it is not after.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// ISO-8601 with milliseconds and `Z`, as Marathon prints times.
    pub fn to_iso(self) -> String {
        self.to_string()
    }

    /// Reads ISO-8601 with a zone; `None` when it is none or before 1970.
    pub fn parse_iso(text: &str) -> Option<Self> {
        let parsed = chrono::DateTime::parse_from_rfc3339(text).ok()?;
        u64::try_from(parsed.timestamp_millis()).ok().map(Self::from_millis)
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, duration: Duration) -> Time {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Time::from_millis(self.0.saturating_add(millis))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, duration: Duration) -> Time {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Time(self.0.saturating_sub(millis))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        match chrono::DateTime::from_timestamp_millis(millis) {
            Some(time) => write!(f, "{}", time.format("%Y-%m-%dT%H:%M:%S%.3fZ")),
            None => write!(f, "{}ms", self.0),
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_round_trip() {
        let time = Time::from_millis(1_551_435_330_123);
        assert_eq!(time.to_iso(), "2019-03-01T10:15:30.123Z");
        assert_eq!(Time::parse_iso("2019-03-01T10:15:30.123Z"), Some(time));
        assert_eq!(Time::parse_iso("2019-03-01T11:15:30.123+01:00"), Some(time));
        assert_eq!(Time::parse_iso("yesterday"), None);
        assert_eq!(Time::parse_iso("1969-03-01T10:15:30Z"), None);
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Time::MAX + Duration::from_secs(u64::MAX), Time::MAX);
        assert_eq!(Time::ZERO - Duration::from_secs(1), Time::ZERO);
        assert_eq!(Time::ZERO.since(Time::MAX), Duration::ZERO);
    }
}
