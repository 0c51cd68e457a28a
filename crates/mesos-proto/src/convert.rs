//! Conversions that every user of the types would write again.

use std::time::Duration;

use crate::{google, v1};

macro_rules! ids {
    ($($id:ident),*) => {$(
        impl From<&str> for v1::$id {
            fn from(value: &str) -> Self {
                value.to_owned().into()
            }
        }

        impl From<String> for v1::$id {
            fn from(value: String) -> Self {
                // Containers' ids have a parent too.
                let mut id = Self::default();
                id.value = value;
                id
            }
        }
    )*};
}

ids!(AgentId, ContainerId, ExecutorId, FrameworkId, OfferId, OperationId, ResourceProviderId, TaskId);

/// A length of time below zero: the wire has room for it, no rule has a use for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a duration of {0}; 0 or more is allowed")]
pub struct NegativeDuration(pub String);

impl TryFrom<&v1::DurationInfo> for Duration {
    type Error = NegativeDuration;

    fn try_from(info: &v1::DurationInfo) -> Result<Self, Self::Error> {
        let nanoseconds = info.nanoseconds;
        let negative = |_| NegativeDuration(format!("{nanoseconds} ns"));
        u64::try_from(nanoseconds).map(Self::from_nanos).map_err(negative)
    }
}

impl TryFrom<&google::protobuf::Duration> for Duration {
    type Error = NegativeDuration;

    fn try_from(duration: &google::protobuf::Duration) -> Result<Self, Self::Error> {
        let total = i128::from(duration.seconds) * 1_000_000_000 + i128::from(duration.nanos);
        let seconds = u64::try_from(total.div_euclid(1_000_000_000));
        let seconds = seconds.map_err(|_| NegativeDuration(format!("{total} ns")))?;
        // A remainder of a division by 10⁹ fits.
        Ok(Self::new(seconds, total.rem_euclid(1_000_000_000) as u32))
    }
}

impl From<Duration> for v1::DurationInfo {
    /// What is longer than 292 years counts as that.
    fn from(duration: Duration) -> Self {
        Self { nanoseconds: i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX) }
    }
}
