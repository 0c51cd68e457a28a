//! What `/version` says: the Mesos version whose behaviour is offered, and how
//! this program was built.

use serde::Serialize;

#[derive(Debug, Clone, Serialize)]
pub struct BuildInfo {
    /// The Mesos version that clients may assume, such as `1.7.3`.
    pub version: String,
    /// `YYYY-MM-DD hh:mm:ss`.
    pub build_date: String,
    /// Seconds since 1970.
    pub build_time: f64,
    pub build_user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_sha: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_branch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_tag: Option<String>,
}
