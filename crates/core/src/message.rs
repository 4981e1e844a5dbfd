//! What travels: a message, its metadata and what a publisher gets back.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use bytes::Bytes;
use uuid::Uuid;

use crate::{Cursor, Error, Result, Timestamp};

/// The longest message id, in bytes.
pub const MAX_ID_BYTES: usize = 512;

/// Text that travels with a message; keys keep their case, and each stands once.
pub type Metadata = BTreeMap<String, String>;

/// The identity of a message within its event: chosen by the publisher, or a UUIDv7.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(Arc<str>);

impl MessageId {
    /// Checks `text` and keeps it.
    ///
    /// # Errors
    /// `invalid` when it is empty, over [`MAX_ID_BYTES`], or has a control character.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        if text.is_empty() || text.len() > MAX_ID_BYTES {
            return Err(Error::invalid(format!(
                "message id must have 1 to {MAX_ID_BYTES} bytes, has {}",
                text.len()
            )));
        }
        if text.chars().any(char::is_control) {
            return Err(Error::invalid("message id must not contain control characters"));
        }
        Ok(Self(text.into()))
    }

    /// A new id that sorts by time (UUIDv7, RFC 9562).
    #[must_use]
    pub fn generate() -> Self {
        let mut buffer = Uuid::encode_buffer();
        Self(Arc::from(&*Uuid::now_v7().hyphenated().encode_lower(&mut buffer)))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl FromStr for MessageId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

/// A message as a transport keeps and hands it out. Trace context travels in `metadata`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its identity within the event; the deduplication window goes by it.
    pub id: MessageId,
    /// Who published it.
    pub source: String,
    /// The bytes of the publisher, as they are.
    pub payload: Bytes,
    /// Text that travels along.
    pub metadata: Metadata,
    /// When the gateway took it in (or the broker did, for a native message).
    pub timestamp: Timestamp,
    /// What orders and partitions it, if anything.
    pub key: Option<String>,
    /// The media type of the payload, if the publisher named one.
    pub content_type: Option<String>,
}

impl Message {
    /// A message with `payload` under `id`, and nothing else set.
    #[must_use]
    pub fn new(id: MessageId, payload: impl Into<Bytes>) -> Self {
        Self {
            id,
            source: String::new(),
            payload: payload.into(),
            metadata: Metadata::new(),
            timestamp: Timestamp::default(),
            key: None,
            content_type: None,
        }
    }

    /// Roughly what it occupies, in bytes: what windows and history bounds count.
    #[must_use]
    pub fn weight(&self) -> usize {
        let text: usize = self.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        self.payload.len() + text + self.id.as_str().len() + self.source.len() + 64
    }
}

/// What a publisher gets for an accepted message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The id of the message.
    pub id: MessageId,
    /// Its place; for a duplicate the place of the first one where the transport knows it, else none.
    pub cursor: Option<Cursor>,
    /// Whether the deduplication window had this id already, so that nothing was added.
    pub duplicate: bool,
}
