//! A bounded run of the newest messages, in the order of arrival.

use std::{collections::VecDeque, sync::Arc};

use busgate_core::Message;

use super::Found;
use crate::place::Place;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

/// A message of the tail.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Where it is.
    pub(crate) place: Place,
    /// The message.
    pub(crate) message: Arc<Message>,
}

/// The newest messages.
///
/// Invariant: every message of a partition from `floor` on and before `next` is held: the test
/// `who_joins_misses_nothing` holds it.
#[derive(Debug)]
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: u64,
    floor: Vec<i64>,
    next: Vec<i64>,
    bytes: usize,
    limits: Limits,
}

impl Ring {
    /// Nothing yet, and what comes begins at `from`.
    pub(super) fn starting(from: &[i64], limits: Limits) -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            floor: from.to_vec(),
            next: from.to_vec(),
            bytes: 0,
            limits,
        }
    }

    pub(super) fn partitions(&self) -> usize {
        self.next.len()
    }

    /// Takes in that the topic has more partitions, from their beginning.
    pub(super) fn grow(&mut self, by: usize) {
        self.floor.resize(self.floor.len() + by, 0);
        self.next.resize(self.next.len() + by, 0);
    }

    /// Takes a message in.
    pub(super) fn push(&mut self, place: Place, message: Arc<Message>) {
        self.advance(place);
        self.bytes += message.weight();
        self.entries.push_back(Entry { place, message });
        while self.entries.len() > self.limits.messages
            || (self.bytes > self.limits.bytes && self.entries.len() > 1)
        {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.forget(&oldest);
        }
    }

    /// Takes in that there is a message which nobody wants.
    pub(super) fn pass(&mut self, place: Place) {
        for entry in std::mem::take(&mut self.entries) {
            self.forget(&entry);
        }
        self.advance(place);
        if let Some(floor) = index(place).and_then(|index| self.floor.get_mut(index)) {
            *floor = place.offset + 1;
        }
    }

    fn forget(&mut self, entry: &Entry) {
        self.first += 1;
        self.bytes = self.bytes.saturating_sub(entry.message.weight());
        if let Some(floor) = index(entry.place).and_then(|index| self.floor.get_mut(index)) {
            *floor = entry.place.offset + 1;
        }
    }

    fn advance(&mut self, place: Place) {
        let Some(index) = index(place) else { return };
        if index >= self.next.len() {
            self.grow(index + 1 - self.next.len());
        }
        if let Some(next) = self.next.get_mut(index) {
            *next = place.offset + 1;
        }
    }

    /// The number to begin with for who has read up to `next`.
    pub(super) fn join(&self, next: &[i64]) -> Option<u64> {
        let held = |(partition, floor): (usize, &i64)| next.get(partition).copied().unwrap_or(0) >= *floor;
        self.floor.iter().enumerate().all(held).then_some(self.first)
    }

    /// The entries from a number on.
    pub(super) fn find(&self, from: u64, limit: usize) -> Found {
        let Some(skip) = from.checked_sub(self.first).and_then(|skip| usize::try_from(skip).ok()) else {
            return Found::Behind;
        };
        let entries: Vec<_> = self.entries.iter().skip(skip).take(limit).cloned().collect();
        let next = from + entries.len() as u64;
        Found::Entries(entries, next)
    }
}

fn index(place: Place) -> Option<usize> {
    usize::try_from(place.partition).ok()
}

#[cfg(test)]
mod tests {
    use busgate_core::MessageId;

    use super::*;

    fn ring(messages: usize) -> Ring {
        Ring::starting(&[10, 20], Limits { messages, bytes: usize::MAX })
    }

    fn push(ring: &mut Ring, partition: i32, offset: i64) {
        ring.push(Place { partition, offset }, Arc::new(Message::new(MessageId::generate(), "")));
    }

    fn offsets(ring: &Ring, from: u64) -> Option<Vec<i64>> {
        match ring.find(from, 100) {
            Found::Entries(entries, _) => Some(entries.iter().map(|entry| entry.place.offset).collect()),
            Found::Behind => None,
        }
    }

    #[test]
    fn who_joins_misses_nothing() {
        let mut ring = ring(3);
        for (partition, offset) in [(0, 10), (1, 20), (0, 11), (0, 12)] {
            push(&mut ring, partition, offset);
        }
        assert_eq!(ring.join(&[10, 20]), None, "offset 10 of the first partition is gone");
        let from = ring.join(&[11, 20]).unwrap();
        assert_eq!(offsets(&ring, from), Some(vec![20, 11, 12]));
    }

    #[test]
    fn who_is_too_slow_is_told() {
        let mut ring = ring(2);
        let from = ring.join(&[10, 20]).unwrap();
        for offset in 10..13 {
            push(&mut ring, 0, offset);
        }
        assert_eq!(offsets(&ring, from), None);
    }

    #[test]
    fn what_nobody_wanted_is_not_joined_before() {
        let mut ring = ring(9);
        push(&mut ring, 0, 10);
        ring.pass(Place { partition: 0, offset: 11 });
        assert_eq!((ring.join(&[11, 20]), ring.join(&[12, 20])), (None, Some(1)));
    }

    #[test]
    fn a_new_partition_is_read_from_its_beginning() {
        let mut ring = ring(9);
        push(&mut ring, 2, 0);
        let from = ring.join(&[10, 20]).unwrap();
        assert_eq!(offsets(&ring, from), Some(vec![0]));
    }
}
