//! What an event was registered with, as its stream tells it.
//!
//! It stands in the stream's description, which every server keeps: nothing else has to be looked up, and whoever looks
//! at the stream with a native tool reads it.

use std::time::Duration;

use busgate_core::{DEFAULT_DEDUP_WINDOW, Error, EventConfig, EventName, Result};
use serde::{Deserialize, Serialize};

use crate::{
    api::{StreamConfig, nanos},
    config::NatsConfig,
    stream::{self, LEAST_WINDOW},
};

/// In front of the rest of a description of ours.
const MARK: &str = "busgate event ";

/// An event and its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) event: EventName,
    pub(crate) config: EventConfig,
    /// Whether ids go by the server's window.
    pub(crate) is_deduplicated: bool,
}

/// As it is written.
#[derive(Deserialize, Serialize)]
struct Written {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dedup_window_ns: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retention_age_ns: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retention_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retention_messages: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    takes_all: bool,
}

impl Registration {
    /// Of an event with this configuration, by a node with these defaults.
    pub(crate) fn new(event: EventName, config: EventConfig, defaults: &EventConfig) -> Self {
        let is_deduplicated = config.dedup_window.or(defaults.dedup_window) != Some(Duration::ZERO);
        Self { event, config, is_deduplicated }
    }

    /// Reads a stream's description; `None` when the stream is not ours.
    pub(crate) fn read(description: &str) -> Option<Self> {
        let written: Written = serde_json::from_str(description.strip_prefix(MARK)?).ok()?;
        let event = EventName::new(&written.name).ok()?;
        let config = EventConfig {
            dedup_window: written.dedup_window_ns.map(Duration::from_nanos),
            retention_age: written.retention_age_ns.map(Duration::from_nanos),
            retention_bytes: written.retention_bytes,
            retention_messages: written.retention_messages,
        };
        Some(Self { event, config, is_deduplicated: !written.takes_all })
    }

    fn write(&self) -> Result<String> {
        let config = &self.config;
        let written = Written {
            name: self.event.to_string(),
            dedup_window_ns: config.dedup_window.map(nanos),
            retention_age_ns: config.retention_age.map(nanos),
            retention_bytes: config.retention_bytes,
            retention_messages: config.retention_messages,
            takes_all: !self.is_deduplicated,
        };
        let text = serde_json::to_string(&written);
        let text =
            text.map_err(|cause| Error::internal("a registration can't be written").with_source(cause))?;
        Ok(format!("{MARK}{text}"))
    }

    /// The stream that the event becomes.
    pub(crate) fn stream(&self, stream: String, subject: String, node: &NatsConfig) -> Result<StreamConfig> {
        let (asked, defaults) = (&self.config, &node.defaults);
        let age = asked.retention_age.or(defaults.retention_age);
        Ok(StreamConfig {
            description: self.write()?,
            max_msgs: limit(asked.retention_messages.or(defaults.retention_messages)),
            max_bytes: limit(asked.retention_bytes.or(defaults.retention_bytes)),
            max_age: age.map_or(0, nanos),
            duplicate_window: nanos(window(asked, defaults, age)?),
            allow_direct: true,
            compression: node.compression.then(|| "s2".into()),
            ..stream::of_subject(stream, subject, node)
        })
    }
}

/// The server's window. It is no longer than messages are held: what was asked for beyond that is refused.
fn window(asked: &EventConfig, defaults: &EventConfig, age: Option<Duration>) -> Result<Duration> {
    let most = age.unwrap_or(Duration::MAX);
    match asked.dedup_window {
        // Nothing goes by it: the server has to have one all the same.
        Some(Duration::ZERO) => Ok(LEAST_WINDOW.min(most)),
        Some(window) if window > most => {
            Err(Error::unsupported("jetstream's dedup_window can't be longer than retention_age"))
        }
        Some(window) if window < LEAST_WINDOW => Err(Error::unsupported(format!(
            "jetstream's dedup_window can't be shorter than {LEAST_WINDOW:?}"
        ))),
        Some(window) => Ok(window),
        None => Ok(defaults.dedup_window.unwrap_or(DEFAULT_DEDUP_WINDOW).max(LEAST_WINDOW).min(most)),
    }
}

fn limit(limit: Option<u64>) -> i64 {
    limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(config: EventConfig) -> Registration {
        Registration::new(EventName::new("orders.created").unwrap(), config, &EventConfig::default())
    }

    #[test]
    fn a_registration_reads_back_from_the_description() {
        let full = EventConfig {
            dedup_window: Some(Duration::from_nanos(1_000_000_007)),
            retention_age: Some(Duration::from_secs(3600)),
            retention_bytes: Some(7),
            retention_messages: Some(8),
        };
        for config in [full, EventConfig::default()] {
            let registration = registration(config);
            let stream = registration.stream("s".into(), "x".into(), &NatsConfig::new("h")).unwrap();
            assert_eq!(Registration::read(&stream.description), Some(registration));
        }
        assert_eq!(Registration::read("made by hand"), None);
    }

    #[test]
    fn the_window_follows_what_is_asked_and_never_outlives_messages() {
        let of = |window: Option<u64>, age: Option<u64>| {
            let config = EventConfig {
                dedup_window: window.map(Duration::from_millis),
                retention_age: age.map(Duration::from_millis),
                ..EventConfig::default()
            };
            registration(config).stream("s".into(), "x".into(), &NatsConfig::new("h"))
        };
        assert_eq!(of(None, None).unwrap().duplicate_window, 120_000_000_000);
        assert_eq!(of(None, Some(1000)).unwrap().duplicate_window, 1_000_000_000);
        assert_eq!(of(Some(800), None).unwrap().duplicate_window, 800_000_000);
        assert!(of(Some(2000), Some(1000)).is_err());
        assert!(of(Some(20), None).is_err());
        assert!(of(Some(0), None).is_ok());
    }
}
