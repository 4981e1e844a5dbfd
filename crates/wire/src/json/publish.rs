//! Publishing in JSON: one message, a batch, one a line; and the answers.

use std::collections::BTreeMap;

use busgate_core::{Cursor, Draft, Error, EventName, MessageId, Receipt, Result};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::{
    Bounded, Text,
    bounded::{MAX_ENTRIES, too_many},
    payload::Written,
    read,
};
use crate::{status, time};

/// A message to publish. At most one of `payload`, `json` and `text` carries its payload; without one it is empty.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PublishBody<'a> {
    /// The event; when given it is the one the request goes to.
    #[serde(borrow, default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, ignore))]
    event: Option<Text<'a>>,
    /// Its id, by which it is deduplicated; a new one when absent.
    #[serde(borrow, default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    id: Option<Text<'a>>,
    /// The payload in base64, standard or URL alphabet, padded or not.
    #[serde(borrow, default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, content_encoding = "base64"))]
    payload: Option<Text<'a>>,
    /// The payload as JSON, kept as written; the content type is then `application/json` unless given.
    #[serde(borrow, default, deserialize_with = "given")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    json: Option<&'a RawValue>,
    /// The payload as text; the content type is then `text/plain; charset=utf-8` unless given.
    #[serde(borrow, default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    text: Option<Text<'a>>,
    /// Text that travels along.
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
    /// What orders and partitions it.
    #[serde(default)]
    key: Option<String>,
    /// The media type of the payload.
    #[serde(default, alias = "contentType")]
    content_type: Option<String>,
    #[serde(borrow, default, alias = "deliverAt")]
    #[cfg_attr(feature = "openapi", schema(ignore))]
    deliver_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    #[cfg_attr(feature = "openapi", schema(ignore))]
    ttl: Option<&'a RawValue>,
}

impl PublishBody<'_> {
    /// The message to publish to `event`; what it shares with `body`, the bytes it was read from, is not copied.
    pub(super) fn into_draft(self, event: &EventName, body: &Bytes) -> Result<Draft> {
        if self.event.as_ref().is_some_and(|name| name.as_str() != event.as_str()) {
            return Err(Error::invalid(format!("the message names another event than `{event}`")));
        }
        self.check_supported()?;
        let id = filled(self.id).map(|id| MessageId::new(id.as_str())).transpose()?;
        let (payload, implied) =
            Written { base64: self.payload, json: self.json, text: self.text }.read(body)?;
        let content_type = self.content_type.filter(|kind| !kind.is_empty());
        Ok(Draft {
            id,
            payload,
            metadata: self.metadata.unwrap_or_default(),
            key: self.key.filter(|key| !key.is_empty()),
            content_type: content_type.or_else(|| implied.map(Into::into)),
            source: None,
        })
    }

    fn check_supported(&self) -> Result<()> {
        let later = [("deliver_at", self.deliver_at), ("ttl", self.ttl)];
        match later.into_iter().find(|(_, value)| value.is_some()) {
            Some((name, _)) => Err(Error::unsupported(format!("`{name}` is not supported"))),
            None => Ok(()),
        }
    }
}

/// A JSON value that is there, `null` as well: it is a payload like any other.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn filled(text: Option<Text<'_>>) -> Option<Text<'_>> {
    text.filter(|text| !text.as_str().is_empty())
}

/// A batch of messages to publish.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchBody<'a> {
    /// The messages.
    #[serde(borrow)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<PublishBody>))]
    messages: Bounded<&'a RawValue>,
}

/// Reads a message to publish to `event`.
///
/// # Errors
/// `invalid` when it is malformed; `unsupported` for what a later version will know.
pub fn read_publish(body: &Bytes, event: &EventName) -> Result<Draft> {
    read::<PublishBody<'_>>("body", body)?.into_draft(event, body)
}

/// Reads `{"messages":[…]}`. What is wrong with one message is that message's own error.
///
/// # Errors
/// `invalid` when the whole is malformed; `too_large` when it has too many messages.
pub fn read_batch(body: &Bytes, event: &EventName) -> Result<Vec<Result<Draft>>> {
    let batch: BatchBody<'_> = read("body", body)?;
    let one =
        |raw: &RawValue| read::<PublishBody<'_>>("message", raw.get().as_bytes())?.into_draft(event, body);
    Ok(batch.messages.into_entries()?.into_iter().map(one).collect())
}

/// Reads one message a line (NDJSON). Empty lines are skipped; what is wrong with one line is that message's own error.
/// Where there are too many the last one read is an error, `too_large`.
#[must_use]
pub fn read_lines(body: &Bytes, event: &EventName) -> Vec<Result<Draft>> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let read = |(at, line)| match at {
        MAX_ENTRIES => Err(too_many()),
        _ => read::<PublishBody<'_>>("line", line)?.into_draft(event, body),
    };
    lines.enumerate().take(MAX_ENTRIES + 1).map(read).collect()
}

/// What a publisher gets for an accepted message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PublishAnswer {
    /// The id of the message.
    pub id: String,
    /// Its place; empty when it is not known, for a duplicate.
    pub cursor: String,
    /// Whether the id was known already, so that nothing was added.
    pub duplicate: bool,
}

/// The answer to a publish.
#[must_use]
pub fn publish_answer(receipt: &Receipt) -> PublishAnswer {
    PublishAnswer {
        id: receipt.id.to_string(),
        cursor: receipt.cursor.as_ref().map(ToString::to_string).unwrap_or_default(),
        duplicate: receipt.duplicate,
    }
}

/// The answer to a publish, written straight away: it is what the busiest call answers.
#[must_use]
pub fn write_receipt(receipt: &Receipt) -> Bytes {
    let (id, cursor) = (receipt.id.as_str(), receipt.cursor.as_ref().map_or("", Cursor::as_str));
    // Ids have no control characters, and cursors nothing that JSON escapes.
    if id.bytes().any(|byte| matches!(byte, b'"' | b'\\')) {
        return super::to_bytes(&publish_answer(receipt));
    }
    let mut out = Vec::with_capacity(48 + id.len() + cursor.len());
    let duplicate = if receipt.duplicate { "true}" } else { "false}" };
    for part in [r#"{"id":""#, id, r#"","cursor":""#, cursor, r#"","duplicate":"#, duplicate] {
        out.extend_from_slice(part.as_bytes());
    }
    out.into()
}

/// The answer to a batch: one result a message, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchAnswer {
    /// What became of each message.
    pub results: Vec<ResultBody>,
}

/// What became of one message of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ResultBody {
    /// It was accepted.
    Accepted(PublishAnswer),
    /// It was not.
    Failure(FailureBody),
}

/// Why one message of a batch failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FailureBody {
    /// The kind of error: `invalid`, `exhausted`, …
    pub code: String,
    /// The text for people.
    pub message: String,
    /// Whether it may have taken effect: `none` or `unknown`.
    pub effect: String,
    /// When a retry is worth it.
    pub retry_after: Option<String>,
}

/// The answer to a batch.
#[must_use]
pub fn batch_answer(results: &[Result<Receipt>]) -> BatchAnswer {
    let result = |result: &Result<Receipt>| match result {
        Ok(receipt) => ResultBody::Accepted(publish_answer(receipt)),
        Err(error) => ResultBody::Failure(FailureBody {
            code: error.kind().as_str().into(),
            message: status::shown(error).into(),
            effect: error.effect().as_str().into(),
            retry_after: status::retry_hint(error).map(time::seconds),
        }),
    };
    BatchAnswer { results: results.iter().map(result).collect() }
}

#[cfg(test)]
mod tests {
    use busgate_core::ErrorKind;
    use proptest::prelude::*;

    use super::*;
    use crate::json::to_bytes;

    fn draft(body: &'static str) -> Result<Draft> {
        read_publish(&Bytes::from_static(body.as_bytes()), &EventName::new("orders").unwrap())
    }

    #[test]
    fn the_seeds_own_example_reads_as_written() {
        let read = draft(r#"{"payload":"eyJpZCI6Im9yZGVyLTEifQ==","metadata":{"source":"api"}}"#).unwrap();
        assert_eq!(read.payload, r#"{"id":"order-1"}"#);
        assert_eq!(read.metadata["source"], "api");
        assert_eq!((read.id, read.key, read.content_type), (None, None, None));
    }

    #[test]
    fn json_is_kept_as_written() {
        let read = draft(r#"{"json": {"n": 1.50, "big":12345678901234567890123 , "n":2}}"#).unwrap();
        assert_eq!(read.payload, r#"{"n": 1.50, "big":12345678901234567890123 , "n":2}"#);
        assert_eq!(read.content_type.as_deref(), Some("application/json"));
    }

    #[test]
    fn null_as_json_is_a_payload() {
        let read = draft(r#"{"json":null}"#).unwrap();
        assert_eq!(read.payload, "null");
        assert_eq!(read.content_type.as_deref(), Some("application/json"));
        assert!(draft(r#"{"json":null,"text":"a"}"#).is_err());
    }

    #[test]
    fn json_and_text_are_not_copied() {
        for body in [&br#"{"json":[1,2,3]}"#[..], br#"{"text":"plain"}"#] {
            let body = Bytes::from_static(body);
            let read = read_publish(&body, &EventName::new("a").unwrap()).unwrap();
            assert!(body.as_ptr_range().contains(&read.payload.as_ptr()));
        }
    }

    #[test]
    fn text_keeps_its_escapes_meaning() {
        let read = draft(r#"{"text":"a\nb\u0000é","contentType":"text/x"}"#).unwrap();
        assert_eq!(read.payload, "a\nb\0é");
        assert_eq!(read.content_type.as_deref(), Some("text/x"));
    }

    #[test]
    fn null_and_empty_are_absent() {
        let read = draft(r#"{"payload":null,"id":"","key":"","content_type":null,"metadata":null}"#).unwrap();
        assert_eq!(read, Draft::default());
    }

    #[test]
    fn malformed_bodies_are_refused() {
        for bad in [
            "",
            "[]",
            "{",
            r#"{"payload":"A"}"#,
            r#"{"payload":1}"#,
            r#"{"payload":"","text":""}"#,
            r#"{"body":""}"#,
            r#"{"metadata":{"a":1}}"#,
            r#"{"id":"\u0000"}"#,
            r#"{"event":"other"}"#,
            r#"{"key":"a","key":"b"}"#,
            r#"{"content_type":"a","contentType":"b"}"#,
            r"{}{}",
        ] {
            assert_eq!(draft(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
        }
    }

    #[test]
    fn what_a_later_version_will_know_is_refused_as_such() {
        for later in [r#"{"deliver_at":"2030-01-01T00:00:00Z"}"#, r#"{"deliverAt":1}"#, r#"{"ttl":"5s"}"#] {
            assert_eq!(draft(later).unwrap_err().kind(), ErrorKind::Unsupported, "{later}");
        }
    }

    #[test]
    fn a_batch_answers_for_each_message() {
        let event = EventName::new("orders").unwrap();
        let body = Bytes::from_static(br#"{"messages":[{"text":"a"},{"payload":"!"},{"text":"c"}]}"#);
        let batch = read_batch(&body, &event).unwrap();
        let lines = Bytes::from_static(b"{\"text\":\"a\"}\r\n\n{\"payload\":\"!\"}\n{\"text\":\"c\"}");
        for read in [batch, read_lines(&lines, &event)] {
            let ok: Vec<_> = read.iter().map(Result::is_ok).collect();
            assert_eq!(ok, [true, false, true]);
            assert_eq!(read[2].as_ref().unwrap().payload, "c");
        }
    }

    #[test]
    fn answers_are_written_as_proto_json() {
        let receipt = Receipt { id: MessageId::new("m").unwrap(), cursor: None, duplicate: true };
        let answer = batch_answer(&[Ok(receipt), Err(Error::invalid("bad"))]);
        assert_eq!(
            to_bytes(&answer),
            concat!(
                r#"{"results":[{"accepted":{"id":"m","cursor":"","duplicate":true}},"#,
                r#"{"failure":{"code":"invalid","message":"bad","effect":"none","retryAfter":null}}]}"#
            )
        );
    }

    #[test]
    fn too_many_messages_are_refused() {
        let event = EventName::new("a").unwrap();
        let read = read_lines(&"{}\n".repeat(MAX_ENTRIES + 9).into(), &event);
        assert_eq!(read.len(), MAX_ENTRIES + 1);
        assert_eq!(read.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::TooLarge);
        let body = format!(r#"{{"messages":[{}]}}"#, vec!["{}"; MAX_ENTRIES + 1].join(","));
        assert_eq!(read_batch(&body.into(), &event).unwrap_err().kind(), ErrorKind::TooLarge);
    }

    proptest! {
        #[test]
        fn a_receipt_written_straight_is_the_same_answer(id in "\\PC{1,40}", cursor in proptest::option::of("[A-Za-z0-9_.:~-]{1,40}"), duplicate: bool) {
            let cursor = cursor.map(|text| Cursor::new(text).unwrap());
            let receipt = Receipt { id: MessageId::new(id).unwrap(), cursor, duplicate };
            prop_assert_eq!(write_receipt(&receipt), to_bytes(&publish_answer(&receipt)));
        }

        #[test]
        fn no_body_makes_them_panic(body: Vec<u8>) {
            let event = EventName::new("a").unwrap();
            let body = Bytes::from(body);
            let _ = (read_publish(&body, &event), read_batch(&body, &event), read_lines(&body, &event));
        }
    }
}
