//! The laws of the conversation.

use std::sync::Arc;

use busgate_core::{
    AckStatus, Cursor, Envelope, EventName, Gap, Message, MessageId, Outbound, SettleAction, SettleAnswer,
};
use bytes::Bytes;
use serde_json::{Value, json};

use super::*;

const NO_SUB: Route = Route { sub: None, encoding: Encoding::Text };

fn session(purpose: Purpose) -> Session {
    Session::new(Dialect::Json, purpose, false, Some("r-1".into()))
}

fn one() -> Session {
    session(Purpose::One)
}

fn many() -> Session {
    session(Purpose::Many)
}

/// The JSON frames that wait to go out, and the control frames as their opcode.
fn written(session: &mut Session) -> Vec<Value> {
    let mut bytes = session.outbox.take_all();
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (header, length) = match bytes[1] {
            126 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
            short => (2, usize::from(short)),
        };
        let payload = bytes[header..header + length].to_vec();
        frames.push(match bytes[0] & 0x0f {
            1 => serde_json::from_slice(&payload).unwrap(),
            opcode => json!(opcode),
        });
        bytes.drain(..header + length);
    }
    session.flushed();
    frames
}

fn say(session: &mut Session, frame: &Value) {
    session.take(Incoming::Text(frame.to_string().into()));
}

fn say_raw(session: &mut Session, frame: &'static str) {
    session.take(Incoming::Text(Bytes::from_static(frame.as_bytes())));
}

fn message(payload: &'static str, ack_id: Option<&str>) -> Outgoing {
    let message = Arc::new(Message::new(MessageId::new("m").unwrap(), payload));
    let (event, cursor) = (EventName::new("e").unwrap(), Cursor::new("c").unwrap());
    let envelope = Arc::new(Envelope::new(event, message, cursor));
    Outgoing::Message(Outbound { envelope, attempt: 1, ack_id: ack_id.map(Into::into), number: None })
}

fn code(session: &Session) -> Option<u16> {
    match session.parting()? {
        Parting::Close(close) => Some(close.code),
        Parting::Gone => None,
    }
}

#[test]
fn a_message_goes_out_with_what_is_its_subscribers_own() {
    let mut session = many();
    let route = Route { sub: Some("s".into()), encoding: Encoding::Text };
    assert!(session.deliver(&route, message("hi", Some("a-1"))));
    let frames = written(&mut session);
    assert_eq!(frames[0]["payload"], "hi");
    assert_eq!((&frames[0]["sub"], &frames[0]["ack_id"]), (&json!("s"), &json!("a-1")));
}

#[test]
fn a_shared_message_is_not_copied() {
    let mut session = one();
    let Outgoing::Message(outbound) = message("hi", None) else { unreachable!() };
    session.deliver(&NO_SUB, Outgoing::Message(outbound.clone()));
    let shared = busgate_wire::json::socket_message(&outbound, Encoding::Text, None).into_bytes();
    assert!(session.outbox.holds(&shared));
}

#[test]
fn a_gap_is_told() {
    let mut session = one();
    let gap = Gap { missed: Some(7), cursor: Some(Cursor::new("c").unwrap()) };
    assert!(session.deliver(&NO_SUB, Outgoing::Gap(gap)));
    assert_eq!(written(&mut session), [json!({"type": "gap", "missed": 7, "cursor": "c"})]);
}

#[test]
fn an_ack_waits_for_the_gateway_and_is_answered_when_it_has_a_ref() {
    let mut session = one();
    say(&mut session, &json!({"type": "ack", "ref": "a", "ack_ids": ["x", "y"]}));
    assert!(session.outbox.is_empty());
    let frame = session.backlog.take_settles().remove(0);
    let answer = |status| SettleAnswer { status, message: None };
    session.settled(frame, Ok(vec![answer(AckStatus::Acked), answer(AckStatus::Stale)]));
    let results = json!([{"ack_id": "x", "status": "acked"}, {"ack_id": "y", "status": "stale"}]);
    assert_eq!(written(&mut session), [json!({"type": "ok", "ref": "a", "results": results})]);
}

#[test]
fn an_ack_without_a_ref_is_answered_only_for_what_was_not_settled() {
    let mut session = one();
    say(&mut session, &json!({"type": "ack", "ack_ids": ["x", "y"]}));
    let frame = session.backlog.take_settles().remove(0);
    let answer = |status| SettleAnswer { status, message: None };
    session.settled(frame, Ok(vec![answer(AckStatus::Acked), answer(AckStatus::NotOwner)]));
    let frames = written(&mut session);
    assert_eq!(frames.len(), 1);
    assert_eq!((&frames[0]["ack_id"], &frames[0]["code"]), (&json!("y"), &json!("denied")));
}

#[test]
fn a_refused_ack_names_its_delivery() {
    let mut session = one();
    say(&mut session, &json!({"type": "ack", "ack_id": "forged"}));
    let frame = session.backlog.take_settles().remove(0);
    session.settled(frame, Err(Error::invalid("no entry has a valid ack_id")));
    let frames = written(&mut session);
    assert_eq!((&frames[0]["ack_id"], &frames[0]["code"]), (&json!("forged"), &json!("invalid")));
}

#[test]
fn every_verb_of_the_client_is_understood() {
    let mut session = one();
    for frame in [
        json!({"type": "ack", "ack_id": "a"}),
        json!({"type": "ack", "ack_id": "a", "error": "no", "retry_after_ms": 5}),
        json!({"type": "ack", "ack_id": "a", "error": "never", "terminate": true}),
        json!({"type": "extend", "ack_id": "a", "extend_ms": 5000}),
    ] {
        say(&mut session, &frame);
    }
    let mut actions = Vec::new();
    while let [first, ..] = session.backlog.take_settles().as_slice() {
        actions.push(std::mem::discriminant(&first.entries[0].action));
    }
    assert!(session.outbox.is_empty());
    let extend = std::mem::discriminant(&SettleAction::Extend(Duration::ZERO));
    assert_eq!(actions, [std::mem::discriminant(&SettleAction::Ack), extend]);
}

#[test]
fn malformed_frames_are_answered_and_then_close_the_socket() {
    let mut session = one();
    for _ in 1..MOST_BAD_FRAMES {
        say_raw(&mut session, "{");
        assert_eq!(written(&mut session)[0]["code"], "invalid");
        assert_eq!(session.parting(), None);
    }
    say_raw(&mut session, "[]");
    let close = Close::error(&Error::invalid("too many malformed frames"));
    assert_eq!(session.parting(), Some(&Parting::Close(close)));
}

#[test]
fn a_malformed_frame_leaves_the_acks_around_it_alone() {
    let mut session = one();
    say(&mut session, &json!({"type": "ack", "ack_id": "a"}));
    say(&mut session, &json!({"type": "ack", "ack_id": 7}));
    say(&mut session, &json!({"type": "ack", "ack_id": "b"}));
    let settled: Vec<_> =
        session.backlog.take_settles().iter().map(|settle| settle.entries[0].ack_id.clone()).collect();
    assert_eq!(settled, ["a", "b"]);
}

#[test]
fn a_socket_of_one_subscription_takes_no_other_requests() {
    for frame in [
        json!({"type": "subscribe", "ref": "r", "event": "e"}),
        json!({"type": "unsubscribe", "ref": "r", "sub": "s"}),
        json!({"type": "publish", "ref": "r", "event": "e", "text": "x"}),
    ] {
        let mut session = one();
        say(&mut session, &frame);
        assert_eq!(written(&mut session)[0]["code"], "invalid");
        assert!(session.backlog.is_empty());
    }
}

#[test]
fn binary_on_a_json_socket_is_answered_as_malformed() {
    let mut session = one();
    session.take(Incoming::Binary(Bytes::from_static(b"\x01")));
    assert_eq!(written(&mut session)[0]["code"], "invalid");
}

#[test]
fn a_ping_frame_is_answered_at_once_and_so_is_a_ping() {
    let mut session = many();
    say(&mut session, &json!({"type": "ping", "ref": "p"}));
    session.take(Incoming::Ping(Bytes::from_static(b"x")));
    assert_eq!(written(&mut session), [json!({"type": "ok", "ref": "p"}), json!(10)]);
}

#[test]
fn a_name_can_be_used_once_at_a_time() {
    let mut session = many();
    let subscribe = json!({"type": "subscribe", "ref": "s", "event": "e"});
    say(&mut session, &subscribe);
    assert!(session.backlog.take_ask().is_some());
    say(&mut session, &subscribe);
    assert_eq!(written(&mut session)[0]["code"], "exists");
    session.subscribed("s".into(), Err(Error::not_found("no such event")));
    assert_eq!(written(&mut session)[0]["ref"], "s");
    say(&mut session, &subscribe);
    assert!(session.backlog.take_ask().is_some());
}

#[test]
fn the_number_of_subscriptions_is_bounded() {
    let mut session = many();
    for n in 0..=MOST_SUBSCRIPTIONS {
        say(&mut session, &json!({"type": "subscribe", "ref": n.to_string(), "event": "e"}));
    }
    assert_eq!(written(&mut session)[0]["code"], "exhausted");
}

#[test]
fn one_ended_subscription_of_many_leaves_the_socket_open() {
    let mut session = many();
    say(&mut session, &json!({"type": "subscribe", "ref": "s", "event": "e"}));
    let route = Route { sub: Some("s".into()), encoding: Encoding::Text };
    assert!(!session.deliver(&route, Outgoing::End(End::Closed)));
    let frames = written(&mut session);
    assert_eq!((&frames[0]["sub"], &frames[0]["code"]), (&json!("s"), &json!("closed")));
    assert_eq!(session.parting(), None);
    assert!(!session.unsubscribed(Some("u".into()), "s"));
    assert_eq!(written(&mut session)[0]["code"], "not_found");
}

#[test]
fn the_only_subscription_ends_the_socket_with_the_code_of_its_end() {
    let retry_after = Duration::from_secs(1);
    for (end, expected) in [
        (End::Closed, Close::error(&End::Closed.error())),
        (End::SlowConsumer, Close::slow()),
        (End::Drained { retry_after }, Close::draining()),
        (End::Failed(Error::unavailable("gone")), Close::error(&Error::unavailable("gone"))),
    ] {
        let mut session = one();
        assert!(!session.deliver(&NO_SUB, Outgoing::End(end)));
        assert_eq!(session.parting(), Some(&Parting::Close(expected)));
    }
}

#[test]
fn an_internal_error_names_the_request_and_nothing_else() {
    let mut session = one();
    session.deliver(&NO_SUB, Outgoing::End(End::Failed(Error::internal("secret"))));
    let frames = written(&mut session);
    assert_eq!((&frames[0]["error"], &frames[0]["request_id"]), (&json!("internal error"), &json!("r-1")));
}

#[test]
fn a_drain_is_told_once_and_ends_the_socket_when_nothing_is_left() {
    let mut session = many();
    say(&mut session, &json!({"type": "publish", "event": "e", "text": "x"}));
    session.drain(Duration::from_secs(2));
    session.drain(Duration::from_secs(3));
    assert_eq!(written(&mut session), [json!({"type": "draining", "retry_after_ms": 2000})]);
    session.rest(false);
    assert_eq!(session.parting(), None);
    assert!(session.backlog.take_ask().is_some());
    session.rest(true);
    assert_eq!(session.parting(), None);
    session.rest(false);
    assert_eq!(session.parting(), Some(&Parting::Close(Close::draining())));
}

#[test]
fn a_silent_socket_gets_heartbeats_and_pings_and_then_counts_as_gone() {
    let mut session = one();
    session.tick();
    assert_eq!(written(&mut session), [json!(9)]);
    session.heard();
    session.tick();
    assert_eq!(written(&mut session), [json!({"type": "heartbeat"}), json!(9)]);
    session.tick();
    assert_eq!(session.parting(), None);
    session.tick();
    assert_eq!(session.parting(), Some(&Parting::Gone));
}

#[test]
fn a_socket_that_is_busy_gets_no_heartbeat() {
    let mut session = one();
    session.tick();
    written(&mut session);
    session.heard();
    session.deliver(&NO_SUB, message("x", None));
    written(&mut session);
    session.tick();
    assert_eq!(written(&mut session), [json!(9)]);
}

#[test]
fn a_client_that_floods_and_does_not_read_is_not_read_from() {
    let mut session = one();
    while session.can_read() {
        session.take(Incoming::Ping(Bytes::from_static(&[0; 125])));
    }
    assert!(session.outbox.bytes() < MOST_ANSWER_BYTES + 200);
    written(&mut session);
    assert!(session.can_read());
}

#[test]
fn messages_that_wait_keep_no_ack_from_being_read() {
    let mut session = one();
    for _ in 0..10_000 {
        session.deliver(&NO_SUB, message("a message that is not read", None));
    }
    assert!(session.can_read());
}

#[test]
fn a_close_is_echoed_and_ends_the_conversation() {
    for (sent, answered) in [(None, 1000), (Some(1000), 1000), (Some(4001), 4001)] {
        let mut session = one();
        session.take(Incoming::Close(sent));
        say(&mut session, &json!({"type": "ack", "ack_id": "late"}));
        assert_eq!(code(&session), Some(answered));
        assert!(session.backlog.is_empty());
    }
}

#[test]
fn a_violation_closes_with_its_code() {
    for (violation, expected) in
        [(Violation::Protocol("why"), 1002), (Violation::NotText, 1007), (Violation::TooLarge, 1009)]
    {
        let mut session = one();
        session.violated(violation);
        assert_eq!(code(&session), Some(expected));
    }
}
