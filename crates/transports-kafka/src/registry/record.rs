//! A registration as a record: lines of `name=value`, for whoever looks at the topic with native tools.

use std::{fmt::Write, str::FromStr, time::Duration};

use busgate_core::EventConfig;

use crate::event::Event;

/// What is known of a registered event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registration {
    /// Which life of the event.
    pub(super) life: u64,
    /// The topic that holds it.
    pub(super) topic: String,
    /// How many partitions that had.
    pub(super) partitions: u16,
    /// Whether the topic was made for the event, and goes with it.
    pub(super) is_ours: bool,
    /// What it was registered with.
    pub(super) config: EventConfig,
}

impl Registration {
    pub(super) fn of(event: &Event) -> Self {
        Self {
            life: event.life,
            topic: event.topic.clone(),
            partitions: event.partitions(),
            is_ours: event.is_ours,
            config: event.config.clone(),
        }
    }

    /// Invariant: what is written is read by every later version: the test `the_text_of_a_registration_stays` holds it.
    pub(super) fn to_text(&self) -> String {
        let mut text = format!(
            "life={:x}\ntopic={}\npartitions={}\nours={}\n",
            self.life, self.topic, self.partitions, self.is_ours
        );
        let millis = |time: Option<Duration>| time.map(|time| time.as_millis());
        let figures = [
            ("dedup_window_ms", millis(self.config.dedup_window)),
            ("retention_age_ms", millis(self.config.retention_age)),
            ("retention_bytes", self.config.retention_bytes.map(u128::from)),
            ("retention_messages", self.config.retention_messages.map(u128::from)),
        ];
        for (name, figure) in figures {
            if let Some(figure) = figure {
                let _ = writeln!(text, "{name}={figure}");
            }
        }
        text
    }

    /// Reads it; what a later version says beside is left alone.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let value = |name: &str| {
            text.lines()
                .find_map(|line| line.split_once('=').filter(|(key, _)| *key == name))
                .map(|(_, value)| value)
        };
        let millis = |name| figure(value(name)).map(|millis| millis.map(Duration::from_millis));
        Some(Self {
            life: u64::from_str_radix(value("life")?, 16).ok()?,
            topic: value("topic")?.to_owned(),
            partitions: value("partitions")?.parse().ok()?,
            is_ours: value("ours")?.parse().ok()?,
            config: EventConfig {
                dedup_window: millis("dedup_window_ms")?,
                retention_age: millis("retention_age_ms")?,
                retention_bytes: figure(value("retention_bytes"))?,
                retention_messages: figure(value("retention_messages"))?,
            },
        })
    }
}

/// A figure that may be absent, but not garbled.
fn figure<N: FromStr>(value: Option<&str>) -> Option<Option<N>> {
    value.map_or(Some(None), |value| value.parse().ok().map(Some))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration() -> Registration {
        Registration {
            life: 0xabc,
            topic: "p.orders".into(),
            partitions: 4,
            is_ours: true,
            config: EventConfig {
                dedup_window: Some(Duration::ZERO),
                retention_messages: Some(8),
                ..EventConfig::default()
            },
        }
    }

    #[test]
    fn the_text_of_a_registration_stays() {
        let text =
            "life=abc\ntopic=p.orders\npartitions=4\nours=true\ndedup_window_ms=0\nretention_messages=8\n";
        assert_eq!(registration().to_text(), text);
        assert_eq!(Registration::parse(text.as_bytes()), Some(registration()));
        let later = format!("{text}tomorrow=1\n");
        assert_eq!(Registration::parse(later.as_bytes()), Some(registration()));
    }

    #[test]
    fn what_is_garbled_is_no_registration() {
        for text in ["", "life=x", "life=1\ntopic=t\npartitions=1\nours=true\nretention_bytes=-1"] {
            assert_eq!(Registration::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Registration::parse(&[0xff]), None);
    }
}
