//! Takes revocable resources back when the machine gets busy.
//!
//! Rule: `apache/mesos` `src/slave/qos_controllers/load.cpp`: above a threshold of
//! load, every run with revocable resources is ended.

use std::time::Duration;

use mesos_agent::shell::Handle;

const INTERVAL: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy, Default)]
pub struct Thresholds {
    pub minutes_5: Option<f64>,
    pub minutes_15: Option<f64>,
}

impl Thresholds {
    /// Loads as in `/proc/loadavg`.
    fn exceeded(self, loads: &str) -> bool {
        let mut numbers = loads.split_whitespace().skip(1).map(|word| word.parse::<f64>().ok());
        let (of_5, of_15) = (numbers.next().flatten(), numbers.next().flatten());
        let above = |load: Option<f64>, most: Option<f64>| matches!((load, most), (Some(load), Some(most)) if load > most);
        above(of_5, self.minutes_5) || above(of_15, self.minutes_15)
    }
}

/// Looks for ever.
pub async fn run(handle: Handle, thresholds: Thresholds) {
    if thresholds.minutes_5.is_none() && thresholds.minutes_15.is_none() {
        return;
    }
    loop {
        tokio::time::sleep(INTERVAL).await;
        match std::fs::read_to_string("/proc/loadavg") {
            Ok(loads) if thresholds.exceeded(&loads) => {
                for run in handle.view().revocable_runs() {
                    tracing::info!(container = %run, loads = loads.trim(), "the machine is busy: preempting");
                    handle.preempt(run).await;
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the machine's load cannot be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_and_thresholds() {
        let thresholds = Thresholds { minutes_5: Some(2.0), minutes_15: None };
        assert!(thresholds.exceeded("0.10 2.01 0.50 1/100 42"));
        assert!(!thresholds.exceeded("9.00 2.00 9.00 1/100 42"));
        assert!(!thresholds.exceeded("nonsense"));
        assert!(!Thresholds::default().exceeded("9 9 9"));
    }
}
