//! The one place where brains' time comes from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use model::Time;

/// Wall time at the start, carried on by the monotonic clock: it never jumps
/// back, and a stepped wall clock moves no deadline.
#[derive(Debug, Clone)]
pub struct Clock {
    origin: Instant,
    origin_millis: u64,
    last: Arc<AtomicU64>,
}

impl Clock {
    pub fn system() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let origin_millis = u64::try_from(since.as_millis()).unwrap_or(0);
        Self { origin: Instant::now(), origin_millis, last: Arc::new(AtomicU64::new(origin_millis)) }
    }

    pub fn now(&self) -> Time {
        let elapsed = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(0);
        let now = self.origin_millis.saturating_add(elapsed);
        Time::from_millis(self.last.fetch_max(now, Ordering::Relaxed).max(now))
    }
}
