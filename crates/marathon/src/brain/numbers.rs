//! Counts of an app's instances, kept as they change: one app may have many
//! thousands, and each of their updates asks.

use model::TaskState;

use crate::state::Instance;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub total: u64,
    pub sentenced: u64,
    /// Running and not sentenced.
    pub up: u64,
    /// Staging or starting.
    pub staged: u64,
    pub running: u64,
    pub unreachable: u64,
}

impl Numbers {
    pub fn add(&mut self, instance: &Instance) {
        self.each(instance, |number| *number += 1);
    }

    pub fn remove(&mut self, instance: &Instance) {
        self.each(instance, |number| {
            debug_assert!(*number > 0, "only what was counted is taken away");
            *number = number.saturating_sub(1);
        });
    }

    fn each(&mut self, instance: &Instance, change: impl Fn(&mut u64)) {
        change(&mut self.total);
        if instance.sentenced.is_some() {
            change(&mut self.sentenced);
        } else if instance.is_running() {
            change(&mut self.up);
        }
        if instance.is_running() {
            change(&mut self.running);
        }
        if matches!(instance.state, TaskState::Staging | TaskState::Starting) {
            change(&mut self.staged);
        }
        if instance.is_unreachable() {
            change(&mut self.unreachable);
        }
    }

    pub fn unsentenced(&self) -> u64 {
        self.total - self.sentenced
    }
}
