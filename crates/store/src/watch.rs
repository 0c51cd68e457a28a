//! Follows a prefix from a revision on.
//!
//! A watch has no queue of its own: it reads the store's bounded history at its
//! own pace. Whoever falls further behind than the history reaches gets
//! [`WatchError::Compacted`], reads the prefix again and watches from there.

use std::sync::Arc;

use tokio::sync::watch;

use crate::machine::Shared;
use crate::state::Change;
use crate::txn::Revision;

/// Revisions looked at under one lock.
const STEP_MAX_REVISIONS: usize = 256;

/// The changes of one revision that touch the prefix, in the order they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    pub revision: Revision,
    pub changes: Vec<Change>,
}

/// Why a watch ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    #[error(
        "the changes after revision {asked} are no longer known, only those after {oldest}; \
         read the prefix again and watch from the revision of that read"
    )]
    Compacted { asked: Revision, oldest: Revision },
    #[error("the store is shut down")]
    Closed,
}

pub struct Watch {
    shared: Arc<Shared>,
    applied: watch::Receiver<Revision>,
    stopped: watch::Receiver<bool>,
    prefix: String,
    /// Everything up to this revision was handed out or does not touch the prefix.
    seen: Revision,
    ready: std::collections::VecDeque<Changes>,
}

impl Watch {
    pub(crate) fn new(
        shared: Arc<Shared>,
        stopped: watch::Receiver<bool>,
        prefix: &str,
        from: Revision,
    ) -> Self {
        let applied = shared.revision.subscribe();
        Self {
            shared,
            applied,
            stopped,
            prefix: prefix.to_owned(),
            seen: from,
            ready: std::collections::VecDeque::new(),
        }
    }

    /// The next revision with changes below the prefix. Cancel-safe.
    pub async fn next(&mut self) -> Result<Changes, WatchError> {
        loop {
            if let Some(changes) = self.ready.pop_front() {
                return Ok(changes);
            }
            self.applied.borrow_and_update();
            if self.advance()? {
                continue;
            }
            if *self.stopped.borrow() {
                return Err(WatchError::Closed);
            }
            tokio::select! {
                changed = self.applied.changed() => changed.map_err(|_| WatchError::Closed)?,
                stopped = self.stopped.changed() => stopped.map_err(|_| WatchError::Closed)?,
            }
        }
    }

    /// Reads a piece of history; false when there is nothing new.
    fn advance(&mut self) -> Result<bool, WatchError> {
        let past = self
            .shared
            .read()
            .changes_after(self.seen, STEP_MAX_REVISIONS)
            .map_err(|oldest| WatchError::Compacted { asked: self.seen, oldest })?;
        let Some(last) = past.last() else { return Ok(false) };
        self.seen = last.revision;
        for one in past {
            let changes: Vec<Change> = one
                .changes
                .iter()
                .filter(|change| change.key.as_str().starts_with(&self.prefix))
                .cloned()
                .collect();
            if !changes.is_empty() {
                self.ready.push_back(Changes { revision: one.revision, changes });
            }
        }
        Ok(true)
    }
}
