//! What the next owner of a group has to know, for owners that keep it in a form of their own.

use std::{collections::VecDeque, sync::Arc};

use tokio::time::Instant;

use super::{
    DEFAULT_MAX_HELD, Group, Keyed,
    entry::{Entry, State},
    first_epoch,
    lanes::Lanes,
    ledger::Ledger,
    order::Order,
};
use crate::RetryPolicy;

/// A message that a group has seen and is not done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Where it stands.
    pub offset: u64,
    /// Deliveries that count, a running one among them.
    pub attempts: u32,
    /// Of the last delivery; 0 when there was none that is remembered.
    pub epoch: u64,
    /// Whether the token of that delivery still settles.
    pub open: bool,
    /// What is known of its key. A message whose key is known is not asked for before it is handed out.
    pub key: Keyed,
    /// What it waits for.
    pub standing: Standing,
}

/// What an unfinished message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// For its first taker, or for the earlier message of its key.
    Fresh,
    /// For the next taker.
    Back,
    /// For this time.
    Waiting(Instant),
    /// For the end of its lease at this time.
    Leased(Instant),
}

impl Group {
    /// Every message the group is not done with, by offset. One that is on its way to the dead letters counts as back.
    pub fn unfinished(&self) -> impl ExactSizeIterator<Item = Unfinished> + '_ {
        self.ledger.iter().map(unfinished)
    }

    /// As [`Group::unfinished`], from this offset on.
    pub fn unfinished_from(&self, offset: u64) -> impl Iterator<Item = Unfinished> + '_ {
        self.ledger.iter_from(offset).map(unfinished)
    }

    /// Whether the message at `offset` is not asked for before `until`, unless somebody settles something: its delay or
    /// its lease ends later, or an earlier one of its key is not done.
    #[must_use]
    pub fn is_asleep(&self, offset: u64, until: Instant) -> bool {
        self.ledger.get(offset).is_some_and(|entry| {
            entry.key != Keyed::Unknown
                && match entry.state {
                    State::Waiting(at) | State::Leased { deadline: at, .. } => at > until,
                    State::Parked => true,
                    State::Ready | State::Dying { .. } => false,
                }
        })
    }

    /// The group of another owner, as [`Group::unfinished`] told it: everything else below `frontier` is done. Leases
    /// run on, without a member here. `generation` as for [`Group::new`].
    #[must_use]
    pub fn resume(
        frontier: u64,
        generation: u32,
        policy: &Arc<RetryPolicy>,
        unfinished: impl IntoIterator<Item = Unfinished>,
    ) -> Self {
        let mut ledger = Ledger::default();
        let mut unlearned = VecDeque::new();
        for known in unfinished.into_iter().filter(|known| known.offset < frontier) {
            let mut entry = Entry::fresh(known.key, None, Arc::clone(policy));
            (entry.attempts, entry.epoch, entry.open) = (known.attempts, known.epoch, known.open);
            entry.state = match known.standing {
                Standing::Fresh => State::Parked,
                Standing::Back => State::Ready,
                Standing::Waiting(due) => State::Waiting(due),
                Standing::Leased(deadline) => State::Leased { member: 0, deadline },
            };
            ledger.insert(known.offset, entry);
            unlearned.push_back(known.offset);
        }
        Self {
            frontier,
            next_epoch: first_epoch(generation),
            policy: Arc::clone(policy),
            ledger,
            lanes: Lanes::default(),
            order: Order::default(),
            unlearned,
            max_held: DEFAULT_MAX_HELD,
            missed: 0,
        }
    }
}

fn unfinished((offset, entry): (u64, &Entry)) -> Unfinished {
    let standing = match entry.state {
        State::Leased { deadline, .. } => Standing::Leased(deadline),
        State::Waiting(due) => Standing::Waiting(due),
        State::Parked | State::Ready if entry.attempts == 0 && entry.epoch == 0 => Standing::Fresh,
        State::Parked | State::Ready | State::Dying { .. } => Standing::Back,
    };
    let Entry { attempts, epoch, open, key, .. } = *entry;
    Unfinished { offset, attempts, epoch, open, key, standing }
}
