//! WebSocket frames in JSON.

mod members;
mod server;

use std::time::Duration;

use busgate_core::{AckMode, Error, EventName, Pattern, Result, SettleRequest};
use bytes::Bytes;
use serde::Deserialize;

use self::members::Members;
pub use self::server::write_server_frame;
use super::{Bounded, publish::PublishBody};
use crate::{
    frame::{BadFrame, ClientFrame, ClientRequest, MAX_REF_BYTES},
    query::SubscribeQuery,
    settle::Fields,
};

const KINDS: &str = "subscribe, unsubscribe, publish, ack, extend, ping";

/// Reads a client's frame. What it does not name is as in a query: manual acks and base64 payloads, among others.
///
/// # Errors
/// `invalid` for what is no frame, an unknown type or an unknown field; else as the request itself.
pub fn read_client_frame(frame: &Bytes) -> Result<ClientFrame, BadFrame> {
    let bad = |reference: Option<String>| move |error| BadFrame { reference, error };
    let mut members = Members::read(frame).map_err(bad(None))?;
    let reference = members.take_text("ref").and_then(checked_ref).map_err(bad(None))?;
    let request = read_request(members, reference.as_deref(), frame).map_err(bad(reference.clone()))?;
    Ok(ClientFrame { reference, request })
}

fn checked_ref(reference: Option<String>) -> Result<Option<String>> {
    match reference {
        Some(text) if text.len() > MAX_REF_BYTES => {
            Err(Error::invalid(format!("ref must have at most {MAX_REF_BYTES} bytes")))
        }
        other => Ok(other.filter(|text| !text.is_empty())),
    }
}

fn read_request(mut members: Members<'_>, reference: Option<&str>, frame: &Bytes) -> Result<ClientRequest> {
    let kind = members.take_text("type")?.unwrap_or_default();
    match kind.as_str() {
        "subscribe" => read_subscribe(members, reference),
        "unsubscribe" => {
            let UnsubscribeFrame { sub } = members.into_frame()?;
            Ok(ClientRequest::Unsubscribe { sub })
        }
        "publish" => read_publish(members, frame),
        "ack" => members.into_frame::<AckFrame>()?.into_request(),
        "extend" => members.into_frame::<ExtendFrame>()?.into_request(),
        "ping" => {
            let PingFrame {} = members.into_frame()?;
            Ok(ClientRequest::Ping)
        }
        _ => Err(Error::invalid(format!("type must be one of {KINDS}"))),
    }
}

fn read_subscribe(mut members: Members<'_>, reference: Option<&str>) -> Result<ClientRequest> {
    if reference.is_none() {
        return Err(Error::invalid("subscribe needs a ref"));
    }
    let target = Pattern::new(members.take_text("event")?.unwrap_or_default())?;
    let mut options = SubscribeQuery::default();
    for (key, value) in members.into_scalars()? {
        options.set(&key, &value)?;
    }
    let encoding = options.encoding();
    let request = Box::new(options.into_request(target, AckMode::Manual)?);
    Ok(ClientRequest::Subscribe { request, encoding })
}

fn read_publish(mut members: Members<'_>, frame: &Bytes) -> Result<ClientRequest> {
    let event = EventName::new(members.take_text("event")?.unwrap_or_default())?;
    let draft = members.into_frame::<PublishBody<'_>>()?.into_draft(&event, frame)?;
    Ok(ClientRequest::Publish { event, draft })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnsubscribeFrame {
    sub: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PingFrame {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AckFrame {
    ack_id: Option<String>,
    ack_ids: Option<Bounded<String>>,
    error: Option<String>,
    retry_after_ms: Option<u64>,
    terminate: Option<bool>,
}

impl AckFrame {
    fn into_request(self) -> Result<ClientRequest> {
        let fields = Fields {
            error: self.error.unwrap_or_default(),
            retry_after: self.retry_after_ms.map(Duration::from_millis),
            terminate: self.terminate.unwrap_or_default(),
            extend: None,
            release: None,
        };
        settle(self.ack_id, self.ack_ids, fields)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtendFrame {
    ack_id: Option<String>,
    ack_ids: Option<Bounded<String>>,
    extend_ms: u64,
}

impl ExtendFrame {
    fn into_request(self) -> Result<ClientRequest> {
        let extend = Some(Duration::from_millis(self.extend_ms));
        settle(self.ack_id, self.ack_ids, Fields { extend, ..Fields::default() })
    }
}

fn settle(one: Option<String>, many: Option<Bounded<String>>, fields: Fields) -> Result<ClientRequest> {
    let ack_ids = match (one, many.map(Bounded::into_entries).transpose()?) {
        (Some(ack_id), None) => vec![ack_id],
        (None, Some(ack_ids)) if !ack_ids.is_empty() => ack_ids,
        _ => return Err(Error::invalid("one of ack_id and ack_ids must be given")),
    };
    let action = fields.action()?;
    let request = |ack_id| SettleRequest { ack_id, action: action.clone() };
    Ok(ClientRequest::Settle(ack_ids.into_iter().map(request).collect()))
}

#[cfg(test)]
mod tests {
    use busgate_core::{Draft, ErrorKind, GroupName, Mode, Nack, SettleAction, Start};
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::Encoding;

    fn read(text: &str) -> Result<ClientFrame, BadFrame> {
        read_client_frame(&Bytes::copy_from_slice(text.as_bytes()))
    }

    fn settled(text: &str) -> Vec<(String, SettleAction)> {
        match read(text).unwrap().request {
            ClientRequest::Settle(entries) => {
                entries.into_iter().map(|entry| (entry.ack_id, entry.action)).collect()
            }
            other => panic!("not an ack: {other:?}"),
        }
    }

    #[test]
    fn the_seeds_own_frames_read_as_written() {
        let acked = settled(r#"{"type": "ack", "ack_id": "ack-123"}"#);
        assert_eq!(acked, [("ack-123".to_owned(), SettleAction::Ack)]);
        let nacked = settled(r#"{"type": "ack", "ack_id": "ack-456", "error": "processing failed"}"#);
        let nack = Nack { delay: None, error: Some("processing failed".into()) };
        assert_eq!(nacked, [("ack-456".to_owned(), SettleAction::Nack(nack))]);
    }

    #[test]
    fn acks_take_many_ids_and_delays() {
        let nack = SettleAction::Nack(Nack { delay: Some(Duration::from_millis(250)), error: None });
        let read = settled(r#"{"type":"ack","ack_ids":["a","b"],"retry_after_ms":250}"#);
        assert_eq!(read, [("a".to_owned(), nack.clone()), ("b".to_owned(), nack)]);
        let read = settled(r#"{"type":"extend","ack_id":"a","extend_ms":1500}"#);
        assert_eq!(read, [("a".to_owned(), SettleAction::Extend(Duration::from_millis(1500)))]);
    }

    #[test]
    fn a_subscription_takes_the_options_of_a_query() {
        let frame = r#"{"type":"subscribe","ref":"r1","event":"orders.>","delivery_mode":"worker_pool",
            "worker_group":"g","start_after":"c1","max_in_flight":7,"latest_only":true,"encoding":"json","ack_wait":"5s"}"#;
        let frame = read(frame).unwrap();
        assert_eq!(frame.reference.as_deref(), Some("r1"));
        let ClientRequest::Subscribe { request, encoding } = frame.request else { panic!("no subscription") };
        assert_eq!(encoding, Encoding::Json);
        assert_eq!(request.mode, Mode::WorkerPool { group: GroupName::new("g").unwrap() });
        assert_eq!(request.start, Start::After(busgate_core::Cursor::new("c1").unwrap()));
        assert_eq!((request.max_in_flight, request.latest_only), (Some(7), true));
        assert_eq!(request.ack_wait, Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_publish_carries_its_payload_without_a_copy() {
        let bytes = Bytes::from_static(br#"{"type":"publish","event":"orders","json":{"n":1}}"#);
        let frame = read_client_frame(&bytes).unwrap();
        let ClientRequest::Publish { event, draft } = frame.request else { panic!("no publish") };
        assert_eq!(event.as_str(), "orders");
        assert!(bytes.as_ptr_range().contains(&draft.payload.as_ptr()));
        let content_type = Some("application/json".into());
        assert_eq!(draft, Draft { payload: r#"{"n":1}"#.into(), content_type, ..Draft::default() });
    }

    #[test]
    fn a_bad_frame_keeps_its_ref_for_the_answer() {
        let bad = read(r#"{"type":"publish","ref":"r9","event":"no/name"}"#).unwrap_err();
        assert_eq!(bad.reference.as_deref(), Some("r9"));
        assert_eq!(bad.error.kind(), ErrorKind::Invalid);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bad in [
            "",
            "x",
            "[]",
            "{}",
            r#"{"type":"nack","ack_id":"a"}"#,
            r#"{"type":1}"#,
            r#"{"type":"ack"}"#,
            r#"{"type":"ack","ack_ids":[]}"#,
            r#"{"type":"ack","ack_id":"a","ack_ids":["b"]}"#,
            r#"{"type":"ack","ack_id":"a","retry_after":"1s"}"#,
            r#"{"type":"ack","ack_id":"a","retry_after_ms":-1}"#,
            r#"{"type":"ack","ack_id":"a","ack_id":"b"}"#,
            r#"{"type":"ack","type":"ping","ack_id":"a"}"#,
            r#"{"type":"extend","ack_id":"a"}"#,
            r#"{"type":"ping","now":true}"#,
            r#"{"type":"ping","ref":7}"#,
            r#"{"type":"subscribe","event":"a"}"#,
            r#"{"type":"subscribe","ref":"r"}"#,
            r#"{"type":"subscribe","ref":"r","event":"a","start_from":["beginning"]}"#,
            r#"{"type":"subscribe","ref":"r","event":"a","mode":"x"}"#,
            r#"{"type":"publish","payload":""}"#,
            r#"{"type":"unsubscribe"}"#,
        ] {
            assert_eq!(read(bad).unwrap_err().error.kind(), ErrorKind::Invalid, "{bad}");
        }
        let long = format!(r#"{{"type":"ping","ref":"{}"}}"#, "r".repeat(MAX_REF_BYTES + 1));
        assert!(read(&long).is_err());
    }

    #[test]
    fn options_of_a_later_version_are_refused_as_such() {
        let filtered = read(r#"{"type":"subscribe","ref":"r","event":"a","filter":"x"}"#).unwrap_err();
        assert_eq!(filtered.error.kind(), ErrorKind::Unsupported);
    }

    proptest! {
        #[test]
        fn no_frame_makes_it_panic(frame: Vec<u8>) {
            let _ = read_client_frame(&Bytes::from(frame));
        }

        #[test]
        fn no_member_makes_it_panic(
            kind in "subscribe|unsubscribe|publish|ack|extend|ping",
            key in "ref|event|ack_id|ack_ids|payload|json|text|start_from|sub|extend_ms|[a-z_]{1,9}",
            value: String,
            number: i64,
        ) {
            for value in [serde_json::Value::from(value), number.into()] {
                let mut frame = serde_json::json!({"type": kind, "ref": "r", "event": "a"});
                frame[&key] = value;
                let _ = read(&frame.to_string());
            }
        }
    }
}
