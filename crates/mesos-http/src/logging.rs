//! How much the process logs, which an operator may raise for a while.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::duration;
use crate::reply::Refusal;
use crate::routes::Call;

/// Raises the level for a while; 0 is the ordinary one.
pub trait Logging: fmt::Debug + Send + Sync {
    fn level(&self) -> u32;
    /// Back to 0 after `duration`.
    fn set(&self, level: u32, duration: Duration);
}

/// `/logging/toggle`: shows the level, or raises it for a while.
pub(crate) fn toggle(logging: &dyn Logging, call: &Call) -> Result<Response, Refusal> {
    let (level, duration) = (call.query.text("level"), call.query.text("duration"));
    let (level, duration) = match (level, duration) {
        (None, None) => return Ok(format!("{}\n", logging.level()).into_response()),
        (Some(level), Some(duration)) => (level, duration),
        (None, _) => return Err(Refusal::bad_request("Expecting 'level=value' in query.\n".to_owned())),
        (_, None) => return Err(Refusal::bad_request("Expecting 'duration=value' in query.\n".to_owned())),
    };
    let shown = |text: &str| text.chars().take(40).collect::<String>();
    let number = level.parse().map_err(|_| {
        Refusal::bad_request(format!("Invalid level '{}': expecting a whole number.\n", shown(&level)))
    })?;
    let time = duration::parse(&duration).ok_or_else(|| {
        Refusal::bad_request(format!(
            "Invalid duration '{}': expecting a number and a unit, such as 5mins.\n",
            shown(&duration)
        ))
    })?;
    logging.set(number, time);
    Ok(StatusCode::OK.into_response())
}

type Change = Box<dyn Fn(u32) + Send + Sync>;

/// Keeps the level and says when it changes.
pub struct LogLevel {
    now: std::sync::Arc<Mutex<(u32, Instant)>>,
    change: std::sync::Arc<Change>,
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLevel").field("level", &self.level()).finish_non_exhaustive()
    }
}

impl LogLevel {
    /// `change` is called with every new level, at its end with 0.
    pub fn new(change: impl Fn(u32) + Send + Sync + 'static) -> Self {
        Self {
            now: std::sync::Arc::new(Mutex::new((0, Instant::now()))),
            change: std::sync::Arc::new(Box::new(change)),
        }
    }
}

impl Logging for LogLevel {
    fn level(&self) -> u32 {
        let (level, until) = *self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if Instant::now() < until { level } else { 0 }
    }

    fn set(&self, level: u32, duration: Duration) {
        // A time beyond all clocks is as good as the farthest that one shows.
        let far = Duration::from_secs(365 * 24 * 3600);
        let until = Instant::now() + duration.min(far);
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = (level, until);
        (self.change)(level);
        let (now, change) = (self.now.clone(), self.change.clone());
        tokio::spawn(async move {
            tokio::time::sleep_until(until.into()).await;
            let (_, end) = *now.lock().unwrap_or_else(PoisonError::into_inner);
            // A later call has its own end.
            if end == until {
                change(0);
            }
        });
    }
}
