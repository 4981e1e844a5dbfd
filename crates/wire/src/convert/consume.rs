//! `Consume`: subscribe, settle and pace on one stream.

use std::time::Duration;

use busgate_core::{AckKey, Error, Gap, Outbound, Result, SettleAction, SettleAnswer, SubscribeRequest};

use super::{
    message::{Received, numbered, read_gap, read_message, write_gap},
    settle::{read_keyed, read_result, write_keyed, write_results},
    subscribe::{subscribe, subscribe_request},
    time,
};
use crate::proto::event::v1::{
    ConsumeAck, ConsumeAckResults, ConsumeCredit, ConsumeLeave, ConsumeRequest, ConsumeResponse, Draining,
    Notice, consume_request, consume_response, notice,
};

/// A client's frame.
#[derive(Clone, Debug, PartialEq)]
pub enum ConsumeFrame {
    /// Starts the subscription.
    Subscribe(Box<SubscribeRequest>),
    /// Settles deliveries.
    Settle {
        /// The client's number for this frame; the answer repeats it.
        sequence: u64,
        /// What is to be settled.
        entries: Vec<(AckKey, SettleAction)>,
    },
    /// Allows this many more messages.
    Credit(u32),
    /// Ends the subscription, and lets go of nothing.
    Leave,
}

/// Reads a client's frame.
///
/// # Errors
/// `invalid` for an empty or malformed one; else as [`subscribe`].
pub fn consume(request: ConsumeRequest) -> Result<ConsumeFrame> {
    use consume_request::Frame;

    match request.frame {
        Some(Frame::Subscribe(request)) => Ok(ConsumeFrame::Subscribe(Box::new(subscribe(&request)?))),
        Some(Frame::Ack(ConsumeAck { sequence, entries })) => {
            Ok(ConsumeFrame::Settle { sequence, entries: read_keyed(entries)? })
        }
        Some(Frame::Credit(ConsumeCredit { messages })) => Ok(ConsumeFrame::Credit(messages)),
        Some(Frame::Leave(ConsumeLeave {})) => Ok(ConsumeFrame::Leave),
        None => Err(Error::invalid("the frame is empty")),
    }
}

/// Writes a client's frame.
#[must_use]
pub fn consume_frame(frame: ConsumeFrame) -> ConsumeRequest {
    use consume_request::Frame;

    let frame = match frame {
        ConsumeFrame::Subscribe(request) => Frame::Subscribe(subscribe_request(&request)),
        ConsumeFrame::Settle { sequence, entries } => {
            Frame::Ack(ConsumeAck { sequence, entries: entries.into_iter().map(write_keyed).collect() })
        }
        ConsumeFrame::Credit(messages) => Frame::Credit(ConsumeCredit { messages }),
        ConsumeFrame::Leave => Frame::Leave(ConsumeLeave {}),
    };
    ConsumeRequest { frame: Some(frame) }
}

/// Writes a message.
#[must_use]
pub fn consume_message(outbound: Outbound) -> ConsumeResponse {
    response(consume_response::Frame::Message(numbered(outbound)))
}

/// Writes a notice of messages that can't be replayed.
#[must_use]
pub fn consume_gap(gap: &Gap) -> ConsumeResponse {
    noticed(notice::Notice::Gap(write_gap(gap)))
}

/// Writes a notice that the server is going away.
#[must_use]
pub fn consume_draining(retry_after: Duration) -> ConsumeResponse {
    let retry_after = Some(time::write_duration(retry_after));
    noticed(notice::Notice::Draining(Draining { retry_after }))
}

/// Writes the answer to the ack frame that has this sequence: `ack_ids` (empty for a number) and `answers` in the order
/// of its entries.
#[must_use]
pub fn consume_acked(sequence: u64, ack_ids: Vec<String>, answers: Vec<SettleAnswer>) -> ConsumeResponse {
    let results = write_results(ack_ids.into_iter().zip(answers));
    response(consume_response::Frame::AckResults(ConsumeAckResults { sequence, results }))
}

fn noticed(notice: notice::Notice) -> ConsumeResponse {
    response(consume_response::Frame::Notice(Notice { notice: Some(notice) }))
}

const fn response(frame: consume_response::Frame) -> ConsumeResponse {
    ConsumeResponse { frame: Some(frame) }
}

/// A server's frame, as a client gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message.
    Message(Box<Received>),
    /// Messages that can't be replayed.
    Gap(Gap),
    /// The server is going away.
    Draining {
        /// When to come back.
        retry_after: Option<Duration>,
    },
    /// The answer to an ack frame.
    Settled {
        /// The sequence of that frame.
        sequence: u64,
        /// What its entries became, each with its ack id, in their order.
        answers: Vec<(String, SettleAnswer)>,
    },
}

/// Reads a server's frame; `None` for one that this version does not know.
///
/// # Errors
/// `invalid` for a malformed one.
pub fn read_consumed(response: ConsumeResponse) -> Result<Option<Frame>> {
    use consume_response::Frame as Written;

    let frame = match response.frame {
        Some(Written::Message(message)) => Frame::Message(Box::new(read_message(message)?)),
        Some(Written::Notice(Notice { notice: Some(notice::Notice::Gap(gap)) })) => {
            Frame::Gap(read_gap(&gap)?)
        }
        Some(Written::Notice(Notice { notice: Some(notice::Notice::Draining(draining)) })) => {
            Frame::Draining { retry_after: time::read_duration("retry_after", draining.retry_after)? }
        }
        Some(Written::AckResults(ConsumeAckResults { sequence, results })) => {
            let answers = results.into_iter().map(read_result).collect::<Result<_>>()?;
            Frame::Settled { sequence, answers }
        }
        Some(Written::Notice(Notice { notice: None })) | None => return Ok(None),
    };
    Ok(Some(frame))
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU64, sync::Arc};

    use busgate_core::{AckStatus, Cursor, Envelope, EventName, Message, MessageId, Pattern};
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    #[test]
    fn every_frame_of_a_client_arrives() {
        let subscription = SubscribeRequest::broadcast(Pattern::new("a.*").unwrap());
        let keys = [AckKey::Id("a".into()), AckKey::Number(NonZeroU64::MIN)];
        let entries = keys.map(|key| (key, SettleAction::Ack)).to_vec();
        for frame in [
            ConsumeFrame::Subscribe(Box::new(subscription)),
            ConsumeFrame::Settle { sequence: 7, entries },
            ConsumeFrame::Credit(3),
            ConsumeFrame::Leave,
        ] {
            let bytes = consume_frame(frame.clone()).encode_to_vec();
            assert_eq!(consume(ConsumeRequest::decode(&bytes[..]).unwrap()).unwrap(), frame);
        }
        assert!(consume(ConsumeRequest::default()).is_err());
    }

    fn read(response: &ConsumeResponse) -> Frame {
        let bytes = response.encode_to_vec();
        read_consumed(ConsumeResponse::decode(&bytes[..]).unwrap()).unwrap().unwrap()
    }

    #[test]
    fn every_frame_of_a_server_arrives() {
        let message = Arc::new(Message::new(MessageId::new("m").unwrap(), "x"));
        let (event, cursor) = (EventName::new("e").unwrap(), Cursor::new("c").unwrap());
        let envelope = Arc::new(Envelope::new(event, message, cursor.clone()));
        let number = NonZeroU64::new(3);
        let outbound = Outbound { envelope, attempt: 2, ack_id: Some("a".into()), number };
        let Frame::Message(received) = read(&consume_message(outbound)) else { panic!("no message") };
        assert_eq!((received.attempt, received.ack_id.as_deref(), received.number), (2, Some("a"), number));
        let gap = Gap { missed: None, cursor: Some(cursor) };
        assert_eq!(read(&consume_gap(&gap)), Frame::Gap(gap));
        let retry_after = Duration::from_millis(1500);
        let draining = Frame::Draining { retry_after: Some(retry_after) };
        assert_eq!(read(&consume_draining(retry_after)), draining);
        let answer = SettleAnswer { status: AckStatus::Acked, message: None };
        let settled = Frame::Settled { sequence: 9, answers: vec![("a".into(), answer.clone())] };
        assert_eq!(read(&consume_acked(9, vec!["a".into()], vec![answer])), settled);
    }

    proptest! {
        #[test]
        fn no_bytes_make_them_panic(bytes: Vec<u8>) {
            let _ = ConsumeRequest::decode(&bytes[..]).map(consume);
            let _ = ConsumeResponse::decode(&bytes[..]).map(read_consumed);
        }
    }
}
