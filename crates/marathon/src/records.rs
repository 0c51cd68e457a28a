//! Keys and bytes of the durable state.
//!
//! One small object per key, in the envelope of [`store::envelope`].

use serde::Serialize;
use serde::de::DeserializeOwned;
use store::envelope::{self, EnvelopeError};

use crate::state::{Record, Write};

/// All keys of Marathon begin so.
pub const PREFIX: &str = "marathon/";

const FRAMEWORK_ID: &str = "marathon/framework-id";
const APPS: &str = "marathon/apps";
const VERSIONS: &str = "marathon/versions/";
const INSTANCES: &str = "marathon/instances/";
const DEPLOYMENTS: &str = "marathon/deployments/";
const FAILURES: &str = "marathon/failures";

/// Why stored bytes are no record of ours.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("key {key} is of no kind that this version knows")]
    Kind { key: String },
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
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
            Self::PutFrameworkId(id) => sealed(id),
            Self::PutApp(definition) | Self::PutVersion(definition) => sealed(&**definition),
            Self::PutInstance(instance) => sealed(&**instance),
            Self::PutDeployment(deployment) => sealed(&**deployment),
            Self::PutTaskFailure(failure) => sealed(&**failure),
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

fn sealed<T: Serialize>(record: &T) -> Result<Option<Vec<u8>>, serde_json::Error> {
    envelope::seal(record).map(Some)
}

fn open<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, RecordError> {
    Ok(envelope::open(key, value)?)
}
