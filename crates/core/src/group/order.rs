//! When a key's next message may go: at once, or when the end of the earlier one is as durable as it is promised.

use std::collections::VecDeque;

use super::Group;

/// What was settled, and still stands before the others of its key.
#[derive(Debug, Default)]
pub(super) struct Order {
    confirms: bool,
    /// Lane and offset, in the order they were settled. Without a lane it is not known yet whose turn is next.
    unconfirmed: VecDeque<(Option<u64>, u64)>,
    /// How many of them have no lane.
    blind: usize,
    /// How many were ever confirmed.
    confirmed: u64,
}

impl Order {
    /// Whether what is done leaves its lane at once; otherwise it is remembered.
    pub(super) fn is_free(&mut self, lane: Option<u64>, offset: u64) -> bool {
        if self.confirms {
            self.blind += usize::from(lane.is_none());
            self.unconfirmed.push_back((lane, offset));
        }
        !self.confirms
    }

    /// Whether something was settled whose key nobody has looked at since a restart: the next message of any key may be
    /// the one that has to wait for the confirmation.
    pub(super) const fn is_blind(&self) -> bool {
        self.blind > 0
    }
}

impl Group {
    /// Has a key's next message wait until [`Group::confirm`] says that the end of the earlier one will be remembered.
    ///
    /// Invariant: whoever writes snapshots needs this, or a crash between an ack and its snapshot brings a message back
    /// after the next one of its key went out (`a_keys_next_message_waits_for_the_confirmation`).
    #[must_use]
    pub const fn with_confirmed_order(mut self) -> Self {
        self.order.confirms = true;
        self
    }

    /// A mark for [`Group::confirm`]: all that is done by now.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.order.confirmed + self.order.unconfirmed.len() as u64
    }

    /// All that was done when [`Group::settled`] gave this mark will be remembered. Answers whether a taker may find
    /// something now that it did not find before.
    pub fn confirm(&mut self, mark: u64) -> bool {
        let (ready, was_blind) = (self.ledger.ready(), self.order.is_blind());
        while self.order.confirmed < mark
            && let Some((lane, offset)) = self.order.unconfirmed.pop_front()
        {
            self.order.confirmed += 1;
            match lane {
                Some(lane) => self.leave(lane, offset),
                None => self.order.blind -= 1,
            }
        }
        self.ledger.ready() > ready || (was_blind && !self.order.is_blind())
    }
}
