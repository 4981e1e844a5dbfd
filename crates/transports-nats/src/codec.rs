//! Messages as NATS messages, and back.

use std::borrow::Cow;

use async_nats::{HeaderMap, HeaderName, HeaderValue, jetstream::message::PublishMessage};
use busgate_core::{Clock, Message, MessageId, Metadata, Result, Timestamp, url::unpercent};
use bytes::Bytes;

use crate::{
    delivery::{Delivered, Stamp},
    text,
};

/// By it the server deduplicates.
const MSG_ID: &str = "Nats-Msg-Id";
/// The id where the event has no window, so that the server does not look at it.
const ID: &str = "busgate-id";
const KEY: &str = "busgate-key";
const SOURCE: &str = "busgate-source";
const CONTENT_TYPE: &str = "content-type";
/// Milliseconds since the Unix epoch, where it is not the time of publishing.
const TIME: &str = "busgate-time";
/// In front of a metadata key that could not stand for itself.
const META: &str = "busgate-meta-";

/// A message's own time is written when it is further than this from now.
const SAME_TIME_NANOS: i64 = 1_000_000_000;

/// The headers that a message travels with.
pub(crate) fn headers(message: &Message, deduplicated: bool, now: Timestamp) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, text: &str| {
        headers.insert(HeaderName::from_static(name), value(text));
    };
    put(if deduplicated { MSG_ID } else { ID }, message.id.as_str());
    if let Some(key) = &message.key {
        put(KEY, key);
    }
    if !message.source.is_empty() {
        put(SOURCE, &message.source);
    }
    if let Some(content_type) = &message.content_type {
        put(CONTENT_TYPE, content_type);
    }
    if message.timestamp.as_nanos().abs_diff(now.as_nanos()) > SAME_TIME_NANOS.unsigned_abs() {
        put(TIME, &message.timestamp.as_millis().to_string());
    }
    for (key, text) in &message.metadata {
        headers.insert(name(key), value(text));
    }
    headers
}

/// A message on its way to a stream.
pub(crate) fn outbound(message: &Message, deduplicated: bool, clock: &dyn Clock) -> PublishMessage {
    PublishMessage::build()
        .headers(headers(message, deduplicated, clock.now()))
        .payload(message.payload.clone())
}

/// The header of a metadata key: itself where it can stand there and is none of ours.
fn name(key: &str) -> HeaderName {
    let is_plain = !is_own(key) && key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    let name = if is_plain && !key.is_empty() { Cow::Borrowed(key) } else { escaped(key).into() };
    // Both forms are header names; what is none would be nobody's key.
    name.parse().unwrap_or_else(|_| HeaderName::from_static(META))
}

/// A key of ours is told from the header by its prefix; what a header's name can't hold is percent-encoded.
fn escaped(key: &str) -> String {
    format!("{META}{}", text::percent(key))
}

fn is_own(key: &str) -> bool {
    let starts = |prefix: &str| key.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
    starts("nats-") || starts("busgate-") || key.eq_ignore_ascii_case(CONTENT_TYPE)
}

fn value(text: &str) -> HeaderValue {
    // What is written by `text::value` is a header's value.
    text::value(text).parse().unwrap_or_else(|_| HeaderValue::default())
}

/// The message that came with these headers. One that a native client wrote has its sequence for an id, and the stream's
/// time.
pub(crate) fn inbound(headers: Option<&HeaderMap>, payload: Bytes, stamp: Stamp) -> Result<Message> {
    let mut message = Message::new(MessageId::new("-")?, payload);
    message.timestamp = stamp.published;
    let mut id = None;
    for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
        let name: &str = name.as_ref();
        let text = match values.as_slice() {
            [only] => text::read(only.as_str()),
            several => several.iter().map(HeaderValue::as_str).collect::<Vec<_>>().join(",").into(),
        };
        match name {
            MSG_ID | ID => id = MessageId::new(&*text).ok().or(id),
            KEY => message.key = Some(text.into_owned()),
            SOURCE => message.source = text.into_owned(),
            TIME => message.timestamp = time(&text).unwrap_or(message.timestamp),
            name if name.eq_ignore_ascii_case(CONTENT_TYPE) => message.content_type = Some(text.into_owned()),
            name => keep(&mut message.metadata, name, text),
        }
    }
    message.id = match id {
        Some(id) => id,
        None => MessageId::new(stamp.sequence.to_string())?,
    };
    Ok(message)
}

/// The message that a consumer delivered.
pub(crate) fn delivered(message: async_nats::Message, delivered: Delivered) -> Result<Message> {
    inbound(message.headers.as_ref(), message.payload, delivered.stamp)
}

fn keep(metadata: &mut Metadata, name: &str, text: Cow<'_, str>) {
    if let Some(coded) = name.strip_prefix(META) {
        let key = unpercent(coded).unwrap_or_else(|| coded.to_owned());
        metadata.insert(key, text.into_owned());
    } else if !is_own(name) {
        metadata.insert(name.to_owned(), text.into_owned());
    }
}

fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stamp() -> Stamp {
        Stamp { sequence: 41, published: Timestamp::from_millis(5) }
    }

    fn sent() -> Message {
        let mut message = Message::new(MessageId::new("m 1").unwrap(), "payload");
        message.timestamp = Timestamp::from_millis(5);
        message
    }

    fn round_trip(message: &Message, deduplicated: bool) -> Message {
        let headers = headers(message, deduplicated, Timestamp::from_millis(5));
        inbound(Some(&headers), message.payload.clone(), stamp()).unwrap()
    }

    #[test]
    fn the_headers_are_what_native_clients_read() {
        let mut message = sent();
        message.key = Some("k".into());
        message.source = "shop".into();
        message.content_type = Some("text/plain".into());
        message.metadata = [("traceparent", "00-1"), ("Content-Type", "x"), ("nats-TTL", "y")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let headers = headers(&message, true, Timestamp::from_millis(5));
        let get = |name: &str| headers.get(name).map(HeaderValue::as_str);
        assert_eq!(get("Nats-Msg-Id"), Some("m 1"));
        assert_eq!(get("busgate-key"), Some("k"));
        assert_eq!(get("busgate-source"), Some("shop"));
        assert_eq!(get("content-type"), Some("text/plain"));
        assert_eq!(get("traceparent"), Some("00-1"));
        assert_eq!(get("busgate-meta-Content-Type"), Some("x"));
        assert_eq!(get("busgate-meta-nats-TTL"), Some("y"));
        assert_eq!(get("busgate-time"), None);
        assert_eq!(headers.len(), 7);
    }

    #[test]
    fn without_a_window_the_server_does_not_see_the_id() {
        let headers = headers(&sent(), false, Timestamp::from_millis(5));
        assert_eq!((headers.get("Nats-Msg-Id"), headers.get("busgate-id").is_some()), (None, true));
    }

    #[test]
    fn a_native_message_gets_its_sequence_for_an_id() {
        let mut headers = HeaderMap::new();
        headers.insert("X-Mine", "1");
        headers.append("X-Mine", "2");
        let message = inbound(Some(&headers), Bytes::from_static(b"x"), stamp()).unwrap();
        assert_eq!(message.id.as_str(), "41");
        assert_eq!(message.timestamp, Timestamp::from_millis(5));
        assert_eq!(message.metadata.get("X-Mine").map(String::as_str), Some("1,2"));
        let bare = inbound(None, Bytes::new(), stamp()).unwrap();
        assert!(bare.metadata.is_empty() && bare.key.is_none() && bare.content_type.is_none());
    }

    proptest! {
        #[test]
        fn any_message_reads_back(
            id in "[^\\p{Cc}]{1,20}",
            key: Option<String>,
            source: String,
            content_type in proptest::option::of("[ -~]{1,20}"),
            metadata in prop::collection::btree_map(".{1,12}", any::<String>(), 0..6),
            millis in 0_i64..4_000_000_000_000,
            deduplicated: bool,
        ) {
            let mut message = sent();
            message.id = MessageId::new(id).unwrap();
            (message.key, message.source, message.content_type) = (key, source, content_type);
            message.metadata = metadata;
            message.timestamp = Timestamp::from_millis(millis);
            let mut read = round_trip(&message, deduplicated);
            if millis.abs_diff(5) <= 1000 {
                read.timestamp = message.timestamp;
            }
            prop_assert_eq!(read, message);
        }
    }
}
