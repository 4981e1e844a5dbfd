//! Order within a key: one message of a key at a time, the others parked behind it.

use std::{
    collections::{HashMap, VecDeque, hash_map::RandomState},
    hash::BuildHasher,
};

use crate::Message;

/// The keys that have unsettled messages.
///
/// Keys are kept as hashes: two keys that meet only wait for each other, which is slower but never out of order.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    hasher: RandomState,
    lanes: HashMap<u64, Lane>,
}

#[derive(Debug)]
struct Lane {
    head: u64,
    parked: VecDeque<u64>,
}

impl Lanes {
    /// The lane of a message, if it has a key.
    pub(super) fn of(&self, message: &Message) -> Option<u64> {
        message.key.as_deref().map(|key| self.hasher.hash_one(key))
    }

    /// Puts `offset` at the end of the lane; whether that is its head.
    pub(super) fn enter(&mut self, lane: u64, offset: u64) -> bool {
        let mut heads = false;
        let found = self.lanes.entry(lane).or_insert_with(|| {
            heads = true;
            Lane { head: offset, parked: VecDeque::new() }
        });
        if !heads {
            found.parked.push_back(offset);
        }
        heads
    }

    /// Takes `offset` out; the offset that heads the lane now, if that is another one.
    pub(super) fn leave(&mut self, lane: u64, offset: u64) -> Option<u64> {
        let found = self.lanes.get_mut(&lane)?;
        if found.head != offset {
            if found.parked.front() == Some(&offset) {
                found.parked.pop_front();
            } else {
                found.parked.retain(|parked| *parked != offset);
            }
            return None;
        }
        let Some(next) = found.parked.pop_front() else {
            self.lanes.remove(&lane);
            return None;
        };
        found.head = next;
        Some(next)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }
}
