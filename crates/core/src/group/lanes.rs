//! Order within a key: one message of a key at a time, the others parked behind it.

use std::collections::{HashMap, VecDeque};

use crate::Message;

/// What is known of a message's key.
///
/// Keys are kept as hashes: two keys that meet only wait for each other, which is slower but never out of order. An owner
/// may keep the hash for the next one, so it is the same everywhere and in every version
/// (`the_hash_of_a_key_stays`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keyed {
    /// Nothing: the message has to be looked at.
    #[default]
    Unknown,
    /// It has none.
    No,
    /// It has one with this hash.
    By(u64),
}

impl Keyed {
    /// What is to know of the key of a message.
    #[must_use]
    pub fn of(message: &Message) -> Self {
        message.key.as_deref().map_or(Self::No, |key| Self::By(hash(key)))
    }

    pub(super) const fn lane(self) -> Option<u64> {
        match self {
            Self::By(lane) => Some(lane),
            Self::Unknown | Self::No => None,
        }
    }
}

/// The keys that have unsettled messages.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<u64, Lane>,
}

#[derive(Debug)]
struct Lane {
    head: u64,
    parked: VecDeque<u64>,
}

impl Lanes {
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

/// FNV-1a: who can choose a key that meets another one could have chosen that one itself.
fn hash(key: &str) -> u64 {
    key.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_key_stays() {
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash("foobar"), 0x8594_4171_f739_67e8);
    }
}
