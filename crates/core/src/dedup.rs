//! The window of message ids an event remembers, bounded by time and by count.

use std::{
    collections::{HashMap, VecDeque, hash_map::RandomState},
    hash::{BuildHasher, BuildHasherDefault, Hasher},
    time::Duration,
};

use crate::{MessageId, Timestamp};

/// How many ids an event remembers at most, unless its owner says otherwise.
pub const DEFAULT_MAX_IDS: usize = 100_000;

/// The ids published lately, each with the offset of its message. Every call is O(1), amortized.
///
/// Ids are found by their hash and then compared. Two ids of one hash make the window forget the earlier of them,
/// which no publisher can provoke: the hash is keyed.
#[derive(Debug)]
pub struct DedupWindow {
    window: Duration,
    max_ids: usize,
    hasher: RandomState,
    /// By hash, the number of the entry in `order`, counted from the first ever.
    numbers: HashMap<u64, u64, BuildHasherDefault<AsIs>>,
    order: VecDeque<Remembered>,
    forgotten: u64,
}

#[derive(Debug)]
struct Remembered {
    at: Timestamp,
    hash: u64,
    offset: u64,
    id: MessageId,
}

impl DedupWindow {
    /// A window of this length with at most this many ids; with zero of either nothing is remembered.
    #[must_use]
    pub fn new(window: Duration, max_ids: usize) -> Self {
        Self {
            window,
            max_ids,
            hasher: RandomState::new(),
            numbers: HashMap::default(),
            order: VecDeque::new(),
            forgotten: 0,
        }
    }

    /// Whether anything is remembered at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        !self.window.is_zero() && self.max_ids > 0
    }

    /// The offset of the message with this id, if it was published within the window.
    pub fn find(&mut self, now: Timestamp, id: &MessageId) -> Option<u64> {
        if !self.is_on() {
            return None;
        }
        self.forget_old(now);
        let number = self.numbers.get(&self.hasher.hash_one(id))?;
        let found = self.order.get(usize::try_from(number - self.forgotten).ok()?)?;
        (found.id == *id).then_some(found.offset)
    }

    /// Remembers an id that [`DedupWindow::find`] did not know.
    pub fn remember(&mut self, now: Timestamp, id: &MessageId, offset: u64) {
        if !self.is_on() {
            return;
        }
        if self.order.len() >= self.max_ids {
            self.forget_oldest();
        }
        let hash = self.hasher.hash_one(id);
        self.numbers.insert(hash, self.forgotten + self.order.len() as u64);
        self.order.push_back(Remembered { at: now, hash, offset, id: id.clone() });
    }

    /// How many ids are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether no id is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    fn forget_old(&mut self, now: Timestamp) {
        while self.order.front().is_some_and(|oldest| now.since(oldest.at) >= self.window) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.order.pop_front() else { return };
        if self.numbers.get(&oldest.hash) == Some(&self.forgotten) {
            self.numbers.remove(&oldest.hash);
        }
        self.forgotten += 1;
    }
}

/// A hasher for what is a hash already.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> MessageId {
        MessageId::new(format!("id-{n}")).unwrap()
    }

    #[test]
    fn an_id_is_known_until_the_window_has_passed() {
        let mut ids = DedupWindow::new(Duration::from_millis(10), 100);
        ids.remember(Timestamp::from_millis(0), &id(1), 7);
        assert_eq!(ids.find(Timestamp::from_millis(9), &id(1)), Some(7));
        assert_eq!(ids.find(Timestamp::from_millis(10), &id(1)), None);
        assert!(ids.is_empty());
    }

    #[test]
    fn the_oldest_id_makes_room() {
        let mut ids = DedupWindow::new(Duration::from_secs(1), 2);
        for n in 0..3 {
            ids.remember(Timestamp::default(), &id(n), n as u64);
        }
        assert_eq!(ids.find(Timestamp::default(), &id(0)), None);
        assert_eq!(ids.find(Timestamp::default(), &id(1)), Some(1));
        assert_eq!(ids.len(), 2);
    }

    #[test]
    fn an_id_remembered_again_is_known_by_its_later_offset() {
        let mut ids = DedupWindow::new(Duration::from_millis(10), 2);
        ids.remember(Timestamp::from_millis(0), &id(1), 1);
        ids.remember(Timestamp::from_millis(9), &id(1), 2);
        assert_eq!(ids.find(Timestamp::from_millis(12), &id(1)), Some(2));
        assert_eq!(ids.find(Timestamp::from_millis(19), &id(1)), None);
        assert!(ids.numbers.is_empty());
    }

    #[test]
    fn a_window_of_zero_remembers_nothing() {
        let mut ids = DedupWindow::new(Duration::ZERO, 2);
        ids.remember(Timestamp::default(), &id(0), 0);
        assert_eq!(ids.find(Timestamp::default(), &id(0)), None);
        assert!(ids.is_empty());
    }
}
