//! What users were promised, and what frameworks were told.
//!
//! Orders: an acknowledged one holds until the next; one whose answer was lost
//! may hold or not. Updates: per task, states only move forward.

use std::collections::{BTreeMap, BTreeSet};

use model::{TaskId, TaskState, TaskStatus, UpdateId};

/// The promised size of every app; `None` is: not there.
#[derive(Debug, Default)]
pub struct Orders {
    possible: BTreeMap<String, BTreeSet<Option<u64>>>,
    open: BTreeMap<u64, (String, Option<u64>)>,
}

impl Orders {
    /// An order is on its way.
    pub fn sent(&mut self, request: u64, app: &str, size: Option<u64>) {
        self.open.insert(request, (app.to_owned(), size));
    }

    /// Its answer: accepted orders replace all before them, refused ones change nothing.
    pub fn answered(&mut self, request: u64, accepted: bool) {
        let Some((app, size)) = self.open.remove(&request) else { return };
        if accepted {
            self.possible.insert(app, BTreeSet::from([size]));
        }
    }

    /// Whoever should answer died: each open order may hold or not.
    pub fn lost(&mut self) {
        for (app, size) in std::mem::take(&mut self.open).into_values() {
            self.possible.entry(app).or_insert_with(|| BTreeSet::from([None])).insert(size);
        }
    }

    /// Whether an order for this app waits for its answer.
    pub fn waits(&self, app: &str) -> bool {
        self.open.values().any(|(open, _)| open == app)
    }

    pub fn check(&self, app: &str, size: Option<u64>) -> Result<(), String> {
        let none = BTreeSet::from([None]);
        let possible = self.possible.get(app).unwrap_or(&none);
        if possible.contains(&size) {
            return Ok(());
        }
        Err(format!("app {app} has size {size:?}, acknowledged was {possible:?}"))
    }

    /// The one size it must have, when there is only one.
    pub fn certain(&self, app: &str) -> Option<Option<u64>> {
        let possible = self.possible.get(app)?;
        (possible.len() == 1).then(|| possible.first().copied().flatten())
    }
}

/// Order of updates as the framework sees them.
#[derive(Debug, Default)]
pub struct UpdateWatch {
    seen: BTreeMap<TaskId, Vec<(TaskState, UpdateId)>>,
}

fn rank(state: TaskState) -> u8 {
    match state {
        TaskState::Staging => 0,
        TaskState::Starting => 1,
        TaskState::Running => 2,
        TaskState::Killing => 3,
        _ => 4,
    }
}

impl UpdateWatch {
    /// Updates of the agent's stream carry a uuid: each new one goes forward;
    /// repeats of old ones are allowed. The master's own carry none.
    pub fn delivered(&mut self, status: &TaskStatus) -> Result<(), String> {
        let Some(uuid) = status.uuid else { return Ok(()) };
        let seen = self.seen.entry(status.task_id.clone()).or_default();
        if seen.iter().any(|(_, known)| *known == uuid) {
            return Ok(());
        }
        if let Some((last, _)) = seen.last()
            && (rank(status.state) < rank(*last) || (last.is_terminal() && *last != status.state))
        {
            return Err(format!("task {}: {} was delivered after {last}", status.task_id, status.state));
        }
        seen.push((status.state, uuid));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_answer_leaves_both_possible() {
        let mut orders = Orders::default();
        orders.sent(1, "/a", Some(3));
        orders.answered(1, true);
        orders.sent(2, "/a", Some(5));
        orders.lost();
        assert!(orders.check("/a", Some(3)).is_ok() && orders.check("/a", Some(5)).is_ok());
        assert!(orders.check("/a", Some(4)).is_err() && orders.check("/a", None).is_err());
        orders.sent(3, "/a", None);
        orders.answered(3, true);
        assert!(orders.check("/a", Some(5)).is_err() && orders.check("/a", None).is_ok());
        assert_eq!(orders.certain("/a"), Some(None));
    }
}
