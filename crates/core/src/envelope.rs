//! A message with its place, shared by everyone it goes to, and with each encoding made once.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use crate::{Cursor, EventName, Message};

/// How many encodings an envelope can keep.
pub const ENCODING_SLOTS: usize = 12;

/// A message on its way out. The hub makes one per message and node; each door's encoding of it is made once.
pub struct Envelope {
    /// The event the message is in.
    pub event: EventName,
    /// The message.
    pub message: Arc<Message>,
    /// Its place in the event.
    pub cursor: Cursor,
    encodings: [OnceLock<Bytes>; ENCODING_SLOTS],
}

impl Envelope {
    /// An envelope without encodings yet.
    #[must_use]
    pub fn new(event: EventName, message: Arc<Message>, cursor: Cursor) -> Self {
        Self { event, message, cursor, encodings: [const { OnceLock::new() }; ENCODING_SLOTS] }
    }

    /// The encoding in `slot`, made by `encode` when it is asked for first. A slot out of range is made each time.
    pub fn encoded(&self, slot: usize, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        match self.encodings.get(slot) {
            Some(cell) => cell.get_or_init(|| encode(self)).clone(),
            None => encode(self),
        }
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("event", &self.event)
            .field("id", &self.message.id)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MessageId;

    #[test]
    fn an_encoding_is_made_once() {
        let message = Arc::new(Message::new(MessageId::generate(), "x"));
        let envelope = Envelope::new(EventName::new("e").unwrap(), message, Cursor::new("1").unwrap());
        let first = envelope.encoded(3, |_| Bytes::from_static(b"first"));
        let again = envelope.encoded(3, |_| Bytes::from_static(b"second"));
        assert_eq!((first, again), (Bytes::from_static(b"first"), Bytes::from_static(b"first")));
    }
}
