//! Logs to stderr: text for people, JSON for machines.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::{EnvFilter, fmt};

use crate::config::Log;

/// Sends the process's logs to stderr. The first call in a process wins.
pub fn init(log: &Log) {
    // The filter was checked with the configuration.
    let filter = EnvFilter::builder().parse_lossy(&log.filter);
    let json = log.json.unwrap_or_else(|| !stderr().is_terminal());
    let lines = fmt().with_env_filter(filter).with_writer(stderr);
    let installed = if json {
        lines.json().flatten_event(true).with_current_span(false).try_init()
    } else {
        lines.with_target(false).with_ansi(stderr().is_terminal()).try_init()
    };
    if installed.is_err() {
        tracing::debug!("logs go where an earlier call said");
    }
}
