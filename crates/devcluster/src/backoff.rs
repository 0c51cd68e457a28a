//! How long a supervisor waits before it starts a daemon again.
//!
//! Pure. Invariant: at least [`FIRST`] and at most [`LONGEST`] between two starts
//! of a daemon that does not stay up.

use std::time::Duration;

pub const FIRST: Duration = Duration::from_millis(200);
pub const LONGEST: Duration = Duration::from_secs(5);
/// A daemon that was up for this long is healthy again.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// The waiting time, doubling from failure to failure.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { next: FIRST }
    }
}

impl Backoff {
    /// The wait after a daemon ended that had been up for `up`.
    pub fn after(&mut self, up: Duration) -> Duration {
        if up >= HEALTHY_AFTER {
            self.next = FIRST;
        }
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_anew_after_health() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..7).map(|_| backoff.after(Duration::from_secs(1)).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.after(HEALTHY_AFTER), FIRST);
    }
}
