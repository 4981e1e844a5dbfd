//! A message as it is shown: for people, for programs, or its payload alone.

use std::{fmt::Write, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use busgate_core::{Envelope, Outbound};
use busgate_wire::{convert::Received, encoding::Encoding, json, rfc3339};
use bytes::Bytes;

/// How messages are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// A line for people.
    Plain,
    /// A line of JSON, as on a WebSocket.
    Json,
    /// The payload and nothing else.
    Raw,
}

/// The line of a message, without its end.
pub(super) fn line(received: Received, look: Look) -> Bytes {
    match look {
        Look::Plain => plain(&received).into(),
        Look::Json => json(received),
        Look::Raw => received.message.payload,
    }
}

fn json(received: Received) -> Bytes {
    let envelope = Envelope::new(received.event, Arc::new(received.message), received.cursor);
    let (attempt, ack_id) = (received.attempt, received.ack_id);
    json::socket_message(
        &Outbound { envelope: Arc::new(envelope), attempt, ack_id, number: None },
        Encoding::Text,
        None,
    )
    .into_bytes()
}

/// Time, event and id, what is special about it, and the payload: on one line, whatever is in them.
fn plain(received: &Received) -> String {
    let message = &received.message;
    let mut line = format!("{} {} {}", rfc3339(message.timestamp), received.event, message.id);
    if received.attempt > 1 {
        _ = write!(line, " attempt={}", received.attempt);
    }
    if let Some(key) = &message.key {
        _ = write!(line, " key={key}");
    }
    for (name, value) in &message.metadata {
        _ = write!(line, " {name}={value}");
    }
    if let Some(ack_id) = &received.ack_id {
        _ = write!(line, " ack_id={ack_id}");
    }
    match std::str::from_utf8(&message.payload) {
        Ok(text) => _ = write!(line, " {text}"),
        Err(_) => _ = write!(line, " base64:{}", STANDARD.encode(&message.payload)),
    }
    harmless(&line)
}

/// The text with every control character written out: what a stranger published must not steer a terminal.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() { out.extend(char.escape_default()) } else { out.push(char) }
    }
    out
}

#[cfg(test)]
mod tests {
    use busgate_core::{Cursor, EventName, Message, MessageId, Timestamp};

    use super::*;

    fn received(payload: &'static [u8]) -> Received {
        let message = Message {
            timestamp: Timestamp::from_millis(1500),
            metadata: [("shop".to_owned(), "7".to_owned())].into(),
            key: Some("k".into()),
            ..Message::new(MessageId::new("m-1").unwrap(), payload)
        };
        Received {
            event: EventName::new("orders").unwrap(),
            cursor: Cursor::new("c").unwrap(),
            message,
            attempt: 2,
            ack_id: None,
            number: None,
            gap: None,
        }
    }

    fn shown(payload: &'static [u8], look: Look) -> String {
        String::from_utf8(line(received(payload), look).to_vec()).unwrap()
    }

    #[test]
    fn people_get_one_line() {
        let expected = "1970-01-01T00:00:01.500Z orders m-1 attempt=2 key=k shop=7 {\"a\":\\n1}";
        assert_eq!(shown(b"{\"a\":\n1}", Look::Plain), expected);
    }

    #[test]
    fn nothing_in_a_payload_steers_the_terminal() {
        assert!(shown(b"\x1b[2J\x07\r", Look::Plain).chars().all(|char| !char.is_control()));
        assert!(shown(b"\xff\x00", Look::Plain).ends_with(" base64:/wA="));
    }

    #[test]
    fn programs_get_the_frame_and_pipes_the_payload() {
        let json: serde_json::Value = serde_json::from_str(&shown(b"hi", Look::Json)).unwrap();
        assert_eq!(
            (&json["id"], &json["payload"], &json["retry_count"]),
            (&"m-1".into(), &"hi".into(), &1.into())
        );
        assert_eq!(shown(b"hi", Look::Raw), "hi");
    }
}
