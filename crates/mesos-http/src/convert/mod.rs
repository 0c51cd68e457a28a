//! Between the v1 messages on the wire and the words of the house, by hand.
//!
//! Functions named `x` read a wire type, those named `x_out` write one. Reading
//! never fails on what the wire allows and the model does not know: that is left
//! out here, and kept in the `raw` of tasks and executors. What is wrong in form
//! comes back as [`Invalid`], or as the `flaw` of the task or operation that it
//! is in, so that one bad task does not stop its neighbours.
//! Start reading at [`mod@resources`] and [`mod@task`].

mod agent;
mod cluster;
mod form;
mod framework;
mod offer;
mod operation;
mod resources;
mod status;
mod task;
#[cfg(test)]
mod tests;

use std::time::Duration;

use mesos_proto::{Bytes, v1};
use model::{Opaque, Time, UpdateId};

pub(crate) use agent::*;
pub(crate) use cluster::*;
pub(crate) use framework::*;
pub(crate) use offer::*;
pub(crate) use operation::*;
pub(crate) use resources::*;
pub(crate) use status::*;
pub(crate) use task::*;

/// What is wrong in form; the text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Invalid(pub String);

impl Invalid {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// The ordered labels of most messages.
pub(crate) fn labels(labels: Option<&v1::Labels>) -> Vec<(String, Option<String>)> {
    let pair = |label: &v1::Label| (label.key.clone(), label.value.clone());
    labels.map(|labels| labels.labels.iter().map(pair).collect()).unwrap_or_default()
}

/// None when there are none.
pub(crate) fn labels_out(labels: &[(String, Option<String>)]) -> Option<v1::Labels> {
    if labels.is_empty() {
        return None;
    }
    let label =
        |(key, value): &(String, Option<String>)| v1::Label { key: key.clone(), value: value.clone() };
    Some(v1::Labels { labels: labels.iter().map(label).collect() })
}

/// Of exactly 16 bytes.
pub(crate) fn uuid(bytes: &[u8]) -> Option<UpdateId> {
    <[u8; 16]>::try_from(bytes).ok().map(|bytes| UpdateId(u128::from_be_bytes(bytes)))
}

pub(crate) fn uuid_out(uuid: UpdateId) -> Bytes {
    Bytes::copy_from_slice(&uuid.to_bytes())
}

pub(crate) fn opaque(bytes: &Bytes) -> Opaque {
    Opaque::new(bytes)
}

pub(crate) fn opaque_out(opaque: &Opaque) -> Bytes {
    Bytes::copy_from_slice(opaque)
}

pub(crate) fn time_out(time: Time) -> v1::TimeInfo {
    v1::TimeInfo {
        nanoseconds: i64::try_from(time.as_millis()).unwrap_or(i64::MAX).saturating_mul(1_000_000),
    }
}

/// Seconds with fraction; what is before 1970 or no number counts as 1970.
pub(crate) fn time_of_seconds(seconds: f64) -> Time {
    // The cast saturates, and `Time` ends with the year 9999.
    Time::from_millis((seconds * 1000.0).round() as u64)
}

/// Whole milliseconds; None below zero.
pub(crate) fn millis(info: &v1::DurationInfo) -> Option<u64> {
    u64::try_from(info.nanoseconds).ok().map(|nanoseconds| nanoseconds / 1_000_000)
}

pub(crate) fn duration_out(millis: u64) -> v1::DurationInfo {
    let nanoseconds = Duration::from_millis(millis).as_nanos();
    v1::DurationInfo { nanoseconds: i64::try_from(nanoseconds).unwrap_or(i64::MAX) }
}

/// The same name on both sides of an enumeration, or nothing.
macro_rules! by_name {
    ($wire:path, $number:expr => $model:path) => {
        <$wire>::try_from($number).ok().and_then(|value| <$model>::from_name(value.as_str_name()))
    };
}
/// The number of a name that the wire's enumeration has.
macro_rules! by_name_out {
    ($value:expr => $wire:path) => {
        <$wire>::from_str_name($value.name()).map(|value| value as i32)
    };
}

pub(crate) use {by_name, by_name_out};
