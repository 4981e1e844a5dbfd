//! The newest messages of an event as they arrive: read once per node, for all live subscribers.

mod ring;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use busgate_core::{EventName, Result};
use parking_lot::Mutex;
use rdkafka::message::BorrowedMessage;
use tokio::sync::watch;

pub(crate) use self::ring::Entry;
use self::ring::{Limits, Ring};
use crate::{
    codec,
    event::Event,
    place::Place,
    shared::Shared,
    tap::{Following, Sink},
};

/// How often tails that nobody needs are let go of.
const TIDY: Duration = Duration::from_secs(5);

/// After how many turns it is looked whether topics have more partitions.
const GROW: u64 = 6;

/// The tail of one event.
pub(crate) struct Tail {
    ring: Mutex<Ring>,
    /// How many records were taken in.
    head: watch::Sender<u64>,
    followers: AtomicUsize,
}

/// A tail that is being filled.
pub(crate) struct Live {
    event: Arc<Event>,
    tail: Arc<Tail>,
    following: Following,
}

/// One subscriber's interest in the messages themselves: while there is none they are not kept.
pub(crate) struct Interest(Arc<Live>);

/// What a subscriber finds in the tail.
pub(crate) enum Found {
    /// Messages, in the order of arrival, and the number to go on with.
    Entries(Vec<Entry>, u64),
    /// The next ones were let go of already.
    Behind,
}

impl Sink for Tail {
    fn take(&self, record: &BorrowedMessage<'_>) {
        let place = Place::of(record);
        if self.followers.load(Ordering::Relaxed) == 0 {
            self.ring.lock().pass(place);
        } else {
            let message = Arc::new(codec::message(record));
            self.ring.lock().push(place, message);
        }
        self.head.send_modify(|head| *head += 1);
    }
}

impl Live {
    pub(crate) fn interest(self: Arc<Self>) -> Interest {
        self.tail.followers.fetch_add(1, Ordering::Relaxed);
        Interest(self)
    }

    /// Takes in partitions that the topic got since.
    fn grow(&self) {
        let missing = usize::from(self.event.partitions()).saturating_sub(self.tail.ring.lock().partitions());
        // What is in a new partition came after all that was there.
        self.tail.ring.lock().grow(missing);
        self.following.add(&vec![0; missing]);
    }
}

impl Interest {
    /// The number to begin with for who has read up to `next`; `None` when something between was let go of.
    pub(crate) fn join(&self, next: &[i64]) -> Option<u64> {
        self.0.tail.ring.lock().join(next)
    }

    /// The next messages from number `from` on.
    pub(crate) fn find(&self, from: u64, limit: usize) -> Found {
        self.0.tail.ring.lock().find(from, limit)
    }

    /// Tells when something was taken in.
    pub(crate) fn head(&self) -> watch::Receiver<u64> {
        self.0.tail.head.subscribe()
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.0.tail.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The tails of a node.
#[derive(Default)]
pub(crate) struct Tails(Mutex<HashMap<EventName, Arc<Live>>>);

impl Tails {
    /// The tail of an event; one that is not there yet begins at `from`.
    ///
    /// # Errors
    /// When the topic can't be followed.
    pub(crate) fn tail(&self, shared: &Shared, event: &Arc<Event>, from: &[i64]) -> Result<Arc<Live>> {
        shared.check_open()?;
        let mut tails = self.0.lock();
        if let Some(live) = tails.get(&event.name).filter(|live| Arc::ptr_eq(&live.event, event)) {
            return Ok(Arc::clone(live));
        }
        if let Some(earlier) = tails.remove(&event.name) {
            // Of an earlier life: who reads it ends with it, but may not have yet.
            earlier.following.end();
        }
        let limits = Limits { messages: shared.config.tail_messages, bytes: shared.config.tail_bytes };
        let tail = Arc::new(Tail {
            ring: Mutex::new(Ring::starting(from, limits)),
            head: watch::Sender::new(0),
            followers: AtomicUsize::new(0),
        });
        let sink: Arc<dyn Sink> = Arc::<Tail>::clone(&tail);
        let following = shared.tap.follow(&event.topic, from, sink)?;
        let live = Arc::new(Live { event: Arc::clone(event), tail, following });
        tails.insert(event.name.clone(), Arc::clone(&live));
        Ok(live)
    }

    /// Lets go of the tails that nobody needs, again and again.
    pub(crate) async fn tidy(shared: Weak<Shared>) {
        for turn in 1_u64.. {
            tokio::time::sleep(TIDY).await;
            let Some(shared) = shared.upgrade() else { return };
            if turn.is_multiple_of(GROW)
                && let Err(error) = shared.registry.refresh(&shared).await
            {
                tracing::debug!(%error, "whether topics have more partitions can't be seen");
            }
            let mut tails = shared.tails.0.lock();
            tails.retain(|_, live| Arc::strong_count(live) > 1 && !live.event.ended.is_cancelled());
            for live in tails.values() {
                live.grow();
            }
            drop(tails);
            shared.reader.tidy();
            shared.dedup.tidy();
        }
    }

    /// Lets go of all.
    pub(crate) fn close(&self) {
        self.0.lock().clear();
    }
}

impl fmt::Debug for Tails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tails").field(&self.0.lock().len()).finish()
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interest").field(&self.0.event.name).finish()
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("event", &self.event.name).finish_non_exhaustive()
    }
}
