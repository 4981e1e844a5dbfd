//! Records as messages and messages as records: the payload as it is, everything else in headers.

use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use busgate_core::{Message, MessageId, Metadata, Timestamp};
use bytes::Bytes;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Headers, Message as _, OwnedHeaders};

use crate::{place::Place, producer::Draft};

/// The header that has a message's id.
pub(crate) const ID: &str = "busgate-id";
/// The header that has a message's publisher.
pub(crate) const SOURCE: &str = "busgate-source";
/// The header that has the media type of a payload.
pub(crate) const CONTENT_TYPE: &str = "content-type";
/// The header that has a message's time where a record can't have it.
pub(crate) const TIME: &str = "busgate-time";
/// What all headers of ours begin with, beside the content type.
pub(crate) const OWN: &str = "busgate-";
/// What a metadata key that would be taken for a header of ours is written after.
const META: &str = "busgate-meta-";
/// What a metadata key is written after that has a NUL in it, at which a header's name would end: percent-encoded.
const CODED: &str = "busgate-meta%-";
/// What headers of the machinery of groups begin with.
pub(crate) const MACHINERY: &str = "busgate-x-";
/// What headers begin with that NATS reads: they are as much ours, so that a message can go from broker to broker.
const NATS: &str = "nats-";

/// How far a record's time may be from when it is written: what is older than the retention is let go of at once, and
/// what is in the future is not taken.
const NEAR: Duration = Duration::from_secs(600);

/// The headers a message has on Kafka.
pub(crate) fn headers(message: &Message) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new_with_capacity(message.metadata.len() + 3)
        .insert(Header { key: ID, value: Some(message.id.as_str()) });
    if !message.source.is_empty() {
        headers = headers.insert(Header { key: SOURCE, value: Some(&message.source) });
    }
    if let Some(kind) = &message.content_type {
        headers = headers.insert(Header { key: CONTENT_TYPE, value: Some(kind) });
    }
    for (key, value) in &message.metadata {
        headers = headers.insert(Header { key: &header_of(key), value: Some(value) });
    }
    headers
}

/// The record of a message that is written now.
pub(crate) fn draft<'a>(topic: &'a str, partition: i32, message: &'a Message, now: Timestamp) -> Draft<'a> {
    let mut headers = headers(message);
    let time = message.timestamp;
    let is_near = time.since(now).max(now.since(time)) <= NEAR;
    if !is_near && time != Timestamp::default() {
        headers = headers.insert(Header { key: TIME, value: Some(&time.as_millis().to_string()) });
    }
    Draft {
        topic,
        partition,
        key: message.key.as_ref().map(String::as_bytes),
        payload: Some(&message.payload),
        headers: Some(headers),
        timestamp: is_near.then(|| time.as_millis()),
    }
}

/// The message that a record holds, whoever wrote it.
pub(crate) fn message(record: &BorrowedMessage<'_>) -> Message {
    let place = Place::of(record);
    let told = read(record.headers().into_iter().flat_map(readable));
    let time = told.time.or_else(|| record.timestamp().to_millis());
    Message {
        id: told.id.unwrap_or_else(|| native_id(place)),
        source: told.source,
        payload: Bytes::copy_from_slice(record.payload().unwrap_or_default()),
        metadata: told.metadata,
        timestamp: time.map(Timestamp::from_millis).unwrap_or_default(),
        key: record.key().map(|key| String::from_utf8_lossy(key).into_owned()),
        content_type: told.content_type,
    }
}

/// What the headers of a record tell.
#[derive(Debug, Default)]
struct Told {
    id: Option<MessageId>,
    source: String,
    content_type: Option<String>,
    time: Option<i64>,
    metadata: Metadata,
}

fn read<'a>(headers: impl Iterator<Item = Header<'a, &'a [u8]>>) -> Told {
    let mut told = Told::default();
    for header in headers {
        let Some(value) = header.value.and_then(|value| std::str::from_utf8(value).ok()) else { continue };
        match header.key {
            ID => told.id = MessageId::new(value).ok(),
            TIME => told.time = value.parse().ok().or(told.time),
            SOURCE => value.clone_into(&mut told.source),
            key if key.eq_ignore_ascii_case(CONTENT_TYPE) => told.content_type = Some(value.to_owned()),
            // No key is empty: a native client may write one.
            "" | META | CODED => {}
            // What travels with the machinery of groups is not the publisher's.
            key if key.starts_with(MACHINERY) => {}
            key => drop(told.metadata.insert(key_of(key), value.to_owned())),
        }
    }
    told
}

/// The header of a metadata key: itself where it can stand there and is none of ours.
fn header_of(key: &str) -> Cow<'_, str> {
    if key.contains('\0') {
        let coded = key.replace('%', "%25").replace('\0', "%00");
        Cow::Owned(format!("{CODED}{coded}"))
    } else if is_ours(key) {
        Cow::Owned(format!("{META}{key}"))
    } else {
        Cow::Borrowed(key)
    }
}

/// The metadata key of a header.
fn key_of(header: &str) -> String {
    match header.strip_prefix(CODED) {
        Some(coded) => coded.replace("%00", "\0").replace("%25", "%"),
        None => header.strip_prefix(META).unwrap_or(header).to_owned(),
    }
}

/// The id alone, for whoever needs no more; `None` for a record that has none of ours.
pub(crate) fn id(record: &BorrowedMessage<'_>) -> Option<MessageId> {
    let headers = record.headers()?;
    let header = readable(headers).find(|header| header.key == ID)?;
    MessageId::new(std::str::from_utf8(header.value?).ok()?).ok()
}

/// The headers whose names are text. The driver panics at any other, which a client in any language may write: it must not
/// take the reader of a topic with it.
fn readable(headers: &BorrowedHeaders) -> impl Iterator<Item = Header<'_, &[u8]>> {
    let read = |at| catch_unwind(AssertUnwindSafe(|| headers.try_get(at)));
    (0..headers.count()).filter_map(move |at| read(at).ok().flatten())
}

/// The id of a record that has none: the same on every node and at every reading.
fn native_id(Place { partition, offset }: Place) -> MessageId {
    MessageId::new(format!("{partition}-{offset}")).unwrap_or_else(|_| MessageId::generate())
}

/// Whether a metadata key would be read as a header of ours.
fn is_ours(key: &str) -> bool {
    let begins = |with: &str| key.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    key.eq_ignore_ascii_case(CONTENT_TYPE) || begins(OWN) || begins(NATS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(message: &Message) -> Vec<(String, String)> {
        let headers = headers(message);
        let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
        headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
    }

    #[test]
    fn absent_values_are_left_out() {
        let message = Message::new(MessageId::new("a").unwrap(), "x");
        assert_eq!(pairs(&message), [("busgate-id".to_owned(), "a".to_owned())]);
    }

    #[test]
    fn a_metadata_key_like_a_header_of_ours_is_written_apart() {
        let mut message = Message::new(MessageId::new("a").unwrap(), "x");
        for key in ["Content-Type", "BUSGATE-id", "Nats-Msg-Id", "plain"] {
            message.metadata.insert(key.into(), "v".into());
        }
        let keys: Vec<_> = pairs(&message).into_iter().map(|(key, _)| key).collect();
        let wanted = [
            "busgate-id",
            "busgate-meta-BUSGATE-id",
            "busgate-meta-Content-Type",
            "busgate-meta-Nats-Msg-Id",
            "plain",
        ];
        assert_eq!(keys, wanted);
    }

    proptest! {
        /// The headers are librdkafka's own, which ends a name at a NUL.
        #[test]
        fn metadata_reads_back(
            metadata in prop::collection::btree_map("(?s).{1,12}", "(?s).{0,12}", 0..6),
            nul in "\0?%?(00|25)?\0?",
            ours in "(?i:busgate-(meta%?-)?|nats-|content-type)[a-z%\0]{0,4}",
        ) {
            let mut message = Message::new(MessageId::new("a").unwrap(), "x");
            message.metadata = metadata;
            for odd in [nul, ours].into_iter().filter(|key| !key.is_empty()) {
                message.metadata.insert(odd, "v\r\n\0 é".into());
            }
            let written = headers(&message);
            let told = read(readable(written.as_borrowed()));
            prop_assert_eq!((told.id, told.metadata), (Some(message.id), message.metadata));
        }

        /// Whatever a native client writes is no more than left out.
        #[test]
        fn any_headers_are_read(
            pairs in prop::collection::vec(
                ("(busgate-(id|time|source|meta%?-|x-)|content-type)?(?s).{0,6}", prop::collection::vec(any::<u8>(), 0..12)),
                0..8,
            ),
        ) {
            let mut written = OwnedHeaders::new();
            for (key, value) in &pairs {
                written = written.insert(Header { key, value: Some(value) });
            }
            let told = read(readable(written.as_borrowed()));
            prop_assert!(told.metadata.len() <= pairs.len() && !told.metadata.contains_key(""));
        }
    }

    #[test]
    fn a_native_id_is_its_place() {
        assert_eq!(native_id(Place { partition: 3, offset: 17 }).as_str(), "3-17");
    }
}
