//! Hostile messages on their way out: whatever a publisher wrote, each subscriber reads exactly that, and nothing else.

use std::{sync::Arc, time::Duration};

use busgate_core::{Cursor, Envelope, Error, ErrorKind, Gap, Message, MessageId, Outbound, Timestamp};
use busgate_wire::{convert, encoding::Encoding, json, sse};
use bytes::{Bytes, BytesMut};
use serde_json::Value;

use crate::{
    event_stream::{Event, parse},
    input::Input,
    requests::decode,
};

const ENCODINGS: [Encoding; 3] = [Encoding::Base64, Encoding::Json, Encoding::Text];

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let Some(outbound) = outbound(&mut input) else { return };
    let sub = input.text();
    notices(&mut input, &outbound.envelope.cursor);
    for encoding in ENCODINGS {
        on_an_event_stream(&outbound, encoding);
        on_a_socket(&outbound, encoding, Some(&*sub).filter(|sub| !sub.is_empty()));
    }
    in_protobuf(&outbound);
}

/// A message with every field filled from the input.
fn outbound(input: &mut Input<'_>) -> Option<Outbound> {
    let id = MessageId::new(input.text()).ok()?;
    let cursor = Cursor::new(input.text()).ok()?;
    let event = "orders.created".parse().ok()?;
    let mut message = Message::new(id, Bytes::copy_from_slice(input.piece()));
    message.source = input.text().into_owned();
    message.key = Some(input.text().into_owned()).filter(|text| !text.is_empty());
    message.content_type = Some(input.text().into_owned()).filter(|text| !text.is_empty());
    message.metadata.insert(input.text().into_owned(), input.text().into_owned());
    message.timestamp = Timestamp::from_nanos(i64::from(input.number()) << (input.byte() % 32));
    let ack_id = Some(input.text().into_owned()).filter(|text| !text.is_empty());
    let attempt = u32::from(input.byte()) + 1;
    Some(Outbound {
        envelope: Arc::new(Envelope::new(event, Arc::new(message), cursor)),
        attempt,
        ack_id,
        number: None,
    })
}

/// An event stream has one event for it: its id is the cursor, its data the whole message.
fn on_an_event_stream(outbound: &Outbound, encoding: Encoding) {
    let mut stream = BytesMut::from(sse::PREAMBLE);
    sse::message(outbound, encoding).put(&mut stream);
    sse::message(outbound, encoding).put(&mut stream);
    let events = parse(&stream);
    assert_eq!(events.len(), 2);
    for event in events {
        assert_eq!((&*event.kind, &*event.last_event_id), ("message", outbound.envelope.cursor.as_str()));
        is_told(outbound, encoding, &event.data);
    }
}

/// A frame is one JSON text, in as many parts as it is sent in.
fn on_a_socket(outbound: &Outbound, encoding: Encoding, sub: Option<&str>) {
    let whole = json::socket_message(outbound, encoding, sub).into_bytes();
    let text = std::str::from_utf8(&whole);
    assert!(text.is_ok());
    let told = is_told(outbound, encoding, text.unwrap_or_default());
    assert_eq!(
        (told.get("sub").and_then(Value::as_str), told.get("type").and_then(Value::as_str)),
        (sub, Some("message"))
    );
    let same = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    let deflated = json::deflated_socket_message(outbound, encoding, sub, same, same).into_bytes();
    assert_eq!(json_of(&deflated), Some(told));
}

fn json_of(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes).ok()
}

/// Every field says what the message says.
fn is_told(outbound: &Outbound, encoding: Encoding, data: &str) -> Value {
    let Outbound { envelope, attempt, ack_id, .. } = outbound;
    let message = &envelope.message;
    let told = json_of(data.as_bytes()).unwrap_or_default();
    let text = |name: &str| told.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    assert_eq!(text("id").as_deref(), Some(message.id.as_str()), "{data}");
    assert_eq!(text("source").unwrap_or_default(), message.source);
    assert_eq!((text("key"), text("content_type")), (message.key.clone(), message.content_type.clone()));
    assert_eq!(text("cursor").as_deref(), Some(envelope.cursor.as_str()));
    assert_eq!(text("event").as_deref(), Some(envelope.event.as_str()));
    assert_eq!(text("ack_id"), *ack_id);
    assert_eq!(told.get("retry_count"), Some(&Value::from(attempt - 1)));
    assert_eq!(told.get("metadata"), serde_json::to_value(&message.metadata).ok().as_ref());
    match (told.get("data"), payload(&told, encoding)) {
        (Some(data), None) => {
            assert_eq!(encoding, Encoding::Json);
            assert_eq!(json_of(&message.payload).as_ref(), Some(data));
        }
        (None, payload) => assert_eq!(payload.as_ref(), Some(&message.payload), "{data}"),
        (Some(_), Some(_)) => assert!(told.get("data").is_none(), "a payload stands once: {data}"),
    }
    told
}

/// The payload, read as a client does who asked for `encoding`. JSON comes with its line breaks as spaces.
fn payload(told: &Value, encoding: Encoding) -> Option<Bytes> {
    let written = told.get("payload").and_then(Value::as_str);
    match (told.get("encoding").is_some(), encoding) {
        (false, Encoding::Text) => written.map(|text| Bytes::copy_from_slice(text.as_bytes())),
        (false, Encoding::Json) => None,
        (_, _) => {
            let event = "orders.created".parse().ok()?;
            let body = serde_json::json!({ "payload": written? }).to_string().into();
            json::read_publish(&body, &event).ok().map(|draft| draft.payload)
        }
    }
}

/// Protobuf keeps every field as it is.
fn in_protobuf(outbound: &Outbound) {
    let message = prost::Message::encode_to_vec(&convert::message(outbound.clone(), None));
    let read = decode(&message).map(convert::read_message);
    let read = read.and_then(Result::ok);
    assert_eq!(read.as_ref().map(|read| &read.message), Some(&*outbound.envelope.message));
    assert_eq!(read.and_then(|read| read.ack_id), outbound.ack_id);
}

/// What is no message breaks no framing either.
fn notices(input: &mut Input<'_>, cursor: &Cursor) {
    let missed = u64::from(input.number());
    let gap = sse::gap(&Gap { missed: Some(missed), cursor: Some(cursor.clone()) });
    let expected = format!(r#"{{"missed":{missed},"cursor":"{cursor}"}}"#);
    let gap_event = Event { kind: "gap".into(), data: expected, last_event_id: cursor.to_string() };
    assert_eq!(parse(&gap), [gap_event]);
    let after = Duration::from_millis(input.number().into());
    let draining = parse(&sse::draining(after));
    assert!(matches!(&*draining, [event] if event.kind == "draining" && event.last_event_id.is_empty()));
    let kind = ErrorKind::ALL.into_iter().nth(usize::from(input.byte() % 13)).unwrap_or(ErrorKind::Invalid);
    let error = Error::new(kind, input.text());
    let request_id = input.text();
    let told = parse(&sse::error(&error, &request_id));
    assert!(matches!(&*told, [event] if event.kind == "error" && event.last_event_id.is_empty()));
    let told = told.first().and_then(|event| json_of(event.data.as_bytes())).unwrap_or_default();
    assert_eq!(told.get("code").and_then(Value::as_str), Some(kind.as_str()));
    assert_eq!(told.get("request_id").and_then(Value::as_str), Some(&*request_id));
    let shown = if kind == ErrorKind::Internal { "internal error" } else { error.message() };
    assert_eq!(told.get("error").and_then(Value::as_str), Some(shown));
}
