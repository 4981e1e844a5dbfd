//! What a back end brings along to be tested.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use busgate_core::{EventName, Transport};

use crate::{Pace, Time};

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is closed.
    Close,
    /// It is gone from one moment to the next: nothing is closed, nothing is flushed.
    Kill,
}

/// One back end, fresh for one law. The laws take event names of their own, so that a server may be shared.
///
/// Under paused time the transport must take its time from tokio, and a transport opened later must share the wall
/// clock of the first one.
#[async_trait]
pub trait Harness: fmt::Debug + Send + Sync + 'static {
    /// Opens a node over a back end of its own, or a shared one. A law that is run again opens again.
    async fn open(&self) -> Arc<dyn Transport>;

    /// Opens another node over the same back end while `first` runs; `None` when there can be only one.
    async fn open_second(&self, first: &Arc<dyn Transport>) -> Option<Arc<dyn Transport>> {
        let _ = first;
        None
    }

    /// Ends `previous` and opens it again over what it left behind; `None` when nothing is ever left behind. Whoever
    /// claims `durable` must be able to.
    async fn reopen(&self, previous: Arc<dyn Transport>, stop: Stop) -> Option<Arc<dyn Transport>> {
        let _ = (previous, stop);
        None
    }

    /// Lets go of all messages but the newest `keep`, for a back end whose retention is too coarse to be waited for.
    /// Answers whether it did; if not, the laws ask for it by `retention_messages` and wait.
    async fn trim(&self, transport: &Arc<dyn Transport>, event: &EventName, keep: usize) -> bool {
        let _ = (transport, event, keep);
        false
    }

    /// Whether the way in stamps messages with a time of its own, as a gateway does.
    fn stamps_time(&self) -> bool {
        false
    }

    /// How many bytes the entry of a token may have. A client's is the ack id of its gateway, which is longer than what a
    /// back end needs.
    fn longest_entry(&self) -> usize {
        256
    }

    /// How fast it is.
    fn pace(&self, time: Time) -> Pace {
        Pace::of(time)
    }
}
