//! Watches what a container writes to its files.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::ContainerId;
use rustix::fs::OFlags;
use tokio::sync::{mpsc, watch};

use super::sandbox::{self, Place};
use super::streams::{AttachError, CHUNK_BYTES, CHUNKS_MAX, Chunk, Output, Stream};
use crate::table::Phase;

/// Between two looks at files that have not grown.
const PAUSE: Duration = Duration::from_millis(50);

struct Followed {
    stream: Stream,
    file: Arc<File>,
    at: u64,
}

/// Starts at the files' ends.
pub async fn start(
    id: &ContainerId,
    home: Option<(PathBuf, String)>,
    place: Option<Place>,
    phase: watch::Receiver<Phase>,
) -> Result<Output, AttachError> {
    let Some((home, _)) = home else { return Err(AttachError::NoOutput(id.clone())) };
    let open = move || {
        let both = [(Stream::Stdout, "stdout"), (Stream::Stderr, "stderr")];
        let opened = both.into_iter().filter_map(|(stream, name)| {
            let file = match &place {
                Some(place) => File::from(place.open(name).ok()?),
                None => {
                    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
                    let flags = i32::try_from(flags.bits()).ok()?;
                    let file = File::options().read(true).custom_flags(flags).open(home.join(name)).ok()?;
                    let file = std::os::fd::OwnedFd::from(file);
                    sandbox::regular(&file).ok()?;
                    File::from(file)
                }
            };
            let at = file.metadata().ok()?.size();
            Some(Followed { stream, file: Arc::new(file), at })
        });
        opened.collect::<Vec<Followed>>()
    };
    let files = tokio::task::spawn_blocking(open).await.unwrap_or_default();
    if files.is_empty() {
        return Err(AttachError::NoOutput(id.clone()));
    }
    let (chunks, receiver) = mpsc::channel(CHUNKS_MAX);
    tokio::spawn(follow(files, phase, chunks));
    Ok(Output::of_files(receiver))
}

async fn follow(mut files: Vec<Followed>, mut phase: watch::Receiver<Phase>, chunks: mpsc::Sender<Chunk>) {
    loop {
        let has_ended = matches!(*phase.borrow(), Phase::Ended(_) | Phase::Gone);
        let mut grew = false;
        for followed in &mut files {
            while let Some(data) = followed.read().await {
                grew = true;
                if chunks.send(Chunk { stream: followed.stream, data }).await.is_err() {
                    return;
                }
            }
        }
        if has_ended && !grew {
            return;
        }
        if !grew {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = chunks.closed() => return,
                _ = phase.wait_for(|phase| matches!(phase, Phase::Ended(_) | Phase::Gone)), if !has_ended => {}
            }
        }
    }
}

impl Followed {
    async fn read(&mut self) -> Option<Bytes> {
        let (file, at) = (self.file.clone(), self.at);
        let read = move || {
            // Somebody may have emptied it.
            let at = if file.metadata().ok()?.size() < at { 0 } else { at };
            let mut data = vec![0; CHUNK_BYTES];
            let count = file.read_at(&mut data, at).ok()?;
            data.truncate(count);
            Some((at + count as u64, data))
        };
        let (at, data) = tokio::task::spawn_blocking(read).await.ok()??;
        self.at = at;
        (!data.is_empty()).then(|| Bytes::from(data))
    }
}
