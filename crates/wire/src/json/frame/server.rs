//! The server's side: every frame but a message.

use busgate_core::{Effect, SettleAnswer};
use bytes::Bytes;
use serde::Serialize;

use crate::{
    frame::{ErrorFrame, Outcome, ServerFrame},
    json::to_bytes,
    status, time,
};

#[derive(Default, Serialize)]
struct Written<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ack_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Vec<WrittenResult<'a>>>,
}

#[derive(Serialize)]
struct WrittenResult<'a> {
    ack_id: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

/// Writes a frame other than a message.
#[must_use]
pub fn write_server_frame(frame: &ServerFrame) -> Bytes {
    to_bytes(&match frame {
        ServerFrame::Heartbeat => Written { kind: "heartbeat", ..Written::default() },
        ServerFrame::Error(error) => write_error(error),
        ServerFrame::Gap { sub, gap } => Written {
            kind: "gap",
            sub: sub.as_deref(),
            missed: gap.missed,
            cursor: gap.cursor.as_ref().map(busgate_core::Cursor::as_str),
            ..Written::default()
        },
        ServerFrame::Draining { retry_after } => Written {
            kind: "draining",
            retry_after_ms: Some(time::millis(*retry_after)),
            ..Written::default()
        },
        ServerFrame::Ok { reference, outcome } => write_ok(reference, outcome),
    })
}

fn write_error(frame: &ErrorFrame) -> Written<'_> {
    let error = &frame.error;
    Written {
        kind: "error",
        reference: frame.reference.as_deref(),
        sub: frame.sub.as_deref(),
        error: Some(status::shown(error)),
        code: Some(error.kind().as_str()),
        effect: (error.effect() == Effect::Unknown).then_some(Effect::Unknown.as_str()),
        ack_id: frame.ack_id.as_deref(),
        request_id: frame.request_id.as_deref(),
        retry_after_ms: status::retry_hint(error).map(time::millis),
        ..Written::default()
    }
}

fn write_ok<'a>(reference: &'a str, outcome: &'a Outcome) -> Written<'a> {
    let ok = Written { kind: "ok", reference: Some(reference), ..Written::default() };
    match outcome {
        Outcome::Done => ok,
        Outcome::Published(receipt) => Written {
            id: Some(receipt.id.as_str()),
            cursor: receipt.cursor.as_ref().map(busgate_core::Cursor::as_str),
            duplicate: Some(receipt.duplicate),
            ..ok
        },
        Outcome::Settled(answers) => {
            Written { results: Some(answers.iter().map(write_result).collect()), ..ok }
        }
    }
}

fn write_result((ack_id, answer): &(String, SettleAnswer)) -> WrittenResult<'_> {
    WrittenResult { ack_id, status: answer.status.as_str(), message: answer.message.as_deref() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use busgate_core::{AckStatus, Cursor, Error, Gap, MessageId, Receipt};

    use super::*;

    #[test]
    fn every_frame_is_written_as_the_contract_says() {
        let gap = Gap { missed: Some(3), cursor: Some(Cursor::new("c").unwrap()) };
        let receipt = Receipt { id: MessageId::new("m").unwrap(), cursor: None, duplicate: false };
        let answer = SettleAnswer { status: AckStatus::Stale, message: None };
        for (frame, expected) in [
            (ServerFrame::Heartbeat, r#"{"type":"heartbeat"}"#),
            (ServerFrame::Gap { sub: None, gap }, r#"{"type":"gap","missed":3,"cursor":"c"}"#),
            (
                ServerFrame::Gap { sub: Some("s".into()), gap: Gap { missed: None, cursor: None } },
                r#"{"type":"gap","sub":"s"}"#,
            ),
            (
                ServerFrame::Draining { retry_after: Duration::from_micros(1_500_001) },
                r#"{"type":"draining","retry_after_ms":1501}"#,
            ),
            (
                ServerFrame::Error(ErrorFrame::answer(Some("r".into()), Error::invalid("no"))),
                r#"{"type":"error","ref":"r","error":"no","code":"invalid"}"#,
            ),
            (ServerFrame::Ok { reference: "r".into(), outcome: Outcome::Done }, r#"{"type":"ok","ref":"r"}"#),
            (
                ServerFrame::Ok { reference: "r".into(), outcome: Outcome::Published(receipt) },
                r#"{"type":"ok","ref":"r","id":"m","duplicate":false}"#,
            ),
            (
                ServerFrame::Ok {
                    reference: "r".into(),
                    outcome: Outcome::Settled(vec![("a".into(), answer)]),
                },
                r#"{"type":"ok","ref":"r","results":[{"ack_id":"a","status":"stale"}]}"#,
            ),
        ] {
            assert_eq!(write_server_frame(&frame), expected);
        }
    }

    #[test]
    fn an_error_tells_what_a_retry_may_do_but_no_internals() {
        let error = Error::internal("secret").with_effect(Effect::Unknown);
        let frame = ErrorFrame { request_id: Some("r-1".into()), ..ErrorFrame::new(error) };
        let expected = r#"{"type":"error","error":"internal error","code":"internal","effect":"unknown","request_id":"r-1"}"#;
        assert_eq!(write_server_frame(&ServerFrame::Error(frame)), expected);
    }

    #[test]
    fn what_was_not_settled_is_told_even_unasked() {
        let answer = |status| SettleAnswer { status, message: None };
        for status in AckStatus::ALL {
            let told = ErrorFrame::unsettled("a", &answer(status)).is_some();
            let done = matches!(
                status,
                AckStatus::Acked
                    | AckStatus::Nacked
                    | AckStatus::Rejected
                    | AckStatus::Extended
                    | AckStatus::Released
            );
            assert_eq!(told, !done, "{status:?}");
        }
    }
}
