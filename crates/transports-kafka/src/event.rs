//! What a node knows of one event.

use std::{
    sync::atomic::{AtomicBool, AtomicU16, Ordering},
    time::Duration,
};

use busgate_core::{Cursor, EventConfig, EventName, Gap, Places, Result};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::place::Place;

/// How long it is not looked again how many partitions there are, however many ask.
const FRESH: Duration = Duration::from_secs(1);

/// One life of an event, as this node sees it.
#[derive(Debug)]
pub(crate) struct Event {
    /// Its name.
    pub(crate) name: EventName,
    /// The topic that holds it.
    pub(crate) topic: String,
    /// Which life of it: drawn when it was registered; zero for a topic that was there before.
    pub(crate) life: u64,
    /// What it was registered with.
    pub(crate) config: EventConfig,
    /// Whether it was registered; else it is a topic that is there.
    pub(crate) is_registered: bool,
    /// Whether the topic was made for it, and goes with it.
    pub(crate) is_ours: bool,
    /// Ends with this life of the event.
    pub(crate) ended: CancellationToken,
    partitions: AtomicU16,
    /// When it was last looked how many there are.
    looked: Mutex<Option<Instant>>,
    /// Whether this node published to it since it was last looked at.
    published: AtomicBool,
    /// How often that was so, one time after the other.
    waited: AtomicU16,
}

impl Event {
    /// An event that is a topic.
    pub(crate) fn new(name: EventName, topic: String, life: u64, partitions: u16) -> Self {
        Self {
            name,
            topic,
            life,
            config: EventConfig::default(),
            is_registered: false,
            is_ours: false,
            ended: CancellationToken::new(),
            partitions: AtomicU16::new(partitions.max(1)),
            looked: Mutex::default(),
            published: AtomicBool::new(false),
            waited: AtomicU16::new(0),
        }
    }

    /// How many partitions the topic had when it was last looked at; 1 at least.
    pub(crate) fn partitions(&self) -> u16 {
        self.partitions.load(Ordering::Relaxed)
    }

    /// Takes in how many partitions there are: they only get more.
    pub(crate) fn see_partitions(&self, count: u16) {
        self.partitions.fetch_max(count, Ordering::Relaxed);
    }

    /// Whether it is time to look again how many there are; it says so once.
    pub(crate) fn is_to_be_looked_at(&self, now: Instant) -> bool {
        let mut looked = self.looked.lock();
        let is_old = looked.is_none_or(|looked| now.saturating_duration_since(looked) >= FRESH);
        if is_old {
            *looked = Some(now);
        }
        is_old
    }

    /// Takes in that something was published to it.
    pub(crate) fn set_published(&self) {
        self.published.store(true, Ordering::Relaxed);
    }

    /// Whether something was published to it, and nothing since this was last asked; or if so, for many times now.
    pub(crate) fn is_settled(&self, times: u16) -> bool {
        let waited = self.waited.load(Ordering::Relaxed);
        if self.published.swap(false, Ordering::Relaxed) && waited < times {
            self.waited.store(waited + 1, Ordering::Relaxed);
            return false;
        }
        self.waited.store(0, Ordering::Relaxed);
        waited > 0
    }

    /// The cursor before `next` offsets, one for each partition.
    pub(crate) fn places(&self, next: &[i64]) -> Places {
        Places::before(self.life, &self.name, next.iter().map(|next| told(*next)).collect())
    }

    /// That `missed` messages can't be had any more, and delivery goes on before `next`.
    pub(crate) fn gap(&self, missed: Option<u64>, next: &[i64]) -> Result<Gap> {
        Ok(Gap { missed, cursor: Some(self.places(next).to_cursor()?) })
    }

    /// The cursor of a message for whoever knows only the message's own place: the other partitions are found by the
    /// time of the message when it is used.
    pub(crate) fn own_cursor(&self, place: Place) -> Result<Cursor> {
        let own = u16::try_from(place.partition).unwrap_or(0);
        let mut next = vec![0; usize::from(own) + 1];
        if let Some(last) = next.last_mut() {
            *last = told(place.offset + 1);
        }
        Places::before(self.life, &self.name, next).of_message_in(own).to_cursor()
    }
}

/// A next offset as a number of a cursor: one more, so that zero is a partition that was not told.
pub(crate) fn told(next: i64) -> u128 {
    u128::try_from(next).map_or(0, |next| next + 1)
}

/// The next offset that a number of a cursor tells; `None` where it tells nothing.
pub(crate) fn untold(number: u128) -> Option<i64> {
    number.checked_sub(1).map(|next| i64::try_from(next).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_settles_when_nothing_more_is_published() {
        let event = Event::new(EventName::new("a").unwrap(), "a".into(), 1, 1);
        assert!(!event.is_settled(9), "nothing was published");
        event.set_published();
        assert_eq!([event.is_settled(9), event.is_settled(9), event.is_settled(9)], [false, true, false]);
    }

    #[test]
    fn an_event_that_never_rests_is_looked_at_all_the_same() {
        let event = Event::new(EventName::new("a").unwrap(), "a".into(), 1, 1);
        let settled = |_| {
            event.set_published();
            event.is_settled(3)
        };
        assert_eq!((0..5).map(settled).collect::<Vec<_>>(), [false, false, false, true, false]);
    }
}
