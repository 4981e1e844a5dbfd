//! The streams that are made here: those of events, and those of the gateway's own.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use busgate_core::Result;

use crate::{
    api::{StreamConfig, nanos},
    config::{NatsConfig, Storage},
    error,
    link::Link,
    name,
};

/// The server takes no narrower window, and for none it takes its widest.
pub(crate) const LEAST_WINDOW: Duration = Duration::from_millis(100);

/// A stream that is nobody's event: what the nodes of one prefix keep for each other as `what`.
pub(crate) fn own(what: &str, description: &str, subject: String, config: &NatsConfig) -> StreamConfig {
    StreamConfig {
        description: description.into(),
        duplicate_window: nanos(LEAST_WINDOW),
        ..of_subject(name::own_stream(&config.prefix, what), subject, config)
    }
}

/// A stream of one subject, kept as this node keeps its streams, without limits.
pub(crate) fn of_subject(name: String, subject: String, config: &NatsConfig) -> StreamConfig {
    StreamConfig {
        name,
        subjects: vec![subject],
        storage: storage(config.storage).into(),
        num_replicas: config.replicas,
        retention: "limits".into(),
        discard: "old".into(),
        max_consumers: -1,
        max_msgs: -1,
        max_bytes: -1,
        ..StreamConfig::default()
    }
}

const fn storage(storage: Storage) -> &'static str {
    match storage {
        Storage::File => "file",
        Storage::Memory => "memory",
    }
}

impl Link {
    /// Makes a stream of the gateway's own, if it is not there yet. One that another node made with other settings serves
    /// as well.
    pub(crate) async fn ensure_stream(&self, config: &StreamConfig) -> Result<()> {
        match self.create_stream(config).await? {
            Err(refused) if refused.error_code() != ErrorCode::STREAM_NAME_EXIST => Err(error::api(refused)),
            _ => Ok(()),
        }
    }
}
