//! When a key's next message may go: at once, or when the end of the earlier one is as durable as it is promised.

use std::collections::VecDeque;

use super::Group;

/// What was settled, and still stands before the others of its key.
#[derive(Debug, Default)]
pub(super) struct Order {
    confirms: bool,
    /// Lane and offset, in the order they were settled.
    unconfirmed: VecDeque<(u64, u64)>,
    /// How many were ever confirmed.
    confirmed: u64,
}

impl Order {
    /// Whether what is done leaves its lane at once; otherwise it is remembered.
    pub(super) fn is_free(&mut self, lane: u64, offset: u64) -> bool {
        if self.confirms {
            self.unconfirmed.push_back((lane, offset));
        }
        !self.confirms
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

    /// All that was done when [`Group::settled`] gave this mark will be remembered.
    pub fn confirm(&mut self, mark: u64) {
        while self.order.confirmed < mark
            && let Some((lane, offset)) = self.order.unconfirmed.pop_front()
        {
            self.order.confirmed += 1;
            self.leave(lane, offset);
        }
    }
}
