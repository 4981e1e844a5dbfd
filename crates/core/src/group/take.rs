//! Handing out: what came back first, then what a restart left, then fresh messages.

use std::sync::Arc;

use super::{
    Group, Keyed, Moment, Reason, Slot, Taken,
    entry::{Entry, State},
};
use crate::{Message, RetryPolicy};

impl Group {
    /// Hands out the next message to `member`: the lowest that came back, else a fresh one.
    ///
    /// A message whose key has an earlier unsettled one is parked until that one is done.
    pub fn take(
        &mut self,
        now: Moment,
        member: u64,
        policy: &Arc<RetryPolicy>,
        mut source: impl FnMut(u64) -> Slot,
    ) -> Option<Taken> {
        if !Arc::ptr_eq(&self.policy, policy) {
            self.policy = Arc::clone(policy);
        }
        if self.order.is_blind() {
            return None;
        }
        loop {
            let taken = if let Some(offset) = self.ledger.first_ready() {
                self.take_returned(now, member, offset, source(offset))?
            } else if let Some(&offset) = self.unlearned.front() {
                self.learn(offset, &mut source)?;
                None
            } else if self.ledger.held() < self.max_held {
                self.take_fresh(now, member, source(self.frontier))?
            } else {
                return None;
            };
            if taken.is_some() {
                return taken;
            }
        }
    }

    /// `None`: stop; `Some(None)`: go on; `Some(Some(_))`: here it is.
    fn take_returned(&mut self, now: Moment, member: u64, offset: u64, slot: Slot) -> Option<Option<Taken>> {
        match slot {
            Slot::End => None,
            Slot::Hole { .. } => {
                self.lose(offset);
                Some(None)
            }
            Slot::Away { until } => {
                self.ledger.shift(offset, State::Waiting(until));
                Some(None)
            }
            Slot::Message(_) if self.is_used_up(offset) => {
                self.condemn(offset, Reason::MaxDeliver, Some(now.at));
                Some(None)
            }
            Slot::Message(message) => {
                self.enter_lane(offset, Keyed::of(&message));
                Some(self.lease(now, member, offset, message))
            }
        }
    }

    fn take_fresh(&mut self, now: Moment, member: u64, slot: Slot) -> Option<Option<Taken>> {
        let offset = self.frontier;
        match slot {
            Slot::Hole { next } if next > offset => {
                self.missed += next - offset;
                self.frontier = next;
                Some(None)
            }
            Slot::End | Slot::Away { .. } | Slot::Hole { .. } => None,
            Slot::Message(message) => {
                self.frontier += 1;
                let key = Keyed::of(&message);
                let lane = key.lane();
                let heads = lane.is_none_or(|lane| self.lanes.enter(lane, offset));
                self.ledger.insert(offset, Entry::fresh(key, lane, Arc::clone(&self.policy)));
                Some(if heads { self.lease(now, member, offset, message) } else { None })
            }
        }
    }

    /// After a restart most keys are known only by asking for the messages again, lowest first.
    fn learn(&mut self, offset: u64, source: &mut impl FnMut(u64) -> Slot) -> Option<()> {
        let key = match self.ledger.get(offset).map(|entry| entry.key) {
            Some(Keyed::Unknown) => match source(offset) {
                Slot::End | Slot::Away { .. } => return None,
                Slot::Message(message) => Some(Keyed::of(&message)),
                Slot::Hole { .. } => {
                    self.lose(offset);
                    None
                }
            },
            known => known,
        };
        if key.is_some_and(|key| self.enter_lane(offset, key)) {
            self.ledger.promote(offset);
        }
        self.unlearned.pop_front();
        Some(())
    }

    /// Gives a message of before a restart its lane, unless it has it already; whether nothing stands before it.
    ///
    /// One that was delivered before heads its lane, and gets it before it is delivered again: or its end would count
    /// for the next one of its key before it is confirmed.
    fn enter_lane(&mut self, offset: u64, key: Keyed) -> bool {
        let Some(entry) = self.ledger.get_mut(offset).filter(|entry| entry.lane.is_none()) else {
            return false;
        };
        (entry.key, entry.lane) = (key, key.lane());
        key.lane().is_none_or(|lane| self.lanes.enter(lane, offset))
    }

    fn lease(&mut self, now: Moment, member: u64, offset: u64, message: Arc<Message>) -> Option<Taken> {
        let epoch = self.next_epoch;
        let entry = self.ledger.get_mut(offset)?;
        self.next_epoch += 1;
        if entry.epoch == 0 {
            entry.first_delivered_at = now.wall;
        }
        if !Arc::ptr_eq(&entry.policy, &self.policy) {
            entry.policy = Arc::clone(&self.policy);
        }
        entry.epoch = epoch;
        entry.member = member;
        entry.open = true;
        entry.attempts += 1;
        let attempt = entry.attempts;
        let deadline = now.at + self.policy.ack_wait;
        self.ledger.shift(offset, State::Leased { member, deadline });
        Some(Taken { offset, attempt, epoch, message })
    }

    /// A later subscription may allow fewer attempts than there were already.
    fn is_used_up(&mut self, offset: u64) -> bool {
        let most = self.policy.max_deliver;
        self.ledger.get_mut(offset).is_some_and(|entry| entry.attempts >= most)
    }
}
