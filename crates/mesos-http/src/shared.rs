//! Answers that are made once per snapshot and shared by all who ask for the same.
//!
//! A snapshot never changes, so an answer made from it is right as long as it is
//! the newest. Whoever asks while the answer is being made waits for it; whoever
//! asks after a newer snapshot makes the old ones go. An answer is kept in
//! pieces that each reader lets go of as he goes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use bytes::Bytes;
use mesos_master::MasterView;
use tokio::sync::OnceCell;

use crate::reply::Refusal;

/// Different answers kept of one snapshot.
const ANSWERS_MAX: usize = 16;

pub(crate) type Pieces = Vec<Bytes>;

#[derive(Default)]
pub(crate) struct Shared {
    entries: Mutex<Vec<Entry>>,
    hits: AtomicU64,
}

struct Entry {
    view: Arc<MasterView>,
    key: String,
    pieces: Arc<OnceCell<Pieces>>,
}

impl Shared {
    /// Answers that were not made anew.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// The answer to `key` from `view`; `make` runs on a thread of its own and may take its time.
    pub async fn answer(
        &self,
        view: &Arc<MasterView>,
        key: String,
        make: impl FnOnce() -> Pieces + Send + 'static,
    ) -> Result<Pieces, Refusal> {
        let (pieces, known) = self.entry(view, key);
        if known {
            self.hits.fetch_add(1, Ordering::Relaxed);
        }
        let made = pieces.get_or_try_init(|| async { tokio::task::spawn_blocking(make).await }).await;
        made.cloned().map_err(|error| Refusal::internal(format!("The answer could not be made: {error}.\n")))
    }

    fn entry(&self, view: &Arc<MasterView>, key: String) -> (Arc<OnceCell<Pieces>>, bool) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| Arc::ptr_eq(&entry.view, view));
        if let Some(entry) = entries.iter().find(|entry| entry.key == key) {
            return (entry.pieces.clone(), true);
        }
        if entries.len() >= ANSWERS_MAX {
            entries.remove(0);
        }
        let pieces = Arc::new(OnceCell::new());
        entries.push(Entry { view: view.clone(), key, pieces: pieces.clone() });
        (pieces, false)
    }
}

/// A body of these pieces, and its length.
pub(crate) fn body(pieces: Pieces) -> (Body, usize) {
    let length = pieces.iter().map(Bytes::len).sum();
    let left: VecDeque<Bytes> = pieces.into();
    let frames = futures_util::stream::unfold(left, |mut left| async move {
        let next = left.pop_front()?;
        Some((Ok::<Bytes, std::convert::Infallible>(next), left))
    });
    (Body::from_stream(frames), length)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::fixtures::cluster;

    #[tokio::test]
    async fn made_once_for_all_who_ask_at_once() {
        let (shared, view) = (Arc::new(Shared::default()), Arc::new(cluster()));
        let made = Arc::new(AtomicUsize::new(0));
        let ask = |view: &Arc<MasterView>, key: &str| {
            let (shared, view, made, key) = (shared.clone(), view.clone(), made.clone(), key.to_owned());
            tokio::spawn(async move {
                let make = move || {
                    made.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    vec![Bytes::from_static(b"x")]
                };
                shared.answer(&view, key, make).await.unwrap()
            })
        };
        let asked: Vec<_> = (0..10).map(|_| ask(&view, "/state")).collect();
        for one in asked {
            assert_eq!(one.await.unwrap(), vec![Bytes::from_static(b"x")]);
        }
        assert_eq!((made.load(Ordering::SeqCst), shared.hits()), (1, 9));
        ask(&view, "/tasks").await.unwrap();
        ask(&Arc::new(cluster()), "/state").await.unwrap();
        assert_eq!(made.load(Ordering::SeqCst), 3, "another question and another snapshot are made anew");
        for n in 0..ANSWERS_MAX * 2 {
            ask(&view, &n.to_string()).await.unwrap();
        }
        assert_eq!(shared.entries.lock().unwrap().len(), ANSWERS_MAX);
    }
}
