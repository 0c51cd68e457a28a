//! Directories of persistent volumes, made and removed as the agent's brain orders.
//!
//! Orders are carried out one after the other, in the order in which they came, and
//! each at most once: a mark on disk says what is done, so that an order repeated
//! after a crash cannot remove what was written since.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesos_agent::{Input, VolumeChange, VolumeWork};
use model::UpdateId;
use tokio::sync::mpsc;

type Orders = VecDeque<(VolumeWork, mpsc::Sender<Input>)>;

#[derive(Clone)]
pub struct Volumes {
    marks_dir: Arc<PathBuf>,
    /// The brain's record of what is not settled bounds it.
    orders: Arc<Mutex<Orders>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Volumes {
    pub fn new(marks_dir: PathBuf) -> Self {
        Self { marks_dir: Arc::new(marks_dir), orders: Arc::default(), turn: Arc::default() }
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn order(&self, work: VolumeWork, inputs: mpsc::Sender<Input>) {
        self.orders().push_back((work, inputs));
    }

    /// When it returns, all that was ordered before is done or has failed.
    pub async fn carry_out(&self) {
        let _turn = self.turn.lock().await;
        loop {
            let Some((work, inputs)) = self.orders().pop_front() else { return };
            let (marks_dir, uuid, path) = (self.marks_dir.clone(), work.uuid, work.path.clone());
            let done = tokio::task::spawn_blocking(move || once(&marks_dir, &work)).await;
            match done.unwrap_or_else(|error| Err(io::Error::other(error))) {
                // Fails only when the agent's loop has ended; its next start orders it again.
                Ok(()) => drop(inputs.send(Input::VolumeDone { uuid }).await),
                // Tried again at the next start.
                Err(error) => tracing::error!(path, %error, "a volume's directory was not changed"),
            }
        }
    }

    pub fn settled(&self, uuid: UpdateId) {
        // What is left of it is an empty file.
        let _ = std::fs::remove_file(self.marks_dir.join(uuid.to_string()));
    }
}

fn once(marks_dir: &Path, work: &VolumeWork) -> io::Result<()> {
    let mark = marks_dir.join(work.uuid.to_string());
    if mark.exists() {
        return Ok(());
    }
    let path = Path::new(&work.path);
    match work.what {
        VolumeChange::Make => std::fs::create_dir_all(path)?,
        VolumeChange::Remove => match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        },
        VolumeChange::Empty => empty(path)?,
    }
    std::fs::create_dir_all(marks_dir)?;
    std::fs::write(mark, "")
}

/// A mount point cannot be removed, only what is in it.
fn empty(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ks_17_destroy_removes_data_and_a_repeated_order_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Volumes::new(dir.path().join("marks"));
        let path = dir.path().join("volumes/roles/eng/data");
        let (sender, mut done) = mpsc::channel(8);
        let work = |number: u128, what: VolumeChange| VolumeWork {
            uuid: UpdateId(number),
            path: path.to_str().unwrap().to_owned(),
            what,
        };
        volumes.order(work(1, VolumeChange::Make), sender.clone());
        volumes.carry_out().await;
        std::fs::write(path.join("old"), "old").unwrap();
        volumes.order(work(2, VolumeChange::Remove), sender.clone());
        volumes.order(work(3, VolumeChange::Make), sender.clone());
        volumes.carry_out().await;
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0, "a new volume of the same id is empty");
        std::fs::write(path.join("new"), "new").unwrap();
        // The agent crashed before it knew that both were done.
        let again = Volumes::new(dir.path().join("marks"));
        again.order(work(2, VolumeChange::Remove), sender.clone());
        again.order(work(3, VolumeChange::Make), sender.clone());
        again.carry_out().await;
        assert_eq!(std::fs::read_to_string(path.join("new")).unwrap(), "new");
        for expected in [1, 2, 3, 2, 3] {
            assert_eq!(done.recv().await, Some(Input::VolumeDone { uuid: UpdateId(expected) }));
        }
        again.settled(UpdateId(2));
        assert!(!dir.path().join("marks").join(UpdateId(2).to_string()).exists());
        std::fs::create_dir(path.join("sub")).unwrap();
        again.order(work(4, VolumeChange::Empty), sender);
        again.carry_out().await;
        assert!(path.is_dir() && std::fs::read_dir(&path).unwrap().next().is_none());
    }
}
