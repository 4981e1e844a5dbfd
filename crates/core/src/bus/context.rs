//! What a handler knows of the message besides its value.

use std::sync::Arc;

use crate::{Cursor, Delivery, EventName, Message, MessageId, Metadata, Timestamp};

/// The message in a handler's hands. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Context {
    pub(super) event: EventName,
    pub(super) message: Arc<Message>,
    pub(super) cursor: Cursor,
    pub(super) attempt: u32,
    pub(super) leased: bool,
}

impl Context {
    /// The event it is in.
    #[must_use]
    pub const fn event(&self) -> &EventName {
        &self.event
    }

    /// The message as it was published.
    #[must_use]
    pub const fn message(&self) -> &Arc<Message> {
        &self.message
    }

    /// Its id: the same on every redelivery.
    #[must_use]
    pub fn id(&self) -> &MessageId {
        &self.message.id
    }

    /// Who published it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.message.source
    }

    /// What orders it, if anything: a key's messages are handled one after the other.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.message.key.as_deref()
    }

    /// The text that travels with it.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.message.metadata
    }

    /// One entry of the metadata.
    #[must_use]
    pub fn meta(&self, key: &str) -> Option<&str> {
        self.message.metadata.get(key).map(String::as_str)
    }

    /// When it was published.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.message.timestamp
    }

    /// Its place in the event: a subscription can start after it.
    #[must_use]
    pub const fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Which attempt this is, from 1. Attempts inside a [`Retry`](super::middleware::Retry) layer are one to the bus.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether it comes back when the handler fails: not on an unnamed broadcast.
    #[must_use]
    pub const fn comes_back(&self) -> bool {
        self.leased
    }
}

impl From<&Delivery> for Context {
    fn from(delivery: &Delivery) -> Self {
        Self {
            event: delivery.event.clone(),
            message: Arc::clone(&delivery.message),
            cursor: delivery.cursor.clone(),
            attempt: delivery.attempt,
            leased: delivery.token().is_some(),
        }
    }
}
