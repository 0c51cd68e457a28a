//! Keys and bytes of the durable state.
//!
//! One small object per key, JSON inside an envelope `{"v":1,"is":…}`. Readers
//! ignore keys inside `is` that they do not know, and default those that are
//! missing where the type says so, so that a version reads what its
//! predecessor wrote.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::state::{Record, Write};

/// All keys of Marathon begin so.
pub const PREFIX: &str = "marathon/";
/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

const FRAMEWORK_ID: &str = "marathon/framework-id";
const APPS: &str = "marathon/apps";
const VERSIONS: &str = "marathon/versions/";
const INSTANCES: &str = "marathon/instances/";
const DEPLOYMENTS: &str = "marathon/deployments/";
const FAILURES: &str = "marathon/failures";

#[derive(Serialize)]
struct Envelope<'a, T> {
    v: u32,
    is: &'a T,
}

#[derive(Deserialize)]
struct Opened<T> {
    is: T,
}

#[derive(Deserialize)]
struct Format {
    v: u32,
}

/// Why stored bytes are no record of ours.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("key {key} is of no kind that this version knows")]
    Kind { key: String },
    #[error("record {key} has format {found}, this version reads up to {FORMAT}; start a newer version")]
    Newer { key: String, found: u32 },
    #[error("record {key} cannot be read")]
    Content {
        key: String,
        #[source]
        source: serde_json::Error,
    },
}

impl Write {
    /// Ids begin with a slash, which joins them to the prefix.
    pub fn key(&self) -> String {
        match self {
            Self::PutFrameworkId(_) => FRAMEWORK_ID.to_owned(),
            Self::PutApp(definition) => format!("{APPS}{}", definition.id),
            Self::DeleteApp(id) => format!("{APPS}{id}"),
            // The time comes first: an id may look like the rest of another key.
            Self::PutVersion(definition) => {
                format!("{VERSIONS}{:015}{}", definition.version.as_millis(), definition.id)
            }
            Self::DeleteVersion { app, version } => format!("{VERSIONS}{:015}{app}", version.as_millis()),
            Self::PutInstance(instance) => format!("{INSTANCES}{}", instance.task_id),
            Self::DeleteInstance(task) => format!("{INSTANCES}{task}"),
            Self::PutDeployment(deployment) => format!("{DEPLOYMENTS}{}", deployment.id),
            Self::DeleteDeployment(id) => format!("{DEPLOYMENTS}{id}"),
            Self::PutTaskFailure(failure) => format!("{FAILURES}{}", failure.app),
            Self::DeleteTaskFailure(id) => format!("{FAILURES}{id}"),
        }
    }

    /// `None` deletes the key.
    pub fn value(&self) -> Result<Option<Vec<u8>>, serde_json::Error> {
        match self {
            Self::PutFrameworkId(id) => seal(id),
            Self::PutApp(definition) | Self::PutVersion(definition) => seal(&**definition),
            Self::PutInstance(instance) => seal(&**instance),
            Self::PutDeployment(deployment) => seal(&**deployment),
            Self::PutTaskFailure(failure) => seal(&**failure),
            Self::DeleteApp(_)
            | Self::DeleteVersion { .. }
            | Self::DeleteInstance(_)
            | Self::DeleteDeployment(_)
            | Self::DeleteTaskFailure(_) => Ok(None),
        }
    }
}

impl Record {
    pub fn decode(key: &str, value: &[u8]) -> Result<Self, RecordError> {
        if key == FRAMEWORK_ID {
            open(key, value).map(Record::FrameworkId)
        } else if key.starts_with(VERSIONS) {
            open(key, value).map(Record::Version)
        } else if key.starts_with(INSTANCES) {
            open(key, value).map(Record::Instance)
        } else if key.starts_with(DEPLOYMENTS) {
            open(key, value).map(Record::Deployment)
        } else if key.strip_prefix(APPS).is_some_and(|id| id.starts_with('/')) {
            open(key, value).map(Record::App)
        } else if key.strip_prefix(FAILURES).is_some_and(|id| id.starts_with('/')) {
            open(key, value).map(Record::TaskFailure)
        } else {
            Err(RecordError::Kind { key: key.to_owned() })
        }
    }
}

fn seal<T: Serialize>(value: &T) -> Result<Option<Vec<u8>>, serde_json::Error> {
    serde_json::to_vec(&Envelope { v: FORMAT, is: value }).map(Some)
}

fn open<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, RecordError> {
    let content = |source| RecordError::Content { key: key.to_owned(), source };
    let format: Format = serde_json::from_slice(value).map_err(content)?;
    if format.v > FORMAT {
        return Err(RecordError::Newer { key: key.to_owned(), found: format.v });
    }
    let opened: Opened<T> = serde_json::from_slice(value).map_err(content)?;
    Ok(opened.is)
}
