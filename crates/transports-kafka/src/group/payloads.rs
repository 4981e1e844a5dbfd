//! The messages of one partition that are at hand, and which of the unfinished ones are not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use busgate_core::{Group, Message, Slot};
use tokio::time::Instant;

/// How many bytes of messages are held: read ahead, and not finished.
const MAX_WEIGHT: usize = 32 * 1024 * 1024;

/// How many bytes of messages that are not needed now are kept all the same, before they are let go of.
const EASY_WEIGHT: usize = MAX_WEIGHT / 4 * 3;

/// How many bytes may be held when messages are read again.
const TIGHT_WEIGHT: usize = MAX_WEIGHT / 4 * 5;

/// What is needed sooner than this stays.
const SOON: Duration = Duration::from_secs(3);

/// When a message that is not at hand is asked for again: the first, and how much later each other, up to the last.
const AGAIN: (Duration, Duration, Duration) =
    (Duration::from_millis(20), Duration::from_micros(100), Duration::from_secs(2));

/// The messages.
#[derive(Debug, Default)]
pub(super) struct Payloads {
    messages: BTreeMap<u64, Arc<Message>>,
    weight: usize,
    /// Unfinished, and not here.
    away: BTreeSet<u64>,
    /// Those of them that were asked for.
    wanted: BTreeSet<u64>,
}

impl Payloads {
    /// Those of a partition whose unfinished messages are away.
    pub(super) fn without(away: impl Iterator<Item = u64>) -> Self {
        Self { away: away.collect(), ..Self::default() }
    }

    /// Whether there is room for more.
    pub(super) fn has_room(&self) -> bool {
        self.weight < MAX_WEIGHT || self.messages.is_empty()
    }

    /// Whether there is much room.
    pub(super) const fn is_low(&self) -> bool {
        self.weight < EASY_WEIGHT
    }

    pub(super) fn insert(&mut self, offset: u64, message: Arc<Message>) {
        self.away.remove(&offset);
        self.wanted.remove(&offset);
        self.weight += message.weight();
        if let Some(before) = self.messages.insert(offset, message) {
            self.weight = self.weight.saturating_sub(before.weight());
        }
    }

    /// Takes in that a message is finished.
    pub(super) fn remove(&mut self, offset: u64) {
        self.away.remove(&offset);
        self.wanted.remove(&offset);
        if let Some(message) = self.messages.remove(&offset) {
            self.weight = self.weight.saturating_sub(message.weight());
        }
    }

    /// Takes in that nothing below is held any more.
    pub(super) fn trim(&mut self, begin: u64) {
        let kept = self.messages.split_off(&begin);
        for message in std::mem::replace(&mut self.messages, kept).into_values() {
            self.weight = self.weight.saturating_sub(message.weight());
        }
        self.away = self.away.split_off(&begin);
        self.wanted = self.wanted.split_off(&begin);
    }

    /// Takes in that a message is not in its partition any more.
    pub(super) fn lose(&mut self, offset: u64) {
        self.away.remove(&offset);
        self.wanted.remove(&offset);
    }

    /// Lets go of what is not needed for a while, lowest first, when there is too much: it is read again.
    pub(super) fn shed(&mut self, group: &Group, now: Instant) {
        if self.weight < EASY_WEIGHT {
            return;
        }
        let mut left = self.weight;
        let asleep = self.messages.range(..group.frontier());
        let asleep = asleep.filter(|(offset, _)| group.is_asleep(**offset, now + SOON)).map_while(
            |(offset, message)| {
                let is_enough = left <= EASY_WEIGHT / 2;
                left = left.saturating_sub(message.weight());
                (!is_enough).then_some(*offset)
            },
        );
        for offset in asleep.collect::<Vec<_>>() {
            self.remove(offset);
            self.away.insert(offset);
        }
    }

    /// What stands at an offset before `end`.
    pub(super) fn slot(&mut self, offset: u64, end: u64, now: Instant) -> Slot {
        if let Some(message) = self.messages.get(&offset) {
            return if offset < end { Slot::Message(Arc::clone(message)) } else { Slot::End };
        }
        if self.away.contains(&offset) {
            self.wanted.insert(offset);
            let (first, each, last) = AGAIN;
            let turn = u32::try_from(self.wanted.len()).unwrap_or(u32::MAX);
            return Slot::Away { until: now + (first + each.saturating_mul(turn)).min(last) };
        }
        if offset >= end {
            return Slot::End;
        }
        let next = self.messages.range(offset..).next().map_or(end, |(next, _)| (*next).min(end));
        Slot::Hole { next }
    }

    /// Whether something was asked for that can be read now.
    pub(super) fn wants(&self) -> bool {
        !self.wanted.is_empty() && self.weight < TIGHT_WEIGHT
    }

    /// The lowest of those that were asked for, which are not asked for any more.
    pub(super) fn take_wanted(&mut self, most: usize) -> Vec<u64> {
        let first: Vec<_> = self.wanted.iter().take(most).copied().collect();
        match first.last().and_then(|last| last.checked_add(1)) {
            Some(next) => self.wanted = self.wanted.split_off(&next),
            None => self.wanted.clear(),
        }
        first
    }
}
