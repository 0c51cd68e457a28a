//! The engine's own conformance suite for storage, run on our log and state machine.

use openraft::testing::{StoreBuilder, Suite};

use crate::log::LogStore;
use crate::machine::Machine;
use crate::members::NodeId;
use crate::raft::{StorageError, Types};
use crate::snapshot::SnapshotDir;

struct Builder;

impl StoreBuilder<Types, LogStore, Machine, tempfile::TempDir> for Builder {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, Machine), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let log = LogStore::open(&dir.path().join("log.redb"), NodeId(0)).unwrap();
        let snapshots = SnapshotDir::open(dir.path().join("snapshots")).unwrap();
        let machine = Machine::open(snapshots, u64::MAX).unwrap();
        Ok((dir, log, machine))
    }
}

#[test]
fn storage_conforms() {
    Suite::test_all(Builder).unwrap();
}
