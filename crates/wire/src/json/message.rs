//! A message as a JSON frame: the hot path. What all subscribers share is encoded once and kept in the envelope.

use busgate_core::{Envelope, Outbound};
use bytes::Bytes;

use super::{payload::put_base64, readable::is_readable};
use crate::{
    encoding::{Encoding, EncodingSlot},
    parts::Parts,
    time,
};

/// How the members of a message end that has nothing of a subscriber's own.
pub(crate) const OWN_END: &str = r#","retry_count":0}"#;

/// A message as a WebSocket text frame; `sub` names its subscription on a socket that has many.
#[must_use]
pub fn socket_message(outbound: &Outbound, encoding: Encoding, sub: Option<&str>) -> Parts {
    if is_all_shared(outbound) && sub.is_none() {
        return Parts::new(shared_whole(outbound, encoding), Bytes::new());
    }
    apart(outbound, encoding, sub)
}

/// A message as a WebSocket text frame whose shared part is written by `deflate`, once for all subscribers, and whose
/// own part by `store`.
#[must_use]
pub fn deflated_socket_message(
    outbound: &Outbound,
    encoding: Encoding,
    sub: Option<&str>,
    deflate: impl FnOnce(&[u8]) -> Bytes,
    store: impl FnOnce(&[u8]) -> Bytes,
) -> Parts {
    let parts = apart(outbound, encoding, sub);
    let [shared, own] = parts.as_slices();
    let slot = EncodingSlot::deflated_socket(encoding).index();
    Parts::new(outbound.envelope.encoded(slot, |_| deflate(shared)), store(own))
}

fn shared_whole(outbound: &Outbound, encoding: Encoding) -> Bytes {
    let slot = EncodingSlot::socket(encoding).index();
    outbound.envelope.encoded(slot, |envelope| socket_whole(envelope, encoding))
}

fn apart(outbound: &Outbound, encoding: Encoding, sub: Option<&str>) -> Parts {
    let whole = shared_whole(outbound, encoding);
    let mut own = Vec::with_capacity(256);
    write_own(&mut own, outbound, sub);
    Parts::new(whole.slice(..whole.len() - OWN_END.len()), own.into())
}

fn socket_whole(envelope: &Envelope, encoding: Encoding) -> Bytes {
    let mut out = Vec::with_capacity(room(envelope));
    out.extend_from_slice(br#"{"type":"message","#);
    write_members(&mut out, envelope, encoding);
    out.extend_from_slice(OWN_END.as_bytes());
    out.into()
}

/// About how many bytes a message takes in JSON.
pub(crate) fn room(envelope: &Envelope) -> usize {
    envelope.message.weight() + envelope.message.payload.len() / 3 + 384
}

/// Whether a message has nothing of its subscriber's own.
pub(crate) const fn is_all_shared(outbound: &Outbound) -> bool {
    outbound.attempt <= 1 && outbound.ack_id.is_none()
}

/// Writes what is a subscriber's own, and the end of the object.
pub(crate) fn write_own(out: &mut Vec<u8>, outbound: &Outbound, sub: Option<&str>) {
    out.extend_from_slice(br#","retry_count":"#);
    out.extend_from_slice(outbound.attempt.saturating_sub(1).to_string().as_bytes());
    if let Some(ack_id) = &outbound.ack_id {
        put(out, "ack_id", ack_id);
    }
    if let Some(sub) = sub {
        put(out, "sub", sub);
    }
    out.push(b'}');
}

/// Writes the members that all subscribers share, without the braces around them.
pub(crate) fn write_members(out: &mut Vec<u8>, envelope: &Envelope, encoding: Encoding) {
    let message = &envelope.message;
    out.extend_from_slice(br#""id":"#);
    put_text(out, message.id.as_str());
    if !message.source.is_empty() {
        put(out, "source", &message.source);
    }
    write_payload(out, &message.payload, encoding);
    if !message.metadata.is_empty() {
        out.extend_from_slice(br#","metadata":"#);
        put_json(out, &message.metadata);
    }
    put(out, "timestamp", &time::rfc3339(message.timestamp));
    put(out, "event", envelope.event.as_str());
    put(out, "cursor", envelope.cursor.as_str());
    if let Some(key) = &message.key {
        put(out, "key", key);
    }
    if let Some(content_type) = &message.content_type {
        put(out, "content_type", content_type);
    }
}

fn write_payload(out: &mut Vec<u8>, payload: &[u8], encoding: Encoding) {
    let text = std::str::from_utf8(payload).ok();
    match (encoding, text) {
        (Encoding::Text, Some(text)) => return put(out, "payload", text),
        (Encoding::Json, Some(text)) if is_readable(text) => {
            out.extend_from_slice(br#","data":"#);
            // Between its tokens only: within a JSON string a line break is an escape.
            out.extend(text.trim_ascii().bytes().map(|byte| match byte {
                b'\n' | b'\r' => b' ',
                other => other,
            }));
            return;
        }
        _ => {}
    }
    out.extend_from_slice(br#","payload":""#);
    put_base64(out, payload);
    out.push(b'"');
    if encoding != Encoding::Base64 {
        put(out, "encoding", "base64");
    }
}

fn put(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    put_text(out, value);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_json(out, &text);
}

fn put_json(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    let written = serde_json::to_writer(out, value);
    debug_assert!(written.is_ok(), "text and maps of text are always JSON, and memory takes them");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use busgate_core::{Cursor, EventName, Message, MessageId, Timestamp};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn outbound(payload: impl Into<Bytes>) -> Outbound {
        let mut message = Message::new(MessageId::new("m-1").unwrap(), payload);
        message.timestamp = Timestamp::from_millis(1500);
        let (event, cursor) = (EventName::new("orders").unwrap(), Cursor::new("c:1").unwrap());
        let envelope = Arc::new(Envelope::new(event, Arc::new(message), cursor));
        Outbound { envelope, attempt: 1, ack_id: None, number: None }
    }

    fn frame(outbound: &Outbound, encoding: Encoding) -> Value {
        serde_json::from_slice(&socket_message(outbound, encoding, None).into_bytes()).unwrap()
    }

    #[test]
    fn absent_values_are_left_out() {
        let expected = concat!(
            r#"{"type":"message","id":"m-1","payload":"aGk=","timestamp":"1970-01-01T00:00:01.500Z","#,
            r#""event":"orders","cursor":"c:1","retry_count":0}"#
        );
        assert_eq!(socket_message(&outbound("hi"), Encoding::Base64, None).into_bytes(), expected);
    }

    #[test]
    fn what_some_readers_refuse_is_base64() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let payloads = [
            ("1e308".to_owned(), true),
            ("7777E7777".into(), false),
            (r#"{"a":[-1e999]}"#.into(), false),
            (r#""\ud83d\ude00""#.into(), true),
            (r#"{"\ud83d":1}"#.into(), false),
            (nested(120), true),
            (nested(121), false),
            ("[1] 2".into(), false),
        ];
        for (payload, is_data) in payloads {
            let outbound = outbound(payload.clone());
            let told = frame(&outbound, Encoding::Json);
            assert_eq!(told.get("data").is_some(), is_data, "{payload}");
            assert_eq!(told.get("encoding") == Some(&json!("base64")), !is_data, "{payload}");
        }
    }

    #[test]
    fn every_value_arrives() {
        let mut message = Message::new(MessageId::new("m\"1").unwrap(), "x");
        message.source = "shop\n".into();
        message.metadata = [("Content-Type".to_owned(), "a/b\u{0}".to_owned())].into();
        message.key = Some("k".into());
        message.content_type = Some("text/plain".into());
        let (event, cursor) = (EventName::new("orders").unwrap(), Cursor::new("c:1").unwrap());
        let envelope = Arc::new(Envelope::new(event, Arc::new(message), cursor));
        let outbound = Outbound { envelope, attempt: 3, ack_id: Some("a1".into()), number: None };
        let parts = socket_message(&outbound, Encoding::Text, Some("s\"1"));
        let read: Value = serde_json::from_slice(&parts.into_bytes()).unwrap();
        let expected = json!({
            "type": "message", "id": "m\"1", "source": "shop\n", "payload": "x",
            "metadata": {"Content-Type": "a/b\u{0}"}, "timestamp": "1970-01-01T00:00:00Z",
            "retry_count": 2, "ack_id": "a1", "event": "orders", "cursor": "c:1", "key": "k",
            "content_type": "text/plain", "sub": "s\"1",
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn the_shared_part_is_encoded_once() {
        let one = outbound("payload");
        let two = Outbound { ack_id: Some("a".into()), ..one.clone() };
        let first = socket_message(&one, Encoding::Json, None).into_bytes();
        let second = socket_message(&two, Encoding::Json, None);
        assert_eq!(second.as_slices()[0].as_ptr(), first.as_ptr());
    }

    #[test]
    fn the_shared_part_is_deflated_once_and_the_own_part_each_time() {
        let one = outbound("payload");
        let two = Outbound { ack_id: Some("a".into()), ..one.clone() };
        let deflated = |outbound: &Outbound, mark: &'static str| {
            let deflate = |_: &[u8]| Bytes::from_static(mark.as_bytes());
            deflated_socket_message(outbound, Encoding::Json, None, deflate, Bytes::copy_from_slice)
                .into_bytes()
        };
        assert_eq!(deflated(&one, "first"), r#"first,"retry_count":0}"#);
        assert_eq!(deflated(&two, "again"), r#"first,"retry_count":0,"ack_id":"a"}"#);
    }

    #[test]
    fn json_is_passed_on_as_it_is() {
        let frame =
            socket_message(&outbound(" {\"n\":\n1.50,\"s\":\"\\n\"}\r\n"), Encoding::Json, None).into_bytes();
        let text = std::str::from_utf8(&frame).unwrap();
        assert!(text.contains(r#","data":{"n": 1.50,"s":"\n"},"#), "{text}");
    }

    #[test]
    fn what_is_no_json_or_text_is_base64_and_says_so() {
        for (encoding, payload) in [
            (Encoding::Json, &b"{"[..]),
            (Encoding::Json, b""),
            (Encoding::Json, b"\"\xff\""),
            (Encoding::Json, b"1 2"),
            (Encoding::Text, b"\xff"),
        ] {
            let frame = frame(&outbound(payload), encoding);
            assert_eq!(frame["encoding"], "base64", "{payload:?}");
            assert_eq!(frame["payload"], super::super::payload::base64_text(payload));
            assert_eq!(frame.get("data"), None);
        }
    }

    proptest! {
        #[test]
        fn every_payload_comes_back_on_every_encoding(payload: Vec<u8>, text: String) {
            for payload in [payload, text.into_bytes()] {
                let outbound = outbound(payload.clone());
                for encoding in [Encoding::Base64, Encoding::Json, Encoding::Text] {
                    let frame = frame(&outbound, encoding);
                    if let Some(data) = frame.get("data") {
                        prop_assert_eq!(data, &serde_json::from_slice::<Value>(&payload).unwrap());
                        continue;
                    }
                    let read = frame["payload"].as_str().unwrap();
                    let in_base64 = encoding == Encoding::Base64 || frame.get("encoding").is_some();
                    let expected = if in_base64 {
                        super::super::payload::base64_text(&payload)
                    } else {
                        String::from_utf8(payload.clone()).unwrap()
                    };
                    prop_assert_eq!(read, expected);
                }
            }
        }
    }
}
