//! gRPC answers, as a client gets them: read, written as the server does, read again.

use std::{fmt::Debug, sync::Arc, time::Duration};

use busgate_core::{Envelope, Error, ErrorKind, History, Outbound, Page, Result};
use busgate_wire::{
    convert::{self, Frame, Received},
    proto::event::v1 as proto,
    status,
};
use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status};

use crate::{input::Input, requests::decode};

type WireFrame = proto::ConsumeResponse;
type WireMessage = proto::Message;

/// The first byte says which answer the others are.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.byte();
    let bytes = input.rest();
    match kind % 12 {
        0 => same(bytes, |read| convert::read_events(&read), |infos| convert::events(infos)),
        1 => same(bytes, |read| convert::read_detail(&read), convert::detailed),
        2 => same(bytes, |read| convert::read_published(&read), convert::published),
        3 => settled(bytes, convert::read_batch_answer, |results| convert::batch_answer(results)),
        4 => settled(bytes, convert::read_streamed, |(at, result)| convert::streamed(*at, result)),
        5 => same(bytes, convert::read_acked, |answers| {
            let (ack_ids, answers) = answers.iter().cloned().unzip();
            convert::acked(ack_ids, answers)
        }),
        6 => same(bytes, |read| convert::read_consumed(read).map(timed), write_frame),
        7 => same(bytes, convert::read_message, write_message),
        8 => same(bytes, convert::read_described, convert::described),
        9 => page(bytes),
        10 => same(bytes, |read| Ok(convert::read_health(read)), convert::health),
        _ => status(bytes),
    }
}

/// What a client makes of an answer is what the server meant by it.
fn same<M, V>(bytes: &[u8], read: impl Fn(M) -> Result<V>, write: impl Fn(&V) -> M)
where
    M: Message + Default + PartialEq,
    V: Debug,
{
    let Some(message) = decode::<M>(bytes) else { return };
    match read(message) {
        Err(error) => malformed(&error),
        Ok(value) => {
            let again = decode(&write(&value).encode_to_vec()).map(&read);
            assert_eq!(format!("{again:?}"), format!("{:?}", Some(Ok::<_, Error>(value))));
        }
    }
}

/// An answer that is none is a bug of whoever sent it.
fn malformed(error: &Error) {
    assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Internal), "{error:?}");
    assert!(error.message().len() <= 1024, "{error:?}");
}

/// What was told once of each message is told the same way on: an error has its hint then, and no internals.
fn settled<M, V>(bytes: &[u8], read: impl Fn(M) -> V, write: impl Fn(&V) -> M)
where
    M: Message + Default + PartialEq,
    V: Debug,
{
    let told = |value: &V| decode(&write(value).encode_to_vec()).map(&read);
    let once = decode::<M>(bytes).map(&read).and_then(|value| told(&value));
    let twice = once.as_ref().and_then(told);
    assert_eq!(format!("{once:?}"), format!("{twice:?}"));
}

/// A server always says when to come back; one that does not may be asked at once.
fn timed(frame: Option<Frame>) -> Option<Frame> {
    match frame {
        Some(Frame::Draining { retry_after: None }) => {
            Some(Frame::Draining { retry_after: Some(Duration::ZERO) })
        }
        other => other,
    }
}

fn write_frame(frame: &Option<Frame>) -> WireFrame {
    match frame {
        None => WireFrame::default(),
        Some(Frame::Message(received)) => {
            // A gap has a frame of its own on this stream.
            assert_eq!(received.gap, None);
            convert::consume_message(outbound(received))
        }
        Some(Frame::Gap(gap)) => convert::consume_gap(gap),
        Some(Frame::Draining { retry_after }) => convert::consume_draining(retry_after.unwrap_or_default()),
        Some(Frame::Settled { sequence, answers }) => {
            let (ack_ids, answers) = answers.iter().cloned().unzip();
            convert::consume_acked(*sequence, ack_ids, answers)
        }
    }
}

fn write_message(received: &Received) -> WireMessage {
    convert::message(outbound(received), received.gap.as_ref())
}

fn outbound(received: &Received) -> Outbound {
    let Received { event, cursor, message, attempt, ack_id, number, .. } = received.clone();
    Outbound { envelope: Arc::new(Envelope::new(event, Arc::new(message), cursor)), attempt, ack_id, number }
}

/// A page tells of one event, which its reader knows: the messages' own word for it is checked, and left out.
fn page(bytes: &[u8]) {
    let Some(response) = decode::<proto::ReadMessagesResponse>(bytes) else { return };
    let page = match convert::read_history(response) {
        Err(error) => return malformed(&error),
        Ok(page) => page,
    };
    let Ok(event) = "orders".parse::<busgate_core::EventName>() else { return };
    let envelope = |(cursor, message)| Arc::new(Envelope::new(event.clone(), message, cursor));
    let told = format!("{page:?}");
    let Page { gap, messages, next, end } = page;
    let written = History { gap, messages: messages.into_iter().map(envelope).collect(), next, end };
    let again = decode(&convert::history_answer(&written).encode_to_vec()).map(convert::read_history);
    assert!(matches!(&again, Some(Ok(again)) if format!("{again:?}") == told), "{told} became {again:?}");
}

/// Whatever a status says, it is some error, and what it says is kept.
fn status(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let code = Code::from_i32(i32::from(input.byte() % 17));
    let message = input.text();
    let details = Bytes::copy_from_slice(input.rest());
    let error = status::from_grpc(&Status::with_details(code, message.as_ref(), details));
    let expected = Error::new(status::kind_of_grpc(code), message.as_ref());
    assert_eq!((error.kind(), error.message()), (expected.kind(), expected.message()));
}
