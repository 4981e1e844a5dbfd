//! What was read ahead of one partition.

use std::{collections::VecDeque, sync::Arc};

use busgate_core::{Message, Timestamp};

/// One partition of a page.
#[derive(Debug)]
pub(super) struct Lane {
    /// The offset that goes into a page next.
    pub(super) next: i64,
    /// The offset that is expected to be read next.
    fetched: i64,
    /// The end, when it was asked for.
    end: i64,
    ahead: VecDeque<(i64, Arc<Message>)>,
    done: bool,
}

impl Lane {
    pub(super) fn new(next: i64, end: i64) -> Self {
        Self { next, fetched: next, end, ahead: VecDeque::new(), done: next >= end }
    }

    /// Whether all was read that was there.
    pub(super) const fn is_done(&self) -> bool {
        self.done
    }

    /// Whether all was handed out that was there.
    pub(super) fn is_empty(&self) -> bool {
        self.done && self.ahead.is_empty()
    }

    /// Whether it is not known what comes next.
    pub(super) fn is_unknown(&self) -> bool {
        !self.done && self.ahead.is_empty()
    }

    /// Takes a message in; the offset that was expected instead, where there is a hole.
    pub(super) fn push(&mut self, offset: i64, message: impl FnOnce() -> Message) -> Option<i64> {
        if offset < self.fetched || self.done {
            return None;
        }
        let expected = self.fetched;
        self.fetched = offset + 1;
        self.done = self.fetched >= self.end;
        // What came since the end was asked for is for another page.
        if offset < self.end {
            self.ahead.push_back((offset, Arc::new(message())));
        }
        (offset > expected && expected < self.end).then_some(expected)
    }

    /// Takes in that the partition has no more.
    pub(super) fn finish(&mut self) {
        self.done = true;
    }

    /// The time and the weight of what comes next.
    pub(super) fn front(&self) -> Option<(Timestamp, usize)> {
        self.ahead.front().map(|(_, message)| (message.timestamp, message.weight()))
    }

    /// Hands out what comes next.
    pub(super) fn pop(&mut self) -> Option<(i64, Arc<Message>)> {
        let (offset, message) = self.ahead.pop_front()?;
        self.next = offset + 1;
        Some((offset, message))
    }

    /// Steps over what is behind the last message and is none: marks of transactions, compacted offsets.
    pub(super) fn settle(&mut self) {
        if self.is_empty() {
            self.next = self.next.max(self.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use busgate_core::MessageId;

    use super::*;

    fn message() -> Message {
        Message::new(MessageId::generate(), "")
    }

    #[test]
    fn what_came_after_the_end_is_for_another_page() {
        let mut lane = Lane::new(5, 7);
        assert_eq!(lane.push(5, message), None);
        assert!(!lane.is_done());
        assert_eq!(lane.push(7, message), Some(6), "the last offset was a hole");
        assert!(lane.is_done() && !lane.is_empty());
        lane.pop();
        lane.settle();
        assert_eq!((lane.next, lane.is_empty()), (7, true));
    }

    #[test]
    fn a_hole_is_told_where_it_begins() {
        let mut lane = Lane::new(5, 100);
        assert_eq!(lane.push(9, message), Some(5));
        assert_eq!(lane.push(10, message), None);
    }
}
