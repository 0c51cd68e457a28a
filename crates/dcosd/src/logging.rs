//! Structured logs on stderr; `DCOSD_LOG` chooses what is told (`info` by default).

use std::io;

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

pub fn start(format: LogFormat) {
    let filter =
        EnvFilter::try_from_env("DCOSD_LOG").unwrap_or_else(|_| EnvFilter::new("info,openraft=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}
