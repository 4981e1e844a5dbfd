//! What came and waits for the program, and how much more may come. Pure.

use std::{collections::VecDeque, time::Duration};

use busgate_core::{DEFAULT_MAX_IN_FLIGHT_BYTES, Gap};
use busgate_wire::convert::Received;
use tokio::time::Instant;

/// A message that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    number: u64,
    pub(crate) received: Box<Received>,
    /// When its lease started or was last renewed.
    pub(crate) leased_at: Instant,
}

#[derive(Debug)]
enum Item {
    Message(Waiting),
    Gap(u64, Gap),
}

impl Item {
    const fn number(&self) -> u64 {
        match self {
            Self::Message(waiting) => waiting.number,
            Self::Gap(number, _) => *number,
        }
    }
}

/// What came and waits, in order.
#[derive(Debug)]
pub(crate) struct Intake {
    items: VecDeque<Item>,
    bytes: usize,
    next_number: u64,
    /// How many messages may wait.
    room: usize,
    /// How many of the messages the gateway may send have not come yet.
    outstanding: usize,
    /// How many of these it has not been told of.
    owed: usize,
    messages: usize,
}

impl Intake {
    /// Room for so many messages.
    pub(crate) const fn new(room: usize) -> Self {
        Self { items: VecDeque::new(), bytes: 0, next_number: 0, room, outstanding: 0, owed: 0, messages: 0 }
    }

    pub(crate) fn message(&mut self, now: Instant, received: Box<Received>) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.messages += 1;
        self.bytes += received.message.weight();
        let number = self.number();
        self.items.push_back(Item::Message(Waiting { number, received, leased_at: now }));
    }

    pub(crate) fn gap(&mut self, gap: Gap) {
        let number = self.number();
        self.items.push_back(Item::Gap(number, gap));
    }

    const fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Takes out the first message, or gap.
    pub(crate) fn next(&mut self) -> Option<Result<Waiting, Gap>> {
        match self.items.pop_front()? {
            Item::Gap(_, gap) => Some(Err(gap)),
            Item::Message(waiting) => {
                self.forget(&waiting);
                Some(Ok(waiting))
            }
        }
    }

    fn forget(&mut self, waiting: &Waiting) {
        self.messages -= 1;
        self.bytes -= waiting.received.message.weight();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether what waits is as much as one subscription should keep in memory.
    pub(crate) const fn is_heavy(&self) -> bool {
        self.bytes >= DEFAULT_MAX_IN_FLIGHT_BYTES
    }

    /// The program asks: the gateway may send what there is room for. Half the room at a time, so that it is told seldom.
    pub(crate) const fn ask(&mut self) {
        let free = self.room.saturating_sub(self.messages + self.outstanding);
        if free * 2 >= self.room {
            self.owed += free;
            self.outstanding += free;
        }
    }

    /// Whether the gateway is to be allowed more.
    pub(crate) const fn has_grant(&self) -> bool {
        self.owed > 0
    }

    /// How many more messages the gateway is to be allowed.
    pub(crate) fn grant(&mut self) -> Option<u32> {
        let owed = std::mem::take(&mut self.owed);
        u32::try_from(owed).ok().filter(|more| *more > 0)
    }

    /// A new stream begins without credit.
    pub(crate) const fn reset_credit(&mut self) {
        (self.outstanding, self.owed) = (0, 0);
    }

    /// When the oldest lease began.
    pub(crate) fn oldest_lease(&self) -> Option<Instant> {
        // All leases are renewed together, so that their order stays that of arrival.
        self.items.iter().find_map(|item| match item {
            Item::Message(waiting) => Some(waiting.leased_at),
            Item::Gap(..) => None,
        })
    }

    /// Renews all leases: their numbers and ack ids.
    pub(crate) fn renew(&mut self, now: Instant) -> Vec<(u64, String)> {
        let renewed = self.waiting_mut().filter_map(|waiting| {
            waiting.leased_at = now;
            Some((waiting.number, waiting.received.ack_id.clone()?))
        });
        renewed.collect()
    }

    /// Whether this one was renewed is not known: it is due again in a quarter of `lease`.
    pub(crate) fn doubt(&mut self, number: u64, now: Instant, lease: Duration) {
        let place = self.items.binary_search_by_key(&number, Item::number);
        if let Some(Item::Message(waiting)) = place.ok().and_then(|place| self.items.get_mut(place))
            && let Some(before) = now.checked_sub(lease / 4)
        {
            waiting.leased_at = waiting.leased_at.min(before);
        }
    }

    /// This one is not ours any more.
    pub(crate) fn lost(&mut self, number: u64) {
        let place = self.items.binary_search_by_key(&number, Item::number);
        if let Some(Item::Message(waiting)) = place.ok().and_then(|place| self.items.remove(place)) {
            self.forget(&waiting);
        }
    }

    fn waiting_mut(&mut self) -> impl Iterator<Item = &mut Waiting> {
        self.items.iter_mut().filter_map(|item| match item {
            Item::Message(waiting) => Some(waiting),
            Item::Gap(..) => None,
        })
    }

    /// Takes out every message that is leased: their ack ids. Gaps stay, for they are still to be told.
    pub(crate) fn take_leases(&mut self) -> Vec<String> {
        let mut ack_ids = Vec::new();
        let items = std::mem::take(&mut self.items);
        for mut item in items {
            if let Item::Message(waiting) = &mut item
                && let Some(ack_id) = waiting.received.ack_id.take()
            {
                self.forget(waiting);
                ack_ids.push(ack_id);
            } else {
                self.items.push_back(item);
            }
        }
        ack_ids
    }

    /// What waits has nothing to be settled by any more.
    pub(crate) fn forget_leases(&mut self) {
        for waiting in self.waiting_mut() {
            waiting.received.ack_id = None;
        }
    }

    /// Lets go of everything.
    pub(crate) fn clear(&mut self) {
        self.items.clear();
        (self.bytes, self.messages) = (0, 0);
    }
}
