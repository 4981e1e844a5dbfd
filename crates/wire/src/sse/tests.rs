//! The encoder against a parser of its own, written after the WHATWG specification.

use std::sync::Arc;

use busgate_core::{Cursor, EventName, Message, MessageId};
use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

#[derive(Debug, PartialEq)]
struct Event {
    kind: String,
    data: String,
    last_event_id: String,
}

/// Reads an event stream: decode as UTF-8 without a leading BOM, split at CR LF, LF or CR, dispatch at empty lines.
fn parse(stream: &[u8]) -> Vec<Event> {
    let text = String::from_utf8_lossy(stream);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut kind, mut data, mut id) = (Vec::new(), String::new(), String::new(), String::new());
    // What comes after the last line break is no line yet.
    let Some((lines, _incomplete)) = text.rsplit_once('\n') else { return events };
    for line in lines.split('\n') {
        if line.is_empty() {
            if !data.is_empty() {
                let kind = if kind.is_empty() { "message".to_owned() } else { kind.clone() };
                let data = data.strip_suffix('\n').unwrap_or(&data).to_owned();
                events.push(Event { kind, data, last_event_id: id.clone() });
            }
            kind.clear();
            data.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => kind = value.to_owned(),
            "data" => data.push_str(&format!("{value}\n")),
            "id" if !value.contains('\0') => id = value.to_owned(),
            _ => {}
        }
    }
    events
}

fn outbound(message: Message) -> Outbound {
    let (event, cursor) = (EventName::new("orders").unwrap(), Cursor::new("c:1~a.b_c-9").unwrap());
    Outbound {
        envelope: Arc::new(Envelope::new(event, Arc::new(message), cursor)),
        attempt: 1,
        ack_id: None,
        number: None,
    }
}

fn simple(payload: impl Into<Bytes>) -> Outbound {
    outbound(Message::new(MessageId::new("m-1").unwrap(), payload))
}

#[test]
fn the_parser_follows_the_specification() {
    let event = |kind: &str, data: &str, id: &str| Event {
        kind: kind.into(),
        data: data.into(),
        last_event_id: id.into(),
    };
    let stream = b"\xef\xbb\xbf: c\ndata: a\ndata:b\n\nid: 1\revent: x\r\ndata\r\n\r\nid: \0\ndata:  z\n\ndata: lost\n";
    let expected = [event("message", "a\nb", ""), event("x", "", "1"), event("message", " z", "1")];
    assert_eq!(parse(stream), expected);
}

#[test]
fn a_message_is_written_as_the_contract_says() {
    let mut hi = simple("hi");
    hi.ack_id = Some("a1".into());
    let expected = concat!(
        "id: c:1~a.b_c-9\nevent: message\n",
        r#"data: {"id":"m-1","payload":"aGk=","timestamp":"1970-01-01T00:00:00Z","event":"orders","#,
        r#""cursor":"c:1~a.b_c-9","retry_count":0,"ack_id":"a1"}"#,
        "\n\n"
    );
    assert_eq!(message(&hi, Encoding::Base64).into_bytes(), expected);
}

#[test]
fn a_stream_begins_without_an_event() {
    assert_eq!(parse(PREAMBLE.as_bytes()), []);
}

#[test]
fn signs_of_life_and_drains_leave_the_place_alone() {
    let mut stream = BytesMut::new();
    message(&simple("x"), Encoding::Text).put(&mut stream);
    stream.extend_from_slice(HEARTBEAT.as_bytes());
    stream.extend_from_slice(&draining(Duration::from_secs(2)));
    stream.extend_from_slice(&error(&Error::unavailable("gone"), "r-1"));
    let events = parse(&stream);
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["message", "heartbeat", "draining", "error"]);
    assert!(events.iter().all(|event| event.last_event_id == "c:1~a.b_c-9"));
    assert_eq!(events[1].data, "{}");
    assert_eq!(events[2].data, r#"{"retry_after_ms":2000}"#);
    let expected = r#"{"error":"gone","code":"unavailable","retry_after_ms":1000,"request_id":"r-1"}"#;
    assert_eq!(events[3].data, expected);
}

#[test]
fn a_gap_moves_the_place_on() {
    let told = gap(&Gap { missed: Some(4), cursor: Some(Cursor::new("c9").unwrap()) });
    let expected = Event {
        kind: "gap".into(),
        data: r#"{"missed":4,"cursor":"c9"}"#.into(),
        last_event_id: "c9".into(),
    };
    assert_eq!(parse(&told), [expected]);
}

/// Text made of what could break lines, fields and streams.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\n".to_owned()),
        Just("\r".to_owned()),
        Just("\r\n\r\n".to_owned()),
        Just("\0".to_owned()),
        Just("\u{feff}".to_owned()),
        Just("\u{2028}".to_owned()),
        Just("data: ".to_owned()),
        Just("\n\nevent: error\ndata: {}\n\n".to_owned()),
        Just("id: \n".to_owned()),
        Just("\"}".to_owned()),
        any::<String>(),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn nothing_in_a_message_breaks_the_framing(
        payload in hostile(), source in hostile(), key in hostile(), name in hostile(), value in hostile(),
        ack_id in proptest::option::of(hostile()), binary: Vec<u8>,
    ) {
        for payload in [Bytes::from(payload.clone()), serde_json::to_vec(&payload).unwrap().into(), binary.into()] {
            let mut hostile = Message::new(MessageId::new("m").unwrap(), payload);
            hostile.source.clone_from(&source);
            hostile.key = Some(key.clone());
            hostile.content_type = Some(value.clone());
            hostile.metadata = [(name.clone(), value.clone())].into();
            let mut outbound = outbound(hostile);
            outbound.ack_id.clone_from(&ack_id);
            for encoding in [Encoding::Base64, Encoding::Json, Encoding::Text] {
                let mut stream = BytesMut::from(PREAMBLE);
                message(&outbound, encoding).put(&mut stream);
                message(&outbound, encoding).put(&mut stream);
                let events = parse(&stream);
                prop_assert_eq!(events.len(), 2);
                for event in events {
                    prop_assert_eq!(event.kind, "message");
                    prop_assert_eq!(event.last_event_id, "c:1~a.b_c-9");
                    let data: Value = serde_json::from_str(&event.data).unwrap();
                    prop_assert_eq!(data.get("source").and_then(Value::as_str).unwrap_or(""), &source);
                    prop_assert_eq!(data["key"].as_str().unwrap(), &key);
                    prop_assert_eq!(data["metadata"][&name].as_str().unwrap(), &value);
                    prop_assert_eq!(data.get("ack_id").and_then(Value::as_str), ack_id.as_deref());
                }
            }
        }
    }

    #[test]
    fn nothing_in_an_error_breaks_the_framing(text in hostile(), request_id in hostile()) {
        let hostile = Error::invalid(text);
        let events = parse(&error(&hostile, &request_id));
        prop_assert_eq!(events.len(), 1);
        let data: Value = serde_json::from_str(&events[0].data).unwrap();
        prop_assert_eq!(data["error"].as_str().unwrap(), hostile.message());
        prop_assert_eq!(data["request_id"].as_str().unwrap(), &request_id);
    }
}
