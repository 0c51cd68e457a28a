//! What an operator can set, with defaults that are safe on their own.
//!
//! Invariant: the default listener is reachable from this machine only.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde::Deserialize;

/// Where the door stands and how much may pass at once.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to listen on; the node's own address in a cluster.
    pub ip: IpAddr,
    /// Port for plain HTTP; 0 lets the system choose.
    pub http_port: u16,
    pub limits: Limits,
    pub facts: ClusterFacts,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            http_port: 80,
            limits: Limits::default(),
            facts: ClusterFacts::default(),
        }
    }
}

/// Every limit of the door. What happens at each one is said beside it.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open client connections (tunnels count); the next one gets 503 and is closed.
    pub connections: usize,
    /// Bytes of request line and headers; more is answered 431.
    pub header_bytes: usize,
    /// Number of request headers; more is answered 431.
    pub headers: usize,
    /// Seconds a client may take to send its headers, also those of its next request; then
    /// the connection is closed.
    #[serde(with = "seconds")]
    pub header_timeout: Duration,
    /// Seconds to reach an upstream; then 504.
    #[serde(with = "seconds")]
    pub connect_timeout: Duration,
    /// Seconds in which neither the request body moves nor the upstream answers; then 504
    /// (or 408 when the client is the one that stopped).
    #[serde(with = "seconds")]
    pub stall_timeout: Duration,
    /// Seconds of silence after which the kernel asks whether the other machine is still
    /// there; streams may be silent for hours, a vanished peer may not.
    #[serde(with = "seconds")]
    pub keepalive: Duration,
    /// Bytes of a request body; more is answered 413.
    pub body_bytes: u64,
    /// The same for `/service/…`, where artifacts are uploaded.
    pub service_body_bytes: u64,
    /// Seconds that open requests get to finish when the door closes.
    #[serde(with = "seconds")]
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 8192,
            header_bytes: 64 << 10,
            headers: 100,
            header_timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(300),
            keepalive: Duration::from_secs(60),
            body_bytes: 1 << 30,
            service_body_bytes: 16 << 30,
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// What the metadata documents say about this cluster.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterFacts {
    /// The DC/OS release whose contracts are kept.
    pub version: String,
    /// `open` or `enterprise`; old clients choose their plug-ins by it.
    pub variant: String,
    pub image_commit: String,
    pub bootstrap_id: String,
    /// Our own release, beside the compatible one.
    pub product_version: String,
    /// Lower-case UUID version 4; old clients refuse anything else.
    pub cluster_id: String,
    pub public_ipv4: String,
}

impl Default for ClusterFacts {
    fn default() -> Self {
        ClusterFacts {
            version: "1.12.5".into(),
            variant: "open".into(),
            image_commit: "0".repeat(40),
            bootstrap_id: "0".repeat(40),
            product_version: env!("CARGO_PKG_VERSION").into(),
            cluster_id: String::new(),
            public_ipv4: Ipv4Addr::LOCALHOST.to_string(),
        }
    }
}

/// Durations are written as (fractional) seconds.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de::Error};

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let value = f64::deserialize(from)?;
        Duration::try_from_secs_f64(value)
            .map_err(|_| D::Error::custom(format!("{value} is not a duration; give seconds from 0 up")))
    }
}
