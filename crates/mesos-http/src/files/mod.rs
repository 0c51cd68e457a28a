//! The files API: virtual names of sandboxes and logs, and bounded reads.
//!
//! Attaching ([`attach`]) says which real directory a virtual path means,
//! opening ([`open`]) makes sure that nothing outside of it is ever read, even
//! while a task swaps symlinks under the reader. Errors, texts and statuses are
//! those of `apache/mesos` `src/files/files.cpp`.

mod attach;
mod browse;
mod download;
mod media;
mod names;
mod open;
mod read;

use std::path::PathBuf;

use axum::response::Response;
use bytes::Bytes;
use mesos_proto::v1;
use tokio::sync::Semaphore;

pub(crate) use attach::{Attached, Owner};
use open::OpenError;

use crate::access::{Action, Caller, Object};
use crate::reply::{self, Refusal};
use crate::routes::Call;

/// What an agent serves beside its sandboxes.
#[derive(Debug, Clone, Default)]
pub struct FilesConfig {
    /// Served as `/slave/log`.
    pub log_file: Option<PathBuf>,
}

/// File operations at one time; more wait.
const CONCURRENT_MAX: usize = 32;

/// One call of the files API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Browse,
    Read,
    Download,
    Debug,
}

#[derive(Debug)]
pub(crate) struct Files {
    permits: Semaphore,
}

impl Files {
    pub fn new() -> Self {
        Self { permits: Semaphore::new(CONCURRENT_MAX) }
    }

    pub async fn serve(
        &self,
        operation: Operation,
        attached: Attached,
        caller: &Caller,
        call: Call,
    ) -> Result<Response, Refusal> {
        if operation == Operation::Debug {
            return Ok(reply::json(&attached.listing(), call.callback));
        }
        let path = call.query.bytes("path").unwrap_or_default().to_vec();
        if path.is_empty() {
            return Err(Refusal::bad_request("Expecting 'path=value' in query.\n".to_owned()));
        }
        may_see(caller, &attached, &path)?;
        let callback = call.callback.clone();
        match operation {
            Operation::Debug => Err(Refusal::not_found()),
            Operation::Browse => {
                let entries = self.blocking(move || browse::browse(&attached, &path)).await?;
                Ok(reply::json(&entries, callback))
            }
            Operation::Read => {
                let range = read::Range::of(&call.query)?;
                let content = self.blocking(move || read::read(&attached, &path, range)).await?;
                Ok(reply::json(&content, callback))
            }
            Operation::Download => {
                let source = self.blocking(move || download::open(&attached, &path)).await?;
                Ok(download::response(source))
            }
        }
    }

    /// `LIST_FILES`.
    pub async fn list(
        &self,
        attached: Attached,
        caller: &Caller,
        path: &str,
    ) -> Result<Vec<v1::FileInfo>, Refusal> {
        let path = path.as_bytes().to_vec();
        may_see(caller, &attached, &path)?;
        self.blocking(move || browse::infos(&attached, &path)).await
    }

    /// `READ_FILE`: the size and the bytes.
    pub async fn piece(
        &self,
        attached: Attached,
        caller: &Caller,
        path: &str,
        offset: u64,
        length: Option<u64>,
    ) -> Result<(u64, Bytes), Refusal> {
        let path = path.as_bytes().to_vec();
        may_see(caller, &attached, &path)?;
        let (size, data) = self.blocking(move || read::piece(&attached, &path, Some(offset), length)).await?;
        Ok((size, data.into()))
    }

    /// Disks may hang: never on a thread that serves others.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await.map_err(|_| Refusal::unavailable("Shutting down"))?;
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => {
                Err(Refusal::internal(format!("The file operation ended unexpectedly: {error}.\n")))
            }
        }
    }
}

/// `ACCESS_MESOS_LOG` for the process' own log, `ACCESS_SANDBOX` for the rest.
fn may_see(caller: &Caller, attached: &Attached, path: &[u8]) -> Result<(), Refusal> {
    let allowed = match attached.owner(path) {
        Owner::Log => caller.may(Action::AccessMesosLog, Object::Any),
        Owner::Framework(info) => caller.may(Action::AccessSandbox, Object::Of(info.as_deref())),
    };
    if allowed { Ok(()) } else { Err(Refusal::forbidden()) }
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NotFound => Refusal::not_found(),
            OpenError::Inaccessible { .. } => Refusal::bad_request(format!("{error}.\n")),
            OpenError::Io { .. } => {
                tracing::warn!(%error, "a file cannot be served");
                Refusal::internal(format!("{error}.\n"))
            }
        }
    }
}
