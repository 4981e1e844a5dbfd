//! What a message may weigh, checked once for every door.

use crate::{Error, ErrorKind, Message, Result};

/// The payload limit unless configured.
pub const DEFAULT_MAX_PAYLOAD_BYTES: usize = 1024 * 1024;

/// The most the payload limit can be configured to.
pub const HARD_MAX_PAYLOAD_BYTES: usize = 16 * 1024 * 1024;

/// The limits of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest payload, in bytes.
    pub max_payload_bytes: usize,
    /// The most metadata entries.
    pub max_metadata_entries: usize,
    /// The most bytes of metadata, keys and values together.
    pub max_metadata_bytes: usize,
    /// The longest key, in bytes.
    pub max_key_bytes: usize,
    /// The most messages in one publish batch.
    pub max_batch: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_payload_bytes: DEFAULT_MAX_PAYLOAD_BYTES,
            max_metadata_entries: 64,
            max_metadata_bytes: 16 * 1024,
            max_key_bytes: 1024,
            max_batch: 10_000,
        }
    }
}

impl Limits {
    /// Checks a message.
    ///
    /// # Errors
    /// `too_large` for sizes, `invalid` for an empty metadata key or a control character in a content type.
    pub fn check(&self, message: &Message) -> Result<()> {
        at_most("payload", message.payload.len(), self.max_payload_bytes)?;
        at_most("metadata entries", message.metadata.len(), self.max_metadata_entries)?;
        let bytes = message.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        at_most("metadata bytes", bytes, self.max_metadata_bytes)?;
        at_most("key", message.key.as_ref().map_or(0, String::len), self.max_key_bytes)?;
        at_most("content type", message.content_type.as_ref().map_or(0, String::len), 256)?;
        at_most("source", message.source.len(), 1024)?;
        if message.metadata.contains_key("") {
            return Err(Error::invalid("metadata key must not be empty"));
        }
        if message.content_type.as_ref().is_some_and(|kind| kind.chars().any(char::is_control)) {
            return Err(Error::invalid("content type must not contain control characters"));
        }
        Ok(())
    }
}

fn at_most(what: &str, size: usize, limit: usize) -> Result<()> {
    if size <= limit {
        return Ok(());
    }
    Err(Error::new(ErrorKind::TooLarge, format!("{what}: {size} is over the limit of {limit}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MessageId;

    fn message(size: usize) -> Message {
        Message::new(MessageId::generate(), vec![0; size])
    }

    #[test]
    fn the_limit_passes_and_one_more_does_not() {
        let limits = Limits { max_payload_bytes: 8, ..Limits::default() };
        assert!(limits.check(&message(8)).is_ok());
        assert_eq!(limits.check(&message(9)).unwrap_err().kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn metadata_is_bounded_in_number_and_size() {
        let limits = Limits::default();
        let mut many = message(0);
        many.metadata = (0..65).map(|n| (n.to_string(), String::new())).collect();
        assert_eq!(limits.check(&many).unwrap_err().kind(), ErrorKind::TooLarge);
        let mut big = message(0);
        big.metadata = [("k".to_owned(), "v".repeat(16 * 1024))].into();
        assert_eq!(limits.check(&big).unwrap_err().kind(), ErrorKind::TooLarge);
    }
}
