//! What both APIs say of a process, in the v1 messages.

use std::collections::BTreeMap;
use std::time::Duration;

use mesos_proto::v1;

use crate::build::BuildInfo;
use crate::system::Metrics;

pub(crate) fn flags(flags: &BTreeMap<String, String>) -> Vec<v1::Flag> {
    flags.iter().map(|(name, value)| v1::Flag { name: name.clone(), value: Some(value.clone()) }).collect()
}

pub(crate) fn version(build: &BuildInfo) -> v1::VersionInfo {
    v1::VersionInfo {
        version: build.version.clone(),
        build_date: Some(build.build_date.clone()),
        build_time: Some(build.build_time),
        build_user: Some(build.build_user.clone()),
        git_sha: build.git_sha.clone(),
        git_branch: build.git_branch.clone(),
        git_tag: build.git_tag.clone(),
    }
}

pub(crate) fn metrics(metrics: Metrics) -> Vec<v1::Metric> {
    metrics.into_iter().map(|(name, value)| v1::Metric { name, value: Some(value) }).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} nanoseconds are no duration: expecting none or more")]
pub(crate) struct NegativeDuration(i64);

pub(crate) fn duration(info: Option<&v1::DurationInfo>) -> Result<Option<Duration>, NegativeDuration> {
    let Some(info) = info else { return Ok(None) };
    let nanos = u64::try_from(info.nanoseconds).map_err(|_| NegativeDuration(info.nanoseconds))?;
    Ok(Some(Duration::from_nanos(nanos)))
}
