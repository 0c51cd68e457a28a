//! When to look at a task next, and what a look says of it.
//!
//! Rules of `apache/mesos` `docs/health-checks.md`: the first look comes after the
//! delay, the next after the interval from the end of the one before.

use std::time::Duration;

use model::{Check, CheckStatus, HealthCheck, Probe, Time};

/// Shortest pause between two looks.
const INTERVAL_MIN_MS: u64 = 10;

/// What a look showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A command ended with this exit code.
    Exit(i32),
    /// The final status of an HTTP request.
    Status(u32),
    /// Whether a connection could be made.
    Connected(bool),
    TimedOut,
    /// The look itself could not be taken, or ended in no other way.
    Failed(String),
}

/// The times of one kind of look at one task.
#[derive(Debug)]
pub struct Watch {
    interval: Duration,
    due: Option<Time>,
    under_way: Option<u64>,
}

impl Watch {
    pub fn new(check: &Check, now: Time) -> Self {
        Self {
            interval: Duration::from_millis(check.interval_ms.max(INTERVAL_MIN_MS)),
            due: Some(now + Duration::from_millis(check.delay_ms)),
            under_way: None,
        }
    }

    /// `None` while a look is under way.
    pub fn due(&self) -> Option<Time> {
        self.due
    }

    /// Not now: an interval later.
    pub fn postpone(&mut self, now: Time) {
        self.due = self.due.map(|_| now + self.interval);
    }

    pub fn begin(&mut self, number: u64) {
        self.due = None;
        self.under_way = Some(number);
    }

    /// Whether this was the look that is waited for.
    pub fn end(&mut self, number: u64, now: Time) -> bool {
        let is_it = self.under_way == Some(number);
        if is_it {
            self.under_way = None;
            self.due = Some(now + self.interval);
        }
        is_it
    }
}

/// A task's health so far.
#[derive(Debug)]
pub struct Health {
    grace_until: Time,
    failures_max: u32,
    failures: u32,
    /// Neither success nor a failure that counts has been seen.
    fresh: bool,
}

/// What is to be told of a task's health.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why it is not healthy; none: it is.
    pub failure: Option<String>,
    pub kill: bool,
}

impl Health {
    /// `since`: when the task began to run; `healthy`: what was last told.
    pub fn new(check: &HealthCheck, since: Time, healthy: Option<bool>) -> Self {
        Self {
            grace_until: since + Duration::from_millis(check.grace_ms),
            failures_max: check.consecutive_failures.max(1),
            // How many there were is not kept; that there was one is.
            failures: u32::from(healthy == Some(false)),
            fresh: healthy.is_none(),
        }
    }

    /// `None`: nothing to tell.
    pub fn judge(&mut self, now: Time, seen: &Seen) -> Option<Verdict> {
        let Some(text) = failure(seen) else {
            let is_new = self.fresh || self.failures > 0;
            self.fresh = false;
            self.failures = 0;
            return is_new.then_some(Verdict { failure: None, kill: false });
        };
        if self.fresh && now <= self.grace_until {
            return None;
        }
        // What fails after its grace was not begun by a success, and counts from now on.
        self.fresh = false;
        self.failures = self.failures.saturating_add(1);
        Some(Verdict { failure: Some(text), kill: self.failures >= self.failures_max })
    }
}

/// Why a look at a task's health is none of success.
fn failure(seen: &Seen) -> Option<String> {
    match seen {
        Seen::Exit(0) | Seen::Status(200..=399) | Seen::Connected(true) => None,
        Seen::Exit(code) => Some(format!("the command exited with status {code}")),
        Seen::Status(code) => Some(format!("HTTP status {code}")),
        Seen::Connected(false) => Some("no TCP connection".to_owned()),
        Seen::TimedOut => Some("no answer in time".to_owned()),
        Seen::Failed(text) => Some(text.clone()),
    }
}

/// What a generic check saw last.
#[derive(Debug)]
pub struct Seeing {
    last: CheckStatus,
}

/// The status of a check that has seen nothing.
pub fn nothing(probe: &Probe) -> CheckStatus {
    match probe {
        Probe::Command(_) => CheckStatus::Command { exit_code: None },
        Probe::Http { .. } => CheckStatus::Http { status_code: None },
        Probe::Tcp { .. } => CheckStatus::Tcp { succeeded: None },
    }
}

impl Seeing {
    pub fn new(probe: &Probe, last: Option<CheckStatus>) -> Self {
        let nothing = nothing(probe);
        let fits = |last: &CheckStatus| std::mem::discriminant(last) == std::mem::discriminant(&nothing);
        Self { last: last.filter(fits).unwrap_or(nothing) }
    }

    pub fn last(&self) -> CheckStatus {
        self.last
    }

    /// Takes what was seen; whether it is something else than before.
    pub fn changes(&mut self, seen: &Seen) -> bool {
        let now = match self.last {
            CheckStatus::Command { .. } => {
                let exit_code = if let Seen::Exit(code) = seen { Some(*code) } else { None };
                CheckStatus::Command { exit_code }
            }
            CheckStatus::Http { .. } => {
                let status_code = if let Seen::Status(code) = seen { Some(*code) } else { None };
                CheckStatus::Http { status_code }
            }
            CheckStatus::Tcp { .. } => {
                let succeeded = if let Seen::Connected(is) = seen { Some(*is) } else { None };
                CheckStatus::Tcp { succeeded }
            }
        };
        let changes = now != self.last;
        self.last = now;
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1_000)
    }

    fn check() -> Check {
        let probe = Probe::Tcp { ipv6: false, port: 80 };
        Check { probe, delay_ms: 15_000, interval_ms: 10_000, timeout_ms: 20_000 }
    }

    #[test]
    fn looks_follow_the_end_of_the_one_before() {
        let mut watch = Watch::new(&check(), at(100));
        assert_eq!(watch.due(), Some(at(115)));
        watch.begin(1);
        assert_eq!(watch.due(), None);
        assert!(!watch.end(7, at(116)), "another's answer");
        assert!(watch.end(1, at(130)));
        assert_eq!(watch.due(), Some(at(140)));
        assert!(!watch.end(1, at(131)), "answered before");
    }

    /// Steps of (second, success), and what is told: `+`, `-`, `!` for a kill, `.` for nothing.
    fn told(steps: &[(u64, bool)], healthy: Option<bool>) -> String {
        let wanted = HealthCheck { check: check(), consecutive_failures: 3, grace_ms: 10_000 };
        let mut health = Health::new(&wanted, at(0), healthy);
        let tell =
            |&(second, success): &(u64, bool)| match health.judge(at(second), &Seen::Connected(success)) {
                None => '.',
                Some(Verdict { failure: None, .. }) => '+',
                Some(Verdict { kill: true, .. }) => '!',
                Some(_) => '-',
            };
        steps.iter().map(tell).collect()
    }

    #[test]
    fn sea_54_health() {
        let no = |second| (second, false);
        let yes = |second| (second, true);
        assert_eq!(told(&[no(1), no(5), no(10), no(11), no(12), no(13)], None), "...--!");
        assert_eq!(told(&[yes(1), yes(2), no(3), yes(4), yes(5)], None), "+.-+.");
        assert_eq!(told(&[yes(1), no(2), no(3), yes(4), no(5), no(6), no(7)], None), "+--+--!");
        // After a restart: told before, so the grace is over and nothing is repeated.
        assert_eq!(told(&[yes(1), no(2)], Some(true)), ".-");
        assert_eq!(told(&[no(1), no(2)], Some(false)), "-!");
        assert_eq!(told(&[yes(1)], Some(false)), "+");
    }

    #[test]
    fn sea_55_what_counts_as_healthy() {
        for seen in [Seen::Exit(0), Seen::Status(200), Seen::Status(304), Seen::Status(399)] {
            assert_eq!(failure(&seen), None);
        }
        for seen in
            [Seen::Exit(1), Seen::Status(404), Seen::Status(199), Seen::TimedOut, Seen::Failed("x".into())]
        {
            assert!(failure(&seen).is_some(), "{seen:?}");
        }
    }

    #[test]
    fn sea_56_changes_only() {
        let probe = Probe::Http { tls: false, ipv6: false, port: 80, path: "/".into() };
        let mut seeing = Seeing::new(&probe, None);
        let looks = [
            (Seen::TimedOut, false),
            (Seen::Status(200), true),
            (Seen::Status(200), false),
            (Seen::Status(503), true),
            (Seen::Failed("refused".into()), true),
            (Seen::TimedOut, false),
        ];
        for (seen, expected) in looks {
            assert_eq!(seeing.changes(&seen), expected, "{seen:?}");
        }
        let known = Some(CheckStatus::Http { status_code: Some(200) });
        assert!(!Seeing::new(&probe, known).changes(&Seen::Status(200)));
        let odd = Some(CheckStatus::Tcp { succeeded: Some(true) });
        assert_eq!(Seeing::new(&probe, odd).last(), CheckStatus::Http { status_code: None });
    }
}
