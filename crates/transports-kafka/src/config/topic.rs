//! The names of topics: which topic an event is, and which event a topic.

use busgate_core::{Error, EventName, Result};

use super::KafkaConfig;

/// The longest name of a topic.
const MAX_BYTES: usize = 249;

/// What the names of topics of ours begin with, after the prefix.
const OWN: &str = "_busgate.";

impl KafkaConfig {
    /// The topic of an event. Where that can't be had, the registration tells another.
    #[must_use]
    pub(crate) fn topic(&self, event: &EventName) -> String {
        self.maps.get(event).cloned().unwrap_or_else(|| format!("{}{event}", self.prefix))
    }

    /// The event of a topic, if it can be one's by its name.
    #[must_use]
    pub(crate) fn event(&self, topic: &str) -> Option<EventName> {
        if let Some((event, _)) = self.maps.iter().find(|(_, mapped)| *mapped == topic) {
            return Some(event.clone());
        }
        let name = topic.strip_prefix(&self.prefix)?;
        // What the broker and its tools keep for themselves begins like this, and so do topics of ours.
        if topic.starts_with("__") || name.starts_with(OWN) {
            return None;
        }
        EventName::new(name).ok()
    }

    /// The name of a topic of ours.
    #[must_use]
    pub(crate) fn own_topic(&self, name: &str) -> String {
        format!("{}{OWN}{name}", self.prefix)
    }
}

/// Whether the broker takes a name, or the beginning of one.
///
/// # Errors
/// `invalid` when it does not.
pub(super) fn check(name: &str) -> Result<()> {
    let good = !name.is_empty()
        && name.len() <= MAX_BYTES
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    good.then_some(()).ok_or_else(|| Error::invalid(format!("`{name}` can't be the name of a kafka topic")))
}

/// The name itself, or another one where the broker has no room for it.
pub(crate) fn fitting(name: String) -> String {
    if name.len() > MAX_BYTES { apart(&name) } else { name }
}

/// Another name for a topic whose own can't be had: the registration tells which.
pub(crate) fn apart(name: &str) -> String {
    let check = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let end = name.floor_char_boundary(MAX_BYTES - 17);
    format!("{}-{check:016x}", name.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_the_event_that_it_was_made_for_and_ours_are_none() {
        let config: KafkaConfig = "kafka://h?prefix=p.&map.orders=Legacy".parse().unwrap();
        for name in ["orders", "a.b", "_dlq.a"] {
            let event = EventName::new(name).unwrap();
            assert_eq!(config.event(&config.topic(&event)), Some(event));
        }
        for topic in ["other", "__consumer_offsets", &config.own_topic("events")] {
            assert_eq!(config.event(topic), None, "{topic}");
        }
    }

    #[test]
    fn another_name_fits_and_is_another() {
        let long = "a".repeat(300);
        assert!(apart(&long).len() <= MAX_BYTES);
        assert_ne!(apart("a.b").replace('.', "_"), apart("a_b"));
    }
}
