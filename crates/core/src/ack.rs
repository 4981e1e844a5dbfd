//! The ack tracker: what each stream has handed to its client and not seen settled.
//!
//! A stream is one client's session. Its entries carry a lease of the transport, or (unnamed broadcast) a delivery that
//! only this node knows of and redelivers itself. The lease clock of an entry starts when it is handed off.

mod deadline;
mod id;
mod stream;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use uuid::Uuid;

pub use self::{
    deadline::Deadlines,
    id::{AckSecret, MIN_SECRET_BYTES},
};
pub(crate) use self::{
    id::{Claim, OwnerTag, Refusal, Slot, Ticket},
    stream::{Local, Stream, Window},
};
use crate::sync::RwLock;

/// The streams of this node.
pub(crate) struct AckTracker {
    node: u64,
    next: AtomicU64,
    streams: RwLock<HashMap<u64, Arc<Stream>>>,
    seats: Arc<AtomicUsize>,
}

/// One of the streams there may be at once, for as long as it is held.
#[derive(Debug, Default)]
pub(crate) struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AckTracker {
    pub(crate) fn new() -> Self {
        let node = Uuid::new_v4().as_u64_pair().0;
        Self { node, next: AtomicU64::new(1), streams: RwLock::default(), seats: Arc::default() }
    }

    /// Room for another stream, when there are fewer than `most`; taken before the stream is opened, so that many who
    /// come at once are counted too.
    pub(crate) fn seat(&self, most: usize) -> Option<Seat> {
        let one_more = |taken: usize| (taken < most).then_some(taken + 1);
        self.seats.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Seat(Arc::clone(&self.seats)))
    }

    /// A new stream, known until [`AckTracker::close`].
    pub(crate) fn open(&self, seat: Seat, window: Window) -> Arc<Stream> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let stream = Arc::new(Stream::new(self.node, id, seat, window));
        self.streams.write().insert(id, Arc::clone(&stream));
        stream
    }

    /// Forgets a stream.
    pub(crate) fn close(&self, stream: &Stream) {
        self.streams.write().remove(&stream.id());
    }

    /// The stream that a slot is in, if it is one of this node's and still open.
    pub(crate) fn stream(&self, slot: Slot) -> Option<Arc<Stream>> {
        if !self.is_here(slot) {
            return None;
        }
        self.streams.read().get(&slot.stream).cloned()
    }

    /// Whether a slot is one of this node's.
    pub(crate) const fn is_here(&self, slot: Slot) -> bool {
        slot.node == self.node
    }

    /// How many streams are open.
    pub(crate) fn streams(&self) -> usize {
        self.streams.read().len()
    }

    /// How many deliveries are unsettled.
    pub(crate) fn in_flight(&self) -> usize {
        self.streams.read().values().map(|stream| stream.in_flight()).sum()
    }
}

impl fmt::Debug for AckTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AckTracker").field("streams", &self.streams()).finish_non_exhaustive()
    }
}
