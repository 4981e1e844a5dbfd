//! `event.v1.Message`, in two parts: what all subscribers share, encoded once, and what is one subscriber's own.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message as _,
    encoding::{self, DecodeContext, WireType, string},
};
use prost_types::Timestamp;

use super::event::v1::Gap;

/// `event.v1.Message` on the wire.
///
/// A sender joins the cached bytes of the shared fields with its subscriber's own; proto fields may come in any order.
/// A receiver finds everything in the fields.
#[derive(Clone, Debug, Default)]
pub struct Message {
    shared: Bytes,
    own: OwnFields,
    /// What was read. Boxed: what is sent is moved about far more often, and is a third of it.
    fields: Option<Box<MessageFields>>,
}

/// The fields of `event.v1.Message`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MessageFields {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Who published it.
    #[prost(string, tag = "2")]
    pub source: String,
    /// Its payload.
    #[prost(bytes = "bytes", tag = "3")]
    pub payload: Bytes,
    /// Text that travels along.
    #[prost(btree_map = "string, string", tag = "4")]
    pub metadata: BTreeMap<String, String>,
    /// When it was taken in.
    #[prost(message, optional, tag = "5")]
    pub timestamp: Option<Timestamp>,
    /// How often it was delivered before.
    #[prost(int32, tag = "6")]
    pub retry_count: i32,
    /// What it is settled by.
    #[prost(string, tag = "7")]
    pub ack_id: String,
    /// The event it is in.
    #[prost(string, tag = "100")]
    pub event: String,
    /// Its place in the event.
    #[prost(string, tag = "101")]
    pub cursor: String,
    /// What orders and partitions it.
    #[prost(string, tag = "102")]
    pub key: String,
    /// The media type of the payload.
    #[prost(string, tag = "103")]
    pub content_type: String,
    /// What could not be had right before it.
    #[prost(message, optional, tag = "104")]
    pub gap: Option<Gap>,
    /// Which delivery of its stream it is, from 1.
    #[prost(uint64, tag = "105")]
    pub number: u64,
}

/// The fields of `event.v1.Message` that are one subscriber's own.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OwnFields {
    /// How often it was delivered before.
    #[prost(int32, tag = "6")]
    pub retry_count: i32,
    /// What it is settled by.
    #[prost(string, tag = "7")]
    pub ack_id: String,
    /// What could not be had right before it.
    #[prost(message, optional, boxed, tag = "104")]
    pub gap: Option<Box<Gap>>,
    /// Which delivery of its stream it is, from 1.
    #[prost(uint64, tag = "105")]
    pub number: u64,
}

/// The fields of `event.v1.Message` that all subscribers share, where they are.
#[derive(Clone, Copy, Debug)]
pub struct SharedFields<'a> {
    /// Its id.
    pub id: &'a str,
    /// Who published it.
    pub source: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
    /// Text that travels along.
    pub metadata: &'a BTreeMap<String, String>,
    /// When it was taken in.
    pub timestamp: Timestamp,
    /// The event it is in.
    pub event: &'a str,
    /// Its place in the event.
    pub cursor: &'a str,
    /// What orders and partitions it.
    pub key: &'a str,
    /// The media type of the payload.
    pub content_type: &'a str,
}

impl SharedFields<'_> {
    fn encode(&self) -> Bytes {
        let texts = [(1, self.id), (2, self.source), (100, self.event), (101, self.cursor)];
        let texts = texts.into_iter().chain([(102, self.key), (103, self.content_type)]);
        let parts = texts.map(|(tag, text)| (tag, text.as_bytes())).chain([(3, self.payload)]);
        let parts = parts.filter(|(_, bytes)| !bytes.is_empty());
        let key_and_length = 2 + encoding::encoded_len_varint(u64::MAX);
        let size = parts.clone().map(|(_, bytes)| bytes.len() + key_and_length).sum::<usize>();
        let map =
            encoding::btree_map::encoded_len(string::encoded_len, string::encoded_len, 4, self.metadata);
        let mut buf = Vec::with_capacity(size + map + 32);
        for (tag, bytes) in parts {
            encoding::encode_key(tag, WireType::LengthDelimited, &mut buf);
            encoding::encode_varint(bytes.len() as u64, &mut buf);
            buf.put_slice(bytes);
        }
        encoding::btree_map::encode(
            string::encode,
            string::encoded_len,
            string::encode,
            string::encoded_len,
            4,
            self.metadata,
            &mut buf,
        );
        encoding::message::encode(5, &self.timestamp, &mut buf);
        buf.into()
    }
}

impl Message {
    /// The encoding of the fields that all subscribers share.
    #[must_use]
    pub fn encode_shared(fields: SharedFields<'_>) -> Bytes {
        fields.encode()
    }

    /// A message of `shared` fields, encoded already, and a subscriber's `own`.
    #[must_use]
    pub const fn from_parts(shared: Bytes, own: OwnFields) -> Self {
        Self { shared, own, fields: None }
    }

    /// All fields, as one.
    ///
    /// # Errors
    /// When the shared part is no encoding of fields, which can't be for a message that was received.
    pub fn into_fields(self) -> Result<MessageFields, DecodeError> {
        let Self { shared, own, fields } = self;
        let mut fields = fields.map_or_else(MessageFields::default, |fields| *fields);
        fields.merge(shared)?;
        fields.merge(&own.encode_to_vec()[..])?;
        Ok(fields)
    }
}

impl PartialEq for Message {
    /// Fields that say nothing are no other than none (`fields_that_say_nothing_are_none`).
    fn eq(&self, other: &Self) -> bool {
        let nothing = MessageFields::default();
        let [one, two] = [self, other].map(|message| message.fields.as_deref().unwrap_or(&nothing));
        one == two && self.shared == other.shared && self.own == other.own
    }
}

impl From<MessageFields> for Message {
    fn from(fields: MessageFields) -> Self {
        Self { fields: Some(Box::new(fields)), ..Self::default() }
    }
}

impl prost::Message for Message {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.shared);
        self.own.encode_raw(buf);
        if let Some(fields) = &self.fields {
            fields.encode_raw(buf);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        self.fields.get_or_insert_default().merge_field(tag, wire_type, buf, ctx)
    }

    fn encoded_len(&self) -> usize {
        let fields = self.fields.as_ref().map_or(0, |fields| fields.encoded_len());
        self.shared.len() + self.own.encoded_len() + fields
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_say_nothing_are_none() {
        // An id without a letter.
        let read = Message::decode(&[0x0a, 0][..]).unwrap();
        assert!(read.encode_to_vec().is_empty());
        assert_eq!(read, Message::default());
        assert_ne!(read, Message::decode(&[0x0a, 1, b'm'][..]).unwrap());
    }
}
