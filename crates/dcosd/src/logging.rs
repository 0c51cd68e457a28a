//! Structured logs on stderr; `DCOSD_LOG` chooses what is told (`info` by default).
//!
//! An operator may ask for more for a while: then everything from `debug` on is
//! told, from level 3 on `trace` too.

use std::io;
use std::sync::{Arc, OnceLock};

use mesos_http::LogLevel;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::cli::LogFormat;

/// From this level on everything is told.
const TRACE_LEVEL: u32 = 3;

static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();
static LEVEL: OnceLock<Arc<LogLevel>> = OnceLock::new();

pub fn start(format: LogFormat) {
    let (filter, handle) = reload::Layer::new(chosen());
    // Logs are started once; a second start would find the first's handle.
    let _ = FILTER.set(handle);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => registry.with(fmt::layer().with_ansi(false).with_writer(io::stderr)).init(),
        LogFormat::Json => registry.with(fmt::layer().json().with_writer(io::stderr)).init(),
    }
}

fn chosen() -> EnvFilter {
    EnvFilter::try_from_env("DCOSD_LOG").unwrap_or_else(|_| EnvFilter::new("info,openraft=warn"))
}

/// One for the whole process.
pub fn level() -> Arc<LogLevel> {
    LEVEL.get_or_init(|| Arc::new(LogLevel::new(change))).clone()
}

fn change(level: u32) {
    let Some(filter) = FILTER.get() else { return };
    let wanted = match level {
        0 => chosen(),
        TRACE_LEVEL.. => EnvFilter::new("trace,openraft=debug,hyper=debug"),
        _ => EnvFilter::new("debug,openraft=info,hyper=info"),
    };
    match filter.reload(wanted) {
        Ok(()) => tracing::info!(level, "the level of the log was changed"),
        Err(error) => tracing::warn!(%error, level, "the level of the log could not be changed"),
    }
}
