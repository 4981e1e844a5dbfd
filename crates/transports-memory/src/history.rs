//! The messages an event holds: a ring bounded by count, bytes and age.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use busgate_core::{Cursor, EventConfig, Message, Timestamp};
use bytes::Bytes;

use crate::config::MemoryConfig;

/// Payloads up to this size are copied to be kept. They come as slices of the buffer that their request was read into,
/// which would be kept with them: many times what the bounds count.
const COPIED: usize = 16 * 1024;

/// How much an event holds.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    messages: usize,
    bytes: u64,
    age: Option<Duration>,
}

impl Bounds {
    /// What the event asks for, else what the transport has for all.
    pub(crate) fn new(event: &EventConfig, config: &MemoryConfig) -> Self {
        let messages = event.retention_messages.unwrap_or(config.max_messages).max(1);
        Self {
            messages: usize::try_from(messages).unwrap_or(usize::MAX),
            bytes: event.retention_bytes.unwrap_or(config.max_bytes),
            age: event.retention_age.or(config.max_age),
        }
    }
}

/// A message in its place.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) message: Arc<Message>,
    pub(crate) cursor: Cursor,
    weight: u64,
    arrived: Timestamp,
    /// The latest time of a message so far: it never falls, so that times can be looked up by halving.
    latest: Timestamp,
}

/// The ring. The first message ever has offset 1.
#[derive(Debug)]
pub(crate) struct History {
    ring: VecDeque<Held>,
    first: u64,
    bytes: u64,
    bounds: Bounds,
}

impl History {
    pub(crate) const fn new(bounds: Bounds) -> Self {
        Self { ring: VecDeque::new(), first: 1, bytes: 0, bounds }
    }

    /// The offset of the oldest message held; where the next will stand when none is.
    pub(crate) const fn first(&self) -> u64 {
        self.first
    }

    /// Where the next message will stand.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.ring.len() as u64
    }

    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn get(&self, offset: u64) -> Option<&Held> {
        let index = offset.checked_sub(self.first)?;
        self.ring.get(usize::try_from(index).ok()?)
    }

    pub(crate) fn newest(&self) -> Option<&Held> {
        self.ring.back()
    }

    pub(crate) fn oldest(&self) -> Option<&Held> {
        self.ring.front()
    }

    /// The messages from `offset` on.
    pub(crate) fn from(&self, offset: u64) -> impl Iterator<Item = &Held> {
        let skipped = usize::try_from(offset.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.ring.range(skipped.min(self.ring.len())..)
    }

    /// The first message at or after `time`, or the end.
    pub(crate) fn since(&self, time: Timestamp) -> u64 {
        self.first + self.ring.partition_point(|held| held.latest < time) as u64
    }

    pub(crate) fn push(&mut self, now: Timestamp, cursor: Cursor, mut message: Message) {
        if message.payload.len() <= COPIED {
            message.payload = Bytes::copy_from_slice(&message.payload);
        }
        let weight = message.weight() as u64;
        let latest = self.newest().map_or(message.timestamp, |held| held.latest.max(message.timestamp));
        self.bytes += weight;
        self.ring.push_back(Held { message: Arc::new(message), cursor, weight, arrived: now, latest });
        while self.ring.len() > self.bounds.messages
            || (self.bytes > self.bounds.bytes && self.ring.len() > 1)
        {
            self.drop_oldest();
        }
    }

    /// Drops what is too old.
    pub(crate) fn age(&mut self, now: Timestamp) {
        let Some(age) = self.bounds.age else { return };
        while self.oldest().is_some_and(|held| now.since(held.arrived) >= age) {
            self.drop_oldest();
        }
    }

    /// Lets go of every message; offsets go on.
    pub(crate) fn clear(&mut self) {
        self.first = self.end();
        self.ring = VecDeque::new();
        self.bytes = 0;
    }

    fn drop_oldest(&mut self) {
        if let Some(held) = self.ring.pop_front() {
            self.bytes -= held.weight;
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use busgate_core::MessageId;

    use super::*;

    fn history(config: &EventConfig) -> History {
        History::new(Bounds::new(config, &MemoryConfig::default()))
    }

    fn push(history: &mut History, at: i64) {
        let mut message = Message::new(MessageId::generate(), vec![0; 100]);
        message.timestamp = Timestamp::from_millis(at);
        history.push(Timestamp::from_millis(at), Cursor::new("c").unwrap(), message);
    }

    #[test]
    fn count_bytes_and_age_each_bound_it() {
        let mut few = history(&EventConfig { retention_messages: Some(2), ..EventConfig::default() });
        let mut light = history(&EventConfig { retention_bytes: Some(500), ..EventConfig::default() });
        let age = Some(Duration::from_millis(2));
        let mut young = history(&EventConfig { retention_age: age, ..EventConfig::default() });
        for at in 0..5 {
            [&mut few, &mut light, &mut young].into_iter().for_each(|history| push(history, at));
        }
        young.age(Timestamp::from_millis(5));
        assert_eq!((few.first(), few.end()), (4, 6));
        assert_eq!((light.first(), light.end()), (4, 6));
        assert!(light.bytes() <= 500);
        assert_eq!((young.first(), young.end()), (5, 6));
    }

    #[test]
    fn a_small_payload_does_not_keep_the_buffer_it_came_in() {
        let mut history = history(&EventConfig::default());
        let buffer = Bytes::from(vec![0; 8192]);
        let message = Message::new(MessageId::generate(), buffer.slice(..100));
        history.push(Timestamp::default(), Cursor::new("c").unwrap(), message);
        assert!(buffer.is_unique());
    }

    #[test]
    fn the_newest_message_is_held_whatever_it_weighs() {
        let mut history = history(&EventConfig { retention_bytes: Some(1), ..EventConfig::default() });
        push(&mut history, 0);
        push(&mut history, 1);
        assert_eq!((history.first(), history.len()), (2, 1));
    }

    #[test]
    fn a_time_finds_the_first_message_at_or_after_it_though_times_go_back() {
        let mut history = history(&EventConfig::default());
        for at in [10, 30, 20, 40] {
            push(&mut history, at);
        }
        let since = |at| history.since(Timestamp::from_millis(at));
        assert_eq!([0, 10, 11, 30, 31, 40, 41].map(since), [1, 1, 2, 2, 4, 4, 5]);
    }
}
