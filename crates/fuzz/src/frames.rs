//! A WebSocket's bytes: frames (RFC 6455, RFC 7692), then the two subprotocols, then the conversation.

use busgate::fuzzing::Conversation;
use busgate_core::ErrorKind;
use busgate_wire::proto::busgate::ws::v1::ServerFrame;
use serde_json::Value;

use crate::{errors::closes, input::Input, requests::decode};

/// The largest message of a client.
const LIMIT: usize = 64 * 1024;

const SCRIPTED: u8 = 1;
const PROTO: u8 = 1 << 1;
const MANY: u8 = 1 << 2;
const DEFLATES: u8 = 1 << 3;

/// The first byte says what conversation it is, the next where reads are cut. The others are what comes from the
/// client: its very bytes, or a script of frames that are masked and measured here.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (flags, cut) = (input.byte(), input.byte());
    let sent = if flags & SCRIPTED == 0 { input.rest().to_vec() } else { script(input) };
    let open = || Conversation::new(flags & PROTO != 0, flags & MANY != 0, flags & DEFLATES != 0, LIMIT);
    let mut whole = open();
    whole.take(&sent);
    let mut split = open();
    sent.chunks(usize::from(cut).max(1)).for_each(|part| split.take(part));
    let answers = whole.take_answers();
    assert_eq!(split.take_answers(), answers, "cut every {cut} bytes");
    assert_eq!(split.take_work(), whole.take_work());
    assert_eq!(split.close(), whole.close());
    whole.close().into_iter().for_each(closes);
    assert!(answers.len() <= 64 * sent.len() + 64 * 1024, "{} bytes for {}", answers.len(), sent.len());
    are_frames(&answers, flags & PROTO != 0);
}

/// Frames as a client writes them: for each a first byte and a payload.
fn script(mut input: Input<'_>) -> Vec<u8> {
    let mut sent = Vec::new();
    while !input.is_empty() {
        let first = input.byte();
        let long = input.byte() == 255;
        let piece = input.piece();
        let payload = if long { piece.repeat(16) } else { piece.to_vec() };
        let mask = [0x11, 0x22, 0x33, first];
        sent.push(first);
        match u16::try_from(payload.len()) {
            Ok(short @ ..=125) => sent.push(0x80 | u8::try_from(short).unwrap_or_default()),
            Ok(medium) => {
                sent.push(0x80 | 126);
                sent.extend(medium.to_be_bytes());
            }
            Err(_) => return sent,
        }
        sent.extend(mask);
        sent.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
    sent
}

/// Every answer is a whole frame of the subprotocol, unmasked.
fn are_frames(mut answers: &[u8], proto: bool) {
    while let [first, length, rest @ ..] = answers {
        let (length, rest) = match (length, rest) {
            (126, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            (length, rest) => (usize::from(*length), rest),
        };
        let Some((payload, after)) = rest.split_at_checked(length) else { break };
        match first {
            0x8a => assert!(length <= 125),
            0x81 if !proto => is_json(payload),
            0x82 if proto => assert!(decode::<ServerFrame>(payload).is_some()),
            other => assert_eq!(*other, 0x8a, "no frame of an answer"),
        }
        answers = after;
    }
    assert!(answers.is_empty(), "half a frame: {answers:?}");
}

fn is_json(payload: &[u8]) {
    let frame: Value = serde_json::from_slice(payload).unwrap_or_default();
    let text = |name: &str| frame.get(name).and_then(Value::as_str);
    match text("type") {
        Some("ok") => assert!(text("ref").is_some()),
        kind => {
            assert_eq!(kind, Some("error"));
            let known = text("code").and_then(ErrorKind::from_name);
            assert!(known.is_some_and(|kind| kind != ErrorKind::Internal), "{frame}");
            assert!(text("error").is_some_and(|error| (1..=1024).contains(&error.len())), "{frame}");
        }
    }
}
