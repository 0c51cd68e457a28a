//! Launch delays of failing definitions.
//!
//! Rules: `mesosphere/marathon` `core/launchqueue/impl/RateLimiter.scala`.

use std::time::Duration;

use model::Time;

/// How delays grow; taken from the definition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackoffPolicy {
    pub first: Duration,
    pub factor: f64,
    pub max: Duration,
}

/// The delay of one definition. It never shrinks while failures go on; it is
/// forgotten when its start is older than the policy's `max`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    start: Time,
    delay: Duration,
    max: Duration,
}

impl Backoff {
    /// The delay after a failure at `now`.
    pub fn failed(previous: Option<Self>, policy: BackoffPolicy, now: Time) -> Self {
        let delay = match previous.filter(|previous| !previous.is_over(now)) {
            None => policy.first,
            Some(previous) => {
                let seconds = previous.delay.as_secs_f64() * policy.factor;
                Duration::try_from_secs_f64(seconds).unwrap_or(policy.max)
            }
        };
        Self { start: now, delay: delay.min(policy.max), max: policy.max }
    }

    /// A task came up: the delay stays and counts from now.
    pub fn seen_alive(&mut self, now: Time) {
        self.start = self.start.max(now);
    }

    /// When the next launch may happen.
    pub fn until(&self) -> Time {
        self.start + self.delay
    }

    /// Old enough to be forgotten.
    pub fn is_over(&self, now: Time) -> bool {
        now.since(self.start) > self.max.max(self.delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BackoffPolicy =
        BackoffPolicy { first: Duration::from_secs(1), factor: 1.15, max: Duration::from_secs(3600) };

    fn after(failures: u32, policy: BackoffPolicy) -> Duration {
        let mut backoff = None;
        for _ in 0..failures {
            backoff = Some(Backoff::failed(backoff, policy, Time::ZERO));
        }
        backoff.unwrap().until().since(Time::ZERO)
    }

    #[test]
    fn delays_grow_by_the_factor_and_stop_at_the_maximum() {
        assert_eq!(after(1, POLICY), Duration::from_secs(1));
        assert_eq!(after(2, POLICY), Duration::from_millis(1150));
        assert_eq!(after(3, POLICY), Duration::from_millis(1322));
        assert_eq!(after(200, POLICY), Duration::from_secs(3600));
        let none = BackoffPolicy { first: Duration::ZERO, ..POLICY };
        assert_eq!(after(50, none), Duration::ZERO);
        let huge = BackoffPolicy { factor: 1e300, ..POLICY };
        assert_eq!(after(5, huge), Duration::from_secs(3600));
    }

    #[test]
    fn it_is_forgotten_after_the_maximum() {
        let first = Backoff::failed(None, POLICY, Time::ZERO);
        let late = Time::from_millis(3_600_001);
        assert!(first.is_over(late));
        let again = Backoff::failed(Some(first), POLICY, late);
        assert_eq!(again.until(), late + Duration::from_secs(1));
    }
}
