//! The ids of one event as they are written, on whichever node.
//!
//! They are read apart from what live subscribers get, many at a time: that a message is there is known a moment later,
//! and who only publishes asks the broker for what it wrote a few times a second, not once for each batch.

use std::{fmt, sync::Arc};

use parking_lot::Mutex;
use rdkafka::message::BorrowedMessage;
use tokio::sync::watch;

use super::index::Index;
use crate::{
    codec,
    place::Place,
    tap::{Following, Sink},
};

/// Takes in the ids of one event.
pub(super) struct Learning {
    index: Arc<Index>,
    /// The offset that comes next, for each partition.
    next: Mutex<Vec<i64>>,
    /// Tells whoever waits that something was taken in.
    head: watch::Sender<()>,
}

/// An event whose ids are being taken in, until it is dropped.
pub(super) struct Lesson {
    learning: Arc<Learning>,
    following: Following,
}

impl Learning {
    /// Takes in what comes from these offsets on, one for each partition.
    pub(super) fn starting(index: &Arc<Index>, from: &[i64]) -> Arc<Self> {
        let (next, head) = (Mutex::new(from.to_vec()), watch::Sender::new(()));
        Arc::new(Self { index: Arc::clone(index), next, head })
    }

    fn has_reached(&self, ends: &[i64]) -> bool {
        ends.iter().zip(&*self.next.lock()).all(|(end, next)| next >= end)
    }
}

impl Sink for Learning {
    fn take(&self, record: &BorrowedMessage<'_>) {
        let place = Place::of(record);
        if let Some(id) = codec::id(record) {
            self.index.learn(id, place);
        }
        let Ok(partition) = usize::try_from(place.partition) else { return };
        let mut next = self.next.lock();
        if next.len() <= partition {
            next.resize(partition + 1, 0);
        }
        if let Some(next) = next.get_mut(partition) {
            *next = place.offset + 1;
        }
        drop(next);
        if self.head.receiver_count() > 0 {
            self.head.send_replace(());
        }
    }
}

impl Lesson {
    pub(super) const fn new(learning: Arc<Learning>, following: Following) -> Self {
        Self { learning, following }
    }

    /// Waits until all before these offsets was taken in.
    pub(super) async fn reach(&self, ends: &[i64]) {
        let mut head = self.learning.head.subscribe();
        // The sender lives as long as this.
        let _ = head.wait_for(|()| self.learning.has_reached(ends)).await;
    }

    /// The offset that comes next, for each partition.
    pub(super) fn next(&self) -> Vec<i64> {
        self.learning.next.lock().clone()
    }

    /// Takes in that there is nothing before these offsets that was not seen.
    pub(super) fn pass(&self, ends: &[i64]) {
        for (next, end) in self.learning.next.lock().iter_mut().zip(ends) {
            *next = (*next).max(*end);
        }
    }

    /// Takes in partitions that the topic got since, from their beginning.
    pub(super) fn grow(&self, partitions: u16) {
        let mut next = self.learning.next.lock();
        let missing = usize::from(partitions).saturating_sub(next.len());
        let grown = next.len() + missing;
        next.resize(grown, 0);
        drop(next);
        self.following.add(&vec![0; missing]);
    }

    /// Ends it, whoever still holds it: the topic may be followed anew.
    pub(super) fn end(&self) {
        self.following.end();
    }
}

impl fmt::Debug for Lesson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lesson").field(&self.following).finish()
    }
}
