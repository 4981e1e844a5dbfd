//! JSON bodies: one message, a batch, one a line, acks, settings of an event.

use busgate_core::{Draft, EventName, Result};
use busgate_wire::json;
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::{errors::refused, input::Input};

/// The first byte says what body the others are.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.byte();
    let body = Bytes::copy_from_slice(input.rest());
    let Ok(event) = "orders.created".parse() else { return };
    match kind % 5 {
        0 => one(&body, &event),
        1 => batch(&body, &event),
        2 => lines(&body, &event),
        3 => acks(&body),
        _ => settings(&body),
    }
}

fn one(body: &Bytes, event: &EventName) {
    match json::read_publish(body, event) {
        Err(error) => refused(&error),
        Ok(draft) => {
            is_bounded(&draft, body);
            let written = write(&draft).to_string().into();
            let again = json::read_publish(&written, event);
            assert!(again.as_ref().is_ok_and(|again| *again == draft), "{draft:?} became {again:?}");
        }
    }
}

/// A draft as a client writes it: its payload in base64.
fn write(draft: &Draft) -> Value {
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    if let Some(id) = &draft.id {
        put("id", id.as_str().into());
    }
    put("payload", base64(&draft.payload).into());
    put("metadata", serde_json::to_value(&draft.metadata).unwrap_or_default());
    put("key", draft.key.clone().into());
    put("contentType", draft.content_type.clone().into());
    Value::Object(body)
}

/// Nothing that was read takes more room than it was written in.
fn is_bounded(draft: &Draft, body: &Bytes) {
    let metadata: usize = draft.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(draft.payload.len() + metadata <= body.len());
}

/// The URL alphabet, without padding: a reader takes every dialect.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let index = bits >> (18 - 6 * place) & 0x3f;
            text.extend(ALPHABET.get(index as usize).map(|letter| char::from(*letter)));
        }
    }
    text
}

fn batch(body: &Bytes, event: &EventName) {
    match json::read_batch(body, event) {
        Err(error) => refused(&error),
        Ok(entries) => {
            let drafts = accepted(entries, body);
            let written = serde_json::json!({ "messages": drafts.iter().map(write).collect::<Vec<_>>() });
            let again =
                json::read_batch(&written.to_string().into(), event).map(|again| accepted(again, body));
            assert!(again.is_ok_and(|again| again == drafts));
        }
    }
}

/// A line is a message: what the one body refuses the other does too.
fn lines(body: &Bytes, event: &EventName) {
    let entries = json::read_lines(body, event);
    let alone = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let alone: Vec<_> = alone.map(|line| json::read_publish(&body.slice_ref(line), event)).collect();
    assert_eq!(entries.len(), alone.len());
    assert!(entries.iter().zip(&alone).all(|(line, alone)| line.as_ref().ok() == alone.as_ref().ok()));
    accepted(entries, body);
}

fn accepted(entries: Vec<Result<Draft>>, body: &Bytes) -> Vec<Draft> {
    entries.iter().filter_map(|entry| entry.as_ref().err()).for_each(refused);
    let drafts: Vec<_> = entries.into_iter().flatten().collect();
    drafts.iter().for_each(|draft| is_bounded(draft, body));
    drafts
}

fn acks(body: &Bytes) {
    match json::read_ack(body) {
        Err(error) => refused(&error),
        Ok(entries) => assert!(entries.iter().map(|entry| entry.ack_id.len()).sum::<usize>() <= body.len()),
    }
}

fn settings(body: &Bytes) {
    match json::read_config(body) {
        Err(error) => refused(&error),
        Ok(config) => {
            let written = json::to_bytes(&json::ConfigBody::from(&config));
            let again = json::read_config(&written);
            assert!(again.as_ref().is_ok_and(|again| *again == config), "{config:?} became {again:?}");
        }
    }
}
