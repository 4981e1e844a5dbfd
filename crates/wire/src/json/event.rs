//! Events in JSON: their configuration, lists and descriptions.

use busgate_core::{Capabilities, ConsumerLag, EventConfig, EventDetail, EventInfo, Holder, Result};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::read;
use crate::time;

/// The settings of an event. What is not set is left to the transport's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigBody {
    /// How long message ids are remembered (`120s`); `0s` turns deduplication off.
    #[serde(alias = "dedup_window")]
    pub dedup_window: Option<String>,
    /// How long messages are held (`86400s`).
    #[serde(alias = "retention_age")]
    pub retention_age: Option<String>,
    /// How many bytes of messages are held: a number, written as text.
    #[serde(alias = "retention_bytes", deserialize_with = "count", skip_serializing_if = "Option::is_none")]
    pub retention_bytes: Option<String>,
    /// How many messages are held: a number, written as text.
    #[serde(
        alias = "retention_messages",
        deserialize_with = "count",
        skip_serializing_if = "Option::is_none"
    )]
    pub retention_messages: Option<String>,
}

/// proto3 JSON reads a 64-bit number as a number or as text.
fn count<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a whole number of 64 bits, as a number or as text")]
    enum Count {
        Number(u64),
        Text(String),
    }
    match Option::<Count>::deserialize(input)? {
        None => Ok(None),
        Some(Count::Number(number)) => Ok(Some(number.to_string())),
        Some(Count::Text(text)) => match text.parse::<u64>() {
            Ok(number) => Ok(Some(number.to_string())),
            Err(_) => Err(de::Error::custom("expected a whole number of 64 bits, as a number or as text")),
        },
    }
}

/// Reads the body of a registration: empty, `null`, or an event's settings.
///
/// # Errors
/// `invalid` when it is malformed.
pub fn read_config(body: &[u8]) -> Result<EventConfig> {
    if matches!(body.trim_ascii(), b"" | b"null") {
        return Ok(EventConfig::default());
    }
    let config: ConfigBody = read("body", body)?;
    let duration = |key, text: Option<String>| text.map(|text| time::parse_duration(key, &text)).transpose();
    Ok(EventConfig {
        dedup_window: duration("dedup_window", config.dedup_window)?,
        retention_age: duration("retention_age", config.retention_age)?,
        retention_bytes: config.retention_bytes.and_then(|count| count.parse().ok()),
        retention_messages: config.retention_messages.and_then(|count| count.parse().ok()),
    })
}

impl From<&EventConfig> for ConfigBody {
    fn from(config: &EventConfig) -> Self {
        Self {
            dedup_window: config.dedup_window.map(time::seconds),
            retention_age: config.retention_age.map(time::seconds),
            retention_bytes: config.retention_bytes.map(|count| count.to_string()),
            retention_messages: config.retention_messages.map(|count| count.to_string()),
        }
    }
}

/// The events a caller may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventsAnswer {
    /// Their names.
    pub events: Vec<String>,
    /// What is known of each, in the same order.
    pub infos: Vec<InfoBody>,
}

/// What is known of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InfoBody {
    /// Its name.
    pub name: String,
    /// What it was registered with.
    pub config: ConfigBody,
    /// How many messages are held, if known: a number, written as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<String>,
    /// How many bytes of messages are held, if known: a number, written as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// The place of the oldest message held; empty when there is none.
    pub oldest_cursor: String,
    /// The place of the newest message held; empty when there is none.
    pub newest_cursor: String,
}

impl From<&EventInfo> for InfoBody {
    fn from(info: &EventInfo) -> Self {
        let place = |cursor: &Option<_>| cursor.as_ref().map(ToString::to_string).unwrap_or_default();
        Self {
            name: info.name.to_string(),
            config: (&info.config).into(),
            messages: info.messages.map(|count| count.to_string()),
            bytes: info.bytes.map(|count| count.to_string()),
            oldest_cursor: place(&info.oldest),
            newest_cursor: place(&info.newest),
        }
    }
}

/// The answer to a list of events.
#[must_use]
pub fn events_answer(infos: &[EventInfo]) -> EventsAnswer {
    EventsAnswer {
        events: infos.iter().map(|info| info.name.to_string()).collect(),
        infos: infos.iter().map(InfoBody::from).collect(),
    }
}

/// Everything known of one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DetailAnswer {
    /// Its registration and what it holds.
    #[serde(flatten)]
    pub info: InfoBody,
    /// What its transport can do.
    pub capabilities: CapabilitiesBody,
    /// How far its worker groups and named consumers are.
    pub consumers: Vec<ConsumerBody>,
}

/// What a transport can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CapabilitiesBody {
    /// An accepted message survives a crash.
    pub durable: bool,
    /// Messages can be read again.
    pub replay: bool,
    /// Messages can be read again from a time.
    pub replay_from_time: bool,
    /// Worker groups.
    pub worker_pool: bool,
    /// An unsettled message comes back.
    pub redelivery: bool,
    /// A nack's delay is honoured.
    pub delayed_requeue: bool,
    /// A lease can be extended.
    pub extend: bool,
    /// One subscription gets each publisher's messages in order.
    pub ordered: bool,
    /// One worker group gets each key's messages in order.
    pub ordered_keys: bool,
    /// Message ids are deduplicated.
    pub dedup: bool,
    /// Named consumers go on where they were.
    pub resume: bool,
    /// Any node settles what another delivered.
    pub any_node_settle: bool,
    /// How a stale settlement is kept from changing anything: `yes`, `lease_clock` or `no`.
    pub fenced: String,
    /// Dead letters are the transport's own.
    pub dead_letters: bool,
}

impl From<Capabilities> for CapabilitiesBody {
    fn from(can: Capabilities) -> Self {
        Self {
            durable: can.durable,
            replay: can.replay,
            replay_from_time: can.replay_from_time,
            worker_pool: can.worker_pool,
            redelivery: can.redelivery,
            delayed_requeue: can.delayed_requeue,
            extend: can.extend,
            ordered: can.ordered,
            ordered_keys: can.ordered_keys,
            dedup: can.dedup,
            resume: can.resume,
            any_node_settle: can.any_node_settle,
            fenced: can.fenced.to_string(),
            dead_letters: can.dead_letters,
        }
    }
}

/// How far a worker group or named consumer is. The counts are numbers, written as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConsumerBody {
    /// `group` or `consumer`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// How many messages are neither settled nor delivered, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// How many are delivered and not settled.
    pub in_flight: String,
    /// How many are held back for a later redelivery.
    pub delayed: String,
    /// How many subscriptions it has on this node.
    pub members: String,
}

impl From<&ConsumerLag> for ConsumerBody {
    fn from(lag: &ConsumerLag) -> Self {
        let (kind, name) = match &lag.holder {
            Holder::Group(name) => ("group", name.as_str()),
            Holder::Consumer(name) => ("consumer", name.as_str()),
        };
        Self {
            kind: kind.into(),
            name: name.into(),
            waiting: lag.waiting.map(|count| count.to_string()),
            in_flight: lag.in_flight.to_string(),
            delayed: lag.delayed.to_string(),
            members: lag.members.to_string(),
        }
    }
}

/// The answer to a request for one event.
#[must_use]
pub fn detail_answer(detail: &EventDetail) -> DetailAnswer {
    DetailAnswer {
        info: (&detail.info).into(),
        capabilities: detail.capabilities.into(),
        consumers: detail.consumers.iter().map(ConsumerBody::from).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use busgate_core::EventName;
    use proptest::prelude::*;

    use super::*;
    use crate::json::to_bytes;

    #[test]
    fn no_body_asks_for_nothing() {
        assert!(read_config(b" \n").unwrap().is_default());
        assert!(read_config(b"{}").unwrap().is_default());
        assert!(read_config(b"null").unwrap().is_default());
    }

    #[test]
    fn a_configuration_reads_in_both_cases_and_both_ways_of_numbers() {
        let expected = EventConfig {
            dedup_window: Some(Duration::ZERO),
            retention_age: Some(Duration::from_secs(3600)),
            retention_bytes: Some(u64::MAX),
            retention_messages: Some(7),
        };
        let snake = br#"{"dedup_window":"0s","retention_age":"1h","retention_bytes":"18446744073709551615","retention_messages":7}"#;
        let camel = br#"{"dedupWindow":"0","retentionAge":"3600s","retentionBytes":18446744073709551615,"retentionMessages":"7"}"#;
        assert_eq!(read_config(snake).unwrap(), expected);
        assert_eq!(read_config(camel).unwrap(), expected);
        assert_eq!(read_config(&to_bytes(&ConfigBody::from(&expected))).unwrap(), expected);
    }

    #[test]
    fn a_bad_number_is_told_in_words_for_people() {
        for bad in ["-1", "1.5", "18446744073709551616", "\"x\"", "[]"] {
            let error = read_config(format!(r#"{{"retention_messages":{bad}}}"#).as_bytes()).unwrap_err();
            assert!(error.message().contains("a whole number of 64 bits"), "{error}");
        }
    }

    #[test]
    fn malformed_configurations_are_refused() {
        for bad in [
            "[]",
            r#"{"window":"1s"}"#,
            r#"{"dedup_window":5}"#,
            r#"{"retention_bytes":-1}"#,
            r#"{"retention_bytes":"x"}"#,
        ] {
            assert!(read_config(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_are_written_as_proto_json() {
        let info = EventInfo {
            name: EventName::new("orders").unwrap(),
            config: EventConfig::default(),
            messages: Some(3),
            bytes: None,
            oldest: None,
            newest: None,
        };
        let expected = concat!(
            r#"{"events":["orders"],"infos":[{"name":"orders","config":{"dedupWindow":null,"retentionAge":null},"#,
            r#""messages":"3","oldestCursor":"","newestCursor":""}]}"#
        );
        assert_eq!(to_bytes(&events_answer(&[info])), expected);
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body: Vec<u8>) {
            let _ = read_config(&body);
        }
    }
}
