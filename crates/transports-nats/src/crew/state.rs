//! What a group has on this node: a state machine without a connection.

use std::{sync::Arc, time::Duration};

use async_nats::Subject;
use busgate_core::Message;
use tokio::time::Instant;

use super::{
    book::Book,
    entry::{Entry, Stand},
    seats::{Seats, Wakes},
};
use crate::{delivery::Delivered, record::Record};

/// For how long a message waits for an earlier one that is being admitted.
const COURTESY: Duration = Duration::from_millis(50);

/// After this long another idle member is woken for a message whose taker has not come.
pub(crate) const RECHECK: Duration = Duration::from_millis(5);

/// A message on its way in.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) delivered: Delivered,
    pub(crate) reply: Subject,
    pub(crate) message: Arc<Message>,
    pub(crate) generation: u64,
}

/// What is still to do for an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Nothing.
    Done,
    /// Wait a moment: earlier ones may come back as well.
    Linger,
    /// Close the token of its last delivery, of which all is known here.
    Close,
    /// Find out what other nodes know of it.
    LookUp,
}

/// The messages, the subscriptions, and what goes from the ones to the others.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(super) book: Book,
    pub(crate) seats: Seats,
    /// Since when the first that is ready waits for one that is being admitted.
    polite_since: Option<Instant>,
    /// What a member lost, to be given back and counted.
    pub(crate) dismissed: Vec<u64>,
    /// The member that joined last.
    pub(crate) latest: u64,
    /// The highest sequence that was delivered: what comes above it comes for the first time. (Servers of 2.9 do not
    /// always count a redelivery.)
    pub(crate) seen: u64,
    /// Whether the server may still deliver to this node.
    pub(crate) is_asking: bool,
    /// Whether the consumer is gone for good.
    pub(crate) is_given_up: bool,
}

impl State {
    /// Of a group that was delivered what stands up to `seen`.
    pub(crate) fn after(seen: u64) -> Self {
        Self { seen, ..Self::default() }
    }

    pub(crate) fn entry(&self, sequence: u64) -> Option<&Entry> {
        self.book.get(sequence)
    }

    pub(crate) fn entry_mut(&mut self, sequence: u64) -> Option<&mut Entry> {
        self.book.get_mut(sequence)
    }

    /// How many subscriptions there are; the last one counts until nothing can be delivered to it any more.
    pub(crate) fn members(&self) -> u64 {
        self.seats.len().max(usize::from(self.is_asking)) as u64
    }

    /// How many more may come, with so many on their way.
    pub(crate) fn room(&self, outstanding: usize) -> usize {
        self.seats.capacity().saturating_sub(self.book.held() + outstanding)
    }

    /// Takes in what was delivered. A second delivery of what is here changes only how to settle it.
    pub(crate) fn arrive(&mut self, now: Instant, arrival: Arrival, wakes: &mut Wakes) -> Admission {
        let Arrival { delivered, reply, message, generation } = arrival;
        let sequence = delivered.stamp.sequence;
        let is_fresh = delivered.times <= 1 && sequence > self.seen;
        self.seen = self.seen.max(sequence);
        let mut admission = if is_fresh { Admission::Done } else { Admission::LookUp };
        let (mut record, mut number, mut previous) = (Record::default(), 0, None);
        if let Some(known) = self.book.get_mut(sequence) {
            if known.stand.is_held() {
                (known.reply, known.generation, known.is_usurped) = (reply, generation, false);
                self.book.touch(now, sequence);
                return Admission::Done;
            }
            (record, number) = (known.record, known.number);
            if known.delivered.times + 1 == delivered.times {
                let is_open = matches!(known.stand, Stand::Returned { is_open: true, .. });
                // Of several that nobody took, the last holder's is the first.
                previous = is_open.then(|| known.previous.unwrap_or_else(|| known.epoch()));
                admission = if is_open { Admission::Close } else { Admission::Linger };
            }
        }
        let entry = Entry {
            delivered,
            reply,
            record,
            number,
            touched: now,
            generation,
            is_usurped: false,
            stand: Stand::Returned { is_open: false, due: None },
            previous,
            message: Some(message),
            policy: None,
        };
        self.book.insert(sequence, entry);
        let stand = if admission == Admission::Done { Stand::Ready } else { Stand::Admitting };
        self.shift(sequence, stand, wakes);
        admission
    }

    /// What an admission came to.
    pub(crate) fn admit(
        &mut self,
        sequence: u64,
        epoch: u64,
        record: Record,
        number: u64,
        wakes: &mut Wakes,
    ) {
        if let Some(entry) = self.book.get_mut(sequence)
            && entry.epoch() == epoch
            && entry.stand == Stand::Admitting
        {
            (entry.record, entry.number) = (record, number);
            self.shift(sequence, Stand::Ready, wakes);
        }
    }

    /// Hands out the first that is ready, unless an earlier one is about to be.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        member: u64,
        wakes: &mut Wakes,
    ) -> Option<(Entry, Arc<Message>)> {
        let sequence = self.book.first_ready()?;
        if self.book.first_admitting().is_some_and(|earlier| earlier < sequence) {
            // Not for ever: others that come back would keep what is fresh waiting.
            if now < *self.polite_since.get_or_insert(now) + COURTESY {
                return None;
            }
        } else {
            self.polite_since = None;
        }
        let policy = Arc::clone(&self.seats.get_mut(member)?.policy);
        let deadline = now + policy.ack_wait;
        self.shift(sequence, Stand::Leased { member, deadline }, wakes);
        self.seats.lease(member);
        let entry = self.book.get_mut(sequence)?;
        (entry.policy, entry.previous) = (Some(policy), None);
        let message = entry.message.take()?;
        Some((entry.clone(), message))
    }

    /// Whether somebody could take something.
    pub(crate) fn has_work(&self) -> bool {
        self.book.ready() > 0 && self.seats.has_idle()
    }

    /// Wakes one for each that is ready.
    pub(crate) fn wake_for_work(&mut self, wakes: &mut Wakes) {
        let ready = self.book.ready();
        self.seats.wake_idle(ready, wakes);
    }

    /// Moves a message from one stand to another.
    pub(crate) fn shift(&mut self, sequence: u64, to: Stand, wakes: &mut Wakes) {
        let Some(from) = self.book.shift(sequence, to) else { return };
        if to == Stand::Ready {
            self.seats.wake_idle(1, wakes);
        }
        if let Some(member) = from.member().filter(|member| to.member() != Some(*member)) {
            self.seats.free(member, wakes);
        }
    }

    /// Forgets a message that is done.
    pub(crate) fn finish(&mut self, sequence: u64, wakes: &mut Wakes) {
        self.shift(sequence, Stand::Busy { member: None }, wakes);
        self.book.remove(sequence);
    }

    /// Takes the leases that ran out by `now`.
    pub(crate) fn expire(&mut self, now: Instant, wakes: &mut Wakes) -> Vec<Entry> {
        let mut over = Vec::new();
        while let Some((at, sequence)) = self.book.next_deadline()
            && at <= now
        {
            over.extend(self.end(sequence, wakes));
        }
        let dismissed = std::mem::take(&mut self.dismissed);
        for sequence in dismissed {
            if self.entry(sequence).is_some_and(|entry| matches!(entry.stand, Stand::Leased { .. })) {
                over.extend(self.end(sequence, wakes));
            }
        }
        over
    }

    /// Takes a lease in hand, to end it; its member has room again only when that is done.
    pub(crate) fn busy(&mut self, sequence: u64, wakes: &mut Wakes) -> Option<Entry> {
        let member = self.entry(sequence)?.stand.member();
        self.shift(sequence, Stand::Busy { member }, wakes);
        self.entry(sequence).cloned()
    }

    fn end(&mut self, sequence: u64, wakes: &mut Wakes) -> Option<Entry> {
        let member = self.entry(sequence)?.stand.member();
        self.shift(sequence, Stand::Ending { member }, wakes);
        self.entry(sequence).cloned()
    }

    /// What was read ahead and nobody may take any more.
    pub(crate) fn unread(&mut self, wakes: &mut Wakes) -> Vec<Entry> {
        let excess = self.book.held().saturating_sub(self.seats.capacity());
        let mut last = self.book.last_ready(excess);
        if self.seats.is_empty() {
            last.extend(self.book.admitting());
        }
        // In their order, which the server keeps.
        last.sort_unstable();
        last.into_iter().filter_map(|sequence| self.hand_back(sequence, wakes)).collect()
    }

    /// A message that nobody got goes back to the server.
    pub(crate) fn hand_back(&mut self, sequence: u64, wakes: &mut Wakes) -> Option<Entry> {
        // What is not admitted yet may have an earlier token that is open; and what is, one that goes by this delivery.
        let entry = self.entry(sequence)?;
        let is_open = entry.stand == Stand::Admitting || entry.previous.is_some();
        self.shift(sequence, Stand::Returned { is_open, due: None }, wakes);
        let entry = self.book.get_mut(sequence)?;
        entry.message = None;
        Some(entry.clone())
    }

    /// The server heard of it.
    pub(crate) fn touch(&mut self, now: Instant, sequence: u64) {
        self.book.touch(now, sequence);
    }

    /// Whether its lease is the first to run out: whoever waits for that must be told.
    pub(crate) fn is_earliest(&self, entry: &Entry) -> bool {
        self.book.next_deadline().is_some_and(|(_, sequence)| sequence == entry.delivered.stamp.sequence)
    }

    /// Puts a lease in this state's care that another node gave, and that is extended here.
    pub(crate) fn adopt(&mut self, entry: Entry, deadline: Instant, wakes: &mut Wakes) {
        let sequence = entry.delivered.stamp.sequence;
        let idle = Stand::Returned { is_open: true, due: None };
        self.book.insert(sequence, Entry { stand: idle, ..entry });
        self.shift(sequence, Stand::Leased { member: 0, deadline }, wakes);
    }
}

#[cfg(test)]
mod tests;
