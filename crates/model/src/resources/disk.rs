//! What a `disk` resource is carved from, and the volume made of it.

use serde::{Deserialize, Serialize};

use crate::ids::Principal;

/// `DiskInfo`: source, persistence and mount of a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DiskInfo {
    #[serde(default)]
    pub source: Option<DiskSource>,
    #[serde(default)]
    pub persistence: Option<Persistence>,
    #[serde(default)]
    pub volume: Option<DiskVolume>,
}

/// Where the bytes lie; none given: the agent's own root disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DiskSource {
    pub kind: DiskKind,
    /// Directory of a `PATH` or `MOUNT` disk.
    #[serde(default)]
    pub root: Option<String>,
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default)]
    pub profile: Option<String>,
    #[serde(default)]
    pub vendor: Option<String>,
    #[serde(default)]
    pub metadata: Vec<(String, Option<String>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DiskKind {
    Path,
    Mount,
    Block,
    Raw,
}

/// Makes a disk a persistent volume, unique by id within its role on one agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Persistence {
    pub id: String,
    #[serde(default)]
    pub principal: Option<Principal>,
}

/// Where a task sees the volume.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DiskVolume {
    pub container_path: String,
    pub read_only: bool,
    /// Never valid for a disk; kept so that the master can refuse it by name.
    #[serde(default)]
    pub host_path: Option<String>,
}
