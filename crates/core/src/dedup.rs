//! The window of message ids an event remembers, bounded by time and by count.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::{MessageId, Timestamp};

/// How many ids an event remembers at most, unless its owner says otherwise.
pub const DEFAULT_MAX_IDS: usize = 100_000;

/// The ids published lately, each with the offset of its message. Every call is O(1), amortized.
#[derive(Debug)]
pub struct DedupWindow {
    window: Duration,
    max_ids: usize,
    offsets: HashMap<MessageId, u64>,
    order: VecDeque<(Timestamp, MessageId)>,
}

impl DedupWindow {
    /// A window of this length with at most this many ids; with zero of either nothing is remembered.
    #[must_use]
    pub fn new(window: Duration, max_ids: usize) -> Self {
        Self { window, max_ids, offsets: HashMap::new(), order: VecDeque::new() }
    }

    /// Whether anything is remembered at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        !self.window.is_zero() && self.max_ids > 0
    }

    /// The offset of the message with this id, if it was published within the window.
    pub fn find(&mut self, now: Timestamp, id: &MessageId) -> Option<u64> {
        self.forget_old(now);
        self.offsets.get(id).copied()
    }

    /// Remembers an id that [`DedupWindow::find`] did not know.
    pub fn remember(&mut self, now: Timestamp, id: &MessageId, offset: u64) {
        if !self.is_on() {
            return;
        }
        if self.order.len() >= self.max_ids {
            self.forget_oldest();
        }
        if self.offsets.insert(id.clone(), offset).is_none() {
            self.order.push_back((now, id.clone()));
        }
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
        while self.order.front().is_some_and(|(at, _)| now.since(*at) >= self.window) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, id)) = self.order.pop_front() {
            self.offsets.remove(&id);
        }
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
    fn a_window_of_zero_remembers_nothing() {
        let mut ids = DedupWindow::new(Duration::ZERO, 2);
        ids.remember(Timestamp::default(), &id(0), 0);
        assert_eq!(ids.find(Timestamp::default(), &id(0)), None);
        assert!(ids.is_empty());
    }
}
