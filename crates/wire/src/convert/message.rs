//! Delivered messages.

use std::num::NonZeroU64;

use busgate_core::{Cursor, Envelope, Error, EventName, Gap, Message, MessageId, Outbound, Result};
use bytes::Bytes;

use super::{filled, place, place_text, time};
use crate::{
    encoding::EncodingSlot,
    proto::event::v1::{self as proto, OwnFields, SharedFields},
};

/// Writes a message; `gap` is what could not be had right before it, on a stream that has no other frame for it.
///
/// What all subscribers share is encoded once and kept in the envelope.
#[must_use]
pub fn message(outbound: Outbound, gap: Option<&Gap>) -> proto::Message {
    written(outbound, gap, None)
}

/// Writes a message of a stream on which it settles by its number as well.
pub(super) fn numbered(outbound: Outbound) -> proto::Message {
    let number = outbound.number;
    written(outbound, None, number)
}

fn written(outbound: Outbound, gap: Option<&Gap>, number: Option<NonZeroU64>) -> proto::Message {
    let shared = outbound.envelope.encoded(EncodingSlot::Proto.index(), shared);
    let own = OwnFields {
        retry_count: i32::try_from(outbound.attempt.saturating_sub(1)).unwrap_or(i32::MAX),
        ack_id: outbound.ack_id.unwrap_or_default(),
        gap: gap.map(|gap| Box::new(write_gap(gap))),
        number: number.map_or(0, NonZeroU64::get),
    };
    proto::Message::from_parts(shared, own)
}

fn shared(envelope: &Envelope) -> Bytes {
    let message = &envelope.message;
    proto::Message::encode_shared(SharedFields {
        id: message.id.as_str(),
        source: &message.source,
        payload: &message.payload,
        metadata: &message.metadata,
        timestamp: time::write_time(message.timestamp),
        event: envelope.event.as_str(),
        cursor: envelope.cursor.as_str(),
        key: message.key.as_deref().unwrap_or_default(),
        content_type: message.content_type.as_deref().unwrap_or_default(),
    })
}

/// Writes a gap.
pub(super) fn write_gap(gap: &Gap) -> proto::Gap {
    proto::Gap { missed: gap.missed, cursor: place_text(gap.cursor.as_ref()) }
}

/// Reads a gap.
///
/// # Errors
/// `invalid` when its cursor is none.
pub(super) fn read_gap(gap: &proto::Gap) -> Result<Gap> {
    Ok(Gap { missed: gap.missed, cursor: place(&gap.cursor)? })
}

/// A message as a client gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The event it is in.
    pub event: EventName,
    /// Its place in the event.
    pub cursor: Cursor,
    /// The message.
    pub message: Message,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// What it is settled by, if there is anything to settle.
    pub ack_id: Option<String>,
    /// Which delivery of its stream it is, where it settles by that as well.
    pub number: Option<NonZeroU64>,
    /// What could not be had right before it.
    pub gap: Option<Gap>,
}

/// Reads a message.
///
/// # Errors
/// `invalid` when it is none of busgate's: without an id, an event or a cursor.
pub fn read_message(message: proto::Message) -> Result<Received> {
    let fields = message.into_fields().map_err(|error| Error::invalid("not a message").with_source(error))?;
    let timestamp = fields.timestamp.map(|at| time::read_time("timestamp", at)).transpose()?;
    Ok(Received {
        event: EventName::new(&fields.event)?,
        cursor: Cursor::new(&fields.cursor)?,
        attempt: u32::try_from(fields.retry_count).unwrap_or_default().saturating_add(1),
        ack_id: filled(fields.ack_id),
        number: NonZeroU64::new(fields.number),
        gap: fields.gap.as_ref().map(read_gap).transpose()?,
        message: Message {
            id: MessageId::new(&fields.id)?,
            source: fields.source,
            payload: fields.payload,
            metadata: fields.metadata,
            timestamp: timestamp.unwrap_or_default(),
            key: filled(fields.key),
            content_type: filled(fields.content_type),
        },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use busgate_core::Timestamp;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::proto::event::v1::MessageFields;

    fn outbound(message: Message) -> Outbound {
        let (event, cursor) = (EventName::new("orders").unwrap(), Cursor::new("c1").unwrap());
        Outbound {
            envelope: Arc::new(Envelope::new(event, Arc::new(message), cursor)),
            attempt: 1,
            ack_id: None,
            number: None,
        }
    }

    fn through_the_wire(message: &proto::Message) -> Received {
        let bytes = message.encode_to_vec();
        assert_eq!(bytes.len(), message.encoded_len());
        read_message(proto::Message::decode(&bytes[..]).unwrap()).unwrap()
    }

    #[test]
    fn parts_read_back_as_one_message() {
        let mut full = Message::new(MessageId::new("m").unwrap(), "payload");
        full.source = "s".into();
        full.metadata = [("K".to_owned(), "v".to_owned())].into();
        full.timestamp = Timestamp::from_nanos(-1_500_000_001);
        full.key = Some("k".into());
        full.content_type = Some("a/b".into());
        let outbound = Outbound { attempt: 4, ack_id: Some("a".into()), ..outbound(full.clone()) };
        let gap = Gap { missed: Some(2), cursor: Some(Cursor::new("c0").unwrap()) };
        let received = through_the_wire(&message(outbound, Some(&gap)));
        let expected = Received {
            event: EventName::new("orders").unwrap(),
            cursor: Cursor::new("c1").unwrap(),
            message: full,
            attempt: 4,
            ack_id: Some("a".into()),
            number: None,
            gap: Some(gap),
        };
        assert_eq!(received, expected);
    }

    #[test]
    fn a_message_that_was_never_sent_reads_as_well() {
        let received = read_message(message(outbound(Message::new(MessageId::new("m").unwrap(), "x")), None));
        assert_eq!(received.unwrap().message.payload, "x");
    }

    #[test]
    fn the_shared_part_is_encoded_once() {
        let one = outbound(Message::new(MessageId::new("m").unwrap(), "x"));
        let kept = || one.envelope.encoded(EncodingSlot::Proto.index(), |_| Bytes::new());
        let _ = message(one.clone(), None);
        let fields = MessageFields {
            id: "m".into(),
            payload: "x".into(),
            timestamp: Some(prost_types::Timestamp::default()),
            event: "orders".into(),
            cursor: "c1".into(),
            ..MessageFields::default()
        };
        assert_eq!(MessageFields::decode(kept()).unwrap(), fields);
        assert_eq!(kept().len(), fields.encoded_len(), "nothing is written that says nothing");
    }

    proptest! {
        #[test]
        fn every_payload_and_metadata_come_back(payload: Vec<u8>, key: String, value: String) {
            let mut message = Message::new(MessageId::new("m").unwrap(), payload);
            message.metadata = [(key, value)].into();
            let received = through_the_wire(&super::message(outbound(message.clone()), None));
            prop_assert_eq!(received.message, message);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            if let Ok(message) = proto::Message::decode(&bytes[..]) {
                let _ = read_message(message);
            }
        }
    }
}
