//! What the log can be told.

use std::{path::PathBuf, sync::Arc, time::Duration};

use busgate_core::{Clock, DEFAULT_DEDUP_WINDOW, DEFAULT_MAX_IDS, EventConfig, SystemClock};

use crate::event::TailLimits;

/// How long messages are held unless the event or the configuration says otherwise.
pub const DEFAULT_RETENTION_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// How many bytes of messages an event holds unless it or the configuration says otherwise.
pub const DEFAULT_RETENTION_BYTES: u64 = 8 * 1024 * 1024 * 1024;

/// The configuration of the log.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Where the files are; it is made if it is not there.
    pub directory: PathBuf,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// How large the database may grow; publishing beyond it answers `exhausted`, as on a full disk.
    pub max_bytes: Option<u64>,
    /// What an event gets where its own configuration is silent.
    pub defaults: EventConfig,
    /// How many message ids an event remembers within its deduplication window.
    pub max_dedup_ids: usize,
    /// How many of an event's newest messages are kept in memory.
    pub tail_messages: usize,
    /// How many bytes of an event's newest messages are kept in memory.
    pub tail_bytes: usize,
    /// How many bytes may wait to be written; publishers beyond it wait themselves.
    pub max_queued_bytes: usize,
    /// How many events can be registered, and as many dead-letter events.
    pub max_events: usize,
    /// How many groups and named consumers an event can have.
    pub max_holders: usize,
}

impl LogConfig {
    /// The defaults, in `directory`.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            clock: SystemClock::shared(),
            max_bytes: None,
            defaults: EventConfig {
                dedup_window: Some(DEFAULT_DEDUP_WINDOW),
                retention_age: Some(DEFAULT_RETENTION_AGE),
                retention_bytes: Some(DEFAULT_RETENTION_BYTES),
                retention_messages: None,
            },
            max_dedup_ids: DEFAULT_MAX_IDS,
            tail_messages: 4096,
            tail_bytes: 4 * 1024 * 1024,
            max_queued_bytes: 64 * 1024 * 1024,
            max_events: 10_000,
            max_holders: 4096,
        }
    }

    pub(crate) fn tail(&self) -> TailLimits {
        TailLimits { messages: self.tail_messages, bytes: self.tail_bytes }
    }

    /// What holds for an event that was registered with `asked`.
    pub(crate) fn effective(&self, asked: &EventConfig) -> EventConfig {
        EventConfig {
            dedup_window: asked.dedup_window.or(self.defaults.dedup_window),
            retention_age: asked.retention_age.or(self.defaults.retention_age),
            retention_bytes: asked.retention_bytes.or(self.defaults.retention_bytes),
            retention_messages: asked.retention_messages.or(self.defaults.retention_messages),
        }
    }
}
