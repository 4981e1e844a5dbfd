//! One client of a stream.

use std::sync::{Arc, Weak};

use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::{StreamEvent, registry::Registry};
use crate::Timestamp;

/// What a client gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Streamed {
    /// An event.
    Event(Arc<StreamEvent>),
    /// Events that this client was too slow for, or that could not be had: how many, if known.
    Missed(Option<u64>),
}

/// Who listens to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInfo {
    /// Its id.
    pub id: String,
    /// The stream.
    pub stream_id: String,
    /// Since when.
    pub since: Timestamp,
}

/// A client of a stream. Dropping it unsubscribes.
#[derive(Debug)]
pub struct StreamClient {
    pub(super) info: ClientInfo,
    pub(super) queue: Receiver<Streamed>,
    pub(super) gone: CancellationToken,
    pub(super) registry: Weak<Registry>,
}

impl StreamClient {
    /// Its id, for [`Broadcaster::unsubscribe`](super::Broadcaster::unsubscribe).
    #[must_use]
    pub fn id(&self) -> &str {
        &self.info.id
    }

    /// The stream it listens to.
    #[must_use]
    pub fn stream_id(&self) -> &str {
        &self.info.stream_id
    }

    /// The next event, or how many it missed; `None` when it was unsubscribed or the stream ended. It can be dropped
    /// half-way without a loss.
    pub async fn next(&mut self) -> Option<Streamed> {
        if self.gone.is_cancelled() {
            return None;
        }
        let received = tokio::select! {
            biased;
            received = self.queue.recv() => received,
            () = self.gone.cancelled() => return None,
        };
        match received {
            Ok(streamed) => Some(streamed),
            Err(RecvError::Lagged(missed)) => Some(Streamed::Missed(Some(missed))),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for StreamClient {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.leave(&self.info.id);
        }
    }
}
