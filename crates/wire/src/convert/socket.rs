//! WebSocket frames in protobuf: the subprotocol `busgate.v1.proto`.

use busgate_core::{Error, Gap, Outbound, Result};
use bytes::Bytes;
use prost::Message as _;

use super::{
    message::{message, write_gap},
    publish::{publish, published},
    settle::{read_entries, write_results},
    subscribe::subscribe,
    time,
};
use crate::{
    encoding::Encoding,
    frame::{BadFrame, ClientFrame, ClientRequest, ErrorFrame, MAX_REF_BYTES, Outcome, ServerFrame},
    proto::{
        busgate::ws::v1::{
            ClientFrame as WireClientFrame, Error as WireError, Heartbeat, Ok as WireOk,
            ServerFrame as WireServerFrame, client_frame, server_frame,
        },
        event::v1::Draining,
    },
    status,
};

/// Reads a client's frame.
///
/// # Errors
/// `invalid` for what is no frame; else as the request itself.
pub fn read_client_frame(frame: &Bytes) -> Result<ClientFrame, BadFrame> {
    let malformed = |_| BadFrame { reference: None, error: Error::invalid("not a frame") };
    let frame = WireClientFrame::decode(frame.clone()).map_err(malformed)?;
    if frame.r#ref.len() > MAX_REF_BYTES {
        let error = Error::invalid(format!("ref must have at most {MAX_REF_BYTES} bytes"));
        return Err(BadFrame { reference: None, error });
    }
    let reference = super::filled(frame.r#ref);
    match read_request(frame.frame, reference.is_some()) {
        Ok(request) => Ok(ClientFrame { reference, request }),
        Err(error) => Err(BadFrame { reference, error }),
    }
}

fn read_request(frame: Option<client_frame::Frame>, named: bool) -> Result<ClientRequest> {
    match frame {
        Some(client_frame::Frame::Subscribe(_)) if !named => Err(Error::invalid("subscribe needs a ref")),
        Some(client_frame::Frame::Subscribe(request)) => {
            let request = Box::new(subscribe(&request)?);
            Ok(ClientRequest::Subscribe { request, encoding: Encoding::default() })
        }
        Some(client_frame::Frame::Unsubscribe(unsubscribe)) => {
            Ok(ClientRequest::Unsubscribe { sub: unsubscribe.sub })
        }
        Some(client_frame::Frame::Publish(request)) => {
            let (event, draft) = publish(request)?;
            Ok(ClientRequest::Publish { event, draft })
        }
        Some(client_frame::Frame::Ack(request)) => Ok(ClientRequest::Settle(read_entries(request.entries)?)),
        Some(client_frame::Frame::Ping(_)) => Ok(ClientRequest::Ping),
        None => Err(Error::invalid("the frame is empty, or of a type that is not known")),
    }
}

/// Writes a message; `sub` names its subscription on a socket that has many.
#[must_use]
pub fn socket_message(outbound: &Outbound, sub: Option<&str>) -> Bytes {
    encode(sub, server_frame::Frame::Message(message(outbound.clone(), None)))
}

/// Writes a frame other than a message.
#[must_use]
pub fn write_server_frame(frame: &ServerFrame) -> Bytes {
    match frame {
        ServerFrame::Heartbeat => encode(None, server_frame::Frame::Heartbeat(Heartbeat {})),
        ServerFrame::Error(error) => {
            encode(error.sub.as_deref(), server_frame::Frame::Error(write_error(error)))
        }
        ServerFrame::Gap { sub, gap } => encode_gap(sub.as_deref(), gap),
        ServerFrame::Draining { retry_after } => {
            let retry_after = Some(time::write_duration(*retry_after));
            encode(None, server_frame::Frame::Draining(Draining { retry_after }))
        }
        ServerFrame::Ok { reference, outcome } => {
            encode(None, server_frame::Frame::Ok(write_ok(reference, outcome)))
        }
    }
}

fn encode(sub: Option<&str>, frame: server_frame::Frame) -> Bytes {
    let sub = sub.map(ToOwned::to_owned).unwrap_or_default();
    WireServerFrame { sub, frame: Some(frame) }.encode_to_vec().into()
}

fn encode_gap(sub: Option<&str>, gap: &Gap) -> Bytes {
    encode(sub, server_frame::Frame::Gap(write_gap(gap)))
}

fn write_error(frame: &ErrorFrame) -> WireError {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    WireError {
        r#ref: text(&frame.reference),
        code: frame.error.kind().as_str().into(),
        error: status::shown(&frame.error).into(),
        ack_id: text(&frame.ack_id),
        retry_after: status::retry_hint(&frame.error).map(time::write_duration),
        request_id: text(&frame.request_id),
        effect: frame.error.effect().as_str().into(),
    }
}

fn write_ok(reference: &str, outcome: &Outcome) -> WireOk {
    let ok = WireOk { r#ref: reference.into(), ..WireOk::default() };
    match outcome {
        Outcome::Done => ok,
        Outcome::Published(receipt) => WireOk { published: Some(published(receipt)), ..ok },
        Outcome::Settled(answers) => WireOk { results: write_results(answers.iter().cloned()), ..ok },
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use busgate_core::{
        AckStatus, Cursor, Draft, Envelope, ErrorKind, EventName, Message, MessageId, Pattern, Receipt,
        SettleAction, SettleAnswer, SettleRequest, SubscribeRequest,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::{
        convert::{ack_request, publish_request, read_message, subscribe_request},
        proto::busgate::ws::v1::{Ping, Unsubscribe},
    };

    fn read(reference: &str, frame: Option<client_frame::Frame>) -> Result<ClientFrame, BadFrame> {
        let frame = WireClientFrame { r#ref: reference.into(), frame };
        read_client_frame(&frame.encode_to_vec().into())
    }

    #[test]
    fn every_frame_of_a_client_arrives() {
        let subscription = SubscribeRequest::broadcast(Pattern::new("a.*").unwrap());
        let event = EventName::new("a").unwrap();
        let draft = Draft { payload: "x".into(), ..Draft::default() };
        let ack = SettleRequest { ack_id: "a".into(), action: SettleAction::Ack };
        let subscribe =
            ClientRequest::Subscribe { request: Box::new(subscription.clone()), encoding: Encoding::Base64 };
        for (frame, request) in [
            (client_frame::Frame::Subscribe(subscribe_request(&subscription)), subscribe),
            (
                client_frame::Frame::Unsubscribe(Unsubscribe { sub: "s".into() }),
                ClientRequest::Unsubscribe { sub: "s".into() },
            ),
            (
                client_frame::Frame::Publish(publish_request(&event, draft.clone())),
                ClientRequest::Publish { event, draft },
            ),
            (client_frame::Frame::Ack(ack_request([ack.clone()])), ClientRequest::Settle(vec![ack])),
            (client_frame::Frame::Ping(Ping {}), ClientRequest::Ping),
        ] {
            let read = read("r", Some(frame)).unwrap();
            assert_eq!(read, ClientFrame { reference: Some("r".into()), request });
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert_eq!(read("r", None).unwrap_err().reference.as_deref(), Some("r"));
        let anonymous = client_frame::Frame::Subscribe(subscribe_request(&SubscribeRequest::broadcast(
            Pattern::new("a").unwrap(),
        )));
        assert_eq!(read("", Some(anonymous)).unwrap_err().error.kind(), ErrorKind::Invalid);
        let ping = || Some(client_frame::Frame::Ping(Ping {}));
        assert!(read(&"r".repeat(MAX_REF_BYTES + 1), ping()).is_err());
        assert!(read_client_frame(&Bytes::from_static(b"\xff")).is_err());
    }

    #[test]
    fn a_message_carries_its_subscription() {
        let message = Arc::new(Message::new(MessageId::new("m").unwrap(), "x"));
        let (event, cursor) = (EventName::new("e").unwrap(), Cursor::new("c").unwrap());
        let envelope = Arc::new(Envelope::new(event, message, cursor));
        let bytes = socket_message(
            &Outbound { envelope, attempt: 1, ack_id: Some("a".into()), number: None },
            Some("s"),
        );
        let frame = WireServerFrame::decode(bytes).unwrap();
        assert_eq!(frame.sub, "s");
        let Some(server_frame::Frame::Message(message)) = frame.frame else { panic!("no message") };
        assert_eq!(read_message(message).unwrap().ack_id.as_deref(), Some("a"));
    }

    #[test]
    fn frames_say_what_their_json_twins_say() {
        let wire = |frame| WireServerFrame::decode(write_server_frame(&frame)).unwrap().frame.unwrap();
        assert_eq!(wire(ServerFrame::Heartbeat), server_frame::Frame::Heartbeat(Heartbeat {}));
        let error = Error::internal("secret").with_retry_after(Duration::from_secs(1));
        let server_frame::Frame::Error(error) =
            wire(ServerFrame::Error(ErrorFrame::answer(Some("r".into()), error)))
        else {
            panic!("no error")
        };
        let said = (error.r#ref.as_str(), error.code.as_str(), error.error.as_str(), error.effect.as_str());
        assert_eq!(said, ("r", "internal", "internal error", "none"));
        let receipt = Receipt { id: MessageId::new("m").unwrap(), cursor: None, duplicate: true };
        let answer = SettleAnswer { status: AckStatus::Stale, message: None };
        for (outcome, expected) in [
            (Outcome::Done, WireOk::default()),
            (
                Outcome::Published(receipt.clone()),
                WireOk { published: Some(published(&receipt)), ..WireOk::default() },
            ),
            (
                Outcome::Settled(vec![("a".into(), answer.clone())]),
                WireOk { results: write_results([("a".into(), answer)]), ..WireOk::default() },
            ),
        ] {
            let ok = wire(ServerFrame::Ok { reference: "r".into(), outcome });
            assert_eq!(ok, server_frame::Frame::Ok(WireOk { r#ref: "r".into(), ..expected }));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = read_client_frame(&bytes.into());
        }
    }
}
